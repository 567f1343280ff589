"""SAM 2 called our way gives the masks of the official video predictor, with the same weights."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from small_sam2 import SIDE, configuration

from sst_retrieval.track.sam2.attention import MemoryTokens, attend, project_memory
from sst_retrieval.track.sam2.checkpoint import load_checkpoint
from sst_retrieval.track.sam2.network import FrameMemory, MaskPredictions, Sam2Network

TOLERANCE = 1e-5  # Logits are about 1; bits are lost where another batch takes another algorithm.


@pytest.fixture(scope="module")
def network(sam2_files: tuple[Path, Path]) -> Sam2Network:
    return Sam2Network(load_checkpoint(str(sam2_files[0]), sam2_files[1]).model, torch.device("cpu"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Twenty pictures of rectangles, as JPEG files of the size the network takes, and their pixels."""
    folder = tmp_path_factory.mktemp("video")
    rng = np.random.default_rng(0)
    for number in range(20):
        picture = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8).repeat(SIDE // 8, 0).repeat(SIDE // 8, 1)
        Image.fromarray(picture).save(folder / f"{number:03}.jpg", quality=95)
    return folder, np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


@pytest.fixture(scope="module")
def masks() -> torch.Tensor:
    """Three traits, two of which overlap: bool (3, S, S)."""
    drawn = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
    drawn[0, 20:60, 30:90] = drawn[1, 70:110, 10:50] = drawn[2, 50:80, 60:120] = True
    return drawn


@pytest.fixture(scope="module")
def predictor(sam2_files: tuple[Path, Path]) -> Any:
    """The official video predictor, as `build_sam2_video_predictor` makes it."""
    described = configuration()["model"] | {
        "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
        "binarize_mask_from_pts_for_mem_enc": True,
    }
    predictor = instantiate(OmegaConf.create(described), _recursive_=True).eval()
    predictor.load_state_dict(torch.load(sam2_files[0], weights_only=True)["model"])
    return predictor


def official(
    predictor: Any, folder: Path, frames: Sequence[int], masks: torch.Tensor, supports: int = 1
) -> torch.Tensor:
    """Run the official predictor on some frames of the video, the first of them annotated: (frames, T, S, S)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sam2.utils.misc.tqdm", lambda each, **_: each)
        patch.setattr("sam2.sam2_video_predictor.tqdm", lambda each, **_: each)
        short = folder.parent / f"{folder.name}-{'-'.join(map(str, frames))}"
        short.mkdir(exist_ok=True)
        for number, frame in enumerate(frames):
            (short / f"{number:03}.jpg").write_bytes((folder / f"{frame:03}.jpg").read_bytes())
        state = predictor.init_state(str(short))
        for frame, (trait, mask) in itertools.product(range(supports), enumerate(masks)):
            predictor.add_new_mask(state, frame, trait, mask)
        return torch.stack([found[:, 0].clone() for _, _, found in predictor.propagate_in_video(state)])


@torch.inference_mode()
def ours(
    network: Sam2Network, pictures: np.ndarray, memories: Sequence[FrameMemory]
) -> tuple[torch.Tensor, MaskPredictions]:
    found = network.track(network.encode(pictures), network.project_memories(memories))
    return network.upsample(found.logits.flatten(0, 1)[:, None])[:, 0].unflatten(0, found.logits.shape[:2]), found


@torch.inference_mode()
def remember(network: Sam2Network, picture: np.ndarray, masks: torch.Tensor) -> FrameMemory:
    return network.encode_conditioning_frame(network.encode(picture[None]), masks)


@pytest.mark.parametrize("traits", [1, 3])
def test_a_target_gets_the_masks_of_the_official_two_frame_video(
    network: Sam2Network, predictor: Any, video: tuple[Path, np.ndarray], masks: torch.Tensor, traits: int
) -> None:
    folder, pictures = video
    memory = remember(network, pictures[0], masks[:traits])
    together, _ = ours(network, pictures[[1, 2, 3, 4]], [memory])
    backwards, _ = ours(network, pictures[[4, 3, 2, 1]], [memory])
    for place, target in enumerate((1, 2, 3, 4)):
        expected = official(predictor, folder, (0, target), masks[:traits])[1]
        alone, _ = ours(network, pictures[[target]], [memory])
        for logits in (alone[0], together[place], backwards[3 - place]):
            assert logits.shape == expected.shape == (traits, SIDE, SIDE)
            assert (logits - expected).abs().max() < TOLERANCE
            # Where a logit is 0 but for rounding, a pixel may be in one mask and not in the other.
            assert ((logits > 0) != (expected > 0)).sum() <= 2


def test_the_comparison_can_fail(network: Sam2Network, video: tuple[Path, np.ndarray], masks: torch.Tensor) -> None:
    _, pictures = video
    logits, found = ours(network, pictures[[1, 2]], [remember(network, pictures[0], masks)])
    other, _ = ours(network, pictures[[1, 2]], [remember(network, pictures[3], masks)])
    assert logits.std(dim=(2, 3)).min() > 0.01
    assert (found.object_logits > 0).all()
    for one, two in ((logits[0], logits[1]), (logits[:, 0], logits[:, 1]), (logits, other)):
        assert (one - two).abs().max() > 100 * TOLERANCE


def test_two_supports_are_the_official_video_with_two_annotated_frames(
    network: Sam2Network, predictor: Any, video: tuple[Path, np.ndarray], masks: torch.Tensor
) -> None:
    folder, pictures = video
    memories = [remember(network, pictures[frame], masks) for frame in (0, 5)]
    logits, _ = ours(network, pictures[[2]], memories)
    expected = official(predictor, folder, (0, 5, 2), masks, supports=2)[2]
    assert (logits[0] - expected).abs().max() < TOLERANCE


@torch.inference_mode()
def test_a_long_video_is_the_official_long_video(
    network: Sam2Network, predictor: Any, video: tuple[Path, np.ndarray], masks: torch.Tensor
) -> None:
    folder, pictures = video
    expected = official(predictor, folder, range(20), masks)
    memory = remember(network, pictures[0], masks)
    before: list[FrameMemory] = []
    for place, picture in enumerate(pictures[1:]):
        encoded = network.encode(picture[None])
        found = network.track(encoded, network.project_memories([memory], recent=before, previous_targets=place))
        before = [*before, network.encode_predicted_frame(encoded, found)][1 - network.max_object_pointers :]
        logits = network.upsample(found.logits[0][:, None])[:, 0]
        assert (logits - expected[place + 1]).abs().max() < TOLERANCE
    assert len(before) == network.max_object_pointers - 1


@torch.inference_mode()
def test_a_mask_prompt_changes_the_mask(
    network: Sam2Network, video: tuple[Path, np.ndarray], masks: torch.Tensor
) -> None:
    _, pictures = video
    memory, target = network.project_memories([remember(network, pictures[0], masks)]), network.encode(pictures[[1]])
    quarter = masks[None, :, ::4, ::4].float() * 20 - 10
    quarter[0, 2] = -10  # An empty prompt is not used: SAM 2 was not trained with empty mask prompts.
    plain, prompted = network.track(target, memory), network.track(target, memory, mask_prompts=quarter)
    assert prompted.logits.shape == plain.logits.shape
    assert (prompted.logits - plain.logits)[0, :2].abs().amax(dim=(1, 2)).min() > 0.01
    assert (prompted.logits - plain.logits)[0, 2].abs().max() < TOLERANCE


@torch.inference_mode()
def test_the_fused_encoder_gives_the_same_features(
    network: Sam2Network, video: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, pictures = video
    short = network.encode(pictures[:2])
    monkeypatch.setattr(network._encoder, "_position_table", None)  # Now the sam2 package encodes.
    long = network.encode(pictures[:2])
    assert [each.shape for each in short.features] == [each.shape for each in long.features]
    for one, other in zip(short.features, long.features, strict=True):
        assert one.std() > 0.01
        assert (one - other).abs().max() < TOLERANCE
    assert torch.equal(short.positions.expand_as(long.positions), long.positions)


def test_a_network_built_otherwise_is_encoded_by_the_sam2_package(sam2_files: tuple[Path, Path]) -> None:
    described = configuration()["model"] | {"_target_": "sam2.modeling.sam2_base.SAM2Base"}
    described["image_encoder"]["neck"] |= {"fpn_top_down_levels": None}
    model = instantiate(OmegaConf.create(described), _recursive_=True).eval()
    network = Sam2Network(model, torch.device("cpu"))
    assert network._encoder._position_table is None
    assert len(network.encode(np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8)).features) == 3


@torch.inference_mode()
@pytest.mark.parametrize("at", ["pos_enc_at_attn", "pos_enc_at_cross_attn_queries", "pos_enc_at_cross_attn_keys"])
def test_memory_attention_is_the_packages_wherever_positions_are_added(sam2_files: tuple[Path, Path], at: str) -> None:
    model = load_checkpoint(str(sam2_files[0]), sam2_files[1]).model.eval()
    side, hidden, depth = model.sam_image_embedding_size, model.hidden_dim, model.mem_dim
    torch.manual_seed(0)
    features, positions = torch.randn(2, hidden, side, side), torch.randn(2, hidden, side, side)
    tokens, places = torch.randn(3, side * side + 4, depth), torch.randn(3, side * side + 4, depth)
    counted = []
    for layer in model.memory_attention.layers:
        setattr(layer, at, not getattr(layer, at))
        layer.norm1.register_forward_hook(lambda *_: counted.append(1))
    seen = attend(model, features, positions, project_memory(model, MemoryTokens(tokens, places, 4)))
    assert len(counted) == len(model.memory_attention.layers)
    for picture, trait in itertools.product(range(2), range(3)):
        expected = model.memory_attention(
            curr=features[picture].flatten(1).T[:, None],
            curr_pos=positions[picture].flatten(1).T[:, None],
            memory=tokens[trait][:, None],
            memory_pos=places[trait][:, None],
            num_obj_ptr_tokens=4,
        )
        assert (seen[3 * picture + trait].flatten(1).T - expected[:, 0]).abs().max() < TOLERANCE


@torch.inference_mode()
def test_bfloat16_as_on_a_graphics_card_gives_nearly_the_same_masks(
    network: Sam2Network, video: tuple[Path, np.ndarray], masks: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, pictures = video
    exact, _ = ours(network, pictures[[1, 2]], [remember(network, pictures[0], masks)])
    # What a card does under autocast, the CPU can do, too; slowly.
    monkeypatch.setattr(network, "autocast", lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    memory = remember(network, pictures[0], masks)
    rough, found = ours(network, pictures[[1, 2]], [memory])
    assert rough.dtype == found.object_logits.dtype == found.expected_iou.dtype == torch.float32
    # Of random weights three candidates for a mask are about equally good: one of six may be another than before.
    apart = ((rough - exact).flatten(2).std(dim=2) / exact.flatten(2).std(dim=2)).flatten().sort().values
    assert apart[0] > 0
    assert apart[-2] < 0.05
    encoded = network.encode(pictures[[1]])
    assert encoded.features[0].dtype == torch.bfloat16
    prompts = masks[None, :, ::4, ::4].float() * 20 - 10
    prompted = network.track(encoded, network.project_memories([memory]), prompts)
    back = network.track(encoded, network.project_memories([network.encode_predicted_frame(encoded, prompted)]))
    assert torch.isfinite(back.logits).all()
