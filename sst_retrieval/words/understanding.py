"""From a sentence that was read to a question: the parts, and what is to be said about them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

from sst_retrieval.query import Index
from sst_retrieval.words import conditions
from sst_retrieval.words.colours import FAR, Colour
from sst_retrieval.words.meanings import Alike, BlockWord, Much, Named, Not, Number, Reading, Span, Values
from sst_retrieval.words.numbers import Comparison
from sst_retrieval.words.quantities import QUANTITIES
from sst_retrieval.words.question import Count, Doubt, Example, Filter, Part, Question, Ranking, TraitPart, Weights
from sst_retrieval.words.reading import read
from sst_retrieval.words.sentence import Word
from sst_retrieval.words.traitwords import TraitWords, is_trait_word

SHARES = {"": 1 / 3, "more": 1 / 3, "very": 1 / 10, "most": 1.0}
"""Degree of a word -> the share of the index's specimens that it fits; "most" only orders."""

_SAID = {"": "third of this index", "very": "tenth of this index", "most": "first"}

_JOINING = frozenset({"or", "nor", "and"})


def understand(index: Index, sentence: str, *, like: str | None = None) -> Question:
    """Read a sentence as a question to an index.

        >>> understand(index, "orange bands of females like CAM001")   # doctest: +SKIP

    Words that name traits (their names, their synonyms in traits.toml, words of the trade), specimens, and values of
    the collection's columns become the trait, the example and conditions; so do comparisons with numbers; words for
    colours, sizes and shapes order the specimens and leave out who does not fit. docs/words.md lists the words.

    Args:
        index: an open index.
        sentence: plain English.
        like: id of a specimen that the hits should resemble, if the person gave it apart from the sentence.

    Returns:
        What was understood, as parts that can be shown, removed and changed; what is in doubt; what was not understood.

    Raises:
        QueryError: there is no specimen `like`.
    """
    reading = read(index, sentence)
    work = _Work(index, reading)
    if like is not None:
        work.parts.append((-2, Example("", f"traits like that of {index.specimen(like).id}", like)))
    excluded = _excluded(reading)
    for span in reading.spans:
        work.take(span, negated=span.start in excluded)
    work.settle_trait()
    work.settle_blocks()
    return work.question()


