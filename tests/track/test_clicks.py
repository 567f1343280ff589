"""Clicks become masks: with a small SAM 2, and without one by growing regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sst_retrieval.errors import ModelError, QueryError
from sst_retrieval.track.clicks import Clicker, load_clicker
from sst_retrieval.types import Box, Mask, Point, RGBImage

BAND: Box = (60, 40, 150, 70)


@pytest.fixture(scope="module")
def wing() -> tuple[RGBImage, Mask]:
    """A band on a wing on paper, none of them quite even; the band of the wing."""
    rng = np.random.default_rng(0)
    image = np.full((120, 200, 3), 215, dtype=np.int16)
    image[20:100, 30:170] = (70, 50, 40)
    band = np.zeros(image.shape[:2], dtype=bool)
    band[BAND[1] : BAND[3], BAND[0] : BAND[2]] = True
    image[band] = (200, 120, 40)
    image += rng.integers(-12, 13, image.shape, dtype=np.int16)
    return image.clip(0, 255).astype(np.uint8), band


def iou(one: Mask, other: Mask) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.fixture(scope="module")
def fallback() -> Clicker:
    return load_clicker(device="cpu")


@pytest.mark.parametrize(
    ("inside", "box"),
    [([(100.5, 55.5)], None), ([], (52, 33, 158, 78)), ([(70, 50)], (52, 33, 158, 78))],
    ids=["a click", "a box", "both"],
)
def test_the_fallback_finds_what_stands_out(
    fallback: Clicker, wing: tuple[RGBImage, Mask], inside: list[Point], box: Box | None
) -> None:
    image, band = wing
    clicked = fallback.look(image).mask(inside, box=box)
    assert clicked.mask.shape == band.shape
    assert iou(clicked.mask, band) > 0.85
    assert 0 <= clicked.score <= 1


def test_a_click_outside_takes_away(fallback: Clicker, wing: tuple[RGBImage, Mask]) -> None:
    image, _ = wing
    picture = fallback.look(image)
    both = picture.mask([(100, 55), (100, 85)])
    assert both.mask[55, 100]
    assert both.mask[85, 100]
    less = picture.mask([(100, 55)], outside=[(100, 85)])
    assert less.mask[55, 100]
    assert not less.mask[85, 100]


def test_the_fallback_says_that_it_is_one(fallback: Clicker) -> None:
    assert fallback.fallback
    assert "not SAM 2" in fallback.name


@pytest.mark.parametrize("size", [(1, 1), (3, 90), (90, 3)])
def test_an_odd_photograph_is_answered_too(fallback: Clicker, size: tuple[int, int]) -> None:
    clicked = fallback.look(np.full((*size, 3), 128, dtype=np.uint8)).mask([(0, 0)])
    assert clicked.mask.shape == size


@pytest.fixture(scope="module")
def sam2(sam2_files: tuple[Path, Path]) -> Clicker:
    checkpoint, config = sam2_files
    return load_clicker(str(checkpoint), sam2_config=config, device="cpu")


def test_sam2_answers_as_its_own_image_predictor(sam2: Clicker) -> None:
    from sam2.sam2_image_predictor import SAM2ImagePredictor  # After load_clicker, which sees to torchvision.

    image = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    clicked = sam2.look(image).mask([(40, 50)], outside=[(90, 20)], box=(20, 10, 100, 110))
    official = SAM2ImagePredictor(sam2.network.model)  # type: ignore[attr-defined]
    official._bb_feat_sizes = [(32, 32), (16, 16), (8, 8)]
    with torch.inference_mode():
        official.set_image(image)
        (expected,), (iou_expected,), _ = official.predict(
            *(np.array([[40, 50], [90, 20]]), np.array([1, 0]), np.array([20, 10, 100, 110])), multimask_output=False
        )
    assert np.array_equal(clicked.mask, expected > 0)
    assert clicked.score == pytest.approx(float(iou_expected))
    assert 0 < clicked.mask.mean() < 1


def test_sam2_sees_a_photograph_unsquashed(sam2: Clicker, wing: tuple[RGBImage, Mask]) -> None:
    image, band = wing
    clicked = sam2.look(image).mask([(100, 55)])
    assert clicked.mask.shape == band.shape
    assert not sam2.fallback
    assert "SAM 2" in sam2.name


@pytest.mark.parametrize(
    ("inside", "box", "says"),
    [
        ([], None, "click on the trait"),
        ([(200, 10)], None, "beside the photograph, which is 200 x 120"),
        ([(-1, 10)], None, "beside the photograph"),
        ([], (10, 10, 10, 20), "empty"),
        ([], (10, 10, 300, 20), "beyond"),
    ],
)
def test_clicks_that_say_nothing_are_refused(
    fallback: Clicker, wing: tuple[RGBImage, Mask], inside: list[Point], box: Box | None, says: str
) -> None:
    with pytest.raises(QueryError, match=says):
        fallback.look(wing[0]).mask(inside, box=box)


def test_a_checkpoint_that_is_missing_is_no_silent_fallback(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither a file nor a name"):
        load_clicker(str(tmp_path / "missing.pt"))
