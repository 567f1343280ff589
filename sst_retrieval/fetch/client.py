"""Ask web servers: one GET with its redirects, over checked addresses, politely, and again where that may help.

urllib3 does HTTP: unlike urllib.request it checks lengths and chunks, takes a connection to an address that was checked
beforehand while the certificate is still that of the name, and is what requests is built on; requests itself would hide
just that.

1. The address is checked (`networks`), its robots.txt asked, its host's turn awaited (`politeness`).
2. A redirect is an address like any other: it goes through step 1, at most `MAX_REDIRECTS` times.
3. Answers that may be better later (429, 5xx) and broken connections are tried again, `TRIES` times in all; between
   them the host's Retry-After, else 1, 2, 4, ... seconds.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import urllib3
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

import sst_retrieval
from sst_retrieval.errors import FetchError
from sst_retrieval.fetch.networks import WebAddress, parse_address, resolve
from sst_retrieval.fetch.politeness import (
    MAX_RETRY_AFTER,
    MAX_ROBOTS_BYTES,
    HostGate,
    Robots,
    StoppedError,
    parse_retry_after,
)

TRIES = 4
MAX_REDIRECTS = 5
CONNECT_TIMEOUT, READ_TIMEOUT = 15.0, 60.0
"""Seconds without an answer after which a try has failed."""

MAX_GIVEN_UP = 3
"""So many photographs in a row whose host did not answer, and the rest of that host is left for the next run."""

AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))
REDIRECTS = frozenset((301, 302, 303, 307, 308))

_TIMEOUT = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Manners:
    """How servers are asked.

    Attributes:
        per_second: requests a second to one host, at most; they never overlap.
        allow_http: also ask over plain http, which anybody on the way can read and change.
        allow_private: also ask servers inside private networks.
        ignore_robots: fetch what robots.txt asks programs not to fetch.
        contact: mail address or web page; servers see it, and can write to you instead of shutting you out.
        certificates: file of certificates (PEM) to trust besides the system's, for an institution's own authority.
        first_wait: seconds before the second try; doubled before each further one.
    """

    per_second: float = 2.0
    allow_http: bool = False
    allow_private: bool = False
    ignore_robots: bool = False
    contact: str | None = None
    certificates: str | None = None
    first_wait: float = 1.0


class TemporaryError(Exception):
    """A try failed in a way that may not last; the text says how."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        """Take the reason, and the seconds that the host wants to be left alone for."""
        super().__init__(reason)
        self.after = after


class RefusedError(FetchError):
    """A server answered that it will not send something."""

    def __init__(self, address: WebAddress, answer: BaseHTTPResponse) -> None:
        """Take the address and the answer."""
        super().__init__(f"{address} answers {answer.status} {answer.reason or ''}".rstrip())
        self.status = answer.status


class Client:
    """Asks web servers, for several threads at once."""

    def __init__(self, manners: Manners, stop: threading.Event) -> None:
        """Take how servers are asked, and the event that ends all waiting."""
        self.manners = manners
        self._stop = stop
        self._lock = threading.Lock()
        self._gates: dict[str, HostGate] = {}
        self._pools: dict[str, list[HTTPConnectionPool]] = {}
        self._silent: dict[str, int] = {}
        self._robots = Robots(self._read_robots)
        self._context = ssl.create_default_context()
        if manners.certificates is not None:
            self._context.load_verify_locations(manners.certificates)
        about = "; ".join(filter(None, ["research; one request at a time", manners.contact]))
        self._headers = {
            "User-Agent": f"sst-retrieval/{sst_retrieval.__version__} ({about})",
            "Accept": "image/*, application/ld+json;q=0.9, application/json;q=0.9, */*;q=0.1",
            "Accept-Encoding": "identity",
        }

    def get(
        self, address: str, read: Callable[[BaseHTTPResponse, WebAddress], T], headers: Callable[[], Mapping[str, str]]
    ) -> T:
        """Fetch an address.

        Args:
            address: the web address.
            read: takes the answer (200 or 206) and the address it came from, and reads its body; called in the host's
                turn. It may raise TemporaryError.
            headers: further headers of the request, asked before each try.

        Returns:
            What `read` returns.

        Raises:
            FetchError: it cannot be had.
            StoppedError: the run ends.
        """
        first = parse_address(address, allow_http=self.manners.allow_http)
        if self._silent.get(first.origin, 0) >= MAX_GIVEN_UP:
            raise FetchError(f"{first.origin} has stopped answering; run the same command again later")
        try:
            found = self._try_several(first, read, headers, check_robots=not self.manners.ignore_robots)
        except TemporaryError as error:
            with self._lock:
                self._silent[first.origin] = self._silent.get(first.origin, 0) + 1
            raise FetchError(f"{error}, {TRIES} times") from error
        self._silent.pop(first.origin, None)
        return found

    def _try_several(
        self,
        first: WebAddress,
        read: Callable[[BaseHTTPResponse, WebAddress], T],
        headers: Callable[[], Mapping[str, str]],
        *,
        check_robots: bool,
    ) -> T:
        """Try until it works.

        Raises:
            TemporaryError: it did not work at the last try either.
            FetchError: trying again would not help.
        """
        wait = self.manners.first_wait
        for number in range(TRIES):
            try:
                return self._follow(first, read, headers(), check_robots=check_robots)
            except TemporaryError as error:
                if error.after is not None and error.after > MAX_RETRY_AFTER:
                    self._silent[first.origin] = MAX_GIVEN_UP
                    raise FetchError(f"{error} and asks for {error.after / 60:.0f} minutes of rest") from error
                if number + 1 == TRIES:
                    raise
                self._gate(first.origin).hold_back(wait if error.after is None else error.after)
                wait *= 2
        raise AssertionError("the last try either returns or raises")

    def _follow(
        self,
        address: WebAddress,
        read: Callable[[BaseHTTPResponse, WebAddress], T],
        headers: Mapping[str, str],
        *,
        check_robots: bool,
    ) -> T:
        """Try once, redirects followed."""
        for _ in range(MAX_REDIRECTS + 1):
            gate = self._gate(address.origin)
            if check_robots:
                delay = self._robots.check(address.origin, str(address))
                if delay is not None:
                    gate.pause = max(gate.pause, delay)
            with gate.open(), ExitStack() as stack:
                answer = self._ask(address, headers, stack)
                if answer.status in REDIRECTS and answer.headers.get("Location"):
                    target = answer.headers["Location"]
                    address = parse_address(target, allow_http=self.manners.allow_http, base=address)
                    continue
                if answer.status in AGAIN:
                    after = parse_retry_after(answer.headers.get("Retry-After"))
                    raise TemporaryError(f"{address.origin} answers {answer.status} {answer.reason}", after)
                if answer.status not in (200, 206):
                    raise RefusedError(address, answer)
                try:
                    return read(answer, address)
                except HTTPError as error:
                    raise TemporaryError(f"the connection to {address.origin} broke off ({_reason(error)})") from error
        raise FetchError(f"redirected more than {MAX_REDIRECTS} times, at last to {address}")

    def _ask(self, address: WebAddress, headers: Mapping[str, str], stack: ExitStack) -> BaseHTTPResponse:
        """Send a request; what it opens is closed with the stack."""
        options: dict[str, Any] = {
            "retries": False,
            "redirect": False,
            "preload_content": False,
            "decode_content": False,
        }
        every = {**self._headers, **headers}
        proxy = urllib.request.getproxies().get(address.scheme)
        try:
            if proxy and not urllib.request.proxy_bypass(address.host):
                # The proxy resolves names. One that this computer knows as private is refused all the same.
                with suppress(socket.gaierror):
                    resolve(address, allow_private=self.manners.allow_private)
                manager = stack.enter_context(urllib3.ProxyManager(proxy, timeout=_TIMEOUT, ssl_context=self._context))
                answer = manager.request("GET", str(address), headers=every, **options)
            else:
                host = address.origin.partition("://")[2]
                answer = self._ask_pinned(address, {**options, "headers": {**every, "Host": host}})
        except (HTTPError, OSError) as error:
            if isinstance(error, SSLError) and re.search(r"CERTIFICATE|doesn't match", str(error)):
                raise FetchError(
                    f"{address.origin} has a certificate that is not trusted ({_reason(error)})"
                ) from error
            raise TemporaryError(f"{address.origin} cannot be reached ({_reason(error)})") from error
        stack.callback(answer.close)
        return answer

    def _ask_pinned(self, address: WebAddress, options: Mapping[str, Any]) -> BaseHTTPResponse:
        """Send a request to the first address of a host that can be reached; all are checked beforehand."""
        pools = self._pools.get(address.origin) or [
            self._open_pool(address, number) for number in resolve(address, allow_private=self.manners.allow_private)
        ]
        for pool in pools[:-1]:
            try:
                answer = pool.request("GET", address.target, **options)
            except (NewConnectionError, ConnectTimeoutError):
                continue
            self._pools[address.origin] = [pool]
            return answer
        answer = pools[-1].request("GET", address.target, **options)
        self._pools[address.origin] = [pools[-1]]
        return answer

    def _open_pool(self, address: WebAddress, number: str) -> HTTPConnectionPool:
        """Make the connection, opened when it is used, to one checked address of a host."""
        if address.scheme == "http":
            return HTTPConnectionPool(number, address.port, timeout=_TIMEOUT, maxsize=1)
        return HTTPSConnectionPool(
            number,
            address.port,
            timeout=_TIMEOUT,
            maxsize=1,
            ssl_context=self._context,
            server_hostname=address.host,
            assert_hostname=address.host,
        )

    def check_stop(self) -> None:
        """Raise StoppedError if the run ends: asked between the blocks of a long file."""
        if self._stop.is_set():
            raise StoppedError

    def _gate(self, origin: str) -> HostGate:
        with self._lock:
            return self._gates.setdefault(origin, HostGate(1 / self.manners.per_second, self._stop))

    def _read_robots(self, address: str) -> str | None:
        """Read a robots.txt; None if there is none.

        Raises:
            FetchError: it cannot be had, so that it is not known what the host wants.
        """

        def read(answer: BaseHTTPResponse, source: WebAddress) -> str:
            return answer.read(MAX_ROBOTS_BYTES).decode("utf-8", "replace")

        first = parse_address(address, allow_http=self.manners.allow_http)
        try:
            return self._try_several(first, read, dict, check_robots=False)
        except TemporaryError as error:
            raise FetchError(f"{address} cannot be read ({error}), so nothing is fetched from there") from error
        except RefusedError as error:
            if 400 <= error.status < 500:
                return None
            raise


def _reason(error: BaseException) -> str:
    """Say in a few words what went wrong, without the objects of the library."""
    inner = getattr(error, "reason", None) or error.__cause__ or error
    text = str(getattr(inner, "strerror", None) or inner)
    return f"{type(inner).__name__}: {text}"[:200]
