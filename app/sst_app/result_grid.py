"""The hits of a query as a grid of tiles, with pages, comparison and details."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

import sst_retrieval as sst
from sst_app import (
    captions,
    components,
    current_index,
    details,
    downloads,
    hit_acts,
    index_images,
    index_model,
    individuals,
    query_input,
    sentence_input,
    side_by_side,
    tile_pictures,
    url_state,
)
from sst_app.markdown import escape_md

TILES_PER_ROW = {"small": 6, "medium": 4, "large": 3}
"""Size of tiles -> number of tiles per row."""

NAME_LENGTHS = {"small": 6, "medium": 11, "large": 20}
"""Size of tiles -> number of characters of a name that fit below a tile."""

HITS_KEY = "hits"

COUNTED = 200
"""Largest number of hits that are counted to say which part of a question leaves none."""

ROWS_PER_PAGE = {"small": 4, "medium": 3, "large": 3}
BLOCK_COLOURS = {"pattern": "#0072B2", "colour": "#E69F00", "shape": "#009E73", "text": "#CC79A7"}


def show(
    index: sst.Index,
    query: query_input.QueryInput,
    weights: dict[str, float],
    where: str | None,
    sentence: sentence_input.SentenceQuery | None = None,
    rerank: int = 0,
) -> None:
    """Search, and show a page of hits; the first `rerank` in the order of their neighbours, see `sst.Index.search`."""
    head = st.container(key="head").columns([2.1, 1.75, 1, 1.05], vertical_alignment="bottom")
    size = head[0].segmented_control(
        "Tiles", list(TILES_PER_ROW), default="medium", key="tiles", bind="query-params", required=True
    )
    view = head[1].segmented_control(
        "Show", ["trait", "specimen"], default="trait", key="view", bind="query-params", required=True
    )
    a_page = TILES_PER_ROW[size] * ROWS_PER_PAGE[size]
    per = individuals.show_per_choice(index)
    page = _read_page()
    words = None
    if sentence is not None and not query.several:
        words = index_model.describe_text(index, sentence.question, query.trait)
    most = None if sentence is None else sentence.question.k
    wanted = page * a_page + 1
    count = wanted if most is None else min(wanted, most)
    hits = search(index, query, weights, where, count, sentence, words, per, rerank)
    more = len(hits) > page * a_page
    shown = hits[(page - 1) * a_page : page * a_page]
    downloads.show_buttons(head[2:], index, query, hits[: page * a_page])
    if not shown:
        _show_no_hits(page, where, sentence)
        if page == 1:
            _show_who_is_to_blame(index, query, weights, where, sentence)
        return
    details.show_if_asked(index, query, hits)
    _show_notes(index, query, sentence, words)
    st.html('<div id="hits" tabindex="-1"></div>')
    with st.container(key="light-table"):
        _show_tiles(index, query, shown, size, view)
    back, note, on = st.columns([1, 3, 1], vertical_alignment="center")
    back.button("Earlier", icon=":material/arrow_back:", on_click=_set_page, args=(page - 1,), disabled=page == 1)
    ranks = f"hits {shown[0].rank} to {shown[-1].rank}" if len(shown) > 1 else f"hit {shown[0].rank}"
    end = f", as many as the sentence asks for at most ({most:,})" if most is not None and len(hits) == most else ""
    note.caption(f"{ranks}{end}. Tick tiles to compare them side by side.")
    on.button("More", icon=":material/arrow_forward:", on_click=_set_page, args=(page + 1,), disabled=not more)
    side_by_side.show_bar(index, hits)


def _show_notes(
    index: sst.Index,
    query: query_input.QueryInput,
    sentence: sentence_input.SentenceQuery | None,
    words: index_model.TextQuery | None,
) -> None:
    """Explain how several examples and words for the index's model were interpreted, and what of a sentence was not."""
    if sentence is not None:
        _show_idle_words(query, sentence)
    if words is not None:
        index_model.explain_order(words, beside_example=bool(query.like) or query.vectors is not None)
    if query.several:
        st.caption(f"Asked: {escape_md(query.words())}.")
        if sentence is not None and (
            sentence.question.rank or sst.words_for_model(index, sentence.question, query.trait)
        ):
            st.caption(
                "Words for colours and sizes, and those for the index's model, are not asked together with several "
                "examples; the others are."
            )


def _show_idle_words(query: query_input.QueryInput, sentence: sentence_input.SentenceQuery) -> None:
    """Say what a sentence asks for, and the query beside it decides otherwise."""
    named = sentence.question.trait
    if named is not None and named not in query.traits:
        compared = escape_md(" and ".join(query.traits))
        st.warning(
            f"The sentence names {escape_md(named)}, but compared is **{compared}**, as chosen on the left. Choose "
            f"there a specimen that shows {escape_md(named)}."
        )
    idle = sentence.question.superlatives
    if idle and (query.like or query.vectors is not None):
        words = " and ".join(f"*{escape_md(each)}*" for each in idle)
        st.caption(f"{words} orders nothing here: the hits stand in the order of their similarity to the example.")


def _read_page() -> int:
    """Return the number of the page in the URL, from 1."""
    text = url_state.get("page", "1")
    return min(1000, max(1, int(text))) if text.isdecimal() else 1


def _set_page(page: int) -> None:
    url_state.put("page", *([str(page)] if page > 1 else []))


