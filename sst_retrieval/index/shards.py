"""A shard: the regions of some photographs as a Parquet file, written once and never changed.

Shards are the source data of an index; the catalog and the vector files are derived from them and can be made again.
All rows of a photograph are in one shard. Rows in a shard of a higher number replace older rows of the same
photograph; a tombstone, a row with `removed`, removes the photograph. A photograph on which no individual was found
has one row without a trait. Shards of version 0.1 (`OLD_COLUMNS`) had one individual a photograph and no column for
it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.checksums import parse_json, require_file
from sst_retrieval.types import Floats, Placement, Region

ShardRow: TypeAlias = tuple[Region, str, str]
"""A region, the content hash of its photograph, and the hash of the supports its mask was made from."""

EmptyRow: TypeAlias = tuple[str, str, str]
"""Id of a photograph on which no individual was found, its content hash, and the hash of the supports."""

_REGION_COLUMNS = pa.schema(
    [
        ("content_hash", pa.string()),
        ("support_hash", pa.string()),
        ("trait", pa.string()),
        ("present", pa.bool_()),
        ("confidence", pa.float64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("box", pa.list_(pa.int32())),
        ("frame", pa.list_(pa.float64())),
        ("rle", pa.binary()),
        ("vector", pa.list_(pa.float32())),
        ("measurements", pa.map_(pa.string(), pa.float64())),
        ("removed", pa.bool_()),
    ]
)

COLUMNS = pa.schema(
    [
        ("photograph", pa.string()),
        ("individual", pa.string()),
        ("number", pa.int32()),
        ("individual_box", pa.list_(pa.int32())),
        ("score", pa.float64()),
        ("outline", pa.binary()),
        *_REGION_COLUMNS,
    ]
)

OLD_COLUMNS = pa.schema([("specimen", pa.string()), *_REGION_COLUMNS])
"""Columns of shards that version 0.1 wrote; both kinds may lie in one index."""

_UNREADABLE = (OSError, ValueError, MemoryError, OverflowError, pa.ArrowException)
"""What pyarrow raises where a file is damaged."""

_NOTES = b"sst-retrieval notes"

_VECTOR_PATH = "vector.list.element"
_INNER = {"": ("",), "list": (".list.element",), "map": (".key_value.key", ".key_value.value")}
_LEAVES = [
    field.name + inner
    for field in COLUMNS
    for inner in _INNER["list" if pa.types.is_list(field.type) else "map" if pa.types.is_map(field.type) else ""]
]
"""The columns of a Parquet file, by their paths."""

_GROUP = 100_000
"""Rows of a group of a shard."""

_PAGE = 1 << 30
"""Bytes of a page: more than the vectors of a group, so that they are in one."""

UNIT_TOLERANCE = 1e-5
"""How far the length of a block may be from 1; `index.query_vectors.SCORE_MARGIN` depends on it."""


def write_shard(
    path: Path,
    rows: Sequence[ShardRow],
    notes: Mapping[str, Any] | None = None,
    empty: Sequence[EmptyRow] = (),
) -> None:
    """Write regions to a Parquet file.

    Args:
        path: the file; its folder exists.
        rows: regions with their hashes, absent traits included; may be empty.
        empty: photographs on which no individual was found.
        notes: what else a later build must know (JSON values); stored in the metadata of the Parquet file.
    """
    records: list[dict[str, object]] = []
    outlined: set[str] = set()
    for region, content, supports in rows:
        # The outline of an individual is stored once, with the first of its regions.
        records.append(_to_record(region, content, supports, outlined=region.individual not in outlined))
        outlined.add(region.individual)
    for name, content, supports in empty:
        records.append({"photograph": name, "content_hash": content, "support_hash": supports, "removed": False})
    _write(path, records, notes)


def read_notes(path: Path) -> dict[str, Any]:
    """Read the notes of a shard; empty if an older program wrote it.

    Raises:
        IndexFolderError: the file cannot be read.
    """
    try:
        notes = (pq.read_schema(path).metadata or {}).get(_NOTES)
        return {} if notes is None else dict(parse_json(notes))
    except (*_UNREADABLE, TypeError) as error:
        raise IndexFolderError(f"{path} cannot be read; {shard_remedy(path)}: {error}") from error


def count_photographs(path: Path) -> int:
    """Read a shard wholly, checking the checksums of its pages, and count the photographs that it has rows of.

    Raises:
        IndexFolderError: it cannot be read.
    """
    require_file(path, shard_remedy(path))
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        if not (table.schema.equals(COLUMNS) or table.schema.equals(OLD_COLUMNS)):
            raise ValueError("it has other columns")
        table.validate(full=True)
        return len(set(table.column(0).to_pylist()))
    except _UNREADABLE as error:
        raise IndexFolderError(
            f"{path} is damaged ({error}): masks and vectors are lost; {shard_remedy(path)}"
        ) from error


def shard_remedy(path: Path) -> str:
    """Say what to do about a damaged shard, as the end of a sentence."""
    return (
        f"restore the file from a backup, or: sst-retrieval verify {path.parent.parent} --repair sets it aside, and "
        "the next build computes what was in it again"
    )


def write_tombstones(path: Path, photographs: Sequence[str], notes: Mapping[str, Any] | None = None) -> None:
    """Write the rows that remove photographs from an index.

    Args:
        path: the file; its folder exists.
        photographs: ids.
        notes: as for `write_shard`.
    """
    _write(path, [{"photograph": name, "removed": True} for name in photographs], notes)


def count_rows(path: Path) -> int:
    """Count the rows of a shard.

    Raises:
        IndexFolderError: it cannot be read.
    """
    return int(_read_metadata(path).num_rows)


def has_plain_vectors(path: Path) -> bool:
    """Say whether the vectors of a shard stand in its file as they are, so that they can be read there.

    Raises:
        IndexFolderError: it cannot be read.
    """
    return _find_values(_read_metadata(path)) is not None


def read_rows(path: Path) -> pa.Table:
    """Read all rows of a shard, of whatever version, with the columns of today.

    Raises:
        IndexFolderError: it cannot be read.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read().replace_schema_metadata(None)
        if OLD_COLUMNS.names[0] in table.schema.names:
            names, count = table["specimen"], len(table)
            own = {"photograph": names, "individual": names, "number": pa.array([1] * count, pa.int32())}
            columns = {
                field.name: own.get(field.name, table[field.name])
                if field.name in own or field.name in table.schema.names
                else pa.nulls(count, field.type)
                for field in COLUMNS
            }
            table = pa.table(columns, schema=COLUMNS)
        if not table.schema.equals(COLUMNS):
            raise ValueError("it has other columns")
        return table
    except _UNREADABLE as error:
        raise IndexFolderError(f"{path} cannot be read; {shard_remedy(path)}: {error}") from error


