"""What photographs are called: their own name, else specimen, view and file; never their place in the table."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import CollectionError
from sst_retrieval.imaging.images import write_jpeg
from sst_retrieval.types import Photograph


@pytest.fixture(scope="module")
def drawer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files a.jpg to f.jpg, and the same in dorsal/ and ventral/; reading a table opens none."""
    folder = tmp_path_factory.mktemp("drawer")
    for inside in ("", "dorsal", "ventral"):
        (folder / inside).mkdir(exist_ok=True)
        for name in "abcdef":
            (folder / inside / f"{name}.jpg").write_bytes(b"")
    return folder


def read(folder: Path, text: str, **named: str) -> Collection:
    (folder / "t.csv").write_text(text)
    return read_collection(folder / "t.csv", **named)  # type: ignore[arg-type]


def names(collection: Collection) -> list[str]:
    return [each.id for each in collection.photographs]


def brief(photograph: Photograph) -> tuple[str, str, str]:
    return photograph.id, photograph.specimen, photograph.view


@pytest.mark.parametrize("column", ["view", "View", "aspect", "ac:subjectOrientationLiteral", "subject_orientation"])
def test_a_specimen_with_several_views(drawer: Path, column: str) -> None:
    collection = read(drawer, f"id,image,{column}\nA,a.jpg,dorsal\nB,b.jpg,\nA,c.jpg,left  lateral\nC,d.jpg,dorsal\n")
    assert [brief(each) for each in collection.photographs] == [
        ("A dorsal", "A", "dorsal"),
        ("B", "B", ""),
        ("A left lateral", "A", "left lateral"),
        ("C", "C", "dorsal"),
    ]
    assert collection.columns[column] == "VARCHAR"
    note, mixed = collection.notes
    assert "1 specimen has several photographs, such as A in lines 2 and 4: they are called 'A dorsal', 'A left" in note
    assert "the group 'all' has the views dorsal, left lateral" in mixed


def test_the_column_of_views_may_be_named(drawer: Path) -> None:
    text = "id,image,view,side\nA,a.jpg,x,dorsal\nA,b.jpg,y,ventral\n"
    assert names(read(drawer, text)) == ["A x", "A y"]
    assert names(read(drawer, text, view_column="side")) == ["A dorsal", "A ventral"]
    with pytest.raises(CollectionError, match=r"does not have a column 'sides'; .* --view-column"):
        read(drawer, text, view_column="sides")


def test_a_view_by_its_address(drawer: Path) -> None:
    text = "id,image,subjectOrientation\nA,a.jpg,http://x.org/orient/dorsal\nA,b.jpg,http://x.org/orient#ventral\n"
    assert [each.view for each in read(drawer, text).photographs] == ["dorsal", "ventral"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("A,a.jpg,\nA,b.jpg,\n", ["A a", "A b"]),
        ("A,a.jpg,dorsal\nA,b.jpg,\n", ["A dorsal", "A b"]),
        ("A,a.jpg,dorsal\nA,b.jpg,Dorsal\nA,c.jpg,ventral\n", ["A dorsal a", "A Dorsal b", "A ventral"]),
        ("A,dorsal/a.jpg,\nA,ventral/a.jpg,\n", ["A dorsal/a", "A ventral/a"]),
        ("A,dorsal\\a.jpg,\nA,ventral\\a.jpg,\n", ["A dorsal/a", "A ventral/a"]),
        ("A,dorsal/a.jpg,\nA,ventral/a.jpg,x\n", ["A a", "A x"]),
        ("A,a.jpg,\nA,a.tif,\n", ["A a.jpg", "A a.tif"]),
        ("A,a.jpg,\nA,https://x.org/1/b%20c.jpg?size=2,\n", ["A a"]),
        ("A,a.jpg,\nA,,\n", ["A"]),
        ("A,a.jpg|b.jpg,\n", ["A a", "A b"]),
        ("A,a.jpg | b.jpg,dorsal | ventral\n", ["A dorsal", "A ventral"]),
        ("A,a.jpg;b.jpg,dorsal\n", ["A dorsal a", "A dorsal b"]),
        ("A,a.jpg|b.jpg,\nA,c.jpg,dorsal\nB,d.jpg|e.jpg|f.jpg,\n", ["A a", "A b", "A dorsal", "B d", "B e", "B f"]),
        ("A,a.jpg|a.jpg,\n", ["A"]),
    ],
)
def test_views_and_files(drawer: Path, rows: str, expected: list[str]) -> None:
    assert names(read(drawer, f"id,image,view\n{rows}")) == expected


