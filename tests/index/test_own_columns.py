"""A collection may call its columns what it likes, our own words included: nothing is refused, hidden or mixed up."""

from __future__ import annotations

import csv
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest
from fakes import a_collection_of, build_fake
from typer.testing import CliRunner

import sst_retrieval as sst
from sst_retrieval.cli import app
from sst_retrieval.errors import QueryError
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.words import answer, understand

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "app"))
from sst_app.downloads import build_hit_table
from sst_app.filters import find_facets, list_colour_columns

WORDS = ("specimen", "trait", "confidence", "present", "review", "region_id", "image_path", "specimen_group")
OURS = ("specimen", "trait", "confidence", "region_id")
"""Of these, the trait table has its own."""

MEASURED = ("area_px", "length_mm")


@pytest.fixture(scope="module", params=[str.lower, str.capitalize])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of ten specimens whose table has columns with all of our words, in small letters or with a capital."""
    path = tmp_path_factory.mktemp("own")
    table = a_collection_of(path)
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    names = [request.param(name) for name in (*WORDS, *MEASURED)]
    rows[0] += names
    for number, row in enumerate(rows[1:]):
        row += [f"{name} {number % 2}" for name in names]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    build_fake(table, path / "index")
    with sst.open_index(path / "index") as index:
        index.review("r2", "spot", "accept", reviewer="Mary")
        index.review("r3", "spot", "reject", reviewer="Mary")
    return path / "index"


@pytest.fixture(scope="module")
def index(folder: Path) -> Iterator[sst.Index]:
    with sst.open_index(folder) as opened:
        yield opened


def own(index: sst.Index, word: str) -> str:
    """Return how the collection spells one of our words."""
    return next(name for name in index.columns if name.casefold() == word)


@pytest.mark.parametrize("word", [*WORDS, *MEASURED])
def test_the_columns_are_kept_with_their_values(index: sst.Index, word: str) -> None:
    name = own(index, word)
    assert index.individual("r0").metadata[name] == f"{name} 0"
    assert index.individual("r1").metadata[name] == f"{name} 1"
    hits = index.search(like=("r0", "spot"), k=9)
    assert [hit.metadata[name] for hit in hits] == [index.individual(hit.individual).metadata[name] for hit in hits]


@pytest.mark.parametrize("word", [*WORDS, *MEASURED])
def test_a_predicate_means_the_collections_own_column(index: sst.Index, word: str) -> None:
    where = f"{word} = '{own(index, word)} 1'"
    found = {hit.individual for hit in index.search(like=("r0", "spot"), k=9, where=where)}
    assert found == {"r1", "b0", "b2", "b4"}  # r3 was rejected.
    assert [each.id for each in index.individuals(where)] == ["b0", "b2", "b4", "r1", "r3"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('"sst:confidence" >= 0.5', 8),
        ('"sst:confidence" > 0.8', 1),  # The annotated one.
        ("\"sst:specimen\" = 'r1'", 1),
        ("\"sst:trait\" = 'spot'", 8),
        ("\"sst:review\" = 'accepted'", 1),
        ('"sst:review" IS NULL', 7),
        ('"sst:area_px" > 0', 8),
        ('"sst:area_px" > 1e9', 0),
    ],
)
def test_a_predicate_reaches_ours_by_a_name_of_its_own(index: sst.Index, where: str, expected: int) -> None:
    assert len(index.search(like=("r0", "spot"), k=20, where=where)) == expected


def test_a_predicate_that_does_not_work_says_both_names(index: sst.Index) -> None:
    with pytest.raises(QueryError, match=r'(?i)confidence.* of your table, the program\'s own: .*"sst:confidence"'):
        index.search(like=("r0", "spot"), where="confidence > 0.5")


def test_our_names_for_all_are_there_without_such_columns_too(tmp_path: Path) -> None:
    build_fake(a_collection_of(tmp_path), tmp_path / "index")
    with sst.open_index(tmp_path / "index") as index:
        index.review("r2", "spot", "accept", reviewer="Mary")
        for where in (
            "confidence >= 0.5 AND review = 'accepted'",
            '"sst:confidence" >= 0.5 AND "sst:review" = \'accepted\'',
        ):
            assert [hit.individual for hit in index.search(like=("r0", "spot"), where=where)] == ["r2"]
        with pytest.raises(QueryError) as caught:
            index.search(like=("r0", "spot"), where="confidenc > 0.5")
        assert "of your table" not in str(caught.value)


def test_the_trait_table_has_both(index: sst.Index) -> None:
    rows = {row["specimen"]: row for row in index.trait_table("spot").arrow().to_pylist()}
    assert set(rows) == {"r0", "r1", "r2", "r4", "b0", "b1", "b2", "b3", "b4"}
    for name, row in rows.items():
        their = index.individual(name).metadata
        for word in (*WORDS, *MEASURED):
            spelt = own(index, word)
            assert row[f"collection:{spelt}" if word in OURS else spelt] == their[spelt]
        assert row["trait"] == "spot"
        assert row["confidence"] == (1 if name in ("r0", "b0") else 0.75)
        assert row["sst:area_px"] == index.mask(name, "spot").sum()
        assert row["sst:review"] == ("accepted" if name == "r2" else None)
    assert {"length_mm", "sst:length_mm"} & set(index.trait_table(scale={"red": 0.1}).columns) >= {"sst:length_mm"}


def test_measurements_and_tables_of_traits_are_ours(index: sst.Index) -> None:
    found = index.measurements("spot", f"{own(index, 'trait')} = '{own(index, 'trait')} 1'")
    assert found["specimen"].tolist() == ["b0", "b2", "b4", "r1"]
    assert found["confidence"].tolist() == [1, 0.75, 0.75, 0.75]
    table = index.table("spot").set_index("sst:specimen")
    assert table.loc["r1", "sst:confidence"] == 0.75
    assert table.loc["r1", own(index, "confidence")] == f"{own(index, 'confidence')} 1"
    assert table.loc["r1", "sst:area_px"] == index.mask("r1", "spot").sum()
    assert table["sst:review"].to_dict()["r2"] == "accepted"


def test_words_know_our_confidence_and_their_values(index: sst.Index) -> None:
    assert {hit.individual for hit in answer(index, understand(index, "spots with confidence over 0.5"), k=20)} == {
        *("r0", "r1", "r2", "r4", "b0", "b1", "b2", "b3", "b4")
    }
    sure = answer(index, understand(index, "spots with confidence over 0.8"), k=20)
    assert {hit.individual for hit in sure} == {"r0", "b0"}


def test_groups_may_be_compared_by_any_of_them(index: sst.Index) -> None:
    for word in WORDS:
        name = f"collection:{own(index, word)}" if word in OURS else own(index, word)
        matrix = index.distances("spot", by=name)
        assert matrix.labels == (f"{own(index, word)} 0", f"{own(index, word)} 1")


def test_exports_have_both(index: sst.Index, tmp_path: Path) -> None:
    assert sst.export_table(index, tmp_path / "t.csv", where="\"sst:review\" = 'accepted'", min_confidence=0.5) == 1
    with (tmp_path / "t.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["specimen"], row["trait"], float(row["confidence"]), row["sst:review"]) == (
        "r2",
        "spot",
        0.75,
        "accepted",
    )
    assert row[own(index, "review")] == f"{own(index, 'review')} 0"
    assert row[f"collection:{own(index, 'confidence')}"] == f"{own(index, 'confidence')} 0"
    sst.export_darwin_core(index, tmp_path / "d.zip", traits=["spot"])
    with zipfile.ZipFile(tmp_path / "d.zip") as archive, archive.open("measurementorfact.csv") as file:
        facts = list(csv.DictReader(io.TextIOWrapper(file, "utf-8")))
    remarks: Mapping[str, set[str]] = pd.DataFrame(facts).groupby("coreid")["measurementRemarks"].agg(set).to_dict()
    assert remarks["r2"] == {"confidence of the mask 0.750; mask accepted by a person"}
    assert remarks["r1"] == {"confidence of the mask 0.750"}


def test_the_app_filters_by_their_columns_and_its_files_have_both(index: sst.Index) -> None:
    found = {facet.column: facet.kind for facet in find_facets(index.table("spot"), index.columns)}
    assert all(found[own(index, word)] == "words" for word in (*WORDS, *MEASURED))
    offered = [name.casefold() for name in list_colour_columns(found)]
    assert len(set(offered)) == len(offered)
    assert {"group", "sst:group", "confidence", "sst:confidence"} <= set(offered)
    (row,) = build_hit_table(index.search(like=("r0", "spot"), k=1)).to_dict("records")
    for word in WORDS:
        assert row[own(index, word)] == index.individual(row["sst:specimen"]).metadata[own(index, word)]
    assert row["mask_confidence"] == index.region(row["sst:specimen"], "spot").confidence


def test_commands_take_them(folder: Path, index: sst.Index) -> None:
    command = ["search", str(folder), "--like", "r0", "--trait", "spot", "--json"]
    where = f"confidence = '{own(index, 'confidence')} 1' AND \"sst:confidence\" > 0.5"
    done = CliRunner().invoke(app, [*command, "--where", where])
    assert done.exit_code == 0, done.output
    assert {hit["specimen"] for hit in json.loads(done.output)} == {"r1", "b0", "b2", "b4"}


def test_an_index_of_an_early_version_still_opens_beside_a_column_review(folder: Path) -> None:
    # Its `searchable` has no column of ours beside the collection's own.
    with Catalog(next(folder.glob("generations/*/catalog.duckdb"))) as catalog:
        assert "sst:review" not in [name for name, *_ in catalog.rows("DESCRIBE searchable")]
        assert len(catalog.resolve('"sst:review" IS NULL', "spot")) == 10