def write_rows(path: Path, table: pa.Table, notes: Mapping[str, Any] | None = None) -> None:
    """Write rows, with the columns of `read_rows`, to a Parquet file."""
    if notes:
        table = table.replace_schema_metadata({_NOTES: json.dumps(notes).encode()})
    # Vectors never repeat: a dictionary of their values would only cost time.
    texts = [field.name for field in COLUMNS if field.type == pa.string()]
    # Vectors stand one after the other, as they are, so that a search reads them there (`index.shard_vectors`).
    pq.write_table(
        table,
        path,
        compression={leaf: "none" if leaf == _VECTOR_PATH else "zstd" for leaf in _LEAVES},
        use_dictionary=texts,
        write_statistics=[leaf for leaf in _LEAVES if leaf != _VECTOR_PATH],
        data_page_size=_PAGE,
        row_group_size=_GROUP,
        write_page_checksum=True,
    )


def _read_metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except _UNREADABLE as error:
        raise IndexFolderError(f"{path} cannot be read; {shard_remedy(path)}: {error}") from error


def is_old(path: Path) -> bool:
    """Say whether version 0.1 wrote a shard.

    Raises:
        IndexFolderError: the shard cannot be read.
    """
    try:
        return OLD_COLUMNS.names[0] in pq.read_schema(path).names
    except _UNREADABLE as error:
        raise IndexFolderError(f"{path} cannot be read; {shard_remedy(path)}: {error}") from error


def check_rows(rows: Sequence[ShardRow], blocks: Mapping[str, int]) -> None:
    """Check regions before they are written.

    Args:
        rows: regions with their hashes.
        blocks: block name -> number of values, in the order they are concatenated.

    Raises:
        ValueError: a region is given twice, or a vector has another length, a value that is not finite, or a block
            that is neither of unit length nor zero.
    """
    seen: set[tuple[str, str]] = set()
    for region, _, _ in rows:
        name = f"{region.trait} of {region.individual}"
        if (region.individual, region.trait) in seen:
            raise ValueError(f"{name} is given twice in one shard")
        seen.add((region.individual, region.trait))
        if region.present != (region.vector is not None):
            raise ValueError(f"{name}: a present trait has a vector and an absent one has none")
        if region.vector is not None:
            _check_vector(region.vector, blocks, name)


