"""SAM 2 by `transformers` and by the sam2 package, with the same weights: the same masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_sam2 import SIDE, write_small_sam2
from small_transformers_sam2 import HIDDEN, MEMORY, write_small_transformers_sam2

from sst_retrieval.engines import ModelOptions, load_propagator
from sst_retrieval.errors import ModelError
from sst_retrieval.nets.torchvision_shim import ensure_torchvision
from sst_retrieval.track.contract import check_propagated
from sst_retrieval.track.sam2.checkpoint import load_checkpoint
from sst_retrieval.track.sam2.network import Sam2Network
from sst_retrieval.track.sam2.propagator import Sam2Propagator
from sst_retrieval.track.sam2.transformers_network import TransformersNetwork, load_transformers_model
from sst_retrieval.track.sam2.transformers_propagator import TransformersPropagator
from sst_retrieval.types import RGBImage, Support

ensure_torchvision()
pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_transformers_sam2(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_small_sam2(tmp_path_factory.mktemp("package"), HIDDEN, MEMORY)


@pytest.fixture(scope="module")
def networks(folder: Path, checkpoint: tuple[Path, Path]) -> tuple[TransformersNetwork, Sam2Network]:
    ours, official = load_transformers_model(folder).model, load_checkpoint(str(checkpoint[0]), checkpoint[1]).model
    # Pointers of random weights hardly count among a hundred tokens: here they do.
    with torch.no_grad():
        ours.no_object_pointer.mul_(20)
        official.no_obj_ptr.mul_(20)
    return TransformersNetwork(ours, CPU), Sam2Network(official, CPU)


def paint(seed: int) -> RGBImage:
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE, 3), 200, dtype=np.uint8)
    image[20:108, 16:112] = rng.integers(0, 256, 3)
    y, x = rng.integers(30, 70, 2)
    image[y : y + 24, x : x + 30] = rng.integers(0, 256, 3)
    return image


def draw(seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    masks = torch.zeros((2, SIDE, SIDE), dtype=torch.bool)
    for mask in masks:
        y, x = rng.integers(20, 60, 2)
        mask[y : y + 33, x : x + 41] = True
        mask[5, 5:30] = True  # A line of a pixel: at a quarter of the edge it is gone.
    return masks


@pytest.mark.parametrize("supports", [1, 3])
@torch.inference_mode()
def test_the_same_weights_give_the_same_masks(networks: tuple[TransformersNetwork, Sam2Network], supports: int) -> None:
    predictions = []
    for network in networks:
        memories = [
            network.encode_conditioning_frame(network.encode(paint(number)[None]), draw(number))
            for number in range(supports)
        ]
        targets = network.encode(np.stack([paint(10), paint(11)]))
        predictions.append(network.track(targets, network.project_memories(memories)))  # type: ignore[arg-type]
    ours, official = predictions
    assert official.logits.std() > 0.01
    for name in ("logits", "object_logits", "expected_iou", "pointers"):
        torch.testing.assert_close(getattr(ours, name), getattr(official, name), atol=2e-6, rtol=1e-5, msg=name)


@torch.inference_mode()
def test_without_the_hooks_the_memory_is_another(networks: tuple[TransformersNetwork, Sam2Network]) -> None:
    """Else the hooks may go: `transformers` does as the official predictor."""
    ours, official = networks
    session = ours._open_session(ours.encode(paint(0)[None]), frame=0, traits=2)
    for trait, mask in enumerate(draw(0)):
        session.add_mask_inputs(trait, 0, mask[None, None].float())
    session.obj_with_new_inputs = [0, 1]
    ours.model(session, frame_idx=0)
    output = session.output_dict_per_obj[0]["cond_frame_outputs"][0]
    wanted = official.encode_conditioning_frame(official.encode(paint(0)[None]), draw(0))
    assert not torch.allclose(output["object_pointer"][0], wanted.pointers[:1], atol=1e-3)
    assert not torch.allclose(
        output["maskmem_features"][:, 0].T.float(), wanted.features[0].flatten(1).float(), atol=1e-2
    )


def test_propagators_agree(folder: Path, checkpoint: tuple[Path, Path]) -> None:
    image, masks = paint(0), draw(0).numpy()
    supports = [
        Support("a", "g", image, ("one", "other"), masks),
        Support("b", "g", paint(1), ("one",), draw(1)[:1].numpy()),
    ]
    ours = load_propagator("sam2-transformers", "cpu", ModelOptions(checkpoint=str(folder)))
    official = Sam2Propagator(str(checkpoint[0]), config=checkpoint[1], device="cpu")
    assert isinstance(ours, TransformersPropagator)
    targets = [paint(10), np.ascontiguousarray(paint(11)[:, :100])]
    found = check_propagated(ours.propagate(ours.remember(supports), targets), targets, ("one", "other"), ours.name)
    for one, other in zip(found, official.propagate(official.remember(supports), targets), strict=True):
        assert np.array_equal(one.masks, other.masks)
        np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-5)
        assert one.frame == other.frame
    assert ours.weights["file"] == "model.safetensors"
    assert "by transformers" in ours.name


def test_what_is_no_such_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        load_transformers_model(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    described = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(described | {"model_type": "bert"}))
    with pytest.raises(ModelError, match="holds a bert model"):
        load_transformers_model(copy)
    (copy / "config.json").write_text(json.dumps(described | {"memory_attention_num_layers": 3}))
    with pytest.raises(ModelError, match="does not fit"):
        load_transformers_model(copy)
    (copy / "config.json").write_text(json.dumps(described))
    (copy / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_transformers_model(copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="for your safety"):
        load_transformers_model(copy)


@pytest.mark.parametrize(
    "options",
    [ModelOptions(), ModelOptions(checkpoint="x", batch=2), ModelOptions(checkpoint="x", cycle_consistency=True)],
)
def test_what_it_cannot_is_refused(options: ModelOptions) -> None:
    with pytest.raises(ModelError, match="sam2-transformers"):
        load_propagator("sam2-transformers", "cpu", options)
