"""Proposals: pieces of a photograph that may be one individual, whatever they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from sst_retrieval.find.overlaps import compute_ious
from sst_retrieval.types import Box, Floats, Mask

LEAST_AREA = 0.0008
"""Pieces that cover less of the photograph are dust."""

_LEAST_PIXELS = 12


@dataclass(frozen=True, slots=True)
class Proposal:
    """A piece of a photograph that may be one individual.

    Attributes:
        box: (x0, y0, x1, y1) in pixels of the photograph it was found on, half-open; the tightest around the mask.
        mask: bool (y1 - y0, x1 - x0).
        votes: how many proposals were nearly the same.
        around: 0..1, how much of its surroundings is foreground, too: the rest of what it is a part of.
    """

    box: Box
    mask: Mask
    votes: float = 1.0
    around: float = 0.0

    @property
    def area(self) -> int:
        """How many pixels it covers."""
        return int(np.count_nonzero(self.mask))


def resize_map(values: Floats, size: tuple[int, int]) -> Floats:
    """Resize a map bilinearly: float32 (h, w) to (height, width)."""
    resized = Image.fromarray(np.asarray(values, dtype=np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized)


def find_pieces(foreground: Mask, corner: tuple[int, int] = (0, 0), least_area: float = 0.0) -> list[Proposal]:
    """Find the connected pieces of a foreground.

    Args:
        foreground: bool (H, W).
        corner: (x, y) of its upper left pixel on the photograph.
        least_area: smaller pieces are left out, in pixels.

    Returns:
        The pieces, holes filled, from the top down.
    """
    return collect_pieces(ndimage.label(foreground)[0], corner, least_area)


def collect_pieces(
    labelled: npt.NDArray[np.int32], corner: tuple[int, int] = (0, 0), least_area: float = 0.0
) -> list[Proposal]:
    """Make a proposal of every number of a label map, holes filled: int (H, W), 0 is the background."""
    found = []
    for number, place in enumerate(ndimage.find_objects(labelled), start=1):
        if place is None:
            continue
        mask = ndimage.binary_fill_holes(labelled[place] == number)
        if np.count_nonzero(mask) < max(_LEAST_PIXELS, least_area):
            continue
        x, y = place[1].start + corner[0], place[0].start + corner[1]
        found.append(Proposal((x, y, x + mask.shape[1], y + mask.shape[0]), mask))
    return found


def measure_around(proposal: Proposal, foreground: Floats, width: float = 0.08) -> float:
    """Measure how much foreground there is around a piece.

    Args:
        proposal: the piece.
        foreground: float32 (H, W), 0..1, of the photograph.
        width: of the ring around it, as a share of the square root of its area.

    Returns:
        The mean of the foreground in the ring, 0..1; 0 if the piece is the photograph.
    """
    rim = max(2, int(width * proposal.area**0.5))
    x0, y0, x1, y1 = proposal.box
    top, left = max(0, y0 - rim), max(0, x0 - rim)
    window = foreground[top : y1 + rim, left : x1 + rim]
    inside = np.zeros(window.shape, dtype=bool)
    inside[y0 - top : y1 - top, x0 - left : x1 - left] = proposal.mask
    ring = (ndimage.distance_transform_edt(~inside) <= rim) & ~inside
    return float(window[ring].mean()) if ring.any() else 0.0


def merge_alike(proposals: Sequence[Proposal], alike: float = 0.8, same: float = 0.9) -> list[Proposal]:
    """Merge proposals that are the same piece, and count how many are nearly so.

    A thing that is proposed at every threshold and in every view is one; what a single view shows may be chance.

    Args:
        proposals: of all sources.
        alike: IoU from which on one proposal is a vote for the other.
        same: IoU from which on only one of both is kept.

    Returns:
        Those kept, each with its votes, in their order.
    """
    ious = compute_ious([(each.box, each.mask) for each in proposals], least=alike)
    votes = [
        each.votes + sum(proposals[other].votes for other, _ in ious[place]) for place, each in enumerate(proposals)
    ]
    kept: list[int] = []
    for place in sorted(range(len(proposals)), key=lambda each: -votes[each]):
        if not any(other in kept and iou >= same for other, iou in ious[place]):
            kept.append(place)
    return [
        Proposal(proposals[place].box, proposals[place].mask, votes[place], proposals[place].around)
        for place in sorted(kept)
    ]
