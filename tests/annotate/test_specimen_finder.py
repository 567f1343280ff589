"""Photographs found by their names, in large tables, too."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from sst_retrieval.annotate.names_of_rows import NamesOfRows
from sst_retrieval.annotate.specimen_finder import SpecimenFinder
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.types import Photograph


def table(names: Sequence[str]) -> Collection:
    """A collection of photographs with these ids, of which every two are of one specimen."""
    rows = [
        Photograph(name, Path(f"/photographs/scan {name}.jpg"), "g", {}, f"s{row // 2}", "")
        for row, name in enumerate(names)
    ]
    return Collection(rows, {}, Path("table.csv"))


def describe(finder: SpecimenFinder, names: Sequence[str]) -> list[object]:
    """What a finder says of names: ids, rows, whether they are known."""
    found = [finder._look_up([f"scan {name}.jpg"], ids_only=False) for name in names]
    by_id = [finder._look_up([name], ids_only=True) for name in names]
    return [
        [None if each is None else each.id for each in (*found, *by_id)],
        [finder.position(name) for name in names],
        [[row.id for row in finder.rows_of(each)] for each in found if each is not None],
    ]


NAMES = ["a1", "A1", "b/2", "b_2", "caf\u00e9", "cafe\u0301 2", "d", "e.f"]


def test_names_whose_hashes_are_equal_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [*NAMES, "b%2F2", "cafe\u0301", "caf\u00e9 2", "e-f", "absent"]
    wanted = describe(SpecimenFinder(table(NAMES)), asked)
    assert wanted[1] == [0, 1, 2, 3, 4, 5, 6, 7, *[None] * 5]
    monkeypatch.setattr(NamesOfRows, "find", lambda self, name: list(range(len(NAMES))))
    assert describe(SpecimenFinder(table(NAMES)), asked) == wanted


def test_a_row_of_a_large_table_takes_little_memory() -> None:
    """A hundred thousand photographs in lists and dictionaries took 2.2 kB a row."""
    collection = table([f"MUSEUM-ENT-{number:08d}" for number in range(5000)])
    tracemalloc.start()
    try:
        finder = SpecimenFinder(collection)
        assert finder.position("MUSEUM-ENT-00004000") == 4000
        assert tracemalloc.get_traced_memory()[0] / 5000 < 200
    finally:
        tracemalloc.stop()
