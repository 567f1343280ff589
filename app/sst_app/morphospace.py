"""Morphospace: the vectors of a trait in two dimensions; circle some points and look at them on the light table."""

from __future__ import annotations

import importlib.util
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

import sst_retrieval as sst
from sst_app import choosing, components, opening, pictures
from sst_app.filters import facets
from sst_app.markdown import plain

HEIGHT = 520
FEW = 150
"""Of so few specimens all pictures go to the browser at once; of more, each when the cursor comes to it."""

MANY = 5000
"""Of more specimens only the name is written below a point's picture: the page stays quick."""

MOST_WORDS = 32
"""So many words of a column get a sign of their own; the rarer ones share one."""


def main() -> None:
    """Draw the page."""
    index = opening.index()
    if not index.traits:
        st.info("This index holds no traits yet; when its build has found some, they appear here.")
        return
    table = opening.table()
    head = st.columns([1.2, 1.2, 1.2, 1.2], vertical_alignment="bottom")
    trait = head[0].selectbox("Trait", index.traits, key="space-trait", bind="query-params")
    blocks = head[1].multiselect("of", list(index.blocks), default=list(index.blocks)[:1], key="space-blocks")
    known = {facet.column: facet for facet in facets(table, index.columns)}
    colour = head[2].selectbox("Colour by", ["group", *known, "confidence"], key="space-colour", bind="query-params")
    umap = importlib.util.find_spec("umap") is not None
    ways = ["PCA", "UMAP"] if umap else ["PCA"]
    hint = None if umap else "UMAP appears here once it is installed: pip install 'sst-retrieval[umap]'"
    way = head[3].segmented_control("by", ways, default="PCA", key="space-way", required=True, help=hint)
    weights = {block: float(block in blocks or not blocks) for block in index.blocks}
    specimens, places, axes = space(index, choosing.cache_key(index), trait, tuple(weights.items()), way)
    own = table[table["sst:trait"] == trait].set_index("sst:specimen").loc[list(specimens)]
    values = own["sst:group" if colour == "group" else "sst:confidence" if colour == "confidence" else colour]
    numbers = colour == "confidence" or (colour in known and known[colour].kind != "words")
    left, right = st.columns([2.6, 1], gap="medium")
    with right:
        kinds, shades = _ramp(values, colour) if numbers else _legend(values, colour)
    version = f"{trait}-{weights}-{colour}-{way}-{index.state}"
    data = {
        "x": np.round(places[:, 0], 4).tolist(), "y": np.round(places[:, 1], 4).tolist(), "axes": axes,
        "names": list(specimens), "notes": values.astype(str).tolist() if len(specimens) <= MANY else [],
        "kind": kinds, "shade": shades, "ramp": numbers, "height": HEIGHT, "version": version,
    }  # fmt: skip
    with left:
        circled = _scatter(index, trait, data)
    if circled is not None:
        st.session_state["space-chosen"] = (version, [specimens[place] for place in circled])
    known_version, chosen = st.session_state.get("space-chosen", ("", []))
    if known_version == version and chosen:
        _light_table(index, trait, chosen, own)
    else:
        st.caption("Move over a point to see its trait; draw a line around some to lay them on the light table.")


@st.cache_data(max_entries=16, show_spinner="Laying the specimens out; UMAP takes a minute the first time")
def space(
    _index: sst.Index, key: tuple[str, tuple[int, int]], trait: str, weights: tuple[tuple[str, float], ...], way: str
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, str]]:
    """Lay the vectors of a trait out in two dimensions.

    Returns:
        Specimens, float64 (N, 2), and what the two axes are called.
    """
    found = _index.morphospace(trait, weights=dict(weights), components=30 if way == "UMAP" else 2)
    if way == "UMAP":
        import umap  # An extra, slow to load.

        # PCA first, as its authors advise: 30 components hold nearly all, and the neighbours come out the same.
        places = umap.UMAP(n_components=2, random_state=0, n_jobs=1).fit_transform(found.scores)
        return found.specimens, np.asarray(places, dtype=np.float64), ("UMAP 1", "UMAP 2")
    scores = np.column_stack([found.scores, np.zeros((len(found.scores), max(0, 2 - found.scores.shape[1])))])
    shares = [*found.explained, 0.0]
    return found.specimens, scores[:, :2], (f"PC1 ({shares[0]:.0%} of the variance)", f"PC2 ({shares[1]:.0%})")


