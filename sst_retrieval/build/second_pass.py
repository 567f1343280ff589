"""The second pass of a build: which photographs of a group become further supports, and how an index keeps the choice.

1. The supports of a group are propagated to its candidates: `CANDIDATES` photographs at most, those whose content hash
   sorts first, so that neither the order of the table nor the number of workers matters (`SecondPass.extend`).
2. The surest of them become supports (`track.second_pass`). They keep the masks of this first pass.
3. The choice, with its masks, is stored as a note beside the first rows that it was applied to. It is used again as
   long as the supports of the group are the same: what is added later, or resumed after a kill, is propagated to from
   the same supports, and no mask changes.
4. If a chosen photograph is changed, moved to another group or taken out of the table, the choice is void: the group's
   fingerprint changes (`add_second_pass_to_fingerprints`), and all its photographs are processed anew.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np

from sst_retrieval.annotate.supports import Supports
from sst_retrieval.build.job import Job
from sst_retrieval.build.photographs import Batch, FirstPass, cut_batches, propagate_first
from sst_retrieval.build.plan import Task
from sst_retrieval.build.shard_writer import ShardWriter
from sst_retrieval.build.workers import PixelBudget, map_in_order
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import ImageError, IndexFolderError, InputError
from sst_retrieval.imaging.images import read_photograph
from sst_retrieval.imaging.masks import decode
from sst_retrieval.track.contract import Memory
from sst_retrieval.track.second_pass import TwoPassMemory, choose_targets, make_support, remember_again
from sst_retrieval.types import Floats, Frame, Photograph, Propagated, Support

CANDIDATES = 200
"""Most photographs of a group among which the further supports are chosen; a large group is not propagated to twice."""

UNORDERED = ("sam2-video",)
"""Propagators whose masks depend on the photographs before, in the order of the table."""


@dataclass(frozen=True, slots=True)
class ChosenTarget:
    """A photograph that became a support, as an index keeps it.

    Attributes:
        photograph: its id.
        content: hash of its content.
        traits: names of the T traits.
        size: (height, width) in pixels.
        rles: the T masks of the first pass (see `imaging.masks.encode`).
        confidence: of each, 0..1.
        frame: that the first pass found.
        cycle: of each mask, NaN where there is none; None if the propagator does not compute it.
    """

    photograph: str
    content: str
    traits: tuple[str, ...]
    size: tuple[int, int]
    rles: tuple[bytes, ...]
    confidence: tuple[float, ...]
    frame: Frame
    cycle: tuple[float, ...] | None = None

    @classmethod
    def from_first_pass(cls, found: FirstPass, traits: Sequence[str]) -> Self:
        """Take over what the first pass found on a photograph."""
        cycle = None if found.cycle is None else tuple(found.cycle.tolist())
        confidence = tuple(found.confidence.tolist())
        task = found.task
        return cls(
            task.photograph.id, task.content, tuple(traits), found.size, found.rles, confidence, found.frame, cycle
        )

    def as_propagated(self) -> Propagated:
        """Return the masks of the first pass, to the bit."""
        masks = np.stack([decode(rle, self.size) for rle in self.rles])
        cycle = None if self.cycle is None else np.array(self.cycle, dtype=np.float32)
        return Propagated(masks, np.array(self.confidence, dtype=np.float32), self.frame, cycle)

    def as_json(self) -> dict[str, Any]:
        """Return it in JSON values, from which `from_json` reads the same to the last bit."""
        cycle = None if self.cycle is None else [None if math.isnan(each) else each for each in self.cycle]
        return {
            "photograph": self.photograph,
            "content": self.content,
            "traits": list(self.traits),
            "size": list(self.size),
            "masks": [rle.decode("ascii") for rle in self.rles],
            "confidence": list(self.confidence),
            "frame": list(self.frame.matrix),
            "cycle": cycle,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `as_json` returned.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        a, b, c, d, e, f = (float(value) for value in stored["frame"])
        height, width = (int(value) for value in stored["size"])
        traits = tuple(str(trait) for trait in stored["traits"])
        rles = tuple(str(rle).encode("ascii") for rle in stored["masks"])
        confidence = tuple(float(value) for value in stored["confidence"])
        cycle = stored["cycle"]
        if cycle is not None:
            cycle = tuple(math.nan if value is None else float(value) for value in cycle)
        if not len(traits) == len(rles) == len(confidence) or (cycle is not None and len(cycle) != len(traits)):
            raise ValueError("one mask and one confidence a trait")
        if not math.isfinite(a + b + c + d + e + f) or a * e == b * d:
            raise ValueError("no frame")
        photograph, content = str(stored["photograph"]), str(stored["content"])
        return cls(photograph, content, traits, (height, width), rles, confidence, Frame((a, b, c, d, e, f)), cycle)


def check_second_pass(count: int, propagator: str) -> None:
    """Refuse a second pass that cannot be.

    Args:
        count: most further supports of a group; 0 for one pass.
        propagator: its name on the command line.

    Raises:
        InputError: the count is negative, or the propagator follows the table's order.
    """
    if count < 0:
        raise InputError(f"--second-pass {count}: give how many photographs of a group may become supports, 0 for none")
    if count and propagator in UNORDERED:
        raise InputError(
            f"--second-pass {count}: with --propagator {propagator} a mask depends on the photographs before it "
            "already; choose another propagator, or leave out --second-pass"
        )


def add_second_pass_to_fingerprints(
    supports: Supports, collection: Collection, notes: Mapping[str, Any], hash_content: Callable[[Path], str]
) -> Supports:
    """Change the fingerprints of groups whose stored choice is void, so that their photographs are processed anew.

    Args:
        supports: the supports of all groups.
        collection: the photographs as they are now.
        notes: of the index, see `index.store.Store.read_notes`.
        hash_content: returns the hash of a photograph's content.

    Returns:
        The same supports; the fingerprints of all other groups are unchanged.

    Raises:
        IndexFolderError: a stored choice is damaged.
    """
    present = {photograph.id: photograph for photograph in collection.photographs}

    def follow(group: str, fingerprint: str) -> str:
        while (chosen := read_choice(notes, fingerprint)) is not None:
            void = [each for each in chosen if not _is_unchanged(each, group, present, hash_content)]
            if not void:
                break
            lost = [(each.photograph, each.content) for each in void]
            fingerprint = hashlib.sha256(f"{fingerprint} without {lost!r}".encode()).hexdigest()
        return fingerprint

    return replace(supports, fingerprints={group: follow(group, own) for group, own in supports.fingerprints.items()})


def _is_unchanged(
    chosen: ChosenTarget, group: str, present: Mapping[str, Photograph], hash_content: Callable[[Path], str]
) -> bool:
    """Say whether a chosen photograph is still what it was when it was chosen."""
    photograph = present.get(chosen.photograph)
    if photograph is None or photograph.group != group:
        return False
    try:
        return hash_content(photograph.image) == chosen.content
    except ImageError:
        return False  # The plan lists it, with the reason.


def read_choice(notes: Mapping[str, Any], fingerprint: str) -> tuple[ChosenTarget, ...] | None:
    """Read which photographs of a group became supports, in the order in which they did; None if nothing is stored.

    Args:
        notes: of the index.
        fingerprint: of the group's supports.

    Raises:
        IndexFolderError: what is stored is damaged.
    """
    stored = notes.get(_name_note(fingerprint))
    if stored is None:
        return None
    try:
        return tuple(ChosenTarget.from_json(each) for each in stored)
    except (KeyError, TypeError, ValueError) as error:
        raise IndexFolderError(
            f"the index stores a damaged second pass of a group ({error}); start it anew with --rebuild"
        ) from error


def _name_note(fingerprint: str) -> str:
    return f"second pass {fingerprint}"


class SecondPass:
    """Extends the supports of one group after the other by their surest targets."""

    def __init__(self, job: Job, shards: ShardWriter) -> None:
        """Read the choices that the index stores.

        Args:
            job: the build.
            shards: where new choices are stored.

        Raises:
            IndexFolderError: a shard cannot be read.
        """
        self._job = job
        self._shards = shards
        self._stored = job.store.read_notes() if job.settings.second_pass else {}

    def extend(
        self, group: str, memory: Memory, supports: Sequence[Support]
    ) -> tuple[Memory, tuple[ChosenTarget, ...]]:
        """Return the memory of a group for its second pass, and the photographs that joined its supports.

        Without a second pass, and for a group that may show several individuals, the memory stays as it is.

        Args:
            group: the group.
            memory: of its supports.
            supports: its supports.

        Raises:
            ModelError: the propagator answers nonsense.
            InputError: a chosen photograph has changed since the build began.
            IndexFolderError: a stored choice is damaged.
        """
        job = self._job
        if not job.settings.second_pass or job.supports.individuals[group] == "many":
            return memory, ()
        fingerprint = job.supports.fingerprints[group]
        chosen = read_choice(self._stored, fingerprint)
        if chosen is None:
            chosen = self._choose(group, memory)
            self._shards.add_note(_name_note(fingerprint), [each.as_json() for each in chosen])
        if not chosen:
            return memory, ()
        images = {photograph.id: photograph.image for photograph in job.collection.photographs}
        further = [_load_support(each, group, images[each.photograph]) for each in chosen]
        return TwoPassMemory(memory, remember_again(job.engines.propagator, supports, further)), chosen

    def _choose(self, group: str, memory: Memory) -> tuple[ChosenTarget, ...]:
        """Propagate to the candidates, and choose the surest."""
        job = self._job
        candidates = list_candidates(job.plan.tasks[group], [each.content for each in job.supports.references])
        batches = (Batch(each, memory, {}) for each in cut_batches(job.engines.propagator, candidates))
        process = partial(propagate_first, propagator=job.engines.propagator, budget=PixelBudget())
        found: dict[str, FirstPass] = {}
        with closing(map_in_order(process, batches, job.workers)) as results:
            for number, each in enumerate(chain.from_iterable(results), start=1):
                job.progress(f"choosing further supports of {group}", number, len(candidates))
                if each is not None:
                    found[each.task.photograph.id] = each
        names = choose_targets(dict(_list_confidences(found)), job.settings.second_pass)
        return tuple(ChosenTarget.from_first_pass(found[name], memory.traits) for name in names)


def list_candidates(tasks: Sequence[Task], annotated: Sequence[str]) -> list[Task]:
    """List the photographs of a group that may become supports.

    Args:
        tasks: all photographs of the group, in any order.
        annotated: content hashes of the photographs that people annotated.

    Returns:
        `CANDIDATES` at most, those whose content hash sorts first; of photographs with one content the first id.
    """
    known, candidates = set(annotated), []
    for task in sorted(tasks, key=lambda task: (task.content, task.photograph.id)):
        if task.content not in known:
            known.add(task.content)
            candidates.append(task)
    return candidates[:CANDIDATES]


def _list_confidences(found: Mapping[str, FirstPass]) -> Iterator[tuple[str, tuple[Floats, Sequence[bool]]]]:
    for name, each in found.items():
        yield name, (each.confidence, each.present)


def _load_support(chosen: ChosenTarget, group: str, path: Path) -> Support:
    """Read a chosen photograph, and make a support of it.

    Raises:
        InputError: it has changed since the build began, or cannot be read.
    """
    read = read_photograph(path)
    if read.checksum != chosen.content:
        raise InputError(f"{path} changed while the index was built; build again when it is no longer written")
    return make_support(chosen.photograph, group, read.image, chosen.as_propagated(), chosen.traits)
