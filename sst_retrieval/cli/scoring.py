"""`sst-retrieval evaluate`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval.build_settings import DEFAULTS
from sst_retrieval.cli.protocols import Protocol, ProtocolRequest, evaluate_protocol
from sst_retrieval.errors import InputError, QueryError
from sst_retrieval.evaluate import MaskScores, RetrievalScores, TraitVectors, mask_scores, retrieval_scores
from sst_retrieval.export import label_map
from sst_retrieval.query import Index, open_index
from sst_retrieval.types import Scalar

USUAL_COLUMNS = ("infraspecificEpithet", "scientificName", "group")
"""Which specimens are alike: the first of these columns that has more than one value."""


def evaluate_command(
    index: Annotated[Path, typer.Argument(help="Index folder; with --protocol, a labelled collection.")],
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label pictures, <specimen>.png, drawn by people.")
    ] = None,
    relevant_by: Annotated[
        str | None, typer.Option(help="A hit is right if it shares the query's value in this column.")
    ] = None,
    protocol: Annotated[
        Protocol | None, typer.Option(help="Measure a propagator instead, with randomly drawn supports.")
    ] = None,
    supports_per_group: Annotated[int, typer.Option(help="With --protocol: how often supports are drawn.")] = 3,
    seed: Annotated[int, typer.Option(help="With --protocol: of the draws.")] = 0,
    turned: Annotated[
        bool, typer.Option("--turned", help="With --protocol: turn every target, mirror half of them.")
    ] = False,
    erased: Annotated[float, typer.Option(help="With --protocol: share of targets that lose a trait.")] = 0.0,
    propagator: Annotated[str, typer.Option(help="With --protocol: what finds the traits.")] = DEFAULTS.propagator,
    device: Annotated[str, typer.Option(help="With --protocol: auto, cpu or cuda.")] = DEFAULTS.device,
    checkpoint: Annotated[str | None, typer.Option(help="With --protocol: of SAM 2, as in a build.")] = None,
    apart: Annotated[
        str | None,
        typer.Option(help="With --relevant-by: hits that share the query's value here do not count at all (mimics)."),
    ] = None,
    expand: Annotated[
        int, typer.Option(help="With --relevant-by: as in a search, ask again with so many of the first hits.", min=0)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare masks with labels, and the search with a column of the table."""
    if protocol is not None:
        request = ProtocolRequest(
            index, labels, protocol, supports_per_group, seed, turned, erased, propagator, device, checkpoint
        )
        evaluate_protocol(request, as_json=as_json)
        return
    if labels is None and relevant_by is None:
        raise InputError(
            "name the folder of labels (--labels FOLDER), or a column to score the search by (--relevant-by)"
        )
    with open_index(index) as opened:
        masks = None if labels is None else score_masks(opened, labels)
        column = relevant_by or usual_column(opened)
        retrieval = None if column is None else score_retrieval(opened, column, apart=apart, expand=expand)
    if as_json:
        scores = {
            "masks": None if masks is None else masks.as_dict(),
            "retrieval": None if retrieval is None else retrieval.as_dict(),
        }
        typer.echo(json.dumps(scores, indent=2, ensure_ascii=False))
        return
    if masks is not None:
        typer.echo(masks.table() + "\n")
    no_column = f"no retrieval scores: none of {', '.join(USUAL_COLUMNS)} has two values; name a column: --relevant-by"
    typer.echo(no_column if retrieval is None else retrieval.table())


@dataclass(frozen=True, slots=True)
class _Annotated:
    """What an index remembers of a support."""

    specimen: str
    group: str
    traits: tuple[str, ...]


def score_masks(index: Index, labels: Path) -> MaskScores:
    """Compare the masks of an index with a folder of labels."""
    supports = index.info()["provenance"]["supports"]
    return mask_scores(
        labels,
        lambda specimen: label_map(index, specimen),
        groups={specimen.id: specimen.group for specimen in index.specimens()},
        supports=[_Annotated(each["specimen"], each["group"], tuple(each["traits"])) for each in supports],
        numbers=index.trait_numbers,
    )


def score_retrieval(index: Index, column: str, *, apart: str | None = None, expand: int = 0) -> RetrievalScores:
    """Ask with every region of an index.

    Args:
        index: what to ask.
        column: a hit is right if it shares the query's value here.
        apart: hits that share the query's value here are left out (see `evaluate.retrieval_scores`).
        expand: as in `Index.search`.
    """
    edges = pairwise(accumulate(index.blocks.values(), initial=0))
    return retrieval_scores(
        {trait: TraitVectors(*index.vectors(trait)) for trait in index.traits},
        column_values(index, column),
        column=column,
        blocks={block: slice(start, stop) for block, (start, stop) in zip(index.blocks, edges, strict=True)},
        apart=None if apart is None else column_values(index, apart),
        expand=expand,
    )


def column_values(index: Index, column: str) -> dict[str, Scalar]:
    """Return specimen -> its value in a column; "group" is always there."""
    if column not in index.columns and column != "group":
        raise QueryError(f"the index has no column {column!r}; it has: {', '.join(index.columns)}")
    return {each.id: each.metadata.get(column, each.group) for each in index.specimens()}


def usual_column(index: Index) -> str | None:
    """Choose the column that says which specimens are alike; None if there is none."""
    for column in USUAL_COLUMNS:
        if column in index.columns or column == "group":
            values = {value for value in column_values(index, column).values() if value not in (None, "")}
            if len(values) > 1:
                return column
    return None
