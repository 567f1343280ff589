"""Rows that share a photograph: each names its place on it, where the photograph may show several individuals."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sst_retrieval.collection.expected_individuals import check_individual_names, check_shared_photographs
from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import CollectionError
from sst_retrieval.imaging.images import write_png
from sst_retrieval.types import Box

MANY = {"all": "many"}


@pytest.fixture
def drawer(tmp_path: Path) -> Path:
    """Photographs a.png and b.png of 40 x 20 pixels, and broken.png."""
    for name in "ab":
        write_png(tmp_path / f"{name}.png", np.zeros((20, 40, 3), dtype=np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def read(folder: Path, text: str) -> Collection:
    (folder / "t.csv").write_text(text)
    return read_collection(folder / "t.csv")


@pytest.mark.parametrize(
    ("header", "cells", "places"),
    [
        ("box", ("0 0 20 20", "20 0 40 20"), ((0, 0, 20, 20), (20, 0, 40, 20))),
        ("Box", ("[1.6, 2.4, 20, 20]", "(20;0;40;20)"), ((2, 2, 20, 20), (20, 0, 40, 20))),
        ("xFrac,yFrac,widthFrac,heightFrac", ("0,0,0.5,1", "0.5,0.25,0.5,0.5"), ((0, 0, 20, 20), (20, 5, 40, 15))),
        (
            "ac:xFrac,ac:yFrac,ac:widthFrac,ac:heightFrac",
            ("0,0,0.25,1", "0.5,0,0.5,1"),
            ((0, 0, 10, 20), (20, 0, 40, 20)),
        ),
        ("individual", ("1", "2"), (1, 2)),
        ("individual_number", ("3", "1.0"), (3, 1)),
        ("individual,box", ("1,", "2,0 0 9 9"), (1, (0, 0, 9, 9))),
    ],
)
def test_places(drawer: Path, header: str, cells: tuple[str, str], places: tuple[Box | int, Box | int]) -> None:
    quoted = [cell if "Frac" in header or header.startswith("individual,") else f'"{cell}"' for cell in cells]
    collection = read(drawer, f"id,image,{header}\nA,a.png,{quoted[0]}\nB,a.png,{quoted[1]}\n")
    assert tuple(each.place for each in collection.photographs) == places
    assert collection.notes == ()


def test_places_of_photographs_with_one_row_mean_nothing(drawer: Path) -> None:
    collection = read(drawer, "id,image,box,individual\nA,a.png,nonsense,F12\nB,b.png,0 0 9 9,2\n")
    assert [each.place for each in collection.photographs] == [None, None]
    assert collection.notes == ()
    assert collection.photographs[0].metadata["box"] == "nonsense"


@pytest.mark.parametrize(
    ("header", "cell", "reason"),
    [
        ("box", "0 0 20", "the box '0 0 20' is not x0 y0 x1 y1"),
        ("box", "20 0 0 20", r"the box '20 0 0 20' is not on a\.png of 40 x 20 px"),
        ("box", "0 0 41 20", r"is not on a\.png of 40 x 20 px"),
        ("individual", "0", "individual is '0', not a number from 1"),
        ("individual", "left", "individual is 'left', not a number"),
        ("xFrac,yFrac,widthFrac,heightFrac", "0.6,0,0.5,1", "is not on a"),
        ("xFrac,yFrac,widthFrac,heightFrac", "0.6,0,0.5,", "not four numbers"),
    ],
)
def test_cells_that_say_no_place(drawer: Path, header: str, cell: str, reason: str) -> None:
    empty = "," * (header.count(",") + 1)
    collection = read(drawer, f"id,image,{header}\nA,a.png,{cell}\nB,a.png{empty}\nC,b.png{empty}\n")
    assert collection.photographs[0].place is None
    (note,) = [each for each in collection.notes if "its place is not known" in each]
    assert "line 2" in note
    assert re.search(reason, note)


def test_rows_that_share_a_photograph_of_one_individual_are_noted(drawer: Path) -> None:
    collection = read(drawer, "id,image,individual\nA,a.png,1\nB,b.png,\nC,./a.png,2\n")
    assert collection.notes == ()  # Whether the group expects many is not known yet.
    (note,) = check_shared_photographs(collection, {"all": "one"})
    assert "A and C have one photograph, a.png; each is measured on all of it" in note
    assert check_shared_photographs(collection, MANY) == ()
    collection = read(drawer, "id,image\nA,a.png\nC,a.png\n")
    assert "lines 2 and 3: A and C have one photograph, a.png" in collection.notes[0]
    assert "--individuals many" in collection.notes[0]
    assert check_shared_photographs(collection, {}) == ()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("A,a.png,,\nB,a.png,,\n", r"A and B have one photograph, a\.png, and A does not say .* `box` .* `individual`"),
        ("A,a.png,,1\nB,a.png,,\n", r"and B does not say which"),
        ("A,a.png,,1\nB,a.png,,1\n", r"A and B have one place on a\.png, 1; give each its own"),
        ("A,a.png,0 0 9 9,\nB,a.png,0 0 9 9,\n", r"A and B have one place on a\.png, \(0, 0, 9, 9\)"),
        ("A,a.png,0 0 9 9,\nB,a.png,,1\n", r"some rows of a\.png name their places by boxes and some by numbers"),
    ],
)
def test_rows_that_share_a_photograph_of_many_must_name_their_places(drawer: Path, rows: str, reason: str) -> None:
    collection = read(drawer, f"id,image,box,individual\n{rows}C,b.png,,\n")
    with pytest.raises(CollectionError, match=reason):
        check_shared_photographs(collection, MANY)


def test_a_broken_photograph_is_left_to_the_build(drawer: Path) -> None:
    collection = read(drawer, "id,image,box\nA,broken.png,0 0 9 9\nB,broken.png,9 0 20 9\nC,a.png,\n")
    assert check_shared_photographs(collection, MANY) == ()


def test_one_group_of_two_expects_many(drawer: Path) -> None:
    collection = read(drawer, "id,image,group,individual\nA,a.png,g,1\nB,a.png,g,2\nC,b.png,h,\nD,b.png,h,\n")
    assert check_shared_photographs(collection, {"g": "many", "h": "one"}) == ()
    with pytest.raises(CollectionError, match="C and D have one photograph"):
        check_shared_photographs(collection, {"g": "one", "h": "many"})


def test_several_individuals_of_one_record_on_one_photograph(drawer: Path) -> None:
    collection = read(drawer, "id,image,view,individual\nlot 7,a.png,dorsal,1\nlot 7,a.png,dorsal,2\nlot 7,b.png,,\n")
    assert [(each.id, each.specimen, each.place) for each in collection.photographs] == [
        ("lot 7 dorsal a 1", "lot 7", 1),
        ("lot 7 dorsal a 2", "lot 7", 2),
        ("lot 7 b", "lot 7", None),
    ]


def test_individuals_of_a_photograph_with_a_name_of_its_own(drawer: Path) -> None:
    collection = read(drawer, "id,image,photograph,individual\nA,a.png,tray 1,1\nB,a.png,tray 1,2\nC,b.png,tray 2,\n")
    assert [each.id for each in collection.photographs] == ["A", "B", "tray 2"]


def test_a_photograph_is_not_called_like_an_individual_of_another(drawer: Path) -> None:
    collection = read(drawer, "id,image,group\nA,a.png,g\nA#3,b.png,h\n")
    check_individual_names(collection, {"g": "one", "h": "many"})
    with pytest.raises(CollectionError, match=r"'A#3' is called like an individual on 'A'; rename"):
        check_individual_names(collection, {"g": "many", "h": "one"})
