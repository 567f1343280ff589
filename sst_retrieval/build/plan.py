"""What is there to do: which photographs, or the supports of their groups, are new or changed since the last build."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from sst_retrieval.annotate.supports import Supports
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import ImageError
from sst_retrieval.imaging.images import content_hash
from sst_retrieval.index.reviews import Review, hash_redraws
from sst_retrieval.types import Skipped, Specimen


@dataclass(frozen=True, slots=True)
class Task:
    """A photograph to work on.

    Attributes:
        specimen: whose photograph.
        content: hash of the photograph's content.
        supports: hash of the supports, and of what was redrawn here, that its masks will be made from.
        reviews: what people decided about its masks.
    """

    specimen: Specimen
    content: str
    supports: str
    reviews: tuple[Review, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of a build.

    Attributes:
        tasks: group -> its photographs that need work; groups in the order of their supports.
        reused: how many photographs need none.
        skipped: specimens that cannot be worked on, and why.
        waiting: photographs of groups that this build leaves alone, which have work to be done all the same.
    """

    tasks: Mapping[str, tuple[Task, ...]]
    reused: int
    skipped: tuple[Skipped, ...]
    waiting: int = 0

    @property
    def photographs(self) -> int:
        """Count the photographs that need work."""
        return sum(map(len, self.tasks.values()))


def make_plan(
    collection: Collection,
    supports: Supports,
    done: Mapping[str, tuple[str, str]],
    looked_at: Callable[[int, int], None],
    reviews: Mapping[tuple[str, str], tuple[Review, ...]] | None = None,
    groups: Container[str] = (),
) -> Plan:
    """Sort the specimens: nothing to do, to be worked on, or left out.

    Args:
        collection: the specimens.
        supports: the annotated ones.
        done: specimen -> (content hash of its photograph, hash of its supports) of what is in the index.
        looked_at: is told after every specimen how many of how many were looked at, or left alone.
        reviews: (specimen, content hash) -> what people decided about its masks (`index.reviews.group_by_photograph`).
        groups: only these are worked on, none means all. What the index holds of the others stays, and their
            photographs are not looked at; one that it does not hold yet is left out.
    """
    tasks: dict[str, list[Task]] = {group: [] for group in supports.groups()}
    skipped = list(collection.left_out)
    reused = waiting = 0
    for number, specimen in enumerate(collection.specimens, start=1):
        if groups and specimen.group not in groups and specimen.group in supports.fingerprints:
            if _as_planned(specimen, supports, done, reviews or {}):
                reused += 1
            else:
                waiting += 1
            if specimen.id not in done:
                skipped.append(Skipped(specimen.id, "groups", f"its group {specimen.group!r} was not built yet"))
        else:
            found = _look(specimen, supports, reviews or {})
            if isinstance(found, Skipped):
                skipped.append(found)
            elif done.get(specimen.id) == (found.content, found.supports):
                reused += 1
            else:
                tasks[specimen.group].append(found)
        looked_at(number, len(collection.specimens))
    return Plan({group: tuple(own) for group, own in tasks.items() if own}, reused, tuple(skipped), waiting)


def _as_planned(
    specimen: Specimen,
    supports: Supports,
    done: Mapping[str, tuple[str, str]],
    reviews: Mapping[tuple[str, str], tuple[Review, ...]],
) -> bool:
    """Say whether what the index holds was made from today's supports and redrawn masks; the photograph is not read."""
    if specimen.id not in done:
        return False
    content, made_from = done[specimen.id]
    return made_from == hash_redraws(supports.fingerprints[specimen.group], reviews.get((specimen.id, content), ()))


def _look(
    specimen: Specimen, supports: Supports, reviews: Mapping[tuple[str, str], tuple[Review, ...]]
) -> Task | Skipped:
    fingerprint = supports.fingerprints.get(specimen.group)
    if fingerprint is None:
        reason = f"its group {specimen.group!r} has no support; annotate one specimen of it"
        return Skipped(specimen.id, "support", reason)
    try:
        content = content_hash(specimen.image)
    except ImageError as error:
        return Skipped(specimen.id, "image", str(error))
    decided = reviews.get((specimen.id, content), ())
    return Task(specimen, content, hash_redraws(fingerprint, decided), decided)
