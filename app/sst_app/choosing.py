"""Choose a specimen: a search box over ids and names, and thumbnails of what it finds."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import pandas as pd
import streamlit as st

import sst_retrieval as sst
from sst_app import opening, pictures
from sst_app.markdown import JOINER, plain

ROWS = 4
"""So many rows of specimens are offered at a time."""


def matching(specimens: pd.DataFrame, words: str) -> list[str]:
    """Return the specimens all of whose words are found in their id or any column, best first.

    Args:
        specimens: of `opening.specimens`.
        words: what was typed.
    """
    found = specimens
    for word in words.replace(JOINER, "").casefold().split():  # Copied from a caption, perhaps.
        found = found[found["sst:search"].str.contains(word, regex=False)]
    names = found["sst:specimen"].tolist()
    typed = words.casefold().strip()
    # Whoever types an id means that specimen.
    return sorted(names, key=lambda name: not name.casefold().startswith(typed)) if typed else names


def gallery(
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
                    small = picture(name) if picture is not None else _of_index(name)
                    st.image(small, width="stretch")
                    st.button(
                        plain(short(name)), key=f"{key}-{name}", help=plain(name), on_click=pick, args=(name,),
                        width="stretch",
                    )  # fmt: skip
    if len(names) > len(shown):
        st.caption(f"{len(names) - len(shown):,} more; type more of the name.")


def _of_index(name: str) -> bytes:
    index = opening.index()
    return pictures.thumbnail(index, cache_key(index), name)


def cache_key(index: sst.Index) -> tuple[str, tuple[int, int]]:
    """Return what pictures of an index are remembered under."""
    return str(opening.path().resolve()), index.state


def line(name: str, below: str) -> str:
    """Write a name, and something below it, as HTML; both are cut where there is no room."""
    return (
        f'<div class="tile-name" title="{escape(name)}">{escape(name)}</div>'
        f'<div class="tile-line">{escape(below)}</div>'
    )


def short(name: str, most: int = 13) -> str:
    """Shorten a name to its end, which tells specimens apart best."""
    return name if len(name) <= most else f"…{name[-most:]}"


def colours(index: sst.Index) -> dict[str, str]:
    """Give every trait its colour."""
    return {trait: sst.PALETTE[place % len(sst.PALETTE)] for place, trait in enumerate(index.traits)}


def caption(metadata: dict[str, object], *, brief: bool = False) -> str:
    """Say in a line who a specimen is.

    Args:
        metadata: the specimen's row of the collection.
        brief: shorten the genus to its first letter.

    >>> caption({"scientificName": "Heliconius erato", "sex": "female"}, brief=True)
    'H. erato · female'
    """
    usual = ("scientificName", "infraspecificEpithet", "species", "subspecies", "sex", "locality", "eventDate")
    known = {name: str(metadata[name]) for name in usual if metadata.get(name) not in (None, "")}
    genus, _, epithet = known.get("scientificName", "").partition(" ")
    if brief and epithet:
        known["scientificName"] = f"{genus[0]}. {epithet}"
    return " · ".join(known.values())
