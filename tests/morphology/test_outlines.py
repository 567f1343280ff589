"""Outlines and their Fourier coefficients, against closed forms and against a library that shares no code with ours."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ktch.harmonic import EllipticFourierAnalysis
from scipy.integrate import quad
from skimage.draw import disk, polygon

from sst_retrieval.errors import InputError
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.masks import signed_area
from sst_retrieval.morphology.outlines import elliptic_fourier, trace_outline
from sst_retrieval.types import Frame, Mask

SIZE = (400, 500)
UPRIGHT = frames.square_frame((250, 200), 500, 0.0)


def a_kite(angle: float = 0.0, *, mirrored: bool = False, scale: float = 1.0) -> Mask:
    """A shape without any symmetry, turned clockwise as seen around the middle of the photograph."""
    corners = scale * np.array([(-90, -20), (10, -110), (60, -10), (20, 70), (-30, 40)], dtype=float)
    if mirrored:
        corners[:, 0] *= -1
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = (corners @ np.array([[cos, sin], [-sin, cos]])).T
    mask = np.zeros(SIZE, dtype=bool)
    mask[polygon(y + 200, x + 250, SIZE)] = True
    return mask


def test_the_outline_of_a_disc_is_a_circle_that_starts_at_its_top() -> None:
    mask = np.zeros(SIZE, dtype=bool)
    mask[disk((150, 220), 80)] = True
    photograph, laid = trace_outline(mask, UPRIGHT, points=90)
    assert photograph.shape == laid.shape == (90, 2)
    # skimage's disc of radius 80 holds the pixels whose centres are nearer than 80.
    assert np.hypot(*laid.T) == pytest.approx(np.full(90, 80), abs=0.7)
    assert laid[0] == pytest.approx((0, 80), abs=0.7)
    assert laid[1, 0] < 0  # Counter-clockwise, y up: from the top to the left.
    assert photograph[0] == pytest.approx((220.5, 150.5 - 80), abs=0.7)
    steps = np.hypot(*np.diff(laid, axis=0, append=laid[:1]).T)
    assert np.ptp(steps) < 0.2


@pytest.mark.parametrize("angle", [0.3, 1.2, 2.5, -2.0, math.pi])
def test_a_turned_specimen_has_the_same_outline(angle: float) -> None:
    _, expected = trace_outline(a_kite(), UPRIGHT)
    frame = frames.square_frame((250, 200), 500, angle)
    photograph, laid = trace_outline(a_kite(angle), frame)
    assert np.abs(laid - expected).max() < 2
    assert abs(signed_area(np.vstack([photograph, photograph[:1]]))) == pytest.approx(a_kite(angle).sum(), rel=0.02)


def test_a_specimen_seen_in_a_mirror_has_the_same_outline() -> None:
    _, expected = trace_outline(a_kite(), UPRIGHT)
    _, laid = trace_outline(a_kite(mirrored=True), frames.mirror(UPRIGHT))
    assert np.abs(laid - expected).max() < 2


def test_the_right_one_of_a_pair_is_laid_over_the_left_one() -> None:
    left, expected = trace_outline(a_kite(), UPRIGHT)
    right, laid = trace_outline(a_kite(mirrored=True), UPRIGHT, mirror=True)
    assert np.abs(laid - expected).max() < 2
    # Point by point the mirror image of the left one, on the photograph, too.
    assert np.abs(right - np.stack([501 - left[:, 0], left[:, 1]], axis=1)).max() < 2


def test_the_middle_line_says_where_up_is() -> None:
    _, expected = trace_outline(a_kite(), UPRIGHT)
    _, laid = trace_outline(a_kite(0.4), UPRIGHT, up=0.4)
    assert np.abs(laid - expected).max() < 2


def test_only_the_largest_piece_is_traced_and_an_empty_mask_is_refused() -> None:
    mask = a_kite()
    mask[380:390, 10:20] = True
    assert trace_outline(mask, UPRIGHT)[0] == pytest.approx(trace_outline(a_kite(), UPRIGHT)[0], abs=1e-9)
    with pytest.raises(InputError, match="empty"):
        trace_outline(np.zeros(SIZE, dtype=bool), UPRIGHT)
    with pytest.raises(InputError, match="8 or more"):
        trace_outline(mask, UPRIGHT, points=3)


def test_coefficients_of_a_circle() -> None:
    turn = np.linspace(0, 2 * math.pi, 720, endpoint=False)
    circle = 37 * np.stack([np.cos(turn), np.sin(turn)], axis=1) + (5, -9)
    found = elliptic_fourier(circle, 4)
    assert found[0] == pytest.approx((1, 0, 0, 1), abs=1e-4)
    assert np.abs(found[1:]).max() < 1e-4


def test_coefficients_of_a_rectangle_are_those_of_its_fourier_series() -> None:
    width, height = 3.0, 1.0
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)])
    ends = np.cumsum([0, width, height, width, height])

    def place(t: float, axis: int) -> float:
        return float(np.interp(t / (2 * math.pi) * ends[-1], ends, [*corners[:, axis], corners[0, axis]]))

    kinks = (ends[1:-1] / ends[-1] * 2 * math.pi).tolist()
    expected = np.array(
        [
            [
                quad(lambda t, n=n, a=axis, f=wave: place(t, a) * f(n * t) / math.pi, 0, 2 * math.pi, points=kinks)[0]
                for axis in (0, 1)
                for wave in (math.cos, math.sin)
            ]
            for n in (1, 2, 3)
        ]
    )
    found = elliptic_fourier(corners, 3)
    half_axis = np.linalg.svd(expected[0].reshape(2, 2), compute_uv=False)[0]
    assert found == pytest.approx(expected / half_axis, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_coefficients_are_those_of_another_library(seed: int) -> None:
    radii = 50 + 9 * np.random.default_rng(seed).normal(size=24)
    turn = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    curve = radii[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    ours = elliptic_fourier(curve, 6)
    # It starts at the last point, where we start at the first.
    theirs = EllipticFourierAnalysis(n_harmonics=6, registration=None).fit_transform([np.roll(curve, -1, axis=0)])[0]
    by_letter = np.stack([part[1:7] for part in np.split(np.asarray(theirs), 4)], axis=1)
    scale = np.linalg.svd(by_letter[0].reshape(2, 2), compute_uv=False)[0]
    assert ours == pytest.approx(by_letter / scale, abs=1e-9)


def test_coefficients_do_not_depend_on_size_and_place_and_if_asked_not_on_turn() -> None:
    _, small = trace_outline(a_kite(), UPRIGHT)
    moved = small * 3 + (100, 50)
    assert elliptic_fourier(moved) == pytest.approx(elliptic_fourier(small), abs=1e-9)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert elliptic_fourier(small @ turn, rotate=True) == pytest.approx(elliptic_fourier(small, rotate=True), abs=1e-6)
    assert np.abs(elliptic_fourier(small @ turn) - elliptic_fourier(small)).max() > 0.1


def test_a_frame_of_any_size_changes_nothing() -> None:
    a, b, c, d, e, f = UPRIGHT.matrix
    half = Frame((a / 2, b / 2, c / 2, d / 2, e / 2, f / 2))
    assert trace_outline(a_kite(), half)[1] == pytest.approx(trace_outline(a_kite(), UPRIGHT)[1], abs=1e-9)
