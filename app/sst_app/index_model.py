"""The embedder of the index: for uploaded photographs, and for words that no measurement stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

import sst_retrieval as sst
from sst_app import command_line, current_index
from sst_app.markdown import escape_md


@dataclass(frozen=True)
class TextQuery:
    """Words of a sentence that are compared by the index's text embedder.

    Attributes:
        text: the words.
        vector: their embedding, for `sst_retrieval.answer`; None if the model is not available.
        why: why it is not available, or "".
    """

    text: str
    vector: Any = None
    why: str = ""


def get_embedder(index: sst.Index) -> sst.Embedder:
    """Return the embedder that the index was built with; cached."""
    arguments = command_line.read_arguments()
    return _load_embedder(
        index, current_index.get_cache_key(index)[0], index.settings, arguments.clip_model, arguments.clip_pretrained
    )


@st.cache_resource(max_entries=2, show_spinner="Loading the model")
def _load_embedder(
    _index: sst.Index, folder: str, settings: Mapping[str, Any], clip_model: str | None, clip_pretrained: str | None
) -> sst.Embedder:
    return sst.embedder_of(_index, clip_model=clip_model, clip_pretrained=clip_pretrained, from_hub=False)


@st.cache_data(max_entries=64, show_spinner=False)
def _embed_text(_index: sst.Index, folder: str, settings: Mapping[str, Any], text: str) -> Any:
    return sst.described(get_embedder(_index), text)


def describe_text(index: sst.Index, question: sst.Question, trait: str) -> TextQuery | None:
    """Embed the words of a sentence that no measurement stands for; None if there are no such words."""
    text = sst.words_for_model(index, question, trait)
    if not text:
        return None
    try:
        return TextQuery(text, _embed_text(index, current_index.get_cache_key(index)[0], index.settings, text))
    except sst.SSTError as error:
        return TextQuery(text, why=str(error))


def explain_order(words: TextQuery, *, beside_example: bool) -> None:
    """Show how the hits were ranked."""
    text = f"\u201c{escape_md(words.text)}\u201d"
    if words.vector is None:
        st.warning(f"The words {text} are not compared: {escape_md(words.why)}")
    elif beside_example:
        st.caption(
            f"Ordered by two places alike: the one by similarity to the example, and the one by the words {text}. "
            "Shown are the similarity to the example and, as *text*, how well the words fit."
        )
    else:
        st.caption(f"Ordered by how well the words {text} fit what the index's model sees; it is rarely above 0.4.")
