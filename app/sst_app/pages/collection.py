"""Collection page: what the index holds, what was skipped and why, and how it was built."""

from __future__ import annotations

from html import escape
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

import sst_retrieval as sst
from sst_app import current_index, filters
from sst_app.json_values import replace_gaps
from sst_app.markdown import escape_md
from sst_app.rebuild import show_progress, show_rebuild

BLUE, INK = "#0072B2", "#3A3A3A"
MAX_TAXA = 40
"""Largest number of taxa in the chart."""

MAX_NOTES = 200
"""Largest number of notes of a build that are listed."""


def main() -> None:
    """Show the page."""
    index, info = current_index.get_index(), current_index.get_info()
    table = current_index.get_table()
    show_progress()
    _show_numbers(info, table)
    left, right = st.columns([1.35, 1], gap="medium")
    with left:
        _show_coverage(index, table)
    with right:
        _show_confidence(index, table)
        _show_skipped(index)
        _show_notes()
    _show_provenance(info)


def compute_coverage(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Compute the share of specimens on which each trait was found, by taxon.

    Returns:
        Columns taxon, trait, found, looked for, share; one row per taxon and trait, of the most frequent taxa.
    """
    known = table.assign(taxon=table[column].astype(object).where(table[column].notna(), "not named").astype(str))
    grouped = known.groupby(["taxon", "sst:trait"], observed=True)["sst:present"].agg(["sum", "size"]).reset_index()
    grouped.columns = pd.Index(["taxon", "trait", "found", "looked for"])
    grouped["share"] = grouped["found"] / grouped["looked for"]
    order = known["taxon"].value_counts().index[:MAX_TAXA]
    return grouped[grouped["taxon"].isin(order)]


def _show_numbers(info: dict[str, Any], table: pd.DataFrame) -> None:
    provenance = info["provenance"]
    waiting = provenance.get("photographs", {}).get("waiting", 0)
    if waiting:
        st.info(f"{waiting:,} photographs of groups that were left out of the last build wait for one of theirs.")
    elif not provenance.get("complete", True):
        st.warning("The last build was stopped before its end; build again, it goes on from there.")
    skipped = sum(info["skipped"].values())
    decided = int((table["sst:review"] != "").sum())
    numbers = {
        **{noun: f"{count:,}" for noun, count in current_index.count_nouns().items()},
        "skipped": f"{skipped:,}",
        "traits": str(len(info["traits"])),
        "masks": f"{int(table['sst:present'].sum()):,}",
        "reviewed": f"{decided:,}",
        "size": format_size(current_index.get_size()),
    }
    for place, (name, number) in zip(st.container(key="numbers").columns(len(numbers)), numbers.items(), strict=True):
        place.metric(name, number)


def format_size(count: int) -> str:
    """Format a number of bytes with the unit that leaves one to four digits.

    >>> format_size(0), format_size(700_000), format_size(4_300_000), format_size(51_200_000_000)
    ('0 kB', '684 kB', '4.1 MB', '48 GB')
    """
    size, units = count / 1024, ["kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:,.{0 if units[0] == 'kB' or size >= 10 else 1}f} {units[0]}"


def _show_coverage(index: sst.Index, table: pd.DataFrame) -> None:
    st.markdown(f"**On how many {[*current_index.count_nouns()][-1]} each trait was found**")
    columns = [facet.column for facet in current_index.get_facets().values() if facet.kind == "words"]
    if not current_index.has_own_group() or not any(name.casefold() == filters.GROUP for name in columns):
        columns.insert(0, "sst:group")
    columns.sort(key=lambda name: name.casefold() not in (filters.GROUP, "sst:group"))
    column = st.selectbox(
        "by", columns, key="coverage-by", format_func=lambda name: "group" if name == "sst:group" else name
    )
    chart = _draw_coverage(index, current_index.get_cache_key(index), table, column)
    if chart is None:
        st.info("No photograph has been searched yet.")
    else:
        st.vega_lite_chart(chart, width="stretch")


@st.cache_data(max_entries=32, show_spinner=False)
def _draw_coverage(
    _index: sst.Index, key: tuple[str, tuple[int, ...]], _table: pd.DataFrame, column: str
) -> dict[str, Any] | None:
    """Draw the result of `compute_coverage` as Vega-Lite; None if it is empty."""
    shares = compute_coverage(_table, column)
    if not len(shares):
        return None
    shares = shares.assign(label=shares["found"].astype(str) + " / " + shares["looked for"].astype(str))
    # Slanted where there are many: on a phone they would lie on each other.
    several = len(_index.traits) > 3
    above = alt.Axis(labelAngle=-35 if several else 0, labelAlign="left" if several else "center", orient="top",
                     labelColor=INK, labelOverlap=False, labelLimit=120)  # fmt: skip
    base = alt.Chart(shares).encode(
        x=alt.X("trait:N", title=None, sort=list(_index.traits), axis=above),
        y=alt.Y("taxon:N", title=None, axis=alt.Axis(labelLimit=220, labelColor=INK)),
    )
    cells = base.mark_rect(stroke="white", strokeWidth=2).encode(
        color=alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1]), legend=None),
        tooltip=["taxon", "trait", "found", "looked for", alt.Tooltip("share:Q", format=".0%")],
    )
    text = base.mark_text(fontSize=12).encode(
        text=alt.Text("label:N"),
        color=alt.condition(alt.datum.share > 0.55, alt.value("white"), alt.value("#1A1A1A")),
    )
    names = 110 if several else 40  # What the names of the traits take above.
    return _to_vega_lite(alt.layer(cells, text).properties(height=30 * shares["taxon"].nunique() + names))


def _show_confidence(index: sst.Index, table: pd.DataFrame) -> None:
    st.markdown("**Confidence of the masks**")
    chart = _draw_histogram(current_index.get_cache_key(index), table)
    if chart is None:
        st.info("No trait was found yet.")
    else:
        st.vega_lite_chart(chart, width="stretch")


@st.cache_data(max_entries=4, show_spinner=False)
def _draw_histogram(key: tuple[str, tuple[int, ...]], _table: pd.DataFrame) -> dict[str, Any] | None:
    """Draw a histogram of the masks' confidence as Vega-Lite; None if there are no masks."""
    found = _table[_table["sst:present"]]
    if not len(found):
        return None
    edges = [edge / 20 for edge in range(21)]
    binned = pd.cut(found["sst:confidence"], edges, include_lowest=True, labels=edges[:-1])
    counts = binned.value_counts().sort_index().rename_axis("from").reset_index(name="masks")
    counts["from"] = counts["from"].astype(float)
    counts["to"] = counts["from"] + 0.05
    dark = alt.Axis(labelColor=INK, titleColor=INK)
    chart = (
        alt.Chart(counts)
        .mark_bar(color=BLUE)
        .encode(
            x=alt.X("from:Q", title="confidence", bin="binned", scale=alt.Scale(domain=[0, 1]), axis=dark),
            x2="to:Q",
            y=alt.Y("masks:Q", title="masks", axis=dark),
            tooltip=["from", "to", "masks"],
        )
        .properties(height=170)
    )
    return _to_vega_lite(chart)


def _to_vega_lite(chart: alt.Chart | alt.LayerChart | alt.FacetChart) -> dict[str, Any]:
    """Convert a chart to Vega-Lite. Validation makes this the slowest step of the page, so callers cache it."""
    return {name: value for name, value in chart.to_dict().items() if name != "config"}  # Streamlit's looks instead.


def _show_skipped(index: sst.Index) -> None:
    skipped = index.skipped()
    st.markdown(f"**Skipped specimens: {len(skipped):,}**")
    if not skipped:
        st.caption("Every photograph could be used.")
        return
    # The reason is what is to be read: its lines are broken, and the folder that all have in common is left out.
    rows = {"specimen": [row.photograph for row in skipped], "why": _shorten([row.reason for row in skipped])}
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, height=280, row_height=108,
        column_config={"specimen": st.column_config.Column(width=90), "why": st.column_config.Column(width=280)},
    )  # fmt: skip


