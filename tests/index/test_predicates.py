"""What a predicate that does not work is answered: the quotation marks it lacks, the column that was meant, a time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from invented import a_collection, a_region, built

from sst_retrieval.errors import QueryError
from sst_retrieval.search.index import Index, open_index

COLUMNS = {
    **dict.fromkeys(("sex", "order", "group", "scientific name", "recordedBy"), "VARCHAR"),
    "mass": "BIGINT",
}
ROWS = {
    "sex": ["female", "male", "female"],
    "order": ["Lepidoptera"] * 3,
    "group": ["x"] * 3,
    "scientific name": ["Apis mellifera"] * 3,
    "recordedBy": ["Ann"] * 3,
    "mass": [1, 2, 3],
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    path = tmp_path_factory.mktemp("asked") / "index"
    built(path, [a_region(name) for name in "abc"], a_collection(list("abc"), COLUMNS, **ROWS))
    with open_index(path) as index:
        yield index


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        ("order = 'Lepidoptera'", "\"order\" = 'Lepidoptera'"),
        ("Order IN ('Lepidoptera')", "\"order\" IN ('Lepidoptera')"),
        ("group = 'x' AND sex = 'male'", "\"group\" = 'x' AND sex = 'male'"),
        ("group is not null", '"group" is not null'),
        ("group = x", "\"group\" = 'x'"),
        ("sex = female", "sex = 'female'"),
        ('sex = "female"', "sex = 'female'"),
        ("sex = \u2018female\u2019", "sex = 'female'"),
        ("sex != male AND mass > 1", "sex != 'male' AND mass > 1"),
        ("sex is female", "sex = 'female'"),
        ("sex: female", "sex = 'female'"),
        ("sex LIKE fem%", "sex LIKE 'fem%'"),
        ("sex in (female, male)", "sex in ('female', 'male')"),
        ("scientific name = Apis mellifera", "\"scientific name\" = 'Apis mellifera'"),
        (
            "(sex = female or mass = 3) and order = Lepidoptera",
            "(sex = 'female' or mass = 3) and \"order\" = 'Lepidoptera'",
        ),
    ],
)
def test_the_predicate_that_was_meant_is_suggested(asked: Index, where: str, meant: str) -> None:
    with pytest.raises(QueryError) as caught:
        asked.search(like=("a", "wing"), where=where)
    first, *_, last = str(caught.value).splitlines()
    assert first.endswith(f"did you mean: {meant}")
    assert "columns: " in str(caught.value)
    assert last.startswith("(the database says: ") or "database says" in str(caught.value).split("columns: ")[1]
    asked.search(like=("a", "wing"), where=meant)


def test_a_misspelt_column_is_answered_with_the_nearest(asked: Index) -> None:
    with pytest.raises(QueryError, match=r"there is no column 'sexx'; spelt most alike: sex\n"):
        asked.individuals("sexx = 'female'")
    with pytest.raises(QueryError, match=r"does not work\ncolumns: .*\n\(the database says: "):
        asked.individuals("mass > ")


@pytest.mark.parametrize(
    "where",
    [
        "(WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t) > 0",
        "(SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range < 0) > 1",
    ],
)
def test_a_predicate_without_end_is_stopped(asked: Index, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setenv("SST_RETRIEVAL_WHERE_SECONDS", "0.3")
    start = time.monotonic()
    with pytest.raises(QueryError, match=r"longer than 0\.3 seconds.*SST_RETRIEVAL_WHERE_SECONDS"):
        asked.individuals(where)
    assert time.monotonic() - start < 5
    assert len(asked.individuals("sex = 'female'")) == 2


@pytest.mark.parametrize("seconds", ["soon", "0", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_refused(asked: Index, monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    monkeypatch.setenv("SST_RETRIEVAL_WHERE_SECONDS", seconds)
    with pytest.raises(QueryError, match="SST_RETRIEVAL_WHERE_SECONDS"):
        asked.individuals("sex = 'female'")


def test_a_predicate_without_bounds_is_refused(asked: Index) -> None:
    with pytest.raises(QueryError, match="characters"):
        asked.individuals("sex = '" + "a" * 1_000_001 + "'")
