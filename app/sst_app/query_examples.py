"""Further examples of a query: traits that hits should resemble (like) or not resemble (unlike).

They are kept in the URL: `like=["r3","spot"]`, repeatable, and `unlike` in the same way.
"""

from __future__ import annotations

import json
from typing import Literal

import streamlit as st

import sst_retrieval as sst
from sst_app import captions, current_index, index_images, url_state
from sst_app.markdown import escape_md

Kind = Literal["like", "unlike"]
Pair = tuple[str, str]
LABELS = {"like": "and like", "unlike": "but unlike"}
MAX_EXAMPLES = 12
"""Largest number of further examples of a kind."""


def read(index: sst.Index, kind: Kind) -> tuple[Pair, ...]:
    """Read the further examples of a kind from the URL, (specimen, trait); invalid ones are left out."""
    found: list[Pair] = []
    for text in url_state.get_all(kind)[:MAX_EXAMPLES]:
        try:
            specimen, trait = json.loads(text)
        except (ValueError, TypeError):
            continue  # Invalid in the link.
        if isinstance(specimen, str) and trait in index.traits and (specimen, trait) not in found:
            found.append((specimen, str(trait)))
    return tuple(found)


def add(index: sst.Index, kind: Kind, specimen: str, traits: tuple[str, ...]) -> None:
    """Add a specimen to the query, or move it from one kind to the other."""
    other: Kind = "unlike" if kind == "like" else "like"
    pairs = [(specimen, trait) for trait in traits]
    _write(other, [pair for pair in read(index, other) if pair not in pairs])
    _write(kind, [*(pair for pair in read(index, kind) if pair not in pairs), *pairs])
    url_state.put("page")


def remove(index: sst.Index, kind: Kind, pair: Pair) -> None:
    """Remove an example."""
    _write(kind, [each for each in read(index, kind) if each != pair])


def clear() -> None:
    """Remove all further examples."""
    for kind in LABELS:
        url_state.put(kind)


def show(index: sst.Index) -> None:
    """Show the further examples, each with a button that removes it."""
    kinds: tuple[Kind, ...] = ("like", "unlike")
    for kind in kinds:
        pairs = read(index, kind)
        if pairs:
            st.caption(f"**{LABELS[kind]}**")
        for pair in pairs:
            specimen, trait = pair
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                try:
                    st.image(
                        index_images.read_crop(index, current_index.get_cache_key(index), specimen, trait),
                        width=56,
                        alt=f"{trait} of {specimen}",
                    )
                except sst.QueryError:
                    st.image(index_images.make_grey(), width=56, alt="no picture")
                st.html(captions.format_lines(specimen, trait), width="stretch")
                st.button(
                    "", icon=":material/close:", key=f"drop-{kind}-{specimen}-{trait}", type="tertiary",
                    help=escape_md(f"Take {trait} of {specimen} away"), on_click=remove, args=(index, kind, pair),
                )  # fmt: skip


def _write(kind: Kind, pairs: list[Pair]) -> None:
    url_state.put(kind, *(json.dumps(pair, ensure_ascii=False) for pair in pairs))
