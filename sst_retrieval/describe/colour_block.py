"""Room 4, the colour block: a soft histogram in CIE L*a*b* of the colours under a mask."""

from __future__ import annotations

import functools

import numpy as np
from scipy.spatial.distance import cdist
from skimage.color import rgb2lab

from sst_retrieval.describe.unit_vectors import normalise
from sst_retrieval.imaging.masks import box
from sst_retrieval.types import Doubles, Floats, Mask, RGBImage

COLOUR_STEP = 40.0  # Distance (CIE 1976 ΔE) of neighbouring reference colours.
COLOUR_SPREAD = 18.0  # Standard deviation (ΔE) of a pixel's soft assignment, so that a little light changes little.
# With 149 colours (25, 12) no more is found, and true distances are followed less: Spearman 0.90 instead of 0.92.
LIGHTNESS_WEIGHT = 0.7  # Weight of L* in a distance: illumination and exposure differ more than hues do.
COLOUR_PIXELS = 2048  # About as many pixels are sampled; more change nothing visible.
RIM_SHARE = 0.15  # Share of a trait's thickness that is left out along its rim, where colours bleed into neighbours.
RIM_PIXELS = 8  # At most this many pixels are left out.


def compute_colour_block(image: RGBImage, mask: Mask) -> Floats:
    """Compute the colour histogram under a mask.

    Each pixel is softly assigned to the reference colours near it in CIE L*a*b* (a Gaussian kernel). Returned are the
    square roots of the shares, whose cosine is the Bhattacharyya coefficient (Hellinger kernel: Arandjelović and
    Zisserman 2012, "Three things everyone should know to improve object retrieval"), so that a large dull area does not
    drown a small bright one.

    Args:
        image: uint8 (H, W, 3), 0..255, sRGB.
        mask: bool (H, W), not empty.

    Returns:
        float32 (number of `reference_colours`,), 0..1, unit length.
    """
    x0, y0, x1, y1 = box(mask)
    inner = _erode_rim(mask[y0:y1, x0:x1])
    indices = np.flatnonzero(inner)
    rows, columns = np.unravel_index(indices[:: max(1, len(indices) // COLOUR_PIXELS)], inner.shape)
    lab = rgb2lab(image[y0 + rows, x0 + columns][None])[0]
    scale = np.array([LIGHTNESS_WEIGHT, 1, 1]) / COLOUR_SPREAD
    distance = cdist(lab * scale, reference_colours() * scale, "sqeuclidean")
    # Relative to the nearest reference, so that even a colour far from all of them counts fully.
    shares = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / 2)
    return normalise(np.sqrt((shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)))


@functools.cache
def reference_colours() -> Doubles:
    """Return the centres of the histogram's bins: a regular lattice in CIE L*a*b*, over the gamut of sRGB.

    Returns:
        float64 (K, 3): L* 0..100, a* and b*, sorted.
    """
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    gamut = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    lattice: Doubles = np.unique(np.round(rgb2lab(gamut)[0] / COLOUR_STEP), axis=0) * COLOUR_STEP
    return lattice


def _erode_rim(mask: Mask) -> Mask:
    """Erode a mask by a share of its thickness, unless it is too thin."""
    padded = np.pad(mask, 1)
    edges = np.count_nonzero(padded[1:] != padded[:-1]) + np.count_nonzero(padded[:, 1:] != padded[:, :-1])
    thickness = 2 * np.count_nonzero(mask) / edges  # Exact for a long bar.
    rim = min(int(RIM_SHARE * thickness), RIM_PIXELS)
    if rim == 0:
        return mask
    padded = np.pad(mask, rim)
    inner = mask & padded[: -2 * rim, rim:-rim] & padded[2 * rim :, rim:-rim]
    inner &= padded[rim:-rim, : -2 * rim] & padded[rim:-rim, 2 * rim :]
    return inner if inner.any() else mask
