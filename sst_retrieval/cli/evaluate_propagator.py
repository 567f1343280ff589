"""`sst-retrieval evaluate COLLECTION --protocol one-shot`: how good is a propagator on a labelled collection."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import typer
from tqdm import tqdm

from sst_retrieval.collection import read_collection
from sst_retrieval.engines import ModelOptions, load_propagator
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.protocol import run_protocol
from sst_retrieval.traits import read_traits


class Protocol(StrEnum):
    """How many annotated specimens a group has."""

    ONE_SHOT = "one-shot"
    FIVE_SHOT = "five-shot"


SHOTS = {Protocol.ONE_SHOT: 1, Protocol.FIVE_SHOT: 5}


@dataclass(frozen=True, slots=True)
class ProtocolRequest:
    """What is to be measured.

    Attributes:
        collection: folder with collection.csv, labels/ and supports/traits.toml, or its table.
        labels: folder of label pictures, if they are not in labels/ beside the table.
        protocol: how many supports a group.
        draws: how often they are drawn.
        seed: of the draws.
        turned: turn and mirror the targets.
        erased: share of the targets on which a trait is painted over.
        propagator, device: what finds the traits, and where.
        checkpoint: of SAM 2.
    """

    collection: Path
    labels: Path | None
    protocol: Protocol
    draws: int
    seed: int
    turned: bool
    erased: float
    propagator: str
    device: str
    checkpoint: str | None = None


def evaluate_protocol(request: ProtocolRequest, *, as_json: bool) -> None:
    """Run a protocol and print its scores."""
    table = request.collection / "collection.csv" if request.collection.is_dir() else request.collection
    folder = table.parent
    if not table.is_file():
        raise InputError(
            f"{table} is not there; --protocol wants a labelled collection: a folder with collection.csv, labels/ and "
            "supports/traits.toml"
        )
    traits = read_traits(folder / "supports" / "traits.toml")
    propagator = load_propagator(request.propagator, request.device, ModelOptions(checkpoint=request.checkpoint))
    with tqdm(unit=" photographs", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        scores = run_protocol(
            read_collection(table),
            request.labels or folder / "labels",
            traits.numbers,
            propagator,
            shots=SHOTS[request.protocol],
            draws=request.draws,
            seed=request.seed,
            turned=request.turned,
            erased=request.erased,
            progress=show,
        )
    if as_json:
        typer.echo(json.dumps({"propagator": propagator.name, **scores.as_dict()}, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"{propagator.name}\n\n{scores.table()}")
