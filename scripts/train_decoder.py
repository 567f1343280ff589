"""Train the decoder of the dense propagator on labelled collections.

    python scripts/train_decoder.py pairs drawer neon_beetles pinned_beetles --wings butterfly_masks --organisms 100 \
        --output pairs
    python scripts/train_decoder.py train pairs --seed 0 --steps 1200 --output decoder.pt --leave-out neon_beetles
    python scripts/train_decoder.py score pairs decoder.pt --only neon_beetles

1. `pairs`: specimens of each group are drawn as supports (one, sometimes two or three) and matched with others of
   their group by the propagator. On some targets a trait is painted over, as examples of absence.
   The decoder's inputs are saved, one .npz per pair.
2. `train`: first the key network, then the decoder, on crops of the views, flipped and recoloured. Losses: binary
   cross-entropy and Dice (Milletari et al. 2016) of the masks, squared error of the expected IoU. AdamW, cosine
   schedule. The presence classifier is trained afterwards: `train_presence.py`.
   `votes` computes the votes by keys of all pairs once, for runs in which keys rest (`--keys 0`).
   `widen_decoder.py` gives a trained decoder more channels, with the same answers, to be trained on.
3. `score`: mean IoU of the first masks and of the decoder's masks, on pairs of held-out collections or groups.

Do not train on photographs whose licence forbids it.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from painted_organisms import paint_organisms
from painted_wings import paint_wings
from scipy.stats import spearmanr
from torch.nn import functional
from training_examples import load_decoder, read_example, save_votes
from training_pairs import compute_pair_weights, is_within, list_pairs, match_pairs, read_labelled_groups

from sst_retrieval.track.dense.decoder import Decoder
from sst_retrieval.track.dense.examples import TrainingExample, add_key_votes, flip_randomly
from sst_retrieval.track.dense.losses import compute_key_losses, compute_mask_losses
from sst_retrieval.track.dense.propagator import DensePropagator

INDIVIDUALS = 6  # Of every kind of painted organism.

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("pairs")
def make_pairs(
    collections: Annotated[list[Path] | None, typer.Argument(help="Folders of labelled collections.")] = None,
    *,
    output: Annotated[Path, typer.Option(help="Folder of the pairs.")],
    wings: Annotated[
        Path | None, typer.Option(help="Folder of label pictures of wings, to paint synthetic ones.")
    ] = None,
    organisms: Annotated[int, typer.Option(help="Kinds of painted organisms, six individuals each.", min=0)] = 0,
    targets: Annotated[float, typer.Option(help="Mean number of times that a specimen is a target.")] = 3.0,
    erased: Annotated[float, typer.Option(help="Share of targets on which a trait is painted over.")] = 0.12,
    seed: int = 0,
) -> None:
    """Match pairs of specimens and save the decoder's inputs. What is painted is a target half as often."""
    propagator = DensePropagator()
    rng = np.random.default_rng(seed)
    for folder in collections or []:
        for group, members in read_labelled_groups(folder).items():
            match_pairs(propagator, members, output / folder.name / group, targets, erased, rng)
            typer.echo(f"{folder.name} {group}: done")
    if wings is not None:
        for members in paint_wings(wings, seed=seed):
            match_pairs(propagator, members, output / wings.name / members[0].group, targets / 2, erased, rng)
    for members in paint_organisms(organisms, INDIVIDUALS, seed=seed):
        match_pairs(propagator, members, output / "organisms" / members[0].group, targets / 2, erased, rng)


@app.command("votes")
def compute_votes(
    pairs: Path,
    weights: Annotated[Path, typer.Argument(help="The decoder whose keys vote.")],
    output: Annotated[Path, typer.Option(help="A folder like that of the pairs, for `train --keys 0`.")],
) -> None:
    """Compute the votes by keys of all pairs once, so that a decoder whose keys rest learns in half the time."""
    network = load_decoder(weights)
    for path in list_pairs(pairs):
        save_votes(network, path, output / path.relative_to(pairs))


