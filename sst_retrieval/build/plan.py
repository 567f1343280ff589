"""The plan of a build: which photographs, or the supports of their groups, are new or changed since the last one."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from sst_retrieval.annotate.supports import Supports
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import ImageError
from sst_retrieval.imaging.images import content_hash
from sst_retrieval.index.reviews import Review, hash_redraws, select_reviews
from sst_retrieval.types import Photograph, Skipped


@dataclass(frozen=True, slots=True)
class Task:
    """A photograph that needs work.

    Attributes:
        photograph: which one.
        content: hash of its content.
        supports: hash of the supports, and of what was redrawn here, that its masks will be made from.
        reviews: what people decided about its masks.
    """

    photograph: Photograph
    content: str
    supports: str
    reviews: tuple[Review, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The work of a build.

    Attributes:
        tasks: group -> its photographs that need work; groups in the order of their supports.
        reused: how many photographs need none.
        skipped: photographs that cannot be processed, and why.
        waiting: photographs of groups that this build leaves alone, which need work all the same.
    """

    tasks: Mapping[str, tuple[Task, ...]]
    reused: int
    skipped: tuple[Skipped, ...]
    waiting: int = 0

    @property
    def photographs(self) -> int:
        """Number of photographs that need work."""
        return sum(map(len, self.tasks.values()))


def make_plan(
    collection: Collection,
    supports: Supports,
    done: Mapping[str, tuple[str, str]],
    *,
    reviews: Mapping[str, tuple[Review, ...]],
    groups: Container[str],
    progress: Callable[[int, int], None],
    hash_content: Callable[[Path], str] = content_hash,
) -> BuildPlan:
    """Sort the photographs: those that need no work, those that need it, and those that are skipped.

    Args:
        collection: the photographs.
        supports: the annotated ones.
        done: photograph -> (hash of its content, hash of its supports) of what is in the index.
        reviews: content hash -> what people decided about masks on photographs of it
            (`index.reviews.group_by_content`).
        groups: only these are processed, none means all. What the index holds of the others stays, and their
            photographs are not read; one that it does not hold yet is skipped.
        progress: is called after every photograph with how many of how many were checked.
        hash_content: returns the hash of a photograph's content.

    Returns:
        The plan.
    """
    tasks: dict[str, list[Task]] = {group: [] for group in supports.groups()}
    skipped = list(collection.left_out)
    reused = waiting = 0
    for number, photograph in enumerate(collection.photographs, start=1):
        if groups and photograph.group not in groups and photograph.group in supports.fingerprints:
            if _is_current(photograph, supports, done, reviews):
                reused += 1
            else:
                waiting += 1
            if photograph.id not in done:
                skipped.append(Skipped(photograph.id, "groups", f"its group {photograph.group!r} was not built yet"))
        else:
            task = _make_task(photograph, supports, reviews, hash_content)
            if isinstance(task, Skipped):
                skipped.append(task)
            elif done.get(photograph.id) == (task.content, task.supports):
                reused += 1
            else:
                tasks[photograph.group].append(task)
        progress(number, len(collection.photographs))
    return BuildPlan({group: tuple(own) for group, own in tasks.items() if own}, reused, tuple(skipped), waiting)


def _is_current(
    photograph: Photograph,
    supports: Supports,
    done: Mapping[str, tuple[str, str]],
    reviews: Mapping[str, tuple[Review, ...]],
) -> bool:
    """Say whether the index was made from today's supports and redrawn masks; the photograph is not read."""
    if photograph.id not in done:
        return False
    content, made_from = done[photograph.id]
    return made_from == hash_redraws(
        supports.fingerprints[photograph.group], select_reviews(reviews.get(content, ()), photograph)
    )


def _make_task(
    photograph: Photograph,
    supports: Supports,
    reviews: Mapping[str, tuple[Review, ...]],
    hash_content: Callable[[Path], str],
) -> Task | Skipped:
    """Read a photograph's content; one without support, or that is unreadable, is skipped."""
    fingerprint = supports.fingerprints.get(photograph.group)
    if fingerprint is None:
        reason = f"its group {photograph.group!r} has no support; annotate one specimen of it"
        return Skipped(photograph.id, "support", reason)
    try:
        content = hash_content(photograph.image)
    except ImageError as error:
        return Skipped(photograph.id, "image", str(error))
    decided = select_reviews(reviews.get(content, ()), photograph)
    return Task(photograph, content, hash_redraws(fingerprint, decided), decided)
