"""A sentence, and anything it is compared with, as a list of words.

Letters and digits make words; a name such as "H.e.demophoon__IMG_1972" is several words that belong together (a chunk).
Capitals and accents do not count, nor does the English plural: "Bands" and "band" are the same word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

# 1,000 and 12.5 and 0,8 are one number each; a sign counts only at the beginning of a chunk ("1950-1970" has none).
_NUMBER = r"(?:^[-\u2212])?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|(?:^[-\u2212])?\d+(?:[.,]\d+)?"
_WORD = re.compile(_NUMBER + r"|[^\W\d_]+|<=|>=|[<>=≤≥♀♂%²]")
_CHUNK = re.compile(r"non-(?=\w)|\S+", re.IGNORECASE)  # "Non-erato" is two.
_EDGES = "\"'.,;:!?()[]{}“”„\u2018\u2019«»…"
_ENDS = re.compile(r"[,;:.!?)]$")
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]+)[\"”“»]")

_IRREGULAR = {
    "antennae": "antenna", "antennas": "antenna", "elytra": "elytron", "elytras": "elytron", "elytrons": "elytron",
    "fasciae": "fascia",
    "maculae": "macula", "ocelli": "ocellus", "striae": "stria", "vittae": "vitta", "leaves": "leaf",
    "teeth": "tooth", "feet": "foot", "species": "species", "fishes": "fish", "lens": "lens", "women": "woman",
    "nota": "notum", "pronota": "pronotum", "terga": "tergum", "sterna": "sternum", "tarsi": "tarsus",
    "femora": "femur", "tibiae": "tibia", "wings": "wing", "series": "series", "axes": "axis",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a sentence.

    Attributes:
        text: as it is written.
        plain: small letters, no accents.
        lemma: the same without a plural ending.
        start, stop: the letters of the sentence that it takes up.
        first, last: whether a chunk begins or ends with it.
        closes: whether a comma or the like follows.
        quoted: whether it stands between quotation marks.
    """

    text: str
    plain: str
    lemma: str
    start: int
    stop: int
    first: bool
    last: bool
    closes: bool
    quoted: bool


def read_words(sentence: str) -> list[Word]:
    """Split a sentence.

    >>> [word.lemma for word in read_words("Narrow bands, like H.e.d__IMG_19")]
    ['narrow', 'band', 'like', 'h', 'e', 'd', 'img', '19']
    """
    sentence = unicodedata.normalize("NFC", sentence)
    quoted = [match.span(1) for match in _QUOTED.finditer(sentence)]
    words: list[Word] = []
    for chunk in _CHUNK.finditer(sentence):
        found = list(_WORD.finditer(chunk[0]))
        for number, match in enumerate(found):
            start = chunk.start() + match.start()
            plain = fold(match[0])
            words.append(
                Word(
                    text=match[0],
                    plain=plain,
                    lemma=lemma(plain),
                    start=start,
                    stop=start + len(match[0]),
                    first=number == 0,
                    last=number == len(found) - 1,
                    closes=number == len(found) - 1 and bool(_ENDS.search(chunk[0].rstrip("\"”“»'"))),
                    quoted=any(low <= start < high for low, high in quoted),
                )
            )
    return words


def chunks(sentence: str) -> list[tuple[str, int, int]]:
    """List what stands between spaces, with and without the punctuation around it: (text, start, stop)."""
    found = []
    for chunk in re.finditer(r"\S+", unicodedata.normalize("NFC", sentence)):
        text, start = chunk[0], chunk.start()
        found.append((text, start, start + len(text)))
        bare = text.strip(_EDGES)
        if bare and bare != text:
            begin = start + text.index(bare)
            found.append((bare, begin, begin + len(bare)))
    return found


def lemmas(text: str) -> tuple[str, ...]:
    """Split a name or a value into words without plural endings.

    >>> lemmas("forewing_bands"), lemmas("decimalLatitude"), lemmas("Heliconius erato")
    (('forewing', 'band'), ('decimal', 'latitude'), ('heliconius', 'erato'))
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", text))
    return tuple(lemma(fold(word)) for word in _WORD.findall(spaced))


def fold(text: str) -> str:
    """Write in small letters without accents, and numbers as 1000 and -0.8."""
    if text[-1:].isdecimal() and text.isascii() | text.startswith("\u2212"):
        thousands = re.fullmatch(r"\W?\d{1,3}(,\d{3})+(\.\d+)?", text) is not None
        return text.replace("\u2212", "-").replace(",", "" if thousands else ".")
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def lemma(word: str) -> str:
    """Take an English plural ending off a word in small letters.

    >>> [lemma(word) for word in ("females", "antennae", "bodies", "patches", "genus", "grass", "bases")]
    ['female', 'antenna', 'body', 'patch', 'genus', 'grass', 'base']
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "os")):
        return word[:-1]
    return word


def said(words: Sequence[Word], start: int, stop: int, sentence: str) -> str:
    """Quote the words of a sentence from number `start` up to number `stop`, not included."""
    return unicodedata.normalize("NFC", sentence)[words[start].start : words[stop - 1].stop]
