"""A build, step by step: from photographs and one annotated specimen a group to an index.

1. Read the table and the supports; whatever is wrong with them is raised before any work.
2. Load the models, and open the index or make it.
3. Choose the reference group (`build.group_frames`); plan which photographs are new or changed, or have other supports
   than at the last build (`build.plan`).
4. Group by group: remember the supports once and align the group to the reference (`build.alignment`); with a second
   pass, the surest photographs join the supports (`build.second_pass`). Then read its photographs, propagate the traits
   to them, describe and measure them (`build.photographs`), several photographs at the same time (`build.workers`).
5. Now and then write a shard (`build.shard_writer`); a build that is killed goes on from there.
6. Commit: what was found becomes searchable (`build.commit`).
"""

from __future__ import annotations

import time
from collections.abc import Container, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from sst_retrieval import provenance
from sst_retrieval.annotate.supports import Supports, read_supports
from sst_retrieval.build.commit import commit_build, commit_interrupted
from sst_retrieval.build.group_aligner import GroupAligner
from sst_retrieval.build.group_frames import add_frames_to_fingerprints, choose_reference, compute_group_frames
from sst_retrieval.build.history import previous_reference
from sst_retrieval.build.individuals import (
    AnnotatedBeside,
    GroupFinder,
    add_finder_to_fingerprints,
    as_propagated,
)
from sst_retrieval.build.job import BuildState, Job, ProgressCallback
from sst_retrieval.build.photographs import Batch, cut_batches
from sst_retrieval.build.plan import make_plan
from sst_retrieval.build.report import BuildReport
from sst_retrieval.build.runner import Runner, open_runner
from sst_retrieval.build.second_pass import SecondPass, add_second_pass_to_fingerprints, check_second_pass
from sst_retrieval.build.settings import DEFAULTS, BuildSettings
from sst_retrieval.build.shard_writer import ShardWriter
from sst_retrieval.build.workers import keep_share, map_on_threads
from sst_retrieval.collection.specimens import Collection, read_collection, read_references
from sst_retrieval.engines import Engines
from sst_retrieval.errors import InputError
from sst_retrieval.fetch.copies_on_demand import CopiesOnDemand, list_stored
from sst_retrieval.fetch.stores import copy_from_store
from sst_retrieval.find.contract import compares_groups
from sst_retrieval.find.cutouts import group_by_photograph
from sst_retrieval.imaging.images import content_hash
from sst_retrieval.index.disk import explain_disk_errors
from sst_retrieval.index.photograph_hashes import PhotographHashes, get_file_state
from sst_retrieval.index.reviews import group_by_content
from sst_retrieval.index.store import Store
from sst_retrieval.index.vector_files import load_faiss
from sst_retrieval.types import Support


def build_index(
    table: Path,
    supports: Path,
    output: Path,
    *,
    settings: BuildSettings = DEFAULTS,
    progress: ProgressCallback | None = None,
) -> BuildReport:
    """Build an index, or bring it up to date.

    Args:
        table: the specimen table (see `collection`).
        supports: the annotated specimens (see `annotate.supports`).
        output: the index folder; made if it does not exist.
        settings: everything else.
        progress: is called with every photograph that has passed a stage.

    Returns:
        What was done.

    Raises:
        CollectionError: the table cannot be used; nothing was done.
        SupportError: a support cannot be used, or a group that was named has none; nothing was done.
        IndexFolderError: the folder holds something else, or another build is at work there.
        ModelMismatchError: the index was made with other models; `rebuild` starts it anew.
        ModelError: a model cannot be loaded or answers nonsense.
        FetchError: the store that `settings.store` names does not answer.
        ClusterError: the Ray cluster that `settings.ray` names cannot be used; what was done is kept.
        KeyboardInterrupt: the person stopped it; what was done is kept, and can be searched.
    """
    began = provenance.now(), time.monotonic()
    progress = progress or (lambda *_: None)
    copies = _prepare_copies(table, settings, progress)
    with nullcontext() if copies is None else copies.used():
        return _build(table, supports, output, settings, progress, copies, began)


