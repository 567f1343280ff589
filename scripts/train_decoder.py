"""Train the decoder of the dense propagator: from labelled collections and a seed to a file of weights.

    python scripts/train_decoder.py pairs drawer neon_beetles pinned_beetles --wings butterfly_masks --output pairs
    python scripts/train_decoder.py train pairs --seed 0 --steps 1200 --output decoder.pt --leave-out neon_beetles
    python scripts/train_decoder.py score pairs decoder.pt --only neon_beetles

1. `pairs`: specimens of each group are drawn to be supports (one, sometimes two or three) and matched with others of
   their group, as the propagator does. On every eighth target a trait is painted over, so that absence is learnt, too.
   What the decoder is told is kept, one .npz a pair.
2. `train`: crops of the views, flipped and recoloured; binary cross-entropy and Dice (Milletari et al. 2016) of the
   masks, squared error of the expected IoU, cross-entropy of presence. AdamW, cosine schedule.
3. `score`: mean IoU of the first masks and of the decoder's, over pairs of collections or groups that were left out.

Photographs whose licence forbids it must not be named here: the weights learn from what they see.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
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
from sst_retrieval.evaluate.protocol import by_group, labelled_support, torn_off
from sst_retrieval.models.decoder import Clues, Decoder, clues
from sst_retrieval.models.dense import DenseMemory, DensePropagator
from sst_retrieval.models.refine import coloured, first_masks
from sst_retrieval.traits import read_traits
from sst_retrieval.types import RGBImage, Support

TARGETS = 5  # Targets a draw of supports.
SEVERAL = 0.2  # Share of draws with two or three supports.
ERASED = 0.12  # Share of targets on which a trait is painted over.
LARGEST = 1600  # Longer edge of a photograph, in pixels; the view is 448.
CROP = 256  # Edge of a training crop, in pixels of the view.
WHOLE = 0.15  # Share of examples that are not cropped.
LEVELS = ("level4", "level8", "level16")

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("pairs")
def make_pairs(
    collections: Annotated[list[Path], typer.Argument(help="Folders of labelled collections.")],
    output: Annotated[Path, typer.Option(help="Folder of the pairs.")],
    wings: Annotated[Path | None, typer.Option(help="Folder of wing outlines to paint.")] = None,
    targets: Annotated[float, typer.Option(help="How often a specimen is a target, about.")] = 3.0,
    seed: int = 0,
) -> None:
    """Match pairs of specimens and keep what the decoder is told."""
    propagator = DensePropagator()
    rng = np.random.default_rng(seed)
    for folder in collections:
        for group, members in _groups(folder).items():
            _pairs(propagator, members, output / folder.name / group, targets, rng)
            typer.echo(f"{folder.name} {group}: done")
    if wings is not None:
        for members in painted_wings(wings, seed=seed):
            _pairs(propagator, members, output / wings.name / members[0].group, 1.0, rng)


@app.command("train")
def train(
    pairs: Path,
    output: Annotated[Path, typer.Option(help="The weights, .pt; a log and what was learnt from lie beside, .json.")],
    seed: int = 0,
    steps: int = 1200,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-3,
    start: Annotated[Path | None, typer.Option(help="Weights to go on from.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="COLLECTION or COLLECTION/GROUP.")] = None,
    note: Annotated[str, typer.Option(help="Kept in the .json: sources and licences.")] = "",
) -> None:
    """Train a decoder."""
    files = [path for path in _files(pairs) if not _within(path, pairs, leave_out or [])]
    if not files:
        raise typer.BadParameter(f"no pairs to learn from in {pairs}")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = Decoder()
    if start is not None:
        network.load_state_dict({k: v.float() for k, v in torch.load(start, weights_only=True).items()})
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    log = _optimise(network, optimiser, files, steps=steps, rate=rate, rng=rng)
    torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, output)
    sources = sorted({str(path.relative_to(pairs).parent) for path in files})
    about = {
        "seed": seed, "steps": steps, "rate": rate, "start": None if start is None else start.name,
        "pairs": len(files), "learnt_from": sources, "note": note, "log": log,
    }  # fmt: skip
    output.with_suffix(".json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@app.command("score")
def score(pairs: Path, weights: Path, only: Annotated[list[str] | None, typer.Option()] = None) -> None:
    """Score a decoder on pairs."""
    network = Decoder().eval()
    network.load_state_dict({k: v.float() for k, v in torch.load(weights, weights_only=True).items()})
    ious: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for path in _files(pairs):
        if only and not _within(path, pairs, only):
            continue
        told, truth, names = _example(path)
        with torch.no_grad():
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
    propagator: DensePropagator, members: Sequence[Support], output: Path, targets: float, rng: np.random.Generator
) -> None:
    if len(members) < 2:
        return
    output.mkdir(parents=True, exist_ok=True)
    for draw in range(max(1, round(targets * len(members) / TARGETS))):
        several = rng.random() < SEVERAL and len(members) > 4
        count = int(rng.integers(2, 4)) if several else 1
        order = rng.permutation(len(members)).tolist()
        memory = propagator.remember([members[place] for place in order[:count]])
        for place in order[count:][:TARGETS]:
            target = _erased(members[place], rng) if rng.random() < ERASED else members[place]
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
        names=np.array(memory.traits),
    )  # fmt: skip
    np.savez(path, allow_pickle=False, **arrays, **levels)


def _bytes(shares: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return (np.clip(shares, 0, 1) * 255 + 0.5).astype(np.uint8)


# ----------------------------------------------------------------------------------------------------- training


def _files(pairs: Path) -> list[Path]:
    return sorted(pairs.rglob("*.npz"))


def _within(path: Path, pairs: Path, names: Sequence[str]) -> bool:
    where = path.relative_to(pairs).parent.as_posix()
    return any(where == name or where.startswith(f"{name}/") for name in names)


def _example(path: Path) -> tuple[Clues, torch.Tensor, list[str]]:
    kept = np.load(path)
    view: RGBImage = kept["view"]
    told = clues(
        view,
        kept["shares"].astype(np.float32),
        kept["distance"].astype(np.float32),
        kept["bent"].astype(np.float32),
        kept["first"].astype(np.float32) / 255,
        kept["rivals"],
        [torch.from_numpy(kept[name].astype(np.float32)) for name in LEVELS],
    )
    truth = torch.from_numpy(kept["truth"].astype(np.float32) / 255)
    return told, truth, [str(name) for name in kept["names"]]


def _varied(told: Clues, truth: torch.Tensor, rng: np.random.Generator) -> tuple[Clues, torch.Tensor]:
    """Flip, recolour and crop an example, and take three of its traits."""
    axes = [axis for axis in (-1, -2) if rng.random() < 0.5]
    pixels = functional.pixel_shuffle(told.target[:12], 2).flip(axes)
    brighter = torch.tensor(rng.normal(1, 0.15, (3, 1, 1)), dtype=torch.float32)
    tinted = torch.tensor(rng.normal(0, 0.12, (3, 1, 1)), dtype=torch.float32)
    pixels = (pixels * brighter + tinted).clamp(-1, 1)
    target = torch.cat([functional.pixel_unshuffle(pixels, 2), told.target[12:].flip(axes)])
    traits, levels, truth = told.traits.flip(axes), [level.flip(axes) for level in told.levels], truth.flip(axes)
    side = truth.shape[-1]
    size = side if rng.random() < WHOLE else CROP
    rows, columns = _window(truth, size, rng)
    some = rng.permutation(len(truth))[:3].tolist()

    def cut(grid: torch.Tensor) -> torch.Tensor:
        scale = side // grid.shape[-1]
        return grid[..., rows // scale : (rows + size) // scale, columns // scale : (columns + size) // scale]

    return Clues(cut(target), cut(traits)[some], tuple(cut(level) for level in levels)), cut(truth)[some]


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
    presence = functional.binary_cross_entropy_with_logits(judged[:, 1], there, reduction="none")
    return masks.mean(), (2 * (torch.sigmoid(judged[:, 0]) - iou) ** 2 + 0.1 * presence).mean()


def _optimise(
    network: Decoder,
    optimiser: torch.optim.Optimizer,
    files: Sequence[Path],
    *,
    steps: int,
    rate: float,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    weights = _weights(files)
    log, recent, began = [], [], time.monotonic()
    for step in range(steps):
        now = rate * min(1, (step + 1) / 50) * (0.51 + 0.49 * np.cos(np.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = now
        optimiser.zero_grad()
        for place in rng.choice(len(files), size=2, p=weights):
            told, truth, _ = _example(files[place])
            told, truth = _varied(told, truth, rng)
            logits, judged = network(told)
            masks, judgement = _losses(logits, judged, truth)
            ((masks + judgement) / 2).backward()
            recent.append((float(masks.detach()), float(judgement.detach())))
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            mean = np.mean(recent, axis=0).round(4).tolist()
            log.append({"step": step + 1, "masks": mean[0], "judgement": mean[1]})
            typer.echo(f"step {step + 1}, {time.monotonic() - began:.0f} s: masks {mean[0]}, judgement {mean[1]}")
            recent.clear()
    return log


def _weights(files: Sequence[Path]) -> npt.NDArray[np.float64]:
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
