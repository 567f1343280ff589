"""Where the search for the pose starts: around the foreground, and on the whole photograph where that is a fragment."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.images import read_image, read_labels
from sst_retrieval.imaging.masks import from_labels
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.track.dense.propagator import DensePropagator, propose_starts, warp_poses
from sst_retrieval.track.dense.trained_decoder import TrainedDecoder
from sst_retrieval.types import Frame, RGBImage, Support


def photograph(left: int, right: int) -> RGBImage:
    """A dark specimen between two columns of a light photograph of 300 x 200."""
    image = np.full((200, 300, 3), 230, dtype=np.uint8)
    image[60:140, left:right] = 60
    return image


def test_a_specimen_that_fills_its_photograph_has_one_start() -> None:
    (start,) = propose_starts(photograph(20, 280))
    assert frames.measure_side(start) == pytest.approx(260 * 1.3, rel=0.05)


def test_where_the_foreground_is_small_the_whole_photograph_is_a_start_too() -> None:
    start, whole = propose_starts(photograph(140, 180))
    assert frames.measure_side(start) < 150
    assert whole == frames.square_frame((150.0, 100.0), 300, 0.0)


def test_a_photograph_without_foreground_starts_from_the_whole() -> None:
    assert propose_starts(np.full((100, 80, 3), 200, dtype=np.uint8)) == [frames.square_frame((40.0, 50.0), 100, 0.0)]


def test_wings_that_are_hardly_seen_are_found(shared_data: Path, trunk: EfficientNetTrunk) -> None:
    """Of translucent wings the foreground is the dark base; nothing was learnt from wings of flies."""
    folder = shared_data / "fly_wings"
    numbers = read_traits(folder / "supports" / "traits.toml").numbers
    traits = tuple(numbers)
    with (folder / "collection.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (annotated,) = (path.stem for path in (folder / "supports").glob("*.png"))

    def labels(name: str) -> np.ndarray:
        return from_labels(read_labels(folder / "labels" / f"{name}.png"), list(numbers.values()))

    paths = {row["catalogNumber"]: folder / row["image"] for row in rows}
    propagator = DensePropagator("cpu", trunk=trunk, decoder=TrainedDecoder())
    memory = propagator.remember([Support(annotated, "g", read_image(paths[annotated]), traits, labels(annotated))])
    assert memory.key_reliability == 0  # The keys, learnt on beetles and butterflies, do not know these veins.
    targets = [name for name in paths if name != annotated][::4]
    assert any(len(propose_starts(read_image(paths[name]))) == 2 for name in targets)
    for name in targets:
        (found,) = propagator.propagate(memory, [read_image(paths[name])])
        truth = labels(name)
        ious = [(a & b).sum() / (a | b).sum() for a, b in zip(found.masks, truth, strict=True)]
        assert np.mean(ious) > 0.7, name


def test_a_view_in_the_mirror_is_the_mirror_image_of_another_view() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    poses = frames.pose_hypotheses(frames.square_frame((40, 30), 70, 0.3), 8)
    asked: list[Frame] = []

    def warp(pose: Frame) -> RGBImage:
        asked.append(pose)
        return frames.warp_image(image, pose, 32)

    views = warp_poses(warp, poses)
    assert asked == poses[:8]
    for view, pose in zip(views, poses, strict=True):
        difference = np.abs(view.astype(int) - frames.warp_image(image, pose, 32))
        assert difference.max() <= 1  # Rounding.
