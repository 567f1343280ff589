from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_clip
import torch
from small_clip import DIM, PATCH, SIDE
from torch.nn import functional

from sst_retrieval.describe.contract import Embedder, RegionEmbedder, TextEmbedder
from sst_retrieval.describe.openclip import TEMPLATES, OpenClipEmbedder, open_clip_embedder
from sst_retrieval.describe.region_vectors import embed_regions
from sst_retrieval.engines import ModelOptions, load_embedder
from sst_retrieval.errors import ModelError
from sst_retrieval.imaging.foreground import frame_specimen


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clip.save(tmp_path_factory.mktemp("clip") / "small")


@pytest.fixture(scope="module")
def dense(folder: Path) -> OpenClipEmbedder:
    return open_clip_embedder(str(folder), None, device="cpu")


@pytest.fixture(scope="module")
def crop(folder: Path) -> OpenClipEmbedder:
    return open_clip_embedder(str(folder), None, pooling="crop", device="cpu")


def noise(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_it_is_an_embedder_that_knows_words(dense: OpenClipEmbedder, crop: OpenClipEmbedder) -> None:
    assert isinstance(dense, Embedder)
    assert isinstance(dense, TextEmbedder)
    assert not isinstance(dense, RegionEmbedder)
    assert isinstance(crop, RegionEmbedder)
    assert dense.dim == crop.dim == DIM
    assert dense.weights["sha256"][:8] in dense.name
    assert dense.name != crop.name


def test_places_have_unit_length_and_no_batch_matters(dense: OpenClipEmbedder) -> None:
    images = [noise(dense.side, seed) for seed in range(3)]
    grids = dense.features(images)
    assert {grid.shape for grid in grids} == {(2 * SIDE // PATCH, 2 * SIDE // PATCH, DIM)}
    np.testing.assert_allclose(np.linalg.norm(grids[0], axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(dense.features(images[1:2])[0], grids[1])
    assert np.abs(grids[0] - grids[1]).max() > 0.01


def test_the_last_layer_keeps_every_place_to_itself(tmp_path: Path) -> None:
    # With a single layer nothing else mixes places: a change of one patch changes one cell.
    one = open_clip_embedder(str(small_clip.save(tmp_path / "one", layers=1)), None, device="cpu")
    image = noise(one.side)
    changed = image.copy()
    changed[PATCH : 2 * PATCH, 3 * PATCH : 4 * PATCH] ^= 255
    difference = np.abs(one.features([image])[0] - one.features([changed])[0]).max(axis=-1)
    assert difference[1, 3] > 0.01
    difference[1, 3] = 0
    assert difference.max() < 1e-6


def test_the_value_path_is_that_of_maskclip(dense: OpenClipEmbedder) -> None:
    """Written out from the paper: project to values, project out, add the residual, then the layer's own MLP."""
    image = noise(dense.side, 5)
    visual: Any = dense._network.visual
    with torch.inference_mode():
        tokens = visual._embeds(dense._normalise(image))
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            tokens = block(tokens)
        third = last.attn.embed_dim
        values = functional.linear(
            last.ln_1(tokens), last.attn.in_proj_weight[2 * third :], last.attn.in_proj_bias[2 * third :]
        )
        tokens = tokens + last.attn.out_proj(values)
        tokens = tokens + last.mlp(last.ln_2(tokens))
        patches = functional.normalize(visual.ln_post(tokens[:, 1:]) @ visual.proj, dim=-1)
    expected = patches.reshape(2 * SIDE // PATCH, -1, DIM).numpy()
    np.testing.assert_allclose(dense.features([image])[0], expected, atol=1e-5)


def test_words_are_averaged_over_sentences(dense: OpenClipEmbedder, folder: Path) -> None:
    import open_clip

    vectors = dense.texts(["a red stripe", "blue elytra"])
    assert vectors.shape == (2, DIM)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert float(vectors[0] @ vectors[1]) < 0.9999
    network = open_clip.create_model(f"local-dir:{folder}").eval()
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer(f"local-dir:{folder}")([t.format("blue elytra") for t in TEMPLATES])
        mean = functional.normalize(network.encode_text(tokens), dim=-1).mean(0)
    np.testing.assert_allclose(vectors[1], functional.normalize(mean, dim=0).numpy(), atol=1e-5)


def test_a_crop_holds_the_trait_alone(crop: OpenClipEmbedder, folder: Path) -> None:
    import open_clip

    assert isinstance(crop, RegionEmbedder)
    image, coverage = noise(crop.side), np.zeros((crop.side, crop.side), np.float32)
    coverage[10:30, 20:45] = 1
    (vector,) = crop.regions(image, [coverage])
    other = image.copy()
    other[coverage == 0] = 7
    np.testing.assert_array_equal(crop.regions(other, [coverage])[0], vector)  # Other pixels have no influence.
    other[15, 30] ^= 255
    assert np.abs(crop.regions(other, [coverage])[0] - vector).max() > 1e-6
    whole = open_clip.create_model(f"local-dir:{folder}").eval()
    full = np.ones((crop.side, crop.side), np.float32)
    cropped = crop._crop_trait(image, full)
    with torch.inference_mode():
        mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.25, 0.25, 0.2])
        pixels = ((torch.from_numpy(cropped) / 255 - mean) / std).permute(2, 0, 1)[None]
        expected = functional.normalize(whole.encode_image(pixels), dim=-1)[0].numpy()
    np.testing.assert_allclose(crop.regions(image, [full])[0], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["dense", "crop"])
def test_traits_get_vectors_whose_pattern_lies_in_the_space_of_words(folder: Path, pooling: str) -> None:
    embedder = load_embedder("openclip", "cpu", ModelOptions(clip_model=str(folder), clip_pooling=pooling))
    image = noise(80)
    masks = np.zeros((3, 80, 80), bool)
    masks[0, 10:40, 10:40] = True
    masks[2, 50:70, 30:75] = True
    frame = frame_specimen(image)
    first, none, third = embed_regions(image, masks, frame, embedder)
    assert none is None
    assert first is not None
    assert third is not None
    np.testing.assert_allclose(np.linalg.norm(first[:DIM]), 1, atol=1e-5)
    assert np.abs(first[:DIM] - third[:DIM]).max() > 1e-3
    # The mirror image is the same trait.
    flipped = embed_regions(
        np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(masks[:, :, ::-1]), frame, embedder
    )[0]
    assert flipped is not None
    np.testing.assert_allclose(flipped[:DIM], first[:DIM], atol=2e-2)


def test_weights_may_come_as_a_file_of_torch(tmp_path: Path, folder: Path, dense: OpenClipEmbedder) -> None:
    other = small_clip.save(tmp_path / "torch", file="open_clip_pytorch_model.bin")
    loaded = open_clip_embedder(str(other), None, device="cpu")
    image = noise(dense.side)
    np.testing.assert_array_equal(loaded.features([image])[0], dense.features([image])[0])
    named = open_clip_embedder(str(folder), str(other / "open_clip_pytorch_model.bin"), device="cpu")
    assert named.weights["file"] == "open_clip_pytorch_model.bin"
    assert named.name.split()[2] != dense.name.split()[2]  # The checksum tells the files apart.


class Evil:
    def __reduce__(self) -> Any:
        return (open, ("/dev/null",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("truncated", "damaged or no checkpoint"),
        ("text", "damaged|not a plain file of weights"),
        ("evil", "not a plain file of weights"),
        ("list", "holds no tensors"),
        ("empty", "holds no tensors"),
        ("other", "does not fit the architecture"),
    ],
)
def test_a_bad_file_of_weights_is_refused(tmp_path: Path, folder: Path, content: str, message: str) -> None:
    path = tmp_path / "weights.bin"
    good = small_clip.save(tmp_path / "good", file="model.bin") / "model.bin"
    if content == "truncated":
        path.write_bytes(good.read_bytes()[:5000])
    elif content == "text":
        path.write_text("<html>not found</html>")
    elif content == "evil":
        torch.save({"visual.proj": Evil()}, path)
    else:
        other = small_clip.save(tmp_path / "deep", layers=3, file="model.bin") / "model.bin"
        made = {"list": [torch.zeros(2)], "empty": {}}.get(content)
        path.write_bytes(other.read_bytes()) if made is None else torch.save(made, path)
    with pytest.raises(ModelError, match=message):
        open_clip_embedder(str(folder), str(path), device="cpu")


@pytest.mark.parametrize(
    ("model", "pretrained", "pooling", "message"),
    [
        (None, None, "dense", "say which architecture"),
        (None, "nowhere.pt", "dense", "say which architecture"),
        ("ViT-B-320", "x", "dense", "no architecture 'ViT-B-320'"),
        ("ViT-B-32", None, "dense", r"nothing is given as weights of ViT-B-32.*laion2b_s34b_b79k"),
        ("ViT-B-32", "laion2c", "dense", "no tag of open_clip"),
        (None, "bioclip", "dense", "weights fetch bioclip"),
        ("ViT-B-32", "openai", "dense", "ViT-B-32-quickgelu"),
        ("FOLDER", "nowhere.pt", "dense", "name them: --clip-pretrained FILE"),
        ("FOLDER", None, "mean", "choose dense or crop"),
    ],
)
def test_a_model_that_is_not_here_is_explained(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str | None,
    pretrained: str | None,
    pooling: str,
    message: str,
) -> None:
    monkeypatch.setenv("SST_RETRIEVAL_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=message):
        open_clip_embedder(str(folder) if model == "FOLDER" else model, pretrained, pooling=pooling, device="cpu")


def test_another_embedder_takes_no_clip_model() -> None:
    with pytest.raises(ModelError, match="say --embedder openclip"):
        load_embedder("efficientnet", "cpu", ModelOptions(clip_model="ViT-B-32"))
