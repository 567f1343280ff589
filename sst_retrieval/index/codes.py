"""8-bit codes of a trait's vectors, and upper bounds of their scores: most regions are ruled out without their vectors.

Writing (`write_codes`), block by block:

1. The principal directions of the block are found; the `CODE_BYTES` most varied of all blocks are kept (the others
   hold little). Within a block, the kept ones are turned at random: the coordinates are then alike in size, and one
   step of quantisation suits them all, as in RaBitQ (Gao and Long 2024). Directions are orthonormal columns A.
2. x = A y + s, with y = A^T x, and s orthogonal to A. y less its mean m is stored as whole numbers c of one step:
   y = m + step c + e. Of s its length is stored, rounded up.
3. Where few directions hold a block (colour), the bounds would suffer from its rounding: a coordinate gets several
   bytes there (`FINE_BYTES`), whose sum is c, so that its step is as many times smaller.

Searching (`Codes.bound`): with q = A l + r, q scaled by the weights of the blocks,

    q . x = l . m + step l . c + l . e + r . s  <=  l . m + step l . c + |l| max |e| + |r| |s|      (Cauchy-Schwarz)

l is rounded to 8 bits, too, and what that may cost is added (`Codes._quantise`). |s| stands in the code of its region,
|r| in that of the query, so all that depends on the region is one product of whole numbers, by SimSIMD
(`multiply_codes`). Nothing is approximate about the bound: a region whose bound is below the k-th score is not among
the k best.

Where many regions reach a limit, they get a second bound (`Codes.bound_closely`), by their distance: for a block of
unit length, q' . x = (1 + |x|^2 - |q' - x|^2) / 2 with q' the unit vector along q, and

    |q' - x|^2 >= max(0, |l' - (y - e)| - max |e|)^2 + (|r'| - |s|)^2

What is uncertain is multiplied by the distance here, which is small for the regions that count: where few directions
hold a block (colour, shape alone), the second bound leaves a tenth of what the first one leaves.

Regions that are added later (`write_more_codes`) get codes by the same directions, means and steps; what these fit less
well stands in |e| and |c| of the added ones, so bounds stay bounds.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.query_vectors import WeightedQuery
from sst_retrieval.types import Doubles, Floats

Ids = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int8]

VERSION = 1
"""Of the form of the files. Codes of another one are not used: the next build writes them anew."""

CODE_BYTES = 320
"""At most so many bytes of a region's code."""

FINE_BYTES = 4
"""Bytes of a coordinate in a block that few directions hold."""

FEW_DIRECTIONS = 16
"""Up to so many directions of a block are few."""

MIN_REGIONS = 1000
"""A trait with fewer regions has no codes: a product with all of its vectors takes less than a millisecond."""

MAX_CODE = 127
REST_LEVELS = 120
"""The code of a length: 1 is 120, since a stored block is a little longer than 1 at most."""

REST_COPIES = 4
"""Bytes of the code that hold the length of a block's rest, all the same: the query's factor of it is shared out, so
that it does not determine how finely the query is rounded."""

SAMPLE = 20_000
"""Regions that the directions are estimated from. More would not make the bounds tighter."""

_CHUNK = 4096
_STRIDE, _SPARE = 32, 8
"""Of so many bounds one is in a sample; and how many more of a sample are taken, so that enough of all are found."""
_REST_ERROR = 1e-5
"""Upper bound of the error of a squared length in single precision."""

_LONGEST = 1 + 2e-5
"""No stored block is longer: `index.shards.UNIT_TOLERANCE`, and rounding."""

