"""How what was read hangs together: what stands after "like" or "same", and what "or" joins."""

from __future__ import annotations

from itertools import pairwise

from sst_retrieval.words.denying import column
from sst_retrieval.words.meanings import Alike, Reading, Span, Values
from sst_retrieval.words.numbers import Comparison


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


def either_notes(reading: Reading) -> list[str]:
    """Say that "or" between different columns is not understood."""
    filters = {span.start: span for span in reading.spans if isinstance(span.means, Values | Comparison)}
    notes = []
    for first, second in pairwise(sorted(filters)):
        between = reading.words[filters[first].stop : second]
        if any(word.plain == "or" for word in between) and column(filters[first]) != column(filters[second]):
            said = reading.said(first, filters[second].stop)
            notes.append(f"{said!r}: both must hold; for either, write the condition yourself (--where)")
    return notes
