"""Text compared by its letters where numbers or dates are meant, and comparisons with NULL, are refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from invented import a_collection, a_region, built

from sst_retrieval.errors import QueryError
from sst_retrieval.search.index import Index, open_index

ROWS = {
    "mass": ["12 mg", "9 mg", "100 mg"],
    "length": ["10", "<5", "100"],
    "day": ["03/04/2020", "25/12/1999", "01/05/2020"],
    "event": ["1998", "1998-05-01", "1998-05/1998-06"],
    "fuzzy": ["1998-05-01", "ca. 1950", None],
    "code": ["00123", "00045", "01000"],
    "sex": ["female", "male", "female"],
    "date": ["1", "2", "30"],
    "in mm": ["5", "<1", "12"],
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    path = tmp_path_factory.mktemp("asked") / "index"
    columns = dict.fromkeys(ROWS, "VARCHAR")
    built(path, [a_region(name) for name in "abc"], a_collection(list("abc"), columns, **ROWS))
    with open_index(path) as index:
        yield index


def names(index: Index, where: str) -> list[str]:
    return [each.id for each in index.individuals(where)]


@pytest.mark.parametrize(
    ("where", "remedy"),
    [
        ("mass > '10'", "TRY_CAST(mass AS DOUBLE) > 10"),
        ("length > '9'", "TRY_CAST(length AS DOUBLE) > 9"),
        ("sex = 'male' AND NOT (LENGTH>='9,5')", "TRY_CAST(length AS DOUBLE) > 9.5"),
        ("'9' < length", "TRY_CAST(length AS DOUBLE) > 9"),
        ("length NOT BETWEEN '1' AND '99'", "TRY_CAST(length AS DOUBLE) > 1"),
        ("\"in mm\" > '9'", 'TRY_CAST("in mm" AS DOUBLE) > 9'),
        ("day < '2020-05-01'", "TRY_STRPTIME(day, '%d.%m.%Y')"),
        ("day < '01.05.2020'", "TRY_STRPTIME(day, '%d.%m.%Y')"),
        ("fuzzy >= '1960'", "TRY_CAST(fuzzy AS DATE)"),
        ("code > '123'", "TRY_CAST(code AS DOUBLE) > 123"),
    ],
)
def test_numbers_and_dates_are_not_compared_letter_by_letter(asked: Index, where: str, remedy: str) -> None:
    with pytest.raises(QueryError, match="letter by letter") as caught:
        asked.search(like=("a", "wing"), where=where)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("event >= '1998-05'", ["b", "c"]),
        ("event < '1998-02-01'", ["a"]),
        ("code > '00100'", ["a", "c"]),
        ("sex > 'g'", ["b"]),
        ("sex > '5'", ["a", "b", "c"]),
        ("sex > 'length > ''9'''", ["b"]),
        ("length || '' > '5'", ["b"]),
        ("TRY_CAST(length AS DOUBLE) > 50", ["c"]),
        ("TRY_CAST(event AS DATE) > '1998-01-01'", ["b"]),
        ("event::DATE > '1998-01-01' IS NULL", None),
        ("code = 123", ["a"]),
    ],
)
def test_what_is_ordered_is_compared(asked: Index, where: str, expected: list[str] | None) -> None:
    if expected is None:  # The cast fails, not the column that is called like a type.
        with pytest.raises(QueryError, match="database says"):
            names(asked, where)
    else:
        assert names(asked, where) == expected


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("length > 9", "length is text, as '<5' is no plain number: "),
        ("length = 10", "length is text, as '<5' is no plain number: "),
        ('"in mm" BETWEEN 1 AND 9', "in mm is text, as '<1' is no plain number: "),
        ("day > DATE '2020-05-01'", "day is text, as '"),
    ],
)
def test_a_column_that_is_text_says_why(asked: Index, where: str, why: str) -> None:
    with pytest.raises(QueryError) as caught:
        names(asked, where)
    assert f"\n{why}" in str(caught.value)
    assert "TRY_CAST(" in str(caught.value)


def test_nothing_is_equal_to_null(asked: Index) -> None:
    with pytest.raises(QueryError, match="write fuzzy IS NULL"):
        names(asked, "sex = 'male' OR fuzzy = NULL")
    with pytest.raises(QueryError, match='write "in mm" IS NOT NULL'):
        names(asked, '"in mm"<>null')
    assert names(asked, "fuzzy IS NULL") == ["c"]
    assert names(asked, "sex = 'x = NULL'") == []
