"""Training examples of the decoder: read a saved pair, and rebuild the propagator's view of its target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from training_pairs import LEVELS, SUPPORTS_SUFFIX

from sst_retrieval.track.dense.decoder import Decoder, build_decoder_inputs
from sst_retrieval.track.dense.examples import TrainingExample, warp_supports
from sst_retrieval.track.dense.keys import KeyVotes, compute_channel_statistics, vote_by_keys
from sst_retrieval.track.dense.matching import compute_cell_colours
from sst_retrieval.track.dense.view import TargetMatch
from sst_retrieval.types import Frame, RGBImage


def load_decoder(weights: Path) -> Decoder:
    """Load a decoder from a file of half-precision weights."""
    network = Decoder().eval()
    network.load_state_dict({name: each.float() for name, each in torch.load(weights, weights_only=True).items()})
    return network


def read_example(path: Path) -> TrainingExample:
    """Read a pair and its supports."""
    kept, supports = np.load(path), np.load(path.with_name(path.name.split("_")[0] + SUPPORTS_SUFFIX))
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
