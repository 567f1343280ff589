"""Supports of photographs that show several individuals are drawn on the photograph."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from test_app import opened, press, quiet
from trays import COLLECTION, a_collection_of_trays, build_trays

import sst_retrieval as sst


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    build_trays(a_collection_of_trays(tmp_path), tmp_path / "index")
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index")])
    return tmp_path


def test_a_support_of_several_is_drawn_on_their_photograph(own: Path) -> None:
    app = opened("annotate")
    app.selectbox(key="annotate-specimen").set_value("t2").run()
    quiet(app)
    press(app, "what the program found")
    press(app, "Save the support")
    quiet(app)
    (path,) = own.glob("**/supports/t2.png")
    labels = sst.read_labels(path)
    with sst.open_index(own / "index") as index:
        spots = np.any([index.mask(f"t2#{n + 1}", "spot") for n in range(len(COLLECTION["t2"]))], axis=0)
        assert np.array_equal(labels == index.trait_numbers["spot"], spots)


@pytest.mark.parametrize("page", ["search", "annotate", "review", "collection", "morphospace"])
def test_every_page_opens(own: Path, page: str) -> None:
    quiet(opened(page))


def test_traits_are_counted_on_individuals(own: Path) -> None:
    shown = [each.value for each in opened("search").markdown]
    count = sum(map(len, COLLECTION.values()))
    assert any("spot**: found on" in each and "individuals, not on" in each for each in shown)
    collection = opened("collection")
    assert "**On how many individuals each trait was found**" in [each.value for each in collection.markdown]
    metrics = {each.label: each.value for each in collection.metric}
    assert (metrics["photographs"], metrics["individuals"]) == (str(len(COLLECTION)), str(count))
