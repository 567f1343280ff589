"""The way of a batch of photographs: read, propagated to, described, measured. Several threads take it at once.

1. Wait until the memory budget has room for all pixels of the batch.
2. Read the photographs and propagate the traits of the group's supports to them. One that cannot be read, or that the
   propagator refuses, is skipped; the others of its batch are not lost with it.
3. Put masks that a person drew or accepted in the place of those that were found; align the frame to the reference.
4. Describe and measure every trait (`build.regions`), and write thumbnail and crops.

Photographs of a group that may show several individuals go one by one: `build.individuals` finds the individuals, and
does 2 to 4 with each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from sst_retrieval.build.alignment import UNCHANGED, Alignment
from sst_retrieval.build.individuals import GroupFinder, describe_individuals, find_individuals
from sst_retrieval.build.plan import Task
from sst_retrieval.build.regions import describe_doubt, describe_regions, replace_drawn, replace_reviewed
from sst_retrieval.build.workers import PartWorkers, PixelBudget
from sst_retrieval.engines import Engines
from sst_retrieval.errors import ImageError, InputError
from sst_retrieval.imaging.exposure import describe_exposure, is_one_colour
from sst_retrieval.imaging.images import image_size, read_photograph
from sst_retrieval.imaging.masks import encode
from sst_retrieval.index.disk import explain_disk_errors
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.shards import EmptyRow, ShardRow
from sst_retrieval.index.thumbnails import write_individual_thumbnails, write_thumbnails
from sst_retrieval.track.contract import Memory, Propagator, get_batch_size
from sst_retrieval.track.second_pass import propagate_from
from sst_retrieval.types import Floats, Frame, Propagated, RGBImage, Skipped, Support


@dataclass(frozen=True, slots=True)
class Batch:
    """Photographs that go to the propagator together, and what processing them takes.

    Attributes:
        tasks: the photographs, all of one group.
        memory: of the group's supports.
        annotations: photograph -> what a person drew on it, for the supports of the group.
        alignment: of the group to the reference.
        group_finder: what finds the individuals; None if every photograph shows one.
        known: photograph -> what a first pass found on it; it is not propagated to again (`build.second_pass`).
    """

    tasks: Sequence[Task]
    memory: Memory
    annotations: Mapping[str, Support]
    alignment: Alignment = UNCHANGED
    group_finder: GroupFinder | None = None
    known: Mapping[str, Propagated] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Photograph:
    """A photograph, read.

    Attributes:
        task: which one.
        image: uint8 (H, W, 3).
        notes: what a person should know about it, in a few words each.
    """

    task: Task
    image: RGBImage
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PhotographRows:
    """What a build keeps of one photograph.

    Attributes:
        photograph: its id.
        rows: for the next shard.
        notes: what a person should know about it, in a few words each.
        empty: what is kept of it if no individual was found; else None.
    """

    photograph: str
    rows: list[ShardRow]
    notes: tuple[str, ...]
    empty: EmptyRow | None = None


@dataclass(frozen=True, slots=True)
class PhotographDone:
    """What is said of a photograph whose rows the workers keep, and write themselves (`build.cluster`).

    Attributes:
        photograph, notes: as `PhotographRows`.
    """

    photograph: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FirstPass:
    """What a first pass found on one photograph: masks as run lengths, for those of many photographs are kept at once.

    Attributes:
        task: which photograph.
        size: (height, width) in pixels.
        rles: the T masks (see `imaging.masks.encode`).
        present: whether each has any pixel.
        confidence: float32 (T,).
        frame: of the specimen.
        cycle: float32 (T,) or None, see `types.Propagated`.
    """

    task: Task
    size: tuple[int, int]
    rles: tuple[bytes, ...]
    present: tuple[bool, ...]
    confidence: Floats
    frame: Frame
    cycle: Floats | None


def cut_batches(propagator: Propagator, tasks: Sequence[Task]) -> Iterator[Sequence[Task]]:
    """Cut the photographs of a group into batches, each as large as the propagator wants.

    Raises:
        ModelError: it wants batches of no whole number above 0, see `get_batch_size`.
    """
    size = get_batch_size(propagator)
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]


def process_batch(
    batch: Batch, engines: Engines, paths: IndexPaths, budget: PixelBudget, parts: PartWorkers | None = None
) -> list[PhotographRows | Skipped]:
    """Propagate to the photographs of a batch, describe and measure them, and write their thumbnails and crops.

    Args:
        batch: the photographs.
        engines: the models.
        paths: of the index, for thumbnails and crops; nothing else in it is touched.
        budget: is waited for, if large photographs are in process.
        parts: work on several individuals of a photograph at the same time; None works on one after the other.

    Returns:
        For every photograph what is to be kept of it, or why it is skipped.

    Raises:
        ModelError: a model answers nonsense; as every other error it bears a note that names the photographs.
    """
    try:
        with budget.reserve(sum(_count_pixels(task) for task in batch.tasks)):
            if batch.group_finder is not None:
                finder, parts = batch.group_finder, parts or PartWorkers()
                return [_process_several(task, finder, batch, engines, paths, parts) for task in batch.tasks]
            results = _propagate(engines.propagator, batch)
            return [_describe(result, batch, engines, paths) for result in results]
    except Exception as error:
        error.add_note(f"at work on {', '.join(task.photograph.id for task in batch.tasks)}")
        raise


def propagate_first(batch: Batch, propagator: Propagator, budget: PixelBudget) -> list[FirstPass | None]:
    """Propagate to the photographs of a batch, for the first of two passes (`build.second_pass`).

    Args:
        batch: the photographs.
        propagator: the model.
        budget: is waited for, if large photographs are in process.

    Returns:
        For every photograph what was found on it, with what people decided about it; None if it cannot be read, or is
        refused: the second pass says why.

    Raises:
        ModelError: the model answers nonsense.
    """
    traits = batch.memory.traits
    with budget.reserve(sum(_count_pixels(task) for task in batch.tasks)):
        return [
            None if isinstance(result, Skipped) else _keep_first_pass(result[0].task, result[1], traits)
            for result in _propagate(propagator, batch)
        ]


def _keep_first_pass(task: Task, found: Propagated, traits: Sequence[str]) -> FirstPass:
    found = replace_reviewed(found, traits, task.reviews)
    height, width = found.masks.shape[1:]
    rles = tuple(encode(mask) for mask in found.masks)
    present = tuple(bool(mask.any()) for mask in found.masks)
    return FirstPass(task, (height, width), rles, present, found.confidence, found.frame, found.cycle)


def _count_pixels(task: Task) -> int:
    """Count the pixels of a photograph, without reading them."""
    try:
        height, width = image_size(task.photograph.image)
    except ImageError:
        return 0  # It cannot be read, either; the reason is recorded then.
    return height * width


def _propagate(propagator: Propagator, batch: Batch) -> Iterator[tuple[_Photograph, Propagated] | Skipped]:
    """Read the photographs of a batch and propagate to them; yields, in their order, each with its masks."""
    photographs = [_read_photograph(task) for task in batch.tasks]
    readable = [each for each in photographs if isinstance(each, _Photograph)]
    unknown = [each for each in readable if each.task.photograph.id not in batch.known]
    results = iter(_propagate_together(propagator, batch.memory, unknown))
    for each in photographs:
        if isinstance(each, Skipped):
            yield each
        elif each.task.photograph.id in batch.known:
            yield each, batch.known[each.task.photograph.id]
        else:
            yield next(results)


def _read_photograph(task: Task) -> _Photograph | Skipped:
    """Read a photograph; one that changed since its content was hashed would be kept under the hash of another."""
    path = task.photograph.image
    try:
        read = read_photograph(path)
        if task.content and read.checksum != task.content:
            raise ImageError(f"{path} changed while the index was built; build again when it is no longer written")
        if is_one_colour(read.image):
            raise ImageError(f"{path} is of one colour, so that nothing can be found on it; is it the right file?")
    except ImageError as error:
        return _skip(task, error)
    oddity = describe_exposure(read.image)
    return _Photograph(task, read.image, read.notes if oddity is None else (*read.notes, oddity))


def _propagate_together(
    propagator: Propagator, memory: Memory, photographs: Sequence[_Photograph]
) -> list[tuple[_Photograph, Propagated] | Skipped]:
    """Propagate to all at once; if one of them is refused, to each alone, so that the others are not lost with it."""
    if not photographs:
        return []
    images = [each.image for each in photographs]
    try:
        found = propagate_from(propagator, memory, images)
    except InputError as error:
        if len(photographs) == 1:
            return [_skip(photographs[0].task, error)]
        return [result for each in photographs for result in _propagate_together(propagator, memory, [each])]
    return list(zip(photographs, found, strict=True))


def _describe(
    result: tuple[_Photograph, Propagated] | Skipped, batch: Batch, engines: Engines, paths: IndexPaths
) -> PhotographRows | Skipped:
    """Make the rows of one photograph, or record why it is skipped."""
    if isinstance(result, Skipped):
        return result
    photograph, found = result
    try:
        rows = _make_rows(photograph, found, batch, engines, paths)
    except InputError as error:
        return _skip(photograph.task, error)
    doubt = describe_doubt([region for region, _, _ in rows])
    notes = photograph.notes if doubt is None else (*photograph.notes, doubt)
    return PhotographRows(photograph.task.photograph.id, rows, notes)


def _make_rows(
    photograph: _Photograph, found: Propagated, batch: Batch, engines: Engines, paths: IndexPaths
) -> list[ShardRow]:
    task, image = photograph.task, photograph.image
    name, traits = task.photograph.id, batch.memory.traits
    if name in batch.annotations:
        found = replace_drawn(found, traits, batch.annotations[name])
    found = batch.alignment.apply(replace_reviewed(found, traits, task.reviews))
    regions = describe_regions(name, image, found, traits, engines.embedder)
    with explain_disk_errors(paths.root):
        write_thumbnails(paths, name, image, dict(zip(traits, found.masks, strict=True)))
    return [(region, task.content, task.supports) for region in regions]


def _process_several(
    task: Task, group_finder: GroupFinder, batch: Batch, engines: Engines, paths: IndexPaths, parts: PartWorkers
) -> PhotographRows | Skipped:
    """Make the rows of a photograph that may show several individuals, or record why it is skipped."""
    read = _read_photograph(task)
    if isinstance(read, Skipped):
        return read
    name = task.photograph.id
    try:
        individuals = find_individuals(task.photograph, read.image, group_finder, task.reviews)
    except InputError as error:
        return _skip(task, error)
    described, notes = describe_individuals(
        *(task.photograph, read.image, individuals, batch.memory, task.reviews),
        propagator=engines.propagator,
        embedder=engines.embedder,
        align=batch.alignment.apply,
        parts=parts,
    )
    with explain_disk_errors(paths.root):
        parts.map(partial(write_individual_thumbnails, paths, read.image), described)
    rows = [(region, task.content, task.supports) for regions in described for region in regions]
    empty = None if rows else (name, task.content, task.supports)
    return PhotographRows(name, rows, (*read.notes, *notes), empty)


def _skip(task: Task, error: InputError) -> Skipped:
    """Record why a photograph is skipped."""
    return Skipped(task.photograph.id, "image" if isinstance(error, ImageError) else "propagation", str(error))
