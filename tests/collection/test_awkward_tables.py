"""Tables as spreadsheets, R, pandas and GBIF write them, and as they come damaged: read rightly, noted, or refused."""

from __future__ import annotations

import datetime
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sst_retrieval.collection.folder_table import write_folder_table
from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.collection.table_files import read_table
from sst_retrieval.errors import CollectionError, InputError
from sst_retrieval.files import escape_name, unescape_name
from sst_retrieval.imaging.images import write_jpeg
from sst_retrieval.morphology.scales import read_scales


@pytest.fixture
def drawer(tmp_path: Path) -> Path:
    """A folder with the photographs a.jpg to e.jpg."""
    write_jpeg(tmp_path / "a.jpg", np.full((4, 6, 3), 200, dtype=np.uint8))
    for name in "bcde":
        (tmp_path / f"{name}.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    return tmp_path


def read(folder: Path, text: str | bytes, name: str = "t.csv") -> Collection:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_collection(folder / name)


def ids(collection: Collection) -> list[str]:
    return [specimen.id for specimen in collection.photographs]


def column(collection: Collection, name: str) -> list[object]:
    return [specimen.metadata[name] for specimen in collection.photographs]


# ------------------------------------------------------------------------------------------------ quotation marks


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt"])
def test_a_tab_file_has_no_quoting(drawer: Path, suffix: str) -> None:
    text = 'id\timage\tplace\nA\ta.jpg\tPanama\nB\tb.jpg\t"Candidatus\nC\tc.jpg\tPeru\nD\td.jpg\tx"\nE\te.jpg\ty\n'
    collection = read(drawer, text, f"t.{suffix}")
    assert column(collection, "place") == ["Panama", '"Candidatus', "Peru", 'x"', "y"]
    assert "quotation marks are read as characters of their cells, as line 3" in collection.notes[0]


def test_a_tab_file_may_have_quoting(drawer: Path) -> None:
    text = '"id"\t"image"\t"place"\n"A"\t"a.jpg"\t"the ""Canal"""\n"B"\t"b.jpg"\t"two\nlines"\n'
    collection = read(drawer, text)
    assert column(collection, "place") == ['the "Canal"', "two\nlines"]
    assert collection.notes == ()


def test_quoted_rows_of_a_tab_file_are_refused_where_no_reading_fits(drawer: Path) -> None:
    text = 'id\timage\tplace\nA\ta.jpg\t"Panama\nB\tb.jpg\tPeru"\nC\tc.jpg\ttoo\tmany\n'
    with pytest.raises(CollectionError, match=r"line 2: .*quotation mark goes on over 2 lines"):
        read(drawer, text)


@pytest.mark.parametrize("mark", [",", ";"])
def test_a_mark_that_swallows_rows_is_an_alarm(drawer: Path, mark: str) -> None:
    rows = [
        "id,image,place,sex",
        "A,a.jpg,x,m",
        'B,b.jpg,"Candidatus,f',
        "C,c.jpg,Peru,f",
        'D,d.jpg,y",m',
        "E,e.jpg,z,f",
    ]
    with pytest.raises(CollectionError, match=r"line 3: .*quotation mark goes on over 3 lines, which look like rows"):
        read(drawer, "\n".join(rows).replace(",", mark))


@pytest.mark.parametrize("mark", [",", "\t"])
def test_a_very_long_cell_is_read(drawer: Path, mark: str) -> None:
    polygon = "POLYGON((" + " 1.0 2.0" * 40_000 + "))"
    collection = read(drawer, f"id{mark}image{mark}footprintWKT\nA{mark}a.jpg{mark}{polygon}\n")
    assert column(collection, "footprintWKT") == [polygon]


def test_a_very_long_quoted_cell_is_read(drawer: Path) -> None:
    polygon = "POLYGON((" + "1.0 2.0," * 400_000 + "))"
    assert column(read(drawer, f'id,image,wkt\nA,a.jpg,"{polygon}"\n'), "wkt") == [polygon]


# ------------------------------------------------------------------------------------------------- header and rows


@pytest.mark.parametrize("corner", ["", " "])
def test_row_numbers_without_a_name_are_left_out(drawer: Path, corner: str) -> None:
    collection = read(drawer, f'"{corner}","id","image"\n"1","A","a.jpg"\n"2","B","b.jpg"\n')
    assert list(collection.columns) == ["id", "image"]
    assert "column 1 has no name and holds row numbers" in collection.notes[0]


def test_rows_that_are_longer_than_the_header_by_their_number(drawer: Path) -> None:
    collection = read(drawer, '"id"\t"image"\n"1"\t"A"\t"a.jpg"\n"2"\t"B"\t"b.jpg"\n')
    assert ids(collection) == ["A", "B"]
    with pytest.raises(CollectionError, match="line 2 has 3 cells"):
        read(drawer, "id,image\nA,a.jpg,x\nB,b.jpg,y\n")
    with pytest.raises(CollectionError, match="line 3 has 3 cells"):
        read(drawer, "id,image\n1,A,a.jpg\n3,B,b.jpg\n")


@pytest.mark.parametrize("sexes", [("f", ""), ("", "f")])
def test_row_numbers_before_cells_that_are_empty(drawer: Path, sexes: tuple[str, str]) -> None:
    collection = read(drawer, f"id\timage\tsex\n1\tA\ta.jpg\t{sexes[0]}\n2\tB\tb.jpg\t{sexes[1]}\n")
    assert ids(collection) == ["A", "B"]
    assert column(collection, "sex") == [sex or None for sex in sexes]
    commas = read(drawer, "id,image\n1,a.jpg,\n2,b.jpg,\n")  # Of a spreadsheet that was wider once.
    assert ids(commas) == ["1", "2"]


def test_other_columns_without_a_name_are_kept(drawer: Path) -> None:
    collection = read(drawer, "id,,image\nA,x,a.jpg\n")
    assert column(collection, "column_2") == ["x"]
    assert "column 2 has no name; it is called column_2" in collection.notes[0]


@pytest.mark.parametrize("line", ["sep=;", "SEP=;", '"sep=;"'])
def test_excels_line_that_names_the_separator(drawer: Path, line: str) -> None:
    collection = read(drawer, f"{line}\r\nid;image;note\r\nA;a.jpg;x,y\r\nB;;z\r\n")
    assert column(collection, "note") == ["x,y"]
    with pytest.raises(CollectionError, match="line 3 has 1 cells"):
        read(drawer, f"{line}\nid;image\nA\n")


def test_a_header_in_the_middle_is_left_out(drawer: Path) -> None:
    collection = read(drawer, "id,image\nA,a.jpg\n\nid,image\nB,b.jpg\n")
    assert ids(collection) == ["A", "B"]
    assert "line 4 repeats the header" in collection.notes[0]


@pytest.mark.parametrize(
    "content",
    [
        "id,image,place\rA,a.jpg,Zürich\r".encode(),
        "\ufeffid,image,place\nA,a.jpg,Zürich\n".encode(),
        "id,image,place,,\nA,a.jpg,Zürich,,\n,,,,\n\n".encode(),
        "id,image,place\nA,a.jpg,Zürich\n".encode("utf-16"),
        "id,image,place\nA,a.jpg,Zürich\n".encode("utf-16-le"),
        "id,image,place\nA,a.jpg,Zürich\n".encode("utf-32"),
        "id,image,place\nA,a.jpg,Zürich\n".encode("latin-1"),
    ],
)
def test_encodings_and_line_ends(drawer: Path, content: bytes) -> None:
    assert column(read(drawer, content), "place") == ["Zürich"]


@pytest.mark.parametrize(
    "header", ["dwc:catalogNumber,ac:accessURI", "http://rs.tdwg.org/dwc/terms/catalogNumber,image"]
)
def test_terms_with_a_prefix(drawer: Path, header: str) -> None:
    assert ids(read(drawer, f"{header}\nA,a.jpg\n")) == ["A"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.xlsx", b"PK\x03\x04", r"spreadsheet; save its sheet as 'CSV UTF-8'"),
        ("t.ods", b"PK\x03\x04", r"spreadsheet"),
        ("t.csv", b"PK\x03\x04xx", r"spreadsheet .*CSV UTF-8"),
        ("t.csv", b"\x1f\x8b\x08xx", r"compressed"),
        ("t.csv", b"id,image\nA,a.jpg\n\0\0\0\0\0", r"line 3 holds NUL bytes"),
    ],
)
def test_what_is_no_text(drawer: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(CollectionError, match=reason):
        read(drawer, content, name)


def test_columns_behind_a_carriage_return_are_not_lost(drawer: Path) -> None:
    """`paste` and `sed` put what they add behind the carriage return of a line that Windows ended."""
    with pytest.raises(CollectionError, match=r"line 1 has a carriage return in the middle.*tr -d '\\r' < t.csv"):
        read(drawer, b"id,image\r,sex\nA,a.jpg\r,male\nB,b.jpg\r,female\n")
    assert column(read(drawer, b'id,image,note\nA,a.jpg,"two\rlines"\n'), "note") == ["two\rlines"]
    assert ids(read(drawer, b"id,image\rA,a.jpg\rB,b.jpg\r")) == ["A", "B"]
    assert column(read(drawer, b'id,image,note\rA,a.jpg,"two\nlines"\r'), "note") == ["two\nlines"]


def test_bounds(drawer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CollectionError, match=r"line 1 has 6,002 cells"):
        read(drawer, "id,image" + ",x" * 6000 + "\n")
    with pytest.raises(CollectionError, match=r"line 1 is longer than"):
        read(drawer, "id,image" + ",x" * 10_000_000 + "\n")
    with (drawer / "t.csv").open("wb") as file:
        file.truncate(3 * 1024**3)
    with pytest.raises(CollectionError, match=r"3\.0 GB"):
        read_collection(drawer / "t.csv")
    monkeypatch.setattr("sst_retrieval.collection.delimited_rows.MAX_MEMORY", 10_000)
    with pytest.raises(CollectionError, match="more cells than can be held"):
        read(drawer, "id,image\n" + "".join(f"A{i},a.jpg\n" for i in range(1000)))


# ----------------------------------------------------------------------------------------------------------- ids


def test_ids_with_slashes_guids_blanks_and_emoji(drawer: Path) -> None:
    names = ["NHMUK 1929/12/B0", "UAM:Ento:B0", "B 0", "Ünï 🦋", "a\\b"]
    rows = "".join(f"{name},{photo}.jpg\n" for name, photo in zip(names, "abcde", strict=True))
    assert ids(read(drawer, f"id,image\n{rows}")) == names
    escaped = [escape_name(name) for name in names]
    assert not any("/" in name or "\\" in name for name in escaped)
    assert escaped[1:4] == names[1:4]
    assert [unescape_name(name) for name in escaped] == names


@given(st.text(min_size=1))
def test_escaped_names_are_file_names_and_come_back(name: str) -> None:
    assert unescape_name(escape_name(name, ":*")) == name
    assert not set(escape_name(name, ":*")) & set("/\\\0:*")
    assert not escape_name(name).startswith(".")


def test_one_bad_row_loses_no_other(drawer: Path) -> None:
    collection = read(drawer, f"id,image\nA,a.jpg\n,b.jpg\nC,https://x.org/c.jpg\n{'é' * 101},d.jpg\nE,e.jpg\n")
    assert ids(collection) == ["A", "E"]
    assert [(each.photograph, "web address" in each.reason) for each in collection.left_out] == [("C", True)]
    assert "line 3: id is empty" in collection.notes[0]
    assert "line 5: id" in collection.notes[1]


def test_file_names_are_ids_without_a_column_of_ids(drawer: Path) -> None:
    collection = read(drawer, "image,sex\na.jpg,m\nb.jpg,f\n")
    assert ids(collection) == ["a", "b"]
    assert "the file names of the photographs are the ids" in collection.notes[0]
    for folder in ("dorsal", "ventral"):
        (drawer / folder).mkdir()
        (drawer / folder / "a.jpg").write_bytes((drawer / "a.jpg").read_bytes())
    assert ids(read(drawer, "image\ndorsal/a.jpg\nventral\\a.jpg\n")) == ["dorsal/a", "ventral/a"]


def test_the_same_row_twice_and_ids_that_look_the_same(drawer: Path) -> None:
    collection = read(drawer, "id,image\nA,a.jpg\nB,b.jpg\nA,a.jpg\n")
    assert ids(collection) == ["A", "B"]
    assert "line 4: the same row as one before" in collection.notes[0]
    collection = read(drawer, f"id,image\nMüller,a.jpg\n{unicodedata.normalize('NFD', 'Müller')},b.jpg\n")
    assert [(each.id, each.specimen) for each in collection.photographs] == [
        ("Müller a", "Müller"),
        ("Müller b", "Müller"),
    ]


def test_two_rows_with_one_photograph_are_noted(drawer: Path) -> None:
    collection = read(drawer, "id,image\nA,a.jpg\nB,b.jpg\nC,./a.jpg\n")
    assert ids(collection) == ["A", "B", "C"]
    assert "lines 2 and 4: A and C have one photograph, a.jpg" in collection.notes[0]


def test_groups_that_differ_in_capitals_are_noted(drawer: Path) -> None:
    collection = read(drawer, "id,image,group\nA,a.jpg,Erato\nB,b.jpg,Erato \nC,c.jpg,erato\nD,d.jpg,sara\n")
    assert [each.group for each in collection.photographs] == ["Erato", "Erato", "erato", "sara"]
    (note,) = collection.notes
    assert "line 4: the group 'erato' is not 'Erato'; is it?" in note


# --------------------------------------------------------------------------------------------------- photographs


def test_missing_ids_as_r_writes_them_are_no_specimen(drawer: Path) -> None:
    collection = read(drawer, "id,image\nA,a.jpg\nNA,b.jpg\nNA,c.jpg\n#N/A,d.jpg\n,e.jpg\n")
    assert ids(collection) == ["A"]
    assert any("id is 'NA', which means an empty cell; left out" in note for note in collection.notes)
    assert any("line 6: id is empty; left out" in note for note in collection.notes)
    with pytest.raises(CollectionError, match="id is empty; give every specimen an id"):
        read(drawer, "id,image\nNA,a.jpg\nNA,b.jpg\n")
    (drawer / "a.jpg").rename(drawer / "NA.jpg")
    assert ids(read(drawer, "image\nNA.jpg\nb.jpg\n")) == ["NA", "b"]


def test_na_in_a_column_of_text_is_noted(drawer: Path) -> None:
    """R writes missing text so; in groups and conditions it is one value like any other (Namibia's country code)."""
    rows = "A,a.jpg,female,NA,1\nB,b.jpg,NA,NA,NA\nC,c.jpg,,DE,3\n"
    collection = read(drawer, "id,image,sex,countryCode,mass\n" + rows)
    assert column(collection, "sex") == ["female", "NA", None]
    (note,) = collection.notes
    assert "what may mean an empty cell is kept as text in sex (NA): " in note


def test_a_group_called_na_stays_and_is_noted(drawer: Path) -> None:
    collection = read(drawer, "id,image,group\nA,a.jpg,x\nB,b.jpg,NA\n")
    assert [each.group for each in collection.photographs] == ["x", "NA"]
    assert "line 3: the group is called 'NA'; if that means an empty cell, empty it" in collection.notes[0]


def test_groups_whose_accents_are_composed_otherwise_are_one(drawer: Path) -> None:
    """As ids are: nobody sees the difference, and a support would serve half of the group."""
    one, other = (unicodedata.normalize(form, "M\u00fcller") for form in ("NFC", "NFD"))
    collection = read(drawer, f"id,image,group\nA,a.jpg,{other}\nB,b.jpg,{one}\n")
    assert {each.group for each in collection.photographs} == {one}
    assert collection.notes == ()


def test_photographs_are_found_however_they_are_spelt(drawer: Path) -> None:
    photograph = (drawer / "a.jpg").read_bytes()
    decomposed = unicodedata.normalize("NFD", "Müller.jpg")
    (drawer / "Bilder").mkdir()
    for name in (decomposed, "Bilder/B.JPG", " c1.jpg"):
        (drawer / name).write_bytes(photograph)
    collection = read(drawer, "id,image\nA,Müller.jpg\nB,bilder/b.jpg\nC,c1.jpg\nD,e.JPEG\nE,a.jpg\n")
    found = [each.image for each in collection.photographs]
    assert [path.name for path in found] == [decomposed, "B.JPG", " c1.jpg", "e.JPEG", "a.jpg"]
    assert [path.is_file() for path in found] == [True, True, True, False, True]
    assert "3 photographs are found under another spelling" in collection.notes[0]
    assert "'e.JPEG' is named, and there is e.jpg" in collection.notes[1]


def test_a_spelling_that_two_files_fit_is_not_guessed(drawer: Path) -> None:
    for name in ("X.jpg", "x.JPG"):
        (drawer / name).write_bytes(b"")
    if len(list(drawer.glob("[xX].*"))) < 2:
        pytest.skip("this file system does not tell capitals apart")
    collection = read(drawer, "id,image\nA,x.jpg\nB,b.jpg\n")
    assert not collection.photographs[0].image.is_file()


def test_addresses_of_files(drawer: Path) -> None:
    collection = read(drawer, f"id,image\nA,{(drawer / 'a.jpg').as_uri()}\n")
    assert collection.photographs[0].image == drawer / "a.jpg"
    long = read(drawer, f"id,image\nA,{'x' * 300}.jpg\nB,b.jpg\n").photographs[0].image
    assert long.name == f"{'x' * 300}.jpg"


# -------------------------------------------------------------------------------------------------------- values


def test_decimal_commas(drawer: Path) -> None:
    text = "id;image;latitude;count\nA;a.jpg;9,1663;1,234\nB;b.jpg;-10,1;5,678\nC;c.jpg;NA;NA\n"
    collection = read(drawer, text)
    assert column(collection, "latitude") == [9.1663, -10.1, None]
    assert collection.columns["count"] == "VARCHAR"
    assert "decimal commas were read as such in latitude" in collection.notes[0]


@pytest.mark.parametrize("name", ["mmPerPixel", "mm_per_pixel", "mm/px", "MM per pixel", "mmPerPx"])
def test_the_column_of_the_scale_is_found_and_read(drawer: Path, name: str) -> None:
    collection = read(drawer, f"id;image;{name}\nA;a.jpg;0,042\nB;b.jpg;1,050\nC;c.jpg;-1\nD;d.jpg;0\nE;e.jpg;\n")
    assert column(collection, name) == [0.042, 1.05, None, None, None]
    assert collection.columns[name] == "DOUBLE"
    assert any("lines 4 and 5" in note and "no number above 0" in note for note in collection.notes)
    assert any("taken as mmPerPixel" in note for note in collection.notes) is (name != "mmPerPixel")


@pytest.mark.parametrize("cell", ["x", "0", "-1", "inf", "0.042 mm"])
def test_a_column_of_no_scale_is_refused_before_the_build(drawer: Path, cell: str) -> None:
    with pytest.raises(CollectionError, match=r"line 2: mmPerPixel is .*must be millimetres a pixel"):
        read(drawer, f"id,image,mmPerPixel\nA,a.jpg,{cell}\n")


@pytest.mark.parametrize("name", ["pixels_per_mm", "px/mm", "umPerPixel", "dpi"])
def test_a_scale_of_another_unit_is_noted(drawer: Path, name: str) -> None:
    assert "no scale that is read" in read(drawer, f"id,image,{name}\nA,a.jpg,300\n").notes[0]


@pytest.mark.parametrize(
    "text",
    ["group;mmPerPixel\ng;0,042\n", "sep=;\nGroup;mm/px\n g ;0.042\n", "group\tlength_mm\tlength_px\ng\t4,2\t100\n"],
)
def test_scales_of_groups_are_read_as_tables_are(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    assert read_scales(tmp_path / "s.csv") == {"g": pytest.approx(0.042)}
    (tmp_path / "s.csv").write_text("group,mmPerPixel\ng,-1\n")
    with pytest.raises(InputError, match="above 0"):
        read_scales(tmp_path / "s.csv")


def test_values_out_of_range_stay_text_or_are_noted(drawer: Path) -> None:
    text = "id,image,day,number,big\nA,a.jpg,99999-01-01,1e+400,99999999999999999999\nB,b.jpg,0000-00-00,1.5,1\n"
    collection = read(drawer, text)
    assert [collection.columns[name] for name in ("day", "number", "big")] == ["VARCHAR"] * 3
    arrow = pa.table(
        {
            "id": ["A", "B"],
            "image": ["a.jpg", "b.jpg"],
            "big": pa.array([2**64 - 1, 1], pa.uint64()),
            "far": pa.array([10**9, 0], pa.date32()),
            "later": pa.array([2**62, 0], pa.timestamp("us")),
            "x": [float("inf"), 1.0],
        }
    )
    pq.write_table(arrow, drawer / "t.parquet")
    collection = read_collection(drawer / "t.parquet")
    assert column(collection, "big") == [str(2**64 - 1), "1"]
    assert column(collection, "far") == [None, datetime.date(1970, 1, 1)]
    assert column(collection, "later") == [None, datetime.datetime(1970, 1, 1)]
    assert column(collection, "x") == [None, 1.0]
    assert len(collection.notes) == 4


def test_no_missing_value_of_pandas_reaches_a_table(drawer: Path) -> None:
    frame = pd.DataFrame(
        {"id": ["A", "B"], "image": ["a.jpg", "b.jpg"], "n": [1.5, None], "t": [pd.NaT, None], "s": [None, "x"]}
    )
    frame.to_parquet(drawer / "t.parquet")
    frame.to_csv(drawer / "t.csv", na_rep="NaN", index=False)
    for name in ("t.parquet", "t.csv"):
        assert column(read_collection(drawer / name), "n") == [1.5, None]
    assert column(read_collection(drawer / "t.parquet"), "s") == [None, "x"]


# ------------------------------------------------------------------------------------------------------ archives

META = """<archive xmlns="http://rs.tdwg.org/dwc/text/">
<core encoding="UTF-8" fieldsTerminatedBy="\\t" fieldsEnclosedBy=""
 ignoreHeaderLines="1" rowType="http://rs.tdwg.org/dwc/terms/Occurrence"><files><location>o.txt</location></files>
<id index="0"/><field index="1" term="http://rs.tdwg.org/dwc/terms/catalogNumber"/>
<field index="2" term="http://rs.tdwg.org/dwc/terms/associatedMedia"/></core></archive>"""
ROWS = "id\tcatalogNumber\tassociatedMedia\n1\tA\ta.jpg\n2\tB\tb.jpg\n"


def unpacked(folder: Path, meta: str, rows: str = ROWS) -> Path:
    (folder / "meta.xml").write_text(meta)
    (folder / "o.txt").write_text(rows)
    return folder


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("o.txt", "/etc/passwd", "not in the archive"),
        ("o.txt", "../o.txt", "not in the archive"),
        ("o.txt", "link.txt", "leads out of the archive"),
        ("o.txt", "", "not in the archive"),
        ('encoding="UTF-8"', 'encoding="undefined"', "unknown"),
        ('encoding="UTF-8"', 'encoding="base64"', "unknown"),
        ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy=""', "cannot be told apart"),
        (
            'fieldsTerminatedBy="\\t" fieldsEnclosedBy=""',
            'fieldsTerminatedBy=","  fieldsEnclosedBy=","',
            "cannot be told apart",
        ),
        ("terms/Occurrence", "terms/Event", "must be Occurrence, not Event"),
        ("terms/Occurrence", "", "must be Occurrence"),
        ("<archive", '<!DOCTYPE a [<!ENTITY b "c">]><archive', "document type"),
        ("<archive", '<?xml version="1.0" encoding="nonsense"?><archive', "not valid XML"),
        ("<archive", " " * 1_100_000 + "<archive", "more than 1 MB"),
    ],
)
def test_hostile_archives(tmp_path: Path, old: str, new: str, reason: str) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text(ROWS)
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert old in META
    with pytest.raises(CollectionError, match=reason):
        read_collection(unpacked(folder, META.replace(old, new)))


