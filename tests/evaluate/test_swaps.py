"""Specimens are put on other backgrounds."""

from __future__ import annotations

import numpy as np

from sst_retrieval.evaluate.swaps import find_specimen, paste_specimen, remove_specimen

BLUE, RED, PAPER = (40, 60, 160), (190, 30, 30), (230, 225, 215)


def photograph(paper: tuple[int, int, int], size: tuple[int, int] = (90, 120)) -> tuple[np.ndarray, np.ndarray]:
    image = np.full((*size, 3), paper, np.uint8)
    mask = np.zeros(size, bool)
    mask[30:60, 40:80] = True
    image[mask] = RED
    return image, mask


def test_a_removed_specimen_leaves_no_trace_of_its_colour() -> None:
    image, mask = photograph(BLUE)
    removed = remove_specimen(image, mask, np.random.default_rng(0))
    assert np.abs(removed.astype(int) - BLUE).max() <= 2
    np.testing.assert_array_equal(removed[:25], image[:25])


def test_the_grain_of_the_background_fills_the_hole() -> None:
    image, mask = photograph(BLUE)
    rng = np.random.default_rng(1)
    noisy = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    removed = remove_specimen(noisy, mask, rng)
    assert 0.5 < removed[mask].std(axis=0).mean() / removed[:25].reshape(-1, 3).std(axis=0).mean() < 1.3


def test_where_all_is_specimen_nothing_is_removed() -> None:
    image, mask = photograph(BLUE)
    np.testing.assert_array_equal(remove_specimen(image, np.ones_like(mask), np.random.default_rng(0)), image)
    np.testing.assert_array_equal(remove_specimen(image, np.zeros_like(mask), np.random.default_rng(0)), image)


def test_a_pasted_specimen_is_itself_on_the_other_background() -> None:
    image, mask = photograph(PAPER)
    ground = np.full((50, 50, 3), BLUE, np.uint8)
    pasted = paste_specimen(image, find_specimen(image, mask), ground)
    assert pasted.shape == image.shape
    np.testing.assert_array_equal(pasted[34:56, 44:76], image[34:56, 44:76])
    np.testing.assert_array_equal(pasted[:20], np.full((20, 120, 3), BLUE))


def test_a_trait_that_looks_like_the_background_is_kept() -> None:
    image, mask = photograph(PAPER)
    pale = np.zeros_like(mask)
    pale[10:20, 10:20] = True
    assert find_specimen(image, pale | mask)[12:18, 12:18].all()
    assert not find_specimen(image, mask)[12:18, 12:18].any()
