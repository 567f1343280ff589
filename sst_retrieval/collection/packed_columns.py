"""The columns of a large table in a file that is mapped into memory: read by ranges, and held by nobody.

A column of Python objects takes some sixty bytes a cell for as long as a build runs; as Arrow's values in a file that
the system reads when a row is asked for, it takes none.
"""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import overload

import pyarrow as pa

from sst_retrieval.types import Scalar

LEAST_ROWS = 10_000
"""Tables with fewer rows stay in memory."""

_AT_ONCE = 16_384

_KINDS: tuple[tuple[type, pa.DataType], ...] = (
    (str, pa.large_string()),
    (int, pa.int64()),
    (float, pa.float64()),
    (bool, pa.bool_()),
    (datetime.date, pa.date32()),
)
"""Types of cells that come back as they were; others stay in memory."""


class PackedColumn(Sequence[Scalar]):
    """A column of a table, as Arrow's values; a cell is made when it is asked for."""

    def __init__(self, values: pa.ChunkedArray) -> None:
        """Take over the values."""
        self._values = values

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> Scalar: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Scalar]: ...
    def __getitem__(self, index: int | slice) -> Scalar | Sequence[Scalar]:
        """Return one cell, or a list of several."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return [self[at] for at in range(start, stop, step)]
            several: Sequence[Scalar] = self._values[start:stop].to_pylist()
            return several
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"the column has {len(self)} rows, and none at {index}")
        cell: Scalar = self._values[at].as_py()
        return cell

    def __iter__(self) -> Iterator[Scalar]:
        """Go through the cells."""
        return chain.from_iterable(self[start : start + _AT_ONCE] for start in range(0, len(self), _AT_ONCE))


def pack_columns(columns: Mapping[str, Sequence[Scalar]]) -> Mapping[str, Sequence[Scalar]]:
    """Move the columns of a large table into a file; those whose cells would not come back as they are, stay.

    Args:
        columns: name -> cells. Whoever has no other use for them lets go of them now.

    Returns:
        The same cells.

    Raises:
        OSError: the folder for temporary files is full.
    """
    rows = max(map(len, columns.values()), default=0)
    kinds = {name: _find_kind(values) for name, values in columns.items()} if rows >= LEAST_ROWS else {}
    packed = [name for name, kind in kinds.items() if kind is not None]
    if not packed:
        return columns
    schema = pa.schema([pa.field(str(number), kinds[name]) for number, name in enumerate(packed)])

    def read() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, _AT_ONCE):
            cells = [list(columns[each][start : start + _AT_ONCE]) for each in packed]
            arrays = [pa.array(own, kinds[each]) for each, own in zip(packed, cells, strict=True)]
            yield pa.record_batch(arrays, schema=schema)

    table = _write_and_map(schema, read())
    found = {each: PackedColumn(table.column(number)) for number, each in enumerate(packed)}
    return {name: found.get(name, values) for name, values in columns.items()}


def pack_arrays(arrays: Sequence[pa.Array]) -> list[pa.Array]:
    """Move arrays of equal length into a file, if they are long.

    Raises:
        OSError: the folder for temporary files is full.
    """
    if len(arrays[0]) < LEAST_ROWS:
        return list(arrays)
    batch = pa.record_batch(arrays, names=[str(number) for number in range(len(arrays))])
    return [column.chunk(0) for column in _write_and_map(batch.schema, [batch]).columns]


def _write_and_map(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Write batches to a file without a name, and map it."""
    handle, name = tempfile.mkstemp(prefix="sst-retrieval-table-", suffix=".arrow")
    os.close(handle)
    path = Path(name)
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        # Where a mapped file cannot be removed (Windows), it is read into memory, a third of what objects take.
        source = pa.BufferReader(path.read_bytes()) if os.name == "nt" else pa.memory_map(str(path))
        return pa.ipc.open_file(source).read_all()
    finally:
        path.unlink()


def _find_kind(values: Sequence[Scalar]) -> pa.DataType | None:
    """Return Arrow's type of a column whose cells are of one type or empty; None if they are not."""
    kinds = {type(value) for value in values} - {type(None)}
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    found = next((own for known, own in _KINDS if known is kind), None)
    if kind is int and not all(-(2**63) <= value < 2**63 for value in values if isinstance(value, int)):
        return None
    return found
