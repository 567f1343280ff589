"""What others did meanwhile is not overwritten without a word, and a sentence's number is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import a_collection_of, build_fake
from streamlit.testing.v1 import AppTest
from test_app import names, opened, press, quiet, shown

import sst_retrieval as sst


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    build_fake(a_collection_of(tmp_path / "collection"), tmp_path / "index")
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index")])
    return tmp_path


def review_as(name: str) -> AppTest:
    return opened("review").text_input(key="reviewer").input(name).run()


def decisions(folder: Path) -> list[tuple[str, str]]:
    with sst.open_index(folder / "index") as index:
        return [(review.decision, review.reviewer) for review in index.reviews()]


def test_a_stale_tab_does_not_overwrite_a_newer_decision(own: Path) -> None:
    ann, mary = review_as("Ann"), review_as("Mary")
    assert ann.session_state["review-shown"] == mary.session_state["review-shown"]
    specimen, trait = ann.session_state["review-shown"]
    quiet(press(ann, "Reject"))
    press(mary, "Accept")
    assert not mary.exception
    assert f"Ann has rejected {trait} of {specimen} since you opened it" in shown(mary)
    assert decisions(own) == [("reject", "Ann")]
    press(mary, "Leave it so")
    quiet(mary)
    assert "since you opened it" not in shown(mary)
    assert decisions(own) == [("reject", "Ann")]


def test_whoever_decides_all_the_same_does_so_knowingly(own: Path) -> None:
    ann, mary, third = review_as("Ann"), review_as("Mary"), review_as("Third")
    press(ann, "Reject")
    press(mary, "Accept")
    press(mary, "Accept it all the same")
    quiet(mary)
    assert decisions(own) == [("accept", "Mary")]
    press(third, "Accept")  # Both say the same: nothing to ask, nothing to write.
    quiet(third)
    assert "since you opened it" not in shown(third)
    assert decisions(own) == [("accept", "Mary")]


def test_a_decision_of_another_program_counts_too(own: Path) -> None:
    mary = review_as("Mary")
    specimen, trait = mary.session_state["review-shown"]
    with sst.open_index(own / "index") as index:
        index.review(specimen, trait, "accept", reviewer="a script")
    press(mary, "Reject")
    assert "a script has accepted" in shown(mary)
    assert decisions(own) == [("accept", "a script")]


def test_a_drawing_is_neither_taken_away_nor_put_over_a_newer_decision(own: Path) -> None:
    mary = review_as("Mary")
    specimen, trait = mary.session_state["review-shown"]
    press(mary, "Redraw")
    with sst.open_index(own / "index") as index:
        index.review(specimen, trait, "reject", reviewer="Ann")
    press(mary, "Keep this mask")
    assert f"Ann has rejected {trait} of {specimen} since you began to draw" in shown(mary)
    assert decisions(own) == [("reject", "Ann")]
    press(mary, "Keep this mask")
    quiet(mary)
    assert decisions(own) == [("redraw", "Mary")]


def test_a_support_says_which_traits_it_lacks(own: Path) -> None:
    with sst.open_index(own / "index") as index:
        (folder,) = own.glob("**/supports")
        sst.save_support(folder, "r3", {"spot": index.mask("r3", "spot")}, numbers=index.trait_numbers)
    app = opened("annotate")
    app.selectbox(key="annotate-specimen").set_value("r3").run()
    quiet(app)
    assert "**Nothing is drawn of bar**: the support says that it is not there" in shown(app)
    press(app, "what the program found")
    assert "Nothing is drawn of" not in shown(app)
    app.selectbox(key="annotate-specimen").set_value("b3").run()  # The blue ones have no bar, so none lacks it.
    press(app, "what the program found")
    assert "**Drawn**: spot" in shown(app)
    assert "Nothing is drawn of" not in shown(app)


def test_a_support_that_somebody_saved_meanwhile_is_not_replaced_without_a_word(own: Path) -> None:
    app = opened("annotate")
    app.selectbox(key="annotate-specimen").set_value("r3").run()
    press(app, "what the program found")
    with sst.open_index(own / "index") as index:
        theirs = np.roll(index.mask("r3", "spot"), 3, axis=0)
        sst.save_support(own / "collection" / "supports", "r3", {"spot": theirs}, numbers=index.trait_numbers)
    path = own / "collection" / "supports" / "r3.png"
    press(app, "Save the support")
    assert "Somebody has saved a support of r3" in shown(app)
    assert np.array_equal(sst.read_labels(path) == 7, theirs)
    press(app, "Save the support")
    quiet(app)
    assert not np.array_equal(sst.read_labels(path) == 7, theirs)
    press(app, "Save the support")  # One's own is no surprise.
    assert "Somebody has saved" not in shown(app)


def test_the_number_in_a_sentence_is_kept(own: Path) -> None:
    app = opened(sentence="the 3 largest spots")
    quiet(app)
    with sst.open_index(own / "index") as index:
        expected = [hit.individual for hit in sst.answer(index, sst.understand(index, "the 3 largest spots"))]
    assert names(app) == expected
    assert len(expected) == 3
    assert "hits 1 to 3, as many as the sentence asks for at most (3)" in shown(app)
    app = opened("search", specimen="r1", trait="spot", sentence="similar spots, at most 1 hit")
    quiet(app)
    assert len(names(app)) == 1
    assert "hit 1, as many as the sentence asks for at most (1)" in shown(app)
    assert "at most 1 hit" in str([pills.options for pills in app.get("button_group")])
    app = opened("search", specimen="r1", trait="spot", like='["r2", "spot"]', sentence="at most 2 hits")
    quiet(app)
    assert len(names(app)) == 2
