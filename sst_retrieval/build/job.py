"""A build as an object: what it works with (`Job`, fixed), and what it has done so far (`BuildState`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sst_retrieval.annotate.supports import Supports
from sst_retrieval.build.group_frames import GroupFrame
from sst_retrieval.build.photographs import PhotographDone, PhotographRows
from sst_retrieval.build.plan import BuildPlan
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.build.shard_writer import ShardWriter
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.engines import Engines
from sst_retrieval.errors import list_names
from sst_retrieval.index.store import Store
from sst_retrieval.types import Skipped

LISTED = 5
"""Groups that a note is written about; of more, the number is told."""


class ProgressCallback(Protocol):
    """Is called whenever a build has come further."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Show that `done` of `total` photographs have passed this stage."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a build works with.

    Attributes:
        store: the index, locked.
        collection: the specimens.
        supports: the annotated ones, with fingerprints that depend on the frames (`build.group_frames`).
        supports_folder: where they were read from.
        engines: the models.
        settings: what the user chose.
        workers: how many photographs are processed at the same time.
        reference: the group that all groups are aligned to.
        frames: group -> what fixes its frame.
        plan: the photographs that need work.
        progress: is called with every photograph.
        started: when the build began, ISO 8601.
        start_seconds: the same, by `time.monotonic`.
    """

    store: Store
    collection: Collection
    supports: Supports
    supports_folder: Path
    engines: Engines
    settings: BuildSettings
    workers: int
    reference: str
    frames: Mapping[str, GroupFrame]
    plan: BuildPlan
    progress: ProgressCallback
    started: str
    start_seconds: float

    @property
    def input_notes(self) -> tuple[str, ...]:
        """What was noted when the table and the supports were read."""
        return (*self.collection.notes, *self.supports.notes)


@dataclass(slots=True)
class BuildState:
    """What a build has done so far.

    Attributes:
        shards: the rows that are not in the index yet, and how they come there.
        processed: number of photographs whose rows were made.
        skipped: those that failed on the way, and why.
        alignments: group -> the account of its alignment, for groups that needed work; the reference has none.
        further_supports: group -> photographs that joined its supports for a second pass, for groups that needed work.
        seconds: spent on photographs and supports.
        notes: what was noted about photographs -> the photographs it was noted of, in the order they were processed.
    """

    shards: ShardWriter
    processed: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    alignments: dict[str, str] = field(default_factory=dict)
    further_supports: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def finished(self) -> int:
        """Number of photographs that were processed or skipped."""
        return self.processed + len(self.skipped)

    @property
    def seconds_per_image(self) -> float | None:
        """Mean seconds a photograph, those for the supports included; None before the first."""
        return self.seconds / self.processed if self.processed else None

    def add(self, result: PhotographRows | PhotographDone | Skipped) -> None:
        """Count a photograph and keep its rows; now and then a shard is written."""
        if isinstance(result, Skipped):
            self.skipped.append(result)
        else:
            if isinstance(result, PhotographRows):
                self.shards.add(result.rows, result.empty)
            for note in result.notes:
                self.notes.setdefault(note, []).append(result.photograph)
            self.processed += 1
        self.shards.write_if_due()


def collect_notes(job: Job, state: BuildState) -> tuple[str, ...]:
    """Collect the notes about the table, the supports, the photographs and the index folder, each once."""
    photographs = [f"{list_names(names)}: {note}" for note, names in sorted(state.notes.items())]
    return tuple(dict.fromkeys((*job.input_notes, *photographs, *_note_second_pass(job, state), *job.store.notes)))


def _note_second_pass(job: Job, state: BuildState) -> Iterator[str]:
    """Say what became of a second pass that was asked for, in the groups that needed work."""
    if not job.settings.second_pass:
        return
    kept = [group for group in state.further_supports if job.supports.individuals[group] == "many"]
    if kept:
        yield f"no second pass in {list_names(kept)}: their photographs may show several individuals"
    single = {group: names for group, names in state.further_supports.items() if group not in kept}
    for group, names in list(single.items())[:LISTED]:
        joined = list_names(names) if names else "none: no photograph shows every trait with enough confidence"
        yield f"photographs that joined the supports of {group}: {joined}"
    if len(single) > LISTED:
        yield f"photographs joined the supports of {len(single) - LISTED} more groups, too; the provenance names them"
