from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from invented import a_collection, a_region, built

from sst_retrieval.errors import IndexFolderError, QueryError
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.reviews import Review

IDS = ["a 1", "b", "c", "d"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four specimens; `b` shows no spot; columns with awkward names; one column is named like a measurement."""
    path = tmp_path_factory.mktemp("catalog") / "index"
    table = {
        "sex": ["female", "male", "female", None],
        "Körperlänge [mm]": [10.5, 11.0, None, 14.0],
        "order": ["Lepidoptera", "Lepidoptera", "Coleoptera", "O'Brien"],
        "collected": [datetime.date(1901, 5, 1), None, datetime.date(1950, 1, 1), datetime.date(2020, 2, 29)],
        "Area": ["north", "south", "north", "south"],
        'say "it"': [True, False, True, None],
    }
    kinds = dict(zip(table, ["VARCHAR", "DOUBLE", "VARCHAR", "DATE", "VARCHAR", "BOOLEAN"], strict=True))
    regions = [
        a_region(
            name,
            trait,
            present=(name, trait) != ("b", "spot"),
            confidence=0.1 * number,
            measurements={"hue": number, "area": 5},
        )
        for number, name in enumerate(IDS)
        for trait in ("wing", "spot")
    ]
    built(path, regions, a_collection(IDS, kinds, **table))
    return path


@pytest.fixture(scope="module")
def catalog(folder: Path) -> Iterator[Catalog]:
    with Catalog(folder / "generations" / "0001" / "catalog.duckdb") as opened:
        yield opened


def names(catalog: Catalog, where: str, trait: str = "wing") -> list[str]:
    ids = catalog.resolve(where, trait)
    assert ids.dtype == np.int64
    owners = catalog.owners(ids.tolist())
    return [owners[number][0] for number in ids.tolist()]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("true", IDS),
        ("sex = 'female'", ["a 1", "c"]),
        ("SEX is null", ["d"]),
        ('"Körperlänge [mm]" > 10.6', ["b", "d"]),
        ("\"order\" = 'O''Brien'", ["d"]),
        ('"say ""it"""', ["a 1", "c"]),
        ("collected < DATE '1950-01-01'", ["a 1"]),
        ("year(collected) >= 1950 AND sex = 'female'", ["c"]),
        ("confidence >= 0.15", ["c", "d"]),
        ("hue BETWEEN 1 AND 2", ["b", "c"]),
        ("specimen LIKE 'a %'", ["a 1"]),
        ("trait = 'wing'", IDS),
        ("trait = 'spot'", []),
        ("sex = 'female' OR sex = 'male'", ["a 1", "b", "c"]),
        ("sex = 'female' -- only these", ["a 1", "c"]),
        ("sex = /* she */ 'female'", ["a 1", "c"]),
        ("contains(catalogNumber, '{') OR catalogNumber = 'b'", ["b"]),
        # The collection's own column hides the measurement of the same name, whatever its capitals.
        ("area = 'north'", ["a 1", "c"]),
        ('"sst:area" = 5', IDS),
    ],
)
def test_a_predicate_finds_its_specimens(catalog: Catalog, where: str, expected: list[str]) -> None:
    assert names(catalog, where) == expected


def test_only_regions_that_show_the_trait_are_found(catalog: Catalog) -> None:
    assert names(catalog, "true", "spot") == ["a 1", "c", "d"]
    assert names(catalog, "true", "no such trait") == []


FORBIDDEN = [
    "",
    "   ",
    ";",
    "sex = 'female';",
    "true; DROP TABLE individuals",
    "true) OR (true",
    "true)) OR ((true",
    "false) UNION SELECT 1 WHERE (true",
    "true ORDER BY confidence",
    "true LIMIT 1",
    "true GROUP BY ALL",
    "true UNION SELECT 7",
    "true /* no end",
    "'no end",
    "sex, true",
    "SELECT 1",
    "DROP TABLE individuals",
    "SET threads = 1",
    "PRAGMA database_list",
    "ATTACH 'other.duckdb'",
    "COPY individuals TO 'out.csv'",
    "sex = ?",
    "sex = $1",
    "sex = $trait",
    "count(*) > 0",
    "row_number() OVER () < 3",
    "no_such_column = 1",
    "no_such_function(sex)",
    "sex + 1",
    "getenv('HOME') = '/root'",
    "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
    "(SELECT count(*) FROM read_text('/etc/passwd')) > 0",
    "(SELECT count(*) FROM '/etc/passwd') > 0",
    "(SELECT count(*) FROM glob('/etc/*')) > 0",
    "(SELECT count(*) FROM parquet_metadata('/etc/passwd')) > 0",
    "(SELECT count(*) FROM a_python_variable) > 0",
    "'x'::INTEGER = 1",
]


@pytest.mark.parametrize("where", FORBIDDEN)
def test_anything_but_a_harmless_expression_is_refused(catalog: Catalog, where: str) -> None:
    a_python_variable = np.zeros(3)  # DuckDB would read it if it were let
    with pytest.raises(QueryError):
        catalog.resolve(where, "wing")
    assert len(a_python_variable) == 3
    assert names(catalog, "true") == IDS


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE other AS SELECT 1",
        "DELETE FROM individuals",
        "SET enable_external_access = true",
        "SET threads = 8",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH 'other.duckdb' AS other",
        "COPY individuals TO '/tmp/sst-out.csv'",
    ],
)
def test_the_connection_itself_is_locked(catalog: Catalog, statement: str) -> None:
    with pytest.raises(Exception, match=r"(?i)error"):
        catalog.rows(statement)