def _build(
    table: Path,
    supports: Path,
    output: Path,
    settings: BuildSettings,
    progress: ProgressCallback,
    copies: CopiesOnDemand | None,
    began: tuple[str, float],
) -> BuildReport:
    started, start_seconds = began
    collection, annotated = _read_inputs(table, supports, settings, () if copies is None else copies.photographs)
    load_faiss()  # Needed at the end only; that it is missing should not show after hours of work.
    several = "many" in annotated.individuals.values()
    with (
        open_runner(settings, finder=several, copies=copies) as runner,
        _open_store(output, runner.engines, settings) as store,
    ):
        engines = runner.engines
        reference = choose_reference(annotated, previous_reference(store.generation))
        frames = compute_group_frames(annotated, reference)
        annotated = add_frames_to_fingerprints(annotated, frames)
        if engines.finder is not None:
            annotated = add_finder_to_fingerprints(annotated, engines.finder)
        hashes = PhotographHashes(
            store.paths.photograph_hashes_file,
            content_hash,
            reread=settings.reread,
            get_state=get_file_state if copies is None else copies.get_state,
        )
        hashes.compute = runner.hash_ahead(
            hashes.find_changed(_list_planned(collection, annotated, settings)),
            content_hash,
            partial(progress, "reading new photographs"),
        )
        if settings.second_pass:
            annotated = add_second_pass_to_fingerprints(annotated, collection, store.read_notes(), hashes.hash)
        plan = make_plan(
            collection,
            annotated,
            store.indexed_hashes(),
            reviews=group_by_content(store.reviews()),
            groups=settings.groups,
            progress=partial(progress, "looking for new photographs"),
            hash_content=hashes.hash,
        )
        with explain_disk_errors(output):
            hashes.write()
        job = Job(
            store=store,
            collection=collection,
            supports=annotated,
            supports_folder=supports,
            engines=engines,
            settings=settings,
            workers=runner.workers,
            reference=reference,
            frames=frames,
            plan=plan,
            progress=progress,
            started=started,
            start_seconds=start_seconds,
        )
        state = BuildState(ShardWriter(store))
        try:
            _find_traits(job, state, runner)
        except KeyboardInterrupt:
            commit_interrupted(job, state)
            raise
        return commit_build(job, state)


def _list_planned(collection: Collection, supports: Supports, settings: BuildSettings) -> Iterator[Path]:
    """List the files that the plan asks the hashes of (`build.plan.make_plan`)."""
    for photograph in collection.photographs:
        if photograph.group in supports.fingerprints and (not settings.groups or photograph.group in settings.groups):
            yield photograph.image


def _prepare_copies(table: Path, settings: BuildSettings, progress: ProgressCallback) -> CopiesOnDemand | None:
    """Bring the copies of photographs that lie in a store up to date; what it does not have is named by the build.

    On a cluster nothing is copied yet: what is returned has each photograph copied where it is needed.
    """
    if settings.store is None:
        return None
    if settings.images is None:
        raise InputError(f"--store {settings.store}: name the folder of the copies with --images")
    references = read_references(
        table,
        id_column=settings.id_column,
        image_column=settings.image_column,
        group_column=settings.group_column,
        view_column=settings.view_column,
    )
    if settings.ray is not None:
        stored = list_stored(settings.store, references, settings.images)
        return CopiesOnDemand(settings.store, settings.images, stored)
    copy_from_store(settings.store, references, settings.images, progress=partial(progress, "copying photographs"))
    return None