def _shorten(texts: list[str]) -> list[str]:
    """Leave out the folder of the collection, in which paths begin, if the index says it."""
    try:
        folder = sst.origin_of(current_index.get_path()).folder
    except sst.IndexFolderError:
        return texts
    return [text.replace(f"{folder}/", "") for text in texts]


def _show_notes() -> None:
    """Show what the last build noted, such as photographs whose data are damaged in the middle, but are used."""
    notes = current_index.get_notes()
    if not notes:
        return
    st.markdown(f"**Noted by the last build: {len(notes):,}**")
    with st.container(height=220 if len(notes) > 3 else "content", border=False):
        st.markdown("\n".join(f"- {escape_md(note)}" for note in _shorten(notes[:MAX_NOTES])))
        if len(notes) > MAX_NOTES:
            st.caption(f"{len(notes) - MAX_NOTES:,} more below, in *Everything that is known*.")


def _show_provenance(info: dict[str, Any]) -> None:
    provenance = info["provenance"]
    settings = info["settings"]
    st.markdown("**How it was made**")
    left, right = st.columns([1, 1.2], gap="medium")
    with left:
        lines = {
            "masks by": dict(settings.get("propagator", {})).get("model", "not said"),
            "vectors by": dict(settings.get("embedder", {})).get("embedder", "not said"),
            "from": provenance.get("table", "not said"),
            "built": f"{str(provenance.get('started', ''))[:16]} to {str(provenance.get('ended', ''))[:16]}",
            "on": f"{provenance.get('device', '')}, {provenance.get('platform', '')}",
            "generation": str(info["generation"]),
            "folder": str(info["path"]),
        }
        rows = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in lines.items())
        st.html(f'<table class="facts">{"".join(rows)}</table>')
        with st.expander("Everything that is known"):
            st.json(replace_gaps(provenance), expanded=1)
    with right:
        st.caption("Built again, unchanged photographs are not computed twice.")
        show_rebuild()


main()
