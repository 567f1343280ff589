"""All groups are described in one frame, that of the reference group, so that their traits can be compared.

A propagator finds the frame of a photograph by matching it with the support of its group. But one support is upright
and the next is on its side, and a network describes a thing on its side by other features: two groups would differ by
how their supports were photographed. So the frame of each group is aligned to that of one group, the reference:

1. The same propagator finds the group's support from the group's own memory and from the reference's
   (`compute_alignment`). The map between the two frames is applied to all photographs of the group.
2. The map depends on a little more than `build.group_frames.GroupFrame` (all masks of the reference take part in the
   matching), so it is computed once, stored in the index beside the first rows that it was applied to, and used again
   as long as the frame is the same (`build.group_aligner`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.imaging.frames import compose, invert
from sst_retrieval.track.contract import Memory, Propagator
from sst_retrieval.types import Frame, Mask, Propagated, Support

MIN_INSIDE = 0.98
"""Least fraction of what is drawn on a support that must lie inside the reference's frame. If less does, position and
scale of the map are wrong (another kind of animal, half a specimen), and only its rotation is used."""

PIXELS_AT_ONCE = 1_000_000
"""Of a mask whose coordinates are computed together; those of all pixels of a large one would fill gigabytes."""

_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Alignment:
    """The map from the frame of a group to the frame of the reference.

    Attributes:
        change: from one unit square to the other; None if nothing changes.
        account: which kind of map it is, in words for the provenance.
    """

    change: Frame | None
    account: str

    def apply(self, found: Propagated) -> Propagated:
        """Align what was found on a photograph to the reference; its masks stay."""
        return found if self.change is None else replace(found, frame=compose(self.change, found.frame))

    def as_json(self) -> dict[str, Any]:
        """Return it in JSON values, from which `from_json` reads the same numbers to the last bit."""
        return {"change": None if self.change is None else list(self.change.matrix), "account": self.account}

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """Read what `as_json` returned.

        Raises:
            IndexFolderError: it is something else.
        """
        try:
            if stored["change"] is None:
                return cls(None, str(stored["account"]))
            a, b, c, d, e, f = (float(value) for value in stored["change"])
            if not (math.isfinite(a + b + c + d + e + f) and a * e != b * d):
                raise ValueError("no frame")
            return cls(Frame((a, b, c, d, e, f)), str(stored["account"]))
        except (KeyError, TypeError, ValueError) as error:
            raise IndexFolderError(
                f"the index stores a damaged alignment of a group ({stored!r}); start it anew with --rebuild"
            ) from error


# The accounts are stored in indexes, whose words they keep.
UNCHANGED = Alignment(None, "as it lies")
_ALIGNED, _ROTATED = "laid like the reference", "turned like the reference"


def compute_alignment(
    propagator: Propagator, reference: Memory, memory: Memory, supports: Sequence[Support]
) -> Alignment:
    """Compute the map from the frame of a group to the frame of the reference.

    Args:
        propagator: what made both memories.
        reference: memory of the reference's supports.
        memory: memory of the group's own supports.
        supports: the group's own; the first is propagated to, and the others are aligned to it already.

    Returns:
        The map; its rotation alone if the drawn traits would leave the reference's frame.
    """
    support = supports[0]
    (own,), (aligned,) = (propagator.propagate(each, [support.image]) for each in (memory, reference))
    change = compose(aligned.frame, invert(own.frame))
    if np.allclose(change.matrix, (1, 0, 0, 0, 1, 0), atol=_TOLERANCE):
        return UNCHANGED
    if _fraction_inside(aligned.frame, np.asarray(support.masks.any(axis=0))) >= MIN_INSIDE:
        return Alignment(change, _ALIGNED)
    return Alignment(_keep_rotation(change), _ROTATED)


def _fraction_inside(frame: Frame, drawn: Mask) -> float:
    """Compute which fraction of a mask's pixels lies inside a frame; some rows at a time, for masks may be large."""
    a, b, c, d, e, f = frame.matrix
    step = max(1, PIXELS_AT_ONCE // drawn.shape[1])
    inside = 0
    for start in range(0, len(drawn), step):
        rows, columns = np.nonzero(drawn[start : start + step])
        x, y = columns + 0.5, rows + (start + 0.5)
        u, v = a * x + b * y + c, d * x + e * y + f
        inside += int(np.count_nonzero((u >= 0) & (u < 1) & (v >= 0) & (v < 1)))
    return inside / np.count_nonzero(drawn)


def _keep_rotation(change: Frame) -> Frame:
    """Keep the rotation, and the reflection if there is one, about the centre of the square."""
    a, b, _, d, e, _ = change.matrix
    scale = math.sqrt(abs(a * e - b * d))
    a, b, d, e = a / scale, b / scale, d / scale, e / scale
    return Frame((a, b, 0.5 - (a + b) / 2, d, e, 0.5 - (d + e) / 2))
