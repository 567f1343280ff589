"""Names, captions and colours: how specimens and traits are labelled in the app."""

from __future__ import annotations

from html import escape

import sst_retrieval as sst


def format_lines(name: str, below: str) -> str:
    """Write a name, and something below it, as HTML; both are cut where there is no room."""
    return (
        f'<div class="tile-name" title="{escape(name)}">{escape(name)}</div>'
        f'<div class="tile-line">{escape(below)}</div>'
    )


def shorten(name: str, most: int = 13) -> str:
    """Shorten a name to its end, which tells specimens apart best."""
    return name if len(name) <= most else f"…{name[-most:]}"


def get_trait_colours(index: sst.Index) -> dict[str, str]:
    """Give every trait its colour."""
    return {trait: sst.PALETTE[place % len(sst.PALETTE)] for place, trait in enumerate(index.traits)}


def format_caption(metadata: dict[str, object], *, brief: bool = False) -> str:
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
