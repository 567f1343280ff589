"""A decoder with more channels answers as the narrow one did, until it is trained on (`scripts/widen_decoder.py`)."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from project_scripts import import_script

from sst_retrieval.track.dense import decoder
from sst_retrieval.track.dense.decoder import KEY_INPUTS, TARGET_INPUTS, TRAIT_INPUTS, Decoder, DecoderInputs
from sst_retrieval.track.dense.keys import LEVEL_CHANNELS

CELLS = 64


@pytest.fixture(scope="module")
def widen_decoder() -> ModuleType:
    return import_script("widen_decoder")


def make_narrow_decoder(monkeypatch: pytest.MonkeyPatch) -> Decoder:
    """A decoder of the widths that version 14 of the masks had, whose every weight is random."""
    with monkeypatch.context() as narrow:
        narrow.setattr(decoder, "TRAIT_CHANNELS", (8, 24, 48, 64))
        narrow.setattr(decoder, "TARGET_CHANNELS", (16, 24, 32, 48))
        narrow.setattr(decoder, "TRAIT_GROUPS", (1, 4, 4, 4))
        narrow.setattr(decoder, "TARGET_GROUPS", (1, 4, 4, 4))
        network = decoder.Decoder()
    for tensor in network.parameters():
        torch.nn.init.normal_(tensor, std=0.1)
    return network.eval()


def make_inputs() -> DecoderInputs:
    sizes = [CELLS >> step for step in range(4)]
    levels = tuple(torch.rand(count, size, size) for count, size in zip(LEVEL_CHANNELS, sizes[1:], strict=True))
    rivals = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
    target, traits = torch.rand(TARGET_INPUTS, CELLS, CELLS), torch.rand(3, TRAIT_INPUTS, CELLS, CELLS)
    return DecoderInputs(target, traits, torch.rand(3, KEY_INPUTS, sizes[1], sizes[1]), levels, rivals)


@pytest.mark.parametrize("surroundings", [True, False])
@torch.inference_mode()
def test_a_wider_decoder_answers_as_before(
    widen_decoder: ModuleType, monkeypatch: pytest.MonkeyPatch, surroundings: bool
) -> None:
    torch.manual_seed(0)
    narrow, inputs = make_narrow_decoder(monkeypatch), make_inputs()
    tensors = narrow.state_dict()
    if not surroundings:  # As decoders were before they had any.
        for tensor in narrow.surroundings.back.parameters():
            torch.nn.init.zeros_(tensor)
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("surroundings")}
    wide = widen_decoder.widen(tensors)
    assert wide.deep[0][0].weight.shape[0] > narrow.deep[0][0].weight.shape[0]
    masks, quality = wide.predict_masks(inputs)
    expected_masks, expected_quality = narrow.predict_masks(inputs)
    assert expected_masks.std() > 0.01
    torch.testing.assert_close(masks, expected_masks, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(quality, expected_quality, rtol=1e-4, atol=1e-4)


def test_new_channels_learn(widen_decoder: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    narrow = make_narrow_decoder(monkeypatch)
    wide = widen_decoder.widen(narrow.state_dict())
    masks, _ = wide.predict_masks(make_inputs())
    masks.sum().backward()
    new = wide.raised[1][0].weight.grad[: len(narrow.raised[1][0].weight), -1]
    assert new.abs().max() > 0
