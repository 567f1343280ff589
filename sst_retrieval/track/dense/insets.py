"""How far the masks of a group are drawn in, calibrated on the group's own support.

Masks of votes reach over the rim of what was drawn: by a vein where a wing's cell is bounded by one, by the soft edge
of a coloured band. How far depends on the trait and on how it was drawn, not on the specimen, so it is measured where
the truth is known: on a changed view of the support itself (as `track.dense.view.compute_key_reliability`). Of a few
insets (a higher limit of the soft mask, or an erosion) the one that serves there is taken for all specimens.

Masks are only made smaller: what a mask lacks may be another trait's, and the support cannot say which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sst_retrieval.imaging.masks import iou
from sst_retrieval.types import Floats, Mask

MIN_GAIN = 0.002
"""IoU that an inset must gain on the support to be used."""

ENOUGH = 0.9
"""Share of the largest gain that is enough: the smallest inset with it is taken."""

MIN_IOU = 0.8
"""IoU of a trait's mask on the support, without an inset, below which more is wrong than its rim: it gets none. These
three numbers, and that masks only become smaller, are the best on average of six collections, and on five of them
whichever is left out."""


@dataclass(frozen=True, slots=True)
class Inset:
    """How far a trait's mask is drawn in.

    Attributes:
        margin: by which the soft mask must exceed 0.5.
        erosion: in pixels of the view: 0, 0.5, 1 or 1.5.
    """

    margin: float = 0.0
    erosion: float = 0.0


NO_INSET = Inset()
CANDIDATES = (
    Inset(margin=0.05),
    Inset(margin=0.1),
    Inset(erosion=0.5),
    Inset(margin=0.15),
    Inset(margin=0.2),
    Inset(erosion=1.0),
    Inset(erosion=1.5),
)
"""The insets that are tried, the smallest first."""


def choose_insets(soft: Floats, drawn: npt.NDArray[np.bool_]) -> tuple[Inset, ...]:
    """Choose the inset of every trait by the masks that are found on a view of the support itself.

    Args:
        soft: float32 (T, S, S), the masks found, above 0.5 where a trait wins.
        drawn: bool (T, S, S), what was drawn.

    Returns:
        T insets; `NO_INSET` where none gains `MIN_GAIN`.
    """
    return tuple(_choose_inset(mask, truth) for mask, truth in zip(soft, drawn, strict=True))


def _choose_inset(soft: Floats, truth: Mask) -> Inset:
    without = iou(soft > 0.5, truth)
    if without < MIN_IOU:
        return NO_INSET
    gains = [iou(draw_in(soft, inset) > 0.5, truth) - without for inset in CANDIDATES]
    if max(gains) < MIN_GAIN:
        return NO_INSET
    return next(inset for inset, gain in zip(CANDIDATES, gains, strict=True) if gain >= ENOUGH * max(gains))


def apply_insets(soft: Floats, insets: Sequence[Inset]) -> Floats:
    """Draw in the masks of all traits; one that would vanish stays as it is.

    Args:
        soft: float32 (T, R, S), above 0.5 where a trait wins.
        insets: of the T traits; none for masks as they are.

    Returns:
        float32 (T, R, S).
    """
    if all(inset == NO_INSET for inset in insets):
        return soft
    smaller = [draw_in(mask, inset) for mask, inset in zip(soft, insets, strict=True)]
    return np.stack([new if (new > 0.5).any() else old for new, old in zip(smaller, soft, strict=True)])


def draw_in(soft: Floats, inset: Inset) -> Floats:
    """Draw in one mask: float32 (R, S), above 0.5 in the smaller mask.

    >>> draw_in(np.array([[0, 0.5, 0.75, 0.75, 0.75, 0]], dtype=np.float32), Inset(margin=0.25)).tolist()
    [[0.0, 0.25, 0.5, 0.5, 0.5, 0.0]]
    """
    smaller: Floats = np.maximum(soft - np.float32(inset.margin), 0) if inset.margin else soft
    if inset.erosion == 0:
        return smaller
    if inset.erosion > 1:
        return _take_minimum(_take_minimum(smaller, 0), 1)
    eroded: Floats = np.minimum(_take_minimum(smaller, 0), _take_minimum(smaller, 1))
    return eroded if inset.erosion == 1 else (smaller + eroded) * np.float32(0.5)


def _take_minimum(soft: Floats, axis: int) -> Floats:
    """Return the minimum of every pixel and its two neighbours along an axis; the edge is repeated."""
    padded = np.pad(soft, [(1, 1) if each == axis else (0, 0) for each in (0, 1)], mode="edge")
    ends = (padded[:-2], padded[2:]) if axis == 0 else (padded[:, :-2], padded[:, 2:])
    least: Floats = np.minimum(np.minimum(*ends), soft)
    return least
