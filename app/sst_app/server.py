"""Serve the app: start Streamlit in this process, say where it is once it answers, and end when told to."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from sst_app.host_check import LOCAL_NAMES, HostCheck

HOME = Path(__file__).resolve().parents[1] / "Home.py"
ALL_ADDRESSES = ("0.0.0.0", "::")
START_TIMEOUT = 120.0
"""Seconds to wait for the first answer before giving up on saying where the app is."""

END_TIMEOUT = 5.0
"""Seconds that a page at work may still take when the app ends."""


def serve(arguments: Sequence[str], *, address: str, port: int, further_names: Sequence[str] = ()) -> None:
    """Serve the app until a signal ends it.

    There is no process of the server's own, so none is left behind whatever ends this one.

    Args:
        arguments: the command line of the app, see `command_line`.
        address: address to listen on.
        port: port to listen on.
        further_names: names besides this computer's own by which browsers reach the app.
    """
    from starlette.middleware import Middleware
    from streamlit.starlette import App

    @asynccontextmanager
    async def run_until_told(_: Any) -> AsyncIterator[None]:
        _end_on_signals()
        threading.Thread(target=_announce, args=(address, port), daemon=True).start()
        yield

    check = Middleware(
        HostCheck,
        names=[*list_names(address), *further_names],
        proxies=further_names,
        any_address=address in ALL_ADDRESSES,
    )
    sys.argv = [str(HOME), *arguments]
    app = App(HOME, middleware=[check], lifespan=run_until_told)
    config = {
        "server.address": address,
        "server.port": port,
        "server.allowedHosts": ["*"],  # HostCheck has looked at it.
        "server.corsAllowedOrigins": [f"https://{name}" for name in further_names],
        "logger.hideWelcomeMessage": True,  # It comes before the first answer.
    }
    with suppress(KeyboardInterrupt):
        app.run(config=config)
    # Not by Python's own end: DuckDB's library would list all that it still holds, a hundred lines in the terminal.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def list_names(address: str) -> list[str]:
    """List the names by which browsers of this computer, or of its network, reach an app on an address."""
    return [*LOCAL_NAMES, socket.gethostname() if address in ALL_ADDRESSES else address]


def _announce(address: str, port: int) -> None:
    """Print the app's URL once it answers: alone for a program that reads the output, as a sentence for people."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    end = time.monotonic() + START_TIMEOUT
    while not _answers(host, port):
        if time.monotonic() > end:
            return
        time.sleep(0.1)
    name = "localhost" if address in ALL_ADDRESSES else address
    url = f"http://{f'[{name}]' if ':' in name else name}:{port}"
    others = f" (others: http://{socket.gethostname()}:{port})" if address in ALL_ADDRESSES else ""
    if not sys.stdout.isatty():
        print(url, flush=True)
    print(f"open {url} in a browser{others}; Ctrl+C ends the app", file=sys.stderr, flush=True)


def _answers(host: str, port: int) -> bool:
    try:
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.request("GET", "/_stcore/health", headers={"Host": f"localhost:{port}"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def _end_on_signals() -> None:
    """End on SIGINT, SIGTERM and SIGHUP: in good order, but at the latest after END_TIMEOUT."""
    stop = signal.getsignal(signal.SIGTERM)  # Of the web server, which has just set it.

    def end(number: int, frame: FrameType | None) -> None:
        hurry = threading.Timer(END_TIMEOUT, os._exit, (0 if number == signal.SIGINT else 128 + number,))
        hurry.daemon = True
        hurry.start()
        if callable(stop):
            stop(number, frame)

    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and (name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN):
            signal.signal(number, end)
