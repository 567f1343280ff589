"""Frames: their algebra, sampling through them, fitting them to matched points."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from sst_retrieval.imaging import frames
from sst_retrieval.imaging.pyramid import Pyramid, mask_pyramid
from sst_retrieval.types import Box, Frame, Mask, RGBImage

IDENTITY = Frame((1.0, 0.0, 0.0, 0.0, 1.0, 0.0))

some_frames = st.builds(
    lambda x, y, side, angle, mirror: (frames.mirror if mirror else lambda same: same)(
        frames.square_frame((x, y), side, angle)
    ),
    st.floats(-500, 500),
    st.floats(-500, 500),
    st.floats(1, 2000),
    st.floats(-7, 7),
    st.booleans(),
)


def through(frame: Frame, x: float, y: float) -> tuple[float, float]:
    a, b, c, d, e, f = frame.matrix
    return a * x + b * y + c, d * x + e * y + f


def apply(frame: Frame, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([through(frame, x, y) for x, y in points])


def iou(one: Mask, other: Mask) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def blob(height: int, width: int, seed: int) -> Mask:
    """A smooth blob in the middle of a photograph."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 9)
    ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    inside: Mask = xs**2 + ys**2 + 0.1 * noise / noise.std() < 0.35
    return inside


# The algebra


@given(some_frames, some_frames, st.floats(-300, 300), st.floats(-300, 300))
def test_composing_is_applying_one_after_the_other(outer: Frame, inner: Frame, x: float, y: float) -> None:
    both = through(frames.compose(outer, inner), x, y)
    assert both == pytest.approx(through(outer, *through(inner, x, y)), rel=1e-6, abs=1e-6)


@given(some_frames, st.floats(-300, 300), st.floats(-300, 300))
def test_the_inverse_leads_back(frame: Frame, x: float, y: float) -> None:
    assert through(frames.invert(frame), *through(frame, x, y)) == pytest.approx((x, y), abs=1e-6)


@given(some_frames, st.floats(-300, 300), st.floats(-300, 300))
def test_a_mirror_exchanges_left_and_right(frame: Frame, x: float, y: float) -> None:
    u, v = through(frame, x, y)
    assert through(frames.mirror(frame), x, y) == pytest.approx((1 - u, v), abs=1e-9)
    assert frames.mirror(frames.mirror(frame)).matrix == pytest.approx(frame.matrix, abs=1e-9)


@given(st.floats(-300, 300), st.floats(-300, 300), st.floats(1, 900), st.floats(-7, 7))
def test_a_turned_square_has_its_centre_in_the_middle_and_its_direction_to_the_right(
    x: float, y: float, side: float, angle: float
) -> None:
    frame = frames.square_frame((x, y), side, angle)
    assert through(frame, x, y) == pytest.approx((0.5, 0.5), abs=1e-6)
    ahead = (x + side / 4 * math.cos(angle), y + side / 4 * math.sin(angle))
    assert through(frame, *ahead) == pytest.approx((0.75, 0.5), abs=1e-6)


def test_the_first_hypothesis_is_the_frame_itself_and_all_differ() -> None:
    frame = frames.square_frame((30, 40), 50, 0.3)
    found = frames.pose_hypotheses(frame, 16)
    assert len(found) == 32
    assert found[0].matrix == pytest.approx(frame.matrix)
    assert len({tuple(np.round(each.matrix, 6)) for each in found}) == 32
    handedness = [np.sign(a * e - b * d) for a, b, _, d, e, _ in (each.matrix for each in found)]
    assert handedness == [1] * 16 + [-1] * 16


def test_hypotheses_turn_by_equal_steps_around_the_middle() -> None:
    frame = frames.square_frame((30, 40), 50, 0.3)
    angles = [
        math.atan2(each.matrix[1], each.matrix[0]) % (2 * math.pi) for each in frames.pose_hypotheses(frame, 8)[:8]
    ]
    steps = np.diff(np.unwrap(angles))
    assert steps == pytest.approx([math.pi / 4] * 7)
    assert all(through(each, 30, 40) == pytest.approx((0.5, 0.5)) for each in frames.pose_hypotheses(frame, 8))


# Looking through a frame


