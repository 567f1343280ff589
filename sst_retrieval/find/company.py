"""What the things on one photograph say of each other, where there are a few of them.

1. Two pieces that are unlike each other, such as the head and the hindquarters of a tiger, are one individual, if a
   proposal holds them together. Two animals of one kind look like each other, even in other poses, and each half of
   an animal like nothing but itself.
2. A piece that looks like the surest one is rather an individual, too, and one that does not is rather none.
3. A piece is two individuals, if many proposals show two halves of it that look like each other (`split_alike`).

How alike two pieces are is the likeness of parts, of each to the other (`find.appearance.compare_parts`): the annotated
individuals are not asked, so that this helps where they look otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

from sst_retrieval.find.appearance import Look, compare_kinds, compare_parts
from sst_retrieval.find.fragments import MOST_PIECES, Judged
from sst_retrieval.find.overlaps import count_shared
from sst_retrieval.find.proposals import Proposal

LEAST_SCORE = 0.1
"""Pieces with a lower score are no company."""

ALIKE = 0.48
"""Likeness from which on two pieces may be two individuals. Halves and fragments of wild animals are alike by
0.29 to 0.47, two individuals by 0.49 and more; chosen on half of the photographs, where 0.44 to 0.51 would do for the
other half."""

HALF_SCORE = 0.3
"""Two halves, and the whole, have at least this score: what is left of a shadow is not joined to an animal."""

APART = 0.15
"""Two halves share at most this part of the smaller one."""

HELD, FILLED = 0.85, 0.75
"""The whole holds at least this share of each half, and both fill at least that share of it."""

COVERED = 0.7
"""What lies in a new whole by more than this share is a part of it."""

TWO_LIKENESS, KIND_SHARE = 0.8, 0.3
"""Likeness from which on two halves are two individuals, and how much the likeness of kinds adds to it: halves of one
animal have 0.77 at most, pairs of deer 0.6 to 0.88: few are split, and none wrongly."""

MANY_VOTES, LEAST_VOTES = 7.4, 2.2
"""How many proposals show halves that are two individuals at least: the geometric mean of both, and each."""

HALF_AREAS, HALVES_AREA, HALVES_SHARED = (0.12, 0.85), 0.6, 0.1
"""Share of a thing that such a half covers, and that both cover at least; their overlap at most, of the smaller one."""

USUAL_LIKENESS, LIKENESS_WEIGHT = 0.45, 20.0
"""Likeness to the surest piece that says nothing, and how much a likeness changes the logarithm of the odds."""


def are_few(pieces: Sequence[Judged]) -> bool:
    """Return whether a photograph shows so few pieces that each is compared with the others: no crowd."""
    return sum(each.score >= LEAST_SCORE for each in pieces) <= MOST_PIECES


def measure_likeness(one: Look, other: Look) -> float:
    """Measure how alike two pieces are, -1..1: how much of the parts of each the other has, the lower of both."""
    return min(compare_parts([one], other), compare_parts([other], one))


def join_halves(pieces: Sequence[Judged], proposals: Sequence[Judged]) -> list[Judged]:
    """Join pairs of pieces that are unlike each other, and that a proposal holds together.

    Args:
        pieces: the best of the proposals, hardly overlapping.
        proposals: all of them.

    Returns:
        The pieces, the surest first; a pair is replaced by the proposal that holds it, as sure as the surest of the
        three.
    """
    kept = list(pieces)
    while True:
        best: tuple[Judged, float] | None = None
        for one, other in combinations([each for each in kept if each.score >= HALF_SCORE], 2):
            if not _are_halves(one, other):
                continue
            for whole in proposals:
                if whole.score >= max(HALF_SCORE, best[0].score if best else 0) and _holds(whole, one, other):
                    best = whole, max(whole.score, one.score, other.score)
        if best is None:
            return sorted(kept, key=lambda each: -each.score)
        whole = best[0]
        rest = [each for each in kept if _share(whole, each) <= COVERED * each.proposal.area]
        kept = [*rest, replace(whole, score=best[1])]


def split_alike(thing: Proposal, proposals: Sequence[Proposal], look_at: Callable[[Proposal], Look]) -> list[Proposal]:
    """Split a thing into the individuals that it is, if halves of it look like each other.

    Args:
        thing: a connected piece of a foreground.
        proposals: pieces of the photograph, with their votes.
        look_at: computes what a piece looks like.

    Returns:
        The individuals; the thing itself, if it is one.
    """
    least, most = (share * thing.area for share in HALF_AREAS)
    parts = [
        each
        for each in proposals
        if each.votes >= LEAST_VOTES and least < each.area < most and _share_pixels(thing, each) >= HELD * each.area
    ]
    best: tuple[float, Proposal, Proposal] | None = None
    looks: dict[int, Look] = {}
    for one, other in combinations(parts, 2):
        many = one.votes * other.votes >= MANY_VOTES**2 and one.area + other.area >= HALVES_AREA * thing.area
        if not many or _share_pixels(one, other) > HALVES_SHARED * min(one.area, other.area):
            continue
        for each in (one, other):
            if id(each) not in looks:
                looks[id(each)] = look_at(each)
        first, second = looks[id(one)], looks[id(other)]
        likeness = measure_likeness(first, second) + KIND_SHARE * compare_kinds([first], second)
        if likeness >= TWO_LIKENESS and (best is None or likeness > best[0]):
            best = likeness, one, other
    if best is None:
        return [thing]
    return [each for half in best[1:] for each in split_alike(half, proposals, look_at)]


def weigh_by_likeness(pieces: Sequence[Judged]) -> list[Judged]:
    """Weigh the scores of pieces by how alike they are to the surest one.

    None becomes surer than it, and what overlaps it no surer at all: the same pixels look alike.

    Returns:
        The pieces, the surest first.
    """
    if not pieces:
        return []
    surest, *others = sorted(pieces, key=lambda each: -each.score)
    weighed = [surest]
    for each in others:
        more = LIKENESS_WEIGHT * (measure_likeness(surest.look, each.look) - USUAL_LIKENESS)
        if _share(surest, each) >= APART * each.proposal.area:
            more = min(more, 0.0)
        weighed.append(replace(each, score=min(surest.score, shift_odds(each.score, more))))
    return sorted(weighed, key=lambda each: -each.score)


def shift_odds(score: float, more: float) -> float:
    """Add to the logarithm of the odds of a score, 0..1."""
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    return 1 / (1 + math.exp(-(math.log(bounded / (1 - bounded)) + more)))


def _are_halves(one: Judged, other: Judged) -> bool:
    smaller = min(one.proposal.area, other.proposal.area)
    return _share(one, other) < APART * smaller and measure_likeness(one.look, other.look) < ALIKE


def _holds(whole: Judged, one: Judged, other: Judged) -> bool:
    if whole.proposal is one.proposal or whole.proposal is other.proposal:
        return False
    areas = one.proposal.area, other.proposal.area
    shares = [_share(whole, each) for each in (one, other)]
    held = all(share >= HELD * area for share, area in zip(shares, areas, strict=True))
    return held and sum(shares) >= FILLED * whole.proposal.area


def _share(one: Judged, other: Judged) -> int:
    return _share_pixels(one.proposal, other.proposal)


def _share_pixels(one: Proposal, other: Proposal) -> int:
    """Count the pixels that two pieces share."""
    return count_shared((one.box, one.mask), (other.box, other.mask))
