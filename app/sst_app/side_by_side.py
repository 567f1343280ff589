"""Compare hits side by side at the same scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st
from PIL import Image

import sst_retrieval as sst
from sst_app import current_index, index_images
from sst_app.markdown import escape_md

SIDE = 360
"""Edge of a picture, in pixels."""


def show(index: sst.Index, hits: Sequence[sst.Hit]) -> None:
    """Show the traits of hits side by side, with the same number of photograph pixels per picture."""
    with st.container(border=True):
        head = st.columns([4, 1], vertical_alignment="center")
        head[0].markdown(f"**{len(hits)} side by side**, one pixel of every photograph equally large")
        head[1].button("Clear", on_click=_untick, args=([hit.individual for hit in hits],), width="stretch")
        boxes = [index.region(hit.individual, hit.trait).box for hit in hits]
        side = round(1.2 * max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes))
        for place, hit in zip(st.columns(min(4, len(hits))) * len(hits), hits, strict=False):
            try:
                picture = cut_at_scale(index, current_index.get_cache_key(index), hit.individual, hit.trait, side)
            except sst.ImageError as error:
                place.warning(escape_md(error))
                continue
            place.image(picture, caption=f"{escape_md(hit.individual)} ({side} px wide)", width="stretch")


@st.cache_data(max_entries=64, show_spinner="Reading the photographs")
def cut_at_scale(_index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str, trait: str, side: int) -> bytes:
    """Crop a square of `side` pixels around a trait from its photograph, padded with grey; return a JPEG file."""
    image, mask = _index.photograph(specimen), _index.mask(specimen, trait)
    x0, y0, x1, y1 = _index.region(specimen, trait).box
    left, top = (x0 + x1 - side) // 2, (y0 + y1 - side) // 2
    height, width = image.shape[:2]
    window = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
    scale = SIDE / side
    size = (max(1, round((window[2] - window[0]) * scale)), max(1, round((window[3] - window[1]) * scale)))
    piece = sst.overlay(image, {trait: mask}, window, size, {trait: sst.PALETTE[0]}, 0)
    square = Image.new("RGB", (SIDE, SIDE), "#ECECEA")
    square.paste(piece, (round((window[0] - left) * scale), round((window[1] - top) * scale)))
    return index_images.encode_jpeg(np.asarray(square))


def _untick(specimens: Sequence[str]) -> None:
    for specimen in specimens:
        st.session_state[f"compare-{specimen}"] = False
