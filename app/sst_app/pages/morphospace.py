"""Morphospace page: the vectors of a trait in two dimensions; a lasso shows the crops of the points inside."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

import sst_retrieval as sst
from sst_app import captions, components, current_index, filters, index_images
from sst_app.json_values import UNKNOWN, format_values, to_json
from sst_app.markdown import escape_md
from sst_app.page_errors import show_errors

HEIGHT = 520
MAX_PRELOADED = 150
"""With up to this many specimens all crops are sent to the browser at once; with more, each on hover."""

MAX_NOTES = 5000
"""With more specimens the tooltip of a point has no value of the colour column, to keep the page fast."""

NO_VALUE_COLOUR = "#8A8A8A"
"""Colour of points without a value, as in points.js."""

MAX_WORDS = 32
"""Number of values that have a marker of their own; rarer values share one."""


def main() -> None:
    """Show the page."""
    index = current_index.get_index()
    if not current_index.check_traits(index):
        return
    head = st.columns([1.2, 1.2, 1.2, 1.2], vertical_alignment="bottom")
    trait = head[0].selectbox("Trait", index.traits, key="space-trait", bind="query-params")
    blocks = head[1].multiselect("Compared by", list(index.blocks), default=list(index.blocks)[:1], key="space-blocks")
    colour = head[2].selectbox(
        "Colour by",
        filters.list_colour_columns(current_index.get_facets(), own_group=current_index.has_own_group()),
        key="space-colour",
        bind="query-params",
    )
    umap = importlib.util.find_spec("umap") is not None
    ways = ["PCA", "UMAP"] if umap else ["PCA"]
    hint = None if umap else "UMAP appears here once it is installed: pip install 'sst-retrieval[umap]'"
    way = head[3].segmented_control("Layout", ways, default="PCA", key="space-way", required=True, help=hint)
    weights = tuple((block, float(block in blocks or not blocks)) for block in index.blocks)
    key = current_index.get_cache_key(index)
    try:
        scatter = _make_scatter(index, key, trait, weights, way, colour)
    except sst.QueryError as error:
        st.info(escape_md(f"A morphospace of {trait} cannot be made: {error}."))
        return
    left, right = st.columns([2.6, 1], gap="medium")
    with right:
        st.markdown(f"**{escape_md(colour)}**")
        st.html(scatter.legend)
        if scatter.rarer:
            st.caption(f"{scatter.rarer} rarer ones share the last sign.")
    with left:
        circled = _show_scatter(index, trait, scatter)
    if circled is not None:
        st.session_state["space-chosen"] = (scatter.version, [scatter.specimens[place] for place in circled])
    known_version, chosen = st.session_state.get("space-chosen", ("", []))
    if known_version == scatter.version and chosen:
        _show_selection(index, trait, chosen)
    else:
        st.caption("Move over a point to see its trait; draw a line around some to lay them on the light table.")


@dataclass(frozen=True, slots=True)
class Scatter:
    """Data of the scatter plot and its legend.

    Attributes:
        version: key of the plot; the browser redraws when it changes.
        specimens: ids, one per point.
        notes: values of the colour column, one per point; empty with more than MAX_NOTES points.
        points: x, y, names, notes, kind and shade of the points, as JSON; made once, not at every interaction.
        axes: labels of the axes.
        ramp: whether the colours are a numeric scale.
        legend: legend as HTML.
        rarer: number of values that share the last marker.
    """

    version: str
    specimens: tuple[str, ...]
    notes: list[str]
    points: str
    axes: tuple[str, str]
    ramp: bool
    legend: str
    rarer: int


@st.cache_resource(max_entries=8, show_spinner=False)
def _make_scatter(
    _index: sst.Index,
    key: tuple[str, tuple[int, ...]],
    trait: str,
    weights: tuple[tuple[str, float], ...],
    way: str,
    colour: str,
) -> Scatter:
    """Compute the layout, colours and legend of the scatter plot."""
    specimens, places, axes = compute_layout(_index, key, trait, weights, way)
    own = _get_trait_table(trait).loc[list(specimens)]
    known = current_index.get_facets()
    values = own[colour if colour in known else f"sst:{colour.removeprefix('sst:')}"]
    numbers = known[colour].kind != "words" if colour in known else colour.endswith("confidence")
    rarer = 0
    if numbers:
        kinds, shades, legend = _make_ramp(values)
    else:
        kinds, shades, legend, rarer = _make_legend(values)
    notes = format_values(values).tolist() if len(specimens) <= MAX_NOTES else []
    points = {
        "x": np.round(places[:, 0], 4).tolist(), "y": np.round(places[:, 1], 4).tolist(), "names": specimens,
        "notes": notes, "kind": kinds, "shade": shades,
    }  # fmt: skip
    version = f"{trait}-{weights}-{colour}-{way}-{key}"
    return Scatter(version, specimens, notes, to_json(points), axes, numbers, legend, rarer)


def _get_trait_table(trait: str) -> pd.DataFrame:
    """Return the table of one trait, one row per specimen."""
    return current_index.get_table(trait).set_index("sst:individual")


@st.cache_resource(max_entries=16, show_spinner="Laying the specimens out; UMAP takes a minute the first time")
def compute_layout(
    _index: sst.Index, key: tuple[str, tuple[int, ...]], trait: str, weights: tuple[tuple[str, float], ...], way: str
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, str]]:
    """Project the vectors of a trait to two dimensions.

    Returns:
        Specimens; coordinates, float64 (N, 2); labels of the two axes.
    """
    found = _index.morphospace(trait, weights=dict(weights), components=30 if way == "UMAP" else 2)
    if way == "UMAP":
        import umap  # Optional dependency, slow to load.

        # PCA first, as UMAP's authors recommend: 30 components hold nearly all the variance.
        places = umap.UMAP(n_components=2, random_state=0, n_jobs=1).fit_transform(found.scores)
        return found.specimens, np.asarray(places, dtype=np.float64), ("UMAP 1", "UMAP 2")
    scores = np.column_stack([found.scores, np.zeros((len(found.scores), max(0, 2 - found.scores.shape[1])))])
    shares = [*found.explained, 0.0]
    return found.specimens, scores[:, :2], (f"PC1 ({shares[0]:.0%} of the variance)", f"PC2 ({shares[1]:.0%})")


@st.fragment
@show_errors()
def _show_scatter(index: sst.Index, trait: str, scatter: Scatter) -> list[int] | None:
    """Show the scatter plot, as a fragment: hovering reruns only this function. Return the points in a new lasso."""
    key = current_index.get_cache_key(index)
    hovered = st.session_state.get("space-asked")
    names = scatter.specimens
    data: dict[str, Any] = {
        "points": scatter.points, "axes": scatter.axes, "ramp": scatter.ramp, "height": HEIGHT,
        "version": scatter.version,
    }  # fmt: skip
    if len(names) <= MAX_PRELOADED:
        data["pictures"] = {
            name: index_images.make_data_uri(index_images.read_crop(index, key, name, trait)) for name in names
        }
    elif hovered is not None and hovered in names:
        picture = index_images.make_data_uri(index_images.read_crop(index, key, hovered, trait))
        note = f"{hovered}: {scatter.notes[names.index(hovered)]}" if scatter.notes else hovered
        data["hover"] = {"specimen": hovered, "note": note, "image": picture}
    hover, circled = components.show_scatter(data, key="space-points")
    if hover and hover != hovered and len(names) > MAX_PRELOADED:
        st.session_state["space-asked"] = hover
        st.rerun(scope="fragment")
    if circled is not None:
        st.session_state["space-circled"] = circled
        st.rerun(scope="app")
    found: list[int] | None = st.session_state.pop("space-circled", None)
    return found


def _make_legend(values: pd.Series) -> tuple[list[int], list[float | None], str, int]:
    """Assign markers to values and make the legend; values beyond MAX_WORDS share the last marker."""
    words = format_values(values)
    counts = words.value_counts()
    kept = list(counts.index[:MAX_WORDS])
    signs = {word: place for place, word in enumerate(kept)}
    shapes, inks = "●■▲◆", components.POINT_COLOURS
    lines = [
        f'<div class="tile-line sign" title="{escape(word)}">'
        f'<span class="mark" style="color:{inks[place % len(inks)]}">'
        f"{shapes[(place + place // len(inks)) % 4]}</span> {escape(word)} ({counts[word]:,})</div>"
        for word, place in signs.items()
    ]
    legend = f'<div style="max-height:{HEIGHT - 60}px;overflow:auto">{"".join(lines)}</div>'
    return words.map(signs).fillna(MAX_WORDS - 1).astype(int).tolist(), [], legend, len(counts) - len(kept)


def _make_ramp(values: pd.Series) -> tuple[list[int], list[float | None], str]:
    """Scale numbers or dates to 0..1 and make the legend."""
    dates = not pd.api.types.is_numeric_dtype(values)
    known = pd.to_datetime(values) if dates else values.astype(float)
    known = known[known.notna() & ~known.isin([np.inf, -np.inf])]
    numbers = known.astype("int64").astype(float) if dates else known
    low, high = (numbers.min(), numbers.max()) if len(numbers) else (0.0, 0.0)
    span = (high - low) or 1
    ends = (
        [f"{end:%Y-%m-%d}" if dates else f"{end:.4g}" for end in (known.min(), known.max())] if len(known) else ["", ""]
    )
    gradient = "linear-gradient(90deg,#440154,#3B528B,#21918C,#5EC962,#FDE725)"
    legend = (
        f'<div style="height:12px;border-radius:3px;background:{gradient}"></div>'
        f'<div class="tile-line" style="display:flex;justify-content:space-between"><span>{escape(ends[0])}</span>'
        f"<span>{escape(ends[1])}</span></div>"
    )
    if len(known) < len(values):
        grey = f'<span style="color:{NO_VALUE_COLOUR}">●</span>'
        legend += f'<div class="tile-line sign">{grey} {UNKNOWN} ({len(values) - len(known):,})</div>'
    places = ((numbers - low) / span).reindex(values.index)
    shades = [None if pd.isna(place) else float(place) for place in places]
    return [0] * len(values), shades, legend


def _show_selection(index: sst.Index, trait: str, specimens: list[str]) -> None:
    """Show the crops of the selected specimens, with a CSV download."""
    key = current_index.get_cache_key(index)
    head = st.columns([3, 1, 1], vertical_alignment="center")
    head[0].markdown(f"**{len(specimens):,} circled**")
    rows = _get_trait_table(trait).loc[specimens].reset_index()
    head[1].download_button(
        "CSV", rows.to_csv(index=False).encode(), f"{trait}-circled.csv", "text/csv", on_click="ignore", width="stretch"
    )
    shown = specimens[:24]
    for start in range(0, len(shown), 6):
        for place, name in zip(st.columns(6), shown[start : start + 6], strict=False):
            with place:
                st.image(index_images.read_crop(index, key, name, trait), width="stretch", alt=f"{trait} of {name}")
                st.button(
                    escape_md(captions.shorten(name, affixes=current_index.get_affixes())), key=f"space-{name}",
                    help=escape_md(f"Search with {trait} of {name}"), on_click=_search_with, args=(name, trait),
                    width="stretch",
                )  # fmt: skip
    if len(specimens) > len(shown):
        st.caption(f"{len(specimens) - len(shown):,} more are in the CSV.")
    if st.session_state.pop("space-ask", False):
        st.switch_page("sst_app/pages/search.py")


def _search_with(specimen: str, trait: str) -> None:
    st.session_state["asked"] = (specimen, trait)
    st.session_state["space-ask"] = True


main()
