"""OC-CCL on a small SAM 2: from one drawn mask and photographs without labels."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scene_collection import write_scenes
from small_sam2 import SIDE
from typer.testing import CliRunner

from sst_retrieval.cli.main import app
from sst_retrieval.engines import ModelOptions, load_propagator
from sst_retrieval.errors import ModelError
from sst_retrieval.search.index import open_index
from sst_retrieval.track.epochs import Epoch
from sst_retrieval.track.sam2 import adapter as sam2_adapter
from sst_retrieval.track.sam2 import cycle_training
from sst_retrieval.track.sam2.cycle_training import CycleSettings, CycleTarget, finetune
from sst_retrieval.track.sam2.propagator import Sam2Propagator, Sam2Settings
from sst_retrieval.track.sam2.tracker import TrackerPropagator
from sst_retrieval.types import Mask, RGBImage, Support

SETTINGS = CycleSettings(rank=8, rate=5e-3, epochs=9, patience=9)


def scene(seed: int) -> tuple[RGBImage, Mask]:
    """A red patch somewhere on a dark specimen on pale paper."""
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE, 3), 200, dtype=np.int16)
    image[24:104, 16:112] = (90, 80, 70)
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    (y, x), (height, width) = rng.integers((32, 24), (56, 64)), rng.integers(24, 40, 2)
    mask[y : y + height, x : x + width] = True
    image[mask] = (220, 60, 40)
    image += rng.integers(-10, 11, image.shape, dtype=np.int16)
    return image.clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="module")
def support() -> Support:
    image, mask = scene(0)
    return Support("first", "reds", image, ("patch",), mask[None])


def make(sam2_files: tuple[Path, Path], *adapters: Path) -> Sam2Propagator:
    """SAM 2 that takes every specimen as photographed."""
    settings = Sam2Settings(sure=0.0)
    return Sam2Propagator(str(sam2_files[0]), config=sam2_files[1], device="cpu", settings=settings, adapters=adapters)


@pytest.fixture(scope="module")
def training(
    sam2_files: tuple[Path, Path], support: Support, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Epoch]]:
    """A whole fine-tuning, on photographs without labels."""
    output = tmp_path_factory.mktemp("training") / "adapter"
    return output, finetune(make(sam2_files), [support], [scene(k)[0] for k in range(1, 9)], output, settings=SETTINGS)


def true_iou(propagator: Sam2Propagator, support: Support) -> float:
    """Compare with what was drawn, on photographs that took no part in the fine-tuning."""
    pictures, truth = zip(*[scene(k) for k in range(20, 25)], strict=True)
    found = propagator.propagate(propagator.remember([support]), pictures)
    scores = [
        np.count_nonzero(one.masks[0] & true) / np.count_nonzero(one.masks[0] | true)
        for one, true in zip(found, truth, strict=True)
    ]
    return float(np.mean(scores))


def test_the_loss_falls_and_masks_come_back_better(training: tuple[Path, list[Epoch]]) -> None:
    _, epochs = training
    assert epochs[-1].loss < 0.5 * epochs[1].loss
    assert max(epoch.agreement for epoch in epochs) > epochs[0].agreement + 0.3


def test_masks_of_unseen_photographs_improve(
    training: tuple[Path, list[Epoch]], sam2_files: tuple[Path, Path], support: Support
) -> None:
    before, after = make(sam2_files), make(sam2_files, training[0])
    assert true_iou(after, support) > true_iou(before, support) + 0.25
    assert "adapters: reds " in after.name
    assert before.name != after.name


def test_only_mask_decoder_and_memory_encoder_move(
    training: tuple[Path, list[Epoch]], sam2_files: tuple[Path, Path]
) -> None:
    before, after = make(sam2_files).network.model, make(sam2_files, training[0])
    after._adapters.activate("reds")
    moved = {
        name
        for name, value in after.network.model.state_dict().items()
        if not torch.equal(value, before.state_dict()[name])
    }
    assert {name.split(".")[0] for name in moved} == {"sam_mask_decoder", "memory_encoder"}
    assert not any("conv_s" in name or "iou_prediction_head" in name or "obj_score" in name for name in moved)


def test_another_group_keeps_the_checkpoints_own_weights(
    training: tuple[Path, list[Epoch]], sam2_files: tuple[Path, Path], support: Support
) -> None:
    adapted, plain = make(sam2_files, training[0]), make(sam2_files)
    other = replace(support, group="blues")
    image = scene(30)[0]
    for group in ("reds", "blues"):  # There and back again.
        adapted.remember([replace(support, group=group)])
    (found,), (expected,) = (each.propagate(each.remember([other]), [image]) for each in (adapted, plain))
    assert np.array_equal(found.masks, expected.masks)


def test_the_gradient_crosses_the_whole_cycle(sam2_files: tuple[Path, Path], support: Support) -> None:
    """The decoder's pass on the target gets a gradient too, not only that on the support."""
    propagator = make(sam2_files)
    memory = propagator.remember([support])
    features = cycle_training._clone_features(propagator.predict(memory, [scene(1)[0]])[0].features)
    target = CycleTarget(features)
    bank = memory.banks[0]
    bank = replace(bank, support=cycle_training._clone_features(bank.support), support_masks=bank.support_masks.clone())
    network = propagator.network
    network.model = cycle_training._clone_inference_tensors(network.model)
    sam2_adapter.make_trainable(network.model, None)
    outward: list[torch.Tensor] = []
    track = network.track

    def watched(*given: object, **named: object) -> object:
        found = track(*given, **named)  # type: ignore[arg-type]
        outward.append(found.logits)
        return found

    network.track = watched  # type: ignore[method-assign, assignment]
    loss = cycle_training.compute_cycle_loss(cycle_training.propagate_cycle(network, bank, target), bank.support_masks)
    (gradient,) = torch.autograd.grad(loss, outward[:1])
    assert len(outward) == 2
    assert gradient.abs().max() > 0


