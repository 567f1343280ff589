"""Rows of the table that say which individual of a photograph they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sst_retrieval.build.individuals import GroupFinder, find_individuals
from sst_retrieval.errors import InputError
from sst_retrieval.imaging import masks
from sst_retrieval.index.reviews import WHOLE, Review
from sst_retrieval.types import Box, Detection, Photograph, RGBImage, Support

IMAGE: RGBImage = np.zeros((20, 60, 3), dtype=np.uint8)
THREE: list[Box] = [(2, 2, 12, 12), (20, 3, 30, 13), (40, 2, 50, 12)]


class Finder:
    """Finds THREE, the last first."""

    name = "three"

    def remember(self, supports: Any) -> None:
        """Keep nothing."""

    def find(self, memory: Any, image: RGBImage) -> list[Detection]:
        """Return the same always."""
        return [Detection(box, 0.9) for box in reversed(THREE)]


def row(place: Box | int | None) -> Photograph:
    return Photograph("B1", Path("tray.png"), "g", place=place)


def draw(individual: str, box: Box) -> Support:
    mask = np.zeros((1, *IMAGE.shape[:2]), dtype=bool)
    mask[0, box[1] : box[3], box[0] : box[2]] = True
    return Support(individual, "g", IMAGE, ("spot",), mask, photograph="B1")


@pytest.mark.parametrize(
    ("place", "box"), [(1, THREE[0]), (2, THREE[1]), (3, THREE[2]), ((19, 0, 33, 15), (19, 0, 33, 15))]
)
def test_a_row_has_its_individual_alone(place: Box | int, box: Box) -> None:
    (found,) = find_individuals(row(place), IMAGE, GroupFinder(Finder(), None, {}))
    assert (found.id, found.number, found.detection.box) == ("B1#1", 1, box)


@pytest.mark.parametrize("place", [3, (39, 0, 52, 15)])
def test_what_was_drawn_on_it_is_taken(place: Box | int) -> None:
    """The individual that a support was drawn on, not another support of the same photograph."""
    drawn = {"B1": [draw("B1#2", THREE[0]), draw("B1#1", THREE[2])]}
    (found,) = find_individuals(row(place), IMAGE, GroupFinder(Finder(), None, drawn))
    assert (found.id, found.detection.box) == ("B1#1", THREE[2])
    assert found.support is drawn["B1"][1]


def test_numbers_of_rows_are_in_reading_order_of_all() -> None:
    drawn = {"B1": [draw("B1#2", THREE[2])]}  # Of no row.
    (found,) = find_individuals(row(2), IMAGE, GroupFinder(Finder(), None, drawn))
    assert found.detection.box == THREE[1]


@pytest.mark.parametrize("place", [2, (19, 0, 33, 15)])
def test_what_people_decided_on_the_row_s_individual_counts(place: Box | int) -> None:
    outline = np.zeros(IMAGE.shape[:2], dtype=bool)
    outline[4:9, 41:49] = True

    def decide(decision: str) -> Review:
        return Review("B1#1", WHOLE, "c", decision, "Mary", "2026", (20, 60), masks.encode(outline))

    assert find_individuals(row(place), IMAGE, GroupFinder(Finder(), None, {}), [decide("reject")]) == []
    (found,) = find_individuals(row(place), IMAGE, GroupFinder(Finder(), None, {}), [decide("redraw")])
    assert (found.id, found.number, found.detection.box) == ("B1#1", 1, (41, 4, 49, 9))


def test_a_number_that_nobody_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"individual 4 of tray\.png, on which 3 were found"):
        find_individuals(row(4), IMAGE, GroupFinder(Finder(), None, {}))
