"""What is specimen and what background, and the frame around the specimen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import (
    FRAME_MARGIN,
    GREY,
    INCLUSIVE,
    STRICT,
    ForegroundSettings,
    blend_with_grey,
    find_foreground,
    foreground_coverage,
    foreground_mask,
    frame_specimen,
    remove_background,
)
from sst_retrieval.imaging.masks import resize_mask
from sst_retrieval.types import Frame, Mask, RGBImage

PAPER = (215, 210, 200)


def through(frame: Frame, x: float, y: float) -> tuple[float, float]:
    a, b, c, d, e, f = frame.matrix
    return a * x + b * y + c, d * x + e * y + f


def apply(frame: Frame, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([through(frame, x, y) for x, y in points])


def iou(one: Mask, other: Mask) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def specimen(height: int = 120, width: int = 160) -> RGBImage:
    """A dark beetle of 60 x 40 pixels on plain paper, its box (40, 30, 100, 70)."""
    image = np.full((height, width, 3), PAPER, dtype=np.uint8)
    image[30:70, 40:100] = (60, 30, 20)
    return image


def noise(height: int, width: int, seed: int = 0) -> RGBImage:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_specimen_is_what_differs_from_the_border() -> None:
    found = find_foreground(specimen())
    expected = np.zeros((120, 160), dtype=bool)
    expected[30:70, 40:100] = True
    assert iou(found, expected) > 0.97


def test_a_background_of_two_papers_is_still_background() -> None:
    image = specimen()
    image[:, 120:] = (90, 130, 200)
    found = find_foreground(image)
    assert found[32:68, 42:98].mean() > 0.97
    assert found[:, 122:].mean() < 0.01


def test_a_grainy_background_is_still_background() -> None:
    grain = np.random.default_rng(0).normal(0, 8, (120, 160, 3))
    found = find_foreground(np.clip(specimen() + grain, 0, 255).astype(np.uint8))
    expected = np.zeros((120, 160), dtype=bool)
    expected[30:70, 40:100] = True
    assert iou(found, expected) > 0.9


def test_pieces_apart_are_all_specimen() -> None:
    image = specimen()
    image[30:70, 65:75] = PAPER
    found = find_foreground(image)
    assert found[35:65, 45:60].all()
    assert found[35:65, 80:95].all()
    assert not found[35:65, 67:73].any()


def test_a_leg_that_reaches_the_edge_does_not_hide_the_specimen() -> None:
    image = specimen()
    image[40:43, :40] = (60, 30, 20)
    assert find_foreground(image)[32:68, 42:98].mean() > 0.97


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_nothing_stands_out_of_one_colour(colour: int) -> None:
    image = np.full((60, 90, 3), colour, dtype=np.uint8)
    assert not find_foreground(image).any()
    assert frame_specimen(image) == frames.square_frame((45, 30), 90, 0.0)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 500), (500, 1), (2, 1000), (700, 3)])
@pytest.mark.parametrize("texture", ["flat", "noise"])
def test_odd_photographs_get_a_frame_too(size: tuple[int, int], texture: str) -> None:
    image = noise(*size) if texture == "noise" else np.full((*size, 3), 90, dtype=np.uint8)
    frame = frame_specimen(image)
    assert np.isfinite(frame.matrix).all()
    assert frames.warp_image(image, frame, 32).shape == (32, 32, 3)
    assert frames.warp_mask(np.ones(size, dtype=bool), frame, 32).max() <= 1


def test_the_frame_is_a_square_around_the_specimen_with_a_margin() -> None:
    frame = frame_specimen(specimen())
    assert through(frame, 70, 50) == pytest.approx((0.5, 0.5), abs=0.01)
    assert 1 / frame.matrix[0] == pytest.approx(60 * FRAME_MARGIN, rel=0.03)
    assert frame.matrix[1] == 0


def test_the_frame_of_a_large_photograph_is_the_small_ones_enlarged() -> None:
    small = frame_specimen(specimen())
    large = frame_specimen(np.kron(specimen(), np.ones((5, 5, 1), dtype=np.uint8)))
    assert through(large, 350, 250) == pytest.approx(through(small, 70, 50), abs=0.01)
    assert large.matrix[0] * 5 == pytest.approx(small.matrix[0], rel=0.04)


def test_a_hair_does_not_make_the_frame_larger() -> None:
    image = specimen()
    image[48:51, 100:103] = (60, 30, 20)  # Thick enough to be seen at all.
    assert frame_specimen(image).matrix == pytest.approx(frame_specimen(specimen()).matrix, abs=1e-3)


@pytest.mark.parametrize("flat", [False, True])
def test_the_frame_holds_all_that_is_drawn(flat: bool) -> None:
    image = np.full((120, 160, 3), PAPER, dtype=np.uint8) if flat else specimen()
    drawn = np.zeros((120, 160), dtype=bool)
    drawn[100:110, 140:150] = True
    frame = frame_specimen(image, drawn=drawn)
    corners = apply(frame, np.array([[140, 100], [150, 110]] + ([] if flat else [[40, 30], [100, 70]])))
    assert (corners >= 0).all()
    assert (corners <= 1).all()
    assert frames.warp_mask(drawn, frame, 400).sum() == pytest.approx(100 * (400 * frame.matrix[0]) ** 2, rel=0.05)


def test_drawing_nothing_changes_nothing() -> None:
    empty = np.zeros((120, 160), dtype=bool)
    assert frame_specimen(specimen(), drawn=empty) == frame_specimen(specimen())


# The two presets


def test_holes_are_filled_and_specks_left_out_only_where_the_settings_say_so() -> None:
    image = specimen()
    image[45:55, 65:75] = PAPER
    image[100:104, 140:144] = (60, 30, 20)
    strict, inclusive = find_foreground(image, STRICT), find_foreground(image, INCLUSIVE)
    assert not strict[47:53, 67:73].any()
    assert inclusive[47:53, 67:73].all()
    assert strict[101:103, 141:143].all()
    assert not inclusive[98:106, 138:146].any()
    only_filled = find_foreground(image, ForegroundSettings(STRICT.common_share, fill_holes=True))
    assert only_filled[47:53, 67:73].all()
    assert only_filled[101:103, 141:143].all()


def test_a_wing_along_a_third_of_the_border_is_background_to_the_strict_and_specimen_to_the_inclusive() -> None:
    image = specimen()
    image[:, :50] = (60, 30, 20)
    assert not find_foreground(image, STRICT)[40:60, 10:90].any()
    assert find_foreground(image, INCLUSIVE)[40:60, 10:90].all()


def test_the_foreground_at_full_size_is_the_small_one_enlarged() -> None:
    large = np.kron(specimen(), np.ones((5, 5, 1), dtype=np.uint8))
    mask = foreground_mask(large)
    assert mask.shape == (600, 800)
    np.testing.assert_array_equal(mask, resize_mask(find_foreground(large), (600, 800)))
    assert mask[155:345, 205:495].all()


def test_the_coverage_of_a_frame_is_the_foreground_inside_it() -> None:
    whole = frames.square_frame((80, 60), 160, 0.0)
    coverage = foreground_coverage(specimen(), whole, 160)
    assert coverage[52:88, 42:98].min() == 1
    assert coverage[:45].max() == 0
    assert coverage.sum() == pytest.approx(60 * 40, rel=0.05)


def test_the_background_becomes_grey_and_what_is_drawn_stays() -> None:
    image = specimen()
    drawn = np.zeros((1, 120, 160), dtype=bool)
    drawn[0, 5:10, 5:10] = True
    plain = remove_background(image, drawn)
    assert (plain[35:65, 45:95] == image[35:65, 45:95]).all()
    assert (plain[5:10, 5:10] == PAPER).all()
    assert (plain[15:25] == GREY).all()


def test_a_pixel_that_is_half_background_is_half_grey() -> None:
    view = np.full((1, 3, 3), 200, dtype=np.uint8)
    blended = blend_with_grey(view, np.array([[0, 0.5, 1]], dtype=np.float32))
    assert blended[0, :, 0].tolist() == [GREY, 164, 200]


def test_the_foreground_of_a_photograph_that_was_drawn_on_is_found_anew() -> None:
    image = np.full((60, 80, 3), 230, dtype=np.uint8)
    image[20:40, 10:30] = 40
    before = find_foreground(image)
    before[:] = True  # The caller's own.
    assert find_foreground(image).sum() < image.shape[0] * image.shape[1] / 2
    image[20:40, 10:30], image[20:40, 50:70] = 230, 40
    after = find_foreground(image)
    assert after[30, 60]
    assert not after[30, 20]
