"""Every exported file is read back by a program that shares no code with ours."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import dendropy
import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from commonnexus import Nexus
from commonnexus.blocks.distances import Distances
from dwca.darwincore.terms import TERMS
from dwca.read import DwCAReader
from invented import BLOCKS, a_collection, a_region, built
from ktch.io import read_tps
from pairs import IDS, MM_PER_PIXEL, SIZE, SPECIES, SPECIES_OF, TREE, an_index_of_pairs, band, mask_of, vector_of
from PIL import Image
from pycocotools.coco import COCO
from skbio import DistanceMatrix
from typer.testing import CliRunner

import sst_retrieval as sst
from sst_retrieval.cli import app
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import InputError
from sst_retrieval.export.darwin_core_terms import occurrence_terms
from sst_retrieval.search.index import Index, open_index

REJECTED = IDS[5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index in which the band of one specimen was rejected."""
    path = tmp_path_factory.mktemp("export") / "index"
    an_index_of_pairs(path)
    with open_index(path) as opened:
        opened.review(REJECTED, "band", "reject", reviewer="somebody")
    return path


def said(path: Path) -> dict[str, object]:
    found = json.loads(path.with_name(f"{path.name}.provenance.json").read_text())
    assert found["index"] == {"name": "index", "generation": 1}
    assert found["rejected_masks_left_out"] == 1
    assert "D65" in found["colour"]
    return dict(found)


def test_trait_table_as_csv(index: Index, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert sst.export_table(index, path, where="trait = 'band'", min_confidence=0.6) == 8
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["specimen"] for row in rows] == [n for n in IDS[3:] if n != REJECTED]
    for row in rows:
        mask = mask_of(row["specimen"], "band")
        assert float(row["area_px"]) == mask.sum()
        scale = MM_PER_PIXEL[row["specimen"]]
        assert (
            row["area_mm2"] == "" if scale is None else float(row["area_mm2"]) == pytest.approx(mask.sum() * scale**2)
        )
    assert said(path)["selection"] == {"where": "trait = 'band'", "min_confidence": 0.6}


def test_trait_table_as_parquet(index: Index, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    assert sst.export_table(index, path) == 22  # 24 regions, one absent, one rejected.
    found = duckdb.sql(f"SELECT specimen, trait, area_px FROM '{path}' WHERE trait = 'spot' ORDER BY 1").fetchall()
    assert found == [(name, "spot", float(mask_of(name, "spot").sum())) for name in IDS[1:]]
    assert pl.read_parquet(path)["scientificName"].unique().sort().to_list() == list(SPECIES)
    assert json.loads(pq.read_schema(path).metadata[b"provenance"])["what"] == "trait table"


# pycocotools' own arrays, seen by numpy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_masks_as_label_pictures_and_as_coco(index: Index, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    written = sst.export_masks(
        index, tmp_path / "masks", where="sex = 'female'", progress=lambda done, total: heard.append((done, total))
    )
    assert written == [tmp_path / "masks" / f"{name}.png" for name in IDS[:6]]
    assert heard == [(done, 6) for done in range(1, 7)]
    assert (tmp_path / "masks" / "provenance.json").is_file()
    assert sorted(path.stem for path in (tmp_path / "masks").glob("*.png")) == IDS[:6]
    sst.export_coco(index, tmp_path / "coco.json")
    coco = COCO(str(tmp_path / "coco.json"))
    assert {each["name"]: each["id"] for each in coco.dataset["categories"]} == {"band": 3, "spot": 7}
    assert len(coco.anns) == 22
    for name in IDS[:6]:
        labels = np.asarray(Image.open(tmp_path / "masks" / f"{name}.png"))
        (number,) = [each["id"] for each in coco.dataset["images"] if each["specimen"] == name]
        for trait, category in (("band", 3), ("spot", 7)):
            expected = mask_of(name, trait)
            found = coco.loadAnns(coco.getAnnIds(imgIds=[number], catIds=[category]))
            if (name, trait) in ((REJECTED, "band"), (IDS[0], "spot")):
                assert found == []
                assert not (labels == category).any()
                continue
            assert np.array_equal(labels == category, expected)
            assert np.array_equal(coco.annToMask(found[0]).astype(bool), expected)
            assert found[0]["area"] == expected.sum()
            assert found[0]["bbox"][2:] == [np.ptp(np.nonzero(expected)[1]) + 1, np.ptp(np.nonzero(expected)[0]) + 1]