def noise(height: int, width: int, seed: int = 0) -> RGBImage:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_frame_that_is_the_photograph_shows_its_very_pixels() -> None:
    image = noise(40, 40)
    frame = frames.square_frame((20, 20), 40, 0.0)
    assert np.array_equal(frames.warp_image(image, frame, 40), image)
    assert np.array_equal(frames.warp_image(image, frames.mirror(frame), 40), image[:, ::-1])
    mask = image[..., 0] > 128
    assert np.array_equal(frames.warp_mask(mask, frame, 40), mask)
    assert np.array_equal(frames.warp_mask(mask, frames.mirror(frame), 40), mask[:, ::-1])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_show_the_very_pixels_turned(quarters: int) -> None:
    image = noise(40, 40)
    frame = frames.square_frame((20, 20), 40, quarters * math.pi / 2)
    # The photograph's direction "down" becomes "right": the picture turns anticlockwise.
    seen = frames.warp_image(image, frame, 40).astype(int)
    assert np.abs(seen - np.rot90(image, quarters)).max() <= 1


@given(seed=st.integers(0, 99), angle=st.floats(-4, 4), side=st.floats(190, 260), mirror=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_mask_comes_back_from_a_frame(seed: int, angle: float, side: float, mirror: bool) -> None:
    mask = blob(110, 150, seed)
    frame = frames.square_frame((75 + seed % 7, 55 - seed % 5), side, angle)
    frame = frames.mirror(frame) if mirror else frame
    (back,) = frames.unwarp_masks(frames.warp_mask(mask, frame, 256)[None], frame, mask.shape)
    assert iou(mask, back) > 0.97


def test_masks_of_a_frame_come_back_to_their_very_pixels() -> None:
    soft = np.zeros((2, 20, 20), dtype=np.float32)
    soft[1, 3:5, 10:16] = 1
    empty, drawn = frames.unwarp_masks(soft, frames.square_frame((60, 40), 20, 0.0), (90, 100))
    assert not empty.any()
    expected = np.zeros((90, 100), dtype=bool)
    expected[33:35, 60:66] = True  # The square begins at (50, 30).
    assert np.array_equal(drawn, expected)


@pytest.mark.parametrize("box", [(0, 0, 150, 110), (40, 20, 97, 83), (75, 0, 76, 110)])
def test_a_soft_mask_comes_back_as_sure_as_the_mask_is_that_comes_back(box: Box) -> None:
    frame = frames.square_frame((70, 50), 170, 0.7)
    soft = frames.warp_mask(blob(110, 150, 3), frame, 64) * np.float32(0.9)
    (mask,) = frames.unwarp_masks(soft[None], frame, (110, 150))
    x0, y0, x1, y1 = box
    sure = frames.unwarp_soft(soft, frame, box)
    assert sure.shape == (y1 - y0, x1 - x0)
    assert np.array_equal(sure > 0.5, mask[y0:y1, x0:x1])
    assert 0 <= sure.min() <= sure.max() <= np.float32(0.9) + 1e-5


def test_what_a_frame_holds_beyond_the_photograph_is_left_out() -> None:
    full = np.ones((1, 20, 20), dtype=np.float32)
    (corner,) = frames.unwarp_masks(full, frames.square_frame((0, 0), 20, 0.0), (30, 40))
    assert corner[:9, :9].all()
    assert not corner[11:].any()
    assert not corner[:, 11:].any()
    assert not frames.unwarp_masks(full, frames.square_frame((-50, 10), 20, 0.0), (30, 40)).any()


def test_no_masks_come_back_as_none() -> None:
    assert frames.unwarp_masks(np.zeros((0, 8, 8), dtype=np.float32), IDENTITY, (5, 6)).shape == (0, 5, 6)


@pytest.mark.parametrize("column", range(161, 169))
def test_a_thin_line_on_a_large_photograph_is_averaged_and_not_skipped(column: int) -> None:
    mask = np.zeros((400, 400), dtype=bool)
    mask[:, column] = True
    frame = frames.square_frame((200, 200), 400, 0.0)
    coverage = frames.warp_mask(mask, frame, 50)
    assert coverage.sum(axis=1) == pytest.approx(np.full(50, 1 / 8), abs=1e-5)
    picture = np.where(mask[..., None], 0, 255).astype(np.uint8).repeat(3, axis=2)
    darkness = 255 - frames.warp_image(picture, frame, 50).astype(float)
    assert darkness[..., 0].sum(axis=1) == pytest.approx(np.full(50, 255 / 8), abs=1)


def test_a_picture_that_is_seen_often_is_shrunk_once_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (300, 420, 3), dtype=np.uint8), rng.random((300, 420)) < 0.5
    several = [frames.square_frame((200 + angle, 150), 300, angle) for angle in range(5)]
    views = [frames.warp_image(image, frame, 64) for frame in several]
    coverages = [frames.warp_mask(mask, frame, 64) for frame in several]
    shrunk: list[int] = []
    reduce = Image.Image.reduce
    monkeypatch.setattr(Image.Image, "reduce", lambda self, factor: shrunk.append(factor) or reduce(self, factor))
    copies, covers = Pyramid(image), mask_pyramid(mask)
    for frame, view, coverage in zip(several, views, coverages, strict=True):
        np.testing.assert_array_equal(frames.warp_image(copies, frame, 64), view)
        np.testing.assert_array_equal(frames.warp_mask(covers, frame, 64), coverage)
    frames.warp_image(copies, several[0], 32)
    assert shrunk == [4, 4, 9]


