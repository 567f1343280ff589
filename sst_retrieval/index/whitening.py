"""Whitening of a trait's vectors: what all its regions have in common is recentred before they are compared.

Every band of a drawer is a band, on a wing, at about the same place: the cosines of a network's features of them are
about 0.95, and the differences between specimens are small beside that. So, for each trait, from the index itself:

1. The mean is subtracted. It also contains what a backbone encodes of the place in the image, since poses are alike.
2. The block is whitened (Jegou and Chum 2012) with a ridge r: multiplied by sqrt(r) (S + r I)^(-1/2), for the
   covariance S of the regions. r follows a rule of thumb (`SHRINKAGE`) and is not estimated from the data; it grows as
   the number of regions falls: with few, step 2 has hardly an effect.
3. The block is normalised to unit length.

The outlines of a trait resemble one another more than all else: their cosines are 0.9 to 0.98, and at equal weights
they would hardly count. From that block so much of the mean is subtracted, or to it so much is added, that the
similarities of two regions spread nearly as far as those of the pattern (`SPREADS`); less where masks are unsure
(`TRUST`).

A map that few regions gave is applied in part only (`blend_weight`). A generation stores the map that its own regions
gave; it is also applied to query vectors from outside.
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
from scipy.optimize import brentq

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.types import Doubles, Floats

SHRINKAGE: Mapping[str, float] = {"pattern": 1000.0}
"""Block -> factor of the ridge of its whitening; the other blocks (histograms, outlines) are not changed.

So wide a ridge leaves the mean subtracted and hardly a direction damped: what varies most is often what specimens
differ in. (With a ridge of 1, as it was, the nearest neighbours of patterns with known distances follow these with a
rank correlation of 0.6 instead of 0.87, and by species and race real ones are found no better.)

The ridge is this times the mean variance of a direction, times max(1, dimensions of the block / regions): forty
specimens are enough to estimate the mean of their regions, but not 384 variances."""

SHRINKAGE_WITH_HUE: Mapping[str, float] = {**SHRINKAGE, "colour": 1000.0}
"""The same where a network's features stand beside the histogram of colours (`describe.contract.HueEmbedder`)."""

SPREADS: Mapping[str, float] = {"shape": 0.9}
"""Block -> how far its similarities are made to spread, as a share of the pattern's spread (standard deviation).

So blocks of equal weight count nearly alike, whatever the specimens of a collection differ in. In a crossed collection
(`synthetic.crossed`) those alike in pattern, colour and outline are found with a mean average precision of 0.75 instead
of 0.50, those alike in outline with 0.56 instead of 0.38; of real ones, species (beetles) with 0.747 instead of 0.742,
races (butterflies) with 0.778 as before. A smaller share suits masks that are often wrong (`TRUST`)."""

TRUST = (0.6, 0.85, 0.2)
"""Mean confidence of a trait's masks up to which its outlines have the last number times their spread, and from which
on they have all of it; in between it rises evenly.

An outline is only as good as the mask. The masks of beetles' legs and antennae have a mean confidence of 0.6 and 0.5;
species are told by their outlines with a mean average precision of 0.25 and 0.22 (by chance 0.16), so beside pattern
and colour they were noise. The limits were set on three of the six species of beetles (0.57, 0.60, 0.84 to 0.95; by
species +0.007) and on the crossed collection (0.93, which must keep all); on the other three species it is +0.005, and
no trait of the butterflies has less than 0.85."""

SHARES_OF_MEAN = (-10.0, 0.95)
"""So much of the mean is subtracted for it, at least and at most: where outlines are all the same, noise is not made a
form."""

SAMPLE = 2048
"""Spreads are estimated from so many regions, evenly spaced in order of region ids, or from all."""

MIN_REGIONS = 8
"""Up to so many regions their mean is no estimate of the trait's: nothing is changed."""

FULL_REGIONS = 32
"""From so many regions on, the map is applied in full. Between the two its weight rises (`blend_weight`), so that
similarities do not jump when a few photographs are added."""

