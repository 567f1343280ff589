"""Fine-tuning of keys and decoder on one group: from one support and photographs without labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scene_collection import write_scenes
from typer.testing import CliRunner

from sst_retrieval.cli.main import app
from sst_retrieval.engines import ModelOptions, load_propagator
from sst_retrieval.errors import ModelError
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.track.adapter_files import load_adapter, save_adapter
from sst_retrieval.track.dense.adapted import AdaptedPropagator
from sst_retrieval.track.dense.cycle_training import FORMAT, CycleSettings, finetune, make_returning_example
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.trained_decoder import TrainedDecoder
from sst_retrieval.track.epochs import Epoch
from sst_retrieval.types import Mask, RGBImage, Support

SETTINGS = CycleSettings(rate=1e-3, epochs=2, patience=2)


def scene(seed: int) -> tuple[RGBImage, Mask]:
    """A brown body with a red patch on pale paper, a little moved and tinted."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((160, 160))
    down, right = rng.integers(-8, 8, 2)
    body = ((rows - 80 - down) / 60) ** 2 + ((columns - 80 - right) / 36) ** 2 < 1
    patch = np.hypot(rows - 60 - down, columns - 80 - right) < 18
    image = np.full((160, 160, 3), 215.0)
    image[body] = (100, 80, 60)
    image[patch] = (190, 50, 40)
    image = image * rng.normal(1, 0.04, 3) + rng.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), patch


@pytest.fixture(scope="module")
def support() -> Support:
    image, mask = scene(0)
    return Support("s0", "reds", image, ("patch",), mask[None])


@pytest.fixture(scope="module")
def dense(trunk: EfficientNetTrunk) -> DensePropagator:
    return DensePropagator(trunk=trunk, decoder=TrainedDecoder())


@pytest.fixture(scope="module")
def training(
    dense: DensePropagator, support: Support, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Epoch]]:
    """A whole fine-tuning."""
    output = tmp_path_factory.mktemp("training") / "adapter"
    return output, finetune(dense, [support], [scene(k)[0] for k in (1, 2, 3)], output, settings=SETTINGS)


def make_adapter(folder: Path, dense: DensePropagator, group: str = "reds", change: float = 0.0) -> Path:
    """An adapter that adds a number to every weight of the keys."""
    assert dense.decoder is not None
    folder.mkdir()
    tensors = {
        name: (tensor + change * name.startswith("keys.")).half().contiguous()
        for name, tensor in dense.decoder.copy_network().state_dict().items()
    }
    about = {"group": group, "checkpoint": {"name": dense.decoder.name, "sha256": dense.decoder.sha256}}
    save_adapter(folder, FORMAT, tensors, about)
    return folder


def test_the_way_back_ends_at_what_was_drawn(dense: DensePropagator, support: Support) -> None:
    image, _ = scene(1)
    found = dense.propagate(dense.remember([support]), [image])[0]
    example = make_returning_example(dense, support, ("patch",), image, found)
    assert example is not None
    assert example.names == ["patch"]
    drawn = support.masks.sum() / support.image[..., 0].size
    assert 0.5 < float(example.truth.mean()) / drawn < 4  # Of the view, which is a part of the photograph.
    unsure = replace(found, confidence=np.zeros(1, np.float32))
    assert make_returning_example(dense, support, ("patch",), image, unsure) is None


def test_the_best_epoch_is_kept_and_the_program_unchanged(
    training: tuple[Path, list[Epoch]], dense: DensePropagator
) -> None:
    output, epochs = training
    assert [epoch.number for epoch in epochs] == [0, 1, 2]
    assert np.isfinite([epoch.loss for epoch in epochs[1:]]).all()
    assert all(0.5 < epoch.agreement <= 1 for epoch in epochs)
    assert dense.decoder is not None
    shipped = TrainedDecoder().copy_network().state_dict()
    assert all(torch.equal(tensor, shipped[name]) for name, tensor in dense.decoder.copy_network().state_dict().items())
    best = max(epochs, key=lambda epoch: epoch.agreement).number
    assert (output / "adapter.json").exists() == (best > 0)
    if best:
        assert json.loads((output / "adapter.json").read_text())["epochs"][-1]["number"] == best


