"""Comparative morphology where photographs show several individuals: each counts for itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Once
from trays import a_collection_of_trays, build_trays

import sst_retrieval as sst
from sst_retrieval.search.index import Index

NAMES = ("t0#1", "t1#1", "t1#2", "t1#3", "t2#1", "t2#2", "t4#1", "t4#2")


@pytest.fixture(scope="module")
def folder(once: Once) -> Path:
    return once("trays", lambda at: build_trays(a_collection_of_trays(at), at / "index")) / "index"


def test_every_individual_is_compared(index: Index) -> None:
    assert index.morphospace("spot").specimens == NAMES
    assert index.distances("spot").labels == NAMES
    assert index.outlines("spot").specimens == NAMES
    assert index.trait_vectors("spot")[0] == NAMES


def test_specimens_and_trays_are_groups_like_any_other(index: Index, tmp_path: Path) -> None:
    for by in ("specimen", "photograph", "drawer"):
        assert len(index.distances("spot", by=by).labels) == 4
    counts = sst.export_characters(index, tmp_path / "c.csv", by="drawer")["spot.specimens"]
    assert counts.to_dict() == {"d0": 1, "d1": 3, "d2": 2, "d4": 2}


def test_sides_name_the_individual(index: Index) -> None:
    found = index.sides("spot")
    assert list(found.columns[:4]) == ["specimen", "photograph", "individual", "group"]
    assert tuple(found["individual"]) == NAMES
    assert found["specimen"].tolist() == [name[:2] for name in NAMES]
    scaled = index.sides("spot", scale={"beetle": 0.1})
    assert scaled["area_mm2"].tolist() == pytest.approx([0.49] * 8)


def test_where_each_specimen_has_one_individual_the_columns_are_as_ever(ten: Path) -> None:
    with sst.open_index(ten / "index") as plain:
        assert list(plain.sides("spot").columns[:3]) == ["specimen", "group", "trait"]
