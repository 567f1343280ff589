"""The words that are understood whatever the collection.

docs/words.md lists them for users; a test makes sure that what it promises is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


SILENT = _set(
    """
    a about all also am an and any are as at be been both by can caught collected could do does each ever
    every find for from get give given had has have having i if in is it its just let list look looked looking
    looks many may me more most much my need of on one only or other our out over please query same search see
    seen show shown so some that the their them then there these they thing this those through to us want was
    like d ll top we were what when where which who whose will with would you your photographed found display retrieve
    return kind type sort but too than into both having being"""
)
"""Words that add nothing to a question."""

CREATURES = _set(
    """
    specimen individual animal insect butterfly moth beetle bug fly wasp bee ant dragonfly spider fish bird
    plant flower shell snail mammal reptile frog lizard snake photograph photo image picture record sample
    object trait thing one"""
)
"""Words for what a collection holds; they add nothing either, unless the collection has them as values."""

NEGATIONS: tuple[tuple[str, ...], ...] = (
    ("other", "than"), ("but", "not"), ("rather", "than"), ("instead", "of"),
    ("not",), ("without",), ("except",), ("excluding",), ("excludes",), ("exclude",), ("no",), ("non",), ("never",),
    ("neither",), ("nor",), ("minus",), ("lacking",), ("lack",), ("missing",),
    ("lost",), ("absent",), ("outside", "of"), ("outside",),
)  # fmt: skip
"""What excludes the next thing said."""

EXCEPT = _set("except excluding excludes exclude without minus lacking lack missing lost outside")
"""Of these, those that exclude all that is joined by "and", too: "except males and Panama"."""

AFTERWARDS = _set("missing lost absent lacking")
"""What may exclude the trait just said: "with antennae missing"."""

COUNTS: Mapping[str, int] = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "dozen": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "fifty": 50, "hundred": 100,
}  # fmt: skip
"""Numbers in words."""

VERY = _set("very extremely exceptionally unusually particularly")
"""What strengthens a word for much or little."""

SIMILAR = _set(
    """
    similar similarly like alike resembling resemble resembles comparable matching identical mimic mimics
    mimicking"""
)
"""What asks for resemblance."""

FAMILIES: tuple[tuple[str, ...], ...] = (
    ("stripe", "band", "bar", "ray", "streak", "fascia", "stria", "vitta", "line"),
    ("spot", "dot", "macula", "blotch", "patch", "mark", "marking", "maculation"),
    ("eyespot", "ocellus", "eye spot"),
    ("margin", "border", "edge", "rim"),
    ("tip", "apex"),
    ("base", "root"),
    ("elytron", "wing case", "wing cover", "wingcase", "forewing case"),
    ("pronotum", "neck shield", "thoracic shield", "prothorax"),
    ("antenna", "feeler"),
    ("leg", "limb"),
    ("mandible", "jaw"),
    ("abdomen", "gaster", "metasoma"),
    ("forewing", "fore wing", "front wing", "anterior wing", "upper wing"),
    ("hindwing", "hind wing", "back wing", "posterior wing", "rear wing", "lower wing"),
    ("caudal fin", "tail fin", "tail"),
    ("dorsal fin", "back fin"),
    ("pectoral fin", "breast fin"),
    ("pelvic fin", "ventral fin", "belly fin"),
    ("operculum", "gill cover"),
    ("bill", "beak"),
    ("head",), ("thorax",), ("eye",), ("scutellum",), ("anal fin",), ("adipose fin",), ("body",), ("vein",), ("cell",),
)  # fmt: skip
"""Words for parts of animals and their markings; those of a line may stand for each other."""

BROADER: Mapping[str, tuple[str, ...]] = {
    "wing": ("forewing", "hindwing"),
    "fin": ("fin", "caudal fin", "dorsal fin", "anal fin", "pectoral fin", "pelvic fin"),
}
"""Word -> words it includes."""


@dataclass(frozen=True, slots=True)
class Adjective:
    """A word for much or little of a quantity.

    Attributes:
        quantity: a name of `quantities.QUANTITIES`.
        high: True for much of it.
        degree: "", "more" for a comparative, or "most" for a superlative.
    """

    quantity: str
    high: bool
    degree: str = ""


_PLAIN: tuple[tuple[str, bool, str], ...] = (
    ("size", True, "large big huge great"),
    ("size", False, "small little tiny minute"),
    ("width", True, "wide broad thick"),
    ("width", False, "narrow thin fine"),
    ("length", True, "long"),
    ("length", False, "short"),
    ("elongation", True, "elongated elongate slender oblong stretched"),
    ("roundness", True, "round rounded circular roundish compact"),
    ("lightness", True, "light pale"),
    ("lightness", False, "dark dusky"),
    ("chroma", True, "bright vivid colourful colorful saturated intense"),
    ("chroma", False, "dull faded drab"),
    ("contrast", True, "patterned variegated mottled contrasting speckled multicoloured multicolored"),
    ("contrast", False, "plain uniform unicoloured unicolored uniformly"),
    ("pieces", True, "broken fragmented interrupted divided"),
    ("pieces", False, "unbroken continuous undivided"),
    ("solidity", False, "irregular ragged jagged notched lobed"),
    ("solidity", True, "solid"),
    ("confidence", True, "certain reliable sure"),
    ("confidence", False, "uncertain doubtful unreliable unsure"),
)


def _forms(word: str) -> tuple[tuple[str, str], ...]:
    """A word, its comparative with the degree "more", and its superlative with the degree "most"."""
    if len(word) > 6 or word.endswith("ed") or word in ("minute", "certain", "plain", "uniform", "little"):
        return ((word, ""),)
    stem = word[:-1] if word.endswith("e") else word
    if word.endswith("y"):
        stem = word[:-1] + "i"
    elif word in ("big", "thin", "drab"):
        stem = word + word[-1]
    return ((word, ""), (stem + "er", "more"), (stem + "est", "most"))


ADJECTIVES: Mapping[str, Adjective] = {
    form: Adjective(quantity, high, degree)
    for quantity, high, words in _PLAIN
    for word in words.split()
    for form, degree in _forms(word)
}
"""Word -> what it says about a trait."""

MORE: Sequence[tuple[tuple[str, ...], str]] = (
    (("no", "more", "than"), "<="), (("no", "less", "than"), ">="), (("not", "more", "than"), "<="),
    (("not", "less", "than"), ">="), (("more", "than"), ">"), (("greater", "than"), ">"), (("higher", "than"), ">"),
    (("larger", "than"), ">"), (("bigger", "than"), ">"), (("less", "than"), "<"), (("fewer", "than"), "<"),
    (("lower", "than"), "<"), (("smaller", "than"), "<"), (("at", "least"), ">="), (("at", "most"), "<="),
    (("up", "to"), "<="), (("over",), ">"), (("above",), ">"), (("exceeding",), ">"), (("under",), "<"),
    (("below",), "<"), (("minimum",), ">="), (("maximum",), "<="), ((">=",), ">="), (("<=",), "<="), (("≥",), ">="),
    (("≤",), "<="), ((">",), ">"), (("<",), "<"), (("=",), "="), (("equal", "to"), "="), (("equals",), "="),
    (("exactly",), "="), (("is",), "="), (("of",), "="),
)  # fmt: skip
"""What stands before a number -> how the number compares."""

YEARS: Sequence[tuple[tuple[str, ...], str]] = (
    (("before",), "<"), (("prior", "to"), "<"), (("after",), ">"), (("since",), ">="), (("until",), "<="),
    (("till",), "<="), (("in",), "="), (("from",), "="), (("of",), "="), (("year",), "="),
)  # fmt: skip
"""What stands before a year -> how the year compares."""

_FEMALE, _MALE = frozenset({"female", "f", "♀"}), frozenset({"male", "m", "♂"})

SEXES: Mapping[str, frozenset[str]] = {"female": _FEMALE, "♀": _FEMALE, "male": _MALE, "♂": _MALE}
"""Word -> how tables write it."""

BLOCK_WORDS: Mapping[str, str] = {
    "colour": "colour", "color": "colour", "coloured": "colour", "colored": "colour", "coloration": "colour",
    "colouration": "colour", "hue": "colour", "shape": "shape", "shaped": "shape", "outline": "shape", "form": "shape",
    "pattern": "pattern", "patterning": "pattern", "texture": "pattern", "structure": "pattern",
}  # fmt: skip
"""Word -> the block of the similarity that it names."""

WHATEVER = _set("any whatever regardless irrespective ignoring ignore despite different whichever")
"""What says, before a block's word, that it does not count."""

UNITS = _set("px mm cm um µm μm m pixel pixels percent % share deg degree")
"""Units that may follow a number, or end the name of a column."""
