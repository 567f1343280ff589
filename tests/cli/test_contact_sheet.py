"""The contact sheet of a search: its format, and an index whose photographs are away."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fakes import a_collection_of, build_fake
from PIL import Image
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


def test_tiles_come_from_the_index_and_say_so(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tile] = []
    make = sheets.contact_sheet

    def keep(query: Tile | None, hits: Sequence[Tile], **how: str) -> np.ndarray:
        drawn.extend([*([query] if query is not None else []), *hits])
        return make(query, hits, **how)

    monkeypatch.setattr(sheets, "contact_sheet", keep)
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
