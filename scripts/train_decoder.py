"""Train the decoder of the dense propagator: from labelled collections and a seed to a file of weights.

    python scripts/train_decoder.py pairs drawer neon_beetles pinned_beetles --wings butterfly_masks --output pairs
    python scripts/train_decoder.py train pairs --seed 0 --steps 1200 --output decoder.pt --leave-out neon_beetles
    python scripts/train_decoder.py score pairs decoder.pt --only neon_beetles

1. `pairs`: specimens of each group are drawn to be supports (one, sometimes two or three) and matched with others of
   their group, as the propagator does. On some targets a trait is painted over, so that absence is learnt, too.
   What the decoder is told is kept, one .npz a pair.
2. `train`: crops of the views, flipped and recoloured; binary cross-entropy and Dice (Milletari et al. 2016) of the
   masks, squared error of the expected IoU. AdamW, cosine schedule. Presence is learnt afterwards: `train_presence.py`.
3. `score`: mean IoU of the first masks and of the decoder's, over pairs of collections or groups that were left out.

Photographs whose licence forbids it must not be named here: the weights learn from what they see.
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
from painted_wings import painted_wings
from PIL import Image
from scipy.stats import spearmanr
from torch.nn import functional

from sst_retrieval import pose
from sst_retrieval.collection import read_collection
from sst_retrieval.evaluate.draws import by_group, labelled_support
from sst_retrieval.evaluate.targets import torn_off
from sst_retrieval.models.decoder import Clues, Decoder, clues, recalled
from sst_retrieval.models.dense import DensePropagator
from sst_retrieval.models.dense_memory import DenseMemory
from sst_retrieval.models.dense_seen import bend
from sst_retrieval.models.keys import Spreads, recall, spreads
from sst_retrieval.models.matching import cell_colours
from sst_retrieval.models.refine import coloured, first_masks
from sst_retrieval.traits import read_traits
from sst_retrieval.types import RGBImage, Support

TARGETS = 5  # Targets a draw of supports.
SEVERAL = 0.2  # Share of draws with two or three supports.
LARGEST = 1600  # Longer edge of a photograph, in pixels; the view is 448.
CROP = 256  # Edge of a training crop, in pixels of the view.
WHOLE = 0.15  # Share of examples that are not cropped.
UNLEARNT = 0.3  # Share of examples on which the decoder has to do without keys.
SOME = 4  # Traits of an example, at most.
LEVELS = ("level4", "level8", "level16")
SUPPORTS = "_supports.npz"  # How the name of a draw's supports ends.

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("pairs")
def make_pairs(
    collections: Annotated[list[Path], typer.Argument(help="Folders of labelled collections.")],
    output: Annotated[Path, typer.Option(help="Folder of the pairs.")],
    wings: Annotated[Path | None, typer.Option(help="Folder of wing outlines to paint.")] = None,
    targets: Annotated[float, typer.Option(help="How often a specimen is a target, about.")] = 3.0,
    erased: Annotated[float, typer.Option(help="Share of targets on which a trait is painted over.")] = 0.12,
    seed: int = 0,
) -> None:
    """Match pairs of specimens and keep what the decoder is told. Painted wings are targets half as often."""
    propagator = DensePropagator()
    rng = np.random.default_rng(seed)
    for folder in collections:
        for group, members in _groups(folder).items():
            _pairs(propagator, members, output / folder.name / group, targets, erased, rng)
            typer.echo(f"{folder.name} {group}: done")
    if wings is not None:
        for members in painted_wings(wings, seed=seed):
            _pairs(propagator, members, output / wings.name / members[0].group, targets / 2, erased, rng)


@app.command("train")
def train(
    pairs: Path,
    output: Annotated[Path, typer.Option(help="The weights, .pt; a log and what was learnt from lie beside, .json.")],
    seed: int = 0,
    steps: int = 1200,
    keys: Annotated[int, typer.Option(help="Steps before these in which only the keys learn; then they rest.")] = 600,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-3,
    start: Annotated[Path | None, typer.Option(help="Weights to go on from.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="COLLECTION or COLLECTION/GROUP.")] = None,
    note: Annotated[str, typer.Option(help="Kept in the .json: sources and licences.")] = "",
) -> None:
    """Train a decoder."""
    files = [path for path in pair_files(pairs) if not within(path, pairs, leave_out or [])]
    if not files:
        raise typer.BadParameter(f"no pairs to learn from in {pairs}")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = Decoder()
    if start is not None:
        network.load_state_dict({k: v.float() for k, v in torch.load(start, weights_only=True).items()})
    log = _optimise(network, files, _key_losses, parameters=network.keys.parameters(), steps=keys, rate=rate, rng=rng)
    network.keys.requires_grad_(False)
    others = [each for each in network.parameters() if each.requires_grad]
    log += _optimise(network, files, _mask_losses, parameters=others, steps=steps, rate=rate, rng=rng)
    torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, output)
    sources = sorted({str(path.relative_to(pairs).parent) for path in files})
    about = {
        "seed": seed, "keys": keys, "steps": steps, "rate": rate, "start": None if start is None else start.name,
        "pairs": len(files), "learnt_from": sources, "note": note, "log": log,
    }  # fmt: skip
    output.with_suffix(".json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@app.command("score")
def score(pairs: Path, weights: Path, only: Annotated[list[str] | None, typer.Option()] = None) -> None:
    """Score a decoder on pairs."""
    network = Decoder().eval()
    network.load_state_dict({k: v.float() for k, v in torch.load(weights, weights_only=True).items()})
    ious: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for path in pair_files(pairs):
        if only and not within(path, pairs, only):
            continue
        example = _example(path)
        truth, names = example.truth, example.names
        with torch.no_grad():
            told, _ = _recalled(network, example)
            logits, judged = network(told)
        first = functional.interpolate(told.traits[:, 2:3], scale_factor=2, mode="bilinear")[:, 0] > 0
        for place, name in enumerate(names):
            drawn = truth[place] > 0.5
            if drawn.any():
                made = logits[place] > 0
                ious[name].append((_iou(first[place], drawn), _iou(made, drawn), float(judged[place, 0])))
    for name, values in sorted(ious.items()):
        before, after, expected = np.array(values).T
        order = float(spearmanr(after, expected)[0])
        typer.echo(f"{name}: {before.mean():.3f} -> {after.mean():.3f}, expected IoU rho {order:.2f} ({len(values)})")


# -------------------------------------------------------------------------------------------------------- pairs


def _groups(folder: Path) -> dict[str, list[Support]]:
    """Read the labelled specimens of a collection, group by group."""
    numbers = read_traits(folder / "supports" / "traits.toml").numbers
    labels = folder / "labels"
    groups = by_group(read_collection(folder / "collection.csv"), labels)
    return {
        group: [_shrunk(found) for each in members if (found := labelled_support(each, labels, numbers)) is not None]
        for group, members in groups.items()
    }


def _shrunk(specimen: Support) -> Support:
    height, width = specimen.image.shape[:2]
    factor = max(height, width) / LARGEST
    if factor <= 1:
        return specimen
    size = (round(width / factor), round(height / factor))
    image = np.asarray(Image.fromarray(specimen.image).resize(size, Image.Resampling.BOX))
    masks = [np.asarray(Image.fromarray(m).resize(size, Image.Resampling.NEAREST)) for m in specimen.masks]
    return Support(specimen.specimen, specimen.group, image, specimen.traits, np.stack(masks))


def _pairs(
    propagator: DensePropagator,
    members: Sequence[Support],
    output: Path,
    targets: float,
    erased: float,
    rng: np.random.Generator,
) -> None:
    if len(members) < 2:
        return
    output.mkdir(parents=True, exist_ok=True)
    for draw in range(max(1, round(targets * len(members) / TARGETS))):
        several = rng.random() < SEVERAL and len(members) > 4
        count = int(rng.integers(2, 4)) if several else 1
        order = rng.permutation(len(members)).tolist()
        supports = [members[place] for place in order[:count]]
        memory = propagator.remember(supports)
        _keep_supports(output / f"{draw:04d}{SUPPORTS}", propagator, memory, supports)
        for place in order[count:][:TARGETS]:
            target = _erased(members[place], rng) if rng.random() < erased else members[place]
            _keep(output / f"{draw:04d}_{place:04d}.npz", propagator, memory, target)


def _erased(specimen: Support, rng: np.random.Generator) -> Support:
    """Paint over a trait with colours of the photograph's border."""
    lost = int(rng.integers(len(specimen.traits)))
    gone, border = torn_off(specimen.image, specimen.masks[lost])
    image = specimen.image.copy()
    if rng.random() < 0.5:
        image[gone] = border[rng.integers(0, len(border), int(gone.sum()))]
    else:
        image[gone] = np.clip(np.median(border, 0) + rng.normal(0, 6, (int(gone.sum()), 3)), 0, 255)
    masks = specimen.masks & ~gone
    masks[lost] = False
    return Support(specimen.specimen, specimen.group, image, specimen.traits, masks)


