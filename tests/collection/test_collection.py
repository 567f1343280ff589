"""Specimen tables of every kind, and what is wrong with them."""

from __future__ import annotations

import datetime
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sst_retrieval.collection import column_types, specimen_table
from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import CollectionError
from sst_retrieval.imaging.images import write_jpeg
from sst_retrieval.index.snapshot import write_snapshot


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("photograph") / "a.jpg"
    write_jpeg(path, np.full((4, 6, 3), 200, dtype=np.uint8))
    return path.read_bytes()


@pytest.fixture
def drawer(tmp_path: Path, jpeg: bytes) -> Path:
    """A folder with the photographs a.jpg, b.jpg and c.jpg."""
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(jpeg)
    return tmp_path


def table(folder: Path, text: str, name: str = "collection.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding, newline="")
    return path


def metadata(collection: Collection, column: str) -> list[object]:
    return [specimen.metadata[column] for specimen in collection.photographs]


# --------------------------------------------------------------------------------------------------- good tables


@pytest.mark.parametrize(
    ("name", "separator", "encoding"),
    [
        ("t.csv", ",", "utf-8"),
        ("t.csv", ";", "utf-8-sig"),
        ("t.csv", "\t", "utf-8"),
        ("t.tsv", "\t", "utf-8"),
        ("t.TXT", "\t", "utf-16"),
        ("t.tsv", ",", "utf-8"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimited_text(drawer: Path, name: str, separator: str, encoding: str, end: str) -> None:
    rows = [
        ["catalogNumber", "image", "group", "locality"],
        ["A1", "a.jpg", "erato", "Panamá"],
        ["A2", "b.jpg", "", ""],
    ]
    text = end.join(separator.join(row) for row in rows) + end
    collection = read_collection(table(drawer, text, name, encoding))
    first, second = collection.photographs
    assert (first.id, first.image, first.group) == ("A1", drawer / "a.jpg", "erato")
    assert first.metadata == {"catalogNumber": "A1", "image": "a.jpg", "group": "erato", "locality": "Panamá"}
    assert second.group == "all"
    assert second.metadata["locality"] is None
    assert dict(collection.columns) == dict.fromkeys(rows[0], "VARCHAR")
    assert collection.source == drawer / name


def test_columns_get_sensible_types(drawer: Path) -> None:
    collection = read_collection(
        table(
            drawer,
            "catalogNumber,image,individualCount,decimalLatitude,eventDate,modified,reviewed,fieldNumber,postcode,note,big\n"
            "00123,a.jpg,3,9.166333,2015-04-01,2020-02-29T10:00:00Z,TRUE,7,08540,2,12345678901234567890\n"
            "0000,b.jpg,NA,-79,,2020-02-29T12:00:00+02:00,false,8,12,NA,1\n",
        )
    )
    expected = {
        "catalogNumber": ("VARCHAR", ["00123", "0000"]),
        "image": ("VARCHAR", ["a.jpg", "b.jpg"]),
        "individualCount": ("BIGINT", [3, None]),
        "decimalLatitude": ("DOUBLE", [9.166333, -79.0]),
        "eventDate": ("DATE", [datetime.date(2015, 4, 1), None]),
        "modified": ("TIMESTAMP", [datetime.datetime(2020, 2, 29, 10)] * 2),
        "reviewed": ("BOOLEAN", [True, False]),
        "fieldNumber": ("VARCHAR", ["7", "8"]),
        "postcode": ("VARCHAR", ["08540", "12"]),
        "note": ("BIGINT", [2, None]),
        "big": ("VARCHAR", ["12345678901234567890", "1"]),
    }
    assert {name: (kind, metadata(collection, name)) for name, kind in collection.columns.items()} == expected
    assert [specimen.id for specimen in collection.photographs] == ["00123", "0000"]


@pytest.mark.parametrize(
    "cells",
    [
        ["007", "12"],
        ["1E5", "2E7"],
        ["9,160", "3,200"],
        ["9,16", "3.2"],
        ["9,16", "3,2,1"],
        ["2015-02-30", "2015-02-01"],
        ["01/02/2015", "13/02/2015"],
        ["2015", "2015-04"],
        ["NA", "CR"],
        ["yes", "no"],
        ["F", "T"],
        ["1", "x"],
        ["0x10", "1"],
        ["1_000", "1"],
        ["٣", "1"],
        ["2015-04-01", "2015-04-01T10:00"],
        ["123456789012345678", "0.5"],
        ["inf", "1.5"],
        ["--1", "1"],
        ["2015-04-01T10:00", "2015-04-01T10:00Z"],
    ],
)
def test_what_only_looks_like_a_value_stays_text(drawer: Path, cells: list[str]) -> None:
    text = "id;image;x\n" + "".join(f"{i};a.jpg;{cell}\n" for i, cell in enumerate(cells))
    collection = read_collection(table(drawer, text))
    assert collection.columns["x"] == "VARCHAR"
    assert metadata(collection, "x") == cells


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["-5", "0", "NA"], "BIGINT", [-5, 0, None]),
        (["1", "-0.5", ".25", "3."], "DOUBLE", [1.0, -0.5, 0.25, 3.0]),
        (["1e-05", "2.5E10", "-1.0e+2"], "DOUBLE", [1e-05, 2.5e10, -100.0]),
        (["2015-04-01 10:00", "2015-04-01T10:00:30.5"], "TIMESTAMP", None),
        (["true", "FALSE", ""], "BOOLEAN", [True, False, None]),
        (["", ""], "VARCHAR", [None, None]),
        (["NA", ""], "VARCHAR", ["NA", None]),
    ],
)
def test_inferred_types(drawer: Path, cells: list[str], kind: str, values: list[object] | None) -> None:
    text = "id,image,x,y\n" + "".join(f"{i},a.jpg,{cell},\n" for i, cell in enumerate(cells))
    collection = read_collection(table(drawer, text))
    assert collection.columns["x"] == kind
    assert values is None or metadata(collection, "x") == values


@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_numbers_are_text_or_exact(numbers: list[float]) -> None:
    texts = [repr(number) for number in numbers]
    read = column_types.infer_types(specimen_table.SpecimenTable("t", {"x": texts}, {"x": ""}, range(len(texts))), ())
    if read.types["x"] == "VARCHAR":
        assert list(read.columns["x"]) == texts
    else:
        assert list(read.columns["x"]) == numbers


def test_quoted_cells_and_blank_rows(drawer: Path) -> None:
    text = 'id,image,note,\n\nA1,a.jpg,"Panama, ""the\nCanal""",\n,,,\nA2, b.jpg ,"x",,,\n'
    collection = read_collection(table(drawer, text))
    assert metadata(collection, "note") == ['Panama, "the\nCanal"', "x"]
    assert collection.photographs[1].image == drawer / "b.jpg"


@pytest.mark.parametrize("header", ["catalogNumber,Image", "Catalog Number,FILE_NAME", "specimen,photo", "ID,path"])
def test_usual_column_names_are_found(drawer: Path, header: str) -> None:
    collection = read_collection(table(drawer, f"{header},occurrenceID\nA1,a.jpg,x\n"))
    assert [(s.id, s.image.name) for s in collection.photographs] == [("A1", "a.jpg")]


def test_columns_can_be_named(drawer: Path) -> None:
    path = table(
        drawer, "catalogNumber,image,code,view2,species\nx,nothing,A1,a.jpg,erato\nx,nothing,A2,b.jpg,melpomene\n"
    )
    collection = read_collection(path, id_column="code", image_column="view2", group_column="Species")
    assert [(s.id, s.image.name, s.group) for s in collection.photographs] == [
        ("A1", "a.jpg", "erato"),
        ("A2", "b.jpg", "melpomene"),
    ]


def test_without_a_group_column_all_is_one_group(drawer: Path) -> None:
    collection = read_collection(table(drawer, "id,image,scientificName\nA1,a.jpg,H. erato\nA2,b.jpg,H. melpomene\n"))
    assert {specimen.group for specimen in collection.photographs} == {"all"}


def test_images_folder(drawer: Path, jpeg: bytes) -> None:
    photos = drawer / "photos"
    (photos / "dorsal").mkdir(parents=True)
    for name in ("dorsal/a.jpg", "b.jpg", "IMG 1.jpg"):
        (photos / name).write_bytes(jpeg)
    path = table(
        drawer,
        "id,image\nA1,dorsal\\a.jpg\nA2,somewhere/b.jpg\nA3,https://x.org/IMG%201.jpg?size=big\nA4,gone.jpg\n",
    )
    collection = read_collection(path, images=photos)
    expected = [photos / "dorsal/a.jpg", photos / "b.jpg", photos / "IMG 1.jpg", photos / "gone.jpg"]
    assert [specimen.image for specimen in collection.photographs] == expected


def test_a_file_name_alone_is_not_enough_when_two_photographs_have_it(drawer: Path, jpeg: bytes) -> None:
    photos = drawer / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(jpeg)
    (photos / "b.jpg").write_bytes(jpeg)
    collection = read_collection(table(drawer, "id,image\nA,dorsal/a.jpg\nB,ventral/a.jpg\nC,b.jpg\n"), images=photos)
    assert collection.photographs[0].image == photos / "dorsal/a.jpg"
    path = table(drawer, "id,image\nA,https://x.org/1/a.jpg\nB,https://x.org/2/a.jpg\n")
    with pytest.raises(CollectionError, match=r"line 2: https://x\.org/1/a\.jpg .*same file name 'a\.jpg'"):
        read_collection(path, images=photos)


def test_missing_photographs_and_symbolic_links(drawer: Path) -> None:
    (drawer / "link.jpg").symlink_to(drawer / "a.jpg")
    collection = read_collection(table(drawer, "id,image\nA1,gone.jpg\nA2,link.jpg\nA3,\n"))
    assert [specimen.image.name for specimen in collection.photographs] == ["gone.jpg", "link.jpg"]
    assert [(skipped.photograph, skipped.stage) for skipped in collection.left_out] == [("A3", "image")]


def test_the_table_may_be_named_relative_to_the_current_folder(drawer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(drawer)
    table(drawer, "id,image\nA1,a.jpg\n")
    assert read_collection(Path("collection.csv")).photographs[0].image == drawer / "a.jpg"


def test_parquet(drawer: Path) -> None:
    frame = pd.DataFrame(
        {
            "catalogNumber": [7, 8],
            "image": ["a.jpg", "b.jpg"],
            "sex": pd.Categorical(["female", None]),
            "mass": [1.5, np.nan],
            "count": np.array([1, 2], dtype=np.uint8),
            "when": pd.to_datetime(["2015-04-01T10:00:00Z", None]),
            "day": [datetime.date(2015, 4, 1), None],
            "code": ["007", " "],
            "tags": [["a", "é"], None],
        },
        index=[5, 6],
    )
    frame.to_parquet(drawer / "t.parquet")
    collection = read_collection(drawer / "t.parquet")
    assert dict(collection.columns) == {
        "catalogNumber": "VARCHAR",
        "image": "VARCHAR",
        "sex": "VARCHAR",
        "mass": "DOUBLE",
        "count": "BIGINT",
        "when": "TIMESTAMP",
        "day": "DATE",
        "code": "VARCHAR",
        "tags": "VARCHAR",
    }
    assert [specimen.id for specimen in collection.photographs] == ["7", "8"]
    assert list(collection.photographs[0].metadata.values())[2:] == [
        *("female", 1.5, 1, datetime.datetime(2015, 4, 1, 10), datetime.date(2015, 4, 1), "007", '["a", "é"]')
    ]
    assert list(collection.photographs[1].metadata.values())[2:] == [None, None, 2, None, None, None, None]


def test_specimens_are_written_for_the_catalog(drawer: Path) -> None:
    path = table(
        drawer, "Specimen,image,group,count,day,ok,when\n01,a.jpg,x,3,2015-04-01,true,2015-04-01T10:00\n02,b.jpg,,,,,\n"
    )
    write_snapshot(drawer / "specimens.parquet", read_collection(path), previous=None, retained=[])
    with duckdb.connect() as connection:
        result = connection.execute("SELECT * FROM read_parquet(?)", [str(drawer / "specimens.parquet")])
        columns = [(name, str(kind)) for name, kind, *_ in result.description]
        rows = result.fetchall()
    assert columns == [
        ("sst:photograph", "VARCHAR"),
        ("sst:specimen", "VARCHAR"),
        ("sst:image", "VARCHAR"),
        ("sst:group", "VARCHAR"),
        ("sst:view", "VARCHAR"),
        ("Specimen", "VARCHAR"),
        ("image", "VARCHAR"),
        ("group", "VARCHAR"),
        ("count", "BIGINT"),
        ("day", "DATE"),
        ("ok", "BOOLEAN"),
        ("when", "TIMESTAMP"),
    ]
    day = datetime.date(2015, 4, 1)
    assert rows == [
        (
            "01",
            "01",
            str(drawer / "a.jpg"),
            "x",
            "",
            "01",
            "a.jpg",
            "x",
            3,
            day,
            True,
            datetime.datetime(2015, 4, 1, 10),
        ),
        ("02", "02", str(drawer / "b.jpg"), "all", "", "02", "b.jpg", None, None, None, None, None),
    ]


# ---------------------------------------------------------------------------------------------------- bad tables


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "id,image,sex\nA1,a.jpg,m\nA2,a.jpg,\nA1,a.jpg,f\nA1,c.jpg,\n",
            r"collection\.csv lines 2 and 4: A1 has the photograph a\.jpg several times; remove .* `individual`",
        ),
        ('id,image,note\nA1,a.jpg,"two\nlines"\nA2,a.jpg,\nA2,a.jpg,x\n', r"lines 4 and 5: A2 has"),
        (
            "id,image,collectionCode\nA1,a.jpg,Birds\nA1,b.jpg,Bees\n",
            r"must be different .* 'A1' in lines 2 and 3 is of several: collectionCode is Birds and Bees; rename",
        ),
        ("id,image\nA,a.jpg\nA,b.jpg\nA b,c.jpg\n", r"lines 3 and 4: two .* called 'A b'; .*column `photograph`"),
        (
            "id,image,photograph\nA,a.jpg,P\nB,b.jpg,A\n",
            r"lines 2 and 3: 'A' would be a photograph of B and is another specimen; .*`photograph`",
        ),
        ("id,image\n,a.jpg\n,b.jpg\n", r"lines 2 and 3: id is empty"),
        ("id,image\n..,a.jpg\n", r"cannot be a file name"),
        ("id,image\na\x07b,a.jpg\n", r"cannot be a file name"),
        (f"id,image\n{'é' * 101},a.jpg\n", r"at most 200 bytes"),
        ("id,image,SST:trait\nA1,a.jpg,1\n", r"'SST:trait' begins with 'sst:'.*rename"),
        ("id,image,sex,Sex\nA1,a.jpg,f,f\n", r"columns 'sex' and 'Sex'.*rename"),
        ("id,image,sex,sex\nA1,a.jpg,f,f\n", r"columns 'sex' and 'sex'"),
        ("id,species\nA1,a.jpg\n", r"it has: id, species; .*--image-column"),
        ("id,image\n", r"no rows"),
        ("", r"no rows"),
        ("id,image\nA1\n", r"line 2 has 1 cells.*2 columns"),
        ("id,image\nA1,a.jpg,b,c\n", r"line 2 has 4 cells"),
        ('id,image\nA1,"a.jpg\n', r"line 2: .*quotation mark"),
        ("id,image\nA1,https://x.org/a.jpg\n", r"line 2: .*web address; download.*--images"),
        ("id,image\nA1,x.jpg\nA2,y.jpg\n", r"none of its 2 photographs exists, for example .*x\.jpg; .*--images"),
        ("id,image\nA1,\nA2,\n", r"'image' is empty"),
        ("id,image\nA1,a\x00.jpg\n", r"line 2 holds NUL bytes"),
        ("id,image\nA1,a\x01.jpg\n", r"line 2: the photograph .*cannot be a file name"),
    ],
)
def test_bad_tables(drawer: Path, text: str, reason: str) -> None:
    with pytest.raises(CollectionError, match=f"(?s){reason}") as caught:
        read_collection(table(drawer, text))
    assert "collection.csv" in str(caught.value)


