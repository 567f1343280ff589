"""The light table: hits as tiles."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

import sst_retrieval as sst
from sst_app import asking, choosing, components, describing, examples, hit_files, pictures, sentences, side_by_side
from sst_app.markdown import plain

SIZES = {"small": 6, "medium": 4, "large": 3}
"""Size of tiles -> how many stand in a row."""

LETTERS = {"small": 6, "medium": 11, "large": 20}
"""So many letters of a name fit below a tile."""

ROWS = {"small": 4, "medium": 3, "large": 3}
BLOCK_COLOURS = {"pattern": "#0072B2", "colour": "#E69F00", "shape": "#009E73", "text": "#CC79A7"}


def show(
    index: sst.Index,
    question: asking.Question,
    weights: dict[str, float],
    where: str | None,
    said: sentences.Said | None = None,
) -> None:
    """Search, and lay out the hits."""
    head = st.columns([2.1, 1.75, 1, 1.05], vertical_alignment="bottom")
    size = head[0].segmented_control(
        "Tiles", list(SIZES), default="medium", key="tiles", bind="query-params", required=True
    )
    view = head[1].segmented_control(
        "Show", ["trait", "specimen"], default="trait", key="view", bind="query-params", required=True
    )
    a_page = SIZES[size] * ROWS[size]
    page = _page()
    words = None
    if said is not None and not question.several:
        words = describing.described(index, said.question, question.trait)
    hits = found(index, question, weights, where, page * a_page + 1, said, words)
    more = len(hits) > page * a_page
    shown = hits[(page - 1) * a_page : page * a_page]
    hit_files.offer(head[2:], index, question, hits[: page * a_page])
    if not shown:
        _none(page, where, said)
        return
    chosen = [hit for hit in hits if st.session_state.get(f"compare-{hit.specimen}")]
    if len(chosen) > 1:
        side_by_side.show(index, chosen)
    _notes(index, question, said, words)
    _tiles(index, question, shown, size, view)
    back, note, on = st.columns([1, 3, 1], vertical_alignment="center")
    back.button("Earlier", icon=":material/arrow_back:", on_click=_turn, args=(page - 1,), disabled=page == 1)
    note.caption(f"hits {shown[0].rank} to {shown[-1].rank}. Tick tiles to compare them side by side.")
    on.button("More", icon=":material/arrow_forward:", on_click=_turn, args=(page + 1,), disabled=not more)


def _notes(
    index: sst.Index, question: asking.Question, said: sentences.Said | None, words: describing.Described | None
) -> None:
    """Say how several examples, and words that only a model understands, are read."""
    if words is not None:
        describing.order(words, beside_example=bool(question.like) or question.vectors is not None)
    if question.several:
        st.caption(f"Asked: {plain(question.words())}.")
        if said is not None and (said.question.rank or sst.words_for_model(index, said.question, question.trait)):
            st.caption(
                "Words for colours and sizes, and those for the index's model, are not asked together with several "
                "examples; the others are."
            )


def _page() -> int:
    """Return the page that is looked at, counted from 1."""
    text = st.query_params.get("page", "1")
    return min(1000, max(1, int(text))) if text.isdecimal() else 1


def _turn(page: int) -> None:
    st.query_params["page"] = str(page)


def found(
    index: sst.Index,
    question: asking.Question,
    weights: dict[str, float],
    where: str | None,
    k: int,
    said: sentences.Said | None = None,
    described: describing.Described | None = None,
) -> list[sst.Hit]:
    """Search; the same question is answered from memory."""
    asked = {
        "like": question.like or None,
        "unlike": question.unlike or None,
        # Without examples of the index the trait must be said; with them, each asks for its own.
        "trait": None if question.like and question.vectors is None else question.trait,
        "weights": weights,
        "where": where,
        "k": k,
    }
    vectors = b"" if question.vectors is None else question.vectors.tobytes()
    seen = None if described is None else described.vector
    words = repr((asked, None if said is None else said.chips, None if seen is None else seen.tobytes()))
    return _found(index, said, choosing.cache_key(index), words, vectors, question, asked, seen)


@st.cache_resource(max_entries=64, show_spinner=False)
def _found(
    _index: sst.Index,
    _said: sentences.Said | None,
    key: tuple[str, tuple[int, int]],
    words: str,
    vectors: bytes,
    _question: asking.Question,
    _asked: dict[str, Any],
    _described: Any,
) -> list[sst.Hit]:
    if _said is None:
        return _index.search(vectors=_question.vectors, **_asked)
    if _question.several:
        where = " AND ".join(f"({each}\n)" for each in (_said.question.where, _asked["where"]) if each) or None
        return _index.search(vectors=_question.vectors, **{**_asked, "where": where})
    simple = {**_asked, "like": next(iter(_question.like), None), "trait": _question.trait}
    del simple["unlike"]
    return sst.answer(_index, _said.question, vectors=_question.vectors, described=_described, **simple)


def _tiles(index: sst.Index, question: asking.Question, hits: Sequence[sst.Hit], size: str, view: str) -> None:
    across = SIZES[size]
    for start in range(0, len(hits), across):
        for place, hit in zip(st.columns(across, gap="small"), hits[start : start + across], strict=False):
            with place.container(border=True, gap="xsmall", key=f"tile-{components.safe(hit.specimen)}"):
                shape = "4/3" if view == "trait" else "3/2"
                st.html(_tile(hit, _pictures(index, hit, view), shape, LETTERS[size]))
                with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                    st.checkbox(
                        f"compare {plain(hit.specimen)}", key=f"compare-{hit.specimen}", label_visibility="collapsed",
                        help="Tick to compare side by side",
                    )  # fmt: skip
                    if size != "small":
                        _more_and_less(index, question, hit, "")
                    hint = "The whole specimen, and what is known"
                    if st.button("Details", key=f"open-{hit.specimen}", type="tertiary", help=hint):
                        opened(index, question, hit)


def _pictures(index: sst.Index, hit: sst.Hit, view: str) -> list[bytes]:
    """Return the small pictures of a hit: one a trait, or the specimen."""
    key = choosing.cache_key(index)
    if view == "specimen":
        return [pictures.thumbnail(index, key, hit.specimen)]
    return [pictures.crop(index, key, hit.specimen, each.trait) for each in hit.parts or (hit,)]


def _more_and_less(index: sst.Index, question: asking.Question, hit: sst.Hit, where: str) -> None:
    """Offer to add a hit to the question."""
    what = "specimen" if len(question.traits) > 1 else question.trait
    kinds: tuple[examples.Kind, ...] = ("like", "unlike")
    signs = {"like": ":material/thumb_up:", "unlike": ":material/thumb_down:"}
    hints = {"like": f"Ask for what is like this {what}, too", "unlike": f"Ask for what is not like this {what}"}
    for kind in kinds:
        if st.button(
            kind if where else "", key=f"{kind}{where}-{hit.specimen}", icon=signs[kind], help=plain(hints[kind]),
            type="secondary" if where else "tertiary",
        ):  # fmt: skip
            examples.add(index, kind, hit.specimen, question.traits)
            st.rerun()


def _tile(hit: sst.Hit, small: Sequence[bytes], shape: str, most: int) -> str:
    """Write one tile: its pictures, name, similarity with its parts, who it is."""
    bars = "".join(
        f'<span>{escape(block)}</span><span><span class="bar" style="width:{max(2, 100 * max(0.0, value)):.0f}%;'
        f'background:{BLOCK_COLOURS.get(block, "#555555")}"></span></span><span>{value:.2f}</span>'
        for block, value in hit.blocks.items()
    )
    who = escape(choosing.caption(dict(hit.metadata), brief=True))
    images = "".join(
        f'<img src="{pictures.uri(picture)}" alt="{escape(hit.trait)} of {escape(hit.specimen)}" class="well" '
        f'style="width:{100 / len(small):.1f}%;aspect-ratio:{shape};object-fit:contain">'
        for picture in small
    )
    name = f"{hit.rank}. {escape(choosing.short(hit.specimen, most))}"
    return (
        f'<div style="display:flex">{images}</div>'
        f'<div class="tile-name" title="{escape(hit.specimen)}">{name}</div>'
        f'<div class="tile-line" title="{who}">{who}</div>'
        f'<div class="tile-line two"><span title="similarity, 0 to 1"><b>{hit.similarity:.3f}</b></span>'
        f'<span title="confidence of the mask">{"mask " * (most > LETTERS["small"])}{hit.confidence:.2f}</span></div>'
        f'<div class="bars">{bars}</div>'
    )


@st.dialog("Specimen", width="large")
def opened(index: sst.Index, question: asking.Question, hit: sst.Hit) -> None:
    """Show a hit: the photograph itself, all its traits, and what is known of it."""
    key = choosing.cache_key(index)
    size, outlines = pictures.outlines(index, key, hit.specimen)
    try:
        picture, _ = pictures.photograph(index, key, hit.specimen)
    except sst.ImageError as error:
        st.warning(f"{plain(error)}. Shown is the small picture of the index.")
        picture = pictures.thumbnail(index, key, hit.specimen)
    st.markdown(f"**{hit.rank}. {plain(hit.specimen)}**, similarity {hit.similarity:.3f}")
    components.specimen(
        pictures.uri(picture), size, outlines, choosing.colours(index), key=f"opened-{hit.specimen}",
        chosen=hit.trait, label=hit.specimen, clickable=False,
    )  # fmt: skip
    with st.container(horizontal=True):
        if st.button(f"Ask with {plain(hit.trait)} of this specimen", type="primary", icon=":material/search:"):
            use(hit.specimen, hit.trait)
            st.rerun()
        _more_and_less(index, question, hit, "-opened")
    measured = index.region(hit.specimen, hit.trait).measurements
    known = {**hit.metadata, **hit_files.beside(hit.metadata, measured)}
    rows = [{"column": name, "value": str(value)} for name, value in known.items() if value not in (None, "")]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height=220)


def use(specimen: str, trait: str) -> None:
    """Make a hit the next query."""
    st.query_params["specimen"], st.query_params["trait"] = specimen, trait
    st.query_params["way"] = "a specimen"
    examples.clear()
    for name in ("page", "together"):
        st.query_params.pop(name, None)
    for key in ("trait", "way", "together"):
        st.session_state.pop(key, None)


def _none(page: int, where: str | None, said: sentences.Said | None) -> None:
    if page > 1:
        st.info("There are no hits on this page.")
        st.button("To the first page", on_click=_turn, args=(1,))
    elif where and said is not None:
        st.info("No specimen fulfils the sentence and passes the filters; take a part of it, or a filter, away.")
    elif said is not None:
        st.info("No specimen fulfils all of the sentence; click a part of it above to take that away.")
    elif where:
        st.info("No specimen passes these filters; take one away on the left.")
    else:
        st.info("No other specimen shows this trait.")
