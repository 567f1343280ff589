"""Scales of photographs: millimetres a pixel, by group or by specimen, and measurements in millimetres."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sst_retrieval.collection.column_types import parse_decimal
from sst_retrieval.collection.scale_column import SCALE_COLUMN, find_scale_column
from sst_retrieval.collection.table_files import read_table
from sst_retrieval.errors import InputError, QueryError
from sst_retrieval.index.reader import Reader
from sst_retrieval.morphology.selection import Ids, read_names, read_rows, select_regions

Scale: TypeAlias = Mapping[str, float]
"""Group -> millimetres a pixel."""

IN_MILLIMETRES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "area_px": ("area_mm2", 2),
        "perimeter_px": ("perimeter_mm", 1),
        "length_px": ("length_mm", 1),
        "width_px": ("width_mm", 1),
    }
)
"""Measurement in pixels -> its name in millimetres, and the power of the scale it is multiplied by."""


def specimen_scales(reader: Reader, trait: str, where: str | None, scale: Scale | None) -> dict[str, float]:
    """Look up the scale of every specimen that shows a trait.

    Args:
        reader: an open index.
        trait: its name.
        where: predicate; None takes all regions.
        scale: group -> millimetres a pixel; it wins over a column `mmPerPixel`.

    Returns:
        Individual -> millimetres a pixel, for those of which it is known.

    Raises:
        QueryError: there is no such group, or a scale is not above 0.
    """
    check_groups(reader, scale)
    column = find_scale_column(reader.columns)
    own = [] if column is None else [column]
    ids = select_regions(reader, trait, where)
    rows = read_rows(reader, ids, ["region_id", *own])
    known = scale_of_rows(groups_of_regions(reader, ids), scale, None if column is None else rows.column(column))
    if known is None:
        return {}
    pairs = zip(read_names(reader, ids), known.tolist(), strict=True)
    return {name: value for name, value in pairs if value == value}


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
        if not isinstance(size, int | float | np.number) or not (math.isfinite(size) and size > 0):
            raise QueryError(f"the scale of {group!r} is {size!r}; give millimetres a pixel, above 0")
    given = np.array([(scale or {}).get(group, np.nan) for group in groups])
    return np.where(np.isnan(given), values, given)


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


def groups_of_regions(reader: Reader, region_ids: Ids) -> list[str]:
    """Return the group of the build of each region's individual, in order of the region ids."""
    owners = reader.catalog.groups()
    return [owners[name] for name in read_names(reader, region_ids)]


def check_groups(reader: Reader, scale: Scale | None) -> None:
    """Refuse scales of groups that the index does not have: a name spelt wrongly would leave pixels as they are."""
    if scale is not None and not isinstance(scale, Mapping):
        raise QueryError(f"the scale is {scale!r}; give millimetres a pixel of each group, such as {{'erato': 0.042}}")
    groups = set(reader.catalog.groups().values())
    unknown = sorted((scale or {}).keys() - groups)
    if unknown:
        raise QueryError(
            f"a scale is given for {', '.join(map(repr, unknown))}, which is no group of the index; "
            f"its groups: {', '.join(sorted(groups))}"
        )


def read_scales(path: Path) -> dict[str, float]:
    """Read how large a pixel is on the photographs of each group.

    Args:
        path: a table (see `collection.table_files`) with the columns `group` and either `mmPerPixel`, or `lengthMm`
            and `lengthPx`: the length of a scale bar (or of a colour checker's edge) in millimetres, and as measured
            on a photograph in pixels. Decimal commas and other spellings of the names are understood.

    Returns:
        Group -> millimetres a pixel.

    Raises:
        InputError: the file cannot be read, or a row says nothing, nonsense, or contradicts another.
    """
    table = read_table(path)
    columns = {re.sub(r"[\s_.-]", "", name).casefold(): values for name, values in table.columns.items()}
    scale_column = find_scale_column(table.columns)
    named = {
        "group": columns.get("group"),
        "scale": None if scale_column is None else table.columns[scale_column],
        "lengthMm": columns.get("lengthmm"),
        "lengthPx": columns.get("lengthpx"),
    }
    empty = [None] * len(table.row_numbers)
    scales: dict[str, float] = {}
    for row, line in enumerate(table.row_numbers):
        cells = {name: (values or empty)[row] for name, values in named.items()}
        group = cells["group"]
        numbers = {name: parse_decimal(str(value)) for name, value in cells.items() if value is not None}
        scale = numbers.get("scale")
        if cells["scale"] is None and numbers.get("lengthMm") is not None and numbers.get("lengthPx"):
            scale = cast(float, numbers["lengthMm"]) / cast(float, numbers["lengthPx"])
        if group is None or scale is None:
            raise InputError(
                f"{path} line {line} gives no scale; write group and mmPerPixel, or group, lengthMm and lengthPx"
            )
        if not (math.isfinite(scale) and scale > 0) or scales.setdefault(str(group), scale) != scale:
            raise InputError(f"{path} line {line}: {scale} mm a pixel for {group!r}; give one scale above 0 a group")
    return scales
