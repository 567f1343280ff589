"""A support as a rigid template: found where it was put, used only where single cells do not match."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import frame_specimen
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.synthetic.species import SPECIES
from sst_retrieval.synthetic.specimen import SpecimenPlan, draw_specimen
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.symmetry import Axis
from sst_retrieval.track.dense.template import (
    REACH,
    SIDE,
    Template,
    encode_template,
    place_template,
    widen_frame,
)
from sst_retrieval.track.dense.view import (
    LARGEST_SHARE,
    MATCHED_DISTANCE,
    UNMATCHED_DISTANCE,
    compute_presence_reliability,
    compute_template_share,
    mix_votes,
)
from sst_retrieval.types import Frame, RGBImage, Support

MOVES = {
    "nowhere": (0.0, 1.0, 0.0, 0.0),
    "turned": (0.2, 1.0, 0.0, 0.0),
    "smaller": (0.0, 0.8, 0.0, 0.0),
    "aside": (0.0, 1.0, 0.15, -0.1),
    "all": (-0.15, 1.2, -0.1, 0.1),
}


@pytest.fixture(scope="module")
def support() -> Support:
    plan = SpecimenPlan(SPECIES[0], 0.0, "fresh", True, ())
    image, masks = draw_specimen(plan, np.random.default_rng(0))
    unlike = np.abs(image.astype(int) - np.median(image, axis=(0, 1))).max(axis=2) > 40
    return Support("first", "g", image, ("insect", "bar"), np.stack([unlike, masks["hindwing_bar"]]))


def encode(trunk: EfficientNetTrunk, support: Support, traits: slice) -> Template | None:
    frame = frame_specimen(support.image)
    view = frames.warp_image(support.image, frame, SIDE)
    masks = np.stack([frames.warp_mask(mask, frame, SIDE) for mask in support.masks[traits]])
    labels = torch.from_numpy(np.concatenate([1 - masks.max(axis=0, keepdims=True), masks]))
    return encode_template(trunk.levels(view[None]), view, labels)


@pytest.mark.parametrize("name", MOVES)
def test_a_template_is_found_where_its_support_lies(trunk: EfficientNetTrunk, support: Support, name: str) -> None:
    angle, scale, right, down = MOVES[name]
    template = encode(trunk, support, slice(0, 1))
    assert template is not None
    true = frame_specimen(support.image)
    moved = frames.square_frame((0.5 + right, 0.5 + down), scale, angle)
    start = frames.compose(moved, true)
    view = frames.warp_image(support.image, widen_frame(start), int(REACH * SIDE))
    placed = place_template(template, start, trunk.levels(view[None]), view)
    assert frames.measure_shift(true, placed.frame) < 0.06
    assert frames.measure_shift(true, placed.frame) <= frames.measure_shift(true, start) + 0.02
    assert -0.2 < placed.score <= 0


def test_traits_that_cover_few_cells_make_no_template(trunk: EfficientNetTrunk, support: Support) -> None:
    assert encode(trunk, support, slice(1, 2)) is None


def test_a_template_has_a_share_only_where_even_the_best_cells_match_badly() -> None:
    masks = np.zeros((2, 16, 16), np.float32)
    masks[0, 4:12, 4:12] = 1
    between = (MATCHED_DISTANCE + UNMATCHED_DISTANCE) / 2
    shares = [
        compute_template_share(np.full((16, 16), each, np.float32), masks)
        for each in (MATCHED_DISTANCE, between, UNMATCHED_DISTANCE, 2.0)
    ]
    assert shares == pytest.approx([0, LARGEST_SHARE / 2, LARGEST_SHARE, LARGEST_SHARE], abs=1e-4)
    distance = np.full((16, 16), 0.2, np.float32)
    distance[:, :9] = 2.0  # Three of eight columns of the trait's cells match well.
    assert compute_template_share(distance, masks) == 0
    assert compute_template_share(distance + 2, 0 * masks) == 0


def test_votes_are_mixed_with_labels_as_votes_are_made_of_labels(trunk: EfficientNetTrunk, support: Support) -> None:
    propagator = DensePropagator("cpu", trunk=trunk)
    memory = propagator.remember([support])
    match = propagator.match(memory, support.image)
    labels = memory.supports[0].transfer_grid.labels.numpy()
    mixed = mix_votes(match, labels, 0.5)
    assert mixed.shares.dtype == np.float32
    assert mixed.shares == pytest.approx((match.shares + labels) / 2, abs=1e-6)
    assert mixed.warped_masks == pytest.approx((match.warped_masks + labels[1:]) / 2, abs=1e-6)
    assert np.array_equal(mix_votes(match, labels, 0.0).shares, match.shares)


def test_learnt_presence_is_not_heard_where_the_template_has_its_full_share(
    trunk: EfficientNetTrunk, support: Support
) -> None:
    propagator = DensePropagator("cpu", trunk=trunk)
    memory = propagator.remember([support])
    match = replace(propagator.match(memory, support.image), reliability=0.8)
    labels = memory.supports[0].transfer_grid.labels.numpy()
    half, full = (mix_votes(match, labels, share) for share in (LARGEST_SHARE / 2, LARGEST_SHARE))
    assert [compute_presence_reliability(each, 0.0) for each in (match, half, full)] == pytest.approx([0.8, 0.4, 0.0])
    assert compute_presence_reliability(full, 0.7) == 0.7  # In distribution it is heard all the same.


def test_a_specimen_whose_cells_do_not_match_is_found_by_its_template(
    trunk: EfficientNetTrunk, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search by single cells is led astray by a fifth of a turn; their distances are as between genera."""
    propagator = DensePropagator("cpu", trunk=trunk)
    memory = propagator.remember([support])
    true = memory.supports[0].frame

    def estimate_wrongly(self: DensePropagator, image: RGBImage, supports: object, start: Frame) -> Frame:
        return frames.compose(frames.square_frame((0.6, 0.5), 1.0, 1.2), true)

    monkeypatch.setattr(DensePropagator, "_estimate_frame", estimate_wrongly)
    module = "sst_retrieval.track.dense.propagator"
    misled = propagator.match(memory, support.image)
    assert frames.measure_shift(true, misled.frame) > 0.5
    monkeypatch.setattr(f"{module}.compute_template_share", lambda *_: LARGEST_SHARE)
    assert frames.measure_shift(true, propagator.match(memory, support.image).frame) < 0.06
    untemplated = replace(memory, supports=tuple(replace(each, template=None) for each in memory.supports))
    assert propagator.match(untemplated, support.image).frame == misled.frame


