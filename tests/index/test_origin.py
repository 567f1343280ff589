from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import pytest
from fakes import CONCURRENT, a_collection_of, build_fake
from invented import a_region, built, without_checksums

from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.engines import ModelOptions
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.origin import MODEL_OPTIONS, SETTING_OPTIONS, find_indexes, index_state, rebuild_command
from sst_retrieval.search import outside
from sst_retrieval.search.index import open_index


def made_with(path: Path, models: dict[str, object], **settings: object) -> None:
    """Write into an index that it was built from another folder, with models that were told something."""
    manifest = without_checksums(path)
    made = {"folder": str(path.parent / "museum"), "table": "collection.csv", "supports_folder": "supports"}
    manifest["generation"]["provenance"] = {**made, "settings": {**settings, "models": models}}
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_the_indexes_of_a_folder(tmp_path: Path) -> None:
    built(tmp_path / "two", [a_region("a")])
    built(tmp_path / "one", [a_region("a")])
    (tmp_path / "three").mkdir()
    assert list(find_indexes(tmp_path)) == ["one", "two"]
    assert list(find_indexes(tmp_path / "one")) == ["one"]
    assert find_indexes(tmp_path / "three") == find_indexes(tmp_path / "nothing") == {}
    assert index_state(tmp_path / "one") == (1, 0)


def test_the_command_that_builds_it_again(tmp_path: Path) -> None:
    built(tmp_path / "x", [a_region("a")])
    path = tmp_path / "x"
    manifest = without_checksums(path)
    with pytest.raises(IndexFolderError, match="build it once more"):
        rebuild_command(path)
    made = {
        "folder": "/museum",
        "table": "a b/collection.csv",
        "supports_folder": "/supports",
        "settings": {
            **{"images": "photos", "id_column": None, "propagator": "sam2", "prune": "False"},
            "models": {"checkpoint": "sam2.1_hiera_tiny", "adapters": ["/a"], "cycle_consistency": "True"},
        },
    }
    manifest["generation"]["provenance"] = made
    (path / "manifest.json").write_text(json.dumps(manifest))
    words = rebuild_command(path, groups=["red"])
    assert words[:5] == ["sst-retrieval", "build", "/museum/a b/collection.csv", "--supports", "/supports"]
    assert words[5:] == [
        *("--output", str(path), "--images", "/museum/photos", "--propagator", "sam2"),
        *("--checkpoint", "sam2.1_hiera_tiny", "--adapter", "/a", "--cycle-consistency", "--groups", "red"),
    ]
    made["folder"] = "museum"  # Relative to wherever the app was started: a stranger's index could mean any folder.
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IndexFolderError, match="build it once more"):
        rebuild_command(path)


def test_the_command_that_builds_it_again_works_in_any_folder(tmp_path: Path) -> None:
    built(tmp_path / "x", [a_region("a")])
    museum = tmp_path / "museum"
    (museum / "clip").mkdir(parents=True)
    (museum / "own").write_bytes(b"weights")
    given = {"checkpoint": "nets/sam2.pt", "sam2_config": "sam2.yaml", "adapters": ["erato", "/melpomene"]}
    made_with(tmp_path / "x", given, propagator="sam2")
    assert rebuild_command(tmp_path / "x")[-10:] == [
        *("--propagator", "sam2", "--checkpoint", f"{museum}/nets/sam2.pt", "--sam2-config", f"{museum}/sam2.yaml"),
        *("--adapter", f"{museum}/erato", "--adapter", "/melpomene"),
    ]
    for model, pretrained, expected in [
        ("clip", None, (f"{museum}/clip", None)),
        ("local-dir:clip", None, (f"local-dir:{museum}/clip", None)),
        ("ViT-B-32", "own", ("ViT-B-32", f"{museum}/own")),
        ("ViT-B/32", "gone/clip.safetensors", ("ViT-B/32", f"{museum}/gone/clip.safetensors")),
        ("hf-hub:imageomics/bioclip", None, ("hf-hub:imageomics/bioclip", None)),
        ("ViT-B-32", "laion2b_s34b_b79k", ("ViT-B-32", "laion2b_s34b_b79k")),
        (None, "bioclip", (None, "bioclip")),
    ]:
        made_with(tmp_path / "x", {"clip_model": model, "clip_pretrained": pretrained}, embedder="openclip")
        words = rebuild_command(tmp_path / "x")
        found = dict(pairwise(words))
        assert (found.get("--clip-model"), found.get("--clip-pretrained")) == expected
    (museum / "bioclip").write_bytes(b"weights")  # A name of `weights list` wins over a file, as it does in a build.
    made_with(tmp_path / "x", {"clip_pretrained": "bioclip"}, embedder="openclip")
    assert rebuild_command(tmp_path / "x")[-2:] == ["--clip-pretrained", "bioclip"]


