"""The tables of a catalog as they are stored, and the views through which they are read.

Nothing is stored twice that a view can select, which costs nothing in a database of columns:

    region_rows        all that is known of a region: `regions`, `measurements` and `searchable` are views of it
        sst:region, sst:trait, sst:present, sst:individual, sst:photograph, sst:specimen, sst:confidence
        sst:mask_height, sst:mask_width, sst:mask_box, sst:mask_frame, sst:mask
        the collection's own columns, under their own names
        sst:measured:NAME   one a measurement; NULL where the trait is absent
        sst:review          what counted at the commit
    individual_rows    `individuals`, and sst:first: whether it is the first one of its photograph
    lone_photographs   photographs without an individual; `photographs` are these, and those of the first individuals
    made               see `index.catalog`; `region_hashes` joins it with the regions

The catalog of a generation that adds to another (`index.addition`) holds what changed only. It is read together with
the last whole catalog, `base.duckdb` beside it, which never changes: attached as `base`, it is the one half of views
over both.

    added_TABLE         rows that are in place of, or beside, those of `base`: TABLE is each of `SHARED`
    gone_regions        region_id: regions of the base that are of no region any more, or have a row here
    gone_photographs    photograph: the same of their rows, and of those of their individuals
    gone_made           photograph: the same of `made`

The other tables (reviews, skipped, notes, additions) it has as a whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb

from sst_retrieval.index.catalog import PHOTOGRAPH_COLUMNS
from sst_retrieval.index.duck import column_namer, quote_name, quote_text

BLOCK_BYTES = 65_536
"""Size of a block of the file, a quarter of DuckDB's own: less of the last blocks of the columns is empty."""

SHARED = ("individual_rows", "lone_photographs", "region_rows", "made")
"""Tables of which a base holds a part."""

WHOLE = ("reviews", "skipped", "notes")
"""Tables that a catalog has as a whole, whether there is a base or not."""

_GONE = {
    "lone_photographs": ("gone_photographs", "photograph", "sst:photograph"),
    "individual_rows": ("gone_photographs", "photograph", "sst:photograph"),
    "region_rows": ("gone_regions", "region_id", "sst:region"),
    "made": ("gone_made", "photograph", "photograph"),
}
"""Table -> the table that lists which rows of the base are gone, its column, and the one that it is compared with."""

_ORDER = {
    "lone_photographs": "sst:photograph",
    "individual_rows": "sst:individual",
    "region_rows": "sst:region",
    "made": "photograph",
}

_REGION_COLUMNS = {
    "region_id": "sst:region",
    "individual": "sst:individual",
    "trait": "sst:trait",
    "present": "sst:present",
    "confidence": "sst:confidence",
    "height": "sst:mask_height",
    "width": "sst:mask_width",
    "box": "sst:mask_box",
    "frame": "sst:mask_frame",
    "rle": "sst:mask",
}
"""Column of `regions` -> column of `region_rows`."""

_OF_OWNER = ("individual", "photograph", "specimen")
_BEFORE_OWN = ("mask_height", "mask_width", "mask_box", "mask_frame", "mask")
_MEASURED = "sst:measured:"


def select_region_rows(
    source: str, own: Sequence[str], measured: Sequence[str], individuals: str = "individuals"
) -> str:
    """Return the SQL that selects rows of `region_rows`, ordered.

    Args:
        source: SQL that selects regions, as `select_regions_of_shards` or `select_regions_of_catalog` returns it.
        own: the collection's columns.
        measured: names of the measurements.
        individuals: table of whose they are.
    """
    columns = [f"r.{quote_name(name)}" for name in ("sst:region", "sst:trait", "sst:present")]
    columns += [f's."sst:{name}"' for name in _OF_OWNER]
    columns += ['r."sst:confidence"', *(f'r."sst:{name}"' for name in _BEFORE_OWN)]
    columns += [f"s.{quote_name(name)}" for name in own]
    columns += [f"r.{quote_name(_MEASURED + name)}" for name in measured]
    return f"""SELECT {", ".join(columns)}, NULL::VARCHAR AS "sst:review"
               FROM ({source}) r JOIN {individuals} s ON s."sst:individual" = r."sst:individual"
               ORDER BY r."sst:region\""""


