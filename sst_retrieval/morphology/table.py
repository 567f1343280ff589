"""The trait table: one row a region, read when it is asked for; and pixels turned into millimetres."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sst_retrieval.errors import InputError, QueryError
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.duck import column_namer, quote_name
from sst_retrieval.morphology.libraries import required

Scale: TypeAlias = Mapping[str, float]
"""Group -> millimetres a pixel."""

SCALE_COLUMN = "mmPerPixel"
"""A column of the collection of this name says how many millimetres a pixel is, photograph by photograph."""

IN_MILLIMETRES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "area_px": ("area_mm2", 2),
        "perimeter_px": ("perimeter_mm", 1),
        "length_px": ("length_mm", 1),
        "width_px": ("width_mm", 1),
    }
)
"""Measurement in pixels -> its name in millimetres, and the power of the scale it is multiplied by."""


class TraitTable:
    """One row a region: who it belongs to, how sure its mask is, every measurement.

    Nothing is read before a method asks for it. Any library that takes Arrow data takes this table as it is:
    `polars.DataFrame(table)`, `pyarrow.table(table)`, `pandas.DataFrame.from_arrow(table)`.
    """

    def __init__(self, columns: Sequence[str], read: Callable[[Sequence[str] | None], pa.Table]) -> None:
        """Use `Index.trait_table`."""
        self.columns = tuple(columns)
        self._read = read

    def arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a pyarrow table, ordered by trait, then specimen.

        Args:
            columns: the ones to read; None reads all.

        Raises:
            QueryError: there is no such column.
        """
        unknown = [name for name in columns or () if name not in self.columns]
        if unknown:
            raise QueryError(f"the trait table has no column {unknown[0]!r}; it has: {', '.join(self.columns)}")
        return self._read(columns)

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
        return int(self.arrow(["region_id"]).num_rows)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Hand the table to another library (the Arrow PyCapsule interface)."""
        return self.arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        """Say how large it is."""
        return f"TraitTable({len(self):,} regions, {len(self.columns)} columns: {', '.join(self.columns)})"


def described(catalog: Catalog, region_ids: npt.NDArray[np.int64], columns: Sequence[str] | None = None) -> pa.Table:
    """Return all that is known of regions but their masks and vectors.

    Args:
        catalog: whom regions belong to.
        region_ids: int64 (n,), each once.
        columns: names to return; None returns all (see `described_columns`).

    Returns:
        An Arrow table, one row a region, ordered by region id; empty (not NaN) where a value is missing.
    """
    every, region_reviews = described_columns(catalog), catalog.region_reviews
    chosen = ", ".join(f"{every[name]} AS {quote_name(name)}" for name in (every if columns is None else columns))
    sql = f"""SELECT {chosen} FROM regions r JOIN specimens s ON s."sst:specimen" = r.specimen
              LEFT JOIN measurements m ON m.region_id = r.region_id
              WHERE r.region_id IN (SELECT unnest($ids::BIGINT[])) ORDER BY r.region_id"""
    with catalog.cursor() as cursor:
        found = _without_nan(cursor.sql(sql, params={"ids": region_ids.tolist()}).to_arrow_table())
    name = column_namer(catalog.columns)("review")
    if name not in found.column_names:
        return found
    words = pa.array([region_reviews.status(number) for number in np.sort(region_ids).tolist()], pa.string())
    return found.set_column(found.column_names.index(name), name, words)


def _without_nan(table: pa.Table) -> pa.Table:
    """Empty the cells that are not a number: files that people read would say "nan" there."""
    for place, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            column = table.column(place)
            table = table.set_column(place, field, pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column))
    return table


def described_columns(catalog: Catalog) -> dict[str, str]:
    """Return the columns of `described`, name -> SQL: this program's own, then the collection's, then measurements.

    A column of the collection that is called like one of this program's own (`confidence`) has "collection:" before its
    name. A decision or a measurement that a column of the collection shares its name with has "sst:" before its own
    (`index.duck.column_namer`).
    """
    names = {name: f"r.{name}" for name in ("region_id", "specimen", "trait", "confidence")}
    name_of = column_namer(catalog.columns)
    names[name_of("review")] = "NULL"  # Laid over what is read: decisions come in between commits.
    if "group" not in {name.casefold() for name in catalog.columns}:
        names["group"] = 's."sst:group"'
    ours = set(names)
    theirs = {f"collection:{name}" if name.casefold() in ours else name: name for name in catalog.columns}
    names |= {shown: f"s.{quote_name(name)}" for shown, name in theirs.items()}
    measured = [f"m.{quote_name(name)}" for name in catalog.measurement_names]
    names |= dict(zip(map(name_of, catalog.measurement_names), measured, strict=True))
    return names


def labelled(table: pa.Table) -> Any:
    """Return a pandas data frame to take labels from: where some values are missing, whole numbers stay whole."""
    return table.to_pandas(integer_object_nulls=True)


def with_millimetres(
    table: pa.Table, scale: npt.NDArray[np.float64], name_of: Callable[[str], str] = lambda name: name
) -> pa.Table:
    """Add measurements in millimetres.

    Args:
        table: regions with measurements in pixels.
        scale: float64 (n,), millimetres a pixel of each row's photograph; NaN where it is not known.
        name_of: what measurements are called in this table (see `column_namer`).

    Returns:
        The table with the columns of `IN_MILLIMETRES`, empty where the scale is not known.
    """
    for pixels, (name, power) in IN_MILLIMETRES.items():
        if name_of(pixels) in table.column_names:
            measured = table.column(name_of(pixels)).to_numpy(zero_copy_only=False)
            values = np.asarray(measured, dtype=np.float64) * scale**power
            table = table.append_column(name_of(name), pa.array(values, from_pandas=True))
    return table


def scale_of_rows(
    groups: Sequence[str], scale: Scale | None, column: pa.ChunkedArray | None
) -> npt.NDArray[np.float64] | None:
    """Say how many millimetres a pixel is, row by row.

    Args:
        groups: group of each row.
        scale: what the caller says of each group; it wins over the column.
        column: the collection's own `SCALE_COLUMN`, if it has one.

    Returns:
        float64 (n,), NaN where it is not known; None if it is known nowhere.

    Raises:
        QueryError: a scale is not a positive number, or the column holds text.
    """
    if scale is None and column is None:
        return None
    values = np.full(len(groups), np.nan)
    if column is not None:
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise QueryError(f"the column {SCALE_COLUMN} holds {column.type}, not numbers; write millimetres a pixel")
        values = np.asarray(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64).copy()
        if (values <= 0).any():
            raise QueryError(f"the column {SCALE_COLUMN} holds a value that is not above 0; leave unknown scales empty")
    for group, size in (scale or {}).items():
        if not (math.isfinite(size) and size > 0):
            raise QueryError(f"the scale of {group!r} is {size}; give millimetres a pixel, above 0")
    given = np.array([(scale or {}).get(group, np.nan) for group in groups])
    return np.where(np.isnan(given), values, given)


def read_scales(path: Path) -> dict[str, float]:
    """Read how large a pixel is on the photographs of each group.

    Args:
        path: a CSV file with the columns `group` and either `mmPerPixel`, or `lengthMm` and `lengthPx`: the length of
            a scale bar (or of a colour checker's edge) in millimetres, and as measured on a photograph in pixels.

    Returns:
        Group -> millimetres a pixel.

    Raises:
        InputError: the file cannot be read, or a row says nothing, nonsense, or contradicts another.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); give a CSV file with the columns group, mmPerPixel"
        ) from error
    scales: dict[str, float] = {}
    for line, row in enumerate(rows, start=2):
        try:
            group = row["group"]
            scale = (
                float(row["mmPerPixel"]) if row.get("mmPerPixel") else float(row["lengthMm"]) / float(row["lengthPx"])
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise InputError(
                f"{path} line {line} gives no scale; write group and mmPerPixel, or group, lengthMm and lengthPx"
            ) from error
        if not (math.isfinite(scale) and scale > 0) or scales.setdefault(group, scale) != scale:
            raise InputError(f"{path} line {line}: {scale} mm a pixel for {group!r}; give one scale above 0 a group")
    return scales
