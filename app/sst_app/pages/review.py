"""Review page: accept, reject or redraw masks, the least confident first, with keyboard shortcuts."""

from __future__ import annotations

import getpass
from typing import Any

import pandas as pd
import streamlit as st

import sst_retrieval as sst
from sst_app import captions, components, current_index, index_images, mask_canvas
from sst_app.markdown import escape_md, format_code
from sst_app.rebuild import find_support_folder, mark_saved, show_new_supports, show_progress, show_rebuild

STATUSES = {"not decided": "", "accepted": "accepted", "rejected": "rejected", "redrawn": "redrawn"}


def main() -> None:
    """Show the page."""
    index = current_index.get_index()
    with st.sidebar:
        trait = st.selectbox("Trait", ["every trait", *index.traits], key="review-trait")
        status = st.selectbox("Masks", list(STATUSES), key="review-status")
        absent = st.toggle("also traits that were not found", key="review-absent")
        who = st.text_input("Your name", value=_get_login(), key="reviewer", help="Kept with every decision.")
        order = st.selectbox("First", ["least confident", "most confident"], key="review-order")
    show_progress()
    table = current_index.get_table(None if trait == "every trait" else trait)
    queue = list_queue(table, STATUSES[status], absent=absent, least_first=order == "least confident")
    _show_review_state(index, table, len(queue))
    if not len(queue):
        st.success("Nothing is left to look at here; choose another trait or other masks on the left.")
        return
    place = min(st.session_state.get("review-place", 0), len(queue) - 1)
    row = queue.iloc[place]
    specimen, name = row["sst:specimen"], row["sst:trait"]
    st.session_state["review-shown"] = (specimen, name)
    if st.session_state.get("redrawing") == (specimen, name):
        _show_redraw(index, specimen, name, who)
    else:
        _show_mask(index, row, place, len(queue), who)


def list_queue(table: pd.DataFrame, status: str, *, absent: bool = False, least_first: bool = True) -> pd.DataFrame:
    """Return the rows of the masks to review, in order."""
    wanted = table["sst:review"] == status
    if not absent:
        wanted &= table["sst:present"]
    keys = ["sst:confidence", "sst:region"]
    found: pd.DataFrame = table[wanted].sort_values(keys, ascending=[least_first, True])
    return found


def _show_mask(index: sst.Index, row: pd.Series, place: int, total: int, who: str) -> None:
    """Show a mask on its photograph, and the buttons of a decision."""
    specimen, trait = row["sst:specimen"], row["sst:trait"]
    key = current_index.get_cache_key(index)
    left, right = st.columns([2.6, 1], gap="medium")
    size, outlines = index_images.read_outlines(index, key, specimen)
    with left:
        try:
            picture, _ = index_images.read_photograph(index, key, specimen)
        except sst.ImageError as error:
            st.warning(f"{escape_md(error)}. Shown is the small picture of the index.")
            picture = index_images.read_thumbnail(index, key, specimen)
        own = [each for each in outlines if each.trait == trait]
        components.show_specimen(
            index_images.make_data_uri(picture), size, own, captions.get_trait_colours(index), key="review-picture",
            chosen=trait, label=f"{trait} of {specimen}", hint=f"{trait} was not found here", clickable=False,
        )  # fmt: skip
    with right:
        st.markdown(f"#### {escape_md(trait)}")
        about = captions.format_caption(dict(index.specimen(specimen).metadata))
        st.markdown(f"**{escape_md(specimen)}**  \n{escape_md(about)}")
        st.progress(float(row["sst:confidence"]), f"confidence {row['sst:confidence']:.2f}")
        decision = index.decision(specimen, trait)
        if decision is not None:
            what = sst.DECISIONS[decision.decision]
            st.caption(escape_md(f"{what} by {decision.reviewer}, {decision.time[:16]} {decision.comment}"))
        comment = st.session_state.get(f"comment-{specimen}-{trait}", "")
        _show_buttons(index, specimen, trait, who, comment, decided=decision is not None)
        back, on = st.columns(2)
        back.button("Back", shortcut="left", on_click=_move_to, args=(place - 1,), disabled=place == 0, width="stretch")
        last = place + 1 >= total
        on.button("Skip", shortcut="right", on_click=_move_to, args=(place + 1,), disabled=last, width="stretch")
        st.text_input(
            f"Comment ({place + 1} of {total:,})", key=f"comment-{specimen}-{trait}", placeholder="if you like"
        )
        st.image(index_images.read_crop(index, key, specimen, trait), width="stretch")


def _show_buttons(index: sst.Index, specimen: str, trait: str, who: str, comment: str, *, decided: bool) -> None:
    if not who.strip():
        st.info("Write your name on the left; decisions are kept with it.")
    known: dict[str, Any] = {"disabled": not who.strip(), "width": "stretch"}
    about = (index, specimen, trait, who, comment)
    st.button("Accept", shortcut="a", type="primary", on_click=_decide, args=(*about, "accept"), **known)
    st.button("Reject", shortcut="x", on_click=_decide, args=(*about, "reject"), **known)
    st.button("Redraw", shortcut="d", on_click=_start_redraw, args=(specimen, trait), **known)
    if decided:
        st.button("Withdraw the decision", shortcut="u", on_click=_decide, args=(*about, "reopen"), **known)


