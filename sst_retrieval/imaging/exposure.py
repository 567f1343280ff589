"""Notice photographs that can hardly be meant: nearly black, nearly white, of one colour, tiny."""

from __future__ import annotations

import numpy as np

from sst_retrieval.types import RGBImage

FLAT = 8
"""A photograph whose channels vary by no more than this, of 255, is of one colour."""

NEARLY_BLACK, NEARLY_WHITE = 24, 235
"""All but `OUTLIERS` per cent of the pixels are darker than the first, or lighter than the second, in all channels."""

OUTLIERS = 0.5

SMALL_SIDE = 50
"""A photograph whose longer edge has fewer pixels is probably a thumbnail."""

_SAMPLE = 1_000_000


def is_one_colour(image: RGBImage) -> bool:
    """Say whether a photograph shows nothing at all.

    Args:
        image: uint8 (H, W, 3).
    """
    flat = image.reshape(-1, 3)
    step = max(1, len(flat) // _SAMPLE)
    if int(np.ptp(flat[::step], axis=0).max()) > FLAT:  # Of nearly all photographs a sample tells.
        return False
    return int((flat.max(axis=0).astype(int) - flat.min(axis=0)).max()) <= FLAT


def describe_exposure(image: RGBImage) -> str | None:
    """Say what is odd about the brightness or the size of a photograph.

    Args:
        image: uint8 (H, W, 3).

    Returns:
        A few words, or None.
    """
    flat = image.reshape(-1, 3)
    sample = flat[:: max(1, len(flat) // _SAMPLE)]
    if np.percentile(sample.max(axis=1), 100 - OUTLIERS) < NEARLY_BLACK:
        return "it is nearly black"
    if np.percentile(sample.min(axis=1), OUTLIERS) > NEARLY_WHITE:
        return "it is nearly white"
    height, width = image.shape[:2]
    return f"it has {width} x {height} pixels only" if max(height, width) < SMALL_SIDE else None
