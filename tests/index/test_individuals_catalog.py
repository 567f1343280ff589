"""What an index stores of photographs and individuals: shards, catalog, rename, prune, verify, and older indexes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Once
from invented import a_collection, a_region, built, rows
from trays import COLLECTION, TRAYS, BlobFinder, a_collection_of_trays, build_trays, write_photograph, write_rows

from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import QueryError
from sst_retrieval.imaging import masks
from sst_retrieval.index.catalog import INDIVIDUAL_COLUMNS, PHOTOGRAPH_COLUMNS, Catalog
from sst_retrieval.index.picture_pack import remove_pictures
from sst_retrieval.index.shards import OLD_COLUMNS
from sst_retrieval.index.store import Store
from sst_retrieval.index.verification import repair_index, verify_index
from sst_retrieval.search.index import open_index
from sst_retrieval.types import Detection, Photograph, Placement, Region, RGBImage


@pytest.fixture
def folder(once: Once, tmp_path: Path) -> Path:
    """A copy of the index of trays, with its collection."""
    made = once("trays", lambda at: build_trays(a_collection_of_trays(at), at / "index"))
    return shutil.copytree(made, tmp_path / "trays") / "index"


def placed(photograph: str, number: int, score: float = 0.9, **more: object) -> Region:
    """A region of one of several individuals of a photograph; its outline is all of its box."""
    x0 = 2 * number
    outline = np.zeros((6, 9), dtype=bool)
    outline[1:5, x0 : x0 + 2] = True
    where = Placement(photograph, number, (x0, 1, x0 + 2, 5), score, masks.encode(outline))
    return replace(a_region(f"{photograph}#{number}", **more), placement=where)  # type: ignore[arg-type]


def photographs_of(owners: dict[str, str]) -> Collection:
    """A collection of photograph -> specimen."""
    base = a_collection(list(owners))
    return replace(
        base,
        photographs=tuple(
            replace(each, specimen=owners[each.id], view=f"view of {each.id}") for each in base.photographs
        ),
    )


def catalog_of(folder: Path) -> Path:
    (path,) = folder.glob("generations/*/catalog.duckdb")
    return path


# ------------------------------------------------------------------------------------------------------- tables


def test_the_catalog_has_a_row_a_photograph_and_a_row_an_individual(folder: Path) -> None:
    with Catalog(catalog_of(folder)) as catalog:
        names = [name for name, *_ in catalog.rows("DESCRIBE photographs")]
        assert tuple(names[: len(PHOTOGRAPH_COLUMNS)]) == PHOTOGRAPH_COLUMNS
        assert names[len(PHOTOGRAPH_COLUMNS) :] == ["catalogNumber", "image", "group", "drawer"]
        names = [name for name, *_ in catalog.rows("DESCRIBE individuals")]
        assert tuple(names[: len(INDIVIDUAL_COLUMNS)]) == INDIVIDUAL_COLUMNS
        assert [name for (name,) in catalog.rows('SELECT "sst:photograph" FROM photographs ORDER BY 1')] == [
            *COLLECTION
        ]
        assert catalog.count_nouns() == {"specimens": 5, "photographs": 5, "individuals": 8}
        assert catalog.owner_columns == ("specimen", "photograph", "individual")
        assert (catalog.plain, catalog.places_individuals) == (False, True)


def test_an_individual_is_found_by_its_name_or_its_photograph_s_if_it_is_alone(folder: Path) -> None:
    with open_index(folder) as index:
        assert index.individual("t1#2").number == 2
        assert index.individual("t0").id == "t0#1"
        assert np.array_equal(index.mask("t0", "spot"), index.mask("t0#1", "spot"))
        for name, said in (("t1", "3 individuals; name one of them: t1#1, t1#2 and t1#3"), ("t3", "no specimen 't3'")):
            with pytest.raises(QueryError, match=said):
                index.individual(name)
        with pytest.raises(QueryError, match="t1#1"):
            index.region("t1#4", "spot")


def test_a_photograph_is_read_by_its_own_name_or_an_individual_s(folder: Path) -> None:
    with open_index(folder) as index:
        for name in ("t1", "t1#3"):
            assert np.array_equal(index.photograph(name), index.photograph("t1#1"))
        assert index.photograph("t3").shape == (100, 160, 3)  # On which there is none.


def test_outlines_and_places_come_back_as_they_were_stored(tmp_path: Path) -> None:
    regions = [placed("P", number, 0.1 * number) for number in (1, 2, 3)] + [a_region("Q")]
    built(tmp_path / "index", regions, photographs_of({"P": "S", "Q": "Q"}))
    with open_index(tmp_path / "index") as index:
        for number in (1, 2, 3):
            found, given = index.individual(f"P#{number}"), placed("P", number, 0.1 * number).placement
            assert given is not None
            assert (found.photograph.id, found.specimen, found.number) == ("P", "S", number)
            assert (found.box, found.score, found.outline) == (given.box, pytest.approx(given.score), given.outline)
            assert found.photograph.view == "view of P"
            region = index.region(f"P#{number}", "wing")
            assert region.placement is not None
            assert (region.placement.box, region.photograph) == (given.box, "P")
        assert (index.individual("Q").box, index.region("Q", "wing").placement) == (None, None)
        (first, *_) = index.drawn("wing")
        assert first.placement is not None
        assert (first.placement.photograph, first.placement.number) == ("P", 1)


def test_an_outline_is_stored_once_however_many_traits_there_are(tmp_path: Path) -> None:
    regions = [placed("P", 1, trait=trait) for trait in ("wing", "head", "leg")]
    built(tmp_path / "index", regions, photographs_of({"P": "S"}), numbers={"wing": 1, "head": 2, "leg": 3})
    (shard,) = (tmp_path / "index" / "shards").glob("*.parquet")
    outlines = pq.read_table(shard).column("outline").to_pylist()
    assert len([each for each in outlines if each is not None]) == 1
    with open_index(tmp_path / "index") as index:
        assert index.individual("P#1").outline is not None


def test_individuals_of_a_photograph_are_replaced_together(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [placed("P", n) for n in (1, 2, 3)], photographs_of({"P": "S", "R": "R"}))
    for regions, expected in (
        ([placed("P", 2)], ["P#2"]),
        ([placed("P", n) for n in (1, 4)], ["P#1", "P#4"]),
    ):
        with store.lock():
            store.append(rows(regions, content="other"))
            store.commit(photographs_of({"P": "S"}), numbers={"wing": 7}, provenance={})
        with open_index(tmp_path / "index") as index:
            assert [each.id for each in index.individuals()] == expected
            assert {name for name, _ in zip(*index.vectors("wing"), strict=True)} == set(expected)


def test_a_specimen_that_is_renamed_keeps_its_photograph_and_its_individuals(tmp_path: Path) -> None:
    """The photograph's name is stable; whose it is stands in the table alone."""
    store = built(tmp_path / "index", [placed("P", 1), placed("P", 2)], photographs_of({"P": "S"}))
    with store.lock():
        store.commit(photographs_of({"P": "renamed"}), numbers={"wing": 7}, provenance={})
    with open_index(tmp_path / "index") as index:
        assert {(each.id, each.specimen) for each in index.individuals()} == {("P#1", "renamed"), ("P#2", "renamed")}
        assert index.individuals()[0].photograph.id == "P"
        (hit,) = index.search(like=("P#1", "wing"), per="individual")
        assert (hit.specimen, hit.individual) == ("renamed", "P#2")
        with pytest.raises(QueryError):
            index.individual("S")


