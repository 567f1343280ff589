"""Details of a hit in a dialog: the photograph with all traits, to zoom; the hits before and after; what is known."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

import sst_retrieval as sst
from sst_app import (
    captions,
    components,
    current_index,
    downloads,
    index_images,
    individuals,
    query_examples,
    query_input,
    url_state,
)
from sst_app.json_values import is_missing
from sst_app.markdown import escape_md
from sst_app.page_errors import show_errors


def open_for(specimen: str, trait: str) -> None:
    """Let the details of a hit be shown in this run."""
    st.session_state["details-asked"] = (specimen, trait)


def show_if_asked(index: sst.Index, query: query_input.QueryInput, hits: Sequence[sst.Hit]) -> None:
    """Show the dialog if a button has asked for it in this run."""
    asked = st.session_state.pop("details-asked", None)
    if asked is not None:
        st.session_state["details-at"] = asked
        _show(index, query, hits)


def set_query(specimen: str, trait: str) -> None:
    """Make a trait of a specimen the next query; in a callback, or before the widgets of the page are made."""
    url_state.put("specimen", specimen)
    url_state.put("trait", trait)
    query_examples.clear()
    for name in ("page", "together"):
        url_state.put(name)
    # Streamlit itself writes "way" into the URL.
    st.session_state["way"], st.session_state["trait"], st.session_state["words"] = "a specimen", trait, ""
    st.session_state["together"] = []


def describe_example_buttons(query: query_input.QueryInput) -> dict[str, str]:
    """Describe the two buttons that add a specimen to the query: like and unlike."""
    what = "specimen" if len(query.traits) > 1 else query.trait
    return {"like": f"Ask for what is like this {what}, too", "unlike": f"Ask for what is not like this {what}"}


def _show_example_buttons(index: sst.Index, query: query_input.QueryInput, specimen: str) -> None:
    """Show two buttons that add a specimen to the query as an example."""
    kinds: tuple[query_examples.Kind, ...] = ("like", "unlike")
    signs = {"like": ":material/thumb_up:", "unlike": ":material/thumb_down:"}
    hints = describe_example_buttons(query)
    for kind in kinds:
        if st.button(
            kind, key=f"{kind}-opened-{specimen}", icon=signs[kind], help=escape_md(f"{hints[kind]} ({specimen})"),
            on_click=query_examples.add, args=(index, kind, specimen, query.traits),
        ):  # fmt: skip
            st.rerun()  # Closes the dialog.


def _show_relatives(index: sst.Index, specimen: str, trait: str) -> None:
    """Show which one it is, its photograph and the specimen's other ones; a click on another one asks with that."""
    st.caption(escape_md(individuals.describe(index.individual(specimen))))
    clicked = individuals.show_on_photograph(index, specimen, key=f"details-photograph-{specimen}")
    clicked = clicked or individuals.show_others(index, specimen, key=f"details-other-{specimen}")
    if clicked is not None and clicked != specimen:
        st.session_state["asked"] = (clicked, trait)
        st.rerun()


def _move_to(specimen: str, trait: str) -> None:
    st.session_state["details-at"] = (specimen, trait)


@st.dialog("Details", width="large")
@show_errors()
def _show(index: sst.Index, query: query_input.QueryInput, hits: Sequence[sst.Hit]) -> None:
    """Show a hit; next and previous rerun only this dialog."""
    specimen, trait = st.session_state["details-at"]
    key = current_index.get_cache_key(index)
    place = next((number for number, hit in enumerate(hits) if hit.individual == specimen), None)
    hit = None if place is None else hits[place]
    with st.container(horizontal=True, vertical_alignment="center"):
        title = f"**{escape_md(specimen)}**"
        st.markdown(title if hit is None else f"{hit.rank}. {title}, similarity {hit.similarity:.3f}", width="stretch")
        for label, sign, step, shortcut in (
            ("Previous", ":material/arrow_back:", -1, "left"),
            ("Next", ":material/arrow_forward:", 1, "right"),
        ):
            other = None if place is None or not 0 <= place + step < len(hits) else hits[place + step]
            st.button(
                label, icon=sign, key=f"details-{label}", disabled=other is None, shortcut=shortcut, on_click=_move_to,
                args=None if other is None else (other.individual, other.trait),
            )  # fmt: skip
    size, outlines = index_images.read_outlines(index, key, specimen)
    try:
        picture, _ = index_images.read_photograph(index, key, specimen)
    except sst.ImageError as error:
        st.warning(f"{escape_md(error)}. Shown is the small picture of the index.")
        picture = index_images.read_thumbnail(index, key, specimen)
    components.show_specimen(
        index_images.make_data_uri(picture), size, outlines, captions.get_trait_colours(index),
        key="details-picture", chosen=trait, label=specimen, clickable=False, zoomable=True,
    )  # fmt: skip
    with st.container(horizontal=True):
        if st.button(
            f"Ask with {escape_md(trait)} of this specimen", type="primary", icon=":material/search:",
            key=f"ask-{specimen}", on_click=set_query, args=(specimen, trait),
        ):  # fmt: skip
            st.rerun()
        _show_example_buttons(index, query, specimen)
    if not index.catalog.plain:
        _show_relatives(index, specimen, trait)
    measured = index.region(specimen, trait).measurements
    metadata = dict(index.individual(specimen).metadata)
    known = {**metadata, **downloads.prefix_clashes(metadata, measured)}
    rows = [{"column": name, "value": str(value)} for name, value in known.items() if not is_missing(value)]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height=220)
