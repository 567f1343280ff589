"""Review page: accept, reject or redraw masks, the least confident first, with keyboard shortcuts."""

from __future__ import annotations

import getpass
import json
from typing import Any

import pandas as pd
import streamlit as st

import sst_retrieval as sst
from sst_app import (
    captions,
    components,
    current_index,
    decisions,
    index_images,
    individual_review,
    individuals,
    mask_canvas,
    review_queue,
    url_state,
)
from sst_app.markdown import escape_md, format_code
from sst_app.page_errors import show_errors
from sst_app.rebuild import (
    find_label_picture,
    find_support_folder,
    mark_saved,
    show_new_supports,
    show_progress,
    show_rebuild,
)

EVERYBODY = "everybody"
STATUSES = {"not decided": "", "accepted": "accepted", "rejected": "rejected", "redrawn": "redrawn"}


def main() -> None:
    """Show the page."""
    index = current_index.get_index()
    with st.sidebar:
        individually = individual_review.is_chosen(index)
    if individually:
        with st.sidebar:
            who = st.text_input("Your name", value=_get_login(), key="reviewer", help="Kept with every decision.")
        show_progress()
        individual_review.show(index, who)
        return
    with st.sidebar:
        trait = st.selectbox("Trait", ["every trait", *index.traits], key="review-trait", bind="query-params")
        status = st.selectbox("Masks", list(STATUSES), key="review-status", bind="query-params")
        by, days = _show_decision_filter(index) if STATUSES[status] else ("", [])
        absent = st.toggle("also traits that were not found", key="review-absent", bind="query-params")
        who = st.text_input("Your name", value=_get_login(), key="reviewer", help="Kept with every decision.")
        grid = st.toggle("a grid of masks", key="review-grid", bind="query-params")
        order = st.selectbox("First", ["least confident", "most confident"], key="review-order", bind="query-params")
    show_progress()
    decisions.show_conflict(index, who)
    redrawing = _read_redrawing()
    if redrawing is not None and decisions.is_there(index, *redrawing):
        # Whatever others decide meanwhile: a drawing is not taken away.
        _show_redraw(index, redrawing[0], redrawing[1], who)
        return
    table = current_index.get_table(None if trait == "every trait" else trait)
    least_first = order == "least confident"
    if by or days:
        table = review_queue.keep_decided(table, index.reviews(), by, days)
        queue = list_queue(table, STATUSES[status], absent=absent, least_first=least_first)
    else:
        key = current_index.get_cache_key(index)
        queue = _list_queue_once(table, key, trait, STATUSES[status], absent, least_first)
    _show_review_state(index, table, len(queue))
    if not len(queue):
        st.success("Nothing is left to look at here; choose another trait or other masks on the left.")
        return
    if grid:
        review_queue.show_grid(index, queue, who)
        return
    place = min(st.session_state.get("review-place", 0), len(queue) - 1)
    row = queue.iloc[place]
    specimen, name = row["sst:individual"], row["sst:trait"]
    st.session_state["review-shown"] = (specimen, name)
    _show_mask(index, queue, place, who)


def _show_decision_filter(index: sst.Index) -> tuple[str, list[str]]:
    """Show filters of decisions that were made; return whose ("" is everybody's) and on which days (none is any)."""
    made = index.reviews()
    names = sorted({review.reviewer for review in made if review.reviewer})
    by = st.selectbox("Decided by", [EVERYBODY, *names], key="review-by", bind="query-params")
    days = sorted({review_queue.get_day(review) for review in made}, reverse=True)
    on = st.multiselect("Decided on", days, key="review-days", bind="query-params", placeholder="any day",
                        help="Days in UTC.")  # fmt: skip
    return "" if by == EVERYBODY else by, on


def list_queue(table: pd.DataFrame, status: str, *, absent: bool = False, least_first: bool = True) -> pd.DataFrame:
    """Return the rows of the masks to review, in order."""
    wanted = table["sst:review"] == status
    if not absent:
        wanted &= table["sst:present"]
    keys = ["sst:confidence", "sst:region"]
    found: pd.DataFrame = table[wanted].sort_values(keys, ascending=[least_first, True])
    return found


@st.cache_resource(max_entries=8, show_spinner=False)
def _list_queue_once(
    _table: pd.DataFrame, key: tuple[str, tuple[int, ...]], trait: str, status: str, absent: bool, least_first: bool
) -> pd.DataFrame:
    return list_queue(_table, status, absent=absent, least_first=least_first)


