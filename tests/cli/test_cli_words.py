from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import small_clip
from fakes import FAKES
from PIL import Image
from typer.testing import CliRunner, Result

from sst_retrieval.cli import app
from sst_retrieval.engines import ModelOptions, load_embedder
from sst_retrieval.search.index import open_index
from sst_retrieval.words import answer, described, understand


@pytest.fixture
def index(ten: Path) -> Path:
    """The index of ten specimens; only to read."""
    return ten / "index"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_sentence_is_answered_and_how_it_was_read_is_said(index: Path, tmp_path: Path) -> None:
    result = run("search", index, "--text", "red spots, iridescent", "--json", "--contact-sheet", tmp_path / "a.png")
    assert result.exit_code == 0, result.stderr
    hits = json.loads(result.stdout)
    with open_index(index) as opened:
        assert hits == [hit.as_dict() for hit in answer(opened, understand(opened, "red spots"))]
        assert {hit["specimen"] for hit in hits} == {
            each.id for each in opened.individuals() if each.group == "red" and each.id in {h["specimen"] for h in hits}
        }
    assert "trait: spot" in result.stderr
    assert "not understood: iridescent" in result.stderr
    assert np.asarray(Image.open(tmp_path / "a.png")).std() > 5


def test_a_sentence_can_be_explained_and_parts_ignored(index: Path) -> None:
    result = run("search", index, "--text", "red spots", "--explain")
    assert result.exit_code == 0
    assert "ranking: red" in result.stdout
    parts = json.loads(run("search", index, "--text", "red spots", "--explain", "--ignore", "red", "--json").stdout)
    assert [part["kind"] for part in parts["parts"]] == ["trait"]


def test_an_example_may_come_beside_the_sentence(index: Path) -> None:
    with open_index(index) as opened:
        name = opened.individuals()[0].id
    result = run("search", index, "--text", "a similar spot", "--like", name, "--json")
    plain = run("search", index, "--trait", "spot", "--like", name, "--json")
    assert json.loads(result.stdout) == json.loads(plain.stdout)
    assert run("search", index, "--text", f"spots like {name}", "--json").stdout == plain.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "xyzzy"], "'xyzzy' was not understood .xyzzy."),
        (["--text", "spots", "--ignore", "blue"], "--ignore 'blue' is no part"),
        (["--text", "a similar spot"], "similar to which"),
        (["--explain"], "--explain are about a sentence"),
        (["--text", "red things"], "say which trait to look at"),
        (["--text", "spots", "--trait", "leg"], "no trait 'leg'"),
    ],
)
def test_a_bad_sentence_is_refused(index: Path, words: list[str], message: str) -> None:
    result = run("search", index, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert message.replace(".", "") in result.stderr.replace("(", "").replace(")", "") or message in result.stderr


def test_what_left_nothing_is_said_on_the_command_line(index: Path) -> None:
    result = run("search", index, "--text", "purple spots")
    assert "no specimen answers this search" in result.stdout
    assert "purple: 0; with all before it: 0" in result.stderr


def test_an_openclip_index_compares_the_rest_of_a_sentence_with_patterns(table: Path, tmp_path: Path) -> None:
    folder = small_clip.save(tmp_path / "clip")
    built = ["build", table, "--supports", table.parent / "supports", "--output", tmp_path / "index"]
    result = run(*built, "--propagator", FAKES.propagator, "--embedder", "openclip", "--clip-model", folder)
    assert result.exit_code == 0, result.stderr
    answered = run("search", tmp_path / "index", "--text", "feathery spots", "--json", "-k", "20")
    assert answered.exit_code == 0, answered.stderr
    assert "compared with the words: feathery spot" in answered.stderr
    hits = json.loads(answered.stdout)
    embedder = load_embedder("openclip", "cpu", ModelOptions(clip_model=str(folder)))
    wanted = described(embedder, "feathery spot").astype(float)
    with open_index(tmp_path / "index") as index:
        cosines = {}
        for each in index.individuals():
            vector = index.region(each.id, "spot").vector
            if vector is not None:
                cosines[each.id] = float(vector[: small_clip.DIM].astype(float) @ wanted)
    assert {hit["specimen"]: hit["blocks"]["text"] for hit in hits} == pytest.approx(cosines, abs=1e-6)
    assert [hit["specimen"] for hit in hits] == sorted(cosines, key=lambda name: -cosines[name])
    both = run("search", tmp_path / "index", "--text", "feathery spots", "--like", "r0", "--json", "-k", "20")
    assert "compared with the words: feathery spot; they and the likeness to the example order alike" in both.stderr
    found = json.loads(both.stdout)
    assert {hit["specimen"]: hit["blocks"]["text"] for hit in found} == pytest.approx(
        {name: value for name, value in cosines.items() if name != "r0"}, abs=1e-6
    )
    other = small_clip.save(tmp_path / "other", seed=1)
    refused = run("search", tmp_path / "index", "--text", "feathery spots", "--clip-model", other)
    assert refused.exit_code == 2
    assert "cannot be compared" in refused.stderr
