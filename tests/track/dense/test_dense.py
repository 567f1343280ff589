"""The dense propagator with its real network, on drawn specimens whose traits are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import frame_specimen
from sst_retrieval.synthetic.species import SPECIES
from sst_retrieval.synthetic.specimen import SpecimenPlan, draw_specimen
from sst_retrieval.track.dense import propagator as dense
from sst_retrieval.track.dense.keys import KeyVotes
from sst_retrieval.track.dense.matching import PCAProjection
from sst_retrieval.track.dense.memory import DenseMemory
from sst_retrieval.track.dense.propagator import NEAR_GAP, DensePropagator
from sst_retrieval.track.dense.refine import refine
from sst_retrieval.track.dense.trained_decoder import TrainedDecoder
from sst_retrieval.track.dense.view import TargetMatch, crop_match, find_active_window
from sst_retrieval.types import Frame, Mask, MaskStack, Propagated, RGBImage, Support

TRAITS = ("forewing_band", "hindwing_bar")
NESTED = ("forewing_band", "insect")


def draw(wear: str, seed: int) -> tuple[RGBImage, dict[str, Mask]]:
    """A butterfly with a band and a bar; the trait "insect" is all of it, band and bar included."""
    image, masks = draw_specimen(SpecimenPlan(SPECIES[0], 0.0, wear, True, ()), np.random.default_rng(seed))
    unlike = np.abs(image.astype(int) - np.median(image, axis=(0, 1))).max(axis=2) > 40
    masks["insect"] = np.asarray(ndimage.binary_opening(ndimage.binary_fill_holes(unlike)))
    return image, masks


def iou(one: Mask, other: Mask) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def through(image: RGBImage, masks: MaskStack, frame: Frame, side: int) -> tuple[RGBImage, MaskStack]:
    """Photograph a specimen once more: turned, mirrored, moved or smaller."""
    return frames.warp_image(image, frame, side), np.stack(
        [frames.warp_mask(mask, frame, side) > 0.5 for mask in masks]
    )


@pytest.fixture(scope="module")
def propagator() -> DensePropagator:
    return DensePropagator("cpu")


@pytest.fixture(scope="module")
def support() -> Support:
    image, masks = draw("fresh", 0)
    return Support("first", "g", image, TRAITS, np.stack([masks[trait] for trait in TRAITS]))


@pytest.fixture(scope="module")
def memory(propagator: DensePropagator, support: Support) -> DenseMemory:
    return propagator.remember([support])


@pytest.fixture(scope="module")
def itself(propagator: DensePropagator, memory: DenseMemory, support: Support) -> Propagated:
    (found,) = propagator.propagate(memory, [support.image])
    return found


def test_a_photograph_equal_to_the_support_gets_its_masks(itself: Propagated, support: Support) -> None:
    found = [iou(*pair) for pair in zip(itself.masks, support.masks, strict=True)]
    assert min(found) > 0.9
    assert (itself.confidence > 0.6).all()


def test_the_frame_of_the_support_is_the_frame_of_a_photograph_equal_to_it(
    itself: Propagated, memory: DenseMemory
) -> None:
    assert itself.frame.matrix == pytest.approx(memory.supports[0].frame.matrix, abs=0.05)


def test_a_specimen_that_lies_like_the_support_is_found_where_the_coarse_similarity_misleads(
    propagator: DensePropagator, memory: DenseMemory, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between genera the unrefined poses are hardly ranked: here all that are mirrored seem a little better."""
    rotations = propagator.settings.pose_rotations
    match_nearest, known = DensePropagator._match_nearest, list[float]()

    def mislead(self: DensePropagator, *grids: torch.Tensor) -> tuple[float, torch.Tensor]:
        similarity, nearest = match_nearest(self, *grids)
        known.append(similarity)
        if rotations < len(known) <= 2 * rotations:
            similarity = max(known[:rotations]) + NEAR_GAP / 2 + len(known) * 1e-6
        return similarity, nearest

    monkeypatch.setattr(DensePropagator, "_match_nearest", mislead)
    monkeypatch.setattr("sst_retrieval.track.dense.propagator.propose_starts", lambda image: [frame_specimen(image)])
    assert propagator.match(memory, support.image).frame.matrix == pytest.approx(
        memory.supports[0].frame.matrix, abs=0.05
    )


@pytest.fixture(scope="module")
def nested(propagator: DensePropagator) -> tuple[Support, DenseMemory, Propagated]:
    """A band on an insect that is a trait itself."""
    image, masks = draw("fresh", 0)
    support = Support("first", "g", image, NESTED, np.stack([masks[trait] for trait in NESTED]))
    memory = propagator.remember([support])
    return support, memory, propagator.propagate(memory, [image])[0]


def test_traits_that_overlap_on_the_support_may_overlap_on_a_target(
    nested: tuple[Support, DenseMemory, Propagated], memory: DenseMemory
) -> None:
    _, of_nested, found = nested
    assert not of_nested.rivals.any()
    assert np.count_nonzero(found.masks[0] & found.masks[1]) > 1000
    assert memory.rivals.tolist() == [[False, True], [True, False]]


