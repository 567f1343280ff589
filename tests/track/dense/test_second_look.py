"""The second look: small traits of large photographs are found where one look has too few pixels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from sst_retrieval.engines import ModelOptions, load_propagator
from sst_retrieval.errors import ModelError
from sst_retrieval.imaging import frames
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.second_look import (
    SecondLookPropagator,
    choose_centre,
    cut_frame,
    list_pieces,
)
from sst_retrieval.track.dense.trained_decoder import TrainedDecoder
from sst_retrieval.types import Mask, RGBImage, Support

SIDE = 2000


def leaf(seed: int, side: int = SIDE) -> tuple[RGBImage, dict[str, Mask]]:
    """A leaf on paper with a blotch, a ringed spot on each half, and veins; drawn at full size."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((side, side), dtype=np.float32) / side
    down, right = rng.uniform(-0.02, 0.02, 2)
    y, x = rows - 0.5 - down, columns - 0.5 - right
    body = (y / 0.42) ** 2 + (x / 0.3) ** 2 < 1
    image = np.full((side, side, 3), 225, dtype=np.float32)
    image[body] = (70, 110, 50)
    image[body & (np.abs(x) < 0.004)] = (150, 170, 110)
    image[body & (np.abs((y * 8 + np.abs(x) * 5) % 1 - 0.5) < 0.03)] = (110, 140, 80)
    blotch = (np.hypot(x, (y + 0.2) * 1.4) < 0.08) & body
    image[blotch] = (150, 60, 40)
    spot: Mask = np.zeros_like(body)
    for half in (-1, 1):
        middle = (0.05 + rng.uniform(-0.006, 0.006), half * 0.14 + rng.uniform(-0.006, 0.006))
        distance = np.hypot(y - middle[0], x - middle[1])
        image[distance < 0.013] = (30, 25, 20)
        image[distance < 0.007] = (240, 235, 220)
        spot |= distance < 0.007
    image = ndimage.gaussian_filter(image, (1, 1, 0)) * rng.normal(1, 0.02, 3) + rng.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), {"blotch": blotch, "spot": spot}


def make_support(seed: int, side: int = SIDE) -> Support:
    image, masks = leaf(seed, side)
    return Support(f"leaf {seed}", "leaves", image, tuple(masks), np.stack(list(masks.values())))


@pytest.fixture(scope="module")
def dense(trunk: EfficientNetTrunk) -> DensePropagator:
    return DensePropagator(trunk=trunk, decoder=TrainedDecoder())


def iou(one: Mask, other: Mask) -> float:
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


def test_a_small_spot_of_a_large_photograph_is_found_better(dense: DensePropagator) -> None:
    twice = SecondLookPropagator(dense)
    memory = twice.remember([make_support(0)])
    assert memory.traits == ("blotch", "spot")
    assert set(memory.windows) == {1}  # The blotch is no small trait.
    assert len(memory.windows[1]) == 2  # One on each half.
    image, masks = leaf(1)
    first = dense.propagate(memory.first, [image])[0]
    second = twice.propagate(memory, [image])[0]
    assert np.array_equal(first.masks[0] & ~second.masks[1], second.masks[0])
    assert iou(second.masks[1], masks["spot"]) > 0.7
    assert iou(second.masks[1], masks["spot"]) > iou(first.masks[1], masks["spot"]) + 0.1
    assert 0 <= second.confidence[1] <= 1


def test_a_turned_photograph_is_looked_at_in_the_frame_that_the_first_look_found(dense: DensePropagator) -> None:
    twice = SecondLookPropagator(dense)
    image, masks = leaf(2)
    turned = np.ascontiguousarray(np.rot90(image))
    found = twice.propagate(twice.remember([make_support(0)]), [turned])[0]
    assert iou(found.masks[1], np.rot90(masks["spot"])) > 0.6


def test_small_photographs_are_looked_at_once(dense: DensePropagator) -> None:
    twice = SecondLookPropagator(dense)
    memory = twice.remember([make_support(0, 500)])
    image, _ = leaf(1, 500)
    once, again = dense.propagate(memory.first, [image])[0], twice.propagate(memory, [image])[0]
    assert np.array_equal(once.masks, again.masks)
    assert np.array_equal(once.confidence, again.confidence)


def test_pieces_are_listed_by_size_without_crumbs() -> None:
    soft = np.zeros((100, 100), np.float32)
    soft[10:20, 10:30] = 1
    soft[60:70, 40:50] = 1
    soft[90, 90] = 1
    assert list_pieces(soft) == [((0.2, 0.15), 0.2), ((0.45, 0.65), 0.1)]
    assert list_pieces(np.zeros((4, 4), np.float32)) == []


def test_a_piece_is_sought_where_it_was_found_else_where_it_is_expected() -> None:
    here, there = ((0.22, 0.2), 0.1), ((0.8, 0.2), 0.1)
    assert choose_centre((0.2, 0.2), [there, here], []) == (0.22, 0.2)
    assert choose_centre((0.2, 0.2), [there], [here]) == (0.22, 0.2)
    assert choose_centre((0.2, 0.2), [there], []) == (0.2, 0.2)


def test_a_window_lies_within_its_frame() -> None:
    window = cut_frame(frames.square_frame((100, 200), 100, 0.0), (0.5, 0.25), 0.2)
    assert frames.measure_side(window) == pytest.approx(20)


def test_it_is_refused_where_nothing_looks_twice() -> None:
    assert load_propagator("dense", "cpu", ModelOptions(second_look=True)).name.endswith(", second look 1")
    with pytest.raises(ModelError, match="take a --second-look"):
        load_propagator("fakes:FakeTracker", "cpu", ModelOptions(second_look=True))