def read_vectors(path: Path, places: npt.NDArray[np.int64], dim: int) -> tuple[Floats, npt.NDArray[np.int64] | None]:
    """Read some vectors of a shard.

    Args:
        path: the shard.
        places: int64 (n,), rows of the shard, counted from 0; each has a vector.
        dim: values in a vector, D.

    Returns:
        float32 (n, D); and int64 (n,), where each begins in the file, in bytes. None if they do not stand there as they
        are, one after the other, because an earlier version wrote the shard.

    Raises:
        IndexFolderError: the shard cannot be read, or holds other vectors.
    """
    try:
        with pq.ParquetFile(path) as file:
            ends = _find_values(file.metadata)
            groups = [file.read_row_group(n, ["vector"]).column(0).combine_chunks() for n in range(file.num_row_groups)]
        column = pa.chunked_array(groups, COLUMNS.field("vector").type).combine_chunks()
        values: Floats = column.take(pa.array(places)).flatten().to_numpy().reshape(-1, dim)
        offsets = None if ends is None else _find_offsets(path, groups, ends, dim)
        return values, None if offsets is None else offsets[places]
    except _UNREADABLE as error:
        raise IndexFolderError(f"{path} cannot be read; {shard_remedy(path)}: {error}") from error


def _find_values(metadata: pq.FileMetaData) -> list[int] | None:
    """Find where the vectors of each group of rows end in the file, in bytes; None if they are coded or compressed."""
    ends = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        column = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == _VECTOR_PATH)
        plain = column.compression == "UNCOMPRESSED" and not column.has_dictionary_page
        if not plain or set(column.encodings) - {"PLAIN", "RLE"}:
            return None
        ends.append(int(column.data_page_offset + column.total_compressed_size))
    return ends


def _find_offsets(
    path: Path, groups: Sequence[pa.Array], ends: Sequence[int], dim: int
) -> npt.NDArray[np.int64] | None:
    """Find where each vector begins, int64 (rows,), -1 where there is none; None if they do not stand there.

    The values of the only page of a column are its last bytes. Whether they are is not taken on trust.
    """
    found = []
    with path.open("rb") as file:
        for column, end in zip(groups, ends, strict=True):
            there = column.is_valid().to_numpy(zero_copy_only=False)
            values = column.flatten().to_numpy()
            begin = end - values.nbytes
            if begin < 0 or len(values) != dim * np.count_nonzero(there):
                return None
            file.seek(begin)
            stored = np.fromfile(file, "<u4", len(values))
            if not np.array_equal(stored, np.ascontiguousarray(values, "<f4").view("<u4")):
                return None
            found.append(np.where(there, begin + 4 * dim * (np.cumsum(there) - 1), -1))
    return np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)


def _check_vector(vector: Floats, blocks: Mapping[str, int], name: str) -> None:
    if vector.shape != (sum(blocks.values()),):
        raise ValueError(f"{name}: the vector has shape {vector.shape}, the index wants {dict(blocks)}")
    edges = pairwise(np.cumsum([0, *blocks.values()]))
    for block, (start, stop) in zip(blocks, edges, strict=True):
        length = float(np.linalg.norm(vector[start:stop].astype(np.float64)))
        if not (length == 0 or abs(length - 1) <= UNIT_TOLERANCE):
            raise ValueError(f"{name}: the {block} block has length {length:g}; it must be 1 (or all zeros)")


def _to_record(region: Region, content_hash: str, support_hash: str, *, outlined: bool) -> dict[str, object]:
    placement = region.placement or Placement(region.individual)
    return {
        "photograph": placement.photograph,
        "individual": region.individual,
        "number": placement.number,
        "individual_box": None if placement.box is None else list(placement.box),
        "score": placement.score,
        "outline": placement.outline if outlined else None,
        "content_hash": content_hash,
        "support_hash": support_hash,
        "trait": region.trait,
        "present": region.present,
        "confidence": float(region.confidence),
        "height": region.size[0],
        "width": region.size[1],
        "box": list(region.box),
        "frame": list(region.frame.matrix),
        "rle": region.rle,
        "vector": region.vector,
        "measurements": [(name, float(value)) for name, value in region.measurements.items()],
        "removed": False,
    }


def _write(path: Path, records: list[dict[str, object]], notes: Mapping[str, Any] | None = None) -> None:
    columns = {name: [record.get(name) for record in records] for name in COLUMNS.names}
    write_rows(path, pa.table(columns, schema=COLUMNS), notes)
