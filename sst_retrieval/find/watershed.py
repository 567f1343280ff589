"""Split a piece into round parts where it is narrow, whatever their sizes.

The parts' middles are the maxima of the distance from the outside, taken from the deepest down. A maximum that lies
within the circle around a deeper one, times `spacing`, is no middle of its own. So large and small neighbours are
told apart alike. Watershed on the distance (Beucher and Lantuejoul 1979) draws the lines between the parts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from sst_retrieval.types import Mask

LEAST_DEPTH = 1.5
"""Depth, in pixels, below which a maximum is the grain of the outline."""


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
