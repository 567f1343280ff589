"""The trait table: one row a region, read lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sst_retrieval.collection.scale_column import find_scale_column
from sst_retrieval.errors import QueryError
from sst_retrieval.index.catalog import BATCH_ROWS
from sst_retrieval.index.duck import column_namer
from sst_retrieval.index.reader import Reader
from sst_retrieval.morphology.libraries import required
from sst_retrieval.morphology.scales import (
    IN_MILLIMETRES,
    Scale,
    check_groups,
    groups_of_regions,
    scale_of_rows,
    with_millimetres,
)
from sst_retrieval.morphology.selection import read_rows, row_columns, select_regions

Ids = npt.NDArray[np.int64]


class TraitTable:
    """One row a region: who it belongs to, how sure its mask is, every measurement.

    Nothing is read before a method asks for it. Any library that takes Arrow data takes this table as it is:
    `polars.DataFrame(table)`, `pyarrow.table(table)`, `pandas.DataFrame.from_arrow(table)`.
    """

    def __init__(self, columns: Sequence[str], ids: Ids, read: Callable[[Ids, Sequence[str] | None], pa.Table]) -> None:
        """Use `Index.trait_table`."""
        self.columns = tuple(columns)
        self._ids, self._read = ids, read

    def arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a pyarrow table, ordered by trait, then specimen.

        Args:
            columns: the ones to read; None reads all.

        Raises:
            QueryError: there is no such column.
        """
        self._check(columns)
        return self._read(self._ids, columns)

    def iterate(self, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
        """Yield the rows of `arrow`, some thousand in memory at a time.

        Args:
            columns: the ones to read; None reads all.
            rows: of a table, at most.

        Yields:
            pyarrow tables of one schema, at least one.

        Raises:
            QueryError: there is no such column.
        """
        self._check(columns)
        for start in range(0, max(len(self._ids), 1), rows):
            yield self._read(self._ids[start : start + rows], columns)

    def _check(self, columns: Sequence[str] | None) -> None:
        unknown = [name for name in columns or () if name not in self.columns]
        if unknown:
            raise QueryError(f"the trait table has no column {unknown[0]!r}; it has: {', '.join(self.columns)}")

    def pandas(self, columns: Sequence[str] | None = None) -> Any:
        """Return a pandas data frame (see `arrow`)."""
        return self.arrow(columns).to_pandas()

    def polars(self, columns: Sequence[str] | None = None) -> Any:
        """Return a polars data frame (see `arrow`).

        Raises:
            SSTError: polars is not installed.
        """
        return required("polars").DataFrame(self.arrow(columns))

    def __len__(self) -> int:
        """Count the regions."""
        return len(self._ids)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Hand the table to another library (the Arrow PyCapsule interface)."""
        return self.arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        """Say how large it is."""
        return f"TraitTable({len(self):,} regions, {len(self.columns)} columns: {', '.join(self.columns)})"


def trait_table(
    reader: Reader,
    trait: str | Sequence[str] | None = None,
    *,
    where: str | None = None,
    scale: Scale | None = None,
) -> TraitTable:
    """Return everything that is known of the regions: one row a region, read when a method of the table asks.

    Args:
        trait: one or several; None takes all.
        where: DuckDB predicate over the collection's columns, `confidence` and the measurements; None takes all.
        scale: group -> millimetres a pixel (`read_scales` reads them from a file); it wins over a column
            `mmPerPixel` of the collection. Where either is known, areas and lengths come in millimetres, too.

    Returns:
        Columns region_id, specimen, photograph and individual (unless all have one name), individual_number,
        individual_score and individual_box (where photographs may show several), trait, confidence, review, group, the
        collection's own columns, the measurements; with `.arrow()`, `.pandas()` and `.polars()`. A
        measurement (or `review`) that shares its name with a column of the collection is called "sst:" and its name;
        the collection's own `region_id`, `specimen`, `trait` or `confidence` is called "collection:" and its name. A
        trait that was not found on an individual has no row.

    Raises:
        QueryError: there is no such trait or group, the predicate does not work, or a scale is not above 0.
    """
    check_groups(reader, scale)
    ids = select_regions(reader, trait, where)
    known = row_columns(reader)
    own_scale = find_scale_column(reader.columns)
    name_of = column_namer(reader.columns)
    millimetres = [
        name_of(name)
        for pixels, (name, _) in IN_MILLIMETRES.items()
        if name_of(pixels) in known and (scale or own_scale)
    ]

    def read(ids: Ids, columns: Sequence[str] | None) -> pa.Table:
        wanted = None if columns is None or set(millimetres) & set(columns) else [c for c in columns if c in known]
        rows = read_rows(reader, ids, wanted)
        if wanted is None and millimetres:
            own = rows.column(own_scale) if own_scale else None
            per_row = scale_of_rows(groups_of_regions(reader, ids), scale, own)
            assert per_row is not None
            rows = with_millimetres(rows, per_row, name_of)
        return rows if columns is None else rows.select(list(columns))

    if scale or own_scale:
        read(ids, ["region_id", *millimetres])  # Refuse a wrong scale now, not at the first look.
    return TraitTable([*known, *millimetres], ids, read)
