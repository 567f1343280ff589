"""Rooms 3 and 4 for a few photographs: found, described and measured. Several threads do so at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sst_retrieval.build.alignment import Alignment
from sst_retrieval.build.batches import Found, found_on, left_out
from sst_retrieval.build.plan import Task
from sst_retrieval.build.regions import as_drawn, as_reviewed, regions_of
from sst_retrieval.build.workers import Room
from sst_retrieval.engines import Engines
from sst_retrieval.errors import ImageError, InputError
from sst_retrieval.imaging.images import image_size
from sst_retrieval.index.folder import IndexFolder
from sst_retrieval.index.shards import Row
from sst_retrieval.index.thumbnails import write_small_pictures
from sst_retrieval.track.contract import Memory
from sst_retrieval.types import Skipped, Support


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


def worked_on(piece: Piece, engines: Engines, folder: IndexFolder, room: Room) -> list[list[Row] | Skipped]:
    """Find the traits of photographs, describe and measure them, and write their small pictures.

    Args:
        piece: the photographs.
        engines: the models.
        folder: the index, for the small pictures; nothing else in it is touched.
        room: is waited for, if others are at work on large photographs.

    Returns:
        For every photograph the rows that are to be kept, or why it is left out.

    Raises:
        ModelError: a model answers nonsense; as every other error it bears a note that names the photographs.
    """
    try:
        with room.taken(sum(_pixels(task) for task in piece.tasks)):
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