_BLEND_POWER = 4
"""The weight rises fast, since whitening helps from some fifteen regions on: 0.29 at 10, 0.8 at 16, 0.99 at 24. (The
mean average precision by subspecies of the butterflies' traits with 18 and 24 regions is then within 0.005 of the full
map's; with a linear rise up to 64 it would be up to 0.05 lower.)"""

MAX_DIRECTIONS = 256
"""Principal directions with a gain each; the others, of little variance, have gain 0."""

CHUNK = 4096
_ALIKE = 16
"""Rows of a product where each row must come out as if it were alone."""

_STACKED = 16
"""Such products in memory at a time: what they read and write stays in the processor's cache."""
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Whitening:
    """The whitening of one block of a trait's vectors, and its inverse.

    `z = unit(x - mean + ((x - mean) @ directions) * gains @ directions.T)`.

    Attributes:
        mean: float64 (d,).
        directions: float64 (d, r), principal directions as orthonormal columns.
        gains: float64 (r,), more than -1.
    """

    mean: Doubles
    directions: Doubles
    gains: Doubles

    @classmethod
    def fit(cls, chunks: Iterable[Floats], shrinkage: float) -> Self:
        """Estimate the map from the regions of a trait.

        Args:
            chunks: float32 (n, d) each; iterated once, one in memory at a time.
            shrinkage: factor of the ridge (see `SHRINKAGE`).
        """
        count, total, squares = 0, np.zeros(1), np.zeros((1, 1))
        for chunk in chunks:
            rows = chunk.astype(np.float64)
            count, total, squares = count + len(rows), total + rows.sum(axis=0), squares + rows.T @ rows
        dim = np.size(total)
        weight = blend_weight(count)
        if weight == 0:
            return cls(np.zeros(dim), np.zeros((dim, 0)), np.zeros(0))
        mean = total / count
        variances, axes = np.linalg.eigh(squares / count - np.outer(mean, mean))
        rank = min(count - 1, dim, MAX_DIRECTIONS)
        variances, axes = np.maximum(variances[::-1][:rank], 0), axes[:, ::-1][:, :rank]
        ridge = shrinkage * max(1.0, dim / count) * variances.sum() / rank
        if not ridge > _EPSILON**2:
            return cls(weight * mean, np.zeros((dim, 0)), np.zeros(0))  # All regions are the same.
        return cls(weight * mean, axes, weight * (np.sqrt(ridge / (variances + ridge)) - 1))

    @classmethod
    def fit_spread(cls, rows: npt.NDArray[np.floating[Any]], spread: float, count: int) -> Self:
        """Find how much of the mean must be subtracted, or added, for similarities to spread so far (see `SPREADS`).

        Args:
            rows: float (n, d), of unit length: the regions of a trait, or a sample of them.
            spread: standard deviation of the similarity of two regions that is wanted, as `measure_spread` computes it.
            count: number of regions; of few, a part is subtracted (`blend_weight`).
        """
        dim = rows.shape[1]
        weight = blend_weight(count)
        if weight == 0:
            return cls(np.zeros(dim), np.zeros((dim, 0)), np.zeros(0))
        mean = rows.mean(axis=0, dtype=np.float64)

        def compute_excess(share: float) -> float:
            return measure_spread(rows - share * mean) - spread

        least, most = SHARES_OF_MEAN
        if compute_excess(most) <= 0:
            share = most
        elif compute_excess(least) >= 0:
            share = least
        else:
            share = float(brentq(compute_excess, least, most, xtol=1e-6))
        return cls(weight * share * mean, np.zeros((dim, 0)), np.zeros(0))

    def apply(self, block: npt.NDArray[np.floating[Any]]) -> tuple[Doubles, Doubles]:
        """Whiten rows.

        Args:
            block: float (..., n, d).

        Returns:
            float64 (..., n, d), of unit length; float64 (..., n), their lengths before normalisation, for `undo`. A row
            that is the mean itself keeps length 0.
        """
        centred = block.astype(np.float64) - self.mean
        centred += (centred @ self.directions) * self.gains @ self.directions.T
        lengths = np.sqrt((centred**2).sum(axis=-1))
        return centred / self.divisors(lengths)[..., None], lengths

    def divisors(self, lengths: Doubles) -> Doubles:
        """Return what rows of these lengths are divided by: 1 where there is no direction."""
        found: Doubles = np.where(lengths > _EPSILON, lengths, 1)
        return found

    def multiply_transposed(self, factors: Doubles) -> Doubles:
        """Multiply the linear part of the map, which is symmetric, with columns: float64 (d, m)."""
        found: Doubles = factors + self.directions @ (self.gains[:, None] * (self.directions.T @ factors))
        return found

    def undo(self, block: npt.NDArray[np.floating[Any]], lengths: Doubles) -> Doubles:
        """Invert `apply`.

        Args:
            block: float (n, d), whitened rows.
            lengths: float64 (n,), as `apply` returned them.

        Returns:
            float64 (n, d), of unit length, as the embedder made them.
        """
        centred: Doubles = block.astype(np.float64) * self.divisors(lengths)[:, None]
        centred += (centred @ self.directions) * (1 / (1 + self.gains) - 1) @ self.directions.T + self.mean
        rows: Doubles = centred / np.maximum(np.sqrt((centred**2).sum(axis=1, keepdims=True)), _EPSILON)
        return rows


