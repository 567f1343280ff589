r"""Split the lines of a text file into rows of cells, by the kind of the table.

- Tab-separated tables, as GBIF and most databases write them, have no quoting: a quotation mark is a character of its
  cell. They are read so, unless only quoting makes all rows of one length; then marks around cells are taken off.
- Tables with commas, semicolons or vertical bars are read as RFC 4180 says: cells may be quoted, and then hold
  separators and line breaks.
- A quoted cell that holds what look like rows of the table is refused: a mark that is never closed swallows rows.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from sst_retrieval.errors import CollectionError

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}
MAX_COLUMNS = 5_000
MAX_MEMORY = 600_000_000
"""Bytes that the cells of a table may take, about."""

_MAX_CELL = 16 * 1024**2
# Characters of a cell; a polygon easily has more than the 131,072 that the csv module allows by itself.
csv.field_size_limit(max(csv.field_size_limit(), _MAX_CELL))
_MAX_ROW = 2 * _MAX_CELL

Row: TypeAlias = tuple[int, list[str]]
"""(line on which the row starts, from 1; its cells without surrounding blanks)."""

_MARKUP = re.compile(r"\s*<(!doctype html|html|table|\?xml)", re.IGNORECASE)
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the rows of a table are split.

    Attributes:
        delimiter: separator of the cells.
        quote: mark around a cell that holds a separator; "" if cells are never quoted.
        skipped: lines before the header.
        note: what was not certain about it.
    """

    delimiter: str
    quote: str = '"'
    skipped: int = 0
    note: str | None = None


def find_dialect(read: Callable[[], Iterator[str]], source: str, *, prefer_tab: bool) -> Dialect:
    """Find out how a table is split.

    Args:
        read: reads its lines from the beginning.
        source: name of the file, for messages.
        prefer_tab: whether its suffix says that it has tabs.
    """
    lines = read()
    first = next((line for line in lines if line.strip()), "")
    if (markup := _MARKUP.match(first)) is not None:
        kind = "a page of the web (HTML)" if "html" in markup[1].lower() or "table" in markup[1].lower() else "XML"
        raise CollectionError(
            f"{source} is {kind}, whatever its name says; open it in a spreadsheet, and save it as 'CSV UTF-8'"
        )
    if (named := _SEPARATOR_LINE.fullmatch(first)) is not None:  # Excel's way to name the separator.
        delimiter, skipped = named[1], 1
    else:
        delimiter, skipped = _detect_delimiter(first.rstrip("\r\n"), prefer_tab), 0
    if delimiter != "\t":
        return Dialect(delimiter, '"', skipped)
    return find_tab_dialect(lambda: islice(read(), skipped, None), source, skipped)


def _detect_delimiter(header: str, prefer_tab: bool) -> str:
    """Return the separator that is most frequent in the header, outside quotation marks."""
    if prefer_tab and "\t" in header:
        return "\t"
    bare = re.sub(r'"[^"]*"', "", header)
    found = max(DELIMITERS.values(), key=bare.count)
    # Darwin Core writes lists with it, so it separates cells only where nothing else does.
    return "|" if found not in bare and "|" in bare else found


def find_tab_dialect(read: Callable[[], Iterator[str]], source: str, skipped: int = 0) -> Dialect:
    """Find out whether the marks of a table with tabs quote cells, or are characters of them."""
    width, rectangular, marked, unpaired = 0, True, None, None
    for number, line in enumerate(read(), skipped + 1):
        cells = _drop_empty_end([cell.strip() for cell in line.split("\t")])
        if not cells:
            continue
        width = width or len(cells)
        rectangular = rectangular and line.count("\t") + 1 >= width >= len(cells)
        if '"' in line:
            marked = marked or number
            unpaired = unpaired or (number if any(map(_is_unpaired, cells)) else None)
    if marked is None:
        return Dialect("\t", "", skipped)
    if rectangular and unpaired is None:
        return Dialect("\t", '"', skipped)  # Each mark is closed in its own cell, so that quoting is harmless.
    if rectangular:
        return Dialect(
            "\t",
            "",
            skipped,
            f"{source}: quotation marks are read as characters of their cells, as line {unpaired} has one that is "
            f"not closed in its cell",
        )
    return Dialect("\t", '"', skipped)