def test_latin_1_is_read_and_noted(drawer: Path) -> None:
    collection = read_collection(table(drawer, "id,image,place\nA1,a.jpg,Peru\nA2,b.jpg,Panamá\n", encoding="latin-1"))
    assert metadata(collection, "place") == ["Peru", "Panamá"]
    (note,) = collection.notes
    assert "is not UTF-8 (line 3); it was read as Windows-1252" in note
    assert "'Panamá'" in note
    assert "CSV UTF-8" in note


@pytest.mark.parametrize(
    ("place", "encoding"),
    [("Zürich", "mac-roman"), ("Zürich", "cp437"), ("Москва", "cp1251"), ("Pawłowo", "cp1250"), ("東京", "shift-jis")],
)
def test_other_encodings_are_refused_rather_than_guessed(drawer: Path, place: str, encoding: str) -> None:
    with pytest.raises(CollectionError, match=r"line 3 is not UTF-8 .*garble.*CSV UTF-8.*iconv"):
        read_collection(table(drawer, f"id,image,place\nA1,a.jpg,Peru\nA2,b.jpg,{place}\n", encoding=encoding))


@pytest.mark.parametrize("name", ["t.xlsx", "t.parquet", "t.zip"])
def test_files_that_are_no_tables(drawer: Path, name: str) -> None:
    with pytest.raises(CollectionError, match=rf"t\.{name[2:]}"):
        read_collection(table(drawer, "nothing of the kind", name))