def _show_mask(index: sst.Index, queue: pd.DataFrame, place: int, who: str) -> None:
    """Show a mask on its photograph, and the buttons of a decision."""
    row, total = queue.iloc[place], len(queue)
    specimen, trait = row["sst:individual"], row["sst:trait"]
    key = current_index.get_cache_key(index)
    left, right = st.container(key="desk").columns([2.6, 1], gap="medium")
    with left:
        review_queue.show_queue(index, queue, place, who)
    with right:
        st.subheader(escape_md(trait))
        about = captions.format_caption(dict(index.individual(specimen).metadata))
        st.markdown(f"**{escape_md(specimen)}**  \n{escape_md(about)}")
        st.progress(float(row["sst:confidence"]), f"confidence {row['sst:confidence']:.2f}")
        decision = index.decision(specimen, trait)
        if decision is not None:
            what = sst.DECISIONS[decision.decision]
            st.caption(escape_md(f"{what} by {decision.reviewer}, {decision.time[:16]} {decision.comment}"))
        _show_buttons(specimen, trait, who, decision)
        back, on = st.columns(2)
        back.button("Back", shortcut="left", on_click=_move_to, args=(place - 1,), disabled=place == 0, width="stretch")
        last = place + 1 >= total
        on.button("Skip", shortcut="right", on_click=_move_to, args=(place + 1,), disabled=last, width="stretch")
        st.text_input(
            f"Comment ({place + 1} of {total:,})", key=f"comment-{specimen}-{trait}", placeholder="if you like"
        )
        st.image(
            index_images.read_crop(index, key, specimen, trait), width="stretch", alt=f"{trait} of {specimen}, cut out"
        )


def _show_buttons(specimen: str, trait: str, who: str, decision: sst.Review | None) -> None:
    if not who.strip():
        st.info("Write your name on the left; decisions are kept with it.")
    known: dict[str, Any] = {"disabled": not who.strip(), "width": "stretch"}
    seen = decisions.identify(decision)
    about = (specimen, trait, seen)
    # The keys A and X belong to the queue, which holds them until they are recorded.
    st.button("Accept", type="primary", on_click=decisions.decide, args=(*about, "accept"), help="Key: A", **known)
    st.button("Reject", on_click=decisions.decide, args=(*about, "reject"), help="Key: X", **known)
    st.button("Redraw", shortcut="d", on_click=_start_redraw, args=(specimen, trait, seen), **known)
    if decision is not None:
        st.button("Withdraw the decision", shortcut="u", on_click=decisions.decide, args=(*about, "reopen"), **known)


@st.fragment
@show_errors()
def _show_redraw(index: sst.Index, specimen: str, trait: str, who: str) -> None:
    """Show the surface on which a mask is corrected; as a fragment: a stroke reruns only this function."""
    key = current_index.get_cache_key(index)
    window = index.window(specimen)
    image = index_images.show_window(index_images.read_pixels(index, key, specimen), window)
    size = (image.shape[0], image.shape[1])
    identity = ("redraw", key[0], specimen, trait)
    found = {trait: index_images.show_window(index.mask(specimen, trait), window)}
    known = st.session_state.get("redraw-seen")
    if known is None or known[:2] != (specimen, trait):  # By a link, or after a reload.
        known = st.session_state["redraw-seen"] = (specimen, trait, decisions.identify(index.decision(specimen, trait)))
    base = repr(known[2])
    drawing = mask_canvas.open_drawing(identity, size, lambda: found, base=base)
    st.subheader(f"Redraw {escape_md(trait)} of {escape_md(specimen)}")
    with st.container(horizontal=True, vertical_alignment="center"):
        save = st.button("Keep this mask", type="primary", shortcut="mod+s", disabled=not who.strip())
        if st.button("Leave it as it was"):
            mask_canvas.discard(identity)
            url_state.put("redraw")
            st.rerun()
        st.caption("Begin again with", width="content")
        for name, masks in (("nothing", {}), ("the mask as it is", found)):
            if st.button(name, key=f"redraw-{specimen}-{trait}-{name}"):
                drawing = mask_canvas.replace_drawing(identity, size, masks, base=drawing.draft.base)
    if mask_canvas.show_draft_note(drawing):
        mask_canvas.discard(identity)
        st.rerun(scope="fragment")
    mask_canvas.show_draft_problem()
    about = st.container()
    colour = captions.get_trait_colours(index)[trait]
    masks = mask_canvas.show_canvas(drawing, image, components.hash_content(image), {trait: colour})
    mask_canvas.show_clicker_choice()
    if save:
        with about, show_errors():
            _keep_redrawn(index, specimen, trait, who, masks.get(trait), drawing)


