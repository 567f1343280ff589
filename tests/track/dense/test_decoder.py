"""The decoder: what it promises untrained, and what its trained weights have learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sst_retrieval.errors import ModelError
from sst_retrieval.track.dense.decoder import (
    KEY_INPUTS,
    LEVEL_CHANNELS,
    TARGET_INPUTS,
    TRAIT_INPUTS,
    Decoder,
    DecoderInputs,
    SurroundingsBlock,
    build_decoder_inputs,
    compute_strongest_rival,
)
from sst_retrieval.track.dense.keys import KeyVotes, apply_to_parts, build_block, compute_channel_statistics
from sst_retrieval.track.dense.presence import PresenceNetwork
from sst_retrieval.track.dense.trained_decoder import DECODER_WEIGHTS, SoftMasks, TrainedDecoder

CELLS = 64
RIVALS = np.array([[False, True, False], [True, False, False], [False, False, False]])


def random_inputs(traits: int = 3, seed: int = 0) -> DecoderInputs:
    maker = torch.Generator().manual_seed(seed)
    levels = tuple(
        torch.rand(channels, CELLS >> step, CELLS >> step, generator=maker)
        for step, channels in enumerate(LEVEL_CHANNELS, start=1)
    )
    keys = torch.rand(traits, KEY_INPUTS, CELLS // 2, CELLS // 2, generator=maker) - 0.5
    keys[:, 2] = keys[0, 2]  # The distance of the best key is the same for every trait.
    return DecoderInputs(
        torch.rand(TARGET_INPUTS, CELLS, CELLS, generator=maker) - 0.5,
        torch.rand(traits, TRAIT_INPUTS, CELLS, CELLS, generator=maker) - 0.5,
        keys,
        levels,
        torch.from_numpy(RIVALS[:traits, :traits]),
    )


def undecided(traits: int) -> SoftMasks:
    """Masks of the rules without information: 0.5 everywhere."""
    return SoftMasks(np.full((traits, 2 * CELLS, 2 * CELLS), 0.5, np.float32), np.full(traits, 0.5, np.float32))


@pytest.fixture(scope="module")
def trained() -> TrainedDecoder:
    return TrainedDecoder()


def disc(radius: float) -> np.ndarray:
    down, across = np.indices((2 * CELLS, 2 * CELLS)) - CELLS + 0.5
    return np.hypot(down, across) < radius


def disc_inputs(parts: np.ndarray | None = None, rivals: np.ndarray = RIVALS[:1, :1]) -> DecoderInputs:
    """A dark disc on pale paper, and votes that find it, or parts of it, bool (T, 2 CELLS, 2 CELLS)."""
    there = disc(40)
    view = np.where(there, 60, 220).astype(np.uint8)[..., None].repeat(3, axis=2)
    drawn = there[None] if parts is None else parts
    votes = drawn.reshape(-1, CELLS, 2, CELLS, 2).mean((2, 4)).astype(np.float32)
    shares = np.concatenate([1 - votes.max(axis=0, keepdims=True), votes])
    levels = [
        torch.zeros(channels, CELLS >> step, CELLS >> step) for step, channels in enumerate(LEVEL_CHANNELS, start=1)
    ]
    key_shares = torch.from_numpy(shares.reshape(-1, CELLS // 2, 2, CELLS // 2, 2).mean((2, 4)))
    distance, near = np.full((CELLS, CELLS), 0.3, np.float32), torch.ones(CELLS // 2, CELLS // 2)
    return build_decoder_inputs(view, shares, distance, votes, votes, rivals, levels, KeyVotes(key_shares, near))


def test_an_untrained_decoder_answers_with_the_initial_mask() -> None:
    inputs = random_inputs()
    logits, judged = Decoder()(inputs)
    first = inputs.traits[:, 2].repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    sure = first.abs() > 0.4
    assert logits.shape == (3, 2 * CELLS, 2 * CELLS)
    assert judged.shape == (3, 2)
    assert ((logits > 0) == (first > 0))[sure].float().mean() > 0.9


@pytest.mark.parametrize("normalised", [False, True])
def test_parts_go_through_a_block_as_if_they_were_joined(normalised: bool) -> None:
    torch.manual_seed(0)
    step, own, shared = build_block(7, 8, normalised=normalised), torch.randn(3, 4, 10, 9), torch.randn(1, 3, 10, 9)
    joined = step(torch.cat([own, shared.expand(3, -1, -1, -1)], dim=1))
    torch.testing.assert_close(apply_to_parts(step, own, shared), joined, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 1)])
def test_untrained_surroundings_add_nothing_to_a_view_of_any_size(size: tuple[int, int]) -> None:
    traits = torch.rand(3, 8, *size)
    added = SurroundingsBlock(8, 2)(traits, torch.from_numpy(RIVALS))
    assert added.shape == traits.shape
    assert not added.any()


def test_surroundings_see_rivals_and_nobody_else() -> None:
    torch.manual_seed(0)
    block = SurroundingsBlock(8, 2)
    for layer in (block.against, block.back):
        torch.nn.init.normal_(layer.weight)
    traits, rivals = torch.rand(3, 8, 6, 6), torch.from_numpy(RIVALS)
    changed = traits.clone()
    changed[1] = torch.rand(8, 6, 6)
    before, after = block(traits, rivals), block(changed, rivals)
    assert (before[0] - after[0]).abs().max() > 0.01  # Traits 0 and 1 are rivals,
    assert torch.equal(before[2], after[2])  # 2 has none.


@pytest.mark.parametrize(("traits", "overlap"), [(1, False), (3, False), (12, False), (12, True)])
def test_the_strongest_rival_is_the_maximum_over_all_rivals(traits: int, overlap: bool) -> None:
    stack = torch.from_numpy(np.random.default_rng(traits).random((traits, 4, 5)).astype(np.float32))
    competing = ~torch.eye(traits, dtype=torch.bool)
    if overlap:
        competing[2, 7] = competing[7, 2] = False
    for own, row in enumerate(competing):
        expected = stack[row].amax(dim=0) if row.any() else torch.zeros(4, 5)
        assert torch.equal(compute_strongest_rival(stack, competing)[own], expected)


def test_rivals_share_no_pixel_and_others_may(trained: TrainedDecoder) -> None:
    whole = disc(40)
    left, right = (whole & half for half in (np.arange(2 * CELLS) < CELLS + 8, np.arange(2 * CELLS) > CELLS - 8))
    inputs = disc_inputs(np.stack([left, right, whole]), RIVALS)
    masks = trained.decode(inputs, undecided(3), np.ones(3)).soft > 0.5
    assert masks.any(axis=(1, 2)).all()
    assert not (masks[0] & masks[1]).any()
    assert (masks[0] & masks[2]).any()
    assert (masks[1] & masks[2]).any()


def test_a_trait_is_decoded_alike_whatever_its_place(trained: TrainedDecoder) -> None:
    inputs = random_inputs()
    free = np.zeros((3, 3), dtype=bool)
    inputs = replace(inputs, rivals=torch.from_numpy(free))
    turned = replace(inputs, traits=inputs.traits.flip(0), keys=inputs.keys.flip(0))
    one, other = (trained.decode(each, undecided(3), np.ones(3)) for each in (inputs, turned))
    assert np.allclose(one.soft, other.soft[::-1], atol=1e-4)
    assert np.allclose(one.confidence, other.confidence[::-1], atol=1e-4)


def test_confidences_and_masks_are_shares(trained: TrainedDecoder) -> None:
    predicted = trained.decode(random_inputs(), undecided(3), np.ones(3))
    assert predicted.soft.dtype == predicted.confidence.dtype == np.float32
    assert 0 <= predicted.soft.min() <= predicted.soft.max() <= 1
    assert 0 <= predicted.confidence.min() <= predicted.confidence.max() <= 1


def test_good_votes_are_kept_and_trusted(trained: TrainedDecoder) -> None:
    predicted = trained.decode(disc_inputs(), undecided(1), np.ones(1))
    assert iou(predicted.soft[0] > 0.5, disc(40)) > 0.95
    assert predicted.confidence[0] > 0.6


@pytest.mark.parametrize("weights", [{"in_distribution": 0.0}, {"disagreement": np.zeros(1, np.float32)}])
def test_the_rules_decide_out_of_distribution_and_where_votes_agree(
    trained: TrainedDecoder, weights: dict[str, Any]
) -> None:
    by_rules = SoftMasks(disc(20).astype(np.float32)[None], np.array([0.7], np.float32))
    alone = trained.decode(disc_inputs(), by_rules, np.ones(1), **weights)
    assert np.array_equal(alone.soft, by_rules.soft)
    assert not np.array_equal(trained.decode(disc_inputs(), by_rules, np.ones(1)).soft, by_rules.soft)


@pytest.mark.parametrize(
    ("logit", "matched", "rules", "there"), [(9.0, 0.0, 0.7, 0.75), (-9.0, 1.0, 0.7, 0.25), (-9.0, 1.0, 0.9, 0.25)]
)
def test_out_of_distribution_presence_combines_features_matching_and_expected_iou(
    trained: TrainedDecoder, monkeypatch: pytest.MonkeyPatch, logit: float, matched: float, rules: float, there: float
) -> None:
    monkeypatch.setattr(PresenceNetwork, "forward", lambda _, numbers: torch.full((len(numbers),), logit))
    by_rules = SoftMasks(disc(20).astype(np.float32)[None], np.array([rules], np.float32))
    agreement = np.zeros(1, np.float32)
    predicted = trained.decode(
        disc_inputs(), by_rules, np.array([matched]), in_distribution=0.0, disagreement=agreement
    )
    lost = there < 0.5 and rules < 0.8
    assert predicted.soft.any() != lost
    expected = 1 - there if lost else (rules + there) / 2 if there < 0.5 else rules
    assert predicted.confidence[0] == pytest.approx(expected, abs=0.01)


def test_presence_is_classified_by_the_decoders_mask_in_distribution_and_by_the_rules_outside(
    trained: TrainedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[torch.Tensor] = []

    def classify(_: Decoder, inputs: DecoderInputs, masks: torch.Tensor) -> torch.Tensor:
        judged.append(masks)
        return torch.zeros(len(masks))

    monkeypatch.setattr(Decoder, "classify_presence", classify)
    by_rules = SoftMasks(disc(20).astype(np.float32)[None], np.array([0.7], np.float32))
    trained.decode(disc_inputs(), by_rules, np.ones(1), in_distribution=1.0)
    (own,) = judged
    assert not torch.equal(own, torch.from_numpy(by_rules.soft))
    trained.decode(disc_inputs(), by_rules, np.ones(1), in_distribution=0.0)
    assert torch.equal(judged[-1], torch.from_numpy(by_rules.soft))


def test_disagreement_lowers_confidence_out_of_distribution(trained: TrainedDecoder) -> None:
    by_rules = SoftMasks(disc(20).astype(np.float32)[None], np.array([1.0], np.float32))
    agreed, disagreed = (
        trained.decode(
            disc_inputs(), by_rules, np.ones(1), in_distribution=0.0, disagreement=np.full(1, share, np.float32)
        )
        for share in (0.0, 1.0)
    )
    assert np.array_equal(agreed.soft, disagreed.soft)
    assert disagreed.confidence[0] < agreed.confidence[0]


def test_keys_transfer_a_specimens_own_labels_to_itself(trained: TrainedDecoder) -> None:
    levels = random_inputs().levels
    labels = torch.zeros(3, CELLS // 2, CELLS // 2)
    labels[1, 8:20, 6:14], labels[2, 22:26, 4:28] = 1, 1
    labels[0] = 1 - labels[1:].sum(0)
    keys = trained.compute_keys(
        np.full((2 * CELLS, 2 * CELLS, 3), 120, np.uint8), levels, compute_channel_statistics(levels)
    )
    shares, distance = trained.vote_by_keys(keys, [(keys, labels)])
    assert (shares.argmax(0) == labels.argmax(0)).float().mean() > 0.9
    assert torch.allclose(shares.sum(0), torch.ones(1), atol=1e-4)
    assert float(distance.abs().max()) < 1e-2


def test_several_supports_vote_together(trained: TrainedDecoder) -> None:
    levels, others = random_inputs(seed=0).levels, random_inputs(seed=1).levels
    labels = torch.zeros(2, CELLS // 2, CELLS // 2)
    labels[1, 8:20, 6:14] = 1
    labels[0] = 1 - labels[1]
    view = np.full((2 * CELLS, 2 * CELLS, 3), 120, np.uint8)
    liar = (trained.compute_keys(view, others, compute_channel_statistics(levels)), labels.flip(0))
    honest = (trained.compute_keys(view, levels, compute_channel_statistics(levels)), labels)
    shares, _ = trained.vote_by_keys(honest[0], [liar, honest])
    assert (shares.argmax(0) == labels.argmax(0)).float().mean() > 0.9


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def test_the_name_says_which_weights(trained: TrainedDecoder, tmp_path: Path) -> None:
    tensors = torch.load(DECODER_WEIGHTS, weights_only=True)
    torch.save({name: tensor + 1 for name, tensor in tensors.items()}, tmp_path / "other.pt")
    assert TrainedDecoder().name == trained.name
    assert TrainedDecoder(tmp_path / "other.pt").name != trained.name


def test_missing_weights_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not at .*nowhere\.pt"):
        TrainedDecoder(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("content", ["text", "truncated", "other", "narrower"])
def test_broken_weights_are_reported(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.pt"
    if content == "text":
        path.write_text("no weights")
    elif content == "truncated":
        path.write_bytes(DECODER_WEIGHTS.read_bytes()[:5000])
    elif content == "other":
        torch.save({"seen.0.0.weight": torch.zeros(1)}, path)
    else:
        tensors = torch.load(DECODER_WEIGHTS, weights_only=True)
        torch.save(tensors | {"deep.0.0.weight": tensors["deep.0.0.weight"][:64, :64]}, path)
    with pytest.raises(ModelError, match="holds no weights of this decoder"):
        TrainedDecoder(path)
