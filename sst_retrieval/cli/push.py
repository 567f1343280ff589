"""`sst-retrieval push` and `sst-retrieval pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval.cli.progress import ProgressBar
from sst_retrieval.export.index_copies import pull_index, push_index


def push_command(
    index: Annotated[Path, typer.Argument(help="The index folder.")],
    store: Annotated[
        str, typer.Argument(help="A place in a store that fsspec reaches, such as s3://bucket/heliconius.")
    ],
) -> None:
    """Copy an index into a store such as S3, or bring its copy there up to date.

    What has not changed is not copied again. Whoever pulls meanwhile gets the index as it was before, or as it is now.
    """
    with ProgressBar() as progress:
        report = push_index(index, store, progress=lambda done, total: progress("pushing", done, total))
    typer.echo(report.text())
    typer.echo(f"next: on another computer, sst-retrieval pull {store} FOLDER")


def pull_command(
    store: Annotated[str, typer.Argument(help="Where the index was pushed to.")],
    folder: Annotated[Path, typer.Argument(help="The folder: new, empty, or pulled from there before.")],
) -> None:
    """Copy an index from a store into a folder, or bring that up to date.

    What has not changed is not copied again, and readers of the folder keep what they opened. Make reviews where the
    index is pushed from: a folder in which something was changed is not overwritten.
    """
    with ProgressBar() as progress:
        report = pull_index(store, folder, progress=lambda done, total: progress("pulling", done, total))
    typer.echo(report.text())