_THREADED = 300_000
"""From so many regions on several threads are quicker than one."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What codes are made with.

    Attributes:
        axes: of each block, float32 (d, m), orthonormal columns.
        means: of each block, float32 (m,), of its coordinates.
        steps: float64 (B,), of quantisation.
        errors: float64 (B,), the largest |e| of a region.
        lengths: float64 (B,), the largest length of a region's codes (the sums of their bytes).
    """

    axes: list[Floats]
    means: list[Floats]
    steps: Doubles
    errors: Doubles
    lengths: Doubles

    @property
    def width(self) -> int:
        """Bytes of a code."""
        return sum(axes.shape[1] * count_bytes(axes) + REST_COPIES for axes in self.axes)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What the codes of some regions say about a block.

    Attributes:
        leading: float64 (n, m), the coordinates along the directions, as rounded.
        errors: float64 (n,), how far from it they may be.
        least: float64 (n,), the length of the rest is this or more.
        most: float64 (n,), the same from above.
    """

    leading: Doubles
    errors: Doubles
    least: Doubles
    most: Doubles


@dataclass(frozen=True, slots=True)
class Bounds:
    """Upper bounds of the scores of some regions: `values * factor + offset`.

    Attributes:
        values: float64 (n,).
        factor: more than 0.
        offset: of all of them.
    """

    values: Doubles
    factor: float
    offset: float

    def reaching(self, score: float) -> Ids:
        """Return where the bound is a score or more, int64 (m,)."""
        return np.flatnonzero(self.values >= (score - self.offset) / self.factor)

    def highest(self, count: int) -> Ids:
        """Return where the highest bounds are, int64 (count,) in no order; of equal ones any."""
        among = self._narrow(count)
        values = self.values if among is None else self.values[among]
        least = np.partition(values, -count)[-count]
        above = np.flatnonzero(values > least)
        equal = np.flatnonzero(values == least)
        chosen = np.concatenate([above, equal[: count - len(above)]])
        return chosen if among is None else among[chosen]

    def _narrow(self, count: int) -> Ids | None:
        """Return some places among which the highest bounds are: those that reach a limit that a sample suggests.

        To partition a million values takes as long as to multiply their codes. None if there are few values, or if
        fewer than wanted reach the limit.
        """
        sample = self.values[::_STRIDE]
        rank = 2 * count // _STRIDE + _SPARE
        if len(sample) < 4 * rank:
            return None
        places = np.flatnonzero(self.values >= np.partition(sample, -rank)[-rank])
        return places if len(places) >= count else None


def write_codes(codes_file: Path, basis_file: Path, vectors: Floats, blocks: Mapping[str, int]) -> None:
    """Write the codes of a trait's vectors, a chunk in memory at a time; of few regions, nothing.

    Args:
        codes_file: of the codes, a NumPy array, int8 (n, width).
        basis_file: of what they are made with, a NumPy archive.
        vectors: float32 (n, D), blocks of unit length, in order of region ids; may be memory-mapped.
        blocks: block name -> number of values.

    Raises:
        OSError: a file cannot be written.
    """
    if len(vectors) < MIN_REGIONS:
        return
    slices = _slices(blocks)
    sample = np.asarray(vectors[:: max(1, len(vectors) // SAMPLE)])
    axes = _find_axes(sample, slices)
    means = [(sample[:, block] @ own).mean(axis=0) for block, own in zip(slices, axes, strict=True)]
    steps = _find_steps(vectors, slices, axes, means)
    errors, lengths = np.zeros(len(slices)), np.zeros(len(slices))
    basis = Basis(axes, means, steps, errors, lengths)
    with codes_file.open("wb") as file:
        _write_encoded(file, vectors, slices, basis)
    arrays: dict[str, Any] = {f"axes/{name}": one for name, one in zip(blocks, axes, strict=True)}
    arrays |= {f"means/{name}": one for name, one in zip(blocks, means, strict=True)}
    np.savez(basis_file, **arrays, version=VERSION, steps=steps, errors=errors, lengths=lengths)


def write_more_codes(
    codes_file: Path, basis_file: Path, first: Path, vectors: Floats, blocks: Mapping[str, int]
) -> None:
    """Write codes of vectors that were added, by the directions, means and steps of the first ones.

    Args:
        codes_file: of the codes.
        basis_file: of how far off they are.
        first: the basis file of the trait's first vectors, of this version (`can_be_extended`).
        vectors: as for `write_codes`, of any number.
        blocks: as for `write_codes`.

    Raises:
        IndexFolderError: the first basis cannot be read.
        OSError: a file cannot be written.
    """
    zeros = np.zeros(len(blocks)), np.zeros(len(blocks))
    basis = replace(_read_basis(first, blocks), errors=zeros[0], lengths=zeros[1])
    with codes_file.open("wb") as file:
        _write_encoded(file, vectors, _slices(blocks), basis)
    np.savez(basis_file, version=VERSION, errors=basis.errors, lengths=basis.lengths)


def merge_codes(parts: Sequence[tuple[Path, Path, Ids]], codes_file: Path, basis_file: Path) -> None:
    """Join codes that `write_more_codes` wrote.

    Args:
        parts: codes and basis file of each, and which of its rows are kept, int64 (n,).
        codes_file: of the joined ones.
        basis_file: of how far off they are.

    Raises:
        IndexFolderError: a file cannot be read.
        OSError: a file cannot be written.
    """
    bases = [_read_arrays(path) for _, path, _ in parts]
    opened = [_map_codes(path) for path, _, _ in parts]
    with codes_file.open("wb") as file:
        shape = (sum(len(kept) for _, _, kept in parts), opened[0].shape[1])
        np.lib.format.write_array_header_1_0(file, {"descr": "|i1", "fortran_order": False, "shape": shape})
        for codes, (_, _, kept) in zip(opened, parts, strict=True):
            for start in range(0, len(kept), _CHUNK):
                file.write(codes[kept[start : start + _CHUNK]].tobytes())
    worst = {name: np.max([arrays[name] for arrays in bases], axis=0) for name in ("errors", "lengths")}
    np.savez(basis_file, version=VERSION, **worst)


def can_be_extended(basis_file: Path) -> bool:
    """Say whether a trait without codes stays so, or has codes of this version, so that more can be added.

    Raises:
        IndexFolderError: the file cannot be read.
    """
    return not basis_file.exists() or bool(_read_arrays(basis_file).get("version") == VERSION)


def open_codes(
    codes_file: Path,
    basis_file: Path,
    blocks: Mapping[str, int],
    count: int,
    more: Sequence[tuple[Path, Path, int]] = (),
) -> Codes | None:
    """Open the codes of a trait; None if it has none, or those of another version of this program.

    Args:
        codes_file: as for `Codes`.
        basis_file: as for `Codes`.
        blocks: as for `Codes`.
        count: as for `Codes`.
        more: as for `Codes`.

    Raises:
        IndexFolderError: a file cannot be read, or is not of these vectors.
    """
    if not (codes_file.exists() or basis_file.exists()):
        return None
    version = _read_arrays(basis_file).get("version")
    return Codes(codes_file, basis_file, blocks, count, more) if version == VERSION else None


class Codes:
    """The codes of a trait's vectors, memory-mapped."""

    def __init__(
        self,
        codes_file: Path,
        basis_file: Path,
        blocks: Mapping[str, int],
        count: int,
        more: Sequence[tuple[Path, Path, int]] = (),
    ) -> None:
        """Open what `write_codes` and `write_more_codes` wrote.

        Args:
            codes_file: of the codes.
            basis_file: of what they are made with.
            blocks: block name -> number of values.
            count: how many regions there are.
            more: codes and basis file of those that were added, oldest first, and how many they are.

        Raises:
            IndexFolderError: a file cannot be read, or is not of these vectors.
        """
        self._slices = _slices(blocks)
        self._basis = _read_basis(basis_file, blocks)
        self._axes = [axes.astype(np.float64) for axes in self._basis.axes]
        self._parts = [_open_codes(codes_file, count, self._basis.width)]
        # Of each part: the largest error, and the largest length of codes, of each block.
        self._worst = [(self._basis.errors, self._basis.lengths)]
        for more_codes, more_basis, more_count in more:
            self._parts.append(_open_codes(more_codes, more_count, self._basis.width))
            self._worst.append(_read_worst(more_basis, len(blocks)))
        self._starts = np.cumsum([0, *map(len, self._parts)])

    def bound(self, query: WeightedQuery, rows: Ids | None) -> Bounds:
        """Bound the scores of regions from above.

        Args:
            query: what they are compared with.
            rows: int64 (n,), of the regions, ascending; None takes all.

        Returns:
            Of each region, in order of the rows.
        """
        if query.vector is not None:
            quantised, factor, offsets = self.quantise(query)
            shifts = (offsets - offsets[0])[:, None] / factor
            return Bounds(self._multiply(quantised[None], shifts, rows)[:, 0], factor, offsets[0])
        total = np.zeros(self._starts[-1] if rows is None else len(rows))
        for variants, weight in query.examples:
            parts = [self._quantise(np.sign(weight) * variant * query.value_weights) for variant in variants]
            factors = np.array([factor for _, factor, _ in parts])
            offsets = np.stack([own for _, _, own in parts], axis=1)
            shifts = (offsets - offsets[0]) / factors
            products = self._multiply(np.stack([quantised for quantised, _, _ in parts]), shifts, rows)
            bounds = products * factors + offsets[0]
            # The most similar variant counts. Of an example with a negative weight, all have bounds of -similarity.
            total += abs(weight) * (bounds.max(axis=1) if weight > 0 else bounds.min(axis=1))
        return Bounds(total, 1.0, query.margin)

    def bound_closely(self, query: WeightedQuery, rows: Ids) -> Doubles:
        """Bound the scores of some regions from above by their distances from the query, which takes longer.

        Args:
            query: what they are compared with.
            rows: int64 (n,), of the regions.

        Returns:
            float64 (n,), in order of the rows.
        """
        if query.vector is not None:
            wanted = [(sum(weight * variants[0] for variants, weight in query.examples)[None], 1.0)]
        else:
            wanted = list(query.examples)
        decoded = self._decode(rows, [bool(query.value_weights[block].any()) for block in self._slices])
        total = np.full(len(rows), query.margin)
        for variants, weight in wanted:
            bounds = np.stack(
                [
                    self._bound_distances(np.sign(weight) * own * query.value_weights, decoded, len(rows))
                    for own in variants
                ]
            )
            # As in `bound`.
            total += abs(weight) * (bounds.max(axis=0) if weight > 0 else bounds.min(axis=0))
        return total

    def _decode(self, rows: Ids, wanted: Sequence[bool]) -> list[_Decoded | None]:
        """Decode the blocks of some rows that are wanted."""
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        codes = np.empty((len(rows), self._basis.width), np.int8)
        for number, part in enumerate(self._parts):
            own = np.flatnonzero(owners == number)
            codes[own] = part[rows[own] - self._starts[number]]
        found: list[_Decoded | None] = []
        errors, start = np.stack([worst for worst, _ in self._worst]), 0
        stored = zip(self._basis.axes, self._basis.means, self._basis.steps, wanted, strict=True)
        for number, (axes, mean, step, needed) in enumerate(stored):
            count, size = count_bytes(axes), axes.shape[1]
            stop = start + size * count
            if needed:
                whole = codes[:, start:stop].reshape(len(rows), size, count).sum(axis=2, dtype=np.float64)
                rest = codes[:, stop].astype(np.float64) / REST_LEVELS
                least = np.sqrt(np.maximum(np.maximum(rest - 1 / REST_LEVELS, 0) ** 2 - 2 * _REST_ERROR, 0))
                found.append(_Decoded(mean + step * whole, errors[owners, number], least, rest))
            else:
                found.append(None)
            start = stop + REST_COPIES
        return found

    def _bound_distances(self, query: Doubles, decoded: Sequence[_Decoded | None], count: int) -> Doubles:
        """Bound the products of a query, float64 (D,), with so many decoded regions: float64 (n,)."""
        total = np.zeros(count)
        for block, axes, own in zip(self._slices, self._axes, decoded, strict=True):
            length = float(np.linalg.norm(query[block]))
            if own is None or length == 0:
                continue
            unit = query[block] / length
            leading = axes.T @ unit
            rest = float(np.linalg.norm(unit - axes @ leading))
            near = np.maximum(np.sqrt(((own.leading - leading) ** 2).sum(axis=1)) - own.errors, 0)
            apart = np.maximum(np.maximum(rest - own.most, own.least - rest), 0)
            total = total + length * ((1 + _LONGEST**2 - near**2 - apart**2) / 2)
        return total

    def quantise(self, query: WeightedQuery) -> tuple[CodeArray, float, Doubles]:
        """Round a query to 8 bits, all of whose examples have one variant.

        Returns:
            int8 (width,); the factor; and of each part the offset, float64 (parts,): product * factor + offset is an
            upper bound of the score of a region of that part.
        """
        weighted = sum(weight * variants[0] for variants, weight in query.examples)
        quantised, factor, offsets = self._quantise(weighted * query.value_weights)
        return quantised, factor, offsets + query.margin

    def select(self, rows: Ids | None) -> list[tuple[CodeArray, int]]:
        """Select the codes of some rows, part by part.

        Args:
            rows: int64 (n,), ascending; None takes all.

        Returns:
            int8 (n_i, width) of each part, which may be none, and where they begin among the rows.
        """
        if rows is None:
            return list(zip(self._parts, self._starts.tolist(), strict=False))
        places = np.searchsorted(rows, self._starts)
        return [
            (np.take(part, rows[first:stop] - start, axis=0), int(first))
            for part, start, first, stop in zip(self._parts, self._starts, places, places[1:], strict=False)
        ]

    def _multiply(self, queries: CodeArray, shifts: Doubles, rows: Ids | None) -> Doubles:
        """Multiply codes with queries, and shift the products of each part.

        Args:
            queries: int8 (m, width).
            shifts: float64 (parts, m), 0 for the first.
            rows: int64 (n,), in any order; None takes all.

        Returns:
            float64 (n, m).
        """
        if len(self._parts) == 1:
            return _multiply_some(self._parts[0], queries, rows)
        if rows is None:
            every = np.empty((self._starts[-1], len(queries)))
            for part, shift, start in zip(self._parts, shifts, self._starts, strict=False):
                np.add(multiply_codes(part, queries), shift, out=every[start : start + len(part)])
            return every
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        result = np.empty((len(rows), len(queries)))
        for number, (part, shift) in enumerate(zip(self._parts, shifts, strict=True)):
            own = np.flatnonzero(owners == number)
            result[own] = _multiply_some(part, queries, rows[own] - self._starts[number]) + shift
        return result

    def _quantise(self, query: Doubles) -> tuple[CodeArray, float, Doubles]:
        """Round a query to 8 bits.

        Args:
            query: float64 (D,), its blocks scaled by their weights.

        Returns:
            int8 (width,); the factor, and of each part the offset, float64 (parts,), that make an upper bound of its
            product with a code.
        """
        basis, parts, offsets = self._basis, [], np.zeros(len(self._parts))
        errors, lengths = (np.stack(values) for values in zip(*self._worst, strict=True))
        stored = zip(self._slices, self._axes, basis.means, basis.steps, errors.T, strict=True)
        for block, wide, mean, step, error in stored:
            leading = wide.T @ query[block]
            rest = float(np.linalg.norm(query[block] - wide @ leading))
            parts.append((leading * step, np.full(REST_COPIES, rest / REST_LEVELS / REST_COPIES)))
            offsets += float(leading @ mean) + float(np.linalg.norm(leading)) * error
        largest = max(np.abs(np.concatenate(part)).max(initial=0.0) for part in parts)
        factor = (float(largest) or 1.0) / MAX_CODE * (1 + 1e-9)
        quantised = []
        for (leading, rest_parts), axes, length in zip(parts, basis.axes, lengths.T, strict=True):
            count = count_bytes(axes)
            whole = np.rint(leading / factor * count)
            split = _split(whole, count)
            # With Q the bytes of a coordinate, C those of a region: the sum of Q C is mean Q * sum C, but for
            # (Q - mean Q) . (C - mean C); bytes rounded up and down are at most sqrt(bytes) / 2 from their mean.
            offsets += float(np.linalg.norm(leading - whole * factor / count)) * length
            offsets += factor * float(np.linalg.norm(split - whole[:, None] / count)) * np.sqrt(split.size) / 2
            quantised += [split.ravel(), np.ceil(rest_parts / factor)]
        return np.concatenate(quantised).astype(np.int8), factor, offsets


