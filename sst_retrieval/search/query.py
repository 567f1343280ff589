"""A query: what regions are compared with, who may answer, and what each part counts.

1. Examples of one trait are averaged; what a hit should be unlike is subtracted, at half its weight (`UNLIKE_WEIGHT`).
2. Examples of several traits ask for specimens that show all of them.
3. A query can be expanded by its first hits: each becomes a further example (`ALPHA`). Or its first hits are put into a
   new order by their neighbours (`search.shared_neighbours`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import QueryError
from sst_retrieval.index.query_vectors import QueryExample
from sst_retrieval.index.reader import Reader
from sst_retrieval.index.vectors import VectorIndex
from sst_retrieval.types import Doubles, Floats, Hit

Pair: TypeAlias = tuple[str, str]
"""(specimen, trait); instead of a specimen a photograph or an individual may be named."""

PER = ("specimen", "photograph", "individual")
"""Of which there is at most one hit."""

UNLIKE_WEIGHT = 0.5
"""Weight of being unlike against being like: at 1, the first hits are odd rather than similar."""

ALPHA = 6
"""A first hit joins the query with its similarity, as a share of the best hit's, to this power (alpha query expansion:
Radenovic, Tolias and Chum 2018, arXiv 1711.02512, whose power of 3 is of similarities as they are).

