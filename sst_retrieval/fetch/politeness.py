"""Be a polite guest: one request at a time to a host, a pause in between, its Retry-After, its robots.txt.

robots.txt is RFC 9309, read by Protego: a file that is not there (4xx) allows everything; one that cannot be had (5xx,
no connection) is asked for again, and until then nothing of that host is fetched.
"""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from protego import Protego

from sst_retrieval.errors import FetchError

AGENT = "sst-retrieval"
MAX_ROBOTS_BYTES = 512 * 1024
"""Of a robots.txt, more is not read (RFC 9309 asks for 500 KiB at least)."""

MAX_CRAWL_DELAY = 60.0
"""Seconds; a robots.txt that asks for a longer pause between requests gets this."""

MAX_RETRY_AFTER = 600.0
"""Seconds; a host that wants to be left alone for longer is left alone until the next run."""


class StoppedError(Exception):
    """The run was stopped while it waited."""


class HostGate:
    """Lets one request at a time through to a host, with a pause after each."""

    def __init__(self, pause: float, stop: threading.Event) -> None:
        """Take the pause between requests in seconds, and the event that ends all waiting."""
        self.pause = pause
        self._stop = stop
        self._lock = threading.Lock()
        self._next = 0.0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Wait for one's turn.

        Raises:
            StoppedError: the run ends.
        """
        with self._lock:
            self.wait_until(self._next)
            try:
                yield
            finally:
                self._next = max(self._next, time.monotonic() + self.pause)

    def hold_back(self, seconds: float) -> None:
        """Let nothing through for some seconds from now."""
        self._next = max(self._next, time.monotonic() + seconds)

    def wait_until(self, moment: float) -> None:
        """Wait until a moment of `time.monotonic`.

        Raises:
            StoppedError: the run ends.
        """
        if self._stop.wait(max(0.0, moment - time.monotonic())):
            raise StoppedError


def parse_retry_after(text: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Read a Retry-After header: seconds, or a date.

    >>> parse_retry_after("120")
    120.0

    Returns:
        Seconds from now, at least 0; None if there is none or it cannot be understood.
    """
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text.strip())
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now()).total_seconds())


class Robots:
    """The robots.txt of every host, each read once."""

    def __init__(self, read: Callable[[str], str | None]) -> None:
        """Take a function from the address of a robots.txt to its text, or None if there is none.

        It raises FetchError if the file cannot be had.
        """
        self._read = read
        self._lock = threading.Lock()
        self._rules: dict[str, Protego] = {}

    def check(self, origin: str, address: str) -> float | None:
        """Ask whether an address may be fetched.

        Args:
            origin: of the host, such as https://museum.example.
            address: the whole address.

        Returns:
            The pause between requests that the host wants, in seconds; None if it says nothing.

        Raises:
            FetchError: it may not, or robots.txt cannot be had.
        """
        with self._lock:
            rules = self._rules.get(origin)
        if rules is None:
            rules = Protego.parse(self._read(f"{origin}/robots.txt") or "")
            with self._lock:
                self._rules[origin] = rules
        if not rules.can_fetch(address, AGENT):
            raise FetchError(
                f"{origin}/robots.txt asks programs not to fetch it; ask the institution, and if it agrees use "
                f"--ignore-robots (ignore_robots=True)"
            )
        delay = rules.crawl_delay(AGENT)
        return None if delay is None else min(float(delay), MAX_CRAWL_DELAY)