def test_a_stopped_training_goes_on_as_if_it_had_not_been_stopped(
    training: tuple[Path, list[Epoch]], dense: DensePropagator, support: Support, tmp_path: Path
) -> None:
    images = [scene(k)[0] for k in (1, 2, 3)]
    finetune(dense, [support], images, tmp_path / "a", settings=replace(SETTINGS, epochs=1))
    resumed = finetune(dense, [support], images, tmp_path / "a", settings=SETTINGS)
    assert resumed[2].loss == pytest.approx(training[1][2].loss, rel=1e-4)
    with pytest.raises(ModelError, match="masks or settings"):
        finetune(dense, [support], images[:2], tmp_path / "a", settings=SETTINGS)


def test_what_cannot_be_learnt_from_is_refused(dense: DensePropagator, support: Support, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="two photographs"):
        finetune(dense, [support], [scene(1)[0]], tmp_path, settings=SETTINGS)
    with pytest.raises(ModelError, match="matching learns nothing"):
        finetune(DensePropagator(trunk=dense.trunk), [support], [scene(1)[0]], tmp_path, settings=SETTINGS)


def test_an_adapter_changes_its_own_group_only(dense: DensePropagator, support: Support, tmp_path: Path) -> None:
    image = scene(4)[0]
    plain = dense.propagate(dense.remember([support]), [image])[0]
    adapted = AdaptedPropagator(dense, [make_adapter(tmp_path / "a", dense, change=0.05)])
    memory = adapted.remember([support])
    assert memory.traits == ("patch",)
    assert not np.array_equal(adapted.propagate(memory, [image])[0].confidence, plain.confidence)
    other = replace(support, group="blues")
    assert np.array_equal(adapted.propagate(adapted.remember([other]), [image])[0].confidence, plain.confidence)
    assert adapted.name.startswith(f"{dense.name}, adapters: reds ")
    nothing = AdaptedPropagator(dense, [make_adapter(tmp_path / "b", dense)])
    same = nothing.propagate(nothing.remember([support]), [image])[0]
    assert np.array_equal(same.masks, plain.masks)


def test_foreign_adapters_are_refused(dense: DensePropagator, tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a", dense)
    with pytest.raises(ModelError, match="two adapters are for the group 'reds'"):
        AdaptedPropagator(dense, [folder, make_adapter(tmp_path / "b", dense)])
    page = json.loads((folder / "adapter.json").read_text())
    for change, message in (
        ({"checkpoint": {"name": "another", "sha256": "0"}}, "was made with the another"),
        ({"format": "sst-retrieval SAM 2 adapter 1"}, "not an adapter for this propagator"),
    ):
        (folder / "adapter.json").write_text(json.dumps(page | change))
        with pytest.raises(ModelError, match=message):
            AdaptedPropagator(dense, [folder])
    with pytest.raises(ModelError, match="takes no --adapter"):
        load_propagator("matching", "cpu", ModelOptions(adapters=(folder,)))
    (folder / "adapter.json").write_text(json.dumps(page))
    (folder / "adapter.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged"):
        load_adapter(folder, FORMAT)


def test_from_the_command_line(dense: DensePropagator, tmp_path: Path) -> None:
    common = [*write_scenes(tmp_path, scene, 3), "--device", "cpu"]
    tuned = CliRunner().invoke(
        app,
        [
            "finetune",
            *common,
            "--propagator",
            "dense",
            "--group",
            "reds",
            "--output",
            str(tmp_path / "x"),
            "--epochs",
            "1",
        ],
        catch_exceptions=False,
    )
    assert tuned.exit_code == 0
    assert "epoch 1" in tuned.output
    adapter = str(make_adapter(tmp_path / "made", dense))
    built = CliRunner().invoke(
        app, ["build", *common, "--output", str(tmp_path / "index"), "--adapter", adapter], catch_exceptions=False
    )
    assert built.exit_code == 0
    assert "adapters: reds" in (tmp_path / "index/manifest.json").read_text()
