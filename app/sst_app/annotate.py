"""Annotate: draw the traits of one specimen; what is saved is what the build reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

import sst_retrieval as sst
from sst_app import asking, choosing, drawing, opening
from sst_app.places import drawn_before, offer_groups, remember, show_build, support_folder


def main() -> None:
    """Draw the page."""
    index = opening.index()
    info = opening.info()
    folder, why_not = support_folder()
    with st.sidebar:
        specimen = _choose(index, info)
        traits = _vocabulary(index)
    show_build()
    if specimen is None:
        st.subheader("Draw a support")
        st.markdown(
            "A **support** is one specimen of a group on which you draw the traits; the program finds them on all the "
            "others. Choose a specimen on the left: best a fresh one, upright, with every trait."
        )
        _groups(index, info)
        return
    image = index.photograph(specimen)
    start = _start(index, specimen, folder)
    colours = {trait: sst.PALETTE[place % len(sst.PALETTE)] for place, trait in enumerate(traits)}
    masks = drawing.canvas(image, colours, key=f"annotate-{specimen}", start=start)
    masks = {**masks, **_uploaded(image, traits)}
    _save(index, specimen, masks, folder, why_not)


def _choose(index: sst.Index, info: dict[str, Any]) -> str | None:
    """Let somebody choose the specimen to annotate; groups without a support come first."""
    words = st.text_input("Specimen", key="annotate-words", placeholder="id, name ...", icon=":material/search:")
    found = choosing.matching(opening.specimens(), words)[:200]
    if not found:
        st.info("No specimen has all of these words.")
        return None
    if st.session_state.get("annotate-specimen") not in found:
        st.session_state["annotate-specimen"] = None
    return st.selectbox("Draw on", found, index=None, key="annotate-specimen", placeholder=f"{len(found)} found")


def _vocabulary(index: sst.Index) -> list[str]:
    """Let somebody add traits to those of the index."""
    added: list[str] = st.session_state.setdefault("annotate-new", [])
    with st.form("new-trait", clear_on_submit=True, border=False):
        name = st.text_input("A new trait", placeholder="hindwing_spot", help="As you would write it in a table.")
        if st.form_submit_button("Add", width="stretch") and name.strip() and name.strip() not in index.traits:
            added.append(name.strip())
    return list(dict.fromkeys([*index.traits, *added]))


def _start(index: sst.Index, specimen: str, folder: Path | None) -> dict[str, np.ndarray]:
    """Begin with what was drawn before, or with what the program found."""
    drawn = drawn_before(folder, specimen)
    ways = ["nothing", "what the program found"]
    if drawn is not None:
        ways.append("the support as it is")
    way = st.segmented_control("Begin with", ways, default=ways[-1] if len(ways) == 3 else ways[0], required=True,
                               key=f"begin-{specimen}")  # fmt: skip
    if way == "the support as it is" and drawn is not None:
        labels = sst.read_labels(drawn, max_pixels=asking.MOST_PIXELS)
        numbers = sst.read_traits(drawn.with_name("traits.toml")).numbers
        return {trait: labels == number for trait, number in numbers.items() if (labels == number).any()}
    if way == "what the program found":
        masks = {}
        for trait in index.traits:
            try:
                masks[trait] = index.mask(specimen, trait)
            except sst.QueryError:
                continue  # The trait of another group.
        return {trait: mask for trait, mask in masks.items() if mask.any()}
    return {}


def _uploaded(image: np.ndarray, traits: list[str]) -> dict[str, np.ndarray]:
    """Take masks that were drawn in another program."""
    with st.expander("Upload a mask instead"):
        left, right = st.columns(2)
        trait = left.selectbox("Trait of the mask", traits, key="annotate-upload-trait")
        upload = right.file_uploader("Label picture, 0 = background", type=["png", "tif"], key="annotate-upload")
        if upload is None:
            return {}
        with asking.as_file(upload.getvalue(), upload.name) as path:
            return {trait: sst.read_mask(path, image, trait=trait, number=1)}


def _save(
    index: sst.Index, specimen: str, masks: dict[str, np.ndarray], folder: Path | None, why_not: str
) -> None:
    """Say what was drawn, and save it."""
    if not masks:
        st.caption("Nothing is drawn yet.")
        return
    shares = [f"{trait}: {int(mask.sum()):,} px" for trait, mask in masks.items()]
    st.markdown("**Drawn**: " + ", ".join(shares))
    if folder is None:
        st.info(why_not)
        return
    st.caption(f"It is written to `{folder / specimen}.png`.")
    if st.button("Save the support", type="primary", icon=":material/save:"):
        path = sst.save_support(folder, specimen, masks, numbers=index.trait_numbers)
        remember(index, specimen)
        st.success(f"Saved: `{path}`.")
    offer_groups(index)


def _groups(index: sst.Index, info: dict[str, Any]) -> None:
    """Say which groups have a support."""
    specimens = opening.specimens()
    provenance = info["provenance"]
    supports = provenance.get("supports", [])
    counts = specimens["sst:group"].value_counts()
    rows = [
        {
            "group": group,
            "specimens": int(number),
            "supports": ", ".join(str(each["specimen"]) for each in supports if each["group"] == group) or "none yet",
        }
        for group, number in counts.items()
    ]
    st.dataframe(sorted(rows, key=lambda row: row["supports"] != "none yet"), hide_index=True)
    offer_groups(index)


main()
