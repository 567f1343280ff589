"""Which trait is given to which other one, and what it costs: IoU that masks would gain if only that were mended.

    PYTHONPATH=. python benchmarks/bench_masks_confusion.py COLLECTION [COLLECTION ...] [--every 3] [--propagator dense]

One draw of the one-shot protocol. A pixel is confused where both masks and labels have a trait, but not the same one.
Connected pixels that are confused alike are of one of four kinds:

- piece: most of a connected mask, or of a thin part of one (a leg that is called antenna),
- shift: a part of a mask that is right elsewhere (a border between two traits that lies too far on one side),
- rim: as a shift, but nowhere wider than five pixels of the view,
- speck: fewer than 16 pixels of the view.

A collection is a folder with collection.csv, labels/ and supports/traits.toml.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import permutations
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from scipy import ndimage

from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.engines import load_propagator
from sst_retrieval.evaluate.few_shot_split import (
    group_labelled,
    load_labelled_support,
    read_labelled,
    sample_supports,
    shows_any_trait,
)
from sst_retrieval.imaging.frames import warp_mask
from sst_retrieval.imaging.masks import iou
from sst_retrieval.track.contract import Propagator
from sst_retrieval.types import Mask, MaskStack, Photograph

SIDE = 448
"""Edge of the view in which pixels are counted: that of the dense propagator."""

EIGHT = np.ones((3, 3), bool)
SPECK, RIM, THICK, MOST = 16, 2.5, 6, 0.6
KINDS = ("piece", "shift", "rim", "speck")

Confusion = tuple[int, int, str]
"""Place of the true trait, place of the given one, kind."""

Gains = Mapping[tuple[str, str], list[float]]
"""Group and trait -> what each mask would gain."""


def sort_confused(found: MaskStack, true: MaskStack) -> dict[Confusion, Mask]:
    """Sort confused pixels by trait, given trait and kind: bool (S, S) each.

    Args:
        found: bool (T, S, S).
        true: bool (T, S, S).
    """
    labelled, sorted_pixels = true.any(axis=0), {}
    for given, mask in enumerate(found):
        thick = ndimage.binary_dilation(ndimage.binary_opening(mask, iterations=THICK), iterations=2)
        parts = [ndimage.label(each, EIGHT)[0] for each in (mask, mask & ~thick)]
        for meant in range(len(true)):
            confused = true[meant] & mask & ~found[meant] & ~true[given]
            if meant == given or not confused.any():
                continue
            regions, count = ndimage.label(confused, EIGHT)
            for number in range(1, count + 1):
                region = regions == number
                kind = name_kind(region, confused, parts, labelled)
                pixels = sorted_pixels.setdefault((meant, given, kind), np.zeros_like(region))
                pixels |= region
    return sorted_pixels


def name_kind(region: Mask, confused: Mask, parts: list[npt.NDArray[np.int32]], labelled: Mask) -> str:
    """Name the kind of connected pixels that are confused alike."""
    if region.sum() < SPECK:
        return "speck"
    for labels in parts:
        for part in np.unique(labels[region & (labels > 0)]):
            piece = labels == part
            mostly_wrong = (piece & confused).sum() > MOST * max(1, (piece & labelled).sum())
            if mostly_wrong and (piece & region).sum() > region.sum() / 2:
                return "piece"
    depth = ndimage.distance_transform_edt(np.pad(region, 1))
    return "rim" if float(depth.max()) <= RIM else "shift"


def measure_gain(
    trait: int,
    found: MaskStack,
    true: MaskStack,
    confused: Mapping[Confusion, Mask],
    chosen: Collection[Confusion],
) -> float:
    """Measure the IoU that a trait's mask gains where the chosen confusions are mended."""
    mended = found[trait].copy()
    for confusion in chosen:
        if trait in confusion[:2]:
            mended[confused[confusion]] = confusion[0] == trait
    return iou(mended, true[trait]) - iou(found[trait], true[trait])


def average(gains: Gains) -> float:
    """Average over specimens, then traits, then groups."""
    groups = defaultdict(list)
    for (group, _), values in gains.items():
        groups[group].append(np.mean(values))
    return float(np.mean([np.mean(means) for means in groups.values()]))


def iterate_views(
    model: Propagator, folder: Path, every: int, seed: int
) -> Iterator[tuple[str, tuple[str, ...], MaskStack, MaskStack]]:
    """Iterate over the targets of one draw: group, traits, and masks found and true, bool (T, SIDE, SIDE)."""
    labels, numbers = folder / "labels", dict(read_traits(folder / "supports" / "traits.toml").numbers)

    def is_usable(specimen: Photograph) -> bool:
        return shows_any_trait(specimen, labels, numbers)

    splits, _ = sample_supports(
        group_labelled(read_collection(folder / "collection.csv"), labels), 1, 1, seed, is_usable
    )
    for split in splits:
        support = load_labelled_support(split.supports[0], labels, numbers)
        assert support is not None
        memory = model.remember([support])
        for target in split.targets[::every]:
            image, label = read_labelled(target, labels)
            (answer,) = model.propagate(memory, [image])
            true = [label == numbers[trait] for trait in memory.traits]
            views = (
                np.stack([warp_mask(mask, answer.frame, SIDE) > 0.5 for mask in masks])
                for masks in (answer.masks, true)
            )
            yield support.group, memory.traits, next(views), next(views)


def main(
    collections: Annotated[list[Path], typer.Argument(help="Folders of labelled collections.")],
    every: Annotated[int, typer.Option(help="Score every n-th target only.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    propagator: Annotated[str, typer.Option(help="As in a build.")] = "dense",
) -> None:
    """Print what each kind and each pair costs."""
    model = load_propagator(propagator)
    for folder in collections:
        kinds: dict[str, dict[tuple[str, str], list[float]]] = {kind: defaultdict(list) for kind in (*KINDS, "all")}
        pairs: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
        targets = 0
        for group, traits, found, true in iterate_views(model, folder, every, seed):
            targets += 1
            confused = sort_confused(found, true)
            for place, trait in enumerate(traits):
                if not (found[place] | true[place]).any():
                    continue
                for kind, gains in kinds.items():
                    chosen = {each for each in confused if kind in ("all", each[2])}
                    gains[group, trait].append(measure_gain(place, found, true, confused, chosen))
                for meant, given in permutations(range(len(traits)), 2):
                    chosen = {each for each in confused if each[:2] == (meant, given)}
                    gain = measure_gain(place, found, true, confused, chosen)
                    pairs[traits[meant], traits[given]][group, trait].append(gain)
        costs = ", ".join(f"{kind} {average(gains):.4f}" for kind, gains in kinds.items())
        typer.echo(f"{folder.name}, {targets} targets: {costs}")
        for (name, other), gains in sorted(pairs.items(), key=lambda pair: -average(pair[1]))[:8]:
            typer.echo(f"  {name} called {other}: {average(gains):.4f}")


if __name__ == "__main__":
    typer.run(main)
