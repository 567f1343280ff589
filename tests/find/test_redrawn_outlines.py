"""Found individuals are drawn anew, here by scripted answers; by a network in `test_mobile_sam`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from sst_retrieval.errors import ModelError
from sst_retrieval.find.contract import Finder, check_detections
from sst_retrieval.find.outlines import AGREEMENT, OUTLINES, OutliningFinder, load_outliner, redraw
from sst_retrieval.types import Box, Detection, Floats, Mask, RGBImage, Support

PHOTOGRAPH = np.zeros((40, 60, 3), np.uint8)
Answer = tuple[Box, float]
"""What is drawn, a rectangle, and how surely."""


class Scripted:
    """Answers a prompt with rectangles, by the prompt's box."""

    weights: Mapping[str, str] = {"name": "Scripted", "file": "none", "sha256": "ab" * 32, "licence": "MIT"}

    def __init__(self, answers: Mapping[Box, Sequence[Answer]]) -> None:
        self.answers = answers
        self.encoded = 0

    def encode(self, image: RGBImage) -> Scripted:
        self.encoded += 1
        return self

    def draw(self, box: Box, mask: Mask) -> list[tuple[Box, Floats]]:
        assert mask.shape == (box[3] - box[1], box[2] - box[0])
        return [paint(*answer) for answer in self.answers[box]]


def paint(box: Box, logit: float) -> tuple[Box, Floats]:
    """A rectangle with a margin of a pixel, of which nothing is drawn."""
    x0, y0, x1, y1 = box
    return (x0 - 1, y0 - 1, x1 + 1, y1 + 1), np.pad(
        np.full((y1 - y0, x1 - x0), logit, np.float32), 1, constant_values=-9
    )


def detect(box: Box, score: float = 0.9) -> Detection:
    return Detection(box, score, np.ones((box[3] - box[1], box[2] - box[0]), bool))


def place(each: Detection) -> np.ndarray:
    assert each.mask is not None
    whole = np.zeros(PHOTOGRAPH.shape[:2], int)
    whole[each.box[1] : each.box[3], each.box[0] : each.box[2]] = each.mask
    return whole


LEFT, RIGHT = (10, 10, 20, 20), (30, 10, 40, 20)


def test_the_answer_that_agrees_best_is_taken_and_the_box_follows() -> None:
    best = (10, 10, 22, 20)
    (one,) = redraw(
        [detect(LEFT)], PHOTOGRAPH, Scripted({LEFT: [((10, 10, 26, 20), 5), (best, 1), ((10, 10, 15, 18), 9)]})
    )
    assert one.box == best
    assert one.score == 0.9
    assert one.mask is not None
    assert one.mask.all()


def test_an_answer_that_means_another_thing_is_not_taken() -> None:
    found = detect(LEFT)
    assert redraw([found], PHOTOGRAPH, Scripted({LEFT: [((10, 10, 31, 20), 5), (RIGHT, 5)]})) == [found]
    (taken,) = redraw([found], PHOTOGRAPH, Scripted({LEFT: [((10, 10, 30, 20), 5)]}))  # An IoU of just AGREEMENT.
    assert AGREEMENT == 0.5
    assert taken.box == (10, 10, 30, 20)


def test_an_answer_without_a_pixel_is_not_taken() -> None:
    found = detect(LEFT)
    assert redraw([found], PHOTOGRAPH, Scripted({LEFT: [(LEFT, -1.0)]})) == [found]


def test_of_two_that_reach_for_a_pixel_the_surer_has_it() -> None:
    answers = {LEFT: [((10, 10, 26, 20), 2)], RIGHT: [((24, 10, 40, 20), 3)]}
    one, other = redraw([detect(LEFT), detect(RIGHT)], PHOTOGRAPH, Scripted(answers))
    assert (one.box, other.box) == ((10, 10, 24, 20), (24, 10, 40, 20))
    middle = (20, 10, 30, 20)
    three = {LEFT: [((10, 10, 27, 20), 2)], middle: [((15, 10, 35, 20), 3)], RIGHT: [((23, 10, 40, 20), 4)]}
    claims = sum(map(place, redraw([detect(LEFT), detect(middle), detect(RIGHT)], PHOTOGRAPH, Scripted(three))))
    assert claims.max() == 1
    assert claims[10:20, 10:40].all()


