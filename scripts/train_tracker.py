"""Train a small SAM 2 of our own: from pairs of specimens and a seed to a checkpoint.

    python scripts/train_decoder.py pairs drawer neon_beetles pinned_beetles --wings butterfly_masks --output pairs
    python scripts/train_tracker.py guess pairs --leave-out neon_beetles
    python scripts/train_tracker.py train pairs --leave-out neon_beetles --seed 0 --steps 1500 --output tracker.pt
    python scripts/train_tracker.py score pairs tracker.pt --only neon_beetles
    sst-retrieval build ... --propagator tracker --checkpoint tracker.pt

1. A pair is a support and a target, laid like each other by the dense propagator and described by EfficientNet-lite0,
   as the decoder's pairs are: so the trunk is never run here.
2. `guess`: the dense propagator's masks of every pair, which is what `--propagator tracker` will be led by.
3. `train`: the support's masks become SAM 2's memory, the target looks at it, SAM 2's decoder draws. On half of the
   pairs (`--led`) it is given these masks, or the plain matching's, as a first guess. Flips, small shifts, other
   colours. Binary cross-entropy and Dice (Milletari et al. 2016) of the masks, squared error of the expected IoU,
   cross-entropy of presence; SAM 2's gate, which makes the mask of an absent trait a constant, stays open, or nothing
   would be learnt. AdamW; the checkpoint holds a running mean of the weights (Polyak and Juditsky 1992). A run that was
   stopped goes on.
4. `score`: mean IoU of the first guess, of the tracker's masks, and of the tracker's with the first guess.

Photographs whose licence forbids it must not be named here: the weights learn from what they see.
Ravi et al. (2024), arXiv 2408.00714.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from training_examples import load_decoder
from training_guesses import guess, guess_path
from training_pairs import pair_files, pair_weights, within
from training_tracks import losses, read_pair, track, varied

from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.trained_decoder import WEIGHTS, TrainedDecoder
from sst_retrieval.track.sam2 import lite_trunk
from sst_retrieval.track.sam2.checkpoint import build, load_checkpoint
from sst_retrieval.track.sam2.memory import settled
from sst_retrieval.track.sam2.network import Sam2Network

PAIRS = 3  # Pairs a step.
WARM = 50  # Steps until the learning rate is reached.
KEPT = 0.995  # Of the running mean of the weights, a step.
MEASURED = 100  # Pairs from which the size of every channel is measured.

app = typer.Typer(add_completion=False, no_args_is_help=True)


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
    fall: Annotated[int, typer.Option(help="Steps in which the rate falls to a fiftieth; 0: it stays.")] = 0,
    device: str = "cpu",
    note: Annotated[str, typer.Option(help="Kept in the .json: sources and licences.")] = "",
) -> None:
    """Train a tracker."""
    files = [path for path in pair_files(pairs) if not within(path, pairs, leave_out or [])]
    if not files:
        raise typer.BadParameter(f"no pairs to learn from in {pairs}")
    begun = None if start is None else str(start)
    plan = Plan(seed=seed, rate=rate, side=side, led=led, start=begun, leave_out=leave_out or [], fall=fall)
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


@app.command("guess")
def guesses(
    pairs: Path,
    leave_out: Annotated[list[str] | None, typer.Option(help="COLLECTION or COLLECTION/GROUP.")] = None,
) -> None:
    """Draw the dense propagator's own masks of pairs, beside them: better first guesses than the plain matching's."""
    propagator = DensePropagator(decoder=TrainedDecoder())
    network = load_decoder(WEIGHTS)
    files = [path for path in pair_files(pairs) if not within(path, pairs, leave_out or [])]
    with typer.progressbar(files) as progress:
        for path in progress:
            np.save(guess_path(path), guess(path, propagator, network), allow_pickle=False)


@app.command("score")
def score(
    pairs: Path, weights: Path, only: Annotated[list[str] | None, typer.Option()] = None, side: int = 448
) -> None:
    """Score a tracker on pairs: the first guess, the tracker alone, the tracker with the first guess."""
    model = load_checkpoint(str(weights)).model
    lite_trunk.resize(model, side)
    network = Sam2Network(model, torch.device("cpu"))
    files = [path for path in pair_files(pairs) if not only or within(path, pairs, only)]
    for name, (first, alone, led) in scores(network, files).items():
        typer.echo(f"{name}: first guess {first:.3f}, tracker {alone:.3f}, with a first guess {led:.3f}")


# ----------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Plan:
    """What a training is told; `start` names a checkpoint to go on from, `fall` is when the rate has fallen."""

    seed: int = 0
    rate: float = 6e-4
    side: int = 448
    led: float = 0.5
    start: str | None = None
    leave_out: Sequence[str] = ()
    fall: int = 0


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
        model = build(lite_trunk.CONFIG).eval() if plan.start is None else load_checkpoint(plan.start).model
        if plan.start is None:
            model.image_encoder.trunk.take_imagenet()
            _measure(model.image_encoder.trunk, files, np.random.default_rng(plan.seed))
        model.image_encoder.trunk.requires_grad_(False)
        model.image_encoder.trunk.trust.requires_grad_(True)
        lite_trunk.resize(model, plan.side)
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
            group["lr"] = self.plan.rate * min(1, (self.step + 1) / WARM) * self._fallen()
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

    def _fallen(self) -> float:
        """Say what is left of the learning rate: a cosine (Loshchilov and Hutter 2017), down to a fiftieth."""
        if not self.plan.fall:
            return 1.0
        return 0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, self.step / self.plan.fall)))

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


def _measure(trunk: lite_trunk.LiteTrunk, files: Sequence[Path], rng: np.random.Generator) -> None:
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
    """Score masks trait by trait: mean IoU of a first guess, of the tracker, and of the tracker with that guess.

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
