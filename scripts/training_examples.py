"""Training examples of the decoder: read a saved pair, and rebuild the propagator's view of its target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from training_pairs import LEVELS, SUPPORTS_SUFFIX

from sst_retrieval.track.dense.decoder import Decoder, DecoderInputs, build_decoder_inputs
from sst_retrieval.track.dense.examples import TrainingExample, add_key_votes, warp_supports
from sst_retrieval.track.dense.keys import KeyVotes, compute_channel_statistics, vote_by_keys
from sst_retrieval.track.dense.matching import compute_cell_colours
from sst_retrieval.track.dense.view import TargetMatch
from sst_retrieval.types import Frame, RGBImage


def load_decoder(weights: Path) -> Decoder:
    """Load a decoder from a file of half-precision weights."""
    network = Decoder().eval()
    network.load_state_dict({name: each.float() for name, each in torch.load(weights, weights_only=True).items()})
    return network


VOTES_ARRAYS = ("target", "traits", "keys")
"""The decoder's inputs that a file of `save_votes` holds in half precision, besides LEVELS."""


def save_votes(network: Decoder, pair: Path, output: Path) -> None:
    """Compute the votes by keys of a pair, and save the decoder's inputs with them, in half precision.

    Where keys rest, a decoder learns from such a file in half the time.
    """
    example = read_example(pair)
    with torch.inference_mode():
        inputs, _ = add_key_votes(network, example)
    halves = {name: getattr(inputs, name).half().numpy() for name in VOTES_ARRAYS}
    levels = {name: level.half().numpy() for name, level in zip(LEVELS, inputs.levels, strict=True)}
    truth = (example.truth * 255 + 0.5).byte().numpy()
    output.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        output, allow_pickle=False, names=np.array(example.names), rivals=inputs.rivals.numpy(), truth=truth,
        **halves, **levels,
    )  # fmt: skip


def _read_votes(kept: Mapping[str, npt.NDArray[Any]]) -> TrainingExample:
    """Read what `save_votes` saved: an example without supports."""
    target, traits, keys = (torch.from_numpy(kept[name].astype(np.float32)) for name in VOTES_ARRAYS)
    levels = tuple(torch.from_numpy(kept[name].astype(np.float32)) for name in LEVELS)
    inputs = DecoderInputs(target, traits, keys, levels, torch.from_numpy(kept["rivals"]))
    truth = torch.from_numpy(kept["truth"].astype(np.float32) / 255)
    nothing = torch.zeros(0, 3, 1, 1)
    names = [str(name) for name in kept["names"]]
    return TrainingExample(inputs, [], nothing, nothing, nothing, torch.zeros(0, 2, 1, 1), truth, names)


def read_example(path: Path) -> TrainingExample:
    """Read a pair and its supports, or a file of `save_votes`."""
    kept = np.load(path)
    if "keys" in kept:
        return _read_votes(kept)
    supports = np.load(path.with_name(path.name.split("_")[0] + SUPPORTS_SUFFIX))
    view: RGBImage = kept["view"]
    truth = torch.from_numpy(kept["truth"].astype(np.float32) / 255)
    levels = [[torch.from_numpy(one.astype(np.float32)) for one in supports[name]] for name in LEVELS]
    labels = torch.from_numpy(supports["labels"].astype(np.float32) / 255)
    nothing = labels.new_zeros(labels.shape[1:])
    inputs = build_decoder_inputs(
        view,
        kept["shares"].astype(np.float32),
        kept["distance"].astype(np.float32),
        kept["bent"].astype(np.float32),
        kept["first"].astype(np.float32) / 255,
        kept["rivals"],
        [torch.from_numpy(kept[name].astype(np.float32)) for name in LEVELS],
        KeyVotes(nothing, nothing[0]),
    )
    flows = torch.from_numpy(kept["flows"].astype(np.float32))
    by_support = [list(one) for one in zip(*levels, strict=True)]
    colours = torch.from_numpy(supports["colours"].astype(np.float32))
    target_colours = torch.from_numpy(compute_cell_colours(view, labels.shape[-1]))
    return TrainingExample(
        inputs, by_support, colours, labels, target_colours, flows, truth, [str(name) for name in kept["names"]]
    )


def view_target(network: Decoder, path: Path) -> tuple[TrainingExample, TargetMatch]:
    """Read a pair, and rebuild the propagator's view of its target."""
    example, kept = read_example(path), np.load(path)
    like = compute_channel_statistics(example.levels[0])
    keys = network.keys(example.inputs.levels, example.target_colours, like)
    votes = vote_by_keys(network.keys, keys, warp_supports(network, example, like))
    shares, distance, warped_masks = (kept[name].astype(np.float32) for name in ("shares", "distance", "bent"))
    upright = Frame((1.0, 0.0, 0.0, 0.0, 1.0, 0.0))  # Not used: the view is already warped.
    levels, displacements = example.inputs.levels, tuple(example.flows)
    match = TargetMatch(upright, kept["view"], shares, distance, warped_masks, levels, displacements, votes)
    return example, match
