"""What of a sentence stands in the collection: specimens' names, and values of the columns.

The catalog is asked for the values that share a word with the sentence, so a column may have any number of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.duck import quote_name
from sst_retrieval.words.lexicon.vocabulary import SEXES, SILENT
from sst_retrieval.words.reading.sentence import Word, lemmas

MANY = 500
"""If a word stands in more values of a column than this, it says nothing about it: a condition would be no help."""

CANDIDATES = 2000
"""Values of a column that are looked at word by word: those that have most of the sentence's words."""

LONGEST = 8
"""Values of more words are remarks; they are only looked at as a whole."""

_INDIVIDUAL, _SPECIMEN, _IMAGE = "sst:individual", "sst:specimen", "sst:image"


@dataclass(frozen=True, slots=True)
class Found:
    """Words of a sentence that stand in the values of a column.

    Attributes:
        start, stop: numbers of the words, half-open.
        column: the column.
        values: the values they stand in.
        whole: True if they are the whole value.
    """

    start: int
    stop: int
    column: str
    values: tuple[str, ...]
    whole: bool


def text_columns(catalog: Catalog) -> tuple[str, ...]:
    """Name the columns of text but those that only repeat the specimens' names or photographs."""
    names = [name for name, kind in catalog.columns.items() if kind == "VARCHAR"]
    if not names:
        return ()
    repeats = ", ".join(
        f'coalesce(bool_and({column} = "{_SPECIMEN}") OR bool_and(ends_with("{_IMAGE}", {column})), true)'
        for column in map(quote_name, names)
    )
    (row,) = catalog.rows(f"SELECT {repeats} FROM individuals")
    return tuple(name for name, repeated in zip(names, row, strict=True) if not repeated)


def find_specimens(catalog: Catalog, texts: Iterable[str]) -> dict[str, list[str]]:
    """Find the specimens that pieces of text name.

    Args:
        catalog: where.
        texts: pieces of a sentence.

    Returns:
        text -> ids of the individuals that are called so, or the name itself of a specimen that has one on each of
        several photographs (a search then takes all of them); if none is exactly, those that are but for capitals; if
        none is and the text has a digit, those whose name ends in it as a word of its own, four at most. Texts that
        name nobody are left out.
    """
    wanted = sorted(set(texts))
    # A specimen with several photographs, or a photograph with several individuals, names all of them.
    sql = f"""SELECT text, "{_INDIVIDUAL}", text IN ("{_INDIVIDUAL}", "sst:photograph", "{_SPECIMEN}"), "sst:photograph"
              FROM (SELECT unnest($texts) AS text) JOIN individuals
              ON lower(text) IN (lower("{_INDIVIDUAL}"), lower("sst:photograph"), lower("{_SPECIMEN}"))"""
    found: dict[str, list[str]] = {}
    photographs: dict[str, list[str]] = {}
    for text, name, exactly, photograph in sorted(catalog.rows(sql, {"texts": wanted}), key=lambda row: not row[2]):
        if exactly or name not in found.get(text, ()):
            found.setdefault(text, []).append(name)
        if exactly:
            photographs.setdefault(text, []).append(photograph)
    for text, names in found.items():
        on = photographs.get(text, [])
        found[text] = [text] if text in names or (on and len(set(on)) == len(names)) else names
    endings = [text for text in wanted if text not in found and len(text) > 2 and any(c.isdigit() for c in text)]
    sql = f"""SELECT text, list("{_INDIVIDUAL}" ORDER BY 1)[:4] FROM (SELECT unnest($texts) AS text)
              JOIN individuals ON ends_with(lower("{_SPECIMEN}"), lower(text))
                  AND NOT regexp_matches("{_SPECIMEN}"[-len(text) - 1:-len(text) - 1], '[[:alnum:]]')
              GROUP BY text"""
    # A number of up to four digits may be a year or an amount; it is not the end of a name.
    ending = [text for text in endings if not (text.isdigit() and len(text) < 5)]
    found |= dict(catalog.rows(sql, {"texts": ending})) if ending else {}
    return found