@dataclass(slots=True)
class _Work:
    """A question in the making."""

    index: Index
    reading: Reading
    parts: list[tuple[int, Part]] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    traits: list[tuple[Span, TraitWords, bool]] = field(default_factory=list)
    blocks: list[tuple[Span, BlockWord]] = field(default_factory=list)
    similar: bool = False

    def take(self, span: Span, *, negated: bool) -> None:
        """Turn what was read into a part, or keep it until all is known."""
        means, words = span.means, self._said(span, negated=negated)
        match means:
            case Named():
                self._specimen(span, means, words, negated=negated)
            case Comparison():
                self._comparison(span, means, words, negated=negated)
            case Values():
                self._values(span, means, words, negated=negated)
            case Colour() | Much():
                self._doubt_about(span, words, self._add(span, ranking(means, words, negated=negated)))
            case TraitWords():
                self.traits.append((span, means, negated))
            case BlockWord():
                self.blocks.append((span, means))
            case Number():
                self._add(span, Count(words, f"at most {means.k} hits", means.k))
            case Alike():
                self.similar = True
            case Not():
                pass

    def settle_trait(self) -> None:
        """Choose the trait that is looked at; the others must be there, or must not."""
        wanted = [(span, words) for span, words, negated in self.traits if not negated]
        specific = [(span, words) for span, words in wanted if not words.broad]
        main = next(iter(specific or wanted), None)
        for span, words, negated in self.traits:
            if main is None or (span is not main[0] and (negated or not words.broad)):
                self._presence(span, words, negated=negated)
        if main is not None:
            self._main_trait(*main, [words for span, words in wanted if span is not main[0] and words.broad])
        elif len(self.index.traits) == 1:
            trait = self.index.traits[0]
            self.parts.insert(0, (-1, TraitPart("", f"{trait}, the only trait of this index", trait)))
        for span, words in wanted:
            if main is not None and span is not main[0] and not words.broad:
                self._stray_rankings(span)

    def settle_blocks(self) -> None:
        """Read "similar shape", "whatever the colour"; elsewhere such a word says nothing."""
        off = [(span, means.block) for span, means in self.blocks if not means.counts]
        on = [(span, means.block) for span, means in self.blocks if means.counts]
        if not self.similar and any(self._after_same(span) for span, _ in on):
            self.similar = True
        if off or (on and self.similar):
            blocks = [block for block in self.index.blocks if block not in {name for _, name in off}]
            if on and self.similar:
                blocks = [block for block in blocks if block in {name for _, name in on}] or blocks
            spans = [span for span, _ in (off + on if self.similar else off)]
            words = ", ".join(self.reading.said(span.start, span.stop) for span in spans)
            if blocks:
                meaning = f"only {' and '.join(blocks)} {'counts' if len(blocks) == 1 else 'count'}"
                self._add(spans[0], Weights(words, meaning, dict.fromkeys(blocks, 1.0)))

    def question(self) -> Question:
        """Put the question together."""
        parts = conditions.merged([part for _, part in sorted(self.parts, key=lambda each: each[0])], self.index)
        notes = [*self.reading.notes, *self.notes, *self._or_notes()]
        notes += [
            f"{word.text!r} is no trait of this index; it has {', '.join(self.index.traits)}"
            for word, taken in zip(self.reading.words, self.reading.taken(), strict=True)
            if not taken and is_trait_word(word.lemma)
        ]
        unknown = [*self.reading.unread(), *self.unknown]
        return Question(
            self.reading.sentence, tuple(parts), tuple(self.doubts), tuple(unknown), tuple(notes), self.similar
        )

    # ------------------------------------------------------------------------------------------- one kind each

    def _specimen(self, span: Span, named: Named, words: str, *, negated: bool) -> None:
        if len(named.specimens) > 1:
            names = named.specimens
            choices = tuple(Example(words, f"the specimen {name}", name) for name in names)
            self.doubts.append(
                Doubt(words, f"{words!r} may be {' or '.join(names)}; write the whole name", None, choices)
            )
            return
        (name,) = named.specimens
        if negated:
            self._add(span, Filter(words, f"not the specimen {name}", conditions.specimen_is_not(name), negated=True))
        elif any(isinstance(part, Example) for _, part in self.parts):
            self.notes.append(f"one example at a time: {name} is left out")
            self.unknown.append(words)
        else:
            ending = ", whose name ends so" if named.ending else ""
            self._add(span, Example(words, f"traits like that of {name}{ending}", name))

    def _comparison(self, span: Span, found: Comparison, words: str, *, negated: bool) -> None:
        ways = [replace(each, words=words) for each in found.filters]
        if negated:
            ways = [conditions.excluding(each) for each in ways]
        taken = self._add(span, ways[0])
        if len(ways) > 1:
            said = f"{words!r} is read as {ways[0].meaning}; it could also be {', '.join(w.meaning for w in ways[1:])}"
            self.doubts.append(Doubt(words, said, taken, tuple(ways[1:])))

    def _values(self, span: Span, values: Values, words: str, *, negated: bool) -> None:
        taken, others, said = conditions.for_values(self.index, values.found, words, negated=negated)
        self._add(span, taken)
        losers = [part for part in (self._part(other, words, negated=negated) for other in span.losers) if part]
        if others or losers:
            more = [f"it could also be {part.kind}: {part.meaning}" for part in losers]
            text = "; ".join([said or f"{words!r} is read as {taken.meaning}", *more])
            self.doubts.append(Doubt(words, text, taken, (*others, *losers)))

    def _main_trait(self, span: Span, words: TraitWords, broad: list[TraitWords]) -> None:
        scores = dict(words.scores)
        for each in broad:
            scores = {trait: score + each.scores.get(trait, 0.0) for trait, score in scores.items()}
        narrowed = TraitWords(words.start, words.stop, scores)
        text = self.reading.said(span.start, span.stop)
        best = narrowed.best
        if len(best) == 1:
            self._doubt_about(span, text, self._add(span, TraitPart(text, best[0], best[0])))
            return
        example = next((part.specimen for _, part in self.parts if isinstance(part, Example)), None)
        shown = [trait for trait in best if example is not None and conditions.shows(self.index, example, trait)]
        if len(shown) == 1:
            meaning = f"{shown[0]}, the only one of {', '.join(best)} that {example} shows"
            self._add(span, TraitPart(text, meaning, shown[0]))
            return
        choices = tuple(TraitPart(text, trait, trait) for trait in (shown or best))
        names = " or ".join(part.trait for part in choices)
        self.doubts.append(Doubt(text, f"{text!r} may be {names}; say which (--trait)", None, choices))

    def _presence(self, span: Span, words: TraitWords, *, negated: bool) -> None:
        text = self._said(span, negated=negated)
        self._add(span, conditions.presence(self.index, words.best, text, negated=negated))

    def _stray_rankings(self, span: Span) -> None:
        """Take out words about another trait than the one that is looked at ("with a dark head")."""
        first = span.start
        while first and (place := self._ranking_before(first)) is not None:
            number, part = self.parts.pop(place)
            self.unknown.append(part.words)
            self.notes.append(f"{part.words!r} is about another trait than the one that is compared, and was left out")
            first = number

    def _ranking_before(self, number: int) -> int | None:
        for place, (start, part) in enumerate(self.parts):
            ends = [span.stop for span in self.reading.spans if span.start == start]
            if isinstance(part, Ranking) and ends and ends[0] == number:
                return place
        return None

    # --------------------------------------------------------------------------------------------------- helpers

    def _add(self, span: Span, part: Part) -> Part:
        self.parts.append((span.start, part))
        return part

    def _doubt_about(self, span: Span, words: str, taken: Part) -> None:
        """Say that words of the vocabulary also stand in the collection."""
        choices: list[Part] = []
        for other in span.losers:
            part = self._part(other, words, negated=False)
            if part is not None:
                choices.append(part)
        if choices:
            also = " or ".join(choice.meaning for choice in choices)
            self.doubts.append(
                Doubt(words, f"{words!r} is read as {taken.meaning}; it could be {also}", taken, tuple(choices))
            )

    def _part(self, means: object, words: str, *, negated: bool) -> Part | None:
        if isinstance(means, Values) and means.found:
            return conditions.for_values(self.index, means.found, words, negated=negated)[0]
        if isinstance(means, Colour | Much):
            return ranking(means, words, negated=negated)
        if isinstance(means, TraitWords) and len(means.best) == 1:
            return TraitPart(words, means.best[0], means.best[0])
        return None

    def _said(self, span: Span, *, negated: bool) -> str:
        words = self.reading.said(span.start, span.stop)
        return f"not {words}" if negated else words

    def _after_same(self, span: Span) -> bool:
        return any(word.plain == "same" for word in self.reading.words[max(0, span.start - 2) : span.start])

    def _or_notes(self) -> list[str]:
        """Say that "or" between different columns is not understood."""
        filters = {span.start: span for span in self.reading.spans if isinstance(span.means, Values | Comparison)}
        notes = []
        for first, second in pairwise(sorted(filters)):
            between = self.reading.words[filters[first].stop : second]
            if any(word.plain == "or" for word in between) and _column(filters[first]) != _column(filters[second]):
                said = self.reading.said(first, filters[second].stop)
                notes.append(f"{said!r}: both must hold; for either, write the condition yourself (--where)")
        return notes


