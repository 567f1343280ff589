"""Which traits compete for pixels: counted exactly, and in little memory however large the photograph is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest

from sst_retrieval.track.dense.memory import find_rivals
from sst_retrieval.types import Support

TRAITS = ("a", "b", "c", "d")


def a_support(masks: np.ndarray, traits: Sequence[str] = TRAITS) -> Support:
    height, width = masks.shape[1:]
    # Of the photograph only the masks are looked at.
    return Support("s", "g", np.broadcast_to(np.uint8(0), (height, width, 3)), tuple(traits), masks)


def counted_pixel_by_pixel(supports: Sequence[Support], traits: Sequence[str]) -> np.ndarray:
    expected = ~np.eye(len(traits), dtype=bool)
    for support in supports:
        for one, own in zip(support.traits, support.masks, strict=True):
            for other, others in zip(support.traits, support.masks, strict=True):
                if one != other:
                    for whole in (own, others):
                        expected[traits.index(one), traits.index(other)] &= 20 * (own & others).sum() < whole.sum()
    return expected


@pytest.mark.parametrize("shared", [0, 4, 5, 6])
def test_traits_that_share_less_than_a_twentieth_of_either_compete(shared: int) -> None:
    masks = np.zeros((2, 31, 37), dtype=bool)
    masks[0].flat[:100] = True
    masks[1].flat[100 - shared : 300] = True
    competing = find_rivals([a_support(masks, ("a", "b"))], ("a", "b"))
    assert np.array_equal(competing, ~np.eye(2, dtype=bool) & (shared < 5))


def test_rivals_are_those_of_every_support() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        places = rng.integers(0, 30, (2, 4, 2))
        first, second = (np.zeros((4, 41, 43), dtype=bool) for _ in range(2))
        for masks, corners in zip((first, second), places, strict=True):
            for mask, (row, column) in zip(masks, corners, strict=True):
                mask[row : row + 9, column : column + 11] = True
        supports = [a_support(first), a_support(second[1:], TRAITS[1:])]
        assert np.array_equal(find_rivals(supports, TRAITS), counted_pixel_by_pixel(supports, TRAITS))


def test_rivals_of_a_large_photograph_need_less_memory_than_its_masks() -> None:
    masks = np.zeros((10, 2000, 2003), dtype=bool)
    for trait, mask in enumerate(masks):
        mask[:, trait * 200 : trait * 200 + 190 + 3 * trait] = True
    traits = tuple("abcdefghij")
    tracemalloc.start()
    try:
        competing = find_rivals([a_support(masks, traits)], traits)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(competing, counted_pixel_by_pixel([a_support(masks, traits)], traits))
    assert not competing.all(where=~np.eye(10, dtype=bool))
    assert peak < masks.nbytes / 2
