"""The photographs of a table are made when they are asked for, and are a sequence like any other."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from sst_retrieval.collection.photograph_names import PhotographName
from sst_retrieval.collection.specimen_table import TableRow
from sst_retrieval.collection.table_photographs import TablePhotographs
from sst_retrieval.types import Photograph

COLUMNS = {
    "catalogNumber": ["A", "B", "C", "D"],
    "sex": ["female", None, "male", "male"],
    "mass": [1.5, 2.5, None, 0.0],
}


def make() -> TablePhotographs:
    names = {0: PhotographName("A", "A"), 2: PhotographName("C dorsal", "C", "dorsal"), 3: PhotographName("D", "D")}
    paths = [Path("/photographs/a.jpg"), Path("/photographs/ü c.jpg"), Path("/photographs/d.jpg")]
    return TablePhotographs(COLUMNS, names=names, paths=paths, groups=["g", "g", "h"], places={3: 2})


EXPECTED = (
    Photograph("A", Path("/photographs/a.jpg"), "g", {"catalogNumber": "A", "sex": "female", "mass": 1.5}),
    Photograph(
        *("C dorsal", Path("/photographs/ü c.jpg"), "g", {"catalogNumber": "C", "sex": "male", "mass": None}, "C"),
        view="dorsal",
    ),
    Photograph("D", Path("/photographs/d.jpg"), "h", {"catalogNumber": "D", "sex": "male", "mass": 0.0}, place=2),
)


def test_they_are_a_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sst_retrieval.collection.table_photographs._AT_ONCE", 2)
    found = make()
    assert len(found) == 3
    assert tuple(found) == EXPECTED
    assert [found[at] for at in (0, 1, 2, -1, -3)] == [EXPECTED[at] for at in (0, 1, 2, -1, -3)]
    assert (found[1:], found[:-1], found[::-1]) == (EXPECTED[1:], EXPECTED[:-1], EXPECTED[::-1])
    assert EXPECTED[1] in found
    for outside in (3, -4):
        with pytest.raises(IndexError, match="there are 3 photographs"):
            found[outside]


def test_they_are_compared_by_what_they_are() -> None:
    assert make() == EXPECTED
    assert make() == make()
    assert make() != EXPECTED[:2]
    assert make() != "A"


def test_a_row_is_a_dictionary_wherever_it_goes() -> None:
    row = TableRow(COLUMNS, 1)
    assert row == {"catalogNumber": "B", "sex": None, "mass": 2.5}
    assert (list(row), len(row), row.get("nothing")) == (["catalogNumber", "sex", "mass"], 3, None)
    assert type(pickle.loads(pickle.dumps(row))) is dict
    # The rest of the table stays behind.
    alone = pickle.loads(pickle.dumps(make()[0]))
    assert alone == EXPECTED[0]
    assert len(pickle.dumps(make()[0])) < 400