def count_bytes(axes: Floats) -> int:
    """Return how many bytes a coordinate has in a block with these directions."""
    return FINE_BYTES if axes.shape[1] <= FEW_DIRECTIONS else 1


def _split(whole: npt.NDArray[np.floating[Any]], count: int) -> npt.NDArray[np.floating[Any]]:
    """Split whole numbers into a sum of bytes, as alike as may be: (..., count)."""
    return np.floor((whole[..., None] + np.arange(count)) / count)


def _multiply_some(codes: CodeArray, queries: CodeArray, rows: Ids | None) -> Doubles:
    """Multiply the codes of some rows with queries: float64 (n, m)."""
    if rows is None:
        return multiply_codes(codes, queries)
    if len(rows) < len(codes) // 3:
        return multiply_codes(np.take(codes, rows, axis=0), queries)
    return multiply_codes(codes, queries)[rows]  # That is quicker than to copy many.


def multiply_codes(codes: CodeArray, queries: CodeArray) -> Doubles:
    """Multiply codes with queries, exactly.

    Without SimSIMD the same numbers come from a product in single precision, several times slower: whole numbers up to
    2^24 are exact in it, and a product of two codes is at most 127^2 * width.

    Args:
        codes: int8 (n, width).
        queries: int8 (m, width).

    Returns:
        float64 (n, m).
    """
    simsimd = load_simsimd()
    if simsimd is not None and len(codes):
        threads = _count_threads() if len(codes) * len(queries) >= _THREADED else 1
        products: Doubles = np.asarray(simsimd.cdist(codes, queries, metric="dot", threads=threads))
        return products.reshape(len(codes), len(queries))
    result = np.empty((len(codes), len(queries)))
    factors = queries.T.astype(np.float32)
    for start in range(0, len(codes), _CHUNK):
        result[start : start + _CHUNK] = codes[start : start + _CHUNK].astype(np.float32) @ factors
    return result


