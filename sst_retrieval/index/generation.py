"""Write a generation (a catalog and its vector files) from all shards and a specimen table.

1. The newest rows of each photograph are selected from the shards, and numbered by trait, then individual.
2. They are joined with the table of photographs (`index.snapshot`) and written to the catalog.
3. Trait by trait, vectors are whitened (`index.whitening`) and written to a FAISS file.
4. The ids of catalog and vector files are compared.

DuckDB joins and sorts within a fixed amount of memory and spills to disk. Vectors never pass through it: it only tells
the shard and the row that hold the vector of a region.

This begins an epoch (`index.epochs`); `index.addition` writes a generation by adding to another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.catalog import INDIVIDUAL_COLUMNS, Catalog
from sst_retrieval.index.catalog_tables import (
    BLOCK_BYTES,
    create_photograph_views,
    create_region_views,
    list_columns,
    select_region_rows,
    select_regions_of_shards,
)
from sst_retrieval.index.codes import write_codes
from sst_retrieval.index.disk import allocate
from sst_retrieval.index.duck import memory_settings, quote_text
from sst_retrieval.index.epochs import Epoch, open_vectors, read_epoch, read_removed_ids, write_epoch
from sst_retrieval.index.owners import write_owners
from sst_retrieval.index.paths import GenerationPaths, SegmentPaths
from sst_retrieval.index.reviews import DECISIONS, Review, latest_reviews
from sst_retrieval.index.shard_vectors import Places, count_openable, write_places
from sst_retrieval.index.shards import is_old, read_notes, read_vectors
from sst_retrieval.index.vector_files import write_vectors
from sst_retrieval.index.whitening import trust_outlines, whiten, write_whitening
from sst_retrieval.types import Floats, Skipped

_ROWS = r"""SELECT {names}* EXCLUDE ({left_out}), file_row_number AS place,
           CAST(regexp_extract(filename, '(\d+)\.parquet$', 1) AS BIGINT) AS shard
    FROM read_parquet([{shards}], filename = true, file_row_number = true)"""

_OLD_NAMES = """specimen AS photograph, specimen AS individual, 1 AS number, NULL::INTEGER[] AS individual_box,
           NULL::DOUBLE AS score, NULL::BLOB AS outline, """
"""Columns that shards of version 0.1 lack."""

_NEWEST = """
CREATE TEMP VIEW rows AS {rows};
CREATE TEMP TABLE newest AS
    SELECT photograph, max(shard) AS shard FROM rows GROUP BY photograph;
CREATE TEMP VIEW live AS
    SELECT rows.* FROM rows JOIN newest USING (photograph, shard) WHERE NOT removed;
"""

_NUMBERS = """
CREATE TEMP TABLE numbers AS
    SELECT row_number() OVER (ORDER BY trait, individual) - 1 AS region_id, shard, place, trait, present
    FROM live WHERE trait IS NOT NULL AND photograph IN (SELECT "sst:photograph" FROM photographs)
"""

# A photograph that was not processed is listed as an individual, so that it is found and its reason told; one on which
# none was found is not.
SELECT_INDIVIDUALS = """
    SELECT coalesce(found.individual, p."sst:photograph") AS "sst:individual", p."sst:photograph",
           p."sst:specimen", p."sst:image", p."sst:group", p."sst:view", coalesce(found.number, 1) AS "sst:number",
           found.individual_box AS "sst:box", found.score AS "sst:score", found.outline AS "sst:outline",
           found.height AS "sst:height", found.width AS "sst:width", coalesce(found.first, true) AS "sst:first",
           p.* EXCLUDE ("sst:photograph", "sst:specimen", "sst:image", "sst:group", "sst:view")
    FROM {photographs} p LEFT JOIN {found} found ON found.photograph = p."sst:photograph"
    WHERE found.individual IS NOT NULL OR p."sst:photograph" NOT IN (SELECT photograph FROM {processed})
    ORDER BY "sst:individual"
"""

FOUND = """(
    SELECT *, row_number() OVER (PARTITION BY photograph ORDER BY individual) = 1 AS first FROM (
        SELECT photograph, individual, any_value(number) AS number, any_value(individual_box) AS individual_box,
               any_value(score) AS score, any_value(outline) AS outline, any_value(height) AS height,
               any_value(width) AS width
        FROM live WHERE trait IS NOT NULL GROUP BY photograph, individual
    ))"""

SELECT_LONE = """SELECT * FROM {photographs} p WHERE NOT EXISTS
    (SELECT 1 FROM {individuals} i WHERE i."sst:photograph" = p."sst:photograph") ORDER BY p."sst:photograph\""""

