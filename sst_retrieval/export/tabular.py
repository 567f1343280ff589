"""The trait table as CSV or Parquet; vectors as .npz or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sst_retrieval.errors import InputError
from sst_retrieval.export.file_provenance import combine_predicate, file_provenance, provenance_json, write_provenance
from sst_retrieval.files import atomic_write
from sst_retrieval.morphology.scales import Scale
from sst_retrieval.search.index import Index


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
    table = index.trait_table(traits, where=combine_predicate(where, min_confidence), scale=scale).arrow()
    provenance = file_provenance(
        index, "trait table", traits=traits, where=where, min_confidence=min_confidence, mm_per_pixel=scale or None
    )
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if kind == ".csv":
            pyarrow.csv.write_csv(table, file)
        else:
            pq.write_table(_with_provenance(table, provenance_json(provenance)), file)
    write_provenance(path, provenance)
    return int(table.num_rows)


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
    table = index.trait_table(traits, where=chosen).arrow(["region_id", *index.catalog.owner_columns, "trait"])
    # Regions are numbered by trait.
    names = list(dict.fromkeys(table.column("trait").to_pylist()))
    parts = [index.trait_vectors(trait, where=chosen)[1] for trait in names]
    vectors = np.concatenate([np.zeros((0, sum(index.blocks.values())), np.float32), *parts])
    provenance = file_provenance(index, "vectors", traits=traits, where=where, min_confidence=min_confidence)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if kind == ".npz":
            columns: dict[str, Any] = {name: np.array(table.column(name).to_pylist()) for name in table.column_names}
            blocks, widths = np.array(list(index.blocks)), np.array(list(index.blocks.values()))
            np.savez(
                file,
                **columns,
                vectors=vectors,
                blocks=blocks,
                widths=widths,
                provenance=np.array(provenance_json(provenance)),
            )
        else:
            edges = pairwise(np.cumsum([0, *index.blocks.values()]).tolist())
            for block, (start, stop) in zip(index.blocks, edges, strict=True):
                flat = pa.array(np.ascontiguousarray(vectors[:, start:stop]).ravel())
                table = table.append_column(block, pa.FixedSizeListArray.from_arrays(flat, stop - start))
            pq.write_table(_with_provenance(table, provenance_json(provenance)), file)
    write_provenance(path, provenance)
    return len(vectors)


def _kind(path: Path, kinds: tuple[str, ...]) -> str:
    suffix = path.suffix.lower()
    if suffix not in kinds:
        raise InputError(f"{path.name}: this is written as {' or '.join(kinds)}; end the file's name so")
    return suffix


def _with_provenance(table: pa.Table, provenance: str) -> pa.Table:
    return table.replace_schema_metadata({**(table.schema.metadata or {}), b"provenance": provenance.encode()})
