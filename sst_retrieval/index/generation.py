"""Write a generation (a catalog and its vector files) from shards and a specimen table.

1. The newest rows of each specimen are selected from the shards, and numbered by trait, then specimen.
2. They are joined with the specimen table (`index.snapshot`) and written to the catalog.
3. Trait by trait, vectors are whitened (`index.whitening`) and written to a FAISS file.
4. The ids of catalog and vector files are compared.

DuckDB joins and sorts within a fixed amount of memory and spills to disk. Vectors never pass through it: it only tells
the shard and the row that hold the vector of a region.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.catalog import PROGRAM_COLUMNS, Catalog
from sst_retrieval.index.codes import write_codes
from sst_retrieval.index.disk import allocate
from sst_retrieval.index.duck import column_namer, memory_settings, quote_name, quote_text
from sst_retrieval.index.paths import GenerationPaths
from sst_retrieval.index.reviews import DECISIONS, Review, latest_reviews
from sst_retrieval.index.shards import read_vectors
from sst_retrieval.index.vectors import VectorIndex, write_vectors
from sst_retrieval.index.whitening import whiten, write_whitening
from sst_retrieval.types import Skipped

_NEWEST = r"""
CREATE TEMP VIEW rows AS
    SELECT * EXCLUDE (filename, file_row_number), file_row_number AS place,
           CAST(regexp_extract(filename, '(\d+)\.parquet$', 1) AS BIGINT) AS shard
    FROM read_parquet([{shards}], filename = true, file_row_number = true);
CREATE TEMP TABLE newest AS
    SELECT specimen, max(shard) AS shard FROM rows GROUP BY specimen;
CREATE TEMP VIEW live AS
    SELECT rows.* FROM rows JOIN newest USING (specimen, shard) WHERE NOT removed;
"""

_NUMBERS = """
CREATE TEMP TABLE numbers AS
    SELECT row_number() OVER (ORDER BY trait, specimen) - 1 AS region_id, shard, place, trait, present
    FROM live WHERE specimen IN (SELECT "sst:specimen" FROM specimens)
"""

_REGIONS = """
CREATE TABLE regions AS
    SELECT region_id, specimen, rows.trait, rows.present, confidence, height, width, box, frame, rle, content_hash
    FROM rows JOIN numbers USING (shard, place) ORDER BY region_id
