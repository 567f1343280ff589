"""Train a small SAM 2 of our own: from pairs of specimens and a seed to a checkpoint.

    python scripts/train_decoder.py pairs drawer neon_beetles pinned_beetles --wings butterfly_masks --output pairs
    python scripts/train_tracker.py guess pairs --leave-out neon_beetles
    python scripts/train_tracker.py train pairs --leave-out neon_beetles --seed 0 --steps 1500 --output tracker.pt
    python scripts/train_tracker.py score pairs tracker.pt --only neon_beetles
    sst-retrieval build ... --propagator tracker --checkpoint tracker.pt

1. A pair is a support and a target, aligned by the dense propagator, with their EfficientNet-lite0 features, as
   `train_decoder.py pairs` writes them; so the trunk is not run here.
2. `guess`: predict the dense propagator's masks of every pair, the first guess that `--propagator tracker` corrects.
3. `train`: the support's masks are encoded into SAM 2's memory; the target attends to it, and SAM 2's mask decoder
   predicts masks. For half of the pairs (`--led`) it also gets a first guess: these masks, or those of the plain
   matching. Augmentation: flips, small shifts, colour changes. Losses: binary cross-entropy and Dice (Milletari et al.
   2016) of the masks, squared error of the expected IoU, cross-entropy of presence. SAM 2's gate, which replaces the
   mask of an absent trait by a constant, is switched off, since no gradient passes through it. AdamW; the checkpoint
   holds an exponential moving average of the weights (after Polyak and Juditsky 1992). An interrupted run is resumed
   from its state file.
4. `score`: mean IoU of the first guess, of the tracker alone, and of the tracker with the first guess.

Do not train on photographs whose licence forbids it.
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
from training_guesses import draw_guess, get_guess_path
from training_pairs import compute_pair_weights, is_within, list_pairs
from training_tracks import augment, compute_losses, read_pair, track

from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.trained_decoder import DECODER_WEIGHTS, TrainedDecoder
from sst_retrieval.track.sam2 import lite_trunk
from sst_retrieval.track.sam2.checkpoint import build_network, load_checkpoint
from sst_retrieval.track.sam2.memory import resolve_overlaps
from sst_retrieval.track.sam2.network import Sam2Network

PAIRS_PER_STEP = 3
WARMUP_STEPS = 50  # Steps until the full learning rate is reached.
MEAN_DECAY = 0.995  # Of the moving average of the weights, per step.
MEASURED_PAIRS = 100  # Pairs from which mean and standard deviation of the channels are measured.

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("train")
def train(
    pairs: Path,
    output: Annotated[Path, typer.Option(help="The checkpoint, .pt; log and sources are written beside it, .json.")],
    seed: int = 0,
    steps: int = 1500,
    rate: Annotated[float, typer.Option(help="Learning rate, reached after 50 steps of warm-up.")] = 6e-4,
    start: Annotated[Path | None, typer.Option(help="Checkpoint to start from.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="COLLECTION or COLLECTION/GROUP.")] = None,
    watch: Annotated[Path | None, typer.Option(help="Folder of pairs for validation; not trained on.")] = None,
    every: Annotated[int, typer.Option(help="Steps between validations and saved states.")] = 150,
    side: Annotated[
        int, typer.Option(help="Edge of the views, in pixels; 224 trains faster, with coarser masks.")
    ] = 448,
    led: Annotated[float, typer.Option(help="Share of pairs that come with a first guess, 0..1.")] = 0.5,
    fall: Annotated[
        int, typer.Option(help="Steps over which the learning rate decays to a fiftieth; 0: no decay.")
    ] = 0,
    device: str = "cpu",
    note: Annotated[str, typer.Option(help="Kept in the .json: sources and licences.")] = "",
) -> None:
    """Train a tracker."""
    files = [path for path in list_pairs(pairs) if not is_within(path, pairs, leave_out or [])]
    if not files:
        raise typer.BadParameter(f"no pairs to learn from in {pairs}")
    begun = None if start is None else str(start)
    plan = TrainingPlan(seed=seed, rate=rate, side=side, led=led, start=begun, leave_out=leave_out or [], fall=fall)
    run = TrainingRun(files, plan, torch.device(device))
    state = output.with_suffix(".state")
    run.resume(state)
    watched = list_pairs(watch) if watch is not None else []
    while run.step < steps:
        run.step_once()
        if run.step % every == 0 or run.step == steps:
            run.record(watched)
            typer.echo(json.dumps(run.log[-1]))
            torch.save({"model": {name: each.half() for name, each in run.mean.state_dict().items()}}, output)
            sources = sorted({str(path.relative_to(pairs).parent) for path in files})
            about = {
                **asdict(plan), "start": None if start is None else start.name, "steps": run.step,
                "pairs": len(files), "learnt_from": sources, "note": note, "log": run.log,
            }  # fmt: skip
            output.with_suffix(".json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")
            run.save_state(state)
    state.unlink(missing_ok=True)


@app.command("guess")
def guesses(
    pairs: Path,
    leave_out: Annotated[list[str] | None, typer.Option(help="COLLECTION or COLLECTION/GROUP.")] = None,
) -> None:
    """Predict the masks of pairs by the dense propagator and save them beside the pairs, as first guesses."""
    propagator = DensePropagator(decoder=TrainedDecoder())
    network = load_decoder(DECODER_WEIGHTS)
    files = [path for path in list_pairs(pairs) if not is_within(path, pairs, leave_out or [])]
    with typer.progressbar(files) as progress:
        for path in progress:
            np.save(get_guess_path(path), draw_guess(path, propagator, network), allow_pickle=False)


@app.command("score")
def score(
    pairs: Path, weights: Path, only: Annotated[list[str] | None, typer.Option()] = None, side: int = 448
) -> None:
    """Print mean IoUs of pairs: of the first guess, of the tracker alone, of the tracker with the first guess."""
    model = load_checkpoint(str(weights)).model
    lite_trunk.resize(model, side)
    network = Sam2Network(model, torch.device("cpu"))
    files = [path for path in list_pairs(pairs) if not only or is_within(path, pairs, only)]
    for name, (first, alone, guided) in score_pairs(network, files).items():
        typer.echo(f"{name}: first guess {first:.3f}, tracker {alone:.3f}, with a first guess {guided:.3f}")


# ----------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class TrainingPlan:
    """Settings of a training run: the options of `train` that a resumed run must share."""

    seed: int = 0
    rate: float = 6e-4
    side: int = 448
    led: float = 0.5
    start: str | None = None
    leave_out: Sequence[str] = ()
    fall: int = 0


class TrainingRun:
    """State of a training run.

    Attributes:
        mean: the moving average of the network's weights; it is what the checkpoint holds.
        step: number of steps done.
        log: one entry per validation.
    """

    def __init__(self, files: Sequence[Path], plan: TrainingPlan, device: torch.device) -> None:
        """Build a network, or load the checkpoint to start from."""
        torch.manual_seed(plan.seed)
        self.files, self.plan, self.step = files, plan, 0
        self.log: list[dict[str, Any]] = []
        model = build_network(lite_trunk.CONFIG).eval() if plan.start is None else load_checkpoint(plan.start).model
        if plan.start is None:
            model.image_encoder.trunk.load_imagenet()
            _measure_channels(model.image_encoder.trunk, files, np.random.default_rng(plan.seed))
        model.image_encoder.trunk.requires_grad_(False)
        model.image_encoder.trunk.trust.requires_grad_(True)
        lite_trunk.resize(model, plan.side)
        self.network = Sam2Network(model, device)
        self.mean = copy.deepcopy(self.network.model)
        self.learning = [each for each in self.network.model.parameters() if each.requires_grad]
        self.optimiser = torch.optim.AdamW(self.learning, lr=plan.rate, weight_decay=1e-2)
        self._weights = compute_pair_weights(files)
        self._recent_losses: list[dict[str, float]] = []
        self._began = time.monotonic()

    def step_once(self) -> None:
        """Take one optimisation step on PAIRS_PER_STEP pairs."""
        rng = np.random.default_rng([self.plan.seed, self.step])
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate * min(1, (self.step + 1) / WARMUP_STEPS) * self._decay_factor()
        self.optimiser.zero_grad()
        for place in rng.choice(len(self.files), size=PAIRS_PER_STEP, p=self._weights):
            pair = augment(read_pair(self.files[place], rng), rng)
            with_guess, limit = bool(rng.random() < self.plan.led), float(rng.uniform(0.35, 0.55))
            parts = compute_losses(*track(self.network, pair, with_guess=with_guess, limit=limit), pair)
            torch.stack(list(parts.values())).sum().div(PAIRS_PER_STEP).backward()
            self._recent_losses.append({name: float(loss.detach()) for name, loss in parts.items()})
        torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimiser.step()
        self.step += 1
        kept = min(MEAN_DECAY, self.step / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.mean.parameters(), self.network.model.parameters(), strict=True):
                mean.lerp_(now, 1 - kept)

    def _decay_factor(self) -> float:
        """Return the factor of the learning rate: a cosine decay (Loshchilov and Hutter 2017) to a fiftieth."""
        if not self.plan.fall:
            return 1.0
        return 0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, self.step / self.plan.fall)))

    def record(self, watched: Sequence[Path]) -> None:
        """Append mean losses, and scores of the validation pairs, to the log."""
        means = {
            name: round(float(np.mean([one[name] for one in self._recent_losses])), 4)
            for name in self._recent_losses[0]
        }
        seconds = round(time.monotonic() - self._began)
        entry: dict[str, Any] = {"step": self.step, "seconds": seconds, **means}
        network = Sam2Network(self.mean, self.network.device)
        homes: dict[str, list[Path]] = defaultdict(list)
        for path in watched:
            homes[path.parents[1].name].append(path)
        for home, files in homes.items():
            found = score_pairs(network, files)
            entry[home] = {name: [round(iou, 3) for iou in ious] for name, ious in found.items()}
        self.log.append(entry)
        self._recent_losses.clear()

    def save_state(self, path: Path) -> None:
        """Save the state of the run, from which it can be resumed."""
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
        """Resume from a saved state, if there is one.

        Raises:
            typer.BadParameter: the state is of a run with other settings.
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


