"""What fixes the frames of a group's photographs, and the reference group whose frame all groups are aligned to.

Rows of one index can be compared only if all are described in the same frame, whatever was built when:

1. One group is the reference; an index keeps the one it was begun with (`choose_reference`).
2. `GroupFrame` names what fixes the frames of a group: its first support, and that of the reference.
3. The fingerprint of a group's supports is hashed together with it (`add_frames_to_fingerprints`); where it changes,
   all photographs of the group are processed anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sst_retrieval.annotate.supports import Supports
from sst_retrieval.types import Box


def choose_reference(supports: Supports, previous: str | None) -> str:
    """Choose the group that all groups are aligned to.

    The first one; but that of an existing index stays, so that a new group never changes the vectors of the old ones.

    Args:
        supports: the supports of all groups, at least one.
        previous: the reference of the index so far, if it has one.

    Returns:
        The group.
    """
    groups = supports.groups()
    return previous if previous in groups else groups[0]


@dataclass(frozen=True, slots=True)
class GroupFrame:
    """What fixes the frames of a group's photographs.

    Attributes:
        photograph: SHA-256 of the photograph of the group's first support.
        box: around all that is drawn on it, in its pixels; the extent of the specimen depends on it, too (see
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


def compute_group_frames(supports: Supports, reference: str) -> dict[str, GroupFrame]:
    """Collect what fixes the frames of every group.

    Args:
        supports: the supports of all groups.
        reference: the group that all groups are aligned to.

    Returns:
        Group -> its frame.
    """
    first = {group: own[0] for group, own in supports.by_group().items()}
    shared = GroupFrame(first[reference].content, first[reference].box, None)
    return {
        group: shared if group == reference else GroupFrame(each.content, each.box, shared)
        for group, each in first.items()
    }


def add_frames_to_fingerprints(supports: Supports, frames: Mapping[str, GroupFrame]) -> Supports:
    """Make the fingerprint of every group depend on the reference's frame, as its vectors do.

    Not on all of the reference's masks: its frame does not change when a mask is redrawn inside the same box.

    Args:
        supports: the supports of all groups.
        frames: group -> its frame (`compute_group_frames`).

    Returns:
        The same supports; the fingerprint of the reference is unchanged.
    """

    def join(group: str, own: str) -> str:
        reference = frames[group].reference
        if reference is None:
            return own
        # These words are part of the hash: others would make every index process its photographs anew.
        return hashlib.sha256(f"{own} laid like {reference.fingerprint}".encode()).hexdigest()

    return replace(supports, fingerprints={group: join(group, own) for group, own in supports.fingerprints.items()})
