"""The input of a query in words; the parts that were parsed are chips that can be removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

import sst_retrieval as sst
from sst_app import current_index, query_input
from sst_app.markdown import escape_md


@dataclass(frozen=True)
class SentenceQuery:
    """A parsed sentence, without the parts that the person removed.

    Attributes:
        question: the parsed question, for `sst_retrieval.answer`.
        chips: the remaining parts, as a cache key.
    """

    question: Any
    chips: tuple[str, ...]


def show_input(index: sst.Index) -> SentenceQuery | None:
    """Show the input and how the sentence was parsed; return it, or None if it is empty."""
    text = st.text_input(
        "Ask in words", key="sentence", placeholder="find wings with a similar stripe, females, not from Panama",
        label_visibility="collapsed", icon=":material/chat:", bind="query-params",
    )  # fmt: skip
    if not text.strip():
        return None
    question = _parse(index, current_index.get_cache_key(index), text, _get_chosen_specimen())
    for number, doubt in enumerate(question.doubts):
        names = {choice.meaning: choice for choice in doubt.choices}
        chosen = st.pills(f"**{escape_md(doubt.words)}**: which is meant?", list(names), key=f"doubt-{text}-{number}",
                          format_func=escape_md)  # fmt: skip
        if chosen:
            question = question.choose(doubt, names[chosen])
    chips = {f"{part.kind}: {part.meaning}": part for part in question.parts}
    if chips:
        kept = st.pills(
            "Understood; click one to take it away", list(chips), default=list(chips), selection_mode="multi",
            key=f"chips-{text}-{'|'.join(chips)}", format_func=lambda chip: escape_md(abbreviate(chips[chip])),
            help="  \n".join(escape_md(f"{part.words}: {part.meaning}") for part in chips.values() if part.words),
        )  # fmt: skip
        for name, part in chips.items():
            if name not in kept:
                question = question.without(part)
    if question.unknown:
        # An OpenCLIP index compares these words by its model; the result grid shows the outcome.
        left = (
            "Not measured, so left to the index's model"
            if _model_reads(index, question)
            else "Not understood, not asked"
        )
        st.caption(f"{left}: {escape_md(', '.join(question.unknown))}")
    for note in question.notes:
        st.caption(escape_md(note))
    return SentenceQuery(question, tuple(map(repr, question.parts)))


def _model_reads(index: sst.Index, question: sst.Question) -> bool:
    return bool(sst.words_for_model(index, question, question.trait or index.traits[0]))


def abbreviate(part: Any) -> str:
    """Abbreviate the meaning of a part of a sentence; the tooltip has the full text."""
    if part.kind == "ranking":
        return ("not " if part.negated else "") + str(part.words)
    return str(part.meaning).partition(" (")[0].replace("not: ", "not ")


@st.cache_data(max_entries=64, show_spinner=False)
def _parse(_index: sst.Index, key: tuple[str, tuple[int, ...]], text: str, chosen: str | None) -> Any:
    return sst.understand(_index, text, chosen=chosen)


def _get_chosen_specimen() -> str | None:
    """Return the specimen of the query if the index has it."""
    specimen = query_input.get_specimen()
    return specimen if specimen and (current_index.get_specimens()["sst:specimen"] == specimen).any() else None