@dataclass(frozen=True, slots=True)
class TraitWhitening:
    """The whitening of one trait, block by block.

    Attributes:
        blocks: block name -> where it lies in a vector.
        maps: block name -> its map.
        lengths: block name -> float64 (n,), the lengths of the regions before normalisation, in order of region ids.
    """

    blocks: Mapping[str, slice]
    maps: Mapping[str, Whitening]
    lengths: Mapping[str, Doubles]

    def apply(self, vectors: Floats) -> Floats:
        """Whiten vectors as an embedder makes them, float32 (n, D)."""
        result = vectors.copy()
        for block, whitening in self.maps.items():
            result[:, self.blocks[block]] = whitening.apply(vectors[:, self.blocks[block]])[0]
        return result

    def apply_one_by_one(self, vectors: Floats, wanted: Sequence[bool] | None = None) -> Floats:
        """Whiten vectors as `apply` does, so that the result for one does not depend on those beside it.

        The last bits of a product of matrices depend on their shapes; here all have the same.

        Args:
            vectors: float32 (n, D), as an embedder makes them.
            wanted: of each block, whether it is whitened; None whitens all.
        """
        maps = dict(self.maps)
        if wanted is not None:
            chosen = {name for name, needed in zip(self.blocks, wanted, strict=True) if needed}
            maps = {name: own for name, own in maps.items() if name in chosen}
        result = vectors.copy()
        whole = len(vectors) // _ALIKE * _ALIKE
        for start in range(0, whole, _STACKED * _ALIKE):
            self._apply_stacked(result[start : min(start + _STACKED * _ALIKE, whole)], maps)
        if whole < len(vectors):
            padded = np.zeros((_ALIKE, vectors.shape[1]), dtype=np.float32)
            padded[: len(vectors) - whole] = vectors[whole:]
            self._apply_stacked(padded, maps)
            result[whole:] = padded[: len(vectors) - whole]
        return result

    def _apply_stacked(self, rows: Floats, maps: Mapping[str, Whitening]) -> None:
        """Whiten rows in place, float32 (m * 16, D), by products of 16 at a time."""
        for block, whitening in maps.items():
            own = rows[:, self.blocks[block]]
            stacked = own.reshape(-1, _ALIKE, own.shape[1])  # NumPy multiplies one of the stack after the other.
            own[:] = whitening.apply(stacked)[0].reshape(own.shape)

    def undo(self, vectors: Floats, rows: npt.NDArray[np.int64]) -> Floats:
        """Return stored vectors, float32 (n, D), as the embedder made them.

        Args:
            vectors: float32 (n, D), whitened.
            rows: int64 (n,), which regions they are, counted in order of region ids.
        """
        result = vectors.copy()
        for block, whitening in self.maps.items():
            result[:, self.blocks[block]] = whitening.undo(vectors[:, self.blocks[block]], self.lengths[block][rows])
        return result