def load_simsimd() -> Any:
    """Import SimSIMD on first use; None where it is not installed (`sst-retrieval doctor` says so)."""
    try:
        import simsimd
    except ImportError:
        return None
    return simsimd


_REMEDY = "run the build again to make it anew"


def _count_threads() -> int:
    """Return how many threads FAISS would use, so that OMP_NUM_THREADS holds for both."""
    import faiss

    return int(faiss.omp_get_max_threads())


def _find_axes(sample: Floats, slices: list[slice]) -> list[Floats]:
    """Find the most varied directions of all blocks together; of each block float32 (d, m)."""
    spectra = [np.linalg.eigh(part.T @ part / len(part)) for part in (sample[:, b].astype(np.float64) for b in slices)]
    owners = np.concatenate([np.full(len(values), number) for number, (values, _) in enumerate(spectra)])
    best = owners[np.argsort(-np.concatenate([values for values, _ in spectra]), kind="stable")]
    for budget in range(CODE_BYTES - REST_COPIES * len(slices), -1, -1):
        counts = np.bincount(best[:budget], minlength=len(slices))
        sizes = np.where(counts <= FEW_DIRECTIONS, FINE_BYTES, 1) * counts + REST_COPIES
        if sizes.sum() <= CODE_BYTES:
            break
    rng = np.random.default_rng(0)
    found = []
    for (_, axes), count in zip(spectra, counts.tolist(), strict=True):
        turn = np.linalg.qr(rng.standard_normal((count, count)))[0]
        found.append((axes[:, len(axes) - count :] @ turn).astype(np.float32))
    return found