"""


def read_hashes(shards: Sequence[Path], scratch: Path) -> dict[str, tuple[str, str]]:
    """Read what the newest rows of each specimen were made from, without reading a vector.

    Args:
        shards: files of `index.shards.write_shard`; a higher number is newer.
        scratch: folder to spill to; made if it is needed.

    Returns:
        specimen -> (content hash of its photograph, hash of the supports its masks were made from).

    Raises:
        IndexFolderError: a shard cannot be read.
    """
    if not shards:
        return {}
    with _connect(shards, scratch) as connection:
        sql = "SELECT specimen, any_value(content_hash), any_value(support_hash) FROM live GROUP BY specimen"
        return {name: (content, support) for name, content, support in connection.execute(sql).fetchall()}


def read_removed(shards: Sequence[Path], scratch: Path) -> set[str]:
    """Read which specimens the shards say were removed, and were not indexed again.

    Args:
        shards: as for `read_hashes`.
        scratch: as for `read_hashes`.
    """
    if not shards:
        return set()
    with _connect(shards, scratch) as connection:
        sql = "SELECT specimen FROM rows JOIN newest USING (specimen, shard) WHERE removed"
        return {name for (name,) in connection.execute(sql).fetchall()}


def write_generation(
    paths: GenerationPaths,
    *,
    shards: Sequence[Path],
    snapshot: Path,
    skipped: Sequence[Skipped],
    blocks: Mapping[str, int],
    shrinkage: Mapping[str, float],
    reviews: Sequence[Review] = (),
) -> list[str]:
    """Write the catalog and the vector files of a generation, and check them against each other.

    Args:
        paths: of the generation; its folder is empty.
        shards: files of `index.shards.write_shard`, at least one; a higher number is newer.
        snapshot: file of `index.snapshot.write_snapshot`; regions of specimens it does not know are left out.
        skipped: specimens that could not be indexed, and why.
        blocks: block name -> number of values.
        shrinkage: block -> ridge of its whitening (see `index.whitening.SHRINKAGE`).
        reviews: the whole record, oldest first.

    Returns:
        The names of the traits.

    Raises:
        IndexFolderError: a shard cannot be read, or the files do not match.
    """
    paths.vector_folder.mkdir()
    with _connect(shards, paths.folder / "spill", paths.catalog_file) as connection:
        _write_catalog(connection, paths.folder, snapshot, skipped, reviews)
        traits = _write_vectors(connection, paths, shards, blocks, shrinkage)
    _verify(paths, traits, blocks)
    return traits


def _write_catalog(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    snapshot: Path,
    skipped: Sequence[Skipped],
    reviews: Sequence[Review],
) -> None:
    reasons = folder / "skipped.parquet"
    reasons_of = {"specimen": "photograph", "stage": "stage", "reason": "reason"}
    columns = {n: pa.array([getattr(row, own) for row in skipped], pa.string()) for n, own in reasons_of.items()}
    pq.write_table(pa.table(columns), reasons)
    connection.execute(
        f'CREATE TABLE specimens AS FROM read_parquet({quote_text(snapshot)}) ORDER BY "sst:specimen"'
    ).fetchall()
    connection.execute(_NUMBERS).fetchall()
    connection.execute(_REGIONS).fetchall()
    connection.execute(_measurement_sql(connection)).fetchall()
    _write_reviews(connection, folder / "reviews.parquet", list(latest_reviews(reviews).values()))
    connection.execute(_searchable_sql(connection)).fetchall()
    connection.execute(f"CREATE TABLE skipped AS FROM read_parquet({quote_text(reasons)})").fetchall()
    reasons.unlink()


def _write_reviews(connection: duckdb.DuckDBPyConnection, scratch: Path, reviews: Sequence[Review]) -> None:
    """Write the reviews that count on the photographs as they are now."""
    names = ("trait", "content", "reviewer", "time", "comment")
    table = {n: pa.array([getattr(row, n) for row in reviews], pa.string()) for n in names}
    table["specimen"] = pa.array([row.individual for row in reviews], pa.string())
    table["review"] = pa.array([DECISIONS[row.decision] for row in reviews], pa.string())
    pq.write_table(pa.table(table), scratch)
    connection.execute(
        f"""CREATE TABLE reviews AS
            SELECT region_id, specimen, trait, review, reviewer, CAST(time AS TIMESTAMPTZ) AS time, comment
            FROM read_parquet({quote_text(scratch)}) r JOIN regions USING (specimen, trait)
            WHERE content_hash = r.content ORDER BY region_id"""
    ).fetchall()
    scratch.unlink()


def _write_vectors(
    connection: duckdb.DuckDBPyConnection,
    paths: GenerationPaths,
    shards: Sequence[Path],
    blocks: Mapping[str, int],
    shrinkage: Mapping[str, float],
) -> list[str]:
    """Whiten the vectors of each trait and write them to its file, in order of region ids; return the traits."""
    dim = sum(blocks.values())
    sql = "SELECT region_id, shard, place FROM numbers WHERE present ORDER BY shard, place"
    found = connection.execute(sql).fetchnumpy()
    ids = np.sort(found["region_id"])
    rows = np.searchsorted(ids, found["region_id"])
    shard_files = {int(path.stem): path for path in shards}
    # On disk, because the vectors of all traits would not always fit into memory. (An empty file cannot be mapped.)
    scratch = paths.folder / "vectors.scratch"
    allocate(scratch, (len(ids) + 1) * dim * np.dtype(np.float32).itemsize)
    vectors = np.memmap(scratch, np.float32, "r+", shape=(len(ids) + 1, dim))
    # Where one shard ends and the next begins.
    for start, stop in pairwise(np.flatnonzero(np.diff(found["shard"], prepend=-1, append=-1))):
        shard = shard_files[int(found["shard"][start])]
        vectors[rows[start:stop]] = read_vectors(shard, found["place"][start:stop], dim)
    # Regions are numbered by trait, so those of a trait are contiguous.
    traits = connection.execute("SELECT trait, max(region_id) FROM regions GROUP BY trait ORDER BY 2").fetchall()
    begin = 0
    for trait, last in traits:
        end = int(np.searchsorted(ids, last, side="right"))
        write_whitening(paths.whitening_file(trait), whiten(vectors[begin:end], blocks, shrinkage))
        write_vectors(paths.vector_file(trait), ids[begin:end], vectors[begin:end])
        write_codes(*paths.code_files(trait), vectors[begin:end], blocks)
        begin = end
    del vectors
    scratch.unlink()
    return [trait for trait, _ in traits]


def _verify(paths: GenerationPaths, traits: Sequence[str], blocks: Mapping[str, int]) -> None:
    """Check that catalog and vector files hold the same regions, before any reader sees them."""
    with Catalog(paths.catalog_file) as catalog:
        for trait in traits:
            path = paths.vector_file(trait)
            if not np.array_equal(catalog.region_ids(trait), VectorIndex(path, blocks, paths.code_files(trait)).ids):
                raise IndexFolderError(f"{path} does not hold the regions of its catalog; run the build again")


@contextmanager
def _connect(
    shards: Sequence[Path], scratch: Path, database: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database (in memory if none is named) with the newest rows of each specimen as the view `live`."""
    target = ":memory:" if database is None else str(database)
    with duckdb.connect(target, config=memory_settings(scratch)) as connection:
        try:
            connection.execute(_NEWEST.format(shards=", ".join(map(quote_text, shards)))).fetchall()
        except duckdb.Error as error:
            folder = shards[0].parent
            raise IndexFolderError(f"{folder} cannot be read; rebuild the index (--rebuild): {error}") from error
        yield connection


