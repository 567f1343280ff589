"""Put first hits into a new order: those first whose own neighbours are the query's, too.

Whether two regions are of one kind is told by their neighbours more surely than by their own similarity: a hit of
another kind is near the query by chance, but its neighbours are of that kind (shared nearest neighbours, Jarvis and
Patrick 1973, IEEE Transactions on Computers C-22: 1025-1034; for the re-ranking of hits by the overlap of neighbour
sets, Zhong et al. 2017, arXiv 1701.08398, of which reciprocity, its expansion and its Gaussian weights are left out).

1. The neighbours of the query and of every hit are sought among the first hits: by all blocks together as the query
   weighs them, and by each block alone.
2. The set of each is averaged with that of its nearest neighbour; two sets are compared by their overlap (intersection
   over union).
3. A hit is ranked by its similarity and by these overlaps (`SIMILARITY_SHARE`, `TOGETHER_SHARE`).

Sets of all blocks together alone find more of the same kind, but pull towards what most of the first hits share, as
query expansion does. With those of each block beside them, what a single block tells is kept where looks are crossed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sst_retrieval.index.vectors import VectorIndex
from sst_retrieval.search.query import Query
from sst_retrieval.types import Doubles, Hit

NEIGHBOURS = 10
"""Number of neighbours in a set, beside what it is the set of. With 8 or 12 all figures are within 0.01."""

SIMILARITY_SHARE = 0.6
"""Weight of the similarity itself; that of the overlaps is the rest."""

TOGETHER_SHARE = 0.5
"""Weight of the overlap by all blocks together, among the overlaps; that of each block alone is its weight of the rest.

With 0.7 more of one kind are found, and where looks are crossed those alike in outline less (-0.008)."""

CONTEXT = 2
"""Neighbours are sought among this many times as many hits as are put into a new order, so that the last of these have
theirs there, too."""

_DIGITS = 6
"""Similarities are compared after rounding to so many digits: the last ones depend on the order of a sum."""


def order_by_neighbours(similarities: Doubles, weights: Doubles) -> npt.NDArray[np.int64]:
    """Order the hits of a query by similarity and shared neighbours.

    Args:
        similarities: float64 (B, n + 1, n + 1), by each block, of the query (first) and its n hits, the best first.
        weights: float64 (B,), of the blocks, of sum 1.

    Returns:
        int64 (n,), positions among the hits, the best first; equals stay in their order.
    """
    single = np.round(similarities, _DIGITS)
    together = np.round(np.tensordot(weights, similarities, 1), _DIGITS)
    overlaps = TOGETHER_SHARE * measure_overlaps(together)
    for block, weight in zip(single, weights, strict=True):
        if weight:
            overlaps = overlaps + (1 - TOGETHER_SHARE) * weight * measure_overlaps(block)
    scores = SIMILARITY_SHARE * together[0, 1:] + (1 - SIMILARITY_SHARE) * overlaps
    return np.argsort(-np.round(scores, _DIGITS), kind="stable")


def measure_overlaps(similarity: Doubles) -> Doubles:
    """Measure how far the neighbours of the first are those of each other one: float64 (n - 1,), 0..1.

    Args:
        similarity: float64 (n, n).

    >>> apart = np.array([[1, 0.9, 0.8, 0.1], [0.9, 1, 0.8, 0.1], [0.8, 0.8, 1, 0.1], [0.1, 0.1, 0.1, 1]])
    >>> measure_overlaps(apart).tolist()  # So few are all neighbours of each other.
    [1.0, 1.0, 1.0]
    """
    count = len(similarity)
    ranked = similarity.copy()
    np.fill_diagonal(ranked, np.inf)  # Each is in its own set.
    order = np.argsort(-ranked, axis=1, kind="stable")[:, : NEIGHBOURS + 1]
    sets = np.zeros((count, count))
    np.put_along_axis(sets, order, 1 / order.shape[1], axis=1)
    shares = (sets + sets[order[:, min(1, count - 1)]]) / 2
    common = np.minimum(shares[0], shares[1:]).sum(axis=1)
    overlaps: Doubles = common / (2 - common)
    return overlaps


def rerank_hits(query: Query, hits: Sequence[Hit], vectors: Mapping[str, VectorIndex]) -> list[Hit]:
    """Put the first hits of a query into a new order (`Query.rerank` of them); the others stay behind them.

    Args:
        query: the query.
        hits: its hits, the best first: as many as `widen` asks for.
        vectors: trait -> its vectors.

    Returns:
        At most k hits, with their similarities to the query as they were.
    """
    count = min(query.rerank, len(hits))
    context = hits[: CONTEXT * query.rerank]
    if count > 1:
        similarities = _compare(query, context, vectors)
        order = [at for at in order_by_neighbours(similarities, query.weight_vector).tolist() if at < count]
        hits = [hits[at] for at in order] + list(hits[count:])
    return [hit if hit.rank == rank else replace(hit, rank=rank) for rank, hit in enumerate(hits[: query.k], start=1)]


def widen(query: Query) -> Query:
    """Return a query for as many hits as are needed to put its first ones into a new order."""
    return replace(query, k=max(query.k, CONTEXT * query.rerank), rerank=0) if query.rerank else query


def _compare(query: Query, hits: Sequence[Hit], vectors: Mapping[str, VectorIndex]) -> Doubles:
    """Compare the query (first) and its hits by each block, the mean over traits that are liked: float64 (B, n, n)."""
    liked = {trait: sum(each.weight for each in own if each.weight > 0) for trait, own in query.traits.items()}
    liked = {trait: weight for trait, weight in liked.items() if weight} or dict.fromkeys(query.traits, 1.0)
    total = sum(liked.values())
    similarities = np.ones((len(query.weights), len(hits) + 1, len(hits) + 1))
    similarities[:, 1:, 1:] = 0
    for trait, weight in liked.items():
        ids = [part.region_id for hit in hits for part in (hit.parts or (hit,)) if part.trait == trait]
        rows = vectors[trait].reconstruct(np.array(ids, dtype=np.int64)).astype(np.float64)
        for block, columns in enumerate(vectors[trait].block_slices):
            similarities[block, 1:, 1:] += weight / total * (rows[:, columns] @ rows[:, columns].T)
    own = np.array([list(hit.blocks.values()) for hit in hits]).T
    similarities[:, 0, 1:] = similarities[:, 1:, 0] = own
    return similarities
