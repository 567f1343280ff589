"""Give a trained decoder more channels, so that it answers as before and can be trained on (`train_decoder.py`).

    python scripts/widen_decoder.py narrow.pt wide.pt --seed 0

The channels of before keep their weights, and see the new channels with a weight of zero; the new ones see everything
with random weights. Their groups are normalised by themselves, so nothing changes at first (Net2Net, Chen et al. 2016,
arXiv 1511.05641, which copies channels instead). The widths are those of `track/dense/decoder.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
import typer

from sst_retrieval.track.dense.decoder import (
    KEY_INPUTS,
    TARGET_CHANNELS,
    TARGET_INPUTS,
    TRAIT_CHANNELS,
    TRAIT_INPUTS,
    Decoder,
)
from sst_retrieval.track.dense.keys import LEVEL_CHANNELS

PLAIN_NUMBERS = 4  # Inputs of `Decoder.quality` besides features.


def widen(narrow: Mapping[str, torch.Tensor], seed: int = 0) -> Decoder:
    """Build a decoder of the widths of today from the weights of one that is no wider at any scale."""
    torch.manual_seed(seed)
    network = Decoder()
    tensors = network.state_dict()
    inputs = _list_inputs(narrow)
    for name, old in narrow.items():
        module, _, kind = name.rpartition(".")
        if module not in inputs or kind != "weight":
            tensors[name][tuple(slice(size) for size in old.shape)] = old.float()
            continue
        places: list[int] = []
        start = 0
        for before, now in inputs[module]:
            places += range(start, start + before)
            start += now
        assert start == tensors[name].shape[1]
        assert len(places) == old.shape[1]
        tensors[name][: len(old)] = 0
        tensors[name][: len(old), places] = old.float()
    network.load_state_dict(tensors)
    return network.eval()


def _list_inputs(narrow: Mapping[str, torch.Tensor]) -> dict[str, list[tuple[int, int]]]:
    """List the parts that each layer's input is put together from: module -> channels before and now, part by part."""
    first = ("joined.0.0", "joined.1.1.0", "joined.2.1.0", "joined.3.1.0")
    trait = [(len(narrow[f"{name}.weight"]), now) for name, now in zip(first, TRAIT_CHANNELS, strict=True)]
    target = [(len(narrow[f"seen.{scale}.0.weight"]), now) for scale, now in enumerate(TARGET_CHANNELS)]
    scales = range(1, len(TRAIT_CHANNELS))
    keys, plain = (KEY_INPUTS, KEY_INPUTS), (PLAIN_NUMBERS, PLAIN_NUMBERS)
    inputs = {
        "seen.0.0": [(TARGET_INPUTS, TARGET_INPUTS)],
        "joined.0.0": [(TRAIT_INPUTS, TRAIT_INPUTS), target[0]],
        "raised.0.0": [trait[0], trait[0], target[0]],
        "deep.0.0": [trait[-1]],
        "deep.1.0": [trait[-1]],
        "pixels": [trait[0]],
        "quality.0": [trait[1], trait[-1], trait[-1], plain],
    }
    inputs |= {f"surroundings.{layer}": [trait[-1]] for layer in ("first.0", "second.0", "against", "back")}
    for scale in scales:
        level = LEVEL_CHANNELS[scale - 1]
        inputs[f"features.{scale - 1}"] = [(level, level)]
        inputs[f"seen.{scale}.0"] = [target[scale - 1], target[scale]]
        inputs[f"joined.{scale}.0.0"] = [trait[scale - 1], target[scale], *([keys] if scale == 1 else [])]
        inputs[f"joined.{scale}.1.0"] = [trait[scale]]
        inputs[f"narrowed.{scale - 1}"] = [trait[scale]]
    for scale in scales[:-1]:
        inputs[f"raised.{scale}.0"] = [trait[scale], trait[scale]]
        inputs[f"against.{scale - 1}"] = [trait[scale + 1]]
    return inputs


def main(narrow: Path, wide: Path, seed: Annotated[int, typer.Option(help="Of the new channels.")] = 0) -> None:
    """Write the weights of a wider decoder that answers as NARROW does."""
    network = widen(torch.load(narrow, weights_only=True), seed)
    torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, wide)


if __name__ == "__main__":
    typer.run(main)
