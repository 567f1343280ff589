"""Search: choose a trait of a specimen, weigh pattern, colour and shape, filter, and look at what is most similar."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

import sst_retrieval as sst
from sst_app import asking, choosing, components, examples, light_table, opening, pictures, sentences
from sst_app.markdown import plain

STEP = 0.1


def main() -> None:
    """Draw the page."""
    index = opening.index()
    if not opening.has_traits(index):
        return
    _arrived()
    where = asking.filters(index)
    said = sentences.ask(index)
    _follow(index, said)
    left, right = st.columns([1, 2.15], gap="medium")
    with left:
        question = _query(index)
        if question is not None:
            question = _extended(index, question)
        weights = _weights(index)
    with right:
        if question is None and said is not None and not said.question.similar and said.question.trait:
            question = asking.Question(said.question.trait)
        if question is None:
            _welcome(index, said)
        else:
            light_table.show(index, question, weights, where, said)


def _arrived() -> None:
    """Take over what another page asked to be searched for."""
    if "asked" in st.session_state:
        light_table.use(*st.session_state.pop("asked"))


def _follow(index: sst.Index, said: sentences.Said | None) -> None:
    """Let a sentence choose the specimen and the trait, once, when it is new."""
    if said is None or st.session_state.get("followed") == said.chips:
        return
    st.session_state["followed"] = said.chips
    if said.question.example:
        st.query_params["specimen"] = said.question.example
    if said.question.trait in index.traits:
        st.session_state["trait"] = st.query_params["trait"] = said.question.trait


def _query(index: sst.Index) -> asking.Question | None:
    """Let somebody choose what to ask with."""
    way = st.segmented_control(
        "Ask with", ["a specimen", "a photograph"], default="a specimen", key="way", label_visibility="collapsed",
        bind="query-params", required=True,
    )  # fmt: skip
    if way == "a photograph":
        return asking.from_photograph(index)
    words = st.text_input(
        "Specimen", key="words", placeholder="id, name, place ...", help="Words of its id or of any column.",
        icon=":material/search:",
    )  # fmt: skip
    specimen = st.query_params.get("specimen", "")
    if specimen and not (opening.specimens()["sst:specimen"] == specimen).any():
        st.warning(plain(f"This index has no specimen {specimen!r}; choose another."))
        specimen = ""
    if words or not specimen:
        found = choosing.matching(opening.specimens(), words)
        if words and not found:
            st.info("No specimen has all of these words; use fewer or other ones.")
        choosing.gallery(found, _pick, key="pick", across=2)
    return _trait(index, specimen) if specimen else None


def _trait(index: sst.Index, specimen: str) -> asking.Question | None:
    """Show the specimen and let somebody choose one of its traits."""
    key = choosing.cache_key(index)
    size, outlines = pictures.outlines(index, key, specimen)
    if not outlines:
        reasons = [row.reason for row in index.skipped() if row.specimen == specimen]
        why = f": {reasons[0]}" if reasons else "; run the build again."
        st.warning(plain(f"{specimen} is not indexed{why}"))
        return None
    there = [each.trait for each in outlines if each.path]
    if not there:
        st.info(
            f"No trait was found on {plain(specimen)}; choose another specimen, or draw its traits on the page Review."
        )
        return None
    order = [trait for trait in index.traits if trait in there]
    if st.session_state.get("trait") not in order:
        asked = st.query_params.get("trait")
        st.session_state["trait"] = asked if asked in order else order[0]
    trait = st.session_state["trait"]
    clicked = components_specimen(index, specimen, size, outlines, trait)
    if clicked in order and clicked != trait:
        st.session_state["trait"] = clicked
        st.rerun()
    st.caption(f"**{plain(specimen)}**  \n{plain(choosing.caption(dict(index.specimen(specimen).metadata)))}")
    st.pills("Trait", order, key="trait", required=True, format_func=plain)
    st.query_params["specimen"], st.query_params["trait"] = specimen, st.session_state["trait"]
    traits = [st.session_state["trait"], *_together(order)]
    return asking.Question(traits[0], like=tuple((specimen, trait) for trait in traits))


def _together(order: list[str]) -> list[str]:
    """Let somebody ask for more than one trait of the specimen at once."""
    others = [trait for trait in order if trait != st.session_state["trait"]]
    if not others:
        return []
    if "together" not in st.session_state:
        st.session_state["together"] = st.query_params.get_all("together")
    st.session_state["together"] = [trait for trait in st.session_state["together"] if trait in others]
    chosen: list[str] = st.pills(
        "and at the same time", others, selection_mode="multi", key="together", format_func=plain,
        help="Ranks specimens by the mean of these traits; only those that show all of them.",
    )  # fmt: skip
    st.query_params["together"] = chosen
    return chosen


def _extended(index: sst.Index, question: asking.Question) -> asking.Question:
    """Add the further examples, and show them."""
    own = set(question.like)
    like = tuple(pair for pair in examples.given(index, "like") if pair not in own)
    unlike = tuple(pair for pair in examples.given(index, "unlike") if pair not in own)
    if like or unlike:
        examples.show(index)
        st.button("Only the first example", on_click=examples.clear, type="tertiary", icon=":material/undo:")
    return replace(question, like=question.like + like, unlike=unlike)


def components_specimen(
    index: sst.Index, specimen: str, size: tuple[int, int], outlines: list[pictures.Outline], trait: str
) -> str | None:
    """Show the photograph of the query with its outlines."""
    return components.specimen(
        pictures.uri(pictures.thumbnail(index, choosing.cache_key(index), specimen)),
        size,
        outlines,
        choosing.colours(index),
        key="query-picture",
        chosen=trait,
        label=f"{specimen}: choose a trait",
        hint="click a trait",
    )


def _weights(index: sst.Index) -> dict[str, float]:
    """Let somebody say what counts how much."""
    places = st.columns(len(index.blocks))
    weights = {}
    for place, block in zip(places, index.blocks, strict=True):
        with place:
            weights[block] = st.slider(plain(block), 0.0, 1.0, 1.0, STEP, key=block, bind="query-params")
    if not any(weights.values()):
        st.info("All three are 0; all count alike until you raise one.")
        return dict.fromkeys(weights, 1.0)
    return weights


def _pick(specimen: str) -> None:
    examples.clear()
    st.query_params["specimen"] = specimen
    st.session_state["words"] = ""


def _welcome(index: sst.Index, said: sentences.Said | None) -> None:
    info = opening.info()
    if said is not None and said.question.needs_example:
        st.info("Similar to which? Choose a specimen on the left, or name one in the sentence.")
    elif said is not None and not said.question.trait:
        st.info(f"Of which trait? Name one in the sentence ({plain(', '.join(index.traits))}), or choose a specimen.")
    st.subheader(f"{info['specimens']:,} specimens, {len(index.traits)} trait{'s' * (len(index.traits) != 1)}")
    st.markdown(
        "Choose a specimen on the left, click a trait on its picture, and see whose trait looks most like it. "
        "**Similar is not homologous**: mimics look alike, too."
    )
    for trait in index.traits:
        found = info["traits"][trait]
        st.markdown(f"- **{plain(trait)}**: found on {found['present']:,} specimens, not on {found['absent']:,}")


main()
