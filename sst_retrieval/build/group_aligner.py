"""The alignments of a build's groups: those stored in the index are used again, new ones are computed and stored."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sst_retrieval.build.alignment import UNCHANGED, Alignment, compute_alignment
from sst_retrieval.build.individuals import as_propagated
from sst_retrieval.build.job import Job
from sst_retrieval.build.shard_writer import ShardWriter
from sst_retrieval.track.contract import Memory
from sst_retrieval.types import Support


class GroupAligner:
    """Aligns groups to the reference, whose memory it keeps; several threads may call it."""

    def __init__(self, job: Job, shards: ShardWriter) -> None:
        """Read the alignments that the index stores.

        Args:
            job: the build.
            shards: where new alignments are stored.

        Raises:
            IndexFolderError: a shard cannot be read.
        """
        self._job = job
        self._shards = shards
        self._stored = job.store.read_notes()
        self._reference: Memory | None = None
        self._remembering = threading.Lock()

    def align(self, group: str, memory: Memory, supports: Sequence[Support]) -> Alignment:
        """Return the alignment of a group: the stored one if the index has rows in this frame, else a new one.

        Args:
            group: the group.
            memory: memory of its supports.
            supports: its supports.

        Raises:
            IndexFolderError: the stored one is damaged.
        """
        if group == self._job.reference:
            return UNCHANGED
        frame = self._job.frames[group].fingerprint
        if frame in self._stored:
            return Alignment.from_json(self._stored[frame])
        alignment = compute_alignment(self._job.engines.propagator, self.remember_reference(), memory, supports)
        self._shards.add_note(frame, alignment.as_json())
        return alignment

    def remember_reference(self) -> Memory:
        """Return the memory of the reference's supports; whoever asks first makes it, and others wait."""
        with self._remembering:
            if self._reference is None:
                group, supports = self._job.reference, self._job.supports
                drawn = as_propagated(supports.load(group), supports.individuals[group])
                self._reference = self._job.engines.propagator.remember(drawn)
            return self._reference
