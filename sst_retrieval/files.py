"""Files and folders that appear whole or not at all, under names that every file system takes."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give a temporary name to write a file or folder under; at the end it takes its own name.

    Args:
        path: the name it shall have; what has that name already is replaced.

    Yields:
        A hidden name beside it, `.NAME.tmp`. If the block fails, nothing remains; if the machine stops, at most this.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    remove(temporary)
    try:
        yield temporary
        for written in [temporary, *temporary.rglob("*")]:
            _sync(written)
        if path.is_dir():
            remove(path)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        remove(temporary)


def inside(path: Path, folders: Iterable[Path]) -> bool:
    """Say whether a path, all links followed, lies in one of some folders, or is one of them."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):
        return False  # Links in a circle, or no path at all.
    return any(real.is_relative_to(folder.resolve()) for folder in folders)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_name(name: str) -> str:
    """Turn any name into one that every file system takes, different names into different ones.

    >>> file_name("forewing_band")
    'forewing_band'
    >>> file_name("left spot")
    'left%20spot'
    >>> file_name("Spot")
    'Spot-74f80925'
    """
    safe = quote(name, safe="")
    if len(safe) <= 100 and name == name.lower():
        return safe
    # Some file systems see no difference between S and s, and most take no very long names.
    return f"{safe[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _sync(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder, and keeps its list of files in order by itself.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
