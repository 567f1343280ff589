"""Annotate page: draw the traits of a specimen and save them as a support for the build."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import streamlit as st

import sst_retrieval as sst
from sst_app import (
    components,
    current_index,
    mask_canvas,
    query_input,
    rebuild,
    specimen_picker,
    specimen_source,
    url_state,
)
from sst_app.markdown import escape_md, format_code
from sst_app.mask_canvas import Masks
from sst_app.page_errors import show_errors
from sst_app.specimen_source import SpecimenSource

EVERY_GROUP = "every group"
MAX_NAME = 80
"""Largest number of characters of a trait's name."""


def main() -> None:
    """Show the page."""
    table = current_index.get_unindexed_table()
    source = specimen_source.from_index() if table is None else specimen_source.from_table(table)
    if table is None:
        rebuild.show_progress()
    with st.sidebar:
        names = _show_specimen_filter(source)
        specimen = _show_specimen_choice(names)
        traits = _show_traits(source, specimen)
        # Beside the surface: in view, however large that is.
        if table is not None:
            specimen_source.show_first_build(specimen_source.from_table(table), table)
        else:
            rebuild.show_new_supports(current_index.get_index())
    if specimen is None:
        _show_overview(source, names)
    elif not traits:
        st.image(source.thumbnail(specimen), alt=specimen)
        st.info("Which traits do you want to find? Add the first one on the left, such as forewing_band.")
    else:
        _draw(source, specimen, traits)


def _show_specimen_filter(source: SpecimenSource) -> list[str]:
    """Show filters by group and by words; return the ids of the specimens that pass."""
    if url_state.take_adopted("draw"):
        st.session_state["annotate-specimen"] = url_state.get("draw") or None
    sizes = source.specimens["sst:group"].value_counts()
    # Groups without a support come first.
    groups = sorted(map(str, sizes.index), key=lambda group: (group in source.supports, group))
    group = st.selectbox(
        "Group", [EVERY_GROUP, *groups], key="annotate-group", format_func=lambda group: group
        if group in source.supports or group == EVERY_GROUP else f"{group} (no support yet)",
    )  # fmt: skip
    own = source.specimens if group == EVERY_GROUP else source.specimens[source.specimens["sst:group"] == group]
    wanted = st.session_state.get("annotate-specimen")
    if wanted is not None:
        st.session_state["annotate-gone"] = None if (source.specimens["sst:specimen"] == wanted).any() else wanted
    if not (own["sst:specimen"] == wanted).any():
        st.session_state["annotate-specimen"] = None  # Gone, or of another group than the one that was chosen since.
    words = specimen_picker.show_search("annotate-words", "id, name, place ...")
    found = specimen_picker.find_specimens(own, words)
    if words and st.session_state.get("annotate-specimen") is not None:
        # Beside the surface, which stays until another one is chosen.
        specimen_picker.show_gallery(found, _pick, key="find", across=2, picture=source.thumbnail)
    return found


def _show_specimen_choice(names: list[str]) -> str | None:
    """Show a choice of specimens; return the chosen one."""
    wanted = st.session_state.get("annotate-specimen")
    if not names:
        st.info("No specimen has all of these words; use fewer or other ones.")
    shown = names[:200] if wanted is None or wanted in names[:200] else [wanted, *names[:199]]
    chosen = st.selectbox("Draw on", shown, index=None, key="annotate-specimen", placeholder=f"{len(names):,} found")
    url_state.put("draw", *([chosen] if chosen else []))
    return chosen


def _show_traits(source: SpecimenSource, specimen: str | None) -> list[str]:
    """Show a form that adds a trait; return all traits.

    They are those that have a number, those that were added, which are kept in the URL, and those of a drawing that is
    not saved yet: whoever comes back to it after the browser was closed finds it whole.
    """
    drawn = () if specimen is None else mask_canvas.list_traits(_identify(source, specimen))
    traits = list(dict.fromkeys([*source.numbers, *_read_added(), *drawn]))
    with st.form("new-trait", clear_on_submit=True, border=False):
        name = st.text_input(
            "A new trait", placeholder="hindwing_spot", help="As you would write it in a table.", max_chars=MAX_NAME
        ).strip()
        if st.form_submit_button("Add", width="stretch") and name and name not in traits:
            try:
                sst.check_trait_name(name, traits)
            except sst.SupportError as error:
                st.error(escape_md(error))
            else:
                url_state.put("new", *_read_added(), name)
                traits.append(name)
    return traits


