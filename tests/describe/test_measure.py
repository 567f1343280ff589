"""Measurements against figures that can be worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import disk, ellipse
from skimage.measure import regionprops

from sst_retrieval.describe.measure import MEASUREMENTS, measure
from sst_retrieval.types import Mask, RGBImage

RED = (255, 0, 0)  # CIE L*a*b* 53.24, 80.09, 67.20 under D65.


def plain(size: tuple[int, int], colour: tuple[int, int, int] = RED) -> RGBImage:
    """A photograph of one colour."""
    return np.full((*size, 3), colour, dtype=np.uint8)


def measured(mask: Mask, image: RGBImage | None = None) -> dict[str, float]:
    """Measure a mask on a specimen that fills the photograph."""
    return measure(mask, plain(mask.shape) if image is None else image, np.ones_like(mask))


def test_a_rectangle() -> None:
    mask = np.zeros((100, 200), dtype=bool)
    mask[20:30, 50:150] = True
    values = measured(mask)
    assert values["area_px"] == 1000
    assert values["area_share"] == pytest.approx(0.05)
    assert (values["centroid_x"], values["centroid_y"]) == pytest.approx((100, 25))
    assert values["elongation"] == pytest.approx(10)
    assert values["orientation"] == 0
    assert values["solidity"] == pytest.approx(1)
    assert values["length_px"] == pytest.approx(math.hypot(100, 10))
    assert values["width_px"] == pytest.approx(10)
    assert values["perimeter_px"] == pytest.approx(220, rel=0.07)
    assert values["pieces"] == 1


def test_a_disc() -> None:
    mask = np.zeros((300, 300), dtype=bool)
    mask[disk((120, 160), 90)] = True
    values = measured(mask)
    assert values["area_px"] == pytest.approx(math.pi * 90**2, rel=0.01)
    assert values["perimeter_px"] == pytest.approx(2 * math.pi * 90, rel=0.01)
    assert (values["centroid_x"], values["centroid_y"]) == pytest.approx((160.5, 120.5))
    assert values["elongation"] == pytest.approx(1, abs=0.001)
    assert values["solidity"] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("angle", [10, 45, 80, 100, 135, 170])
def test_a_turned_ellipse_tells_its_angle_and_axes(angle: float) -> None:
    mask = np.zeros((300, 300), dtype=bool)
    # scikit-image draws the radii (along rows, along columns) and turns counter-clockwise as seen.
    mask[ellipse(150, 150, 30, 90, rotation=math.radians(angle))] = True
    values = measured(mask)
    assert values["orientation"] == pytest.approx(angle, abs=0.5)
    assert values["elongation"] == pytest.approx(3, rel=0.01)
    # A pixel is a square, so an outline reaches up to half a diagonal further.
    assert values["length_px"] == pytest.approx(180, abs=2)
    assert values["width_px"] == pytest.approx(60, abs=2)


def test_left_and_right_are_one_trait_of_two_pieces() -> None:
    mask = np.zeros((40, 100), dtype=bool)
    mask[10:20, 10:20] = mask[10:20, 80:90] = True
    values = measured(mask)
    assert values["pieces"] == 2
    assert values["area_px"] == 200
    assert values["centroid_x"] == 50
    assert values["solidity"] == pytest.approx(200 / 800)


def test_colour_of_a_plain_red_trait() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[5:10, 5:10] = True
    values = measured(mask)
    means = [values[f"{name}_mean"] for name in ("lightness", "a", "b")]
    assert means == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    assert [values[f"{name}_sd"] for name in ("lightness", "a", "b")] == pytest.approx([0, 0, 0], abs=1e-9)


def test_colour_looks_only_under_the_mask_and_at_all_of_it() -> None:
    image = plain((400, 400), (0, 0, 0))
    image[:, 200:] = 255
    half_white = np.zeros((400, 400), dtype=bool)
    half_white[:, 100:300] = True
    values = measured(half_white, image)
    assert values["lightness_mean"] == pytest.approx(50, abs=0.1)
    assert values["lightness_sd"] == pytest.approx(50, abs=0.1)
    assert measured(image[..., 0] > 0, image)["lightness_mean"] == pytest.approx(100, abs=0.01)


def test_share_is_of_the_specimen_not_of_the_photograph() -> None:
    trait, specimen = np.zeros((50, 50), dtype=bool), np.zeros((50, 50), dtype=bool)
    trait[0:10, 0:10] = True
    specimen[5:25, 0:10] = True  # Misses half of the trait: 200 px of specimen and 50 px more.
    assert measure(trait, plain((50, 50)), specimen)["area_share"] == pytest.approx(100 / 250)
    assert measure(trait, plain((50, 50)), np.zeros_like(trait))["area_share"] == 1


@pytest.mark.parametrize("line", ["point", "row", "column", "diagonal"])
def test_traits_one_pixel_thin_have_finite_measurements(line: str) -> None:
    mask = np.zeros((60, 60), dtype=bool)
    if line == "point":
        mask[7, 9] = True
    elif line == "row":
        mask[7] = True
    elif line == "column":
        mask[:, 7] = True
    else:
        np.fill_diagonal(mask, True)
    values = measured(mask)
    assert all(math.isfinite(value) for value in values.values())
    assert values["perimeter_px"] > 0
    assert values["orientation"] == {"point": 0, "row": 0, "column": 90, "diagonal": 135}[line]
    elongation = {"point": 1, "row": 60, "column": 60, "diagonal": 84.8}[line]
    assert values["elongation"] == pytest.approx(elongation, rel=0.01)


@given(arrays(bool, (9, 14)).filter(np.any))
@settings(max_examples=40, deadline=None)
def test_every_mask_gives_every_measurement_within_its_range(mask: Mask) -> None:
    values = measured(mask)
    assert list(values) == list(MEASUREMENTS)
    assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())
    assert 0 < values["area_share"] <= 1
    assert 0 < values["solidity"] <= 1
    assert values["elongation"] >= 1
    assert 1 <= values["width_px"] <= values["length_px"]
    assert 0 <= values["orientation"] < 180
    (region,) = regionprops(mask.astype(np.uint8))
    assert (values["centroid_y"] - 0.5, values["centroid_x"] - 0.5) == pytest.approx(region.centroid)


@given(st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_moving_a_trait_changes_only_its_centroid(right: int, down: int) -> None:
    shape = np.random.default_rng(1).random((20, 20)) < 0.6
    still, moved = np.zeros((60, 60), dtype=bool), np.zeros((60, 60), dtype=bool)
    still[:20, :20] = moved[down : down + 20, right : right + 20] = shape
    before, after = measured(still), measured(moved)
    assert after.pop("centroid_x") - before.pop("centroid_x") == pytest.approx(right)
    assert after.pop("centroid_y") - before.pop("centroid_y") == pytest.approx(down)
    assert after == pytest.approx(before)


def test_an_absent_trait_or_a_mask_of_another_size_is_refused() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    with pytest.raises(ValueError, match="empty"):
        measured(mask)
    with pytest.raises(ValueError, match="one size"):
        measure(~mask, plain((10, 11)), ~mask)
    with pytest.raises(ValueError, match="one size"):
        measure(~mask, plain((10, 10)), np.ones((9, 10), dtype=bool))


def test_every_measurement_says_its_unit_and_meaning() -> None:
    assert all(unit and meaning for unit, meaning in MEASUREMENTS.values())
