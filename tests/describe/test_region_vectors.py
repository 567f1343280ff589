"""Vectors against what a person would call similar; a fake embedder gives the pattern."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.color import lab2rgb
from skimage.draw import disk, ellipse, polygon

from sst_retrieval.describe import region_vectors
from sst_retrieval.describe.colour_block import compute_colour_block
from sst_retrieval.describe.contract import Embedder
from sst_retrieval.describe.region_vectors import block_widths, describe_embedder, embed_regions, pool
from sst_retrieval.describe.shape_block import SHAPE_DIM, compute_shape_block
from sst_retrieval.errors import ModelError
from sst_retrieval.imaging import frames
from sst_retrieval.index.whitening import block_slices
from sst_retrieval.types import BLOCKS, Doubles, FeatureGrid, Floats, Frame, Mask, RGBImage

RED, GREEN, BLUE, PURPLE = (200, 40, 30), (40, 150, 50), (40, 60, 200), (130, 40, 160)
SIZE = (200, 240)
FRAME = frames.square_frame((120, 100), 240, 0)


class Cells:
    """An embedder that says of every 8 x 8 cell how red, green and blue it is, and how red its left neighbour is."""

    name = "cells"
    dim = 4
    side = 64

    def __init__(self) -> None:
        """Count the calls."""
        self.calls = 0

    def features(self, images: Sequence[RGBImage]) -> list[FeatureGrid]:
        """Average 8 x 8 pixels."""
        self.calls += 1
        grids = []
        for image in images:
            cells = image.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)) / 255
            left = np.roll(cells[..., :1], 1, axis=1)
            grids.append(np.concatenate([cells, left], axis=-1).astype(np.float32))
        return grids


def spot(colour: tuple[int, int, int], ground: tuple[int, int, int]) -> tuple[RGBImage, Mask]:
    """A wing of one colour with a round spot of another."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[disk((90, 130), 30)] = True
    image = np.full((*SIZE, 3), ground, dtype=np.uint8)
    image[mask] = colour
    return image, mask


def drawn(points: Sequence[tuple[float, float]], size: tuple[int, int] = SIZE) -> Mask:
    """A polygon of (x, y) corners."""
    mask = np.zeros(size, dtype=bool)
    xs, ys = np.array(points).T
    mask[polygon(ys, xs, size)] = True
    return mask


def flag(x: float, y: float, scale: float = 1) -> list[tuple[float, float]]:
    """Corners of a shape without any symmetry."""
    return [(x + scale * u, y + scale * v) for u, v in [(0, 0), (60, 5), (35, 25), (50, 50), (10, 45), (18, 20)]]


def cosine(a: npt.NDArray[np.float32] | None, b: npt.NDArray[np.float32] | None) -> float:
    """Cosine of two unit vectors."""
    assert a is not None
    assert b is not None
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_a_blue_spot_on_red_finds_blue_on_green_before_purple_on_red() -> None:
    query, same, other = (compute_colour_block(*spot(*pair)) for pair in [(BLUE, RED), (BLUE, GREEN), (PURPLE, RED)])
    assert cosine(query, same) > 0.99
    assert cosine(query, other) < 0.8


def test_a_little_less_light_changes_colour_less_than_another_hue_does() -> None:
    image, mask = spot(BLUE, RED)
    darker = (image * 0.9).astype(np.uint8)
    assert cosine(compute_colour_block(image, mask), compute_colour_block(darker, mask)) > 0.9
    assert cosine(compute_colour_block(image, mask), compute_colour_block(spot(GREEN, RED)[0], mask)) < 0.3


