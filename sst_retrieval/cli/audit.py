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
    audits, errors = [], []
    with open_index(index) as opened:
        for name in opened.traits if trait is None else (trait,):
            try:
                audits.append(audit_index(opened, name, wanted))
            except InputError as error:
                errors.append(error)
    if errors and not audits:
        raise errors[0]
    for each in errors:
        typer.echo(str(each), err=True)
    if as_json:
        typer.echo(json.dumps([each.as_dict() for each in audits], indent=2, ensure_ascii=False))
        return
    typer.echo("\n\n".join(each.table() for each in audits))
