"""Where on a photograph the individual of a row is, for photographs that several rows share.

A place is, in this order: a column `box` with "x0 y0 x1 y1" in pixels (half-open, origin top left); Audiovisual Core's
`xFrac`, `yFrac`, `widthFrac` and `heightFrac`, in shares of the photograph; or a column `individual`, the number in
reading order, from 1. Where a photograph has one row, such columns are kept like any other and mean nothing here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sst_retrieval.collection.column_roles import find_column
from sst_retrieval.collection.column_types import parse_decimal
from sst_retrieval.collection.specimen_table import SpecimenTable
from sst_retrieval.errors import ImageError, list_names
from sst_retrieval.imaging.images import image_size
from sst_retrieval.types import Box, Photograph, Scalar

BOX_COLUMN = "box"
INDIVIDUAL_COLUMNS = ("individual", "individualNumber")
FRACTIONS = ("xFrac", "yFrac", "widthFrac", "heightFrac")
"""http://rs.tdwg.org/ac/terms/xFrac and so on: the left upper corner and the extent of a region of interest."""

REMEDY = (
    "a column `box` (x0 y0 x1 y1 in pixels), the columns xFrac, yFrac, widthFrac and heightFrac (shares of the "
    "photograph), or a column `individual` (its number in reading order: 1, 2, ...)"
)


@dataclass(frozen=True, slots=True)
class PlaceColumns:
    """The columns of a table that may say where an individual is.

    Attributes:
        columns: column name -> values, one a row, those that are there: box, the four fractions, number.
        box: name of the column of boxes; None if there is none.
        fractions: names of the four columns of shares; empty if one is missing.
        individual: name of the column of numbers; None if there is none.
    """

    columns: Mapping[str, Sequence[Scalar]]
    box: str | None
    fractions: tuple[str, ...]
    individual: str | None

    def write(self, row: int) -> list[str]:
        """Write the place of a row as words, for its name; none if it has none."""
        cells = [self._read(row, name) for name in ([self.box] if self.box else [])]
        if not any(cells):
            cells = [self._read(row, name) for name in self.fractions]
        if not all(cells) or not cells:
            cells = [self._read(row, self.individual) if self.individual else ""]
        return [" ".join(cells)] if all(cells) else []

    def parse(self, row: int, photograph: Path) -> Box | int | None:
        """Return the place of a row.

        Args:
            row: position in the columns, from 0.
            photograph: the file, whose header says how large it is.

        Returns:
            A box in pixels, a number from 1, or None if all its cells are empty.

        Raises:
            ValueError: a cell says something else; the message says what.
            ImageError: the photograph cannot be opened.
        """
        if self.box and (text := self._read(row, self.box)):
            words = re.split(r"[\s,;]+", text.strip("()[] "))
            values = [parse_decimal(word) for word in words]
            if len(values) != 4 or None in values:
                raise ValueError(f"the box {text!r} is not x0 y0 x1 y1 in pixels")
            corners = [float(value) for value in values if value is not None]
            return _check_box((corners[0], corners[1], corners[2], corners[3]), photograph, f"the box {text!r}")
        shares = [self._read(row, name) for name in self.fractions]
        if any(shares):
            values = [parse_decimal(share) for share in shares]
            if None in values:
                raise ValueError(f"{', '.join(self.fractions)} are {', '.join(map(repr, shares))}, not four numbers")
            left, top, across, down = (value for value in values if value is not None)
            height, width = image_size(photograph)
            corners = [left * width, top * height, (left + across) * width, (top + down) * height]
            return _check_box(
                (corners[0], corners[1], corners[2], corners[3]), photograph, f"the region {' '.join(shares)}"
            )
        if self.individual and (text := self._read(row, self.individual)):
            if not re.fullmatch(r"[1-9][0-9]{0,5}(\.0)?", text):
                raise ValueError(f"{self.individual} is {text!r}, not a number from 1 in reading order")
            return int(text.removesuffix(".0"))
        return None

    def _read(self, row: int, column: str) -> str:
        value = self.columns[column][row]
        return "" if value is None else str(value).strip()


def find_place_columns(table: SpecimenTable) -> PlaceColumns:
    """Find the columns of places by their names."""
    box = find_column(table.columns, (BOX_COLUMN,))
    found = [find_column(table.columns, (term,)) for term in FRACTIONS]
    fractions = tuple(name for name in found if name is not None)
    individual = find_column(table.columns, INDIVIDUAL_COLUMNS)
    return PlaceColumns(table.columns, box, fractions if len(fractions) == len(FRACTIONS) else (), individual)


def _check_box(corners: tuple[float, float, float, float], photograph: Path, what: str) -> Box:
    """Round a box to pixels and require that it lies on its photograph."""
    height, width = image_size(photograph)
    x0, y0, x1, y1 = (math.floor(value + 0.5) for value in corners)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"{what} is not on {photograph.name} of {width} x {height} px")
    return x0, y0, x1, y1


def read_places(table: SpecimenTable, files: Mapping[int, Path], notes: list[str]) -> dict[int, Box | int]:
    """Read the places of the rows that share a file with others.

    Args:
        table: the table.
        files: row -> file of its photograph.
        notes: gets cells that say no place.

    Returns:
        Row -> place; rows that name none are not in it.
    """
    columns = find_place_columns(table)
    places: dict[int, Box | int] = {}
    for rows in share_files(files).values():
        for row in rows:
            try:
                place = columns.parse(row, files[row])
            except ValueError as error:
                notes.append(f"{table.source} {table.locate([row])}: {error}; its place is not known")
                continue
            except ImageError:
                continue  # A build says what is wrong with the photograph.
            if place is not None:
                places[row] = place
    return places


def share_files(files: Mapping[int, Path]) -> dict[Path, list[int]]:
    """Return the files that several rows share, and the rows."""
    owners: dict[Path, list[int]] = {}
    for row, path in files.items():
        owners.setdefault(path, []).append(row)
    return {path: rows for path, rows in owners.items() if len(rows) > 1}


def explain_shared(where: str, photographs: Sequence[Photograph]) -> str:
    """Say that several rows have one photograph, and what follows from it where it shows one individual."""
    return (
        f"{where}: {list_names([each.id for each in photographs])} have one photograph, {photographs[0].image.name}; "
        f"each is measured on all of it, so cut it into one photograph a specimen, or give each row its place "
        f"({REMEDY}) and say --individuals many"
    )
