"""`sst-retrieval review`: individuals are decided on, added and listed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from trays import a_collection_of_trays, build_trays
from typer.testing import CliRunner

import sst_retrieval as sst
from sst_retrieval.cli import app
from sst_retrieval.imaging.images import write_png


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("review")
    build_trays(a_collection_of_trays(folder / "collection"), folder / "index")
    return folder / "index"


@pytest.fixture
def folder(built: Path) -> Path:
    (built / "reviews" / "decisions.jsonl").unlink(missing_ok=True)
    return built


def run(folder: Path, *words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["review", str(folder), *map(str, words)])
    return result.exit_code, result.output + str(result.exception or "")


def test_an_individual_is_rejected_and_listed(folder: Path) -> None:
    assert "nobody has decided" in run(folder)[1]
    code, text = run(folder, "t1#2", "--decision", "reject", "--reviewer", "Mary", "--comment", "a label")
    assert code == 0, text
    assert "t1#2  rejected by Mary" in text
    assert "the next build: is taken out" in text
    (row,) = json.loads(run(folder, "t1", "--json")[1])
    assert (row["individual"], row["decision"], row["comment"]) == ("t1#2", "reject", "a label")
    assert "nobody has decided" in run(folder, "t2")[1]
    with sst.open_index(folder) as index:
        found = index.search(like=("t1#1", "spot"), k=20, per="individual")
        assert "t1#2" not in {hit.individual for hit in found}
    assert run(folder, "t1#2", "--decision", "reopen", "--reviewer", "Mary")[0] == 0
    assert "nobody has decided" in run(folder)[1]


def test_an_individual_is_added_by_its_outline(folder: Path, tmp_path: Path) -> None:
    with sst.open_index(folder) as index:
        height, width = index.photograph("t3").shape[:2]
    mask = np.zeros((height, width), np.uint8)
    mask[2:12, 3:9] = 255
    write_png(tmp_path / "missed.png", mask)
    code, text = run(folder, "t3", "--add", "--outline", tmp_path / "missed.png", "--reviewer", "Mary")
    assert code == 0, text
    assert "added t3#1" in text
    with sst.open_index(folder) as index:
        (made,) = index.individual_reviews("t3")
        assert np.array_equal(made.mask(), mask > 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--decision", "reject"], "name the individuals"),
        (["t1#2", "--decision", "redraw", "--reviewer", "Mary"], "needs --outline"),
        (["t1", "--add", "--reviewer", "Mary"], "needs --outline"),
        (["t1#2", "--decision", "wrong", "--reviewer", "Mary"], "wrong"),
        (["t1#2", "--decision", "reject"], "reviewer"),
        (["t1#9", "--decision", "reject", "--reviewer", "Mary"], "t1#9"),
        (["t1", "--add", "--decision", "accept"], "exclude"),
        (["t1#2", "--outline", "mask.png"], "belongs to"),
    ],
)
def test_what_makes_no_sense_is_refused(folder: Path, words: list[str], said: str) -> None:
    code, text = run(folder, *words)
    assert code != 0
    assert said in text
