"""Cells that list several photographs: a row for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sst_retrieval.collection.photograph_files import split_list, split_words
from sst_retrieval.collection.specimen_table import SpecimenTable
from sst_retrieval.types import Scalar


def expand_lists(table: SpecimenTable, image: str, alike: Sequence[str]) -> tuple[SpecimenTable, Sequence[int]]:
    """Make a row for each photograph of a cell that lists several: `a.jpg|b.jpg`, as Darwin Core writes lists.

    Args:
        table: the table as read.
        image: column of the photographs' files.
        alike: columns whose cells may list as many values, one a photograph, such as `dorsal|ventral`.

    Returns:
        The table, the same if no cell lists several; and for each row the one that it comes from.
    """
    parts = [_list_photographs(value) for value in table.columns[image]]
    origin = [row for row, listed in enumerate(parts) for _ in listed]
    if all(listed[0] is value for listed, value in zip(parts, table.columns[image], strict=True)):
        return table, range(len(parts))
    columns: dict[str, Sequence[Scalar]] = {
        name: [values[row] for row in origin] for name, values in table.columns.items()
    }
    columns[image] = [part for listed in parts for part in listed]
    for name in alike:
        columns[name] = [
            each
            for value, listed in zip(table.columns[name], parts, strict=True)
            for each in _share(value, len(listed))
        ]
    numbers = [table.row_numbers[row] for row in origin]
    return replace(table, columns=columns, row_numbers=numbers), origin


def _list_photographs(value: Scalar) -> list[Scalar]:
    """List the photographs of a cell; one that names a single photograph is kept as it is."""
    if value is None:
        return [value]
    listed = split_list(text := str(value))
    return [value] if listed == [text] else list(listed)


def _share(value: Scalar, count: int) -> list[Scalar]:
    """Share out a list of as many values; any other cell holds for all."""
    words = split_words(value) if isinstance(value, str) else []
    is_list = count > 1 or (isinstance(value, str) and value.startswith("["))
    return list(words) if is_list and len(words) == count else [value] * count