SELECT_MADE = """
    SELECT photograph, shard, any_value(content_hash) AS content_hash, any_value(support_hash) AS support_hash,
           bool_or(removed) AS removed
    FROM rows JOIN newest USING (photograph, shard) GROUP BY photograph, shard ORDER BY photograph
"""
"""What the newest rows of each photograph were made from; so that a build need not read old shards."""


def write_generation(
    paths: GenerationPaths,
    *,
    number: int,
    shards: Sequence[Path],
    snapshot: Path,
    skipped: Sequence[Skipped],
    blocks: Mapping[str, int],
    shrinkage: Mapping[str, float],
    spreads: Mapping[str, float],
    trust: Sequence[float] = (),
    reviews: Sequence[Review] = (),
) -> list[str]:
    """Write the catalog and the vector files of a generation, and check them against each other.

    Args:
        paths: of the generation; its folder is empty.
        number: of the generation.
        shards: files of `index.shards.write_shard`, at least one; a higher number is newer.
        snapshot: file of `index.snapshot.write_snapshot`; regions of photographs it does not know are left out.
        skipped: photographs that could not be indexed, and why.
        blocks: block name -> number of values.
        shrinkage: block -> ridge of its whitening (see `index.whitening.SHRINKAGE`).
        spreads: block -> its spread, as a share of the pattern's (see `index.whitening.SPREADS`).
        trust: how far outlines count by the confidence of their masks (see `index.whitening.TRUST`).
        reviews: the whole record, oldest first.

    Returns:
        The names of the traits.

    Raises:
        IndexFolderError: a shard cannot be read, or the files do not match.
    """
    paths.vector_folder.mkdir()
    with connect(shards, paths.folder / "spill", paths.catalog_file) as connection:
        connection.execute("CREATE TABLE notes (name VARCHAR, note VARCHAR)").fetchall()
        write_notes(connection, shards)
        _write_catalog(connection, paths.folder, snapshot, skipped, reviews)
        columns = [(name, kind) for name, kind, *_ in connection.execute("DESCRIBE individuals").fetchall()]
        write_owners(paths.owners_folder, connection, [each for each in columns if each[0] not in INDIVIDUAL_COLUMNS])
        traits = _write_vectors(connection, paths, number, shards, blocks, shrinkage, spreads, trust)
    verify_generation(paths, traits, blocks)
    return traits


def write_notes(connection: duckdb.DuckDBPyConnection, shards: Sequence[Path]) -> None:
    """Write the notes of shards into the catalog; of two under one name the newer one wins."""
    for name, note in {name: note for shard in shards for name, note in read_notes(shard).items()}.items():
        connection.execute("DELETE FROM notes WHERE name = ?", [name]).fetchall()
        connection.execute("INSERT INTO notes VALUES (?, ?)", [name, json.dumps(note)]).fetchall()


def _write_catalog(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    snapshot: Path,
    skipped: Sequence[Skipped],
    reviews: Sequence[Review],
) -> None:
    connection.execute(
        f'CREATE TEMP TABLE given AS FROM read_parquet({quote_text(snapshot)}) ORDER BY "sst:photograph"'
    ).fetchall()
    individuals = SELECT_INDIVIDUALS.format(photographs="given", found=FOUND, processed="live")
    connection.execute(f"CREATE TABLE individual_rows AS {individuals}").fetchall()
    lone = SELECT_LONE.format(photographs="given", individuals="individual_rows")
    connection.execute(f"CREATE TABLE lone_photographs AS {lone}").fetchall()
    connection.execute("DROP TABLE given").fetchall()
    create_photograph_views(connection)
    connection.execute(_NUMBERS).fetchall()
    own = [name for name in list_columns(connection, "individuals") if name not in INDIVIDUAL_COLUMNS]
    measured = find_measurements(connection)
    rows = select_region_rows(select_regions_of_shards(measured), own, measured)
    connection.execute(f"CREATE TABLE region_rows AS {rows}").fetchall()
    connection.execute(f"CREATE TABLE made AS {SELECT_MADE}").fetchall()
    create_region_views(connection, own, measured)
    with list_reviews(folder, reviews) as select:
        connection.execute(f"CREATE TABLE reviews AS {select}").fetchall()
    write_reviews_of_regions(connection, "region_rows")
    with list_skipped(folder, skipped) as select:
        connection.execute(f"CREATE TABLE skipped AS {select}").fetchall()


