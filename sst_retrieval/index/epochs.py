"""The epoch of a generation: since when its whitening is the same, and what was added and removed since.

A *full* commit begins an epoch: it fits the whitening of every trait, and the directions of the codes, and writes all
files from all shards. A commit that *adds* to it copies the catalog and changes what differs, links the files of
vectors and codes (they never change), and writes one more *segment* of what is new, whitened as the rest is. So it
costs what it adds, and similarities before and after it can be compared.

    generations/0013/epoch.json             number of the epoch, and what was added and removed since
    generations/0013/removed.npy            int64 (m,), ascending: region ids that are no longer of any region
    generations/0013/segments/0012/         vectors and codes of what commit 12 added, one set of files a trait

Region ids never change within an epoch. Those of a full commit are numbered by trait, then individual; what is added
is numbered so, too, from the highest id on that was ever given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.files import write_text
from sst_retrieval.index.checksums import parse_json, require_file
from sst_retrieval.index.paths import GenerationPaths, SegmentPaths
from sst_retrieval.index.shard_vectors import ShardVectors, read_places
from sst_retrieval.index.vectors import TraitFiles, VectorIndex
from sst_retrieval.index.whitening import TraitWhitening, read_lengths, read_whitening

LEAST_REGIONS = 10_000
"""With fewer regions every commit is a full one: it takes a second, and suits the whitening to all regions."""

MOST_CHANGED = 0.5
"""A commit is a full one if more than this share of the regions that a trait's whitening was fitted on were added or
removed since."""

MOST_SEGMENTS = 8
"""With more segments they are merged into one, since each costs every search a little."""

_REMEDY = "run the build again with --refit to make it anew"


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch, as it stands in one of its generations.

    Attributes:
        number: of the generation that began it.
        fitted: trait -> how many regions that show it its whitening was fitted on.
        added: trait -> how many were added since, whether they are still there or not.
        removed: trait -> how many were removed or replaced since.
        segments: numbers of the segments, oldest first: of the generations that wrote them.
        next_id: the lowest region id that was never given.
        shards: how many shards the generation was made of; if some are gone since, nothing can be added to it.
    """

    number: int
    fitted: Mapping[str, int]
    added: Mapping[str, int] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)
    segments: tuple[int, ...] = ()
    next_id: int = 0
    shards: int = 0

    @property
    def is_large(self) -> bool:
        """Whether there are so many regions that it may be added to."""
        return sum(self.fitted.values()) >= LEAST_REGIONS

    def outgrown(self) -> str | None:
        """Return a trait too many regions of which were added or removed since its whitening was fitted, or None."""
        for trait, count in self.fitted.items():
            if self.added.get(trait, 0) + self.removed.get(trait, 0) > MOST_CHANGED * count:
                return trait
        return None

    def summary(self) -> dict[str, Any]:
        """Say in JSON values what a person may want to know."""
        added, removed = sum(self.added.values()), sum(self.removed.values())
        return {"number": self.number, "segments": len(self.segments), "added": added, "removed": removed}


def write_epoch(paths: GenerationPaths, epoch: Epoch, removed_ids: npt.NDArray[np.int64]) -> None:
    """Write the epoch of a generation.

    Args:
        paths: of the generation.
        epoch: how it stands.
        removed_ids: int64 (m,), ascending: region ids that were given in this epoch and are of no region.
    """
    write_text(paths.epoch_file, json.dumps(asdict(epoch), ensure_ascii=False, indent=2) + "\n")
    if len(removed_ids):
        np.save(paths.removed_file, removed_ids, allow_pickle=False)