def test_other_cells_hold_for_all_photographs_of_a_list(drawer: Path) -> None:
    collection = read(drawer, "id,image,sex,photograph\nA,a.jpg|b.jpg,f,P1|P2\nB,c.jpg,m,P3\n")
    assert [(each.id, each.metadata["image"], each.metadata["sex"]) for each in collection.photographs] == [
        ("P1", "a.jpg", "f"),
        ("P2", "b.jpg", "f"),
        ("P3", "c.jpg", "m"),
    ]


def test_a_line_with_a_list_is_named_once(drawer: Path) -> None:
    (note,) = read(drawer, "id,image\nA,a.jpg|b.jpg\nA,c.jpg\n").notes
    assert "such as A in lines 2 and 3: they are called 'A a', 'A b', 'A c'" in note


@pytest.mark.parametrize(
    ("cell", "files"),
    [
        ("https://x.org/m/a.jpg|https://x.org/m/b.jpg", ["a.jpg", "b.jpg"]),
        ("https://x.org/m/a.jpg?w=9 | https://x.org/m/b.jpg?w=9", ["a.jpg", "b.jpg"]),
        ("https://x.org/m;v=2/a.jpg", ["a.jpg"]),
        ("https://x.org/m;a.jpg", ["m;a.jpg"]),
    ],
)
def test_lists_of_addresses(drawer: Path, cell: str, files: list[str]) -> None:
    (drawer / "t.csv").write_text(f'catalogNumber,associatedMedia\nA,"{cell}"\nB,c.jpg\n')
    collection = read_collection(drawer / "t.csv", images=drawer)
    assert [each.image.name for each in collection.photographs if each.specimen == "A"] == files


def test_a_list_that_only_looks_like_one(drawer: Path) -> None:
    (drawer / "x|y.jpg").write_bytes(b"")
    collection = read(drawer, "id,image\nA,x|y.jpg\n")
    assert [(each.id, each.image.name) for each in collection.photographs] == [("A", "x|y.jpg")]


@pytest.mark.parametrize("column", ["photograph", "photograph_id", "photographName"])
def test_photographs_with_names_of_their_own(drawer: Path, column: str) -> None:
    collection = read(drawer, f"id,image,{column}\nA,a.jpg,P1\nA,b.jpg,007\nB,c.jpg,P3\nB,d.jpg,\nC,e.jpg,\n")
    assert [brief(each)[:2] for each in collection.photographs] == [
        *(("P1", "A"), ("007", "A"), ("P3", "B"), ("B d", "B"), ("C", "C")),
    ]


def test_a_column_photograph_that_holds_files(drawer: Path) -> None:
    collection = read(drawer, "id,photograph\nA,a.jpg\nB,b.jpg\n")
    assert [(each.id, each.image.name) for each in collection.photographs] == [("A", "a.jpg"), ("B", "b.jpg")]
    assert names(read(drawer, "id,image,photograph\nA,a.jpg,a.jpg\nB,b.jpg,b.jpg\n")) == ["A", "B"]
    (drawer / "IMG_1").write_bytes(b"")  # The only column that may hold files.
    assert names(read(drawer, "id,photograph\nA,IMG_1\n")) == ["A"]
    assert names(read(drawer, "id,photograph,scan\nA,P,a.jpg\n", image_column="scan")) == ["P"]
    assert names(read(drawer, "id,photograph,picture\nA,P,a.jpg\n")) == ["P"]
    assert names(read(drawer, "id,photograph,image\nA,IMG_1,a.jpg\n", image_column="photograph")) == ["A"]


