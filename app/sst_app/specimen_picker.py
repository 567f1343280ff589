"""Choose a specimen: a search box over ids and names, and thumbnails of what it finds."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from sst_app import captions, current_index, index_images
from sst_app.markdown import WORD_JOINER, escape_md

ROWS = 4
"""Number of rows in the gallery."""

PAUSE = "200ms"
"""Time without a key after which the typed words are searched for."""


def find_specimens(specimens: pd.DataFrame, words: str) -> list[str]:
    """Find the specimens that contain all words in their id or any column; ids that begin with the text come first.

    Args:
        specimens: table of `current_index.get_specimens`.
        words: the text that was typed.
    """
    found = specimens
    # Text copied from a caption may have word joiners.
    for word in captions.fold(words.replace(WORD_JOINER, "")).split():
        found = found[found["sst:search"].str.contains(word, regex=False)]
    names = found["sst:specimen"].tolist()
    typed = captions.fold(words).strip()
    return sorted(names, key=lambda name: not captions.fold(name).startswith(typed)) if typed else names


def show_search(key: str, placeholder: str) -> str:
    """Show a box for words of a specimen, which are taken while they are typed; return them."""
    return st.text_input(
        "Specimen", key=key, type="search", live=PAUSE, placeholder=placeholder, icon=":material/search:",
        help="Words of its id or of any column; accents and capitals do not matter.",
    )  # fmt: skip


def show_gallery(
    names: list[str],
    pick: Callable[[str], None],
    *,
    key: str,
    across: int = 4,
    picture: Callable[[str], bytes] | None = None,
) -> None:
    """Show thumbnails, each with a button that picks it.

    Args:
        names: ids of specimens; only the first ROWS rows are shown.
        pick: callback with the picked id.
        key: prefix of the widget keys.
        across: number of thumbnails per row.
        picture: returns the thumbnail of a specimen as a JPEG file; default: that of the index.
    """
    shown = names[: across * ROWS]
    affixes = captions.find_affixes(names) if picture is not None else current_index.get_affixes()
    with st.container(key=f"gallery-{key}"):
        for start in range(0, len(shown), across):
            for place, name in zip(st.columns(across), shown[start : start + across], strict=False):
                with place:
                    small = picture(name) if picture is not None else _read_thumbnail(name)
                    st.image(small, width="stretch", alt=name)
                    st.button(
                        escape_md(captions.shorten(name, affixes=affixes)), key=f"{key}-{name}", help=escape_md(name),
                        on_click=pick, args=(name,), width="stretch",
                    )  # fmt: skip
    if len(names) > len(shown):
        st.caption(f"{len(names) - len(shown):,} more; type more of the name.")


def _read_thumbnail(name: str) -> bytes:
    index = current_index.get_index()
    return index_images.read_thumbnail(index, current_index.get_cache_key(index), name)