def blend_weight(count: int) -> float:
    """Return the weight of a map that was estimated from so many regions: of its mean, and of its gains; 0 to 1.

    >>> [round(blend_weight(count), 2) for count in (8, 9, 12, 16, 24, 32, 1000)]
    [0.0, 0.16, 0.52, 0.8, 0.99, 1.0, 1.0]
    """
    missing = min(max((FULL_REGIONS - count) / (FULL_REGIONS - MIN_REGIONS), 0.0), 1.0)
    return float(1 - missing**_BLEND_POWER)


def measure_spread(rows: npt.NDArray[np.floating[Any]]) -> float:
    """Compute the standard deviation of the cosine of two different rows, float (n, d), over all pairs; 0 of one row.

    >>> round(measure_spread(np.array([[2.0, 0], [0, 1], [0, 3]])), 3)  # Cosines 0, 0, 1.
    0.471
    """
    count = len(rows)
    if count < 2:
        return 0.0
    lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    units = rows / np.where(lengths > _EPSILON, lengths, 1)
    own = (units**2).sum(axis=1)
    pairs = count * (count - 1)
    mean = ((units.sum(axis=0) ** 2).sum() - own.sum()) / pairs
    square = (((units.T @ units) ** 2).sum() - (own**2).sum()) / pairs
    return float(np.sqrt(max(square - mean**2, 0)))


def trust_outlines(spreads: Mapping[str, float], trust: Sequence[float], confidence: float) -> dict[str, float]:
    """Return the spreads of a trait whose masks have a mean confidence, 0..1 (see `TRUST`; none trusts all masks).

    >>> [trust_outlines({"shape": 0.9}, (0.5, 0.9, 0.2), mean)["shape"] for mean in (0.3, 0.7, 0.95)]
    [0.18, 0.54, 0.9]
    """
    if not trust:
        return dict(spreads)
    low, high, least = trust
    risen = min(max((confidence - low) / (high - low), 0.0), 1.0)
    return {block: round(share * (least + (1 - least) * risen), 6) for block, share in spreads.items()}


def block_slices(blocks: Mapping[str, int]) -> dict[str, slice]:
    """Return block name -> where it lies in a vector."""
    edges = pairwise(np.cumsum([0, *blocks.values()]).tolist())
    return {name: slice(start, stop) for name, (start, stop) in zip(blocks, edges, strict=True)}


def whiten(
    vectors: Floats, blocks: Mapping[str, int], shrinkage: Mapping[str, float], spreads: Mapping[str, float]
) -> TraitWhitening:
    """Estimate the whitening of a trait from its regions, and apply it in place.

    Args:
        vectors: float32 (n, D), all regions of the trait, in order of region ids; may be memory-mapped. Changed.
        blocks: block name -> number of values.
        shrinkage: block name -> factor of the ridge (see `SHRINKAGE`).
        spreads: block name -> its spread, as a share of the pattern's (see `SPREADS`). A block that neither names stays
            as it is.
    """
    slices = block_slices(blocks)
    maps = {
        block: Whitening.fit((vectors[rows, slices[block]] for rows in _chunks(len(vectors))), amount)
        for block, amount in shrinkage.items()
    }
    sample = vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), SAMPLE)).astype(int)]
    for block, share in spreads.items():
        patterns = sample[:, slices["pattern"]]
        spread = measure_spread(maps["pattern"].apply(patterns)[0] if "pattern" in maps else patterns)
        maps[block] = Whitening.fit_spread(sample[:, slices[block]], share * spread, len(vectors))
    lengths: dict[str, Doubles] = {block: np.zeros(len(vectors)) for block in maps}
    for rows in _chunks(len(vectors)):
        for block, whitening in maps.items():
            vectors[rows, slices[block]], lengths[block][rows] = whitening.apply(vectors[rows, slices[block]])
    return TraitWhitening(slices, maps, lengths)


