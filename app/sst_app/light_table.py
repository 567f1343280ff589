"""The light table: hits as tiles, side by side, as a table and as a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

import sst_retrieval as sst
from sst_app import asking, choosing, components, describing, examples, pictures, sentences
from sst_app.markdown import plain

SIZES = {"small": 6, "medium": 4, "large": 3}
"""Size of tiles -> how many stand in a row."""

LETTERS = {"small": 6, "medium": 11, "large": 20}
"""So many letters of a name fit below a tile."""

ROWS = {"small": 4, "medium": 3, "large": 3}
BLOCK_COLOURS = {"pattern": "#0072B2", "colour": "#E69F00", "shape": "#009E73", "text": "#CC79A7"}
SIDE = 360
"""Edge of a picture of the comparison, in pixels."""


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
    _downloads(head[2:], index, question, hits[: page * a_page])
    if not shown:
        _none(page, where, said)
        return
    chosen = [hit for hit in hits if st.session_state.get(f"compare-{hit.specimen}")]
    if len(chosen) > 1:
        compare(index, chosen)
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


def as_table(hits: Sequence[sst.Hit]) -> pd.DataFrame:
    """Write hits as a table, one row a hit."""
    rows = [
        {
            "rank": hit.rank,
            "specimen": hit.specimen,
            "trait": hit.trait,
            "similarity": round(hit.similarity, 5),
            **{block: round(value, 5) for block, value in hit.blocks.items()},
            **{f"similarity_{part.trait}": round(part.similarity, 5) for part in hit.parts},
            "mask_confidence": round(hit.confidence, 4),
            **hit.metadata,
        }
        for hit in hits
    ]
    return pd.DataFrame(rows)


def compare(index: sst.Index, hits: Sequence[sst.Hit]) -> None:
    """Show traits side by side at the same scale: so many pixels of the photograph are as long on each."""
    with st.container(border=True):
        head = st.columns([4, 1], vertical_alignment="center")
        head[0].markdown(f"**{len(hits)} side by side**, one pixel of every photograph equally large")
        head[1].button("Clear", on_click=_untick, args=([hit.specimen for hit in hits],), width="stretch")
        boxes = [index.region(hit.specimen, hit.trait).box for hit in hits]
        side = round(1.2 * max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes))
        for place, hit in zip(st.columns(min(4, len(hits))) * len(hits), hits, strict=False):
            try:
                picture = same_scale(index, choosing.cache_key(index), hit.specimen, hit.trait, side)
            except sst.ImageError as error:
                place.warning(plain(error))
                continue
            place.image(picture, caption=f"{plain(hit.specimen)} ({side} px wide)", width="stretch")


@st.cache_data(max_entries=64, show_spinner="Reading the photographs")
def same_scale(_index: sst.Index, key: tuple[str, tuple[int, int]], specimen: str, trait: str, side: int) -> bytes:
    """Cut a square of `side` pixels around a trait out of its photograph; beyond the edge it is grey."""
    image, mask = _index.photograph(specimen), _index.mask(specimen, trait)
    x0, y0, x1, y1 = _index.region(specimen, trait).box
    left, top = (x0 + x1 - side) // 2, (y0 + y1 - side) // 2
    height, width = image.shape[:2]
    window = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
    scale = SIDE / side
    size = (max(1, round((window[2] - window[0]) * scale)), max(1, round((window[3] - window[1]) * scale)))
    piece = sst.overlay(image, {trait: mask}, window, size, {trait: sst.PALETTE[0]}, 0)
    square = Image.new("RGB", (SIDE, SIDE), "#ECECEA")
    square.paste(piece, (round((window[0] - left) * scale), round((window[1] - top) * scale)))
    return pictures.jpeg(np.asarray(square))


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
    known = {**hit.metadata, **index.region(hit.specimen, hit.trait).measurements}
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


def _downloads(places: Sequence[object], index: sst.Index, question: asking.Question, hits: Sequence[sst.Hit]) -> None:
    table, sheet = places
    name = f"{question.trait}-hits"
    table.download_button(  # type: ignore[attr-defined]
        "CSV", lambda: as_table(hits).to_csv(index=False).encode(), f"{name}.csv", "text/csv", disabled=not hits,
        help="The hits up to this page as a table", icon=":material/download:", width="stretch", on_click="ignore",
    )  # fmt: skip
    sheet.download_button(  # type: ignore[attr-defined]
        "Sheet", lambda: _sheet(index, question, hits), f"{name}.png", "image/png", disabled=not hits,
        help="The hits up to this page as a contact sheet (PNG)", icon=":material/download:", width="stretch",
        on_click="ignore",
    )  # fmt: skip


def _sheet(index: sst.Index, question: asking.Question, hits: Sequence[sst.Hit]) -> bytes:
    columns = [name for name in ("scientificName", "species", "subspecies", "sex", "locality") if name in index.columns]
    tiles = [_sheet_tile(index, hit, columns[:3]) for hit in hits]
    heading = f"Most similar first: {question.words()}"
    return pictures.png(sst.contact_sheet(asking.query_tile(index, question), tiles, heading=heading))


def _sheet_tile(index: sst.Index, hit: sst.Hit, columns: list[str]) -> sst.Tile:
    """Show a hit on the sheet: on its photograph, or if that cannot be opened on the small picture of the index."""
    try:
        return sst.hit_tile(hit, index.photograph(hit.specimen), columns=columns)
    except sst.ImageError:
        small = pictures.pixels(pictures.crop(index, choosing.cache_key(index), hit.specimen, hit.trait))
        lines = [f"similarity {hit.similarity:.3f}", "its photograph was not opened"]
        return sst.Tile(small, {}, hit.specimen, lines, badge=str(hit.rank))


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


def _untick(specimens: Sequence[str]) -> None:
    for specimen in specimens:
        st.session_state[f"compare-{specimen}"] = False
