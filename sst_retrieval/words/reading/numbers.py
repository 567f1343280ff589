"""Comparisons with numbers: "confidence over 0.8", "longer than 3 mm", "before 1950", "between 2 and 4 pieces"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.duck import quote_name
from sst_retrieval.words.lexicon.vocabulary import ADJECTIVES, COUNTS, MORE, UNITS, YEARS
from sst_retrieval.words.question import Filter
from sst_retrieval.words.reading.sentence import Word, lemmas

YEAR_COLUMNS = ("year", "eventDate", "date", "dateCollected", "collectionDate", "collected", "verbatimEventDate")
"""Columns that say when a specimen was collected; the first that a collection has is asked."""

_NUMERIC = re.compile(r"TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|FLOAT|DOUBLE|DECIMAL")
_YEAR = re.compile(r"(1[6-9]|20)[0-9][0-9]")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_UNIT = {"pixel": "px", "pixels": "px", "µm": "um", "μm": "um", "percent": "%", "degree": "deg"}
_OF_NAMES = frozenset({"mean", "share", "of"}) | UNITS
_YEAR_TEXT = {"=": "{}", "<": "before {}", ">": "after {}", ">=": "{} or later", "<=": "{} or earlier"}
_WORDS = {"is": "=", ">": "over", ">=": "at least", "<": "under", "<=": "at most", "=": ""}

_ABOUT = {
    "size": ("area",), "width": ("width",), "length": ("length",), "lightness": ("lightness",),
    "elongation": ("elongation",), "pieces": ("piece",), "solidity": ("solidity",), "confidence": ("confidence",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison found in a sentence.

    Attributes:
        start, stop: numbers of its words, half-open.
        filters: the ways to read it, at least one.
    """

    start: int
    stop: int
    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Incomparable:
    """A comparison that the index has nothing for.

    Attributes:
        start, stop: numbers of its words, half-open.
        why: what is lacking, a sentence.
    """

    start: int
    stop: int
    why: str


@dataclass(frozen=True, slots=True)
class _Amount:
    """A number, or two, and how they compare: `test` takes the column in place of its {}."""

    start: int
    stop: int
    test: str
    text: str
    unit: str


class Numbers:
    """Reads comparisons for one index."""

    def __init__(self, catalog: Catalog) -> None:
        """Learn what can be compared.

        Args:
            catalog: of the index.
        """
        self._columns: dict[str, str] = {"confidence": '"sst:confidence"'}
        self._columns |= {name: quote_name(name) for name in catalog.measurement_names}
        own = {name: quote_name(name) for name, kind in catalog.columns.items() if _NUMERIC.match(kind)}
        self._columns |= own  # The collection's own columns win, as in every predicate.
        self._years = _year_column(catalog.columns)

    def at(
        self, words: Sequence[Word], taken: Sequence[bool], start: int, sentence: str
    ) -> Comparison | Incomparable | None:
        """Read the comparison that begins with a word.

        Returns:
            The comparison; one that cannot be made; or None if there is none.
        """
        year = self._year(words, start, sentence)
        if year is not None:
            return year
        return self._named_first(words, taken, start) or self._number_first(words, start)

    def _year(self, words: Sequence[Word], start: int, sentence: str) -> Comparison | None:
        if self._years is None:
            return None
        column, expression = self._years
        found = _between(words, start, sentence) or _one_year(words, start)
        if found is None:
            return None
        stop, test, text = found
        return Comparison(start, stop, (Filter("", f"{column}: {text}", test.replace("{}", expression), column),))

    def _named_first(
        self, words: Sequence[Word], taken: Sequence[bool], start: int
    ) -> Comparison | Incomparable | None:
        """Read "confidence over 0.8", "longer than 3 mm"."""
        named, columns, signs = self._name(words, start)
        if named == start:
            return None
        amount = _amount(words, named, signs)
        if amount is None or any(taken[start : amount.stop]):
            return None
        return self._comparison(start, amount, columns, words)

    def _number_first(self, words: Sequence[Word], start: int) -> Comparison | Incomparable | None:
        """Read "more than 3 pieces", "at least 0.8 confidence"."""
        amount = _amount(words, start, None)
        if amount is None or amount.stop == len(words):
            return None
        stop, columns, signs = self._name(words, amount.stop)
        if stop == amount.stop or signs is not None:
            return None
        return self._comparison(start, _Amount(start, stop, amount.test, amount.text, amount.unit), columns, words)

    def _name(self, words: Sequence[Word], start: int) -> tuple[int, list[str], str | None]:
        """Find what is compared: number of the next word, columns, and the sign if an adjective says it."""
        for length in (4, 3, 2, 1):
            said = tuple(word.lemma for word in words[start : start + length])
            columns = [name for name in self._columns if _names(name, said)]
            if len(said) == length and columns:
                return start + length, columns, None
        adjective = ADJECTIVES.get(words[start].plain)
        if adjective is None or start + 1 >= len(words) or words[start + 1].plain != "than":
            return start, [], None
        about = _ABOUT.get(adjective.quantity, (adjective.quantity,))
        columns = [name for name in self._columns if any(word in lemmas(name) for word in about)]
        return start + 2, columns, ">" if adjective.high else "<"

    def _comparison(
        self, start: int, amount: _Amount, columns: Sequence[str], words: Sequence[Word]
    ) -> Comparison | Incomparable:
        said = " ".join(word.text for word in words[start : amount.stop])
        fitting = [name for name in columns if _fits(name, amount.unit)]
        if not fitting:
            unit = f" in {amount.unit}" if amount.unit else ""
            has = ", ".join(columns) or ", ".join(self._columns)
            why = f"{said!r} cannot be compared: the index has nothing{unit} for it; it has {has}"
            return Incomparable(start, amount.stop, why)
        divided = " / 100" if amount.unit == "%" else ""
        filters = tuple(
            Filter(
                said,
                f"{name} {amount.text}{' ' + amount.unit if amount.unit else ''}",
                amount.test.replace("{}", self._columns[name]).replace("{/}", divided),
                name,
            )
            for name in fitting
        )
        return Comparison(start, amount.stop, filters)


