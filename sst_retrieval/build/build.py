"""The paragraph that calls rooms 1 to 5: from photographs and one label a group to an index.

1. Read the table and the supports; whatever is wrong with them is said before any work.
2. Choose the group that all others are laid like (see `build.alignment`); look which photographs, or the supports of
   their group, are new or changed since the last build.
3. Group by group: remember the supports once; then read the photographs, find their traits, describe and measure them;
   several photographs at the same time (see `build.workers`).
4. Every few photographs a shard is written; a build that is killed goes on from there.
5. Commit: what was found becomes searchable.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sst_retrieval import provenance
from sst_retrieval.annotate.supports import Supports, read_supports
from sst_retrieval.build.alignment import AS_IT_LIES, Alignment, GroupFrame, align, frames_of, laid_like, reference_of
from sst_retrieval.build.history import groups_were_made, what_went_in
from sst_retrieval.build.photographs import Piece, batches, worked_on
from sst_retrieval.build.plan import Plan, make_plan
from sst_retrieval.build.report import BuildReport
from sst_retrieval.build.settings import DEFAULTS, BuildSettings
from sst_retrieval.build.workers import PixelBudget, choose_workers, map_in_order
from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.engines import PROPAGATORS, Engines, load_engines
from sst_retrieval.errors import InputError
from sst_retrieval.index.reviews import group_by_photograph
from sst_retrieval.index.shards import Row
from sst_retrieval.index.store import Store
from sst_retrieval.index.thumbnails import remove_small_pictures
from sst_retrieval.index.vectors import load_faiss
from sst_retrieval.track.contract import Memory
from sst_retrieval.types import Skipped, Support

SHARD_PHOTOGRAPHS = 256
SHARD_SECONDS = 60.0
"""A shard is written after so many photographs, or so many seconds: that much a killed build loses."""


class Progress(Protocol):
    """Is told how far a build has come."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Take notice: `done` of `total` photographs have passed this stage."""


def build_index(
    table: Path, supports: Path, output: Path, *, settings: BuildSettings = DEFAULTS, progress: Progress | None = None
) -> BuildReport:
    """Build an index, or bring it up to date.

    Args:
        table: the specimen table (see `collection`).
        supports: the annotated specimens (see `supports`).
        output: the index folder; made if it does not exist.
        settings: everything else.
        progress: is told how far the build has come.

    Returns:
        What was done.

    Raises:
        CollectionError: the table cannot be used; nothing was done.
        SupportError: a support cannot be used, or a group that was named has none; nothing was done.
        IndexFolderError: the folder holds something else, or another build is at work there.
        ModelMismatchError: the index was made with other models; `rebuild` starts it anew.
        ModelError: a model cannot be loaded or answers nonsense.
        KeyboardInterrupt: the person stopped it; what was done is kept, and can be searched.
    """
    began, clock = provenance.now(), time.monotonic()
    collection = read_collection(
        table,
        images=settings.images,
        id_column=settings.id_column,
        image_column=settings.image_column,
        group_column=settings.group_column,
    )
    drawn = read_supports(supports, collection)
    _check_groups(settings, drawn)
    load_faiss()  # Needed at the end only; that it is missing should not show after hours of work.
    engines = load_engines(settings.propagator, settings.embedder, settings.device, settings.models)
    workers = choose_workers(settings.workers, engines)
    with _opened(output, engines, rebuild=settings.rebuild) as store:
        tell = progress or (lambda *_: None)
        decided = group_by_photograph(store.reviews())
        before = None if store.generation is None else store.generation.provenance.get("laid_like")
        reference = reference_of(drawn, before)
        frames = frames_of(drawn, reference)
        annotated = laid_like(drawn, frames)
        looked_at = partial(tell, "looking for new photographs")
        plan = make_plan(collection, annotated, store.done(), looked_at, decided, settings.groups)
        given = (store, collection, annotated, engines, settings, workers, plan, supports, reference, frames)
        work = _Build(*given, tell, began, clock)
        try:
            work.find_traits()
        except KeyboardInterrupt:
            work.stop()
            raise
        return work.finish()


def _check_groups(settings: BuildSettings, supports: Supports) -> None:
    """Refuse groups that cannot be propagated, before any work."""
    supports.require(settings.groups)
    if settings.groups and settings.rebuild:
        raise InputError("--rebuild starts every group anew; leave out --rebuild, or leave out --groups")


@contextmanager
def _opened(output: Path, engines: Engines, *, rebuild: bool) -> Iterator[Store]:
    """Open the index folder, or make it, and keep other builds out of it."""
    recipe = engines.recipe()
    blocks = recipe["embedder"]["blocks"]
    store = Store.open(output) if Store.exists(output) else Store.create(output, settings=recipe, blocks=blocks)
    with store.lock():
        if rebuild:
            store.rebuild(settings=recipe, blocks=blocks)
        else:
            store.require_same_model(recipe)
        yield store


