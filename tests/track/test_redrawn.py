"""Masks are drawn anew where the support says that it is better, by a drawer that sees greys; see `test_mobile_sam`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scipy import ndimage

from sst_retrieval.engines import load_propagator
from sst_retrieval.errors import ModelError
from sst_retrieval.imaging.masks import iou
from sst_retrieval.track.contract import Propagator
from sst_retrieval.track.dense.memory import CHANGED_BRIGHTNESS
from sst_retrieval.track.redrawn import (
    AGREEMENT,
    Point,
    RedrawnPropagator,
    change_support,
    displace_masks,
    find_box,
    find_points,
    mix,
    settle,
)
from sst_retrieval.types import Box, Floats, Frame, Mask, MaskStack, Propagated, RGBImage, Support

SIZE = (120, 160)
FRAME = Frame((1, 0, 0, 0, 1, 0))


def make_disc(row: float, column: float, radius: float) -> Mask:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    disc: Mask = np.hypot(rows - row, columns - column) <= radius
    return disc


LEFT, RIGHT = make_disc(60, 50, 25), make_disc(60, 110, 20)


def paint(masks: Sequence[Mask]) -> RGBImage:
    """A photograph on which every mask has a grey of its own, so that a drawer may see them."""
    image = np.zeros((*SIZE, 3), np.uint8)
    for number, mask in enumerate(masks):
        image[mask] = 100 + 50 * number
    return image


@dataclass
class Seer:
    """Draws the grey that is most frequent under a prompt: it sees rims to the pixel."""

    weights: Mapping[str, str] = field(
        default_factory=lambda: {"name": "Seer", "file": "none", "sha256": "ab" * 32, "licence": "MIT"}
    )
    blind: bool = False
    certainty: float = 3.0
    prompts: list[tuple[Box, int, int]] = field(default_factory=list)
    encoded: int = 0

    def encode(self, image: RGBImage) -> SeenBySeer:
        self.encoded += 1
        return SeenBySeer(self, image)


@dataclass
class SeenBySeer:
    seer: Seer
    image: RGBImage

    def draw(
        self, box: Box, mask: Mask | Floats, inside: Sequence[Point] = (), outside: Sequence[Point] = ()
    ) -> list[tuple[Box, Floats]]:
        x0, y0, x1, y1 = box
        assert mask.shape == (y1 - y0, x1 - x0)
        for x, y in inside:
            assert mask[int(y) - y0, int(x) - x0] > 0.5
        self.seer.prompts.append((box, len(inside), len(outside)))
        grey = np.bincount(self.image[y0:y1, x0:x1, 0][mask > 0.5]).argmax()
        drawn = self.image[..., 0] == grey
        if self.seer.blind:
            drawn = ndimage.binary_dilation(drawn, iterations=8)
        height, width = drawn.shape
        nothing, certainty = np.full((2, 2), -1, np.float32), self.seer.certainty
        return [
            ((0, 0, 2, 2), nothing),
            ((0, 0, width, height), np.where(drawn, certainty, -certainty).astype(np.float32)),
        ]


@dataclass
class Answering:
    """A propagator with given answers on photographs; on a changed one of the support it sees greys.

    Attributes:
        slip: pixels by which its masks reach over the rims of greys.
    """

    answer: Propagated
    name: str = "answering"
    concurrent: bool = True
    slip: int = 60

    def remember(self, supports: Sequence[Support]) -> Support:
        return supports[0]

    def propagate(self, memory: object, images: Sequence[RGBImage]) -> list[Propagated]:
        return [self.answer if image.shape[:2] == SIZE else self._see(image) for image in images]

    def _see(self, image: RGBImage) -> Propagated:
        grey = image[..., 0] / CHANGED_BRIGHTNESS
        masks = [ndimage.binary_dilation(abs(grey - wanted) < 12, iterations=self.slip) for wanted in (100, 150)]
        return answer(masks, [0.5, 0.5])


@dataclass
class SoftlyAnswering(Answering):
    """The same, which knows how sure every pixel of its masks is."""

    soft: Floats = field(default_factory=lambda: np.zeros((2, 320, 320), np.float32))

    def propagate_softly(self, memory: object, images: Sequence[RGBImage]) -> list[tuple[Propagated, Floats]]:
        return [(found, self.soft) for found in self.propagate(memory, images)]


def make_support() -> Support:
    return Support("first", "g", paint([LEFT, RIGHT]), ("left", "right"), np.stack([LEFT, RIGHT]))


def answer(masks: Sequence[Mask], confidence: Sequence[float]) -> Propagated:
    return Propagated(np.stack(masks), np.array(confidence, np.float32), FRAME)


def redraw(seer: Seer, found: Propagated) -> Propagated:
    propagator = RedrawnPropagator(Answering(found), seer)
    memory = propagator.remember([make_support()])
    (redrawn,) = propagator.propagate(memory, [paint([LEFT, RIGHT])])
    return redrawn


POOR = ndimage.binary_erosion(LEFT, iterations=5)


def test_a_doubtful_mask_is_drawn_anew_and_a_sure_one_stays() -> None:
    found = answer([POOR, ndimage.binary_erosion(RIGHT)], [0.7, 1.0])
    redrawn = redraw(Seer(), found)
    assert np.array_equal(redrawn.masks[0], LEFT)
    assert np.array_equal(redrawn.masks[1], found.masks[1])
    assert np.array_equal(redrawn.confidence, found.confidence)
    assert redrawn.frame == FRAME


def test_a_trait_that_does_not_come_back_on_the_support_stays() -> None:
    """A drawer that reaches over every rim: its quality on the support is below what the mask promises."""
    found = answer([POOR, RIGHT], [0.85, 0.9])
    seer = Seer(blind=True)
    propagator = RedrawnPropagator(Answering(found), seer)
    memory = propagator.remember([make_support()])
    assert ((memory.qualities > 0.3) & (memory.qualities < 0.75)).all()
    (same,) = propagator.propagate(memory, [paint([LEFT, RIGHT])])
    assert same is found
    assert seer.encoded == 1  # The support; a photograph without a doubtful mask is not encoded.


def test_a_trait_whose_rim_the_propagator_itself_finds_better_is_never_drawn_anew() -> None:
    """The drawer reaches over every rim by 8 pixels; the propagator by hardly any on the changed photograph."""
    found = answer([POOR, RIGHT], [0.2, 0.2])
    for slip, worth in ((1, False), (60, True)):
        propagator = RedrawnPropagator(Answering(found, slip=slip), Seer(blind=True))
        memory = propagator.remember([make_support()])
        assert (memory.qualities > 0.3).all() == worth
        assert (memory.qualities == 0).all() != worth
        (redrawn,) = propagator.propagate(memory, [paint([LEFT, RIGHT])])
        assert (redrawn is found) != worth


def test_the_changed_photograph_shows_what_its_masks_say() -> None:
    changed = change_support(make_support())
    assert changed.image.shape[0] == changed.image.shape[1] == changed.masks.shape[1]
    for mask, grey in zip(changed.masks, (100, 150), strict=True):
        inner = ndimage.binary_erosion(mask, iterations=6)
        assert inner.any()
        assert abs(changed.image[inner][:, 0] - grey * CHANGED_BRIGHTNESS).max() <= 2
        outer = ndimage.binary_dilation(mask, iterations=8) & ~ndimage.binary_dilation(mask, iterations=7)
        assert changed.image[outer][:, 0].max() < 5


def test_a_rim_moves_where_the_propagator_is_unsure_of_it() -> None:
    sure = np.array([[1, 1, 0.6, 0.4, 0, 0]], np.float32)
    assert (mix(sure, np.array([[9, 0, -9, 9, 9, -9]], np.float32)) > 0).tolist() == [[1, 1, 0, 1, 1, 0]]
    doubting = np.array([[-1, -1, -1, 1, 1, 1]], np.float32)
    assert (mix(sure, doubting) > 0).tolist() == [[1, 1, 0, 1, 0, 0]]


def test_masks_are_mixed_with_those_of_a_propagator_that_knows_how_sure_it_is() -> None:
    """The drawer wants the whole disc; the propagator is sure that its upper half is none, or is not."""
    half = LEFT.copy()
    half[:56] = False
    twice = np.pad(half, ((0, 40), (0, 0))).repeat(2, axis=0).repeat(2, axis=1).astype(np.float32)
    frame = Frame((1 / 160, 0, 0, 0, 1 / 160, 0))
    found = replace(answer([half, RIGHT], [0.1, 1.0]), frame=frame)
    masks = []
    for most in (1.0, 0.6):
        soft = np.stack([np.clip(twice, 1 - most, most), np.zeros_like(twice)])
        propagator = RedrawnPropagator(SoftlyAnswering(found, soft=soft), Seer(certainty=1.0))
        (redrawn,) = propagator.propagate(propagator.remember([make_support()]), [paint([LEFT, RIGHT])])
        masks.append(redrawn.masks[0])
    assert iou(masks[0], half) > 0.97
    assert np.array_equal(masks[1], LEFT)


def test_the_quality_is_that_of_what_comes_back() -> None:
    propagator = RedrawnPropagator(Answering(answer([LEFT, RIGHT], [1, 1])), Seer())
    support = make_support()
    memory = propagator.remember([support, support])
    assert memory.qualities == pytest.approx([1, 1])
    assert memory.traits == ("left", "right")
    assert np.array_equal(memory.rivals, ~np.eye(2, dtype=bool))


def test_prompts_are_points_inside_and_one_in_each_rival() -> None:
    seer = Seer()
    redraw(seer, answer([POOR, RIGHT], [0.5, 1.0]))
    box, inside, outside = seer.prompts[-1]
    assert (box[2] - box[0], box[3] - box[1]) == (41, 41)
    assert 1 <= inside <= 3
    assert outside == 1


def test_what_means_another_thing_is_not_taken() -> None:
    """Hardly anything of the found mask lies on what the drawer sees there."""
    elsewhere = make_disc(60, 50, 6)
    found = answer([elsewhere, RIGHT], [0.2, 1.0])
    redrawn = redraw(Seer(), found)
    assert iou(elsewhere, LEFT) < AGREEMENT
    assert np.array_equal(redrawn.masks, found.masks)


def test_absent_traits_stay_absent() -> None:
    found = answer([np.zeros(SIZE, bool), np.zeros(SIZE, bool)], [0.1, 0.1])
    assert redraw(Seer(), found) is found
    one = redraw(Seer(), answer([POOR, np.zeros(SIZE, bool)], [0.1, 0.1]))
    assert np.array_equal(one.masks[0], LEFT)
    assert not one.masks[1].any()


RIVALS = ~np.eye(2, dtype=bool)


def stack(*ranges: tuple[int, int]) -> MaskStack:
    masks = np.zeros((len(ranges), 1, 12), bool)
    for mask, (first, last) in zip(masks, ranges, strict=True):
        mask[0, first:last] = True
    return masks


def logits(first: int, last: int, value: float) -> Floats:
    line = np.full((1, 12), -1, np.float32)
    line[0, first:last] = value
    return line


def test_a_new_mask_leaves_pixels_to_a_rival_that_stays_but_not_to_one_it_may_overlap() -> None:
    masks = stack((0, 6), (6, 12))
    assert np.array_equal(settle(masks, {0: logits(0, 8, 2)}, RIVALS), masks)
    assert np.array_equal(settle(masks, {0: logits(0, 8, 2)}, 0 * RIVALS > 0), stack((0, 8), (6, 12)))


def test_of_two_new_ones_the_surer_gets_the_pixel_and_of_equal_ones_the_earlier() -> None:
    masks = stack((0, 6), (6, 12))
    assert np.array_equal(settle(masks, {0: logits(0, 8, 2), 1: logits(5, 12, 3)}, RIVALS), stack((0, 5), (5, 12)))
    assert np.array_equal(settle(masks, {0: logits(0, 8, 2), 1: logits(5, 12, 2)}, RIVALS), stack((0, 8), (8, 12)))


def test_a_new_mask_of_which_rivals_leave_too_little_gives_way_to_what_was_found() -> None:
    masks = stack((0, 4), (4, 12))
    settled = settle(masks, {0: logits(0, 6, 1), 1: logits(1, 12, 3)}, RIVALS)
    assert np.array_equal(settled, masks)  # The second took all but one pixel; then it may not have those of the first.
    assert not settled.all(axis=0).any()


def test_points_lie_deep_inside_and_apart() -> None:
    two = make_disc(30, 30, 12) | make_disc(80, 120, 18)
    (x, y), (x2, y2) = find_points(two, 2)
    assert np.hypot(x - 120.5, y - 80.5) < 2
    assert np.hypot(x2 - 30.5, y2 - 30.5) < 2
    assert find_points(np.zeros(SIZE, bool), 3) == []
    large = np.zeros((3000, 2000), bool)
    large[2999, 1999] = True  # Thinned out, nothing of it is left.
    assert find_points(large, 3) == [(1999.5, 2999.5)]


def test_displaced_masks_are_a_little_wrong_together_and_always_the_same() -> None:
    masks = np.stack([LEFT, RIGHT, ~LEFT & ~RIGHT])
    once = displace_masks(masks, 0)
    assert np.array_equal(once, displace_masks(masks, 0))
    assert not np.array_equal(once, displace_masks(masks, 1))
    assert (once.sum(axis=0) == 1).all()
    assert 0.85 < iou(once[0], LEFT) < 1


def test_the_box_holds_all_masks_with_a_margin_inside_the_photograph() -> None:
    assert find_box(np.stack([LEFT, RIGHT])) == (25 - 12, 35 - 12, 131 + 12, 86 + 12)
    assert find_box(np.zeros((2, 10, 10), bool)) is None
    assert find_box(np.ones((1, 10, 12), bool)) == (0, 0, 12, 10)


def test_name_weights_and_threads_are_those_of_both() -> None:
    propagator = RedrawnPropagator(Answering(answer([LEFT, RIGHT], [1, 1])), Seer())
    assert isinstance(propagator, Propagator)
    assert propagator.name.startswith("answering; masks drawn anew")
    assert "abababababab" in propagator.name
    assert propagator.weights["redrawn_by"]["name"] == "Seer"
    assert propagator.concurrent is True


def test_it_is_named_on_the_command_line() -> None:
    with pytest.raises(ModelError, match="names no file"):
        load_propagator("dense+mobile_sam@")
    with pytest.raises(ModelError, match=r"MobileSAM's weights are not at .*nowhere\.pt"):
        load_propagator("dense+mobile_sam@/nowhere.pt", "cpu")
    with pytest.raises(ModelError, match=r"say tracker\+mobile_sam@mobile_sam\.pt"):
        load_propagator("tracker+mobile_sam@")
    with pytest.raises(ModelError, match="there is no propagator"):
        load_propagator("matching+mobile_sam")