def _keep_supports(path: Path, propagator: DensePropagator, memory: DenseMemory, supports: Sequence[Support]) -> None:
    """Keep what the keys are made of, support by support."""
    side = propagator.settings.side
    pairs = zip(supports, memory.supports, strict=True)
    views = [pose.warp(support.image, known.frame, side) for support, known in pairs]
    levels = [propagator.trunk.levels(view[None], deepest=1 + len(LEVELS))[1:] for view in views]
    labels = torch.stack([known.key_labels for known in memory.supports])
    arrays: dict[str, Any] = {
        "labels": _bytes(labels.cpu().numpy()),
        "colours": np.stack([cell_colours(view, labels.shape[-1]) for view in views]).astype(np.float16),
    }
    for name, level in zip(LEVELS, zip(*levels, strict=True), strict=True):
        arrays[name] = torch.cat(level).cpu().numpy().astype(np.float16)
    np.savez(path, allow_pickle=False, **arrays)


def _keep(path: Path, propagator: DensePropagator, memory: DenseMemory, target: Support) -> None:
    seen = propagator.look(memory, target.image)
    evidence = propagator.settings.evidence
    first = first_masks(coloured(seen.view, seen.shares, memory.rivals, evidence=evidence), memory.rivals)
    drawn = dict(zip(target.traits, target.masks, strict=True))
    empty = np.zeros(target.image.shape[:2], dtype=bool)
    truth = [pose.warp_mask(drawn.get(t, empty), seen.frame, propagator.settings.side) for t in memory.traits]
    levels = {name: level.cpu().numpy().astype(np.float16) for name, level in zip(LEVELS, seen.levels, strict=True)}
    arrays: dict[str, Any] = dict(
        view=seen.view, shares=seen.shares.astype(np.float16), distance=seen.distance.astype(np.float16),
        bent=seen.bent.astype(np.float16), first=_bytes(first), rivals=memory.rivals, truth=_bytes(np.stack(truth)),
        names=np.array(memory.traits), flows=torch.stack(seen.flows).cpu().numpy().astype(np.float16),
    )  # fmt: skip
    np.savez(path, allow_pickle=False, **arrays, **levels)


