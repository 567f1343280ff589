"""Absent traits: the features that distinguish them, and the network that classifies these."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sst_retrieval.track.dense.decoder import Decoder
from sst_retrieval.track.dense.presence import (
    PRESENCE_FEATURES,
    PresenceInputs,
    PresenceNetwork,
    compute_presence_features,
)
from sst_retrieval.track.dense.trained_decoder import TrainedDecoder

CELLS = 32


def square(left: int, cells: int = CELLS) -> torch.Tensor:
    """A square of a quarter of the edge: float32 (cells, cells)."""
    grid = torch.zeros(cells, cells)
    grid[cells // 4 : cells // 2, left * cells // CELLS : (left + CELLS // 4) * cells // CELLS] = 1
    return grid


def presence_inputs(*, second_matches: bool = True) -> PresenceInputs:
    """Two traits side by side; the second may be lost: its place matches badly and gets hardly a vote."""
    places = torch.stack([square(4), square(20)])
    masks, votes, distance = torch.stack([square(4, 2 * CELLS), square(20, 2 * CELLS)]), places.clone(), places[0] * 0.2
    far = 4 / 20 * torch.ones(CELLS // 2, CELLS // 2)
    if second_matches:
        distance = distance + places[1] * 0.2
    else:
        masks[1] *= (torch.arange(2 * CELLS) % 8 == 0) * 0.6
        votes[1] *= 0.2
        distance = distance + places[1] * 1.2
        far = far + square(20, CELLS // 2) * 8 / 20
    key_shares = torch.nn.functional.avg_pool2d(votes, 2)
    return PresenceInputs(masks, places, votes, distance, key_shares, far)


def test_features_are_of_each_trait_and_the_others() -> None:
    features = compute_presence_features(presence_inputs(second_matches=False))
    assert features.shape == (2, PRESENCE_FEATURES)
    size, under, under_others = features.T[:3]
    assert size[0] == pytest.approx(0, abs=0.01)
    assert size[1] < -1
    assert under.tolist() == pytest.approx([0.2, 1.2], rel=0.1)
    # What is under the others is the other's.
    assert under_others.tolist() == pytest.approx(under.flip(0).tolist())


def test_a_single_trait_is_compared_with_itself() -> None:
    both = presence_inputs()
    alone = PresenceInputs(
        both.masks[:1], both.warped_masks[:1], both.votes[:1], both.distance, both.key_shares[:1], both.key_distance
    )
    features = compute_presence_features(alone)[0]
    assert features[1] == features[2]


def test_features_do_not_depend_on_the_order_of_traits() -> None:
    one = presence_inputs(second_matches=False)
    turned = PresenceInputs(
        one.masks.flip(0),
        one.warped_masks.flip(0),
        one.votes.flip(0),
        one.distance,
        one.key_shares.flip(0),
        one.key_distance,
    )
    torch.testing.assert_close(compute_presence_features(turned), compute_presence_features(one).flip(0))


def test_empty_masks_are_no_error() -> None:
    both = presence_inputs()
    features = compute_presence_features(replace(both, masks=both.masks * 0, warped_masks=both.warped_masks * 0))
    assert torch.isfinite(features).all()


def test_untrained_every_trait_is_present() -> None:
    assert (PresenceNetwork()(compute_presence_features(presence_inputs(second_matches=False))) > 0).all()


def test_the_trained_weights_recognise_an_absent_trait() -> None:
    presence = TrainedDecoder()._network.presence
    assert isinstance(presence, PresenceNetwork)
    with torch.no_grad():
        there, lost = presence(compute_presence_features(presence_inputs(second_matches=False))).tolist()
        whole = presence(compute_presence_features(presence_inputs())).tolist()
    assert lost < 0 < there
    assert min(whole) > 0


def test_weights_without_presence_are_refused() -> None:
    kept = {name: tensor for name, tensor in Decoder().state_dict().items() if not name.startswith("presence")}
    with pytest.raises(RuntimeError, match=r"presence\.mean"):
        Decoder().load_state_dict(kept)