def test_an_interrupted_training_is_resumed_and_ends_alike(
    sam2_files: tuple[Path, Path], support: Support, tmp_path: Path
) -> None:
    images = [scene(k)[0] for k in range(1, 4)]
    settings = replace(SETTINGS, epochs=2)

    def stop(epoch: Epoch) -> None:
        if epoch.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(make(sam2_files), [support], images, tmp_path / "stopped", settings=settings, progress=stop)
    resumed = finetune(make(sam2_files), [support], images, tmp_path / "stopped", settings=settings)
    straight = finetune(make(sam2_files), [support], images, tmp_path / "straight", settings=settings)
    assert [epoch.number for epoch in resumed] == [0, 1, 2]
    assert resumed[2].loss == pytest.approx(straight[2].loss, rel=1e-4)
    with pytest.raises(ModelError, match="masks or settings"):
        finetune(make(sam2_files), [support], images, tmp_path / "stopped", settings=replace(settings, rate=1.0))
    redrawn = replace(support, masks=np.roll(support.masks, 5, axis=1))
    with pytest.raises(ModelError, match="masks or settings"):
        finetune(make(sam2_files), [redrawn], images, tmp_path / "stopped", settings=settings)
    # More epochs resume from there.
    longer = finetune(make(sam2_files), [support], images, tmp_path / "stopped", settings=replace(settings, epochs=3))
    assert [epoch.number for epoch in longer] == [0, 1, 2, 3]
    assert longer[1:3] == resumed[1:]


def test_it_stops_when_nothing_gets_better(sam2_files: tuple[Path, Path], support: Support, tmp_path: Path) -> None:
    settings = replace(SETTINGS, rate=0.0, patience=2)
    epochs = finetune(make(sam2_files), [support], [scene(k)[0] for k in (1, 2)], tmp_path, settings=settings)
    assert len(epochs) == 3
    assert not (tmp_path / "adapter.json").exists()


def test_too_few_photographs_are_refused(sam2_files: tuple[Path, Path], support: Support, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="two photographs"):
        finetune(make(sam2_files), [support], [scene(1)[0]], tmp_path, settings=SETTINGS)


def test_a_broken_or_foreign_adapter_is_refused(
    training: tuple[Path, list[Epoch]], sam2_files: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="is not an adapter"):
        make(sam2_files, tmp_path)
    for name in ("adapter.json", "adapter.safetensors"):
        (tmp_path / name).write_bytes((training[0] / name).read_bytes())
    with pytest.raises(ModelError, match="two adapters are for the group 'reds'"):
        make(sam2_files, tmp_path, training[0])
    page = json.loads((tmp_path / "adapter.json").read_text())
    page["checkpoint"]["sha256"] = "0" * 64
    (tmp_path / "adapter.json").write_text(json.dumps(page))
    with pytest.raises(ModelError, match="fits no other"):
        make(sam2_files, tmp_path)
    (tmp_path / "adapter.json").write_bytes((training[0] / "adapter.json").read_bytes())
    (tmp_path / "adapter.safetensors").write_bytes((training[0] / "adapter.safetensors").read_bytes()[:-9])
    with pytest.raises(ModelError, match="damaged"):
        make(sam2_files, tmp_path)


