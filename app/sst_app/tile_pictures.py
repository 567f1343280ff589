"""The picture of a trait on a tile: of a trait that lies far apart, such as a pair, one side: it can be seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

import sst_retrieval as sst
from sst_app import index_images

EDGE = 256
"""Longer edge of a picture, in pixels."""

GAP = 0.2
"""What lies apart has an empty strip between its parts of at least this share of the whole's longer edge."""

Box = tuple[int, int, int, int]


@st.cache_data(max_entries=4096, show_spinner=False)
def read_picture(_index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str, trait: str) -> bytes:
    """Return the picture of a trait as a JPEG file: its crop, or one side of it cut out of the thumbnail."""
    small = _index.thumbnail(specimen)
    if small is None:
        return index_images.read_crop(_index, key, specimen, trait)
    mask = index_images.show_window(_index.mask(specimen, trait), _index.window(specimen))
    side = find_side(mask)
    if side is None:
        return index_images.read_crop(_index, key, specimen, trait)
    return index_images.encode_jpeg(cut_side(index_images.decode(small), mask, side))


def find_side(mask: npt.NDArray[np.bool_]) -> Box | None:
    """Find one side of a mask whose parts lie far apart: the left or the upper one, unless it is much the smaller.

    Always the same side, so that hits can be compared.

    Args:
        mask: bool (H, W).

    Returns:
        (x0, y0, x1, y1) in pixels, half-open; None if the mask is in one place.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    longest = max(np.ptp(rows), np.ptp(columns)) + 1
    gaps = [(int(np.diff(places).max(initial=1)) - 1, axis) for axis, places in ((1, columns), (0, rows))]
    gap, axis = max(gaps)
    if gap < GAP * longest:
        return None
    places = (rows, columns)[axis]
    middle = int(places[np.diff(places).argmax()]) + 1
    first, second = np.split(mask, [middle], axis=axis)
    other = 2 * np.count_nonzero(first) < np.count_nonzero(second)
    part, start = (second, middle) if other else (first, 0)
    ys, xs = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    x, y = (start, 0) if axis else (0, start)
    return int(xs[0]) + x, int(ys[0]) + y, int(xs[-1]) + x + 1, int(ys[-1]) + y + 1


def cut_side(picture: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], side: Box) -> npt.NDArray[np.uint8]:
    """Cut one side of a trait out of a small picture, with its outline.

    Args:
        picture: uint8 (h, w, 3), the thumbnail of what the mask is of.
        mask: bool (H, W), at the photograph's own size.
        side: (x0, y0, x1, y1) in pixels of the mask.

    Returns:
        uint8 (at most EDGE, at most EDGE, 3).
    """
    height, width = picture.shape[:2]
    down, across = height / mask.shape[0], width / mask.shape[1]
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    x0, y0, x1, y1 = side
    inner = (
        int(x0 * across), int(y0 * down), max(int(x0 * across) + 1, round(x1 * across)),
        max(int(y0 * down) + 1, round(y1 * down)),
    )  # fmt: skip
    around = sst.around_box(inner, (height, width))
    found = sst.overlay(picture, {"": np.asarray(small) > 100}, around, (EDGE, EDGE), {"": sst.PALETTE[0]}, 0)
    return np.asarray(found)
