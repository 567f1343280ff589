"""Bilateral symmetry: the axis is found where there is one, and votes are combined with their mirror image about it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sst_retrieval.track.dense.symmetry import (
    Axis,
    adjust_axis,
    find_axis,
    mirror,
    symmetrise_votes,
)
from sst_retrieval.track.dense.trained_decoder import SoftMasks
from sst_retrieval.track.dense.view import (
    DOUBTED_SHARE,
    LARGEST_SHARE,
    TargetMatch,
    mix_votes,
    temper_confidence,
)
from sst_retrieval.types import Floats, Frame

CELLS = 112


def draw_head(*, turn: float = 0.0, aside: float = 0.0) -> Floats:
    """Draw a shield with a middle and two cheeks, turned about the view's centre: float32 (2, CELLS, CELLS)."""
    rows, columns = (np.mgrid[:CELLS, :CELLS] + 0.5) / CELLS - 0.5
    right = math.cos(turn) * columns + math.sin(turn) * rows - aside
    down = -math.sin(turn) * columns + math.cos(turn) * rows
    shield = (np.hypot(right, 1.4 * (down - 0.12)) < 0.36) & (down < 0.12)
    middle = shield & (np.abs(right) < 0.1 + 0.1 * (0.12 - down))
    return np.stack([middle, shield & ~middle]).astype(np.float32)


def add_background(traits: Floats) -> Floats:
    return np.concatenate([1 - traits.sum(axis=0, keepdims=True), traits])


