"""What a sentence says that nothing here can answer: it is left out as a whole, and that is said.

Half of such a phrase would be a wrong condition: "at least twice as long as wide" asks neither for long nor for wide
traits, and "unlike CAM001" least of all for those like it.
"""

from __future__ import annotations

from sst_retrieval.words.lexicon import colour_words
from sst_retrieval.words.lexicon.vocabulary import ADJECTIVES, COUNTS
from sst_retrieval.words.reading.sentence import Word
from sst_retrieval.words.reading.spans import Named, Reading, Span, Unasked

_UNLIKE: tuple[tuple[str, ...], ...] = (
    ("least", "similar", "to"), ("most", "different", "from"), ("not", "similar", "to"), ("not", "like"),
    ("not", "resembling"), ("different", "from"), ("different", "to"), ("dissimilar", "to"), ("dissimilar", "from"),
    ("distinct", "from"), ("unlike",), ("least", "like"),
)  # fmt: skip
_LEADING = frozenset({"the", "that", "those", "of", "one", "ones", "a", "an", "specimen", "in", "its", "their"})
_BOUNDARIES = frozenset(
    {"and", "or", "but", "with", "without", "from", "not", "except", "in", "on", "of", "excluding", "found", "that"}
)
_EXAMPLE = frozenset({"example", "it", "this", "him", "her", "here"})
_TIMES = frozenset(
    {"twice", "thrice", "double", "half", "times", "time", "about", "nearly", "just", "at", "least", "most"}
)


def read_unlike(reading: Reading) -> None:
    """Leave out "unlike CAM001"; a sentence has one example, and that is what hits should resemble."""
    for number in range(len(reading.words)):
        for phrase in _UNLIKE:
            if _plain(reading, number, len(phrase)) != phrase or reading.taken()[number]:
                continue
            stop = _object(reading, number + len(phrase))
            said = reading.said(number, stop)
            note = f"{said!r} was left out: what hits should not resemble is no part of a sentence; use --unlike"
            _leave(reading, number, stop, note)
            break


def read_comparisons(reading: Reading) -> None:
    """Leave out "wider than long", "wider than the elytra", "twice as long as wide"."""
    words = reading.words
    for number, word in enumerate(words):
        taken = reading.taken()
        if taken[number] or number + 1 == len(words):
            continue
        if word.plain not in ADJECTIVES and colour_words.colour([word.plain]) is None:
            continue
        before = words[number - 1].plain if number else ""
        if words[number + 1].plain == "than":
            start, begun = number - (before in ("more", "less")), number + 2
            if _is_example(reading, begun):
                continue
            stop = _object(reading, begun)
        elif before == "as" and words[number + 1].plain == "as" and not taken[number - 1]:
            start, begun = number - 1, number + 2
            while start and not taken[start - 1] and (words[start - 1].plain in _TIMES or _number(words[start - 1])):
                start -= 1
            stop = begun if _is_example(reading, begun) else _object(reading, begun)
        else:
            continue
        said = reading.said(start, stop)
        _leave(reading, start, stop, f"{said!r} is a comparison that cannot be made here; it was left out")


def _plain(reading: Reading, start: int, length: int) -> tuple[str, ...]:
    return tuple(word.plain for word in reading.words[start : start + length])


def _number(word: Word) -> bool:
    return word.plain in COUNTS or word.plain.replace(".", "", 1).isdigit()


def _first(reading: Reading, start: int) -> int:
    """Skip "those of the"."""
    while start < len(reading.words) and reading.words[start].plain in _LEADING and not reading.taken()[start]:
        start += 1
    return start


def _is_example(reading: Reading, start: int) -> bool:
    """Say whether a specimen follows, or "this", which is the example too."""
    at = _first(reading, start)
    named = any(span.start == at and isinstance(span.means, Named) for span in reading.spans)
    return named or at >= len(reading.words) or reading.words[at].plain in _EXAMPLE


def _object(reading: Reading, start: int) -> int:
    """Find where what is compared with ends."""
    at = _first(reading, start)
    named = next((span for span in reading.spans if span.start == at and isinstance(span.means, Named)), None)
    if named is not None:
        return named.stop
    stop = at
    while stop < len(reading.words):
        if stop > at and (reading.words[stop].plain in _BOUNDARIES or reading.words[stop - 1].closes):
            break
        stop += 1
    return max(stop, start)


def _leave(reading: Reading, start: int, stop: int, note: str) -> None:
    reading.spans = [span for span in reading.spans if span.stop <= start or span.start >= stop]
    reading.spans.append(Span(start, stop, 9, Unasked(note)))
