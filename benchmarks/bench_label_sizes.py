"""Masks where support and target are labelled alike, and where not: does a low score say something of the masks?

    python benchmarks/bench_label_sizes.py COLLECTION [--factor 1.5] [--draws 3] [--propagator dense]

One annotated specimen cannot say that another person drew more, or less, under the same name. Each target's label is
compared with its support's: the diameter of a circle of the same area, as a share of the photograph's longer edge.
Pairs whose diameters differ by more than the factor are scored apart. For collections of one trait whose photographs
are cut to the specimen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.engines import load_propagator
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate import run_protocol
from sst_retrieval.evaluate.few_shot_scores import Trial
from sst_retrieval.evaluate.few_shot_split import (
    group_labelled,
    read_labelled,
    sample_supports,
    shows_any_trait,
)
from sst_retrieval.types import Photograph

LOST = 0.3


def measure_label(specimen: Photograph, labels: Path, number: int) -> float:
    """Return the diameter of a circle with the area of a label, as a share of the photograph's longer edge."""
    image, label = read_labelled(specimen, labels)
    return float(2 * np.sqrt((label == number).sum() / np.pi) / max(image.shape[:2]))


def write_row(name: str, trials: list[Trial]) -> str:
    """Write the scores of some trials as a row of the table."""
    ious = np.array([trial.iou for trial in trials if trial.iou is not None])
    if not len(ious):
        return f"| {name} | 0 | - | - | - |"
    lost = [trial.confidence for trial in trials if trial.iou is not None and trial.iou < LOST]
    surest = f"{max(lost):.2f}" if lost else "-"
    return f"| {name} | {len(ious)} | {ious.mean():.3f} | {len(lost) / len(ious):.2f} | {surest} |"


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of a labelled collection of one trait.")],
    factor: Annotated[float, typer.Option(help="Diameters that differ by less are alike.", min=1)] = 1.5,
    draws: Annotated[int, typer.Option(help="How often supports are drawn.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    propagator: Annotated[str, typer.Option(help="As in a build.")] = "dense",
) -> None:
    """Run the protocol with one support a group and print a table."""
    numbers = dict(read_traits(folder / "supports" / "traits.toml").numbers)
    if len(numbers) != 1:
        raise InputError(f"{folder} has {len(numbers)} traits; name a collection of one")
    (number,) = numbers.values()
    collection, labels = read_collection(folder / "collection.csv"), folder / "labels"
    labelled = group_labelled(collection, labels)
    splits, _ = sample_supports(labelled, 1, draws, seed, lambda one: shows_any_trait(one, labels, numbers))
    sizes = {each.id: measure_label(each, labels, number) for members in labelled.values() for each in members}
    support_of = {(split.draw, target.id): split.supports[0].id for split in splits for target in split.targets}
    scores = run_protocol(collection, labels, numbers, load_propagator(propagator), draws=draws, seed=seed)
    alike, larger, smaller, nothing = [], [], [], []
    for trial in scores.trials:
        ratio = sizes[trial.specimen] / sizes[support_of[trial.draw, trial.specimen]]
        kind = larger if ratio > factor else smaller if ratio * factor < 1 else alike
        (kind if ratio else nothing).append(trial)
    typer.echo("| labels | masks | mean IoU | lost | surest lost one |\n|---|---|---|---|---|")
    typer.echo(write_row("all", list(scores.trials)))
    typer.echo(write_row("drawn alike", alike))
    typer.echo(write_row("more drawn on the target", larger))
    typer.echo(write_row("less drawn on the target", smaller))
    typer.echo(write_row("nothing drawn on the target", nothing))


if __name__ == "__main__":
    typer.run(main)
