"""The masks to review: one at a time by keyboard (`browser/review.js`), or a grid of them that is accepted at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

import pandas as pd
import streamlit as st
from streamlit import runtime

import sst_retrieval as sst
from sst_app import captions, components, current_index, decisions, index_images
from sst_app.markdown import escape_md
from sst_app.page_errors import show_errors

AHEAD = 16
"""Number of masks that the browser holds in advance."""

PHOTOGRAPHS_AHEAD = 2
"""Number of them with the whole photograph; the others have the index's small picture until they are near."""

ACROSS, ROWS = 6, 3
"""Size of the grid."""

DECISIONS = ("accept", "reject")


def show_queue(index: sst.Index, queue: pd.DataFrame, place: int, who: str) -> None:
    """Show the mask at a place of the queue; keys decide on it and on those behind it, however fast they come."""
    key = components.hash_key("review-queue")
    pictures, made = current_index.get_picture_key(index), index.catalog.region_reviews.by_region
    ahead = queue.iloc[place : place + AHEAD]
    items = [
        _make_item(index, pictures, specimen, trait, made.get(region), ahead=number)
        for number, (region, specimen, trait) in enumerate(
            zip(ahead["sst:region"].tolist(), ahead["sst:individual"], ahead["sst:trait"], strict=True)
        )
    ]
    data = {
        "items": items,
        "applied": decisions.get_ledger().taken,
        "enabled": bool(who.strip()),
        "why": "Write your name on the left, then the keys A and X decide.",
        "total": len(queue) - place,
    }
    components.show_review(data, key=key, on_decisions=lambda: _take_decisions(key))


def _take_decisions(key: str) -> None:
    """Record what the browser has sent and was not recorded yet, in the order of the keys."""
    state, ledger = st.session_state.get(key) or {}, decisions.get_ledger()
    for each in state.get("decisions") or []:
        serial = int(each["serial"])
        specimen, trait = json.loads(each["id"])
        if serial > ledger.taken and each["decision"] in DECISIONS:
            decisions.decide(str(specimen), str(trait), str(each["seen"]), each["decision"])
            # Last: a new key may end this run before it, and the next one takes up what was not counted.
            ledger.taken = serial


def _make_item(
    index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str, trait: str, review: sst.Review | None, *,
    ahead: int,
) -> dict[str, Any]:  # fmt: skip
    seen = decisions.identify(review)
    # The mask is that of the build unless somebody has drawn another one.
    size, path = index_images.read_path(index, key, specimen, trait, seen if review is not None else "")
    return {
        "id": json.dumps([specimen, trait]),
        "seen": seen,
        "size": size,
        "path": path,
        "colour": captions.get_trait_colours(index)[trait],
        "image": _locate_picture(index, key, specimen, ahead=ahead),
        "label": f"{trait} of {specimen}",
    }


def _locate_picture(index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str, *, ahead: int) -> str:
    """Return the URL of a specimen's photograph, or of its small picture; `ahead` masks come before it."""
    picture, near = None, ahead < PHOTOGRAPHS_AHEAD
    if near:
        try:
            picture, _ = index_images.read_photograph(index, key, specimen)
        except sst.ImageError as error:
            if not ahead:  # Of those that come later it is said when they come.
                st.warning(f"{escape_md(error)}. Shown is the small picture of the index.")
    if picture is None:
        picture = index_images.read_thumbnail(index, key, specimen)
    return runtime.get_instance().media_file_mgr.add(
        picture, index_images.get_type(picture), f"review-{specimen}-{near}"
    )


@st.fragment
@show_errors()
def show_grid(index: sst.Index, queue: pd.DataFrame, who: str) -> None:
    """Show the first masks of the queue as a grid: click what is wrong, and accept the rest."""
    shown = queue.iloc[: ACROSS * ROWS]
    pairs = [(str(row["sst:individual"]), str(row["sst:trait"])) for _, row in shown.iterrows()]
    wrong = st.session_state.setdefault("review-wrong", set()) & set(pairs)
    with st.container(horizontal=True, vertical_alignment="center"):
        accept = f"Accept {len(pairs) - len(wrong)}" + (f", reject {len(wrong)}" if wrong else "")
        if st.button(accept, type="primary", shortcut="mod+enter", disabled=not who.strip(), key="review-grid-accept"):
            seen = st.session_state["review-grid-seen"]
            # What fails is said here, and would be gone with another run.
            words = {pair: "reject" if pair in wrong else "accept" for pair in pairs}
            if all(decisions.record(*pair, seen.get(pair, ""), word) for pair, word in words.items()):
                st.session_state["review-wrong"] = set()
                st.rerun()
        st.caption(f"Click the masks that are wrong. {len(queue) - len(pairs):,} more after these.", width="content")
    # What is decided about is what is shown.
    st.session_state["review-grid-seen"] = {pair: decisions.identify(index.decision(*pair)) for pair in pairs}
    key, affixes = current_index.get_cache_key(index), current_index.get_affixes()
    rows = st.container(key="grid")
    for start in range(0, len(pairs), ACROSS):
        for place, (specimen, trait) in zip(rows.columns(ACROSS), pairs[start : start + ACROSS], strict=False):
            is_wrong = (specimen, trait) in wrong
            name = components.hash_key(f"{specimen} {trait}")
            with place, st.container(key=f"picture-{'wrong' if is_wrong else 'right'}-{name}"):
                crop = index_images.read_crop(index, key, specimen, trait)
                st.image(crop, width="stretch", alt=f"{trait} of {specimen}")
                st.button(
                    f"{'Keep' if is_wrong else 'Reject'} {escape_md(trait)} of {escape_md(specimen)}",
                    key=f"hop-{name}", on_click=_toggle, args=(specimen, trait), width="stretch",
                )  # fmt: skip
            sign = ":material/close: **reject** " if is_wrong else ""
            place.caption(f"{sign}{escape_md(trait)}, {escape_md(captions.shorten(specimen, affixes=affixes))}")


def _toggle(specimen: str, trait: str) -> None:
    wrong: set[tuple[str, str]] = st.session_state.setdefault("review-wrong", set())
    wrong.symmetric_difference_update({(specimen, trait)})


def get_day(review: sst.Review) -> str:
    """Return the day of a decision, in UTC, such as 2026-11-30."""
    return review.time[:10]


def keep_decided(table: pd.DataFrame, reviews: Iterable[sst.Review], by: str, days: Collection[str]) -> pd.DataFrame:
    """Keep the rows of masks on which a person decided on some days.

    Args:
        table: of regions.
        reviews: the decisions that hold.
        by: the person; "" is everybody.
        days: of `get_day`; none is any day.
    """
    kept = {
        (review.individual, review.trait)
        for review in reviews
        if by in ("", review.reviewer) and (not days or get_day(review) in days)
    }
    wanted = [pair in kept for pair in zip(table["sst:individual"], table["sst:trait"], strict=True)]
    found: pd.DataFrame = table[wanted]
    return found