@pytest.mark.parametrize("name", ["gone.csv", "gone.parquet", "gone.zip"])
def test_missing_tables(drawer: Path, name: str) -> None:
    with pytest.raises(CollectionError, match="gone"):
        read_collection(drawer / name)


def test_wrong_names_from_the_caller(drawer: Path) -> None:
    path = table(drawer, "id,image\nA1,a.jpg\n")
    with pytest.raises(CollectionError, match=r"folder of photographs .*nowhere does not exist"):
        read_collection(path, images=drawer / "nowhere")
    with pytest.raises(CollectionError, match=r"does not have a column 'code'; it has: id, image; .*--id-column"):
        read_collection(path, id_column="code")
    with pytest.raises(CollectionError, match=r"a column 'species'.*--group-column"):
        read_collection(path, group_column="species")


def test_bad_parquet(drawer: Path) -> None:
    pd.DataFrame({"id": [1.0, np.nan], "image": ["a.jpg", "b.jpg"]}).to_parquet(drawer / "t.parquet")
    with pytest.raises(CollectionError, match="decimal numbers"):
        read_collection(drawer / "t.parquet")
    pd.DataFrame({"id": ["A", "B", "A"], "image": ["a.jpg"] * 3, "n": [1, 2, 3]}).to_parquet(drawer / "t.parquet")
    with pytest.raises(CollectionError, match=r"rows 1 and 3: A has the photograph a\.jpg several times"):
        read_collection(drawer / "t.parquet")
    pd.DataFrame({"id": ["A"], "image": ["a.jpg"], "raw": [b"\0"]}).to_parquet(drawer / "t.parquet")
    with pytest.raises(CollectionError, match="'raw' holds bytes"):
        read_collection(drawer / "t.parquet")


