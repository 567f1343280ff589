"""Pairs of specimens to learn from: labelled collections matched as the propagator does it, one .npz a pair.

Specimens of a group are drawn to be supports and matched with others of their group. On some targets a trait is painted
over. Beside the pairs lies what the keys are made of, once a draw of supports.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.evaluate.few_shot_split import group_labelled, load_labelled_support
from sst_retrieval.evaluate.perturbation import find_erased_pixels
from sst_retrieval.imaging import frames
from sst_retrieval.track.dense.matching import cell_colours
from sst_retrieval.track.dense.memory import DenseMemory
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.refine import coloured, first_masks
from sst_retrieval.types import Support

TARGETS = 5  # Targets a draw of supports.
SEVERAL = 0.2  # Share of draws with two or three supports.
LARGEST = 1600  # Longer edge of a photograph, in pixels; the view is 448.
LEVELS = ("level4", "level8", "level16")
SUPPORTS = "_supports.npz"  # How the name of a draw's supports ends.


def labelled_groups(folder: Path) -> dict[str, list[Support]]:
    """Read the labelled specimens of a collection, group by group."""
    numbers = read_traits(folder / "supports" / "traits.toml").numbers
    labels = folder / "labels"
    groups = group_labelled(read_collection(folder / "collection.csv"), labels)
    return {
        group: [
            _shrunk(found) for each in members if (found := load_labelled_support(each, labels, numbers)) is not None
        ]
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


def match_pairs(
    propagator: DensePropagator,
    members: Sequence[Support],
    output: Path,
    targets: float,
    erased: float,
    rng: np.random.Generator,
) -> None:
    """Match the members of a group with each other and keep the pairs.

    Args:
        propagator: matches.
        members: labelled specimens of one group.
        output: folder of the pairs.
        targets: how often a member is a target, about.
        erased: share of targets on which a trait is painted over, 0..1.
        rng: draws.
    """
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
    gone, border = find_erased_pixels(specimen.image, specimen.masks[lost])
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
    views = [frames.warp(support.image, known.frame, side) for support, known in pairs]
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
    truth = [frames.warp_mask(drawn.get(t, empty), seen.frame, propagator.settings.side) for t in memory.traits]
    levels = {name: level.cpu().numpy().astype(np.float16) for name, level in zip(LEVELS, seen.levels, strict=True)}
    arrays: dict[str, Any] = dict(
        view=seen.view, shares=seen.shares.astype(np.float16), distance=seen.distance.astype(np.float16),
        bent=seen.bent.astype(np.float16), first=_bytes(first), rivals=memory.rivals, truth=_bytes(np.stack(truth)),
        names=np.array(memory.traits), flows=torch.stack(seen.flows).cpu().numpy().astype(np.float16),
    )  # fmt: skip
    np.savez(path, allow_pickle=False, **arrays, **levels)


def _bytes(shares: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return (np.clip(shares, 0, 1) * 255 + 0.5).astype(np.uint8)


def pair_files(pairs: Path) -> list[Path]:
    """Find the pairs in a folder."""
    return sorted(path for path in pairs.rglob("*.npz") if not path.name.endswith(SUPPORTS))


def within(path: Path, pairs: Path, names: Sequence[str]) -> bool:
    """Say whether a pair is of one of these: COLLECTION or COLLECTION/GROUP."""
    where = path.relative_to(pairs).parent.as_posix()
    return any(where == name or where.startswith(f"{name}/") for name in names)


def pair_weights(files: Sequence[Path]) -> npt.NDArray[np.float64]:
    """Every collection is seen about alike often."""
    homes = [path.parents[1].name for path in files]
    counts = {home: homes.count(home) for home in set(homes)}
    weights: npt.NDArray[np.float64] = np.array([1 / counts[home] for home in homes])
    total: npt.NDArray[np.float64] = weights / weights.sum()
    return total