def test_the_labels_that_are_mixed_in_are_those_of_the_bent_template(
    trunk: EfficientNetTrunk, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    propagator = DensePropagator("cpu", trunk=trunk)
    memory = propagator.remember([support])
    (encoding,) = memory.supports
    assert encoding.template is not None  # Without an axis, so that the votes stay where they are.
    memory = replace(memory, supports=(replace(encoding, template=replace(encoding.template, axis=None)),))
    module = "sst_retrieval.track.dense.propagator"
    monkeypatch.setattr(f"{module}.compute_template_share", lambda *_: LARGEST_SHARE)
    matches = []
    for shift in (0.0, 0.125):
        monkeypatch.setattr(
            f"{module}.bend_template", lambda _, __, ___, cells, shift=shift: torch.full((2, cells, cells), shift)
        )
        matches.append(propagator.match(memory, support.image))
    straight, bent = matches
    assert straight.frame == bent.frame
    # An eighth of the frame up and to the left.
    cells = bent.shares.shape[-1]
    labels = memory.supports[0].transfer_grid.labels[1:].numpy()
    moved = np.roll(labels, (-cells // 8, -cells // 8), axis=(1, 2))
    there = (slice(None), slice(0, cells // 2), slice(0, cells // 2))
    expected = straight.warped_masks + LARGEST_SHARE * (moved - labels)
    assert bent.warped_masks[there] == pytest.approx(expected[there], abs=0.02)
    assert np.abs(bent.shares - straight.shares).max() > 0.3


@pytest.mark.parametrize("axis", [None, Axis(0.0, 0.0)], ids=["none", "symmetric"])
def test_votes_follow_the_bent_template_only_where_the_support_is_its_own_mirror_image(
    trunk: EfficientNetTrunk, support: Support, monkeypatch: pytest.MonkeyPatch, axis: Axis | None
) -> None:
    propagator = DensePropagator("cpu", trunk=trunk)
    memory = propagator.remember([support])
    (encoding,) = memory.supports
    assert encoding.template is not None
    symmetric = replace(encoding, template=replace(encoding.template, axis=axis))
    module = "sst_retrieval.track.dense.propagator"
    monkeypatch.setattr(f"{module}.compute_template_share", lambda *_: LARGEST_SHARE)
    monkeypatch.setattr(f"{module}.bend_template", lambda _, __, ___, cells: torch.full((2, cells, cells), 0.125))
    match = propagator.match(replace(memory, supports=(symmetric,)), support.image)
    (field,) = match.displacements
    assert bool((field == 0.125).all()) == (axis is not None)
