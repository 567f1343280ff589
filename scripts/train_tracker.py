"""Train a small SAM 2 of our own: from pairs of specimens and a seed to a checkpoint.

    python scripts/train_decoder.py pairs drawer neon_beetles pinned_beetles --wings butterfly_masks --output pairs
    python scripts/train_tracker.py train pairs --leave-out neon_beetles --seed 0 --steps 1500 --output tracker.pt
    python scripts/train_tracker.py score pairs tracker.pt --only neon_beetles
    sst-retrieval build ... --propagator tracker --checkpoint tracker.pt

1. A pair is a support and a target, laid like each other by the dense propagator and described by EfficientNet-lite0,
   as the decoder's pairs are: so the trunk is never run here.
2. `train`: the support's masks become SAM 2's memory, the target looks at it, SAM 2's decoder draws. On half of the
   pairs (`--led`) it is given the plain matching's masks as a first guess. Flips, small shifts, other colours. Binary
   cross-entropy and Dice (Milletari et al. 2016) of the masks, squared error of the expected IoU, cross-entropy of
   presence; SAM 2's gate, which makes the mask of an absent trait a constant, stays open, or nothing would be learnt.
   AdamW; the checkpoint holds a running mean of the weights (Polyak and Juditsky 1992). A run that was stopped goes on.
3. `score`: mean IoU of the matching's masks, of the tracker's, and of the tracker's with the first guess.

Photographs whose licence forbids it must not be named here: the weights learn from what they see.
Ravi et al. (2024), arXiv 2408.00714.
"""

from __future__ import annotations

import copy
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch.nn import functional
from training_pairs import LEVELS, SUPPORTS, pair_files, pair_weights, within

from sst_retrieval.models import tracker
from sst_retrieval.models.matching import cell_colours
from sst_retrieval.models.sam2 import GUESS
from sst_retrieval.models.sam2_checkpoint import build, load_checkpoint
from sst_retrieval.models.sam2_finetune import ungated
from sst_retrieval.models.sam2_memory import settled
from sst_retrieval.models.sam2_network import Encoded, Sam2Network, Tracked

PAIRS = 3  # Pairs a step.
SOME = 4  # Traits of a pair, at most.
WARM = 50  # Steps until the learning rate is reached.
KEPT = 0.995  # Of the running mean of the weights, a step.
MEASURED = 100  # Pairs from which the size of every channel is measured.

app = typer.Typer(add_completion=False, no_args_is_help=True)


@dataclass(frozen=True)
class Pair:
    """A support and a target that lie alike; S = 448 pixels.

    Attributes:
        levels: of the support and of the target (N = 2), float32 (2, C, S / s, S / s) for the strides 4, 8, 16.
        colours: float32 (2, 3, S / 4, S / 4), see `matching.cell_colours`.
        drawn: float32 (T, S / 4, S / 4), how much of every cell of the support a trait covers.
        truth: float32 (T, S / 2, S / 2), the same of the target.
        first: float32 (T, S / 2, S / 2), masks by the plain matching, 0..1.
        names, rivals: of the traits; bool (T, T), which never share a pixel.
    """

    levels: list[torch.Tensor]
    colours: torch.Tensor
    drawn: torch.Tensor
    truth: torch.Tensor
    first: torch.Tensor
    names: list[str]
    rivals: np.ndarray[Any, np.dtype[np.bool_]]


