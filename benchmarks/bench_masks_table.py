"""One row a collection: masks, presence, confidence, lost specimens and time of a propagator, by the few-shot protocol.

    python benchmarks/bench_masks_table.py COLLECTION [COLLECTION ...] [--draws 3] [--shots 1] [--propagator dense]

The scores are those of `sst-retrieval evaluate-propagator COLLECTION --protocol one-shot`, set by set in one run. A
specimen is lost where the mean IoU of its traits is below 0.3. Time is the processor's, with what a group costs once.
A collection is a folder with collection.csv, labels/ and supports/traits.toml.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.engines import load_propagator
from sst_retrieval.evaluate import run_protocol
from sst_retrieval.evaluate.few_shot_scores import ProtocolScores

LOST = 0.3
"""Mean IoU of its traits below which a specimen is lost."""

HEAD = (
    "| collection | targets | mean IoU | draws | presence recall | precision | Spearman | lost | surest lost one "
    "| processor s a target | traits |"
)


def find_lost(scores: ProtocolScores) -> tuple[float, float | None]:
    """Return the share of the targets that are lost, and the highest mean confidence of one; None if none is."""
    targets = defaultdict(list)
    for trial in scores.trials:
        if trial.iou is not None:
            targets[trial.draw, trial.specimen].append((trial.iou, trial.confidence))
    means = np.array([np.mean(pairs, axis=0) for pairs in targets.values()])
    lost = means[:, 0] < LOST
    return float(lost.mean()), float(means[lost, 1].max()) if lost.any() else None


def write_row(name: str, scores: ProtocolScores, seconds: float) -> str:
    """Write a collection's scores as a row of the table."""
    targets = len({(trial.draw, trial.specimen) for trial in scores.trials})
    presence = scores.presence()
    lost, confidence = find_lost(scores)
    spread = f" +- {scores.spread():.3f}" if len(scores.draws()) > 1 else ""
    cells = [
        name,
        str(targets),
        f"{scores.mean_iou():.3f}{spread}",
        " ".join(f"{draw:.3f}" for draw in scores.draws()),
        *("-" if presence[key] is None else f"{presence[key]:.3f}" for key in ("recall", "precision")),
        f"{scores.confidence_order():.2f}",
        f"{lost:.3f}",
        "-" if confidence is None else f"{confidence:.2f}",
        f"{seconds / max(1, targets):.2f}",
        ", ".join(f"{trait} {iou:.2f}" for trait, iou in scores.traits().items()),
    ]
    return f"| {' | '.join(cells)} |"


def main(
    collections: Annotated[list[Path], typer.Argument(help="Folders of labelled collections.")],
    draws: Annotated[int, typer.Option(help="How often supports are drawn.")] = 3,
    shots: Annotated[int, typer.Option(help="Supports a group.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    propagator: Annotated[str, typer.Option(help="As in a build.")] = "dense",
) -> None:
    """Run the protocol on each collection and print a table."""
    typer.echo(HEAD)
    typer.echo("|" + "---|" * (HEAD.count("|") - 1))
    for folder in collections:
        began = time.process_time()
        scores = run_protocol(
            read_collection(folder / "collection.csv"),
            folder / "labels",
            dict(read_traits(folder / "supports" / "traits.toml").numbers),
            load_propagator(propagator),
            shots=shots,
            draws=draws,
            seed=seed,
        )
        typer.echo(write_row(folder.name, scores, time.process_time() - began))


if __name__ == "__main__":
    typer.run(main)
