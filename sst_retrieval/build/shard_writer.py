"""Rows in hand: collected photograph by photograph, written as a shard now and then, so that a kill loses few."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sst_retrieval.index.shards import EmptyRow, ShardRow
from sst_retrieval.index.staged_shards import StagedShard
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
        if self.is_due(len(self._rows)):
            self.write()

    def is_due(self, photographs: int) -> bool:
        """Say whether so many photographs in hand are enough for a shard, or the last one is long ago."""
        return photographs >= SHARD_PHOTOGRAPHS or time.monotonic() - self._written > SHARD_SECONDS

    def write(self) -> None:
        """Write all that is in hand as a shard; notes alone are not written."""
        if self._rows:
            rows = [row for own in self._rows for row in own]
            self._store.append(rows, notes=self._take_notes(), empty=self._empty)
        self._rows, self._empty, self._written = [], [], time.monotonic()

    def reserve(self) -> tuple[int, dict[str, Any]]:
        """Reserve the number of a shard that a worker is to write, and take the notes in hand for it."""
        self._written = time.monotonic()
        return self._store.reserve_shard(), self._take_notes()

    def adopt(self, staged: StagedShard, number: int) -> None:
        """Put a shard that a worker wrote into its place; shards with lower numbers are in theirs."""
        self._store.adopt(staged, number)

    @property
    def blocks(self) -> Mapping[str, int]:
        """Name of a block of the index's vectors -> its numbers."""
        return self._store.manifest.recipe.blocks

    def _take_notes(self) -> dict[str, Any]:
        with self._adding:
            notes, self._notes = self._notes, {}
        return notes
