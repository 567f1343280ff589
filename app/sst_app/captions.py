"""Names, captions and colours: how specimens and traits are labelled in the app."""

from __future__ import annotations

from html import escape

import sst_retrieval as sst
from sst_app.json_values import is_missing


def format_lines(name: str, below: str) -> str:
    """Format a name and a line below it as HTML that is truncated to the available width."""
    return (
        f'<div class="tile-name" title="{escape(name)}">{escape(name)}</div>'
        f'<div class="tile-line">{escape(below)}</div>'
    )


def shorten(name: str, most: int = 13) -> str:
    """Shorten a name to its last `most` characters, which usually differ between specimens."""
    return name if len(name) <= most else f"…{name[-most:]}"


def get_trait_colours(index: sst.Index) -> dict[str, str]:
    """Return trait -> colour."""
    return {trait: sst.PALETTE[place % len(sst.PALETTE)] for place, trait in enumerate(index.traits)}


def format_caption(metadata: dict[str, object], *, brief: bool = False) -> str:
    """Format taxon, sex, locality and date of a specimen as one line.

    Args:
        metadata: the specimen's row of the collection.
        brief: shorten the genus to its first letter.

    >>> format_caption({"scientificName": "Heliconius erato", "sex": "female"}, brief=True)
    'H. erato · female'
    """
    usual = ("scientificName", "infraspecificEpithet", "species", "subspecies", "sex", "locality", "eventDate")
    known = {name: str(metadata[name]) for name in usual if not is_missing(metadata.get(name))}
    genus, _, epithet = known.get("scientificName", "").partition(" ")
    if brief and epithet:
        known["scientificName"] = f"{genus[0]}. {epithet}"
    return " · ".join(known.values())
