"""Ablation of the dense propagator: mean IoU as its steps are added one by one.

    python benchmarks/bench_masks.py COLLECTION [COLLECTION ...] --draws 1 --every 3

Every row is the one-shot protocol (`sst-retrieval evaluate --protocol one-shot`) on the same supports and targets; the
last rows have more supports per group. A collection is a folder with collection.csv, labels/ and
supports/traits.toml.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate import run_protocol
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.track.contract import Propagator
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.refine import ColourSettings
from sst_retrieval.track.dense.settings import DenseSettings
from sst_retrieval.track.dense.trained_decoder import TrainedDecoder

NO_COLOUR = ColourSettings(foreground_weight=0, trait_weight=0, own_share=1, sigma=0.2)


def list_steps() -> list[tuple[str, int, DensePropagator]]:
    """List (name, supports per group, propagator); each propagator has one more step than the one before."""
    trunk, full = EfficientNetTrunk(), DenseSettings()
    stiff = replace(full, displacement_distance=1e-6, colour=NO_COLOUR, absence_distance=9.0)  # No displacement.
    upright = replace(stiff, pose_rotations=1, pose_refinements=0)
    displaced = replace(stiff, displacement_distance=full.displacement_distance)
    return [
        ("match as photographed", 1, DensePropagator(trunk=trunk, settings=upright)),
        ("+ pose: 16 turns and mirror", 1, DensePropagator(trunk=trunk, settings=stiff)),
        ("+ displacement to proportions", 1, DensePropagator(trunk=trunk, settings=displaced)),
        ("+ colours of the target", 1, DensePropagator(trunk=trunk, settings=replace(full, absence_distance=9.0))),
        ("+ lost traits are absent (matching)", 1, DensePropagator(trunk=trunk)),
        ("+ votes by keys", 1, DensePropagator(trunk=trunk, decoder=TrainedDecoder(share=0))),
        ("+ decoder (dense)", 1, DensePropagator(trunk=trunk, decoder=TrainedDecoder())),
        ("dense, three supports", 3, DensePropagator(trunk=trunk, decoder=TrainedDecoder())),
        ("dense, five supports", 5, DensePropagator(trunk=trunk, decoder=TrainedDecoder())),
    ]


def take_every(collection: Collection, every: int) -> Collection:
    """Return a collection of every n-th specimen."""
    return replace(collection, photographs=collection.photographs[::every])


def main(
    collections: Annotated[list[Path], typer.Argument(help="Folders of labelled collections.")],
    draws: Annotated[int, typer.Option(help="Number of random draws of supports.")] = 1,
    every: Annotated[int, typer.Option(help="Use every n-th specimen only.")] = 1,
    only: Annotated[str, typer.Option(help="Only the steps whose name contains this text.")] = "",
) -> None:
    """Run the ablation on each collection and print a table."""
    for folder in collections:
        collection = take_every(read_collection(folder / "collection.csv"), every)
        numbers = read_traits(folder / "supports" / "traits.toml").numbers
        typer.echo(f"{folder.name}: {len(collection.photographs)} specimens")
        for name, shots, propagator in list_steps():
            if only in name:
                typer.echo(measure_step(name, shots, propagator, collection, folder, list(numbers.items()), draws))


def measure_step(
    name: str,
    shots: int,
    propagator: Propagator,
    collection: Collection,
    folder: Path,
    numbers: Sequence[tuple[str, int]],
    draws: int,
) -> str:
    """Run the protocol with one propagator; return a line of the table."""
    began = time.perf_counter()
    try:
        scores = run_protocol(collection, folder / "labels", dict(numbers), propagator, shots=shots, draws=draws)
    except InputError as error:  # No group is large enough for so many supports.
        return f"  {name:36s} {error}"
    seconds = (time.perf_counter() - began) / max(1, len({(t.draw, t.specimen) for t in scores.trials}))
    traits = ", ".join(f"{trait} {iou:.2f}" for trait, iou in scores.traits().items())
    return (
        f"  {name:36s} {scores.mean_iou():.3f} ({traits}); confidence rho {scores.confidence_order():.2f}; "
        f"{seconds:.1f} s a target"
    )


if __name__ == "__main__":
    typer.run(main)
