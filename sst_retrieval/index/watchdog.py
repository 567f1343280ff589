"""Interrupt what takes too long: one thread watches all calls, so that a call within its time starts none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERVAL = 0.02
"""Seconds between two looks at the clock."""

IDLE = 5.0
"""Seconds without a call after which the thread ends."""


class Watchdog:
    """Calls in progress, each with a time limit. Threads may share it."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._lock = threading.Lock()
        self._watched: dict[object, tuple[float, Callable[[], None]]] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, seconds: float, interrupt: Callable[[], None]) -> Iterator[None]:
        """Interrupt the block if it takes too long.

        Args:
            seconds: how long it may take.
            interrupt: is called then, once, from another thread; never after the block has ended.
        """
        key = object()
        with self._lock:
            self._watched[key] = (time.monotonic() + seconds, interrupt)
            # None after a fork, too: threads are not copied.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(key, None)

    def _watch(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(INTERVAL)
            with self._lock:
                now = time.monotonic()
                self._interrupt_overdue(now)
                if self._watched:
                    last = now
                elif now - last > IDLE:
                    self._thread = None
                    return

    def _interrupt_overdue(self, now: float) -> None:
        # A function of its own: variables of the loop would keep the last call's cursor until the program ends.
        for key, (end, interrupt) in list(self._watched.items()):
            if now >= end:
                del self._watched[key]
                interrupt()
