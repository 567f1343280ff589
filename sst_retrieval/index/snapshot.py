"""The photographs of a generation: the collection's table as it was at the commit, as a Parquet file.

An indexed photograph that has left the table keeps the row that it had, cast to the present columns and types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sst_retrieval.collection.column_roles import check_column_prefix
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.collection.table_photographs import TablePhotographs
from sst_retrieval.errors import CollectionError
from sst_retrieval.index.catalog import PHOTOGRAPH_COLUMNS
from sst_retrieval.index.duck import memory_settings, quote_name, quote_text
from sst_retrieval.types import Photograph

ROWS = 20_480
"""Rows of a group of the file: one group is in memory at a time."""

_ARROW_TYPES = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
}
"""DuckDB's types of the columns of a table, as Arrow calls them."""

_UNIQUE = ("sst:photograph", "sst:specimen", "sst:image")
"""Columns whose values hardly repeat."""

_MOST_DIFFERENT = 0.5
"""Values of a column repeat if no larger share of them are different ones."""

_READ_AT_ONCE = 1 << 20


def write_snapshot(path: Path, collection: Collection, *, previous: Path | None, retained: Sequence[str]) -> None:
    """Write the photographs of a generation to a Parquet file.

    Args:
        path: the file to write.
        collection: the table as it is now.
        previous: snapshot of the generation before, if there is one.
        retained: photographs that are indexed but not in the table; each that `previous` knows keeps its old row.

    Raises:
        CollectionError: two columns differ only in capitals, or a column has a reserved name.
    """
    check_column_prefix(collection.columns, str(collection.source))
    _check_capitals(collection.columns)
    types = {name: _ARROW_TYPES.get(kind) for name, kind in collection.columns.items()}
    if (previous is None or not retained) and None not in types.values():
        try:
            _write_photographs(path, collection, types)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass  # A value of another type, which the database knows how to cast.
        else:
            return
    fresh, names = path.with_name(".fresh.tmp"), path.with_name(".retained.tmp")
    try:
        _write_joined(path, collection, previous, retained, fresh, names)
    finally:
        fresh.unlink(missing_ok=True)
        names.unlink(missing_ok=True)


def split_unequal(new: Path, old: Path, folder: Path) -> tuple[Path, Path] | None:
    """Split off what may differ between two snapshots: all but the groups of rows that both begin with.

    A table that grows at its end begins with the same bytes as before, so that they need not be compared row by row.

    Args:
        new: a snapshot.
        old: another one.
        folder: to write into.

    Returns:
        The other rows of both, as files; None if the first groups differ.
    """
    metadata = [pq.read_metadata(path) for path in (new, old)]
    if not metadata[0].schema.equals(metadata[1].schema):
        return None
    same, groups = _count_same_bytes(new, old), 0
    while groups < min(each.num_row_groups for each in metadata):
        one, other = (each.row_group(groups) for each in metadata)
        if one.to_dict() != other.to_dict() or _find_end(one) > same:
            break
        groups += 1
    if not groups:
        return None
    rest = folder / "new.parquet", folder / "old.parquet"
    for source, target in zip((new, old), rest, strict=True):
        with pq.ParquetFile(source) as file, pq.ParquetWriter(target, file.schema_arrow) as writer:
            for number in range(groups, file.num_row_groups):
                writer.write_table(file.read_row_group(number))
    return rest


def _count_same_bytes(one: Path, other: Path) -> int:
    """Count the bytes that two files begin with alike, in steps of what is read at once."""
    same = 0
    with one.open("rb") as first, other.open("rb") as second:
        while (part := first.read(_READ_AT_ONCE)) and part == second.read(_READ_AT_ONCE):
            same += len(part)
        first.seek(same), second.seek(same)
        parts = first.read(_READ_AT_ONCE), second.read(_READ_AT_ONCE)
    return same + next((at for at, (a, b) in enumerate(zip(*parts, strict=False)) if a != b), min(map(len, parts)))


def _find_end(group: pq.RowGroupMetaData) -> int:
    """Return where the last page of a group of rows ends in its file."""
    columns = [group.column(number) for number in range(group.num_columns)]
    return int(
        max(
            min(filter(None, (each.dictionary_page_offset, each.data_page_offset))) + each.total_compressed_size
            for each in columns
        )
    )


