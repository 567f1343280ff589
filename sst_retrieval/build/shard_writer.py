"""Rows in hand: collected photograph by photograph, written as a shard now and then, so that a kill loses few."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from sst_retrieval.index.shards import EmptyRow, ShardRow
from sst_retrieval.index.store import Store

SHARD_PHOTOGRAPHS = 256
SHARD_SECONDS = 60.0
"""A shard is written after so many photographs, or so many seconds: that much a killed build loses."""


class ShardWriter:
    """Collects the rows of photographs, and appends them to the index as shards."""

    def __init__(self, store: Store) -> None:
        """Begin with nothing in hand.

        Args:
            store: the index; the caller holds its lock.
        """
        self._store = store
        self._rows: list[Sequence[ShardRow]] = []
        self._empty: list[EmptyRow] = []
        self._notes: dict[str, Any] = {}
        self._adding = threading.Lock()
        self._written = time.monotonic()

    def add(self, rows: Sequence[ShardRow], empty: EmptyRow | None = None) -> None:
        """Take the rows of one photograph in hand; `empty` is kept of one that has none."""
        self._rows.append(rows)
        self._empty += [] if empty is None else [empty]

    def add_note(self, name: str, note: Any) -> None:
        """Take a note (JSON values) in hand, which a later build reads with `Store.notes`.

        It goes into one file with the rows that follow, or with earlier ones: a killed build never leaves the rows
        without it. Several threads may call this, also while a shard is written.
        """
        with self._adding:
            self._notes[name] = note

    def write_if_due(self) -> None:
        """Write a shard if enough photographs are in hand, or the last one is long ago."""
        if len(self._rows) >= SHARD_PHOTOGRAPHS or time.monotonic() - self._written > SHARD_SECONDS:
            self.write()

    def write(self) -> None:
        """Write all that is in hand as a shard; notes alone are not written."""
        if self._rows:
            rows = [row for own in self._rows for row in own]
            with self._adding:
                notes, self._notes = self._notes, {}
            self._store.append(rows, notes=notes, empty=self._empty)
        self._rows, self._empty, self._written = [], [], time.monotonic()
