"""Room 6a: the forms of a question, and its exact answer.

1. Examples of one trait are averaged; what a hit should be unlike is subtracted, at half its weight.
2. Examples of several traits ask for specimens: each trait is scored by itself, and the mean of the traits ranks.
3. A specimen that was asked with is no answer. Rejected masks are none either.
4. If it is wanted, the question is asked again together with its first answers (query expansion).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.query_vectors import Example
from sst_retrieval.index.vectors import VectorIndex
from sst_retrieval.types import Doubles, Floats, Hit

Pair: TypeAlias = tuple[str, str]
"""(specimen, trait)."""

AWAY = 0.5
"""What being unlike counts against being like: at 1, the first hits are odd rather than similar."""

ALPHA = 3
"""A first answer joins the question with its similarity to this power: what is hardly similar hardly counts.

Radenovic, Tolias and Chum 2018 (arXiv 1711.02512), whose value this is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, understood.

    Attributes:
        traits: trait -> what its regions are compared with.
        out: specimens that are no answer.
        k: how many hits are wanted.
        where: predicate that the region of every trait must satisfy; None if all may answer.
        among: int64 (n,), the only regions that may answer; None if all may.
        weights: block -> weight, in the order of the blocks; of sum 1.
    """

    traits: Mapping[str, Sequence[Example]]
    out: frozenset[str]
    k: int
    where: str | None
    weights: Mapping[str, float]
    among: npt.NDArray[np.int64] | None = None

    @property
    def shares(self) -> Doubles:
        """The weights as float64 (B,)."""
        return np.array(list(self.weights.values()), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Row:
    """One answer, before anybody says whose it is.

    Attributes:
        regions: region ids, one a trait, in the order of the question's traits.
        score: what ranks it.
        cosines: float64 (T, B), what each block of each trait adds to it, before it is weighed.
    """

    regions: tuple[int, ...]
    score: float
    cosines: Doubles


def pairs(given: Pair | Sequence[Pair]) -> list[Pair]:
    """Take one (specimen, trait), or several.

    >>> pairs(("CAM001", "wing"))
    [('CAM001', 'wing')]
    >>> pairs([("CAM001", "wing"), ("CAM002", "wing")])
    [('CAM001', 'wing'), ('CAM002', 'wing')]
    """
    if len(given) == 2 and all(isinstance(part, str) for part in given):
        return [(str(given[0]), str(given[1]))]
    return [(specimen, trait) for specimen, trait in cast("Sequence[Pair]", given)]


def shared(like: Sequence[tuple[str, Floats]], unlike: Sequence[tuple[str, Floats]]) -> dict[str, list[Example]]:
    """Say what each example counts: every trait alike, and every example of a trait alike.

    Args:
        like: (trait, its readings, float32 (M, D)) of every example that hits should resemble.
        unlike: the same of those that they should not resemble.

    Returns:
        Trait -> its examples. The shares of all that is liked add up to 1, those of the rest to -`AWAY`.
    """
    traits: dict[str, list[Example]] = {}
    for examples, total in ((like, 1.0), (unlike, -AWAY)):
        names = [trait for trait, _ in examples]
        for trait, readings in examples:
            share = total / len(set(names)) / names.count(trait)
            traits.setdefault(trait, []).append(Example(readings, share))
    return traits


def answer(asked: Asked, catalog: Catalog, vectors: Mapping[str, VectorIndex]) -> list[Row]:
    """Find the best rows, exactly: all that could become hits, the most similar first.

    Args:
        asked: the question.
        catalog: whom regions belong to.
        vectors: trait -> its vectors.
    """
    if len(asked.traits) > 1:
        return _specimens(asked, catalog, vectors)
    ((trait, examples),) = asked.traits.items()
    # Rejected regions are no hits: resolving leaves them out.
    everywhere = asked.where is None and asked.among is None and not len(catalog.region_reviews.hidden_ids)
    ids = None if everywhere else catalog.resolve("true" if asked.where is None else asked.where, trait)
    if ids is not None and asked.among is not None:
        ids = np.intersect1d(ids, asked.among)
    # Some more, for the specimens that were asked with and are left out.
    found = vectors[trait].search(examples, asked.k + len(asked.out), weights=asked.shares, ids=ids)
    return [
        Row((number,), float(score), cosines[None])
        for number, score, cosines in zip(found.ids.tolist(), found.scores, found.cosines, strict=True)
    ]


def joined_by(asked: Asked, hits: Sequence[Hit], vectors: Mapping[str, VectorIndex]) -> Asked:
    """Let hits join a question, as further examples of what is liked.

    Args:
        asked: the question.
        hits: its first answers.
        vectors: trait -> its vectors.

    Returns:
        The question in which every trait that is liked has the hits' regions beside its examples, each counting by its
        similarity (see `ALPHA`); all that is liked of a trait counts together what it did before.
    """
    traits = {}
    for trait, examples in asked.traits.items():
        total = sum(each.share for each in examples if each.share > 0)
        regions = [part.region_id for hit in hits for part in (hit.parts or (hit,)) if part.trait == trait]
        votes = [hit.similarity**ALPHA for hit in hits] if total else []
        scale = 1 / (1 + sum(votes))
        own = [replace(each, share=each.share * scale) if each.share > 0 else each for each in examples]
        for number, vote in zip(regions, votes, strict=False):
            own.append(Example(vectors[trait].reconstruct(np.array([number])), total * vote * scale))
        traits[trait] = own
    return replace(asked, traits=traits)


def hits_of(rows: Sequence[Row], asked: Asked, catalog: Catalog, masks: Any) -> list[Hit]:
    """Say whose the rows are, and leave out the specimens that were asked with.

    Args:
        rows: what `answer` found.
        asked: the question.
        catalog: whom regions belong to.
        masks: region id -> its mask; goes into the hits.

    Returns:
        At most k hits; one of several traits holds one of each trait in `parts`.
    """
    owners = catalog.owners([number for row in rows for number in row.regions])
    kept = [row for row in rows if owners[row.regions[0]][0] not in asked.out][: asked.k]
    liked = {trait: sum(each.share for each in own if each.share > 0) or 1.0 for trait, own in asked.traits.items()}
    hits = []
    for rank, row in enumerate(kept, start=1):
        # A part tells its cosines as if its trait alone had been asked for.
        parts = [
            _hit(rank, trait, number, cosines / liked[trait], asked, owners, masks)
            for trait, number, cosines in zip(asked.traits, row.regions, row.cosines, strict=True)
        ]
        whole = _hit(rank, parts[0].trait, row.regions[0], row.cosines.sum(axis=0), asked, owners, masks)
        hits.append(whole if len(parts) == 1 else replace(whole, parts=tuple(parts)))
    return hits


def _specimens(asked: Asked, catalog: Catalog, vectors: Mapping[str, VectorIndex]) -> list[Row]:
    """Rank the specimens that show every trait that is asked for."""
    where = "true" if asked.where is None else asked.where
    regions = {trait: catalog.resolve_by_specimen(where, trait) for trait in asked.traits}
    if asked.among is not None:
        among = set(asked.among.tolist())
        regions = {trait: {name: n for name, n in own.items() if n in among} for trait, own in regions.items()}
    names = sorted(set.intersection(*(set(own) for own in regions.values())))
    ids = {trait: np.array([own[name] for name in names], dtype=np.int64) for trait, own in regions.items()}
    found = [vectors[trait].scores(own, ids[trait], weights=asked.shares) for trait, own in asked.traits.items()]
    total = np.round(np.sum([scores for scores, _ in found], axis=0), 9)
    best = np.argsort(-total, kind="stable")[: asked.k + len(asked.out)]
    return [
        Row(tuple(int(own[at]) for own in ids.values()), float(total[at]), np.stack([one[at] for _, one in found]))
        for at in best
    ]


def _hit(
    rank: int, trait: str, number: int, cosines: Doubles, asked: Asked, owners: Mapping[int, Any], masks: Any
) -> Hit:
    specimen, confidence, metadata = owners[number]
    similarity = float(np.clip(np.round(cosines @ asked.shares, 9), 0, 1))
    blocks = dict(zip(asked.weights, np.clip(cosines, -1, 1).tolist(), strict=True))
    return Hit(rank, specimen, trait, similarity, blocks, confidence, metadata, number, _masks=masks)
