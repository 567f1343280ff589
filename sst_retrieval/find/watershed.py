"""Split a piece into round parts where it is narrow, whatever their sizes.

The parts' middles are the maxima of the distance from the outside, taken from the deepest down. A maximum that lies
within the circle around a deeper one, times `spacing`, is no middle of its own. So large and small neighbours are
told apart alike. Watershed on the distance (Beucher and Lantuejoul 1979) draws the lines between the parts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.morphology import convex_hull_image
from skimage.segmentation import watershed

from sst_retrieval.types import Mask

CONVEX, LONG = 0.93, 2.3
"""A compact shape fills at least this share of its convex hull, and is at most this multiple of the largest circle
inside it. Of mushrooms in a bed, which hide each other, 98 % are compact; of deer none, of tigers and turtles a few."""

LEAST_DEPTH = 1.5
"""Depth, in pixels, below which a maximum is the grain of the outline."""


def is_compact(mask: Mask) -> bool:
    """Return whether a shape is so compact that, where it is narrow, two of its kind touch.

    Args:
        mask: bool (H, W), not empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    cut = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    area, depth = np.count_nonzero(cut), float(ndimage.distance_transform_edt(cut).max())
    return bool(area >= CONVEX * np.count_nonzero(convex_hull_image(cut)) and area <= LONG * np.pi * depth**2)


def split_round(mask: Mask, spacing: float, smoothing: float = 1.5) -> npt.NDArray[np.int32]:
    """Split a piece at its narrow places.

    Args:
        mask: bool (H, W).
        spacing: least distance of two middles, as a multiple of the deeper one's depth.
        smoothing: standard deviation, in pixels, of the Gaussian that smooths the depth.

    Returns:
        int32 (H, W), 0 outside, else the number of the part; 1 everywhere inside if it stays whole.
    """
    padded = np.pad(mask, 2)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(padded), smoothing)
    peaks = (ndimage.maximum_filter(depth, 3) == depth) & (depth > LEAST_DEPTH)
    labelled, count = ndimage.label(peaks, np.ones((3, 3)))
    middles = np.array(ndimage.maximum_position(depth, labelled, range(1, count + 1)), dtype=np.int64).reshape(-1, 2)
    depths = depth[tuple(middles.T)]
    chosen: list[int] = []
    for place in np.argsort(-depths, kind="stable"):
        distances = np.hypot(*(middles[chosen] - middles[place]).T)
        if (distances >= spacing * depths[chosen]).all():
            chosen.append(int(place))
    if len(chosen) < 2:
        return mask.astype(np.int32)
    markers = np.zeros(padded.shape, dtype=np.int32)
    markers[tuple(middles[chosen].T)] = np.arange(1, len(chosen) + 1)
    parts: npt.NDArray[np.int32] = watershed(-depth, markers, mask=padded)[2:-2, 2:-2].astype(np.int32)
    return parts
