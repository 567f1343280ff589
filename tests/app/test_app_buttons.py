"""Every button of every page is pressed once; none may end in an error."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FAKES, a_collection_of, build_fake
from light_table import act, read_tiles
from streamlit.testing.v1 import AppTest
from test_app import names, opened, quiet, start_on

import sst_retrieval as sst

State = Callable[[Path], AppTest]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A collection and an index that may be changed; builds that are started do nothing."""
    build_fake(a_collection_of(tmp_path / "collection"), tmp_path / "index")
    start_on(tmp_path / "index", monkeypatch)
    monkeypatch.setattr("sst_retrieval.PROPAGATORS", {FAKES.propagator: ""}, raising=False)
    monkeypatch.setattr("sst_retrieval.EMBEDDERS", {FAKES.embedder: ""}, raising=False)
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda words, **how: start([sys.executable, "-V"], **how))
    return tmp_path


def welcome(_: Path) -> AppTest:
    return opened()


def hits(_: Path) -> AppTest:
    return opened(
        "search", specimen="r1", trait="spot", like='["r2", "spot"]', unlike='["r3", "spot"]', sentence="females"
    )


def two_compared(_: Path) -> AppTest:
    app = opened("search", specimen="r1", trait="spot", **{"f.sex": '["male", "female"]'})
    for name in names(app)[:2]:
        act(app, "tick", name)
    return app.run()


def details(_: Path) -> AppTest:
    app = opened("search", specimen="r1", trait="spot")
    return act(app, "details", "r2").run()


def last_page(_: Path) -> AppTest:
    return opened("search", specimen="r1", trait="spot", page="2")


def upload(folder: Path) -> AppTest:
    app = opened("search", way="a photograph")
    photograph, mask = ((folder / "collection" / kind / "r4.png").read_bytes() for kind in ("images", "labels"))
    app.file_uploader(key="upload").set_value(("r4.png", photograph, "image/png")).run()
    return app.file_uploader[1].set_value(("mask.png", mask, "image/png")).run()


def details_of_upload(folder: Path) -> AppTest:
    app = upload(folder)
    return act(app, "details", names(app)[0]).run()


def annotate(_: Path) -> AppTest:
    return opened("annotate")


def draw(_: Path) -> AppTest:
    app = opened("annotate")
    app.selectbox(key="annotate-specimen").set_value("r3").run()
    return next(button for button in app.button if button.label == "what the program found").click().run()


def drawn(folder: Path) -> AppTest:
    app = draw(folder)
    return next(button for button in app.button if "Save" in button.label).click().run()


def review(_: Path) -> AppTest:
    app = opened("review")
    return app.text_input(key="reviewer").input("Mary").run()


def review_of_decided(folder: Path) -> AppTest:
    with sst.open_index(folder / "index") as index:
        for trait in ("spot", "bar"):
            index.review("r3", trait, "accept", reviewer="Ann")
    app = review(folder)
    return app.selectbox(key="review-status").select("accepted").run()


def redraw(folder: Path) -> AppTest:
    app = review(folder)
    return next(button for button in app.button if button.label == "Redraw").click().run()


def collection(_: Path) -> AppTest:
    return opened("collection")


def morphospace(_: Path) -> AppTest:
    app = opened("morphospace")
    app.session_state["space-circled"] = [0, 1, 2]
    return app.run()


STATES = (
    welcome, hits, two_compared, details, last_page, upload, details_of_upload, annotate, draw, drawn, review,
    review_of_decided, redraw, collection, morphospace,
)  # fmt: skip


def kind(button: Any) -> tuple[str, str]:
    """What a button does, whichever specimen it is about."""
    return re.sub(r"\b[rb]\d\b", "", button.label), re.sub(r"\b[rb]\d\b", "", str(button.key or ""))


@pytest.mark.parametrize("state", STATES)
def test_every_button_is_pressed(own: Path, state: State) -> None:
    app = state(own)
    quiet(app)
    every = {kind(button): place for place, button in reversed(list(enumerate(app.button))) if not button.disabled}
    tiles = read_tiles(app)
    if state not in (collection,):
        assert every or tiles
    for what in every:
        quiet(press(app, what))
        app = state(own)
    for what in ("ask", "tick", "untick", "like", "unlike", "details") if tiles else ():
        quiet(act(app, what, tiles[0]["id"]).run())
        app = state(own)


def press(app: AppTest, what: tuple[str, str]) -> AppTest:
    button = next((each for each in app.button if kind(each) == what), None)
    return app if button is None else button.click().run()


def test_a_hit_becomes_the_query(own: Path) -> None:
    for state in (details, details_of_upload):
        app = state(own)
        app = next(button for button in app.button if str(button.key).startswith("ask-")).click().run()
        quiet(app)
        specimen, trait = app.query_params["specimen"], app.query_params["trait"]
        specimen, trait = (value if isinstance(value, str) else value[0] for value in (specimen, trait))
        assert (specimen, trait) == (("r2", "spot") if state is details else ("r4", "bar"))
        assert (app.session_state["way"], app.session_state["trait"]) == ("a specimen", trait)
        assert specimen not in names(app)