def _find_steps(vectors: Floats, slices: list[slice], axes: list[Floats], means: list[Floats]) -> Doubles:
    """Find the step of each block with which no byte of any region is beyond `MAX_CODE`."""
    largest = np.zeros(len(slices))
    for part in _chunks(vectors):
        for number, (block, own, mean) in enumerate(zip(slices, axes, means, strict=True)):
            largest[number] = max(largest[number], np.abs(part[:, block] @ own - mean).max(initial=0.0))
    steps: Doubles = np.where(largest > 0, largest, 1.0) / MAX_CODE / [count_bytes(own) for own in axes]
    return steps


def _write_encoded(file: BinaryIO, vectors: Floats, slices: list[slice], basis: Basis) -> None:
    """Write codes as a NumPy array; errors and lengths of the basis become those of these codes, if they are larger."""
    header = {"descr": "|i1", "fortran_order": False, "shape": (len(vectors), basis.width)}
    np.lib.format.write_array_header_1_0(file, header)
    for part in _chunks(vectors):
        codes, errors, lengths = _encode(part, slices, basis)
        file.write(codes.tobytes())
        np.maximum(basis.errors, errors, out=basis.errors)
        np.maximum(basis.lengths, lengths, out=basis.lengths)


def _encode(part: Floats, slices: list[slice], basis: Basis) -> tuple[CodeArray, Doubles, Doubles]:
    """Encode vectors: int8 (n, width), and of each block the largest error and the largest length of the codes."""
    columns, errors, lengths = [], [], []
    for block, axes, mean, step in zip(slices, basis.axes, basis.means, basis.steps, strict=True):
        values = part[:, block]
        leading = values @ axes
        rest = np.einsum("nd,nd->n", values, values) - np.einsum("nm,nm->n", leading, leading)
        rest_codes = np.ceil(np.sqrt(np.maximum(rest, 0) + _REST_ERROR) * REST_LEVELS)
        leading -= mean
        largest = MAX_CODE * count_bytes(axes)  # Of regions that were added, a coordinate may be beyond it.
        codes = np.clip(np.rint(leading / np.float32(step)), -largest, largest)
        split = _split(codes, count_bytes(axes)).reshape(len(codes), -1)
        columns += [split, np.repeat(rest_codes[:, None], REST_COPIES, axis=1)]
        errors.append(np.linalg.norm(leading - codes * np.float32(step), axis=1).max(initial=0.0))
        lengths.append(np.linalg.norm(codes, axis=1).max(initial=0.0))
    return np.hstack(columns).astype(np.int8), np.array(errors, np.float64), np.array(lengths, np.float64)


