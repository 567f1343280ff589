"""`sst-retrieval app`."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import ipaddress
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

import sst_retrieval
from sst_retrieval.cli.options import ClipModel, ClipPretrained
from sst_retrieval.collection.folder_table import find_photographs
from sst_retrieval.errors import InputError
from sst_retrieval.index.origin import find_indexes
from sst_retrieval.morphology.scales import read_scales

PACKAGE = Path(sst_retrieval.__file__).parent
DEFAULT_PORT = 8501
PORTS_TO_TRY = 50
"""How many ports from DEFAULT_PORT on are tried for a free one."""


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
    scale: Annotated[
        Path | None,
        typer.Option(help="Table of group and mmPerPixel, or lengthMm and lengthPx: hits are compared in millimetres."),
    ] = None,
    clip_model: ClipModel = None,
    clip_pretrained: ClipPretrained = None,
    port: Annotated[
        int | None,
        typer.Option(help=f"Port to listen on.  [default: {DEFAULT_PORT}, or the next that is free]", min=1, max=65535),
    ] = None,
    address: Annotated[str, typer.Option(help="Who may look: localhost is this computer only.")] = "localhost",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A further name by which browsers reach the app, such as that of a web server in front of it; "
            "repeatable. Requests of other names are refused."
        ),
    ] = None,
) -> None:
    """See, search, draw and review in the browser.

    Photographs are opened only inside the index and the folder of its collection's table, links followed; --images
    names more folders. So an index that came from elsewhere shows nothing else of this computer.

    Without an index only this computer may look: a page on which tables and indexes are chosen is for nobody else.

    The app answers to localhost, 127.0.0.1, [::1] and to --address; with --address 0.0.0.0 also to the computer's own
    name and addresses. --allowed-host names more.
    """
    _check_arguments(index, images or [], address)
    if scale is not None:
        read_scales(scale)  # What is wrong with it is said now.
    given = {"--supports": supports, "--scale": scale, "--clip-model": clip_model, "--clip-pretrained": clip_pretrained}
    options = [word for folder in images or [] for word in ("--images", str(folder))]
    options += [word for name, value in given.items() if value is not None for word in (name, str(value))]
    words = [*([str(index)] if index is not None else []), *options]
    free = choose_port(address, port)
    serve = _import_server(find_app().parent).serve
    try:
        serve(words, address=address, port=free, further_names=tuple(allowed_host or ()))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def choose_port(address: str, port: int | None) -> int:
    """Return the port to listen on: the given one, or the first free one from DEFAULT_PORT on.

    Raises:
        InputError: the given port is taken, all are, or this computer has no such address.
    """
    for candidate in [port] if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TO_TRY):
        try:
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
                if os.name != "nt":  # Else a port that was in use a moment ago counts as taken.
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, candidate))
                probe.listen(1)
        except OSError as error:
            if error.errno == errno.EACCES and port is not None:
                raise InputError(f"port {port} may not be used by you; choose another with --port") from error
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise InputError(
                    f"{address} is no address of this computer ({error.strerror}); see --address"
                ) from error
            continue
        if port is None and candidate != DEFAULT_PORT:
            typer.echo(f"port {DEFAULT_PORT} is taken by another program; {candidate} is used", err=True)
        return candidate
    if port is not None:
        raise InputError(
            f"port {port} is taken by another program, perhaps another app; end that, or choose another with --port"
        )
    last = DEFAULT_PORT + PORTS_TO_TRY - 1
    raise InputError(f"the ports {DEFAULT_PORT} to {last} are all taken; choose another with --port")


def _import_server(folder: Path) -> ModuleType:
    """Import the server of the app, whose modules lie in a folder of their own.

    The folder that one stands in, where `python -m` looks first, may be a stranger's index: no file of it is run.
    """
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", str(Path.cwd())):
        del sys.path[0]
    sys.path.insert(0, str(folder))
    return importlib.import_module("sst_app.server")


def _check_arguments(index: Path | None, images: Sequence[Path], address: str) -> None:
    """Refuse what the app could not show.

    Raises:
        InputError: a folder is not there, the index is nothing of the kind or not named although others may look, or
            Streamlit is not installed.
    """
    if index is None and not is_loopback(address):
        raise InputError(
            f"with --address {address} others could open every table and index below {Path.cwd()}; name the one "
            f"that they may see: sst-retrieval app INDEX --address {address}"
        )
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
    if importlib.util.find_spec("streamlit") is None:
        raise InputError("the app needs Streamlit; install it with: pip install 'sst-retrieval[app]'")


def is_loopback(address: str) -> bool:
    """Return whether an address to listen on is reached from this computer only.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("drawer.museum.example")
    (True, True, False, False)
    """
    if address.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False  # A name, whatever it stands for.


def find_app() -> Path:
    """Find the app: beside the package in a checkout, or where a wheel puts it."""
    for folder in (PACKAGE.parent / "app", PACKAGE.parent / "sst_retrieval_app"):
        if (folder / "sst_app").is_dir():
            return folder / "Home.py"
    raise InputError(f"the app is not installed beside {PACKAGE}; install sst-retrieval again")
