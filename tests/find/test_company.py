"""A few things on one photograph: halves that are unlike are one, and what looks like the surest counts more."""

from __future__ import annotations

import numpy as np
import pytest

from sst_retrieval.find.appearance import Look
from sst_retrieval.find.company import are_few, join_halves, measure_likeness, split_alike, weigh_by_likeness
from sst_retrieval.find.fragments import MOST_PIECES, Judged
from sst_retrieval.find.proposals import Proposal
from sst_retrieval.types import Box

HEAD, LEGS, BODY = range(3)


def _look(*parts: int) -> Look:
    """Make a look that has some parts; two looks are alike by the share of parts that both have."""
    kind = np.zeros(3, np.float32)
    kind[list(parts)] = 1
    return Look(kind / np.linalg.norm(kind), np.eye(3, dtype=np.float32)[list(parts)])


def _piece(box: Box, look: Look, score: float = 0.8, votes: float = 1.0) -> Judged:
    x0, y0, x1, y1 = box
    return Judged(Proposal(box, np.ones((y1 - y0, x1 - x0), dtype=bool), votes), look, score)


FRONT = _piece((0, 0, 50, 40), _look(HEAD), 0.9)
BACK = _piece((50, 0, 100, 40), _look(LEGS), 0.7)
WHOLE = _piece((0, 0, 100, 40), _look(HEAD, LEGS), 0.6)


def test_likeness_is_that_of_the_one_that_has_less_of_the_other() -> None:
    assert measure_likeness(_look(HEAD), _look(HEAD, LEGS)) == pytest.approx(0.5)
    assert measure_likeness(_look(HEAD, LEGS), _look(HEAD)) == pytest.approx(0.5)
    assert measure_likeness(_look(HEAD), _look(HEAD)) == pytest.approx(1)


def test_two_unlike_halves_are_the_whole_that_holds_them_as_sure_as_the_surer_half() -> None:
    beside = _piece((200, 0, 240, 40), _look(BODY), 0.2)
    first, second = join_halves([FRONT, BACK, beside], [FRONT, BACK, WHOLE, beside])
    assert first.proposal is WHOLE.proposal
    assert first.score == 0.9
    assert second is beside


def test_what_lies_in_the_new_whole_is_a_part_of_it() -> None:
    scrap = _piece((45, 0, 55, 30), _look(BODY), 0.2)
    (joined,) = join_halves([FRONT, BACK, scrap], [FRONT, BACK, scrap, WHOLE])
    assert joined.proposal is WHOLE.proposal


@pytest.mark.parametrize(
    ("back", "whole"),
    [
        (_piece((50, 0, 100, 40), _look(HEAD), 0.7), WHOLE),
        (BACK, _piece((0, 0, 100, 40), _look(HEAD, LEGS), 0.1)),
        (BACK, _piece((0, 0, 60, 40), _look(HEAD, LEGS), 0.9)),
        (BACK, _piece((0, 0, 100, 90), _look(HEAD, LEGS), 0.9)),
        (_piece((50, 0, 100, 40), _look(LEGS), 0.2), WHOLE),
        (_piece((40, 0, 100, 40), _look(LEGS), 0.7), WHOLE),
    ],
    ids=["alike: two animals", "the whole is none", "not held", "much else", "a shadow", "they overlap"],
)
def test_other_pairs_stay_two(back: Judged, whole: Judged) -> None:
    assert join_halves([FRONT, back], [FRONT, back, whole]) == [FRONT, back]


def test_what_looks_like_the_surest_counts_more_and_what_does_not_less() -> None:
    surest = _piece((0, 0, 40, 40), _look(HEAD, LEGS), 0.9)
    alike = _piece((50, 0, 90, 40), _look(HEAD, LEGS), 0.4)
    unlike = _piece((100, 0, 140, 40), _look(BODY), 0.6)
    weighed = weigh_by_likeness([unlike, surest, alike])
    assert [each.proposal for each in weighed] == [surest.proposal, alike.proposal, unlike.proposal]
    assert weighed[0].score == 0.9
    assert 0.5 < weighed[1].score <= 0.9, "none is surer than the surest"
    assert weighed[2].score < 0.01


def test_a_part_of_the_surest_is_no_surer_for_looking_like_it() -> None:
    surest = _piece((0, 0, 100, 40), _look(HEAD, LEGS), 0.9)
    leg = _piece((80, 0, 100, 60), _look(HEAD, LEGS), 0.4)
    other = _piece((80, 10, 100, 60), _look(BODY), 0.4)
    assert weigh_by_likeness([surest, leg]) == [surest, leg]
    assert weigh_by_likeness([surest, other])[1].score < 0.4


def test_one_alone_and_none_stay_as_they_are() -> None:
    assert weigh_by_likeness([FRONT]) == [FRONT]
    assert weigh_by_likeness([]) == []
    assert join_halves([], []) == []


def test_a_crowd_is_no_company() -> None:
    assert are_few([FRONT] * MOST_PIECES + [_piece((0, 0, 5, 5), _look(HEAD), 0.05)])
    assert not are_few([FRONT] * (MOST_PIECES + 1))


@pytest.mark.parametrize(
    ("look", "votes", "count"),
    [(_look(HEAD, LEGS), 9.0, 2), (_look(BODY), 9.0, 1), (_look(HEAD, LEGS), 3.0, 1)],
    ids=["alike", "unlike", "alike by chance: few proposals show it"],
)
def test_a_thing_whose_halves_are_alike_is_two(look: Look, votes: float, count: int) -> None:
    thing = Proposal((0, 0, 100, 40), np.ones((40, 100), dtype=bool))
    left = _piece((0, 0, 48, 40), _look(HEAD, LEGS), votes=9.0)
    right = _piece((52, 0, 100, 40), look, votes=votes)
    looks = {id(each.proposal): each.look for each in (left, right)}
    found = split_alike(thing, [left.proposal, right.proposal], lambda each: looks[id(each)])
    assert found == ([left.proposal, right.proposal] if count == 2 else [thing])


def test_four_alike_are_four() -> None:
    look = _look(HEAD, LEGS)
    quarters = [Proposal((x, 0, x + 25, 40), np.ones((40, 25), dtype=bool), 9.0) for x in (0, 25, 50, 75)]
    halves = [Proposal((x, 0, x + 50, 40), np.ones((40, 50), dtype=bool), 9.0) for x in (0, 50)]
    thing = Proposal((0, 0, 100, 40), np.ones((40, 100), dtype=bool))
    assert split_alike(thing, [*halves, *quarters], lambda _: look) == quarters