def select_regions_of_shards(measured: Sequence[str]) -> str:
    """Return the SQL that selects the regions in `numbers` from the shards."""
    given = {"region_id": "region_id", "trait": "rows.trait", "present": "rows.present"}
    columns = [f"{given.get(name, name)} AS {quote_name(stored)}" for name, stored in _REGION_COLUMNS.items()]
    columns += [
        f"CASE WHEN rows.present THEN map_extract(measurements, {quote_text(name)})[1] END "
        f"AS {quote_name(_MEASURED + name)}"
        for name in measured
    ]
    return f"SELECT {', '.join(columns)} FROM rows JOIN numbers USING (shard, place)"


def select_regions_of_catalog(measured: Sequence[str], condition: str) -> str:
    """Return the SQL that selects regions which the catalog has, under a condition."""
    columns = [*map(quote_name, _REGION_COLUMNS.values()), *(quote_name(_MEASURED + name) for name in measured)]
    return f"SELECT {', '.join(columns)} FROM region_rows WHERE {condition}"


def create_photograph_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the views of individuals and photographs."""
    for sql in (
        'CREATE VIEW individuals AS SELECT * EXCLUDE ("sst:first") FROM individual_rows',
        f"""CREATE VIEW photographs AS
            SELECT {", ".join(map(quote_name, list_columns(connection, "lone_photographs")))}
            FROM individual_rows WHERE "sst:first" UNION ALL FROM lone_photographs""",
    ):
        connection.execute(sql).fetchall()


def create_region_views(connection: duckdb.DuckDBPyConnection, own: Sequence[str], measured: Sequence[str]) -> None:
    """Make the views of `region_rows`, and `made`.

    In `searchable` each name occurs once: a column of the collection shadows this program's, which then has the prefix
    "sst:".
    """
    regions = ", ".join(f"{quote_name(stored)} AS {name}" for name, stored in _REGION_COLUMNS.items())
    measurements = "".join(f", {quote_name(_MEASURED + name)} AS {quote_name(name)}" for name in measured)
    taken, name_of = {name.casefold() for name in own}, column_namer(own)
    parts = ['"sst:region"', '"sst:trait"', '"sst:present"', *(f'"sst:{name}"' for name in _OF_OWNER)]
    parts += ['"sst:confidence"', *map(quote_name, own)]
    parts += [f'"sst:{name}" AS {name}' for name in (*_OF_OWNER, "trait", "confidence") if name not in taken]
    parts += [f"{quote_name(_MEASURED + name)} AS {quote_name(name_of(name))}" for name in measured]
    parts += ['"sst:review" AS review'] if "review" not in taken else []
    for sql in (
        f"CREATE VIEW regions AS SELECT {regions} FROM region_rows",
        f"""CREATE VIEW measurements AS SELECT "sst:region" AS region_id{measurements} FROM region_rows
            WHERE "sst:present\"""",
        f"CREATE VIEW searchable AS SELECT {', '.join(parts)} FROM region_rows",
        """CREATE VIEW region_hashes AS SELECT r."sst:region" AS region_id, r."sst:individual" AS individual,
           r."sst:trait" AS trait, r."sst:mask" AS rle, m.content_hash FROM region_rows r
           JOIN made m ON m.photograph = r."sst:photograph\"""",
    ):
        connection.execute(sql).fetchall()


def list_columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """List the names of the columns of a table or view."""
    return [name for name, *_ in connection.execute(f"DESCRIBE {table}").fetchall()]


