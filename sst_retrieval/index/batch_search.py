"""Search with many queries at a time: the same answers as one by one, by products of blocks.

Alone, a query reads the codes of all regions, and memory is what it waits for. Many together read them once, and whole
numbers of 8 bits multiplied by the block are many times quicker than one by one (`index.byte_products`).

1. The largest product of every group of 16 rows with every query is computed. It bounds all of the group.
2. Query by query: the rows with the highest bounds are scored in single precision. The k-th of these scores, less its
   error, is a limit that the k-th best region reaches.
3. Only groups that reach the limit are looked at row by row, and only rows whose bound reaches it are scored; where
   these are many, their second bound must reach it, too (`Codes.bound_closely`).
4. As in `VectorIndex.search`: those that may be among the k best are scored in double precision, and ordered.

Products of whole numbers are exact on every device, so a card (`device="cuda"`) finds the same candidates.

Where there are no codes, or few regions, scores in single precision come from one product of all of them with all
queries. Queries that this does not suit (pose variants, bounds that rule out little) are searched one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sst_retrieval.index.byte_products import GROUP, ByteTable, count_groups
from sst_retrieval.index.codes import Codes, multiply_codes
from sst_retrieval.index.query_vectors import QueryExample, WeightedQuery
from sst_retrieval.index.vectors import (
    CHUNK,
    CODES_LIMIT,
    FIRST_BOUNDS,
    MANY_REACHING,
    USEFUL_SHARE,
    Ids,
    Neighbours,
    VectorIndex,
)
from sst_retrieval.types import Doubles

AT_ONCE = 128
"""Queries that are multiplied together: more are hardly quicker."""

MOST_PRODUCTS = 1 << 24
"""Products held in memory at a time."""

FEW_CANDIDATES = 256
"""Up to so many candidates of a query are read together with those of the others: at most 100 MB of vectors."""


@dataclass(frozen=True, slots=True)
class BatchQuery:
    """One of many queries.

    Attributes:
        examples: as for `VectorIndex.search`.
        k: how many neighbours are wanted, at least 1.
        weights: float64 (B,), of the blocks.
    """

    examples: Sequence[QueryExample]
    k: int
    weights: Doubles


class BatchSearch:
    """Some regions of a trait, to be searched with many queries."""

    def __init__(self, index: VectorIndex, ids: Ids | None, device: str = "cpu") -> None:
        """Prepare the regions.

        Args:
            index: the vectors of the trait.
            ids: int64 (n,), each once: search among these only; None searches all.
            device: where products are computed, "auto", "cpu" or "cuda".

        Raises:
            ModelError: there is no such device, or its memory is too small.
        """
        self._index, self._ids = index, ids
        self._rows = index.select_rows(ids)
        self._count = len(index.stored_ids) if self._rows is None else len(self._rows)
        self._groups: _Groups | None = None
        if index.codes is not None and self._count >= CODES_LIMIT:
            self._groups = _Groups(index.codes, self._rows, device)

    def search(self, queries: Sequence[BatchQuery]) -> Iterator[Neighbours]:
        """Find the regions most like each query, exactly as `VectorIndex.search` does, in order of the queries."""
        width = self._count if self._groups is None else self._groups.count
        step = max(1, min(AT_ONCE, MOST_PRODUCTS // max(1, width)))
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            scaled = [self._index.scale(query.examples, query.weights) for query in part]
            found = list(self._find_candidates(part, scaled))
            together = [own for own in found if own is not None and len(own) <= FEW_CANDIDATES]
            # Regions that are like one another are candidates of many queries, and are whitened once.
            rows = np.unique(np.concatenate([np.empty(0, np.int64), *together]))
            vectors = self._index.take(rows)
            for query, own, candidates in zip(part, scaled, found, strict=True):
                if candidates is None:
                    yield self._index.search(query.examples, query.k, weights=query.weights, ids=self._ids)
                elif len(candidates) <= FEW_CANDIDATES:
                    known = vectors[np.searchsorted(rows, candidates)]
                    yield self._index.choose_best(own, query.k, candidates, known)
                else:
                    yield self._index.choose_best(own, query.k, candidates)

    def _find_candidates(self, queries: Sequence[BatchQuery], scaled: Sequence[WeightedQuery]) -> Iterator[Ids | None]:
        """Find rows that contain the k best of each query; None where it must be searched with alone."""
        suitable = [own.vector is not None for own in scaled]
        chosen = [own for own, fits in zip(scaled, suitable, strict=True) if fits]
        wanted = [query.k for query, fits in zip(queries, suitable, strict=True) if fits]
        if self._groups is None:
            found = self._compare_all(chosen, wanted)
        else:
            found = self._compare_codes(self._groups, chosen, wanted)
        for fits in suitable:
            yield next(found) if fits else None

    def _compare_all(self, queries: Sequence[WeightedQuery], wanted: Sequence[int]) -> Iterator[Ids | None]:
        """Score all rows in single precision, and keep those within the margin of the k-th."""
        rows = np.arange(self._count) if self._rows is None else self._rows
        factors = np.stack([query.vector for query in queries if query.vector is not None], axis=1) if queries else None
        scores = np.empty((len(queries), len(rows)), dtype=np.float32)
        if factors is not None:
            for start in range(0, len(rows), CHUNK):
                scores[:, start : start + CHUNK] = self._index.multiply(rows[start : start + CHUNK], factors).T
        for query, k, own in zip(queries, wanted, scores, strict=True):
            yield rows if k >= len(rows) else rows[own >= np.partition(own, -k)[-k] - query.margin]

    def _compare_codes(
        self, groups: _Groups, queries: Sequence[WeightedQuery], wanted: Sequence[int]
    ) -> Iterator[Ids | None]:
        """Rule out rows by their codes, without their vectors."""
        if not queries:
            return
        for query, k, bounds in zip(queries, wanted, groups.bound(queries), strict=True):
            most = max(FIRST_BOUNDS, 2 * k)
            if most > self._count // USEFUL_SHARE:
                yield None
                continue
            highest = bounds.highest_groups(most)
            places, values = bounds.rows_of(highest)
            best = np.argpartition(-values, most - 1)[:most] if len(values) > most else np.arange(len(values))
            scores = self._index.score_approximately(query, self._at(places[best]))
            # A score in single precision is half a margin off at most, and so is the k-th best exact one.
            limit = float(np.partition(scores, -k)[-k]) - query.margin
            reaching = bounds.reaching_groups(limit)
            if GROUP * len(reaching) > self._count // 2:
                yield None
                continue
            places, values = bounds.rows_of(reaching)
            places = places[values >= limit]
            if len(places) > self._count // USEFUL_SHARE:
                yield None
                continue
            chosen = self._at(places)
            if len(chosen) > MANY_REACHING:
                chosen = chosen[groups.codes.bound_closely(query, chosen) >= limit]
            scores = self._index.score_approximately(query, chosen)
            yield chosen[scores >= np.partition(scores, -k)[-k] - query.margin]

    def _at(self, places: Ids) -> Ids:
        return places if self._rows is None else self._rows[places]


class _Groups:
    """Groups of rows, by whose largest products queries are bounded.

    Attributes:
        codes: of the rows.
        count: how many groups there are.
    """

    def __init__(self, codes: Codes, rows: Ids | None, device: str) -> None:
        self.codes = codes
        self.parts = codes.select(rows)
        self._table = ByteTable([part for part, _ in self.parts], device)
        counts = [count_groups(len(part)) for part, _ in self.parts]
        self.owners = np.repeat(np.arange(len(counts)), counts)
        self.begins = np.cumsum([0, *counts])
        self.count = int(self.begins[-1])

    def bound(self, queries: Sequence[WeightedQuery]) -> Iterator[_GroupBounds]:
        """Bound the scores of all groups, for each query."""
        quantised = [self.codes.quantise(query) for query in queries]
        maxima = np.ascontiguousarray(self._table.group_maxima(np.stack([own for own, _, _ in quantised])).T)
        for products, (own, factor, offsets) in zip(maxima, quantised, strict=True):
            bounds = products * factor
            if len(self.parts) > 1:
                bounds += offsets[self.owners]
            else:
                bounds += offsets[0]
            yield _GroupBounds(self, bounds, own, factor, offsets)


@dataclass(frozen=True, slots=True)
class _GroupBounds:
    """Bounds of the scores of a query: of groups, and of rows on request."""

    groups: _Groups
    bounds: Doubles
    quantised: np.ndarray
    factor: float
    offsets: Doubles

    def highest_groups(self, count: int) -> Ids:
        """Return the groups with the highest bounds, ascending."""
        if count >= len(self.bounds):
            return np.arange(len(self.bounds))
        return np.sort(np.argpartition(self.bounds, -count)[-count:])

    def reaching_groups(self, limit: float) -> Ids:
        """Return the groups whose bound reaches a score, ascending."""
        return np.flatnonzero(self.bounds >= limit)

    def rows_of(self, chosen: Ids) -> tuple[Ids, Doubles]:
        """Return where the rows of groups are, int64 (n,) ascending, and their bounds, float64 (n,)."""
        places, bounds = [], []
        ends = np.searchsorted(chosen, self.groups.begins)
        for number, (part, begin) in enumerate(self.groups.parts):
            own = chosen[ends[number] : ends[number + 1]] - self.groups.begins[number]
            if not len(own):
                continue
            rows = (own[:, None] * GROUP + np.arange(GROUP)).ravel()
            rows = rows[rows < len(part)]
            products = multiply_codes(np.take(part, rows, axis=0), self.quantised[None])[:, 0]
            places.append(begin + rows)
            bounds.append(products * self.factor + self.offsets[number])
        return np.concatenate(places), np.concatenate(bounds)
