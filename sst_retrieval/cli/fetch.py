"""`sst-retrieval fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval.cli.progress import ProgressBar
from sst_retrieval.fetch.client import Manners
from sst_retrieval.fetch.photographs import fetch_photographs

SOME_FAILED = 1


def fetch_command(
    table: Annotated[
        Path, typer.Argument(help="A table with web addresses, or a Darwin Core Archive of GBIF, iDigBio or Symbiota.")
    ],
    images: Annotated[Path, typer.Option(help="The folder that the photographs go into.")],
    side: Annotated[
        int | None,
        typer.Option(help="Longest side in pixels, where a IIIF server can choose.  [default: the largest]", min=64),
    ] = None,
    image_column: Annotated[str | None, typer.Option(help="Column of the addresses, if not a usual one.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of the specimens' ids, if not a usual one.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many photographs, to try it out.", min=1)] = None,
    per_second: Annotated[float, typer.Option(help="Requests a second to one host, at most.", min=0.01, max=20)] = 2.0,
    hosts: Annotated[int, typer.Option(help="How many hosts are asked at the same time.", min=1, max=32)] = 4,
    max_mb: Annotated[float, typer.Option(help="Larger files are not taken.", min=0.1)] = 500,
    contact: Annotated[
        str | None, typer.Option(help="Your mail address or web page: servers see it, and can write to you.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the files that are there already and compare their checksums.")
    ] = False,
    allow_http: Annotated[bool, typer.Option("--allow-http", help="Also ask over http, without encryption.")] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Also ask servers inside private networks.")
    ] = False,
    ignore_robots: Annotated[
        bool,
        typer.Option("--ignore-robots", help="Fetch what robots.txt asks programs not to fetch; ask the owner first."),
    ] = False,
    certificates: Annotated[
        Path | None, typer.Option(help="File of certificates (PEM) to trust besides the system's.", exists=True)
    ] = None,
) -> None:
    """Fetch the photographs that a table or a Darwin Core Archive names by their web addresses.

    Writes the files, a table that names them (collection.csv), what is known of each (fetched.jsonl) and what could not
    be had (failed.csv). The same command goes on where it stopped. Exit code 1: some photographs could not be had.
    """
    manners = Manners(
        per_second=per_second,
        allow_http=allow_http,
        allow_private=allow_private,
        ignore_robots=ignore_robots,
        contact=contact,
        certificates=None if certificates is None else str(certificates),
    )
    with ProgressBar() as progress:
        report = fetch_photographs(
            table,
            images,
            side=side,
            image_column=image_column,
            id_column=id_column,
            limit=limit,
            hosts=hosts,
            max_megabytes=max_mb,
            verify=verify,
            manners=manners,
            progress=progress,
        )
    typer.echo(report.text())
    typer.echo(f"next: annotate one specimen a group (sst-retrieval app {report.table}), then build")
    if report.stopped:
        raise KeyboardInterrupt
    if report.failures:
        raise typer.Exit(SOME_FAILED)
