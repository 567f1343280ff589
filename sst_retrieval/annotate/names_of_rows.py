"""Which rows of a table have a name: 12 bytes a name, where lists in a dictionary would take some hundred."""

from __future__ import annotations

from array import array
from typing import Literal

import numpy as np

_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


class NamesOfRows:
    """Names, and the rows that have each. Names are added first, row by row, then looked up.

    Hashes of names are kept, not the names: what `find` returns may have another name of the same hash.
    """

    def __init__(self) -> None:
        """Start without names."""
        self._added_hashes, self._added_rows = array("q"), array("i")
        self._hashes = np.zeros(0, dtype=np.int64)
        self._rows = np.zeros(0, dtype=np.int32)

    def add(self, name: str, row: int) -> None:
        """Add a name of a row; rows come in ascending order."""
        self._added_hashes.append(hash(name))
        self._added_rows.append(row)

    def find(self, name: str) -> list[int]:
        """List the rows that may have a name, ascending; the caller compares their names with it."""
        if self._added_rows:
            self._sort()
        first, last = (int(np.searchsorted(self._hashes, hash(name), side)) for side in _SIDES)
        return [int(row) for row in self._rows[first:last]]

    def _sort(self) -> None:
        hashes = np.concatenate([self._hashes, np.frombuffer(self._added_hashes, dtype=np.int64)])
        rows = np.concatenate([self._rows, np.frombuffer(self._added_rows, dtype=np.int32)])
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._rows = hashes[order], rows[order]
        self._added_hashes, self._added_rows = array("q"), array("i")