def read_epoch(paths: GenerationPaths) -> Epoch | None:
    """Read the epoch of a generation; None if a version without epochs made it.

    Raises:
        IndexFolderError: the file cannot be read.
    """
    path = paths.epoch_file
    if not path.exists():
        return None
    try:
        fields = parse_json(require_file(path, _REMEDY).read_bytes())
        fitted, added, removed = (
            {str(trait): _count(value) for trait, value in fields[name].items()}
            for name in ("fitted", "added", "removed")
        )
        segments = tuple(_count(number) for number in fields["segments"])
        numbers = (_count(fields[name]) for name in ("next_id", "shards"))
        return Epoch(_count(fields["number"]), fitted, added, removed, segments, *numbers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexFolderError(f"{path} cannot be read; {_REMEDY}: {error}") from error


def read_removed_ids(paths: GenerationPaths) -> npt.NDArray[np.int64]:
    """Read the region ids that are of no region any more: int64 (m,), ascending.

    Raises:
        IndexFolderError: the file cannot be read.
    """
    path = paths.removed_file
    if not path.exists():
        return np.zeros(0, dtype=np.int64)
    try:
        found = np.load(require_file(path, _REMEDY), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IndexFolderError(f"{path} cannot be read; {_REMEDY}: {error}") from error
    if not isinstance(found, np.ndarray) or found.dtype != np.int64 or found.ndim != 1 or (np.diff(found) <= 0).any():
        raise IndexFolderError(f"{path} does not hold region ids; {_REMEDY}")
    return found


def open_vectors(
    paths: GenerationPaths,
    trait: str,
    blocks: Mapping[str, int],
    epoch: Epoch | None,
    removed_ids: npt.NDArray[np.int64] | None = None,
    inside: Callable[[Path], Path] = lambda path: path,
) -> VectorIndex:
    """Open the vectors of a trait, of all segments.

    Args:
        paths: of the generation.
        trait: name of the trait.
        blocks: block name -> number of values.
        epoch: what `read_epoch` returned.
        removed_ids: what `read_removed_ids` returned.
        inside: checks every path before it is opened, and returns it.

    Raises:
        IndexFolderError: a file cannot be read.
    """
    additions = []
    for number in () if epoch is None else epoch.segments:
        segment = paths.segment(number)
        if segment.has(trait):
            codes, basis = segment.code_files(trait)
            vectors = _locate(paths, segment, trait, blocks, inside)
            additions.append(TraitFiles(vectors, (inside(codes), inside(basis))))
    codes, basis = paths.code_files(trait)
    return VectorIndex(
        _locate(paths, None, trait, blocks, inside),
        blocks,
        (inside(codes), inside(basis)),
        additions=additions,
        removed=removed_ids,
    )


def _locate(
    paths: GenerationPaths,
    segment: SegmentPaths | None,
    trait: str,
    blocks: Mapping[str, int],
    inside: Callable[[Path], Path],
) -> Path | ShardVectors:
    """Return the file of the vectors of a trait, in a segment or (None) those of the full commit; or map the shards."""
    own = paths if segment is None else segment
    file = inside(own.places_file(trait))
    if not file.exists():
        return inside(own.vector_file(trait))
    whitening = read_whitening(inside(paths.whitening_file(trait)), blocks)
    if segment is not None:
        whitening = replace(whitening, lengths=read_lengths(inside(segment.lengths_file(trait))))
    if whitening.lengths.keys() != whitening.maps.keys():
        raise IndexFolderError(f"{file.parent} does not fit its whitening; {_REMEDY}")
    places = read_places(file, sum(blocks.values()))
    return ShardVectors(places, whitening, file.parent, lambda number: inside(paths.shard_file(number)))


def open_whitening(
    paths: GenerationPaths,
    trait: str,
    blocks: Mapping[str, int],
    epoch: Epoch | None,
    inside: Callable[[Path], Path] = lambda path: path,
) -> TraitWhitening:
    """Read the whitening of a trait, with the lengths of its regions of all segments (see `open_vectors`)."""
    segments = [paths.segment(number) for number in (() if epoch is None else epoch.segments)]
    more = [inside(each.lengths_file(trait)) for each in segments if each.has(trait)]
    return read_whitening(inside(paths.whitening_file(trait)), blocks, more)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
