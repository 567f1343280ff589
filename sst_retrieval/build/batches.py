"""Room 3: photographs go to the propagator several at a time, and what is wrong with one harms no other.

A propagator that is faster with several photographs at once says how many (`track.contract.batch_of`). No more than
that many are in memory for each worker (see `build.workers`); their order is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sst_retrieval.build.plan import Task
from sst_retrieval.build.regions import checked
from sst_retrieval.errors import ImageError, InputError
from sst_retrieval.imaging.images import read_image
from sst_retrieval.track.contract import Memory, Propagator, batch_of
from sst_retrieval.types import Propagated, RGBImage, Skipped

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