def test_the_command_line_fine_tunes_and_builds_with_a_result(
    training: tuple[Path, list[Epoch]], sam2_files: tuple[Path, Path], tmp_path: Path
) -> None:
    model = ["--checkpoint", str(sam2_files[0]), "--sam2-config", str(sam2_files[1])]
    common = [*write_scenes(tmp_path, scene, 4), *model, "--device", "cpu"]
    adapter = tmp_path / "adapter"
    tuned = CliRunner().invoke(
        app,
        ["finetune", *common, "--group", "reds", "--output", str(adapter), "--epochs", "3", "--rate", "0.005"],
        catch_exceptions=False,
    )
    assert tuned.exit_code == 0
    assert "before learning" in tuned.output
    wrong = CliRunner().invoke(app, ["finetune", *common, "--group", "blues", "--output", str(adapter)])
    assert wrong.exit_code == 2
    built = CliRunner().invoke(
        app,
        [
            "build",
            *common,
            "--output",
            str(tmp_path / "index"),
            "--propagator",
            "sam2",
            "--cycle-consistency",
            "--adapter",
            str(training[0]),  # Three epochs need not make one that is better than none.
        ],
        catch_exceptions=False,
    )
    assert built.exit_code == 0
    recorded = (tmp_path / "index/manifest.json").read_text()
    assert str(sam2_files[0]) in recorded
    assert "adapters: reds" in recorded
    assert f"masks by SAM 2 ({sam2_files[0].name});" in built.output
    # How well masks come back is a column like any other: in the index, in conditions, in exports.
    with open_index(tmp_path / "index") as index:
        agreement = index.table("patch").set_index("sst:specimen")["cycle_consistency"]
        assert np.isnan(agreement["s0"])  # It was drawn, not found.
        assert agreement[["s1", "s2", "s3"]].between(0, 1).all()
        least = float(agreement[["s2", "s3"]].min())
        hits = index.search(like=("s0", "patch"), where=f"cycle_consistency >= {least!r}")
        assert {hit.individual for hit in hits} == set(agreement.index[agreement >= least])
        assert index.region("s1", "patch").measurements["cycle_consistency"] == agreement["s1"]
    exported = CliRunner().invoke(app, ["export", "table", str(tmp_path / "index"), str(tmp_path / "table.csv")])
    assert exported.exit_code == 0
    exported_rows = csv.DictReader((tmp_path / "table.csv").read_text().splitlines())
    written = {row["specimen"]: row["cycle_consistency"] for row in exported_rows}
    assert float(written["s1"]) == pytest.approx(agreement["s1"])


def test_the_small_sam2_of_the_program_learns_a_group(support: Support, tmp_path: Path) -> None:
    """It is led by the dense propagator, in the training as in a build."""
    small = load_propagator("tracker", "cpu")
    assert isinstance(small, TrackerPropagator)
    images = [scene(k)[0] for k in range(1, 4)]
    prompts = [small.make_mask_prompts(found) for found in small.predict(small.remember([support]), images)]
    assert all(prompt is not None and (prompt > 0).any() for prompt in prompts)
    epochs = finetune(small, [support], images, tmp_path / "adapter", settings=CycleSettings(rate=1e-2, epochs=8))
    assert epochs[-1].loss < epochs[1].loss
    assert max(epochs, key=lambda epoch: epoch.agreement).number > 0
    adapted = load_propagator("tracker", "cpu", ModelOptions(adapters=(tmp_path / "adapter",)))
    assert "adapters: reds " in adapted.name
    (found,) = adapted.propagate(adapted.remember([support]), [scene(9)[0]])
    assert found.masks.any()


def test_a_prompt_changes_the_way_there(support: Support) -> None:
    small = load_propagator("tracker", "cpu")
    assert isinstance(small, TrackerPropagator)
    memory = small.remember([support])
    (found,) = small.predict(memory, [scene(1)[0]])
    prompt = small.make_mask_prompts(found)
    assert prompt is not None
    with torch.inference_mode():
        led, alone = (
            cycle_training.propagate_cycle(small.network, memory.banks[0], CycleTarget(found.features, each))
            for each in (prompt[None], None)
        )
    assert not torch.allclose(led, alone)
