"""Read a sentence: which of its words mean what, in this index.

1. Names of specimens, then comparisons with numbers, are looked for.
2. All other words may be values of the collection, words for traits, colours, or words for much and little. The longest
   reading of neighbouring words wins; of equally long ones, what the index itself has.
3. "Not" and its like exclude the next thing said. What can be read in two ways is said, and so is what was not read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from sst_retrieval.errors import QueryError
from sst_retrieval.search.index import Index
from sst_retrieval.words.lexicon import colour_words
from sst_retrieval.words.lexicon.vocabulary import (
    ADJECTIVES,
    BLOCK_WORDS,
    COUNTS,
    NEGATIONS,
    SEXES,
    SILENT,
    SIMILAR,
    VERY,
    WHATEVER,
    Adjective,
)
from sst_retrieval.words.reading.joining import join_colours
from sst_retrieval.words.reading.lookup import MANY, Found, find_specimens, find_values
from sst_retrieval.words.reading.numbers import Incomparable, Numbers
from sst_retrieval.words.reading.relative import read_relative
from sst_retrieval.words.reading.sentence import Word, chunks, lemmas, read_words
from sst_retrieval.words.reading.spans import (
    Alike,
    BlockWord,
    Meaning,
    Much,
    Named,
    Not,
    Number,
    Reading,
    Span,
    Unasked,
    Values,
    silent,
)
from sst_retrieval.words.reading.trait_words import TraitNames, is_trait_word
from sst_retrieval.words.reading.unanswerable import read_comparisons, read_unlike

MAX_WORDS = 150
MAX_CHARACTERS = 10_000
"""A longer sentence is refused: the time to read one grows with the square of its words."""

_DEGREES = frozenset({"more", "most", "less", "least"})
_FILLERS = frozenset({"=", ":", "is", "are", "of", "was"})


def read(index: Index, sentence: str) -> Reading:
    """Read a sentence (see the top of this module).

    Args:
        index: whose traits and values are known.
        sentence: plain English.

    Raises:
        QueryError: the sentence has more than `MAX_WORDS` words.
    """
    words = len(sentence[: MAX_CHARACTERS + 1].split())
    if words > MAX_WORDS or len(sentence) > MAX_CHARACTERS:
        raise QueryError(
            f"the sentence is too long ({len(sentence):,} characters); ask in at most {MAX_WORDS} words, and put long "
            "conditions into --where"
        )
    sentence = unicodedata.normalize("NFC", sentence)  # Places in the sentence are counted in this spelling.
    reading = Reading(sentence, read_words(sentence))
    names = TraitNames(index.traits, index.synonyms)
    _read_specimens(reading, index)
    read_unlike(reading)
    read_relative(reading, index)
    _read_small(reading)
    _read_numbers(reading, index)
    read_comparisons(reading)
    readings = [*_values(reading, index, names), *_traits(reading, names), *_colours(reading), *_amounts(reading)]
    _choose(reading, readings)
    join_colours(reading)
    return reading


def _read_specimens(reading: Reading, index: Index) -> None:
    pieces = chunks(reading.sentence)
    places = {
        reading.sentence[start:stop]: (start, stop)
        for number, (_, start, _) in enumerate(pieces)
        for _, _, stop in pieces[number : number + 9]
        if stop > start
    }
    found = find_specimens(index.catalog, places)
    for text in sorted(found, key=len, reverse=True):
        low, high = places[text]
        inside = [n for n, word in enumerate(reading.words) if low <= word.start and word.stop <= high]
        if not inside or any(reading.taken()[n] for n in inside):
            continue
        start, stop = inside[0], inside[-1] + 1
        after_like = start > 0 and (reading.words[start - 1].plain in SIMILAR | {"to", "as", "specimen", "of", "not"})
        if (
            not after_like
            and not any(reading.words[n].quoted for n in inside)
            and (all(known(reading.words[n]) for n in inside) or text.isdigit())
        ):
            continue  # A specimen may be called "a", or "12".
        exact = any(name.casefold() == text.casefold() for name in found[text])
        reading.spans.append(Span(start, stop, 9, Named(tuple(found[text]), not exact)))


def known(word: Word) -> bool:
    """Say whether a word has a meaning in every collection."""
    return (
        silent(word)
        or word.plain in ADJECTIVES
        or word.plain in SIMILAR
        or word.lemma in BLOCK_WORDS
        or is_trait_word(word.lemma)
        or colour_words.colour([word.plain]) is not None
        or any(word.plain in phrase for phrase in NEGATIONS)
    )


def _read_small(reading: Reading) -> None:
    """Read "not", "similar" and how many hits are wanted."""
    words, taken = reading.words, reading.taken()
    for number, word in enumerate(words):
        if taken[number] or word.quoted:
            continue
        for phrase in NEGATIONS:
            if tuple(each.plain for each in words[number : number + len(phrase)]) == phrase:
                reading.spans.append(Span(number, number + len(phrase), 9, Not()))
                break
        else:
            if word.plain in SIMILAR and not _would_like(words, number):
                reading.spans.append(Span(number, number + 1, 9, Alike()))
            elif (k := _count(word)) and _counts(words, number, k):
                stop = number + 1 + _names_hits(words, number)
                reading.spans.append(Span(number, stop, 9, Number(k)))
        taken = reading.taken()


def _would_like(words: Sequence[Word], number: int) -> bool:
    """Tell "I would like bands" from "bands like CAM001"."""
    return words[number].plain == "like" and number > 0 and words[number - 1].plain in ("would", "d", "i", "ll")


def _count(word: Word) -> int:
    return int(word.plain[:18]) if word.plain.isdecimal() else COUNTS.get(word.plain, 0)


def _counts(words: Sequence[Word], number: int, k: int) -> bool:
    before = words[number - 1].plain if number else ""
    after = words[number + 1].plain if number + 1 < len(words) else ""
    superlative = after == "most" or (after in ADJECTIVES and ADJECTIVES[after].degree == "most")
    shown = before in ("show", "list", "give", "find") or (before == "me" and number > 1)
    hits = _names_hits(words, number) and before not in ("least", "than", "over", "under", "not")
    return 0 < k <= 10_000 and (before in ("top", "first", "best") or superlative or shown or hits)


def _names_hits(words: Sequence[Word], number: int) -> bool:
    """Notice "3 hits"."""
    return number + 1 < len(words) and words[number + 1].plain in ("hit", "hits", "result", "results")


def _read_numbers(reading: Reading, index: Index) -> None:
    numbers = Numbers(index.catalog)
    # "not over 0.8" is read as a whole by the comparison only where its own words say so ("not more than").
    for number in range(len(reading.words)):
        taken = reading.taken()
        if taken[number] and not isinstance(_at(reading, number), Not):
            continue
        found = numbers.at(reading.words, taken, number, reading.sentence)
        if isinstance(found, Incomparable):
            if not any(taken[found.start : found.stop]):
                reading.spans.append(Span(found.start, found.stop, 9, Unasked(found.why)))
        elif found is not None and not any(taken[found.start : found.stop]):
            reading.spans.append(Span(found.start, found.stop, 9, found))


def _at(reading: Reading, number: int) -> Meaning | None:
    return next((span.means for span in reading.spans if span.start <= number < span.stop), None)


def _values(reading: Reading, index: Index, names: TraitNames) -> list[Span]:
    """Read words as values of the collection: columns that have the same run of words belong together."""
    words, taken = reading.words, reading.taken()
    by_run: dict[tuple[int, int], list[Found]] = {}
    for each in find_values(index.catalog, words, taken):
        by_run.setdefault((each.start, each.stop), []).append(each)
    spans = []
    for (start, stop), found in by_run.items():
        run = words[start:stop]
        common = [each.column for each in found if len(each.values) > MANY]
        found = [each for each in found if len(each.values) <= MANY]
        if common and not all(_says_little(word) for word in run):
            columns = " and ".join(common)
            reading.notes.append(
                f"{reading.said(start, stop)!r} stands in more than {MANY} values of {columns}; say more"
            )
        if not found:
            continue
        begun, column = _column_before(words, start, [each.column for each in found])
        after = words[stop].lemma if stop < len(words) else ""
        if not column and (column := next((each.column for each in found if lemmas(each.column) == (after,)), "")):
            stop += 1  # "Dorsal view".
        if column or any(word.quoted for word in run):
            mine = tuple(each for each in found if not column or each.column == column)
            spans.append(Span(begun, stop, 5, Values(mine, column)))
            continue
        if all(_says_little(word) for word in run):
            continue
        whole = any(each.whole for each in found)
        if not whole and all(known(word) or names.knows(word.lemma) for word in run):
            spans.append(Span(start, stop, 0, Values(tuple(found))))  # Only to be said as another reading.
        else:
            spans.append(Span(start, stop, 3 if whole else 1, Values(tuple(found))))
    return spans


def _says_little(word: Word) -> bool:
    """Say whether a word alone is no reason to think of a value: "in", "a", "7"."""
    return word.plain in SILENT or word.plain.isdigit() or (len(word.plain) == 1 and word.lemma not in SEXES)


def _column_before(words: Sequence[Word], start: int, columns: Iterable[str]) -> tuple[int, str]:
    """Find the name of one of the columns just before a word ("locality: Panama")."""
    end = start - 1 if start and words[start - 1].plain in _FILLERS else start
    for column in columns:
        name = lemmas(column)
        for length in {len(name), 1}:  # "scientificName" may be written as one word.
            if end >= length and "".join(word.lemma for word in words[end - length : end]) == "".join(name):
                return end - length, column
    return start, ""


def _traits(reading: Reading, names: TraitNames) -> list[Span]:
    return [
        Span(each.start, each.stop, 4 if max(each.scores.values()) >= 1 else 2.5, each)
        for each in names.find(reading.words, reading.taken())
    ]


def _colours(reading: Reading) -> list[Span]:
    spans = []
    for start in range(len(reading.words)):
        for length in (3, 2, 1):
            words = [word.plain for word in reading.words[start : start + length]]
            found = colour_words.colour(words) if len(words) == length else None
            if found is not None:
                spans.append(Span(start, start + length, 2, found))
                break
    return spans


def _amounts(reading: Reading) -> list[Span]:
    """Read words for much and little, and for the blocks of the similarity."""
    words, spans = reading.words, []
    for number, word in enumerate(words):
        before = words[number - 1].plain if number else ""
        if word.plain in ADJECTIVES:
            adjective = ADJECTIVES[word.plain]
            degree = "very" if before in VERY else before if before in ("more", "most") else adjective.degree
            if before in ("less", "least"):
                adjective = Adjective(adjective.quantity, not adjective.high)
                degree = {"less": "more", "least": "most"}[before]
            spans.append(Span(number - (before in VERY | _DEGREES), number + 1, 2, Much(adjective, degree)))
        elif word.lemma in BLOCK_WORDS:
            earlier = [each.plain for each in words[max(0, number - 4) : number]]
            counts = not WHATEVER & set(earlier)
            first = (
                number if counts else max(n for n in range(max(0, number - 4), number) if words[n].plain in WHATEVER)
            )
            spans.append(Span(first, number + 1, 2, BlockWord(BLOCK_WORDS[word.lemma], counts)))
        elif word.lemma in SEXES:
            spans.append(Span(number, number + 1, -1, Values(())))
    return spans


def _choose(reading: Reading, readings: Sequence[Span]) -> None:
    """Give every word its longest reading, then its strongest; remember what else the same words could mean."""
    taken = reading.taken()
    order = sorted(readings, key=lambda span: (span.strength > 0, span.stop - span.start, span.strength), reverse=True)
    for span in order:
        if span.strength <= 0 or any(taken[span.start : span.stop]):
            continue
        taken[span.start : span.stop] = [True] * (span.stop - span.start)
        others = tuple(
            other.means
            for other in order
            if other is not span
            and span.start <= other.start
            and other.stop <= span.stop
            and _worth_saying(span, other)
        )
        reading.spans.append(Span(span.start, span.stop, span.strength, span.means, others))


def _worth_saying(span: Span, other: Span) -> bool:
    """Say whether a reading that lost is a doubt: values and vocabulary contradict each other over the same words."""
    same = (span.start, span.stop) == (other.start, other.stop)
    return same and (isinstance(span.means, Values) != isinstance(other.means, Values)) and span.strength < 5
