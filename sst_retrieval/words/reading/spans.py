"""What neighbouring words of a sentence can be read as."""

from __future__ import annotations

from dataclasses import dataclass, field

from sst_retrieval.words.lexicon.colour_words import Colour
from sst_retrieval.words.lexicon.vocabulary import CREATURES, SILENT, VERY, Adjective
from sst_retrieval.words.reading.lookup import Found
from sst_retrieval.words.reading.numbers import Comparison
from sst_retrieval.words.reading.sentence import Word, said
from sst_retrieval.words.reading.trait_words import TraitWords


@dataclass(frozen=True, slots=True)
class Span:
    """What neighbouring words were read as.

    Attributes:
        start, stop: numbers of the words, half-open.
        strength: of two readings as long as each other, the stronger wins.
        means: the reading.
        losers: other readings of the same words.
    """

    start: int
    stop: int
    strength: float
    means: Meaning
    losers: tuple[Meaning, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """Specimens called so."""

    specimens: tuple[str, ...]
    ending: bool


@dataclass(frozen=True, slots=True)
class Values:
    """Values of the collection; `column` is set if the sentence says which column is meant."""

    found: tuple[Found, ...]
    column: str = ""


@dataclass(frozen=True, slots=True)
class Much:
    """A word for much or little; `degree` is "", "very", "more" or "most"."""

    adjective: Adjective
    degree: str


@dataclass(frozen=True, slots=True)
class BlockWord:
    """A word for a block of the similarity; `counts` is False after "any"."""

    block: str
    counts: bool


@dataclass(frozen=True, slots=True)
class Number:
    """How many hits are wanted."""

    k: int


@dataclass(frozen=True, slots=True)
class Not:
    """Excludes what follows."""


@dataclass(frozen=True, slots=True)
class Alike:
    """Asks for resemblance."""


@dataclass(frozen=True, slots=True)
class Unasked:
    """Was read, and cannot be asked; `note` says why."""

    note: str


@dataclass(frozen=True, slots=True)
class Relative:
    """Asks for the example's own value of a column, or for any other."""

    column: str
    same: bool


Meaning = (
    Named | Values | TraitWords | Comparison | Colour | Much | BlockWord | Number | Not | Alike | Unasked | Relative
)


@dataclass(slots=True)
class Reading:
    """A sentence, its words, and what they were read as.

    Attributes:
        sentence: the sentence.
        words: its words.
        spans: what was read, in the order of the sentence.
        notes: what could not be done, sentences.
    """

    sentence: str
    words: list[Word]
    spans: list[Span] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def taken(self) -> list[bool]:
        """Say which words have a meaning already."""
        marks = [False] * len(self.words)
        for span in self.spans:
            marks[span.start : span.stop] = [True] * (span.stop - span.start)
        return marks

    def said(self, start: int, stop: int) -> str:
        """Quote words."""
        return said(self.words, start, stop, self.sentence)

    def unread(self) -> list[str]:
        """List the words that mean nothing here, as they were written."""
        return [
            word.text
            for word, taken in zip(self.words, self.taken(), strict=True)
            if not taken and (word.quoted or not silent(word))
        ]


def silent(word: Word) -> bool:
    """Say whether a word adds nothing to a question."""
    return word.plain in SILENT or word.lemma in CREATURES or word.plain in VERY
