"""From a sentence that was read to a question: the parts, and what is to be said about them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sst_retrieval.search.index import Index
from sst_retrieval.words.lexicon.colour_words import Colour
from sst_retrieval.words.meaning import conditions
from sst_retrieval.words.meaning.ranking import ranking
from sst_retrieval.words.question import Count, Doubt, Example, Filter, Part, Question, Ranking, TraitPart, Weights
from sst_retrieval.words.reading.joining import after_same, either_notes, first_resembled
from sst_retrieval.words.reading.negation import denied
from sst_retrieval.words.reading.numbers import Comparison
from sst_retrieval.words.reading.parser import read
from sst_retrieval.words.reading.relative import relative_filter
from sst_retrieval.words.reading.spans import (
    Alike,
    BlockWord,
    Much,
    Named,
    Not,
    Number,
    Reading,
    Relative,
    Span,
    Unasked,
    Values,
)
from sst_retrieval.words.reading.trait_words import TraitWords, is_trait_word


def understand(index: Index, sentence: str, *, like: str | None = None, chosen: str | None = None) -> Question:
    """Read a sentence as a question to an index.

        >>> understand(index, "orange bands of females like CAM001")   # doctest: +SKIP

    Words that name traits (their names, their synonyms in traits.toml, words of the trade), specimens, and values of
    the collection's columns become the trait, the example and conditions; so do comparisons with numbers; words for
    colours, sizes and shapes order the specimens and leave out who does not fit. docs/words.md lists the words.

    Args:
        index: an open index.
        sentence: plain English.
        like: id of a specimen that the hits should resemble, if the person gave it apart from the sentence.
        chosen: id of the specimen that "another species" is another than, unless the sentence names one; no part.

    Returns:
        What was understood, as parts that can be shown, removed and changed; what is in doubt; what was not understood.

    Raises:
        QueryError: there is no specimen `like` or `chosen`.
    """
    reading = read(index, sentence)
    work = _Work(index, reading)
    if like is not None:
        work.parts.append((-2, Example("", f"traits like that of {index.individual(like).id}", like)))
    excluded, idle = denied(reading)
    for span in idle:
        work.notes.append(f"{work.said(span)!r} excludes nothing: what follows was not understood, or nothing follows")
    for number, span in enumerate(reading.spans):
        if not work.resembles_a_value(number):
            work.take(span, negated=span.start in excluded)
    work.settle_relatives(excluded, chosen)
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
                self._add(span, Count(words, f"at most {means.k} hit{'s' * (means.k != 1)}", means.k))
            case Alike():
                self.similar = True
            case Unasked():
                self.notes.append(means.note)
            case Not() | Relative():
                pass

    def resembles_a_value(self, number: int) -> bool:
        """Notice "like those of erato", which is no condition: it asks for an example, and names many."""
        span = self.reading.spans[number]
        begun = first_resembled(self.reading, number)
        if begun is None:
            return False
        self.similar = True
        ends = number + 1 < len(self.reading.spans) and first_resembled(self.reading, number + 1) is not None
        if ends:
            return True  # "Like erato demophoon": both together, when all is read.
        spans = self.reading.spans[begun : number + 1]
        text = self.reading.said(spans[0].start, span.stop)
        names = conditions.some_of(self.index, [each.means.found for each in spans if isinstance(each.means, Values)])
        choices = tuple(Example(text, f"the specimen {name}", name) for name in names)
        said = f"{text!r} is no specimen; name the one that hits should resemble"
        self.doubts.append(Doubt(text, said + (f", such as {' or '.join(names)}" if names else ""), None, choices))
        return True

    def settle_relatives(self, excluded: set[int], chosen: str | None) -> None:
        """Read "of another species" once the example is known."""
        example = next((part.specimen for _, part in self.parts if isinstance(part, Example)), chosen)
        for span in self.reading.spans:
            if not isinstance(span.means, Relative):
                continue
            words, part = self.said(span), None
            if example is not None:
                negated = span.start in excluded
                part = relative_filter(self.index, example, span.means, words, negated=negated)
            if part is not None:
                self._add(span, part)
                continue
            lacks = f"{example} has no {span.means.column}" if example else "no example is given"
            self.notes.append(f"{words!r} is relative to an example, and {lacks}; it was left out")

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
            if main is not None and span is not main[0] and not words.broad and self._stray_rankings(span):
                # "No yellow bars" asks for no bars, or for other ones, but not for bars.
                self.parts = [(at, part) for at, part in self.parts if at != span.start]
                self.notes.append(f"so was {self.said(span)!r}, which stands with it")

    def settle_blocks(self) -> None:
        """Read "similar shape", "whatever the colour"; elsewhere such a word says nothing."""
        off = [(span, means.block) for span, means in self.blocks if not means.counts]
        on = [(span, means.block) for span, means in self.blocks if means.counts]
        if not self.similar and any(after_same(self.reading, span) for span, _ in on):
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
        notes = [*self.reading.notes, *self.notes, *either_notes(self.reading)]
        notes += [
            f"{word.text!r} is no trait of this index; it has {', '.join(self.index.traits)}"
            for word, taken in zip(self.reading.words, self.reading.taken(), strict=True)
            if not taken and is_trait_word(word.lemma)
        ]
        unknown = [*self.reading.unread(), *self.unknown]
        made = Question(
            self.reading.sentence, tuple(parts), tuple(self.doubts), tuple(unknown), tuple(notes), self.similar
        )
        if made.example is None or not made.superlatives:
            return made
        idle = " and ".join(map(repr, made.superlatives))
        return replace(made, notes=(*made.notes, f"{idle} orders nothing beside an example: likeness does"))

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
        self._add(span, conditions.presence(words.best, text, negated=negated))

    def _stray_rankings(self, span: Span) -> bool:
        """Take out words about another trait than the one that is looked at ("with a dark head"); was one denied?"""
        first, negated = span.start, False
        while first and (place := self._ranking_before(first)) is not None:
            number, part = self.parts.pop(place)
            self.notes.append(f"{part.words!r} is about another trait than the one that is compared, and was left out")
            first, negated = number, negated or (isinstance(part, Ranking) and part.negated)
        return negated

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
        choices = [part for each in span.losers if (part := self._part(each, words, negated=False)) is not None]
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

    def said(self, span: Span) -> str:
        """Quote the words of a span."""
        return self.reading.said(span.start, span.stop)

    def _said(self, span: Span, *, negated: bool) -> str:
        return f"not {self.said(span)}" if negated else self.said(span)
