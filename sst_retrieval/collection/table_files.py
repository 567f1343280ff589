"""Read a table file into named, typed columns: delimited text (CSV, TSV, ...) or Parquet.

A column gets a type other than text only if every filled cell fits it without loss: whole numbers, decimal numbers with
a point, true/false, ISO 8601 dates and times. Everything else stays text: codes with leading zeros, numbers too long to
be exact, decimal commas, dates in a national order.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sst_retrieval.errors import CollectionError
from sst_retrieval.types import Scalar

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}
TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")


@dataclass(frozen=True, slots=True)
class SpecimenTable:
    """A specimen table: named columns of equal length.

    Attributes:
        source: name of the table in messages.
        columns: name -> values, one per row; None is an empty cell.
        types: name -> DuckDB type (VARCHAR, BIGINT, DOUBLE, BOOLEAN, DATE, TIMESTAMP); "" if not inferred yet (see
            `infer_types`), the values are then text.
        row_numbers: position of each row in the file, from 1: line of a text file, row of a Parquet file.
        unit: what `row_numbers` count: "line" or "row".
    """

    source: str
    columns: Mapping[str, Sequence[Scalar]]
    types: Mapping[str, str]
    row_numbers: Sequence[int]
    unit: str = "line"

    def locate(self, rows: Sequence[int]) -> str:
        """Name the positions of rows in the file, for a message: "lines 3, 8 and 12".

        Args:
            rows: positions in the columns, from 0.
        """
        shown = [str(self.row_numbers[row]) for row in rows[:5]]
        more = [f"{len(rows) - 5:,} more"] if len(rows) > 5 else []
        return f"{self.unit}{'s' * (len(rows) > 1)} " + " and ".join(
            filter(None, [", ".join((shown + more)[:-1]), (shown + more)[-1]])
        )


def read_table(path: Path) -> SpecimenTable:
    """Read a specimen table.

    Args:
        path: .csv, .tsv, .tab, .txt (commas, semicolons or tabs; UTF-8, or UTF-16 with a byte order mark) or .parquet.

    Returns:
        The table; for text files, types are not inferred yet.

    Raises:
        CollectionError: the file is missing, of another kind, in another encoding, or not rectangular.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix not in TEXT_SUFFIXES:
        raise CollectionError(
            f"{path} is no specimen table that can be read here (.csv, .tsv, .txt, .parquet, or a Darwin Core Archive "
            f".zip); save a spreadsheet as 'CSV UTF-8'"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CollectionError(f"{path} cannot be opened ({error.strerror}); check the path of the table") from error
    text = decode_text(content, str(path))
    first = text.lstrip("\r\n").partition("\n")[0]
    rows = split_rows(text, str(path), delimiter=_detect_delimiter(first, suffix), quote='"')
    header = next(rows, (1, []))[1]
    return build_table(header, rows, str(path))


def decode_text(content: bytes, source: str, encoding: str = "utf-8-sig") -> str:
    """Decode bytes without guessing the encoding.

    Raises:
        CollectionError: the bytes are not in that encoding.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    try:
        return content.decode(encoding)
    except LookupError as error:
        raise CollectionError(
            f"{source} says that its encoding is {encoding!r}, which is unknown; use UTF-8"
        ) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CollectionError(
            f"{source} line {line} is not {encoding.removesuffix('-sig').upper()} text (perhaps Latin-1, as older "
            f"spreadsheets save it; guessing would garble names); save the table as 'CSV UTF-8', or convert it: "
            f"iconv -f WINDOWS-1252 -t UTF-8 {Path(source).name} > utf8.csv"
        ) from error


def split_rows(text: str, source: str, *, delimiter: str, quote: str) -> Iterator[tuple[int, list[str]]]:
    """Split delimited text into rows.

    Args:
        text: the whole file.
        source: name of the file, for messages.
        delimiter: separator of the cells.
        quote: mark around a cell that holds a delimiter; "" if cells are never quoted.

    Yields:
        (line on which the row starts, from 1; its cells without surrounding blanks). Blank rows are skipped.

    Raises:
        CollectionError: a quotation mark is not closed, or stands in the middle of a cell.
    """
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        strict=True,
    )
    start = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield start, stripped
            start = reader.line_num + 1
    except csv.Error as error:
        raise CollectionError(
            f"{source} line {start}: the cells cannot be told apart ({error}); close every quotation mark, "
            f'and write one inside a quoted cell twice ("")'
        ) from error


def build_table(header: Sequence[str], rows: Iterator[tuple[int, list[str]]], source: str) -> SpecimenTable:
    """Build a table from a header and rows of text.

    Args:
        header: names of the columns.
        rows: (line, cells); cells beyond the header must be empty.
        source: name of the file, for messages.

    Raises:
        CollectionError: a column has no name or one that occurs twice, or a row has too many or too few cells.
    """
    row_numbers: list[int] = []
    cells: list[list[str]] = []
    names = list(header)
    while names and not names[-1]:  # Spreadsheets append empty columns.
        names.pop()
    check_column_names(names, source)
    for line, row in rows:
        while len(row) > len(names) and not row[-1]:
            row.pop()
        if len(row) != len(names):
            raise CollectionError(
                f"{source} line {line} has {len(row)} cells, but the header names {len(names)} columns; "
                f"put quotation marks around cells that hold the separator, and keep one separator throughout"
            )
        row_numbers.append(line)
        cells.append(row)
    columns = {name: [row[i] or None for row in cells] for i, name in enumerate(names)}
    return SpecimenTable(source, columns, dict.fromkeys(names, ""), row_numbers)


def check_column_names(names: Sequence[str], source: str) -> None:
    """Refuse column names that the catalog, which ignores case, cannot tell apart.

    Raises:
        CollectionError: a name is empty, unprintable, or equals another up to case.
    """
    known: dict[str, str] = {}
    for position, name in enumerate(names, 1):
        if not name or not name.isprintable():
            raise CollectionError(f"{source}: column {position} has no readable name ({name!r}); name it in the header")
        if name.lower() in known:
            raise CollectionError(
                f"{source} has the columns {known[name.lower()]!r} and {name!r}, which a search cannot tell apart "
                f"(upper and lower case count as the same); rename one of them"
            )
        known[name.lower()] = name


def infer_types(table: SpecimenTable, keep_text: Collection[str]) -> SpecimenTable:
    """Infer the types of the columns that have none yet.

    Args:
        table: the table as read.
        keep_text: columns that are text whatever their cells look like.

    Returns:
        The table with a DuckDB type for every column. In a column of numbers, dates or true/false, "NA", "null" and
        the like are empty cells; in a column of text they are text (Namibia's country code is NA).
    """
    columns, types = dict(table.columns), dict(table.types)
    for name, values in table.columns.items():
        if not types[name]:
            types[name], columns[name] = ("VARCHAR", values) if name in keep_text else _infer_type(values)
        elif name in keep_text and types[name] != "VARCHAR":
            types[name], columns[name] = "VARCHAR", [None if value is None else str(value) for value in values]
    return replace(table, columns=columns, types=types)


# ----------------------------------------------------------------------------------------------- types of text cells

_NOT_AVAILABLE = {"NA", "N/A", "n/a", "NaN", "nan", "NULL", "null"}
_DATE, _TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"


def _parse_utc(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC).replace(tzinfo=None)


_WHOLE = r"-?(0|[1-9][0-9]{0,14})"  # 15 digits: a decimal column may hold it, too, and keeps it exactly.
_TYPES: tuple[tuple[str, re.Pattern[str], Callable[[str], Scalar]], ...] = (
    ("BOOLEAN", re.compile("true|false", re.IGNORECASE), lambda text: text.lower() == "true"),
    ("BIGINT", re.compile(r"-?(0|[1-9][0-9]{0,17})"), int),
    # An exponent needs a sign or a decimal point: "1E5" is more often a code than a number.
    ("DOUBLE", re.compile(rf"{_WHOLE}(\.[0-9]*)?|-?\.[0-9]+|{_WHOLE}(\.[0-9]+[eE]|[eE][-+])[-+]?[0-9]+"), float),
    ("DATE", re.compile(_DATE), datetime.date.fromisoformat),
    ("TIMESTAMP", re.compile(_DATE + _TIME), datetime.datetime.fromisoformat),
    ("TIMESTAMP", re.compile(rf"{_DATE}{_TIME}(Z|[-+][0-9]{{2}}:?[0-9]{{2}})"), _parse_utc),
)


def _infer_type(values: Sequence[Scalar]) -> tuple[str, Sequence[Scalar]]:
    filled = {str(value) for value in values if value is not None} - _NOT_AVAILABLE
    for kind, pattern, parse in _TYPES:
        if filled and all(pattern.fullmatch(text) for text in filled):
            try:
                parsed = {text: parse(text) for text in filled}
            except (ValueError, OverflowError):
                continue  # It has the form of a date but is none (30 February): text.
            return kind, [None if value is None else parsed.get(str(value)) for value in values]
    return "VARCHAR", values


def _detect_delimiter(header: str, suffix: str) -> str:
    """Return the separator that is most frequent in the header, outside quotation marks."""
    if suffix in (".tsv", ".tab") and "\t" in header:
        return "\t"
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS.values(), key=bare.count)


# --------------------------------------------------------------------------------------------------------- Parquet


def _read_parquet(path: Path) -> SpecimenTable:
    types: dict[str, str] = {}
    columns: dict[str, list[Scalar]] = {}
    try:
        with pq.ParquetFile(path) as file:
            arrow = file.read()
        # Leave out the index that pandas stores: it is no column of the user's table.
        names = [name for name in arrow.column_names if not re.fullmatch(r"__index_level_\d+__", name)]
        check_column_names(names, str(path))
        for name in names:
            types[name], columns[name] = _convert_arrow_column(arrow.column(name), f"{path} column {name!r}")
    except (OSError, pa.ArrowException) as error:
        raise CollectionError(f"{path} cannot be read as Parquet ({error}); write it anew") from error
    return SpecimenTable(str(path), columns, types, range(1, arrow.num_rows + 1), "row")


def _convert_arrow_column(column: Any, source: str) -> tuple[str, list[Scalar]]:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_boolean(kind):
        return "BOOLEAN", column.to_pylist()
    if pa.types.is_integer(kind):
        return "BIGINT", column.cast(pa.int64()).to_pylist()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = column.cast(pa.float64()).to_pylist()
        return "DOUBLE", [None if value is None or value != value else value for value in values]
    if pa.types.is_date(kind):
        return "DATE", column.cast(pa.date32()).to_pylist()
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP", column.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.timestamp("us")).to_pylist()
    values = column.to_pylist()
    if any(isinstance(value, bytes) for value in values):
        raise CollectionError(f"{source} holds bytes, which no search can use; leave the column out")
    plain = [v if v is None or isinstance(v, str) else json.dumps(v, default=str, ensure_ascii=False) for v in values]
    return "VARCHAR", [text.strip() or None if text is not None else None for text in plain]