@dataclass(slots=True)
class _Build:
    """A build at work: what it works with, and how far it has come."""

    store: Store
    collection: Collection
    supports: Supports
    engines: Engines
    settings: BuildSettings
    workers: int
    plan: Plan
    drawn_in: Path
    reference: str
    frames: Mapping[str, GroupFrame]
    tell: Progress
    began: str
    clock: float
    skipped: list[Skipped] = field(default_factory=list)
    processed: int = 0
    working: float = 0.0
    in_hand: list[list[Row]] = field(default_factory=list)
    last_shard: float = field(default_factory=time.monotonic)
    reference_memory: Memory | None = None
    alignments: dict[str, str] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    to_keep: dict[str, Any] = field(default_factory=dict)

    @property
    def pace(self) -> float | None:
        """Seconds a photograph, so far; those for the supports are shared among all."""
        return self.working / self.processed if self.processed else None

    def find_traits(self) -> None:
        """Work on all photographs, in the order of the plan."""
        begun = time.monotonic()
        self.kept = self.store.notes()
        work_on = partial(worked_on, engines=self.engines, folder=self.store, budget=PixelBudget())
        with closing(map_in_order(work_on, self._pieces(), self.workers)) as results:
            for result in (each for piece in results for each in piece):
                self._take(result)
                self.working = time.monotonic() - begun

    def _pieces(self) -> Iterator[Piece]:
        """Cut the work into pieces; what is remembered of a group's supports is let go of after the group."""
        propagator = self.engines.propagator
        for group, tasks in self.plan.tasks.items():
            supports = self.supports.load(group)
            memory = propagator.remember(supports)
            alignment = self._alignment(group, memory, supports)
            drawn = {support.specimen: support for support in supports}
            for batch in batches(propagator, tasks):
                yield Piece(batch, memory, drawn, alignment)

    def _take(self, result: list[Row] | Skipped) -> None:
        """Keep what was found on a photograph; now and then write a shard."""
        if isinstance(result, Skipped):
            self.skipped.append(result)
        else:
            self.in_hand.append(result)
            self.processed += 1
        if len(self.in_hand) >= SHARD_PHOTOGRAPHS or time.monotonic() - self.last_shard > SHARD_SECONDS:
            self._write_shard()
        self.tell("finding traits", self.processed + len(self.skipped), self.plan.photographs)

    def stop(self) -> None:
        """Make what was done searchable, unless a rebuild has not yet come as far as the old state."""
        self._write_shard()
        before, now = self.store.generation, len(self.store.done())
        if now >= (1 if before is None else before.provenance["photographs"]["indexed"]):
            self._commit(complete=False, indexed=now)

    def finish(self) -> BuildReport:
        """Commit, and say what was done."""
        self._write_shard()
        skipped = (*self.plan.skipped, *self.skipped)
        indexed = self.store.done().keys()
        gone = indexed - {specimen.id for specimen in self.collection.specimens}
        unreadable = indexed & {row.specimen for row in skipped}
        removed = sorted(gone | unreadable) if self.settings.prune else []
        number = self._commit(complete=True, indexed=len(indexed) - len(removed))
        for specimen in removed:
            remove_small_pictures(self.store, specimen)
        return BuildReport(
            index=self.store.path,
            generation=number,
            propagator=self._masks_by(),
            embedder=self.engines.embedder.name,
            device=self.engines.device,
            workers=self.workers,
            processed=self.processed,
            reused=self.plan.reused,
            waiting=self.plan.waiting,
            skipped=dict(Counter(row.reason for row in skipped)),
            removed=tuple(removed),
            vanished=len(gone - set(removed)),
            seconds=time.monotonic() - self.clock,
            seconds_per_image=self.pace,
            peak_memory=provenance.peak_memory(),
        )

    def _masks_by(self) -> str:
        """Say what made the masks, with the weights if they were named."""
        known, checkpoint = PROPAGATORS.get(self.settings.propagator), self.settings.models.checkpoint
        said = self.engines.propagator.name if known is None else known.partition(":")[0]
        return said if checkpoint is None else f"{said} ({Path(checkpoint).name})"

    def _alignment(self, group: str, memory: Memory, supports: Sequence[Support]) -> Alignment:
        """Say how the group is laid like the reference: as its rows in the index are, else it is found now."""
        if group == self.reference:
            self.reference_memory = memory
            return AS_IT_LIES
        frame = self.frames[group].fingerprint
        if frame in self.kept:
            found = Alignment.from_json(self.kept[frame])
        else:
            if self.reference_memory is None:
                self.reference_memory = self.engines.propagator.remember(self.supports.load(self.reference))
            found = align(self.engines.propagator, self.reference_memory, memory, supports)
            self.to_keep[frame] = found.as_json()
        self.alignments[group] = found.account
        return found

    def _write_shard(self) -> None:
        if self.in_hand:
            # In one file with the first rows so laid: a build that is killed never leaves the one without the other.
            self.store.append([row for rows in self.in_hand for row in rows], notes=self.to_keep)
            self.to_keep = {}
        self.in_hand, self.last_shard = [], time.monotonic()

    def _commit(self, *, complete: bool, indexed: int) -> int:
        self.tell("making them searchable", 0, 1)
        number = self.store.commit(
            self.collection,
            skipped=(*self.plan.skipped, *self.skipped),
            numbers=self.supports.numbers,
            provenance=self._provenance(complete=complete, indexed=indexed),
            # A build that was stopped does not know yet what is unreadable.
            prune=complete and self.settings.prune,
        )
        self.tell("making them searchable", 1, 1)
        return number

    def _provenance(self, *, complete: bool, indexed: int) -> dict[str, Any]:
        """Say how this state of the index came about, in JSON values."""
        before = {} if self.store.generation is None else self.store.generation.provenance
        return {
            "complete": complete and not self.plan.waiting,
            "started": self.began,
            "ended": provenance.now(),
            **what_went_in(self.collection.source, self.drawn_in, asdict(self.settings), self.engines),
            **groups_were_made(self.supports, self.alignments, before, self.settings.groups),
            "laid_like": self.reference,
            "synonyms": {trait: list(words) for trait, words in self.supports.synonyms.items()},
            "photographs": {
                "indexed": indexed,
                "processed": self.processed,
                "reused": self.plan.reused,
                "waiting": self.plan.waiting,
                "skipped": len(self.plan.skipped) + len(self.skipped),
            },
            "workers": self.workers,
            "seconds_per_image": self.pace,
        }