def find_values(catalog: Catalog, words: Sequence[Word], taken: Sequence[bool]) -> list[Found]:
    """Find the values of the collection that words of a sentence stand in.

    Args:
        catalog: where.
        words: the sentence.
        taken: which words already mean something else.

    Returns:
        For each run of words and column, the values that have it: the whole value, or words of it side by side. Runs
        that are part of a longer one, in the same column, are left out.
    """
    free = [number for number, word in enumerate(words) if not taken[number]]
    stems = sorted({_stem(words[number]) for number in free} - {""})
    sexes = {code for number in free for code in SEXES.get(words[number].lemma, ())}
    found: list[Found] = []
    for column in text_columns(catalog) if stems or sexes else ():
        values = _candidates(catalog, column, stems, sexes)
        runs: dict[tuple[int, int], list[tuple[str, bool]]] = {}
        for value in values:
            for start, stop, whole in _runs(words, taken, lemmas(value)):
                runs.setdefault((start, stop), []).append((value, whole))
        found += [_found(run, column, having) for run, having in _longest(runs).items()]
    return found


def _candidates(catalog: Catalog, column: str, stems: Sequence[str], sexes: Iterable[str]) -> list[str]:
    """List the values of a column that have stems in them, those with the most first, at most a few thousand."""
    has = " + ".join(f"contains(folded, ${name})::INT" for name in _numbered(stems)) or "0"
    sql = f"""SELECT value FROM (SELECT value, strip_accents(lower(value)) AS folded
                                 FROM (SELECT DISTINCT {quote_name(column)} AS value FROM individuals))
              WHERE {has} > 0 OR list_contains($sexes, folded) ORDER BY {has} DESC, value LIMIT {CANDIDATES}"""
    return [value for (value,) in catalog.rows(sql, {**_numbered(stems), "sexes": sorted(sexes)}) if value is not None]


def _numbered(stems: Sequence[str]) -> dict[str, str]:
    return {f"stem{number}": stem for number, stem in enumerate(stems)}


def _stem(word: Word) -> str:
    """What of a word must stand in a value that has it, whatever its ending; "" if it is no reason to look."""
    if not word.plain.isalnum() or (word.plain in SILENT and not word.quoted):
        return ""
    return word.lemma if len(word.lemma) < 4 else word.lemma[:-1]


def _runs(words: Sequence[Word], taken: Sequence[bool], value: Sequence[str]) -> list[tuple[int, int, bool]]:
    """Find where a sentence and a value share words side by side: (start, stop, the whole value)."""
    runs: list[tuple[int, int, bool]] = []
    if len(value) > LONGEST and len(value) > len(words):
        return runs  # Neither side by side nor as a whole.
    for start in range(len(words)):
        for place in range(len(value)):
            stop, here = start, place
            while stop < len(words) and here < len(value) and not taken[stop] and _same(words, stop, value, here):
                stop, here = stop + 1, here + 1
            whole = place == 0 and here == len(value)
            if stop > start and words[start].first and words[stop - 1].last and (whole or len(value) <= LONGEST):
                runs.append((start, stop, whole))
    return runs


def _same(words: Sequence[Word], number: int, value: Sequence[str], place: int) -> bool:
    word, other = words[number], value[place]
    if word.lemma == other:
        return True
    if word.lemma in SEXES:
        return len(value) == 1 and other in SEXES[word.lemma]  # "F" is a sex; the f of "H. f. insularis" is none.
    # "H. erato": a single letter stands for a word if another word follows.
    return len(word.plain) == 1 and word.plain.isalpha() and number + 1 < len(words) and other.startswith(word.plain)


def _longest(runs: Mapping[tuple[int, int], list[tuple[str, bool]]]) -> dict[tuple[int, int], list[tuple[str, bool]]]:
    return {
        (start, stop): having
        for (start, stop), having in runs.items()
        if not any(a <= start and stop <= b and (a, b) != (start, stop) for a, b in runs)
    }


def _found(run: tuple[int, int], column: str, having: Sequence[tuple[str, bool]]) -> Found:
    whole = [value for value, is_whole in having if is_whole]
    # "erato" names the value "erato", not "erato x melpomene", if a column has both.
    return Found(*run, column, tuple(whole or [value for value, _ in having]), bool(whole))
