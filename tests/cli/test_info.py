"""`sst-retrieval info` of indexes with one and with several individuals a photograph."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Once
from trays import a_collection_of_trays, build_trays
from typer.testing import CliRunner

import sst_retrieval as sst
from sst_retrieval.cli import app
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.index.store import Store


@pytest.fixture(scope="module")
def folder(once: Once) -> Path:
    return once("trays", lambda at: build_trays(a_collection_of_trays(at), at / "index")) / "index"


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["info", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_groups_with_several_individuals_their_counts_and_the_finder(folder: Path) -> None:
    lines = run(str(folder)).splitlines()
    assert lines[1:6] == [
        "specimens: 5, photographs: 5, individuals: 8",
        "several individuals a photograph, by blob finder:",
        "  beetle: 8 individuals on 5 photographs, none on 1 of them",
        "traits (label number): on how many individuals found, on how many not",
        "  bar (3): 8, 0",
    ]
    found = json.loads(run(str(folder), "--json"))
    assert found["many"] == {"beetle": {"photographs": 5, "individuals": 8, "empty": 1}}
    assert (found["specimens"], found["photographs"], found["individuals"]) == (5, 5, 8)


def test_what_was_added_to_an_epoch_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ten: Path) -> None:
    monkeypatch.setattr("sst_retrieval.index.epochs.LEAST_REGIONS", 1)
    index = shutil.copytree(ten / "index", tmp_path / "index")
    store = Store.open(index)
    assert store.generation is not None
    with store.lock(), sst.open_index(index) as opened:
        names = [each.id for each in opened.photographs()]
        numbers, provenance = store.generation.numbers, store.generation.provenance
        store.append([(replace(opened.region(names[0], "spot"), placement=None), "c", "s")])
    with store.lock(), sst.open_index(index) as opened:
        collection = Collection(tuple(opened.photographs()), opened.columns, Path("t.csv"))
        store.commit(collection, numbers=numbers, provenance=provenance)
    lines = run(str(index)).splitlines()
    (said,) = [line for line in lines if line.startswith("similarities")]
    assert said.startswith(
        "similarities can be compared with those since generation 1: 1 regions were added to it (in 1"
    )
    assert json.loads(run(str(index), "--json"))["epoch"]["number"] == 1


def test_where_each_photograph_shows_one_it_says_what_it_said(ten: Path) -> None:
    lines = run(str(ten / "index")).splitlines()
    assert lines[1:5] == [
        "specimens: 10",
        "traits (label number): on how many specimens found, on how many not",
        "  bar (3): 5, 0",
        "  spot (7): 10, 0",
    ]
    assert "many" not in json.loads(run(str(ten / "index"), "--json"))
