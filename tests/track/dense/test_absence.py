"""A group with one trait: the support with its trait painted over tells what a loss looks like."""

from __future__ import annotations

import numpy as np
import pytest

from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.track.dense.absence import CLEAR_LOSS, compute_vote_limit, erase_single_trait
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.trained_decoder import TrainedDecoder
from sst_retrieval.types import Mask, RGBImage, Support

ROWS, COLUMNS = np.mgrid[:260, :420]


def draw_fish(*, fin: bool = True, deep: float = 60, seed: int = 0) -> tuple[RGBImage, Mask]:
    """A brown fish with a striped red fin, on paper: the photograph and the mask of its fin."""
    rng = np.random.default_rng(seed)
    image = np.full((260, 420, 3), 236.0)
    body = ((COLUMNS - 180) / 130) ** 2 + ((ROWS - 130) / deep) ** 2 < 1
    image[body] = (120, 90, 50)
    image[((COLUMNS - 85) ** 2 + (ROWS - 120) ** 2) < 64] = (10, 10, 10)
    tail: Mask = (COLUMNS >= 300) & (COLUMNS < 385) & (np.abs(ROWS - 130) < (COLUMNS - 290) * 0.62)
    if fin:
        image[tail] = (190, 60, 50)
        image[tail & (COLUMNS % 12 < 4)] = (90, 20, 20)
    noisy = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    return noisy, tail if fin else np.zeros_like(tail)


def annotate(*masks: Mask) -> Support:
    names = tuple(f"trait {number}" for number in range(len(masks)))
    return Support("annotated", "fish", draw_fish()[0], names, np.stack(masks))


def test_the_trait_is_painted_over_with_background() -> None:
    support = annotate(draw_fish()[1])
    before = support.image.copy()
    view = erase_single_trait(support, 448)
    assert view is not None
    assert view.shape == (420, 420, 3)
    red = (view[..., 0].astype(int) - view[..., 1]) > 60
    assert not red.any()
    assert (view.mean(axis=2) < 150).sum() > 10_000  # The body stays.
    assert np.array_equal(support.image, before)


def test_only_a_single_trait_that_is_a_part_is_painted_over() -> None:
    fin = draw_fish()[1]
    whole: Mask = draw_fish()[0].min(axis=2) < 200
    assert erase_single_trait(annotate(fin, fin), 448) is None
    assert erase_single_trait(annotate(np.zeros_like(fin)), 448) is None
    assert erase_single_trait(annotate(whole), 448) is None  # Without it, nothing of the specimen is left.


def test_a_limit_needs_a_clear_difference() -> None:
    assert compute_vote_limit(0.9, 0.9 - CLEAR_LOSS + 0.01) == 0
    assert 0.1 < compute_vote_limit(0.9, 0.1) < 0.9


@pytest.mark.parametrize("learnt", [True, False], ids=["dense", "matching"])
def test_a_lost_fin_is_absent_and_one_that_is_there_is_found(trunk: EfficientNetTrunk, learnt: bool) -> None:
    propagator = DensePropagator("cpu", trunk=trunk, decoder=TrainedDecoder() if learnt else None)
    memory = propagator.remember([annotate(draw_fish()[1])])
    assert memory.vote_limit > 0
    shown, fin = draw_fish(deep=52, seed=1)
    there, lost = propagator.propagate(memory, [shown, draw_fish(fin=False, deep=52, seed=2)[0]])
    assert (there.masks[0] & fin).sum() / (there.masks[0] | fin).sum() > 0.8
    assert not lost.masks[0].any()
    assert lost.confidence[0] > 0.5


def test_groups_of_several_traits_have_no_limit(trunk: EfficientNetTrunk) -> None:
    fin = draw_fish()[1]
    eye: Mask = ((COLUMNS - 85) ** 2 + (ROWS - 120) ** 2) < 64
    assert DensePropagator("cpu", trunk=trunk).remember([annotate(fin, eye)]).vote_limit == 0
