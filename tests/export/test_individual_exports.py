"""Exports of photographs that show several individuals, and of specimens with several photographs."""

from __future__ import annotations

import csv
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from conftest import Once
from dwca.read import DwCAReader
from fakes import NUMBERS
from PIL import Image
from pycocotools.coco import COCO
from trays import (
    COLLECTION,
    SIZE,
    TRAYS,
    a_collection_of_trays,
    build_trays,
    paint_tray,
    write_photograph,
    write_rows,
)
from typer.testing import CliRunner

import sst_retrieval as sst
from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.cli import app
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import QueryError
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.search.index import Index, open_index

# pycocotools' own arrays, seen by numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DWC = "http://rs.tdwg.org/dwc/terms/"


@pytest.fixture(scope="module")
def folder(once: Once) -> Path:
    return once("trays", lambda at: build_trays(a_collection_of_trays(at), at / "index")) / "index"


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Lots of beetles: "lot 1/2" from above and from below, "lot 2" on two trays; single beetles from two sides."""
    at = tmp_path_factory.mktemp("views")
    table = a_collection_of_trays(at, {"support": COLLECTION["t0"]})
    places = {
        "a": [(10, 10), (60, 10)],
        "b": [(60, 10), (10, 10), (100, 60)],
        "c": [(10, 10)],
        "d": [(30, 30), (90, 30)],
        "e": [(10, 10)],
        "f": [(40, 10)],
    }
    for name, corners in places.items():
        write_photograph(at, name, corners)
    about: list[tuple[str, str, str, str, str, str]] = [
        ("support", "support", "beetle", "", "5", ""),
        ("lot 1/2", "a", "beetle", "dorsal", "", "https://x.org/a.jpg"),
        ("lot 1/2", "b", "beetle", "ventral", "", "https://x.org/b.jpg"),
        ("lot 2", "c", "beetle", "", "", ""),
        ("lot 2", "d", "beetle", "", "", ""),
        ("single", "e", "alone", "dorsal", "", ""),
        ("single", "f", "alone", "ventral", "", ""),
    ]
    names = ("catalogNumber", "image", "group", "view", "individualCount", "associatedMedia")
    rows = [dict(zip(names, each, strict=True)) for each in about]
    write_rows(table, [{**row, "image": f"images/{row['image']}.png"} for row in rows])
    (at / "supports" / "traits.toml").write_text(
        "[traits]\nspot = 7\nbar = 3\n\n[individuals]\nbeetle = 'many'\nalone = 'one'\n"
    )
    labels = Image.open(at / "supports" / "support.png")
    labels.save(at / "supports" / "single dorsal.png")
    build_trays(table, at / "index", sst.BuildSettings(**{**_fields(), "individuals": None}))
    with open_index(at / "index") as index:
        yield index


def _fields() -> dict[str, object]:
    return {name: getattr(TRAYS, name) for name in ("propagator", "embedder", "finder")}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --------------------------------------------------------------------------------------------------- individuals


def test_instances_are_one_annotation_each_and_an_image_is_a_photograph(index: Index, tmp_path: Path) -> None:
    assert sst.export_instances(index, tmp_path / "i.json") == 8
    coco = COCO(str(tmp_path / "i.json"))
    images = {each["photograph"]: each for each in coco.dataset["images"]}
    assert {name: each["file_name"] for name, each in images.items()} == {name: f"{name}.png" for name in COLLECTION}
    assert {(each["height"], each["width"]) for each in images.values()} == {SIZE}
    assert [each["name"] for each in coco.dataset["categories"]] == ["beetle"]
    for name, corners in COLLECTION.items():
        found = coco.loadAnns(coco.getAnnIds(imgIds=[images[name]["id"]]))
        assert [each["individual"] for each in found] == [f"{name}#{n}" for n in range(1, len(corners) + 1)]
        for each, beetle in zip(found, paint_tray(corners)[1], strict=True):
            if name != "t0":  # Drawn, and its body was not.
                assert np.array_equal(coco.annToMask(each).astype(bool), beetle["body"])
                assert each["bbox"] == [*corners[each["number"] - 1], 20, 28]
                assert each["area"] == beetle["body"].sum()
    scores = {each["individual"]: each["score"] for each in coco.dataset["annotations"]}
    assert scores["t0#1"] == 1
    assert scores["t1#3"] == pytest.approx(0.87)


@pytest.mark.parametrize("export", [sst.export_coco, sst.export_instances, sst.export_counts])
@pytest.mark.parametrize("which", ["views", "ten"])
def test_little_is_in_memory_at_a_time(
    views: Index, ten: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: Callable[..., int], which: str
) -> None:
    with open_index(ten / "index") as other:
        index = views if which == "views" else other
        whole, parts = (tmp_path / f"{name}{'.csv' * (export is sst.export_counts)}" for name in ("whole", "parts"))
        count = export(index, whole)
        for module in ("coco", "instances", "photographs"):
            monkeypatch.setattr(f"sst_retrieval.export.{module}.AT_ONCE", 2)
        monkeypatch.setattr("sst_retrieval.index.catalog._ROWS_AT_ONCE", 2)
        monkeypatch.setattr(Catalog, "individuals", None)
        monkeypatch.setattr(Catalog, "photographs", None)
        assert export(index, parts) == count
    texts = [re.sub(r"\d{4}-\d\d-\d\dT[^\" ,;]*", "", path.read_text()) for path in (whole, parts)]
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) == count + 1 if export is sst.export_counts else texts[0]


def test_individuals_that_the_finder_is_less_sure_of_are_left_out_of_instances_and_counts(
    index: Index, tmp_path: Path
) -> None:
    assert sst.export_instances(index, tmp_path / "i.json", min_score=0.885) == 4
    sst.export_counts(index, tmp_path / "c.csv", min_score=0.885)
    counts = {row["photograph"]: row["individuals"] for row in read_csv(tmp_path / "c.csv")}
    assert counts == {"t0": "1", "t1": "1", "t2": "1", "t3": "0", "t4": "1"}


def test_counts_say_0_and_why_there_is_none(folder: Path, index: Index, tmp_path: Path) -> None:
    assert sst.export_counts(index, tmp_path / "c.csv") == 5
    rows = {row["photograph"]: row for row in read_csv(tmp_path / "c.csv")}
    assert {name: int(row["individuals"]) for name, row in rows.items()} == {n: len(c) for n, c in COLLECTION.items()}
    assert rows["t1"]["mean_score"] == "0.8800"
    assert (rows["t3"]["mean_score"], rows["t3"]["skipped"]) == ("", "")
    assert (rows["t4"]["group"], rows["t4"]["specimen"], rows["t4"]["image"]) == ("beetle", "t4", "t4.png")
    assert sst.export_counts(index, tmp_path / "some.csv", where="drawer = 'd3'") == 1
    (row,) = read_csv(tmp_path / "some.csv")
    assert (row["photograph"], row["individuals"]) == ("t3", "0")


def test_photographs_are_chosen_by_columns_and_by_what_they_are(views: Index, tmp_path: Path) -> None:
    for where, count in (
        ("specimen = 'lot 2'", 2),
        ("photograph = 'lot 2 d'", 1),
        ("view = 'ventral'", 2),
        ("\"group\" = 'alone' AND view = 'dorsal'", 1),
    ):
        assert sst.export_counts(views, tmp_path / "c.csv", where=where) == count
    with pytest.raises(QueryError, match="nonsense"):
        sst.export_counts(views, tmp_path / "c.csv", where="nonsense = 1")


def test_a_skipped_photograph_has_no_count(tmp_path: Path) -> None:
    table = a_collection_of_trays(tmp_path)
    (tmp_path / "images" / "t1.png").write_bytes(b"no picture")
    build_trays(table, tmp_path / "index")
    with open_index(tmp_path / "index") as index:
        sst.export_counts(index, tmp_path / "c.csv")
        sst.export_instances(index, tmp_path / "i.json")
    rows = {row["photograph"]: row for row in read_csv(tmp_path / "c.csv")}
    assert rows["t1"]["individuals"] == ""
    assert "t1.png" in rows["t1"]["skipped"]
    listed = [each["photograph"] for each in json.loads((tmp_path / "i.json").read_text())["images"]]
    assert listed == ["t0", "t2", "t3", "t4"]


def test_exports_have_the_individuals_as_people_decided_on_them(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder.parent, tmp_path / "trays")
    drawn = np.zeros(SIZE, dtype=bool)
    drawn[50:70, 100:150] = True
    with open_index(tmp_path / "trays" / "index") as index:
        index.review_individual("t1#1", "reject", reviewer="R")
        index.review_individual("t1#3", "redraw", reviewer="R", outline=drawn)
        index.review_individual("t2#2", "accept", reviewer="R")
        assert index.add_individual("t3", drawn, reviewer="R") == "t3#1"
        index.review_individual("t4#1", "reject", reviewer="R")
        index.review_individual("t4#1", "reopen", reviewer="R")
        sst.export_instances(index, tmp_path / "i.json")
        sst.export_counts(index, tmp_path / "c.csv")
        sst.export_masks(index, tmp_path / "masks", where="drawer = 'd1'")
        # Traits of those that were rejected, or redrawn since the build, are no hits and not exported.
        assert sst.export_coco(index, tmp_path / "traits.json") == 16 - 2 * 2
    coco = COCO(str(tmp_path / "i.json"))
    found = {each["individual"]: each for each in coco.dataset["annotations"]}
    assert set(found) == {"t0#1", "t1#2", "t1#3", "t2#1", "t2#2", "t3#1", "t4#1", "t4#2"}
    assert np.array_equal(coco.annToMask(found["t3#1"]).astype(bool), drawn)
    assert np.array_equal(coco.annToMask(found["t1#3"]).astype(bool), drawn)
    assert found["t1#3"]["bbox"] == [100, 50, 50, 20]
    assert {name: found[name]["score"] for name in ("t1#2", "t1#3", "t2#2")} == {
        "t1#2": pytest.approx(0.88),
        "t1#3": 1,
        "t2#2": 1,
    }
    counts = {row["photograph"]: row["individuals"] for row in read_csv(tmp_path / "c.csv")}
    assert counts == {"t0": "1", "t1": "2", "t2": "2", "t3": "1", "t4": "2"}
    numbers = np.asarray(Image.open(tmp_path / "masks" / "instances" / "t1.png"))
    assert np.array_equal(numbers == 3, drawn)
    assert not (numbers == 1).any()
    # The next build takes it so.
    build_trays(tmp_path / "trays" / "collection.csv", tmp_path / "trays" / "index")
    with open_index(tmp_path / "trays" / "index") as index:
        assert sst.export_instances(index, tmp_path / "again.json") == 8
        again = COCO(str(tmp_path / "again.json"))
    ours = {each["individual"]: each for each in again.dataset["annotations"]}
    assert set(ours) == set(found)
    assert np.array_equal(again.annToMask(ours["t1#3"]).astype(bool), drawn)


def test_coco_of_traits_has_photographs_for_images_and_says_whose_a_trait_is(index: Index, tmp_path: Path) -> None:
    assert sst.export_coco(index, tmp_path / "c.json") == 16
    coco = COCO(str(tmp_path / "c.json"))
    assert sorted(each["photograph"] for each in coco.dataset["images"]) == ["t0", "t1", "t2", "t4"]
    (image,) = [each["id"] for each in coco.dataset["images"] if each["photograph"] == "t4"]
    spots = coco.loadAnns(coco.getAnnIds(imgIds=[image], catIds=[NUMBERS["spot"]]))
    beetles = paint_tray(COLLECTION["t4"])[1]
    assert [(each["individual"], each["number"]) for each in spots] == [("t4#1", 1), ("t4#2", 2)]
    for each, beetle in zip(spots, beetles, strict=True):
        assert np.array_equal(coco.annToMask(each).astype(bool), beetle["spot"])


def test_label_pictures_of_traits_and_of_individuals_lie_beside_each_other(index: Index, tmp_path: Path) -> None:
    written = sst.export_masks(index, tmp_path / "masks")
    assert written == [tmp_path / "masks" / f"{name}.png" for name in COLLECTION]
    for name, corners in COLLECTION.items():
        labels = np.asarray(Image.open(tmp_path / "masks" / f"{name}.png"))
        numbers = Image.open(tmp_path / "masks" / "instances" / f"{name}.png")
        assert numbers.mode == "I;16"
        expected, individuals = np.zeros(SIZE, int), np.zeros(SIZE, int)
        for number, beetle in enumerate(paint_tray(corners)[1], start=1):
            for trait, value in NUMBERS.items():
                expected[beetle[trait]] = value
            individuals[beetle["body"] if name != "t0" else beetle["spot"] | beetle["bar"]] = number
        assert np.array_equal(labels, expected)
        assert np.array_equal(np.asarray(numbers), individuals)


def test_label_pictures_are_not_mixed_with_those_of_other_traits(index: Index, tmp_path: Path) -> None:
    sst.export_masks(index, tmp_path / "masks", where="drawer = 'd1'")
    sst.export_masks(index, tmp_path / "masks", where="drawer = 'd1'")
    other = "[traits]\nspot = 1\n"
    (tmp_path / "masks" / "traits.toml").write_text(other)
    with pytest.raises(sst.InputError, match=r"traits\.toml has other traits or numbers .*choose a new folder"):
        sst.export_masks(index, tmp_path / "masks")
    assert (tmp_path / "masks" / "traits.toml").read_text() == other


def test_label_pictures_are_supports_of_another_build(folder: Path, index: Index, tmp_path: Path) -> None:
    sst.export_masks(index, tmp_path / "masks", where="drawer = 'd1'")
    collection = read_collection(folder.parent / "collection.csv")
    supports = read_supports(tmp_path / "masks", collection, individuals="many")
    found = supports.load("beetle")
    assert [each.individual for each in found] == ["t1#1", "t1#2", "t1#3"]
    for support, beetle in zip(found, paint_tray(COLLECTION["t1"])[1], strict=True):
        assert np.array_equal(support.body, beetle["body"])
        for trait, mask in zip(support.traits, support.masks, strict=True):
            assert np.array_equal(mask, beetle[trait])


def test_traits_as_coco_are_supports_of_another_build(index: Index, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "supports").mkdir()
    sst.export_coco(index, tmp_path / "supports" / "traits.json", where="photograph = 't1'")
    collection = read_collection(folder.parent / "collection.csv")
    found = read_supports(tmp_path / "supports", collection, individuals="many").load("beetle")
    assert [each.individual for each in found] == ["t1#1", "t1#2", "t1#3"]
    for support, beetle in zip(found, paint_tray(COLLECTION["t1"])[1], strict=True):
        for trait, mask in zip(support.traits, support.masks, strict=True):
            assert np.array_equal(mask, beetle[trait])


def test_table_and_vectors_name_photograph_and_individual(index: Index, tmp_path: Path) -> None:
    sst.export_table(index, tmp_path / "t.csv", traits=["spot"])
    rows = read_csv(tmp_path / "t.csv")
    assert list(rows[0])[:8] == [
        *("region_id", "specimen", "photograph", "individual", "individual_number", "individual_score"),
        *("individual_box", "trait"),
    ]
    row = next(each for each in rows if each["individual"] == "t1#2")
    assert (row["specimen"], row["photograph"], row["individual_number"]) == ("t1", "t1", "2")
    assert row["individual_box"] == "60 12 80 40"
    assert float(row["individual_score"]) == pytest.approx(0.88)
    sst.export_vectors(index, tmp_path / "v.npz", traits=["spot"])
    with np.load(tmp_path / "v.npz") as found:
        assert found["individual"].tolist() == [each["individual"] for each in rows]
        assert found["photograph"].tolist() == [each["photograph"] for each in rows]


def test_photographs_are_drawn_with_their_individuals(index: Index, tmp_path: Path) -> None:
    written, problems = sst.export_overlays(index, tmp_path / "drawn", side=320)
    assert written == [tmp_path / "drawn" / f"{name}.jpg" for name in COLLECTION]
    assert problems == []
    dark = {}
    for path in written:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L")).astype(int)
        # Only the rims of outlines and the numbers are darker than a beetle.
        dark[path.stem] = np.count_nonzero(pixels[50:230, 20:320] < 60)
    assert dark["t1"] > dark["t4"] > dark["t3"] + 200


def test_photographs_that_are_away_are_not_drawn_and_named(tmp_path: Path) -> None:
    build_trays(a_collection_of_trays(tmp_path), tmp_path / "index")
    (tmp_path / "images" / "t1.png").unlink()
    (tmp_path / "images" / "t3.png").unlink()
    with open_index(tmp_path / "index") as index:
        written, problems = sst.export_overlays(index, tmp_path / "drawn", side=100)
    assert [path.stem for path in written] == ["t0", "t2", "t4"]
    assert ["t1.png" in problems[0], "t3.png" in problems[1]] == [True, True]


@pytest.mark.parametrize("words", ["instances INDEX out.json --min-score 0.5", "counts INDEX out.csv --where true"])
def test_the_commands_write_what_they_say(folder: Path, tmp_path: Path, words: str) -> None:
    verb, _, name, *rest = words.split()
    done = CliRunner().invoke(app, ["export", verb, str(folder), str(tmp_path / name), *rest])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("8 individuals" if verb == "instances" else "5 photographs")
    assert (tmp_path / f"{name}.provenance.json").is_file()


def test_names_with_special_characters_are_escaped_in_file_names_alone(views: Index, tmp_path: Path) -> None:
    sst.export_masks(views, tmp_path / "masks")
    files = {path.name for path in (tmp_path / "masks" / "instances").iterdir()}
    assert {"lot 1%2F2 dorsal.png", "lot 1%2F2 ventral.png"} < files
    sst.export_instances(views, tmp_path / "i.json")
    images = json.loads((tmp_path / "i.json").read_text())["images"]
    assert {(each["photograph"], each["specimen"], each["view"], each["file_name"]) for each in images[:2]} == {
        ("lot 1/2 dorsal", "lot 1/2", "dorsal", "a.png"),
        ("lot 1/2 ventral", "lot 1/2", "ventral", "b.png"),
    }


def test_in_means_individuals_count_each_and_photographs_of_one_specimen_together(views: Index, tmp_path: Path) -> None:
    found = sst.export_characters(views, tmp_path / "c.csv", by="group")
    assert found["spot.specimens"].to_dict() == {"alone": 1, "beetle": 1 + 2 + 3 + 1 + 2}
    areas = {each.individual: views.region(each.individual, "spot").measurements["lightness_mean"]
             for each in views.drawn("spot", where="\"group\" = 'alone'")}  # fmt: skip
    assert len(areas) == 2
    assert found.loc["alone", "spot.lightness_mean"] == pytest.approx(np.mean(list(areas.values())))


# ------------------------------------------------------------------------------------- where each specimen has one


def test_where_a_photograph_shows_one_individual_all_traits_together_are_it(ten: Path, tmp_path: Path) -> None:
    with open_index(ten / "index") as index:
        assert sst.export_instances(index, tmp_path / "i.json") == 10
        found = {name: index.mask(name, "spot") for name in ("r1", "b1")}
        found["r1"] = found["r1"] | index.mask("r1", "bar")
        sst.export_counts(index, tmp_path / "c.csv")
        sst.export_masks(index, tmp_path / "masks")
        sst.export_coco(index, tmp_path / "traits.json")
        columns = index.trait_table().columns
    coco = COCO(str(tmp_path / "i.json"))
    assert [each["name"] for each in coco.dataset["categories"]] == ["blue", "red"]
    for name, mask in found.items():
        (annotation,) = [each for each in coco.dataset["annotations"] if each["individual"] == name]
        assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)
        assert annotation["score"] == 0.75
    assert {(row["individuals"], row["mean_score"]) for row in read_csv(tmp_path / "c.csv")} == {("1", "")}
    assert not (tmp_path / "masks" / "instances").exists()
    traits = json.loads((tmp_path / "traits.json").read_text())
    assert list(traits["images"][0]) == ["id", "file_name", "specimen", "height", "width"]
    assert "individual" not in traits["annotations"][0]
    assert not [name for name in columns if "individual" in name or "photograph" in name]


# ---------------------------------------------------------------------------------------------------- Darwin Core


def read_archive(index: Index, path: Path) -> tuple[dict[str, dict[str, str]], Mapping[str, list[dict[str, str]]]]:
    """Export, and read again by python-dwca-reader: id -> its terms; file -> rows of extensions, "core" their id."""
    sst.export_darwin_core(index, path)
    rows: dict[str, dict[str, str]] = {}
    extensions: dict[str, list[dict[str, str]]] = {}
    with DwCAReader(str(path)) as archive:
        for row in archive:
            rows[row.id] = row.data
            for each in row.extensions:
                named = {term.rpartition("/")[2]: value for term, value in each.data.items()}
                extensions.setdefault(each.rowtype.rpartition("/")[2], []).append({"core": row.id, **named})
    return rows, extensions


def test_a_specimen_is_one_occurrence_with_all_its_photographs(views: Index, tmp_path: Path) -> None:
    rows, extensions = read_archive(views, tmp_path / "d.zip")
    assert set(rows) == {"support", "lot 1/2", "lot 2", "single"}
    media = {each["identifier"]: each for each in extensions["Multimedia"]}
    assert {
        name: (each["core"], each["accessURI"], each["subjectOrientationLiteral"]) for name, each in media.items()
    } == {
        "support#photograph": ("support", "support.png", ""),
        "lot 1/2 dorsal#photograph": ("lot 1/2", "a.png", "dorsal"),
        "lot 1/2 ventral#photograph": ("lot 1/2", "b.png", "ventral"),
        "lot 2 c#photograph": ("lot 2", "c.png", ""),
        "lot 2 d#photograph": ("lot 2", "d.png", ""),
        "single dorsal#photograph": ("single", "e.png", "dorsal"),
        "single ventral#photograph": ("single", "f.png", "ventral"),
    }
    assert rows["lot 1/2"][f"{DWC}associatedMedia"] == "https://x.org/a.jpg | https://x.org/b.jpg"


def test_individuals_are_counted_where_the_collection_does_not_say_how_many(views: Index, tmp_path: Path) -> None:
    rows, _ = read_archive(views, tmp_path / "d.zip")
    counts = {name: row[f"{DWC}individualCount"] for name, row in rows.items()}
    # The two views of lot 1/2 show the same beetles; of lot 2, more of them; a single one was not counted.
    assert counts == {"support": "5", "lot 1/2": "3", "lot 2": "3", "single": ""}


def test_regions_of_interest_are_those_of_individuals_and_of_their_traits(views: Index, tmp_path: Path) -> None:
    _, extensions = read_archive(views, tmp_path / "d.zip")
    regions = {each["identifier"]: each for each in extensions["RegionOfInterest"]}
    one, spot = regions["lot 1/2 ventral#3"], regions["lot 1/2 ventral#3#spot"]
    assert one["isROIOf"] == spot["isROIOf"] == "lot 1/2 ventral#photograph"
    assert one["core"] == spot["core"] == "lot 1/2"
    box = [float(one[name]) for name in ("xFrac", "yFrac", "widthFrac", "heightFrac")]
    assert box == pytest.approx([100 / SIZE[1], 60 / SIZE[0], 20 / SIZE[1], 28 / SIZE[0]], abs=1e-7)
    assert float(spot["xFrac"]) == pytest.approx(105 / SIZE[1], abs=1e-7)
    assert one["description"] == "individual 3, score 0.870"
    assert spot["description"].startswith("spot of individual 3, confidence")
    assert "single dorsal#spot" in regions
    assert "single dorsal" not in regions
    media = {each["identifier"]: each["hasROI"].split(" | ") for each in extensions["Multimedia"]}
    assert sorted(name for own in media.values() for name in own) == sorted(regions)


def test_measurements_say_which_individual_was_measured(views: Index, tmp_path: Path) -> None:
    _, extensions = read_archive(views, tmp_path / "d.zip")
    facts = extensions["MeasurementOrFact"]
    assert len({each["measurementID"] for each in facts}) == len(facts)
    remarks = {each["measurementID"]: each["measurementRemarks"] for each in facts}
    assert remarks["lot 2 d#2#spot/area_px"].endswith("; individual 2 on photograph lot 2 d")
    assert remarks["single ventral#spot/area_px"].endswith("; photograph single ventral")
    assert {each["core"] for each in facts if each["measurementID"].startswith("lot 2")} == {"lot 2"}


def test_an_archive_without_individuals_has_the_columns_that_it_had(ten: Path, tmp_path: Path) -> None:
    with open_index(ten / "index") as index:
        sst.export_darwin_core(index, tmp_path / "d.zip")
    with zipfile.ZipFile(tmp_path / "d.zip") as archive:
        heads = {name: archive.read(name).decode().splitlines()[0] for name in archive.namelist() if "csv" in name}
    assert heads["occurrence.csv"] == "id,occurrenceID,catalogNumber,sex,eventDate"
    assert heads["multimedia.csv"] == "coreid,type,identifier,accessURI,hasROI,description"
    assert heads["regionofinterest.csv"] == "coreid,identifier,isROIOf,xFrac,yFrac,widthFrac,heightFrac,description"
