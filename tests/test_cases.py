"""Awkward real inputs (../shared/cases, not part of the project): what a user may expect of each.

Each case is read, or built with the fake models; none needs a network. Cases of one kind stand together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sst_retrieval.annotate.supports import Supports, read_supports
from sst_retrieval.collection.folder_table import write_folder_table
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import CollectionError, ImageError, SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.exposure import describe_exposure, is_one_colour
from sst_retrieval.imaging.images import PhotographContent, read_labels, read_photograph

Cases = Callable[[str], Path]


# ------------------------------------------------------------------------------------------------------- tables


def test_00_base(shared_cases: Cases) -> None:
    collection = read_collection(shared_cases("00-base") / "collection.csv")
    assert [each.id for each in collection.photographs] == ["B0", "B1", "B2", "B3", "B4"]
    assert collection.notes == ()


def test_01_rs_column_of_row_numbers(shared_cases: Cases) -> None:
    collection = read_collection(shared_cases("01-r-write-csv") / "collection.csv")
    assert list(collection.columns) == ["catalogNumber", "image", "group", "sex"]
    assert "column 1 has no name" in collection.notes[0]


def test_02b_a_mark_that_opens_no_quotation(shared_cases: Cases) -> None:
    collection = read_collection(shared_cases("02b-gbif-open-quote") / "collection.csv")
    assert [each.metadata["locality"] for each in collection.photographs] == [
        *("Panama", '"Candidatus loc', "Peru", 'x"', "y"),
    ]
    assert "quotation marks" in collection.notes[0]


def test_03_a_long_polygon(shared_cases: Cases) -> None:
    collection = read_collection(shared_cases("03-footprint-wkt") / "collection.csv")
    assert max(len(str(each.metadata["footprintWKT"])) for each in collection.photographs) > 131_072


@pytest.mark.parametrize(("case", "name"), [("04-nfd-photo-names", "u\u0308"), ("05-jpg-case", "b1.jpg")])
def test_04_05_names_that_are_spelt_otherwise(shared_cases: Cases, case: str, name: str) -> None:
    collection = read_collection(shared_cases(case) / "collection.csv")
    assert all(each.image.is_file() for each in collection.photographs)
    assert name in collection.photographs[1].image.name
    assert "under another spelling" in collection.notes[0]


@pytest.mark.parametrize(
    ("case", "name"),
    [
        *(("06-slash-id", "NHMUK 1929/12/B0"), ("07-colon-guid", "UAM:Ento:B0"), ("10-only-image-column", "b0")),
        *(("10b-id-is-filename", "b0.jpg"), ("63-id-blanks-emoji", "B 0")),
    ],
)
def test_06_07_10_63_ids(shared_cases: Cases, case: str, name: str) -> None:
    folder = shared_cases(case)
    collection = read_collection(folder / "collection.csv")
    assert collection.photographs[0].id == name
    assert not collection.left_out


def test_08_fuzzy_dates_stay_text(shared_cases: Cases) -> None:
    collection = read_collection(shared_cases("08-dwc-order-dates") / "collection.csv")
    assert collection.photographs[0].metadata["eventDate"] == "1923-00-00"


def test_09_several_photographs_of_one_specimen(shared_cases: Cases) -> None:
    folder = shared_cases("09-dorsal-ventral")
    collection = read_collection(folder / "collection.csv")
    assert [(each.id, each.specimen) for each in collection.photographs] == [
        *(("B0", "B0"), ("B1 b1", "B1"), ("B1 b2", "B1"), ("B3", "B3"), ("B4", "B4")),
    ]
    assert "1 specimen has several photographs, such as B1 in lines 3 and 4" in collection.notes[0]
    assert "sex of B1 is female and male; is it one specimen?" in collection.notes[1]
    assert read_supports(folder / "supports", collection).references[0].individual == "B0"
    collection = read_collection(shared_cases("09b-pipe-list") / "collection.csv")
    assert [(each.id, each.image.name) for each in collection.photographs] == [
        *(("B0", "b0.jpg"), ("B1 b1", "b1.jpg"), ("B1 b2", "b2.jpg"), ("B3", "b3.jpg"), ("B4", "b4.jpg")),
    ]
    assert not collection.left_out
    archive = shared_cases("44-dwca-several-images")
    collection = read_collection(archive / "a.zip", images=archive / "images")
    assert [(each.id, each.specimen) for each in collection.photographs] == [
        *(("B0 b0", "B0"), ("B0 b1", "B0"), ("B2", "B2")),
    ]
    assert "they are called 'B0 b0', 'B0 b1'; name supports so" in collection.notes[0]


def test_11_excels_line_of_the_separator(shared_cases: Cases) -> None:
    assert len(read_collection(shared_cases("11-excel-sep-line") / "collection.csv").photographs) == 5


@pytest.mark.parametrize("case", ["12-trait-column", "40-confidence-column"])
def test_12_40_columns_of_the_programs_names_are_kept(shared_cases: Cases, case: str) -> None:
    collection = read_collection(shared_cases(case) / "collection.csv")
    assert collection.photographs[0].metadata["confidence"] == "high"


@pytest.mark.parametrize(
    ("case", "column"),
    [
        ("13-mm-comma", "mmPerPixel"),
        ("13c-mm-other-name", "mm_per_pixel"),
        ("41-decimal-comma-columns", "decimalLatitude"),
    ],
)
def test_13_41_decimal_commas_and_the_scale(shared_cases: Cases, case: str, column: str) -> None:
    collection = read_collection(shared_cases(case) / "collection.csv")
    assert collection.columns[column] == "DOUBLE"
    assert collection.photographs[0].metadata[column] in (0.042, 9.1663)
    assert collection.notes


def test_14_groups_that_differ_in_capitals(shared_cases: Cases) -> None:
    notes = read_collection(shared_cases("14-group-case") / "collection.csv").notes
    assert ["is not 'Erato'; is it?" in note for note in notes] == [True, True]


def test_25_two_rows_with_one_photograph(shared_cases: Cases) -> None:
    folder = shared_cases("25-two-specimens-one-photo")
    collection = read_collection(folder / "collection.csv")
    assert any("lines 3 and 4: B1 and B2 have one photograph" in note for note in collection.notes)
    assert read_supports(folder / "supports", collection).references[0].individual == "B0"
    with pytest.raises(CollectionError, match=r"B1 and B2 have one photograph, b1\.jpg, and B1 does not say which"):
        read_supports(folder / "supports", collection, individuals="many")
    table = (folder / "collection.csv").read_text()
    for name, places in (("individual", ("1", "2")), ("box", ("0 0 99 200", "99 0 200 200"))):
        lines = [f"{line},{cell}" for line, cell in zip(table.splitlines(), (name, "", *places), strict=True)]
        (folder / "placed.csv").write_text("\n".join(lines))
        placed = read_collection(folder / "placed.csv")
        assert not any("one photograph" in note for note in placed.notes)
        supports = read_supports(folder / "supports", placed, individuals="many")
        assert [each.individual for each in supports.references] == ["B0#1"]


def test_24_two_instances_in_a_drawer(shared_cases: Cases) -> None:
    folder = shared_cases("24-drawer-instances")
    collection = read_collection(folder / "collection.csv")
    (note,) = read_supports(folder / "supports", collection).notes
    assert "draws elytra on separate pieces of" in note
    assert "if it shows several individuals, say --individuals many" in note
    supports = read_supports(folder / "supports", collection, individuals="many")
    assert [(each.individual, each.box) for each in supports.references] == [
        *(("B0#1", (62, 161, 238, 475)), ("B0#2", (394, 161, 570, 475))),
    ]
    assert supports.notes == ()


def test_43_an_event_core(shared_cases: Cases) -> None:
    folder = shared_cases("43-event-core")
    with pytest.raises(CollectionError, match=r"must be Occurrence, not Event \(other files: Multimedia\); export"):
        read_collection(folder / "a.zip", images=folder / "images")


def test_60_photographs_without_a_table(shared_cases: Cases) -> None:
    folder = shared_cases("60-no-table-folder")
    for named in (folder, folder / "collection.csv"):
        with pytest.raises(CollectionError, match="sst-retrieval init"):
            read_collection(named)
    assert len(read_collection(write_folder_table(folder).path).photographs) == 5


def test_spreadsheets_and_latin_1(shared_cases: Cases) -> None:
    folder = shared_cases("00-base")
    with pytest.raises(CollectionError, match="CSV UTF-8"):
        read_collection(folder / "data.xlsx")
    collection = read_collection(folder / "l1.csv")
    assert collection.photographs[0].metadata["locality"] == "Zürich"
    assert "'Zürich'" in collection.notes[0]


# ----------------------------------------------------------------------------------------------------- supports


def read_case(folder: Path) -> Supports:
    return read_supports(folder / "supports", read_collection(folder / "collection.csv"))


@pytest.mark.parametrize(
    ("case", "traits", "note"),
    [
        ("20-coco-category-zero", {"elytra": 1, "pronotum": 2}, "count from 0"),
        ("21-coco-box-beside-outlines", {"elytra": 1}, "only a box"),
        ("23-roboflow-names", {"elytra": 1}, ""),
        ("24-drawer-instances", {"elytra": 1}, "separate pieces"),
        ("26-coco-point-outside", {"elytra": 1}, "clipped"),
        ("31-labelme-extra-label", {"elytra": 3}, "label_paper"),
        ("37-cvat-xml", {"elytra": 1}, ""),
        ("37c-via-json", {"elytra": 1}, ""),
        ("37f-geojson-qupath", {"elytra": 1}, ""),
    ],
)
def test_20_to_37_drawings_that_are_read(shared_cases: Cases, case: str, traits: dict[str, int], note: str) -> None:
    supports = read_case(shared_cases(case))
    assert [reference.individual for reference in supports.references] == ["B0"]
    assert dict(supports.numbers) == traits
    assert bool(supports.notes) == bool(note)
    assert any(note in each for each in supports.notes) or not note


@pytest.mark.parametrize(
    ("case", "traits"),
    [
        ("34-supports-in-subfolder", ["head", "pronotum", "elytra", "antennae", "legs"]),
        ("36-cvat-colour-mask", ["head", "pronotum", "elytra", "antennae", "legs"]),
        ("39-mask-per-trait", ["pronotum", "elytra"]),
        ("47-traits-with-space", ["head", "pronotum", "elytra", "fore leg", "legs"]),
        ("48-float-label-tiff", ["head", "pronotum", "elytra", "antennae", "legs"]),
        ("49-label-LA", ["head", "pronotum", "elytra", "antennae", "legs"]),
        ("61-duplicate-support", ["head", "pronotum", "elytra", "antennae", "legs"]),
    ],
)
def test_34_to_61_label_pictures_that_are_read(shared_cases: Cases, case: str, traits: list[str]) -> None:
    supports = read_case(shared_cases(case))
    assert list(supports.references[0].traits) == traits
    assert len(supports.references) == (2 if case.startswith("34") else 1)
    # The same elytra in all of them, whatever they were saved as.
    area = masks.area(masks.decode(dict(zip(traits, supports.references[0].rles, strict=True))["elytra"], (603, 332)))
    assert area == 43929


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("29-coco-rle-too-long", r"run-length counts cover 200696 of 200196 pixels"),
        ("32b-antialiased-label", r"B0\.png has soft edges"),
        ("33-jpeg-label", r"B0\.jpg is a JPEG, whose compression changes label numbers"),
        ("33b-jpeg-label-beside", r"B1\.jpg is a JPEG"),
        ("35-exif-180", r"EXIF orientation 3.* Turn the masks the same way"),
        ("37d-tps", r"b0\.tps is a TPS file, which holds landmarks"),
        ("37e-labelstudio-json", r"project\.json has no regions"),
        ("38-label-half-size", r"is 166 x 301 px, but .* is 332 x 603"),
    ],
)
def test_29_to_38_drawings_that_are_refused(shared_cases: Cases, case: str, reason: str) -> None:
    with pytest.raises(SupportError, match=reason):
        read_case(shared_cases(case))


# -------------------------------------------------------------------------------------------------- photographs


def read_each(folder: Path) -> tuple[dict[str, PhotographContent], dict[str, str]]:
    """Read each photograph of a case; returns what was read, and the reasons why the others were not."""
    read: dict[str, PhotographContent] = {}
    refused: dict[str, str] = {}
    for specimen in read_collection(folder / "collection.csv").photographs:
        try:
            read[specimen.id] = read_photograph(specimen.image)
        except ImageError as error:
            refused[specimen.id] = str(error)
    return read, refused


def test_50_odd_photographs(shared_cases: Cases) -> None:
    read, refused = read_each(shared_cases("50-odd-photographs"))
    plain = read["orig"].image
    grey = plain.astype(float) @ (0.299, 0.587, 0.114)
    exactly = ["rgb12in16", "imagej_composite", "planar8", "planar16", "thumb_first", "dng_thumb", "bigtiff_tiled"]
    for name in (*exactly, "float_rgb", "rgb16_lzw", "jp2"):
        assert np.array_equal(read[name].image, plain), name
    for name in ("cmyk", "mpo", "gif"):
        assert np.abs(read[name].image.astype(int) - plain).mean() < 3, name
    for name in ("gray16_miniswhite", "gray12in16"):
        assert np.corrcoef(read[name].image[..., 0].ravel(), grey.ravel())[0, 1] > 0.95, name
        assert abs(read[name].image.mean() - grey.mean()) < 20, name
    assert set(refused) == {"cut_200_bytes", "heic", "html404"}
    assert "damaged" in refused["cut_200_bytes"]
    notes = {name: "; ".join(each.notes) for name, each in read.items() if each.notes}
    assert set(notes) == {"rgb12in16", "gray12in16", "imagej_composite", "thumb_first", "dng_thumb", "mpo"}
    assert all(is_one_colour(read[name].image) for name in ("black", "white"))
    assert describe_exposure(read["tiny"].image) is not None


def test_70_decoding_bombs(shared_cases: Cases) -> None:
    with pytest.raises(ImageError, match="more than the 200,000,000 allowed"):
        read_labels(shared_cases("70-decoding-bombs") / "label_49kB.png")


def test_48_and_49_label_pictures_of_other_kinds(shared_cases: Cases) -> None:
    with pytest.raises(ImageError, match="floating point"):
        read_labels(shared_cases("48-float-label-tiff") / "supports" / "B0.tif")
    assert len(np.unique(read_labels(shared_cases("49-label-LA") / "supports" / "B0.png"))) > 1