def test_a_wrong_predicate_is_explained_with_the_columns_there_are(catalog: Catalog) -> None:
    with pytest.raises(
        QueryError, match=r"(?s)'sx = 1'.*no column 'sx'; .*alike: sex\ncolumns: .*sex, Körperlänge \[mm\], .*hue.*says"
    ):
        catalog.resolve("sx = 1", "wing")
    with pytest.raises(QueryError) as caught:
        catalog.individuals("hue > 1")
    assert "hue" not in str(caught.value).split("columns:")[1].splitlines()[0]
    assert "sst:" not in str(caught.value).split("columns:")[1].splitlines()[0]
    with pytest.raises(QueryError) as caught:
        catalog.resolve("sx = 1", "wing")
    # The measurement `area` is hidden by the collection's `Area`.
    listed, ours = str(caught.value).split("columns: ")[1].splitlines()[0].split("; ")
    assert [name for name in listed.split(", ") if "area" in name.lower()] == ["Area"]
    assert ours == 'area of your table, the program\'s own: "sst:area"'


def test_specimens_come_back_as_they_were(catalog: Catalog) -> None:
    found = catalog.individual("a 1")
    assert found is not None
    assert (found.id, str(found.image), found.group) == ("a 1", "/photographs/0.png", "group")
    assert found.metadata == {
        "catalogNumber": "a 1",
        "sex": "female",
        "Körperlänge [mm]": 10.5,
        "order": "Lepidoptera",
        "collected": datetime.date(1901, 5, 1),
        "Area": "north",
        'say "it"': True,
    }
    assert catalog.individual("A 1") is None
    assert [row.id for row in catalog.individuals()] == IDS
    assert [row.id for row in catalog.individuals("\"order\" LIKE 'Lep%'")] == ["a 1", "b"]


def test_a_region_comes_back_as_it_was(catalog: Catalog) -> None:
    original = a_region("c", "wing", confidence=0.2, measurements={"hue": 2.0, "area": 5.0})
    found = catalog.region("c", "wing")
    assert found is not None
    number, region = found
    for name in ("individual", "trait", "present", "size", "rle", "box", "frame", "measurements"):
        assert getattr(region, name) == getattr(original, name), name
    assert region.confidence == pytest.approx(0.2)
    assert catalog.encoded_mask(number) == (original.rle, (6, 9))
    absent = catalog.region("b", "spot")
    assert absent is not None
    assert (absent[1].present, absent[1].measurements, absent[1].box) == (False, {}, (0, 0, 0, 0))
    assert catalog.region("b", "leg") is None


def test_regions_are_numbered_by_trait_then_specimen(catalog: Catalog) -> None:
    assert catalog.region_ids("spot").tolist() == [0, 2, 3]
    assert catalog.region_ids("wing").tolist() == [4, 5, 6, 7]


def test_measurements_are_columns_of_numbers(catalog: Catalog) -> None:
    table = catalog.measurements("spot", "sex = 'female' OR sex IS NULL")
    assert set(table) == {"specimen", "confidence", "area", "hue"}
    assert table["specimen"].tolist() == ["a 1", "c", "d"]
    assert table["hue"].tolist() == [0, 2, 3]


def test_a_measurement_that_is_missing_is_nan(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a", measurements={"hue": 1}), a_region("b", measurements={"area": 2})])
    with Catalog(store.paths.generation(1).catalog_file) as catalog:
        table = catalog.measurements("wing")
        np.testing.assert_array_equal(table["hue"], [1, np.nan])
        np.testing.assert_array_equal(table["area"], [np.nan, 2])
        found = catalog.region("a", "wing")
        assert found is not None
        assert found[1].measurements == {"hue": 1}


def test_names_spelt_most_alike_come_first(catalog: Catalog) -> None:
    assert catalog.nearest_names("A1")[0] == "a 1"


def test_counts(catalog: Catalog) -> None:
    assert catalog.counts() == {"spot": {"present": 3, "absent": 1}, "wing": {"present": 4, "absent": 0}}
    assert catalog.count_nouns() == {"specimens": 4, "photographs": 4, "individuals": 4}


@pytest.mark.parametrize("damage", [None, b"", b"no database"])
def test_a_broken_catalog_is_named(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "catalog.duckdb"
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(IndexFolderError, match=r"catalog\.duckdb"):
        Catalog(path)


def test_a_database_that_is_no_catalog_is_named_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "catalog.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(IndexFolderError, match=r"catalog\.duckdb is no catalog"):
        Catalog(path)
    duckdb.connect(str(path)).close()  # It could not be opened to write if the catalog still held it.


def test_regions_are_found_in_order_however_many_there_are(tmp_path: Path) -> None:
    path, many = tmp_path / "catalog.duckdb", 400_000
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            """CREATE TABLE individuals AS SELECT 'a' AS "sst:individual", 'a' AS "sst:specimen",
               NULL::INTEGER[] AS "sst:box\""""
        ).fetchall()
        connection.execute("CREATE TABLE measurements AS SELECT 0 AS region_id").fetchall()
        connection.execute(
            """CREATE TABLE regions AS SELECT 0 AS region_id, 'a' AS individual, 'wing' AS trait, 'c' AS content_hash,
                                              'mask'::BLOB AS rle"""
        ).fetchall()
        connection.execute(
            f"""CREATE TABLE searchable AS SELECT range AS "sst:region", 'wing' AS "sst:trait", true AS "sst:present",
                                                  NULL::VARCHAR AS review FROM range({many})"""
        ).fetchall()
    with Catalog(path) as catalog:
        catalog.apply_reviews(
            [Review("a", "wing", "c", "accept", "Mary", "2026-11-23T00:00:00+00:00", (6, 9), b"mask")]
        )
        found = catalog.resolve("review IS NULL", "wing")
    assert np.array_equal(found, np.arange(1, many))
