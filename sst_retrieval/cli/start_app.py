"""`sst-retrieval app`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import sst_retrieval
from sst_retrieval.cli.options import ClipModel, ClipPretrained
from sst_retrieval.collection.folder_table import find_photographs
from sst_retrieval.errors import InputError
from sst_retrieval.index.origin import find_indexes

PACKAGE = Path(sst_retrieval.__file__).parent


def app_command(
    index: Annotated[
        Path | None,
        typer.Argument(
            help="Index folder, a folder of indexes, or the table of a collection that has none yet; without it those "
            "in indexes/."
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(help="A folder that photographs may be read from, besides the collection's own; repeatable."),
    ] = None,
    supports: Annotated[
        Path | None, typer.Option(help="The folder that supports are written to, if not in the collection's own.")
    ] = None,
    clip_model: ClipModel = None,
    clip_pretrained: ClipPretrained = None,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8501,
    address: Annotated[str, typer.Option(help="Who may look: localhost is this computer only.")] = "localhost",
) -> None:
    """See, search, draw and review in the browser.

    Photographs are opened only inside the index and the folder of its collection's table, links followed; --images
    names more folders. So an index that came from elsewhere shows nothing else of this computer.
    """
    _check_arguments(index, images or [])
    given = {"--supports": supports, "--clip-model": clip_model, "--clip-pretrained": clip_pretrained}
    options = [word for folder in images or [] for word in ("--images", str(folder))]
    options += [word for name, value in given.items() if value is not None for word in (name, str(value))]
    # -P: the folder that one stands in may be a stranger's index; no file of it is run.
    words = [sys.executable, "-P", "-m", "streamlit", "run", str(find_app()), "--server.port", str(port)]
    words += ["--server.address", address, "--", *([str(index)] if index is not None else []), *options]
    typer.echo(f"open http://{address}:{port} in a browser; Ctrl+C ends the app", err=True)
    with subprocess.Popen(words) as server:
        try:
            code = server.wait()
        except KeyboardInterrupt:
            server.terminate()
            code = 0
    raise typer.Exit(code)


def _check_arguments(index: Path | None, images: Sequence[Path]) -> None:
    """Refuse what the app could not show.

    Raises:
        InputError: a folder is not there, the index is nothing of the kind, or Streamlit is not installed.
    """
    for folder in images:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; name with --images where the photographs lie")
    if index is not None and not find_indexes(index) and not (index.is_file() or (index / "meta.xml").is_file()):
        if index.is_dir() and any(find_photographs(index)):
            raise InputError(
                f"{index} is a folder of photographs without an index; write its table with: sst-retrieval init {index}"
            )
        raise InputError(
            f"{index} is not an index, nor a folder that holds some, nor a specimen table; check the path, or make an "
            "index with: sst-retrieval build"
        )
    if importlib.util.find_spec("streamlit") is None or importlib.util.find_spec("streamlit_drawable_konva") is None:
        raise InputError("the app needs Streamlit; install it with: pip install 'sst-retrieval[app]'")


def find_app() -> Path:
    """Find the app: beside the package in a checkout, or where a wheel puts it."""
    for folder in (PACKAGE.parent / "app", PACKAGE.parent / "sst_retrieval_app"):
        if (folder / "sst_app").is_dir():
            return folder / "Home.py"
    raise InputError(f"the app is not installed beside {PACKAGE}; install sst-retrieval again")