# ------------------------------------------------------------------------------------------ Darwin Core Archives

OCCURRENCES = (
    "id\tcatalogNumber\tscientificName\tdecimalLatitude\tassociatedMedia\tlicense\n"
    "u1\t00123\tHeliconius erato\t9.1\t\tCC0\n"
    'u2\t00124\tHeliconius "melpomene\t8.5\t\tCC0\n'
    "u3\t00125\tHeliconius erato\t\t\tCC0\n"
)
MEDIA = (
    "coreid\tidentifier\ttype\tlicense\tdescription\n"
    "u2\thttps://x.org/m/b.jpg\tStillImage\tCC BY\tdorsal\n"
    "u1\ta.jpg\tStillImage\tCC BY\tdorsal\n"
    "u2\thttps://x.org/m/c.jpg\tStillImage\tCC BY\tventral\n"
    "u2\thttps://x.org/m/song.mp3\tSound\tCC BY\tsong\n"
)
META = """<?xml version="1.0" encoding="UTF-8"?>
<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">
  <core encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1"
        rowType="http://rs.tdwg.org/dwc/terms/Occurrence">
    <files><location>occurrence.txt</location></files>
    <id index="0"/>
    <field index="1" term="http://rs.tdwg.org/dwc/terms/catalogNumber"/>
    <field index="2" term="http://rs.tdwg.org/dwc/terms/scientificName"/>
    <field index="3" term="http://rs.tdwg.org/dwc/terms/decimalLatitude"/>
    <field index="4" term="http://rs.tdwg.org/dwc/terms/associatedMedia"/>
    <field index="5" term="http://purl.org/dc/terms/license"/>
    <field default="PreservedSpecimen" term="http://rs.tdwg.org/dwc/terms/basisOfRecord"/>
  </core>
  <extension encoding="UTF-8" fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="1"
        rowType="http://rs.gbif.org/terms/1.0/Multimedia">
    <files><location>multimedia.txt</location></files>
    <coreid index="0"/>
    <field index="1" term="http://purl.org/dc/terms/identifier"/>
    <field index="2" term="http://purl.org/dc/terms/type"/>
    <field index="3" term="http://purl.org/dc/terms/license"/>
    <field index="4" term="http://purl.org/dc/terms/description"/>
  </extension>
</archive>
"""


