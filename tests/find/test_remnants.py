"""Strips that a split cut off round things are given back to them; what may be another individual is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from test_dense_finder import disks, support_of
from test_finder_contract import PaperForeground

from sst_retrieval.find.appearance import Look
from sst_retrieval.find.contract import FOUND
from sst_retrieval.find.dense import DenseFinder
from sst_retrieval.find.fragments import Judged
from sst_retrieval.find.proposals import Proposal, collect_pieces
from sst_retrieval.find.remnants import return_remnants
from sst_retrieval.imaging.masks import iou
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Mask

SIZE = (180, 240)


def caps(places: Sequence[tuple[int, int, int]]) -> list[Mask]:
    return list(disks(list(places), SIZE)[1])


def cut_out(masks: Sequence[Mask]) -> list[Proposal]:
    return [collect_pieces(each.astype(np.int32))[0] for each in masks]


def draw(proposal: Proposal) -> Mask:
    whole = np.zeros(SIZE, dtype=bool)
    x0, y0, x1, y1 = proposal.box
    whole[y0:y1, x0:x1] = proposal.mask
    return whole


def cut_off(left: Mask, right: Mask) -> tuple[Mask, Mask]:
    """Cut two neighbours off where they meet, as a part between them does."""
    left, right = left.copy(), right.copy()
    left[:, 108:], right[:, :132] = False, False
    return left, right


def test_a_strip_between_two_is_each_one_s_own_again() -> None:
    left, right = caps([(80, 90, 42), (160, 90, 42)])
    found = return_remnants(cut_out(cut_off(left, right)), left | right)
    assert [iou(draw(each), mask) > 0.97 for each, mask in zip(found, (left, right), strict=True)] == [True, True]
    assert not (draw(found[0]) & draw(found[1])).any()
    # Cut off they were worse: the test would say nothing otherwise.
    assert all(iou(cut, mask) < 0.95 for cut, mask in zip(cut_off(left, right), (left, right), strict=True))


def test_a_neighbour_that_was_missed_a_stalk_and_a_ragged_outline_are_nobody_s() -> None:
    left, right = caps([(80, 90, 42), (160, 90, 42)])
    kind = left | right
    kind[86:95, 20:45] = True
    ragged = left.copy()
    ragged[:, 1:] |= left[:, :-1]
    for pixels in (kind, ragged):
        (found,) = return_remnants(cut_out([left]), pixels)
        assert np.array_equal(draw(found), left)


def test_votes_order_and_those_that_lost_nothing_stay() -> None:
    left, right, apart = caps([(60, 60, 32), (122, 60, 32), (200, 140, 30)])
    cut = left.copy()
    cut[:, 80:] = False
    before = [Proposal(each.box, each.mask, 4.0 + n, 0.2) for n, each in enumerate(cut_out([apart, cut, right]))]
    found = return_remnants(before, left | right | apart)
    assert [(each.votes, each.around) for each in found] == [(4.0, 0.2), (5.0, 0.2), (6.0, 0.2)]
    assert found[0] is before[0]
    assert iou(draw(found[1]), left) > iou(cut, left)
    assert return_remnants([], left) == []


def test_the_finder_gives_strips_back_to_sure_individuals(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = DenseFinder(trunk=EfficientNetTrunk("cpu"), foreground=PaperForeground())
    one, cap = disks([(80, 80, 40)], (160, 160))
    memory = finder.remember([support_of(one, cap[0])])
    image, (left, right) = disks([(80, 90, 42), (160, 90, 42)], SIZE)
    pieces = cut_out(cut_off(left, right))
    look = Look(memory.looks[0].kind, memory.looks[0].parts)
    for score, whole in ((0.9, True), (0.2, False)):
        judged = [Judged(each, look, score) for each in pieces]
        monkeypatch.setattr(finder, "choose", lambda *_, _judged=judged, **__: _judged)
        found = finder.find(memory, image)
        assert [each.score >= FOUND for each in found] == [whole, whole]
        for each, mask in zip(found, (left, right), strict=True):
            assert each.mask is not None
            assert (iou(draw(Proposal(each.box, each.mask)), mask) > 0.95) is whole
