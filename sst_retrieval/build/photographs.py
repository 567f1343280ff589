"""Rooms 3 and 4 for a few photographs: found, described and measured. Several threads do so at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sst_retrieval.build.alignment import Alignment
from sst_retrieval.build.plan import Task
from sst_retrieval.build.regions import as_drawn, as_reviewed, regions_of
from sst_retrieval.build.workers import PixelBudget
from sst_retrieval.engines import Engines
from sst_retrieval.errors import ImageError, InputError
from sst_retrieval.imaging.images import image_size, read_image
from sst_retrieval.index.folder import IndexFolder
from sst_retrieval.index.shards import Row
from sst_retrieval.index.thumbnails import write_small_pictures
from sst_retrieval.track.contract import Memory, Propagator, batch_of, checked
from sst_retrieval.types import Propagated, RGBImage, Skipped, Support

Found = tuple[Task, RGBImage, Propagated]
"""A photograph, and what was found on it."""


def batches(propagator: Propagator, tasks: Sequence[Task]) -> Iterator[Sequence[Task]]:
    """Cut the photographs of a group into batches, each as large as the propagator wants.

    Raises:
        ModelError: it wants an odd number, see `batch_of`.
    """
    batch = batch_of(propagator)
    for start in range(0, len(tasks), batch):
        yield tasks[start : start + batch]


def found_on(propagator: Propagator, memory: Memory, tasks: Sequence[Task]) -> Iterator[Found | Skipped]:
    """Read the photographs of one batch and find its traits on them.

    Args:
        propagator: finds them.
        memory: what it remembers of the group's supports.
        tasks: the photographs.

    Yields:
        In the order of the tasks: what was found on a photograph, or why it was left out.

    Raises:
        ModelError: the propagator answers nonsense.
    """
    pictures = [_read(task) for task in tasks]
    readable = [each for each in pictures if not isinstance(each, Skipped)]
    answers = iter(_answered(propagator, memory, readable))
    for picture in pictures:
        yield picture if isinstance(picture, Skipped) else next(answers)


def _read(task: Task) -> tuple[Task, RGBImage] | Skipped:
    try:
        return task, read_image(task.specimen.image)
    except ImageError as error:
        return left_out(task, error)


def _answered(
    propagator: Propagator, memory: Memory, pictures: Sequence[tuple[Task, RGBImage]]
) -> list[Found | Skipped]:
    """Ask for all at once; if one of them is refused, for each alone, so that the others are not lost with it."""
    if not pictures:
        return []
    images = [image for _, image in pictures]
    try:
        answers = checked(propagator.propagate(memory, images), images, memory.traits, propagator.name)
    except InputError as error:
        if len(pictures) == 1:
            return [left_out(pictures[0][0], error)]
        return [answer for picture in pictures for answer in _answered(propagator, memory, [picture])]
    return [(task, image, answer) for (task, image), answer in zip(pictures, answers, strict=True)]


def left_out(task: Task, error: InputError) -> Skipped:
    """Record why a photograph is left out."""
    return Skipped(task.specimen.id, "image" if isinstance(error, ImageError) else "propagation", str(error))


@dataclass(frozen=True, slots=True)
class Piece:
    """Photographs that go to the propagator together, and all that it takes to work on them.

    Attributes:
        tasks: the photographs, all of one group.
        memory: what is remembered of the group's supports.
        drawn: specimen -> its annotation, for the supports of the group.
        alignment: how the group is laid like the reference.
    """

    tasks: Sequence[Task]
    memory: Memory
    drawn: Mapping[str, Support]
    alignment: Alignment


def worked_on(piece: Piece, engines: Engines, folder: IndexFolder, budget: PixelBudget) -> list[list[Row] | Skipped]:
    """Find the traits of photographs, describe and measure them, and write their small pictures.

    Args:
        piece: the photographs.
        engines: the models.
        folder: the index, for the small pictures; nothing else in it is touched.
        budget: is waited for, if others are at work on large photographs.

    Returns:
        For every photograph the rows that are to be kept, or why it is left out.

    Raises:
        ModelError: a model answers nonsense; as every other error it bears a note that names the photographs.
    """
    try:
        with budget.reserve(sum(_pixels(task) for task in piece.tasks)):
            found = found_on(engines.propagator, piece.memory, piece.tasks)
            return [_described(each, piece, engines, folder) for each in found]
    except Exception as error:
        error.add_note(f"at work on {', '.join(task.specimen.id for task in piece.tasks)}")
        raise


def _pixels(task: Task) -> int:
    try:
        height, width = image_size(task.specimen.image)
    except ImageError:
        return 0  # It will not be read, either; what is wrong with it is said then.
    return height * width


def _described(found: Found | Skipped, piece: Piece, engines: Engines, folder: IndexFolder) -> list[Row] | Skipped:
    if isinstance(found, Skipped):
        return found
    try:
        return _rows(found, piece, engines, folder)
    except InputError as error:
        return left_out(found[0], error)


def _rows(result: Found, piece: Piece, engines: Engines, folder: IndexFolder) -> list[Row]:
    task, image, found = result
    name, traits = task.specimen.id, piece.memory.traits
    if name in piece.drawn:
        found = as_drawn(piece.drawn[name], found, traits)
    found = piece.alignment.apply(as_reviewed(found, traits, task.reviews))
    regions = regions_of(name, image, found, traits, engines.embedder)
    write_small_pictures(folder, name, image, dict(zip(traits, found.masks, strict=True)))
    return [(region, task.content, task.supports) for region in regions]