def archive(folder: Path, files: Mapping[str, str | bytes], *, inside: str = "") -> Path:
    path = folder / "heliconius.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(inside + name, content)
    return path


def darwin_core(**changes: str) -> dict[str, str | bytes]:
    files = {"meta.xml": META, "occurrence.txt": OCCURRENCES, "multimedia.txt": MEDIA}
    return {**files, **{name.replace("_", "."): text for name, text in changes.items()}}


def test_darwin_core_archive_with_a_folder_of_photographs(drawer: Path) -> None:
    collection = read_collection(archive(drawer, darwin_core()), images=drawer)
    assert [(s.id, s.image) for s in collection.photographs] == [
        ("00123", drawer / "a.jpg"),
        ("00124 b", drawer / "b.jpg"),
        ("00124 c", drawer / "c.jpg"),
    ]
    assert [s.specimen for s in collection.photographs] == ["00123", "00124", "00124"]
    assert collection.photographs[2].metadata == {
        "id": "u2",
        "catalogNumber": "00124",
        "scientificName": 'Heliconius "melpomene',
        "decimalLatitude": 8.5,
        "associatedMedia": None,
        "license": "CC0",
        "basisOfRecord": "PreservedSpecimen",
        "image": "https://x.org/m/c.jpg",
        "identifier": "https://x.org/m/c.jpg",
        "media_type": "StillImage",
        "media_license": "CC BY",
        "description": "ventral",
    }
    assert [skipped.photograph for skipped in collection.left_out] == ["00125"]
    assert collection.columns["decimalLatitude"] == "DOUBLE"
    assert not (drawer / "heliconius.photographs").exists()