def _write_joined(
    path: Path, collection: Collection, previous: Path | None, retained: Sequence[str], fresh: Path, names: Path
) -> None:
    try:
        types = {name: _ARROW_TYPES.get(kind) for name, kind in collection.columns.items()}
        _write_photographs(fresh, collection, types)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        _write_photographs(fresh, collection, dict.fromkeys(collection.columns))
    pq.write_table(pa.table({"name": pa.array(retained, pa.string())}), names)
    typed = ", ".join(
        f"CAST({quote_name(column)} AS {kind}) AS {quote_name(column)}" for column, kind in collection.columns.items()
    )
    own = ", ".join(quote_name(column) for column in PHOTOGRAPH_COLUMNS)
    sql = f"SELECT {own}{', ' if typed else ''}{typed} FROM read_parquet({quote_text(fresh)})"
    with duckdb.connect(config=memory_settings(path.with_name(".spill"))) as connection:
        if previous is not None:
            old = _old_columns(connection, previous, collection.columns)
            sql += f""" UNION ALL BY NAME SELECT * FROM (SELECT {old} FROM read_parquet({quote_text(previous)}))
                        WHERE "sst:photograph" IN (SELECT name FROM read_parquet({quote_text(names)}))"""
        # Small row groups: one is in memory at a time.
        connection.execute(f"COPY ({sql}) TO {quote_text(path)} (FORMAT parquet, ROW_GROUP_SIZE {ROWS})").fetchall()


def _write_photographs(path: Path, collection: Collection, types: Mapping[str, pa.DataType | None]) -> None:
    """Write the table as it is now, some thousand rows in memory at a time.

    Args:
        path: the file.
        collection: the table.
        types: column -> type; None finds it out, for which the whole column is read at once.

    Raises:
        pa.ArrowException: a value is not of its column's type.
    """
    photographs = collection.photographs
    whole = {
        name: pa.array(photographs.values(name, 0, len(photographs)))
        if isinstance(photographs, TablePhotographs)
        else pa.array([each.metadata.get(name) for each in photographs])
        for name, kind in types.items()
        if kind is None
    }
    own = [(name, pa.string()) for name in PHOTOGRAPH_COLUMNS]
    schema = pa.schema([*own, *((name, kind or whole[name].type) for name, kind in types.items())])
    _, first = _select_rows(photographs, 0, min(ROWS, len(photographs)))
    # A dictionary of values that hardly repeat only takes space.
    repeated = [
        name
        for name in schema.names
        if name not in _UNIQUE and (name not in types or _repeats(whole.get(name), partial(first, name)))
    ]
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeated or False) as writer:
        for start in range(0, len(photographs), ROWS):
            stop = min(start + ROWS, len(photographs))
            texts, values = _select_rows(photographs, start, stop)
            columns = [texts[name.removeprefix("sst:").replace("photograph", "id")] for name in PHOTOGRAPH_COLUMNS]
            columns += [
                whole[name][start:stop] if kind is None else pa.array(values(name), kind)
                for name, kind in types.items()
            ]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROWS)
    pa.default_memory_pool().release_unused()  # Else what the columns took stays taken.


def _repeats(column: pa.Array | None, first: Callable[[], Sequence[Any]]) -> bool:
    """Say whether the values of a column repeat, by its first ones."""
    values = list(first()) if column is None else column[:ROWS].to_pylist()
    try:
        return len(set(values)) <= _MOST_DIFFERENT * len(values)
    except TypeError:  # A list or a dictionary.
        return True


def _select_rows(
    photographs: Sequence[Photograph], start: int, stop: int
) -> tuple[Mapping[str, pa.Array], Callable[[str], Sequence[Any]]]:
    """Select some rows: what the program calls them, and the values of a column of the table."""
    if isinstance(photographs, TablePhotographs):
        return photographs.texts(start, stop), partial(photographs.values, start=start, stop=stop)
    rows = photographs[start:stop]
    texts = {
        name: pa.array([str(getattr(row, name)) for row in rows], pa.string())
        for name in ("id", "specimen", "image", "group", "view")
    }
    return texts, lambda name: [row.metadata.get(name) for row in rows]


def _check_capitals(columns: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for name in columns:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise CollectionError(f"the columns {other!r} and {name!r} differ only in capitals; rename one")


def _old_columns(connection: duckdb.DuckDBPyConnection, previous: Path, columns: Mapping[str, str]) -> str:
    """Select the columns of an older snapshot, cast to the present types; a value that does not fit becomes NULL."""
    types = {name.casefold(): kind for name, kind in columns.items()}
    rows = connection.execute(f"DESCRIBE FROM read_parquet({quote_text(previous)})").fetchall()
    kept = [
        f"TRY_CAST({quote_name(name)} AS {types[name.casefold()]}) AS {quote_name(name)}"
        if name.casefold() in types
        else quote_name(name)
        for name, *_ in rows
    ]
    if not any(name == "sst:photograph" for name, *_ in rows):  # Version 0.1: one photograph a specimen.
        kept += ['"sst:specimen" AS "sst:photograph"', "'' AS \"sst:view\""]
    return ", ".join(kept)