def _measurement_sql(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the SQL that makes the table `measurements`."""
    found = connection.execute("SELECT DISTINCT unnest(map_keys(measurements)) AS n FROM live ORDER BY n").fetchall()
    columns = "".join(f", map_extract(measurements, {quote_text(n)})[1] AS {quote_name(n)}" for (n,) in found)
    return f"""CREATE TABLE measurements AS SELECT region_id{columns}
               FROM rows JOIN numbers USING (shard, place) WHERE rows.present ORDER BY region_id"""


def _searchable_sql(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the SQL that makes the table `searchable`.

    Each name occurs once: a column of the collection shadows this program's, which then has the prefix "sst:". A table,
    not a view: a predicate is then one scan, several times faster than two joins.
    """
    columns = {table: _columns(connection, table) for table in ("specimens", "regions", "measurements")}
    parts = ['r.region_id AS "sst:region"', 'r.trait AS "sst:trait"', 'r.present AS "sst:present"']
    parts += ['r.specimen AS "sst:specimen"', 'r.confidence AS "sst:confidence"']
    own = [name for name in columns["specimens"] if name not in PROGRAM_COLUMNS]
    parts += [f"s.{quote_name(name)}" for name in own]
    taken = {name.casefold() for name in own}
    parts += [f"r.{name}" for name in ("specimen", "trait", "confidence") if name not in taken]
    name_of = column_namer(own)
    parts += [f"m.{quote_name(name)} AS {quote_name(name_of(name))}" for name in columns["measurements"][1:]]
    parts += ["v.review"] if "review" not in taken else []
    return f"""CREATE TABLE searchable AS SELECT {", ".join(parts)} FROM regions r
               JOIN specimens s ON s."sst:specimen" = r.specimen
               LEFT JOIN measurements m ON m.region_id = r.region_id LEFT JOIN reviews v ON v.region_id = r.region_id
               ORDER BY r.region_id"""


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return [name for name, *_ in connection.execute(f"DESCRIBE {table}").fetchall()]
