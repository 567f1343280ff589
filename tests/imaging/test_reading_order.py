"""The order in which individuals of a photograph are numbered."""

from __future__ import annotations

from random import Random

import pytest

from sst_retrieval.imaging.reading_order import sort_in_reading_order
from sst_retrieval.types import Box


def test_a_drawer_with_specimens_askew_is_read_row_by_row() -> None:
    rng = Random(0)
    drawer: list[Box] = []
    for row in range(4):
        for column in range(5):
            x, y = 100 * column + rng.randint(-20, 20), 80 * row + rng.randint(-12, 12)
            drawer.append((x, y, x + 40, y + 60 + rng.randint(-9, 9)))
    assert sort_in_reading_order(drawer) == list(range(20))
    for seed in range(5):
        order = Random(seed).sample(range(20), 20)
        shuffled = [drawer[place] for place in order]
        assert [order[place] for place in sort_in_reading_order(shuffled)] == list(range(20))


@pytest.mark.parametrize(
    ("boxes", "order"),
    [
        ([], []),
        ([(3, 3, 4, 4)], [0]),
        ([(9, 0, 19, 10), (0, 5, 10, 15)], [1, 0]),
        ([(9, 0, 19, 10), (0, 6, 10, 16)], [0, 1]),
        ([(0, 0, 9, 9), (0, 0, 9, 9)], [0, 1]),
    ],
)
def test_small_cases(boxes: list[Box], order: list[int]) -> None:
    assert sort_in_reading_order(boxes) == order