DCMI = "http://purl.org/dc/dcmitype/"


@pytest.mark.parametrize(
    ("kind", "form", "photograph"),
    [
        *(("StillImage", "", True), ("stillimage", "", True), ("Still Image", "image/jpeg", True)),
        *((f"{DCMI}StillImage", "", True), (f"{DCMI}stillImage/", "", True), ("dcmitype:StillImage", "", True)),
        *(("Sound", "", False), ("sound", "", False), (f"{DCMI}Sound", "", False), ("dcmitype:Sound", "", False)),
        *(("MovingImage", "", False), (f"{DCMI}MovingImage", "", False), ("movingimage", "", False)),
        *(("Text", "", False), (f"{DCMI}InteractiveResource", "image/jpeg", False), ("PhysicalObject", "", False)),
        *(("", "", True), ("", "image/jpeg", True), ("", "audio/mpeg", False), ("", "video/mp4", False)),
        *(("image/jpeg", "", True), ("audio/mpeg", "", False), ("", "text/html", False), ("", "AUDIO", False)),
        *((f"{DCMI}Image", "image/png", True), ("Image", "video/mp4", False)),
    ],
)
def test_only_still_images_of_an_archive_are_photographs(drawer: Path, kind: str, form: str, photograph: bool) -> None:
    meta = META.replace('term="http://purl.org/dc/terms/description"', 'term="http://purl.org/dc/terms/format"')
    media = f"coreid\tidentifier\ttype\tlicense\tformat\nu1\ta.jpg\t\t\t\nu2\tb.jpg\t{kind}\t\t{form}\n"
    # The occurrence names the same file once more, without a type.
    occurrences = OCCURRENCES.replace("\t8.5\t\t", "\t8.5\tb.jpg\t")
    path = archive(drawer, darwin_core(meta_xml=meta, multimedia_txt=media, occurrence_txt=occurrences))
    collection = read_collection(path, images=drawer)
    assert [specimen.id for specimen in collection.photographs] == ["00123", "00124"][: 1 + photograph]
    assert ("00124" in [skipped.photograph for skipped in collection.left_out]) is not photograph


