"""Room 5b: what all regions of a trait have in common is taken out of their vectors before they are compared.

Every band of a drawer is a band, on a wing, at about the same place: a network's features of them are alike to 0.95,
and the little that tells one from another drowns. So, trait by trait, on the collection itself:

1. The mean is subtracted. It holds what a backbone says about the place in the picture, too: specimens lie alike.
2. Directions in which the collection varies most are damped: whitening (Jegou and Chum 2012), with a ridge. To the
   variance of every direction the same number, r, is added: (S + r I)^(-1/2) for a covariance S, times the square root
   of r. r follows a rule of thumb (`SHRINKAGE`), it is not estimated from the data; the fewer regions there are, the
   larger it is: with few, this is the subtraction alone.
3. The block is brought to unit length again.

A generation holds these numbers, made from its own regions; a query from outside goes through the same.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.types import Doubles, Floats

SHRINKAGE: Mapping[str, float] = {"pattern": 1.0}
"""Block -> the ridge of its whitening; other blocks are histograms and outlines and stay as they are.

The ridge is this times the mean variance of a direction, times (numbers in the block) / (regions) where that is more
than 1: a collection of forty specimens knows the mean of its regions but not 472 variances."""

FEWEST = 8
"""A mean of fewer regions than this says more about these regions than about the trait: nothing is changed."""

MOST_DIRECTIONS = 256
"""Directions that are damped each by its own measure; the rest vary little and share one."""

CHUNK = 4096
_SMALL = 1e-9


@dataclass(frozen=True, slots=True)
class Whitening:
    """A map of one block of a trait's vectors, and back.

    `z = unit(x - mean + ((x - mean) @ directions) * gains @ directions.T)`.

    Attributes:
        mean: float64 (d,).
        directions: float64 (d, r), orthonormal columns.
        gains: float64 (r,), more than -1.
    """

    mean: Doubles
    directions: Doubles
    gains: Doubles

    @classmethod
    def fit(cls, chunks: Iterable[Floats], shrinkage: float) -> Self:
        """Learn the map from the regions of a trait.

        Args:
            chunks: float32 (n, d) each; read once, never held together.
            shrinkage: how large the ridge is, see `SHRINKAGE`.
        """
        count, total, squares = 0, np.zeros(1), np.zeros((1, 1))
        for chunk in chunks:
            rows = chunk.astype(np.float64)
            count, total, squares = count + len(rows), total + rows.sum(axis=0), squares + rows.T @ rows
        dim = np.size(total)
        if count < FEWEST:
            return cls(np.zeros(dim), np.zeros((dim, 0)), np.zeros(0))
        mean = total / count
        variances, axes = np.linalg.eigh(squares / count - np.outer(mean, mean))
        rank = min(count - 1, dim, MOST_DIRECTIONS)
        variances, axes = np.maximum(variances[::-1][:rank], 0), axes[:, ::-1][:, :rank]
        ridge = shrinkage * max(1.0, dim / count) * variances.sum() / rank
        if not ridge > _SMALL**2:
            return cls(mean, np.zeros((dim, 0)), np.zeros(0))  # All regions are the same.
        return cls(mean, axes, np.sqrt(ridge / (variances + ridge)) - 1)

    def apply(self, block: npt.NDArray[np.floating[Any]]) -> tuple[Doubles, Doubles]:
        """Map rows, float (n, d).

        Returns:
            float64 (n, d), of unit length; float64 (n,), the lengths they had before that (`undo` needs them). A row
            that is the mean itself keeps length 0.
        """
        moved = block.astype(np.float64) - self.mean
        moved += (moved @ self.directions) * self.gains @ self.directions.T
        lengths = np.sqrt((moved**2).sum(axis=1))
        return moved / np.where(lengths > _SMALL, lengths, 1)[:, None], lengths

    def undo(self, block: npt.NDArray[np.floating[Any]], lengths: Doubles) -> Doubles:
        """Map rows back, float (n, d) with their lengths (n,); of unit length, as the embedder made them."""
        moved: Doubles = block.astype(np.float64) * np.where(lengths > _SMALL, lengths, 1)[:, None]
        moved += (moved @ self.directions) * (1 / (1 + self.gains) - 1) @ self.directions.T + self.mean
        made: Doubles = moved / np.maximum(np.sqrt((moved**2).sum(axis=1, keepdims=True)), _SMALL)
        return made


@dataclass(frozen=True, slots=True)
class TraitWhitening:
    """The maps of one trait, and what its regions lost by them.

    Attributes:
        blocks: block name -> where it lies in a vector.
        maps: block name -> its map.
        lengths: block name -> float64 (n,), one a region, in order of region ids.
    """

    blocks: Mapping[str, slice]
    maps: Mapping[str, Whitening]
    lengths: Mapping[str, Doubles]

    def apply(self, vectors: Floats) -> Floats:
        """Bring vectors as an embedder makes them, float32 (n, D), to where this trait is compared."""
        made = vectors.copy()
        for block, whitening in self.maps.items():
            made[:, self.blocks[block]] = whitening.apply(vectors[:, self.blocks[block]])[0]
        return made

    def undo(self, vectors: Floats, rows: npt.NDArray[np.int64]) -> Floats:
        """Bring stored vectors, float32 (n, D), back to what the embedder made; `rows` says which regions they are."""
        made = vectors.copy()
        for block, whitening in self.maps.items():
            made[:, self.blocks[block]] = whitening.undo(vectors[:, self.blocks[block]], self.lengths[block][rows])
        return made


def block_slices(blocks: Mapping[str, int]) -> dict[str, slice]:
    """Say where each block lies in a vector."""
    edges = pairwise(np.cumsum([0, *blocks.values()]).tolist())
    return {name: slice(start, stop) for name, (start, stop) in zip(blocks, edges, strict=True)}


def whiten(vectors: Floats, blocks: Mapping[str, int], shrinkage: Mapping[str, float]) -> TraitWhitening:
    """Learn the maps of a trait from its regions, and apply them in place.

    Args:
        vectors: float32 (n, D), all regions of the trait, in order of region ids; may be mapped from a file.
        blocks: block name -> number of values.
        shrinkage: block name -> see `SHRINKAGE`; a block that is not named stays as it is.
    """
    slices = block_slices(blocks)
    maps = {
        block: Whitening.fit((vectors[rows, slices[block]] for rows in _chunks(len(vectors))), amount)
        for block, amount in shrinkage.items()
    }
    lengths: dict[str, Doubles] = {block: np.zeros(len(vectors)) for block in maps}
    for rows in _chunks(len(vectors)):
        for block, whitening in maps.items():
            vectors[rows, slices[block]], lengths[block][rows] = whitening.apply(vectors[rows, slices[block]])
    return TraitWhitening(slices, maps, lengths)


def write_whitening(path: Path, whitening: TraitWhitening) -> None:
    """Write the maps of a trait to a NumPy archive."""
    arrays: dict[str, Any] = {}
    for block, one in whitening.maps.items():
        arrays |= {f"{block}/mean": one.mean, f"{block}/directions": one.directions, f"{block}/gains": one.gains}
        arrays[f"{block}/lengths"] = whitening.lengths[block]
    np.savez(path, **arrays)


def read_whitening(path: Path, blocks: Mapping[str, int]) -> TraitWhitening:
    """Read what `write_whitening` wrote.

    Raises:
        IndexFolderError: the file is missing or broken, or does not belong to such vectors.
    """
    slices = block_slices(blocks)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise IndexFolderError(f"{path} cannot be read; run the build again to make it anew: {error}") from error
    names = sorted({name.partition("/")[0] for name in arrays})
    parts: Sequence[str] = ("mean", "directions", "gains")
    if any(f"{name}/{part}" not in arrays for name in names for part in (*parts, "lengths")):
        raise IndexFolderError(f"{path} is not whole; run the build again to make it anew")
    maps = {name: Whitening(*(arrays[f"{name}/{part}"] for part in parts)) for name in names}
    for name, one in maps.items():
        shape = (blocks.get(name), len(one.gains))
        if len(one.mean) != shape[0] or one.directions.shape != shape:
            raise IndexFolderError(f"{path} does not fit vectors of {dict(blocks)}; run the build again")
    return TraitWhitening(slices, maps, {name: arrays[f"{name}/lengths"] for name in names})


def _chunks(count: int) -> Iterable[slice]:
    return (slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))
