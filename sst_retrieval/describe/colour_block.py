"""Room 4, the colour block: how often each colour occurs under a mask, as a histogram in CIE Lab."""

from __future__ import annotations

import functools

import numpy as np
from scipy.spatial.distance import cdist
from skimage.color import rgb2lab

from sst_retrieval.imaging.masks import box
from sst_retrieval.types import Doubles, Floats, Mask, RGBImage, unit

COLOUR_STEP = 25.0  # Distance of neighbouring reference colours in Lab.
COLOUR_SPREAD = 12.0  # A pixel counts for reference colours about this far away, so a little light changes little.
LIGHTNESS_WEIGHT = 0.7  # Lamps and exposure differ more than hues do.
COLOUR_PIXELS = 2048  # Pixels looked at; more change nothing visible.
RIM = 0.15  # Share of a trait's thickness that is left out at its rim, where colours bleed into the neighbour's.
RIM_PIXELS = 8


def colour_block(image: RGBImage, mask: Mask) -> Floats:
    """Count the colours under a mask.

    Each pixel is shared among the reference colours near it in CIE Lab. The square roots of the shares are compared
    (Hellinger), so that a large dull area does not drown a small bright one.

    Args:
        image: uint8 (H, W, 3).
        mask: bool (H, W), not empty.

    Returns:
        float32 (number of reference colours,), unit length.
    """
    x0, y0, x1, y1 = box(mask)
    inner = _without_rim(mask[y0:y1, x0:x1])
    places = np.flatnonzero(inner)
    rows, columns = np.unravel_index(places[:: max(1, len(places) // COLOUR_PIXELS)], inner.shape)
    lab = rgb2lab(image[y0 + rows, x0 + columns][None])[0]
    scale = np.array([LIGHTNESS_WEIGHT, 1, 1]) / COLOUR_SPREAD
    distance = cdist(lab * scale, reference_colours() * scale, "sqeuclidean")
    # Relative to the nearest reference, so that even a colour far from all of them counts fully.
    shares = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / 2)
    return unit(np.sqrt((shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)))


@functools.cache
def reference_colours() -> Doubles:
    """Lab colours on a regular lattice, those near a colour that a screen can show: float64 (K, 3)."""
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    shown = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    lattice: Doubles = np.unique(np.round(rgb2lab(shown)[0] / COLOUR_STEP), axis=0) * COLOUR_STEP
    return lattice


def _without_rim(mask: Mask) -> Mask:
    """Leave out the rim of a trait, unless it is too thin to have one."""
    framed = np.pad(mask, 1)
    edges = np.count_nonzero(framed[1:] != framed[:-1]) + np.count_nonzero(framed[:, 1:] != framed[:, :-1])
    thickness = 2 * np.count_nonzero(mask) / edges  # Exact for a long bar.
    rim = min(int(RIM * thickness), RIM_PIXELS)
    if rim == 0:
        return mask
    padded = np.pad(mask, rim)
    inner = mask & padded[: -2 * rim, rim:-rim] & padded[2 * rim :, rim:-rim]
    inner &= padded[rim:-rim, : -2 * rim] & padded[rim:-rim, 2 * rim :]
    return inner if inner.any() else mask
