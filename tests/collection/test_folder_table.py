"""A table that is not there: what lies beside it is offered."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from sst_retrieval.collection.folder_table import write_folder_table
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import CollectionError
from sst_retrieval.imaging.images import write_png


def test_a_table_that_is_not_there_is_offered_where_photographs_are(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(CollectionError, match="sst-retrieval init"):
        read_collection(tmp_path / "collection.csv")
    (tmp_path / "specimens.csv").write_text("catalogNumber,image\na,a.png\n")
    with pytest.raises(CollectionError, match=r"its folder has the table specimens\.csv"):
        read_collection(tmp_path / "collection.csv")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["B0.jpg", "B1.jpg"], [("B0", "", ""), ("B1", "", "")]),
        (["dorsal/B0.jpg", "ventral/B0.jpg"], [("B0", "dorsal", "dorsal"), ("B0", "ventral", "ventral")]),
        (["B0_Dorsal.jpg", "B0-ventral.jpg"], [("B0", "ventral", "ventral"), ("B0", "dorsal", "dorsal")]),
        (["B0 dorsal.jpg", "C.jpg"], [("B0", "dorsal", "dorsal"), ("C", "", "")]),
        (
            ["erato/dorsal/1.jpg", "erato/ventral/1.jpg", "sara/1_left.jpg"],
            [
                ("erato_1", "dorsal", "erato/dorsal"),
                ("erato_1", "ventral", "erato/ventral"),
                ("sara_1", "left", "sara/left"),
            ],
        ),
        (["dorsal.jpg", "predorsal.jpg"], [("dorsal", "", ""), ("predorsal", "", "")]),
        (["images/Dorsal/a.jpg", "images/x_right.tif"], [("a", "dorsal", "dorsal"), ("x", "right", "right")]),
        (["a/B0.jpg", "b/B0.jpg"], [("a_B0", "", "a"), ("b_B0", "", "b")]),
        (["B0_dorsal.jpg", "B0.jpg"], [("B0", "", ""), ("B0", "dorsal", "dorsal")]),
    ],
)
def test_views_are_recognised(tmp_path: Path, files: list[str], expected: list[tuple[str, str, str]]) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    table = write_folder_table(tmp_path).path
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["catalogNumber"], row.get("view", ""), row.get("group", "")) for row in rows] == expected
    collection = read_collection(table)
    assert [each.specimen for each in collection.photographs] == [name for name, _, _ in expected]
    assert [each.view for each in collection.photographs] == [view for _, view, _ in expected]
