"""`sst-retrieval info` of indexes with one and with several individuals a photograph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Once
from trays import a_collection_of_trays, build_trays
from typer.testing import CliRunner

from sst_retrieval.cli import app


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


def test_where_each_photograph_shows_one_it_says_what_it_said(ten: Path) -> None:
    lines = run(str(ten / "index")).splitlines()
    assert lines[1:5] == [
        "specimens: 10",
        "traits (label number): on how many specimens found, on how many not",
        "  bar (3): 5, 0",
        "  spot (7): 10, 0",
    ]
    assert "many" not in json.loads(run(str(ten / "index"), "--json"))