def test_photographs_outside_an_archive_are_left_out(drawer: Path) -> None:
    folder = drawer / "archive"
    folder.mkdir()
    (folder / "b.jpg").write_bytes((drawer / "a.jpg").read_bytes())
    (folder / "c.jpg").symlink_to(drawer / "c.jpg")
    rows = ROWS.replace("\ta.jpg", "\t../a.jpg") + f"3\tC\tc.jpg\n4\tD\t{drawer / 'd.jpg'}\n"
    collection = read_collection(unpacked(folder, META, rows))
    assert ids(collection) == ["B"]
    assert all("lies outside" in each.reason for each in collection.left_out)


def test_row_types_are_read_leniently(drawer: Path) -> None:
    for kind in ("dwc:Occurrence", " http://rs.tdwg.org/dwc/terms/occurrence/ "):
        meta = META.replace("http://rs.tdwg.org/dwc/terms/Occurrence", kind)
        assert ids(read_collection(unpacked(drawer, meta))) == ["A", "B"]


def test_all_files_of_a_core_are_read(drawer: Path) -> None:
    (drawer / "p.txt").write_text("id\tcatalogNumber\tassociatedMedia\n3\tC\tc.jpg\n")
    meta = META.replace("<location>o.txt</location>", "<location>o.txt</location><location>p.txt</location>")
    assert ids(read_collection(unpacked(drawer, meta))) == ["A", "B", "C"]


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("meta.xml", META)
        file.writestr("o.txt", ROWS + " " * 30_000_000)
    with pytest.raises(CollectionError, match=r"unpacks to 29 MB from 0\.0 MB"):
        read_collection(path)


