"""Notice photographs that can hardly be meant: nearly black, nearly white, of one colour, tiny."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

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
    # Of nearly all photographs a sample tells. Channel by channel: along the short axis numpy takes ten times as long.
    return all(int(np.ptp(pixels[:, channel])) <= FLAT for pixels in (flat[::step], flat) for channel in range(3))


def describe_exposure(image: RGBImage) -> str | None:
    """Say what is odd about the brightness or the size of a photograph.

    Args:
        image: uint8 (H, W, 3).

    Returns:
        A few words, or None.
    """
    flat = image.reshape(-1, 3)
    red, green, blue = flat[:: max(1, len(flat) // _SAMPLE)].T
    if compute_percentile(np.maximum(np.maximum(red, green), blue), 100 - OUTLIERS) < NEARLY_BLACK:
        return "it is nearly black"
    if compute_percentile(np.minimum(np.minimum(red, green), blue), OUTLIERS) > NEARLY_WHITE:
        return "it is nearly white"
    height, width = image.shape[:2]
    return f"it has {width} x {height} pixels only" if max(height, width) < SMALL_SIDE else None


def compute_percentile(values: npt.NDArray[np.uint8], percentage: float) -> float:
    """Compute a percentile as `np.percentile` does, but from a histogram, in a fifth of the time.

    Args:
        values: uint8 (N,), at least one.
        percentage: 0..100.
    """
    below = np.cumsum(np.bincount(values, minlength=256))
    place = percentage / 100 * (len(values) - 1)
    # The values that sorting would put at the two places next to it.
    lower, upper = np.searchsorted(below, [math.floor(place), math.ceil(place)], side="right")
    return float(lower + (upper - lower) * (place - math.floor(place)))