def test_colours_enter_by_their_share_not_by_their_place() -> None:
    mask = np.ones((40, 40), dtype=bool)
    stripes = np.full((40, 40, 3), RED, dtype=np.uint8)
    stripes[::4] = BLUE
    block = np.full((40, 40, 3), RED, dtype=np.uint8)
    block[:10] = BLUE
    more = np.full((40, 40, 3), BLUE, dtype=np.uint8)
    more[:10] = RED
    assert cosine(compute_colour_block(stripes, mask), compute_colour_block(block, mask)) > 0.99
    assert cosine(compute_colour_block(stripes, mask), compute_colour_block(more, mask)) < 0.9


def test_a_small_bright_mark_weighs_by_the_square_root_of_its_share() -> None:
    mask = np.ones((40, 40), dtype=bool)
    marked = np.full((40, 40, 3), RED, dtype=np.uint8)
    marked[18:22] = BLUE  # 4 of the 34 rows that are not rim.
    blue = compute_colour_block(np.full_like(marked, BLUE), mask)
    assert cosine(compute_colour_block(marked, mask), blue) == pytest.approx(math.sqrt(4 / 34), abs=0.03)


def test_a_step_in_lightness_counts_less_than_the_same_step_in_hue() -> None:
    mask = np.ones((8, 8), dtype=bool)

    def block(*lab: float) -> Floats:
        colour = (lab2rgb(np.array(lab, dtype=float)) * 255).round().astype(np.uint8)
        return compute_colour_block(np.broadcast_to(colour, (8, 8, 3)), mask)

    grey = block(50, 0, 0)
    assert cosine(grey, block(75, 0, 0)) > cosine(grey, block(50, 25, 0)) + 0.1
    assert cosine(grey, block(50, 25, 0)) == pytest.approx(cosine(grey, block(50, 0, 25)), abs=0.05)


def test_the_rim_of_a_thick_trait_is_left_out_but_a_hair_is_all_rim() -> None:
    image, mask = spot(BLUE, RED)
    careless = np.zeros_like(mask)
    careless[disk((90, 130), 32)] = True  # Two pixels too wide: a red rim.
    assert cosine(compute_colour_block(image, mask), compute_colour_block(image, careless)) > 0.9999
    hair = np.zeros(SIZE, dtype=bool)
    hair[50, 20:200] = True
    green = image.copy()
    green[hair] = GREEN
    plain_green = np.full_like(image, GREEN)
    assert cosine(compute_colour_block(green, hair), compute_colour_block(plain_green, hair)) > 0.999


@pytest.mark.parametrize(("x", "y", "scale"), [(20, 20, 1.0), (100, 80, 1.0), (60, 30, 2.5), (130, 100, 0.6)])
def test_a_shape_is_known_again_anywhere_and_at_any_size(x: float, y: float, scale: float) -> None:
    size = (400, 600)
    # Right of the middle line of every frame used here, so that none is seen in a mirror.
    frame = frames.square_frame((0, 200), 1200, 0)
    reference = compute_shape_block(drawn(flag(200, 200, 2), size), frame)
    moved = compute_shape_block(drawn(flag(x, y, scale), size), frame)
    assert cosine(reference, moved) > 0.985
    rows, columns = ellipse(200, 300, 20, 90)
    oval = np.zeros(size, dtype=bool)
    oval[rows, columns] = True
    assert cosine(reference, compute_shape_block(oval, frame)) < 0.93


@pytest.mark.parametrize("angle", [25, 90, 180, 300])
def test_a_turned_specimen_has_the_same_shape_through_its_frame(angle: float) -> None:
    centre = (300.0, 300.0)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    upright = [(310 + 2 * (x - 300), 250 + 2 * (y - 300)) for x, y in flag(300, 300)]
    turned = [(300 + cos * (x - 300) - sin * (y - 300), 300 + sin * (x - 300) + cos * (y - 300)) for x, y in upright]
    still = compute_shape_block(drawn(upright, (600, 600)), frames.square_frame(centre, 500, 0))
    mask = drawn(turned, (600, 600))
    assert cosine(still, compute_shape_block(mask, frames.square_frame(centre, 500, math.radians(angle)))) > 0.985
    if angle != 180:
        assert cosine(still, compute_shape_block(mask, frames.square_frame(centre, 500, 0))) < 0.98