def _measure_channels(trunk: lite_trunk.LiteTrunk, files: Sequence[Path], rng: np.random.Generator) -> None:
    """Set mean and standard deviation of every channel of the trunk from a sample of pairs."""
    chosen = [files[place] for place in rng.permutation(len(files))[:MEASURED_PAIRS]]
    pairs = [read_pair(path) for path in chosen]
    each = [trunk.append_colours([level[1:] for level in pair.levels], pair.colours[1:]) for pair in pairs]
    for stride, level in zip((4, 8, 16), zip(*each, strict=True), strict=True):
        values = torch.cat(level).transpose(0, 1).flatten(1)
        trunk.get_buffer(f"mean{stride}").copy_(values.mean(1)[:, None, None])
        trunk.get_buffer(f"spread{stride}").copy_(values.std(1)[:, None, None] + 1e-3)


@torch.no_grad()
def score_pairs(network: Sam2Network, files: Sequence[Path]) -> dict[str, tuple[float, float, float]]:
    """Compute trait -> mean IoU of the first guess, of the tracker alone, and of the tracker with the first guess.

    Traits that a target lacks are left out; the gate is off.
    """
    ious: dict[str, list[list[float]]] = defaultdict(list)
    for path in files:
        pair = read_pair(path)
        if not pair.names:
            continue
        made = [pair.first.numpy() > 0.5]
        made += [
            resolve_overlaps(track(network, pair, with_guess=each)[1], pair.rivals) > 0.5 for each in (False, True)
        ]
        for place, name in enumerate(pair.names):
            drawn = pair.truth[place].numpy() > 0.5
            if drawn.any():
                ious[name].append([float((m[place] & drawn).sum() / (m[place] | drawn).sum()) for m in made])
    means = {name: np.mean(values, axis=0).tolist() for name, values in sorted(ious.items())}
    return {name: (first, alone, guided) for name, (first, alone, guided) in means.items()}


if __name__ == "__main__":
    app()