def test_outlines_as_tps(index: Index, tmp_path: Path) -> None:
    path = tmp_path / "band.tps"
    assert sst.export_tps(index, path, trait="band", points=64) == 22
    found = {each.specimen_name: each for each in read_tps(path)}
    assert set(found) == {f"{name}__{side}" for name in IDS if name != REJECTED for side in ("left", "right")}
    for name in (IDS[0], IDS[7]):
        for side in ("left", "right"):
            one = found[f"{name}__{side}"]
            points = one.to_numpy()
            assert points.shape == (64, 2)
            x, y = np.nonzero(band(name, side))[1] + 0.5, SIZE[0] - (np.nonzero(band(name, side))[0] + 0.5)
            assert points.min(axis=0) == pytest.approx((x.min(), y.min()), abs=1.2)
            assert points.max(axis=0) == pytest.approx((x.max(), y.max()), abs=1.2)
            assert points[0] == pytest.approx((x.mean(), y.max()), abs=1.2)  # Starts at its top.
            assert float(one.scale) == pytest.approx(MM_PER_PIXEL[name] or math.nan)
        left, right = (found[f"{name}__{side}"].to_numpy() for side in ("left", "right"))
        assert left[1, 0] < left[0, 0]  # The left one counter-clockwise,
        assert right[1, 0] > right[0, 0]  # the right one as in a mirror.
    assert "SCALE" not in path.read_text().split(f"ID={IDS[11]}__left")[1]
    assert "rejected masks left out" in path.read_text()


