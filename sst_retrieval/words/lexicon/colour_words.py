"""Colour words as regions of CIE Lab.

The ISCC-NBS system divides all colours into 267 named blocks ("dark red", "pale yellow green", "olive black"); their
centres are in `iscc_nbs.csv` (K. L. Kelly and D. B. Judd, "Color: Universal Language and Dictionary of Names",
National Bureau of Standards Special Publication 440, 1976). A word such as "orange" stands for every block whose name
has it, "dark red" for those with both. Names that the system lacks (crimson, turquoise) are single colours of CSS (W3C,
CSS Color Module Level 4).

1. How far a colour is from a word: the colour difference CIEDE2000 to the nearest typical block of that name ("vivid
   red", not "very dark red", unless that was said).
2. It fits the word if the block nearest of all has that name (or, for "red", says "reddish" while red itself is not
   far), or if the nearest block of the name is hardly further away than the nearest of all (`NEARLY`).
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ImageColor
from scipy.spatial import KDTree
from skimage.color import deltaE_ciede2000, rgb2lab

from sst_retrieval.types import Doubles

Lab: TypeAlias = tuple[float, float, float]

NEARLY = 5.0
"""So much further (CIEDE2000) may the nearest block of a name be than the nearest of all: about the distance between
neighbouring blocks, whose median is 5.4."""

FAR = 25.0
"""A colour this far away (CIEDE2000) does not resemble the word at all: its fit is 0."""

BASIC = (
    "black",
    "blue",
    "brown",
    "gray",
    "green",
    "olive",
    "orange",
    "pink",
    "purple",
    "red",
    "violet",
    "white",
    "yellow",
)
"""The hues of the system."""

_CANDIDATES = 6  # Among these is the nearest of all 267 for 99 % of colours, and one hardly further for the others.

DEGREES = {
    "dark": ("dark", "deep", "blackish"),
    "deep": ("deep",),
    "blackish": ("blackish",),
    "light": ("light", "pale", "brilliant"),
    "pale": ("pale", "light"),
    "bright": ("vivid", "brilliant", "strong"),
    "brilliant": ("brilliant",),
    "vivid": ("vivid",),
    "strong": ("strong", "vivid"),
    "moderate": ("moderate",),
    "medium": ("moderate", "medium"),
    "dull": ("grayish", "moderate"),
    "grayish": ("grayish",),
}
"""Word before a hue -> the system's own modifiers that it stands for."""

OTHERWISE = {
    "grey": "gray",
    "greyish": "grayish",
    "golden": "gold",
    "cream": "cornsilk",
    "whitish": "white",
    "silvery": "silver",
    "creamy": "cornsilk",
    "tawny": "peru",
    "rufous": "sienna",
    "chestnut": "saddlebrown",
    "ochre": "goldenrod",
    "scarlet": "red",
}
"""Other spellings, and words of naturalists -> the nearest name that a source defines."""

UNTYPICAL = frozenset({"very", "dark", "pale", "grayish", "blackish"})
"""Modifiers that a person would add."""

ISH = {
    "black": "blackish", "blue": "bluish", "brown": "brownish", "gray": "grayish", "green": "greenish",
    "pink": "pinkish", "purple": "purplish", "red": "reddish", "yellow": "yellowish",
}  # fmt: skip
"""Hue -> the word of the system for a tinge of it."""


@dataclass(frozen=True, slots=True)
class Colour:
    """A named region of colours.

    Attributes:
        name: as it is said, in the system's spelling.
        centres: (L*, a*, b*) of the blocks that have the name.
        typical: those among them that nobody would call dark, pale or greyish; the fit is about these.
        also: (L*, a*, b*) of blocks that are tinged with it, or none.
    """

    name: str
    centres: tuple[Lab, ...]
    typical: tuple[Lab, ...]
    also: tuple[Lab, ...] = ()


def colour(words: Sequence[str]) -> Colour | None:
    """Find the colours that words stand for.

    >>> len(colour(["dark", "olive", "green"]).centres)
    3
    >>> colour(["large"]) is None
    True

    Args:
        words: one to three words in small letters, modifiers first.

    Returns:
        The region, or None if the words name no colour.
    """
    said = [OTHERWISE.get(word, word) for word in words]
    name = " ".join(said)
    *before, hue = said
    if (hue in BASIC or (not before and hue in ISH.values())) and (found := _blocks(name, before, hue)) is not None:
        return found
    point = _css().get("".join(said))
    return None if point is None else Colour(name, (point,), (point,))


