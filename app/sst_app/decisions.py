"""Decisions on masks: recorded unless somebody has decided meanwhile, and taken back one after the other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

import sst_retrieval as sst
from sst_app import current_index, index_images
from sst_app.markdown import escape_md
from sst_app.page_errors import show_errors

VERBS = {"accept": "Accept", "reject": "Reject", "reopen": "Withdraw"}
MAX_UNDO = 200
"""Number of decisions that can be taken back."""

Seen = str
"""What identifies the decision that was shown: "" if there was none."""


@dataclass
class Ledger:
    """What this session has decided.

    Every access to the session's state may end a run, because the next key was pressed. So the ledger is fetched before
    a decision is recorded, and changed in place after: what is on the disk is counted, once.

    Attributes:
        made: specimen, trait, decision, the one before and its mask; the last can be taken back first.
        taken: number of the last key that was taken.
    """

    made: list[tuple[str, str, str, sst.Review | None, Any]] = field(default_factory=list)
    taken: int = 0


def get_ledger() -> Ledger:
    """Return the ledger of this session."""
    ledger: Ledger = st.session_state.setdefault("review-ledger", Ledger())
    return ledger


def decide(specimen: str, trait: str, seen: Seen, decision: str) -> None:
    """Record a decision as `record` does; for buttons."""
    record(specimen, trait, seen, decision)


def record(specimen: str, trait: str, seen: Seen, decision: str) -> bool:
    """Record a decision, unless somebody has decided since the mask was shown: then ask first.

    To call it twice with the same decision is to call it once.

    Returns:
        False if it failed, and the page says why.
    """
    # As they are now: a key may be pressed before the page shows the name that was just written.
    who = st.session_state.get("reviewer", "")
    comment = st.session_state.get(f"comment-{specimen}-{trait}", "")
    ledger, done = get_ledger(), False
    with show_errors():
        index = current_index.get_index()
        newer = index.decision(specimen, trait)
        if identify(newer) == seen:
            mask = index.mask(specimen, trait) if newer is not None and newer.decision == "redraw" else None
            index.review(specimen, trait, decision, reviewer=who, comment=comment)
            ledger.made.append((specimen, trait, decision, newer, mask))
            del ledger.made[:-MAX_UNDO]
        elif (None if newer is None else newer.decision) != (None if decision == "reopen" else decision):
            st.session_state["review-conflict"] = (specimen, trait, decision)
        else:
            st.toast(f"{describe_change(specimen, trait, newer)}, as you do.")
        done = True
    return done


def show_undo() -> None:
    """Show the button that takes back the last decision of this session."""
    made = get_ledger().made
    if not made:
        return
    specimen, trait, decision, *_ = made[-1]
    verb = {"accept": "accepted", "reject": "rejected", "reopen": "withdrawn"}[decision]
    st.button(
        f"Undo: {escape_md(trait)} of {escape_md(specimen)} {verb}", icon=":material/undo:", shortcut="mod+z",
        key="review-undo-button", on_click=_undo,
    )  # fmt: skip


def _undo() -> None:
    """Take back the last decision of this session; what was decided before counts again."""
    made, who = get_ledger().made, st.session_state.get("reviewer", "")
    if not made:
        return
    with show_errors():
        index = current_index.get_index()
        specimen, trait, decision, before, mask = made[-1]
        newer = index.decision(specimen, trait)
        if (None if newer is None else newer.decision) != (None if decision == "reopen" else decision):
            made.pop()
            st.toast(f"{describe_change(specimen, trait, newer)} since; nothing was taken back.")
            return
        if before is None:
            index.review(specimen, trait, "reopen", reviewer=who, comment="undo")
        else:
            index.review(
                specimen, trait, before.decision, reviewer=before.reviewer, comment=before.comment,
                **({} if mask is None else {"mask": mask}),
            )  # fmt: skip
        made.pop()


def show_conflict(index: sst.Index, who: str) -> None:
    """Ask about a decision on a mask that somebody has decided on since it was shown."""
    conflict = st.session_state.get("review-conflict")
    if conflict is None or not is_there(index, *conflict[:2]):
        return
    specimen, trait, decision = conflict
    newer = index.decision(specimen, trait)
    with st.container(border=True):
        st.warning(f"{describe_change(specimen, trait, newer)} since you opened it. Your decision was not kept.")
        crop = index_images.read_crop(index, current_index.get_cache_key(index), specimen, trait)
        st.image(crop, width=160, alt=f"{trait} of {specimen}")
        theirs, mine = st.columns(2)
        theirs.button("Leave it so", key="conflict-theirs", on_click=_close_conflict, width="stretch")
        mine.button(
            f"{VERBS[decision]} it all the same", key="conflict-mine", on_click=_close_conflict,
            args=((specimen, trait, identify(newer), decision),), disabled=not who.strip(), width="stretch",
        )  # fmt: skip


def _close_conflict(mine: tuple[str, str, Seen, str] | None = None) -> None:
    st.session_state.pop("review-conflict", None)
    if mine is not None:
        decide(*mine)


def identify(review: sst.Review | None) -> Seen:
    """Identify a decision; "" if there is none."""
    if review is None:
        return ""
    text = repr((review.time, review.reviewer, review.decision, review.rle))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def describe_change(specimen: str, trait: str, review: sst.Review | None) -> str:
    """Describe who has decided what on a mask."""
    what = f"{escape_md(trait)} of {escape_md(specimen)}"
    if review is None:
        return f"The decision on {what} was withdrawn"
    return f"{escape_md(review.reviewer)} has {sst.DECISIONS[review.decision]} {what}"


def is_there(index: sst.Index, specimen: str, trait: str) -> bool:
    """Return whether the index has a mask of a trait of a specimen."""
    try:
        index.region(specimen, trait)
    except sst.SSTError:
        return False
    return True
