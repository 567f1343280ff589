"""How sure are masks on photographs that show no such animal: another collection's, or an empty drawer's?

    python benchmarks/bench_masks_strangers.py COLLECTION --strangers OTHER --strangers ANOTHER [--each 1]

Each group of the collection gets one annotated specimen (the first draw of the few-shot protocol), and is asked for its
traits on photographs of other collections, which must show other kinds of animals, and on painted floors without
anything. All traits should be absent, or their masks unsure. A collection is a folder as for bench_masks_table.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.engines import load_propagator
from sst_retrieval.evaluate.few_shot_split import (
    group_labelled,
    load_labelled_support,
    sample_supports,
    shows_any_trait,
)
from sst_retrieval.imaging.images import read_image
from sst_retrieval.synthetic.backdrop import FLOORS, paint_floor
from sst_retrieval.types import RGBImage

SURE = 0.3
"""Confidence from which a mask counts as sure."""

FLOOR_SIDE = 480  # Pixels.
HEAD = "| support of | photograph of | pairs | without any mask | surest mask: mean | largest | sure |"


def paint_empty(number: int) -> RGBImage:
    """Paint a floor with nothing on it: uint8 (FLOOR_SIDE, FLOOR_SIDE, 3)."""
    floor = FLOORS[number % len(FLOORS)]
    painted = paint_floor(floor, (FLOOR_SIDE, FLOOR_SIDE), np.random.default_rng(number))
    return painted.clip(0, 255).astype(np.uint8)


def read_strangers(folder: Path, start: int, count: int) -> list[RGBImage]:
    """Read some photographs of a collection, evenly spread over it, from a start that differs from group to group."""
    photographs = read_collection(folder / "collection.csv").photographs
    step = max(1, len(photographs) // (count + 1))
    return [read_image(photographs[(start * 3 + k * step + 1) % len(photographs)].image) for k in range(count)]


def write_row(name: str, strangers: str, surest: list[float | None]) -> str:
    """Write a row: `surest` has the confidence of the surest mask of every photograph, None where none was found."""
    found = [0.0 if each is None else each for each in surest]
    none = np.mean([each is None for each in surest])
    sure = np.mean(np.array(found) >= SURE)
    return (
        f"| {name} | {strangers} | {len(surest)} | {none:.2f} | {np.mean(found):.2f} | {max(found):.2f} | {sure:.2f} |"
    )


def main(
    collection: Annotated[Path, typer.Argument(help="Folder of the collection whose specimens are annotated.")],
    strangers: Annotated[list[Path], typer.Option(help="Folders of collections of other animals.")],
    each: Annotated[int, typer.Option(help="Photographs of every other collection, a group.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the draw of supports.")] = 0,
    propagator: Annotated[str, typer.Option(help="As in a build.")] = "dense",
) -> None:
    """Ask every group for its traits on photographs without them, and print a table."""
    loaded = load_propagator(propagator)
    labels, numbers = collection / "labels", dict(read_traits(collection / "supports" / "traits.toml").numbers)
    splits, _ = sample_supports(
        group_labelled(read_collection(collection / "collection.csv"), labels),
        1,
        1,
        seed,
        lambda one: shows_any_trait(one, labels, numbers),
    )
    surest: dict[str, list[float | None]] = {}
    for number, split in enumerate(splits):
        support = load_labelled_support(split.supports[0], labels, numbers)
        if support is None:
            continue
        memory = loaded.remember([support])
        photographs = {folder.name: read_strangers(folder, number, each) for folder in strangers}
        photographs["(nothing)"] = [paint_empty(number * each + k) for k in range(each)]
        for name, images in photographs.items():
            for found in loaded.propagate(memory, images):
                sure = [float(c) for mask, c in zip(found.masks, found.confidence, strict=True) if mask.any()]
                surest.setdefault(name, []).append(max(sure, default=None))
    typer.echo(HEAD)
    typer.echo("|" + "---|" * (HEAD.count("|") - 1))
    for name, confidences in surest.items():
        typer.echo(write_row(collection.name, name, confidences))
    typer.echo(write_row(collection.name, "all", [one for many in surest.values() for one in many]))


if __name__ == "__main__":
    typer.run(main)