def _read_added() -> list[str]:
    """Return the traits that were added, from the URL; names that a trait cannot have are left out."""
    added: list[str] = []
    for name in url_state.get_all("new"):
        with suppress(sst.SupportError):
            sst.check_trait_name(name, added)
            added.append(name)
    return added


def _identify(source: SpecimenSource, specimen: str) -> tuple[str, ...]:
    """Return what a drawing on a specimen is kept under."""
    return "annotate", source.place, specimen


def _show_overview(source: SpecimenSource, names: list[str]) -> None:
    """Explain supports, list the groups that have one, and show specimens to choose from."""
    gone = st.session_state.get("annotate-gone")
    if gone is not None:
        st.warning(
            f"There is no specimen {escape_md(repr(gone))} here: its row was renamed or removed, or the link is of "
            "another collection. What was drawn on it and not saved is kept, and is there again when the specimen is."
        )
    st.subheader("Draw a support")
    st.markdown(
        "A **support** is one specimen of a group on which you draw the traits; the program finds them on all the "
        "others. Choose a fresh one, upright, with every trait."
    )
    left, right = st.columns([1.6, 1], gap="medium")
    with left:
        specimen_picker.show_gallery(names, _pick, key="draw", across=4, picture=source.thumbnail)
    with right:
        sizes = source.specimens["sst:group"].value_counts()
        rows = [
            {
                "group": group,
                "specimens": int(size),
                "supports": ", ".join(source.supports.get(group, [])) or "none yet",
            }
            for group, size in sizes.items()
        ]
        st.dataframe(sorted(rows, key=lambda row: row["supports"] != "none yet"), hide_index=True)


def _pick(specimen: str) -> None:
    st.session_state["annotate-specimen"], st.session_state["annotate-words"] = specimen, ""


def _draw(source: SpecimenSource, specimen: str, traits: list[str]) -> None:
    """Show the surface on a specimen, and the saving of its masks."""
    image = source.photograph(specimen)
    _draw_and_save(source, specimen, tuple(traits), image, components.hash_content(image))


@st.fragment
@show_errors()
def _draw_and_save(
    source: SpecimenSource, specimen: str, traits: tuple[str, ...], image: np.ndarray, content: str
) -> None:
    """Show what may be begun with, the saving and the surface; as a fragment: a stroke reruns only this function."""
    path = rebuild.find_label_picture(source.folder, specimen)
    state = repr(rebuild.read_file_state(path))
    identity = _identify(source, specimen)
    size = (image.shape[0], image.shape[1])
    drawing = mask_canvas.open_drawing(identity, size, lambda: _read_support(path, size), base=state)
    colours = {trait: sst.PALETTE[place % len(sst.PALETTE)] for place, trait in enumerate(traits)}
    with st.container(horizontal=True, vertical_alignment="center"):
        save = source.folder is not None and st.button(
            "Save the support", type="primary", icon=":material/save:", shortcut="mod+s", key=f"save-{specimen}"
        )
        starts = _list_starts(source, specimen, path, size)
        st.caption("Begin again with", width="content")
        for name, make in starts.items():
            if st.button(name, key=f"begin-{specimen}-{name}"):
                drawing = mask_canvas.replace_drawing(identity, size, make(), base=drawing.draft.base)
    if mask_canvas.show_draft_note(drawing):
        mask_canvas.discard(identity)
        st.rerun(scope="fragment")
    mask_canvas.show_draft_problem()
    # What is to be said stands above the surface, where it is seen, in a place that does not grow: the surface must not
    # move under the hand of who draws.
    about, state_line = st.container(), st.container(key="drawing-state")
    masks = mask_canvas.show_canvas(drawing, image, content, colours)
    uploaded = _show_upload(specimen, image, list(traits))
    if uploaded:
        masks = {**masks, **uploaded}
    with about, show_errors():
        if save and source.folder is not None:
            _save(source, source.folder, specimen, masks, drawing, state)
    with state_line:
        _show_state(source, specimen, traits, masks)
        if _get_group(source, specimen) in source.many:
            st.caption(
                "This photograph may show several individuals. Draw the traits of one that lies whole and free, or of "
                "several: what touches or nearly touches is one individual, and they are numbered in reading order. "
                "The build looks for others like them, here and on the other photographs."
            )
    mask_canvas.show_clicker_choice()


