"""SAM 2's automatic masks as a finder: with a real, small checkpoint, and with masks that the test makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from small_sam2 import write_small_sam2

from sst_retrieval.engines import load_finder
from sst_retrieval.errors import ModelError
from sst_retrieval.find.contract import FOUND, Finder, check_detections
from sst_retrieval.find.sam2 import Sam2Finder, Sam2FinderSettings, suppress_boxes
from sst_retrieval.imaging.masks import encode
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Mask, RGBImage, Support

# A network with random weights is sure of nothing: every mask is let through.
LENIENT = Sam2FinderSettings(points_per_side=4, predicted_iou=0.0, stability=0.0, least_area=0.001)


def draw_discs(places: list[tuple[int, int, int]], size: tuple[int, int] = (160, 220)) -> tuple[RGBImage, list[Mask]]:
    picture, masks = Image.new("RGB", size[::-1], (90, 120, 60)), []
    for x, y, radius in places:
        ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=(200, 80, 30))
        mask = Image.new("1", size[::-1])
        ImageDraw.Draw(mask).ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
        masks.append(np.array(mask))
    return np.array(picture), masks


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Sam2Finder:
    checkpoint, config = write_small_sam2(tmp_path_factory.mktemp("small"))
    return Sam2Finder(str(checkpoint), trunk=EfficientNetTrunk("cpu"), config=config, device="cpu", settings=LENIENT)


@pytest.fixture(scope="module")
def support() -> Support:
    image, masks = draw_discs([(100, 80, 40)])
    return Support("one", "discs", image, ("disc",), np.stack(masks))


def test_a_real_generator_keeps_the_contract(finder: Sam2Finder, support: Support) -> None:
    assert isinstance(finder, Finder)
    assert "small" in finder.name
    assert finder.weights["sha256"]
    image, _ = draw_discs([(60, 60, 30), (150, 100, 35)])
    assert finder.propose(image)
    memory = finder.remember([support])
    found = check_detections(finder.find(memory, image), image, finder.name)
    taken = np.zeros(image.shape[:2], int)
    for each in found:
        x0, y0, x1, y1 = each.box
        assert each.mask is not None
        taken[y0:y1, x0:x1] += each.mask
    assert taken.max(initial=0) <= 1
    again = finder.find(memory, image)
    assert [(each.box, each.score) for each in again] == [(each.box, each.score) for each in found]


def test_masks_are_judged_by_the_annotated_individual(
    finder: Sam2Finder, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of masks that a generator gives, discs count, background does not, and half a disc gives way to the whole."""
    image, (first, second) = draw_discs([(60, 60, 30), (150, 100, 35)])
    half = first.copy()
    half[:, :60] = False
    grass = np.zeros_like(first)
    grass[110:150, 10:70] = True

    class Generator:
        def generate(self, picture: RGBImage) -> list[dict[str, Any]]:
            assert picture.shape == image.shape
            masks = (grass, half, first, second, np.ones_like(first))
            return [{"segmentation": {"size": list(m.shape), "counts": encode(m).decode()}} for m in masks]

    monkeypatch.setattr(finder, "_make_generator", Generator)
    found = finder.find(finder.remember([support]), image)
    sure = [each for each in found if each.score >= FOUND]
    assert {each.box for each in sure} == {(30, 30, 91, 91), (115, 65, 186, 136)}


BOXES = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), st.integers(1, 20), st.floats(0, 1)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(BOXES, st.sampled_from([0.3, 0.7]))
def test_suppression_agrees_with_its_definition(content: list[tuple[int, int, int, int, float]], limit: float) -> None:
    boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h, _ in content], dtype=torch.float32)
    scores = torch.tensor([each[4] for each in content], dtype=torch.float32)
    kept: list[int] = []
    for place in torch.argsort(scores, descending=True, stable=True).tolist():
        masks = np.zeros((2, 60, 60), bool)
        overlaps = []
        for other in kept:
            for mask, (x0, y0, x1, y1) in zip(masks, boxes[[place, other]].int().tolist(), strict=True):
                mask[:] = False
                mask[y0:y1, x0:x1] = True
            overlaps.append((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())
        if all(overlap <= limit for overlap in overlaps):
            kept.append(place)
    assert suppress_boxes(boxes, scores, torch.zeros(len(boxes)), limit).tolist() == kept


def test_it_is_loaded_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.pt"):
        load_finder(f"sam2:{tmp_path / 'none.pt'}", "colour", "cpu")
    with pytest.raises(ModelError, match="sam2:CHECKPOINT"):
        load_finder("sam2", "colour", "cpu")
