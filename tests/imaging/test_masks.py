"""Mask algebra: run lengths, boxes, outlines, label maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from sst_retrieval.imaging import masks

some_masks = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=23))


def disc(size: int, x: float, y: float, radius: float) -> npt.NDArray[np.bool_]:
    """A disc around (x, y), pixel centres at half numbers."""
    ys, xs = np.mgrid[:size, :size] + 0.5
    inside: npt.NDArray[np.bool_] = (xs - x) ** 2 + (ys - y) ** 2 <= radius**2
    return inside


@given(some_masks)
def test_decode_undoes_encode(mask: np.ndarray) -> None:
    decoded = masks.decode(masks.encode(mask), mask.shape)
    assert decoded.dtype == bool
    assert np.array_equal(decoded, mask)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (13, 17), (301, 203)])
@pytest.mark.parametrize("value", [False, True])
def test_decode_undoes_encode_for_empty_and_full_masks(shape: tuple[int, int], value: bool) -> None:
    mask = np.full(shape, value)
    assert np.array_equal(masks.decode(masks.encode(mask), shape), mask)


@given(some_masks)
def test_pycocotools_encodes_the_same(mask: np.ndarray) -> None:
    assert masks.encode(mask) == coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]


def test_encoding_is_what_other_coco_tools_write() -> None:
    mask = np.zeros((2, 3), dtype=bool)
    mask[1, 0] = mask[0, 1] = True  # down the columns: 0 1 1 0 0 0 -> runs 1, 2, 3
    assert masks.encode(mask) == b"123"


@given(st.binary(max_size=30))
def test_damaged_counts_are_errors_or_masks(rle: bytes) -> None:
    try:
        decoded = masks.decode(rle, (3, 4))
    except ValueError:
        return
    assert decoded.shape == (3, 4)


@pytest.mark.parametrize("damage", [b"", b"1", b"12", b"o", b"1o"])
def test_counts_that_end_early_are_errors(damage: bytes) -> None:
    with pytest.raises(ValueError, match="run-length"):
        masks.decode(damage, (2, 3))


def test_decoding_counts_of_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="run-length"):
        masks.decode(masks.encode(np.ones((9, 9), dtype=bool)), (3, 3))


def test_box_is_half_open() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[3:7, 2:11] = True
    assert masks.box(mask) == (2, 3, 11, 7)
    assert masks.box(np.zeros((4, 4), dtype=bool)) == (0, 0, 0, 0)


@given(some_masks)
def test_box_is_tight(mask: np.ndarray) -> None:
    x0, y0, x1, y1 = masks.box(mask)
    inside = mask[y0:y1, x0:x1]
    assert masks.area(inside) == masks.area(mask)
    if mask.any():
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_iou_of_known_masks() -> None:
    a, b = np.zeros((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    a[:2] = True
    b[1:3] = True
    assert masks.iou(a, b) == pytest.approx(4 / 12)
    assert masks.iou(a, a) == 1
    assert masks.iou(a, ~a) == 0
    assert masks.iou(a & ~a, b & ~b) == 1
    with pytest.raises(ValueError, match="sizes"):
        masks.iou(a, a[:3])


def test_the_outline_of_a_disc_is_a_circle() -> None:
    (curve,) = masks.outlines(disc(200, 80.5, 100, 60))
    radius = np.hypot(curve[:, 0] - 80.5, curve[:, 1] - 100)
    assert np.array_equal(curve[0], curve[-1])
    assert abs(radius - 60).max() < 1
    assert masks.signed_area(curve) == pytest.approx(np.pi * 60**2, rel=0.01)


def test_holes_run_the_other_way_round() -> None:
    outer, hole = masks.outlines(disc(100, 50, 50, 40) & ~disc(100, 60, 50, 10))
    assert masks.signed_area(outer) > 0 > masks.signed_area(hole)
    assert hole[:-1].mean(axis=0) == pytest.approx([60, 50], abs=0.1)


def test_outlines_lie_in_pixel_coordinates_and_touch_the_edge() -> None:
    (curve,) = masks.outlines(np.ones((4, 6), dtype=bool))
    assert curve.min(axis=0).tolist() == [0, 0]
    assert curve.max(axis=0).tolist() == [6, 4]
    assert masks.outlines(np.zeros((4, 6), dtype=bool)) == []


def test_a_diagonal_antenna_is_one_outline() -> None:
    assert len(masks.outlines(np.eye(20, dtype=bool))) == 1


@given(some_masks)
def test_outlines_are_closed(mask: np.ndarray) -> None:
    curves = masks.outlines(mask)
    assert bool(curves) == bool(mask.any())
    assert all(np.array_equal(curve[0], curve[-1]) for curve in curves)


def test_a_spot_stays_visible_on_its_wing_whatever_the_order() -> None:
    wing, spot = np.ones((6, 6), dtype=bool), np.zeros((6, 6), dtype=bool)
    spot[2:4, 2:4] = True
    for stack, numbers in [((wing, spot), (7, 3)), ((spot, wing), (3, 7))]:
        labels = masks.to_labels(np.stack(stack), numbers)
        assert labels.dtype == np.uint8
        assert np.count_nonzero(labels == 3) == 4
        assert np.count_nonzero(labels == 7) == 32


def test_large_label_numbers_come_back_unchanged() -> None:
    labels = masks.to_labels(np.ones((1, 2, 2), dtype=bool), (40_000,))
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[40_000] * 2] * 2
    assert masks.to_labels(np.zeros((0, 2, 2), dtype=bool), ()).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("numbers", [(0, 1), (1, 1), (1,), (1, 65_536), (-1, 2)])
def test_impossible_label_numbers_are_errors(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="numbers"):
        masks.to_labels(np.ones((2, 2, 2), dtype=bool), numbers)


@given(arrays.arrays(np.uint8, (5, 7), elements=st.sampled_from([0, 2, 5, 255])))
def test_masks_that_do_not_overlap_survive_a_label_map(labels: np.ndarray) -> None:
    stack = masks.from_labels(labels, (5, 2, 255))
    assert stack.shape == (3, 5, 7)
    assert np.array_equal(masks.to_labels(stack, (5, 2, 255)), labels)


def test_a_mask_is_resized_by_the_nearest_pixel() -> None:
    mask = np.array([[True, False], [False, True]])
    large = masks.resize_mask(mask, (4, 6))
    np.testing.assert_array_equal(large, np.kron(mask, np.ones((2, 3), dtype=bool)))
    assert masks.resize_mask(large, (2, 2)).tolist() == mask.tolist()