As a share, because similarities of vectors whose mean was subtracted are low even between the best: to the power of 3
their hits hardly count. The higher power keeps the first hit where it was found right already."""


MAX_RERANK = 1000
"""Most hits that are put into a new order: all of them, and as many more, are compared with each other."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for.

    Attributes:
        traits: trait -> the examples that its regions are compared with.
        excluded: what is no hit, by `per`: the specimens (photographs, individuals) that were searched with.
        k: how many hits are wanted.
        where: predicate that the region of every trait must satisfy; None if all may be hits.
        weights: block -> weight, in the order of the blocks; of sum 1.
        among: int64 (n,), the only regions that may be hits; None if all may.
        per: "specimen", "photograph" or "individual": at most one hit of each.
        rerank: so many of the first hits are put into a new order by shared neighbours; 0 leaves all as they are.
    """

    traits: Mapping[str, Sequence[QueryExample]]
    excluded: frozenset[str]
    k: int
    where: str | None
    weights: Mapping[str, float]
    among: npt.NDArray[np.int64] | None = None
    per: str = "specimen"
    rerank: int = 0

    @property
    def weight_vector(self) -> Doubles:
        """The weights as float64 (B,)."""
        return np.array(list(self.weights.values()), dtype=np.float64)


def make_query(
    reader: Reader,
    *,
    like: Pair | Sequence[Pair] | None,
    unlike: Pair | Sequence[Pair] | None,
    vectors: Floats | None,
    trait: str | None,
    k: int,
    where: str | None,
    weights: Mapping[str, float] | None,
    expand: int,
    among: Sequence[int] | npt.NDArray[np.int64] | None,
    per: str,
    rerank: int,
) -> Query:
    """Check what a user gives to `Index.search`, which explains it, and make a query of it, not yet expanded.

    Raises:
        QueryError: the query names something the index does not have.
    """
    given_pairs = [[] if given is None else as_pairs(given) for given in (like, unlike)]
    if not given_pairs[0] and vectors is None:
        raise QueryError("give `like` (specimens of the index) or `vectors` (from another photograph)")
    for name, count in (("k", k), ("expand", expand), ("rerank", rerank)):
        if not isinstance(count, int | np.integer) or isinstance(count, bool):
            raise QueryError(f"{name} is {count!r}; give a whole number")
    if k < 1 or expand < 0:
        raise QueryError(f"k is {k} and expand {expand}; ask for at least 1 hit, together with 0 or more others")
    check_rerank(rerank, expand)
    check_per(per)
    likes, unlikes = (_find_examples(reader, pairs, trait) for pairs in given_pairs)
    liked = [_stored_example(reader, *pair, goal=trait) for pair in likes]
    if vectors is not None:
        goal = reader.require_trait(trait)
        liked.append((goal, _whiten_external(reader, vectors, goal)))
    disliked = [_stored_example(reader, *pair, goal=trait) for pair in unlikes]
    shares = reader.block_weights(weights)
    return Query(
        traits=weigh_examples(liked, disliked),
        excluded=_owners(reader, [name for name, _ in (*likes, *unlikes)], per),
        k=k,
        where=where,
        weights=dict(zip(reader.blocks, (shares / shares.sum()).tolist(), strict=True)),
        among=None if among is None else np.asarray(among, dtype=np.int64),
        per=per,
        rerank=rerank,
    )


def check_rerank(rerank: int, expand: int) -> None:
    """Check how many of the first hits are put into a new order.

    Raises:
        QueryError: it is negative or too large, or the query is to be expanded, too.
    """
    if not 0 <= rerank <= MAX_RERANK:
        raise QueryError(f"rerank is {rerank}; put 0 to {MAX_RERANK} of the first hits into a new order")
    if rerank and expand:
        raise QueryError("expand and rerank both find more of what the first hits are; choose one of them")


def check_per(per: str) -> None:
    """Check that `per` is one of `PER`.

    Raises:
        QueryError: it is not.
    """
    if per not in PER:
        raise QueryError(f"hits per {per!r} are not known; choose {', '.join(PER)}")


def _find_examples(reader: Reader, pairs: Sequence[Pair], goal: str | None) -> list[Pair]:
    """Name the individuals that examples mean; a specimen with several photographs is as many examples."""
    return [(meant, trait) for name, trait in pairs for meant in reader.examples(name, goal or trait)]


def _owners(reader: Reader, individuals: Sequence[str], per: str) -> frozenset[str]:
    """Name the specimens (photographs, individuals) that some individuals are of."""
    if per == "individual" or reader.catalog.plain:
        return frozenset(individuals)
    found = [reader.catalog.names(name) or (name, name) for name in individuals]
    return frozenset(specimen if per == "specimen" else photograph for photograph, specimen in found)


def as_pairs(given: Pair | Sequence[Pair]) -> list[Pair]:
    """Return one (specimen, trait), or several, as a list.

    Raises:
        QueryError: it is neither; the name of a specimen alone, say.

    >>> as_pairs(("CAM001", "wing"))
    [('CAM001', 'wing')]
    >>> as_pairs([("CAM001", "wing"), ("CAM002", "wing")])
    [('CAM001', 'wing'), ('CAM002', 'wing')]
    """
    several: list[Any] | None = None if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if several is not None and len(several) == 2 and all(isinstance(part, str) for part in several):
        several = [several]
    pairs = [() if isinstance(each, str) or not isinstance(each, Iterable) else tuple(each) for each in several or ()]
    if several is None or not all(len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in pairs):
        raise QueryError(
            f"{given!r} is no example; give (specimen, trait), such as ('CAM001', 'wing'), or a list of such pairs"
        )
    return [(str(specimen), str(trait)) for specimen, trait in pairs]


def weigh_examples(
    like: Sequence[tuple[str, Floats]], unlike: Sequence[tuple[str, Floats]]
) -> dict[str, list[QueryExample]]:
    """Weigh examples: every trait alike, and every example of a trait alike.

    Args:
        like: (trait, vectors float32 (M, D)) of every example that hits should resemble; M variants of its pose.
        unlike: the same of those that they should not resemble.

    Returns:
        Trait -> its examples. The weights of all of `like` add up to 1, those of `unlike` to -`UNLIKE_WEIGHT`.
    """
    traits: dict[str, list[QueryExample]] = {}
    for examples, total in ((like, 1.0), (unlike, -UNLIKE_WEIGHT)):
        names = [trait for trait, _ in examples]
        for trait, vectors in examples:
            weight = total / len(set(names)) / names.count(trait)
            traits.setdefault(trait, []).append(QueryExample(vectors, weight))
    return traits


def expand_query(query: Query, hits: Sequence[Hit], vectors: Mapping[str, VectorIndex]) -> Query:
    """Expand a query by its first hits, as further examples of what is liked (alpha query expansion).

    Args:
        query: the query.
        hits: its first hits.
        vectors: trait -> its vectors.

    Returns:
        The query in which every trait that is liked has the hits' regions beside its examples, each weighed by its
        similarity (see `ALPHA`); all that is liked of a trait has the same total weight as before.
    """
    traits = {}
    for trait, examples in query.traits.items():
        total = sum(each.weight for each in examples if each.weight > 0)
        regions = [part.region_id for hit in hits for part in (hit.parts or (hit,)) if part.trait == trait]
        votes = weigh_hits([hit.similarity for hit in hits]).tolist() if total else []
        scale = 1 / (1 + sum(votes))
        own = [replace(each, weight=each.weight * scale) if each.weight > 0 else each for each in examples]
        for number, vote in zip(regions, votes, strict=False):
            own.append(QueryExample(vectors[trait].reconstruct(np.array([number])), total * vote * scale))
        traits[trait] = own
    return replace(query, traits=traits)


def weigh_hits(similarities: Sequence[float] | npt.NDArray[np.floating[Any]]) -> Doubles:
    """Weigh the first hits of a query as further examples, beside a weight of 1 of the query itself (see `ALPHA`).

    Args:
        similarities: of the hits, the best first.

    Returns:
        float64 (n,), 0..1; all 0 if not even the best is similar.

    >>> weigh_hits([0.4, 0.2, -0.1]).tolist() == [1, 0.5**6, 0]
    True
    """
    found = np.clip(np.asarray(similarities, np.float64), 0, None)
    return found if not found.any() else (found / found[0]) ** ALPHA


def _stored_example(reader: Reader, specimen: str, trait: str, *, goal: str | None) -> tuple[str, Floats]:
    """Return the trait that an example is compared with, and its vector there, float32 (1, D)."""
    goal = reader.require_trait(trait if goal is None else goal)
    number = reader.find_shown(specimen, reader.require_trait(trait))
    if number is None:
        raise QueryError(f"{trait} was not found on {specimen}; look at its mask, or ask with another specimen")
    if goal == trait:
        return goal, reader.vector_indexes[trait].reconstruct(np.array([number]))
    return goal, reader.whitenings[goal].apply(reader.unwhitened_vectors(trait, np.array([number])))


def _whiten_external(reader: Reader, vectors: Floats, trait: str) -> Floats:
    """Whiten vectors from another photograph as those of a trait are: float32 (M, D)."""
    queries = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
    dim = sum(reader.blocks.values())
    if queries.ndim != 2 or not len(queries) or queries.shape[1] != dim or not np.isfinite(queries).all():
        raise QueryError(
            f"the query vectors have shape {queries.shape}; this index wants (M, {dim}) finite numbers, "
            f"{dict(reader.blocks)}, made with its own settings"
        )
    return reader.whitenings[trait].apply(queries)