def test_traits_that_never_overlap_on_the_support_do_not_on_a_target(itself: Propagated) -> None:
    assert not itself.masks.all(axis=0).any()


def test_a_trait_inside_another_is_found_as_well_as_alone(nested: tuple[Support, DenseMemory, Propagated]) -> None:
    support, _, found = nested
    assert min(iou(*pair) for pair in zip(found.masks, support.masks, strict=True)) > 0.9


@pytest.mark.parametrize(
    ("degrees", "mirror", "size", "place"),
    [(90, False, 1.0, (0, 0)), (137, False, 1.0, (0, 0)), (0, True, 1.0, (0, 0)), (0, False, 0.7, (60, -40))],
    ids=["quarter", "137", "mirrored", "smaller and moved"],
)
def test_how_a_specimen_lies_makes_little_difference(
    propagator: DensePropagator,
    memory: DenseMemory,
    support: Support,
    itself: Propagated,
    degrees: float,
    mirror: bool,
    size: float,
    place: tuple[int, int],
) -> None:
    height, width = support.image.shape[:2]
    frame = frames.square_frame((width / 2 + place[0], height / 2 + place[1]), width / size, math.radians(degrees))
    image, truth = through(support.image, support.masks, frames.mirror(frame) if mirror else frame, width)
    (found,) = propagator.propagate(memory, [image])
    for trait in range(len(TRAITS)):
        unturned = iou(itself.masks[trait], support.masks[trait])
        assert iou(found.masks[trait], truth[trait]) > unturned - 0.1, TRAITS[trait]
    a, b, _, d, e, _ = found.frame.matrix
    assert (a * e - b * d < 0) == mirror


@pytest.fixture(scope="module")
def without_hindwings(propagator: DensePropagator, memory: DenseMemory) -> tuple[Propagated, dict[str, Mask]]:
    image, masks = draw("hindwings lost", 1)
    assert "hindwing_bar" not in masks
    return propagator.propagate(memory, [image])[0], masks


def test_what_is_left_of_a_damaged_specimen_is_found(
    without_hindwings: tuple[Propagated, dict[str, Mask]],
) -> None:
    found, masks = without_hindwings
    assert iou(found.masks[0], masks["forewing_band"]) > 0.9
    assert found.confidence[1] < found.confidence[0]


def test_a_lost_trait_is_absent_or_doubtful(without_hindwings: tuple[Propagated, dict[str, Mask]]) -> None:
    found, _ = without_hindwings
    assert not found.masks[1].any() or found.confidence[1] < 0.6


def test_soft_masks_say_where_the_masks_are(
    propagator: DensePropagator, memory: DenseMemory, support: Support, itself: Propagated
) -> None:
    ((found, soft),) = propagator.propagate_softly(memory, [support.image])
    assert np.array_equal(found.masks, itself.masks)
    assert np.array_equal(found.confidence, itself.confidence)
    assert soft.shape == (len(memory.traits), propagator.settings.side, propagator.settings.side)
    assert np.array_equal(frames.unwarp_masks(soft, found.frame, support.image.shape[:2]), itself.masks)


def test_a_photograph_is_answered_alike_alone_and_again_and_among_others(
    propagator: DensePropagator, memory: DenseMemory, support: Support, itself: Propagated
) -> None:
    grey = np.full((16, 16, 3), 128, dtype=np.uint8)
    dot = np.zeros((1, 1, 3), dtype=np.uint8)
    first, second, third = propagator.propagate(memory, [grey, support.image, dot])
    assert np.array_equal(second.masks, itself.masks)
    assert np.array_equal(second.confidence, itself.confidence)
    assert second.frame == itself.frame
    assert first.masks.shape == (2, 16, 16)
    assert third.masks.shape == (2, 1, 1)
    assert all(((one.confidence >= 0) & (one.confidence <= 1)).all() for one in (first, third))


