"""Which trait of the index words mean: by its name, its synonyms in traits.toml, or the words of the trade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sst_retrieval.words.lexicon.vocabulary import BROADER, FAMILIES
from sst_retrieval.words.reading.sentence import Word, lemmas

_EXACT, _AKIN, _BROAD, _NAMED = 1.0, 0.6, 0.3, 10.0
_BETWEEN = frozenset({"of", "on", "the", "in", "at", "from", "a"})

Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TraitWords:
    """Neighbouring words that name a trait.

    Attributes:
        start, stop: numbers of the words, half-open.
        scores: trait -> how well they name it; only those that they could mean.
    """

    start: int
    stop: int
    scores: Mapping[str, float]

    @property
    def best(self) -> list[str]:
        """The traits that they name best."""
        top = max(self.scores.values(), default=0.0)
        return [trait for trait, score in self.scores.items() if score > top - 0.05]

    @property
    def broad(self) -> bool:
        """Whether they only say in which region of the body the trait lies ("wings")."""
        return max(self.scores.values(), default=0.0) <= _BROAD


class TraitNames:
    """Reads traits' names for one index."""

    def __init__(self, traits: Sequence[str], synonyms: Mapping[str, Sequence[str]]) -> None:
        """Learn the names.

        Args:
            traits: names of the traits.
            synonyms: trait -> other words for it.
        """
        self._named: dict[Phrase, str] = {lemmas(trait): trait for trait in traits}
        self._named |= {lemmas(word): trait for trait, words in synonyms.items() for word in words}
        # What one phrase says about each trait: of "forewing_band", that it is of the forewing, and that it is a band.
        self._scores: dict[Phrase, dict[str, float]] = {}
        for trait in traits:
            for part in _parts(lemmas(trait)):
                self._score(part, trait, _EXACT)
                for relative in RELATIVES.get(part, ()):
                    self._score(relative, trait, _AKIN)
                for broader in _BROADER.get(part, ()):
                    self._score(broader, trait, _BROAD)
        self._longest = max(map(len, [*self._named, *self._scores]), default=1)

    def knows(self, word: str) -> bool:
        """Say whether a word alone could name a trait of the index."""
        return (word,) in self._named or (word,) in self._scores

    def find(self, words: Sequence[Word], taken: Sequence[bool]) -> list[TraitWords]:
        """Find the words of a sentence that name traits; neighbours are read together ("the bands on the forewing")."""
        found: list[TraitWords] = []
        number = 0
        while number < len(words):
            here = self._at(words, taken, number)
            if here is None:
                number += 1
                continue
            if found and self._joined(words, taken, found[-1], here):
                here = TraitWords(found[-1].start, here.stop, _both(found.pop().scores, here.scores))
            found.append(here)
            number = here.stop
        return found

    def _score(self, phrase: Phrase, trait: str, score: float) -> None:
        scores = self._scores.setdefault(phrase, {})
        scores[trait] = max(score, scores.get(trait, 0.0))

    def _at(self, words: Sequence[Word], taken: Sequence[bool], start: int) -> TraitWords | None:
        for length in range(min(self._longest, len(words) - start), 0, -1):
            if any(taken[start : start + length]):
                continue
            phrase = tuple(word.lemma for word in words[start : start + length])
            if phrase in self._named:
                return TraitWords(start, start + length, {self._named[phrase]: _NAMED})
            if phrase in self._scores:
                return TraitWords(start, start + length, dict(self._scores[phrase]))
        return None

    def _joined(self, words: Sequence[Word], taken: Sequence[bool], before: TraitWords, after: TraitWords) -> bool:
        between = range(before.stop, after.start)
        if any(taken[number] or words[number].plain not in _BETWEEN for number in between):
            return False
        if any(words[number].closes for number in range(before.start, after.start)):
            return False
        # "Forewing band hindwing bar" are two traits: nothing is both.
        return bool(set(before.scores) & set(after.scores))


def is_trait_word(word: str) -> bool:
    """Say whether a word names parts of animals or markings, in this index or not."""
    return (word,) in RELATIVES or (word,) in _BROADER_WORDS


def _both(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {trait: first[trait] + second[trait] for trait in first if trait in second}


def _parts(name: Phrase) -> list[Phrase]:
    """Cut a trait's name into the phrases that the vocabulary has, and single words."""
    parts, start = [], 0
    while start < len(name):
        length = next((n for n in (3, 2) if name[start : start + n] in RELATIVES), 1)
        parts.append(name[start : start + length])
        if length > 1:  # "fin" says something of "caudal fin" too.
            parts += [(word,) for word in name[start : start + length] if (word,) in _BROADER_WORDS]
        start += length
    return parts


RELATIVES: Mapping[Phrase, tuple[Phrase, ...]] = {
    lemmas(word): tuple(lemmas(other) for other in family if other != word) for family in FAMILIES for word in family
}
"""Word or words for a part or a marking -> those that may stand for it."""

_BROADER_WORDS = frozenset(lemmas(word) for word in BROADER)


def _broader() -> dict[Phrase, tuple[Phrase, ...]]:
    found: dict[Phrase, tuple[Phrase, ...]] = {}
    for broad, narrow in BROADER.items():
        for word in narrow:
            for phrase in (lemmas(word), *RELATIVES.get(lemmas(word), ())):
                found[phrase] = (*found.get(phrase, ()), lemmas(broad))
    return found


_BROADER = _broader()
