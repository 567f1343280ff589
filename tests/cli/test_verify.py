"""`sst-retrieval verify`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from invented import a_region, built
from typer.testing import CliRunner

from sst_retrieval.cli import app


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify", *map(str, words)])
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built(tmp_path / "index", [a_region("a"), a_region("b")])
    return tmp_path / "index"


def test_a_whole_index(folder: Path) -> None:
    code, text = run(folder)
    assert code == 0
    assert "none is damaged" in text
    assert json.loads(run(folder, "--json")[1])["damages"] == []


def test_damage_is_one_line_a_file_and_repaired(folder: Path) -> None:
    catalog = folder / "generations" / "0001" / "catalog.duckdb"
    catalog.write_bytes(b"x")
    code, text = run(folder)
    (line,) = [each for each in text.splitlines() if each.startswith("damaged: ")]
    assert code == 1
    assert "catalog.duckdb has 1 bytes" in line
    assert "nothing is lost" in line
    assert "--repair" in line
    code, text = run(folder, "--repair")
    assert code == 1  # The list of skipped photographs is lost.
    assert "generation 2 was made from the shards" in text
    assert run(folder)[0] == 0


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    code, text = run(tmp_path)
    assert code == 2
    assert "is not an index" in text