def _drop_empty_end(cells: list[str]) -> list[str]:
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _is_unpaired(cell: str) -> bool:
    """Say whether a cell begins with a mark that does not quote it as a whole."""
    return cell.startswith('"') and (len(cell) < 2 or re.fullmatch(r'"([^"]|"")*"', cell) is None)


def split_rows(lines: Iterator[str], source: str, dialect: Dialect) -> Iterator[Row]:
    """Split the lines of a text file into rows; blank rows are skipped.

    Args:
        lines: with their ends, from the beginning of the file.
        source: name of the file, for messages.
        dialect: how they are split.

    Yields:
        Rows. Equal cells are one object, so that a column of few values takes little memory.

    Raises:
        CollectionError: a quotation mark is not closed or swallows rows, or the table is too large to be held.
    """
    _check_marks(dialect, source)
    cost = 0
    shared: dict[str, str] = {}
    rest = islice(lines, dialect.skipped, None)
    rows = _split_quoted(rest, source, dialect) if dialect.quote else _split_plain(rest, dialect)
    for line, cells in rows:
        if len(cells) > MAX_COLUMNS:
            raise CollectionError(
                f"{source} line {line} has {len(cells):,} cells; at most {MAX_COLUMNS:,} columns can be held"
            )
        stripped = []
        for cell in cells:
            text = cell.strip()
            known = shared.get(text)
            if known is None:
                known = shared[text] = text
                cost += 56 + len(text) * (1 if text.isascii() else 4)
            stripped.append(known)
        cost += 25 * len(cells) + 150  # The row itself.
        if cost > MAX_MEMORY:
            raise CollectionError(
                f"{source} has more cells than can be held (line {line} is about the last that fits); leave out rows "
                f"without a photograph and columns that you do not need"
            )
        if any(stripped):
            yield line, stripped


def _check_marks(dialect: Dialect, source: str) -> None:
    marks = (dialect.delimiter, dialect.quote)
    if len(dialect.delimiter) != 1 or len(dialect.quote) > 1 or set(marks) & set("\r\n ") or marks[0] == marks[1]:
        raise CollectionError(
            f"{source} says that its cells are separated by {marks[0]!r} and quoted by {marks[1]!r}, which cannot be "
            f"told apart; export it with tabs and without quotation marks"
        )


def _split_plain(lines: Iterable[str], dialect: Dialect) -> Iterator[Row]:
    for number, line in enumerate(lines, dialect.skipped + 1):
        yield number, line.split(dialect.delimiter)


def _split_quoted(lines: Iterable[str], source: str, dialect: Dialect) -> Iterator[Row]:
    pending: list[str] = []

    def feed() -> Iterator[str]:
        size = 0
        for line in lines:
            size = len(line) if not pending else size + len(line)
            pending.append(line)
            if size > _MAX_ROW:  # As after the last line: the row is not complete.
                break
            yield line

    reader = csv.reader(feed(), delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True)
    start, width = dialect.skipped + 1, 0
    try:
        for cells in reader:
            width = width or len(_drop_empty_end(list(cells)))
            if len(pending) > 1:
                _refuse_swallowed_rows(pending, cells, f"{source} line {start}", dialect, width)
            yield start, cells
            start += len(pending)
            pending.clear()
    except csv.Error as error:
        reason = f"{source} line {start}: the cells cannot be told apart ({error}); "
        if len(pending) > 1:
            reason += "a cell that begins with a quotation mark there is not closed: "
        raise CollectionError(
            f'{reason}close every quotation mark, and write one inside a quoted cell twice (""), or export the table '
            f"with tabs and without quotation marks"
        ) from error


def _refuse_swallowed_rows(pending: list[str], cells: list[str], where: str, dialect: Dialect, width: int) -> None:
    """Refuse a quoted cell that holds rows of the table: a mark was opened that belongs to the text."""
    complete = [line.count(dialect.delimiter) + 1 == width for line in pending]
    tabs = any("\t" in cell and re.search(r"[\r\n]", cell) for cell in cells)
    if width > 1 and ((complete[0] and any(complete[1:])) or (dialect.delimiter == "\t" and tabs)):
        raise CollectionError(
            f"{where}: a cell that begins with a quotation mark goes on over {len(pending)} lines, which look "
            f'like rows of the table; close the mark, or write it twice inside a quoted cell ("")'
        )
