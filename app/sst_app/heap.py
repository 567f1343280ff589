"""Keep the collection of garbage after every click from walking through all of a large index again.

Streamlit has Python look through every object that is alive after each run of a page (`gc.collect`), and the end of the
run waits for that: with 50,000 specimens in memory longer than for the page itself. What has survived such a slow
collection is set aside (`gc.freeze`); once another index is opened, all of it is looked through again.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping

SLOW = 0.02
"""Seconds from which on a collection counts as slow."""


class _Watch:
    """Times full collections, and sets aside what survives a slow one."""

    def __init__(self) -> None:
        self._start = 0.0

    def __call__(self, phase: str, about: Mapping[str, int]) -> None:
        """Take the beginning or the end of a collection, as `gc.callbacks` tells it."""
        if about["generation"] < 2:
            return
        if phase == "start":
            self._start = time.thread_time()
        elif time.thread_time() - self._start > SLOW:
            gc.freeze()


def watch() -> None:
    """Begin to set aside what survives slow collections; once in a process."""
    if not any(isinstance(each, _Watch) for each in gc.callbacks):
        gc.callbacks.append(_Watch())


def release() -> None:
    """Let the next collection look through everything: what was set aside may be garbage by now."""
    gc.unfreeze()
