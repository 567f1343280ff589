"""The vectors of one trait, in one or several files, and exact k-nearest-neighbour search among them.

A vector is blocks [pattern | colour | shape], each of unit length. Its inner product with a query whose blocks are
scaled by their weights is the weighted sum of the blocks' cosines, so one index serves all weights. The inner product
is linear in the query, so "like these three, unlike that one" is one inner product, too.

Search is candidate generation and rescoring:

1. Approximate scores s'(x) are computed in single precision: by FAISS (flat inner-product index), or, for few regions
   or an example of several pose variants (which FAISS would search one by one), by a matrix product.
2. |s'(x) - s(x)| <= e for every region x and its exact score s(x), with a known upper bound e. So s'(x) >= s'(k) - 2 e
   for each of the k best regions, s'(k) being the k-th best approximate score; 2 e is `WeightedQuery.margin`. FAISS
   is asked for more until its worst result is below that limit.
3. These candidates are rescored in double precision, block by block, and rounded to nine digits.
4. The k best are returned; equal scores are ordered by region id. So the result is exact, and does not depend on how
   the candidates were found.

Where a trait has codes (`index.codes`), most regions are ruled out before step 1, without reading their vectors: the
regions with the highest bounds are scored exactly, and of the others only those whose bound reaches the k-th of these
scores go through the steps above.

A trait to which regions were added since its whitening was fitted has several files (`index.epochs`), whose rows are
counted through; regions that were replaced or removed since have a row that no search sees.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sst_retrieval.describe.unit_vectors import normalise_blocks
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.codes import Codes, open_codes
from sst_retrieval.index.query_vectors import QueryExample, WeightedQuery
from sst_retrieval.index.shard_vectors import ShardVectors
from sst_retrieval.index.vector_files import VectorFile
from sst_retrieval.types import Doubles, Floats

Ids = npt.NDArray[np.int64]

MATRIX_PRODUCT_LIMIT = 10_000
"""Up to this many regions a matrix product over their rows is faster than FAISS with a filter."""

CHUNK = 4096
"""Rows read from the file at a time, so that a search needs little memory."""

CODES_LIMIT = 500
"""From so many regions on their codes are quicker than a matrix product over their vectors."""

FIRST_BOUNDS = 48
"""At least so many regions with the highest bounds are scored before the others are ruled out."""

USEFUL_SHARE = 8
"""Bounds that rule out less than seven eighths of the regions are of no use: all are scored."""

MANY_REACHING = 400
"""If more regions reach a limit in single precision, it pays to find the exact one."""

_ROUNDING = 1e-9
"""Scores are compared after they were rounded to nine digits."""

ROW_TABLE_LIMIT = 1000
"""From so many region ids on, their rows are looked up in a table; fewer are searched for among the sorted ids."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The regions most like a query, the most similar first.

    Attributes:
        ids: int64 (n,), region ids.
        scores: float64 (n,), weighted mean of the blocks' cosines, not clipped.
        cosines: float64 (n, B), one column a block; of several examples the sum, each times its weight.
    """

    ids: Ids
    scores: Doubles
    cosines: Doubles


@dataclass(frozen=True, slots=True)
class TraitFiles:
    """The files of a trait's vectors that were written at one time.

    Attributes:
        vectors: what `index.vector_files.write_vectors` wrote; or the vectors, opened elsewhere.
        codes: what `index.codes` wrote of the same vectors, codes and basis.
    """

    vectors: Path | ShardVectors
    codes: tuple[Path, Path]


class VectorIndex:
    """The vectors of one trait, memory-mapped from their files.

    Attributes:
        ids: int64 (n,), region ids, ascending; those that were replaced or removed are not among them.
        stored_ids: int64 (m,), the region id of every row of the files, counted through.
        codes: 8-bit codes of the rows; None if there are none.
    """

    def __init__(
        self,
        path: Path | ShardVectors,
        blocks: Mapping[str, int],
        code_files: tuple[Path, Path] | None = None,
        *,
        additions: Sequence[TraitFiles] = (),
        removed: Ids | None = None,
    ) -> None:
        """Open a file that `write_vectors` made, and those of what was added to it.

        Args:
            path: the FAISS file; or the vectors, opened elsewhere.
            blocks: block name -> number of values, in the order they are concatenated.
            code_files: what `index.codes.write_codes` wrote of the same vectors, codes and basis; neither exists of a
                trait with few regions, or in an index of an early version. None searches without codes.
            additions: of regions that were added, oldest first.
            removed: int64 (m,), ascending: region ids that are no longer of any region, among others.

        Raises:
            IndexFolderError: a file cannot be read or does not hold such vectors.
            SSTError: FAISS cannot be loaded.
        """
        dim = sum(blocks.values())
        given = (path, *(added.vectors for added in additions))
        self._files = [VectorFile(each, dim) if isinstance(each, Path) else each for each in given]
        self._starts = np.cumsum([0, *map(len, self._files)])
        self.stored_ids: Ids = self._files[0].ids if not additions else np.concatenate([f.ids for f in self._files])
        for file, (start, stop) in zip(self._files, pairwise(self._starts), strict=True):
            file.ids = self.stored_ids[start:stop]  # In memory once.
        if additions and not bool((np.diff(self.stored_ids) > 0).all()):
            raise IndexFolderError(
                f"{additions[-1].codes[0].parent} does not fit the vectors it was added to; run the build again with "
                "--refit"
            )
        self._living: Ids | None = None
        if removed is not None and len(removed):
            living = ~np.isin(self.stored_ids, removed, assume_unique=True)
            self._living = None if living.all() else np.flatnonzero(living)
        self.ids: Ids = self.stored_ids if self._living is None else self.stored_ids[self._living]
        self.block_slices = [slice(start, stop) for start, stop in pairwise(np.cumsum([0, *blocks.values()]))]
        self.codes: Codes | None = None
        if code_files is not None:
            more = [(*added.codes, len(file)) for added, file in zip(additions, self._files[1:], strict=True)]
            self.codes = open_codes(*code_files, blocks, len(self._files[0]), more)

    def __len__(self) -> int:
        """Count the regions."""
        return len(self.ids)

    def __contains__(self, region_id: int) -> bool:
        """Say whether a region is here."""
        row = int(np.searchsorted(self.ids, region_id))
        return row < len(self.ids) and int(self.ids[row]) == region_id

    def reconstruct(self, ids: Ids) -> Floats:
        """Return stored vectors.

        Args:
            ids: int64 (n,), region ids of this trait.

        Returns:
            float32 (n, D).

        Raises:
            KeyError: an id is not here.
        """
        return self.take(self.rows(ids))

    def rows(self, ids: Ids) -> Ids:
        """Return the rows of region ids in the files, counted through, int64 (n,).

        Raises:
            KeyError: an id is not here.
        """
        rows = self._rows(ids)
        if len(rows) != len(ids):
            raise KeyError(f"not regions of this trait: {np.setdiff1d(ids, self.ids).tolist()}")
        return rows

    def search(self, query: Sequence[QueryExample], k: int, *, weights: Doubles, ids: Ids | None = None) -> Neighbours:
        """Find the k regions most like a query, exactly.

        Args:
            query: the examples; a region's score is the weighted sum of its similarities to them.
            k: at least 1; more than there are returns all there are.
            weights: float64 (B,), not negative, not all zero.
            ids: int64 (n,), each once: search among these only; None searches all.

        Returns:
            At most k neighbours. Equal similarities are ordered by region id.
        """
        scaled = self.scale(query, weights)
        rows = self.select_rows(ids)
        candidates = self._coded_candidates(scaled, k, rows)
        if candidates is None:
            candidates = self.find_candidates(scaled, k, rows)
        return self.choose_best(scaled, k, candidates)

    def scale(self, query: Sequence[QueryExample], weights: Doubles) -> WeightedQuery:
        """Scale a query by its weights."""
        return WeightedQuery.scale(query, self.block_slices, weights)

    def select_rows(self, ids: Ids | None) -> Ids | None:
        """Return the rows of those region ids that are here, int64, ascending; None if all rows are meant."""
        return self._living if ids is None else self._rows(np.sort(ids))

    def choose_best(self, query: WeightedQuery, k: int, candidates: Ids, vectors: Floats | None = None) -> Neighbours:
        """Choose the k best of some rows, exactly; equal similarities are ordered by region id.

        Args:
            query: what they are compared with.
            k: at least 1.
            candidates: int64 (n,), rows, each once.
            vectors: float32 (n, D), of the rows, if they were read already.
        """
        if query.block_weights.all() or vectors is not None:
            scores, cosines = self.rescore(query, candidates, vectors)
            best = np.lexsort((candidates, -scores))[:k]
            return Neighbours(self.stored_ids[candidates[best]], scores[best], cosines[best])
        # Blocks that do not count are compared for the hits only: whitening takes longer than all else.
        scores, _ = self._rescore(query, candidates, [bool(weight) for weight in query.block_weights])
        best = np.lexsort((candidates, -scores))[:k]
        _, cosines = self.rescore(query, candidates[best])
        return Neighbours(self.stored_ids[candidates[best]], scores[best], cosines)

    def scores(self, query: Sequence[QueryExample], ids: Ids, *, weights: Doubles) -> tuple[Doubles, Doubles]:
        """Score some regions against a query, exactly.

        Args:
            query: as for `search`.
            ids: int64 (n,), region ids of this trait, ascending.
            weights: float64 (B,), as for `search`.

        Returns:
            float64 (n,) and float64 (n, B), as in `Neighbours`, in the order of the ids.
        """
        return self.rescore(WeightedQuery.scale(query, self.block_slices, weights), self.rows(ids))

    def approximate_scores(self, query: Sequence[QueryExample], ids: Ids, *, weights: Doubles) -> tuple[Floats, float]:
        """Score some regions against a query in single precision, without whitening them.

        Args:
            query: as for `search`.
            ids: int64 (n,), region ids of this trait, ascending.
            weights: float64 (B,), as for `search`.

        Returns:
            float32 (n,), in the order of the ids; and twice an upper bound of the error.
        """
        scaled = WeightedQuery.scale(query, self.block_slices, weights)
        return self.score_approximately(scaled, self.rows(ids)), scaled.margin

    def bounds(self, query: Sequence[QueryExample], ids: Ids, *, weights: Doubles) -> Doubles | None:
        """Bound the scores of some regions from above, by their codes.

        Args:
            query: as for `search`.
            ids: int64 (n,), region ids of this trait, ascending.
            weights: float64 (B,), as for `search`.

        Returns:
            float64 (n,); None if there are no codes.
        """
        if self.codes is None:
            return None
        found = self.codes.bound(WeightedQuery.scale(query, self.block_slices, weights), self.rows(ids))
        return found.values * found.factor + found.offset

    def _rows(self, ids: Ids) -> Ids:
        """Return the rows of those region ids that are here, int64, in their order."""
        table = self._row_table if len(ids) >= ROW_TABLE_LIMIT else None
        if table is None:
            rows: Ids = np.searchsorted(self.ids, ids)
            inside = rows < len(self.ids)
            rows, ids = rows[inside], ids[inside]
            found: Ids = rows[self.ids[rows] == ids]
            return found if self._living is None else self._living[found]
        places = ids - self.ids[0]
        if len(ids) and (int(places.min()) < 0 or int(places.max()) >= len(table)):
            places = places[(places >= 0) & (places < len(table))]
        rows = table[places].astype(np.int64)
        return rows[rows >= 0]

    @functools.cached_property
    def _row_table(self) -> npt.NDArray[np.int32] | None:
        """The row of every region id from the first to the last, int32, -1 for none; None if most are of no region."""
        if not len(self.ids) or int(self.ids[-1]) - int(self.ids[0]) >= 4 * len(self.ids):
            return None
        table = np.full(int(self.ids[-1]) - int(self.ids[0]) + 1, -1, dtype=np.int32)
        table[self.ids - self.ids[0]] = np.arange(len(self.ids)) if self._living is None else self._living
        return table

    def _coded_candidates(self, query: WeightedQuery, k: int, rows: Ids | None) -> Ids | None:
        """Return rows that contain the k best, by their codes; None if there are none, or if they rule out too few."""
        count = len(self.stored_ids) if rows is None else len(rows)
        most = max(FIRST_BOUNDS, 2 * k)
        if self.codes is None or count < CODES_LIMIT or most > count // USEFUL_SHARE:
            return None
        bounds = self.codes.bound(query, rows)
        first = bounds.highest(most)
        first = first if rows is None else rows[first]
        scores = self.score_approximately(query, first)
        # A score in single precision is half a margin off at most, and so is the k-th best exact one.
        limit = float(np.partition(scores, -k)[-k]) - query.margin
        reaching = bounds.reaching(limit)
        if len(reaching) > MANY_REACHING:
            exact, _ = self.rescore(query, first[scores >= limit])
            limit = float(np.partition(exact, -k)[-k]) - _ROUNDING
            reaching = bounds.reaching(limit)
        if len(reaching) > count // USEFUL_SHARE:
            return None
        chosen = reaching if rows is None else rows[reaching]
        if len(chosen) > MANY_REACHING:
            chosen = chosen[self.codes.bound_closely(query, chosen) >= limit]
        scores = self.score_approximately(query, chosen)
        best: Ids = chosen[scores >= np.partition(scores, -k)[-k] - query.margin]
        return best

    def find_candidates(self, query: WeightedQuery, k: int, rows: Ids | None) -> Ids:
        """Return rows that contain the k best: all within the margin below the k-th best approximate score."""
        chosen = np.arange(len(self.stored_ids)) if rows is None else rows
        files = [file for file in self._files if isinstance(file, VectorFile)]
        if len(chosen) > MATRIX_PRODUCT_LIMIT:
            for file in files:
                file.read_sequentially()
        if k >= len(chosen):
            return chosen
        if len(chosen) > MATRIX_PRODUCT_LIMIT and query.vector is not None and len(files) == len(self._files):
            return self._faiss_candidates(query.vector, k, chosen, margin=query.margin)
        scores = self.score_approximately(query, chosen)
        candidates: Ids = chosen[scores >= np.partition(scores, -k)[-k] - query.margin]
        return candidates

    def score_approximately(self, query: WeightedQuery, rows: Ids) -> Floats:
        """Score rows in single precision, float32 (n,)."""
        scores = np.zeros(len(rows), dtype=np.float32)
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            if query.vector is not None:
                scores[start : start + CHUNK] = self.multiply(part, query.vector[:, None])[:, 0]
                continue
            for variants, weight in query.scaled_examples:
                scores[start : start + CHUNK] += np.float32(weight) * self.multiply(part, variants.T).max(axis=1)
        return scores

    def multiply(self, rows: Ids, factors: Floats) -> Floats:
        """Multiply the vectors of rows with factors, float32 (D, m), in single precision: float32 (n, m)."""
        if len(self._files) == 1:
            return self._files[0].multiply(rows, factors)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        result = np.empty((len(rows), factors.shape[1]), dtype=np.float32)
        for number, file in enumerate(self._files):
            own = np.flatnonzero(owners == number)
            if len(own):
                result[own] = file.multiply(rows[own] - self._starts[number], factors)
        return result

    def _faiss_candidates(self, vector: Floats, k: int, rows: Ids, *, margin: float) -> Ids:
        """Search file by file with FAISS; the best of all are among the best of each."""
        found = []
        for file, (start, stop) in zip(self._files, pairwise(self._starts), strict=True):
            if not isinstance(file, VectorFile):
                raise AssertionError("vectors in shards are searched without FAISS")
            own = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)] - start
            # A filter that passes everything makes FAISS three times slower.
            among = None if len(own) == len(file) else own
            found.append(start + file.find_candidates(vector, k, among, margin=margin))
        return np.concatenate(found)

    def take(self, rows: Ids, wanted: Sequence[bool] | None = None) -> Floats:
        """Return the vectors of rows, in their order: float32 (n, D).

        Args:
            rows: int64 (n,).
            wanted: of each block, whether it is needed; another may hold anything. None needs all.
        """
        if len(self._files) == 1:
            return self._files[0].take(rows, wanted)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        result = np.empty((len(rows), self.block_slices[-1].stop), dtype=np.float32)
        for number, file in enumerate(self._files):
            own = np.flatnonzero(owners == number)
            if len(own):
                result[own] = file.take(rows[own] - self._starts[number], wanted)
        return result

    def rescore(self, query: WeightedQuery, rows: Ids, vectors: Floats | None = None) -> tuple[Doubles, Doubles]:
        """Score rows in double precision: scores, float64 (n,), and the cosines of their blocks, float64 (n, B).

        Args:
            query: what they are compared with.
            rows: int64 (n,).
            vectors: float32 (n, D), of the rows, if they were read already.
        """
        return self._rescore(query, rows, [True] * len(self.block_slices), vectors)

    def _rescore(
        self, query: WeightedQuery, rows: Ids, wanted: Sequence[bool], vectors: Floats | None = None
    ) -> tuple[Doubles, Doubles]:
        """Score rows as `rescore` does; the cosines of blocks that are not wanted, which have no weight, are none."""
        cosines = np.zeros((len(rows), len(self.block_slices)))
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            own = self.take(rows[part], wanted) if vectors is None else vectors[part]
            own_blocks = normalise_blocks(own, self.block_slices)
            for variants, weight in query.examples:
                cosines[part] += weight * self._best_variant(variants, own_blocks, query.block_weights)
        # Beyond nine digits a similarity is rounding error, which must not order equals.
        return np.round((cosines * query.block_weights).sum(axis=1), 9), cosines

    def _best_variant(self, variants: Doubles, vectors: Doubles, weights: Doubles) -> Doubles:
        """Return the blocks' cosines of each row with its most similar variant, float64 (n, B).

        Args:
            variants: float64 (M, D), blocks of unit length.
            vectors: float64 (n, D), blocks of unit length.
            weights: float64 (B,), of the blocks.
        """
        # A sum along each row, not a matrix product: equal vectors must give equal numbers in every row.
        cosines = np.stack(
            [[(vectors[:, b] * variant[b]).sum(axis=1) for b in self.block_slices] for variant in variants]
        )  # (M, B, n)
        chosen = np.argmax(np.einsum("mbn,b->mn", cosines, weights), axis=0)
        best: Doubles = cosines[chosen, :, np.arange(len(vectors))]
        return best
