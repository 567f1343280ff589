"""Votes by keys are fused with those of the matching, which decide on a specimen that is out of distribution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sst_retrieval.track.dense.keys import KeyVotes
from sst_retrieval.track.dense.view import (
    IN_DISTRIBUTION_DISTANCE,
    TargetMatch,
    compute_in_distribution_score,
    compute_key_reliability,
    compute_target_reliability,
    fuse_votes,
)
from sst_retrieval.types import Frame

CELLS = 32


def votes(cells: int, left: int) -> np.ndarray:
    """All for one trait in a square, none elsewhere: float32 (2, cells, cells)."""
    trait = np.zeros((cells, cells), np.float32)
    edge = cells // 4
    trait[edge : 3 * edge, left * cells // 16 : left * cells // 16 + 2 * edge] = 1
    return np.stack([1 - trait, trait])


def target_match(*, by_keys: int, distance: float) -> TargetMatch:
    """The matching sees a square in the middle, the keys one that starts at `by_keys` sixteenths."""
    matched = votes(CELLS, 4)
    return TargetMatch(
        frame=Frame((1, 0, 0, 0, 1, 0)),
        view=np.zeros((2 * CELLS, 2 * CELLS, 3), np.uint8),
        shares=matched,
        distance=np.zeros((CELLS, CELLS), np.float32),
        warped_masks=matched[1:],
        levels=(),
        displacements=(),
        key_votes=KeyVotes(
            torch.from_numpy(votes(CELLS // 2, by_keys)), torch.full((CELLS // 2, CELLS // 2), distance)
        ),
    )


def test_out_of_distribution_the_matching_decides() -> None:
    far = fuse_votes(target_match(by_keys=8, distance=IN_DISTRIBUTION_DISTANCE + 5))
    assert far.in_distribution < 0.01
    assert (
        np.abs(far.shares - target_match(by_keys=8, distance=0).shares)[:, 4:-4, 4:-4].max() < 0.3
    )  # But for the rim.
    assert np.abs(far.shares.argmax(0) - target_match(by_keys=8, distance=0).shares.argmax(0)).mean() < 0.02


def test_in_distribution_both_count() -> None:
    near = fuse_votes(target_match(by_keys=8, distance=IN_DISTRIBUTION_DISTANCE - 4))
    assert near.in_distribution > 0.99
    only_keys = near.shares[1, CELLS // 2, CELLS - 6]
    only_matching = near.shares[1, CELLS // 2, CELLS // 4 + 2]
    assert 0.2 < only_keys < 0.8
    assert 0.2 < only_matching < 0.8


def test_where_both_agree_the_edge_is_the_matchings() -> None:
    agreed = target_match(by_keys=4, distance=IN_DISTRIBUTION_DISTANCE - 4)
    shifted = agreed.shares.copy()
    shifted[1, :, CELLS // 4], shifted[0, :, CELLS // 4] = 0, 1  # An edge that the keys' cells are too large to show.
    agreed = replace(agreed, shares=shifted)
    assert fuse_votes(agreed).disagreement == pytest.approx([0.0])
    np.testing.assert_allclose(fuse_votes(agreed).shares, shifted, atol=1e-5)


def test_votes_stay_shares() -> None:
    np.testing.assert_allclose(
        fuse_votes(target_match(by_keys=8, distance=IN_DISTRIBUTION_DISTANCE)).shares.sum(0), 1, atol=1e-5
    )


@pytest.mark.parametrize(("by_keys", "expected"), [(4, 0.0), (12, 1.0)])
def test_different_votes_are_a_disagreement(by_keys: int, expected: float) -> None:
    assert fuse_votes(target_match(by_keys=by_keys, distance=1.0)).disagreement == pytest.approx([expected], abs=0.01)


def test_without_votes_by_keys_the_score_is_1() -> None:
    nothing = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])
    assert compute_in_distribution_score(KeyVotes(nothing, torch.full((4, 4), 100.0))) == 1.0


@pytest.mark.parametrize(("by_keys", "expected"), [(4, 1.0), (12, 0.0)])
def test_keys_that_do_not_find_the_support_again_are_not_reliable(by_keys: int, expected: float) -> None:
    assert compute_key_reliability(target_match(by_keys=by_keys, distance=1.0)) == expected


def test_where_keys_are_not_reliable_they_do_not_vote() -> None:
    match = target_match(by_keys=12, distance=1.0)
    fused = fuse_votes(replace(match, reliability=0.0))
    assert fused.in_distribution == 0
    # Without weight the keys' votes are replaced by the matching's, at the keys' resolution.
    assert np.abs(fused.shares - match.shares).max() < np.abs(fuse_votes(match).shares - match.shares).max()


def test_learnt_parts_count_where_any_trait_matches_well() -> None:
    masks = np.zeros((2, 10, 10), np.float32)
    masks[0, :6], masks[1, 6:] = 1, 1
    lost = np.where(masks[0] > 0, 0.95, 0.2).astype(np.float32)  # One of two traits is painted over.
    assert compute_target_reliability(lost, masks) == 1
    assert compute_target_reliability(np.full((10, 10), 0.8, np.float32), masks) == 0
    assert compute_target_reliability(np.full((10, 10), 0.8, np.float32), np.zeros_like(masks)) == 1
