"""Draw masks on a photograph: polygon, brush and clicks on a canvas; they become masks at the photograph's own size.

The canvas is the component streamlit-drawable-konva. It returns shapes, not pixels, so masks have the resolution of the
photograph, whatever the size of the canvas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image, ImageDraw

import sst_retrieval as sst
from sst_app import components, index_images
from sst_app.markdown import escape_md

ERASER = "#FFFFFF"
"""Shapes of this colour erase."""

MAX_WIDTH = 860
"""Largest width of the canvas, in pixels."""

Point = tuple[float, float]
Masks = dict[str, npt.NDArray[np.bool_]]


def show_canvas(
    image: npt.NDArray[np.uint8],
    colours: Mapping[str, str],
    *,
    key: str,
    height: int = 450,
    start: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> Masks:
    """Show a canvas on which traits are drawn on a photograph.

    Args:
        image: uint8 (H, W, 3).
        colours: trait -> colour.
        key: widget key; another key, or another photograph, is another drawing.
        height: largest height of the canvas, in pixels.
        start: initial masks, to which shapes are added and from which the eraser removes.

    Returns:
        trait -> bool (H, W) at the photograph's own size, without empty masks.
    """
    from streamlit_drawable_konva import st_canvas  # Imported here: it registers itself with the running app.

    content = components.hash_content(image)
    tools = st.columns([1.4, 1.2, 1.2], vertical_alignment="bottom")
    names = [*colours, "eraser"]
    trait = tools[0].selectbox("Draw", names, key=f"{key}-trait") if len(names) > 1 else names[0]
    tool = tools[1].segmented_control(
        "with", ["polygon", "brush", "click", "look"], default="polygon", key=f"{key}-tool", required=True
    )
    width = tools[2].slider("Brush, px", 2, 60, 14, key=f"{key}-width", disabled=tool != "brush")
    ink = ERASER if trait == "eraser" else colours[trait]
    scale = min(MAX_WIDTH / image.shape[1], height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    drawn = st_canvas(
        fill_color=ink + "66",
        stroke_color=ink,
        stroke_width=width if tool == "brush" else 2,
        background_image=_draw_background(key, image, start, colours, size),
        drawing_mode={"polygon": "polygon", "brush": "freedraw", "click": "point", "look": "pan"}[tool],
        width=size[0],
        height=size[1],
        key=components.hash_key(f"{key}-{content}-canvas"),
    )
    st.caption(
        {
            "polygon": "Click the corners; a right click closes the outline. Undo takes the last corner back. "
            "Zoom with the wheel.",
            "brush": "Paint with the mouse or a pen. The eraser takes away what it paints over.",
            "click": "Click on the trait, once or more; with the eraser, click what does not belong to it. The clicks "
            "of every trait grow into its mask.",
            "look": "Drag to move, zoom with the wheel.",
        }[tool]
    )
    shapes = (drawn.json_data or {}).get("objects", [])
    traits = {ink: name for name, ink in colours.items()}
    begun = dict(start or {})
    if grown := _grow_masks(image, sort_clicks(shapes, traits, scale), key):
        st.image(_draw_background(f"{key}-grown", image, grown, colours, size), caption="Grown from the clicks.")
        begun |= {name: mask | begun.get(name, False) for name, mask in grown.items()}
    return rasterize(shapes, traits, image.shape[:2], scale, begun)


def sort_clicks(
    shapes: list[dict[str, Any]], traits: Mapping[str, str], scale: float
) -> dict[str, tuple[list[Point], list[Point]]]:
    """Sort the clicks of the canvas by trait.

    Returns:
        trait -> (positive points, negative points), (x, y) in pixels of the photograph. Negative are those of the
        eraser and of other traits.
    """
    names = {colour.lower(): trait for colour, trait in traits.items()}
    clicked: list[tuple[str | None, Point]] = []
    for shape in shapes:
        colour = str(shape.get("stroke", ""))[:7].lower()
        if shape.get("type") == "point" and (colour in names or colour == ERASER.lower()):
            clicked.append((names.get(colour), (float(shape["x"]) / scale, float(shape["y"]) / scale)))
    return {
        trait: ([at for name, at in clicked if name == trait], [at for name, at in clicked if name != trait])
        for trait in dict.fromkeys(name for name, _ in clicked if name is not None)
    }


def _grow_masks(image: npt.NDArray[np.uint8], clicks: Mapping[str, tuple[list[Point], list[Point]]], key: str) -> Masks:
    """Segment a mask per trait from its clicks; show which model was used, or the error."""
    if not clicks:
        return {}
    checkpoint = st.text_input(
        "SAM 2 checkpoint", key=f"{key}-checkpoint", placeholder="none: regions of like colour and texture are grown",
        help="A name that `sst-retrieval weights list` knows, or the path of a .pt file.",
    )  # fmt: skip
    try:
        clicker = _load_clicker(checkpoint.strip() or None)
        picture = _encode_photograph(components.hash_content(image), checkpoint.strip(), clicker, image)
        grown = {trait: picture.mask(inside, outside).mask for trait, (inside, outside) in clicks.items()}
    except sst.SSTError as error:
        st.error(escape_md(error))
        return {}
    if clicker.fallback:
        st.caption("Without SAM 2: grown from like colour and texture. Good for well-marked traits; correct the rest.")
    return {trait: mask for trait, mask in grown.items() if mask.any()}


@st.cache_resource(max_entries=2, show_spinner="Loading the model")
def _load_clicker(checkpoint: str | None) -> sst.Clicker:
    return sst.load_clicker(checkpoint)


@st.cache_resource(max_entries=3, show_spinner="Looking at the photograph")
def _encode_photograph(content: str, checkpoint: str, _clicker: sst.Clicker, _image: npt.NDArray[np.uint8]) -> Any:
    """Encode a photograph for clicks; all sessions share it, so its content is the key, not a name."""
    return _clicker.look(_image)


def rasterize(
    shapes: list[dict[str, Any]],
    traits: Mapping[str, str],
    size: tuple[int, ...],
    scale: float,
    start: Mapping[str, npt.NDArray[np.bool_]],
) -> Masks:
    """Rasterize the shapes of the canvas into masks.

    Args:
        shapes: shapes of the canvas, in the order in which they were drawn.
        traits: colour -> trait; shapes of the colour ERASER erase all traits, those of other colours are ignored.
        size: (height, width) of the photograph.
        scale: canvas pixels per pixel of the photograph.
        start: initial masks.

    Returns:
        trait -> bool (H, W), none of them empty.
    """
    names = {colour.lower(): trait for colour, trait in traits.items()}
    masks = {trait: mask.copy() for trait, mask in start.items()}
    for shape in shapes:
        colour = str(shape.get("stroke", ""))[:7].lower()
        if (colour not in names and colour != ERASER.lower()) or shape.get("type") == "point":
            continue  # Clicks: see `sort_clicks`.
        pixels = _rasterize_shape(shape, size, scale)
        if colour == ERASER.lower():
            for mask in masks.values():
                mask &= ~pixels
        else:
            trait = names[colour]
            masks[trait] = masks.get(trait, np.zeros(size, dtype=bool)) | pixels
    return {trait: mask for trait, mask in masks.items() if mask.any()}


def _rasterize_shape(shape: Mapping[str, Any], size: tuple[int, ...], scale: float) -> npt.NDArray[np.bool_]:
    """Rasterize a filled polygon or a brush stroke: bool (H, W)."""
    flat = [float(value) / scale for value in shape.get("points", [])]
    left, top = float(shape.get("x", 0)) / scale, float(shape.get("y", 0)) / scale
    points = [(x + left, y + top) for x, y in zip(flat[::2], flat[1::2], strict=False)]
    picture = Image.new("1", (size[1], size[0]))
    draw = ImageDraw.Draw(picture)
    if shape.get("closed") or shape.get("type") == "polygon":
        if len(points) > 2:
            draw.polygon(points, fill=1)
    elif points:
        wide = max(1.0, float(shape.get("strokeWidth", 2)) / scale)
        draw.line(points, fill=1, width=round(wide), joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - wide / 2, y - wide / 2, x + wide / 2, y + wide / 2), fill=1)
    return np.array(picture)


def _draw_background(
    key: str,
    image: npt.NDArray[np.uint8],
    start: Mapping[str, npt.NDArray[np.bool_]] | None,
    colours: Mapping[str, str],
    size: tuple[int, int],
) -> Image.Image:
    """Draw the canvas's background: the photograph with the initial masks as a tint."""
    if not start:
        return Image.fromarray(index_images.shrink(image, max(size))).resize(size)
    height, width = image.shape[:2]
    return sst.overlay(image, start, (0, 0, width, height), size, colours, 70).resize(size)