def test_both_types_of_audiovisual_core_must_say_still_image(drawer: Path) -> None:
    meta = META.replace('term="http://purl.org/dc/terms/description"', 'term="http://purl.org/dc/elements/1.1/type"')
    media = (
        "coreid\tidentifier\tdcterms:type\tlicense\tdc:type\n"
        f"u1\ta.jpg\t{DCMI}StillImage\t\tStillImage\nu2\tb.jpg\t\t\tSound\nu3\tc.jpg\t{DCMI}Sound\t\t\n"
    )
    collection = read_collection(archive(drawer, darwin_core(meta_xml=meta, multimedia_txt=media)), images=drawer)
    assert [specimen.id for specimen in collection.photographs] == ["00123"]


@pytest.mark.parametrize("inside", ["", "export/"])
def test_photographs_inside_the_archive_are_unpacked_once(tmp_path: Path, jpeg: bytes, inside: str) -> None:
    media = MEDIA.replace("\ta.jpg", "\tmedia/a.jpg").replace("https://x.org/m/c.jpg", "../../c.jpg")
    photographs: dict[str, str | bytes] = dict.fromkeys(("media/a.jpg", "media/b.jpg", "c.jpg", "unused.jpg"), jpeg)
    path = archive(tmp_path, darwin_core(multimedia_txt=media) | photographs, inside=inside)
    folder = tmp_path / "heliconius.photographs"
    for _ in range(2):
        collection = read_collection(path)
        assert [s.image for s in collection.photographs[:2]] == [folder / "media/a.jpg", folder / "b.jpg"]
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert {file.name for file in files} == {"a.jpg", "b.jpg"}
        assert not (tmp_path.parent / "c.jpg").exists()  # named as ../../c.jpg
        os.utime(folder / "b.jpg", (1, 1))
    read_collection(path)
    assert (folder / "b.jpg").stat().st_mtime == 1


