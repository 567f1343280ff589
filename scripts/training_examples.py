"""A pair as an example to learn from: read, flipped, recoloured, cropped, and completed with what keys recall."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from training_pairs import LEVELS, SUPPORTS

from sst_retrieval.track.dense.decoder import Clues, Decoder, clues, recalled
from sst_retrieval.track.dense.keys import Spreads, recall, spreads
from sst_retrieval.track.dense.matching import cell_colours
from sst_retrieval.track.dense.view import Seen, bend
from sst_retrieval.types import Frame, RGBImage

CROP = 256  # Edge of a training crop, in pixels of the view.
WHOLE = 0.15  # Share of examples that are not cropped.
SOME = 4  # Traits of an example, at most.


@dataclass(frozen=True)
class Example:
    """A pair, with what the keys are to be made of.

    Attributes:
        told: all that does not depend on keys; what is recalled is empty.
        levels, colours, labels: of each support.
        seen: colours of the target.
        flows: from the target to each support.
        truth: float32 (T, S, S).
        names: of the traits.
    """

    told: Clues
    levels: list[list[torch.Tensor]]
    colours: torch.Tensor
    labels: torch.Tensor
    seen: torch.Tensor
    flows: torch.Tensor
    truth: torch.Tensor
    names: list[str]


def load_decoder(weights: Path) -> Decoder:
    """Load a decoder's weights, kept in halves."""
    network = Decoder().eval()
    network.load_state_dict({name: each.float() for name, each in torch.load(weights, weights_only=True).items()})
    return network


def read_example(path: Path) -> Example:
    """Read a pair and the supports that it was drawn with."""
    kept, supports = np.load(path), np.load(path.with_name(path.name.split("_")[0] + SUPPORTS))
    view: RGBImage = kept["view"]
    truth = torch.from_numpy(kept["truth"].astype(np.float32) / 255)
    levels = [[torch.from_numpy(one.astype(np.float32)) for one in supports[name]] for name in LEVELS]
    labels = torch.from_numpy(supports["labels"].astype(np.float32) / 255)
    nothing = labels.new_zeros(labels.shape[1:])
    told = clues(
        view,
        kept["shares"].astype(np.float32),
        kept["distance"].astype(np.float32),
        kept["bent"].astype(np.float32),
        kept["first"].astype(np.float32) / 255,
        kept["rivals"],
        [torch.from_numpy(kept[name].astype(np.float32)) for name in LEVELS],
        (nothing, nothing[0]),
    )
    flows = torch.from_numpy(kept["flows"].astype(np.float32))
    by_support = [list(one) for one in zip(*levels, strict=True)]
    colours = torch.from_numpy(supports["colours"].astype(np.float32))
    seen = torch.from_numpy(cell_colours(view, labels.shape[-1]))
    return Example(told, by_support, colours, labels, seen, flows, truth, [str(name) for name in kept["names"]])


def recalled_by(network: Decoder, example: Example, wanted: torch.Tensor | None = None) -> tuple[Clues, torch.Tensor]:
    """Make the keys and vote: the clues, complete, and the shares, (1 + T, G / 2, G / 2)."""
    like = spreads(example.levels[0])
    target = network.keys(example.told.levels, example.seen, like)
    shares, distance = recall(network.keys, target, bend_all(network, example, like), wanted)
    return replace(example.told, recalled=recalled(shares, distance, example.told.rivals)), shares


def bend_all(network: Decoder, example: Example, like: Spreads) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and labels of the supports in the target's proportions."""
    each = zip(example.levels, example.colours, example.labels, example.flows, strict=True)
    return [
        (bend(network.keys(levels, colours, like), flow), bend(labels, flow)) for levels, colours, labels, flow in each
    ]


def seen_in(network: Decoder, path: Path) -> tuple[Example, Seen]:
    """Read a pair, and see its target as the propagator does."""
    example, kept = read_example(path), np.load(path)
    like = spreads(example.levels[0])
    keys = network.keys(example.told.levels, example.seen, like)
    votes = recall(network.keys, keys, bend_all(network, example, like))
    shares, distance, bent = (kept[name].astype(np.float32) for name in ("shares", "distance", "bent"))
    upright = Frame((1.0, 0.0, 0.0, 0.0, 1.0, 0.0))  # Not looked at: the view is there.
    seen = Seen(upright, kept["view"], shares, distance, bent, example.told.levels, tuple(example.flows), votes)
    return example, seen


def mirrored(example: Example, rng: np.random.Generator) -> Example:
    """Flip an example, its supports too."""
    axes = [axis for axis in (-1, -2) if rng.random() < 0.5]
    told = example.told
    pixels = functional.pixel_unshuffle(functional.pixel_shuffle(told.target[:12], 2).flip(axes), 2)
    flows = example.flows.flip(axes)
    for axis in axes:
        flows[:, -1 - axis] *= -1  # The first part points along the last axis.
    flipped = Clues(
        torch.cat([pixels, told.target[12:].flip(axes)]),
        told.traits.flip(axes),
        told.recalled.flip(axes),
        tuple(level.flip(axes) for level in told.levels),
        told.rivals,
    )
    levels = [[level.flip(axes) for level in one] for one in example.levels]
    colours, labels, seen, truth = (
        grid.flip(axes) for grid in (example.colours, example.labels, example.seen, example.truth)
    )
    return Example(flipped, levels, colours, labels, seen, flows, truth, example.names)


def varied(told: Clues, truth: torch.Tensor, rng: np.random.Generator) -> tuple[Clues, torch.Tensor]:
    """Recolour and crop an example, and take some of its traits."""
    pixels = functional.pixel_shuffle(told.target[:12], 2)
    brighter = torch.tensor(rng.normal(1, 0.15, (3, 1, 1)), dtype=torch.float32)
    tinted = torch.tensor(rng.normal(0, 0.12, (3, 1, 1)), dtype=torch.float32)
    pixels = (pixels * brighter + tinted).clamp(-1, 1)
    target = torch.cat([functional.pixel_unshuffle(pixels, 2), told.target[12:]])
    side = truth.shape[-1]
    size = side if rng.random() < WHOLE else CROP
    rows, columns = window(truth, size, rng)
    some = rng.permutation(len(truth))[:SOME].tolist()

    def cut(grid: torch.Tensor) -> torch.Tensor:
        scale = side // grid.shape[-1]
        return grid[..., rows // scale : (rows + size) // scale, columns // scale : (columns + size) // scale]

    told = Clues(
        cut(target),
        cut(told.traits)[some],
        cut(told.recalled)[some],
        tuple(cut(level) for level in told.levels),
        told.rivals[some][:, some],
    )
    return told, cut(truth)[some]


def window(truth: torch.Tensor, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Choose a crop that shows some trait; its corner, a multiple of 16 pixels."""
    cells, count = truth.shape[-1] // 16, size // 16
    shown = functional.avg_pool2d((truth.amax(0) > 0)[None].float(), 16)[0].nonzero()
    middle = shown[int(rng.integers(len(shown)))].tolist() if len(shown) else [cells // 2, cells // 2]
    row, column = (int(np.clip(m - rng.integers(0, count), 0, cells - count)) for m in middle)
    return 16 * row, 16 * column
