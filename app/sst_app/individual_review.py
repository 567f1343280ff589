"""Review of individuals: those of a photograph outlined and numbered; delete, add, redraw, split and merge them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

import sst_retrieval as sst
from sst_app import components, current_index, index_images, individuals, mask_canvas, rebuild
from sst_app.markdown import escape_md
from sst_app.page_errors import show_errors

Mask = npt.NDArray[np.bool_]
Steps = list[tuple[str, sst.Review | None]]
"""Individuals that were decided on, in order, and what was decided on each before."""

GONE = "#6B6B6B"
SIGNS = {"rejected": "{} ✕", "redrawn": "{} ✎", "added": "+{}", "accepted": "{} ✓"}
"""What a person decided -> how its number is written on the photograph."""

VERBS = {"reject": "is taken out", "redraw": "gets its new outline", "reopen": "is looked for anew"}
MAX_UNDO = 50
NEW = "a new individual"
SEED = 8
"""Rounds in which the two halves of a split find their middles."""


@dataclass(frozen=True)
class State:
    """An individual of a photograph as people decided on it.

    Attributes:
        id: of the individual.
        number: on its photograph.
        status: "", "accepted", "rejected", "redrawn" or "added"; the last two until the next build.
        read: reads its pixels, bool (H, W).
        outline: what is shown of it.
        centre: (x, y) in pixels.
    """

    id: str
    number: int
    status: str
    read: Callable[[], Mask]
    outline: index_images.Outline
    centre: tuple[float, float]


def is_chosen(index: sst.Index) -> bool:
    """Show the choice of what is reviewed, if there are photographs with several individuals; return what is chosen."""
    if not individuals.list_photographs(index):
        return False
    what = st.segmented_control(
        "Look at", ["masks", "individuals"], default="masks", key="review-what", bind="query-params", required=True
    )
    return bool(what == "individuals")


def show(index: sst.Index, who: str) -> None:
    """Show a photograph, its individuals, and what can be decided on them."""
    names = individuals.list_photographs(index)
    with st.sidebar:
        if st.session_state.get("review-photograph", names[0]) not in names:
            st.session_state["review-photograph"] = names[0]
        photograph = st.selectbox("Photograph", names, key="review-photograph", bind="query-params")
        back, on = st.columns(2)
        place = names.index(photograph)
        back.button("Earlier", on_click=_turn_to, args=(names, place - 1), disabled=place == 0, width="stretch")
        on.button("Next", on_click=_turn_to, args=(names, place + 1), disabled=place + 1 == len(names), width="stretch")
        st.caption(f"{place + 1:,} of {len(names):,} photographs")
    if not who.strip():
        st.info("Write your name on the left; decisions are kept with it.")
    drawing = st.session_state.get("individual-drawing")
    if drawing is not None and drawing[0] == photograph:
        _show_drawing(index, photograph, drawing[1], who)
        return
    _show_photograph(index, photograph, who)
    _show_pending(index)


def _show_photograph(index: sst.Index, photograph: str, who: str) -> None:
    size, states = read_states(index, photograph)
    st.session_state["individuals-seen"] = (photograph, identify(index, photograph))
    key = f"individuals-on-{photograph}"
    numbers = {each.id: each.number for each in states}
    known: list[str] = [name for name in st.session_state.get(key) or [] if name in numbers]
    st.session_state[key] = known
    left, right = st.columns([2.6, 1], gap="medium")
    with left:
        _show_head(index, photograph, states)
        _show_outlines(index, photograph, size, states, known)
    with right:
        chosen: list[str] = st.pills(
            "Individuals; click them here or on the photograph", list(numbers), selection_mode="multi", key=key,
            format_func=lambda name: _write_number(next(each for each in states if each.id == name)),
        )  # fmt: skip
        _show_actions(photograph, [each for each in states if each.id in chosen], states, who)


def _show_head(index: sst.Index, photograph: str, states: Sequence[State]) -> None:
    there = sum(each.status != "rejected" for each in states)
    annotated = _list_annotated()
    undecided = sum(not each.status and each.id not in annotated for each in states)
    with st.container(horizontal=True, vertical_alignment="center"):
        words = f"**{escape_md(photograph)}**: {there:,} individual{'s' * (there != 1)}"
        left = f"{undecided:,} not decided" if undecided else "all decided" if states else "none was found"
        if own := sum(each.id in annotated for each in states):
            left = f"{own:,} annotated" + f", {left}" * (own < len(states))
        st.markdown(f"{words}, {left}", width="content")
        made = st.session_state.get("individual-undo", [])
        if made and made[-1][1] == photograph:
            st.button(
                f"Undo: {escape_md(made[-1][0])}", icon=":material/undo:", shortcut="mod+z", on_click=undo,
                key="individual-undo-button",
            )  # fmt: skip


def _show_outlines(
    index: sst.Index, photograph: str, size: tuple[int, int], states: Sequence[State], chosen: Sequence[str]
) -> None:
    try:
        picture = individuals.read_whole(index, current_index.get_picture_key(index), photograph)
        size = size if states else index_images.decode(picture).shape[:2]
    except sst.ImageError as error:
        st.warning(escape_md(error))
        return
    # Those that are none lie below the others, and large ones below small ones.
    shown = sorted(states, key=lambda each: (each.status != "rejected", -each.outline.area))
    colours = {
        each.id: individuals.CHOSEN if each.id in chosen else GONE if each.status == "rejected" else individuals.OTHER
        for each in states
    }
    components.show_specimen(
        index_images.make_data_uri(picture), size, [each.outline for each in shown], colours,
        key=f"individuals-of-{photograph}", chosen=chosen, label=f"photograph {photograph}: choose individuals",
        hint="Click individuals to choose them" if states else "",
        marks={each.id: (_write_number(each), *each.centre) for each in states},
        on_choice=lambda name: _toggle(photograph, name), zoomable=True,
    )  # fmt: skip


def _toggle(photograph: str, name: str) -> None:
    """Choose an individual, or no longer; in a callback, so that no click is lost."""
    chosen: list[str] = st.session_state.get(f"individuals-on-{photograph}") or []
    st.session_state[f"individuals-on-{photograph}"] = (
        [each for each in chosen if each != name] if name in chosen else [*chosen, name]
    )


def _write_number(state: State) -> str:
    return SIGNS.get(state.status, "{}").format(state.number)


def _show_actions(photograph: str, chosen: Sequence[State], states: Sequence[State], who: str) -> None:
    """Show the buttons that decide on the chosen individuals."""
    drawn = _list_annotated()
    annotated = [each.id for each in chosen if each.id in drawn]
    if annotated:
        st.caption(
            f"{escape_md(', '.join(annotated))}: annotated in the supports, so it is changed there and not decided on "
            "here."
        )
    free = [each for each in chosen if each.id not in annotated and each.status != "rejected"]
    gone = [each for each in chosen if each.status == "rejected"]
    off = not who.strip()

    def button(label: str, icon: str, usable: bool, act: Callable[..., None], *about: Any, hint: str = "") -> None:
        st.button(
            label, icon=f":material/{icon}:", key=f"individual-{icon}", disabled=off or not usable, on_click=act,
            args=(photograph, *about), width="stretch", help=hint or None,
        )  # fmt: skip

    names = [each.id for each in free]
    button("Not an individual", "delete", bool(free), reject, names, hint="It is no hit from now on.")
    button("Merge into one", "merge", len(free) > 1, merge, names, hint="Two that were found are one.")
    button(
        "Split in two", "call_split", len(free) == 1, split, *names[:1], hint="Redraw the halves if they are not right."
    )
    button("Redraw the outline", "draw", len(free) == 1, start_drawing, *names[:1])
    button("Add one that was missed", "add", True, start_drawing, NEW, hint="By a click, a box, a brush or corners.")
    if gone:
        button("Take it back", "restore_from_trash", True, reopen, [each.id for each in gone])
    rest = [each.id for each in states if not each.status and each.id not in drawn]
    st.divider()
    words = f"The other {len(rest):,} are right" if chosen else f"All {len(rest):,} are right"
    words = words if rest else "None is left to decide on"
    button(words, "done_all", bool(rest), accept, rest, hint="They stay as they are, whatever a later build finds.")


def _list_annotated() -> frozenset[str]:
    """List the individuals that were annotated in the supports."""
    return frozenset(str(each["specimen"]) for each in current_index.get_info()["provenance"].get("supports", []))


def _show_pending(index: sst.Index) -> None:
    """Say what was decided and waits for the next build, and offer to run it."""
    pending = index.pending_individuals()
    if not pending:
        return
    known = set(individuals.map_photographs(index))
    with st.expander(_count_waiting(len(pending)), expanded=False):
        lines = [
            f"- {escape_md(name)} {'is added' if what == 'redraw' and name not in known else VERBS[what]}"
            for name, what in list(pending.items())[:50]
        ]
        st.markdown("\n".join(lines))
        st.caption("Until then no search finds those that were redrawn or added; those taken out are gone at once.")
        rebuild.show_rebuild(label="Build")


def _count_waiting(count: int) -> str:
    return "1 decision waits for the next build" if count == 1 else f"{count:,} decisions wait for the next build"


# ------------------------------------------------------------------------------------------------------- what is shown


def read_states(index: sst.Index, photograph: str) -> tuple[tuple[int, int], list[State]]:
    """Return the size (height, width) of a photograph and its individuals as people decided, in order of numbers."""
    reviews = {each.individual: each for each in index.individual_reviews(photograph)}
    pending = index.pending_individuals(photograph)
    size, states = (0, 0), []
    for name in index.catalog.individuals_of(photograph):
        each = index.individual(name)
        if each.photograph.id != photograph or each.box is None or each.size is None:
            continue
        size, review = each.size, reviews.pop(name, None)
        if review is not None and review.decision == "redraw" and name in pending:
            states.append(_make_drawn(review, each.number, "redrawn"))
            continue
        status = "" if review is None or review.decision == "redraw" else str(sst.DECISIONS[review.decision])
        status = "accepted" if review is not None and review.decision == "redraw" else status
        x0, y0, x1, y1 = each.box
        path = index_images.trace_svg_path(index.silhouette(name), (x0, y0))
        outline = index_images.Outline(name, path, (x1 - x0) * (y1 - y0), each.score or 0.0, status)
        states.append(
            State(name, each.number, status, _make_reader(index, each), outline, ((x0 + x1) / 2, (y0 + y1) / 2))
        )
    for name, review in reviews.items():
        if review.decision == "redraw":
            size = review.size
            states.append(_make_drawn(review, int(name.rpartition("#")[2]), "added"))
    return size, sorted(states, key=lambda each: each.number)


def _make_reader(index: sst.Index, individual: sst.Individual) -> Callable[[], Mask]:
    def read() -> Mask:
        assert individual.box is not None
        assert individual.size is not None
        x0, y0, x1, y1 = individual.box
        whole = np.zeros(individual.size, dtype=bool)
        whole[y0:y1, x0:x1] = index.silhouette(individual.id)
        return whole

    return read


def _make_drawn(review: sst.Review, number: int, status: str) -> State:
    mask = review.mask()
    ys, xs = np.nonzero(mask)
    outline = index_images.Outline(review.individual, index_images.trace_svg_path(mask), len(xs), 1.0, status)
    return State(review.individual, number, status, review.mask, outline, (float(xs.mean()), float(ys.mean())))


def identify(index: sst.Index, photograph: str) -> str:
    """Identify all that was decided on the individuals of a photograph."""
    # Not when: what was taken back and decided again is the same.
    text = repr([(each.individual, each.decision, each.rle) for each in index.individual_reviews(photograph)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


# ---------------------------------------------------------------------------------------------------------- decisions


def reject(photograph: str, names: Sequence[str]) -> None:
    """Record that individuals are none."""
    _act(photograph, f"{_list(names)} taken out", [(name, "reject", None) for name in names])


def reopen(photograph: str, names: Sequence[str]) -> None:
    """Record that rejected individuals are some after all."""
    _act(photograph, f"{_list(names)} taken back", [(name, "reopen", None) for name in names])


def accept(photograph: str, names: Sequence[str]) -> None:
    """Record that individuals are right."""
    what = f"{len(names):,} accepted" if len(names) > 1 else f"{_list(names)} accepted"
    _act(photograph, what, [(name, "accept", None) for name in names])


def merge(photograph: str, names: Sequence[str]) -> None:
    """Record that individuals are one, under the first one's number."""
    _, states = read_states(current_index.get_index(), photograph)
    own = {each.id: each for each in states}
    whole: Mask = np.logical_or.reduce([own[name].read() for name in names])
    first, *rest = names
    # Those that vanish first: no pixel is of two that were decided on.
    steps = [*((name, "reject", None) for name in rest), (first, "redraw", whole)]
    _act(photograph, f"{_list(names)} merged", steps)