def differ(one: Axis, other: Axis) -> tuple[float, float]:
    """Return by how much the angles and the offsets of two axes differ; a normal and its opposite are one axis."""
    turn = (one.angle - other.angle + math.pi / 2) % math.pi - math.pi / 2
    opposite = abs((one.angle - other.angle + math.pi / 2) // math.pi) % 2 == 1
    return abs(turn), abs(one.offset - (-other.offset if opposite else other.offset))


@pytest.mark.parametrize(("turn", "aside"), [(0.0, 0.0), (0.3, 0.0), (1.4, 0.05), (-0.7, -0.08), (3.0, 0.1)])
def test_the_axis_of_a_symmetric_support_is_found(turn: float, aside: float) -> None:
    axis = find_axis(torch.from_numpy(draw_head(turn=turn, aside=aside)))
    assert axis is not None
    angle, offset = differ(axis, Axis(turn, aside))
    assert angle < 0.02
    assert offset < 0.01


def test_a_support_of_which_one_trait_is_no_mirror_image_has_no_axis() -> None:
    head = draw_head()
    lame = np.zeros((1, CELLS, CELLS), np.float32)
    lame[0, 70:100, 80:86] = 1  # A leg on one side only.
    assert find_axis(torch.from_numpy(head)) is not None
    assert find_axis(torch.from_numpy(np.concatenate([head, lame]))) is None


def test_traits_that_a_support_lacks_do_not_matter_and_nothing_annotated_has_no_axis() -> None:
    head = torch.from_numpy(draw_head())
    assert find_axis(torch.cat([head, 0 * head])) == find_axis(head)
    assert find_axis(0 * head) is None


def test_mirroring_twice_changes_nothing() -> None:
    head = torch.from_numpy(draw_head(turn=0.2))
    axis = Axis(0.9, 0.03)
    once = mirror(head, [axis])[0]
    assert float((mirror(once, [axis])[0] - head).abs().mean()) < 0.02
    assert float((once - head).abs().mean()) > 0.02


def test_an_axis_is_moved_to_that_of_the_target() -> None:
    axis = find_axis(torch.from_numpy(draw_head()))
    assert axis is not None
    votes = torch.from_numpy(draw_head(turn=0.15, aside=0.04))
    votes[1, :, : CELLS // 3] *= 0.6  # Poorer on one side.
    angle, offset = differ(adjust_axis(axis, votes), Axis(0.15, 0.04))
    assert angle < 0.05
    assert offset < 0.02


def test_what_one_side_lacks_and_what_one_side_has_too_much_is_mended() -> None:
    true = draw_head()
    rows, columns = np.mgrid[:CELLS, :CELLS]
    found = true * 0.8
    found[:, :, : CELLS // 2] *= 0.6  # Weak on the left.
    found[1] += 0.55 * ((rows > 90) & (columns > 90))  # Rock on the right.
    votes = add_background(found)
    assert (votes[2] > 0.5)[95, 105]
    mended = symmetrise_votes(votes, Axis(0.0, 0.0))
    assert mended.dtype == np.float32
    assert mended.sum(axis=0) == pytest.approx(np.ones((CELLS, CELLS)), abs=1e-5)
    assert not (mended[2] > 0.5)[95, 105]

    def measure_error(shares: npt.NDArray[np.float32]) -> float:
        return float(np.mean((shares[1:] > 0.5) != (true > 0.5)))

    assert measure_error(mended) < 0.5 * measure_error(votes)


def test_the_weight_leads_from_the_votes_as_they_are_to_both_alike() -> None:
    votes = add_background(draw_head(turn=0.2) * 0.7)
    axis = Axis(0.0, 0.0)
    assert symmetrise_votes(votes, axis, 0.0) == pytest.approx(votes, abs=3e-3)  # But for the least vote.
    half, whole = (symmetrise_votes(votes, axis, weight) for weight in (0.5, 1.0))
    assert 0 < np.abs(half - votes).mean() < np.abs(whole - votes).mean()
    mirrored = mirror(torch.from_numpy(whole), [axis])[0].numpy()
    assert np.abs(whole - mirrored)[:, 8:-8, 8:-8].mean() < 0.002


def make_match(shares: Floats) -> TargetMatch:
    return TargetMatch(
        frame=Frame((1, 0, 0, 0, 1, 0)),
        view=np.zeros((2 * CELLS, 2 * CELLS, 3), np.uint8),
        shares=shares,
        distance=np.zeros((CELLS, CELLS), np.float32),
        warped_masks=shares[1:],
        levels=(),
        displacements=(),
    )


def test_votes_are_symmetrised_only_with_an_axis_and_as_far_as_the_template_counts() -> None:
    match, labels = make_match(add_background(draw_head(turn=0.3) * 0.7)), add_background(draw_head())
    plain = mix_votes(match, labels, LARGEST_SHARE)
    expected = (1 - LARGEST_SHARE) * match.shares + LARGEST_SHARE * labels
    assert plain.shares == pytest.approx(expected, abs=1e-6)
    slight, full = (mix_votes(match, labels, share, Axis(0.0, 0.0)) for share in (0.01, LARGEST_SHARE))
    assert np.abs(full.shares - plain.shares).mean() > 0.005
    assert np.abs(slight.shares - match.shares).mean() < 0.005


def test_confidence_of_masks_that_follow_a_template_is_lowered_where_the_own_votes_say_else() -> None:
    labels = add_background(draw_head())
    own = labels.copy()
    own[1] = 0  # The cells find no middle, and the cheeks where the template has them.
    own[0] = 1 - own[2]
    soft = np.repeat(np.repeat(labels[1:], 2, axis=1), 2, axis=2)
    masks = SoftMasks(soft, np.array([0.9, 0.8], np.float32), in_distribution=0.0)
    full = mix_votes(make_match(own), labels, LARGEST_SHARE)
    assert temper_confidence(full, masks) == pytest.approx([0, 0.8], abs=0.01)
    # What was learnt knows the animal; no template; the template hardly counts; the trait is absent.
    assert temper_confidence(full, replace(masks, in_distribution=1.0)) == pytest.approx(masks.confidence)
    assert temper_confidence(make_match(own), masks) is masks.confidence
    slight = mix_votes(make_match(own), labels, 0.1 * DOUBTED_SHARE)
    assert temper_confidence(slight, masks) == pytest.approx([0.81, 0.8], abs=0.01)
    absent = replace(masks, soft=np.stack([0 * soft[0], soft[1]]))
    assert temper_confidence(full, absent) == pytest.approx([0.9, 0.8], abs=0.01)
