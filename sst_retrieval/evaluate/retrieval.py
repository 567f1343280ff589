"""Retrieval scores: mean average precision, recall and precision of rankings, by a column of the collection.

1. Every region is a query once; the ranking holds the regions of all other specimens with the same trait, most similar
   first. Other photographs of the query's own specimen are no results, as in `Index.search`.
2. A result is relevant if its specimen has the query's value in the column (same species, same mimicry ring).
3. A query without any relevant result is left out and counted.
4. A specimen that shows several traits is also a query with all of them at once, as `Index.search` takes several
   examples: the ranking holds those that show all of them, by the mean of the traits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import InputError, QueryError
from sst_retrieval.evaluate.text_tables import format_table
from sst_retrieval.search.query import check_rerank, weigh_hits
from sst_retrieval.search.shared_neighbours import CONTEXT, order_by_neighbours
from sst_retrieval.types import Floats, Scalar

Relevance: TypeAlias = npt.NDArray[np.bool_]
"""bool (N,): whether each result is relevant, most similar first."""


def average_precision(relevance: Relevance) -> float:
    """Compute the mean, over the relevant results, of the precision at their ranks; one must be relevant.

    Not scikit-learn's `average_precision_score`, which would be a large dependency; the tests check that both agree.

    >>> average_precision(np.array([True, False, True]))
    0.8333333333333333
    """
    ranks = np.flatnonzero(relevance) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def recall_at(relevance: Relevance, k: int) -> float:
    """Compute the share of the relevant results that are among the first k; below 1 if more than k are relevant."""
    return float(np.count_nonzero(relevance[:k]) / np.count_nonzero(relevance))


@dataclass(frozen=True, slots=True)
class TraitVectors:
    """The regions of one trait.

    Attributes:
        specimens: N ids.
        vectors: float32 (N, D), the blocks one after the other, each of unit length.
    """

    specimens: Sequence[str]
    vectors: Floats


@dataclass(frozen=True, slots=True)
class RetrievalScore:
    """How well one trait retrieves specimens with the same value.

    Attributes:
        mean_ap: mean average precision over the queries, 0..1.
        recall_at_5: mean share of the relevant results that are among the first five.
        precision_at_1: share of the queries whose first result is relevant.
        chance: mean share of relevant results among all: the expected `precision_at_1` of a random order.
        queries: number of queries.
        alone: queries left out, because no other specimen has their value.
    """

    mean_ap: float
    recall_at_5: float
    precision_at_1: float
    chance: float
    queries: int
    alone: int


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """Retrieval scores of a collection.

    Attributes:
        column: the column whose values define relevance.
        traits: trait -> its scores; a trait without a query is left out.
        mean_ap: mean over traits.
        without_value: specimens left out, because the column is empty for them.
        together: scores of queries with all traits of a specimen at once; None if no query has several.
    """

    column: str
    traits: Mapping[str, RetrievalScore]
    mean_ap: float
    without_value: int
    together: RetrievalScore | None = None

    def table(self) -> str:
        """Write the scores as aligned text."""
        rows = [
            (name, f"{s.mean_ap:.3f}", f"{s.recall_at_5:.3f}", f"{s.precision_at_1:.3f}", f"{s.chance:.3f}",
             str(s.queries), str(s.alone))
            for name, s in (*self.traits.items(), *([] if self.together is None else [("all at once", self.together)]))
        ]  # fmt: skip
        head = ("trait", "mAP", "recall@5", "precision@1", "by chance", "queries", "left out")
        end = f"mAP {self.mean_ap:.4f}; relevant = same {self.column}; {self.without_value} specimens have none"
        return "\n".join((format_table(head, rows), "", end))

    def as_dict(self) -> dict[str, Any]:
        """Convert the scores to plain, JSON-ready types."""

        def convert(score: RetrievalScore) -> dict[str, Any]:
            return {field: getattr(score, field) for field in RetrievalScore.__slots__}

        return {
            "relevant_by": self.column,
            "mean_ap": self.mean_ap,
            "traits": {name: convert(score) for name, score in self.traits.items()},
            "together": None if self.together is None else convert(self.together),
            "specimens_without_value": self.without_value,
        }


def retrieval_scores(
    regions: Mapping[str, TraitVectors],
    values: Mapping[str, Scalar],
    *,
    column: str,
    blocks: Mapping[str, slice],
    weights: Mapping[str, float] | None = None,
    apart: Mapping[str, Scalar] | None = None,
    owners: Mapping[str, str] | None = None,
    expand: int = 0,
    rerank: int = 0,
) -> RetrievalScores:
    """Query with every region of every trait, and score the rankings by a column of the collection.

    Args:
        regions: trait -> its regions.
        values: specimen -> its value in the column; None, "" or no entry leaves the specimen out.
        column: the column's name, for the report.
        blocks: block -> its components in a vector.
        weights: block -> its weight, 0 or more; all blocks weigh the same by default.
        apart: specimen -> its value in another column; results that share the query's value there are left out. With
            `values` the mimicry ring and `apart` the species, only mimics count, not specimens of the same species.
        owners: name in `regions` -> the specimen that it is a photograph of; results of the query's own specimen are
            left out. Without it, or without an entry, every name is a specimen of its own.
        expand: number of first results that expand a query (see `Index.search`); 0 for none.
        rerank: number of first results that are put into a new order (see `Index.search`); 0 for none.

    Returns:
        Scores of every trait, and their mean.

    Raises:
        InputError: no query has a relevant result.
        QueryError: a weight has no block, is negative, or all are 0.
    """
    check_rerank(rerank, expand)
    ranking = _Ranking(_compute_component_weights(blocks, weights), list(blocks.values()), expand, rerank)
    measured = {
        trait: _query_all(of_trait, of_trait.specimens, values, ranking, apart or {}, owners or {})
        for trait, of_trait in regions.items()
    }
    scores = {trait: score for trait, own in measured.items() if (score := _average(own)) is not None}
    if not scores:
        raise InputError(
            f"no two specimens with the same trait share a value of {column!r}, so nothing is relevant to anything; "
            "choose a column with repeated values"
        )
    specimens = {specimen for of_trait in regions.values() for specimen in of_trait.specimens}
    without = sum(1 for specimen in specimens if values.get(specimen) in _MISSING)
    mean_ap = float(np.mean([score.mean_ap for score in scores.values()]))
    together = _score_together(regions, values, ranking, apart or {}, owners or {})
    return RetrievalScores(column, scores, mean_ap, without, together)


_MISSING = (None, "")
_BATCH = 256


def _compute_component_weights(blocks: Mapping[str, slice], weights: Mapping[str, float] | None) -> Floats:
    """Compute the weight of every component of a vector: float32 (D,)."""
    weights = dict.fromkeys(blocks, 1.0) if weights is None else weights
    unknown = sorted(weights.keys() - blocks.keys())
    if unknown:
        raise QueryError(f"there is no block {', '.join(unknown)}; the blocks are {', '.join(blocks)}")
    if min(weights.values(), default=0) < 0 or not any(weights.values()):
        raise QueryError(
            f"the weights {dict(weights)} cannot rank anything; give 0 or more, and more than 0 at least once"
        )
    scale = np.zeros(max(part.stop for part in blocks.values()), np.float32)
    for block, weight in weights.items():
        scale[blocks[block]] = weight / sum(weights.values())
    return scale


class _Ranking(NamedTuple):
    """How the results of a query are ranked.

    Attributes:
        scale: float32 (D,), weight of every component of a vector.
        blocks: components of each block.
        expand, rerank: as for `retrieval_scores`.
    """

    scale: Floats
    blocks: Sequence[slice | npt.NDArray[np.int64]]
    expand: int
    rerank: int

    def join(self, count: int) -> _Ranking:
        """Return the same for the vectors of several traits, one after the other; of a block the mean counts."""
        starts = np.arange(count)[:, None] * len(self.scale)
        columns = [(np.arange(len(self.scale))[block] + starts).ravel() for block in self.blocks]
        return self._replace(scale=np.asarray(np.tile(self.scale, count) / count, np.float32), blocks=columns)

    def order(self, query: Floats, scores: Floats, vectors: Floats) -> npt.NDArray[np.int64]:
        """Order results: int64 (n,), the best first.

        Args:
            query: float32 (D,).
            scores: float32 (n,), its similarities to the results.
            vectors: float32 (n, D), of the results.
        """
        if self.expand:
            scores = _expand_query(scores, vectors, self.scale, self.expand)
        order = np.argsort(-scores, kind="stable")
        if not self.rerank:
            return order
        first = order[: CONTEXT * self.rerank]
        shown = np.vstack([query, vectors[first]]).astype(np.float64)
        weighed = shown * self.scale
        weights = np.array([float((shown[0, block] * weighed[0, block]).sum()) for block in self.blocks])
        similarities = np.stack([shown[:, block] @ shown[:, block].T for block in self.blocks])
        # Blocks have unit length in every trait: this is the mean over the traits.
        similarities /= np.maximum(similarities[:, :1, :1], 1e-12)
        again = order_by_neighbours(similarities, weights)
        return np.concatenate([first[again[again < self.rerank]], order[self.rerank :]])


class _Measured(NamedTuple):
    """What was measured of some queries.

    Attributes:
        scores: average precision, recall at five, precision at one and chance of each query that has a relevant result.
        alone: number of those that have none.
    """

    scores: list[tuple[float, float, float, float]]
    alone: int


def _score_together(
    regions: Mapping[str, TraitVectors],
    values: Mapping[str, Scalar],
    ranking: _Ranking,
    apart: Mapping[str, Scalar],
    owners: Mapping[str, str],
) -> RetrievalScore | None:
    """Query with all traits of every specimen that shows several; None if no query has a relevant result."""
    rows = {trait: {name: row for row, name in enumerate(of.specimens)} for trait, of in regions.items()}
    shown = {name: tuple(trait for trait in rows if name in rows[trait]) for own in rows.values() for name in own}
    scores: list[tuple[float, float, float, float]] = []
    alone = 0
    for traits in sorted({several for several in shown.values() if len(several) > 1}):
        names = [name for name, others in shown.items() if set(traits) <= set(others)]
        parts = [regions[trait].vectors[[rows[trait][name] for name in names]] for trait in traits]
        joined = TraitVectors(names, np.hstack(parts).astype(np.float32))
        queries = [name for name in names if shown[name] == traits]
        measured = _query_all(joined, queries, values, ranking.join(len(traits)), apart, owners)
        scores, alone = scores + measured.scores, alone + measured.alone
    return _average(_Measured(scores, alone))


def _query_all(
    regions: TraitVectors,
    asked: Collection[str],
    values: Mapping[str, Scalar],
    ranking: _Ranking,
    apart: Mapping[str, Scalar],
    owners: Mapping[str, str],
) -> _Measured:
    """Query with the regions of some specimens, and rank all others."""
    # Sorted by id: ties are then ranked alike, however the regions were stored.
    rows = [row for row in np.argsort(regions.specimens) if values.get(regions.specimens[row]) not in _MISSING]
    specimens = [regions.specimens[row] for row in rows]
    vectors = np.asarray(regions.vectors, np.float32)[rows]
    own = _encode_categories([owners.get(name, name) for name in specimens])
    same = _encode_categories([values[name] for name in specimens])
    # A specimen without a value in `apart` is never left out.
    kin = _encode_categories(
        [apart.get(name) if apart.get(name) not in _MISSING else ("", k) for k, name in enumerate(specimens)]
    )
    wanted = set(asked)
    queries = np.array([row for row, name in enumerate(specimens) if name in wanted], np.int64)
    measured: list[tuple[float, float, float, float]] = []
    alone = 0
    for start in range(0, len(queries), _BATCH):
        chosen = queries[start : start + _BATCH]
        similarity = (vectors[chosen] * ranking.scale) @ vectors.T
        for query, row in zip(chosen, similarity, strict=True):
            kept = (own != own[query]) & ((kin != kin[query]) | (not apart))
            order = ranking.order(vectors[query], row[kept], vectors[kept])
            relevance = (same == same[query])[kept][order]
            if relevance.any():
                chance = float(relevance.mean())
                measured.append((average_precision(relevance), recall_at(relevance, 5), float(relevance[0]), chance))
            else:
                alone += 1
    return _Measured(measured, alone)


def _average(measured: _Measured) -> RetrievalScore | None:
    """Average over queries; None without any."""
    if not measured.scores:
        return None
    mean_ap, recall, precision, chance = (float(value) for value in np.mean(measured.scores, axis=0))
    return RetrievalScore(mean_ap, recall, precision, chance, len(measured.scores), measured.alone)


def _expand_query(scores: Floats, vectors: Floats, scale: Floats, expand: int) -> Floats:
    """Add to the scores of all results, float32 (n,), their similarity to the first of them (alpha query expansion).

    As `Index.search` does. Radenovic et al. (2018), arXiv 1711.02512.
    """
    first = np.argsort(-scores, kind="stable")[:expand]
    votes = weigh_hits(scores[first]).astype(np.float32)
    expanded: Floats = (scores + (votes @ vectors[first] * scale) @ vectors.T).astype(np.float32)
    return expanded


def _encode_categories(values: Sequence[object]) -> npt.NDArray[np.int64]:
    """Number values so that equal ones have equal numbers: int64 (N,)."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)