def _bytes(shares: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return (np.clip(shares, 0, 1) * 255 + 0.5).astype(np.uint8)


# ----------------------------------------------------------------------------------------------------- training


def pair_files(pairs: Path) -> list[Path]:
    """Find the pairs in a folder."""
    return sorted(path for path in pairs.rglob("*.npz") if not path.name.endswith(SUPPORTS))


def within(path: Path, pairs: Path, names: Sequence[str]) -> bool:
    """Say whether a pair is of one of these: COLLECTION or COLLECTION/GROUP."""
    where = path.relative_to(pairs).parent.as_posix()
    return any(where == name or where.startswith(f"{name}/") for name in names)


@dataclass(frozen=True)
class _Example:
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


def _example(path: Path) -> _Example:
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
    return _Example(told, by_support, colours, labels, seen, flows, truth, [str(name) for name in kept["names"]])


def _recalled(network: Decoder, example: _Example, wanted: torch.Tensor | None = None) -> tuple[Clues, torch.Tensor]:
    """Make the keys and vote: the clues, complete, and the shares, (1 + T, G / 2, G / 2)."""
    like = spreads(example.levels[0])
    target = network.keys(example.told.levels, example.seen, like)
    shares, distance = recall(network.keys, target, _bend_all(network, example, like), wanted)
    return replace(example.told, recalled=recalled(shares, distance, example.told.rivals)), shares


def _bend_all(network: Decoder, example: _Example, like: Spreads) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and labels of the supports in the target's proportions."""
    each = zip(example.levels, example.colours, example.labels, example.flows, strict=True)
    return [
        (bend(network.keys(levels, colours, like), flow), bend(labels, flow)) for levels, colours, labels, flow in each
    ]


def _mirrored(example: _Example, rng: np.random.Generator) -> _Example:
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
    return _Example(flipped, levels, colours, labels, seen, flows, truth, example.names)


def _varied(told: Clues, truth: torch.Tensor, rng: np.random.Generator) -> tuple[Clues, torch.Tensor]:
    """Recolour and crop an example, and take some of its traits."""
    pixels = functional.pixel_shuffle(told.target[:12], 2)
    brighter = torch.tensor(rng.normal(1, 0.15, (3, 1, 1)), dtype=torch.float32)
    tinted = torch.tensor(rng.normal(0, 0.12, (3, 1, 1)), dtype=torch.float32)
    pixels = (pixels * brighter + tinted).clamp(-1, 1)
    target = torch.cat([functional.pixel_unshuffle(pixels, 2), told.target[12:]])
    side = truth.shape[-1]
    size = side if rng.random() < WHOLE else CROP
    rows, columns = _window(truth, size, rng)
    some = rng.permutation(len(truth))[:SOME].tolist()

    def cut(grid: torch.Tensor) -> torch.Tensor:
        scale = side // grid.shape[-1]
        return grid[..., rows // scale : (rows + size) // scale, columns // scale : (columns + size) // scale]

    varied = Clues(
        cut(target),
        cut(told.traits)[some],
        cut(told.recalled)[some],
        tuple(cut(level) for level in told.levels),
        told.rivals[some][:, some],
    )
    return varied, cut(truth)[some]


def _window(truth: torch.Tensor, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Choose a crop that shows some trait; its corner, a multiple of 16 pixels."""
    cells, count = truth.shape[-1] // 16, size // 16
    shown = functional.avg_pool2d((truth.amax(0) > 0)[None].float(), 16)[0].nonzero()
    middle = shown[int(rng.integers(len(shown)))].tolist() if len(shown) else [cells // 2, cells // 2]
    row, column = (int(np.clip(m - rng.integers(0, count), 0, cells - count)) for m in middle)
    return 16 * row, 16 * column


def _losses(logits: torch.Tensor, judged: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of the masks and loss of the judgements."""
    crossed = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2))
    chances = torch.sigmoid(logits)
    there = (truth.sum((1, 2)) > 8).float()
    dice = 1 - (2 * (chances * truth).sum((1, 2)) + 8) / (chances.sum((1, 2)) + truth.sum((1, 2)) + 8)
    masks = 4 * crossed + dice * (0.3 + 0.7 * there)
    made, drawn = logits.detach() > 0, truth > 0.5
    iou = (made & drawn).sum((1, 2)) / (made | drawn).sum((1, 2)).clamp(min=1)
    return masks.mean(), (2 * (torch.sigmoid(judged[:, 0]) - iou) ** 2).mean()


def _vote_loss(shares: torch.Tensor, example: _Example, asked: torch.Tensor) -> torch.Tensor:
    """How surprising the truth is to the votes by keys, each trait weighing the same; where it was asked for."""
    drawn = functional.adaptive_avg_pool2d(example.truth, shares.shape[-1]) * asked
    surprise = -(drawn * (shares[1:] + 1e-3).log()).sum((1, 2)) / drawn.sum((1, 2)).clamp(min=4)
    elsewhere = (1 - drawn.amax(0)).clamp(min=0) * (shares[0].detach() < 1) * asked
    invented = -(elsewhere * (shares[0] + 1e-3).log()).sum() / elsewhere.sum().clamp(min=4)
    return surprise.mean() + invented


def _key_losses(network: Decoder, example: _Example, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    scale = example.truth.shape[-1] // example.labels.shape[-1]
    rows, columns = (place // scale for place in _window(example.truth, CROP, rng))
    asked = torch.zeros(example.labels.shape[-2:], dtype=torch.bool)
    asked[rows : rows + CROP // scale, columns : columns + CROP // scale] = True
    _, shares = _recalled(network, example, asked)
    return {"votes": _vote_loss(shares, example, asked)}


def _unlearnt(told: Clues) -> Clues:
    """Take the votes of the matching for those of the keys: what keys are worth to animals that they never saw."""
    shares = functional.avg_pool2d(told.traits[:, 0] + 0.5, 2)
    nothing = functional.avg_pool2d(told.target[-1:] + 0.5, 2)
    distance = functional.avg_pool2d(told.target[-2:-1] + 0.5, 2)[0] * 20  # In the keys' measure, about.
    return replace(told, recalled=recalled(torch.cat([nothing, shares]), distance, told.rivals))


def _mask_losses(network: Decoder, example: _Example, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        told = _unlearnt(example.told) if rng.random() < UNLEARNT else _recalled(network, example)[0]
    told, truth = _varied(told, example.truth, rng)
    logits, judged = network(told)
    masks, judgement = _losses(logits, judged, truth)
    return {"masks": masks, "judgement": judgement}


def _optimise(
    network: Decoder,
    files: Sequence[Path],
    losses: Callable[[Decoder, _Example, np.random.Generator], dict[str, torch.Tensor]],
    *,
    parameters: Iterable[torch.nn.Parameter],
    steps: int,
    rate: float,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    learning = list(parameters)
    optimiser = torch.optim.AdamW(learning, lr=rate, weight_decay=1e-2)
    weights = pair_weights(files)
    log, recent, began = [], [], time.monotonic()
    for step in range(steps):
        now = rate * min(1, (step + 1) / 50) * (0.51 + 0.49 * np.cos(np.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = now
        optimiser.zero_grad()
        for place in rng.choice(len(files), size=2, p=weights):
            found = losses(network, _mirrored(_example(files[place]), rng), rng)
            torch.stack(list(found.values())).sum().div(2).backward()
            recent.append({name: float(loss.detach()) for name, loss in found.items()})
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            mean = {name: round(float(np.mean([one[name] for one in recent])), 4) for name in recent[0]}
            log.append({"step": step + 1, **mean})
            typer.echo(f"step {step + 1}, {time.monotonic() - began:.0f} s: {mean}")
            recent.clear()
    return log


def pair_weights(files: Sequence[Path]) -> npt.NDArray[np.float64]:
    """Every collection is seen about alike often."""
    homes = [path.parents[1].name for path in files]
    counts = {home: homes.count(home) for home in set(homes)}
    weights: npt.NDArray[np.float64] = np.array([1 / counts[home] for home in homes])
    total: npt.NDArray[np.float64] = weights / weights.sum()
    return total


def _iou(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one & other).sum() / (one | other).sum().clamp(min=1))


if __name__ == "__main__":
    app()
