"""Search page: choose a trait of a specimen, weights and filters; the most similar traits are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from html import escape

import streamlit as st

import sst_retrieval as sst
from sst_app import (
    captions,
    components,
    current_index,
    details,
    filter_widgets,
    hit_acts,
    index_images,
    individuals,
    query_examples,
    query_input,
    result_grid,
    sentence_input,
    specimen_picker,
    url_state,
)
from sst_app.markdown import escape_md
from sst_app.page_errors import show_errors

STEP = 0.1
RERANKED = 100
"""Number of hits that are put into the order of their neighbours."""


def main() -> None:
    """Show the page."""
    index = current_index.get_index()
    if not current_index.check_traits(index):
        return
    _apply_requested_query()
    hit_acts.apply(index)
    st.html('<a class="skip" href="#hits">To the hits</a>')
    where = filter_widgets.show_filters(index)
    sentence = sentence_input.show_input(index)
    _follow_sentence(index, sentence)
    left, right = st.container(key="question").columns([1, 2.15], gap="medium")
    with left:
        asked = _show_query(index)
        query = None if asked is None or isinstance(asked, query_input.Unmasked) else _add_examples(index, asked)
        weights = _show_weights(index)
        rerank = _show_order(query, sentence)
    with right:
        if isinstance(asked, query_input.Unmasked):
            query_input.show_drawing(asked)
            return
        if query is None and sentence is not None and not sentence.question.similar and sentence.question.trait:
            query, rerank = query_input.QueryInput(sentence.question.trait), 0
        if query is None:
            _show_welcome(index, sentence)
        else:
            result_grid.show(index, query, weights, where, sentence, rerank)


def _apply_requested_query() -> None:
    """Take over a query that another page has set."""
    if "asked" in st.session_state:
        details.set_query(*st.session_state.pop("asked"))


def _follow_sentence(index: sst.Index, sentence: sentence_input.SentenceQuery | None) -> None:
    """Set specimen, trait and weights from a new sentence, once."""
    chips = None if sentence is None else sentence.chips
    if st.session_state.get("followed") == chips:
        return
    by_link = "followed" not in st.session_state and any(block in st.query_params for block in index.blocks)
    st.session_state["followed"] = chips
    _follow_weights(index, None if sentence is None else sentence.question.weights, keep=by_link)
    if sentence is None:
        return
    if sentence.question.example:
        url_state.put("specimen", sentence.question.example)
    if sentence.question.trait in index.traits:
        st.session_state["trait"] = sentence.question.trait
        url_state.put("trait", sentence.question.trait)


def _follow_weights(index: sst.Index, weights: Mapping[str, float] | None, *, keep: bool) -> None:
    """Move the sliders to what a sentence says counts, such as "similar in shape", and back when it says so no longer.

    Args:
        index: whose blocks they are.
        weights: block -> weight; None if the sentence says nothing of them.
        keep: whether a link has said already where they stand.
    """
    if (weights is not None or st.session_state.get("weights-by-sentence")) and not keep:
        for block in index.blocks:
            st.session_state[block] = 1.0 if weights is None else float(weights.get(block, 0.0))
    st.session_state["weights-by-sentence"] = weights is not None


def _show_query(index: sst.Index) -> query_input.QueryInput | query_input.Unmasked | None:
    """Show the choice of the query: a specimen or a photograph."""
    way = st.segmented_control(
        "Ask with", ["a specimen", "a photograph"], default="a specimen", key="way", label_visibility="collapsed",
        bind="query-params", required=True,
    )  # fmt: skip
    if way == "a photograph":
        return query_input.show_upload(index)
    specimen = individuals.resolve(index, url_state.get("specimen"))
    if specimen and not (current_index.get_specimens()["sst:specimen"] == specimen).any():
        st.warning(escape_md(f"This index has no specimen {specimen!r}; choose another."))
        specimen = ""
    _show_choice(index, bool(specimen))
    return _show_traits(index, specimen) if specimen else None


@st.fragment
@show_errors()
def _show_choice(index: sst.Index, chosen: bool) -> None:
    """Show the search for a specimen, and what it finds while somebody types; as a fragment: only this is run again."""
    words = specimen_picker.show_search("words", "id, name, place ...")
    if chosen and not words:
        return
    found = specimen_picker.find_specimens(current_index.get_specimens(), words)
    if words and not found:
        st.info("No specimen has all of these words; use fewer or other ones.")
    found = found if index.catalog.plain else individuals.list_first_of_each(index, found)
    skipped = current_index.get_skipped()
    found = sorted(found, key=skipped.__contains__)  # Nobody can ask with them: last.
    specimen_picker.show_gallery(found, _pick, key="pick", across=2)


def _show_traits(index: sst.Index, specimen: str) -> query_input.QueryInput | None:
    """Show the specimen and the choice of its traits."""
    key = current_index.get_cache_key(index)
    other = None if index.catalog.plain else individuals.show_on_photograph(index, specimen, key="query-photograph")
    if other is not None and other != specimen:
        st.session_state["asked"] = other, st.session_state.get("trait") or index.traits[0]
        st.rerun()
    size, outlines = index_images.read_outlines(index, key, specimen)
    if not outlines:
        reason = current_index.get_skipped().get(specimen)
        why = f": {reason}" if reason else "; run the build again."
        st.warning(escape_md(f"{specimen} is not indexed{why}"))
        return None
    there = [each.trait for each in outlines if each.path]
    if not there:
        st.info(
            f"No trait was found on {escape_md(specimen)}; choose another specimen, or draw its traits on the page "
            "Review."
        )
        return None
    order = [trait for trait in index.traits if trait in there]
    requested = url_state.get("trait")
    if (url_state.take_adopted("trait") and requested in order) or st.session_state.get("trait") not in order:
        st.session_state["trait"] = requested if requested in order else order[0]
    trait = st.session_state["trait"]
    clicked = _show_photograph(index, specimen, size, outlines, trait)
    if clicked in order and clicked != trait:
        st.session_state["trait"] = clicked
        st.rerun()
    about = captions.format_caption(dict(index.individual(specimen).metadata))
    which = "" if index.catalog.plain else individuals.describe(index.individual(specimen))
    about = " · ".join(each for each in (which, about) if each)
    st.html(
        f'<div class="tile-name query-name" title="{escape(specimen)}">{escape(specimen)}</div>'
        f'<div class="tile-line">{escape(about)}</div>'
    )
    st.pills("Trait", order, key="trait", required=True, format_func=escape_md)
    url_state.put("trait", st.session_state["trait"])
    traits = [st.session_state["trait"], *_show_further_traits(order)]
    return query_input.QueryInput(traits[0], like=tuple((specimen, trait) for trait in traits))


def _show_further_traits(order: list[str]) -> list[str]:
    """Show the choice of further traits of the specimen to compare at the same time."""
    others = [trait for trait in order if trait != st.session_state["trait"]]
    if not others:
        return []
    if url_state.take_adopted("together") or "together" not in st.session_state:
        st.session_state["together"] = url_state.get_all("together")
    st.session_state["together"] = [trait for trait in st.session_state["together"] if trait in others]
    chosen: list[str] = st.pills(
        "and at the same time", others, selection_mode="multi", key="together", format_func=escape_md,
        help="Ranks specimens by the mean of these traits; only those that show all of them.",
    )  # fmt: skip
    url_state.put("together", *chosen)
    return chosen


def _add_examples(index: sst.Index, query: query_input.QueryInput) -> query_input.QueryInput:
    """Show the further examples; return the query with them."""
    own = set(query.like)
    like = tuple(pair for pair in query_examples.read(index, "like") if pair not in own)
    unlike = tuple(pair for pair in query_examples.read(index, "unlike") if pair not in own)
    if like or unlike:
        query_examples.show(index)
        st.button("Only the first example", on_click=query_examples.clear, type="tertiary", icon=":material/undo:")
    return replace(query, like=query.like + like, unlike=unlike)


def _show_photograph(
    index: sst.Index, specimen: str, size: tuple[int, int], outlines: list[index_images.Outline], trait: str
) -> str | None:
    """Show the photograph of the query with its outlines."""
    return components.show_specimen(
        index_images.make_data_uri(index_images.read_thumbnail(index, current_index.get_cache_key(index), specimen)),
        size,
        outlines,
        captions.get_trait_colours(index),
        key="query-picture",
        chosen=trait,
        label=f"{specimen}: choose a trait",
        hint="click a trait",
    )


def _show_weights(index: sst.Index) -> dict[str, float]:
    """Show a slider per block; return block -> weight."""
    places = st.container(key="weights").columns(len(index.blocks))
    weights = {}
    for place, block in zip(places, index.blocks, strict=True):
        with place:
            weights[block] = st.slider(escape_md(block), 0.0, 1.0, 1.0, STEP, key=block, bind="query-params")
    if not any(weights.values()):
        st.info("All three are 0; all count alike until you raise one.")
        return dict.fromkeys(weights, 1.0)
    return weights


def _show_order(query: query_input.QueryInput | None, sentence: sentence_input.SentenceQuery | None) -> int:
    """Show whether hits are ordered by their neighbours, too; return how many are put into a new order."""
    if query is None:
        return 0
    # What a sentence asks orders by itself; only beside several examples it merely chooses.
    impossible = sentence is not None and not query.several
    chosen = st.toggle(
        "more of the same kind first", key="rerank", bind="query-params", disabled=impossible,
        help="Not beside a sentence." if impossible else
        f"Puts the first {RERANKED} hits into a new order: those come first whose own most similar specimens are the "
        "example's, too. It finds more of one kind among the first dozens, but the most similar one need not come "
        "first. The similarities shown stay those to the example, so they no longer fall from hit to hit.",
    )  # fmt: skip
    return RERANKED if chosen and not impossible else 0


def _pick(specimen: str) -> None:
    query_examples.clear()
    url_state.put("specimen", specimen)
    url_state.put("page")
    st.session_state["words"] = ""
    st.rerun()  # All of the page, not only the choice.


def _show_welcome(index: sst.Index, sentence: sentence_input.SentenceQuery | None) -> None:
    info = current_index.get_info()
    if sentence is not None and sentence.question.needs_example:
        st.info("Similar to which? Choose a specimen on the left, or name one in the sentence.")
    elif sentence is not None and not sentence.question.trait:
        st.info(
            f"Of which trait? Name one in the sentence ({escape_md(', '.join(index.traits))}), or choose a specimen."
        )
    by_photograph = st.session_state.get("way") == "a photograph"
    nouns = current_index.count_nouns()
    counts = ", ".join(f"{count:,} {noun}" for noun, count in nouns.items())
    st.subheader(f"{counts}, {len(index.traits)} trait{'s' * (len(index.traits) != 1)}")
    st.markdown(
        (
            "Upload a photograph on the left and draw around one of its traits, to see whose trait looks most like it. "
            if by_photograph
            else "Choose a specimen on the left, click a trait on its picture, and see whose trait looks most like it. "
        )
        + "**Similar is not homologous**: mimics look alike, too."
    )
    for trait in index.traits:
        found = info["traits"][trait]
        st.markdown(
            f"- **{escape_md(trait)}**: found on {found['present']:,} {[*nouns][-1]}, not on {found['absent']:,}"
        )


main()