def list_values(value: object, name: str = "memory") -> dict[str, bytes]:
    """List all arrays and numbers of a memory, by name, as bytes or text."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return {f"{name} {tuple(value.shape)}": np.ascontiguousarray(value).tobytes()}
    if isinstance(value, tuple):
        parts = dict(enumerate(value))
    elif is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, PCAProjection):
        parts = vars(value)
    else:
        return {name: repr(value).encode()}
    return {key: each for part, one in parts.items() for key, each in list_values(one, f"{name}.{part}").items()}


@pytest.mark.parametrize("traits", [TRAITS, TRAITS[:1]])
def test_a_memory_has_the_same_bits_on_any_number_of_threads(traits: tuple[str, ...]) -> None:
    propagator, supports = DensePropagator("cpu", decoder=TrainedDecoder()), []
    for seed in range(2):
        image, masks = draw("fresh", seed)
        supports.append(Support(f"{seed}", "g", image, traits, np.stack([masks[trait] for trait in traits])))
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(list_values(propagator.remember(supports)))
    finally:
        torch.set_num_threads(before)
    assert len(found[0]) > 300
    assert found[0] == found[1] == found[2]


def test_supports_with_different_traits_are_pooled(propagator: DensePropagator, support: Support) -> None:
    image, masks = draw("fresh", 2)
    bar = Support("second", "g", image, ("hindwing_bar",), masks["hindwing_bar"][None])
    band = Support("first", "g", support.image, TRAITS[:1], support.masks[:1])
    memory = propagator.remember([band, bar])
    assert memory.traits == ("forewing_band", "hindwing_bar")
    (found,) = propagator.propagate(memory, [support.image])
    assert iou(found.masks[0], support.masks[0]) > 0.6
    assert iou(found.masks[1], support.masks[1]) > 0.5


@pytest.fixture(scope="module")
def unvoted(propagator: DensePropagator) -> Callable[[float, bool], tuple[TargetMatch, DenseMemory]]:
    """Match the support with itself, but limit the bar's share of every vote; by keys as well, far from every key."""
    image, masks = draw("fresh", 0)
    support = Support("first", "g", image, TRAITS, np.stack([masks[trait] for trait in TRAITS]))

    def match_limited(most: float, decoded: bool) -> tuple[TargetMatch, DenseMemory]:
        able = DensePropagator(trunk=propagator.trunk, decoder=TrainedDecoder() if decoded else None)
        memory = able.remember([support])
        match = able.match(memory, image)
        shares = match.shares.copy()
        shares[2] = np.minimum(shares[2], most)
        shares[0] = 1 - shares[1:].sum(axis=0)
        key_votes = None
        if match.key_votes is not None:
            by_keys, distance = match.key_votes.shares.clone(), match.key_votes.distance + 10
            by_keys[2] = by_keys[2].clamp(max=most)
            by_keys[0] = 1 - by_keys[1:].sum(0)
            key_votes = KeyVotes(by_keys, distance)
        return replace(match, shares=shares, key_votes=key_votes), memory

    return match_limited


@pytest.mark.parametrize("decoded", [False, True], ids=["rules", "decoder"])
def test_a_trait_that_nothing_votes_for_is_surely_absent(
    propagator: DensePropagator, unvoted: Callable[[float, bool], tuple[TargetMatch, DenseMemory]], decoded: bool
) -> None:
    match, memory = unvoted(0.0, decoded)
    able = DensePropagator(trunk=propagator.trunk, decoder=TrainedDecoder() if decoded else None)
    predicted = able.predict_masks(match, memory.rivals)
    assert (predicted.soft > 0.5).any(axis=(1, 2)).tolist() == [True, False]
    # Out of distribution the decoder has the greater weight, and this animal shows a bar where one should be.
    assert predicted.confidence[1] > (0.5 if decoded else 0.99)
    assert propagator._compute_presence(match.shares, match.distance, match.warped_masks)[1] < 0.01


def test_a_trait_with_some_votes_but_no_cell_is_less_surely_absent(
    propagator: DensePropagator, unvoted: Callable[[float, bool], tuple[TargetMatch, DenseMemory]]
) -> None:
    sure = []
    for most in (0.0, 0.3, 0.45):
        match, memory = unvoted(most, False)
        predicted = propagator.predict_masks(match, memory.rivals)
        assert not (predicted.soft[1] > 0.5).any()
        sure.append(float(predicted.confidence[1]))
        # The band's mask is that of the same votes, whatever becomes of the bar.
        near = crop_match(match, find_active_window(match))
        expected, _ = refine(near.view, near.shares, memory.rivals, colour=propagator.settings.colour)
        place = find_active_window(match)
        assert np.array_equal(predicted.soft[0, place.rows(2), place.columns(2)], expected[0])
    assert sure[0] > sure[1] > sure[2] > 0.5


def test_a_trait_too_thin_to_win_a_cell_is_judged_by_what_it_covers(propagator: DensePropagator) -> None:
    """Half of a thin antenna's cells are background; a lost trait is covered by others where it should lie."""
    shares = np.zeros((3, 8, 8), np.float32)
    shares[1, 2], shares[2, 5] = 0.35, 0.05
    shares[0] = 1 - shares[1:].sum(axis=0)
    warped_masks = np.zeros((2, 8, 8), np.float32)
    warped_masks[0, 2], warped_masks[1, 5] = 0.4, 0.4
    near, far = (np.full((8, 8), distance, np.float32) for distance in (0.3, 1.5))
    thin, lost = propagator._compute_presence(shares, near, warped_masks)
    assert thin > 0.99
    assert lost < 0.02
    assert propagator._compute_presence(shares, far, warped_masks)[0] < 0.01


def test_votes_are_the_same_if_all_of_the_view_is_described(
    propagator: DensePropagator, memory: DenseMemory, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[tuple[slice, slice]] = []
    find = dense.find_voting_window
    monkeypatch.setattr(dense, "find_voting_window", lambda *of: windows.append(find(*of)) or windows[-1])
    near = propagator.match(memory, support.image)
    cells = propagator.settings.transfer_descriptor.cells
    assert any(part.stop - part.start < cells for part in windows[-1])
    monkeypatch.setattr(dense, "are_croppable", lambda *_: False)
    whole = propagator.match(memory, support.image)
    assert np.array_equal(near.shares, whole.shares)
    assert np.array_equal(near.distance, whole.distance)