def _year_column(columns: Mapping[str, str]) -> tuple[str, str] | None:
    """Find the column that tells the year, and the SQL that does."""
    by_name = {name.casefold(): name for name in columns}
    for wanted in YEAR_COLUMNS:
        name = by_name.get(wanted.casefold())
        if name is None:
            continue
        if columns[name].startswith(("DATE", "TIMESTAMP")):
            return name, f"year({quote_name(name)})"
        if _NUMERIC.match(columns[name]):
            return name, quote_name(name)
        if columns[name] == "VARCHAR":
            return name, f"TRY_CAST(regexp_extract({quote_name(name)}, '(1[6-9]|20)[0-9][0-9]') AS INTEGER)"
    return None


def _between(words: Sequence[Word], start: int, sentence: str) -> tuple[int, str, str] | None:
    """Read "between 1950 and 1960", "from 1950 to 1960" and "1950-1960"."""
    begun = start + (words[start].plain in ("between", "from"))
    if begun >= len(words) or not _is_year(words[begun]):
        return None
    second = begun + 1
    joined = second < len(words) and words[second].plain in ("and", "to")
    second += joined
    if second >= len(words) or not _YEAR.fullmatch(words[second].plain):
        return None
    between = sentence[words[begun].stop : words[second].start].strip()
    if not (joined and begun > start) and between not in ("-", "\u2013", "\u2014", "to"):
        return None
    low, high = sorted((int(words[begun].plain), int(words[second].plain)))
    return second + 1, f"{{}} BETWEEN {low} AND {high}", f"{low} to {high}"


def _one_year(words: Sequence[Word], start: int) -> tuple[int, str, str] | None:
    """Read "before 1950", "in 1985", "1980s"."""
    at, sign = _phrase(words, start, YEARS)
    if at >= len(words) or not _is_year(words[at]):
        return None
    first = int(words[at].plain)
    if at + 1 < len(words) and words[at + 1].plain == "s" and not words[at + 1].first and first % 10 == 0:
        last = first + (99 if first % 100 == 0 else 9)
        return at + 2, f"{{}} BETWEEN {first} AND {last}", f"{first} to {last}"
    sign = sign or "="
    return at + 1, f"{{}} {sign} {first}", _YEAR_TEXT[sign].format(first)


def _is_year(word: Word) -> bool:
    return bool(_YEAR.fullmatch(word.plain)) and word.first


def _amount(words: Sequence[Word], start: int, sign: str | None) -> _Amount | None:
    """Read "over 0.8", "between 2 and 4", "3 mm"; `sign` if it has been said already."""
    at = start
    if at < len(words) and words[at].plain == "between":
        if at + 3 < len(words) and words[at + 2].plain in ("and", "to"):
            low, high = _number(words, at + 1), _number(words, at + 3)
            if low is not None and high is not None:
                return _with_unit(words, start, at + 4, f"{{}} BETWEEN {low}{{/}} AND {high}{{/}}", f"{low} to {high}")
        return None
    if sign is None:
        at, sign = _phrase(words, start, MORE)
        if at < len(words) and words[at].plain == "than":
            return None
    number = _number(words, at)
    if number is None or not sign:
        return None
    return _with_unit(words, start, at + 1, f"{{}} {sign} {number}{{/}}", f"{_WORDS[sign]} {number}".strip())


def _with_unit(words: Sequence[Word], start: int, stop: int, test: str, text: str) -> _Amount:
    unit = ""
    if stop < len(words) and words[stop].plain in UNITS:
        unit, stop = _UNIT.get(words[stop].plain, words[stop].plain), stop + 1
        if stop < len(words) and words[stop].plain in ("2", "²") and not words[stop].first:
            stop += 1
    return _Amount(start, stop, test, text, unit)


def _number(words: Sequence[Word], at: int) -> str | None:
    """Return the number as it is to stand in SQL: digits only."""
    if at >= len(words):
        return None
    plain = str(COUNTS.get(words[at].plain, words[at].plain))
    return plain if _NUMBER.fullmatch(plain) else None


def _phrase(words: Sequence[Word], start: int, table: Sequence[tuple[tuple[str, ...], str]]) -> tuple[int, str]:
    for phrase, sign in table:
        if tuple(word.plain for word in words[start : start + len(phrase)]) == phrase:
            return start + len(phrase), sign
    return start, ""


def _names(column: str, said: tuple[str, ...]) -> bool:
    """Say whether words name a column: all of its name, or all but its unit and what kind of mean it is."""
    full = lemmas(column)
    short = tuple(word for word in full if word not in _OF_NAMES)
    # "latitude" is enough for decimalLatitude.
    if said == ("".join(full),):
        return True  # "decimalLatitude", as the table has it.
    return said in (full, short) or (len(short) == 2 and short[0] == "decimal" and said == short[1:])


def _fits(column: str, unit: str) -> bool:
    own = next((word for word in reversed(lemmas(column)) if word in UNITS), "")
    if unit == "%":
        return own == "share"
    return not unit or (own in ("", unit) and (own == unit or unit == "deg"))