def _read_inputs(
    table: Path, supports: Path, settings: BuildSettings, elsewhere: Container[Path]
) -> tuple[Collection, Supports]:
    """Read the table and the supports, and refuse groups that cannot be propagated, before any work."""
    check_second_pass(settings.second_pass, settings.propagator)
    collection = read_collection(
        table,
        images=settings.images,
        id_column=settings.id_column,
        image_column=settings.image_column,
        group_column=settings.group_column,
        view_column=settings.view_column,
        elsewhere=elsewhere,
    )
    annotated = read_supports(supports, collection, individuals=settings.individuals)
    annotated.require(settings.groups)
    if settings.groups and settings.rebuild:
        raise InputError("--rebuild starts every group anew; leave out --rebuild, or leave out --groups")
    return collection, annotated


@contextmanager
def _open_store(output: Path, engines: Engines, settings: BuildSettings) -> Iterator[Store]:
    """Open the index folder, or make it, and keep other builds out of it."""
    # Not where there is none: indexes that were made before there was one stay the same.
    recipe = engines.recipe() | ({"second_pass": settings.second_pass} if settings.second_pass else {})
    blocks = recipe["embedder"]["blocks"]
    store = Store.open(output) if Store.exists(output) else Store.create(output, settings=recipe, blocks=blocks)
    with store.lock():
        if settings.rebuild:
            store.begin_rebuild(settings=recipe, blocks=blocks)
        else:
            store.require_same_model(recipe)
        yield store


def _find_traits(job: Job, state: BuildState, runner: Runner) -> None:
    """Process all photographs of the plan, in its order, and keep their rows."""
    start = time.monotonic()
    ahead = 1 if job.settings.second_pass else runner.groups_ahead  # A second pass shows its own progress.
    with (
        closing(_prepare_batches(job, state, ahead)) as batches,
        closing(runner.process(batches, job.store.paths, state.shards)) as results,
    ):
        for result in chain.from_iterable(results):
            state.add(result)
            job.progress("finding traits", state.finished, job.plan.photographs)
            state.seconds = time.monotonic() - start


def _prepare_batches(job: Job, state: BuildState, ahead: int) -> Generator[Batch]:
    """Prepare each group, so many at the same time, and cut its photographs into batches.

    The memory of a group is released after the group, but for that of the reference.
    """
    aligner, second_pass = GroupAligner(job, state.shards), SecondPass(job, state.shards)
    prepare = partial(_prepare_group, job, state, aligner, second_pass, AnnotatedBeside(job.supports))
    with closing(map_on_threads(prepare, job.plan.tasks, ahead, keep_share(), prefetch=1)) as groups:
        for tasks, prepared in zip(job.plan.tasks.values(), groups, strict=True):
            for batch in cut_batches(job.engines.propagator, tasks):
                yield replace(prepared, tasks=batch)


def _prepare_group(
    job: Job,
    state: BuildState,
    aligner: GroupAligner,
    second_pass: SecondPass,
    beside: AnnotatedBeside,
    group: str,
) -> Batch:
    """Remember the supports of a group and align it: what its batches have in common, without photographs."""
    drawn = job.supports.load(group)
    supports = as_propagated(drawn, job.supports.individuals[group])
    reference = group == job.reference  # Which other groups, prepared at the same time, may wait for.
    memory = aligner.remember_reference() if reference else job.engines.propagator.remember(supports)
    alignment = aligner.align(group, memory, supports)
    if group != job.reference:
        state.alignments[group] = alignment.account
    annotations = {support.individual: support for support in supports}
    group_finder = _remember_individuals(job, group, drawn, beside)
    memory, chosen = second_pass.extend(group, memory, supports)
    state.further_supports[group] = tuple(each.photograph for each in chosen)
    known = {each.photograph: each.as_propagated() for each in chosen}
    return Batch((), memory, annotations, alignment, group_finder, known)


def _remember_individuals(
    job: Job, group: str, drawn: Sequence[Support], beside: AnnotatedBeside
) -> GroupFinder | None:
    """Remember the annotated individuals of a group that may show several on a photograph; None for others."""
    finder = job.engines.finder
    if finder is None or job.supports.individuals[group] == "one":
        return None
    others = beside.list_others(group) if compares_groups(finder) else []
    return GroupFinder(finder, finder.remember([*drawn, *others]), group_by_photograph(drawn))
