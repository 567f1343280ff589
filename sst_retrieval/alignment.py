"""Room 3b: all groups lie alike, so that their traits can be compared.

A propagator lays every photograph like the support of its group. But one support lies upright and the next on its side,
and a network describes a thing on its side by other features: two groups would differ by how their supports were
photographed. So each group's support is itself laid like that of one group, the reference, by the same propagator, and
the map between the two frames is applied to all photographs of the group.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sst_retrieval import pose
from sst_retrieval.images import content_hash
from sst_retrieval.propagation import Memory, Propagator
from sst_retrieval.supports import Supports
from sst_retrieval.types import Frame, Propagated, Support

HELD = 0.98
"""So much of what is drawn on a support must lie inside the reference's frame. If less does, the map's place and size
are wrong (another kind of animal, half a specimen), and only its turn is used."""

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


def laid_like(supports: Supports, reference: str) -> Supports:
    """Make the fingerprint of every group depend on the reference's photograph, as its vectors do.

    Not on the reference's masks: how its specimen lies does not change when a mask is drawn better.
    """
    own = supports.fingerprints
    photograph = next((content_hash(each.image) for each in supports.references if each.group == reference), "")

    def both(group: str) -> str:
        return hashlib.sha256(f"{own[group]} laid like {photograph}".encode()).hexdigest()

    return replace(supports, fingerprints={g: own[g] if g == reference else both(g) for g in own})


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
    rows, columns = np.nonzero(support.masks.any(axis=0))
    a, b, c, d, e, f = laid.frame.matrix
    x, y = columns + 0.5, rows + 0.5
    u, v = a * x + b * y + c, d * x + e * y + f
    if np.mean((u >= 0) & (u < 1) & (v >= 0) & (v < 1)) >= HELD:
        return Alignment(change, "laid like the reference")
    return Alignment(_turn_only(change), "turned like the reference")


def _turn_only(change: Frame) -> Frame:
    """Keep the turn, and the mirror if there is one, about the middle of the square."""
    a, b, _, d, e, _ = change.matrix
    scale = math.sqrt(abs(a * e - b * d))
    a, b, d, e = a / scale, b / scale, d / scale, e / scale
    return Frame((a, b, 0.5 - (a + b) / 2, d, e, 0.5 - (d + e) / 2))
