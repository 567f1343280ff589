"""Filters on the catalog's columns, as pure functions: facets, counts and predicates from a table and choices."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

COMMON_COLUMNS = (
    "scientificName", "species", "subspecies", "infraspecificEpithet", "genus", "family", "sex", "locality", "country",
    "stateProvince", "eventDate", "year", "mimicryRing", "view",
)  # fmt: skip
"""Common columns, in the order in which their filters are shown."""

GROUP = "group"
"""The collection's column of groups, unless the build was told of another."""

MAX_WORDS = 200
"""A text column with more distinct values than this gets no filter."""


@dataclass(frozen=True, slots=True)
class Facet:
    """A column with a filter.

    Attributes:
        column: its name.
        kind: "words", "numbers" or "dates".
        span: smallest and largest value of numbers and dates.
    """

    column: str
    kind: str
    span: tuple[Any, Any] | None = None


def find_facets(table: pd.DataFrame, columns: Mapping[str, str]) -> list[Facet]:
    """Find the columns to filter by, common ones first.

    Args:
        table: one row per region.
        columns: column -> DuckDB type.
    """
    order = sorted(
        columns, key=lambda name: COMMON_COLUMNS.index(name) if name in COMMON_COLUMNS else len(COMMON_COLUMNS)
    )
    found = (_make_facet(table[name], name, columns[name]) for name in order if name in table)
    return [facet for facet in found if facet is not None]


def list_colour_columns(columns: Iterable[str], *, own_group: bool = False) -> list[str]:
    """List the columns that points can be coloured by: the group, columns of the collection, the mask's confidence.

    Args:
        columns: of the collection.
        own_group: whether the group is one of them.

    >>> list_colour_columns(["sex", "Confidence"])
    ['group', 'sex', 'Confidence', 'sst:confidence']
    """
    own = list(columns)
    taken = {name.casefold() for name in own}
    group, confidence = (f"sst:{name}" if name in taken else name for name in ("group", "confidence"))
    if own_group and GROUP in taken:
        own.sort(key=lambda name: name.casefold() != GROUP)
        return [*own, confidence]
    return [group, *own, confidence]


def count_words(
    table: pd.DataFrame, facet: Facet, chosen: Mapping[str, Any], facets: Mapping[str, Facet]
) -> dict[str, int]:
    """Count the regions of each word among those that pass the filters of the other columns.

    Returns:
        word -> count, the most frequent first; every word of the column is there.
    """
    others = {column: value for column, value in chosen.items() if column != facet.column}
    counts = table.loc[select_rows(table, others, facets), facet.column].value_counts()
    number = {str(word): int(count) for word, count in counts.items()}
    every = {str(word): number.get(str(word), 0) for word in table[facet.column].dropna().unique()}
    return dict(sorted(every.items(), key=lambda item: (-item[1], item[0])))


def select_rows(table: pd.DataFrame, chosen: Mapping[str, Any], facets: Mapping[str, Facet]) -> pd.Series:
    """Return which regions pass the filters, bool (N,); equivalent to the predicate."""
    passed = pd.Series(True, index=table.index)
    for column, value in chosen.items():
        facet = facets[column]
        if facet.kind == "words":
            passed &= table[column].isin(value)
        else:
            low, high = value
            cells = table[column]
            if facet.kind == "dates":
                # A moment of the last day is in, too.
                cells, low, high = pd.to_datetime(cells).dt.normalize(), pd.Timestamp(low), pd.Timestamp(high)
            passed &= ((cells >= low) & (cells <= high)).fillna(False).astype(bool)
    return passed


def build_predicate(chosen: Mapping[str, Any], facets: Mapping[str, Facet], extra: Sequence[str] = ()) -> str | None:
    """Build the predicate of the chosen values for `Index.search`; None if nothing is chosen.

    >>> print(build_predicate({"sex": ["female"]}, {"sex": Facet("sex", "words")}))
    "sex" IN ('female')
    """
    parts = [_format_condition(facets[column], value) for column, value in chosen.items()]
    parts += extra
    return " AND ".join(parts) or None


def _format_condition(facet: Facet, value: Any) -> str:
    name = '"' + facet.column.replace('"', '""') + '"'
    if facet.kind == "words":
        return f"{name} IN ({', '.join(_format_literal(word) for word in value)})"
    if facet.kind == "dates":
        name = f"CAST({name} AS DATE)"  # Else the last day would end at its first moment.
    return f"{name} BETWEEN {_format_literal(value[0])} AND {_format_literal(value[1])}"


def _format_literal(value: Any) -> str:
    if isinstance(value, datetime.date):
        return f"DATE '{value.isoformat()}'"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(float(value))


def _make_facet(cells: pd.Series, name: str, kind: str) -> Facet | None:
    known = cells.dropna()
    if kind in ("DOUBLE", "FLOAT"):
        known = known[~known.isin([float("inf"), float("-inf")])]
    different = known.nunique()
    if different < 2:
        return None
    if kind == "VARCHAR":
        # Names of single specimens are no groups.
        groups = different < len(known) and different <= min(MAX_WORDS, max(2, len(known) * 0.8))
        return Facet(name, "words") if groups else None
    if kind in ("DATE", "TIMESTAMP"):
        dates = pd.to_datetime(known)
        return Facet(name, "dates", (dates.min().date(), dates.max().date()))
    if kind in ("BIGINT", "INTEGER", "DOUBLE", "FLOAT"):
        return Facet(name, "numbers", (float(known.min()), float(known.max())))
    return None
