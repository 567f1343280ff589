"""The content hashes of photographs, remembered with size and time of change: a build reads changed files only.

Every build must know which photographs have changed, and to read them all takes hours where there are a hundred
thousand. So the hash of a file is taken from the last build while its size and its time of change are the same, as make
and Git do. A file that had changed less than `SETTLED` before it was hashed is not remembered: it might have changed
again within the same tick of the file system's clock. The record is a help, not data: a damaged one is not used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from sst_retrieval.files import atomic_write

SETTLED = 3.0
"""Seconds; some file systems (FAT) know the time of change to two."""

_COLUMNS = pa.schema([("path", pa.string()), ("size", pa.int64()), ("changed", pa.int64()), ("hash", pa.string())])


FileState: TypeAlias = tuple[int, int]
"""Size in bytes, and time of change in nanoseconds; below 0 if that is not known."""


def get_file_state(path: Path) -> FileState:
    """Return the state of a file.

    Raises:
        OSError: there is none.
    """
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class PhotographHashes:
    """The hashes of photographs that builds of an index have computed.

    Attributes:
        compute: computes the hash of a file; may be changed between two calls.
    """

    def __init__(
        self,
        record: Path,
        compute: Callable[[Path], str],
        *,
        reread: bool = False,
        get_state: Callable[[Path], FileState] = get_file_state,
    ) -> None:
        """Read the record.

        Args:
            record: `IndexPaths.photograph_hashes_file`; it need not exist.
            compute: computes the hash of a file.
            reread: do not use the record, but write it anew.
            get_state: returns size and time of change of a file, in nanoseconds, or raises OSError if there is none.
        """
        self._get_state = get_state
        self._record, self.compute = record, compute
        self._known = {} if reread else _read(record)
        self._new: dict[str, tuple[int, int, str]] = {}
        self.read = 0

    def find_changed(self, photographs: Iterable[Path]) -> list[Path]:
        """List the files that `hash` would read; those that are not there are left out."""
        changed = []
        for photograph in dict.fromkeys(photographs):
            try:
                found = self._get_state(photograph)
            except OSError:
                continue
            known = self._known.get(str(photograph))
            if known is None or known[:2] != found:
                changed.append(photograph)
        return changed

    def hash(self, photograph: Path) -> str:
        """Return the hash of a file's content; the file is read unless size and time of change are as they were.

        Raises:
            ImageError: the file cannot be read.
        """
        name = str(photograph)
        try:
            size, changed = self._get_state(photograph)
        except OSError:
            return self.compute(photograph)  # It says what is wrong.
        known = self._known.get(name)
        if known is not None and known[:2] == (size, changed):
            return known[2]
        begun = time.time()
        content = self.compute(photograph)
        self.read += 1
        self._known.pop(name, None)
        if 0 <= changed / 1e9 < begun - SETTLED:
            self._new[name] = (size, changed, content)
        return content

    def write(self) -> None:
        """Write the record, if there is anything new.

        Raises:
            OSError: it cannot be written.
        """
        if not self.read:
            return
        known = {**self._known, **self._new}
        names = sorted(known)
        columns = [names, *([known[name][part] for name in names] for part in range(3))]
        table = pa.table(dict(zip(_COLUMNS.names, columns, strict=True)), schema=_COLUMNS)
        with atomic_write(self._record) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
        self._known, self._new, self.read = known, {}, 0


def _read(record: Path) -> dict[str, tuple[int, int, str]]:
    if not record.is_file():
        return {}
    try:
        with pq.ParquetFile(record, page_checksum_verification=True) as file:
            table = file.read()
        if not table.schema.equals(_COLUMNS):
            return {}
        names, *values = (table.column(name).to_pylist() for name in _COLUMNS.names)
    except (OSError, ValueError, MemoryError, OverflowError, pa.ArrowException):
        return {}  # All photographs are read, as in the first build.
    return dict(zip(names, zip(*values, strict=True), strict=True))
