"""Compare hits side by side at the same scale, with one common zoom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st
from PIL import Image

import sst_retrieval as sst
from sst_app import components, current_index, index_images
from sst_app.markdown import escape_md
from sst_app.page_errors import show_errors

SIDE = 900
"""Edge of a picture, in pixels."""


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
    """Show the traits of hits side by side, with the same number of photograph pixels per picture."""
    boxes = [index.region(hit.individual, hit.trait).box for hit in hits]
    side = round(1.2 * max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes))
    st.caption("One pixel of every photograph is equally large. The wheel zooms all, dragging moves all.")
    pictures = []
    for hit in hits:
        try:
            picture = cut_at_scale(index, current_index.get_cache_key(index), hit.individual, hit.trait, side)
        except sst.ImageError as error:
            st.warning(escape_md(error))
            continue
        name = f"{hit.trait} of {hit.individual}"
        note = f"{hit.rank}. {hit.individual}, similarity {hit.similarity:.3f} ({side:,} px wide)"
        pictures.append({"image": index_images.make_data_uri(picture), "label": name, "note": note})
    components.show_pictures_together(pictures, key="compared")


@st.cache_data(max_entries=64, show_spinner="Reading the photographs")
def cut_at_scale(_index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str, trait: str, side: int) -> bytes:
    """Crop a square of `side` pixels around a trait from its photograph, padded with grey; return a JPEG file."""
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
    return index_images.encode_jpeg(np.asarray(square))


def _untick(specimens: Sequence[str]) -> None:
    for specimen in specimens:
        st.session_state[f"compare-{specimen}"] = False
