"""`sst-retrieval evaluate-propagator`: how good is a propagator, or a finder, on a labelled collection."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.annotate.traits import TRAITS_FILE, find_traits_file, read_traits
from sst_retrieval.build.settings import DEFAULTS
from sst_retrieval.cli.dataclass_options import options_of
from sst_retrieval.cli.options import TRUNK, Device, Json
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.engines import DEFAULT_FOREGROUND, ModelOptions, load_finder, load_propagator
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate import ProtocolScores, run_protocol
from sst_retrieval.evaluate.instance_truth import read_instances
from sst_retrieval.evaluate.instances import run_instances
from sst_retrieval.files import write_text
from sst_retrieval.track.contract import Propagator


class Protocol(StrEnum):
    """How many annotated specimens a group has."""

    ONE_SHOT = "one-shot"
    FIVE_SHOT = "five-shot"
    INSTANCES = "instances"


SHOTS = {Protocol.ONE_SHOT: 1, Protocol.FIVE_SHOT: 5}


@dataclass(frozen=True, slots=True)
class ProtocolOptions:
    """How a propagator is measured, and which."""

    labels: Annotated[
        Path | None, typer.Option(help="Folder of label pictures, <specimen>.png, if not labels/ of the collection.")
    ] = None
    protocol: Annotated[
        Protocol, typer.Option(help="How many supports a group has; instances: find individuals from one.")
    ] = Protocol.ONE_SHOT
    supports_per_group: Annotated[int, typer.Option(help="How often supports are drawn.")] = 3
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0
    turned: Annotated[bool, typer.Option("--turned", help="Turn every target, mirror half of them.")] = False
    erased: Annotated[float, typer.Option(help="Share of targets that lose a trait.")] = 0.0
    propagator: Annotated[str, typer.Option(help="What finds the traits, as in a build.")] = DEFAULTS.propagator
    device: Device = DEFAULTS.device
    checkpoint: Annotated[str | None, typer.Option(help="Of SAM 2, as in a build.")] = None
    trunk: Annotated[str | None, TRUNK] = None
    second_pass: Annotated[
        int, typer.Option(help="Surest targets that become supports, for a second pass over the others.", min=0)
    ] = 0
    finder: Annotated[str, typer.Option(help="For instances: what finds individuals, as in a build.")] = "dense"
    foreground: Annotated[str, typer.Option(help="For instances: what the finder takes for a thing.")] = (
        DEFAULT_FOREGROUND
    )
    outlines: Annotated[
        str | None, typer.Option(help="For instances: what draws found individuals anew, as in a build.")
    ] = None
    given_supports: Annotated[
        bool, typer.Option("--given-supports", help="For instances: the supports of supports/, nothing drawn.")
    ] = False
    found: Annotated[
        Path | None, typer.Option(help="For instances: write what the first draw found to this file, as COCO.")
    ] = None
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
    with their labels. With --protocol instances a finder is measured, on individuals drawn in labels/instances.json.
    """
    if options.protocol is Protocol.INSTANCES:
        _evaluate_finder(collection, options)
        return
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
    table = _find_table(collection)
    supports = table.parent / "supports"
    traits = read_traits(find_traits_file(supports) or supports / TRAITS_FILE)
    propagator = load_propagator(
        options.propagator, options.device, ModelOptions(checkpoint=options.checkpoint, trunk=options.trunk)
    )
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
            second_pass=options.second_pass,
            progress=show,
        )
    return propagator, scores


def _find_table(collection: Path) -> Path:
    table = collection / "collection.csv" if collection.is_dir() else collection
    if not table.is_file():
        raise InputError(
            f"{table} is not there; --protocol wants a labelled collection: a folder with collection.csv, labels/ and "
            "supports/traits.toml"
        )
    return table


def _evaluate_finder(collection: Path, options: ProtocolOptions) -> None:
    """Run the protocol of individuals and say what came of it."""
    table = _find_table(collection)
    labels = options.labels or table.parent / "labels"
    read = read_collection(table)
    drawn = read_instances(labels / "instances.json", read)
    traits_file = find_traits_file(table.parent / "supports")
    traits = read_traits(traits_file).numbers if traits_file is not None else {}
    given = None
    if options.given_supports:
        supports = read_supports(table.parent / "supports", read)
        given = {group: supports.load(group) for group in supports.groups()}
    finder = load_finder(
        options.finder,
        options.foreground,
        options.device,
        ModelOptions(checkpoint=options.checkpoint),
        outlines=options.outlines,
    )
    with tqdm(unit=" photographs", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = run_instances(
            drawn,
            finder,
            given=given,
            parts=labels / "parts",
            traits=traits,
            draws=options.supports_per_group,
            seed=options.seed,
            progress=show,
        )
    if options.found is not None:
        write_text(options.found, json.dumps(report.as_coco()) + "\n")
    if options.as_json:
        typer.echo(json.dumps({"finder": finder.name, **report.as_dict()}, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"{finder.name}\n\n{report.table()}")
