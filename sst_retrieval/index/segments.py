"""Merge segments: the vectors and codes that several commits added become those of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from sst_retrieval.files import remove
from sst_retrieval.index.codes import merge_codes
from sst_retrieval.index.disk import allocate
from sst_retrieval.index.paths import GenerationPaths, SegmentPaths
from sst_retrieval.index.shard_vectors import join_places, read_places, write_places
from sst_retrieval.index.vector_files import CHUNK, VectorFile, write_vectors
from sst_retrieval.index.whitening import read_lengths, write_lengths


def can_be_merged(paths: GenerationPaths, segments: Sequence[int], traits: Iterable[str]) -> bool:
    """Say whether all segments hold the vectors of a trait in the same way."""
    parts = [paths.segment(each) for each in segments]
    return all(len({part.places_file(trait).exists() for part in parts if part.has(trait)}) < 2 for trait in traits)


def merge_segments(
    paths: GenerationPaths,
    segments: Sequence[int],
    number: int,
    *,
    most: int,
    traits: Iterable[str],
    removed: npt.NDArray[np.int64],
    dim: int,
) -> tuple[int, ...]:
    """Merge the newest segments of a generation that is being written into one.

    As many that none of those that stay is smaller than it, so that a region is not merged again and again.

    Args:
        paths: of the generation.
        segments: numbers of all its segments, oldest first, at least two.
        number: the merged one gets; it may be that of the newest.
        most: at most so many there may be afterwards.
        traits: names of the traits.
        removed: int64 (m,), ids of regions that are left out.
        dim: values in a vector, D.

    Returns:
        The numbers of the segments that stay as they are, oldest first.

    Raises:
        IndexFolderError: a file cannot be read.
        OSError: a file cannot be written.
    """
    names = list(traits)
    sizes = [_count_regions(paths.segment(each), names, dim) for each in segments]
    first = len(segments) - 2
    while first > 0 and (first >= most or sizes[first - 1] <= sum(sizes[first:])):
        first -= 1
    parts = [paths.segment(each) for each in segments[first:]]
    merged = SegmentPaths(paths.segment_folder / "merged")
    merged.folder.mkdir()
    for trait in names:
        own = [part for part in parts if part.has(trait)]
        if own:
            _merge_trait(own, merged, trait, removed, dim)
    for part in parts:
        remove(part.folder)
    merged.folder.replace(paths.segment(number).folder)
    return tuple(segments[:first])


def _count_regions(segment: SegmentPaths, traits: Sequence[str], dim: int) -> int:
    return sum(len(_read_ids(segment, trait, dim)) for trait in traits if segment.has(trait))


def _read_ids(segment: SegmentPaths, trait: str, dim: int) -> npt.NDArray[np.int64]:
    places = segment.places_file(trait)
    return read_places(places, dim).ids if places.exists() else VectorFile(segment.vector_file(trait), dim).ids


def _merge_trait(
    parts: Sequence[SegmentPaths], merged: SegmentPaths, trait: str, removed: npt.NDArray[np.int64], dim: int
) -> None:
    """Merge the files of one trait; what was removed is left out."""
    own_ids = [_read_ids(each, trait, dim) for each in parts]
    kept = [np.flatnonzero(~np.isin(own, removed, assume_unique=True)) for own in own_ids]
    if not any(map(len, kept)):
        return
    if parts[0].places_file(trait).exists():
        places = [read_places(each.places_file(trait), dim) for each in parts]
        joined_places = join_places([own.select(rows) for own, rows in zip(places, kept, strict=True)])
        write_places(merged.places_file(trait), joined_places)
    else:
        _merge_vectors(parts, kept, merged, trait, dim)
    lengths = [read_lengths(each.lengths_file(trait)) for each in parts]
    joined = {
        block: np.concatenate([own[block][rows] for own, rows in zip(lengths, kept, strict=True)])
        for block in lengths[0]
    }
    write_lengths(merged.lengths_file(trait), joined)
    if parts[0].code_files(trait)[0].exists():
        codes = [(*each.code_files(trait), rows) for each, rows in zip(parts, kept, strict=True)]
        merge_codes(codes, *merged.code_files(trait))


def _merge_vectors(
    parts: Sequence[SegmentPaths], kept: Sequence[npt.NDArray[np.int64]], merged: SegmentPaths, trait: str, dim: int
) -> None:
    """Merge the vectors of one trait."""
    files = [VectorFile(each.vector_file(trait), dim) for each in parts]
    ids = np.concatenate([file.ids[rows] for file, rows in zip(files, kept, strict=True)])
    scratch = merged.folder / "vectors.scratch"  # Not in memory: they may be a third of the index.
    allocate(scratch, len(ids) * dim * np.dtype(np.float32).itemsize)
    vectors = np.memmap(scratch, np.float32, "r+", shape=(len(ids), dim))
    begin = 0
    for file, rows in zip(files, kept, strict=True):
        for start in range(0, len(rows), CHUNK):
            part = file.vectors[rows[start : start + CHUNK]]
            vectors[begin : begin + len(part)] = part
            begin += len(part)
    write_vectors(merged.vector_file(trait), ids, vectors)
    del vectors
    scratch.unlink()
