"""The app and an index whose own model reads words: a sentence beside an example orders as on the command line."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import small_clip
from fakes import FAKES, a_collection_of, build_fake
from invented import without_checksums
from test_app import names, opened, quiet, shown
from typer.testing import CliRunner

import sst_retrieval as sst
from sst_retrieval.cli import app as commands
from sst_retrieval.engines import ModelOptions

SENTENCE = "feathery spots"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index built with a small CLIP that lies in `clip/` beside it."""
    folder = tmp_path_factory.mktemp("words")
    options = ModelOptions(clip_model=str(small_clip.save(folder / "clip")))
    settings = replace(FAKES, embedder="openclip", models=options)
    build_fake(a_collection_of(folder / "collection"), folder / "index", settings)
    return folder


@pytest.fixture
def index(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "argv", ["Home.py", str(made / "index")])
    return made / "index"


def on_the_command_line(index: Path, *words: str) -> list[str]:
    result = CliRunner().invoke(commands, ["search", str(index), "--text", SENTENCE, "--json", "-k", "12", *words])
    assert result.exit_code == 0, result.stderr
    return [hit["specimen"] for hit in json.loads(result.stdout)]


def test_a_sentence_beside_an_example_orders_as_on_the_command_line(index: Path) -> None:
    app = opened(specimen="r1", trait="spot", sentence=SENTENCE)
    quiet(app)
    assert names(app) == on_the_command_line(index, "--like", "r1", "--trait", "spot")
    # The words do something: without them the order is another.
    with sst.open_index(index) as there:
        alone = [hit.individual for hit in there.search(like=("r1", "spot"), k=12)]
    assert names(app) != alone
    assert "Ordered by two places alike" in shown(app)
    assert "feathery spot" in shown(app)
    assert "left to the index's model: feathery" in shown(app)
    assert ">text<" in shown(app)


def test_a_sentence_alone_orders_by_the_words(index: Path) -> None:
    app = opened(sentence=SENTENCE)
    quiet(app)
    assert names(app) == on_the_command_line(index)
    assert "Ordered by how well the words" in shown(app)


def test_several_examples_and_words_are_said_not_to_go_together(index: Path) -> None:
    app = opened(specimen="r1", trait="spot", like='["r2", "spot"]', sentence=SENTENCE)
    quiet(app)
    with sst.open_index(index) as there:
        alone = [hit.individual for hit in there.search(like=[("r1", "spot"), ("r2", "spot")], k=12)]
    assert names(app) == alone
    assert "are not asked together with several examples" in shown(app)
    assert "Ordered by" not in shown(app)


def test_a_model_that_is_gone_is_said_and_the_rest_is_answered(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made / "index", tmp_path / "index")
    manifest = tmp_path / "index" / "manifest.json"
    without_checksums(tmp_path / "index")
    text = manifest.read_text()
    assert str(made / "clip") in text
    manifest.write_text(text.replace(str(made / "clip"), str(tmp_path / "gone")))
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index")])
    app = opened(specimen="r1", trait="spot", sentence=SENTENCE)
    quiet(app)
    assert "feathery spot\u201d are not compared" in shown(app)
    with sst.open_index(tmp_path / "index") as there:
        assert names(app) == [hit.individual for hit in there.search(like=("r1", "spot"), k=12)]
    # Named when the app is started, it is found again.
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index"), "--clip-model", str(made / "clip")])
    app = opened(specimen="r1", trait="spot", sentence=SENTENCE)
    assert "Ordered by two places alike" in shown(app)


def test_an_index_does_not_make_the_app_fetch_a_model(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made / "index", tmp_path / "index")
    manifest = tmp_path / "index" / "manifest.json"
    without_checksums(tmp_path / "index")
    manifest.write_text(manifest.read_text().replace(str(made / "clip"), "hf-hub:somebody/something"))

    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("sst_retrieval.search.outside.load_embedder", fetched)
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index")])
    app = opened(specimen="r1", trait="spot", sentence=SENTENCE)
    quiet(app)
    assert "a model of the hub; if you know it, say so" in shown(app)


def test_another_sex_is_another_than_that_of_the_chosen_specimen(index: Path) -> None:
    app = opened(specimen="r1", trait="spot", sentence="spots of the other sex")
    quiet(app)
    with sst.open_index(index) as there:
        own = there.individual("r1").metadata["sex"]
        expected = [hit.individual for hit in there.search(like=("r1", "spot"), where=f"sex <> '{own}'", k=12)]
    assert names(app) == expected
    assert "Not understood" not in shown(app)
    quiet(opened(specimen="nobody", trait="spot", sentence="spots of the other sex"))
