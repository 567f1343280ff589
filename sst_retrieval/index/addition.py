"""Write a generation by adding to another: it costs what is new, changed and removed since (see `index.epochs`).

1. The last whole catalog is linked as the base of a new one, which holds what differs from it: the photographs of new
   shards, and those whose row of the table is new, changed or gone (`index.catalog_tables`). When that is much, the two
   become a whole catalog again.
2. Files of vectors and codes are linked, which costs nothing (copied where the file system has no hard links).
3. The vectors of new regions are whitened with the epoch's own map and written to a segment of their own; many
   segments are merged into one.
4. The ids of catalog and vector files are compared, as for every generation.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq

from sst_retrieval.index.catalog import INDIVIDUAL_COLUMNS, PHOTOGRAPH_COLUMNS
from sst_retrieval.index.catalog_tables import (
    attach_base,
    begin_changes,
    count_changes,
    fold_changes,
    has_region_rows,
    list_columns,
    list_measurements,
    replace_rows,
    select_region_rows,
    select_regions_of_catalog,
    select_regions_of_shards,
)
from sst_retrieval.index.codes import can_be_extended, write_more_codes
from sst_retrieval.index.disk import link_file
from sst_retrieval.index.duck import DAMAGE, quote_name, quote_text
from sst_retrieval.index.epochs import (
    MOST_SEGMENTS,
    Epoch,
    read_removed_ids,
    write_epoch,
)
from sst_retrieval.index.generation import (
    FOUND,
    SELECT_INDIVIDUALS,
    SELECT_LONE,
    SELECT_MADE,
    connect,
    find_measurements,
    gather_vectors,
    list_reviews,
    list_skipped,
    verify_generation,
    write_notes,
    write_reviews_of_regions,
    write_vectors_or_places,
)
from sst_retrieval.index.owner_additions import add_owners
from sst_retrieval.index.paths import GenerationPaths
from sst_retrieval.index.reviews import Review
from sst_retrieval.index.segments import can_be_merged, merge_segments
from sst_retrieval.index.shards import write_shard
from sst_retrieval.index.snapshot import split_unequal
from sst_retrieval.index.whitening import read_whitening, whiten_more, write_lengths
from sst_retrieval.types import Skipped

MOST_RANGES = 1000
"""After so many additions in one epoch to a trait, a commit is a full one."""


MEMORY_A_PHOTOGRAPH = 200
"""Bytes that the database may use for each photograph of the table: names of all may have to be compared."""
LEAST_MEMORY, MOST_MEMORY = 64 * 10**6, 10**9

MOST_ADDED = 0.05
"""Up to this share of the rows of a whole catalog may stand in one that adds to it: it is copied at each addition."""

MOST_TOUCHED = 0.5
"""A commit is a full one if rows of more than this share of the photographs are new, changed or gone."""


class NotAnAdditionError(Exception):
    """What changed cannot be added: the commit must be a full one. Says why; no person sees it."""


@dataclass(frozen=True, slots=True)
class Added:
    """A generation that adds to another.

    Attributes:
        traits: their names.
        individuals: all that were there, or are there now, on photographs that changed.
    """

    traits: list[str]
    individuals: frozenset[str]


def add_to_generation(
    paths: GenerationPaths,
    old: GenerationPaths,
    epoch: Epoch,
    *,
    number: int,
    shards: Sequence[Path],
    snapshot: Path,
    before: Path | None = None,
    skipped: Sequence[Skipped],
    blocks: Mapping[str, int],
    is_whole: Callable[[Path], bool],
    reviews: Sequence[Review] = (),
) -> Added:
    """Write the files of a generation that adds to another, and check them against each other.

    Args:
        paths: of the generation; its folder is empty.
        old: of the other generation, whose catalog, owners, whitening and basis of codes were checked wholly.
        epoch: of the other generation.
        number: of the generation.
        shards: those that were written since; may be none.
        snapshot: file of `index.snapshot.write_snapshot`.
        before: the same of the other generation; None if it is not whole.
        skipped: photographs that could not be indexed, and why.
        blocks: block name -> number of values.
        is_whole: says of a file of the other generation whether it is as it was written; asked before it is copied.
        reviews: the whole record, oldest first.

    Raises:
        NotAnAdditionError: a full commit is needed; the folder may hold files.
        IndexFolderError: a shard cannot be read, or the files do not match.
    """
    if any(not can_be_extended(old.code_files(trait)[1]) for trait in epoch.fitted):
        raise NotAnAdditionError("its codes are of another version")

    def require_whole(path: Path) -> None:
        if not is_whole(path):
            raise NotAnAdditionError(f"{path} is damaged")

    base = old.base_file if old.base_file.exists() else old.catalog_file
    link_files(old, paths)
    link_file(base, paths.base_file)
    with _explain_database():
        # By its new name: the old one may be open in this process.
        if not has_region_rows(paths.base_file):
            raise NotAnAdditionError("its catalog is of an earlier version")
    if old.base_file.exists():
        shutil.copyfile(old.catalog_file, paths.catalog_file)
    given = list(shards) or [_write_empty_shard(paths.folder)]
    memory = choose_memory(pq.read_metadata(snapshot).num_rows)
    with (
        _explain_database(),
        connect(given, paths.folder / "spill", paths.catalog_file, memory=memory) as connection,
    ):
        if old.base_file.exists():
            attach_base(connection, paths.base_file)
        else:
            begin_changes(connection, paths.base_file)
        connection.execute("BEGIN TRANSACTION").fetchall()
        rest = None if before is None else split_unequal(snapshot, before, paths.folder)
        _find_changes(connection, snapshot, epoch, rest)
        _change_catalog(connection, paths.folder, skipped, reviews, number)
        write_notes(connection, shards)
        columns = [name for name in list_columns(connection, "photographs") if name not in INDIVIDUAL_COLUMNS]
        dead = connection.execute("SELECT region_id FROM dead ORDER BY region_id").fetchnumpy()["region_id"]
        removed = np.union1d(read_removed_ids(old), np.asarray(dead, dtype=np.int64))
        add_owners(old.owners_folder, paths.owners_folder, connection, columns, removed, require_whole)
        counts = connection.execute("SELECT trait, count(*) FROM dead WHERE present GROUP BY trait").fetchall()
        gone = Counter(epoch.removed) + Counter(dict(counts))
        added = _write_segment(connection, paths, number, given, blocks)
        sql = 'SELECT individual FROM replaced UNION SELECT "sst:individual" FROM new_individuals'
        changed = frozenset(name for (name,) in connection.execute(sql).fetchall())
        (next_id,) = connection.execute("SELECT count(*) FROM numbers").fetchall()[0]
        connection.execute("COMMIT").fetchall()
        changes, of_base = count_changes(connection)
    if changes > MOST_ADDED * of_base:
        require_whole(base)
        _fold_catalog(paths, memory)
    if not shards:
        given[0].unlink()
    grown = replace(
        epoch,
        added=dict(Counter(epoch.added) + Counter(added)),
        removed=dict(gone),
        segments=(*epoch.segments, *([number] if added else [])),
        next_id=epoch.next_id + next_id,
        shards=epoch.shards + len(shards),
    )
    if (trait := grown.outgrown()) is not None:
        raise NotAnAdditionError(f"{trait} has outgrown its whitening")
    if len(grown.segments) > MOST_SEGMENTS:
        dim = sum(blocks.values())
        if not can_be_merged(paths, grown.segments, epoch.fitted):
            raise NotAnAdditionError("some segments hold vectors, and others where in the shards they are")
        kept = merge_segments(
            paths, grown.segments, number, most=MOST_SEGMENTS, traits=epoch.fitted, removed=removed, dim=dim
        )
        grown = replace(grown, segments=(*kept, number))
    write_epoch(paths, grown, removed)
    verify_generation(paths, list(epoch.fitted), blocks)
    return Added(list(epoch.fitted), changed)


def choose_memory(photographs: int) -> str:
    """Choose how much memory the database may use, by the number of photographs in the table."""
    return f"{min(MOST_MEMORY, max(LEAST_MEMORY, MEMORY_A_PHOTOGRAPH * photographs)) // 10**6}MB"


@contextmanager
def _explain_database() -> Iterator[None]:
    """Leave the addition to a full commit where the database needs more memory, or the last catalog is damaged.

    A full commit goes through the disk, and makes the catalog of the shards.

    Raises:
        NotAnAdditionError: it needs more memory, or is damaged.
    """
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise NotAnAdditionError(f"the database needs more memory: {error}") from error
    except duckdb.Error as error:
        # DuckDB has no class for a block whose checksum is wrong.
        if not isinstance(error, DAMAGE) and type(error) is not duckdb.Error:
            raise
        raise NotAnAdditionError(f"the last catalog is damaged: {error}") from error


def _fold_catalog(paths: GenerationPaths, memory: str) -> None:
    """Make one whole catalog of a base and what was added to it."""
    whole = paths.folder / "whole.duckdb"
    with _explain_database():
        fold_changes(paths.base_file, paths.catalog_file, whole, memory=memory)
    paths.base_file.unlink()
    whole.replace(paths.catalog_file)


def link_files(old: GenerationPaths, new: GenerationPaths) -> None:
    """Link the files of vectors and codes of a generation into another; copy them where that is not possible."""
    for source in sorted([*old.vector_folder.rglob("*"), *old.segment_folder.rglob("*")]):
        if source.is_file():
            target = new.folder / source.relative_to(old.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            link_file(source, target)


def _write_empty_shard(folder: Path) -> Path:
    path = folder / "0.parquet"
    write_shard(path, [])
    return path


# ------------------------------------------------------------------------------------------------ catalog


def _find_changes(
    connection: duckdb.DuckDBPyConnection, snapshot: Path, epoch: Epoch, rest: tuple[Path, Path] | None
) -> None:
    """List what changed, in temporary tables.

        gone        photographs that are in the table no more
        known       those of new shards that are in the table
        fresh       the rows of those that are touched
        touched     photographs whose rows are written again, or taken out
        replaced    the individuals that were on them
        dead        region_id, trait, present of regions that are of no region any more
        numbers     region_id, shard, place, trait, present of new regions

    Args:
        connection: to the catalog, with the new shards.
        snapshot: the table as it is now.
        epoch: of the other generation.
        rest: of `split_unequal`: only these rows of the table, and of the catalog's, can differ; removed.

    Raises:
        NotAnAdditionError: see `add_to_generation`.
    """
    table = f"read_parquet({quote_text(snapshot)})"
    shape = [connection.execute(f"DESCRIBE FROM {each}").fetchall() for each in (table, "photographs")]
    if [row[:2] for row in shape[0]] != [row[:2] for row in shape[1]]:
        raise NotAnAdditionError("the table has other columns")
    now, before = (table, "photographs") if rest is None else (f"read_parquet({quote_text(each)})" for each in rest)
    differ = " OR ".join(
        f"f.{name} IS DISTINCT FROM p.{name}" for name in map(quote_name, (row[0] for row in shape[0]))
    )
    # The small side of each condition is the one that stands in brackets, which is held in memory.
    for sql in (
        f"""CREATE TEMP TABLE gone AS SELECT "sst:photograph" AS photograph FROM {before}
            WHERE "sst:photograph" NOT IN (SELECT "sst:photograph" FROM {now})""",
        f"""CREATE TEMP TABLE known AS SELECT "sst:photograph" AS photograph FROM {table}
            WHERE "sst:photograph" IN (SELECT photograph FROM newest)""",
        f"""CREATE TEMP TABLE touched AS
            SELECT photograph FROM newest
            UNION SELECT f."sst:photograph" FROM {now} f
                  LEFT JOIN {before} p ON p."sst:photograph" = f."sst:photograph" WHERE {differ}
            UNION FROM gone""",
        f'CREATE TEMP TABLE fresh AS FROM {table} WHERE "sst:photograph" IN (FROM touched)',
    ):
        connection.execute(sql).fetchall()
    for each in rest or ():
        each.unlink()
    (touched, known, unseen) = connection.execute(
        """SELECT (SELECT count(*) FROM touched), (SELECT count(*) FROM photographs),
                  (SELECT count(*) FROM (
                      SELECT photograph FROM made WHERE NOT removed AND photograph IN (FROM touched)
                      EXCEPT SELECT "sst:photograph" FROM photographs WHERE "sst:photograph" IN (FROM touched)
                      EXCEPT SELECT photograph FROM newest))"""
    ).fetchall()[0]
    if touched > MOST_TOUCHED * known:
        raise NotAnAdditionError("many photographs changed")
    if unseen:
        raise NotAnAdditionError("a photograph that had left the table is back")
    connection.execute(
        """CREATE TEMP TABLE replaced AS SELECT "sst:individual" AS individual, "sst:photograph" AS photograph
           FROM individuals WHERE "sst:photograph" IN (FROM touched)"""
    ).fetchall()
    connection.execute(
        """CREATE TEMP TABLE dead AS SELECT region_id, trait, present FROM regions WHERE individual IN (
                SELECT individual FROM replaced WHERE photograph IN (SELECT photograph FROM newest)
                OR photograph IN (FROM gone))"""
    ).fetchall()
    connection.execute(
        f"""CREATE TEMP TABLE numbers AS
            SELECT {epoch.next_id} + row_number() OVER (ORDER BY trait, individual) - 1 AS region_id,
                   shard, place, trait, present
            FROM live WHERE trait IS NOT NULL AND photograph IN (FROM known)"""
    ).fetchall()
    left = """SELECT DISTINCT trait FROM regions WHERE region_id NOT IN (SELECT region_id FROM dead)
               UNION SELECT trait FROM numbers"""
    if {trait for (trait,) in connection.execute(left).fetchall()} != epoch.fitted.keys():
        raise NotAnAdditionError("there are other traits")
    if not set(find_measurements(connection)) <= set(list_measurements(connection)):
        raise NotAnAdditionError("there are other measurements")
    if connection.execute("SELECT count(*) FROM additions").fetchall()[0][0] >= MOST_RANGES:
        raise NotAnAdditionError("there are many additions")


def _change_catalog(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    skipped: Sequence[Skipped],
    reviews: Sequence[Review],
    number: int,
) -> None:
    """Take out of the catalog what changed, and put in what is new."""
    # The individuals of photographs that only have another row now, in the form in which shards have them.
    kept = """(SELECT "sst:photograph" AS photograph, "sst:individual" AS individual, "sst:number" AS number,
                      "sst:box" AS individual_box, "sst:score" AS score, "sst:outline" AS outline,
                      "sst:height" AS height, "sst:width" AS width, "sst:first" AS first
               FROM individual_rows WHERE "sst:photograph" IN (FROM touched)
                                  AND "sst:photograph" NOT IN (SELECT photograph FROM newest))"""
    processed = """(SELECT photograph FROM live UNION ALL SELECT photograph FROM made
                    WHERE NOT removed AND photograph NOT IN (SELECT photograph FROM newest))"""
    select = SELECT_INDIVIDUALS.format(
        photographs="fresh",
        found=f"(FROM {FOUND} UNION ALL FROM {kept})",
        processed=processed,
    )
    own = [name for name in list_columns(connection, "photographs") if name not in PHOTOGRAPH_COLUMNS]
    measured = list_measurements(connection)
    kept_regions = select_regions_of_catalog(
        measured,
        """"sst:photograph" IN (FROM touched) AND "sst:region" NOT IN (SELECT region_id FROM dead)""",
    )
    new_regions = select_regions_of_shards(measured)
    for sql in (
        f"CREATE TEMP TABLE new_individuals AS {select}",
        f"CREATE TEMP TABLE kept_regions AS {kept_regions}",
        "CREATE TEMP TABLE old_reviews AS FROM reviews",
    ):
        connection.execute(sql).fetchall()
    for table, replaced_rows, rows in (
        (
            "region_rows",
            """SELECT "sst:region" FROM region_rows WHERE "sst:photograph" IN (FROM touched)""",
            select_region_rows(f"{new_regions} UNION ALL FROM kept_regions", own, measured, "new_individuals"),
        ),
        ("individual_rows", "FROM touched", 'FROM new_individuals ORDER BY "sst:individual"'),
        ("lone_photographs", "FROM touched", SELECT_LONE.format(photographs="fresh", individuals="new_individuals")),
        ("made", "SELECT photograph FROM newest", SELECT_MADE),
    ):
        replace_rows(connection, table, replaced_rows, rows)
    for sql in ("DELETE FROM reviews", "DELETE FROM skipped"):
        connection.execute(sql).fetchall()
    with list_reviews(folder, reviews) as select:
        connection.execute(f"INSERT INTO reviews {select}").fetchall()
    with list_skipped(folder, skipped) as select:
        connection.execute(f"INSERT INTO skipped {select}").fetchall()
    connection.execute(
        """CREATE TEMP TABLE decided AS SELECT DISTINCT region_id FROM (
               (FROM old_reviews EXCEPT FROM reviews) UNION ALL (FROM reviews EXCEPT FROM old_reviews))"""
    ).fetchall()
    undecided = """SELECT * REPLACE (NULL::VARCHAR AS "sst:review") FROM region_rows
                   WHERE "sst:region" IN (FROM decided)"""
    replace_rows(connection, "region_rows", "FROM decided", undecided)
    write_reviews_of_regions(connection, "added_region_rows")
    connection.execute(f"INSERT INTO additions SELECT {number}, count(*) FROM numbers").fetchall()


# ------------------------------------------------------------------------------------------------ vectors


def _write_segment(
    connection: duckdb.DuckDBPyConnection,
    paths: GenerationPaths,
    number: int,
    shards: Sequence[Path],
    blocks: Mapping[str, int],
) -> dict[str, int]:
    """Whiten the vectors of the new regions and write them to a segment; returns trait -> how many."""
    segment, added = paths.segment(number), {}
    with gather_vectors(connection, paths.folder, shards, sum(blocks.values())) as gathered:
        for trait, ids, vectors, places in gathered:
            if not len(ids):
                continue
            segment.folder.mkdir(parents=True, exist_ok=True)
            lengths = whiten_more(vectors, read_whitening(paths.whitening_file(trait), blocks))
            write_lengths(segment.lengths_file(trait), lengths)
            first = paths.code_files(trait)[1]
            write_vectors_or_places(segment, trait, ids, vectors, places if first.exists() else None)
            if first.exists():
                write_more_codes(*segment.code_files(trait), first, vectors, blocks)
            added[trait] = len(ids)
    return added
