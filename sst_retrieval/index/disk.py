"""Writing to a disk that may be full: space is taken before it is mapped, and errors are one sentence."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from sst_retrieval.errors import IndexFolderError

_CHUNK = 1 << 20

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = ("no space left", "disk quota", "file too large", "disk full", "failed to offload", "max_temp_directory")

_NEARLY_FULL = 1_000_000
"""With so few bytes free, any error of writing is taken for a full disk."""


def link_file(source: Path, target: Path) -> None:
    """Give a file that never changes a second name; copy it where that is not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def allocate(path: Path, size: int) -> None:
    """Make a file of zeros that has its space on the disk, so that it can be mapped and written into.

    A mapped file without its space would end the process (SIGBUS) when the disk is full.

    Args:
        path: of the file.
        size: in bytes.

    Raises:
        OSError: the disk is full.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            try:
                if size:
                    os.posix_fallocate(file.fileno(), 0, size)
                return
            except OSError as error:
                if error.errno in _FULL:
                    raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        for start in range(0, size, _CHUNK):  # The file system, or the operating system, cannot reserve space.
            file.write(bytes(min(_CHUNK, size - start)))


@contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn errors of writing into an index into one sentence.

    Args:
        folder: the index.

    Raises:
        IndexFolderError: a file could not be written; says whether the disk is full.
    """
    try:
        yield
    except (OSError, duckdb.Error, pa.ArrowException, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, duckdb.Error | pa.ArrowException):
            raise  # A mistake of the program.
        raise IndexFolderError(_explain(folder, error)) from error


def _explain(folder: Path, error: Exception) -> str:
    free = shutil.disk_usage(folder).free
    text = str(error)
    full = isinstance(error, OSError) and error.errno in _FULL
    if full or free < _NEARLY_FULL or any(words in text.casefold() for words in _FULL_WORDS):
        return (
            f"the disk of {folder} is full ({free / 1e6:,.0f} MB free), or a file is larger than allowed there; the "
            "index stays as it was: make room, then run the build again; it goes on from there"
        )
    return f"{folder} cannot be written, and stays as it was: {text.splitlines()[0] if text else type(error).__name__}"