def _show_redraw(index: sst.Index, specimen: str, trait: str, who: str) -> None:
    """Show the canvas on which a mask is corrected."""
    what = f"**Redraw {escape_md(trait)}** of {escape_md(specimen)}"
    st.markdown(f"{what}: add with polygon or brush, take away with the eraser.")
    image = index.photograph(specimen)
    found = index.mask(specimen, trait)
    anew = st.toggle("start from nothing", key="redraw-anew")
    start = {} if anew or not found.any() else {trait: found}
    colour = captions.get_trait_colours(index)[trait]
    masks = mask_canvas.show_canvas(image, {trait: colour}, key=f"redraw-{specimen}-{trait}-{anew}", start=start)
    mask = masks.get(trait)
    save, stop = st.columns(2)
    if save.button("Keep this mask", type="primary", disabled=mask is None, width="stretch"):
        index.review(specimen, trait, "redraw", reviewer=who, mask=mask)
        st.session_state.pop("redrawing")
        st.toast(
            escape_md(f"Kept. The next build describes {trait} of {specimen} anew; until then no search finds it.")
        )
        st.rerun()
    if stop.button("Leave it as it was", width="stretch"):
        st.session_state.pop("redrawing")
        st.rerun()


def _show_review_state(index: sst.Index, table: pd.DataFrame, left: int) -> None:
    """Show the counts of decisions, and the actions that use them."""
    decided = table["sst:review"].value_counts()
    words = [f"**{left:,}** to look at here"] + [
        f"{decided[word]:,} {word}" for word in ("accepted", "rejected", "redrawn") if word in decided
    ]
    head = st.columns([3, 1.3], vertical_alignment="center")
    head[0].markdown(" · ".join(words))
    if decided.get("accepted", 0) + decided.get("redrawn", 0):
        with head[1].popover("Use what was decided", width="stretch"):
            _show_actions(index)


def _show_actions(index: sst.Index) -> None:
    """Show the actions: make a reviewed specimen a support, and build again."""
    reviews = [review for review in index.reviews() if review.overrides_propagation]
    supports = {each["specimen"] for each in current_index.get_info()["provenance"].get("supports", [])}
    names = sorted({review.specimen for review in reviews} - supports)
    folder, why_not = find_support_folder()
    st.markdown("**One more support.** A specimen whose masks are right teaches its whole group.")
    if folder is None:
        st.info(escape_md(why_not))
    elif names:
        name = st.selectbox("Specimen", names, key="new-support")
        drawn = read_settled_masks(index, name)
        st.caption(f"Its traits: {escape_md(', '.join(drawn))}. Written to {format_code(f'{folder / name}.png')}.")
        missing = _list_undecided(index, name)
        if missing:
            st.warning(
                f"Nobody has decided about {escape_md(' and '.join(missing))} yet, so the support will lack it; if it "
                "is there, accept or redraw it first."
            )
        if st.button("Make it a support", key="make-support", width="stretch", disabled=not drawn):
            path = sst.save_support(folder, name, drawn, numbers=index.trait_numbers)
            mark_saved(index, name)
            st.success(f"Written: {format_code(path)}")
    else:
        st.caption("Accept or redraw the masks of a specimen that is no support yet.")
    show_new_supports(index, kind="primary")
    st.markdown("**Build again**, all groups: redrawn masks are described anew, too.")
    show_rebuild(label="Build all")


def read_settled_masks(index: sst.Index, specimen: str) -> dict[str, Any]:
    """Return the masks of a specimen that a person accepted or drew."""
    wanted = [r.trait for r in index.reviews() if r.specimen == specimen and r.overrides_propagation]
    masks = {trait: index.mask(specimen, trait) for trait in index.traits if trait in wanted}
    return {trait: mask for trait, mask in masks.items() if mask.any()}


def _list_undecided(index: sst.Index, specimen: str) -> list[str]:
    table = current_index.get_table()
    own = table[(table["sst:specimen"] == specimen) & table["sst:present"] & (table["sst:review"] == "")]
    return [str(trait) for trait in own["sst:trait"]]


def _decide(index: sst.Index, specimen: str, trait: str, who: str, comment: str, decision: str) -> None:
    try:
        index.review(specimen, trait, decision, reviewer=who, comment=comment)
    except sst.SSTError as error:
        st.error(escape_md(error))


def _start_redraw(specimen: str, trait: str) -> None:
    st.session_state["redrawing"] = (specimen, trait)


def _move_to(place: int) -> None:
    st.session_state["review-place"] = max(0, place)


def _get_login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


main()
