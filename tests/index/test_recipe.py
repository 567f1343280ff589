"""What regions are made by is compared by its content: a checkpoint under another name is the same one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEmbedder
from small_sam2 import write_small_sam2

from sst_retrieval.engines import Engines
from sst_retrieval.errors import ModelMismatchError
from sst_retrieval.index.manifest import Recipe, adopt_comparison, require_same, same_settings
from sst_retrieval.track.sam2.propagator import Sam2Propagator


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_small_sam2(tmp_path)


def recipe(checkpoint: Path, config: Path) -> Mapping[str, Any]:
    """As a build would store it, in JSON and back."""
    propagator = Sam2Propagator(str(checkpoint), config=config, device="cpu")
    engines = Engines(propagator, FakeEmbedder("cpu"), ("sam2", "fake"), {"propagator": propagator.weights}, "cpu")
    stored: Mapping[str, Any] = json.loads(json.dumps(engines.recipe()))
    return stored


@pytest.mark.parametrize("name", ["renamed.pt", "2.pt", "SAM 2 small at.pt"])
def test_the_same_weights_under_another_name_are_the_same(files: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    checkpoint, config = files
    before = recipe(checkpoint, config)
    (tmp_path / "elsewhere").mkdir()
    after = recipe(checkpoint.rename(tmp_path / "elsewhere" / name), config)
    assert before != after
    assert same_settings(before, after)
    require_same(tmp_path, before, after)


def test_other_weights_under_the_same_name_are_others(files: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, config = files
    before = recipe(checkpoint, config)
    checksum = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    with checkpoint.open("ab") as file:
        file.write(b"\0" * 8)  # A zip file may be followed by anything.
    after = recipe(checkpoint, config)
    assert before["propagator"] == after["propagator"]
    with pytest.raises(ModelMismatchError, match=checksum):
        require_same(tmp_path, before, after)


def test_another_configuration_of_the_same_weights_is_another_model(files: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, config = files
    before = recipe(checkpoint, config)
    text = config.read_text()
    assert "sigmoid_scale_for_mem_enc: 20.0" in text
    other = tmp_path / "other" / config.name
    other.parent.mkdir()
    other.write_text(text)
    assert same_settings(before, recipe(checkpoint, other))
    other.write_text(text.replace("sigmoid_scale_for_mem_enc: 20.0", "sigmoid_scale_for_mem_enc: 10.0"))
    assert not same_settings(before, recipe(checkpoint, other))


def test_weights_that_tell_no_checksum_are_compared_as_they_are() -> None:
    def own(version: str, **more: str) -> Mapping[str, Any]:
        about = {"name": version, "file": "mine.npz", **more}
        return {"propagator": {"engine": "mine:Model", "model": f"mine {version} x"}, "weights": {"propagator": about}}

    assert not same_settings(own("1"), own("2"))
    assert same_settings(own("1", sha256="a"), own("2", sha256="a"))
    assert not same_settings(own("1", sha256="a"), own("1", sha256="b"))
    assert not same_settings({"weights": {}}, {"weights": {"propagator": {"sha256": "a"}}})


@pytest.mark.parametrize("odd", [{"weights": 1}, {"weights": {"propagator": 1}, "propagator": 2}, {"propagator": {}}])
def test_settings_of_any_form_are_compared(odd: Mapping[str, Any]) -> None:
    assert same_settings(odd, dict(odd))
    assert not same_settings(odd, {})


def test_how_regions_are_compared_is_no_other_model(tmp_path: Path) -> None:
    stored = {"embedder": "invented", "whitening": {"pattern": 1.0}}
    requested = {
        "embedder": "invented",
        "whitening": {"pattern": 2.0},
        "spread": {"shape": 1.0},
        "trust": [0.5, 0.9, 0.1],
    }
    assert same_settings(stored, requested)
    require_same(tmp_path, stored, requested)
    adopted = adopt_comparison(Recipe(stored, {"pattern": 4, "shape": 2}, 3), requested)
    assert adopted == Recipe(requested, {"pattern": 4, "shape": 2}, 3)
    assert adopt_comparison(adopted, {"embedder": "other"}).settings == {"embedder": "invented"}