def test_an_archive_of_very_many_files_is_refused_before_they_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    end = b"PK\x05\x06" + bytes(8) + (2**31).to_bytes(4, "little") + bytes(6)
    path.write_bytes(b"PK\x03\x04" + end)
    with pytest.raises(CollectionError, match="lists too many files"):
        read_collection(path)


def test_one_damaged_photograph_of_an_archive_loses_no_other(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (("meta.xml", META), ("o.txt", ROWS), ("a.jpg", "AAAAAAAA"), ("b.jpg", "BBBBBBBB")):
            file.writestr(name, content)
    path.write_bytes(path.read_bytes().replace(b"AAAAAAAA", b"AAAXAAAA"))
    collection = read_collection(path)
    assert [each.image.is_file() for each in collection.photographs] == [False, True]
    assert any("a.jpg is damaged" in note for note in collection.notes)


# ------------------------------------------------------------------------------------------------------- folders


def test_a_folder_of_photographs_is_offered_a_table(drawer: Path) -> None:
    with pytest.raises(CollectionError, match=r"folder of photographs without a table; .*sst-retrieval init"):
        read_collection(drawer)
    written = write_folder_table(drawer)
    assert (written.path, written.photographs, written.groups) == (drawer / "collection.csv", 5, ())
    assert written.path.read_bytes().startswith(b"catalogNumber,image\r\na,a.jpg\r\n")
    assert ids(read_collection(written.path)) == list("abcde")
    with pytest.raises(CollectionError, match="is not replaced"):
        write_folder_table(drawer)
    with pytest.raises(CollectionError, match=r"give the table in it: .*collection\.csv"):
        read_collection(drawer)


def test_groups_and_ids_of_nested_folders(drawer: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("nested")
    photograph = (drawer / "a.jpg").read_bytes()
    names = ["erato/a.jpg", "erato/dorsal/b.jpg", "sara/images/A.JPG", "c.png", "c.tif", "d, e.jpg"]
    hidden = [".hidden.jpg", ".git/x.jpg", "supports/a.png", "Labels/a.png", "index/thumbnails/a.jpg", "notes.txt"]
    for name in (*names, *hidden):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(photograph)
    (root / "index" / "manifest.json").write_text("{}")
    collection = read_collection(write_folder_table(root, root / "tables.csv").path)
    assert {(each.id, each.image.relative_to(root).as_posix(), each.group) for each in collection.photographs} == {
        ("erato_a", "erato/a.jpg", "erato"),
        ("b", "erato/dorsal/b.jpg", "erato/dorsal"),
        ("sara_images_A", "sara/images/A.JPG", "sara"),
        ("c.png", "c.png", "all"),
        ("c.tif", "c.tif", "all"),
        ("d, e", "d, e.jpg", "all"),
    }


# ------------------------------------------------------------------------------------------------- odd bytes

CELLS = [b"A", b"a.jpg", b"\t", b",", b";", b'"', b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xe9", "é🦋".encode(), b"NA"]
PIECES = st.lists(st.one_of(st.sampled_from(CELLS), st.binary(max_size=4)), max_size=30).map(b"".join)


@given(
    head=st.sampled_from([b"", b"\xff\xfe", b"\xef\xbb\xbf", b"sep=;\n", b"id,image\n", b"id\timage\nA\ta.jpg\n"]),
    body=PIECES,
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_odd_bytes_are_a_table_or_our_error(tmp_path: Path, head: bytes, body: bytes) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(head + body)
    try:
        table = read_table(path)
    except CollectionError:
        return
    assert all(len(values) == len(table.row_numbers) for values in table.columns.values())
    assert all(value is None or value.strip() for values in table.columns.values() for value in map(str, values))


# ------------------------------------------------------------------------------------------------ what is no table


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<html><body><table><tr><td>id</td></tr></table></body></html>", r"t\.csv is a page of the web \(HTML\)"),
        ('<?xml version="1.0"?>\n<Workbook/>', r"t\.csv is XML, whatever its name says; open it in a spreadsheet"),
        (
            "# exported in May\nid,image\nA,a.jpg\n",
            r"the first line, '# exported in May', one; remove what stands above",
        ),
        ("My moths,,\n,,\nid,image,sex\nA,a.jpg,f\n", r"the first line, 'My moths', one; remove what stands above"),
        (
            "id,image,sex\nA,a.jpg,f\nB,b.jpg\n",
            r"line 3 has 2 cells, .* 3 columns; complete the row: an empty cell has",
        ),
        ("A,a.jpg,f\nB,b.jpg,m\n", r"its first line, A, a\.jpg, f, looks like a row: write the names of the columns"),
        ("id,image\nA,a\nB,b\n", r"none of its 2 photographs exists, .* but there is a\.jpg; write the names as"),
        (
            "id,image,town\nA,a.jpg,北京市\n".encode("gb18030"),
            r"is not UTF-8 text, and guessing its encoding would garble",
        ),
    ],
)
def test_what_is_no_table_is_explained(drawer: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(CollectionError, match=reason):
        read(drawer, text)


def test_vertical_bars_separate_where_nothing_else_does(drawer: Path) -> None:
    collection = read(drawer, "id|image|note\nA|a.jpg|x, y\nB|b.jpg|\n")
    assert column(collection, "note") == ["x, y", None]
    assert ids(read(drawer, "id,image\nA,a.jpg|b.jpg\n")) == ["A a", "A b"]


def test_lists_of_photographs_in_parquet(drawer: Path) -> None:
    pictures = [["a.jpg", "b.jpg"], ["c.jpg"], None]
    views = [["dorsal", "ventral"], ["dorsal"], None]
    pq.write_table(pa.table({"id": ["A", "B", "C"], "image": pictures, "view": views}), drawer / "t.parquet")
    collection = read_collection(drawer / "t.parquet")
    assert [(each.id, each.image.name, each.view) for each in collection.photographs] == [
        *(("A dorsal", "a.jpg", "dorsal"), ("A ventral", "b.jpg", "ventral"), ("B", "c.jpg", "dorsal")),
    ]
    assert [each.photograph for each in collection.left_out] == ["C"]


def test_invisible_characters_at_the_ends_of_cells_go(drawer: Path) -> None:
    collection = read(drawer, "id,image,group\n\u200bA,a.jpg\ufeff,g\u00ad\nB \u200b,b.jpg,g\n")
    assert ids(collection) == ["A", "B"]
    assert [each.group for each in collection.photographs] == ["g", "g"]
    assert any("lines 2 and 3: id has characters without width; left out" in note for note in collection.notes)
    assert column(read(drawer, "id,image,note\nA,a.jpg,x\u200b\n"), "note") == ["x\u200b"]


def test_ids_that_a_spreadsheet_has_shortened_are_noted(drawer: Path) -> None:
    notes = read(drawer, "id,image\n1.23E+11,a.jpg\n1.24E+11,b.jpg\n").notes
    assert any("lines 2 and 3: id is '1.23E+11', as spreadsheets shorten long numbers" in note for note in notes)
    assert not read(drawer, "id,image\nE+11,a.jpg\n12E5,b.jpg\n").notes


@pytest.mark.parametrize(("named", "stored"), [("a%20%231.jpg", "a #1.jpg"), ("a 1.jpg", "a%201.jpg")])
def test_names_that_are_written_as_on_the_web(drawer: Path, named: str, stored: str) -> None:
    (drawer / "a.jpg").rename(drawer / stored)
    collection = read(drawer, f"id,image\nA,{named}\nB,b.jpg\n")
    assert collection.photographs[0].image == drawer / stored
    assert "found under another spelling" in collection.notes[0]


# ------------------------------------------------------------------------------------------------------- scales


@pytest.mark.parametrize(
    "name", ["scale (mm/px)", "Scale_mm_per_pixel", "resolution [mm/pixel]", "pixelSize_mm_per_px"]
)
def test_scales_whose_names_say_what_they_are(drawer: Path, name: str) -> None:
    collection = read(drawer, f"id,image,{name}\nA,a.jpg,0.05\n")
    assert f"the column {name} is taken as mmPerPixel" in collection.notes[0]
    assert collection.photographs[0].metadata[name] == 0.05


@pytest.mark.parametrize("name", ["scale", "Resolution", "pixel_size", "ppmm", "Scale factor"])
def test_scales_without_a_unit_are_noted(drawer: Path, name: str) -> None:
    (note,) = read(drawer, f"id,image,{name}\nA,a.jpg,0.05\n").notes
    assert f"the column {name} does not say its unit, and is no scale that is read; for lengths in millimetres" in note
    assert not read(drawer, f"id,image,{name}\nA,a.jpg,large\n").notes


def test_pixels_a_millimetre_in_the_column_of_the_scale(drawer: Path) -> None:
    (note,) = read(drawer, "id,image,mmPerPixel\nA,a.jpg,20.5\nB,b.jpg,0.5\n").notes
    assert "line 2: mmPerPixel is 20.5, so 1,000 pixels would be 20.5 m wide; are these pixels a millimetre?" in note