def test_a_table_of_photographs_without_specimens(drawer: Path) -> None:
    collection = read(drawer, "photograph,image\nP1,a.jpg\nP2,b.jpg\n")
    assert [brief(each)[:2] for each in collection.photographs] == [("P1", "P1"), ("P2", "P2")]
    collection = read(drawer, "image\na.jpg|b.jpg\nc.jpg\n")
    assert [brief(each)[:2] for each in collection.photographs] == [("a a", "a"), ("a b", "a"), ("c", "c")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,image,photograph\nA,a.jpg,P\nB,b.jpg,P\n", r"lines 2 and 3: two photographs would be called 'P'; rename"),
        ("id,image,view\nA,a.jpg,x\nA,b.jpg,y\nA x,c.jpg,\n", r"lines 2 and 4: two .* 'A x'; .*column `photograph`"),
        ("id,image,occurrenceID\nA,a.jpg,1\nA,b.jpg,2\n", r"'A' in lines 2 and 3 is of several: occurrenceID is 1 and"),
        ("id,image,dwc:institutionCode\nA,a.jpg,NHM\nA,b.jpg,ZMB\n", r"institutionCode is NHM and ZMB; rename them"),
        ("id,image,view\nA,a.jpg,x\nA,./a.jpg,x\n", r"lines 2 and 3: A has the photograph a\.jpg several times"),
        ("id,image,sex\nA,a.jpg|a.jpg,f\nA,a.jpg,m\n", r"lines 2 and 3: A has the photograph a\.jpg several times"),
    ],
)
def test_names_that_are_not_clear_are_refused(drawer: Path, text: str, reason: str) -> None:
    with pytest.raises(CollectionError, match=reason):
        read(drawer, text)


def test_rows_without_a_photograph_beside_others_are_noted(drawer: Path) -> None:
    collection = read(drawer, "id,image\nA,a.jpg\nA,\nB,b.jpg\nC,\n")
    assert names(collection) == ["A", "B"]
    assert [each.photograph for each in collection.left_out] == ["C"]
    assert "line 3: another row of A that names no photograph; left out" in collection.notes[0]


CELL = st.text(st.sampled_from("abAB 1/é"), max_size=3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(CELL, st.sampled_from("abcdef"), st.sampled_from(["", "dorsal", "Ventral", "x"])), max_size=8
    ),
    seed=st.integers(0, 99),
)
def test_names_do_not_depend_on_the_order_of_the_rows(
    drawer: Path, rows: list[tuple[str, str, str]], seed: int
) -> None:
    """Whatever the table: names are unique, of their specimens, and go with the row wherever it stands."""
    table = [(specimen, f"{file}.jpg", view) for specimen, file, view in rows]
    shuffled = Random(seed).sample(table, len(table))

    def attempt(listed: list[tuple[str, str, str]]) -> dict[tuple[str, str, str], str] | None:
        text = io.StringIO()
        csv.writer(text).writerows([("id", "image", "view"), *listed])
        try:
            found = read(drawer, text.getvalue()).photographs
        except CollectionError:
            return None
        assert len({unicodedata.normalize("NFC", each.id) for each in found}) == len(found)
        assert all(each.id == each.specimen or each.id.startswith(f"{each.specimen} ") for each in found)
        return {(each.specimen, each.image.name, each.view): each.id for each in found}

    assert attempt(table) == attempt(shuffled)


def test_a_group_of_several_views_is_noted(tmp_path: Path) -> None:
    for name in "abc":
        write_jpeg(tmp_path / f"{name}.jpg", np.full((4, 6, 3), 200, dtype=np.uint8))
    (tmp_path / "t.csv").write_text("id,image,group,view\nA,a.jpg,g,dorsal\nA,b.jpg,g,ventral\nB,c.jpg,h,Dorsal\n")
    notes = [note for note in read_collection(tmp_path / "t.csv").notes if "the views" in note]
    assert len(notes) == 1
    assert "the group 'g' has the views dorsal, ventral; one support serves a group, so give each view" in notes[0]
    (tmp_path / "t.csv").write_text(
        "id,image,group,view\nA,a.jpg,g d,dorsal\nA,b.jpg,g v,ventral\nB,c.jpg,g d,Dorsal\n"
    )
    assert not any("the views" in note for note in read_collection(tmp_path / "t.csv").notes)
