"""Training pairs of specimens: supports and targets of labelled collections, matched by the dense propagator.

Specimens of a group are drawn as supports and matched with others of their group; on some targets a trait is painted
over. One .npz per pair, and one per draw of supports, with the features that the keys are computed from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from sst_retrieval.track.dense.matching import compute_cell_colours
from sst_retrieval.track.dense.memory import DenseMemory
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.refine import compute_initial_masks, compute_layer_posteriors
from sst_retrieval.types import Support

TARGETS_PER_DRAW = 5
SEVERAL_SUPPORTS_SHARE = 0.2  # Share of draws with two or three supports.
MAX_SIDE = 1600  # Longer photographs are shrunk to this edge, in pixels; a view has 448.
LEVELS = ("level4", "level8", "level16")
SUPPORTS_SUFFIX = "_supports.npz"


def read_labelled_groups(folder: Path) -> dict[str, list[Support]]:
    """Read the labelled specimens of a collection: group -> specimens, photographs no larger than MAX_SIDE."""
    numbers = read_traits(folder / "supports" / "traits.toml").numbers
    labels = folder / "labels"
    groups = group_labelled(read_collection(folder / "collection.csv"), labels)
    return {
        group: [
            _shrink(found) for each in members if (found := load_labelled_support(each, labels, numbers)) is not None
        ]
        for group, members in groups.items()
    }


def _shrink(specimen: Support) -> Support:
    height, width = specimen.image.shape[:2]
    factor = max(height, width) / MAX_SIDE
    if factor <= 1:
        return specimen
    size = (round(width / factor), round(height / factor))
    image = np.asarray(Image.fromarray(specimen.image).resize(size, Image.Resampling.BOX))
    masks = [np.asarray(Image.fromarray(m).resize(size, Image.Resampling.NEAREST)) for m in specimen.masks]
    return Support(specimen.individual, specimen.group, image, specimen.traits, np.stack(masks))


def match_pairs(
    propagator: DensePropagator,
    members: Sequence[Support],
    output: Path,
    targets: float,
    erased: float,
    rng: np.random.Generator,
) -> None:
    """Match the members of a group with each other and save the pairs.

    Args:
        propagator: the propagator that matches them.
        members: labelled specimens of one group.
        output: folder of the pairs.
        targets: mean number of times that a member is a target.
        erased: share of targets on which a trait is painted over, 0..1.
        rng: source of random numbers.
    """
    if len(members) < 2:
        return
    output.mkdir(parents=True, exist_ok=True)
    for draw in range(max(1, round(targets * len(members) / TARGETS_PER_DRAW))):
        several = rng.random() < SEVERAL_SUPPORTS_SHARE and len(members) > 4
        count = int(rng.integers(2, 4)) if several else 1
        order = rng.permutation(len(members)).tolist()
        supports = [members[place] for place in order[:count]]
        memory = propagator.remember(supports)
        _save_supports(output / f"{draw:04d}{SUPPORTS_SUFFIX}", propagator, memory, supports)
        for place in order[count:][:TARGETS_PER_DRAW]:
            target = _erase_trait(members[place], rng) if rng.random() < erased else members[place]
            _save_pair(output / f"{draw:04d}_{place:04d}.npz", propagator, memory, target)


def _erase_trait(specimen: Support, rng: np.random.Generator) -> Support:
    """Paint over a random trait with colours of its surroundings."""
    lost = int(rng.integers(len(specimen.traits)))
    gone, border = find_erased_pixels(specimen.image, specimen.masks[lost])
    image = specimen.image.copy()
    if rng.random() < 0.5:
        image[gone] = border[rng.integers(0, len(border), int(gone.sum()))]
    else:
        image[gone] = np.clip(np.median(border, 0) + rng.normal(0, 6, (int(gone.sum()), 3)), 0, 255)
    masks = specimen.masks & ~gone
    masks[lost] = False
    return Support(specimen.individual, specimen.group, image, specimen.traits, masks)


def _save_supports(path: Path, propagator: DensePropagator, memory: DenseMemory, supports: Sequence[Support]) -> None:
    """Save labels, colours and features of the supports, which the keys are computed from."""
    side = propagator.settings.side
    pairs = zip(supports, memory.supports, strict=True)
    views = [frames.warp_image(support.image, known.frame, side) for support, known in pairs]
    levels = [propagator.trunk.levels(view[None], deepest=1 + len(LEVELS))[1:] for view in views]
    labels = torch.stack([known.key_labels for known in memory.supports])
    arrays: dict[str, Any] = {
        "labels": _to_bytes(labels.cpu().numpy()),
        "colours": np.stack([compute_cell_colours(view, labels.shape[-1]) for view in views]).astype(np.float16),
    }
    for name, level in zip(LEVELS, zip(*levels, strict=True), strict=True):
        arrays[name] = torch.cat(level).cpu().numpy().astype(np.float16)
    np.savez(path, allow_pickle=False, **arrays)


def _save_pair(path: Path, propagator: DensePropagator, memory: DenseMemory, target: Support) -> None:
    match = propagator.match(memory, target.image)
    colour, rivals = propagator.settings.colour, memory.rivals
    first = compute_initial_masks(compute_layer_posteriors(match.view, match.shares, rivals, colour=colour), rivals)
    drawn = dict(zip(target.traits, target.masks, strict=True))
    empty = np.zeros(target.image.shape[:2], dtype=bool)
    truth = [frames.warp_mask(drawn.get(t, empty), match.frame, propagator.settings.side) for t in memory.traits]
    levels = {name: level.cpu().numpy().astype(np.float16) for name, level in zip(LEVELS, match.levels, strict=True)}
    arrays: dict[str, Any] = dict(
        view=match.view, shares=match.shares.astype(np.float16), distance=match.distance.astype(np.float16),
        bent=match.warped_masks.astype(np.float16), first=_to_bytes(first), rivals=memory.rivals,
        truth=_to_bytes(np.stack(truth)), names=np.array(memory.traits),
        flows=torch.stack(match.displacements).cpu().numpy().astype(np.float16),
    )  # fmt: skip
    np.savez(path, allow_pickle=False, **arrays, **levels)


def _to_bytes(shares: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return (np.clip(shares, 0, 1) * 255 + 0.5).astype(np.uint8)


def list_pairs(pairs: Path) -> list[Path]:
    """List the files of the pairs in a folder, sorted."""
    return sorted(path for path in pairs.rglob("*.npz") if not path.name.endswith(SUPPORTS_SUFFIX))


def is_within(path: Path, pairs: Path, names: Sequence[str]) -> bool:
    """Return whether a pair is of one of the named collections or groups (COLLECTION or COLLECTION/GROUP)."""
    where = path.relative_to(pairs).parent.as_posix()
    return any(where == name or where.startswith(f"{name}/") for name in names)


def compute_pair_weights(files: Sequence[Path], shares: Mapping[str, float] | None = None) -> npt.NDArray[np.float64]:
    """Compute sampling probabilities: float64 (N,).

    Args:
        files: of the pairs.
        shares: collection -> how often it is drawn; one that is not named counts 1. None: all equally often.
    """
    homes = [path.parents[1].name for path in files]
    counts = {home: homes.count(home) for home in set(homes)}
    weights: npt.NDArray[np.float64] = np.array([(shares or {}).get(home, 1.0) / counts[home] for home in homes])
    total: npt.NDArray[np.float64] = weights / weights.sum()
    return total