def split(photograph: str, name: str) -> None:
    """Record that an individual is two: the one half keeps its number."""
    _, states = read_states(current_index.get_index(), photograph)
    one, other = split_in_two(next(each for each in states if each.id == name).read())
    _act(photograph, f"{_list([name])} split", [(name, "redraw", one), (NEW, "redraw", other)])


def keep_drawn(photograph: str, name: str, mask: Mask) -> bool:
    """Record a drawn outline, without what belongs to other individuals; return whether it was."""
    _, states = read_states(current_index.get_index(), photograph)
    for each in states:
        if each.id != name and each.status != "rejected":
            mask = mask & ~each.read()
    what = "one added" if name == NEW else f"{_list([name])} redrawn"
    return _act(photograph, what, [(name, "redraw", mask)])


def split_in_two(mask: Mask) -> tuple[Mask, Mask]:
    """Split a mask across its longest extent, by 2-means of its pixels (Lloyd 1982).

    Returns:
        The left or upper part, and the other.
    """
    ys, xs = np.nonzero(mask)
    points = np.column_stack([xs, ys]).astype(np.float64)
    centred = points - points.mean(axis=0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    along = centred @ (axis if axis[np.argmax(np.abs(axis))] > 0 else -axis)
    second = along > 0
    for _ in range(SEED):
        if not second.any() or second.all():
            break
        middles = points[~second].mean(axis=0), points[second].mean(axis=0)
        distances = [((points - middle) ** 2).sum(axis=1) for middle in middles]
        second = distances[1] < distances[0]
    parts = np.zeros((2, *mask.shape), dtype=bool)
    parts[second.astype(int), ys, xs] = True
    return parts[0], parts[1]


def _act(photograph: str, what: str, steps: Sequence[tuple[str, str, Mask | None]]) -> bool:
    """Record decisions as one that can be undone, unless somebody has decided since the photograph was shown."""
    who = st.session_state.get("reviewer", "")
    # Fetched first: every access to the session's state may end a run, and what was recorded is to be counted.
    done, recorded = st.session_state.setdefault("individual-undo", []), False
    with show_errors():
        recorded = _record(current_index.get_index(), photograph, what, steps, who, done)
    return recorded


def _record(
    index: sst.Index, photograph: str, what: str, steps: Sequence[tuple[str, str, Mask | None]], who: str,
    done: list[tuple[str, str, Steps, str]],
) -> bool:  # fmt: skip
    """Record decisions, and what undoes those that were recorded; return whether all were."""
    made: Steps = []
    try:
        if st.session_state.get("individuals-seen") != (photograph, identify(index, photograph)):
            st.toast("Somebody has decided on this photograph meanwhile; look at it again. Yours was not kept.")
            return False
        before = {each.individual: each for each in index.individual_reviews(photograph)}
        for name, decision, mask in steps:
            if name == NEW:
                assert mask is not None
                made.append((index.add_individual(photograph, mask, reviewer=who), None))
            else:
                index.review_individual(name, decision, reviewer=who, outline=mask)
                made.append((name, before.get(name)))
    finally:
        if made:
            done.append((what, photograph, made, identify(index, photograph)))
            del done[:-MAX_UNDO]
            st.session_state[f"individuals-on-{photograph}"] = []
    return True


def undo() -> None:
    """Take back the last action of this session; what was decided before counts again."""
    who, done = st.session_state.get("reviewer", ""), st.session_state["individual-undo"]
    with show_errors():
        index = current_index.get_index()
        _, photograph, made, after = done.pop()
        if identify(index, photograph) != after:
            st.toast("Somebody has decided on this photograph since; nothing was taken back.")
            return
        for name, before in reversed(made):
            if before is None:
                index.review_individual(name, "reopen", reviewer=who, comment="undo")
            else:
                outline = before.mask() if before.decision == "redraw" else None
                index.review_individual(
                    name, before.decision, reviewer=before.reviewer, outline=outline, comment=before.comment
                )


def _list(names: Sequence[str]) -> str:
    numbers = ", ".join(name.rpartition("#")[2] for name in names[:4]) + (" ..." if len(names) > 4 else "")
    return f"individual{'s' * (len(names) != 1)} {numbers}"


# ------------------------------------------------------------------------------------------------------------ drawing


def start_drawing(photograph: str, name: str) -> None:
    """Open the surface on which an individual is drawn."""
    st.session_state["individual-drawing"] = (photograph, name)


def _turn_to(names: Sequence[str], place: int) -> None:
    st.session_state["review-photograph"] = names[place]
    st.session_state.pop("individual-drawing", None)


@st.fragment
@show_errors()
def _show_drawing(index: sst.Index, photograph: str, name: str, who: str) -> None:
    """Show the surface; as a fragment: a stroke reruns only this function."""
    key = current_index.get_picture_key(index)
    image = individuals.read_pixels(index, key, photograph)
    size = (image.shape[0], image.shape[1])
    identity = ("individual", key[0], photograph, name)
    label = NEW if name == NEW else f"individual {name.rpartition('#')[2]}"
    _, states = read_states(index, photograph)

    def start() -> dict[str, Mask]:
        own = [each for each in states if each.id == name]
        return {label: own[0].read()} if own else {}

    drawing = mask_canvas.open_drawing(identity, size, start, base=identify(index, photograph))
    st.subheader(f"Draw {escape_md(label)} of {escape_md(photograph)}")
    with st.container(horizontal=True, vertical_alignment="center"):
        save = st.button("Keep this outline", type="primary", shortcut="mod+s", disabled=not who.strip())
        if st.button("Leave it as it was"):
            mask_canvas.discard(identity)
            st.session_state.pop("individual-drawing")
            st.rerun()
        others = [each for each in states if each.id != name and each.status != "rejected"]
        st.caption(f"All of it, and nothing else; pixels of the other {len(others):,} stay theirs.", width="content")
    if mask_canvas.show_draft_note(drawing):
        mask_canvas.discard(identity)
        st.rerun(scope="fragment")
    mask_canvas.show_draft_problem()
    about = st.container()
    masks = mask_canvas.show_canvas(
        drawing, image, components.hash_content(image), {label: individuals.CHOSEN}, tighten=True
    )
    mask_canvas.show_clicker_choice()
    if save and label not in masks:
        about.warning("Nothing is drawn yet.")
    elif save:
        with about, show_errors():
            st.session_state["individuals-seen"] = (photograph, drawing.draft.base)
            if keep_drawn(photograph, name, masks[label]):
                mask_canvas.discard(identity)
                st.session_state.pop("individual-drawing")
                st.rerun()
            else:
                mask_canvas.set_base(drawing, identify(index, photograph))
