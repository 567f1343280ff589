"""Training examples of keys and decoder: a target matched with supports, and its true masks; flipped, cropped.

The votes by keys are computed when an example is used (`add_key_votes`), for keys change while they learn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from sst_retrieval.track.dense.decoder import Decoder, DecoderInputs, build_key_inputs
from sst_retrieval.track.dense.keys import ChannelStatistics, compute_channel_statistics, vote_by_keys
from sst_retrieval.track.dense.view import warp_to_target

CROP_SIDE = 256
"""Edge of a training crop, in pixels of the view."""

UNCROPPED_SHARE = 0.15
"""Share of examples that are not cropped."""

MAX_TRAITS = 4
"""Most traits of an example, after augmentation."""


@dataclass(frozen=True)
class TrainingExample:
    """A pair of a target and N supports; T traits, views of S pixels.

    Attributes:
        inputs: the decoder's inputs; the votes by keys are still empty, unless there are no supports.
        levels: features of each support, one list per support, for the strides 4, 8, 16: float32 (C, S / s, S / s).
            Empty where the votes by keys are in the inputs already.
        colours: of the supports' cells: float32 (N, 3, S / 4, S / 4).
        labels: share of the supports' cells that nothing, then each trait, covers: float32 (N, 1 + T, S / 4, S / 4).
        target_colours: of the target's cells: float32 (3, S / 4, S / 4).
        flows: from the target to each support: float32 (N, 2, ...).
        truth: share of every pixel of the target that a trait covers: float32 (T, S, S).
        names: of the traits.
    """

    inputs: DecoderInputs
    levels: list[list[torch.Tensor]]
    colours: torch.Tensor
    labels: torch.Tensor
    target_colours: torch.Tensor
    flows: torch.Tensor
    truth: torch.Tensor
    names: list[str]


def add_key_votes(
    network: Decoder, example: TrainingExample, wanted: torch.Tensor | None = None
) -> tuple[DecoderInputs, torch.Tensor]:
    """Compute the keys and their votes.

    Args:
        network: the decoder, with its key network.
        example: a pair.
        wanted: cells to vote on, bool (S / 4, S / 4); None for all.

    Returns:
        The decoder's inputs with the votes, and the votes: float32 (1 + T, S / 4, S / 4).
    """
    like = compute_channel_statistics(example.levels[0])
    target = network.keys(example.inputs.levels, example.target_colours, like)
    votes = vote_by_keys(network.keys, target, warp_supports(network, example, like), wanted)
    return replace(example.inputs, keys=build_key_inputs(votes, example.inputs.rivals)), votes.shares


def warp_supports(
    network: Decoder, example: TrainingExample, like: ChannelStatistics
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Warp keys and labels of the supports onto the target."""
    each = zip(example.levels, example.colours, example.labels, example.flows, strict=True)
    return [
        (warp_to_target(network.keys(levels, colours, like), flow), warp_to_target(labels, flow))
        for levels, colours, labels, flow in each
    ]


def flip_randomly(example: TrainingExample, rng: np.random.Generator) -> TrainingExample:
    """Flip target and supports of an example, each axis with probability 0.5."""
    axes = [axis for axis in (-1, -2) if rng.random() < 0.5]
    inputs = example.inputs
    pixels = functional.pixel_unshuffle(functional.pixel_shuffle(inputs.target[:12], 2).flip(axes), 2)
    flows = example.flows.flip(axes)
    for axis in axes:
        flows[:, -1 - axis] *= -1  # Component 0 of a flow is along the last axis.
    flipped = DecoderInputs(
        torch.cat([pixels, inputs.target[12:].flip(axes)]),
        inputs.traits.flip(axes),
        inputs.keys.flip(axes),
        tuple(level.flip(axes) for level in inputs.levels),
        inputs.rivals,
    )
    levels = [[level.flip(axes) for level in one] for one in example.levels]
    colours, labels, target_colours, truth = (
        grid.flip(axes) for grid in (example.colours, example.labels, example.target_colours, example.truth)
    )
    return TrainingExample(flipped, levels, colours, labels, target_colours, flows, truth, example.names)


def augment(inputs: DecoderInputs, truth: torch.Tensor, rng: np.random.Generator) -> tuple[DecoderInputs, torch.Tensor]:
    """Recolour and crop an example, and keep up to MAX_TRAITS random traits."""
    pixels = functional.pixel_shuffle(inputs.target[:12], 2)
    brighter = torch.tensor(rng.normal(1, 0.15, (3, 1, 1)), dtype=torch.float32)
    tinted = torch.tensor(rng.normal(0, 0.12, (3, 1, 1)), dtype=torch.float32)
    pixels = (pixels * brighter + tinted).clamp(-1, 1)
    target = torch.cat([functional.pixel_unshuffle(pixels, 2), inputs.target[12:]])
    side = truth.shape[-1]
    size = side if rng.random() < UNCROPPED_SHARE else CROP_SIDE
    rows, columns = choose_crop(truth, size, rng)
    some = rng.permutation(len(truth))[:MAX_TRAITS].tolist()

    def cut(grid: torch.Tensor) -> torch.Tensor:
        scale = side // grid.shape[-1]
        return grid[..., rows // scale : (rows + size) // scale, columns // scale : (columns + size) // scale]

    inputs = DecoderInputs(
        cut(target),
        cut(inputs.traits)[some],
        cut(inputs.keys)[some],
        tuple(cut(level) for level in inputs.levels),
        inputs.rivals[some][:, some],
    )
    return inputs, cut(truth)[some]


def choose_crop(truth: torch.Tensor, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Choose a crop that contains part of a trait: (row, column) of its corner, multiples of 16 pixels."""
    cells, count = truth.shape[-1] // 16, size // 16
    shown = functional.avg_pool2d((truth.amax(0) > 0)[None].float(), 16)[0].nonzero()
    middle = shown[int(rng.integers(len(shown)))].tolist() if len(shown) else [cells // 2, cells // 2]
    row, column = (int(np.clip(m - rng.integers(0, count), 0, cells - count)) for m in middle)
    return 16 * row, 16 * column
