"""`sst-retrieval review`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sst_retrieval.cli.options import IndexFolder, Json
from sst_retrieval.errors import QueryError
from sst_retrieval.imaging.images import read_labels
from sst_retrieval.index.reviews import DECISIONS
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.types import Mask

NEXT_BUILD = {"reject": "is taken out", "redraw": "gets its new outline, or is added", "reopen": "is looked for again"}


def review_command(
    index: IndexFolder,
    individuals: Annotated[
        list[str] | None, typer.Argument(help="Individuals to decide on, such as tray_7#3; with --add, a photograph.")
    ] = None,
    decision: Annotated[
        str | None, typer.Option(help="accept, reject (it is none), redraw (with --outline) or reopen.")
    ] = None,
    outline: Annotated[
        Path | None, typer.Option(help="With redraw or --add: a mask of the photograph's size; what is not 0 is it.")
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Add an individual that was missed on the photograph.")] = False,
    reviewer: Annotated[str, typer.Option(help="Who decides; kept with every decision.")] = "",
    comment: Annotated[str, typer.Option(help="Anything else; kept with it.")] = "",
    as_json: Json = False,
) -> None:
    """Decide on the individuals of photographs that may show several; without a decision, list what was decided.

    Decisions count at once in a search, outlines from the next build on. In the app, Review shows them on the
    photograph.
    """
    named = list(individuals or [])
    with open_index(index) as opened:
        if add or decision is not None:
            _decide(opened, named, decision, outline, add=add, reviewer=reviewer, comment=comment)
        elif outline is not None:
            raise QueryError("--outline belongs to --decision redraw or to --add; name one of them")
        typer.echo(_describe(opened, named, as_json=as_json))


def _decide(
    index: Index,
    named: list[str],
    decision: str | None,
    outline: Path | None,
    *,
    add: bool,
    reviewer: str,
    comment: str,
) -> None:
    if add and decision is not None:
        raise QueryError("--add and --decision exclude each other: what is added has its outline")
    if not named:
        raise QueryError("name the individuals after the index, such as tray_7#3" if not add else "name a photograph")
    if not reviewer.strip():
        raise QueryError("say who decides: --reviewer NAME")
    if (add or decision == "redraw") and (outline is None or len(named) != 1):
        raise QueryError(f"{'--add' if add else 'redraw'} needs --outline MASK.png and exactly one name")
    if outline is not None and not add and decision != "redraw":
        raise QueryError(f"{decision} has no outline; leave --outline out, or use --decision redraw")
    mask: Mask | None = None if outline is None else np.asarray(read_labels(outline) != 0)
    if add and mask is not None:
        typer.echo(f"added {index.add_individual(named[0], mask, reviewer=reviewer, comment=comment)}", err=True)
        return
    for name in named:
        index.review_individual(name, str(decision), reviewer=reviewer, outline=mask, comment=comment)


def _describe(index: Index, named: list[str], *, as_json: bool) -> str:
    """List the decisions that count, on some individuals or photographs or on all, and what the next build will do."""
    pending = index.pending_individuals()
    reviews = [
        each
        for each in index.individual_reviews()
        if not named or each.individual in named or each.individual.rpartition("#")[0] in named
    ]
    if as_json:
        rows = [
            {
                "individual": each.individual,
                "decision": each.decision,
                "reviewer": each.reviewer,
                "time": each.time,
                "comment": each.comment,
                "next_build": pending.get(each.individual),
            }
            for each in reviews
        ]
        return json.dumps(rows, indent=2, ensure_ascii=False)
    lines = [
        f"{each.individual}  {DECISIONS[each.decision]} by {each.reviewer}, {each.time[:10]}"
        + (f"; the next build: {NEXT_BUILD[pending[each.individual]]}" if each.individual in pending else "")
        for each in reviews
    ]
    return "\n".join(lines) if lines else "nobody has decided on these individuals"
