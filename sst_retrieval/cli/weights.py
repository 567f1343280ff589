"""`sst-retrieval weights`: which weights there are, where they lie, and how they come here."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from tqdm import tqdm

from sst_retrieval.nets import weights

app = typer.Typer(no_args_is_help=True, help="Weights of SAM 2, OpenCLIP and BioCLIP: list and fetch them.")

WeightsName = Annotated[str, typer.Argument(help="A name of `sst-retrieval weights list`.")]


@app.command("list")
def list_command() -> None:
    """Say what there is: name, size, licence, checksum, and whether it is on this computer."""
    for each in weights.WEIGHTS.values():
        path = weights.get_path(each.name)
        typer.echo(f"{each.name}: {each.about}")
        typer.echo(f"    {'' if each.exact else 'about '}{each.size / 1e6:.0f} MB, {each.licence}, from {each.url}")
        typer.echo(f"    SHA-256 {weights.get_checksum(each.name) or 'not known; noted at the first download'}")
        typer.echo(f"    {'here' if path.is_file() else 'not here'}: {path}")


@app.command("fetch")
def fetch_command(name: WeightsName) -> None:
    """Download a file of weights; one that was cut short goes on where it stopped."""
    bar: tqdm[None] | None = None

    def show(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=total, initial=done, desc=name, unit="B", unit_scale=True, file=sys.stderr)
        bar.update(done - bar.n)

    try:
        path = weights.fetch(name, show)
    finally:
        if bar is not None:
            bar.close()
    typer.echo(path)


@app.command("path")
def path_command(name: WeightsName) -> None:
    """Say where a file of weights lies, or has to be put; if it is not here, also how to get it."""
    path = weights.get_path(name)
    typer.echo(path)
    if not path.is_file():
        typer.echo(f"it is not there yet. {weights.how_to_get(name)}", err=True)
