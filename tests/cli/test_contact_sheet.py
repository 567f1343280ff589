"""The contact sheet of a search: its format, and an index whose photographs are away."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fakes import a_collection_of, build_fake
from PIL import Image
from trays import a_collection_of_trays, build_trays
from typer.testing import CliRunner

from sst_retrieval.cli import app
from sst_retrieval.pictures import sheets
from sst_retrieval.pictures.sheets import Tile


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """An index that was copied to another computer, where the photographs are not."""
    build_fake(a_collection_of(tmp_path / "collection"), tmp_path / "index")
    shutil.move(tmp_path / "index", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "collection")
    return tmp_path / "elsewhere"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Tile]:
    """The tiles that come onto the sheets that are made, the query's first."""
    tiles: list[Tile] = []
    make = sheets.contact_sheet

    def keep(query: Tile | None, hits: Sequence[Tile], **how: str) -> np.ndarray:
        tiles.extend([*([query] if query is not None else []), *hits])
        return make(query, hits, **how)

    monkeypatch.setattr(sheets, "contact_sheet", keep)
    return tiles


def test_tiles_come_from_the_index_and_say_so(copied: Path, tmp_path: Path, drawn: list[Tile]) -> None:
    path = tmp_path / "new folder" / "hits.jpg"
    words = ["search", str(copied), "--like", "r1", "--trait", "spot", "-k", "3", "--contact-sheet", str(path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    assert "3 of 3 photographs were not at hand" in result.stderr
    assert drawn[0].title == "r1"
    assert len(drawn) == 4
    assert all(tile.lines[-1] == "photograph not at hand" for tile in drawn)
    assert any(line.startswith("similarity") for line in drawn[1].lines)
    assert all(np.ptp(tile.image) > 100 for tile in drawn)  # Crops, not grey.
    with Image.open(path) as sheet:
        assert sheet.format == "JPEG"


def test_with_the_photographs_nothing_is_said(tmp_path: Path) -> None:
    build_fake(a_collection_of(tmp_path / "collection"), tmp_path / "index")
    words = [
        "search",
        str(tmp_path / "index"),
        "--like",
        "r1",
        "--trait",
        "spot",
        "--contact-sheet",
        str(tmp_path / "a.png"),
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    assert "not at hand" not in result.stderr


def search(folder: Path, like: str, *more: str) -> None:
    words = ["search", str(folder / "index"), "--like", like, "--trait", "spot", "--contact-sheet"]
    done = CliRunner().invoke(app, [*words, str(folder / "sheet.png"), *more])
    assert done.exit_code == 0, done.output


def test_a_hit_says_which_of_several_individuals_it_is_and_shows_where(tmp_path: Path, drawn: list[Tile]) -> None:
    build_trays(a_collection_of_trays(tmp_path), tmp_path / "index")
    search(tmp_path, "t1#3", "--per", "individual")
    query, *hits = drawn
    assert (query.title, query.lines[0]) == ("t1#3", "3 of 3 on t1")
    tiles = {tile.title: tile for tile in hits}
    assert set(tiles) == {"t0#1", "t1#1", "t1#2", "t2#1", "t2#2", "t4#1", "t4#2"}
    assert "2 of 2 on t2" in tiles["t2#2"].lines
    assert not [line for line in tiles["t0#1"].lines if " of 1" in line]
    for tile in drawn:
        assert tile.image.shape[:2] == tile.masks["spot"].shape
        assert tile.image.shape[0] < 60  # The individual alone,
        assert tile.inset is not None  # and all of the tray.
        assert tile.inset.shape[:2] == (52, 84)
        assert tile.masks["spot"].sum() == 49


def test_individuals_of_photographs_that_are_away_are_named_all_the_same(tmp_path: Path, drawn: list[Tile]) -> None:
    build_trays(a_collection_of_trays(tmp_path), tmp_path / "index")
    shutil.rmtree(tmp_path / "images")
    search(tmp_path, "t1#3", "-k", "2")
    assert drawn[0].lines == ["3 of 3 on t1", "photograph not at hand"]
    assert all(" of 2 on t" in tile.lines[2] and tile.inset is None for tile in drawn[1:])


def test_a_specimen_with_several_photographs_is_asked_with(tmp_path: Path, drawn: list[Tile]) -> None:
    table = a_collection_of(tmp_path)
    lines = table.read_text().splitlines()
    views = ["view", *(["dorsal", "ventral"] * 5)]
    lines = [f"{line},{view}".replace("r3,", "r2,") for line, view in zip(lines, views, strict=True)]
    table.write_text("\n".join([lines[0], *(line for line in lines[1:])]) + "\n")
    build_fake(table, tmp_path / "index")
    search(tmp_path, "r2")
    assert drawn[0].title == "r2 dorsal"
    assert drawn[0].lines[0] == "specimen r2, dorsal"
    assert {tile.title for tile in drawn[1:]} == {"r0", "r1", "r4", *(f"b{n}" for n in range(5))}


def test_the_table_of_hits_names_individuals_where_a_specimen_may_have_several(tmp_path: Path) -> None:
    build_trays(a_collection_of_trays(tmp_path), tmp_path / "index")
    words = ["search", str(tmp_path / "index"), "--like", "t1#3", "--trait", "spot", "-k", "2"]
    head, first, *_ = CliRunner().invoke(app, words).output.splitlines()
    assert head.split()[:2] == ["individual", "rank"]
    assert first.split()[0] in {"t2#1", "t4#1"}
