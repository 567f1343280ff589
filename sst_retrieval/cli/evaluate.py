"""`sst-retrieval evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval.cli.index_scores import USUAL_COLUMNS, choose_column, score_masks, score_retrieval
from sst_retrieval.cli.options import IndexFolder, Json
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate import MaskScores, RetrievalScores
from sst_retrieval.search.index import open_index


def evaluate_command(
    index: IndexFolder,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label pictures, <specimen>.png, drawn by people.")
    ] = None,
    relevant_by: Annotated[
        str | None, typer.Option(help="A hit is right if it shares the query's value in this column.")
    ] = None,
    apart: Annotated[
        str | None,
        typer.Option(help="With --relevant-by: hits that share the query's value here do not count at all (mimics)."),
    ] = None,
    expand: Annotated[
        int, typer.Option(help="With --relevant-by: as in a search, ask again with so many of the first hits.", min=0)
    ] = 0,
    rerank: Annotated[
        int,
        typer.Option(help="With --relevant-by: as in a search, put so many of the first hits into a new order.", min=0),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Compare masks with labels, and the search with a column of the table.

    `evaluate COLLECTION --protocol one-shot` is the old spelling of `evaluate-propagator COLLECTION`.
    """
    if labels is None and relevant_by is None:
        raise InputError(
            "name the folder of labels (--labels FOLDER), or a column to score the search by (--relevant-by)"
        )
    with open_index(index) as opened:
        masks = None if labels is None else score_masks(opened, labels)
        column, retrieval = relevant_by or choose_column(opened), None
        reason = f"none of {', '.join(USUAL_COLUMNS)} has values that repeat, and others; name a column: --relevant-by"
        if column is not None:
            try:
                retrieval = score_retrieval(opened, column, apart=apart, expand=expand, rerank=rerank)
            except InputError as error:
                if relevant_by is not None:
                    raise
                reason = str(error)  # Nobody asked for this column; the masks have their scores.
    typer.echo(_as_json(masks, retrieval) if as_json else _as_text(masks, retrieval, reason))


def _as_json(masks: MaskScores | None, retrieval: RetrievalScores | None) -> str:
    scores = {
        "masks": None if masks is None else masks.as_dict(),
        "retrieval": None if retrieval is None else retrieval.as_dict(),
    }
    return json.dumps(scores, indent=2, ensure_ascii=False)


def _as_text(masks: MaskScores | None, retrieval: RetrievalScores | None, reason: str) -> str:
    tables = [] if masks is None else [masks.table() + "\n"]
    return "\n".join([*tables, f"no retrieval scores: {reason}" if retrieval is None else retrieval.table()])
