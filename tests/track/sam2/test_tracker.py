"""The small SAM 2 that comes with the program: its trunk, its training script, its propagator."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import typer
from project_scripts import import_script
from torch.nn import functional
from typer.testing import CliRunner

from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.cli import app
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import ModelError
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import frame_specimen
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.track.dense.matching import compute_cell_colours
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.trained_decoder import TrainedDecoder
from sst_retrieval.track.sam2.checkpoint import build_network, load_checkpoint
from sst_retrieval.track.sam2.lite_trunk import CONFIG, WEIGHTS, LiteTrunk, resize
from sst_retrieval.track.sam2.network import MEAN, STD, Sam2Network
from sst_retrieval.track.sam2.propagator import Sam2Propagator
from sst_retrieval.track.sam2.tracker import TrackerPropagator, merge_corrections
from sst_retrieval.types import Propagated, Support

SIDE = 96


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return import_script("train_tracker")


def picture(rng: np.random.Generator, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A disc and, for distraction, a bar, somewhere near the middle: uint8 (S, S, 3) and the disc, bool (1, S, S)."""
    down, across = np.indices((SIDE, SIDE))
    row, column = rng.integers(SIDE // 3, 2 * SIDE // 3, 2)
    disc = np.hypot(down - row, across - column) < 15
    left, top = rng.integers(10, SIDE - 30, 2)
    bar = (abs(down - top) < 7) & (abs(across - left) < 26) & ~disc
    view = np.full((SIDE, SIDE, 3), colours[0], dtype=float)
    view[bar], view[disc] = colours[1], colours[2]
    return np.clip(view + rng.normal(0, 6, view.shape), 0, 255).astype(np.uint8), disc[None]


def shares(masks: np.ndarray, cells: int) -> np.ndarray:
    return functional.adaptive_avg_pool2d(torch.from_numpy(masks.astype(np.float32)), cells).numpy()


def moving_shapes(folder: Path, trunk: EfficientNetTrunk, count: int, seed: int) -> list[Path]:
    """Pairs as `scripts/train_decoder.py pairs` writes them; the plain matching has found nothing that moved."""
    rng = np.random.default_rng(seed)
    home = folder / "shapes" / f"seed {seed}"
    home.mkdir(parents=True)
    names = ("level4", "level8", "level16")
    for number in range(count):
        colours = rng.uniform(0, 255, (3, 3))
        (support, drawn), (target, truth) = picture(rng, colours), picture(rng, colours)
        known, seen = (
            [level[0].numpy() for level in trunk.levels(each[None], deepest=4)[1:]] for each in (support, target)
        )
        cells = SIDE // 4
        labels = np.concatenate([1 - shares(drawn, cells).sum(0, keepdims=True), shares(drawn, cells)])
        np.savez(
            home / f"{number:04d}_supports.npz",
            labels=np.round(255 * labels.clip(0, 1)).astype(np.uint8)[None],
            colours=compute_cell_colours(support, cells)[None],
            **{name: level[None] for name, level in zip(names, known, strict=True)},
        )
        np.savez(
            home / f"{number:04d}_0000.npz",
            view=target,
            truth=(255 * truth).astype(np.uint8),
            first=np.round(255 * shares(drawn, SIDE // 2)).astype(np.uint8),
            rivals=np.array([[False]]),
            names=np.array(["disc"]),
            **dict(zip(names, seen, strict=True)),
        )
    return sorted(home.glob("*_0000.npz"))


def test_the_trunk_is_the_imagenet_network(trunk: EfficientNetTrunk) -> None:
    view, _ = picture(np.random.default_rng(0), np.array([[200, 180, 150], [90, 20, 40], [10, 60, 200]]))
    lite = LiteTrunk().eval()
    lite.load_imagenet()
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    batch = (torch.from_numpy(view).permute(2, 0, 1)[None] / 255 - mean) / std
    fine, middle, coarse = lite(batch)
    wanted = trunk.levels(view[None], deepest=4)[1:]
    for found, level in zip((fine[:, :24], middle, coarse[:, :112]), wanted, strict=True):
        torch.testing.assert_close(found, level, rtol=1e-3, atol=1e-3)
    assert np.allclose(fine[0, 24:].numpy(), compute_cell_colours(view, SIDE // 4), atol=1e-6)


def test_it_learns_to_track_unseen_shapes(script: ModuleType, trunk: EfficientNetTrunk, tmp_path: Path) -> None:
    moving_shapes(tmp_path / "lessons", trunk, 24, seed=1)
    others = moving_shapes(tmp_path / "others", trunk, 6, seed=2)
    weights = tmp_path / "tracker.pt"
    script.train(tmp_path / "lessons", weights, steps=50, rate=2e-3, side=SIDE, led=0.0)
    model = load_checkpoint(str(weights)).model
    resize(model, SIDE)
    matching, alone, _ = script.score_pairs(Sam2Network(model, torch.device("cpu")), others)["disc"]
    assert alone > matching + 0.2
    assert weights.stat().st_size < 15e6
    assert json.loads(weights.with_suffix(".json").read_text("utf-8"))["learnt_from"] == ["shapes/seed 1"]


def test_an_interrupted_training_is_resumed(script: ModuleType, trunk: EfficientNetTrunk, tmp_path: Path) -> None:
    lessons = moving_shapes(tmp_path, trunk, 2, seed=1)
    plan = script.TrainingPlan(side=SIDE // 2)
    whole, first, second = (script.TrainingRun(lessons, plan, torch.device("cpu")) for _ in range(3))
    for run in (whole, whole, first):
        run.step_once()
    first.record([])
    first.save_state(tmp_path / "run.state")
    second.resume(tmp_path / "run.state")
    second.step_once()
    assert (second.step, len(second.log)) == (2, 1)
    with pytest.raises(typer.BadParameter, match='"seed": 0'):
        script.TrainingRun(lessons, script.TrainingPlan(side=SIDE // 2, seed=1), torch.device("cpu")).resume(
            tmp_path / "run.state"
        )
    for one, other in zip(whole.mean.parameters(), second.mean.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_guess_is_what_the_dense_propagator_finds(script: ModuleType, drawer: Path, tmp_path: Path) -> None:
    import training_pairs  # Found now: the script's fixture has loaded it.

    members = next(each for each in training_pairs.read_labelled_groups(drawer).values() if len(each) > 1)[:2]
    decoder = TrainedDecoder()
    dense = DensePropagator(decoder=decoder)
    training_pairs.match_pairs(dense, members, tmp_path / "pairs" / "drawer" / "a", 0.5, 0.0, np.random.default_rng(0))
    (pair,) = training_pairs.list_pairs(tmp_path / "pairs")
    support, target = members if pair.stem.endswith("0001") else members[::-1]
    (found,) = dense.propagate(dense.remember([support]), [target.image])
    assert found.masks.any()

    script.guesses(tmp_path / "pairs")
    guessed = script.read_pair(pair).first.numpy()
    wanted = [frames.warp_mask(mask, found.frame, 2 * guessed.shape[-1]) for mask in found.masks]
    cells = np.stack([each.reshape(guessed.shape[1], 2, guessed.shape[2], 2).mean((1, 3)) for each in wanted])
    both, either = ((guessed > 0.5) & (cells > 0.5)).sum(), ((guessed > 0.5) | (cells > 0.5)).sum()
    assert both / either > 0.97  # Kept as half floats, and there and back through the photograph.
    assert training_pairs.list_pairs(tmp_path / "pairs") == [pair]


def test_the_checkpoint_needs_no_configuration(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = build_network(CONFIG).state_dict()
    torch.save({"model": {name: tensor.half() for name, tensor in tensors.items()}}, tmp_path / "tracker.pt")
    propagator = Sam2Propagator(str(tmp_path / "tracker.pt"), device="cpu")
    view, drawn = picture(np.random.default_rng(0), np.array([[200, 180, 150], [90, 20, 40], [10, 60, 200]]))
    memory = propagator.remember([Support("a", "shapes", view, ("disc",), drawn)])
    found = propagator.propagate(memory, [view])[0]
    assert "tracker at 448 px" in propagator.name
    assert found.masks.shape == (1, SIDE, SIDE)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


def test_a_configuration_with_the_path_of_an_earlier_version_still_opens(tmp_path: Path) -> None:
    now, before = "sst_retrieval.track.sam2.lite_trunk.LiteTrunk", "sst_retrieval.models.tracker.LiteTrunk"
    text = CONFIG.read_text("utf-8")
    assert text.count(now) == 1
    (tmp_path / "old.yaml").write_text(text.replace(now, before), "utf-8")
    loaded = load_checkpoint(str(WEIGHTS), tmp_path / "old.yaml")
    assert isinstance(loaded.model.image_encoder.trunk, LiteTrunk)
    expected = load_checkpoint(str(WEIGHTS)).model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.model.state_dict().items())
    # The checksum is that of the file as it was written: a recipe made with it stays the same.
    assert loaded.weights["config"] == hashlib.sha256((tmp_path / "old.yaml").read_bytes()).hexdigest()


def test_no_other_path_of_an_earlier_version_opens(tmp_path: Path) -> None:
    text = CONFIG.read_text("utf-8").replace("sst_retrieval.track.sam2.lite_trunk.", "sst_retrieval.models.tracker.x.")
    (tmp_path / "other.yaml").write_text(text, "utf-8")
    with pytest.raises(ModelError, match=r"sst_retrieval\.models\.tracker\.x\.LiteTrunk"):
        load_checkpoint(str(WEIGHTS), tmp_path / "other.yaml")


class ConstantDense:
    """A dense propagator that always finds the same masks."""

    name = "the same"

    def __init__(self, mask: np.ndarray, confidence: float = 1.0, in_distribution: float = 1.0) -> None:
        self.in_distribution = in_distribution
        frame = frame_specimen(np.zeros((*mask.shape, 3), np.uint8))
        self.found = Propagated(mask[None], np.full(1, confidence, np.float32), frame)

    def remember(self, supports: list[Support]) -> Any:
        return SimpleNamespace(supports=[SimpleNamespace(frame=self.found.frame) for _ in supports])

    def propagate(self, memory: Any, images: list[np.ndarray]) -> list[Propagated]:
        return [self.found for _ in images]

    def propagate_with_in_distribution_score(
        self, memory: Any, images: list[np.ndarray]
    ) -> list[tuple[Propagated, float]]:
        return [(self.found, self.in_distribution) for _ in images]


def test_thin_structures_of_a_mask_prompt_are_kept_to_the_pixel(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = build_network(CONFIG).state_dict()
    tensors["image_encoder.trunk.trust"] += 100
    torch.save({"model": tensors}, tmp_path / "tracker.pt")
    rays = np.zeros((448, 448), bool)
    rays[100:300, 101:300:8] = rays[100:300, 102:300:8] = True
    view = np.where(rays[..., None], 30, 200).astype(np.uint8).repeat(3, axis=2)
    propagator = Sam2Propagator(str(tmp_path / "tracker.pt"), device="cpu", dense=cast(Any, ConstantDense(rays)))
    memory = propagator.remember([Support("a", "wings", view, ("rays",), rays[None])])
    found = propagator.propagate(memory, [view])[0].masks[0]
    assert (found & rays).sum() / (found | rays).sum() > 0.9


def test_confident_masks_are_kept_but_lose_pixels_to_corrected_rivals() -> None:
    masks = np.zeros((3, 4, 6), bool)
    masks[0, :, :3], masks[1, :, 3:5] = True, True
    other = np.zeros_like(masks)
    other[0, 0], other[1, :, 2:], other[2, 1] = True, True, True
    rivals = np.array([[False, True, False], [True, False, False], [False, False, False]])
    frame = frame_specimen(np.zeros((4, 6, 3), np.uint8))
    initial = Propagated(masks, np.array([0.95, 0.6, 0.7], np.float32), frame)
    refined = Propagated(other, np.array([0.1, 0.8, 0.5], np.float32), frame, np.array([0.3, 0.4, 0.5], np.float32))
    found = merge_corrections(initial, refined, rivals)
    assert np.array_equal(found.masks[0], masks[0] & ~other[1])
    assert np.array_equal(found.masks[1], other[1])
    assert np.array_equal(found.masks[2], other[2])
    # The third was predicted absent with 0.7, so 0.3 for the mask enters the mean.
    np.testing.assert_allclose(found.confidence, [0.95, 0.7, 0.4], atol=1e-6)
    np.testing.assert_allclose(cast(Any, found.cycle), [np.nan, 0.4, 0.5], atol=1e-6)


@pytest.mark.parametrize(("confidence", "in_distribution"), [(1.0, 1.0), (0.3, 0.1)])
def test_confident_masks_and_specimens_out_of_distribution_are_not_corrected(
    monkeypatch: pytest.MonkeyPatch, confidence: float, in_distribution: float
) -> None:
    rays = np.zeros((96, 96), bool)
    rays[20:70, 20:70:8] = True
    view = np.where(rays[..., None], 30, 200).astype(np.uint8).repeat(3, axis=2)
    propagator = TrackerPropagator(device="cpu", dense=cast(Any, ConstantDense(rays, confidence, in_distribution)))
    memory = propagator.remember([Support("a", "wings", view, ("rays",), rays[None])])
    monkeypatch.setattr(propagator.network, "encode", lambda pictures: pytest.fail("the network was used"))
    (found,) = propagator.propagate(memory, [view])
    assert np.array_equal(found.masks[0], rays)
    assert propagator.name.startswith("small SAM 2 tracker")


def test_weights_of_ones_own_correct_every_animal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = shutil.copy(WEIGHTS, tmp_path / "mine.pt")
    rays = np.zeros((96, 96), bool)
    rays[20:70, 20:70] = True
    view = np.where(rays[..., None], 30, 200).astype(np.uint8).repeat(3, axis=2)
    propagator = TrackerPropagator(str(own), device="cpu", dense=cast(Any, ConstantDense(rays, 0.3, 0.0)))
    memory = propagator.remember([Support("a", "wings", view, ("rays",), rays[None])])
    monkeypatch.setattr(propagator.network, "encode", lambda pictures: pytest.fail("the network was used"))
    with pytest.raises(pytest.fail.Exception, match="the network was used"):
        propagator.propagate(memory, [view])


def test_the_shipped_weights_improve_a_mask(drawer: Path) -> None:
    collection = read_collection(drawer / "collection.csv")
    supports = read_supports(drawer / "supports", collection)
    group = next(group for group in supports.groups() if "elytra" in supports.load(group)[0].traits)
    (support,) = supports.load(group)
    elytra = support.masks[support.traits.index("elytra")]
    rows = np.flatnonzero(elytra.any(axis=1))
    half = elytra.copy()
    half[: int(rows.mean())] = False
    drawn = replace(support, traits=("elytra",), masks=elytra[None])
    propagator = TrackerPropagator(device="cpu", dense=cast(Any, ConstantDense(half, 0.5)))
    (found,) = propagator.propagate(propagator.remember([drawn]), [support.image])
    corrected, initial = ((mask & elytra).sum() / (mask | elytra).sum() for mask in (found.masks[0], half))
    assert corrected > initial + 0.1
    assert WEIGHTS.stat().st_size < 15e6


def test_a_protocol_passes_a_checkpoint_on(tmp_path: Path) -> None:
    (tmp_path / "supports").mkdir()
    (tmp_path / "supports" / "traits.toml").write_text("[traits]\nband = 1\n", encoding="utf-8")
    (tmp_path / "collection.csv").write_text("catalogNumber,image,group\na,a.jpg,wings\n", encoding="utf-8")
    asked = ["evaluate", str(tmp_path), "--protocol", "one-shot", "--propagator", "tracker", "--checkpoint", "lost.pt"]
    result = CliRunner().invoke(app, asked)
    assert "lost.pt is neither a file" in result.output
