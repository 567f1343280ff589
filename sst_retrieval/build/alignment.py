"""Room 3b: all groups lie alike, so that their traits can be compared.

A propagator lays every photograph like the support of its group. But one support lies upright and the next on its side,
and a network describes a thing on its side by other features: two groups would differ by how their supports were
photographed. So each group's support is itself laid like that of one group, the reference, by the same propagator, and
the map between the two frames is applied to all photographs of the group.

Rows of one index can be compared only if all lie in the same frames, whatever was built when:

1. `GroupFrame` says what fixes how the photographs of a group are laid: its first support, and the reference's. The
   hash of a group's supports is joined with it (`laid_like`); where it changes, all of the group is worked on anew.
2. How a group is moved depends on a little more (all masks of the reference take part in the matching), so it is found
   once, kept in the index beside the first rows that were so moved, and used again as long as the frame is the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from sst_retrieval.annotate.supports import Supports
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.imaging import frames as pose
from sst_retrieval.track.contract import Memory, Propagator
from sst_retrieval.types import Box, Frame, Mask, Propagated, Support

HELD = 0.98
"""So much of what is drawn on a support must lie inside the reference's frame. If less does, the map's place and size
are wrong (another kind of animal, half a specimen), and only its turn is used."""

PIXELS = 1_000_000
"""Of a mask that are looked at together; the places of all pixels of a large one would fill gigabytes."""

_SAME = 1e-9


def reference_of(supports: Supports, before: str | None) -> str:
    """Choose the group that all are laid like.

    The first one; but what an index was begun with stays, so that a new group never changes the old ones' vectors.

    Args:
        supports: the supports of all groups, at least one.
        before: the reference of the index so far, if it has one.
    """
    groups = supports.groups()
    return before if before in groups else groups[0]


@dataclass(frozen=True, slots=True)
class GroupFrame:
    """What fixes how the photographs of a group are laid.

    Attributes:
        photograph: SHA-256 of the photograph of the group's first support.
        box: around all that is drawn on it, in its pixels; where a specimen ends is told by it, too (see
            `imaging.foreground.frame_specimen`).
        reference: the frame of the reference group; None for the reference itself.
    """

    photograph: str
    box: Box
    reference: GroupFrame | None

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all of it."""
        reference = None if self.reference is None else self.reference.fingerprint
        return hashlib.sha256(repr((self.photograph, self.box, reference)).encode()).hexdigest()


def frames_of(supports: Supports, reference: str) -> dict[str, GroupFrame]:
    """Say what fixes the frame of every group.

    Args:
        supports: the supports of all groups.
        reference: the group that all are laid like.

    Returns:
        Group -> its frame.
    """
    first = {group: own[0] for group, own in supports.by_group().items()}
    laid = GroupFrame(first[reference].content, first[reference].box, None)
    return {
        group: laid if group == reference else GroupFrame(each.content, each.box, laid) for group, each in first.items()
    }


def laid_like(supports: Supports, frames: Mapping[str, GroupFrame]) -> Supports:
    """Make the fingerprint of every group depend on the reference's frame, as its vectors do.

    Not on all of the reference's masks: how its specimen lies does not change when a mask is drawn better inside the
    same box.

    Args:
        supports: the supports of all groups.
        frames: see `frames_of`.
    """

    def joined(group: str, own: str) -> str:
        reference = frames[group].reference
        if reference is None:
            return own
        return hashlib.sha256(f"{own} laid like {reference.fingerprint}".encode()).hexdigest()

    return replace(supports, fingerprints={group: joined(group, own) for group, own in supports.fingerprints.items()})


@dataclass(frozen=True, slots=True)
class Alignment:
    """How the frame of a group is brought into the frame of the reference.

    Attributes:
        change: from one unit square to the other; None if nothing changes.
        account: in words, for the provenance.
    """

    change: Frame | None
    account: str

    def apply(self, found: Propagated) -> Propagated:
        """Lay what was found on a photograph like the reference."""
        return found if self.change is None else replace(found, frame=pose.compose(self.change, found.frame))

    def as_json(self) -> dict[str, Any]:
        """Say it in JSON values; numbers come back to the last bit."""
        return {"change": None if self.change is None else list(self.change.matrix), "account": self.account}

    @classmethod
    def from_json(cls, kept: Any) -> Self:
        """Read what `as_json` said.

        Raises:
            IndexFolderError: it is something else.
        """
        try:
            if kept["change"] is None:
                return cls(None, str(kept["account"]))
            a, b, c, d, e, f = (float(value) for value in kept["change"])
            if not (math.isfinite(a + b + c + d + e + f) and a * e != b * d):
                raise ValueError("no frame")
            return cls(Frame((a, b, c, d, e, f)), str(kept["account"]))
        except (KeyError, TypeError, ValueError) as error:
            raise IndexFolderError(
                f"the index does not say rightly how a group is laid ({kept!r}); start it anew with --rebuild"
            ) from error


AS_IT_LIES = Alignment(None, "as it lies")


def align(propagator: Propagator, reference: Memory, memory: Memory, supports: Sequence[Support]) -> Alignment:
    """Find how a group must be moved to lie like the reference.

    Args:
        propagator: what made both memories.
        reference: memory of the reference's supports.
        memory: memory of the group's own supports.
        supports: the group's own; the first of them is looked at, the others lie like it.
    """
    support = supports[0]
    (own,), (laid,) = (propagator.propagate(each, [support.image]) for each in (memory, reference))
    change = pose.compose(laid.frame, pose.inverse(own.frame))
    if np.allclose(change.matrix, (1, 0, 0, 0, 1, 0), atol=_SAME):
        return AS_IT_LIES
    if _share_inside(laid.frame, np.asarray(support.masks.any(axis=0))) >= HELD:
        return Alignment(change, "laid like the reference")
    return Alignment(_turn_only(change), "turned like the reference")


def _share_inside(frame: Frame, drawn: Mask) -> float:
    """Say which share of the pixels of a mask lies inside a frame; some rows at a time, for masks may be large."""
    a, b, c, d, e, f = frame.matrix
    step = max(1, PIXELS // drawn.shape[1])
    inside = 0
    for start in range(0, len(drawn), step):
        rows, columns = np.nonzero(drawn[start : start + step])
        x, y = columns + 0.5, rows + (start + 0.5)
        u, v = a * x + b * y + c, d * x + e * y + f
        inside += int(np.count_nonzero((u >= 0) & (u < 1) & (v >= 0) & (v < 1)))
    return inside / np.count_nonzero(drawn)


def _turn_only(change: Frame) -> Frame:
    """Keep the turn, and the mirror if there is one, about the middle of the square."""
    a, b, _, d, e, _ = change.matrix
    scale = math.sqrt(abs(a * e - b * d))
    a, b, d, e = a / scale, b / scale, d / scale, e / scale
    return Frame((a, b, 0.5 - (a + b) / 2, d, e, 0.5 - (d + e) / 2))