def distances(lab: Doubles, wanted: Colour) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """Say how far colours are from a word, and whether they fit it.

    Args:
        lab: float64 (n, 3), CIE Lab.
        wanted: the colour.

    Returns:
        CIEDE2000 to the nearest typical colour of that name, float64 (n,); whether it fits (see above), bool (n,).
    """
    # Many traits are of nearly one colour: whole numbers of Lab, below what an eye can tell, are looked at once each.
    cells, place = np.unique(np.round(lab), axis=0, return_inverse=True)
    near = _nearest(cells, wanted.centres)
    every = np.minimum(near, _nearest(cells, tuple(centre for _, centre in _system())))
    fits = near <= every + NEARLY
    if wanted.also:
        fits |= (_nearest(cells, wanted.also) <= every) & (near <= FAR / 2)
    return _nearest(cells, wanted.typical)[place.ravel()], fits[place.ravel()]


def _blocks(name: str, before: Sequence[str], hue: str) -> Colour | None:
    degrees = [DEGREES[word] for word in before if word in DEGREES]
    hues = {word for word in before if word in BASIC}  # "orange brown": the system says "brownish orange".
    tinges = {word for word in before if word in ISH.values() and word not in DEGREES}
    if len(degrees) + len(hues) + len(tinges) < len(before):
        return None

    def belongs(tokens: frozenset[str]) -> bool:
        plain = {_plain_hue(token) for token in tokens} if hues else tokens
        return hue in plain and hues <= plain and tinges <= tokens and all(tokens & set(words) for words in degrees)

    found = _region(name, belongs)
    if found is not None and before:
        found = replace(found, typical=found.centres)
    if found is None or before or hue not in ISH:
        return found
    tinged = _region(name, lambda tokens: ISH[hue] in tokens and hue not in tokens)
    # "Blackish" and "grayish" say dark and dull, not black and gray.
    return found if tinged is None or hue in ("black", "gray") else replace(found, also=tinged.centres)


def _region(name: str, belongs: Callable[[frozenset[str]], bool]) -> Colour | None:
    found = [(tokens, centre) for tokens, centre in _system() if belongs(tokens)]
    typical = tuple(centre for tokens, centre in found if not tokens & UNTYPICAL)
    centres = tuple(centre for _, centre in found)
    return Colour(name, centres, typical or centres) if centres else None


def _plain_hue(token: str) -> str:
    return next((hue for hue, ish in ISH.items() if ish == token), token)


def _nearest(lab: Doubles, centres: tuple[Lab, ...]) -> Doubles:
    """CIEDE2000 to the nearest of some colours; those that are near in `_even` space are compared exactly."""
    points = np.array(centres)
    few = min(_CANDIDATES, len(points))
    _, order = KDTree(_even(points)).query(_even(lab), k=few)
    each = [deltaE_ciede2000(lab, points[rank]) for rank in np.reshape(order, (len(lab), few)).T]
    return np.asarray(np.min(each, axis=0), dtype=np.float64)


def _even(lab: Doubles) -> Doubles:
    """Bend Lab so that plain distances come near CIEDE2000: a step in chroma counts less the more chroma there is."""
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    bent = np.log1p(0.045 * chroma) / 0.045
    factor = bent / np.maximum(chroma, 1e-9)
    even: Doubles = lab * np.stack([np.ones_like(chroma), factor, factor], axis=1)
    return even


@functools.cache
def _system() -> tuple[tuple[frozenset[str], Lab], ...]:
    """Words of each name of the ISCC-NBS system, and the centre of its block in Lab."""
    text = importlib.resources.files("sst_retrieval.words.lexicon").joinpath("iscc_nbs.csv").read_text(encoding="utf-8")
    return tuple((frozenset(row["name"].split()), _lab("#" + row["srgb"])) for row in csv.DictReader(text.splitlines()))


@functools.cache
def _css() -> dict[str, Lab]:
    # Nobody who writes "Peru" means a brown.
    known = {name: value for name, value in ImageColor.colormap.items() if name != "peru"}
    return {name: _lab(value) for name, value in known.items() if isinstance(value, str)}


def _lab(code: str) -> Lab:
    rgb = np.array(ImageColor.getrgb(code)[:3], dtype=np.uint8)
    lightness, a, b = (round(float(value), 3) for value in rgb2lab(rgb[None, None])[0, 0])
    return lightness, a, b