def _keep_redrawn(
    index: sst.Index, specimen: str, trait: str, who: str, mask: Any, drawing: mask_canvas.Drawing
) -> None:
    """Keep a redrawn mask, unless somebody has decided since it was begun: then say so first."""
    if mask is None:
        st.warning("Nothing is drawn. If the trait is not there, leave it as it was and reject the mask.")
        return
    newer = index.decision(specimen, trait)
    if repr(decisions.identify(newer)) != drawing.draft.base:
        st.session_state["redraw-seen"] = (specimen, trait, decisions.identify(newer))
        mask_canvas.set_base(drawing, repr(decisions.identify(newer)))
        st.warning(
            f"{decisions.describe_change(specimen, trait, newer)} since you began to draw. Keep your mask once more to "
            "replace that, or leave it as it is."
        )
        return
    whole = index_images.place_in_photograph(mask, index.window(specimen), index.region(specimen, trait).size)
    index.review(specimen, trait, "redraw", reviewer=who, mask=whole)
    mask_canvas.discard(drawing.identity)
    url_state.put("redraw")
    st.toast(escape_md(f"Kept. The next build describes {trait} of {specimen} anew; until then no search finds it."))
    st.rerun()


def _show_review_state(index: sst.Index, table: pd.DataFrame, left: int) -> None:
    """Show the counts of decisions, and the actions that use them."""
    decided = table["sst:review"].value_counts()
    words = [f"**{left:,}** to look at here"] + [
        f"{decided[word]:,} {word}" for word in ("accepted", "rejected", "redrawn") if word in decided
    ]
    head = st.container(key="review-state").columns([3, 1.3], vertical_alignment="center")
    with head[0].container(horizontal=True, vertical_alignment="center"):
        st.markdown(" · ".join(words), width="content")
        decisions.show_undo()
    if decided.get("accepted", 0) + decided.get("redrawn", 0):
        with head[1].popover("Use what was decided", width="stretch"):
            _show_actions(index)


def _show_actions(index: sst.Index) -> None:
    """Show the actions: make a reviewed specimen a support, and build again."""
    reviews = [review for review in index.reviews() if review.overrides_propagation]
    supports = {each["specimen"] for each in current_index.get_info()["provenance"].get("supports", [])}
    # A support is drawn on a whole photograph: where that shows several individuals, on the page Annotate.
    several = set(individuals.map_placed(index))
    names = sorted({review.individual for review in reviews} - supports - several)
    folder, why_not = find_support_folder()
    st.markdown("**One more support.** A specimen whose masks are right teaches its whole group.")
    if folder is None:
        st.info(escape_md(why_not))
    elif names:
        name = st.selectbox("Specimen", names, key="new-support")
        drawn = read_settled_masks(index, name)
        path = folder / sst.name_label_picture(name)
        st.caption(f"Its traits: {escape_md(', '.join(drawn))}. Written to {format_code(path)}.")
        missing = _list_undecided(index, name)
        if missing:
            st.warning(
                f"Nobody has decided about {escape_md(' and '.join(missing))} yet, so the support will lack it; if it "
                "is there, accept or redraw it first."
            )
        if find_label_picture(folder, name) is not None:
            st.warning("A support of it is there already; it is replaced, and kept with the ending .old.")
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
    wanted = [r.trait for r in index.reviews() if r.individual == specimen and r.overrides_propagation]
    masks = {trait: index.mask(specimen, trait) for trait in index.traits if trait in wanted}
    return {trait: mask for trait, mask in masks.items() if mask.any()}


def _list_undecided(index: sst.Index, specimen: str) -> list[str]:
    table = current_index.get_table()
    own = table[(table["sst:individual"] == specimen) & table["sst:present"] & (table["sst:review"] == "")]
    return [str(trait) for trait in own["sst:trait"]]


def _read_redrawing() -> tuple[str, str] | None:
    """Return the specimen and the trait that are being redrawn, from the URL; None if none are."""
    try:
        specimen, trait = json.loads(url_state.get("redraw", "null"))
    except (TypeError, ValueError):
        return None
    return (specimen, trait) if isinstance(specimen, str) and isinstance(trait, str) else None


def _start_redraw(specimen: str, trait: str, seen: decisions.Seen) -> None:
    url_state.put("redraw", json.dumps([specimen, trait], ensure_ascii=False))
    st.session_state["redraw-seen"] = (specimen, trait, seen)


def _move_to(place: int) -> None:
    st.session_state["review-place"] = max(0, place)


def _get_login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


main()
