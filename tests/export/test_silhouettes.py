"""Silhouettes for Momocs: the middle of each picture is inside its shape, and the shape is what it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk, line

from sst_retrieval.export.morphometrics import centre_in_shape
from sst_retrieval.types import RGBImage


def a_picture(shape: np.ndarray) -> RGBImage:
    return np.repeat(np.where(shape, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def a_sickle(height: int, width: int) -> np.ndarray:
    """A disc with a bite: its box's middle is outside."""
    shape = np.zeros((height, width), dtype=bool)
    shape[disk((height / 2, width / 2), min(height, width) / 2 - 2, shape=shape.shape)] = True
    shape[disk((height / 2, width / 2 + 6), min(height, width) / 2 - 4, shape=shape.shape)] = False
    return shape


def middles(picture: RGBImage) -> np.ndarray:
    """The pixels that programs take for the middle: R rounds half to even and counts from 1."""
    height, width = picture.shape[:2]
    rows, columns = {round(height / 2) - 1, height // 2}, {round(width / 2) - 1, width // 2}
    return np.array([picture[row, column, 0] for row in rows for column in columns])


@given(st.integers(30, 90), st.integers(30, 90))
def test_the_middle_of_a_bent_shape_is_black(height: int, width: int) -> None:
    shape = a_sickle(height, width)
    centred = centre_in_shape(a_picture(shape))
    assert (middles(centred) == 0).any()
    black = centred[..., 0] == 0
    rows, columns = np.nonzero(black)
    inside = black[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    rows, columns = np.nonzero(shape)
    assert np.array_equal(inside, shape[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])


def test_the_pixel_that_momocs_takes_is_black() -> None:
    """Momocs: x <- round(nrow(img) / 2), counted from 1; of even sides that is the first of the two in the middle."""
    for height in range(30, 60):
        picture = centre_in_shape(a_picture(a_sickle(height, 47)))
        row, column = (round(length / 2) - 1 for length in picture.shape[:2])
        assert picture[row, column, 0] == 0


def test_a_picture_whose_middle_is_black_stays_as_it_is() -> None:
    shape = np.zeros((41, 40), dtype=bool)
    shape[disk((20, 20), 12)] = True
    picture = a_picture(shape)
    assert centre_in_shape(picture) is picture


@pytest.mark.parametrize("end", [(39, 2), (2, 39), (39, 39)])
def test_a_line_of_one_pixel(end: tuple[int, int]) -> None:
    shape = np.zeros((44, 46), dtype=bool)
    shape[line(2, 2, *end)] = True
    picture = centre_in_shape(a_picture(shape))
    row, column = (round(length / 2) - 1 for length in picture.shape[:2])
    assert picture[row, column, 0] == 0
