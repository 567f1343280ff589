"""Pairs for training a tracker: read, augment, track from the support to the target, and compute losses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from torch.nn import functional
from training_guesses import DENSE_GUESS_SHARE, get_guess_path
from training_pairs import LEVELS, SUPPORTS_SUFFIX

from sst_retrieval.track.dense.matching import compute_cell_colours
from sst_retrieval.track.sam2.cycle_training import without_object_scores
from sst_retrieval.track.sam2.network import ImageFeatures, MaskPredictions, Sam2Network
from sst_retrieval.track.sam2.propagator import PROMPT_LOGIT

MAX_TRAITS = 4  # Per pair, after augmentation.


@dataclass(frozen=True)
class TrainingPair:
    """A support and an aligned target; views are squares of S = 448 pixels.

    Attributes:
        levels: features of support and target, for the strides s = 4, 8, 16: float32 (2, C, S / s, S / s).
        colours: float32 (2, 3, S / 4, S / 4), see `track.dense.matching.compute_cell_colours`.
        drawn: share of every cell of the support that a trait covers, 0..1: float32 (T, S / 4, S / 4).
        truth: the same for the target: float32 (T, S / 2, S / 2).
        first: first guess of the target's masks, 0..1: float32 (T, S / 2, S / 2).
        names: of the T traits.
        rivals: pairs of traits that never share a pixel: bool (T, T).
    """

    levels: list[torch.Tensor]
    colours: torch.Tensor
    drawn: torch.Tensor
    truth: torch.Tensor
    first: torch.Tensor
    names: list[str]
    rivals: np.ndarray[Any, np.dtype[np.bool_]]


def read_pair(path: Path, rng: np.random.Generator | None = None) -> TrainingPair:
    """Read a pair with one of its supports: a random one, or without `rng` the first."""
    kept, others = np.load(path), np.load(path.with_name(path.name.split("_")[0] + SUPPORTS_SUFFIX))
    which = 0 if rng is None else int(rng.integers(len(others["labels"])))
    levels = [torch.from_numpy(np.stack([others[name][which], kept[name]]).astype(np.float32)) for name in LEVELS]
    cells = levels[0].shape[-1]
    colours = torch.from_numpy(np.stack([others["colours"][which], compute_cell_colours(kept["view"], cells)]))
    guessed = get_guess_path(path)
    use_dense = guessed.is_file() and (rng is None or rng.random() < DENSE_GUESS_SHARE)
    masks = np.load(guessed) if use_dense else kept["first"]
    truth, first = (torch.from_numpy(each.astype(np.float32) / 255)[None] for each in (kept["truth"], masks))
    drawn = torch.from_numpy(others["labels"][which, 1:].astype(np.float32) / 255)
    # A trait that the support does not show cannot be followed.
    shown = np.flatnonzero(drawn.amax((1, 2)).numpy() > 0.5)
    truth, first = (functional.adaptive_avg_pool2d(each, 2 * cells)[0] for each in (truth, first))
    names = [str(kept["names"][place]) for place in shown]
    rivals = kept["rivals"][np.ix_(shown, shown)]
    return TrainingPair(levels, colours.float(), drawn[shown], truth[shown], first[shown], names, rivals)


def augment(pair: TrainingPair, rng: np.random.Generator) -> TrainingPair:
    """Flip both pictures, shift and recolour the target, and keep up to MAX_TRAITS random traits."""
    axes = [axis for axis in (-1, -2) if rng.random() < 0.5]
    down, across = rng.integers(-1, 2, 2).tolist() if rng.random() < 0.5 else (0, 0)
    coarse = pair.levels[-1].shape[-1]

    def moved(grid: torch.Tensor) -> torch.Tensor:
        scale = grid.shape[-1] // coarse
        return grid.flip(axes).roll((down * scale, across * scale), (-2, -1))

    def both(grid: torch.Tensor) -> torch.Tensor:
        return torch.stack([grid[0].flip(axes), moved(grid[1])])

    colours = both(pair.colours)
    tint, strength = (torch.tensor(rng.normal(m, s, (3, 1, 1)), dtype=torch.float32) for m, s in ((0, 0.04), (1, 0.1)))
    colours[1] = colours[1] * strength + tint
    some = rng.permutation(len(pair.names))[:MAX_TRAITS]
    return TrainingPair(
        [both(level) for level in pair.levels],
        colours,
        pair.drawn[some].flip(axes),
        moved(pair.truth[some]),
        moved(pair.first[some]),
        [pair.names[place] for place in some],
        pair.rivals[np.ix_(some, some)],
    )


def track(
    network: Sam2Network, pair: TrainingPair, *, with_guess: bool, limit: float = 0.5
) -> tuple[MaskPredictions, torch.Tensor]:
    """Track the support's masks onto the target, with the gate off.

    For a network with smaller views the features are averaged over cells.

    Args:
        network: the tracker.
        pair: a pair with one trait or more.
        with_guess: whether the network gets the first guess.
        limit: a cell of the support belongs to a trait if the trait covers more of it than this, 0..1 (or, for thin
            traits, than half of what it covers of its fullest cell).

    Returns:
        The network's output for one target, and its mask logits upsampled as `Sam2Propagator` does: float32
        (T, S / 2, S / 2).
    """
    whole = 4 * pair.drawn.shape[-1]
    if whole % network.side or network.side % 16:
        raise typer.BadParameter(
            f"views of {whole} pixels cannot be shrunk to {network.side}; use --side {whole} or {whole // 2}"
        )
    pair = _downsample(pair, whole // network.side)
    encoder, decoder = network.model.image_encoder, network.model.sam_mask_decoder
    levels = [level.to(network.device) for level in pair.levels]
    features, positions = encoder.neck(encoder.trunk.standardise(levels, pair.colours.to(network.device)))
    encoded = ImageFeatures((decoder.conv_s0(features[0]), decoder.conv_s1(features[1]), features[2]), positions[2])
    limits = torch.minimum(torch.tensor(limit), pair.drawn.amax((1, 2)) / 2)[:, None, None]
    masks = functional.interpolate((pair.drawn > limits).float()[None], size=network.side)[0] > 0.5
    guess = (pair.first * 2 - 1) * PROMPT_LOGIT
    seeds = functional.adaptive_avg_pool2d(guess, network.side // 4)[None]
    with without_object_scores(network.model):
        memory = network.encode_conditioning_frame(encoded.select(0), masks)
        found = network.track(encoded.select(1), network.project_memories([memory]), seeds if with_guess else None)
    logits = _upsample(found.logits, pair.truth.shape[-1])
    if with_guess and network.prompt_weight is not None:
        logits = logits + network.prompt_weight * (guess - _upsample(seeds, guess.shape[-1])).to(logits.device)
    return found, logits


def _upsample(logits: torch.Tensor, side: int) -> torch.Tensor:
    return functional.interpolate(logits, size=side, mode="bilinear")[0]


def _downsample(pair: TrainingPair, factor: int) -> TrainingPair:
    if factor == 1:
        return pair

    def pooled(grid: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(grid, factor)

    levels = [pooled(level) for level in pair.levels]
    return replace(pair, levels=levels, colours=pooled(pair.colours), drawn=pooled(pair.drawn))


def compute_losses(found: MaskPredictions, logits: torch.Tensor, pair: TrainingPair) -> dict[str, torch.Tensor]:
    """Compute the losses of the masks, of the expected IoU and of presence, each a scalar."""
    truth = pair.truth.to(found.logits.device)
    crossed = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2))
    chances = torch.sigmoid(logits)
    there = (truth.sum((1, 2)) > 2).float()
    dice = 1 - (2 * (chances * truth).sum((1, 2)) + 2) / (chances.sum((1, 2)) + truth.sum((1, 2)) + 2)
    made, drawn = logits.detach() > 0, truth > 0.5
    iou = (made & drawn).sum((1, 2)) / (made | drawn).sum((1, 2)).clamp(min=1)
    return {
        "masks": (4 * crossed + dice * (0.3 + 0.7 * there)).mean(),
        "expected": ((found.expected_iou[0] - iou) ** 2).mean(),
        "presence": 0.1 * functional.binary_cross_entropy_with_logits(found.object_logits[0], there),
    }
