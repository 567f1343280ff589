"""The decoder: what it promises untrained, and what its trained weights have learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sst_retrieval.errors import ModelError
from sst_retrieval.track.dense.decoder import FEATURES, RECALLED, TARGET, TRAIT, Clues, Decoder, clues
from sst_retrieval.track.dense.keys import at_once, block, spreads
from sst_retrieval.track.dense.presence import Presence
from sst_retrieval.track.dense.trained_decoder import WEIGHTS, Drawn, TrainedDecoder

CELLS = 64
RIVALS = np.array([[False, True, False], [True, False, False], [False, False, False]])


def told(traits: int = 3, seed: int = 0) -> Clues:
    maker = torch.Generator().manual_seed(seed)
    levels = tuple(
        torch.rand(channels, CELLS >> step, CELLS >> step, generator=maker)
        for step, channels in enumerate(FEATURES, start=1)
    )
    recalled = torch.rand(traits, RECALLED, CELLS // 2, CELLS // 2, generator=maker) - 0.5
    recalled[:, 2] = recalled[0, 2]  # How far the best key is: of the place, whatever the trait.
    return Clues(
        torch.rand(TARGET, CELLS, CELLS, generator=maker) - 0.5,
        torch.rand(traits, TRAIT, CELLS, CELLS, generator=maker) - 0.5,
        recalled,
        levels,
        torch.from_numpy(RIVALS[:traits, :traits]),
    )


def undecided(traits: int) -> Drawn:
    """Rules that say nothing."""
    return Drawn(np.full((traits, 2 * CELLS, 2 * CELLS), 0.5, np.float32), np.full(traits, 0.5, np.float32))


@pytest.fixture(scope="module")
def trained() -> TrainedDecoder:
    return TrainedDecoder()


def disc(radius: float) -> np.ndarray:
    down, across = np.indices((2 * CELLS, 2 * CELLS)) - CELLS + 0.5
    return np.hypot(down, across) < radius


def seen_disc() -> Clues:
    """A dark disc on pale paper, and votes that find it."""
    there = disc(40)
    view = np.where(there, 60, 220).astype(np.uint8)[..., None].repeat(3, axis=2)
    votes = there.reshape(CELLS, 2, CELLS, 2).mean((1, 3)).astype(np.float32)
    bent = there.reshape(CELLS, 2, CELLS, 2).mean((1, 3)).astype(np.float32)
    shares = np.stack([1 - votes, votes])
    levels = [torch.zeros(channels, CELLS >> step, CELLS >> step) for step, channels in enumerate(FEATURES, start=1)]
    alone = np.array([[False]])
    recalled = torch.from_numpy(shares.reshape(2, CELLS // 2, 2, CELLS // 2, 2).mean((2, 4)))
    distance, near = np.full((CELLS, CELLS), 0.3, np.float32), torch.ones(CELLS // 2, CELLS // 2)
    return clues(view, shares, distance, bent[None], votes[None], alone, levels, (recalled, near))


def test_an_untrained_decoder_answers_with_the_first_mask() -> None:
    clue = told()
    logits, judged = Decoder()(clue)
    first = clue.traits[:, 2].repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    sure = first.abs() > 0.4
    assert logits.shape == (3, 2 * CELLS, 2 * CELLS)
    assert judged.shape == (3, 2)
    assert ((logits > 0) == (first > 0))[sure].float().mean() > 0.9


@pytest.mark.parametrize("normalised", [False, True])
def test_parts_go_through_a_block_as_if_they_were_joined(normalised: bool) -> None:
    torch.manual_seed(0)
    step, own, shared = block(7, 8, normalised=normalised), torch.randn(3, 4, 10, 9), torch.randn(1, 3, 10, 9)
    joined = step(torch.cat([own, shared.expand(3, -1, -1, -1)], dim=1))
    torch.testing.assert_close(at_once(step, own, shared), joined, rtol=1e-4, atol=1e-5)


def test_rivals_share_no_pixel_and_others_may(trained: TrainedDecoder) -> None:
    clue = told()
    same = replace(clue, traits=clue.traits[:1].expand(3, -1, -1, -1) + 1)
    masks = trained.decode(same, undecided(3), np.ones(3)).soft > 0.5
    assert masks.any(axis=(1, 2)).all()
    assert not (masks[0] & masks[1]).any()
    assert (masks[0] & masks[2]).any()
    assert (masks[1] & masks[2]).any()


def test_a_trait_is_decoded_alike_whatever_its_place(trained: TrainedDecoder) -> None:
    clue = told()
    free = np.zeros((3, 3), dtype=bool)
    clue = replace(clue, rivals=torch.from_numpy(free))
    turned = replace(clue, traits=clue.traits.flip(0), recalled=clue.recalled.flip(0))
    one, other = (trained.decode(each, undecided(3), np.ones(3)) for each in (clue, turned))
    assert np.allclose(one.soft, other.soft[::-1], atol=1e-4)
    assert np.allclose(one.confidence, other.confidence[::-1], atol=1e-4)


def test_confidences_and_masks_are_shares(trained: TrainedDecoder) -> None:
    drawn = trained.decode(told(), undecided(3), np.ones(3))
    assert drawn.soft.dtype == drawn.confidence.dtype == np.float32
    assert 0 <= drawn.soft.min() <= drawn.soft.max() <= 1
    assert 0 <= drawn.confidence.min() <= drawn.confidence.max() <= 1


def test_good_votes_are_kept_and_trusted(trained: TrainedDecoder) -> None:
    drawn = trained.decode(seen_disc(), undecided(1), np.ones(1))
    assert iou(drawn.soft[0] > 0.5, disc(40)) > 0.95
    assert drawn.confidence[0] > 0.6


@pytest.mark.parametrize("heard", [{"familiar": 0.0}, {"doubt": np.zeros(1, np.float32)}])
def test_on_a_strange_animal_and_without_doubt_the_rules_decide(trained: TrainedDecoder, heard: dict[str, Any]) -> None:
    ruled = Drawn(disc(20).astype(np.float32)[None], np.array([0.7], np.float32))
    alone = trained.decode(seen_disc(), ruled, np.ones(1), **heard)
    assert np.array_equal(alone.soft, ruled.soft)
    assert not np.array_equal(trained.decode(seen_disc(), ruled, np.ones(1)).soft, ruled.soft)


@pytest.mark.parametrize(
    ("signs", "matched", "rules", "there"), [(9.0, 0.0, 0.7, 0.75), (-9.0, 1.0, 0.7, 0.25), (-9.0, 1.0, 0.9, 0.25)]
)
def test_signs_matching_and_a_good_mask_say_what_is_lost_on_a_strange_animal(
    trained: TrainedDecoder, monkeypatch: pytest.MonkeyPatch, signs: float, matched: float, rules: float, there: float
) -> None:
    monkeypatch.setattr(Presence, "forward", lambda _, numbers: torch.full((len(numbers),), signs))
    ruled = Drawn(disc(20).astype(np.float32)[None], np.array([rules], np.float32))
    without_doubt = np.zeros(1, np.float32)
    drawn = trained.decode(seen_disc(), ruled, np.array([matched]), familiar=0.0, doubt=without_doubt)
    lost = there < 0.5 and rules < 0.8
    assert drawn.soft.any() != lost
    expected = 1 - there if lost else (rules + there) / 2 if there < 0.5 else rules
    assert drawn.confidence[0] == pytest.approx(expected, abs=0.01)


def test_a_strange_animal_is_no_reason_to_be_sure(trained: TrainedDecoder) -> None:
    ruled = Drawn(disc(20).astype(np.float32)[None], np.array([1.0], np.float32))
    sure, doubtful = (
        trained.decode(seen_disc(), ruled, np.ones(1), familiar=0.0, doubt=np.full(1, doubt, np.float32))
        for doubt in (0.0, 1.0)
    )
    assert np.array_equal(sure.soft, doubtful.soft)
    assert doubtful.confidence[0] < sure.confidence[0]


def test_a_specimen_recalls_its_own_labels(trained: TrainedDecoder) -> None:
    levels = told().levels
    labels = torch.zeros(3, CELLS // 2, CELLS // 2)
    labels[1, 8:20, 6:14], labels[2, 22:26, 4:28] = 1, 1
    labels[0] = 1 - labels[1:].sum(0)
    keys = trained.keys(np.full((2 * CELLS, 2 * CELLS, 3), 120, np.uint8), levels, spreads(levels))
    shares, distance = trained.recall(keys, [(keys, labels)])
    assert (shares.argmax(0) == labels.argmax(0)).float().mean() > 0.9
    assert torch.allclose(shares.sum(0), torch.ones(1), atol=1e-4)
    assert float(distance.abs().max()) < 1e-2


def test_several_supports_vote_together(trained: TrainedDecoder) -> None:
    levels, others = told(seed=0).levels, told(seed=1).levels
    labels = torch.zeros(2, CELLS // 2, CELLS // 2)
    labels[1, 8:20, 6:14] = 1
    labels[0] = 1 - labels[1]
    view = np.full((2 * CELLS, 2 * CELLS, 3), 120, np.uint8)
    liar = (trained.keys(view, others, spreads(levels)), labels.flip(0))
    honest = (trained.keys(view, levels, spreads(levels)), labels)
    shares, _ = trained.recall(honest[0], [liar, honest])
    assert (shares.argmax(0) == labels.argmax(0)).float().mean() > 0.9


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def test_the_name_says_which_weights(trained: TrainedDecoder, tmp_path: Path) -> None:
    tensors = torch.load(WEIGHTS, weights_only=True)
    torch.save({name: tensor + 1 for name, tensor in tensors.items()}, tmp_path / "other.pt")
    assert TrainedDecoder().name == trained.name
    assert TrainedDecoder(tmp_path / "other.pt").name != trained.name


def test_missing_weights_are_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not at .*nowhere\.pt"):
        TrainedDecoder(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("content", ["text", "truncated", "other"])
def test_broken_weights_are_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.pt"
    if content == "text":
        path.write_text("no weights")
    elif content == "truncated":
        path.write_bytes(WEIGHTS.read_bytes()[:5000])
    else:
        torch.save({"seen.0.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="holds no weights of this decoder"):
        TrainedDecoder(path)
