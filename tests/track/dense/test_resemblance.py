"""Resemblance: how well a target's cells go with a support's, and what that does to the confidence of its masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.synthetic.backdrop import paint_floor
from sst_retrieval.synthetic.species import SPECIES
from sst_retrieval.synthetic.specimen import SpecimenPlan, draw_specimen
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.resemblance import ALIKE, UNLIKE, compute_correlation, compute_resemblance
from sst_retrieval.track.dense.trained_decoder import SoftMasks
from sst_retrieval.track.dense.view import DOUBTED_SHARE, TargetMatch, blend_resemblance, temper_confidence
from sst_retrieval.types import Frame, RGBImage, Support

SIDE = 16


def draw(seed: int) -> tuple[RGBImage, dict[str, np.ndarray]]:
    return draw_specimen(SpecimenPlan(SPECIES[0], 0.0, "fresh", True, ()), np.random.default_rng(seed))


@pytest.fixture(scope="module")
def support() -> Support:
    image, masks = draw(0)
    return Support("first", "g", image, ("bar",), masks["hindwing_bar"][None])


def test_correlation_sees_the_arrangement_and_not_what_all_cells_have_in_common() -> None:
    cells = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    shuffled = cells[torch.randperm(500, generator=torch.Generator().manual_seed(1))]
    assert compute_correlation(cells, cells) == pytest.approx(1, abs=1e-5)
    assert compute_correlation(cells, 3 * cells + 40) == pytest.approx(1, abs=1e-3)
    assert compute_correlation(cells, -cells) == pytest.approx(-1, abs=1e-5)
    assert abs(compute_correlation(cells + 5, shuffled + 5)) < 0.1
    assert compute_correlation(cells, torch.ones(500, 8)) == 0


def test_resemblance_rises_between_its_limits() -> None:
    middle = (UNLIKE + ALIKE) / 2
    found = [compute_resemblance(each) for each in (-1.0, UNLIKE, middle, ALIKE, 1.0)]
    assert found == pytest.approx([0, 0, 0.5, 1, 1])


def test_resemblance_counts_as_far_as_cells_match_badly() -> None:
    shares = (0.0, DOUBTED_SHARE / 2, DOUBTED_SHARE, 1.0)
    assert [blend_resemblance(0.2, share) for share in shares] == pytest.approx([1, 0.6, 0.2, 0.2])


def make_match(resemblance: float) -> TargetMatch:
    return TargetMatch(
        frame=Frame((1, 0, 0, 0, 1, 0)),
        view=np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8),
        shares=np.zeros((3, SIDE, SIDE), np.float32),
        distance=np.zeros((SIDE, SIDE), np.float32),
        warped_masks=np.zeros((2, SIDE, SIDE), np.float32),
        levels=(),
        displacements=(),
        resemblance=resemblance,
    )


def test_a_stranger_lowers_the_confidence_of_masks_and_not_that_of_absence() -> None:
    soft = np.stack([np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.float32)])
    masks = SoftMasks(soft, np.array([0.8, 0.9], np.float32))
    assert temper_confidence(make_match(0.25), masks) == pytest.approx([0.2, 0.9])
    assert temper_confidence(make_match(1.0), masks) is masks.confidence
    # What was learnt and knows the animal has its own estimate.
    assert temper_confidence(make_match(0.25), replace(masks, in_distribution=1.0)) == pytest.approx([0.8, 0.9])


def test_no_mask_on_an_empty_drawer_is_sure_and_one_on_a_fellow_is(trunk: EfficientNetTrunk, support: Support) -> None:
    propagator = DensePropagator("cpu", trunk=trunk)
    memory = propagator.remember([support])
    rng = np.random.default_rng(3)
    for floor in ("wood", "foam", "grey card"):
        empty = paint_floor(floor, support.image.shape[:2], rng).clip(0, 255).astype(np.uint8)
        match = propagator.match(memory, empty)
        assert match.resemblance < 0.3, floor
        found = propagator.predict_masks(match, memory.rivals)
        assert not (found.soft > 0.5).any() or found.confidence[0] < 0.3, floor
    fellow, masks = draw(1)
    found = propagator.propagate(memory, [fellow])[0]
    assert propagator.match(memory, fellow).resemblance == 1
    assert (found.masks[0] & masks["hindwing_bar"]).sum() > 0.5 * masks["hindwing_bar"].sum()
    assert found.confidence[0] > 0.5
