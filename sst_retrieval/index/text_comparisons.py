"""Comparisons that SQL answers without an error, but otherwise than they were meant: of text by its letters, with NULL.

1. `mass > '9'` on a column of text compares letter by letter: '100 mg' comes before '9 mg', and 03/04/2020 before
   25/12/1999. It is refused unless the order of the letters is that of the numbers or dates: text that is ISO 8601
   throughout (1998, 1998-05, 1998-05-01T10:00), or codes of digits that are all of one length.
2. `sex = NULL` holds for no row, nor does `sex != NULL`.

Predicates are read by their text, as in `predicate_advice`. What is no plain column (`mass || '' > '9'`) is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sst_retrieval.errors import QueryError

_TEXT = r"'(?:[^']|'')*'"
_NAME = r"(?:(?<![\w:\"])\"(?:[^\"]|\"\")*\"|(?<![\w:\"])[^\W\d]\w*(?!\w))"
_SKIPPED = rf"|{_TEXT}|\"(?:[^\"]|\"\")*\""
"""Behind all else: what stands in quotation marks is passed over."""

_LESS = r"(?:<=|>=|<(?!>)|>)"
_NULL = re.compile(rf"(?P<left>{_NAME})\s*(?P<how>==|=|!=|<>)\s*null\b{_SKIPPED}", re.IGNORECASE)
_ORDER = re.compile(
    rf"(?P<name>{_NAME})\s*{_LESS}\s*(?P<value>{_TEXT})(?!\s*\|\|)"
    rf"|(?P<between>{_NAME})\s+(?:not\s+)?between\s+(?P<low>{_TEXT})\s+and\s+(?P<high>{_TEXT})"
    rf"|(?P<first>{_TEXT})\s*{_LESS}\s*(?P<last>{_NAME})(?!\s*(?:\|\||\(|::)){_SKIPPED}",
    re.IGNORECASE,
)
_PLAIN = r"[-+]?\d[\d.]*(?:e[-+]?\d+)?|(?:date|timestamp)\s*'[^']*'"
_TYPED = re.compile(
    rf"(?P<name>{_NAME})\s*(?:{_LESS}|==|=|!=|<>)\s*(?P<value>{_PLAIN})"
    rf"|(?P<between>{_NAME})\s+(?:not\s+)?between\s+(?P<low>{_PLAIN})\s+and\b{_SKIPPED}",
    re.IGNORECASE,
)
_DAY = r"\d{4}(-\d{2}(-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[-+]\d{2}:?\d{2})?)?)?)?"
ISO = rf"{_DAY}(/{_DAY})?"
"""ISO 8601: a date of any precision, or two with a slash between them. Python and DuckDB (RE2) read it alike."""

_NUMBER = re.compile(r"[-+]?[\d.,]*\d[\d.,]*")
_DATE_INSIDE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}|\b(1[5-9]|20)\d\d\b")
_NATIONAL = re.compile(r"\d{1,4}[-./ ]\s?\d{1,2}([-./ ]\s?\d{1,4})?\.?")


Cell: TypeAlias = Callable[[str, str], str | None]
"""Takes a column and a pattern, and returns a filled cell that does not fit the pattern as a whole; None if all fit."""


@dataclass(frozen=True, slots=True)
class TextComparison:
    """A column of text that a predicate compares by order with text.

    Attributes:
        column: its name.
        value: what it is compared with; a number or a date as text.
    """

    column: str
    value: str

    def explain(self, example: str) -> str:
        """Say why it is refused, and what to write.

        Args:
            example: a cell that is out of order.
        """
        name = _quote(self.column)
        if _NUMBER.fullmatch(self.value) and not _DATE_INSIDE.search(example):
            remedy = f"for numbers write TRY_CAST({name} AS DOUBLE) > {self.value.replace(',', '.')}"
        else:
            remedy = (
                f"for dates write TRY_CAST({name} AS DATE) > DATE '1998-05-31', which knows 1998-05-31 only (of "
                f"31.05.1998 it is TRY_STRPTIME({name}, '%d.%m.%Y')), or write them so in the table and build again"
            )
        return (
            f"{self.column} is text, in which {example!r} and {self.value!r} are compared letter by letter, neither as "
            f"numbers nor as dates; {remedy}; to compare letters all the same: {name} || '' > {self.value!r}"
        )


def refuse_null_comparison(where: str) -> None:
    """Refuse `column = NULL` and `column != NULL`, which hold for no row.

    Raises:
        QueryError: the predicate has one.
    """
    for found in _NULL.finditer(where):
        if found["left"] is not None:
            meant = f"{found['left']} IS {'NOT ' * (found['how'] in ('!=', '<>'))}NULL"
            raise QueryError(f"the predicate {where!r}: nothing is equal to NULL or differs from it; write {meant}")


def find_text_comparisons(where: str, text_columns: Sequence[str]) -> list[TextComparison]:
    """Find the columns of text that a predicate compares by order with a number or a date.

    Args:
        where: the predicate.
        text_columns: the columns that are text.

    >>> find_text_comparisons("mass > '9' AND sex > 'a' AND year < '1998'", ["mass", "sex"])
    [TextComparison(column='mass', value='9')]
    """
    known = {name.casefold(): name for name in text_columns}
    comparisons = []
    for found in _ORDER.finditer(where):
        name = found["name"] or found["between"] or found["last"] or ""
        column = known.get(_unquote(name).casefold())
        for literal in (found[key] for key in ("value", "low", "high", "first")):
            value = "" if literal is None else literal[1:-1].replace("''", "'").strip()
            if column is not None and (
                _NUMBER.fullmatch(value) or _NATIONAL.fullmatch(value) or re.fullmatch(ISO, value)
            ):
                comparisons.append(TextComparison(column, value))
    return comparisons


def explain_types(where: str, text_columns: Sequence[str], cell: Cell) -> list[str]:
    """Say of columns of text that a predicate compares with numbers or dates why they are text, and what to write.

    Args:
        where: the predicate, which does not work.
        text_columns: the columns that are text.
        cell: as for `refuse_unordered`.

    Returns:
        A sentence a column.
    """
    known = {name.casefold(): name for name in text_columns}
    lines: dict[str, str] = {}
    for found in _TYPED.finditer(where):
        column = known.get(_unquote(found["name"] or found["between"] or "").casefold())
        if column is None:
            continue
        value = found["value"] or found["low"]
        kind, pattern = ("DATE", ISO) if value[0].isalpha() else ("DOUBLE", r"-?(0|[1-9]\d{0,14})(\.\d*)?")
        example = cell(column, pattern)
        why = f", as {example!r} is no {'date' if kind == 'DATE' else 'plain number'}" if example is not None else ""
        how = f"TRY_CAST({_quote(column)} AS {kind})"
        lines[column] = (
            f"{column} is text{why}: correct the table and build again, or write {how}, which passes over what is none"
        )
    return list(lines.values())


def _quote(name: str) -> str:
    return name if re.fullmatch(r"[^\W\d]\w*", name) else '"' + name.replace('"', '""') + '"'


def _unquote(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def refuse_unordered(comparison: TextComparison, cell: Cell) -> None:
    """Refuse a comparison unless the order of the letters is that of the numbers or dates.

    Args:
        comparison: with a number or a date.
        cell: finds cells of the table.

    Raises:
        QueryError: a cell is out of order.
    """
    column, value = comparison.column, comparison.value
    ordered = [r"\D*"]  # No cell has a digit: neither numbers nor dates.
    if re.fullmatch(ISO, value):
        ordered.append(ISO)
    if value.isdigit():
        ordered.append(rf"\d{{{len(value)}}}")
    strange = [cell(column, pattern) for pattern in ordered]
    if None not in strange:
        raise QueryError(comparison.explain(strange[-1] or ""))
