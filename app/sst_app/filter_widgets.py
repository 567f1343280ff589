"""The filters in the side bar: widgets for the columns of the collection, kept in the URL."""

from __future__ import annotations

import datetime
import json
from typing import Any

import streamlit as st

import sst_retrieval as sst
from sst_app import current_index, query_input, url_state
from sst_app.filters import Facet, build_predicate, count_words
from sst_app.markdown import escape_md

OPEN_FILTERS = 4
"""Number of filters that are shown at once; the others are in an expander."""


def show_filters(index: sst.Index) -> str | None:
    """Show the filters in the side bar; return the predicate of the chosen ones, or None."""
    table = current_index.get_table(_get_trait(index))
    facets = current_index.get_facets(_get_trait(index))
    for facet in facets.values():
        _widen_range(facet)
        if url_state.take_adopted(_get_key(facet)):
            start = _read_url(facet)
            st.session_state[_get_key(facet)] = start or ([] if facet.kind == "words" else facet.span)
    chosen: dict[str, Any] = {
        column: value for column in facets if (value := _read_choice(facets[column])) not in (None, [], ())
    }
    with st.sidebar:
        st.markdown("**Filters**")
        if query_input.get_specimen() is not None:
            st.toggle(
                "other species only", key="others", bind="query-params", disabled=_find_species_column(index) is None,
                help=None if _find_species_column(index) else "The collection has no column that names the species.",
            )  # fmt: skip
        st.slider("confidence at least", 0.0, 1.0, 0.0, 0.05, key="sure", bind="query-params")
        for place, facet in enumerate(facets.values()):
            if place < OPEN_FILTERS or facet.column in chosen:
                _show_filter(table, facet, chosen, facets)
        rest = [
            facet for place, facet in enumerate(facets.values()) if place >= OPEN_FILTERS and facet.column not in chosen
        ]
        if rest:
            with st.expander("More filters"):
                for facet in rest:
                    _show_filter(table, facet, chosen, facets)
        if chosen:
            st.button("Clear filters", on_click=_clear_filters, args=(list(facets.values()),), width="stretch")
    extra = _list_conditions(index)
    return build_predicate(chosen, facets, extra)


def _list_conditions(index: sst.Index) -> list[str]:
    """List the conditions of the two filters that are not columns of the collection."""
    parts = []
    if st.session_state.get("sure", 0.0) > 0:
        parts.append(f'"sst:confidence" >= {st.session_state["sure"]:.2f}')
    column, specimen = _find_species_column(index), query_input.get_specimen()
    if st.session_state.get("others") and column is not None and specimen:
        own = index.individual(specimen).metadata.get(column)
        if own is not None:
            quoted, value = column.replace('"', '""'), str(own).replace("'", "''")
            parts.append(f"CAST(\"{quoted}\" AS VARCHAR) IS DISTINCT FROM '{value}'")
    return parts


def _find_species_column(index: sst.Index) -> str | None:
    """Find the column that names the species."""
    lower = {name.casefold(): name for name in index.columns}
    return next((lower[name] for name in ("scientificname", "species", "specificepithet") if name in lower), None)


def _get_trait(index: sst.Index) -> str:
    chosen = st.session_state.get("trait") or url_state.get("trait")
    return chosen if chosen in index.traits else index.traits[0]


def _get_key(facet: Facet) -> str:
    return f"f.{facet.column}"


def _read_choice(facet: Facet) -> Any:
    """Return the chosen values of a filter; None if every region passes."""
    value = st.session_state.get(_get_key(facet), _read_url(facet))
    if facet.kind == "words" or value is None:
        return value
    return None if tuple(value) == facet.span or len(value) < 2 else tuple(value)


def _widen_range(facet: Facet) -> None:
    """Reset a range that covered all values, after a build or another trait has changed the extremes."""
    before = st.session_state.get(f"span.{facet.column}")
    chosen = st.session_state.get(_get_key(facet))
    if facet.span is not None and before not in (None, facet.span) and chosen is not None and tuple(chosen) == before:
        st.session_state.pop(_get_key(facet))
    st.session_state[f"span.{facet.column}"] = facet.span


def _read_url(facet: Facet) -> Any:
    """Return the values of a filter in the URL; None if there are none or they are invalid."""
    text = url_state.get(_get_key(facet))
    if not text:
        return None
    try:
        value = json.loads(text)
        if facet.kind == "words":
            return [str(word) for word in value]
        low, high = value
        make = datetime.date.fromisoformat if facet.kind == "dates" else float
        assert facet.span is not None
        first, last = max(make(low), facet.span[0]), min(make(high), facet.span[1])
        return (first, last) if first <= last else None
    except (ValueError, TypeError):
        return None  # Invalid filters in a link are ignored.


def _show_filter(table: Any, facet: Facet, chosen: dict[str, Any], facets: dict[str, Facet]) -> None:
    """Show one filter and write its choice into the URL."""
    key = _get_key(facet)
    if key not in st.session_state and (start := _read_url(facet)) is not None:
        st.session_state[key] = start
    if facet.kind == "words":
        number = count_words(table, facet, chosen, facets)
        if key in st.session_state:
            st.session_state[key] = [word for word in st.session_state[key] if word in number]
        value = st.multiselect(
            escape_md(facet.column), list(number), key=key, format_func=lambda word: f"{word} ({number.get(word, 0):,})"
        )
    else:
        assert facet.span is not None
        if key in st.session_state:
            value = st.slider(escape_md(facet.column), *facet.span, key=key)
        else:
            value = st.slider(escape_md(facet.column), *facet.span, value=facet.span, key=key)
    if _read_choice(facet) in (None, [], ()):
        url_state.put(key)
    else:
        url_state.put(key, json.dumps(value, default=str, ensure_ascii=False))


def _clear_filters(every: list[Facet]) -> None:
    for facet in every:
        st.session_state[_get_key(facet)] = [] if facet.kind == "words" else facet.span
        url_state.put(_get_key(facet))