@app.command("train")
def train(
    pairs: Path,
    output: Annotated[Path, typer.Option(help="The checkpoint, .pt; log and sources lie beside it, .json.")],
    seed: int = 0,
    steps: int = 1500,
    rate: Annotated[float, typer.Option(help="Learning rate, reached after 50 steps.")] = 6e-4,
    start: Annotated[Path | None, typer.Option(help="A checkpoint to go on from.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="COLLECTION or COLLECTION/GROUP.")] = None,
    watch: Annotated[Path | None, typer.Option(help="Pairs to score now and then, never learnt from.")] = None,
    every: Annotated[int, typer.Option(help="Steps from one score, and one state on disk, to the next.")] = 150,
    side: Annotated[int, typer.Option(help="Edge of the views, in pixels; 224 learns faster, coarser.")] = 448,
    led: Annotated[float, typer.Option(help="Share of pairs with a first guess, 0..1.")] = 0.5,
    device: str = "cpu",
    note: Annotated[str, typer.Option(help="Kept in the .json: sources and licences.")] = "",
) -> None:
    """Train a tracker."""
    files = [path for path in pair_files(pairs) if not within(path, pairs, leave_out or [])]
    if not files:
        raise typer.BadParameter(f"no pairs to learn from in {pairs}")
    begun = None if start is None else str(start)
    plan = Plan(seed=seed, rate=rate, side=side, led=led, start=begun, leave_out=leave_out or [])
    course = Course(files, plan, torch.device(device))
    state = output.with_suffix(".state")
    course.resume(state)
    watched = pair_files(watch) if watch is not None else []
    while course.step < steps:
        course.learn()
        if course.step % every == 0 or course.step == steps:
            course.note(watched)
            typer.echo(json.dumps(course.log[-1]))
            torch.save({"model": {name: each.half() for name, each in course.mean.state_dict().items()}}, output)
            sources = sorted({str(path.relative_to(pairs).parent) for path in files})
            about = {
                **asdict(plan), "start": None if start is None else start.name, "steps": course.step,
                "pairs": len(files), "learnt_from": sources, "note": note, "log": course.log,
            }  # fmt: skip
            output.with_suffix(".json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")
            course.keep(state)
    state.unlink(missing_ok=True)


@app.command("score")
def score(
    pairs: Path, weights: Path, only: Annotated[list[str] | None, typer.Option()] = None, side: int = 448
) -> None:
    """Score a tracker on pairs: the matching, the tracker, the tracker with the matching's masks as a first guess."""
    model = load_checkpoint(str(weights)).model
    tracker.resize(model, side)
    network = Sam2Network(model, torch.device("cpu"))
    files = [path for path in pair_files(pairs) if not only or within(path, pairs, only)]
    for name, (first, alone, led) in scores(network, files).items():
        typer.echo(f"{name}: matching {first:.3f}, tracker {alone:.3f}, with a first guess {led:.3f}")


# -------------------------------------------------------------------------------------------------------- pairs


def read_pair(path: Path, rng: np.random.Generator | None = None) -> Pair:
    """Read a pair; of several supports one, by lot or else the first."""
    kept, others = np.load(path), np.load(path.with_name(path.name.split("_")[0] + SUPPORTS))
    which = 0 if rng is None else int(rng.integers(len(others["labels"])))
    levels = [torch.from_numpy(np.stack([others[name][which], kept[name]]).astype(np.float32)) for name in LEVELS]
    cells = levels[0].shape[-1]
    colours = torch.from_numpy(np.stack([others["colours"][which], cell_colours(kept["view"], cells)]))
    truth, first = (torch.from_numpy(kept[name].astype(np.float32) / 255)[None] for name in ("truth", "first"))
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
        led: whether the matching's masks are a first guess.
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


# ----------------------------------------------------------------------------------------------------- training


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


@dataclass(frozen=True)
class Plan:
    """What a training is told; `start` names a checkpoint to go on from."""

    seed: int = 0
    rate: float = 6e-4
    side: int = 448
    led: float = 0.5
    start: str | None = None
    leave_out: Sequence[str] = ()


class Course:
    """A training at work.

    Attributes:
        mean: the running mean of the weights, which is what is kept.
        step: how many were done.
        log: what was noted of them.
    """

    def __init__(self, files: Sequence[Path], plan: Plan, device: torch.device) -> None:
        """Build or load a network."""
        torch.manual_seed(plan.seed)
        self.files, self.plan, self.step = files, plan, 0
        self.log: list[dict[str, Any]] = []
        model = build(tracker.CONFIG).eval() if plan.start is None else load_checkpoint(plan.start).model
        if plan.start is None:
            model.image_encoder.trunk.take_imagenet()
            _measure(model.image_encoder.trunk, files, np.random.default_rng(plan.seed))
        model.image_encoder.trunk.requires_grad_(False)
        model.image_encoder.trunk.trust.requires_grad_(True)
        tracker.resize(model, plan.side)
        self.network = Sam2Network(model, device)
        self.mean = copy.deepcopy(self.network.model)
        self.learning = [each for each in self.network.model.parameters() if each.requires_grad]
        self.optimiser = torch.optim.AdamW(self.learning, lr=plan.rate, weight_decay=1e-2)
        self._weights = pair_weights(files)
        self._recent: list[dict[str, float]] = []
        self._began = time.monotonic()

    def learn(self) -> None:
        """Take one step."""
        rng = np.random.default_rng([self.plan.seed, self.step])
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate * min(1, (self.step + 1) / WARM)
        self.optimiser.zero_grad()
        for place in rng.choice(len(self.files), size=PAIRS, p=self._weights):
            pair = varied(read_pair(self.files[place], rng), rng)
            led, limit = bool(rng.random() < self.plan.led), float(rng.uniform(0.35, 0.55))
            parts = losses(*track(self.network, pair, led=led, limit=limit), pair)
            torch.stack(list(parts.values())).sum().div(PAIRS).backward()
            self._recent.append({name: float(loss.detach()) for name, loss in parts.items()})
        torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimiser.step()
        self.step += 1
        kept = min(KEPT, self.step / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.mean.parameters(), self.network.model.parameters(), strict=True):
                mean.lerp_(now, 1 - kept)

    def note(self, watched: Sequence[Path]) -> None:
        """Write down how it goes."""
        means = {name: round(float(np.mean([one[name] for one in self._recent])), 4) for name in self._recent[0]}
        seconds = round(time.monotonic() - self._began)
        entry: dict[str, Any] = {"step": self.step, "seconds": seconds, **means}
        network = Sam2Network(self.mean, self.network.device)
        homes: dict[str, list[Path]] = defaultdict(list)
        for path in watched:
            homes[path.parents[1].name].append(path)
        for home, files in homes.items():
            found = scores(network, files)
            entry[home] = {name: [round(iou, 3) for iou in ious] for name, ious in found.items()}
        self.log.append(entry)
        self._recent.clear()

    def keep(self, path: Path) -> None:
        """Write the state of the run, to go on from."""
        torch.save(
            {
                "step": self.step,
                "plan": json.dumps(asdict(self.plan)),
                "log": json.dumps(self.log),
                "model": self.network.model.state_dict(),
                "mean": self.mean.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            },
            path,
        )

    def resume(self, path: Path) -> None:
        """Go on from a state, if there is one.

        Raises:
            typer.BadParameter: it is of a training that was told something else.
        """
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.network.device, weights_only=True)
        if json.loads(state["plan"]) != json.loads(json.dumps(asdict(self.plan))):
            raise typer.BadParameter(f"{path} is of a training with {state['plan']}; say the same, or remove it")
        self.step, self.log = state["step"], json.loads(state["log"])
        self.network.model.load_state_dict(state["model"])
        self.mean.load_state_dict(state["mean"])
        self.optimiser.load_state_dict(state["optimiser"])


def _measure(trunk: tracker.LiteTrunk, files: Sequence[Path], rng: np.random.Generator) -> None:
    """Tell the trunk mean and spread of every channel."""
    chosen = [files[place] for place in rng.permutation(len(files))[:MEASURED]]
    pairs = [read_pair(path) for path in chosen]
    each = [trunk.coloured([level[1:] for level in pair.levels], pair.colours[1:]) for pair in pairs]
    for stride, level in zip((4, 8, 16), zip(*each, strict=True), strict=True):
        values = torch.cat(level).transpose(0, 1).flatten(1)
        trunk.get_buffer(f"mean{stride}").copy_(values.mean(1)[:, None, None])
        trunk.get_buffer(f"spread{stride}").copy_(values.std(1)[:, None, None] + 1e-3)


@torch.no_grad()
def scores(network: Sam2Network, files: Sequence[Path]) -> dict[str, tuple[float, float, float]]:
    """Score masks trait by trait: mean IoU of the matching, of the tracker, and of the tracker with a first guess.

    Traits that a target lacks are left out, and the gate stays open.
    """
    ious: dict[str, list[list[float]]] = defaultdict(list)
    for path in files:
        pair = read_pair(path)
        if not pair.names:
            continue
        made = [pair.first.numpy() > 0.5]
        made += [settled(track(network, pair, led=led)[1], pair.rivals) > 0.5 for led in (False, True)]
        for place, name in enumerate(pair.names):
            drawn = pair.truth[place].numpy() > 0.5
            if drawn.any():
                ious[name].append([float((m[place] & drawn).sum() / (m[place] | drawn).sum()) for m in made])
    means = {name: np.mean(values, axis=0).tolist() for name, values in sorted(ious.items())}
    return {name: (first, alone, led) for name, (first, alone, led) in means.items()}


if __name__ == "__main__":
    app()
