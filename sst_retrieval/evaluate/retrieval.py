"""How good is the retrieval: rankings against a column of the collection.

1. Every region asks once; the answers are all other specimens with the same trait, most similar first.
2. An answer is relevant if its specimen has the query's value in the column (same species, same mimicry ring).
3. A query to which no answer is relevant is left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import InputError, QueryError
from sst_retrieval.evaluate.report import aligned
from sst_retrieval.search.answer import ALPHA
from sst_retrieval.types import Floats, Scalar

Ranking: TypeAlias = npt.NDArray[np.bool_]
"""bool (N,): is the answer relevant, most similar first."""


def average_precision(ranking: Ranking) -> float:
    """Return the mean, over the relevant answers, of the precision at their ranks; one must be relevant.

    Our own three lines: scikit-learn's `average_precision_score` would be a large dependency for them. The tests check
    that both agree.

    >>> average_precision(np.array([True, False, True]))
    0.8333333333333333
    """
    ranks = np.flatnonzero(ranking) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def recall_at(ranking: Ranking, k: int) -> float:
    """Return the share of the relevant answers that are among the first k; below 1 if more than k are relevant."""
    return float(np.count_nonzero(ranking[:k]) / np.count_nonzero(ranking))


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
        recall_at_5: mean share of the relevant answers among the first five.
        precision_at_1: share of the queries whose first answer is relevant.
        chance: mean share of relevant answers among all: what a random order would give for `precision_at_1`.
        queries: how many queries were asked.
        alone: how many were left out, because no other specimen has their value.
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
        column: the column whose values say what is relevant.
        traits: trait -> its scores; a trait without a query is left out.
        mean_ap: mean over traits.
        without_value: specimens left out altogether, because the column is empty for them.
    """

    column: str
    traits: Mapping[str, RetrievalScore]
    mean_ap: float
    without_value: int

    def table(self) -> str:
        """Write the scores as aligned text."""
        rows = [
            (name, f"{s.mean_ap:.3f}", f"{s.recall_at_5:.3f}", f"{s.precision_at_1:.3f}", f"{s.chance:.3f}",
             str(s.queries), str(s.alone))
            for name, s in self.traits.items()
        ]  # fmt: skip
        head = ("trait", "mAP", "recall@5", "precision@1", "by chance", "queries", "left out")
        end = f"mAP {self.mean_ap:.4f}; relevant = same {self.column}; {self.without_value} specimens have none"
        return "\n".join((aligned(head, rows), "", end))

    def as_dict(self) -> dict[str, Any]:
        """Say the scores in plain, JSON-ready types."""
        return {
            "relevant_by": self.column,
            "mean_ap": self.mean_ap,
            "traits": {
                name: {field: getattr(score, field) for field in RetrievalScore.__slots__}
                for name, score in self.traits.items()
            },
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
    expand: int = 0,
) -> RetrievalScores:
    """Ask with every region of every trait, and score the answers by a column of the collection.

    Args:
        regions: trait -> its regions.
        values: specimen -> its value in the column; None, "" or no entry leaves the specimen out.
        column: the column's name, for the report.
        blocks: block -> where it is in a vector.
        weights: block -> its weight, 0 or more; all blocks weigh the same by default.
        apart: specimen -> its value in another column; answers that share the query's value there are left out. With
            `values` the mimicry ring and `apart` the species, only mimics count, not a species' own kind.
        expand: every question is asked again together with so many of its first answers (see `Index.search`).

    Raises:
        InputError: nothing can be asked.
        QueryError: a weight has no block, is negative, or all are 0.
    """
    scale = _scale(blocks, weights)
    scores = {
        trait: score
        for trait, of_trait in regions.items()
        if (score := _trait_score(of_trait, values, scale, apart or {}, expand)) is not None
    }
    if not scores:
        raise InputError(
            f"no two specimens with the same trait share a value of {column!r}, so nothing is relevant to anything; "
            "choose a column with repeated values"
        )
    everybody = {specimen for of_trait in regions.values() for specimen in of_trait.specimens}
    without = sum(1 for specimen in everybody if values.get(specimen) in _NO_VALUE)
    return RetrievalScores(column, scores, float(np.mean([score.mean_ap for score in scores.values()])), without)


_NO_VALUE = (None, "")
_AT_ONCE = 256


def _scale(blocks: Mapping[str, slice], weights: Mapping[str, float] | None) -> Floats:
    """Return the weight of every component of a vector: float32 (D,)."""
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


def _trait_score(
    regions: TraitVectors, values: Mapping[str, Scalar], scale: Floats, apart: Mapping[str, Scalar], expand: int
) -> RetrievalScore | None:
    """Ask with every region of a trait; None if no query has a relevant answer."""
    # In the order of the ids: equally similar answers then keep one order, however the regions were stored.
    rows = [row for row in np.argsort(regions.specimens) if values.get(regions.specimens[row]) not in _NO_VALUE]
    specimens = [regions.specimens[row] for row in rows]
    vectors = np.asarray(regions.vectors, np.float32)[rows]
    own, same = _equal(specimens), _equal([values[name] for name in specimens])
    # Without a value of their own, specimens are kept apart from nobody.
    kin = _equal([apart.get(name) if apart.get(name) not in _NO_VALUE else ("", k) for k, name in enumerate(specimens)])
    measured: list[tuple[float, float, float, float]] = []
    alone = 0
    for start in range(0, len(rows), _AT_ONCE):
        similarity = (vectors[start : start + _AT_ONCE] * scale) @ vectors.T
        for query, row in enumerate(similarity, start=start):
            asked = (own != own[query]) & ((kin != kin[query]) | (not apart))
            scores = _asked_again(row[asked], vectors[asked], scale, expand) if expand else row[asked]
            order = np.argsort(-scores, kind="stable")
            ranking = (same == same[query])[asked][order]
            if ranking.any():
                measured.append((average_precision(ranking), recall_at(ranking, 5), float(ranking[0]), ranking.mean()))
            else:
                alone += 1
    if not measured:
        return None
    mean_ap, recall, precision, chance = (float(value) for value in np.mean(measured, axis=0))
    return RetrievalScore(mean_ap, recall, precision, chance, len(measured), alone)


def _asked_again(scores: Floats, vectors: Floats, scale: Floats, expand: int) -> Floats:
    """Add to the scores of all answers, float32 (n,), their similarity to the first of them, as a search does."""
    first = np.argsort(-scores, kind="stable")[:expand]
    votes = np.clip(scores[first], 0, 1) ** ALPHA
    expanded: Floats = (scores + (votes @ vectors[first] * scale) @ vectors.T).astype(np.float32)
    return expanded


def _equal(things: Sequence[object]) -> npt.NDArray[np.int64]:
    """Number things so that equal things have equal numbers: int64 (N,)."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(thing, len(numbers)) for thing in things], np.int64)
