"""`sst-retrieval init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval.collection.folder_table import write_folder_table


def init_command(
    folder: Annotated[Path, typer.Argument(help="Folder of photographs; sub-folders are groups.")],
    output: Annotated[Path | None, typer.Option(help="The table; else collection.csv in the folder.")] = None,
) -> None:
    """Write the table of a folder of photographs: one row a photograph, groups from sub-folders.

    A table that is there already is not replaced.
    """
    table = write_folder_table(folder, output)
    groups = f"groups from sub-folders: {', '.join(table.groups)}" if table.groups else "no sub-folders, so one group"
    count = f"{table.photographs} photograph{'s' * (table.photographs != 1)}"
    typer.echo(f"{table.path}: {count}, ids from their file names; {groups}")
    typer.echo(
        f"next: look through the table, annotate one specimen a group (sst-retrieval app {table.path}), then build"
    )