def test_a_found_mask_that_stays_keeps_all_its_pixels() -> None:
    answers = {LEFT: [((10, 10, 29, 20), 9)], (22, 10, 40, 20): [((0, 0, 3, 3), 9)]}
    one, other = redraw([detect(LEFT), detect((22, 10, 40, 20))], PHOTOGRAPH, Scripted(answers))
    assert one.box == (10, 10, 22, 20)
    assert other.box == (22, 10, 40, 20)


def test_who_would_lose_what_was_found_keeps_it() -> None:
    """The other's drawing covers both: first it takes all, then it no longer agrees with what was found itself."""
    near = (22, 10, 32, 20)
    answers = {LEFT: [(LEFT, 1)], near: [((13, 10, 32, 20), 5)]}
    one, other = redraw([detect(LEFT), detect(near)], PHOTOGRAPH, Scripted(answers))
    assert np.array_equal(place(one), place(detect(LEFT)))
    assert other.box == (20, 10, 32, 20)
    assert (place(one) + place(other)).max() == 1


def test_who_is_no_individual_gives_way_and_is_not_drawn() -> None:
    doubtful, covered = detect((19, 10, 30, 20), 0.3), detect((21, 0, 24, 3), 0.2)
    answers = {LEFT: [((10, 10, 25, 20), 1)], (21, 3, 31, 8): [((20, 0, 30, 8), 1)]}
    found = [detect(LEFT), detect((21, 3, 31, 8), 0.6), doubtful, covered]
    redrawn = redraw(found, PHOTOGRAPH, Scripted(answers))
    assert [each.score for each in redrawn] == [0.9, 0.6, 0.3]
    assert redrawn[2].box == (25, 10, 30, 20)
    assert sum(map(place, redrawn)).max() == 1


def test_a_box_without_a_mask_stays_and_nothing_is_encoded_in_vain() -> None:
    found, outliner = [Detection(LEFT, 0.9), detect(RIGHT, 0.4)], Scripted({})
    assert redraw(found, PHOTOGRAPH, outliner) == found
    assert redraw([], PHOTOGRAPH, outliner) == []
    assert outliner.encoded == 0


def test_any_drawings_keep_the_contract_and_depend_on_no_order() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        boxes = [(x, y, x + 9, y + 9) for x in (5, 15, 25, 35) for y in (5, 15, 25)]
        answers = {}
        for box in boxes:
            # All different, so that no two are as sure.
            jitter = rng.integers(-5, 6, (3, 4))
            drawn = [tuple(int(c) for c in np.clip(np.array(box) + j, 1, 39)) for j in jitter]
            answers[box] = [(d, float(rng.uniform(0.1, 9))) for d in drawn if d[0] < d[2] and d[1] < d[3]]
        found = [detect(box, 0.9) for box in boxes]
        redrawn = check_detections(redraw(found, PHOTOGRAPH, Scripted(answers)), PHOTOGRAPH, "scripted")
        assert sum(map(place, redrawn)).max() == 1
        for one, other in zip(found, redrawn, strict=True):
            both = place(one) + place(other)
            assert (both == 2).sum() >= AGREEMENT * (both > 0).sum()
        backwards = redraw(found[::-1], PHOTOGRAPH, Scripted(answers))[::-1]
        assert all(np.array_equal(place(one), place(other)) for one, other in zip(redrawn, backwards, strict=True))


class OneOnEach:
    """Finds the left one on any photograph."""

    name = "one on each"

    def remember(self, supports: Sequence[Support]) -> int:
        return len(supports)

    def find(self, memory: Any, image: RGBImage) -> list[Detection]:
        assert memory == 0
        return [detect(LEFT)]


def test_a_finder_stays_what_it_is_and_says_what_draws() -> None:
    finder = OutliningFinder(OneOnEach(), Scripted({LEFT: [((10, 10, 22, 20), 1)]}))
    assert isinstance(finder, Finder)
    assert not finder.concurrent
    assert not finder.compares_groups
    assert finder.name.startswith("one on each; ")
    assert "Scripted abababababab" in finder.name
    assert finder.find(finder.remember([]), PHOTOGRAPH)[0].box == (10, 10, 22, 20)

    class Comparing(OneOnEach):
        concurrent = compares_groups = True

    other = OutliningFinder(Comparing(), Scripted({}))
    assert other.concurrent
    assert other.compares_groups


@pytest.mark.parametrize("name", ["", "sam", "mobile_sam@", "mobile_sam:x"])
def test_an_unknown_name_lists_those_there_are(name: str) -> None:
    with pytest.raises(ModelError, match=" or ".join(OUTLINES)):
        load_outliner(name)
