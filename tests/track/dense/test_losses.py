"""What keys and decoder are trained by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sst_retrieval.track.dense.decoder import KEY_INPUTS, TARGET_INPUTS, TRAIT_INPUTS, Decoder, DecoderInputs
from sst_retrieval.track.dense.examples import CROP_SIDE, TrainingExample
from sst_retrieval.track.dense.keys import LEVEL_CHANNELS
from sst_retrieval.track.dense.losses import compute_key_losses

SIDE = 2 * CROP_SIDE
CELLS = SIDE // 4


def make_example(drawn: slice, labelled: slice) -> TrainingExample:
    """A target with one trait in some rows and columns of its view, and a support that lies with labels elsewhere."""
    maker = torch.Generator().manual_seed(0)
    levels = [
        torch.rand(channels, CELLS >> step, CELLS >> step, generator=maker)
        for step, channels in enumerate(LEVEL_CHANNELS)
    ]
    truth = torch.zeros(1, SIDE, SIDE)
    truth[:, drawn, drawn] = 1
    labels = torch.zeros(1, 2, CELLS, CELLS)
    labels[:, 1, labelled, labelled] = 1
    labels[:, 0] = 1 - labels[:, 1]
    inputs = DecoderInputs(
        torch.zeros(TARGET_INPUTS, SIDE // 2, SIDE // 2),
        torch.zeros(1, TRAIT_INPUTS, SIDE // 2, SIDE // 2),
        torch.zeros(1, KEY_INPUTS, CELLS, CELLS),
        tuple(levels),
        torch.zeros(1, 1, dtype=torch.bool),
    )
    colours = torch.rand(3, CELLS, CELLS, generator=maker)
    flows = torch.zeros(1, 2, CELLS // 4, CELLS // 4)
    return TrainingExample(inputs, [levels], colours[None], labels, colours, flows, truth, ["band"])


@pytest.mark.parametrize(("labelled", "learns"), [(slice(8, 24), True), (slice(CELLS - 8, CELLS), False)])
def test_keys_have_a_gradient_wherever_the_crop_lies(labelled: slice, learns: bool) -> None:
    network = Decoder()
    example = make_example(slice(0, 32), labelled)
    loss = compute_key_losses(network, example, np.random.default_rng(0))["votes"]
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [each.grad for each in network.keys.parameters() if each.grad is not None]
    assert all(bool(torch.isfinite(each).all()) for each in gradients)
    assert any(bool(each.any()) for each in gradients) == learns
