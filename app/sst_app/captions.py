"""Names, captions and colours: how specimens and traits are labelled in the app."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from html import escape

import sst_retrieval as sst
from sst_app.json_values import is_missing


def format_lines(name: str, below: str) -> str:
    """Format a name and a line below it as HTML that is truncated to the available width."""
    return (
        f'<div class="tile-name" title="{escape(name)}">{escape(name)}</div>'
        f'<div class="tile-line">{escape(below)}</div>'
    )


def fold(text: str) -> str:
    """Fold a text for searching: case and accents are left out.

    >>> fold("Käfer of Île-de-France")
    'kafer of ile-de-france'
    """
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in apart if not unicodedata.combining(sign)) if not apart.isascii() else apart


def find_affixes(names: Sequence[str]) -> tuple[str, str]:
    """Find what all names begin and end with, at borders of words; what remains of each name tells them apart.

    >>> find_affixes(["CAM0010_D_butterfly", "CAM0022_D_butterfly"]), find_affixes(["one"])
    (('', '_D_butterfly'), ('', ''))
    """
    if len(names) < 2:
        return "", ""
    before = re.sub(r"[^\W_]*$", "", _find_common_start(min(names), max(names)))
    turned = [name[::-1] for name in names]
    after = re.sub(r"^[^\W_]*", "", _find_common_start(min(turned), max(turned))[::-1])
    if any(len(name) <= len(before) + len(after) for name in names):
        return "", ""
    return before, after


def _find_common_start(one: str, other: str) -> str:
    same = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[: min(len(one), len(other))] if same is None else one[:same]


def shorten(name: str, most: int = 13, affixes: tuple[str, str] = ("", "")) -> str:
    """Shorten a name to its last `most` characters, which usually differ between specimens; at a word's beginning.

    >>> shorten("H.e.demophoon__IMG_1974", 11), shorten("a1b2c3d4e5", 4)
    ('…IMG_1974', '…d4e5')

    Args:
        name: the name.
        most: number of characters.
        affixes: what all names share (see `find_affixes`) and is left out.
    """
    before, after = affixes
    if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after):
        name = name[len(before) : len(name) - len(after)]
    if len(name) <= most:
        return name
    end = name[-most:]
    word = re.match(r"[^\W_]*[\W_]+", end)
    return "…" + (end[word.end() :] if word is not None and len(end) - word.end() >= most // 2 else end)


def get_trait_colours(index: sst.Index) -> dict[str, str]:
    """Return trait -> colour."""
    return {trait: sst.PALETTE[place % len(sst.PALETTE)] for place, trait in enumerate(index.traits)}


def format_caption(metadata: dict[str, object], *, brief: bool = False) -> str:
    """Format taxon, sex, locality and date of a specimen as one line; its common name where no taxon is known.

    Args:
        metadata: the specimen's row of the collection.
        brief: shorten the genus to its first letter.

    >>> format_caption({"scientificName": "Heliconius erato", "sex": "female"}, brief=True)
    'H. erato · female'
    >>> format_caption({"vernacularName": "turtle", "sex": "female"}), format_caption({"group": "deer"})
    ('turtle · female', '')
    """
    taxa = ("scientificName", "infraspecificEpithet", "species", "subspecies")
    named = any(not is_missing(metadata.get(name)) for name in taxa)
    usual = (*(taxa if named else ("vernacularName",)), "sex", "locality", "eventDate")
    known = {name: str(metadata[name]) for name in usual if not is_missing(metadata.get(name))}
    genus, _, epithet = known.get("scientificName", "").partition(" ")
    if brief and epithet:
        known["scientificName"] = f"{genus[0]}. {epithet}"
    return " · ".join(known.values())
