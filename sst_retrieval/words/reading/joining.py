"""How what was read hangs together: what stands after "like" or "same", and what "or" joins."""

from __future__ import annotations

from itertools import pairwise

from sst_retrieval.words.lexicon.colour_words import Colour
from sst_retrieval.words.reading.negation import column
from sst_retrieval.words.reading.numbers import Comparison
from sst_retrieval.words.reading.spans import Alike, Much, Not, Reading, Span, Values


def first_resembled(reading: Reading, number: int) -> int | None:
    """Find the first of the values that stand after "like" in a row, if a span is one of them.

    Args:
        reading: the sentence.
        number: of the span.

    Returns:
        The number of that first span; None if the span is no value after "like".
    """
    spans, words = reading.spans, reading.words
    first = number
    while first and isinstance(spans[first].means, Values) and spans[first - 1].stop == spans[first].start:
        if isinstance(spans[first - 1].means, Alike):
            break
        first -= 1
    before = spans[first - 1] if first else None
    if before is None or not isinstance(before.means, Alike) or not isinstance(spans[first].means, Values):
        return None
    between = {word.plain for word in words[before.stop : spans[first].start]}
    like = words[before.start].plain not in ("similar", "comparable", "identical", "alike", "matching")
    # "Similar females" are females.
    return first if like or between & {"to", "those", "that"} else None


def after_same(reading: Reading, span: Span) -> bool:
    """Say whether "same" stands just before a span."""
    return any(word.plain == "same" for word in reading.words[max(0, span.start - 2) : span.start])


def join_colours(reading: Reading) -> None:
    """Read "white, yellow or orange" as one colour: whatever is near any of them fits."""
    runs: list[list[Span]] = []
    for span in sorted(reading.spans, key=lambda each: each.start):
        if runs and _goes_on(reading, runs[-1][-1], span):
            runs[-1].append(span)
        else:
            runs.append([span])
    reading.spans = [span for run in runs for span in (_either(reading, run) or run)]


def _goes_on(reading: Reading, before: Span, span: Span) -> bool:
    between = [word.plain for word in reading.words[before.stop : span.start]]
    listed = between in (["or"], ["or", "else"]) or (not between and reading.words[before.stop - 1].closes)
    return isinstance(before.means, Colour) and isinstance(span.means, Colour) and listed


def _either(reading: Reading, run: list[Span]) -> list[Span]:
    colours = [span.means for span in run if isinstance(span.means, Colour)]
    words = reading.words[run[0].start : run[-1].stop]
    if len(colours) < 2 or all(word.plain != "or" for word in words):
        return []
    parts = ([lab for each in colours for lab in getattr(each, name)] for name in ("centres", "typical", "also"))
    joined = Colour(" or ".join(each.name for each in colours), *map(tuple, parts))
    return [Span(run[0].start, run[-1].stop, run[0].strength, joined)]


def either_notes(reading: Reading) -> list[str]:
    """Say that "or" between conditions of different kinds is not understood."""
    notes = []
    for before, (first, second) in zip([None, *reading.spans], pairwise(reading.spans), strict=False):
        kinds = Values | Comparison | Much | Colour
        if not isinstance(first.means, kinds) or not isinstance(second.means, kinds):
            continue
        if before is not None and isinstance(before.means, Not):
            continue  # "Not wide or orange" excludes both.
        between = reading.words[first.stop : second.start]
        if any(word.plain == "or" for word in between) and _about(first) != _about(second):
            said = reading.said(first.start, second.stop)
            notes.append(f"{said!r}: both must hold; for either, write the condition yourself (--where)")
    return notes


def _about(span: Span) -> object:
    return column(span) if isinstance(span.means, Values | Comparison) else span.means
