"""Files that are not there until somebody opens them: each is fetched before it is opened, whoever opens it.

A program that knows how to bring the files of a folder says so (`fetch_when_opened`), and every function that reads
pictures calls `fetch_file` first. Without such a folder nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_bringers: dict[Path, Callable[[Path], None]] = {}


@contextmanager
def fetch_when_opened(folder: Path, bring: Callable[[Path], None]) -> Iterator[None]:
    """Have the files of a folder fetched when they are opened, by any thread of this process (a context manager).

    Args:
        folder: absolute path.
        bring: is called with the path of a file in it that is about to be opened; several threads may call it. What it
            cannot find it leaves alone, and whoever opens the file says that it is not there.
    """
    before = _bringers.get(folder)
    _bringers[folder] = bring
    try:
        yield
    finally:
        if before is None:
            del _bringers[folder]
        else:
            _bringers[folder] = before


def fetch_file(path: Path) -> None:
    """Fetch a file that is about to be opened, if it lies in a folder of `fetch_when_opened`."""
    for folder, bring in list(_bringers.items()):
        if path.is_relative_to(folder):
            bring(path)