@app.command("train")
def train(
    pairs: Path,
    output: Annotated[Path, typer.Option(help="The weights, .pt; log and sources are written beside, .json.")],
    seed: int = 0,
    steps: int = 1200,
    keys: Annotated[
        int, typer.Option(help="Steps before these, in which only the key network is trained; then it is fixed.")
    ] = 600,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-3,
    start: Annotated[Path | None, typer.Option(help="Weights to start from.")] = None,
    share: Annotated[
        list[str] | None, typer.Option(help="COLLECTION=NUMBER, how often it is drawn; else all equally often.")
    ] = None,
    average: Annotated[
        float, typer.Option(help="Decay of the running mean of the weights that is written; 0 for the last weights.")
    ] = 0.0,
    jitter: Annotated[float, typer.Option(help="Standard deviation by which channels of features are changed.")] = 0.0,
    leave_out: Annotated[list[str] | None, typer.Option(help="COLLECTION or COLLECTION/GROUP.")] = None,
    note: Annotated[str, typer.Option(help="Kept in the .json: sources and licences.")] = "",
) -> None:
    """Train a decoder."""
    files = [path for path in list_pairs(pairs) if not is_within(path, pairs, leave_out or [])]
    if not files:
        raise typer.BadParameter(f"no pairs to learn from in {pairs}")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = Decoder() if start is None else load_decoder(start).train()
    weights = compute_pair_weights(files, dict(_read_share(each) for each in share or []))
    recipe = Recipe(files, weights, rate, average, jitter)
    log = _optimise(network, recipe, compute_key_losses, parameters=network.keys.parameters(), steps=keys, rng=rng)
    network.keys.requires_grad_(False)
    network.presence.requires_grad_(False)  # It learns elsewhere; weight decay alone would change it.
    others = [each for each in network.parameters() if each.requires_grad]
    log += _optimise(network, recipe, compute_mask_losses, parameters=others, steps=steps, rng=rng)
    torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, output)
    sources = sorted({str(path.relative_to(pairs).parent) for path in files})
    about = {
        "seed": seed, "keys": keys, "steps": steps, "rate": rate, "average": average, "jitter": jitter,
        "share": share, "start": None if start is None else start.name,
        "pairs": len(files), "learnt_from": sources, "note": note, "log": log,
    }  # fmt: skip
    output.with_suffix(".json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@app.command("score")
def score(pairs: Path, weights: Path, only: Annotated[list[str] | None, typer.Option()] = None) -> None:
    """Print mean IoUs of pairs: of the first masks and of the decoder's."""
    network = load_decoder(weights)
    ious: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for path in list_pairs(pairs):
        if only and not is_within(path, pairs, only):
            continue
        example = read_example(path)
        truth, names = example.truth, example.names
        with torch.no_grad():
            inputs, _ = add_key_votes(network, example)
            logits, predicted_iou = network(inputs)
        first = functional.interpolate(inputs.traits[:, 2:3], scale_factor=2, mode="bilinear")[:, 0] > 0
        for place, name in enumerate(names):
            drawn = truth[place] > 0.5
            if drawn.any():
                made = logits[place] > 0
                ious[name].append(
                    (_compute_iou(first[place], drawn), _compute_iou(made, drawn), float(predicted_iou[place, 0]))
                )
    for name, values in sorted(ious.items()):
        before, after, expected = np.array(values).T
        order = float(spearmanr(after, expected)[0])
        typer.echo(f"{name}: {before.mean():.3f} -> {after.mean():.3f}, expected IoU rho {order:.2f} ({len(values)})")


# ----------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Recipe:
    """What is learnt from, and how.

    Attributes:
        files: of the pairs.
        weights: float64 (N,), how often each is drawn.
        rate: highest learning rate.
        average: decay of the running mean of the weights, which the network gets at the end; 0 for the last weights.
        jitter: standard deviation of the random factor and, in the channel's own standard deviations, offset that
            every channel of the trunk's levels gets.
    """

    files: Sequence[Path]
    weights: npt.NDArray[np.float64]
    rate: float
    average: float = 0.0
    jitter: float = 0.0

    def draw(self, rng: np.random.Generator) -> TrainingExample:
        """Draw an example, flipped and with its channels changed at random."""
        example = flip_randomly(read_example(self.files[rng.choice(len(self.files), p=self.weights)]), rng)
        if self.jitter == 0:
            return example
        levels = tuple(_jitter_channels(level, self.jitter, rng) for level in example.inputs.levels)
        return replace(example, inputs=replace(example.inputs, levels=levels))


def _jitter_channels(level: torch.Tensor, deviation: float, rng: np.random.Generator) -> torch.Tensor:
    factor, offset = (
        torch.from_numpy(rng.normal(0, deviation, (len(level), 1, 1)).astype(np.float32)) for _ in range(2)
    )
    return level * factor.exp() + offset * level.std((1, 2), keepdim=True)


def _read_share(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    return name, float(number)


def _optimise(
    network: Decoder,
    recipe: Recipe,
    losses: Callable[[Decoder, TrainingExample, np.random.Generator], dict[str, torch.Tensor]],
    *,
    parameters: Iterable[torch.nn.Parameter],
    steps: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    learning, rate = list(parameters), recipe.rate
    means = [each.detach().clone() for each in learning]
    optimiser = torch.optim.AdamW(learning, lr=rate, weight_decay=1e-2)
    log, recent, began = [], [], time.monotonic()
    for step in range(steps):
        now = rate * min(1, (step + 1) / 50) * (0.51 + 0.49 * np.cos(np.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = now
        optimiser.zero_grad()
        for _ in range(2):
            found = losses(network, recipe.draw(rng), rng)
            torch.stack(list(found.values())).sum().div(2).backward()
            recent.append({name: float(loss.detach()) for name, loss in found.items()})
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        decay = min(recipe.average, (step + 1) / (step + 10))
        for held, tensor in zip(means, learning, strict=True):
            held.lerp_(tensor.detach(), 1 - decay)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            mean = {name: round(float(np.mean([one[name] for one in recent])), 4) for name in recent[0]}
            log.append({"step": step + 1, **mean})
            typer.echo(f"step {step + 1}, {time.monotonic() - began:.0f} s: {mean}")
            recent.clear()
    for held, tensor in zip(means, learning, strict=True):
        tensor.data.copy_(held)
    return log


def _compute_iou(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one & other).sum() / (one | other).sum().clamp(min=1))


if __name__ == "__main__":
    app()
