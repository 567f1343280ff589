"""Predicates made of what a sentence says: every value and name in them is quoted here, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sst_retrieval.index.duck import quote_name, quote_text
from sst_retrieval.search.index import Index
from sst_retrieval.words.question import Filter, Part
from sst_retrieval.words.reading.lookup import Found

_SHOWN = 4


def is_one_of(column: str, values: Sequence[str]) -> str:
    """Write the predicate that a column has one of some values."""
    return f"{quote_name(column)} IN ({', '.join(map(quote_text, values))})"


def specimen_is_not(name: str) -> str:
    """Write the predicate that leaves one specimen out."""
    return f'"sst:specimen" <> {quote_text(name)}'


def excluding(condition: Filter) -> Filter:
    """Turn a condition round. What is not known is not excluded: of "not female", no sex at all remains."""
    where = f"({condition.where}) IS NOT TRUE"
    return replace(condition, where=where, meaning=f"not: {condition.meaning} (unknown ones stay)", negated=True)


def presence(traits: Sequence[str], words: str, *, negated: bool) -> Filter:
    """Write the condition that a specimen shows one of some traits, or none of them; a rejected mask shows nothing."""
    named = ", ".join(map(quote_text, traits))
    # Which regions are hidden is told at each question (`Catalog`); there may be a hundred thousand.
    inner = f"""SELECT "sst:individual" FROM searchable
                WHERE "sst:present" AND NOT "sst:hidden" AND "sst:trait" IN ({named})"""
    shown = " or ".join(traits)
    return Filter(
        words,
        f"{shown} was not found" if negated else f"{shown} was found, too",
        f'"sst:individual" {"NOT IN" if negated else "IN"} ({inner})',
        negated=negated,
    )


def shows(index: Index, specimen: str, trait: str) -> bool:
    """Say whether a trait was found on a specimen."""
    found = index.catalog.region(specimen, trait)
    return found is not None and found[1].present and found[0] not in index.catalog.region_reviews.hidden_ids


def some_of(index: Index, wanted: Sequence[Sequence[Found]], count: int = 3) -> list[str]:
    """Name some specimens that have all of several values, in order of their ids."""
    ways = (" OR ".join(is_one_of(each.column, each.values) for each in found) for found in wanted)
    where = " AND ".join(f"({way})" for way in ways)
    rows = index.catalog.rows(
        f'SELECT DISTINCT "sst:individual" FROM individuals WHERE {where} ORDER BY "sst:individual" LIMIT {count}'
    )
    return [str(name) for (name,) in rows]


def for_values(
    index: Index, found: Sequence[Found], words: str, *, negated: bool
) -> tuple[Filter, tuple[Filter, ...], str]:
    """Write the condition that words which stand in the collection's values mean.

    If several columns have the words and mean the same specimens, one of them is enough. If they do not, columns where
    the words are the whole value count, each of them, and the others are another way to read it.

    Args:
        index: where the values are.
        found: the same words in one or several columns.
        words: the words.
        negated: whether they are excluded.

    Returns:
        The condition; other ways to read the words; a sentence about these, or "".
    """
    ways = [_condition((each,), words) for each in found]
    best = [each for each in found if each.whole] or list(found)
    taken = ways[found.index(best[0])]
    rest = [way for way in ways if way is not taken]
    others: tuple[Filter, ...] = ()
    said = ""
    if any(_adds(index, taken, way) for way in rest):
        if len(best) > 1:
            taken = _condition(best, words)
        different = [way for way in ways if way.column != taken.column]
        others = tuple(different)
        said = f"{words!r} stands in several columns; it is read as {taken.meaning}, and could be only " + " or ".join(
            way.meaning for way in different
        )
    if negated:
        return excluding(taken), tuple(excluding(each) for each in others), said
    return taken, others, said


def merged(parts: Sequence[Part], index: Index) -> list[Part]:
    """Join conditions on the same column that nobody could fulfil at once: "Panama and Peru" means either."""
    result: list[Part] = []
    for part in parts:
        place = next((i for i, other in enumerate(result) if _either(other, part, index)), None)
        if place is None:
            result.append(part)
            continue
        other = result[place]
        assert isinstance(other, Filter)
        assert isinstance(part, Filter)
        values = (*other.values, *(value for value in part.values if value not in other.values))
        joined = Found(0, 0, part.column, values, True)
        result[place] = replace(
            _condition((joined,), f"{other.words}, {part.words}"), words=f"{other.words}, {part.words}"
        )
    return result


def _either(first: Part, second: Part, index: Index) -> bool:
    if not (isinstance(first, Filter) and isinstance(second, Filter)) or first.negated or second.negated:
        return False
    if not first.values or not second.values or first.column != second.column:
        return False
    return not _count(index, f"({first.where}) AND ({second.where})")


def _condition(found: Sequence[Found], words: str) -> Filter:
    where = " OR ".join(is_one_of(each.column, each.values) for each in found)
    if len(found) == 1:
        return Filter(words, _meaning(found[0]), where, found[0].column, found[0].values)
    columns = " or ".join(each.column for each in found)
    values = tuple(dict.fromkeys(value for each in found for value in each.values))
    return Filter(words, f"{columns} = {_listed(values)}", where, columns, values)


def _meaning(found: Found) -> str:
    return f"{found.column} = {_listed(found.values)}"


def _listed(values: Sequence[str]) -> str:
    more = f" or {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return " or ".join(values[:_SHOWN]) + more


def _adds(index: Index, taken: Filter, other: Filter) -> bool:
    """Say whether two readings do not mean the same specimens."""
    return bool(_count(index, f"(({taken.where}) IS TRUE) <> (({other.where}) IS TRUE)"))


def _count(index: Index, where: str) -> int:
    ((count,),) = index.catalog.rows(f"SELECT count(*) FROM individuals WHERE {where}")
    return int(count)