@st.fragment
def _scatter(index: sst.Index, trait: str, data: dict[str, Any]) -> list[int] | None:
    """Show the points; only this part runs again when the cursor asks for a picture."""
    key = choosing.cache_key(index)
    asked = st.session_state.get("space-asked")
    if len(data["names"]) <= FEW:
        data["pictures"] = {name: pictures.uri(pictures.crop(index, key, name, trait)) for name in data["names"]}
    elif asked is not None and asked in data["names"]:
        place = data["names"].index(asked)
        picture = pictures.uri(pictures.crop(index, key, asked, trait))
        note = f"{asked}: {data['notes'][place]}" if data["notes"] else asked
        data["hover"] = {"specimen": asked, "note": note, "image": picture}
    hover, circled = components.points(data, key="space-points")
    if hover and hover != asked and len(data["names"]) > FEW:
        st.session_state["space-asked"] = hover
        st.rerun(scope="fragment")
    if circled is not None:
        st.session_state["space-circled"] = circled
        st.rerun(scope="app")
    found: list[int] | None = st.session_state.pop("space-circled", None)
    return found


def _legend(values: pd.Series, title: str) -> tuple[list[int], list[float]]:
    """Give every word a sign, and list them."""
    words = values.astype(object).where(values.notna(), "not known").astype(str)
    counts = words.value_counts()
    kept = list(counts.index[:MOST_WORDS])
    signs = {word: place for place, word in enumerate(kept)}
    shapes, inks = "●■▲◆", components.INKS
    lines = [
        f'<div class="tile-line sign" title="{escape(word)}"><span style="color:{inks[place % len(inks)]}">'
        f"{shapes[place // len(inks) % 4]}</span> {escape(word)} ({counts[word]:,})</div>"
        for word, place in signs.items()
    ]
    st.markdown(f"**{plain(title)}**")
    st.html(f'<div style="max-height:{HEIGHT - 60}px;overflow:auto">{"".join(lines)}</div>')
    if len(counts) > len(kept):
        st.caption(f"{len(counts) - len(kept)} rarer ones share the last sign.")
    return words.map(signs).fillna(MOST_WORDS - 1).astype(int).tolist(), []


def _ramp(values: pd.Series, title: str) -> tuple[list[int], list[float | None]]:
    """Turn numbers or dates into 0..1."""
    dates = not pd.api.types.is_numeric_dtype(values)
    numbers = pd.to_datetime(values).astype("int64").where(values.notna()) if dates else values.astype(float)
    low, high = numbers.min(), numbers.max()
    span = (high - low) or 1
    st.markdown(f"**{plain(title)}**")
    ends = [str(values.min())[:10], str(values.max())[:10]] if dates else [f"{low:.4g}", f"{high:.4g}"]
    gradient = "linear-gradient(90deg,#440154,#3B528B,#21918C,#5EC962,#FDE725)"
    st.html(
        f'<div style="height:12px;border-radius:3px;background:{gradient}"></div>'
        f'<div class="tile-line" style="display:flex;justify-content:space-between"><span>{ends[0]}</span>'
        f"<span>{ends[1]}</span></div>"
    )
    shades = [None if pd.isna(number) else float((number - low) / span) for number in numbers]
    return [0] * len(values), shades


def _light_table(index: sst.Index, trait: str, specimens: list[str], table: pd.DataFrame) -> None:
    """Lay the circled specimens side by side."""
    key = choosing.cache_key(index)
    head = st.columns([3, 1, 1], vertical_alignment="center")
    head[0].markdown(f"**{len(specimens):,} circled**")
    rows = table.loc[specimens].reset_index()
    head[1].download_button(
        "CSV", rows.to_csv(index=False).encode(), f"{trait}-circled.csv", "text/csv", on_click="ignore", width="stretch"
    )
    shown = specimens[:24]
    for start in range(0, len(shown), 6):
        for place, name in zip(st.columns(6), shown[start : start + 6], strict=False):
            with place:
                st.image(pictures.crop(index, key, name, trait), width="stretch")
                st.button(
                    plain(choosing.short(name)), key=f"space-{name}", help=plain(f"Search with {trait} of {name}"),
                    width="stretch", on_click=_ask, args=(name, trait),
                )  # fmt: skip
    if len(specimens) > len(shown):
        st.caption(f"{len(specimens) - len(shown):,} more are in the CSV.")
    if st.session_state.pop("space-ask", False):
        st.switch_page("sst_app/search.py")


def _ask(specimen: str, trait: str) -> None:
    st.session_state["asked"] = (specimen, trait)
    st.session_state["space-ask"] = True


main()
