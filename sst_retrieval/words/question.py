"""The nouns of words: a question is a list of parts, and every part is data that can be shown, removed or changed.

sentence -> understand -> Question (parts, doubts, unknown words) -> answer -> hits
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, TypeAlias

from sst_retrieval.words.lexicon.colour_words import Colour


@dataclass(frozen=True, slots=True)
class TraitPart:
    """The trait that is looked at.

    Attributes:
        words: the words of the sentence that say so; "" if it was not said in words.
        meaning: what they were taken for, for a person.
        trait: name of the trait.
    """

    kind: ClassVar[str] = "trait"
    words: str
    meaning: str
    trait: str


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition that hits must fulfil.

    Attributes:
        words: the words of the sentence that say so.
        meaning: what they were taken for, for a person.
        where: the condition, a predicate for `Index.search`.
        column: what it is about: a column of the collection, a measurement, or "" for anything else.
        values: the values asked for (or excluded), if it is about values.
        negated: True if the sentence excludes them.
    """

    kind: ClassVar[str] = "filter"
    words: str
    meaning: str
    where: str
    column: str = ""
    values: tuple[str, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Ranking:
    """A word that orders the specimens by what was measured on the trait, and says who fits at all.

    Attributes:
        words: the words of the sentence that say so.
        meaning: what they were taken for, for a person.
        quantity: a name of `quantities.QUANTITIES`, or "colour".
        high: True if much of the quantity fits best, False if little does (not looked at for a colour).
        share: 0..1, the share of the index's specimens with this trait that fits; 1 = all, the word only orders.
        colour: the colour that is meant, if quantity is "colour".
        negated: True if whoever fits is excluded; such a word orders nothing.
        than_example: True for a comparative ("broader"): beside an example, whoever has more (or less) of the quantity
            than the example fits, whatever the share.
    """

    kind: ClassVar[str] = "ranking"
    words: str
    meaning: str
    quantity: str
    high: bool = True
    share: float = 1 / 3
    colour: Colour | None = None
    negated: bool = False
    than_example: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """The specimen whose trait the hits should resemble.

    Attributes:
        words: the words of the sentence that say so.
        meaning: what they were taken for, for a person.
        specimen: id of the specimen.
    """

    kind: ClassVar[str] = "example"
    words: str
    meaning: str
    specimen: str


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts when traits are compared with the example.

    Attributes:
        words: the words of the sentence that say so.
        meaning: what they were taken for, for a person.
        weights: block -> weight.
    """

    kind: ClassVar[str] = "weights"
    words: str
    meaning: str
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Count:
    """How many hits are wanted.

    Attributes:
        words: the words of the sentence that say so.
        meaning: what they were taken for, for a person.
        k: how many.
    """

    kind: ClassVar[str] = "count"
    words: str
    meaning: str
    k: int


Part: TypeAlias = TraitPart | Filter | Ranking | Example | Weights | Count


@dataclass(frozen=True, slots=True)
class Doubt:
    """Words that can be read in several ways.

    Attributes:
        words: the words.
        said: what they could mean and which way they were read, for a person.
        taken: the part that stands in the question because of them; None if none of the choices was taken.
        choices: the other ways to read them; put one in with `Question.choose`.
    """

    words: str
    said: str
    taken: Part | None
    choices: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """How a sentence was read. Nothing is hidden: what is not in here is not asked.

    Attributes:
        text: the sentence.
        parts: what was understood, in the order of the sentence.
        doubts: words that can be read in several ways.
        unknown: words that were not understood, in the order of the sentence.
        notes: what else the person should know, sentences.
        similar: True if the sentence asks for resemblance, so that an example is needed.
    """

    text: str
    parts: tuple[Part, ...]
    doubts: tuple[Doubt, ...] = ()
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    similar: bool = False

    @property
    def trait(self) -> str | None:
        """The trait that is looked at, or None if the sentence does not say one."""
        return next((part.trait for part in self.parts if isinstance(part, TraitPart)), None)

    @property
    def where(self) -> str | None:
        """All conditions as one predicate for `Index.search`, or None."""
        return " AND ".join(f"({part.where})" for part in self.parts if isinstance(part, Filter)) or None

    @property
    def rank(self) -> tuple[Ranking, ...]:
        """The words that order the specimens by measurements."""
        return tuple(part for part in self.parts if isinstance(part, Ranking))

    @property
    def superlatives(self) -> tuple[str, ...]:
        """The words such as "largest", which only order, and so do nothing beside an example: likeness orders then."""
        idle = (part for part in self.rank if part.share == 1 and part.colour is None)
        return tuple(part.words for part in idle if not (part.negated or part.than_example))

    @property
    def example(self) -> str | None:
        """The specimen to resemble, or None."""
        return next((part.specimen for part in self.parts if isinstance(part, Example)), None)

    @property
    def weights(self) -> dict[str, float] | None:
        """Block -> weight, or None for all alike."""
        return next((dict(part.weights) for part in self.parts if isinstance(part, Weights)), None)

    @property
    def k(self) -> int | None:
        """How many hits the sentence asks for, or None."""
        return next((part.k for part in self.parts if isinstance(part, Count)), None)

    @property
    def needs_example(self) -> bool:
        """Whether the sentence asks for resemblance and names nobody to resemble."""
        return self.similar and self.example is None

    def without(self, part: Part) -> Question:
        """Return the question without one of its parts."""
        return replace(
            self,
            parts=tuple(each for each in self.parts if each != part),
            doubts=tuple(doubt for doubt in self.doubts if doubt.taken != part),
        )

    def adding(self, part: Part) -> Question:
        """Return the question with one more part; of traits, examples, weights and counts there is one only."""
        kept = self.parts
        if not isinstance(part, Filter | Ranking):
            kept = tuple(each for each in kept if each.kind != part.kind)
        return replace(self, parts=(*kept, part))

    def choose(self, doubt: Doubt, choice: Part) -> Question:
        """Return the question with a doubt settled: `choice` stands in place of what was taken."""
        settled = replace(self, doubts=tuple(each for each in self.doubts if each != doubt))
        return (settled if doubt.taken is None else settled.without(doubt.taken)).adding(choice)

    def as_dict(self) -> dict[str, Any]:
        """Say the question in plain, JSON-ready types."""
        return {
            "text": self.text,
            "parts": [_plain(part) for part in self.parts],
            "trait": self.trait,
            "where": self.where,
            "example": self.example,
            "needs_example": self.needs_example,
            "doubts": [
                {"words": doubt.words, "said": doubt.said, "choices": [_plain(choice) for choice in doubt.choices]}
                for doubt in self.doubts
            ],
            "unknown": list(self.unknown),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Say the question to a person, a line a part."""
        width = max((len(part.words) for part in self.parts), default=0)
        lines = [f"{part.words.ljust(width)}  {part.kind}: {part.meaning}".strip() for part in self.parts]
        lines += [f"unsure: {doubt.said}" for doubt in self.doubts]
        lines += [f"note: {note}" for note in self.notes]
        if self.unknown:
            lines.append(f"not understood: {', '.join(self.unknown)}")
        return lines


def _plain(part: Part) -> dict[str, Any]:
    return {"kind": part.kind, **asdict(part)}
