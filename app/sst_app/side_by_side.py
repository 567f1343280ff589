"""Compare hits side by side at the same scale, with one common zoom."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image, ImageDraw

import sst_retrieval as sst
from sst_app import command_line, components, current_index, index_images
from sst_app.markdown import escape_md
from sst_app.page_errors import show_errors

SIDE = 900
"""Edge of a picture, in pixels."""

MARGIN = 1.2
"""How many times the largest trait a picture is wide."""


def show_bar(index: sst.Index, hits: Sequence[sst.Hit]) -> None:
    """Show how many hits are ticked, at the lower edge of the window, and what can be done with them."""
    ticked = [hit for hit in hits if st.session_state.get(f"compare-{hit.individual}")]
    if not ticked:
        return
    with st.container(key="compare-bar", horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{len(ticked)} ticked**", width="content")
        if st.button("Compare side by side", type="primary", disabled=len(ticked) < 2, key="start-compare"):
            _show(index, ticked)
        st.button("Clear", key="clear-compare", on_click=_untick, args=([hit.individual for hit in ticked],))


@st.dialog("Side by side", width="large")
@show_errors()
def _show(index: sst.Index, hits: Sequence[sst.Hit]) -> None:
    """Show the traits of hits side by side at one scale: in millimetres where it is known of all, else in pixels."""
    boxes = [index.region(hit.individual, hit.trait).box for hit in hits]
    sizes = [max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
    by_group = read_group_scales()
    scales = [by_group.get(index.individual(hit.individual).group) or read_scale(hit.metadata) for hit in hits]
    known = [scale for scale in scales if scale is not None]
    if len(known) == len(hits):
        extent = MARGIN * max(size * scale for size, scale in zip(sizes, known, strict=True))
        sides = [max(1, round(extent / scale)) for scale in known]
        bar = choose_bar(extent)
        widths = [f"{extent:.3g} mm wide"] * len(hits)
        what = f"One millimetre is equally large everywhere; the bar is {bar:g} mm."
    else:
        sides, extent, bar = [round(MARGIN * max(sizes))] * len(hits), 1.0, 0.0
        widths = [f"{side:,} px wide" for side in sides]
        lacking = [hit.individual for hit, scale in zip(hits, scales, strict=True) if scale is None]
        what = "One pixel of every photograph is equally large"
        what += f"; {', '.join(lacking)} has no scale (column mmPerPixel, or a table with --scale)." if known else "."
    st.caption(escape_md(f"{what} The wheel zooms all, dragging moves all."))
    pictures = []
    for hit, side, width in zip(hits, sides, widths, strict=True):
        try:
            key = current_index.get_cache_key(index)
            picture = cut_at_scale(index, key, hit.individual, hit.trait, side, bar / extent)
        except sst.ImageError as error:
            st.warning(escape_md(error))
            continue
        name = f"{hit.trait} of {hit.individual}"
        note = f"{hit.rank}. {hit.individual}, similarity {hit.similarity:.3f} ({width})"
        pictures.append({"image": index_images.make_data_uri(picture), "label": name, "note": note})
    components.show_pictures_together(pictures, key="compared")


def read_scale(metadata: Mapping[str, object]) -> float | None:
    """Read how many millimetres a pixel is, in a column such as mmPerPixel or mm_per_px; None if that is not known."""
    written = {re.sub(r"[\s_/]|per", "", name.casefold()): value for name, value in metadata.items()}
    try:
        scale = float(str(written.get("mmpixel", written.get("mmpx", ""))))
    except ValueError:
        return None
    return scale if 0 < scale < math.inf else None


def read_group_scales() -> dict[str, float]:
    """Read the scales of the table named with --scale: group -> millimetres a pixel; they win over the column."""
    path = command_line.read_arguments().scale
    if path is None:
        return {}
    return _read_group_scales(path, path.stat().st_mtime_ns)


@st.cache_data(max_entries=4, show_spinner=False)
def _read_group_scales(path: Path, changed: int) -> dict[str, float]:
    return sst.read_scales(path)


def choose_bar(extent: float) -> float:
    """Choose the length of a scale bar: 1, 2 or 5 times a power of ten, at most a third of the extent.

    >>> choose_bar(34.0), choose_bar(0.7)
    (10.0, 0.2)
    """
    power = 10.0 ** math.floor(math.log10(extent / 3))
    return round(max(step for step in (1, 2, 5) if step * power <= extent / 3) * power, 9)


@st.cache_data(max_entries=64, show_spinner="Reading the photographs")
def cut_at_scale(
    _index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str, trait: str, side: int, bar: float = 0.0
) -> bytes:
    """Crop a square of `side` pixels around a trait from its photograph, padded with grey; return a JPEG file.

    Args:
        specimen, trait: what is cropped.
        side: edge of the square in pixels of the photograph.
        bar: share of the edge that a scale bar is long; 0 draws none.
    """
    image, mask = _index.photograph(specimen), _index.mask(specimen, trait)
    x0, y0, x1, y1 = _index.region(specimen, trait).box
    left, top = (x0 + x1 - side) // 2, (y0 + y1 - side) // 2
    height, width = image.shape[:2]
    window = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
    edge = min(SIDE, max(360, side))
    scale = edge / side
    size = (max(1, round((window[2] - window[0]) * scale)), max(1, round((window[3] - window[1]) * scale)))
    piece = sst.overlay(image, {trait: mask}, window, size, {trait: sst.PALETTE[0]}, 0)
    square = Image.new("RGB", (edge, edge), "#ECECEA")
    square.paste(piece, (round((window[0] - left) * scale), round((window[1] - top) * scale)))
    if bar:
        pen, thick = ImageDraw.Draw(square), max(3, edge // 120)
        left, lower = edge // 24, edge - edge // 24
        # Black in white: seen on any photograph.
        pen.rectangle((left - 2, lower - thick - 2, left + round(bar * edge) + 2, lower + 2), fill="#FFFFFF")
        pen.rectangle((left, lower - thick, left + round(bar * edge), lower), fill="#000000")
    return index_images.encode_jpeg(np.asarray(square))


def _untick(specimens: Sequence[str]) -> None:
    for specimen in specimens:
        st.session_state[f"compare-{specimen}"] = False
