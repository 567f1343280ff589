"""Fragments of one individual: pieces that are it only together.

1. A butterfly whose wings were cut off and laid apart: together the pieces have more of what the annotated individual
   has (`find.appearance.compare_parts`) than each by itself. Two animals side by side do not, for one already has all,
   and both together are seen at another size.
2. A beetle that its label or its pin cuts in two: together the pieces have the annotated individual's shape
   (`find.splitting.fit_template`) as well as the best of them. Two animals side by side do not.
3. A beetle whose head lies apart: together the pieces are more of the annotated individual's kind than each by itself
   (`find.appearance.compare_kinds`). Two animals side by side are less.
4. A small piece beside an animal, which hardly has any part itself, is its leg; one that has some is its head, if it is
   less of the kind, and both together are no less of it than the animal.

Of pairs of whole animals in the wild both together have at most 0.025 more likeness of parts than one, and fit by 0.74
at most; of cut wings all together have 0.04 to 0.2 more, and fragments of pinned beetles fit together by 0.79 to 0.81.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import ndimage

from sst_retrieval.find.appearance import Look, compare_kinds, compare_parts
from sst_retrieval.find.proposals import Proposal
from sst_retrieval.find.splitting import fit_template
from sst_retrieval.find.templates import Template
from sst_retrieval.imaging.masks import resize_mask

LEAST_GAIN = 0.03
"""By how much more likeness of parts several pieces are one."""

LEAST_FIT, LESS_FIT, LESS_PARTS = 0.75, 0.05, 0.02
"""Pieces are one, too, if together they fit so well, by so much less than the best of them at most, and have so much
less likeness of parts at most."""

LEAST_KIND = 0.09
"""Pieces are one, too, if together they have so much more likeness of kind, and hardly less of parts. Of 106
pairs of whole beetles and butterflies none has more than 0.08, of 40 in the wild neither; of fragments half have."""

LEAST_SHARE = 0.15
"""Neither their shape nor their kind says anything if one of them is smaller than this share of the other."""

LEAST_SCORE = 0.1
"""Pieces with a lower score are left alone."""

MOST_ON_BOARD, MOST_ELSEWHERE = 8, 3
"""Where more pieces are individuals, it is a crowd, and none is taken for a fragment of a body; of animals that lie on
each other in the wild two would be joined."""

MOST_PIECES = 12
"""So many pieces are compared, the surest."""

APART, TOUCHING = 0.5, 0.1
"""How far apart fragments lie at most, as a share of the larger one's square root of the area: on a board, where
somebody may have laid them out, and elsewhere."""

LEG_AREA, LEG_PARTS, LEG_KIND = 0.2, 0.07, 0.1
"""A leg covers at most this share of its animal's area, has by so much less likeness of parts and of kind, and touches
it."""

HEAD_PARTS = 0.04
"""By so much less likeness of parts a piece may be a head or antlers. Set on three heads of deer."""

FIT_SIDE = 300
"""Longer edge, in pixels, of the copy on which shapes are compared."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A piece and what is thought of it.

    Attributes:
        proposal: the piece.
        look: what it looks like.
        score: how sure it is that it is an individual, 0..1.
    """

    proposal: Proposal
    look: Look
    score: float


class FragmentJoiner:
    """Joins the pieces of one photograph that are one individual."""

    def __init__(
        self,
        known: Sequence[Look],
        templates: Sequence[Template],
        judge: Callable[[Proposal], Judged],
        found: float,
        *,
        on_board: bool,
    ) -> None:
        """Take what the annotated individuals are like.

        Args:
            known: what they look like.
            templates: their shapes.
            judge: judges a piece of the photograph.
            found: the score from which on a piece is an individual.
            on_board: whether the photograph is of a plain board, on which fragments may lie apart.
        """
        self._reach, self._most = (APART, MOST_ON_BOARD) if on_board else (TOUCHING, MOST_ELSEWHERE)
        self._known, self._templates, self._judge, self._found = known, templates, judge, found
        self._parts: dict[int, float] = {}
        self._fits: dict[int, float] = {}
        self._near: dict[tuple[int, int], bool] = {}
        self._unions: dict[tuple[int, ...], Judged] = {}
        self._pieces: list[Judged] = []

    def join(self, pieces: Sequence[Judged]) -> list[Judged]:
        """Join pieces that do not overlap; the surest first."""
        ordered = sorted(pieces, key=lambda each: -each.score)
        crowd = sum(each.score >= self._found for each in pieces) > self._most
        likely = [each for each in ordered if each.score >= LEAST_SCORE][:MOST_PIECES]
        rest = [each for each in ordered if all(each is not other for other in likely)]
        while not crowd and (best := self._find_best(likely)) is not None:
            fragments, union = best
            score = max(union.score, *(each.score for each in fragments))
            likely = [each for each in likely if all(each is not other for other in fragments)]
            likely.append(self._keep(Judged(union.proposal, union.look, score)))
        likely = self._join_legs(likely)
        return sorted([*likely, *rest], key=lambda each: -each.score)

    def _find_best(self, pieces: Sequence[Judged]) -> tuple[tuple[Judged, ...], Judged] | None:
        """Find the pieces that gain most together: two that are near each other, or all that are."""
        best: tuple[float, tuple[Judged, ...], Judged] | None = None
        near = [pair for pair in combinations(pieces, 2) if self._are_near(*pair)]
        # Two doubtful pieces beside an animal are rather its legs than another.
        least = LEG_AREA * max((each.proposal.area for each in pieces if each.score >= self._found), default=0)
        for fragments in [*near, *_connect(pieces, near)]:
            union = self._unite(fragments)
            if max(each.score for each in fragments) < self._found and union.proposal.area < least:
                continue
            gain = self._measure_parts(union) - max(self._measure_parts(each) for each in fragments)
            touching = len(fragments) == 2 and gain >= -LESS_PARTS and _touch(*fragments)
            shaped = touching and self._is_shaped(fragments, union)
            kin = touching and self._is_kin(fragments, union)
            rank = gain + LEAST_GAIN if shaped else gain
            if (gain >= LEAST_GAIN or shaped or kin) and (best is None or rank > best[0]):
                best = rank, fragments, union
        return None if best is None else best[1:]

    def _is_shaped(self, fragments: Sequence[Judged], union: Judged) -> bool:
        fit = self._measure_fit(union)
        return fit >= LEAST_FIT and fit >= max(self._measure_fit(each) for each in fragments) - LESS_FIT

    def _is_kin(self, fragments: Sequence[Judged], union: Judged) -> bool:
        together, *apart = (compare_kinds(self._known, each.look) for each in (union, *fragments))
        return together >= max(apart) + LEAST_KIND

    def _join_legs(self, pieces: Sequence[Judged]) -> list[Judged]:
        kept = list(pieces)
        for each in sorted(pieces, key=lambda each: each.proposal.area):
            animal = next((other for other in kept if other is not each and self._is_leg(each, other)), None)
            if animal is not None:
                union = self._unite((animal, each))
                whole = self._keep(Judged(union.proposal, union.look, animal.score))
                kept = [whole if other is animal else other for other in kept if other is not each]
        return kept

    def _is_leg(self, each: Judged, animal: Judged) -> bool:
        if each.proposal.area > LEG_AREA * animal.proposal.area or each.score >= animal.score:
            return False
        less = self._measure_parts(animal) - self._measure_parts(each)
        kind, other = (compare_kinds(self._known, one.look) for one in (each, animal))
        if less < HEAD_PARTS or kind > other - LEG_KIND:
            return False
        if measure_gap(animal.proposal, each.proposal, TOUCHING * animal.proposal.area**0.5) is None:
            return False
        return less >= LEG_PARTS or compare_kinds(self._known, self._unite((animal, each)).look) >= other

    def _are_near(self, one: Judged, other: Judged) -> bool:
        key = id(self._keep(one)), id(self._keep(other))
        if key not in self._near:
            larger = max(one.proposal.area, other.proposal.area)
            self._near[key] = measure_gap(one.proposal, other.proposal, self._reach * larger**0.5) is not None
        return self._near[key]

    def _unite(self, fragments: Sequence[Judged]) -> Judged:
        key = tuple(sorted(id(self._keep(each)) for each in fragments))
        if key not in self._unions:
            self._unions[key] = self._keep(self._judge(unite([each.proposal for each in fragments])))
        return self._unions[key]

    def _keep(self, each: Judged) -> Judged:
        """Keep a piece for as long as this lives: it is known by its address."""
        if all(each is not other for other in self._pieces):
            self._pieces.append(each)
        return each

    def _measure_parts(self, each: Judged) -> float:
        key = id(self._keep(each))
        if key not in self._parts:
            self._parts[key] = compare_parts(self._known, each.look)
        return self._parts[key]

    def _measure_fit(self, each: Judged) -> float:
        key = id(self._keep(each))
        if key not in self._fits:
            mask = resize_mask(each.proposal.mask, _fit_into(each.proposal.mask.shape, FIT_SIDE))
            padded = np.pad(mask, 8)
            self._fits[key] = max(fit_template(padded, template)[1] for template in self._templates)
        return self._fits[key]


def _touch(one: Judged, other: Judged) -> bool:
    """Return whether two pieces touch, and none is so small that it changes the other little."""
    areas = one.proposal.area, other.proposal.area
    near = measure_gap(one.proposal, other.proposal, TOUCHING * max(areas) ** 0.5) is not None
    return near and min(areas) >= LEAST_SHARE * max(areas)


def _connect(pieces: Sequence[Judged], near: Sequence[tuple[Judged, Judged]]) -> list[tuple[Judged, ...]]:
    """List the sets of more than two pieces that hang together by nearness."""
    groups = [[each] for each in pieces]
    for pair in near:
        joined = [group for group in groups if any(each is one for each in group for one in pair)]
        groups = [group for group in groups if all(group is not other for other in joined)]
        groups.append([each for group in joined for each in group])
    return [tuple(group) for group in groups if len(group) > 2]


def unite(pieces: Sequence[Proposal]) -> Proposal:
    """Unite pieces; together they have the votes and the surroundings of the one with most votes."""
    x0, y0 = min(each.box[0] for each in pieces), min(each.box[1] for each in pieces)
    x1, y1 = max(each.box[2] for each in pieces), max(each.box[3] for each in pieces)
    mask = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for each in pieces:
        left, top, right, bottom = each.box
        mask[top - y0 : bottom - y0, left - x0 : right - x0] |= each.mask
    best = max(pieces, key=lambda each: each.votes)
    return Proposal((x0, y0, x1, y1), mask, best.votes, best.around)


def measure_gap(one: Proposal, other: Proposal, most: float) -> float | None:
    """Measure how far apart two pieces are.

    Args:
        one: a piece.
        other: another piece of the same photograph.
        most: the largest distance that counts, in pixels.

    Returns:
        The distance of their nearest pixels; None if it is larger than `most`.
    """
    gaps = [max(one.box[axis], other.box[axis]) - min(one.box[axis + 2], other.box[axis + 2]) for axis in (0, 1)]
    if max(gaps) > most:
        return None
    rim = int(most) + 1
    x0, y0 = one.box[0] - rim, one.box[1] - rim
    x1, y1 = one.box[2] + rim, one.box[3] + rim
    away = ndimage.distance_transform_edt(~np.pad(one.mask, rim))
    left, top = max(other.box[0], x0), max(other.box[1], y0)
    right, bottom = min(other.box[2], x1), min(other.box[3], y1)
    part = other.mask[top - other.box[1] : bottom - other.box[1], left - other.box[0] : right - other.box[0]]
    if not part.any():
        return None
    gap = float(away[top - y0 : bottom - y0, left - x0 : right - x0][part].min())
    return gap if gap <= most else None


def _fit_into(size: tuple[int, ...], side: int) -> tuple[int, int]:
    factor = min(1.0, side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
