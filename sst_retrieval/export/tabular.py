"""The trait table as CSV or Parquet; vectors as .npz or Parquet."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sst_retrieval.errors import InputError
from sst_retrieval.export.file_provenance import combine_predicate, file_provenance, provenance_json, write_provenance
from sst_retrieval.files import atomic_write
from sst_retrieval.morphology.scales import Scale
from sst_retrieval.search.index import Index
from sst_retrieval.types import Floats

_VECTORS_AT_ONCE = 8192


def export_table(
    index: Index,
    path: Path,
    *,
    traits: Sequence[str] | None = None,
    where: str | None = None,
    min_confidence: float = 0.0,
    scale: Scale | None = None,
) -> int:
    """Write the trait table: one row a region.

    Args:
        index: what to export.
        path: a .csv (UTF-8) or .parquet file.
        traits: which; None takes all.
        where: predicate, see `Index.search`.
        min_confidence: leave out masks less sure than this, 0..1.
        scale: group -> millimetres a pixel.

    Returns:
        The number of rows.

    Raises:
        InputError: the file is of another kind.
    """
    kind = _kind(path, (".csv", ".parquet"))
    table = index.trait_table(traits, where=combine_predicate(where, min_confidence), scale=scale)
    provenance = file_provenance(
        index, "trait table", traits=traits, where=where, min_confidence=min_confidence, mm_per_pixel=scale or None
    )
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        _write_tables(file, kind, table.iterate(), provenance_json(provenance))
    write_provenance(path, provenance)
    return len(table)


def export_vectors(
    index: Index,
    path: Path,
    *,
    traits: Sequence[str] | None = None,
    where: str | None = None,
    min_confidence: float = 0.0,
) -> int:
    """Write the vectors of regions.

    An .npz file holds region_id, specimen, trait (each of length N), vectors float32 (N, D), blocks (names), widths
    (how many values each has) and provenance (JSON); `numpy.load` reads it without pickle. A Parquet file has one row a
    region and one column a block, each a list of fixed length. Unless all have one name, photograph and individual
    stand behind specimen.

    Args:
        index: what to export.
        path: a .npz or .parquet file.
        traits: which; None takes all.
        where: predicate, see `Index.search`.
        min_confidence: leave out masks less sure than this, 0..1.

    Returns:
        The number of vectors.

    Raises:
        InputError: the file is of another kind.
    """
    kind = _kind(path, (".npz", ".parquet"))
    chosen = combine_predicate(where, min_confidence)
    table = index.trait_table(traits, where=chosen)
    columns = ["region_id", *index.catalog.owner_columns, "trait"]
    provenance = file_provenance(index, "vectors", traits=traits, where=where, min_confidence=min_confidence)
    parts = ((part, _read_vectors(index, part)) for part in table.iterate(columns, _VECTORS_AT_ONCE))
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if kind == ".npz":
            rows = table.arrow(columns)
            arrays: dict[str, Any] = {name: np.array(rows.column(name).to_pylist()) for name in columns}
            arrays |= {"blocks": np.array(list(index.blocks)), "widths": np.array(list(index.blocks.values()))}
            arrays["provenance"] = np.array(provenance_json(provenance))
            _write_npz(file, arrays, (len(table), sum(index.blocks.values())), (vectors for _, vectors in parts))
        else:
            tables = (_append_blocks(part, vectors, index.blocks) for part, vectors in parts)
            _write_tables(file, kind, tables, provenance_json(provenance))
    write_provenance(path, provenance)
    return len(table)


def _read_vectors(index: Index, rows: pa.Table) -> Floats:
    """Read the vectors of regions that a table lists, float32 (n, D)."""
    ids, traits = rows.column("region_id").to_numpy(), np.array(rows.column("trait").to_pylist(), dtype=object)
    vectors = np.empty((len(ids), sum(index.blocks.values())), np.float32)
    for trait in dict.fromkeys(traits.tolist()):
        own = np.flatnonzero(traits == trait)
        vectors[own] = index.region_vectors(trait, ids[own])
    return vectors


def _append_blocks(table: pa.Table, vectors: Floats, blocks: Mapping[str, int]) -> pa.Table:
    """Append a column for each block of vectors."""
    edges = pairwise(np.cumsum([0, *blocks.values()]).tolist())
    for block, (start, stop) in zip(blocks, edges, strict=True):
        flat = pa.array(np.ascontiguousarray(vectors[:, start:stop]).ravel())
        table = table.append_column(block, pa.FixedSizeListArray.from_arrays(flat, stop - start))
    return table


def _write_npz(
    file: BinaryIO, arrays: Mapping[str, npt.NDArray[Any]], shape: tuple[int, int], vectors: Iterable[Floats]
) -> None:
    """Write what `numpy.savez` would, the vectors part by part."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        with archive.open("vectors.npy", "w", force_zip64=True) as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            for part in vectors:
                member.write(np.ascontiguousarray(part, "<f4").tobytes())


def _write_tables(file: BinaryIO, kind: str, tables: Iterable[pa.Table], provenance: str) -> None:
    """Write tables of one schema, one after the other, to a CSV or Parquet file."""
    tables = iter(tables)
    first = next(tables)
    writer: pyarrow.csv.CSVWriter | pq.ParquetWriter
    if kind == ".csv":
        writer = pyarrow.csv.CSVWriter(file, first.schema)
    else:
        writer = pq.ParquetWriter(file, _with_provenance(first, provenance).schema)
    with writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table.cast(first.schema) if kind == ".csv" else _with_provenance(table, provenance))


def _kind(path: Path, kinds: tuple[str, ...]) -> str:
    suffix = path.suffix.lower()
    if suffix not in kinds:
        raise InputError(f"{path.name}: this is written as {' or '.join(kinds)}; end the file's name so")
    return suffix


def _with_provenance(table: pa.Table, provenance: str) -> pa.Table:
    return table.replace_schema_metadata({**(table.schema.metadata or {}), b"provenance": provenance.encode()})
