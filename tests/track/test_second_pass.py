"""A second pass: which targets become supports, and what the others are matched with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from fakes import FakeTracker

from sst_retrieval.errors import InputError
from sst_retrieval.imaging.frames import square_frame
from sst_retrieval.track.second_pass import (
    CLEARLY_SURER,
    LEAST_CONFIDENCE,
    TwoPassMemory,
    choose_targets,
    make_support,
    propagate_from,
    remember_again,
)
from sst_retrieval.types import Propagated, RGBImage, Support

SURE, SURER = np.array([0.8, 0.9], np.float32), np.array([0.9, 0.9], np.float32)
ALL = [True, True]


def test_the_surest_come_first_and_ids_decide_between_equals() -> None:
    targets = {"c": (SURE, ALL), "b": (SURER, ALL), "a": (SURER, ALL)}
    assert choose_targets(targets, 3) == ("a", "b", "c")
    assert choose_targets(dict(reversed(targets.items())), 2) == ("a", "b")


def test_a_target_that_lacks_a_trait_or_is_unsure_on_the_whole_becomes_no_support() -> None:
    unsure = np.array([LEAST_CONFIDENCE + 0.1, LEAST_CONFIDENCE - 0.11], np.float32)
    assert choose_targets({"lacking": (SURER, [True, False]), "unsure": (unsure, ALL)}, 2) == ()
    assert choose_targets({"lacking": (SURER, [True, False]), "whole": (SURE, ALL)}, 2) == ("whole",)
    assert choose_targets({}, 1) == ()


@pytest.mark.parametrize("count", [0, -1])
def test_no_further_support_is_no_second_pass(count: int) -> None:
    with pytest.raises(InputError, match="give 1 or more"):
        choose_targets({"a": (SURE, ALL)}, count)


def test_what_a_person_drew_stays_first() -> None:
    class Recorder(FakeTracker):
        def remember(self, supports: Sequence[Support]):  # type: ignore[no-untyped-def]
            self.asked = [each.individual for each in supports]
            return super().remember(supports)

    image, masks = np.zeros((8, 8, 3), np.uint8), np.ones((1, 8, 8), bool)
    found = Propagated(masks, np.array([0.9], np.float32), square_frame((4, 4), 8, 0.0))
    drawn = Support("drawn", "g", image, ("spot",), masks)
    further = make_support("target", "g", image, found, ["spot"])
    assert further.traits == ("spot",)
    assert np.array_equal(further.masks, masks)
    tracker = Recorder("cpu")
    remember_again(tracker, [drawn], [further])
    assert tracker.asked == ["drawn", "target"]


@dataclass
class Remembered:
    traits: tuple[str, ...]
    confidence: float
    pixel: int


class Undecided:
    """Finds one pixel, with the confidence of its memory."""

    name = "undecided"

    def remember(self, supports: Sequence[Support]) -> Remembered:
        raise NotImplementedError

    def propagate(self, memory: Remembered, images: Sequence[RGBImage]) -> list[Propagated]:
        mask = np.zeros((1, *images[0].shape[:2]), dtype=bool)
        mask[0, 0, memory.pixel] = True
        frame = square_frame((2.0, 2.0), 4.0, 0.0)
        return [Propagated(mask, np.array([memory.confidence], np.float32), frame) for _ in images]


@pytest.mark.parametrize(
    ("first", "gain", "pixel"),
    [
        (0.6, CLEARLY_SURER + 0.01, 1),
        (0.6, CLEARLY_SURER - 0.01, 0),
        (0.6, -0.2, 0),
        (0.74, 0.1, 1),
        (0.76, 0.1, 0),
    ],
)
def test_the_second_pass_is_taken_where_it_is_needed_and_clearly_surer(first: float, gain: float, pixel: int) -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    memory = TwoPassMemory(Remembered(("spot",), first, 0), Remembered(("spot",), first + gain, 1))
    found = propagate_from(Undecided(), memory, [image, image])
    assert [int(np.flatnonzero(each.masks[0, 0])[0]) for each in found] == [pixel, pixel]
    (once,) = propagate_from(Undecided(), memory.extended, [image])
    assert once.masks[0, 0, 1]
