"""What every finder promises, whatever it is made of. To test another one, add it to `FINDERS`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sst_retrieval.find.contract import FOUND, Finder, check_detections
from sst_retrieval.find.dense import DenseFinder
from sst_retrieval.imaging.foreground import find_foreground
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Detection, Floats, RGBImage, Support


class PaperForeground:
    """Whatever differs from the paper at the border."""

    name = "paper"
    concurrent = True

    def compute(self, image: RGBImage) -> Floats:
        return find_foreground(image).astype(np.float32)


FINDERS: dict[str, Callable[[], Finder]] = {
    "dense": lambda: DenseFinder(trunk=EfficientNetTrunk("cpu"), foreground=PaperForeground()),
}
PLACES = ((90, 80, 0), (260, 90, 70), (130, 260, 130), (300, 270, 200))
"""(x, y, degrees) of the animals of the photograph."""


def draw(places: tuple[tuple[int, int, int], ...], size: tuple[int, int]) -> tuple[RGBImage, np.ndarray]:
    """Draw striped animals on paper: the photograph, and bool (N, H, W), one mask an animal."""
    paper = Image.new("RGB", size, (228, 224, 214))
    masks = []
    for x, y, turn in places:
        animal, mask = Image.new("RGB", (120, 120), (228, 224, 214)), Image.new("L", (120, 120), 0)
        for picture, colours in ((animal, ((120, 60, 30), (30, 20, 20), (200, 160, 40))), (mask, (255, 255, 255))):
            pen = ImageDraw.Draw(picture)
            pen.ellipse((20, 35, 95, 85), fill=colours[0])
            pen.ellipse((85, 45, 115, 75), fill=colours[1])
            for stripe in (35, 55, 75):
                pen.rectangle((stripe, 42, stripe + 7, 78), fill=colours[2])
        animal, mask = animal.rotate(turn, fillcolor=(228, 224, 214)), mask.rotate(turn)
        paper.paste(animal, (x - 60, y - 60), mask)
        whole = Image.new("L", size, 0)
        whole.paste(mask, (x - 60, y - 60))
        masks.append(np.asarray(whole) > 127)
    return np.asarray(paper), np.stack(masks)


@pytest.fixture(scope="module")
def support() -> Support:
    image, masks = draw(PLACES[:1], (180, 160))
    return Support("one", "striped", image, ("animal",), masks[:1])


@pytest.fixture(scope="module")
def photograph() -> tuple[RGBImage, np.ndarray]:
    return draw(PLACES, (400, 360))


@pytest.fixture(scope="module", params=FINDERS)
def finder(request: pytest.FixtureRequest) -> Finder:
    return FINDERS[request.param]()


@pytest.fixture(scope="module")
def memory(finder: Finder, support: Support) -> Any:
    return finder.remember([support])


@pytest.fixture(scope="module")
def found(finder: Finder, memory: Any, photograph: tuple[RGBImage, np.ndarray]) -> list[Detection]:
    return finder.find(memory, photograph[0])


def assert_same(some: list[Detection], others: list[Detection]) -> None:
    assert [(each.box, each.score) for each in some] == [(each.box, each.score) for each in others]
    for one, other in zip(some, others, strict=True):
        assert (one.mask is None) == (other.mask is None)
        assert one.mask is None or np.array_equal(one.mask, other.mask)


def paint(found: list[Detection], size: tuple[int, int]) -> np.ndarray:
    """Count, for every pixel, the individuals that claim it."""
    claims = np.zeros(size, dtype=int)
    for each in found:
        x0, y0, x1, y1 = each.box
        claims[y0:y1, x0:x1] += 1 if each.mask is None else each.mask
    return claims


def test_it_is_a_finder_with_a_name(finder: Finder) -> None:
    assert isinstance(finder, Finder)
    assert finder.name


def test_boxes_masks_and_scores_are_in_order(
    finder: Finder, found: list[Detection], photograph: tuple[RGBImage, np.ndarray]
) -> None:
    check_detections(found, photograph[0], finder.name)
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)


def test_every_animal_is_found_once(found: list[Detection], photograph: tuple[RGBImage, np.ndarray]) -> None:
    sure = [each for each in found if each.score >= FOUND]
    assert len(sure) == len(PLACES)
    for mask in photograph[1]:
        overlaps = []
        for each in sure:
            claimed = paint([each], mask.shape) > 0
            overlaps.append((claimed & mask).sum() / (claimed | mask).sum())
        assert max(overlaps) > 0.6


def test_no_pixel_belongs_to_two(found: list[Detection], photograph: tuple[RGBImage, np.ndarray]) -> None:
    assert paint([each for each in found if each.mask is not None], photograph[0].shape[:2]).max() == 1


def test_nothing_is_found_on_bare_paper(finder: Finder, memory: Any) -> None:
    paper = np.random.default_rng(1).normal((228, 224, 214), 2.0, (240, 300, 3)).clip(0, 255).astype(np.uint8)
    assert [each for each in finder.find(memory, paper) if each.score >= FOUND] == []


def test_the_same_photograph_gives_the_same_answer(
    finder: Finder, memory: Any, found: list[Detection], support: Support, photograph: tuple[RGBImage, np.ndarray]
) -> None:
    finder.find(memory, support.image)
    assert_same(finder.find(memory, photograph[0]), found)


def test_threads_may_share_a_concurrent_finder(
    finder: Finder, memory: Any, found: list[Detection], photograph: tuple[RGBImage, np.ndarray]
) -> None:
    if getattr(finder, "concurrent", False) is not True:
        pytest.skip("it does not say that several threads may call it")
    with ThreadPoolExecutor(2) as threads:
        for answer in threads.map(lambda _: finder.find(memory, photograph[0]), range(2)):
            assert_same(answer, found)


def test_what_was_given_is_not_changed(finder: Finder, memory: Any, photograph: tuple[RGBImage, np.ndarray]) -> None:
    image = photograph[0].copy()
    finder.find(memory, image)
    assert np.array_equal(image, photograph[0])


def test_several_annotated_individuals_on_one_photograph(
    finder: Finder, photograph: tuple[RGBImage, np.ndarray]
) -> None:
    image, masks = photograph
    supports = [
        Support(f"animal {number}", "striped", image, ("animal",), masks[number : number + 1], photograph="drawer")
        for number in range(2)
    ]
    found = finder.find(finder.remember(supports), image)
    assert sum(each.score >= FOUND for each in found) == len(masks)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2)])
def test_an_odd_photograph_is_answered_too(finder: Finder, memory: Any, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 128, dtype=np.uint8)
    check_detections(finder.find(memory, image), image, finder.name)
