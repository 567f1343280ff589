"""The end of a build: the last shard is written, a new generation committed, and the report made."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from sst_retrieval import provenance
from sst_retrieval.build.history import describe_build
from sst_retrieval.build.job import BuildState, Job, collect_notes
from sst_retrieval.build.report import BuildReport
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.engines import PROPAGATORS
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.disk import explain_disk_errors
from sst_retrieval.index.thumbnails import tidy_pictures
from sst_retrieval.track.contract import Propagator
from sst_retrieval.types import Skipped


def commit_build(job: Job, state: BuildState) -> BuildReport:
    """Commit a build that came to its end.

    Args:
        job: what it worked with.
        state: what it has done.

    Returns:
        What it did.
    """
    state.shards.write()
    difference = job.store.compare_with_table(job.collection, _list_skipped(job, state))
    removed = sorted(difference.gone | difference.unreadable) if job.settings.prune else []
    generation = _commit(job, state, complete=True, indexed=difference.indexed - len(removed))
    _tidy_pictures(job)
    vanished = 0 if job.settings.prune else len(difference.gone)
    return _make_report(job, state, generation, removed=tuple(removed), vanished=vanished)


def _tidy_pictures(job: Job) -> None:
    """Remove the pictures of specimens that were taken out, now or by a build that was killed; make missing ones."""
    paths, generation = job.store.paths, job.store.generation
    if generation is not None:
        with Catalog(paths.generation(generation.number).catalog_file) as catalog, explain_disk_errors(paths.root):
            tidy_pictures(paths, catalog, generation=generation.number, changed=job.store.changed_individuals)


def commit_interrupted(job: Job, state: BuildState) -> None:
    """Make searchable what an interrupted build has done, unless a rebuild has less than the index had before."""
    state.shards.write()
    previous = job.store.generation
    indexed = job.store.compare_with_table(job.collection, ()).indexed
    if indexed >= (1 if previous is None else previous.provenance["photographs"]["indexed"]):
        _commit(job, state, complete=False, indexed=indexed)


def _commit(job: Job, state: BuildState, *, complete: bool, indexed: int) -> int:
    """Commit a new generation; returns its number."""
    job.progress("making them searchable", 0, 1)
    number = job.store.commit(
        job.collection,
        skipped=_list_skipped(job, state),
        numbers=job.supports.numbers,
        provenance=describe_build(job, state, complete=complete, indexed=indexed),
        # A build that was interrupted does not know yet what is unreadable.
        prune=complete and job.settings.prune,
        refit=job.settings.refit,
    )
    job.progress("making them searchable", 1, 1)
    return number


def _list_skipped(job: Job, state: BuildState) -> tuple[Skipped, ...]:
    """List the specimens that the plan or the build left out."""
    return (*job.plan.skipped, *state.skipped)


def _make_report(
    job: Job, state: BuildState, generation: int, *, removed: tuple[str, ...], vanished: int
) -> BuildReport:
    return BuildReport(
        index=job.store.path,
        generation=generation,
        propagator=_describe_propagator(job.engines.propagator, job.settings),
        embedder=job.engines.embedder.name,
        device=job.engines.device,
        workers=job.workers,
        processed=state.processed,
        reused=job.plan.reused,
        waiting=job.plan.waiting,
        skipped=dict(Counter(skipped.reason for skipped in _list_skipped(job, state))),
        removed=removed,
        vanished=vanished,
        seconds=time.monotonic() - job.start_seconds,
        seconds_per_image=state.seconds_per_image,
        peak_memory=provenance.peak_memory(),
        notes=collect_notes(job, state),
        rows=len(job.collection.photographs) + len(job.collection.left_out),
    )


def _describe_propagator(propagator: Propagator, settings: BuildSettings) -> str:
    """Name what made the masks in a few words, with its weights if the settings name them."""
    known, checkpoint = PROPAGATORS.get(settings.propagator), settings.models.checkpoint
    name = propagator.name if known is None else known.partition(":")[0]
    return name if checkpoint is None else f"{name} ({Path(checkpoint).name})"
