"""Lost traits: the signs that give them away, and how they are weighed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sst_retrieval.track.dense.decoder import Decoder
from sst_retrieval.track.dense.presence import SIGNS, Evidence, Presence, signs
from sst_retrieval.track.dense.trained_decoder import TrainedDecoder

CELLS = 32


def square(left: int, cells: int = CELLS) -> torch.Tensor:
    """A square of a quarter of the edge: float32 (cells, cells)."""
    grid = torch.zeros(cells, cells)
    grid[cells // 4 : cells // 2, left * cells // CELLS : (left + CELLS // 4) * cells // CELLS] = 1
    return grid


def evidence(*, second_matches: bool = True) -> Evidence:
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
    recalled = torch.nn.functional.avg_pool2d(votes, 2)
    return Evidence(masks, places, votes, distance, recalled, far)


def test_signs_are_of_each_trait_and_the_others() -> None:
    numbers = signs(evidence(second_matches=False))
    assert numbers.shape == (2, SIGNS)
    size, under, under_others = numbers.T[:3]
    assert size[0] == pytest.approx(0, abs=0.01)
    assert size[1] < -1
    assert under.tolist() == pytest.approx([0.2, 1.2], rel=0.1)
    # What is under the others is the other's.
    assert under_others.tolist() == pytest.approx(under.flip(0).tolist())


def test_a_single_trait_is_compared_with_itself() -> None:
    both = evidence()
    alone = Evidence(both.masks[:1], both.bent[:1], both.votes[:1], both.distance, both.recalled[:1], both.far)
    numbers = signs(alone)[0]
    assert numbers[1] == numbers[2]


def test_signs_do_not_depend_on_the_order_of_traits() -> None:
    one = evidence(second_matches=False)
    turned = Evidence(
        one.masks.flip(0), one.bent.flip(0), one.votes.flip(0), one.distance, one.recalled.flip(0), one.far
    )
    torch.testing.assert_close(signs(turned), signs(one).flip(0))


def test_nothing_drawn_is_no_error() -> None:
    both = evidence()
    numbers = signs(replace(both, masks=both.masks * 0, bent=both.bent * 0))
    assert torch.isfinite(numbers).all()


def test_untrained_every_trait_is_present() -> None:
    assert (Presence()(signs(evidence(second_matches=False))) > 0).all()


def test_the_weights_that_come_with_the_program_tell_a_lost_trait() -> None:
    presence = TrainedDecoder()._network.presence
    assert isinstance(presence, Presence)
    with torch.no_grad():
        there, lost = presence(signs(evidence(second_matches=False))).tolist()
        whole = presence(signs(evidence())).tolist()
    assert lost < 0 < there
    assert min(whole) > 0


def test_weights_without_presence_are_refused() -> None:
    kept = {name: tensor for name, tensor in Decoder().state_dict().items() if not name.startswith("presence")}
    with pytest.raises(RuntimeError, match=r"presence\.mean"):
        Decoder().load_state_dict(kept)