def test_shape_tells_discs_bars_and_triangles_apart() -> None:
    def variants(corners: int, stretch: float) -> list[Floats]:
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) - np.pi / 2
        return [
            compute_shape_block(drawn([(x + r * stretch * math.cos(a), 100 + r * math.sin(a)) for a in angles]), FRAME)
            for x, r in [(120, 40), (125, 30), (115, 22)]
        ]

    families = [variants(60, 1), variants(3, 1), variants(60, 2.5), variants(60, 0.4)]
    for i, family in enumerate(families):
        others = [cosine(family[0], other) for j, rest in enumerate(families) if j != i for other in rest]
        assert min(cosine(family[0], own) for own in family[1:]) > max(others)


def wings(bridge: int) -> Mask:
    """A left and a right wing, with so many rows of the body between them taken for wing, too."""
    mask = np.zeros(SIZE, dtype=bool)
    right = drawn([(128, 100), (215, 30), (225, 90), (170, 135)])
    mask[right | np.roll(right[:, ::-1], 0, axis=1)] = True
    mask[90 : 90 + bridge, 105:135] = True
    return mask


def test_a_pair_that_hangs_together_is_still_described_one_by_one() -> None:
    frame = frames.square_frame((120, 100), 240, 0)
    apart, joined = compute_shape_block(wings(0), frame), compute_shape_block(wings(22), frame)
    other = np.zeros(SIZE, dtype=bool)
    for x in (60, 180):
        other[disk((90, x), 45)] = True
    assert cosine(apart, joined) > 0.9
    assert cosine(apart, joined) > cosine(apart, compute_shape_block(other, frame)) + 0.1


@pytest.mark.parametrize("side", [240, 480], ids=["wide", "narrow on its specimen"])
@pytest.mark.parametrize("shift", [-8, 0, 8])
def test_a_pair_is_cut_at_its_own_axis_wherever_the_pose_puts_the_midline(shift: int, side: int) -> None:
    """The pose is an estimate: with a midline eight pixels beside the body a pair is still a pair."""
    frame = frames.square_frame((120 + shift, 100), side, 0)
    true = frames.square_frame((120, 100), side, 0)
    apart = compute_shape_block(wings(0), true)
    assert cosine(apart, compute_shape_block(wings(22), frame)) > 0.91


def test_between_no_neck_and_a_thin_one_there_is_no_jump() -> None:
    frame = frames.square_frame((120, 100), 480, 0)
    blocks = []
    for notch in range(0, 44, 2):
        mask = np.zeros(SIZE, dtype=bool)
        mask[60:140, 70:170] = True
        mask[60 : 60 + notch, 112:128] = mask[140 - notch : 140, 112:128] = False
        blocks.append(compute_shape_block(mask, frame))
    assert min(cosine(one, following) for one, following in pairwise(blocks)) > 0.93
    assert cosine(blocks[0], blocks[-1]) < 0.9  # One square in the end became two bars.


