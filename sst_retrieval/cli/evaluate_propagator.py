"""`sst-retrieval evaluate-propagator`: how good is a propagator on a labelled collection."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.build.settings import DEFAULTS
from sst_retrieval.cli.dataclass_options import options_of
from sst_retrieval.cli.options import Device, Json
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.engines import ModelOptions, load_propagator
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate import ProtocolScores, run_protocol
from sst_retrieval.track.contract import Propagator


class Protocol(StrEnum):
    """How many annotated specimens a group has."""

    ONE_SHOT = "one-shot"
    FIVE_SHOT = "five-shot"


SHOTS = {Protocol.ONE_SHOT: 1, Protocol.FIVE_SHOT: 5}


@dataclass(frozen=True, slots=True)
class ProtocolOptions:
    """How a propagator is measured, and which."""

    labels: Annotated[
        Path | None, typer.Option(help="Folder of label pictures, <specimen>.png, if not labels/ of the collection.")
    ] = None
    protocol: Annotated[Protocol, typer.Option(help="How many supports a group has.")] = Protocol.ONE_SHOT
    supports_per_group: Annotated[int, typer.Option(help="How often supports are drawn.")] = 3
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0
    turned: Annotated[bool, typer.Option("--turned", help="Turn every target, mirror half of them.")] = False
    erased: Annotated[float, typer.Option(help="Share of targets that lose a trait.")] = 0.0
    propagator: Annotated[str, typer.Option(help="What finds the traits, as in a build.")] = DEFAULTS.propagator
    device: Device = DEFAULTS.device
    checkpoint: Annotated[str | None, typer.Option(help="Of SAM 2, as in a build.")] = None
    as_json: Json = False


@options_of(ProtocolOptions)
def evaluate_propagator_command(
    collection: Annotated[
        Path, typer.Argument(help="Folder with collection.csv, labels/ and supports/traits.toml, or its table.")
    ],
    options: ProtocolOptions,
) -> None:
    """Measure a propagator on a labelled collection, with randomly drawn supports.

    Every group's supports are drawn among its labelled specimens; all others are targets, whose masks are compared
    with their labels.
    """
    propagator, scores = _measure(collection, options)
    if options.as_json:
        typer.echo(json.dumps({"propagator": propagator.name, **scores.as_dict()}, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"{propagator.name}\n\n{scores.table()}")


def _measure(collection: Path, options: ProtocolOptions) -> tuple[Propagator, ProtocolScores]:
    """Run the protocol; a bar on standard error says how far it is.

    Raises:
        InputError: there is no table.
    """
    table = collection / "collection.csv" if collection.is_dir() else collection
    if not table.is_file():
        raise InputError(
            f"{table} is not there; --protocol wants a labelled collection: a folder with collection.csv, labels/ and "
            "supports/traits.toml"
        )
    traits = read_traits(table.parent / "supports" / "traits.toml")
    propagator = load_propagator(options.propagator, options.device, ModelOptions(checkpoint=options.checkpoint))
    with tqdm(unit=" photographs", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        scores = run_protocol(
            read_collection(table),
            options.labels or table.parent / "labels",
            traits.numbers,
            propagator,
            shots=SHOTS[options.protocol],
            draws=options.supports_per_group,
            seed=options.seed,
            turned=options.turned,
            erased=options.erased,
            progress=show,
        )
    return propagator, scores
