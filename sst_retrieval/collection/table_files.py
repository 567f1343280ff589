"""Read a table file into named columns of text (CSV, TSV, ...), or of the types that it has (Parquet)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from sst_retrieval.collection.delimited_rows import Row, find_dialect, split_rows
from sst_retrieval.collection.parquet_files import read_parquet
from sst_retrieval.collection.specimen_table import SpecimenTable, check_column_names
from sst_retrieval.collection.text_files import find_encoding, open_text_file, read_lines
from sst_retrieval.errors import CollectionError

TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
SPREADSHEET_SUFFIXES = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


def read_table(path: Path) -> SpecimenTable:
    """Read a specimen table.

    Args:
        path: .csv, .tsv, .tab, .txt (commas, semicolons or tabs; UTF-8, UTF-16, or text that is clearly Windows-1252)
            or .parquet.

    Returns:
        The table; for text files, types are not inferred yet.

    Raises:
        CollectionError: the file is missing, of another kind, in another encoding, too large, or not rectangular.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return read_parquet(path)
    if suffix in SPREADSHEET_SUFFIXES:
        raise CollectionError(f"{path} is a spreadsheet; save its sheet as 'CSV UTF-8', and give that file")
    if suffix not in TEXT_SUFFIXES:
        raise CollectionError(
            f"{path} is no specimen table that can be read here (.csv, .tsv, .txt, .parquet, or a Darwin Core Archive "
            f".zip); save a spreadsheet as 'CSV UTF-8'"
        )
    file = open_text_file(path)
    encoding, note = find_encoding(file)
    read = partial(read_lines, file, encoding)
    dialect = find_dialect(read, file.source, prefer_tab=suffix in (".tsv", ".tab"))
    rows = split_rows(read(), file.source, dialect)
    header = next(rows, (1, []))[1]
    return build_table(header, rows, file.source, notes=[each for each in (note, dialect.note) if each])


def build_table(header: Sequence[str], rows: Iterator[Row], source: str, *, notes: Sequence[str] = ()) -> SpecimenTable:
    """Build a table from a header and rows of text.

    Args:
        header: names of the columns; one without a name is called column_N. R's column of row numbers, which has no
            name, is left out.
        rows: (line, cells); cells beyond the header must be empty.
        source: name of the file, for messages.
        notes: what was noted about the file.

    Raises:
        CollectionError: a column's name occurs twice, or a row has too many or too few cells.
    """
    names = [name.strip("\ufeff\u200b") for name in header]
    while names and not names[-1]:  # Spreadsheets append empty columns.
        names.pop()
    row_numbers, cells, repeated = _collect_rows(names, rows, source)
    if cells and len(cells[0]) == len(names) + 1:
        names.insert(0, "")
    found = list(notes)
    if repeated:
        found.append(f"{source} line {repeated[0]} repeats the header; left out")
    columns = {position: [row[position] or None for row in cells] for position in range(len(names))}
    if names and not names[0] and _is_row_numbers(columns[0]):
        found.append(f"{source}: column 1 has no name and holds row numbers; left out")
        del columns[0]
    for position, name in enumerate(names):
        if not name and position in columns:
            names[position] = f"column_{position + 1}"
            found.append(f"{source}: column {position + 1} has no name; it is called {names[position]}")
    named = [names[position] for position in columns]
    check_column_names(named, source)
    table = dict(zip(named, columns.values(), strict=True))
    return SpecimenTable(source, table, dict.fromkeys(table, ""), row_numbers, notes=tuple(found))


def _collect_rows(
    names: Sequence[str], rows: Iterator[Row], source: str
) -> tuple[list[int], list[list[str]], list[int]]:
    """Collect rows of equal length; returns their lines, their cells, and the lines that repeat the header."""
    row_numbers: list[int] = []
    cells: list[list[str]] = []
    repeated: list[int] = []
    found = list(rows)
    # R's write.table gives the column of row numbers no place in the header. The last cell of some rows may be empty.
    numbered = bool(found) and len(found[0][1]) > len(names) and found[0][1][0] in ("0", "1")
    width = len(names) + (numbered and any(any(row[len(names) :]) for _, row in found))
    for line, row in found:
        while len(row) > width and not row[-1]:
            row.pop()
        if row == names:
            repeated.append(line)
            continue
        if len(row) != width or (
            width > len(names) and row[0] != str(int(cells[0][0] if cells else row[0]) + len(cells))
        ):
            raise CollectionError(_explain_width(names, line, len(row), source))
        row_numbers.append(line)
        cells.append(row)
    return row_numbers, cells, repeated


def _explain_width(names: Sequence[str], line: int, found: int, source: str) -> str:
    """Say what to do about a row that has more or fewer cells than the header."""
    if len(names) == 1 and found > 1:
        return (
            f"{source} line {line} has {found} cells, but the first line, {names[0][:60]!r}, one; remove what stands "
            f"above the names of the columns"
        )
    text = f"{source} line {line} has {found} cells, but the header names {len(names)} columns; "
    if found < len(names):
        return f"{text}complete the row: an empty cell has its separator, too"
    return f"{text}put quotation marks around cells that hold the separator, and keep one separator throughout"


def _is_row_numbers(values: Sequence[str | None]) -> bool:
    """Say whether a column counts the rows from 0 or 1."""
    first = values[0] if values else None
    return first in ("0", "1") and list(values) == [str(int(first) + i) for i in range(len(values))]
