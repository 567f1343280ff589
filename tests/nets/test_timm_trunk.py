"""Networks of timm as trunks, with random weights: levels, strides, independence, positions, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sst_retrieval.engines import ModelOptions, load_engines, load_propagator
from sst_retrieval.errors import ModelError
from sst_retrieval.nets.efficientnet import EfficientNetTrunk, find_weights_file
from sst_retrieval.nets.timm_trunk import TimmTrunk
from sst_retrieval.nets.torchvision_shim import ensure_torchvision
from sst_retrieval.track.dense.matching import DescriptorSettings, compute_descriptors
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.types import Support

STRIDES = {
    "mobilenetv3_small_050": {0: 2, 1: 4, 2: 8, 3: 16, 4: 32},
    "convnext_atto": {1: 4, 2: 8, 3: 16, 4: 32},
    "vit_tiny_patch16_224": {2: 16, 3: 16, 4: 16},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Write random weights of a model to a file, and say how a trunk is named that takes them."""
    ensure_torchvision()
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("weights")

    def write(model: str) -> str:
        file = folder / f"{model}.safetensors"
        if not file.exists():
            torch.manual_seed(0)
            network = timm.create_model(model, pretrained=False)
            save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, file)
        return f"timm:{model}@{file}"

    return write


def pictures(count: int, side: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("model", STRIDES)
def test_levels_have_the_strides_of_the_model(weights: Any, model: str) -> None:
    trunk = TimmTrunk(weights(model), "cpu")
    assert trunk.strides == STRIDES[model]
    levels = trunk.levels(pictures(2))
    assert [level.shape[1] > 0 for level in levels] == [number in STRIDES[model] for number in range(5)]
    for number, stride in STRIDES[model].items():
        assert levels[number].shape[:1] + levels[number].shape[2:] == (2, 96 // stride, 96 // stride)
        assert levels[number].dtype == torch.float32
    assert len(trunk.levels(pictures(1), deepest=4)) == 4
    assert model in trunk.name
    assert set(trunk.weights) == {"name", "file", "sha256"}


@pytest.mark.parametrize("model", STRIDES)
def test_a_picture_does_not_depend_on_the_others(weights: Any, model: str) -> None:
    trunk = TimmTrunk(weights(model), "cpu")
    together, alone = trunk.levels(pictures(3)), trunk.levels(pictures(3)[1:2])
    assert all(torch.equal(level[1:2], own) for level, own in zip(together, alone, strict=True))


def test_a_file_whose_tensors_have_other_names_is_matched_by_their_order() -> None:
    """The package of the default trunk carries tensors with names of its own."""
    pytest.importorskip("timm")
    levels = TimmTrunk(f"timm:tf_efficientnet_lite0@{find_weights_file()}", "cpu").levels(pictures(1))
    expected = EfficientNetTrunk("cpu").levels(pictures(1))
    for ours, theirs in zip(levels[1:], expected[1:], strict=True):
        # Grey is (127, 128) here and (127.5, 127.5) in timm's configuration, so features are near, not equal.
        assert ours.shape == theirs.shape
        assert torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1] > 0.99


def test_a_transformers_pictures_need_not_be_whole_patches(weights: Any) -> None:
    levels = TimmTrunk(weights("vit_tiny_patch16_224"), "cpu").levels(pictures(1, 100))
    assert levels[4].shape[2:] == (7, 7)


def test_what_a_plain_picture_varies_in_is_removed(weights: Any) -> None:
    trunk = TimmTrunk(weights("vit_tiny_patch16_224"), "cpu")
    plain = np.full((1, 96, 96, 3), 127, np.uint8)
    varied = [float(level.std((2, 3)).mean()) for level in trunk.levels(plain)[2:]]
    trunk._positions = None
    biased = [float(level.std((2, 3)).mean()) for level in trunk.levels(plain)[2:]]
    assert all(after < 0.5 * before for after, before in zip(varied, biased, strict=True))


def test_a_level_without_channels_counts_for_nothing() -> None:
    levels, view = [torch.rand(1, 4, 8, 8), torch.rand(1, 6, 4, 4)], pictures(1, 32)
    with_both, _ = compute_descriptors([torch.zeros(1, 0, 1, 1), *levels], view, DescriptorSettings(8, (1, 0.5, 1)))
    without, _ = compute_descriptors(levels, view, DescriptorSettings(8, (0.5, 1)))
    assert torch.equal(with_both, without)


@pytest.mark.parametrize("name", ["dense", "matching"])
def test_a_propagator_matches_on_another_trunk(weights: Any, name: str) -> None:
    spec = weights("convnext_atto")
    engines = load_engines(name, "efficientnet", "cpu", ModelOptions(trunk=spec))
    assert "timm:convnext_atto" in engines.propagator.name
    assert engines.weights["propagator"]["file"] == "convnext_atto.safetensors"
    assert isinstance(engines.propagator, DensePropagator)
    image = pictures(1, 64)[0].repeat(3, axis=0).repeat(3, axis=1)
    masks = np.zeros((1, *image.shape[:2]), bool)
    masks[:, 40:150, 30:120] = True
    memory = engines.propagator.remember([Support("s", "g", image, ("part",), masks)])
    (found,) = engines.propagator.propagate(memory, [image])
    assert (found.masks & masks).sum() / (found.masks | masks).sum() > 0.8


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("convnext_atto", "timm:NAME"),
        ("timm:", "timm:NAME"),
        ("timm:convnext_none@x.pth", "no model 'convnext_none'; it has, for example: convnext"),
        ("timm:convnext_atto@absent.safetensors", "not at absent.safetensors"),
    ],
)
def test_a_trunk_that_cannot_be_had_is_explained(spec: str, message: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ModelError, match=message):
        TimmTrunk(spec, "cpu")


def test_weights_of_another_model_are_refused(weights: Any, tmp_path: Path) -> None:
    file = weights("convnext_atto").partition("@")[2]
    with pytest.raises(ModelError, match="tensors"):
        TimmTrunk(f"timm:mobilenetv3_small_050@{file}", "cpu")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="no readable weights"):
        TimmTrunk(f"timm:convnext_atto@{broken}", "cpu")


def test_a_model_for_pictures_of_one_size_is_refused(weights: Any) -> None:
    with pytest.raises(ModelError, match="takes no picture of"):
        TimmTrunk(weights("swin_tiny_patch4_window7_224"), "cpu")


@pytest.mark.parametrize("name", ["sam2-video", "sam2", "fakes:FakeTracker"])
def test_a_trunk_is_refused_where_nothing_would_take_it(name: str) -> None:
    with pytest.raises(ModelError, match="takes no --trunk"):
        load_propagator(name, "cpu", ModelOptions(trunk="timm:convnext_atto"))