def test_beyond_the_photograph_its_edge_is_repeated() -> None:
    image = noise(20, 30)
    seen = frames.warp_image(image, frames.square_frame((15, 10), 60, 0.0), 60).astype(int)
    expected = np.pad(image, ((20, 20), (15, 15), (0, 0)), mode="edge")
    assert np.abs(seen - expected).max() <= 1


def test_a_mask_ends_at_the_photographs_edge() -> None:
    coverage = frames.warp_mask(np.ones((20, 30), dtype=bool), frames.square_frame((15, 10), 60, 0.0), 60)
    assert coverage.sum() == pytest.approx(20 * 30, rel=0.01)
    assert not coverage[:19].any()


# Fitting a transform


def pairs(motion: Frame, *, outliers: float = 0.0, scatter: float = 0.0, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    source = rng.uniform(0.1, 0.9, (n, 2))
    goal = apply(motion, source) + rng.normal(0, scatter, (n, 2))
    wrong = int(outliers * n)
    goal[:wrong] = rng.uniform(0, 1, (wrong, 2))
    return source, goal


def turned_within(angle: float, scale: float, shift: tuple[float, float]) -> Frame:
    """Turn the unit square around its middle, then move it."""
    p, q = scale * math.cos(angle), scale * math.sin(angle)
    return Frame((p, -q, 0.5 - 0.5 * p + 0.5 * q + shift[0], q, p, 0.5 - 0.5 * q - 0.5 * p + shift[1]))


@given(st.floats(-3.1, 3.1), st.floats(0.6, 1.8), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_a_similarity_is_recovered(angle: float, scale: float, right: float, down: float) -> None:
    motion = turned_within(angle, scale, (right, down))
    found = frames.fit_similarity(*pairs(motion, n=30))
    assert found is not None
    assert found.matrix == pytest.approx(motion.matrix, abs=1e-6)


def test_three_wrong_partners_in_ten_are_outvoted() -> None:
    motion = turned_within(0.5, 0.9, (0.1, -0.05))
    source, goal = pairs(motion, outliers=0.3)
    found = frames.fit_similarity(source, goal)
    assert found is not None
    miss = np.linalg.norm(apply(found, source) - apply(motion, source), axis=1)
    assert miss.max() < 0.06


def test_noisy_partners_do_not_shrink_the_scale() -> None:
    rng = np.random.default_rng(1)
    true = rng.uniform(0.1, 0.9, (2000, 2))
    found = frames.fit_similarity(*(true + rng.normal(0, 0.12, true.shape) for _ in range(2)))
    assert found is not None
    assert math.hypot(found.matrix[0], found.matrix[3]) == pytest.approx(1, abs=0.04)  # Least squares gives 0.8.


@pytest.mark.parametrize("scale", [0.4, 2.1])
def test_a_change_of_size_more_than_twofold_is_refused(scale: float) -> None:
    assert frames.fit_similarity(*pairs(turned_within(0.2, scale, (0, 0)))) is None


@pytest.mark.parametrize("scale", [0.55, 1.9])
def test_a_change_of_size_less_than_twofold_is_not(scale: float) -> None:
    assert frames.fit_similarity(*pairs(turned_within(0.2, scale, (0, 0)))) is not None


def test_points_that_allow_no_transform_are_refused() -> None:
    spread = np.random.default_rng(0).random((20, 2))
    same = np.full((20, 2), 0.3)
    assert frames.fit_similarity(same, spread) is None
    assert frames.fit_similarity(spread, same) is None
    assert frames.fit_similarity(spread[:1], spread[:1]) is None
    assert frames.fit_similarity(np.zeros((0, 2)), np.zeros((0, 2))) is None


def test_points_that_match_only_in_a_mirror_are_not_turned_into_one() -> None:
    source, _ = pairs(IDENTITY)
    found = frames.fit_similarity(source, source * [-1, 1] + [1, 0])
    assert found is None or np.linalg.det([found.matrix[:2], found.matrix[3:5]]) > 0


@pytest.mark.parametrize("pad", [1, 2, 3, 8, 21])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (12, 20)])
def test_edges_are_repeated_as_numpy_repeats_them(size: tuple[int, int], pad: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    wanted = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    np.testing.assert_array_equal(frames._repeat_edge(image, pad), wanted)