def search(
    index: sst.Index,
    query: query_input.QueryInput,
    weights: dict[str, float],
    where: str | None,
    k: int,
    sentence: sentence_input.SentenceQuery | None = None,
    described: index_model.TextQuery | None = None,
    per: str = "specimen",
    rerank: int = 0,
) -> list[sst.Hit]:
    """Search; results are cached."""
    arguments = {
        "like": query.like or None,
        "unlike": query.unlike or None,
        # Examples of the index have their own trait; other queries need it.
        "trait": None if query.like and query.vectors is None else query.trait,
        "weights": weights,
        "where": where,
        "k": k,
        "per": per,
        "rerank": rerank,
    }
    vectors = b"" if query.vectors is None else query.vectors.tobytes()
    vector = None if described is None else described.vector
    words = repr(
        (arguments, None if sentence is None else sentence.question, None if vector is None else vector.tobytes())
    )
    return _search(index, sentence, current_index.get_cache_key(index), words, vectors, query, arguments, vector)


@st.cache_resource(max_entries=64, show_spinner=False)
def _search(
    _index: sst.Index,
    _sentence: sentence_input.SentenceQuery | None,
    key: tuple[str, tuple[int, ...]],
    words: str,
    vectors: bytes,
    _query: query_input.QueryInput,
    _arguments: dict[str, Any],
    _described: Any,
) -> list[sst.Hit]:
    if _sentence is None:
        return _index.search(vectors=_query.vectors, **_arguments)
    if _query.several:
        where = " AND ".join(f"({each}\n)" for each in (_sentence.question.where, _arguments["where"]) if each) or None
        return _index.search(vectors=_query.vectors, **{**_arguments, "where": where})
    simple = {**_arguments, "like": next(iter(_query.like), None), "trait": _query.trait}
    del simple["unlike"], simple["rerank"]
    return sst.answer(_index, _sentence.question, vectors=_query.vectors, described=_described, **simple)


def _show_tiles(index: sst.Index, query: query_input.QueryInput, hits: Sequence[sst.Hit], size: str, view: str) -> None:
    affixes = current_index.get_affixes()
    components.show_hits(
        {
            "across": TILES_PER_ROW[size],
            "shape": "4/3" if view == "trait" else "3/2",
            "small": size == "small",
            "examples": size != "small",
            "traits": list(query.traits),
            "hints": details.describe_example_buttons(query),
            "tiles": [_describe_tile(index, hit, size, view, affixes) for hit in hits],
            "done": hit_acts.get_done(),
        },
        key=HITS_KEY,
        on_acts=lambda: hit_acts.take(HITS_KEY),
    )


def _describe_tile(index: sst.Index, hit: sst.Hit, size: str, view: str, affixes: tuple[str, str]) -> dict[str, Any]:
    """Describe the tile of a hit for `browser/hits.js`."""
    small = size == "small"
    who = captions.format_caption(dict(hit.metadata), brief=True)
    return {
        "id": hit.individual,
        "trait": hit.trait,
        "name": f"{hit.rank}. {captions.shorten(hit.individual, NAME_LENGTHS[size], affixes)}",
        "lines": [line for line in (individuals.describe_hit(hit), who) if line],
        "similarity": f"{hit.similarity:.3f}",
        "confidence": f"{'' if small else 'mask '}{hit.confidence:.2f}",
        "pictures": [index_images.make_data_uri(picture) for picture in _read_pictures(index, hit, view)],
        "bars": [
            {
                "block": block,
                "short": block[:1].upper() if small else block,
                "value": float(value),
                "colour": BLOCK_COLOURS.get(block, "#555555"),
            }
            for block, value in hit.blocks.items()
        ],
        "ticked": bool(st.session_state.get(f"compare-{hit.individual}")),
    }


def _read_pictures(index: sst.Index, hit: sst.Hit, view: str) -> list[bytes]:
    """Return the pictures of a hit: one crop per trait, or the thumbnail of the specimen."""
    key = current_index.get_cache_key(index)
    if view == "specimen":
        return [index_images.read_thumbnail(index, key, hit.individual)]
    return [tile_pictures.read_picture(index, key, hit.individual, each.trait) for each in hit.parts or (hit,)]


def _show_who_is_to_blame(
    index: sst.Index,
    query: query_input.QueryInput,
    weights: dict[str, float],
    where: str | None,
    sentence: sentence_input.SentenceQuery | None,
) -> None:
    """Show how many hits there are without each part of the sentence, and without the filters."""
    lines = []
    question = None if sentence is None else sentence.question
    for part in () if question is None else question.parts:
        assert question is not None
        rest = question.without(part)
        others = sentence_input.SentenceQuery(rest, tuple(map(repr, rest.parts)))
        found = len(search(index, query, weights, where, COUNTED, others))
        lines += [f"without *{escape_md(sentence_input.abbreviate(part))}*: {_format_count(found)}"] * bool(found)
    if where:
        found = len(search(index, query, weights, None, COUNTED, sentence))
        lines += [f"without the filters: {_format_count(found)}"] * bool(found)
    if lines:
        st.markdown("\n".join(f"- {line}" for line in lines))


def _format_count(found: int) -> str:
    return f"{COUNTED:,} or more" if found == COUNTED else f"{found:,}"


def _show_no_hits(page: int, where: str | None, sentence: sentence_input.SentenceQuery | None) -> None:
    if page > 1:
        st.info("There are no hits on this page.")
        st.button("To the first page", on_click=_set_page, args=(1,))
    elif where and sentence is not None:
        st.info("No specimen fulfils the sentence and passes the filters; take a part of it, or a filter, away.")
    elif sentence is not None:
        st.info("No specimen fulfils all of the sentence; click a part of it above to take that away.")
    elif where:
        st.info("No specimen passes these filters; take one away on the left.")
    else:
        st.info("No other specimen shows this trait.")
