"""A specimen table in memory: named columns of equal length, and where each row stands in its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sst_retrieval.errors import CollectionError
from sst_retrieval.types import Scalar


@dataclass(frozen=True, slots=True)
class SpecimenTable:
    """A specimen table: named columns of equal length.

    Attributes:
        source: name of the table in messages.
        columns: name -> values, one per row; None is an empty cell.
        types: name -> DuckDB type (VARCHAR, BIGINT, DOUBLE, BOOLEAN, DATE, TIMESTAMP); "" if not inferred yet (see
            `column_types.infer_types`), the values are then text.
        row_numbers: position of each row in the file, from 1: line of a text file, row of a Parquet file.
        unit: what `row_numbers` count: "line" or "row".
        notes: how the file was read where that was not certain, one sentence each.
    """

    source: str
    columns: Mapping[str, Sequence[Scalar]]
    types: Mapping[str, str]
    row_numbers: Sequence[int]
    unit: str = "line"
    notes: tuple[str, ...] = ()

    def locate(self, rows: Sequence[int]) -> str:
        """Name the positions of rows in the file, for a message: "lines 3, 8 and 12".

        Args:
            rows: positions in the columns, from 0; several may stand in one line of the file.
        """
        numbers = list(dict.fromkeys(self.row_numbers[row] for row in rows))
        shown = [str(number) for number in numbers[:5]]
        more = [f"{len(numbers) - 5:,} more"] if len(numbers) > 5 else []
        return f"{self.unit}{'s' * (len(numbers) > 1)} " + " and ".join(
            filter(None, [", ".join((shown + more)[:-1]), (shown + more)[-1]])
        )


class TableRow(Mapping[str, Scalar]):
    """One row of a table: column -> value, read from the columns when it is asked for.

    A dictionary of its own for every row would take more memory than all the columns.
    """

    __slots__ = ("_columns", "_row")

    def __init__(self, columns: Mapping[str, Sequence[Scalar]], row: int) -> None:
        """Take the columns, which must stay as they are, and the position of the row in them."""
        self._columns, self._row = columns, row

    def __getitem__(self, name: str) -> Scalar:
        """Return the value of a column."""
        return self._columns[name][self._row]

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the columns."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Count the columns."""
        return len(self._columns)

    def __repr__(self) -> str:
        """Write the row as a dictionary."""
        return repr(dict(self))

    def __reduce__(self) -> tuple[type[dict[str, Scalar]], tuple[dict[str, Scalar]]]:
        """Leave the rest of the table behind on the way to another process."""
        return dict, (dict(self),)


def check_column_names(names: Sequence[str], source: str) -> None:
    """Refuse column names that the catalog, which ignores case, cannot tell apart.

    Raises:
        CollectionError: a name is empty, unprintable, or equals another up to case.
    """
    known: dict[str, str] = {}
    for position, name in enumerate(names, 1):
        if not name or not name.isprintable():
            raise CollectionError(f"{source}: column {position} has no readable name ({name!r}); name it in the header")
        if name.casefold() in known:
            raise CollectionError(
                f"{source} has the columns {known[name.casefold()]!r} and {name!r}, which a search cannot tell apart "
                f"(upper and lower case count as the same); rename one of them"
            )
        known[name.casefold()] = name