def test_an_unpacked_archive(drawer: Path) -> None:
    for name, content in darwin_core(multimedia_txt=MEDIA.replace("https://x.org/m/", "")).items():
        (drawer / name).write_text(str(content))
    for path in (drawer, drawer / "meta.xml"):
        assert [s.image.name for s in read_collection(path).photographs] == ["a.jpg", "b.jpg", "c.jpg"]


def test_associated_media_stand_in_for_a_file_of_photographs(drawer: Path) -> None:
    meta = META.partition("<extension")[0] + "</archive>"
    occurrences = OCCURRENCES.replace("8.5\t\t", "8.5\thttps://x.org/b.jpg | https://x.org/c.jpg\t")
    collection = read_collection(archive(drawer, darwin_core(meta_xml=meta, occurrence_txt=occurrences)), images=drawer)
    assert [(s.id, s.image.name) for s in collection.photographs] == [("00124 b", "b.jpg"), ("00124 c", "c.jpg")]
    assert len(collection.left_out) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"meta_xml": "<archive"}, r"meta\.xml is not valid XML"),
        ({"meta_xml": META.replace("terms/Occurrence", "terms/Taxon")}, r"core must be Occurrence, not Taxon"),
        ({"meta_xml": META.replace("occurrence.txt", "gone.txt")}, r"gone\.txt is named in meta\.xml, but missing"),
        ({"meta_xml": META.replace('index="5"', 'index="9"')}, r"occurrence\.txt line 2 has only 6 cells"),
        ({"meta_xml": META.replace('index="5"', 'index="x"')}, r"'x' where a number"),
        ({"meta_xml": META.replace('encoding="UTF-8" f', 'encoding="klingon" f')}, r"'klingon', which is unknown"),
        ({"meta_xml": META.replace('"\\t"', '"::"')}, r"separates or quotes cells with '::'"),
        ({"occurrence_txt": OCCURRENCES.replace("00125", "00123")}, r"must be different"),
        (
            {"multimedia_txt": MEDIA.replace("\ta.jpg", "\thttps://x.org/a.jpg")},
            r"occurrence\.txt line 2: .*web address; download .*--images",
        ),
    ],
)
def test_bad_archives(drawer: Path, changes: dict[str, str], reason: str) -> None:
    with pytest.raises(CollectionError, match=rf"heliconius\.zip.*{reason}"):
        read_collection(archive(drawer, darwin_core(**changes)))


@pytest.mark.parametrize("number", ["9" * 5000, "1e3", "-1", "\u00b2"])
def test_numbers_of_meta_xml(drawer: Path, number: str) -> None:
    text = META.replace('index="3"', f'index="{number}"')
    with pytest.raises(CollectionError, match=r"where a number is due"):
        read_collection(archive(drawer, darwin_core(meta_xml=text)))


def test_a_zip_without_meta_xml(drawer: Path) -> None:
    with pytest.raises(CollectionError, match=r"no meta\.xml"):
        read_collection(archive(drawer, {"collection.csv": "id,image\n"}))


# ------------------------------------------------------------------------------------------------ real specimens


def test_heliconius(shared_data: Path) -> None:
    collection = read_collection(shared_data / "heliconius" / "collection.csv")
    assert len(collection.photographs) == 42
    assert collection.columns["decimalLatitude"] == "DOUBLE"
    assert len({specimen.group for specimen in collection.photographs}) == 6
    assert all(specimen.image.is_file() for specimen in collection.photographs)


def test_pinned_beetles_keep_their_numbers_as_text(shared_data: Path) -> None:
    collection = read_collection(shared_data / "pinned_beetles" / "collection.csv")
    assert collection.columns["catalogNumber"] == "VARCHAR"
    assert [specimen.id for specimen in collection.photographs[:2]] == ["0000", "0001"]
    assert collection.photographs[0].metadata["catalogNumber"] == "0000"
