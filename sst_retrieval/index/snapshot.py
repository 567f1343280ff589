"""The photographs of a generation: the collection's table as it was at the commit, as a Parquet file.

An indexed photograph that has left the table keeps the row that it had, cast to the present columns and types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sst_retrieval.collection.column_roles import check_column_prefix
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import CollectionError
from sst_retrieval.index.catalog import PHOTOGRAPH_COLUMNS
from sst_retrieval.index.duck import memory_settings, quote_name, quote_text


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
    fresh, names = path.with_name(".fresh.tmp"), path.with_name(".retained.tmp")
    try:
        _write_joined(path, collection, previous, retained, fresh, names)
    finally:
        fresh.unlink(missing_ok=True)
        names.unlink(missing_ok=True)


def _write_joined(
    path: Path, collection: Collection, previous: Path | None, retained: Sequence[str], fresh: Path, names: Path
) -> None:
    _write_photographs(fresh, collection)
    pa.default_memory_pool().release_unused()  # Else what the columns took stays taken.
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
        connection.execute(f"COPY ({sql}) TO {quote_text(path)} (FORMAT parquet, ROW_GROUP_SIZE 20480)").fetchall()


def _write_photographs(path: Path, collection: Collection) -> None:
    rows = collection.photographs
    own = [row.metadata for row in rows]
    table = {
        "sst:photograph": pa.array(map(attrgetter("id"), rows), pa.string()),
        "sst:specimen": pa.array(map(attrgetter("specimen"), rows), pa.string()),
        "sst:image": pa.array(map(str, map(attrgetter("image"), rows)), pa.string()),
        "sst:group": pa.array(map(attrgetter("group"), rows), pa.string()),
        "sst:view": pa.array(map(attrgetter("view"), rows), pa.string()),
        **{name: pa.array([values.get(name) for values in own]) for name in collection.columns},
    }
    pq.write_table(pa.table(table), path, compression="none", use_dictionary=False, write_statistics=False)


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