def test_a_spur_does_not_turn_the_grid() -> None:
    """A strip of the body beside a wing: by the second moments of all of it the axis would turn by 12 degrees."""
    frame = frames.square_frame((120, 100), 240, 0)
    wing = drawn([(130, 90), (220, 60), (225, 100), (140, 120)])
    marred = wing.copy()
    marred[100:170, 130:138] = True
    axis = slice(0, SHAPE_DIM // 2)
    assert cosine(compute_shape_block(wing, frame)[axis], compute_shape_block(marred, frame)[axis]) > 0.95


def test_from_a_single_piece_to_a_pair_there_is_no_jump() -> None:
    frame = frames.square_frame((120, 100), 240, 0)
    blocks = []
    for half in range(30, 80, 2):
        mask = np.zeros(SIZE, dtype=bool)
        rows, columns = ellipse(100, 120, 40, half)
        mask[rows, columns] = True
        blocks.append(compute_shape_block(mask, frame))
    assert min(cosine(one, following) for one, following in pairwise(blocks)) > 0.97


def test_a_wing_that_is_spread_farther_keeps_its_shape() -> None:
    frame = frames.square_frame((120, 100), 240, 0)
    corners = np.array([(128, 100), (215, 30), (225, 90), (170, 135)], float)

    def spread(angle: float, points: Doubles = corners) -> Floats:
        centred = points - points[0]
        turned = centred @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        return compute_shape_block(drawn([(x, y) for x, y in turned * 0.9 + (135, 100)]), frame)

    wide = corners + np.array([(0, 0), (0, 12), (-10, 25), (0, 0)])
    usual, farther, other = spread(0), spread(0.3), spread(0, wide)
    axis = slice(0, SHAPE_DIM // 2)
    assert cosine(usual[axis], farther[axis]) > 0.98
    assert cosine(usual, farther) > 0.93
    assert cosine(usual[axis], farther[axis]) > cosine(usual[axis], other[axis])


@pytest.mark.parametrize("rows", [(95, 99), (118, 122)])
def test_a_spur_and_a_notch_hardly_change_the_outline(rows: tuple[int, int]) -> None:
    frame = frames.square_frame((120, 100), 240, 0)
    whole = drawn([(60, 60), (180, 70), (170, 140), (80, 150)])
    marred = whole.copy()
    marred[slice(*rows), 165:215] = True
    marred[slice(*rows), 60:100] = False
    assert np.count_nonzero(marred ^ whole) > 200
    assert cosine(compute_shape_block(whole, frame), compute_shape_block(marred, frame)) > 0.95


def test_a_hole_and_dust_do_not_change_the_outline() -> None:
    whole = drawn(flag(100, 60))
    marred = whole.copy()
    marred[80:84, 120:124] = False
    marred[150:153, 20:23] = True
    assert whole[80:84, 120:124].all()
    frame = frames.square_frame((120, 100), 240, 0)
    assert cosine(compute_shape_block(whole, frame), compute_shape_block(marred, frame)) > 0.99


def test_a_sprinkled_mask_takes_no_minutes() -> None:
    mask = np.zeros((400, 400), dtype=bool)
    mask[::8, ::8] = True
    started = time.process_time()
    assert np.isfinite(compute_shape_block(mask, frames.square_frame((200, 200), 400, 0))).all()
    assert time.process_time() - started < 2


def test_left_and_right_copies_share_one_vector() -> None:
    size = (200, 300)
    right = drawn(flag(180, 60), size)
    image = np.full((*size, 3), RED, dtype=np.uint8)
    image[right] = BLUE
    image[:, :150] = image[:, :149:-1]
    left, frame = right[:, ::-1], frames.square_frame((150, 100), 300, 0)
    of_right, of_left, of_both = embed_regions(image, np.stack([right, left, left | right]), frame, Cells())
    assert cosine(of_right, of_left) > 0.999
    assert cosine(of_right, of_both) > 0.99  # Both fill a wider view, of the same number of pixels.
    (elsewhere,) = embed_regions(image, left[None], frames.square_frame((0, 100), 300, 0), Cells())
    shapes = block_slices(block_widths(Cells()))["shape"]
    assert of_right is not None
    assert elsewhere is not None
    # The same left copy, called right of the middle: seen without the mirror it is another shape.
    assert cosine(of_right[shapes], elsewhere[shapes]) < 0.995


def test_a_mirrored_frame_gives_the_same_vector() -> None:
    image, _ = spot(BLUE, RED)
    image[:, :60] = GREEN
    masks = drawn(flag(20, 60))[None]
    (upright,) = embed_regions(image, masks, FRAME, Cells())
    (in_mirror,) = embed_regions(image, masks, frames.mirror(FRAME), Cells())
    assert cosine(upright, in_mirror) > 0.999


def test_every_block_has_unit_length_and_lies_where_block_widths_says() -> None:
    embedder = Cells()
    image, mask = spot(BLUE, RED)
    (vector,) = embed_regions(image, mask[None], FRAME, embedder)
    assert vector is not None
    assert vector.dtype == np.float32
    slices = block_slices(block_widths(embedder))
    assert tuple(slices) == BLOCKS
    assert [slices[BLOCKS[0]].start, slices[BLOCKS[-1]].stop] == [0, len(vector)]
    assert all(a.stop == b.start for a, b in pairwise(slices.values()))
    assert [float(np.linalg.norm(vector[part])) for part in slices.values()] == pytest.approx([1, 1, 1], abs=1e-5)
    assert cosine(vector[slices["colour"]], compute_colour_block(image, mask)) == pytest.approx(1, abs=1e-5)
    assert describe_embedder(embedder)["blocks"] == {name: part.stop - part.start for name, part in slices.items()}


def test_the_pattern_is_the_mean_under_the_mask_of_the_view_and_its_mirror_as_it_is_and_on_grey() -> None:
    mask = np.zeros((256, 256), dtype=bool)
    mask[64:192, 96:224] = True  # 4 x 4 cells of 32 pixels, off the middle.
    image = np.full((256, 256, 3), RED, dtype=np.uint8)
    image[mask] = BLUE
    image[64:192, 224:] = GREEN  # Part of the specimen.
    (vector,) = embed_regions(image, mask[None], frames.square_frame((128, 128), 256, 0), Cells())
    assert vector is not None
    # The left neighbours: blue but for the first column. There it is red ground as seen and grey without the ground,
    # and in the mirror, with the ground and without, the green part.
    left = (12 * BLUE[0] + 4 * np.mean([RED[0], 127, GREEN[0], GREEN[0]])) / 16
    expected = np.array([*BLUE, left])
    np.testing.assert_allclose(vector[:4], expected / np.linalg.norm(expected), atol=0.01)


def test_where_nothing_stands_out_nothing_is_taken_for_background() -> None:
    mask = np.zeros(SIZE, dtype=bool)
    mask[60:140, 60:180] = True
    image = np.full((*SIZE, 3), RED, dtype=np.uint8)
    (vector,) = embed_regions(image, mask[None], frames.square_frame((120, 100), 160, 0), Cells())
    assert vector is not None
    expected = np.array([*RED, RED[0]])
    np.testing.assert_allclose(vector[:4], expected / np.linalg.norm(expected), atol=0.01)


def test_all_traits_of_a_specimen_take_one_call() -> None:
    embedder = Cells()
    image, mask = spot(BLUE, RED)
    together = embed_regions(image, np.stack([mask, drawn(flag(20, 60)), mask]), FRAME, embedder)
    assert embedder.calls == 1
    (alone,) = embed_regions(image, mask[None], FRAME, embedder)
    assert alone is not None
    assert together[2] is not None
    np.testing.assert_array_equal(alone, together[0])
    np.testing.assert_array_equal(alone, together[2])


def test_absent_traits_have_no_vector_and_cost_nothing() -> None:
    embedder = Cells()
    image, mask = spot(BLUE, RED)
    empty, outside = np.zeros_like(mask), np.zeros_like(mask)
    outside[:10, :10] = True
    assert embed_regions(image, np.stack([empty, outside]), frames.square_frame((150, 110), 60, 0), embedder) == [
        None,
        None,
    ]
    assert embedder.calls == 0
    first, second = embed_regions(image, np.stack([empty, mask]), FRAME, embedder)
    assert first is None
    assert second is not None


def test_masks_of_another_size_are_refused() -> None:
    image, mask = spot(BLUE, RED)
    with pytest.raises(ValueError, match="do not fit"):
        embed_regions(image, mask[None, 1:], FRAME, Cells())
    with pytest.raises(ValueError, match="do not fit"):
        embed_regions(image, mask, FRAME, Cells())


@pytest.mark.parametrize("fault", ["nan", "width", "number"])
def test_an_embedder_that_answers_nonsense_is_named(fault: str) -> None:
    class Broken(Cells):
        name = "broken"

        def features(self, images: Sequence[RGBImage]) -> list[FeatureGrid]:
            grids = super().features(images)
            if fault == "number":
                return grids[:1]
            return [grid * np.float32("nan") if fault == "nan" else grid[..., :3] for grid in grids]

    image, mask = spot(BLUE, RED)
    with pytest.raises(ModelError, match="broken"):
        embed_regions(image, mask[None], FRAME, Broken())


def test_a_hair_does_not_vanish_from_a_large_photograph() -> None:
    image = np.full((1500, 2000, 3), RED, dtype=np.uint8)
    hair = np.zeros((1500, 2000), dtype=bool)
    hair[400, 300:1700] = True
    image[hair] = BLUE
    (vector,) = embed_regions(image, hair[None], frames.square_frame((1000, 750), 2100, 0.3), Cells())
    assert vector is not None
    parts = [vector[part] for part in block_slices(block_widths(Cells())).values()]
    assert [float(np.linalg.norm(part)) for part in parts] == pytest.approx([1, 1, 1], abs=1e-5)
    assert cosine(parts[1], compute_colour_block(*spot(BLUE, RED))) > 0.999


@given(
    arrays(np.float32, (3, 4, 2), elements=st.floats(-5, 5, width=32)),
    arrays(np.float32, (6, 8), elements=st.floats(0, 1, width=32)).filter(lambda c: c.sum() > 0.1),
)
@settings(max_examples=30, deadline=None)
def test_pooling_is_the_coverage_weighted_mean(grid: FeatureGrid, coverage: Floats) -> None:
    fine = grid.repeat(2, axis=0).repeat(2, axis=1).astype(np.float64)
    expected = (fine * coverage[..., None]).sum(axis=(0, 1)) / coverage.sum(dtype=np.float64)
    np.testing.assert_allclose(pool(grid, coverage), expected, atol=1e-4)


def test_pooling_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="covers nothing"):
        pool(np.ones((3, 3, 2), dtype=np.float32), np.zeros((9, 9), dtype=np.float32))


@given(arrays(bool, (12, 16)).filter(np.any), st.floats(-3, 3), st.floats(10, 40))
@settings(max_examples=25, deadline=None)
def test_any_mask_gives_a_finite_unit_shape(mask: Mask, angle: float, side: float) -> None:
    shape = compute_shape_block(mask, frames.square_frame((8, 6), side, angle))
    assert np.isfinite(shape).all()
    assert float(np.linalg.norm(shape)) == pytest.approx(1, abs=1e-5)


def test_cropping_the_mask_changes_no_coverage() -> None:
    mask = np.zeros((900, 1200), dtype=bool)
    mask[disk((500, 700), 150)] = True
    frame = frames.square_frame((650, 450), 1300, 0.4)
    crop = region_vectors._crop_mask(mask, frame, 384)
    assert crop is not None
    assert crop.mask.size < mask.size / 3
    whole = frames.warp_mask(mask, frame, 384)
    np.testing.assert_allclose(
        crop.coverage, whole, atol=0.35
    )  # Blocks of pixels start elsewhere, so edges differ a little.
    assert crop.coverage.sum() == pytest.approx(whole.sum(), rel=0.01)
    assert cosine(compute_shape_block(crop.mask, crop.frame), compute_shape_block(mask, frame)) > 0.9999


def test_the_protocol_knows_an_embedder() -> None:
    assert isinstance(Cells(), Embedder)
    assert not isinstance(Frame((1, 0, 0, 0, 1, 0)), Embedder)
