"""Neighbours against a known truth: do they follow the true distance, and what are they sensitive to?

All functions take similarities of N specimens with each other, or of some queries with the N; what a vector is made of
does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.retrieval import average_precision
from sst_retrieval.types import Doubles

Similarity = npt.NDArray[np.floating[Any]]
"""float (N, N), higher is closer; the diagonal is not read."""

Levels = npt.NDArray[np.int64]
"""int64 (N,): the level of a factor."""


def compute_rank_correlation(similarity: Similarity, distance: Doubles) -> float:
    """Compute Spearman's correlation of similarity with true nearness, the mean over queries; 1 is perfect.

    Args:
        similarity: float (N, N), N > 2.
        distance: float64 (N, N), true distances.

    >>> distance = np.abs(np.subtract.outer(np.arange(5.0) ** 2, np.arange(5.0) ** 2))
    >>> compute_rank_correlation(np.exp(-distance), distance)
    1.0
    """
    found = []
    for query in range(len(similarity)):
        others = np.arange(len(similarity)) != query
        found.append(correlate_ranks(similarity[query, others], -distance[query, others]))
    return float(np.round(np.mean(found), 12))


def correlate_ranks(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Compute Spearman's rank correlation of two rows; 0 if one of them is constant."""
    ranks = [rankdata(row) - (len(row) + 1) / 2 for row in (first, second)]
    length = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float(ranks[0] @ ranks[1]) / length if length > 0 else 0.0


def measure_sensitivity(similarity: Similarity, factor: Levels, others: Sequence[Levels]) -> float:
    """Measure what it counts for a ranking that a specimen agrees with the query in one factor, all else being equal.

    Other specimens are sorted into strata, by whether they agree with the query in each of the other factors. Measured
    is the probability that of two of one stratum the one that agrees in the factor is the more similar: the area under
    the ROC curve, weighted by the number of pairs, mean over queries.

    Args:
        similarity: float (N, N).
        factor: the factor's levels.
        others: levels of the factors that are held equal.

    Returns:
        0..1; 0.5: blind to the factor; 1: who agrees always comes first.

    Raises:
        InputError: no two specimens can be compared.
    """
    wins, pairs = np.zeros(len(factor)), np.zeros(len(factor))
    for query in range(len(factor)):
        stratum = np.zeros(len(factor), np.int64)
        for other in others:
            stratum = 2 * stratum + (other == other[query])
        same = factor == factor[query]
        for number in np.unique(stratum):
            chosen = (stratum == number) & (np.arange(len(factor)) != query)
            positive = same[chosen]
            count = int(positive.sum()) * int((~positive).sum())
            if count:
                ranks = rankdata(similarity[query, chosen])
                wins[query] += ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
                pairs[query] += count
    if not pairs.any():
        raise InputError("no query has specimens that agree with it in the factor and others that do not")
    return float(np.mean(wins[pairs > 0] / pairs[pairs > 0]))


@dataclass(frozen=True, slots=True)
class AnswerChange:
    """How far answers change when the queries' photographs are changed; means over queries.

    Attributes:
        queries: how many.
        shared: share of the first ten hits that both answers have.
        correlation: Spearman's correlation of the similarities to all others.
        itself: share of the changed queries to which the unchanged specimen itself is the most similar of all.
        mean_ap_before, mean_ap_after: mean average precision.
        first_before, first_after: share whose first hit is relevant.
    """

    queries: int
    shared: float
    correlation: float
    itself: float
    mean_ap_before: float
    mean_ap_after: float
    first_before: float
    first_after: float


def compare_answers(
    before: Similarity, after: Similarity, rows: Sequence[int], relevant: npt.NDArray[np.bool_], *, first: int = 10
) -> AnswerChange:
    """Compare the answers to queries before and after their photographs were changed.

    Args:
        before: float (Q, N), similarity of each unchanged query to every specimen.
        after: float (Q, N), of the changed one.
        rows: which of the N each query is; it is no hit.
        relevant: bool (Q, N).
        first: how many first hits are compared.
    """
    measured = []
    for query, own in enumerate(rows):
        others = np.arange(before.shape[1]) != own
        orders = [np.argsort(-each[query, others], kind="stable") for each in (before, after)]
        hits = relevant[query, others]
        shared = len(set(orders[0][:first].tolist()) & set(orders[1][:first].tolist())) / min(first, len(hits))
        correlation = correlate_ranks(before[query, others], after[query, others])
        itself = float(np.argmax(after[query]) == own)
        scores = [_score(hits[order]) for order in orders]
        measured.append((shared, correlation, itself, scores[0][0], scores[1][0], scores[0][1], scores[1][1]))
    means = [float(value) for value in np.nanmean(np.array(measured), axis=0)]
    return AnswerChange(len(measured), *means)


def _score(relevance: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return average precision and whether the first is relevant; NaN for both if none is."""
    if not relevance.any():
        return float("nan"), float("nan")
    return average_precision(relevance), float(relevance[0])
