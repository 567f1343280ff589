"""Which parts of a sentence "not" and its like exclude."""

from __future__ import annotations

from sst_retrieval.words.lexicon.colour_words import Colour
from sst_retrieval.words.lexicon.vocabulary import AFTERWARDS, EXCEPT
from sst_retrieval.words.reading.numbers import Comparison
from sst_retrieval.words.reading.sentence import Word
from sst_retrieval.words.reading.spans import Alike, Much, Not, Number, Reading, Span, Unasked, Values, silent
from sst_retrieval.words.reading.trait_words import TraitWords

_JOINING = frozenset({"or", "nor", "and"})


def denied(reading: Reading) -> tuple[set[int], list[Span]]:
    """Find what is excluded: the next thing said, and what is joined to it.

    "Not red or orange" excludes both; so do "not erato and melpomene", values of one column, and "except males and
    erato", whatever the columns.

    Returns:
        The numbers of the words at which excluded spans begin; and the "not"s that exclude nothing which was understood
        ("not shiny elytra" excludes no elytra).
    """
    excluded: set[int] = set()
    idle: list[Span] = []
    deny: Span | None = None
    previous: Span | None = None
    for span in reading.spans:
        if isinstance(span.means, Not):
            trait = _said_afterwards(reading, span)
            if trait is not None:
                excluded.add(trait.start)
                deny = previous = None
                continue
            idle += [deny] if deny is not None and previous is None else []
            deny, previous = span, None
            continue
        if isinstance(span.means, Alike | Number) or deny is None:
            continue
        if previous is None:
            goes_on = _reaches(reading, deny, span)
            idle += [] if goes_on else [deny]
        else:
            goes_on = _continues(reading, deny, previous, span)
        if not goes_on:
            deny = None
            continue
        excluded.add(span.start)
        previous = span
    idle += [deny] if deny is not None and previous is None else []
    return excluded, idle


def _said_afterwards(reading: Reading, deny: Span) -> Span | None:
    """Find the trait that "missing" is said of after it: "with antennae missing", but not "bands missing legs"."""
    if reading.words[deny.start].plain not in AFTERWARDS:
        return None
    if any(span.start == deny.stop and isinstance(span.means, TraitWords) for span in reading.spans):
        return None
    before = [span for span in reading.spans if span.stop <= deny.start]
    if not before or not isinstance(before[-1].means, TraitWords):
        return None
    between = {word.plain for word in reading.words[before[-1].stop : deny.start]}
    return before[-1] if between <= {"is", "are", "was", "were", "been", "has", "have"} else None


def column(span: Span) -> frozenset[str]:
    """Return the columns that a condition is about."""
    if isinstance(span.means, Comparison):
        return frozenset(each.column for each in span.means.filters)
    assert isinstance(span.means, Values)
    return frozenset(each.column for each in span.means.found)


def _reaches(reading: Reading, deny: Span, span: Span) -> bool:
    """Say whether "not" is about a span: not if an unknown word stands between that it could be about instead."""
    between = reading.words[deny.stop : span.start]
    if isinstance(span.means, Unasked):
        return False
    unknown = [word for word in between if not silent(word)]
    # "Without visible rays" still means no rays; "not shiny elytra" are elytra.
    return not unknown or not isinstance(span.means, TraitWords) or _strict(reading, deny)


def _strict(reading: Reading, deny: Span) -> bool:
    words = [word.plain for word in reading.words[deny.start : deny.stop]]
    return words == ["other", "than"] or (len(words) == 1 and (words[0] in EXCEPT or words[0] == "no"))


def _continues(reading: Reading, deny: Span, before: Span, span: Span) -> bool:
    between: list[Word] = reading.words[before.stop : span.start]
    if reading.words[before.stop - 1].closes or any(word.closes for word in between):
        return False
    if any(word.plain in ("or", "nor") for word in between):
        return True
    if before.stop == span.start:  # "not narrow orange bands" denies all of it but the trait; "not erato females"?
        return isinstance(before.means, Colour | Much) and isinstance(span.means, Colour | Much)
    joined = any(word.plain in _JOINING for word in between) and type(before.means) is type(span.means)
    listed = _strict(reading, deny) and {word.plain for word in between} <= {"and", "the", "all", "any", "also"}
    return joined and (listed or _same_column(before, span))


def _same_column(first: Span, second: Span) -> bool:
    if not isinstance(first.means, Values):
        return True
    return bool(column(first) & column(second))