def _read_basis(path: Path, blocks: Mapping[str, int]) -> Basis:
    """Read what `write_codes` wrote.

    Raises:
        IndexFolderError: the file is missing or broken, or is of vectors with other blocks.
    """
    arrays = _read_arrays(path)
    try:
        axes, means = ([arrays[f"{part}/{name}"] for name in blocks] for part in ("axes", "means"))
        basis = Basis(axes, means, arrays["steps"], arrays["errors"], arrays["lengths"])
    except KeyError as error:
        raise IndexFolderError(f"{path} lacks {error}; {_REMEDY}") from error
    per_block = (basis.steps, basis.errors, basis.lengths)
    fits = all(values.shape == (len(blocks),) and values.dtype == np.float64 for values in per_block)
    for own, mean, size in zip(basis.axes, basis.means, blocks.values(), strict=True):
        fits = fits and own.dtype == mean.dtype == np.float32 and own.ndim == 2
        fits = fits and len(own) == size >= own.shape[1] and mean.shape == own.shape[1:]
    every: list[npt.NDArray[Any]] = [*basis.axes, *basis.means, *per_block]
    if not fits or not all(bool(np.isfinite(values).all()) for values in every):
        raise IndexFolderError(f"{path} does not fit vectors of {dict(blocks)}; {_REMEDY}")
    return basis


