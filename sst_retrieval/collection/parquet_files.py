"""Read a Parquet file into a specimen table, with the types that its columns have."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sst_retrieval.collection.specimen_table import SpecimenTable, check_column_names
from sst_retrieval.errors import CollectionError
from sst_retrieval.types import Scalar

MAX_CELLS = 20_000_000
MAX_BYTES = 500_000_000
"""Bounds of what is decoded: a small file may hold very much of the same."""


def read_parquet(path: Path) -> SpecimenTable:
    """Read a Parquet file.

    Raises:
        CollectionError: it is missing, damaged, or too large to be held, or a column cannot be used.
    """
    types: dict[str, str] = {}
    columns: dict[str, list[Scalar]] = {}
    notes: list[str] = []
    if path.exists() and not path.is_file():
        raise CollectionError(f"{path} is no regular file; give the table as a file")
    try:
        with pq.ParquetFile(path) as file:
            _check_size(path, file.metadata)
            arrow = file.read()
        # Leave out the index that pandas stores: it is no column of the user's table.
        names = [name for name in arrow.column_names if not re.fullmatch(r"__index_level_\d+__", name)]
        check_column_names(names, str(path))
        for name in names:
            types[name], columns[name] = _convert_column(arrow.column(name), f"{path} column {name!r}", notes)
    except CollectionError:
        raise
    except (OSError, pa.ArrowException, ValueError, OverflowError, KeyError, TypeError) as error:
        raise CollectionError(f"{path} cannot be read as Parquet ({error}); write it anew") from error
    return SpecimenTable(str(path), columns, types, range(1, arrow.num_rows + 1), "row", tuple(notes))


def _check_size(path: Path, metadata: Any) -> None:
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if metadata.num_rows * metadata.num_columns > MAX_CELLS or size > MAX_BYTES:
        raise CollectionError(
            f"{path} has {metadata.num_rows:,} rows and {metadata.num_columns:,} columns "
            f"({size / 1024**2:,.0f} MB), more than can be held; leave out rows without a "
            f"photograph and columns that you do not need"
        )


def _convert_column(column: Any, source: str, notes: list[str]) -> tuple[str, list[Scalar]]:
    """Convert a column to one of the types of a specimen table; returns its DuckDB type and its values."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_boolean(kind):
        return "BOOLEAN", column.to_pylist()
    if pa.types.is_integer(kind):
        values = column.to_pylist()
        if all(value is None or -(2**63) <= value < 2**63 for value in values):
            return "BIGINT", values
        notes.append(f"{source} holds integers of more than 64 bits; it is kept as text")
        return "VARCHAR", [None if value is None else str(value) for value in values]
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = column.cast(pa.float64()).to_pylist()
        infinite = sum(value is not None and math.isinf(value) for value in values)
        if infinite:
            notes.append(f"{source} is infinite in {infinite:,} rows; these are left empty")
        return "DOUBLE", [None if value is None or not math.isfinite(value) else value for value in values]
    if pa.types.is_date(kind):
        days = column.cast(pa.date32())
        return _convert_times("DATE", days, _to_date, source, notes)
    if pa.types.is_timestamp(kind):
        times = column.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.timestamp("us"))
        return _convert_times("TIMESTAMP", times, _to_time, source, notes)
    values = column.to_pylist()
    if any(isinstance(value, bytes) for value in values):
        raise CollectionError(f"{source} holds bytes, which no search can use; leave the column out")
    plain = [v if v is None or isinstance(v, str) else json.dumps(v, default=str, ensure_ascii=False) for v in values]
    return "VARCHAR", [text.strip() or None if text is not None else None for text in plain]


def _to_date(days: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=days)


def _to_time(microseconds: int) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=microseconds)


def _convert_times(
    kind: str, column: Any, convert: Callable[[int], Scalar], source: str, notes: list[str]
) -> tuple[str, list[Scalar]]:
    """Convert dates or times; those outside the years 1 to 9999 are left empty, and noted."""
    values: list[Scalar] = []
    outside = 0
    for number in column.cast(pa.int32() if kind == "DATE" else pa.int64()).to_pylist():
        try:
            values.append(None if number is None else convert(number))
        except OverflowError:
            values.append(None)
            outside += 1
    if outside:
        notes.append(f"{source} lies outside the years 1 to 9999 in {outside:,} rows; these are left empty")
    return kind, values
