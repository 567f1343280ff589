"""A pair as a tracker sees it: read, varied, followed from the support to the target, and compared with the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from torch.nn import functional
from training_guesses import BETTER, guess_path
from training_pairs import LEVELS, SUPPORTS

from sst_retrieval.track.dense.matching import cell_colours
from sst_retrieval.track.sam2.cycle_training import ungated
from sst_retrieval.track.sam2.network import Encoded, Sam2Network, Tracked
from sst_retrieval.track.sam2.propagator import GUESS

SOME = 4  # Traits of a pair, at most.


@dataclass(frozen=True)
class Pair:
    """A support and a target that lie alike; S = 448 pixels.

    Attributes:
        levels: of the support and of the target (N = 2), float32 (2, C, S / s, S / s) for the strides 4, 8, 16.
        colours: float32 (2, 3, S / 4, S / 4), see `track.dense.matching.cell_colours`.
        drawn: float32 (T, S / 4, S / 4), how much of every cell of the support a trait covers.
        truth: float32 (T, S / 2, S / 2), the same of the target.
        first: float32 (T, S / 2, S / 2), a first guess of the masks, 0..1.
        names, rivals: of the traits; bool (T, T), which never share a pixel.
    """

    levels: list[torch.Tensor]
    colours: torch.Tensor
    drawn: torch.Tensor
    truth: torch.Tensor
    first: torch.Tensor
    names: list[str]
    rivals: np.ndarray[Any, np.dtype[np.bool_]]


def read_pair(path: Path, rng: np.random.Generator | None = None) -> Pair:
    """Read a pair; of several supports one, by lot or else the first."""
    kept, others = np.load(path), np.load(path.with_name(path.name.split("_")[0] + SUPPORTS))
    which = 0 if rng is None else int(rng.integers(len(others["labels"])))
    levels = [torch.from_numpy(np.stack([others[name][which], kept[name]]).astype(np.float32)) for name in LEVELS]
    cells = levels[0].shape[-1]
    colours = torch.from_numpy(np.stack([others["colours"][which], cell_colours(kept["view"], cells)]))
    guessed = guess_path(path)
    led = guessed.is_file() and (rng is None or rng.random() < BETTER)
    masks = np.load(guessed) if led else kept["first"]
    truth, first = (torch.from_numpy(each.astype(np.float32) / 255)[None] for each in (kept["truth"], masks))
    drawn = torch.from_numpy(others["labels"][which, 1:].astype(np.float32) / 255)
    # A trait that the support does not show cannot be followed.
    shown = np.flatnonzero(drawn.amax((1, 2)).numpy() > 0.5)
    truth, first = (functional.adaptive_avg_pool2d(each, 2 * cells)[0] for each in (truth, first))
    names = [str(kept["names"][place]) for place in shown]
    rivals = kept["rivals"][np.ix_(shown, shown)]
    return Pair(levels, colours.float(), drawn[shown], truth[shown], first[shown], names, rivals)


def varied(pair: Pair, rng: np.random.Generator) -> Pair:
    """Flip both pictures, shift and recolour the target, and take some of the traits."""
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
    some = rng.permutation(len(pair.names))[:SOME]
    return Pair(
        [both(level) for level in pair.levels],
        colours,
        pair.drawn[some].flip(axes),
        moved(pair.truth[some]),
        moved(pair.first[some]),
        [pair.names[place] for place in some],
        pair.rivals[np.ix_(some, some)],
    )


def track(network: Sam2Network, pair: Pair, *, led: bool, limit: float = 0.5) -> tuple[Tracked, torch.Tensor]:
    """Follow the support's masks onto the target, gate open.

    A network that looks at smaller pictures is told less of a pair: mean features of four cells or more.

    Args:
        network: the tracker.
        pair: a pair with one trait or more.
        led: whether it is told the first guess.
        limit: a cell of the support belongs to a trait that covers more of it than this, or than half of its fullest.

    Returns:
        What was found, N = 1, and its logits as `Sam2Propagator` would enlarge them: float32 (T, S / 2, S / 2).
    """
    whole = 4 * pair.drawn.shape[-1]
    if whole % network.side or network.side % 16:
        raise typer.BadParameter(
            f"views of {whole} pixels cannot be seen at {network.side}; say {whole} or {whole // 2}"
        )
    pair = _smaller(pair, whole // network.side)
    encoder, decoder = network.model.image_encoder, network.model.sam_mask_decoder
    levels = [level.to(network.device) for level in pair.levels]
    features, positions = encoder.neck(encoder.trunk.standardised(levels, pair.colours.to(network.device)))
    seen = Encoded((decoder.conv_s0(features[0]), decoder.conv_s1(features[1]), features[2]), positions[2])
    limits = torch.minimum(torch.tensor(limit), pair.drawn.amax((1, 2)) / 2)[:, None, None]
    masks = functional.interpolate((pair.drawn > limits).float()[None], size=network.side)[0] > 0.5
    guess = (pair.first * 2 - 1) * GUESS
    seeds = functional.adaptive_avg_pool2d(guess, network.side // 4)[None]
    with ungated(network.model):
        memory = network.remember(seen.of(0), masks)
        found = network.track(seen.of(1), network.prepare([memory]), seeds if led else None)
    logits = _enlarged(found.logits, pair.truth.shape[-1])
    if led and network.trust is not None:
        logits = logits + network.trust * (guess - _enlarged(seeds, guess.shape[-1])).to(logits.device)
    return found, logits


def _enlarged(logits: torch.Tensor, side: int) -> torch.Tensor:
    return functional.interpolate(logits, size=side, mode="bilinear")[0]


def _smaller(pair: Pair, factor: int) -> Pair:
    if factor == 1:
        return pair

    def pooled(grid: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(grid, factor)

    levels = [pooled(level) for level in pair.levels]
    return replace(pair, levels=levels, colours=pooled(pair.colours), drawn=pooled(pair.drawn))


def losses(found: Tracked, logits: torch.Tensor, pair: Pair) -> dict[str, torch.Tensor]:
    """Loss of the masks, of the expected IoU and of presence."""
    truth = pair.truth.to(found.logits.device)
    crossed = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2))
    chances = torch.sigmoid(logits)
    there = (truth.sum((1, 2)) > 2).float()
    dice = 1 - (2 * (chances * truth).sum((1, 2)) + 2) / (chances.sum((1, 2)) + truth.sum((1, 2)) + 2)
    made, drawn = logits.detach() > 0, truth > 0.5
    iou = (made & drawn).sum((1, 2)) / (made | drawn).sum((1, 2)).clamp(min=1)
    return {
        "masks": (4 * crossed + dice * (0.3 + 0.7 * there)).mean(),
        "expected": ((found.iou[0] - iou) ** 2).mean(),
        "presence": 0.1 * functional.binary_cross_entropy_with_logits(found.score[0], there),
    }