def test_photographs_that_come_to_belong_to_one_specimen(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("P"), a_region("R"), a_region("T")])
    with open_index(tmp_path / "index") as index:
        assert index.catalog.plain
        assert {hit.specimen for hit in index.search(like=("P", "wing"))} == {"R", "T"}
    with store.lock():
        store.commit(photographs_of({"P": "S", "R": "S", "T": "T"}), numbers={"wing": 7}, provenance={})
    with open_index(tmp_path / "index") as index:
        assert not index.catalog.plain
        assert not index.catalog.places_individuals
        assert [hit.specimen for hit in index.search(like=("P", "wing"))] == ["T"]
        assert index.info()["specimens"] == 2
        assert (index.info()["photographs"], index.info()["individuals"]) == (3, 3)
        assert "individual_number" not in index.trait_table().columns


# -------------------------------------------------------------------------------------------------- older indexes


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An index that version 0.1 made."""
    shutil.unpack_archive(Path(__file__).parents[1] / "made_by_0_1_0" / "drawer.zip", tmp_path)
    return tmp_path / "index"


def test_shards_of_today_lie_beside_those_of_version_0_1(old: Path) -> None:
    with open_index(old) as index:
        known = [each.photograph for each in index.individuals()]
        traits, answers = index.traits, index.search(like=("SD-0010", index.traits[0]))
        numbers = dict(index.trait_numbers)
        region = index.region("SD-0010", traits[0])
        columns, mask = dict(index.columns), index.mask("SD-0001", traits[0])
    new = [
        replace(region, individual=f"tray#{n}", placement=Placement("tray", n, (10 * n, 0, 10 * n + 9, 9), 0.8, b"?"))
        for n in (1, 2)
    ]
    tray = Photograph("tray", Path("/tray.png"), known[0].group, dict.fromkeys(columns), specimen="lot")
    store = Store.open(old)
    with store.lock():
        store.append(rows(new))
        store.commit(Collection((*known, tray), columns, Path("c.csv")), numbers=numbers, provenance={})
    kinds = {pq.read_schema(path).names[0] for path in (old / "shards").glob("*.parquet")}
    assert kinds == {"photograph", OLD_COLUMNS.names[0]}
    with open_index(old) as index:
        assert {each.id for each in index.individuals()} == {*(each.id for each in known), "tray#1", "tray#2"}
        assert not index.catalog.plain
        again = index.search(like=("SD-0010", traits[0]), where="specimen <> 'lot'")
        # The mean of all is now another; the order of these few is the same.
        assert [hit.individual for hit in again] == [hit.individual for hit in answers]
        best = index.search(like=("SD-0010", traits[0]), k=1)[0]
        assert (best.specimen, best.photograph, best.individual) == ("lot", "tray", "tray#1")
        assert np.array_equal(index.mask("SD-0001", traits[0]), mask)
    assert verify_index(old).damages == []
    with store.lock():  # Removing works for both kinds.
        store.commit(Collection(tuple(known[:2]), columns, Path("c.csv")), numbers=numbers, provenance={}, prune=True)
    with open_index(old) as index:
        assert [each.id for each in index.individuals()] == [each.id for each in known[:2]]


def test_an_old_index_is_plain(old: Path) -> None:
    with open_index(old) as index:
        assert index.catalog.plain
        assert not index.catalog.places_individuals
        assert {each.id for each in index.photographs()} == {each.id for each in index.individuals()}
        one = index.individuals()[0]
        assert (one.number, one.box, one.score, one.outline, one.photograph.specimen) == (1, None, None, None, one.id)
        assert one.size is not None
        assert [hit.individual for hit in index.search(like=(one.id, index.traits[0]), per="photograph")] == [
            hit.individual for hit in index.search(like=(one.id, index.traits[0]))
        ]


# ---------------------------------------------------------------------------------------- verify, copy, reviews


def test_an_index_of_individuals_is_verified_and_repaired(folder: Path) -> None:
    assert verify_index(folder).damages == []
    with open_index(folder) as index:
        before = index.search(like=("t1#1", "spot"), per="individual")
    catalog_of(folder).write_bytes(b"broken")
    store = Store.open(folder)
    remove_pictures(store.paths.pictures_file, ["t1#2"])
    damages = verify_index(folder).damages
    assert {damage.file.name for damage in damages} >= {"catalog.duckdb"}
    repair_index(folder)
    with open_index(folder) as index:
        assert index.search(like=("t1#1", "spot"), per="individual") == before
        assert {each.id for each in index.photographs()} == set(COLLECTION)
        assert [each.id for each in index.individuals()] == [
            f"{name}#{n}" for name, corners in COLLECTION.items() for n in range(1, len(corners) + 1)
        ]
    build_trays(folder.parent / "collection.csv", folder)
    assert verify_index(folder).damages == []


def test_a_lost_shard_is_said_and_its_photographs_are_done_again(folder: Path) -> None:
    for shard in (folder / "shards").glob("*.parquet"):
        shard.write_bytes(shard.read_bytes()[:-20])
    assert verify_index(folder).damages
    repair_index(folder)
    report = build_trays(folder.parent / "collection.csv", folder)
    assert report.processed == 5
    with open_index(folder) as index:
        assert index.info()["individuals"] == 8


def test_a_review_is_of_one_individual_and_stays_with_its_number(folder: Path) -> None:
    with open_index(folder) as index:
        index.review("t1#2", "spot", "reject", reviewer="R")
        drawn = np.roll(index.mask("t1#3", "bar"), 1, axis=0)
        index.review("t1#3", "bar", "redraw", reviewer="R", mask=drawn)
        found = {hit.individual for hit in index.search(like=("t0#1", "spot"), k=99, per="individual")}
        assert found == {"t1#1", "t1#3", "t2#1", "t2#2", "t4#1", "t4#2"}
    report = build_trays(folder.parent / "collection.csv", folder)
    assert report.processed == 1
    with open_index(folder) as index:
        assert np.array_equal(index.mask("t1#3", "bar"), drawn)
        assert index.region("t1#3", "bar").confidence == 1
        decision = index.decision("t1#2", "spot")
        assert decision is not None
        assert decision.decision == "reject"
        assert index.individual("t1#2").box == (60, 12, 80, 40)


def test_numbers_follow_reviews_not_reading_order(folder: Path) -> None:
    """With another finder, which finds fewer, an individual that was reviewed keeps its number."""
    with open_index(folder) as index:
        index.review("t1#3", "spot", "accept", reviewer="R")
    build_trays(folder.parent / "collection.csv", folder, replace(TRAYS, finder=f"{__name__}:LastFinder"))
    with open_index(folder) as index:
        assert [each.id for each in index.individuals() if each.photograph.id == "t1"] == ["t1#3"]
        assert index.individual("t1#3").box == (110, 60, 130, 88)


class LastFinder(BlobFinder):
    """Finds the last beetle alone."""

    name = "last finder"

    def find(self, memory: int, image: RGBImage) -> list[Detection]:
        return [each for each in super().find(memory, image) if each.score > 0.5][-1:]


def test_a_photograph_that_was_pruned_and_comes_back(folder: Path) -> None:
    table = folder.parent / "collection.csv"
    every = [{"catalogNumber": n, "image": f"images/{n}.png", "group": "beetle"} for n in COLLECTION]
    write_rows(table, every[:3])
    build_trays(table, folder, replace(TRAYS, prune=True))
    with open_index(folder) as index:
        assert index.info()["individuals"] == 6
    write_photograph(folder.parent, "t4", [(10, 10)])
    write_rows(table, every)
    build_trays(table, folder)
    with open_index(folder) as index:
        assert [each.id for each in index.individuals() if each.photograph.id in ("t3", "t4")] == ["t4#1"]
