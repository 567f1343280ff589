"""A search, from a query to hits, exactly.

1. The query is made of stored regions (`like`, `unlike`) or of vectors from another photograph (`search.query`).
2. `where` is resolved to region ids first, and the search happens among these: k hits whenever k match.
3. Regions of one trait are ranked by the weighted mean of the blocks' cosines, computed exactly; with several traits,
   individuals are ranked by the mean of the traits. Of a specimen the best region is the hit (`per`).
4. Specimens that were searched with are no hits, on whatever photograph, and rejected masks are none either.
5. With `expand`, the search is repeated with the query expanded by its first hits; with `rerank`, the first hits are
   put into a new order (`search.shared_neighbours`).

Functions of an index's reader; `search.index.Index` offers `search`, `vectors`, `described` and `patterns` as methods,
so their docstrings leave the reader out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.owner_lines import Owner
from sst_retrieval.index.reader import Reader
from sst_retrieval.index.vectors import FIRST_BOUNDS, Neighbours, VectorIndex
from sst_retrieval.search.query import Pair, Query, check_per, expand_query, make_query
from sst_retrieval.search.shared_neighbours import rerank_hits, widen
from sst_retrieval.types import Doubles, Floats, Hit

VECTORS_AT_ONCE = 8192
"""Vectors in memory at a time where all of a trait are gone through."""


@dataclass(frozen=True, slots=True)
class Match:
    """A region, or one region of each trait of an individual, that matches a query.

    Attributes:
        regions: region ids, one a trait, in the order of the query's traits.
        score: what ranks it.
        cosines: float64 (T, B), what each block of each trait adds to the score, before it is weighed.
    """

    regions: tuple[int, ...]
    score: float
    cosines: Doubles


def search(
    reader: Reader,
    *,
    like: Pair | Sequence[Pair] | None = None,
    unlike: Pair | Sequence[Pair] | None = None,
    vectors: Floats | None = None,
    trait: str | None = None,
    k: int = 12,
    where: str | None = None,
    weights: Mapping[str, float] | None = None,
    expand: int = 0,
    among: Sequence[int] | npt.NDArray[np.int64] | None = None,
    per: str = "specimen",
    rerank: int = 0,
) -> list[Hit]:
    """Find the specimens whose trait is most similar to a query.

    Args:
        like: (specimen, trait) of an indexed region, or several of them. Several of one trait are averaged; of
            several traits, specimens are ranked by the mean of the traits. They are left out of the hits.
        unlike: the same of what hits should not resemble; counts half as much as `like`.
        vectors: float32 (M, D) or (D,), made from another photograph with the index's own settings. Several
            vectors are variants of the specimen's pose: a region is compared with the one it resembles most.
        trait: the trait to search among, whatever the examples' trait; without it, each example's own.
        k: how many hits, at least 1; fewer come back only if fewer match.
        where: DuckDB predicate over the collection's columns, `confidence` and the measurements (see
            `index.catalog`). The region of every trait of the query must satisfy it.
        weights: block name -> weight, 0 or more; a block that is not named has weight 0; None weighs all alike.
        expand: search again with the query expanded by so many of the first hits; 0 searches once. More of the same
            kind are found if the first hits are right, and fewer if they are wrong. Similarities are then those to
            all of them.
        among: ids of the only regions that may be hits (`Hit.region_id`, `region_id` of the trait table); None lets
            all of them. Any number of them is quicker than a predicate that lists them.
        per: "specimen": at most one hit a specimen, its best region, and none of a specimen that was searched with;
            "photograph" or "individual": the same of these, so that a specimen may be hit several times.
        rerank: put so many of the first hits into a new order, those first whose own neighbours are the query's, too; 0
            leaves them in the order of their similarities. More of the same kind come first; similarities stay those to
            the query, so they no longer fall from hit to hit.

    Returns:
        At most k hits, the most similar first (but see `rerank`); equals in order of the specimens' ids, those
        that were added to a large index later (see `index.epochs`) behind the others.

    Raises:
        QueryError: the query names something the index does not have.
    """
    query = make_query(
        reader,
        like=like,
        unlike=unlike,
        vectors=vectors,
        trait=trait,
        k=k,
        where=where,
        weights=weights,
        expand=expand,
        among=among,
        per=per,
        rerank=rerank,
    )
    if expand:
        query = expand_query(query, answer_query(reader, replace(query, k=expand)), reader.vector_indexes)
    return answer_query(reader, query)


def answer_query(reader: Reader, query: Query) -> list[Hit]:
    """Find the hits of a query, at most `query.k`, the most similar first, or as `query.rerank` orders them."""
    if query.rerank:
        return rerank_hits(query, answer_query(reader, widen(query)), reader.vector_indexes)
    catalog, wanted = reader.catalog, query.k
    while True:
        matches = rank_matches(replace(query, k=wanted), catalog, reader.vector_indexes)
        owners = catalog.owners([number for match in matches for number in match.regions])
        hits = make_hits(matches, query, owners, reader.decode_mask)
        # Where several regions are of one specimen, more are needed for as many specimens.
        if catalog.plain or len(hits) == query.k or len(matches) < wanted + len(query.excluded):
            return hits
        wanted *= 4


def vectors(reader: Reader, trait: str) -> tuple[list[str], Floats]:
    """Return the vectors that a search compares: individuals (n), and float32 (n, D), every block of unit length."""
    names, ids = reader.catalog.name_regions(reader.require_trait(trait))
    return names, reader.vector_indexes[trait].reconstruct(ids)


def region_vectors(reader: Reader, trait: str, ids: npt.NDArray[np.int64]) -> Floats:
    """Return the vectors of regions of a trait as a search compares them: float32 (n, D), every block of unit length.

    Raises:
        KeyError: an id is not of this trait.
    """
    return reader.vector_indexes[reader.require_trait(trait)].reconstruct(ids)


def iterate_vectors(
    reader: Reader, trait: str, *, where: str | None = None
) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
    """Yield the vectors that a search compares, in order of region ids, some thousand in memory at a time.

    Args:
        trait: name of the trait.
        where: as for `search`; None takes all that are not rejected.

    Yields:
        int64 (n,), region ids; and float32 (n, D), every block of unit length.

    Raises:
        QueryError: there is no such trait, or the predicate does not work.
    """
    ids = reader.catalog.resolve(where or "true", reader.require_trait(trait))
    for start in range(0, len(ids), VECTORS_AT_ONCE):
        part = ids[start : start + VECTORS_AT_ONCE]
        yield part, reader.vector_indexes[trait].reconstruct(part)


def described(
    reader: Reader, trait: str, ids: Sequence[int], similarities: Sequence[float], blocks: Sequence[Mapping[str, float]]
) -> list[Hit]:
    """Turn regions of a trait that were found and ordered elsewhere (by words, say) into hits.

    Args:
        trait: name of the trait.
        ids: region ids, the best first.
        similarities: 0..1, one a region.
        blocks: what each similarity is made of, one a region.
    """
    owners = reader.catalog.owners(ids)
    return [
        _make_hit(rank, trait, number, similarity, parts, owners[number], reader.decode_mask)
        for rank, (number, similarity, parts) in enumerate(zip(ids, similarities, blocks, strict=True), 1)
    ]


def keep_best(hits: Sequence[Hit], per: str) -> list[Hit]:
    """Keep the first hit of each specimen (photograph, individual), and number the ranks again.

    Args:
        hits: the best first.
        per: one of `PER`.

    Raises:
        QueryError: it is none of them.
    """
    check_per(per)
    best: dict[str, Hit] = {}
    for hit in hits:
        best.setdefault(getattr(hit, per), hit)
    return [hit if hit.rank == rank else replace(hit, rank=rank) for rank, hit in enumerate(best.values(), start=1)]


def patterns(reader: Reader, trait: str, ids: npt.NDArray[np.int64]) -> Floats:
    """Return the pattern blocks of regions of a trait as the embedder made them: float32 (n, D), unit length."""
    width = reader.blocks["pattern"]  # It is the first block.
    return reader.unwhitened_vectors(reader.require_trait(trait), ids)[:, :width]


def rank_matches(query: Query, catalog: Catalog, vectors: Mapping[str, VectorIndex]) -> list[Match]:
    """Rank the regions, or the individuals that show all traits, exactly; the most similar first.

    Args:
        query: the query.
        catalog: the regions and who they belong to.
        vectors: trait -> its vectors.

    Returns:
        At most k matches, and as many more as specimens are excluded.
    """
    if len(query.traits) > 1:
        return _rank_individuals(query, catalog, vectors)
    ((trait, examples),) = query.traits.items()
    ids = resolve_regions(query, catalog, trait)
    # Some more, for the specimens that were searched with and are left out.
    found = vectors[trait].search(examples, query.k + len(query.excluded), weights=query.weight_vector, ids=ids)
    return rank_regions(found)


def rank_regions(found: Neighbours) -> list[Match]:
    """Make matches of the regions that a search found."""
    return [
        Match((number,), float(score), cosines[None])
        for number, score, cosines in zip(found.ids.tolist(), found.scores, found.cosines, strict=True)
    ]


def resolve_regions(query: Query, catalog: Catalog, trait: str) -> npt.NDArray[np.int64] | None:
    """Resolve the regions of a trait that may be hits: int64 (n,), ascending; None if all that show it may."""
    # Rejected regions are no hits: resolving leaves them out.
    if query.where is None and query.among is None and not len(catalog.region_reviews.hidden_ids):
        return None
    ids = catalog.resolve("true" if query.where is None else query.where, trait)
    return ids if query.among is None else np.intersect1d(ids, query.among)


def _rank_individuals(query: Query, catalog: Catalog, vectors: Mapping[str, VectorIndex]) -> list[Match]:
    """Rank the individuals that show every trait of the query by the mean of the traits."""
    resolved = {}
    for trait in query.traits:
        own = resolve_regions(query, catalog, trait)
        resolved[trait] = vectors[trait].ids if own is None else own
    ids = catalog.match_individuals(resolved)
    wanted = query.k + len(query.excluded)
    for select in (_select_promising, _select_close):
        chosen = select(query, ids, vectors, wanted)
        ids = {trait: own[chosen] for trait, own in ids.items()}
    total, found = _score_individuals(query, ids, vectors)
    best = np.argsort(-total, kind="stable")[:wanted]
    return [
        Match(tuple(int(own[at]) for own in ids.values()), float(total[at]), np.stack([one[at] for one in found]))
        for at in best
    ]


def _select_promising(
    query: Query, ids: Mapping[str, npt.NDArray[np.int64]], vectors: Mapping[str, VectorIndex], wanted: int
) -> npt.NDArray[np.int64]:
    """Select individuals that contain the best ones: all whose bound reaches the last score that is wanted.

    Args:
        query: the query.
        ids: trait -> int64 (n,), the regions of the individuals.
        vectors: trait -> its vectors.
        wanted: how many individuals are wanted.

    Returns:
        int64 (m,), positions in the ids, ascending.
    """
    count, most = len(next(iter(ids.values()))), max(FIRST_BOUNDS, 2 * wanted)
    total = np.zeros(count)
    for trait, examples in query.traits.items():
        bounds = vectors[trait].bounds(examples, ids[trait], weights=query.weight_vector) if most < count else None
        if bounds is None:
            return np.arange(count)
        total += bounds
    first = np.sort(np.argpartition(total, -most)[-most:])
    scores, margin = _approximate_individuals(query, {trait: own[first] for trait, own in ids.items()}, vectors)
    return np.flatnonzero(total >= np.partition(scores, -wanted)[-wanted] - margin)


def _select_close(
    query: Query, ids: Mapping[str, npt.NDArray[np.int64]], vectors: Mapping[str, VectorIndex], wanted: int
) -> npt.NDArray[np.int64]:
    """Select individuals as `_select_promising` does, by scores in single precision."""
    count = len(next(iter(ids.values())))
    if wanted >= count:
        return np.arange(count)
    scores, margin = _approximate_individuals(query, ids, vectors)
    return np.flatnonzero(scores >= np.partition(scores, -wanted)[-wanted] - margin)


def _approximate_individuals(
    query: Query, ids: Mapping[str, npt.NDArray[np.int64]], vectors: Mapping[str, VectorIndex]
) -> tuple[Doubles, float]:
    """Score individuals in single precision: float64 (n,), and twice an upper bound of the error."""
    found = [
        vectors[trait].approximate_scores(own, ids[trait], weights=query.weight_vector)
        for trait, own in query.traits.items()
    ]
    # A score is rounded to nine digits, and so is that of each trait before.
    margin = sum(own for _, own in found) + 1e-9 * (1 + len(ids))
    return np.sum([scores.astype(np.float64) for scores, _ in found], axis=0), margin


def _score_individuals(
    query: Query, ids: Mapping[str, npt.NDArray[np.int64]], vectors: Mapping[str, VectorIndex]
) -> tuple[Doubles, list[Doubles]]:
    """Score individuals exactly: float64 (n,), and of each trait the cosines of its blocks, float64 (n, B)."""
    found = [vectors[trait].scores(own, ids[trait], weights=query.weight_vector) for trait, own in query.traits.items()]
    return np.round(np.sum([scores for scores, _ in found], axis=0), 9), [cosines for _, cosines in found]


def make_hits(matches: Sequence[Match], query: Query, owners: Mapping[int, Owner], masks: Any) -> list[Hit]:
    """Make hits of matches; leave out what was searched with, and all but the best of each specimen (see `per`).

    Args:
        matches: what `rank_matches` found.
        query: the query.
        owners: region id -> whose it is, of all regions of the matches.
        masks: region id -> its mask; goes into the hits.

    Returns:
        At most k hits; one of several traits holds one of each trait in `parts`.
    """
    best: dict[str, Match] = {}
    for match in matches:
        best.setdefault(getattr(owners[match.regions[0]], query.per), match)
    kept = [match for name, match in best.items() if name not in query.excluded][: query.k]
    liked = {trait: sum(each.weight for each in own if each.weight > 0) or 1.0 for trait, own in query.traits.items()}
    hits = []
    for rank, match in enumerate(kept, start=1):
        first = next(iter(query.traits))
        whole = _hit(rank, first, match.regions[0], match.cosines.sum(axis=0), query, owners, masks)
        if len(query.traits) == 1:
            hits.append(whole)
            continue
        # The cosines of a part are those of its trait alone, unweighed by the other traits.
        parts = [
            _hit(rank, trait, number, cosines / liked[trait], query, owners, masks)
            for trait, number, cosines in zip(query.traits, match.regions, match.cosines, strict=True)
        ]
        hits.append(replace(whole, parts=tuple(parts)))
    return hits


def _hit(
    rank: int, trait: str, number: int, cosines: Doubles, query: Query, owners: Mapping[int, Owner], masks: Any
) -> Hit:
    # Not `np.clip`, which takes longer for three numbers than the search for the hit.
    similarity = min(max(float(np.round(cosines @ query.weight_vector, 9)), 0.0), 1.0)
    blocks = {name: min(max(own, -1.0), 1.0) for name, own in zip(query.weights, cosines.tolist(), strict=True)}
    return _make_hit(rank, trait, number, similarity, blocks, owners[number], masks)


def _make_hit(
    rank: int, trait: str, number: int, similarity: float, blocks: Mapping[str, float], owner: Owner, masks: Any
) -> Hit:
    return Hit(
        *(rank, owner.specimen, trait, similarity, blocks, owner.confidence, owner.metadata, number),
        photograph=owner.photograph,
        individual=owner.individual,
        _masks=masks,
    )