def write_whitening(path: Path, whitening: TraitWhitening) -> None:
    """Write the whitening of a trait to a NumPy archive (`.npz`)."""
    arrays: dict[str, Any] = {}
    for block, one in whitening.maps.items():
        arrays |= {f"{block}/mean": one.mean, f"{block}/directions": one.directions, f"{block}/gains": one.gains}
        arrays[f"{block}/lengths"] = whitening.lengths[block]
    np.savez(path, **arrays)


def whiten_more(vectors: Floats, whitening: TraitWhitening) -> dict[str, Doubles]:
    """Whiten vectors that were added with the map of a trait, in place.

    Args:
        vectors: float32 (n, D), in order of region ids; may be memory-mapped. Changed.
        whitening: of the trait.

    Returns:
        Block name -> float64 (n,), their lengths before normalisation.
    """
    lengths: dict[str, Doubles] = {block: np.zeros(len(vectors)) for block in whitening.maps}
    for rows in _chunks(len(vectors)):
        for block, one in whitening.maps.items():
            values = vectors[rows, whitening.blocks[block]]
            vectors[rows, whitening.blocks[block]], lengths[block][rows] = one.apply(values)
    return lengths


def write_lengths(path: Path, lengths: Mapping[str, Doubles]) -> None:
    """Write the lengths of vectors that were added to a NumPy archive (`.npz`)."""
    arrays: dict[str, Any] = {f"{block}/lengths": own for block, own in lengths.items()}
    np.savez(path, **arrays)


def read_whitening(path: Path, blocks: Mapping[str, int], more: Sequence[Path] = ()) -> TraitWhitening:
    """Read what `write_whitening` wrote.

    Args:
        path: the file.
        blocks: block name -> number of values.
        more: what `write_lengths` wrote of vectors that were added, oldest first.

    Raises:
        IndexFolderError: a file is missing or broken, or is of vectors with other blocks.
    """
    slices = block_slices(blocks)
    arrays = _read_arrays(path)
    names = sorted({name.partition("/")[0] for name in arrays})
    parts: Sequence[str] = ("mean", "directions", "gains")
    if any(f"{name}/{part}" not in arrays for name in names for part in (*parts, "lengths")):
        raise IndexFolderError(f"{path} is not whole; run the build again to make it anew")
    maps = {name: Whitening(*(arrays[f"{name}/{part}"] for part in parts)) for name in names}
    for name, one in maps.items():
        shape = (blocks.get(name), len(one.gains))
        if len(one.mean) != shape[0] or one.directions.shape != shape:
            raise IndexFolderError(f"{path} does not fit vectors of {dict(blocks)}; run the build again")
    lengths = {name: [arrays[f"{name}/lengths"]] for name in names}
    for each in more:
        added = read_lengths(each)
        if added.keys() != lengths.keys():
            raise IndexFolderError(f"{each} is not whole; run the build again to make it anew")
        for name in names:
            lengths[name].append(added[name])
    return TraitWhitening(slices, maps, {name: np.concatenate(own) for name, own in lengths.items()})


def read_lengths(path: Path) -> dict[str, Doubles]:
    """Read what `write_lengths` wrote: block name -> float64 (n,).

    Raises:
        IndexFolderError: the file is missing or broken.
    """
    return {name.removesuffix("/lengths"): own for name, own in _read_arrays(path).items()}


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise IndexFolderError(f"{path} cannot be read; run the build again to make it anew: {error}") from error


def _chunks(count: int) -> Iterable[slice]:
    return (slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))