def test_the_command_that_builds_it_again_names_all_that_answers_depend_on(tmp_path: Path) -> None:
    museum = tmp_path / "museum"
    built(tmp_path / "x", [a_region("a")])
    models: dict[str, object] = {"trunk": "timm:convnext_tiny@nets/own.safetensors", "runtime": "openvino"}
    settings = {"view_column": "view", "individuals": "many", "finder": "dense", "foreground": "colour"}
    made_with(tmp_path / "x", models, **settings, propagator="dense")
    words = rebuild_command(tmp_path / "x")
    found = dict(pairwise(words))
    assert {option: found.get(f"--{option.replace('_', '-')}") for option in [*settings, *models]} == {
        **settings,
        "trunk": f"timm:convnext_tiny@{museum}/nets/own.safetensors",
        "runtime": "openvino",
    }
    made_with(tmp_path / "x", {}, outlines="mobile_sam@nets/mobile_sam.pt", propagator="dense")
    assert ("--outlines", f"mobile_sam@{museum}/nets/mobile_sam.pt") in pairwise(rebuild_command(tmp_path / "x"))
    made_with(tmp_path / "x", {}, propagator="dense+mobile_sam@nets/mobile_sam.pt")
    again = rebuild_command(tmp_path / "x")
    assert ("--propagator", f"dense+mobile_sam@{museum}/nets/mobile_sam.pt") in pairwise(again)
    made_with(tmp_path / "x", {}, outlines="mobile_sam", propagator="dense")
    assert ("--outlines", "mobile_sam") in pairwise(rebuild_command(tmp_path / "x"))
    made_with(tmp_path / "x", {"trunk": "timm:convnext_tiny", "runtime": "torch"}, propagator="dense")
    assert rebuild_command(tmp_path / "x")[-4:] == ["--trunk", "timm:convnext_tiny", "--runtime", "torch"]


def test_every_setting_of_a_build_is_repeated_or_left_out_on_purpose() -> None:
    repeated = {
        *SETTING_OPTIONS,
        *MODEL_OPTIONS,
        "adapters",
        "cycle_consistency",
        "second_look",
        "second_pass",
        "groups",
    }
    # What a build does once, how fast it is, and where copies of photographs come from: `images` has them.
    once = {"models", "prune", "rebuild", "reread", "refit", "workers", "batch", "ray", "store"}
    assert {each.name for each in (*fields(BuildSettings), *fields(ModelOptions))} == repeated | once


def test_the_model_that_describes_an_example_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"propagator": "invented", "embedder": {"engine": "openclip"}}
    built(tmp_path / "x", [a_region("a")], settings=settings)
    (tmp_path / "museum").mkdir()
    (tmp_path / "museum" / "own").write_bytes(b"weights")
    made_with(tmp_path / "x", {"clip_model": "ViT-B-32", "clip_pretrained": "own"}, embedder="openclip")
    loaded: list[ModelOptions | None] = []
    monkeypatch.setattr(outside, "load_embedder", lambda name, device, options: loaded.append(options))
    monkeypatch.setattr(outside, "describe_embedder", lambda embedder: {})
    monkeypatch.chdir(tmp_path)
    with open_index(tmp_path / "x") as index:
        outside.embedder_of(index)
        outside.embedder_of(index, clip_pretrained="other")
    assert loaded == [
        ModelOptions(clip_model="ViT-B-32", clip_pretrained=f"{tmp_path}/museum/own"),
        ModelOptions(clip_model="ViT-B-32", clip_pretrained="other"),
    ]


@pytest.mark.parametrize(("written", "said"), [(True, True), ("True", True), (False, False), ("False", False)])
def test_what_was_switched_on_is_read_as_it_was_and_is_written(tmp_path: Path, written: object, said: bool) -> None:
    built(tmp_path / "x", [a_region("a")])
    made_with(tmp_path / "x", {"checkpoint": "sam2.1_hiera_tiny", "cycle_consistency": written}, propagator="sam2")
    assert ("--cycle-consistency" in rebuild_command(tmp_path / "x")) is said
    made_with(tmp_path / "x", {"second_look": said}, propagator="dense")
    assert ("--second-look" in rebuild_command(tmp_path / "x")) is said


def test_the_provenance_holds_json_values_not_their_names(tmp_path: Path) -> None:
    table = a_collection_of(tmp_path / "museum")
    build_fake(table, tmp_path / "index", replace(CONCURRENT, images=table.parent, groups=("red",)))
    made = json.loads((tmp_path / "index" / "manifest.json").read_text())["generation"]["provenance"]["settings"]
    assert (made["prune"], made["rebuild"], made["workers"], made["groups"]) == (False, False, 3, ["red"])
    assert (made["id_column"], made["images"]) == (None, str(table.parent))
    assert (made["models"]["cycle_consistency"], made["models"]["adapters"]) == (False, [])