def _read_worst(path: Path, blocks: int) -> tuple[Doubles, Doubles]:
    """Read what `write_more_codes` wrote beside the codes: errors and lengths, float64 (B,) each.

    Raises:
        IndexFolderError: the file is missing or broken, or is of another version or of vectors with other blocks.
    """
    arrays = _read_arrays(path)
    found = [arrays.get(name) for name in ("errors", "lengths")]
    whole = [each for each in found if each is not None and each.shape == (blocks,) and each.dtype == np.float64]
    if len(whole) < len(found) or arrays.get("version") != VERSION or not np.isfinite(whole).all():
        raise IndexFolderError(f"{path} does not fit the codes it was added to; {_REMEDY}")
    return whole[0], whole[1]


def _open_codes(path: Path, count: int, width: int) -> CodeArray:
    codes = _map_codes(path)
    if codes.shape != (count, width) or codes.dtype != np.int8 or not codes.flags.c_contiguous:
        raise IndexFolderError(f"{path} holds {codes.dtype} {codes.shape} instead of int8 {(count, width)}; {_REMEDY}")
    return codes


def _map_codes(path: Path) -> CodeArray:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise IndexFolderError(f"{path} cannot be read; {_REMEDY}: {error}") from error


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise IndexFolderError(f"{path} cannot be read; {_REMEDY}: {error}") from error


def _slices(blocks: Mapping[str, int]) -> list[slice]:
    return [slice(start, stop) for start, stop in pairwise(np.cumsum([0, *blocks.values()]).tolist())]


def _chunks(vectors: Floats) -> Iterable[Floats]:
    return (np.asarray(vectors[start : start + _CHUNK]) for start in range(0, len(vectors), _CHUNK))