def write_reviews_of_regions(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Write what counts by the table of reviews into the rows of regions."""
    connection.execute(
        f"""UPDATE {table} SET "sst:review" = r.review FROM reviews r
            WHERE {table}."sst:region" = r.region_id AND {table}."sst:review" IS DISTINCT FROM r.review"""
    ).fetchall()


@contextmanager
def list_skipped(folder: Path, skipped: Sequence[Skipped]) -> Iterator[str]:
    """Lend the SQL that selects the photographs that could not be indexed, from a file in a folder."""
    scratch = folder / "skipped.parquet"
    names = ("photograph", "stage", "reason")
    pq.write_table(pa.table({n: pa.array([getattr(row, n) for row in skipped], pa.string()) for n in names}), scratch)
    yield f"FROM read_parquet({quote_text(scratch)})"
    scratch.unlink()


@contextmanager
def list_reviews(folder: Path, record: Sequence[Review]) -> Iterator[str]:
    """Lend the SQL that selects the reviews that count on the photographs as they are now, from a file in a folder."""
    scratch, reviews = folder / "reviews.parquet", list(latest_reviews(record).values())
    names = ("individual", "trait", "content", "reviewer", "time", "comment")
    table = {n: pa.array([getattr(row, n) for row in reviews], pa.string()) for n in names}
    table["review"] = pa.array([DECISIONS[row.decision] for row in reviews], pa.string())
    pq.write_table(pa.table(table), scratch)
    yield f"""SELECT region_id, individual, trait, review, reviewer, CAST(time AS TIMESTAMPTZ) AS time, comment
              FROM read_parquet({quote_text(scratch)}) r JOIN region_hashes USING (individual, trait)
              WHERE content_hash = r.content ORDER BY region_id{"" if reviews else " LIMIT 0"}"""
    scratch.unlink()


def _write_vectors(
    connection: duckdb.DuckDBPyConnection,
    paths: GenerationPaths,
    number: int,
    shards: Sequence[Path],
    blocks: Mapping[str, int],
    shrinkage: Mapping[str, float],
    spreads: Mapping[str, float],
    trust: Sequence[float],
) -> list[str]:
    """Whiten the vectors of each trait and write them to its file, in order of region ids; return the traits."""
    fitted = {}
    with gather_vectors(connection, paths.folder, shards, sum(blocks.values())) as gathered:
        for trait, ids, vectors, places in gathered:
            own = trust_outlines(spreads, trust, _measure_confidence(connection, trait)) if trust else spreads
            write_whitening(paths.whitening_file(trait), whiten(vectors, blocks, shrinkage, own))
            write_codes(*paths.code_files(trait), vectors, blocks)
            coded = paths.code_files(trait)[0].exists()
            write_vectors_or_places(SegmentPaths(paths.vector_folder), trait, ids, vectors, places if coded else None)
            fitted[trait] = len(ids)
    (next_id,) = connection.execute("SELECT coalesce(max(region_id) + 1, 0) FROM regions").fetchall()[0]
    write_epoch(paths, Epoch(number, fitted, next_id=next_id, shards=len(shards)), np.zeros(0, dtype=np.int64))
    return list(fitted)


def _measure_confidence(connection: duckdb.DuckDBPyConnection, trait: str) -> float:
    """Compute the mean confidence of the masks of a trait, the same to the last bit however many threads there are."""
    sql = """SELECT "sst:confidence" AS own FROM region_rows WHERE "sst:trait" = ? AND "sst:present"
             ORDER BY "sst:region" """
    found = connection.execute(sql, [trait]).fetchnumpy()["own"]
    return float(np.mean(found, dtype=np.float64)) if len(found) else 1.0


@contextmanager
def gather_vectors(
    connection: duckdb.DuckDBPyConnection, folder: Path, shards: Sequence[Path], dim: int
) -> Iterator[Iterator[tuple[str, npt.NDArray[np.int64], Floats, Places | None]]]:
    """Lend the vectors of the regions in `numbers`, trait by trait; they may be changed.

    Args:
        connection: with the table `numbers`.
        folder: to put a scratch file into.
        shards: files of `index.shards.write_shard` that have all these regions.
        dim: values in a vector.

    Yields:
        Trait, int64 (n,) region ids, ascending, float32 (n, D) their vectors, mapped from the file, and where in the
        shards they are; None where a shard of an earlier version has some. A trait that none of the regions shows is
        there, too.
    """
    sql = "SELECT region_id, shard, place FROM numbers WHERE present ORDER BY shard, place"
    found = connection.execute(sql).fetchnumpy()
    ids = np.sort(found["region_id"])
    rows = np.searchsorted(ids, found["region_id"])
    shard_files = {int(path.stem): path for path in shards}
    # On disk, because the vectors of all traits would not always fit into memory. (An empty file cannot be mapped.)
    scratch = folder / "vectors.scratch"
    allocate(scratch, (len(ids) + 1) * dim * np.dtype(np.float32).itemsize)
    vectors = np.memmap(scratch, np.float32, "r+", shape=(len(ids) + 1, dim))
    owners, offsets = np.zeros(len(ids), np.int32), np.full(len(ids), -1, np.int64)
    sizes: dict[int, int] = {}
    # Where one shard ends and the next begins.
    for start, stop in pairwise(np.flatnonzero(np.diff(found["shard"], prepend=-1, append=-1))):
        number, own = int(found["shard"][start]), rows[start:stop]
        vectors[own], begins = read_vectors(shard_files[number], found["place"][start:stop], dim)
        if begins is not None:
            owners[own], offsets[own], sizes[number] = number, begins, shard_files[number].stat().st_size
    # Regions are numbered by trait, so those of a trait are contiguous.
    traits = connection.execute("SELECT trait, max(region_id) FROM numbers GROUP BY trait ORDER BY 2").fetchall()
    ends = [0, *(int(np.searchsorted(ids, last, side="right")) for _, last in traits)]
    located = Places(ids, owners, offsets, sizes)

    def select(part: slice) -> Places | None:
        return located.select(part) if (offsets[part] >= 0).all() and len(sizes) <= count_openable() else None

    yield (
        (trait, ids[begin:end], vectors[begin:end], select(slice(begin, end)))
        for (trait, _), (begin, end) in zip(traits, pairwise(ends), strict=True)
    )
    del vectors
    scratch.unlink()


def write_vectors_or_places(
    paths: SegmentPaths, trait: str, ids: npt.NDArray[np.int64], vectors: Floats, places: Places | None
) -> None:
    """Write where in the shards the vectors of a trait are, if that is known, else the vectors themselves.

    Raises:
        OSError: a file cannot be written.
    """
    if places is None:
        write_vectors(paths.vector_file(trait), ids, vectors)
    else:
        write_places(paths.places_file(trait), places)


def verify_generation(paths: GenerationPaths, traits: Sequence[str], blocks: Mapping[str, int]) -> None:
    """Check that catalog and vector files hold the same regions, before any reader sees them.

    Raises:
        IndexFolderError: they do not.
    """
    epoch, removed = read_epoch(paths), read_removed_ids(paths)
    with Catalog(paths.catalog_file) as catalog:
        for trait in traits:
            if not np.array_equal(catalog.region_ids(trait), open_vectors(paths, trait, blocks, epoch, removed).ids):
                path = paths.vector_file(trait)
                raise IndexFolderError(f"{path} does not hold the regions of its catalog; run the build again")


@contextmanager
def connect(
    shards: Sequence[Path], scratch: Path, database: Path | None = None, memory: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database (in memory if none is named) with the newest rows of each photograph as the view `live`."""
    target = ":memory:" if database is None else str(database)
    own = {} if memory is None else {"memory_limit": memory}
    settings = {**memory_settings(scratch), "default_block_size": BLOCK_BYTES, **own}
    with duckdb.connect(target, config=settings) as connection:
        try:
            connection.execute(_NEWEST.format(rows=_select_rows(shards))).fetchall()
        except duckdb.OutOfMemoryException:
            raise  # It says nothing about the shards.
        except duckdb.Error as error:
            folder = shards[0].parent
            raise IndexFolderError(f"{folder} cannot be read; rebuild the index (--rebuild): {error}") from error
        yield connection


def _select_rows(shards: Sequence[Path]) -> str:
    """Return the SQL that selects the rows of all shards, with the columns of today."""
    old = {path for path in shards if is_old(path)}
    parts = []
    for paths, names, left_out in (
        ([path for path in shards if path not in old], "", "filename, file_row_number"),
        (sorted(old), _OLD_NAMES, "specimen, filename, file_row_number"),
    ):
        if paths:
            parts.append(_ROWS.format(names=names, left_out=left_out, shards=", ".join(map(quote_text, paths))))
    return " UNION ALL BY NAME ".join(parts)


def find_measurements(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """List the names of the measurements of all regions in `live`, in order."""
    sql = "SELECT DISTINCT unnest(map_keys(measurements)) AS n FROM live ORDER BY n"
    return [name for (name,) in connection.execute(sql).fetchall()]
