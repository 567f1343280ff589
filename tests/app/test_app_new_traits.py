"""First supports: impossible names of traits are refused at once; what was drawn is found again, whatever the id."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import a_collection_of, build_fake
from streamlit.testing.v1 import AppTest
from test_app import HOME, PATIENCE, press, quiet, shown

import sst_retrieval as sst


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A collection that nobody has annotated yet, named on the command line."""
    table = a_collection_of(tmp_path / "museum", [("r0", "red"), ("r1", "red")])
    shutil.rmtree(tmp_path / "museum" / "supports")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["Home.py", str(table)])
    return table


def open_on(specimen: str) -> AppTest:
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE)
    app.query_params["draw"] = specimen
    return app.run()


def add(app: AppTest, name: str) -> AppTest:
    next(each for each in app.text_input if each.label == "A new trait").input(name)
    return press(app, "Add")


def read_surface(app: AppTest) -> list[str]:
    """The traits that the surface offers."""
    (found,) = [each.proto for each in app.get("bidi_component") if each.proto.component_name.endswith("sst_drawing")]
    return [trait["name"] for trait in json.loads(found.json)["traits"]]


def test_a_name_that_no_trait_can_have_is_refused_before_anything_is_drawn(table: Path) -> None:
    app = open_on("r0")
    for name in ("a/b", "..", "Spot"):
        add(app, "spot")
        add(app, name)
        assert [repr(name) in error.value or "upper and lower case" in error.value for error in app.error] == [True]
        assert read_surface(app) == ["spot"]
    add(app, "Fl\u00fcgelband")
    quiet(app)
    assert read_surface(app) == ["spot", "Fl\u00fcgelband"]


def test_a_new_trait_is_there_after_a_reload(table: Path) -> None:
    app = add(open_on("r0"), "spot")
    again = AppTest.from_file(str(HOME), default_timeout=PATIENCE)
    for name, values in app.query_params.items():
        again.query_params[name] = values
    again.run()
    quiet(again)
    assert read_surface(again) == ["spot"]


def test_a_link_with_an_impossible_trait_opens(table: Path) -> None:
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE)
    app.query_params["draw"], app.query_params["new"] = "r0", ["a/b", "spot", "Spot"]
    app.run()
    quiet(app)
    assert read_surface(app) == ["spot"]


def test_the_drawing_of_a_new_trait_is_found_again_and_saved(table: Path, own_drafts: Path) -> None:
    """The browser was closed before the first support was saved: nothing but the draft names the trait."""
    from sst_app import drafts
    from sst_app.label_runs import encode_runs

    labels = np.zeros((40, 60), dtype=np.uint8)
    labels[10:20, 10:20] = 1
    place = str(table.resolve())
    draft = drafts.Draft("v", 3, ("spot",), encode_runs(labels), (40, 60), repr(None), "2026-01-01T00:00:00")
    drafts.write(("annotate", place, "r0"), draft)
    app = open_on("r0")
    quiet(app)
    assert read_surface(app) == ["spot"]
    assert "spot 100 px" in shown(app)
    press(app, "Save the support")
    quiet(app)
    assert np.array_equal(sst.read_labels(table.parent / "supports" / "r0.png"), labels)


def test_a_specimen_that_is_no_longer_in_the_table_is_named(table: Path, own_drafts: Path) -> None:
    app = open_on("r0")
    quiet(app)
    text = table.read_text()
    table.write_text(text.replace("\nr0,", "\nr00,"))
    app.run()
    assert "There is no specimen 'r0' here" in shown(app)
    app.run()
    assert "There is no specimen 'r0' here" in shown(app)
    app.selectbox(key="annotate-specimen").set_value("r00").run()
    assert "There is no specimen" not in shown(app)
    assert "There is no specimen 'r 9' here" in shown(open_on("r 9"))


@pytest.mark.parametrize(
    "specimen", ["BM/1/2", ".5 a", "urn:catalog:BM:1", 'a "b" <c> | *?', "100%", "M\u00fcller & S\u00f6hne #3"]
)
def test_a_support_is_found_again_whatever_its_specimen_is_called(table: Path, own_drafts: Path, specimen: str) -> None:
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[1][0] = specimen
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    from sst_app import drafts
    from sst_app.label_runs import encode_runs

    labels = np.zeros((40, 60), dtype=np.uint8)
    labels[10:20, 10:20] = 1
    draft = drafts.Draft("v", 3, ("spot",), encode_runs(labels), (40, 60), repr(None), "2026-01-01T00:00:00")
    drafts.write(("annotate", str(table.resolve()), specimen), draft)
    app = open_on(specimen)
    press(app, "Save the support")
    quiet(app)
    app.run()
    assert "spot 100 px" in shown(app)  # The surface still holds it.
    assert "Ready to build" in shown(app)
    assert any(button.label == "the support as it is" for button in app.button)
    report = build_fake(table, table.parent / "index")
    assert report.processed == 2
