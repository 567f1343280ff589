"""Conditions that are relative to the example: "of another species", "of the same sex"."""

from __future__ import annotations

from collections.abc import Mapping

from sst_retrieval.index.duck import quote_name, quote_text
from sst_retrieval.search.index import Index
from sst_retrieval.words.lexicon.vocabulary import BLOCK_WORDS
from sst_retrieval.words.question import Filter
from sst_retrieval.words.reading.sentence import lemmas
from sst_retrieval.words.reading.spans import Reading, Relative, Span

_SAME: Mapping[str, bool] = {"same": True, "another": False, "other": False, "different": False}
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "species": ("scientificname", "species", "specificepithet"),
    "subspecies": ("infraspecificepithet", "subspecies"),
    "race": ("infraspecificepithet", "subspecies"),
    "taxon": ("scientificname", "taxon"),
    "country": ("country", "locality"), "place": ("locality",), "site": ("locality", "site"), "sex": ("sex",),
}  # fmt: skip
"""Word -> columns that may hold it, the first that a collection has; a column's own name is understood, too."""


def read_relative(reading: Reading, index: Index) -> None:
    """Read "another species"; of a column that the collection lacks nothing is read."""
    for number in range(len(reading.words) - 1):
        word, after, taken = reading.words[number], reading.words[number + 1], reading.taken()
        if word.plain not in _SAME or word.closes or after.lemma in BLOCK_WORDS or taken[number] or taken[number + 1]:
            continue
        column = _column(after.lemma, index)
        if column is not None:
            reading.spans.append(Span(number, number + 2, 9, Relative(column, _SAME[word.plain])))


def relative_filter(index: Index, example: str, means: Relative, words: str, *, negated: bool) -> Filter | None:
    """Write the condition; None if nothing is known of the example there.

    Args:
        index: the index.
        example: id of the specimen that is asked with.
        means: what was read.
        words: the words.
        negated: whether they are excluded.
    """
    value = index.individual(example).metadata.get(means.column)
    if value is None or value == "":
        return None
    same = means.same != negated
    test = "IS NOT DISTINCT FROM" if same else "IS DISTINCT FROM"
    where = f"CAST({quote_name(means.column)} AS VARCHAR) {test} {quote_text(str(value))}"
    said = f"{means.column} is {'' if same else 'not '}{value}, that of {example}"
    return Filter(words, said, where, means.column, (), negated=not same)


def _column(word: str, index: Index) -> str | None:
    by_name = {name.casefold(): name for name in index.columns}
    own = next((name for name in index.columns if lemmas(name) == (word,)), None)
    return own or next((by_name[name] for name in _COLUMNS.get(word, ()) if name in by_name), None)
