"""Choose a specimen: a search box over ids and names, and thumbnails of what it finds."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from sst_app import captions, current_index, index_images
from sst_app.markdown import WORD_JOINER, escape_md

ROWS = 4
"""So many rows of specimens are offered at a time."""


def find_specimens(specimens: pd.DataFrame, words: str) -> list[str]:
    """Return the specimens all of whose words are found in their id or any column, best first.

    Args:
        specimens: of `opening.specimens`.
        words: what was typed.
    """
    found = specimens
    for word in words.replace(WORD_JOINER, "").casefold().split():  # Copied from a caption, perhaps.
        found = found[found["sst:search"].str.contains(word, regex=False)]
    names = found["sst:specimen"].tolist()
    typed = words.casefold().strip()
    # Whoever types an id means that specimen.
    return sorted(names, key=lambda name: not name.casefold().startswith(typed)) if typed else names


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
        names: specimens; the first ROWS of rows of them are shown.
        pick: is called with the one that was picked.
        key: of the buttons.
        across: how many stand in a row.
        picture: gives the small picture of a specimen; without it, the index does.
    """
    shown = names[: across * ROWS]
    with st.container(key=f"gallery-{key}"):
        for start in range(0, len(shown), across):
            for place, name in zip(st.columns(across), shown[start : start + across], strict=False):
                with place:
                    small = picture(name) if picture is not None else _read_thumbnail(name)
                    st.image(small, width="stretch")
                    st.button(
                        escape_md(captions.shorten(name)), key=f"{key}-{name}", help=escape_md(name),
                        on_click=pick, args=(name,), width="stretch",
                    )  # fmt: skip
    if len(names) > len(shown):
        st.caption(f"{len(names) - len(shown):,} more; type more of the name.")


def _read_thumbnail(name: str) -> bytes:
    index = current_index.get_index()
    return index_images.read_thumbnail(index, current_index.get_cache_key(index), name)
