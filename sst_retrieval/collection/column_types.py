"""Infer the types of columns of text.

A column gets a type other than text only if every filled cell fits it without loss: whole numbers, decimal numbers with
a point (or all with a comma), true/false, ISO 8601 dates and times. Everything else stays text: codes with leading
zeros, numbers too long to be exact, 1,234 (which may be a thousand), dates in a national order.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from sst_retrieval.collection.specimen_table import SpecimenTable
from sst_retrieval.types import Scalar


def infer_types(table: SpecimenTable, keep_text: Collection[str]) -> SpecimenTable:
    """Infer the types of the columns that have none yet.

    Args:
        table: the table as read.
        keep_text: columns that are text whatever their cells look like.

    Returns:
        The table with a DuckDB type for every column. In a column of numbers, dates or true/false, "NA", "null" and
        the like are empty cells; in a column of text they are text (Namibia's country code is NA). Columns that were
        read with decimal commas are noted, and columns of text that have such cells.
    """
    columns, types = dict(table.columns), dict(table.types)
    commas = []
    for name, values in table.columns.items():
        if not types[name] and name in keep_text:
            types[name] = "VARCHAR"
        elif not types[name]:
            points = _replace_decimal_commas(values)
            types[name], columns[name] = _infer_type(values if points is None else points)
            if points is not None and types[name] != "DOUBLE":
                types[name], columns[name] = "VARCHAR", values
            elif points is not None:
                commas.append(name)
        elif name in keep_text and types[name] != "VARCHAR":
            types[name], columns[name] = "VARCHAR", [None if value is None else str(value) for value in values]
    notes = [f"{table.source}: decimal commas were read as such in {', '.join(commas)}"] if commas else []
    notes += _note_not_available(
        table, [name for name in columns if types[name] == "VARCHAR" and name not in keep_text]
    )
    return replace(table, columns=columns, types=types, notes=(*table.notes, *notes))


def _note_not_available(table: SpecimenTable, names: Sequence[str]) -> list[str]:
    """Note columns of text that have cells such as "NA": one value like any other in groups and conditions."""
    found = {name: {value for value in table.columns[name] if isinstance(value, str)} & NOT_AVAILABLE for name in names}
    named = [f"{name} ({', '.join(sorted(words))})" for name, words in found.items() if words]
    if not named:
        return []
    listed = ", ".join(named[:5]) + ", ..." * (len(named) > 5)
    return [
        f"{table.source}: what may mean an empty cell is kept as text in {listed}: specimens that have it count as one "
        f"group; empty these cells if nothing is known"
    ]


def parse_decimal(text: str) -> float | None:
    """Parse one decimal number, with a point or a comma; None if it is none, or not finite.

    >>> parse_decimal("0,042")
    0.042
    """
    text = text.strip().replace("\N{MINUS SIGN}", "-")
    if _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


NOT_AVAILABLE = frozenset(
    ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NaT", "<NA>", "None", "NULL", "null")  # Of R, Excel, pandas, SQL.
)
"""Cells that are empty in a column of numbers, dates or true/false."""

_DATE, _TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"


def _parse_utc(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC).replace(tzinfo=None)


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise OverflowError(f"{text} is no finite number")
    return value


_WHOLE = r"-?(0|[1-9][0-9]{0,14})"  # 15 digits: a decimal column may hold it, too, and keeps it exactly.
_TYPES: tuple[tuple[str, re.Pattern[str], Callable[[str], Scalar]], ...] = (
    ("BOOLEAN", re.compile("true|false", re.IGNORECASE), lambda text: text.lower() == "true"),
    ("BIGINT", re.compile(r"-?(0|[1-9][0-9]{0,17})"), int),
    # An exponent needs a sign or a decimal point: "1E5" is more often a code than a number.
    (
        "DOUBLE",
        re.compile(rf"{_WHOLE}(\.[0-9]*)?|-?\.[0-9]+|{_WHOLE}(\.[0-9]+[eE]|[eE][-+])[-+]?[0-9]+"),
        _parse_finite,
    ),
    ("DATE", re.compile(_DATE), datetime.date.fromisoformat),
    ("TIMESTAMP", re.compile(_DATE + _TIME), datetime.datetime.fromisoformat),
    ("TIMESTAMP", re.compile(rf"{_DATE}{_TIME}(Z|[-+][0-9]{{2}}:?[0-9]{{2}})"), _parse_utc),
)
_DECIMAL_COMMA = re.compile(r"-?[0-9]{1,15},[0-9]+")
_THOUSANDS = re.compile(r"-?[1-9][0-9]{0,2},[0-9]{3}")


def _infer_type(values: Sequence[Scalar]) -> tuple[str, Sequence[Scalar]]:
    filled = {str(value) for value in values if value is not None} - NOT_AVAILABLE
    for kind, pattern, parse in _TYPES:
        if filled and all(pattern.fullmatch(text) for text in filled):
            try:
                parsed = {text: parse(text) for text in filled}
            except (ValueError, OverflowError):
                continue  # It has the form of a date but is none (30 February): text.
            return kind, [None if value is None else parsed.get(str(value)) for value in values]
    return "VARCHAR", values


def _replace_decimal_commas(values: Sequence[Scalar]) -> list[Scalar] | None:
    """Replace the commas of a column of decimal numbers by points; None if it is not one.

    Every filled cell must be a number, at least one have a comma, and at least one comma be none of thousands.
    """
    filled = {str(value) for value in values if value is not None} - NOT_AVAILABLE
    with_comma = {text for text in filled if "," in text}
    if (
        any("." in text for text in filled)
        or not all(map(_DECIMAL_COMMA.fullmatch, with_comma))
        or all(map(_THOUSANDS.fullmatch, with_comma))
    ):
        return None
    return [None if value is None else str(value).replace(",", ".") for value in values]
