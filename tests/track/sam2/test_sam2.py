"""SAM 2 as a propagator: what is loaded, what is computed once, how a pose is found, what a long video is."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from small_sam2 import SIDE, configuration

from sst_retrieval.engines import ModelOptions, load_engines
from sst_retrieval.errors import ModelError
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import frame_specimen
from sst_retrieval.track.sam2 import checkpoint
from sst_retrieval.track.sam2.checkpoint import load_checkpoint
from sst_retrieval.track.sam2.memory import PosedPredictions, resolve_overlaps
from sst_retrieval.track.sam2.propagator import Sam2Propagator, Sam2Settings, Sam2VideoPropagator
from sst_retrieval.types import RGBImage, Support


@pytest.fixture(scope="module")
def images() -> list[RGBImage]:
    """Five photographs of a dark specimen with a red and a blue spot, not square."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(5):
        image = np.full((100, 150, 3), 210, dtype=np.uint8)
        image[20:80, 30:120] = 80
        x, y = rng.integers(35, 80), rng.integers(25, 55)
        image[y : y + 20, x : x + 15], image[y : y + 20, x + 20 : x + 35] = (220, 40, 40), (40, 60, 220)
        made.append(image)
    return made


@pytest.fixture(scope="module")
def support(images: list[RGBImage]) -> Support:
    red, blue = (np.asarray(images[0][..., k] == 220) for k in (0, 2))
    return Support("first", "g", images[0], ("red", "blue"), np.stack([red, blue]))


def make(sam2_files: tuple[Path, Path], kind: type[Sam2Propagator] = Sam2Propagator, **settings: Any) -> Sam2Propagator:
    return kind(str(sam2_files[0]), config=sam2_files[1], device="cpu", settings=Sam2Settings(**settings))


def test_the_name_and_provenance_say_what_is_loaded(sam2_files: tuple[Path, Path]) -> None:
    propagator = make(sam2_files)
    assert "small" in propagator.name
    assert propagator.weights["file"] == "small.pt"
    assert len(propagator.weights["sha256"]) == 64
    assert make(sam2_files, turns=2).name != propagator.name


