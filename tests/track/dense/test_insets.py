"""How far masks are drawn in: chosen on the support, never larger, never gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from sst_retrieval.synthetic.species import SPECIES
from sst_retrieval.synthetic.specimen import SpecimenPlan, draw_specimen
from sst_retrieval.track.dense.insets import CANDIDATES, NO_INSET, Inset, apply_insets, choose_insets, draw_in
from sst_retrieval.track.dense.memory import DenseMemory
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.types import Floats, Mask, RGBImage, Support

SIDE = 64


def make_disc(radius: float) -> Mask:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    disc: Mask = np.hypot(rows - SIDE / 2, columns - SIDE / 2) <= radius
    return disc


def make_soft(mask: Mask, value: float = 1.0) -> Floats:
    return (mask * np.float32(value)).astype(np.float32)


def test_a_mask_that_reaches_over_the_rim_by_a_pixel_is_eroded_by_one() -> None:
    drawn = make_disc(20)
    found = make_soft(ndimage.binary_dilation(drawn))

    (inset,) = choose_insets(found[None], drawn[None])

    assert inset.erosion in (0.5, 1.0)  # Of a mask without soft edges the same.
    assert np.array_equal(draw_in(found, inset) > 0.5, ndimage.binary_erosion(found > 0.5))


def test_a_mask_with_a_doubtful_rim_gets_a_higher_limit() -> None:
    drawn = make_disc(20)
    # A rim on one side only: no erosion removes it without harm elsewhere.
    rim = make_disc(24) & ~drawn & (np.arange(SIDE) > SIDE / 2)
    found = np.maximum(make_soft(drawn), make_soft(rim, 0.58))

    assert choose_insets(found[None], drawn[None]) == (Inset(margin=0.1),)


@pytest.mark.parametrize("grown", [0, -1])
def test_a_mask_that_is_right_or_too_small_stays(grown: int) -> None:
    drawn = make_disc(20)

    assert choose_insets(make_soft(make_disc(20 + grown))[None], drawn[None]) == (NO_INSET,)


def test_a_mask_that_is_wrong_altogether_gets_no_inset() -> None:
    drawn = make_disc(15)  # The found one has more than twice its area.

    assert choose_insets(make_soft(make_disc(24))[None], drawn[None]) == (NO_INSET,)


def test_a_trait_that_the_support_lacks_gets_no_inset() -> None:
    nothing = np.zeros((1, SIDE, SIDE), dtype=bool)

    assert choose_insets(make_soft(nothing[0])[None], nothing) == (NO_INSET,)


@pytest.mark.parametrize("inset", CANDIDATES)
def test_masks_only_become_smaller(inset: Inset) -> None:
    rng = np.random.default_rng(0)
    soft = ndimage.gaussian_filter(rng.random((SIDE, SIDE)), 2).astype(np.float32)
    soft = (soft - soft.min()) / (soft.max() - soft.min())

    smaller = draw_in(soft, inset)

    assert (smaller <= soft).all()
    assert 0 < np.count_nonzero(smaller > 0.5) < np.count_nonzero(soft > 0.5)


def test_erosions_are_those_of_morphology() -> None:
    soft = np.random.default_rng(0).random((SIDE, SIDE)).astype(np.float32)
    cross, square = ndimage.generate_binary_structure(2, 1), np.ones((3, 3), dtype=bool)

    assert np.array_equal(draw_in(soft, Inset(erosion=1.0)), ndimage.grey_erosion(soft, footprint=cross))
    assert np.array_equal(draw_in(soft, Inset(erosion=1.5)), ndimage.grey_erosion(soft, footprint=square))


def test_a_mask_that_would_vanish_stays_and_the_others_are_drawn_in() -> None:
    line: npt.NDArray[np.bool_] = np.zeros((SIDE, SIDE), dtype=bool)
    line[10] = True
    soft = np.stack([make_soft(line), make_soft(make_disc(10))])

    drawn_in = apply_insets(soft, (Inset(erosion=1.0), Inset(erosion=1.0)))

    assert np.array_equal(drawn_in[0], soft[0])
    assert np.array_equal(drawn_in[1] > 0.5, ndimage.binary_erosion(make_disc(10)))


def test_without_insets_masks_are_the_same_array() -> None:
    soft = make_soft(make_disc(10))[None]

    assert apply_insets(soft, ()) is soft
    assert apply_insets(soft, (NO_INSET,)) is soft


def draw_inside(seed: int) -> tuple[RGBImage, Mask]:
    """A butterfly whose forewing band was drawn within its rim, as somebody might who spares the edge."""
    image, masks = draw_specimen(SpecimenPlan(SPECIES[0], 0.0, "fresh", True, ()), np.random.default_rng(seed))
    return image, np.asarray(ndimage.binary_erosion(masks["forewing_band"], iterations=2))


def test_how_the_support_was_drawn_is_how_masks_are_found() -> None:
    propagator = DensePropagator("cpu")
    image, drawn = draw_inside(0)
    other, truth = draw_inside(1)
    memory = propagator.remember([Support("first", "g", image, ("band",), drawn[None])])
    as_voted = replace(memory, insets=())

    def score(of: DenseMemory) -> float:
        (mask,) = propagator.propagate(of, [other])[0].masks
        return np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth)

    assert len(memory.insets) == 1
    assert score(memory) > score(as_voted) + 0.01
