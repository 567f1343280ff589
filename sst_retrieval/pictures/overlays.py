"""Draw masks on a part of a photograph. Pure functions: pixels in, a picture out.

Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart. An outline has a dark and a light side,
so it is seen on a black wing and on a white one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from sst_retrieval.imaging.masks import box
from sst_retrieval.types import Box, Mask, RGBImage

PALETTE = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00")
"""Okabe and Ito's colours without black; an eighth trait has the first one's colour again."""

MARK = "#D55E00"
"""Colour of what is to be found at a glance: the query, the place of an individual."""

SMALLEST_FRAME = 7
"""Edge of the smallest frame around an individual, in pixels of the picture."""


def around_mask(mask: Mask) -> Box:
    """Compute a window around a mask with surroundings on every side.

    Args:
        mask: bool (H, W).

    Returns:
        (x0, y0, x1, y1) in pixels, half-open, inside the photograph; all of it if the mask is empty.
    """
    height, width = mask.shape
    return around_box(box(mask), (height, width))


def around_box(inner: Box, size: tuple[int, int]) -> Box:
    """Return the window of `around_mask` for a mask whose box is known.

    Args:
        inner: (x0, y0, x1, y1) around the mask; (0, 0, 0, 0) if it is empty.
        size: (height, width) of the photograph in pixels.

    Returns:
        (x0, y0, x1, y1) in pixels, half-open, inside the photograph.
    """
    left, top, right, bottom = inner
    height, width = size
    if left == right:
        return 0, 0, width, height
    side = max(16.0, 1.45 * max(right - left, bottom - top))
    x, y = (left + right) / 2, (top + bottom) / 2
    x0, y0 = max(0, math.floor(x - side / 2)), max(0, math.floor(y - side / 2))
    return x0, y0, min(width, math.ceil(x + side / 2)), min(height, math.ceil(y + side / 2))


def crop_trait(image: RGBImage, mask: Mask, side: int) -> RGBImage:
    """Crop a photograph to a trait with some surroundings, and draw its outline.

    Args:
        image: uint8 (H, W, 3).
        mask: bool (H, W).
        side: longer edge of the picture in pixels.

    Returns:
        uint8 (h, w, 3).
    """
    return np.asarray(overlay(image, {"": mask}, around_mask(mask), (side, side), {"": PALETTE[0]}, 0))


def overlay(
    image: RGBImage,
    masks: Mapping[str, Mask],
    window: Box,
    size: tuple[int, int],
    colours: Mapping[str, str],
    shade: int,
    *,
    outlined: Sequence[Mask] = (),
) -> Image.Image:
    """Crop a photograph to a window, fit it into a size and draw masks on it.

    Args:
        image: uint8 (H, W, 3), the whole photograph.
        masks: name -> bool (H, W).
        window: (x0, y0, x1, y1) in pixels, half-open.
        size: (width, height) in pixels that the picture must fit into.
        colours: name -> colour, as Pillow takes it.
        shade: 0..255, how strongly the masks are tinted; 0 draws their outlines alone.
        outlined: further masks, bool (H, W), to be outlined in white, above the others.

    Returns:
        An RGB picture.
    """
    x0, y0, x1, y1 = window
    # Drawn at twice the size and halved at the end: smooth outlines.
    scale = 2 * min(size[0] / (x1 - x0), size[1] / (y1 - y0))
    large = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    photograph = Image.fromarray(np.ascontiguousarray(image[y0:y1, x0:x1]))
    picture = photograph.resize(large, Image.Resampling.BICUBIC, reducing_gap=3)
    layers = [(mask, colours[name], shade) for name, mask in masks.items()]
    for mask, colour, tint in [*layers, *((mask, "#FFFFFF", 0) for mask in outlined)]:
        visible = np.ascontiguousarray(mask[y0:y1, x0:x1])
        if visible.any():
            # Averaged, then "a good part of the pixel": an antenna is thinner than a pixel of the sheet.
            cover = Image.fromarray(visible.astype(np.uint8) * 255).resize(large, Image.Resampling.BILINEAR)
            _draw_mask(picture, cover.point(lambda value: 255 if value > 80 else 0), colour, tint)
    return picture.reduce(2)


def locate(image: RGBImage, window: Box, side: int) -> RGBImage:
    """Draw a small picture of a whole photograph, with a frame around a part of it.

    Args:
        image: uint8 (H, W, 3), the whole photograph.
        window: (x0, y0, x1, y1) in pixels, half-open: the part.
        side: longer edge of the picture in pixels.

    Returns:
        uint8 (h, w, 3).
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=3)
    x0, y0, x1, y1 = (value * scale for value in window)
    grow_x, grow_y = max(0.0, SMALLEST_FRAME - (x1 - x0)) / 2, max(0.0, SMALLEST_FRAME - (y1 - y0)) / 2
    frame = (round(x0 - grow_x), round(y0 - grow_y), round(x1 + grow_x) - 1, round(y1 + grow_y) - 1)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((frame[0] - 2, frame[1] - 2, frame[2] + 2, frame[3] + 2), outline="#000000")
    pen.rectangle((frame[0] - 1, frame[1] - 1, frame[2] + 1, frame[3] + 1), outline=MARK, width=2)
    return np.asarray(picture)


def _draw_mask(picture: Image.Image, shape: Image.Image, colour: str, shade: int) -> None:
    """Tint a shape and draw its outline around it, so that nothing of the trait is hidden: coloured, then dark."""
    if shade:
        picture.paste(colour, mask=shape.point(lambda value: shade if value else 0))
    inside = np.asarray(shape)
    ring = _dilate(inside)
    halo = _dilate(ring)
    picture.paste("#000000", mask=Image.fromarray(np.where(halo & ~ring, np.uint8(190), np.uint8(0))))
    picture.paste(colour, mask=Image.fromarray(ring & ~inside))


def _dilate(shape: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Widen a shape by two pixels on every side, as Pillow's `MaxFilter(5)`, fifty times as fast.

    Args:
        shape: uint8 (h, w), 0 or 255.

    Returns:
        uint8 (h, w), 0 or 255.
    """
    for _ in ("down", "across"):
        padded = np.pad(shape, ((2, 2), (0, 0)))
        shape = functools.reduce(np.bitwise_or, (padded[start : start + len(shape)] for start in range(5))).T
    return shape
