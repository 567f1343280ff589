"""Annotate page: draw the traits of a specimen and save them as a support for the build."""

from __future__ import annotations

import numpy as np
import streamlit as st

import sst_retrieval as sst
from sst_app import current_index, mask_canvas, query_input, rebuild, specimen_picker, specimen_source
from sst_app.markdown import escape_md, format_code
from sst_app.specimen_source import SpecimenSource

EVERY_GROUP = "every group"


def main() -> None:
    """Show the page."""
    table = current_index.get_unindexed_table()
    source = specimen_source.from_index() if table is None else specimen_source.from_table(table)
    if table is None:
        rebuild.show_progress()
    with st.sidebar:
        names = _show_specimen_filter(source)
        specimen = _show_specimen_choice(names)
        traits = _show_traits(source)
    if specimen is None:
        _show_overview(source, names)
    elif not traits:
        st.image(source.thumbnail(specimen))
        st.info("Which traits do you want to find? Add the first one on the left, such as forewing_band.")
    else:
        _draw(source, specimen, traits)
    if table is not None:
        specimen_source.show_first_build(specimen_source.from_table(table), table)
    else:
        rebuild.show_new_supports(current_index.get_index())


def _show_specimen_filter(source: SpecimenSource) -> list[str]:
    """Show filters by group and by words; return the ids of the specimens that pass."""
    sizes = source.specimens["sst:group"].value_counts()
    # Groups without a support come first.
    groups = sorted(map(str, sizes.index), key=lambda group: (group in source.supports, group))
    group = st.selectbox(
        "Group", [EVERY_GROUP, *groups], key="annotate-group", format_func=lambda group: group
        if group in source.supports or group == EVERY_GROUP else f"{group} (no support yet)",
    )  # fmt: skip
    words = st.text_input("Specimen", key="annotate-words", placeholder="id, name ...", icon=":material/search:")
    own = source.specimens
    return specimen_picker.find_specimens(own if group == EVERY_GROUP else own[own["sst:group"] == group], words)


def _show_specimen_choice(names: list[str]) -> str | None:
    """Show a choice of specimens; return the chosen one."""
    if not names:
        st.info("No specimen has all of these words; use fewer or other ones.")
        return None
    wanted = st.session_state.get("annotate-specimen")
    shown = names[:200] if wanted not in names[200:] else [str(wanted), *names[:199]]
    if wanted not in shown:
        st.session_state["annotate-specimen"] = None
    return st.selectbox("Draw on", shown, index=None, key="annotate-specimen", placeholder=f"{len(names):,} found")


def _show_traits(source: SpecimenSource) -> list[str]:
    """Show a form that adds a trait; return all traits."""
    added: list[str] = st.session_state.setdefault("annotate-new", [])
    with st.form("new-trait", clear_on_submit=True, border=False):
        name = st.text_input("A new trait", placeholder="hindwing_spot", help="As you would write it in a table.")
        if st.form_submit_button("Add", width="stretch") and name.strip() and name.strip() not in source.numbers:
            added.append(name.strip())
    return list(dict.fromkeys([*source.numbers, *added]))


def _show_overview(source: SpecimenSource, names: list[str]) -> None:
    """Explain supports, list the groups that have one, and show specimens to choose from."""
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
    st.session_state["annotate-specimen"] = specimen


def _draw(source: SpecimenSource, specimen: str, traits: list[str]) -> None:
    """Show the canvas on a specimen, and the saving of its masks."""
    image = source.photograph(specimen)
    start = _show_start_choice(source, specimen)
    colours = {trait: sst.PALETTE[place % len(sst.PALETTE)] for place, trait in enumerate(traits)}
    masks = mask_canvas.show_canvas(image, colours, key=f"annotate-{specimen}", start=start)
    masks = {**masks, **_show_upload(specimen, image, traits)}
    _show_save(source, specimen, traits, masks)


def _show_start_choice(source: SpecimenSource, specimen: str) -> dict[str, np.ndarray]:
    """Show the choice of initial masks: none, those that the program found, or an existing support."""
    drawn = rebuild.find_label_picture(source.folder, specimen)
    found = source.found(specimen)
    ways = ["nothing", *(["what the program found"] if found else []), *(["the support as it is"] if drawn else [])]
    if len(ways) == 1:
        return {}
    way = st.segmented_control("Begin with", ways, default=ways[-1 if drawn else 0], required=True,
                               key=f"begin-{specimen}")  # fmt: skip
    if way == "the support as it is" and drawn is not None:
        labels = sst.read_labels(drawn, max_pixels=query_input.MAX_PIXELS)
        numbers = sst.read_traits(drawn.with_name("traits.toml")).numbers
        return {trait: labels == number for trait, number in numbers.items() if (labels == number).any()}
    return found if way == "what the program found" else {}


def _show_upload(specimen: str, image: np.ndarray, traits: list[str]) -> dict[str, np.ndarray]:
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


def _show_save(source: SpecimenSource, specimen: str, traits: list[str], masks: dict[str, np.ndarray]) -> None:
    """Show what was drawn and what was not, and a button that saves it."""
    path = rebuild.find_label_picture(source.folder, specimen)
    state = rebuild.read_file_state(path)
    shown = st.session_state.setdefault("annotate-state", {})
    if st.session_state.get("annotate-shown") != (specimen, str(source.folder)):  # Opened anew.
        shown[specimen] = state
    st.session_state["annotate-shown"] = (specimen, str(source.folder))
    if not masks:
        st.caption("Nothing is drawn yet.")
        return
    shares = [f"{escape_md(trait)}: {int(mask.sum()):,} px" for trait, mask in masks.items()]
    st.markdown("**Drawn**: " + ", ".join(shares))
    missing = [trait for trait in traits if trait not in masks]
    if missing:
        st.warning(
            f"Nothing is drawn of {escape_md(' and '.join(missing))}: the support says that it is not there, and so "
            "will the index of this specimen. If it is there, draw it, too."
        )
    if source.folder is None:
        st.info(escape_md(source.why_not))
        return
    left, right = st.columns([1, 3], vertical_alignment="center")
    right.caption(f"It is written to {format_code(f'{source.folder / specimen}.png')}.")
    if left.button("Save the support", type="primary", icon=":material/save:", width="stretch"):
        if shown.get(specimen) != state:
            shown[specimen] = state
            st.warning(
                f"Somebody has saved a support of {escape_md(specimen)} since you opened it. Begin with *the support "
                "as it is* to see it, or save once more to replace it; it is then kept as a hidden file with the "
                "ending .old."
            )
            return
        path = sst.save_support(source.folder, specimen, masks, numbers=source.numbers)
        if current_index.get_unindexed_table() is None:
            rebuild.mark_saved(current_index.get_index(), specimen)
        shown[specimen] = rebuild.read_file_state(path)
        st.success(f"Saved: {format_code(path)}.")


main()
