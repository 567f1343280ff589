"""`sst-retrieval audit`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from sst_retrieval.cli.options import IndexFolder, Json
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.index_audit import audit_index
from sst_retrieval.search.index import open_index


def audit_command(
    index: IndexFolder,
    trait: Annotated[str | None, typer.Option(help="Trait to look at; all without it.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns to guess: scientificName,locality; all that sort specimens without it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what else the similarity knows: pose, background, photographer, or any column of the table.

    Each is guessed from a region's most similar others. Compare "from vectors" with "from background" and "by chance":
    where the background alone does as well, neighbours may be the same photograph style and not the same trait.
    """
    wanted = [] if columns is None else [name.strip() for name in columns.split(",") if name.strip()]
    found, refused = [], []
    with open_index(index) as opened:
        for name in opened.traits if trait is None else (trait,):
            try:
                found.append(audit_index(opened, name, wanted))
            except InputError as error:
                refused.append(error)
    if refused and not found:
        raise refused[0]
    for reason in refused:
        typer.echo(str(reason), err=True)
    if as_json:
        typer.echo(json.dumps([each.as_dict() for each in found], indent=2, ensure_ascii=False))
        return
    typer.echo("\n\n".join(each.table() for each in found))
