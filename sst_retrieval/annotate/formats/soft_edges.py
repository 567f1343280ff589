"""Notice label pictures whose numbers were mixed at the edges: drawn with a soft brush, smoothed, resized, or a JPEG.

Between the numbers 0 and 3, soft edges leave a ring of 1 and 2: masks of other traits, and nothing else shows it.

Rings are pixels that lie in number between the smallest and the largest of their 3 x 3 neighbours, in strips that are
at most two pixels wide. Their share of all pixels at an edge is at most 0.02 in 700 label pictures that people painted
(0.05 in copies of a half and a quarter of the size, which show rings that are wider), and 0.08 to 0.6 in soft ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

MAX_SHARE = {1: 0.04, 2: 0.08, 4: 0.08}
"""How often a pixel is taken, in each direction -> the largest share of rings of a label picture that is right."""

LEAST_PIXELS = 24
"""Fewer pixels in rings than this prove nothing."""


def find_mixed_numbers(labels: npt.NDArray[np.uint16]) -> tuple[int, ...]:
    """Find the numbers that form rings between two others.

    Args:
        labels: uint16 (H, W).

    Returns:
        The numbers, those with the most pixels in rings first; none if the edges are hard.
    """
    if len(np.unique(labels)) < 3:
        return ()
    for step, share in MAX_SHARE.items():
        taken = labels[::step, ::step]
        rings, edges = _find_rings(taken)
        if np.count_nonzero(rings) >= LEAST_PIXELS and np.count_nonzero(rings) > share * edges:
            numbers, counts = np.unique(taken[rings], return_counts=True)
            return tuple(int(number) for number in numbers[np.argsort(-counts, kind="stable")])
    return ()


def are_only_rings(labels: npt.NDArray[np.uint16], numbers: Iterable[int]) -> bool:
    """Tell whether some numbers occur hardly anywhere but between two others.

    Args:
        labels: uint16 (H, W).
        numbers: to look at.
    """
    rings, _ = _find_rings(labels)
    chosen = np.isin(labels, list(numbers))
    inside = np.count_nonzero(chosen & rings)
    return bool(inside >= LEAST_PIXELS and inside > 0.5 * np.count_nonzero(chosen))


def _find_rings(labels: npt.NDArray[np.uint16]) -> tuple[npt.NDArray[np.bool_], int]:
    """Return the pixels of rings, bool (H, W), and the number of pixels at an edge."""
    least, most = ndimage.minimum_filter(labels, 3), ndimage.maximum_filter(labels, 3)
    rings = (least < labels) & (labels < most)
    square = np.ones((3, 3), dtype=bool)
    for number in np.unique(labels[rings]):
        own = labels == number
        rings &= ~ndimage.binary_opening(own, square)
    return rings, int(np.count_nonzero(least != most))