def test_outlines_as_black_shapes_on_white(index: Index, tmp_path: Path) -> None:
    files = sst.export_silhouettes(index, tmp_path / "shapes", trait="band")
    assert len(files) == len(list((tmp_path / "shapes").glob("*.jpg"))) == 22
    for name, side in ((IDS[0], "left"), (IDS[7], "right")):
        grey = np.asarray(Image.open(tmp_path / "shapes" / f"{name}__{side}.jpg").convert("L"))
        black = grey < 128  # Momocs takes what is below half for the shape.
        expected = band(name, side)
        assert black.sum() == pytest.approx(expected.sum(), rel=0.03)
        assert not black[0].any()
        assert not black[:, 0].any()
        assert black[black.shape[0] // 2, black.shape[1] // 2]  # It looks for the shape in the middle.


def test_distances_as_csv_phylip_and_nexus(index: Index, tmp_path: Path) -> None:
    matrix = sst.export_distances(index, tmp_path / "d.csv", trait="band", by="scientificName")
    assert matrix.labels == SPECIES
    with (tmp_path / "d.csv").open(newline="") as file:
        head, *rows = list(csv.reader(file))
    assert head[1:] == list(SPECIES)
    assert np.array([row[1:] for row in rows], dtype=float) == pytest.approx(matrix.values)
    sst.export_distances(index, tmp_path / "d.phy", trait="band", by="scientificName")
    phylip = DistanceMatrix.read(str(tmp_path / "d.phy"), format="phylip_dm")
    assert phylip.ids == ("Aus_albus", "Bus_rubens", "Cus_niger")
    assert phylip.data == pytest.approx(matrix.values, abs=1e-8)
    sst.export_distances(index, tmp_path / "d.nex", trait="band", by="scientificName")
    nexus = Nexus.from_file(tmp_path / "d.nex")
    assert isinstance(nexus.DISTANCES, Distances)
    found = nexus.DISTANCES.get_matrix()
    assert list(found) == ["Aus_albus", "Bus_rubens", "Cus_niger"]
    assert float(found["Aus_albus"]["Cus_niger"]) == pytest.approx(matrix.values[0, 2], abs=1e-8)
    assert "[distances: band" in (tmp_path / "d.nex").read_text()
    said(tmp_path / "d.phy")


def test_continuous_characters_are_means_spelt_as_in_the_tree(index: Index, tmp_path: Path) -> None:
    tree = tmp_path / "tree.nwk"
    tree.write_text(TREE)
    path = tmp_path / "means.nex"
    with pytest.warns(UserWarning, match="Dus_dubius"):
        sst.export_characters(index, path, tree=tree)
    found = dendropy.ContinuousCharacterMatrix.get(path=str(path), schema="nexus", preserve_underscores=True)
    tips = {
        taxon.label
        for taxon in dendropy.Tree.get(path=str(tree), schema="newick", preserve_underscores=True).taxon_namespace
    }
    names = {taxon.label for taxon in found.taxon_namespace}
    assert names == {"Aus_albus", "Bus_rubens", "Cus_niger"} < tips
    labels = [
        row.split()[1].rstrip(",;")
        for row in path.read_text().split("CHARSTATELABELS")[1].split("MATRIX")[0].strip().splitlines()
    ]
    column = labels.index("band.area_mm2")
    for taxon in found.taxon_namespace:
        own = [n for n in IDS if SPECIES_OF[n].replace(" ", "_") == taxon.label and n not in (REJECTED, IDS[11])]
        expected = np.mean([mask_of(n, "band").sum() * (MM_PER_PIXEL[n] or 0) ** 2 for n in own])
        assert found[taxon].values()[column] == pytest.approx(expected)
    assert not {label for label in labels if "centroid" in label or "orientation" in label or label.endswith("area_px")}
    sst.export_characters(index, tmp_path / "means.csv")
    with (tmp_path / "means.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["scientificName"] for row in rows] == ["Aus_albus", "Bus_rubens", "Cus_niger"]
    assert float(rows[0]["spot.specimens"]) == 3


def test_darwin_core_archive(index: Index, tmp_path: Path) -> None:
    path = tmp_path / "traits.zip"
    sst.export_darwin_core(index, path)
    with DwCAReader(str(path)) as archive:
        assert archive.descriptor.core.type.endswith("/Occurrence")
        rows = {row.id: row for row in archive}
        assert sorted(rows) == IDS
        row = rows[IDS[1]]
        assert row.data["http://rs.tdwg.org/dwc/terms/scientificName"] == SPECIES_OF[IDS[1]]
        by_type: dict[str, list[dict[str, str]]] = {}
        for extension in row.extensions:
            by_type.setdefault(extension.rowtype.rpartition("/")[2], []).append(
                {term.rpartition("/")[2]: value for term, value in extension.data.items()}
            )
        facts = {fact["measurementType"]: fact for fact in by_type["MeasurementOrFact"]}
        area = facts["band area_mm2"]
        assert float(area["measurementValue"]) == pytest.approx(mask_of(IDS[1], "band").sum() * 0.06**2)
        assert area["measurementUnit"] == "mm²"
        assert facts["spot solidity"]["measurementUnit"] == ""
        # Nobody decided on these masks.
        assert {fact["measurementRemarks"] for fact in facts.values()} == {"confidence of the mask 0.540"}
        assert len({fact["measurementID"] for fact in by_type["MeasurementOrFact"]}) == len(
            by_type["MeasurementOrFact"]
        )
        (medium,) = by_type["Multimedia"]
        regions = {roi["identifier"]: roi for roi in by_type["RegionOfInterest"]}
        assert medium["hasROI"].split(" | ") == list(regions)
        roi = regions[f"{IDS[1]}#spot"]
        assert roi["isROIOf"] == medium["identifier"]
        rows_, columns = np.nonzero(mask_of(IDS[1], "spot"))
        assert float(roi["xFrac"]) == pytest.approx(columns.min() / SIZE[1], abs=1e-7)
        assert float(roi["yFrac"]) == pytest.approx(rows_.min() / SIZE[0], abs=1e-7)
        assert float(roi["heightFrac"]) == pytest.approx((np.ptp(rows_) + 1) / SIZE[0], abs=1e-7)
        rejected = [each.data for each in rows[REJECTED].extensions]
        assert not [data for data in rejected if "band" in " ".join(data.values())]


DWC, DCTERMS = "http://rs.tdwg.org/dwc/terms/", "http://purl.org/dc/terms/"

MUSEUM: Mapping[str, Sequence[object]] = {
    # Two photographs of the first occurrence; the third has no id of its own, the fourth shares an id and contradicts.
    "occurrenceID": ["urn:catalog:A:1", "urn:catalog:A:1", None, "urn:catalog:A:1", "urn:catalog:A:5"],
    "catalogNumber": ["A-1", "A-1", "A-3", "A-4", "A-5"],
    "institutionCode": ["BMNH"] * 5,
    "basisOfRecord": ["PreservedSpecimen"] * 5,
    "license": ["http://creativecommons.org/licenses/by/4.0/"] * 5,
    "rightsHolder": ["The Museum"] * 5,
    "accessRights": ["not for profit"] * 5,
    "media_license": ["CC0", "CC BY", None, None, None],
    "media_rightsHolder": ["Jo"] * 5,
    "creator": ["Jo"] * 5,
    "eventDate": [datetime.date(1901, 5, 1), datetime.date(1901, 5, 1), None, None, None],
    "modified": [datetime.datetime(2020, 1, 2, 3, 4)] * 5,
    "decimalLatitude": [9.5, 9.5, math.nan, None, -1.25],
    "individualCount": [1, 1, None, 2, 3],
    "dwc:lifeStage": ["adult", "adult", None, "adult", ""],
    "SEX": ["female", "female", None, "male", 'Müller, "J."\nn. sp.'],
    "group": ["erato"] * 5,
    "review": ["lovely", "lovely", None, None, "dull"],
    "remarks of mine": ["x"] * 5,
    "isMarked": [True, True, False, None, None],
}
KINDS = {
    **dict.fromkeys(MUSEUM, "VARCHAR"),
    **{"eventDate": "DATE", "modified": "TIMESTAMP", "decimalLatitude": "DOUBLE", "individualCount": "BIGINT"},
    "isMarked": "BOOLEAN",
}


@pytest.fixture(scope="module")
def museum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index with gaps everywhere, of a collection with names and rights of its own; five specimens, two traits."""
    path, names = tmp_path_factory.mktemp("museum") / "index", ["a", "b", "c", "d", "e"]
    regions = [
        a_region(
            name,
            trait,
            present=(name, trait) != ("e", "leg"),
            measurements={"area_px": 8.0, **({} if name == "b" else {"length_px": math.nan if name == "c" else 5.0})},
        )
        for name in names
        for trait in ("wing", "leg")
    ]
    table = {**MUSEUM, "mmPerPixel": [0.5, None, 0.5, None, 0.5], "ring": ["x", None, "y", "x", ""]}
    collection = a_collection(names, {**KINDS, "mmPerPixel": "DOUBLE", "ring": "VARCHAR"}, **table)
    built(path, regions, collection, numbers={"wing": 1, "leg": 2})
    with open_index(path) as opened:
        opened.review("a", "wing", "accept", reviewer="Mary")
        opened.review("d", "leg", "reject", reviewer="Mary")
        yield opened


def test_a_darwin_core_archive_keeps_what_the_collection_calls_its_own(museum: Index, tmp_path: Path) -> None:
    sst.export_darwin_core(museum, tmp_path / "d.zip")
    with DwCAReader(str(tmp_path / "d.zip")) as archive:
        rows = {row.id: row for row in archive}
        assert set(rows) == {"a", "c", "d", "e"}  # Two photographs of one occurrence are one row.
        first = rows["a"].data
        assert first == {
            f"{DWC}occurrenceID": "urn:catalog:A:1",
            f"{DWC}catalogNumber": "A-1",
            f"{DWC}institutionCode": "BMNH",
            f"{DWC}basisOfRecord": "PreservedSpecimen",
            f"{DCTERMS}license": "http://creativecommons.org/licenses/by/4.0/",
            f"{DCTERMS}rightsHolder": "The Museum",
            f"{DCTERMS}accessRights": "not for profit",
            f"{DWC}eventDate": "1901-05-01",
            f"{DCTERMS}modified": "2020-01-02T03:04:00",
            f"{DWC}decimalLatitude": "9.5",
            f"{DWC}individualCount": "1",
            f"{DWC}lifeStage": "adult",
            f"{DWC}sex": "female",
        }
        assert [rows[name].data[f"{DWC}occurrenceID"] for name in "cde"] == ["c", "urn:catalog:A:1", "urn:catalog:A:5"]
        assert [rows[name].data[f"{DWC}decimalLatitude"] for name in "cde"] == ["", "", "-1.25"]
        assert rows["e"].data[f"{DWC}sex"] == 'Müller, "J."\nn. sp.'
        media = [each.data for each in rows["a"].extensions if each.rowtype.endswith("/Multimedia")]
        assert [(each[f"{DCTERMS}identifier"], each[f"{DCTERMS}license"]) for each in media] == [
            ("a#photograph", "CC0"),
            ("b#photograph", "CC BY"),
        ]
        assert {(each[f"{DCTERMS}creator"], each[f"{DCTERMS}rightsHolder"]) for each in media} == {("Jo", "Jo")}
        parts = {
            each.data[f"{DCTERMS}identifier"]: each.data for each in rows["a"].extensions if "Region" in each.rowtype
        }
        assert set(parts) == {"a#leg", "a#wing", "b#leg", "b#wing"}
        photographs = {each[f"{DCTERMS}identifier"] for each in media}
        assert {part["http://rs.tdwg.org/ac/terms/isROIOf"] for part in parts.values()} == photographs
    # It is a collection like any other, too.
    again = read_collection(tmp_path / "d.zip", images=photographs_in(tmp_path / "photographs", 5))
    assert [each.metadata["occurrenceID"] for each in again.photographs] == [
        *("urn:catalog:A:1", "urn:catalog:A:1", "c", "urn:catalog:A:1", "urn:catalog:A:5")
    ]
    assert again.photographs[1].metadata["license"] == "http://creativecommons.org/licenses/by/4.0/"
    assert again.photographs[1].metadata["media_license"] == "CC BY"


def photographs_in(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (9, 6)).save(folder / f"{number}.png")
    return folder


def test_who_decided_on_a_mask_is_said_of_that_mask_alone(museum: Index, tmp_path: Path) -> None:
    sst.export_darwin_core(museum, tmp_path / "d.zip")
    with zipfile.ZipFile(tmp_path / "d.zip") as archive, archive.open("measurementorfact.csv") as file:
        facts = list(csv.DictReader(io.TextIOWrapper(file, "utf-8")))
    said = {fact["measurementID"].rpartition("/")[0]: fact["measurementRemarks"] for fact in facts}
    assert said.pop("a#wing") == "confidence of the mask 0.750; mask accepted by a person"
    assert set(said.values()) == {"confidence of the mask 0.750"}
    assert len(said) == 7
    assert {fact["measurementID"] for fact in facts if fact["coreid"] == "c"} == {
        *("c#leg/area_px", "c#leg/area_mm2", "c#wing/area_px", "c#wing/area_mm2")
    }


@pytest.mark.parametrize("columns", [["image"], ["occurrenceID"], ["license", "media_license"]])
def test_a_darwin_core_archive_of_a_collection_with_hardly_a_term(tmp_path: Path, columns: list[str]) -> None:
    kinds = dict.fromkeys(columns, "VARCHAR")
    table = a_collection(["a", "b"], kinds, **{name: [None, "x"] for name in columns})
    built(tmp_path / "index", [a_region("a"), a_region("b")], table)
    with open_index(tmp_path / "index") as index:
        sst.export_darwin_core(index, tmp_path / "d.zip")
    with DwCAReader(str(tmp_path / "d.zip")) as archive:
        named = [row.data[f"{DWC}occurrenceID"] for row in archive]
        assert named == (["a", "x"] if columns == ["occurrenceID"] else ["a", "b"])
        licences = [row.data.get(f"{DCTERMS}license") for row in archive]
        assert licences == (["", "x"] if "license" in columns else [None, None])


def test_every_term_of_occurrences_is_known() -> None:
    classes = {"Occurrence", "Taxon", "Event"}
    older = {"occurrenceDetails"}  # In no list of terms for many years.
    # python-dwca-reader's own list.
    theirs = {term for term in TERMS if not {term.rpartition("/")[2]} & (classes | older)}
    known = occurrence_terms([*theirs])
    assert theirs - {*known} == set()
    short = occurrence_terms([term.rpartition("/")[2] for term in theirs])
    assert theirs - {*short} == {f"{DWC}group"}  # Here it is the group whose support a specimen shares.
    assert {*occurrence_terms(["DWC:group", "dcterms:License", "remarks", "image", "Type", "dwc:nonsense"])} == {
        f"{DWC}group"
    }


NOTHING = re.compile(r"(?<![\w/])(nan|none|nat|null|<na>|-?inf(inity)?)(?![\w/])", re.IGNORECASE)


def every_cell(path: Path) -> Iterator[str]:
    """Go through all that a file says: cells, lines, values."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                inside = path.with_name(f"{path.stem}-{name}")
                inside.write_bytes(archive.read(name))
                yield from every_cell(inside)
    elif path.suffix == ".parquet":
        for row in pq.read_table(path).to_pylist():
            yield from ("" if value is None else str(value) for value in row.values())
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as found:
            for name in found.files:
                yield from map(str, found[name].ravel().tolist())
    elif path.suffix == ".json":
        yield from every_value(json.loads(path.read_text(encoding="utf-8"), parse_constant=str))
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            yield from (cell for row in csv.reader(file) for cell in row)
    else:
        yield from path.read_text(encoding="utf-8").splitlines()


def every_value(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from every_value(part)
    elif value is not None:
        yield str(value)


def test_no_export_writes_the_name_of_nothing(museum: Index, tmp_path: Path) -> None:
    """Where a value is missing, a cell is empty: no "nan", no "None", in any file of any kind."""
    masks_at, shapes_at = tmp_path / "masks", tmp_path / "shapes"
    list(sst.export_masks(museum, masks_at))
    list(sst.export_silhouettes(museum, shapes_at, trait="wing"))
    sst.export_coco(museum, tmp_path / "coco.json")
    for suffix in ("csv", "parquet"):
        sst.export_table(museum, tmp_path / f"table.{suffix}")
        sst.export_table(museum, tmp_path / f"scaled.{suffix}", scale={"group": 0.25})
    for suffix in ("npz", "parquet"):
        sst.export_vectors(museum, tmp_path / f"vectors.{suffix}")
    sst.export_tps(museum, tmp_path / "outlines.tps", trait="wing")
    for suffix in ("csv", "phy", "nex"):
        sst.export_distances(museum, tmp_path / f"all.{suffix}", trait="wing")
        sst.export_distances(museum, tmp_path / f"ring.{suffix}", trait="wing", by="ring")
    for suffix in ("csv", "nex"):
        sst.export_characters(museum, tmp_path / f"characters.{suffix}", by="ring")
    sst.export_darwin_core(museum, tmp_path / "archive.zip")
    files = [path for path in tmp_path.rglob("*.*") if path.suffix not in (".png", ".jpg")]
    assert len(files) > 30
    cells = {path.name: list(every_cell(path)) for path in files}
    assert all(cells.values())
    wrong = {name: [cell for cell in own if NOTHING.search(cell)] for name, own in cells.items()}
    assert {name: own for name, own in wrong.items() if own} == {}


def test_vectors_as_npz_and_parquet(index: Index, tmp_path: Path) -> None:
    assert sst.export_vectors(index, tmp_path / "v.npz") == 22
    with np.load(tmp_path / "v.npz", allow_pickle=False) as found:
        assert dict(zip(found["blocks"].tolist(), found["widths"].tolist(), strict=True)) == BLOCKS
        for place in (0, 12, 21):
            expected = vector_of(str(found["specimen"][place]), str(found["trait"][place]))
            assert found["vectors"][place] == pytest.approx(expected)
        assert json.loads(str(found["provenance"]))["what"] == "vectors"
        assert (REJECTED, "band") not in set(zip(found["specimen"].tolist(), found["trait"].tolist(), strict=True))
    sst.export_vectors(index, tmp_path / "v.parquet", traits=["spot"])
    rows = duckdb.sql(f"SELECT specimen, pattern, colour, shape FROM '{tmp_path / 'v.parquet'}'").fetchall()
    assert [row[0] for row in rows] == IDS[1:]
    for name, *blocks in rows:
        assert np.concatenate(blocks) == pytest.approx(vector_of(name, "spot"))


def test_columns_of_the_collection_that_are_called_like_ours_are_not_taken_for_them(tmp_path: Path) -> None:
    values = {"confidence": [0.1, 0.9], "length_px": ["long", "short"], "review": ["lovely", None], "ring": [7, None]}
    kinds = dict(zip(values, ("DOUBLE", "VARCHAR", "VARCHAR", "BIGINT"), strict=True))
    regions = [
        a_region(name, confidence=sure, measurements={"length_px": 5.0, "area_px": 8.0})
        for name, sure in (("a", 0.9), ("b", 0.1))
    ]
    built(tmp_path / "index", regions, a_collection(["a", "b"], kinds, **values))
    with open_index(tmp_path / "index") as index:
        assert sst.export_table(index, tmp_path / "t.csv", min_confidence=0.5) == 1
        assert "\n0,a,wing,0.9" in (tmp_path / "t.csv").read_text().replace('"', "")
        found = sst.export_characters(index, tmp_path / "c.csv", by="ring")
        assert found.index.tolist() == ["7"]
        assert found.loc["7", "wing.length_px"] == 5
        sst.export_darwin_core(index, tmp_path / "d.zip")
    with zipfile.ZipFile(tmp_path / "d.zip") as archive, archive.open("measurementorfact.csv") as file:
        facts = {row["measurementType"]: row for row in csv.DictReader(io.TextIOWrapper(file, "utf-8"))}
    assert facts["wing length_px"]["measurementValue"] == "5.0"
    assert "lovely" not in facts["wing length_px"]["measurementRemarks"]


def test_groups_of_no_column_are_refused_with_the_option_that_names_one(index: Index, tmp_path: Path) -> None:
    with pytest.raises(sst.QueryError, match=r"'order' that says the groups; name one with --by .*: .*\bgroup\b"):
        sst.export_characters(index, tmp_path / "a.csv", by="order")


def test_a_file_of_another_kind_is_refused_and_nothing_is_left(index: Index, tmp_path: Path) -> None:
    for ask in (
        lambda: sst.export_table(index, tmp_path / "a.xlsx"),
        lambda: sst.export_vectors(index, tmp_path / "a.csv"),
        lambda: sst.export_distances(index, tmp_path / "a.txt", trait="band"),
        lambda: sst.export_characters(index, tmp_path / "a.txt"),
    ):
        with pytest.raises(InputError, match="end the file's name so"):
            ask()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        "coco INDEX out.json --trait band",
        "table INDEX out.parquet --where sex='female' --scale scales.csv",
        "outlines INDEX out.tps --trait band --points 32",
        "outlines INDEX shapes --trait spot",
        "distances INDEX out.nex --trait band --by scientificName --between energy --weights pattern=1",
        "characters INDEX out.nex --tree tree.nwk",
        "darwin-core INDEX out.zip --min-confidence 0.7",
        "vectors INDEX out.npz",
    ],
)
def test_the_commands_write_what_they_say(
    folder: Path, tmp_path: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree.nwk").write_text(TREE)
    (tmp_path / "scales.csv").write_text("group,lengthMm,lengthPx\ngroup,10,400\nnobody,1,2\n")
    done = CliRunner().invoke(app, ["export", *words.replace("INDEX", str(folder)).split()])
    assert done.exit_code == 0, done.output
    output = tmp_path / words.split()[2]
    assert output.exists()
    assert str(output.name) in done.output
    if "--tree" in words:
        assert "Dus_dubius" in done.output
    if "--scale" in words:
        assert "nobody" in done.output
        found = duckdb.sql(f"SELECT area_px, area_mm2 FROM '{output}'").fetchall()
        assert all(mm == pytest.approx(px * 0.025**2) for px, mm in found)
