"""What a person does with the tiles of the hits: ask with one, tick it, add it as an example, open its details.

The browser sends each act until it is told that it was taken, so that none is lost, and none counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import streamlit as st

import sst_retrieval as sst
from sst_app import details, query_examples
from sst_app.query_examples import Kind

KINDS = ("ask", "tick", "untick", "details", *get_args(Kind))
Act = tuple[str, str, str, tuple[str, ...]]
"""Kind, individual, its trait, the traits that are compared."""


def take(key: str) -> None:
    """Take the acts that the component with a key has sent; in a callback."""
    sent = (st.session_state.get(key) or {}).get("acts")
    if not isinstance(sent, Mapping) or not isinstance(sent.get("acts"), list):
        return
    done = get_done()
    last = done["number"] if done["mount"] == sent.get("mount") else 0
    for number, kind, individual, trait, traits in sent["acts"]:
        if isinstance(number, int) and number > last:
            last = number
            add(str(kind), str(individual), str(trait), tuple(map(str, traits)))
    st.session_state["hit-acts-done"] = {"mount": str(sent.get("mount")), "number": last}


def add(kind: str, individual: str, trait: str, traits: tuple[str, ...]) -> None:
    """Note an act for the next run of the page."""
    st.session_state.setdefault("hit-acts", []).append((kind, individual, trait, traits))


def get_done() -> dict[str, Any]:
    """Return which acts were taken: those of a mount of the component up to a number."""
    done: dict[str, Any] = st.session_state.get("hit-acts-done", {"mount": "", "number": 0})
    return done


def apply(index: sst.Index) -> None:
    """Do what was noted; before the widgets of the page are made."""
    noted: list[Act] = st.session_state.pop("hit-acts", [])
    for kind, individual, trait, traits in noted:
        if kind not in KINDS or not {trait, *traits} <= set(index.traits):
            continue  # Of tiles of another index, which was exchanged meanwhile.
        if kind == "ask":
            details.set_query(individual, trait)
        elif kind == "details":
            details.open_for(individual, trait)
        elif kind in ("tick", "untick"):
            st.session_state[f"compare-{individual}"] = kind == "tick"
        else:
            query_examples.add(index, "like" if kind == "like" else "unlike", individual, traits)
