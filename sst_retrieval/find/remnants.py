"""Remnants: strips of the kind's own pixels that a split cut off an individual, and that became none themselves.

Where three round things touch, what lies between them is far from the outside: a split at narrow places
(`find.watershed`) makes a part of it. That part is no individual and is left out, and its neighbours end in straight
lines, along which it was cut off. What is left so is given back to the individuals beside it, pixel by pixel to the
nearest; what is as thick as an individual may be one that was missed, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sst_retrieval.find.proposals import Proposal
from sst_retrieval.types import Mask

MOST_DEPTH = 0.5
"""Half-width of a remnant at most, as a share of the half-width of the individual that it touches most."""

LEAST_CONTACT = 0.4
"""Share of a remnant's border along which individuals lie, at least: a stalk or a bud has one end there. Both were set
on three beds of mushrooms, where 6 outlines got better and 2 worse; at a contact of 0.2 more get worse than better."""

FRINGE = 1
"""Strips up to twice as wide, in pixels, are the grain of the outline."""


def return_remnants(individuals: Sequence[Proposal], kind: Mask) -> list[Proposal]:
    """Give what a split cut off back to the individuals beside it.

    Args:
        individuals: of a photograph; a pixel that two claim is the first one's.
        kind: bool (H, W), the pixels of the photograph that look like the annotated individuals.

    Returns:
        The individuals, in their order, as they were or larger.
    """
    owners = np.zeros(kind.shape, dtype=np.int32)
    for number in range(len(individuals), 0, -1):
        x0, y0, x1, y1 = individuals[number - 1].box
        owners[y0:y1, x0:x1][individuals[number - 1].mask] = number
    half_widths = [float(ndimage.distance_transform_edt(np.pad(each.mask, 1)).max()) for each in individuals]
    left = ndimage.binary_opening(kind & (owners == 0), np.ones((2 * FRINGE + 1, 2 * FRINGE + 1)))
    remnants, _ = ndimage.label(left)
    gained = np.zeros_like(owners)
    for number, place in enumerate(ndimage.find_objects(remnants), start=1):
        rows, columns = (slice(max(0, each.start - 2), each.stop + 2) for each in place)
        remnant = remnants[rows, columns] == number
        nearest = _find_owners(remnant, owners[rows, columns], half_widths)
        gained[rows, columns][remnant] = nearest[remnant]
    completed = list(individuals)
    for number, place in enumerate(ndimage.find_objects(gained), start=1):
        if place is not None:
            corner = (place[1].start, place[0].start)
            completed[number - 1] = _add(individuals[number - 1], gained[place] == number, corner)
    return completed


def _find_owners(remnant: Mask, owners: npt.NDArray[np.int32], half_widths: Sequence[float]) -> npt.NDArray[np.int32]:
    """Find whose the pixels of a remnant are: int32 (h, w), 0 where they stay nobody's."""
    nobody = np.zeros_like(owners)
    # Two pixels wide: the grain of the outline lies between.
    rim = ndimage.binary_dilation(remnant, np.ones((3, 3)), iterations=2) & ~remnant
    touched = np.bincount(owners[rim], minlength=len(half_widths) + 1)
    touched[0] = 0
    if not touched.any() or touched.sum() < LEAST_CONTACT * np.count_nonzero(rim):
        return nobody
    depth = float(ndimage.distance_transform_edt(np.pad(remnant, 1)).max())
    if depth > MOST_DEPTH * half_widths[int(touched.argmax()) - 1]:
        return nobody
    places = ndimage.distance_transform_edt(owners == 0, return_distances=False, return_indices=True)
    nearest: npt.NDArray[np.int32] = owners[tuple(places)]
    return nearest


def _add(individual: Proposal, more: Mask, corner: tuple[int, int]) -> Proposal:
    """Add pixels, bool (h, w), whose upper left one lies at (x, y) on the photograph, to an individual."""
    (x0, y0, x1, y1), (left, top) = individual.box, corner
    box = (min(x0, left), min(y0, top), max(x1, left + more.shape[1]), max(y1, top + more.shape[0]))
    whole = np.zeros((box[3] - box[1], box[2] - box[0]), dtype=bool)
    whole[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]] = individual.mask
    whole[top - box[1] : top - box[1] + more.shape[0], left - box[0] : left - box[0] + more.shape[1]] |= more
    return replace(individual, box=box, mask=whole)