def _get_group(source: SpecimenSource, specimen: str) -> str:
    own = source.specimens
    found = own.loc[own["sst:specimen"] == specimen, "sst:group"]
    return str(found.iloc[0]) if len(found) else ""


def _list_starts(
    source: SpecimenSource, specimen: str, path: Path | None, size: tuple[int, int]
) -> dict[str, Callable[[], Masks]]:
    """List what a drawing can begin with: nothing, the masks that the program found, an existing support."""
    starts: dict[str, Callable[[], Masks]] = {"nothing": dict}
    found = source.found(specimen)
    if found:
        starts["what the program found"] = lambda: found
    if path is not None:
        starts["the support as it is"] = lambda: _read_support(path, size)
    return starts


def _read_support(path: Path | None, size: tuple[int, int]) -> Masks:
    """Read the masks of a label picture; none if there is none."""
    if path is None:
        return {}
    labels = sst.read_labels(path, max_pixels=query_input.MAX_PIXELS)
    if labels.shape != size:
        raise sst.SupportError(
            f"{path} is {labels.shape[1]} x {labels.shape[0]} pixels, but its photograph is {size[1]} x {size[0]}; "
            "move the file away to draw it anew"
        )
    numbers = sst.read_traits(sst.find_traits_file(path.parent) or path.with_name("traits.toml")).numbers
    return {trait: labels == number for trait, number in numbers.items() if (labels == number).any()}


def _show_upload(specimen: str, image: np.ndarray, traits: list[str]) -> Masks:
    """Show the upload of a mask from another program; return trait -> mask."""
    key = f"annotate-upload-{specimen}"  # A mask is of one specimen; it is not carried to the next.
    with st.expander("Upload a mask instead"):
        left, right = st.columns(2)
        trait = left.selectbox("Trait of the mask", traits, key=f"{key}-trait")
        upload = right.file_uploader("Label picture, 0 = background", type=["png", "tif"], max_upload_size=50, key=key)
        if upload is None:
            return {}
        with query_input.write_temporary(upload.getvalue(), upload.name) as path:
            return {trait: sst.read_mask(path, image, trait=trait, number=1)}


def _save(
    source: SpecimenSource, folder: Path, specimen: str, masks: Masks, drawing: mask_canvas.Drawing, state: str
) -> None:
    """Save the masks as a support, unless somebody has saved one since the drawing was begun: then say so first."""
    if not masks:
        st.warning("Nothing is drawn yet, so there is nothing to save.")
        return
    if drawing.draft.base != state:
        mask_canvas.set_base(drawing, state)
        st.warning(
            f"Somebody has saved a support of {escape_md(specimen)} since you opened it. Begin again with *the support "
            "as it is* to see it, or save once more to replace it; it is then kept as a hidden file with the ending "
            ".old."
        )
        return
    path = sst.save_support(folder, specimen, masks, numbers=source.numbers)
    if current_index.get_unindexed_table() is None:
        rebuild.mark_saved(current_index.get_index(), specimen)
    mask_canvas.mark_saved(drawing, repr(rebuild.read_file_state(path)))
    st.session_state["annotate-saved"] = (specimen, str(path))
    st.rerun()


def _show_state(source: SpecimenSource, specimen: str, traits: tuple[str, ...], masks: Masks) -> None:
    """Show in one line, so that the surface stays where it is, what is drawn, what is not, and what was saved."""
    if source.folder is None:
        st.info(escape_md(source.why_not))
    saved, path = st.session_state.pop("annotate-saved", ("", ""))
    if saved == specimen:
        st.caption(f":material/check: **Saved**: {format_code(path)}.")
        return
    if not masks:
        st.caption("Nothing is drawn yet.")
        return
    line = "**Drawn**: " + ", ".join(f"{escape_md(trait)} {int(mask.sum()):,} px" for trait, mask in masks.items())
    # A beetle lacks no wing pattern: of a known group its own traits count, and those that were added just now.
    own = source.traits_of(_get_group(source, specimen))
    added = _read_added()
    known = [trait for trait in traits if trait in own or trait in added] if own else traits
    missing = [trait for trait in known if trait not in masks]
    if missing:
        named = " and ".join([", ".join(missing[:-1])] * (len(missing) > 1) + missing[-1:])
        line += (
            f". :material/warning: **Nothing is drawn of {escape_md(named)}**: the support says that "
            "it is not there, and so will the index of this specimen. If it is there, draw it, too."
        )
    st.caption(line)


main()