def ranking(means: Colour | Much, words: str, *, negated: bool) -> Ranking:
    """Turn a word for a colour, or for much and little, into a part."""
    not_ = "not " if negated else ""
    if isinstance(means, Colour):
        blocks = (
            f"one of the {len(means.centres)} ISCC-NBS colours so called" if len(means.centres) > 1 else "that colour"
        )
        meaning = f"{not_}{means.name}: the mean colour is {blocks}, or nearly; fit 0 from CIEDE2000 {FAR:g} on"
        return Ranking(words, meaning, "colour", share=1.0, colour=means, negated=negated)
    quantity, share = QUANTITIES[means.adjective.quantity], SHARES[means.degree]
    high = means.adjective.high
    end = "highest" if high else "lowest"
    if means.degree == "more":
        more = "more" if high else "less"
        meaning = f"{not_}{more} {quantity.meaning} than the example; without one, {end} {_SAID['']}"
        return Ranking(words, meaning, means.adjective.quantity, high, share, negated=negated, than_example=True)
    meaning = f"{not_}{end} {_SAID[means.degree]} in {quantity.meaning}"
    return Ranking(words, meaning, means.adjective.quantity, high, share, negated=negated)


def _column(span: Span) -> frozenset[str]:
    if isinstance(span.means, Comparison):
        return frozenset(each.column for each in span.means.filters)
    assert isinstance(span.means, Values)
    return frozenset(each.column for each in span.means.found)


def _excluded(reading: Reading) -> set[int]:
    """Say at which words the spans begin that "not" excludes: the next one, and those joined to it by "or"."""
    excluded: set[int] = set()
    denying = False
    previous: Span | None = None
    for span in reading.spans:
        if isinstance(span.means, Not):
            denying, previous = True, None
            continue
        if isinstance(span.means, Alike | Number):
            continue
        if denying and previous is not None and not _continues(reading, previous, span):
            denying = False
        if denying:
            excluded.add(span.start)
        previous = span
    return excluded


def _continues(reading: Reading, before: Span, span: Span) -> bool:
    between: list[Word] = reading.words[before.stop : span.start]
    if reading.words[before.stop - 1].closes or any(word.closes for word in between):
        return False
    if any(word.plain in ("or", "nor") for word in between):
        return True
    if before.stop == span.start:  # "not narrow orange bands" denies all of it but the trait; "not erato females"?
        return isinstance(before.means, Colour | Much) and isinstance(span.means, Colour | Much)
    joined = any(word.plain in _JOINING for word in between)
    return joined and type(before.means) is type(span.means) and _same_column(before, span)


def _same_column(first: Span, second: Span) -> bool:
    if not isinstance(first.means, Values):
        return True
    return bool(_column(first) & _column(second))