def list_measurements(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """List the names of the measurements of a catalog, in the order of their columns."""
    return list_columns(connection, "measurements")[1:]


# ------------------------------------------------------------------------------------------------ base and changes


def has_region_rows(path: Path) -> bool:
    """Say whether a whole catalog has the tables of today, so that another one may add to it."""
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    return ("region_rows",) in tables


def begin_changes(connection: duckdb.DuckDBPyConnection, base: Path) -> None:
    """Attach a base to a new catalog, and make the tables and views of one that adds to it.

    Args:
        connection: to the catalog, an empty database.
        base: the whole catalog that it adds to.
    """
    attach_base(connection, base)
    for table in SHARED:
        connection.execute(f"CREATE TABLE added_{table} AS FROM base.main.{table} LIMIT 0").fetchall()
    for table in WHOLE:
        connection.execute(f"CREATE TABLE {table} AS FROM base.main.{table}").fetchall()
    for sql in (
        "CREATE TABLE gone_regions (region_id BIGINT)",
        "CREATE TABLE gone_photographs (photograph VARCHAR)",
        "CREATE TABLE gone_made (photograph VARCHAR)",
        "CREATE TABLE additions (generation BIGINT, regions BIGINT)",
    ):
        connection.execute(sql).fetchall()
    tables = connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'base'").fetchall()
    if ("additions",) in tables:
        connection.execute("INSERT INTO additions FROM base.main.additions").fetchall()
    join_base(connection)
    create_photograph_views(connection)
    own = [name for name in list_columns(connection, "photographs") if name not in PHOTOGRAPH_COLUMNS]
    create_region_views(connection, own, list_columns(connection, "base.main.measurements")[1:])


def attach_base(connection: duckdb.DuckDBPyConnection, base: Path) -> None:
    """Attach a base, so that the views over both can be read."""
    connection.execute(f"ATTACH {quote_text(base)} AS base (READ_ONLY)").fetchall()


def join_base(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the views over a base and what was added to it; a list of what is gone is only asked if it is not empty."""
    for table, (gone, listed, compared) in _GONE.items():
        (empty,) = connection.execute(f"SELECT count(*) = 0 FROM {gone}").fetchall()[0]
        condition = f"NOT EXISTS (SELECT 1 FROM {gone} g WHERE g.{listed} = b.{quote_name(compared)})"
        left = "" if empty else f" WHERE {condition}"
        sql = f"CREATE OR REPLACE VIEW {table} AS FROM base.main.{table} b{left} UNION ALL FROM added_{table}"
        connection.execute(sql).fetchall()


def replace_rows(connection: duckdb.DuckDBPyConnection, table: str, ids: str, rows: str) -> None:
    """Take rows out of a catalog that adds to a base, and put others in; both are read before anything is changed.

    Args:
        connection: to the catalog, with its base.
        table: one of `SHARED`.
        ids: SQL that selects what identifies the rows that go (see `_GONE`).
        rows: SQL that selects the rows that come.
    """
    gone, listed, compared = _GONE[table]
    name = quote_name(compared)
    for sql in (
        f"CREATE OR REPLACE TEMP TABLE going AS SELECT DISTINCT * FROM ({ids}) AS ids(id)",
        f"CREATE OR REPLACE TEMP TABLE coming AS {rows}",
        f"""INSERT INTO {gone} SELECT DISTINCT b.{name} FROM base.main.{table} b
            WHERE b.{name} IN (SELECT id FROM going) AND b.{name} NOT IN (SELECT {listed} FROM {gone})""",
        f"DELETE FROM added_{table} WHERE {name} IN (SELECT id FROM going)",
        f"INSERT INTO added_{table} FROM coming",
        "DROP TABLE going",
        "DROP TABLE coming",
    ):
        connection.execute(sql).fetchall()
    join_base(connection)


def count_changes(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Count the rows that a catalog adds to its base or takes out of it, and the base's."""
    changed = (*(f"added_{table}" for table in SHARED), "gone_regions", "gone_photographs", "gone_made")
    counts = [
        sum(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in tables)
        for tables in (changed, [f"base.main.{table}" for table in SHARED])
    ]
    return counts[0], counts[1]


def fold_changes(base: Path, changes: Path, target: Path, *, memory: str) -> None:
    """Write a whole catalog of a base and what was added to it.

    Args:
        base: the whole catalog.
        changes: the catalog that adds to it.
        target: file to write.
        memory: how much the database may use.

    Raises:
        OSError: a file cannot be written.
        duckdb.Error: a file is damaged.
    """
    shutil.copyfile(base, target)
    with duckdb.connect(str(target), config={"memory_limit": memory}) as connection:
        connection.execute(f"ATTACH {quote_text(changes)} AS changes (READ_ONLY)").fetchall()
        connection.execute("BEGIN TRANSACTION").fetchall()
        for table, (gone, listed, compared) in _GONE.items():
            for sql in (
                f"DELETE FROM {table} WHERE {quote_name(compared)} IN (SELECT {listed} FROM changes.main.{gone})",
                f"INSERT INTO {table} FROM changes.main.added_{table} ORDER BY {quote_name(_ORDER[table])}",
            ):
                connection.execute(sql).fetchall()
        connection.execute("CREATE TABLE IF NOT EXISTS additions (generation BIGINT, regions BIGINT)").fetchall()
        for table in (*WHOLE, "additions"):
            connection.execute(f"DELETE FROM {table}").fetchall()
            connection.execute(f"INSERT INTO {table} FROM changes.main.{table}").fetchall()
        connection.execute("COMMIT").fetchall()
