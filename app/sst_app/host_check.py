"""Refuse requests of other web sites: of a name that is not this app's (DNS rebinding), or from another page (Origin).

A browser sends a page of evil.example, whose name was made to point at this computer, with "Host: evil.example". Only
names that the app is known by are answered, over HTTP as well as over WebSockets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
"""Names of the computer itself; always allowed."""

REFUSAL = (
    "403: this name is not one of this app's. If it is right, start the app with --allowed-host and the name that "
    "stands in the browser's address bar.\n"
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class HostCheck:
    """ASGI middleware that answers requests of allowed hosts and origins only."""

    def __init__(
        self, app: Application, names: Collection[str], proxies: Collection[str] = (), *, any_address: bool = False
    ) -> None:
        """Set what is allowed.

        Args:
            app: the application behind it.
            names: host names and addresses that requests may name.
            proxies: those of them under which pages may come that reach the app by another name (a reverse proxy).
            any_address: whether a request may name any IP address; no page of another site has one of this computer.
        """
        self._app = app
        self._names = frozenset(name.casefold().strip("[]").rstrip(".") for name in names)
        self._proxies = frozenset(name.casefold().strip("[]").rstrip(".") for name in proxies)
        self._any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] not in ("http", "websocket") or self.allows(scope["headers"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "host not allowed"})
        else:
            body = REFUSAL.encode()
            head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": head})
            await send({"type": "http.response.body", "body": body})

    def allows(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return whether the headers of a request name one allowed host and, if any, an allowed origin."""
        headers = list(headers)
        hosts = [value.decode("latin-1") for name, value in headers if name.lower() == b"host"]
        origins = [value.decode("latin-1") for name, value in headers if name.lower() == b"origin"]
        if len(hosts) != 1 or len(origins) > 1:
            return False
        name = read_host_name(hosts[0])
        if name is None or not (name in self._names or (self._any_address and _is_address(name))):
            return False
        return not origins or self._allows_origin(origins[0], hosts[0])

    def _allows_origin(self, origin: str, host: str) -> bool:
        scheme, _, netloc = origin.partition("://")
        if scheme not in ("http", "https"):
            return False  # "null": a page of a file or a sandbox.
        return netloc.casefold() == host.casefold() or read_host_name(netloc) in self._proxies


def read_host_name(host: str) -> str | None:
    """Return the name in a Host header without its port, in lower case; None if it is not valid.

    >>> read_host_name("Localhost:8501"), read_host_name("[::1]:8501"), read_host_name("localhost@evil.example")
    ('localhost', '::1', None)
    """
    try:
        parts = urlsplit(f"//{host}")
        if parts.netloc != host or parts.username is not None or parts.password is not None:
            return None
        _ = parts.port  # Raises if it is not a number.
        return parts.hostname.rstrip(".") if parts.hostname else None
    except ValueError:
        return None


def is_loopback(address: str | None) -> bool:
    """Return whether an address to listen on is reached from this computer only; None is all addresses.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback(None), is_loopback("drawer.museum.example")
    (True, True, False, False)
    """
    if address is None or address.casefold() == "localhost":
        return address is not None
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False  # A name, whatever it stands for.


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
