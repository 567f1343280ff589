"""Proposals: pieces of a photograph that may be one individual, whatever they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from sst_retrieval.types import Box, Floats, Mask

LEAST_AREA = 0.0008
"""Pieces that cover less of the photograph are dust."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A piece of a photograph that may be one individual.

    Attributes:
        box: (x0, y0, x1, y1) in pixels of the photograph it was found on, half-open; the tightest around the mask.
        mask: bool (y1 - y0, x1 - x0).
        surety: 0..1, the mean of the foreground inside the mask.
    """

    box: Box
    mask: Mask
    surety: float

    @property
    def area(self) -> int:
        """How many pixels it covers."""
        return int(np.count_nonzero(self.mask))


def resize_map(values: Floats, size: tuple[int, int]) -> Floats:
    """Resize a map bilinearly: float32 (h, w) to (height, width)."""
    resized = Image.fromarray(np.asarray(values, dtype=np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized)


def find_pieces(foreground: Floats, threshold: float, least_area: float = LEAST_AREA) -> list[Proposal]:
    """Find the connected pieces of a foreground.

    Args:
        foreground: float32 (H, W), 0..1.
        threshold: from which value on a pixel belongs to a piece.
        least_area: smaller pieces are left out, as a share of the photograph.

    Returns:
        The pieces, holes filled, from the top down.
    """
    labelled, _ = ndimage.label(foreground >= threshold)
    return collect_pieces(labelled, foreground, least_area)


def collect_pieces(labelled: np.ndarray, foreground: Floats, least_area: float = LEAST_AREA) -> list[Proposal]:
    """Make a proposal of every number of a label map, holes filled: int (H, W), 0 is the background."""
    found = []
    for number, place in enumerate(ndimage.find_objects(labelled), start=1):
        if place is None:
            continue
        mask = ndimage.binary_fill_holes(labelled[place] == number)
        if np.count_nonzero(mask) < max(4, least_area * labelled.size):
            continue
        rows, columns = place
        surety = float(np.clip(foreground[place][mask].mean(), 0, 1))
        found.append(Proposal((columns.start, rows.start, columns.stop, rows.stop), mask, surety))
    return found