def test_a_support_is_encoded_once_and_a_target_once(
    sam2_files: tuple[Path, Path], support: Support, images: list[RGBImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    propagator = make(sam2_files, sure=0.0)
    calls: list[int] = []
    encode = propagator.network.encode
    monkeypatch.setattr(propagator.network, "encode", lambda views: calls.append(len(views)) or encode(views))
    memory = propagator.remember([support])
    assert calls == [1]
    monkeypatch.setattr(propagator.network, "encode_conditioning_frame", None)
    propagator.propagate(memory, images[1:])
    assert calls == [1, 1, 1, 1, 1]


def test_targets_go_through_the_encoder_in_one_batch_where_that_helps(
    sam2_files: tuple[Path, Path], support: Support, images: list[RGBImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    propagator = make(sam2_files, sure=0.0)
    memory = propagator.remember([support])
    alone = propagator.propagate(memory, images[1:])
    propagator.batch = 4  # As on a graphics card.
    calls: list[int] = []
    encode = propagator.network.encode
    monkeypatch.setattr(propagator.network, "encode", lambda views: calls.append(len(views)) or encode(views))
    together = propagator.propagate(memory, images[1:])
    assert calls == [4]
    for one, other in zip(alone, together, strict=True):
        assert np.mean(one.masks != other.masks) < 1e-3
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_the_pose_with_the_highest_score_is_taken(
    sam2_files: tuple[Path, Path], support: Support, images: list[RGBImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    propagator = make(sam2_files, turns=4, sure=0.9)
    memory = propagator.remember([support])
    start = frame_specimen(images[1])
    wanted = frames.pose_hypotheses(start, 4)[6]  # Mirrored, and turned half way round.
    monkeypatch.setattr(
        PosedPredictions,
        "pose_score",
        property(lambda self: 0.8 if self.frame == wanted else 0.5 - self.frame.matrix[0]),
    )
    assert propagator.propagate(memory, images[1:2])[0].frame == wanted
    straight = make(sam2_files, turns=4, sure=0.4)
    monkeypatch.setattr(PosedPredictions, "pose_score", property(lambda self: 0.45 if self.frame == start else 0.9))
    assert straight.propagate(straight.remember([support]), images[1:2])[0].frame == start


def test_masks_that_come_back_to_the_support_agree_with_it_or_not(
    sam2_files: tuple[Path, Path], support: Support, images: list[RGBImage]
) -> None:
    propagator = make(sam2_files, sure=0.0, cycle=True)
    found = propagator.propagate(propagator.remember([support]), images[1:2])[0]
    assert found.cycle is not None
    shown = found.masks.any(axis=(1, 2))
    assert np.isnan(found.cycle[~shown]).all()
    assert ((found.cycle[shown] >= 0) & (found.cycle[shown] <= 1)).all()
    plain = make(sam2_files, sure=0.0)
    assert plain.propagate(plain.remember([support]), images[1:2])[0].cycle is None


def test_in_a_long_video_the_photographs_before_matter_and_memory_stays_bounded(
    sam2_files: tuple[Path, Path], support: Support, images: list[RGBImage]
) -> None:
    propagator = make(sam2_files, Sam2VideoPropagator, sure=0.0)
    assert "film of the group" in propagator.name
    first, second = propagator.remember([support]), propagator.remember([support])
    alone = propagator.propagate(first, [images[2]])[0]
    after = propagator.propagate(second, [images[1], images[2]])[1]
    assert not np.array_equal(alone.confidence, after.confidence)
    propagator.propagate(second, images * 4)
    assert len(second.video.recent) == propagator.network.max_object_pointers - 1
    assert second.video.targets == 22


def test_competing_traits_share_no_pixel() -> None:
    logits = torch.tensor([[[2.0, 1.0, -1.0]], [[1.0, 3.0, -2.0]], [[5.0, 5.0, 5.0]]])
    rivals = np.array([[False, True, False], [True, False, False], [False, False, False]])
    assert (resolve_overlaps(logits, rivals) > 0.5).tolist() == [
        [[True, False, False]],
        [[False, True, False]],
        [[True] * 3],
    ]


def test_a_truncated_checkpoint_is_refused(sam2_files: tuple[Path, Path], tmp_path: Path) -> None:
    short = tmp_path / "short.pt"
    short.write_bytes(sam2_files[0].read_bytes()[:-5000])
    with pytest.raises(ModelError, match=r"damaged or no checkpoint[\s\S]*cut short"):
        load_checkpoint(str(short), sam2_files[1])


def test_a_file_that_would_run_code_is_refused(sam2_files: tuple[Path, Path], tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "exploded",)

    for name, write in (
        ("a.pt", torch.save),
        ("b.pt", lambda thing, path: path.write_bytes(pickle.dumps(thing, protocol=2))),
    ):
        write({"model": Bomb()}, tmp_path / name)
        with pytest.raises(ModelError, match="would run code"):
            load_checkpoint(str(tmp_path / name), sam2_files[1])
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 nor a zip"])
def test_another_file_is_refused(sam2_files: tuple[Path, Path], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.pt"):
        load_checkpoint(str(tmp_path / "x.pt"), sam2_files[1])


def test_tensors_that_do_not_fit_are_named(sam2_files: tuple[Path, Path], tmp_path: Path) -> None:
    tensors = dict(torch.load(sam2_files[0], weights_only=True)["model"])
    tensors["no_mem_embed"] = torch.zeros(3)
    tensors["stranger"] = tensors.pop("maskmem_tpos_enc")
    torch.save({"model": tensors}, tmp_path / "other.pt")
    with pytest.raises(
        ModelError, match=r"missing, the first maskmem_tpos_enc.*first stranger.*no_mem_embed is \(3,\)"
    ):
        load_checkpoint(str(tmp_path / "other.pt"), sam2_files[1])
    with pytest.raises(ModelError, match="give its configuration with --sam2-config"):
        load_checkpoint(str(sam2_files[0]))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"_target_": "os.system"}, "os.system"),
        ({"_target_": "sam2.modeling.sam2_base.torch.load"}, "torch.load"),
        ({"_partial_": True}, "_partial_"),
        ({"no_mem": "${oc.env:HOME}"}, "oc.env"),
    ],
)
def test_a_configuration_may_name_nothing_but_sam2(
    sam2_files: tuple[Path, Path], tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    described = configuration()
    described["model"]["memory_encoder"] |= change
    path = tmp_path / "own.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(described)))
    with pytest.raises(ModelError, match=named):
        load_checkpoint(str(sam2_files[0]), path)


@pytest.mark.parametrize("text", ["", "model: 3", "[1, 2]", "model: {_target_: sam2.modeling.sam2_base.SAM2Base}"])
def test_another_yaml_file_is_refused(sam2_files: tuple[Path, Path], tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ModelError, match=r"x\.yaml"):
        load_checkpoint(str(sam2_files[0]), tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("width", "blocks", "name"),
    [(96, 12, "hiera_t"), (96, 16, "hiera_s"), (112, 24, "hiera_b+"), (144, 48, "hiera_l")],
)
@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
def test_metas_architectures_are_recognised_by_their_tensors(width: int, blocks: int, name: str, version: str) -> None:
    tensors = {f"image_encoder.trunk.blocks.{k}.norm1.weight": torch.zeros(1) for k in range(blocks)}
    tensors["image_encoder.trunk.patch_embed.proj.weight"] = torch.zeros(width, 3, 7, 7)
    if version == "sam2.1":
        tensors["no_obj_embed_spatial"] = torch.zeros(1, 64)
    config = checkpoint._official_config(tensors, Path("x.pt"))
    assert config.name == f"{version}_{name}.yaml"
    assert config.is_file()
    trunk: Any = OmegaConf.to_container(OmegaConf.load(config))
    trunk = trunk["model"]["image_encoder"]["trunk"]
    assert (trunk["embed_dim"], sum(trunk.get("stages", [2, 3, 16, 3]))) == (width, blocks)


@pytest.mark.parametrize("name", ["sam2", "dense+sam2", "sam2-video"])
def test_without_a_checkpoint_nothing_is_guessed(name: str) -> None:
    with pytest.raises(ModelError, match=rf"--propagator {name.replace('+', '.')} needs a --checkpoint.*hiera_large"):
        load_engines(name, "fakes:FakeEmbedder", "cpu")


def test_a_checkpoint_for_another_propagator_is_not_passed_over() -> None:
    with pytest.raises(ModelError, match="takes no checkpoint"):
        load_engines("fakes:FakeTracker", "fakes:FakeEmbedder", "cpu", ModelOptions(checkpoint="sam2.1_hiera_tiny"))


def test_the_small_network_is_as_large_as_it_says(sam2_files: tuple[Path, Path]) -> None:
    assert make(sam2_files).network.side == SIDE
