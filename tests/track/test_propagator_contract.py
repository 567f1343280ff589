"""What every propagator promises, whatever it is made of. To test another one, add it to `PROPAGATORS`."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_sam2 import write_small_sam2

from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.engines import ModelOptions, load_engines
from sst_retrieval.imaging.images import read_image
from sst_retrieval.nets import mobile_sam
from sst_retrieval.nets.torchvision_shim import ensure_torchvision
from sst_retrieval.track.contract import Memory, Propagator
from sst_retrieval.types import Propagated, RGBImage, Support


def small_sam2(name: str) -> Propagator:
    """A SAM 2 that was never trained: it keeps its promises all the same."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, config = write_small_sam2(Path(folder))
        options = ModelOptions(str(checkpoint), config, cycle_consistency=True)
        return load_engines(name, "fakes:FakeEmbedder", "cpu", options).propagator


def redrawn(found: str) -> Propagator:
    """Masks drawn anew by a MobileSAM that was never trained."""
    ensure_torchvision()  # Before mobile_sam, which imports it.
    pytest.importorskip("mobile_sam")
    torch.manual_seed(7)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "mobile_sam.pt"
        torch.save(mobile_sam.import_builder()().state_dict(), checkpoint)
        name = f"{found}+mobile_sam@{checkpoint}"
        return load_engines(name, "fakes:FakeEmbedder", "cpu").propagator


PROPAGATORS: dict[str, Callable[[], Propagator]] = {
    "dense": lambda: load_engines("dense", "fakes:FakeEmbedder", "cpu").propagator,
    "dense, second look": lambda: (
        load_engines("dense", "fakes:FakeEmbedder", "cpu", ModelOptions(second_look=True)).propagator
    ),
    "tracker": lambda: load_engines("tracker", "fakes:FakeEmbedder", "cpu").propagator,
    "sam2": functools.partial(small_sam2, "sam2"),
    "dense+sam2": functools.partial(small_sam2, "dense+sam2"),
    "dense+mobile_sam": functools.partial(redrawn, "dense"),
    "tracker+mobile_sam": functools.partial(redrawn, "tracker"),
    "fake": lambda: load_engines("fakes:FakeTracker", "fakes:FakeEmbedder", "cpu").propagator,
}


@pytest.fixture(scope="session")
def shown(drawer: Path) -> tuple[Support, list[RGBImage]]:
    """An annotated specimen and two photographs of the same species, of different sizes."""
    collection = read_collection(drawer / "collection.csv")
    first, other = collection.photographs[0], collection.photographs[9]
    assert first.group == other.group
    (support,) = read_supports(drawer / "supports", collection).load(first.group)
    image = read_image(other.image)
    return support, [image, np.ascontiguousarray(support.image[20:-31, 10:-7])]


@pytest.fixture(scope="module", params=PROPAGATORS)
def propagator(request: pytest.FixtureRequest) -> Propagator:
    return PROPAGATORS[request.param]()


@pytest.fixture(scope="module")
def memory(propagator: Propagator, shown: tuple[Support, list[RGBImage]]) -> Memory:
    return propagator.remember([shown[0]])


@pytest.fixture(scope="module")
def found(propagator: Propagator, memory: Memory, shown: tuple[Support, list[RGBImage]]) -> list[Propagated]:
    """The answers to both photographs in one call."""
    return propagator.propagate(memory, shown[1])


def assert_same(one: Propagated, other: Propagated) -> None:
    assert np.array_equal(one.masks, other.masks)
    assert np.array_equal(one.confidence, other.confidence)
    assert one.frame == other.frame


def test_it_is_a_propagator_with_a_name(propagator: Propagator) -> None:
    assert isinstance(propagator, Propagator)
    assert propagator.name


def test_the_memory_knows_the_traits_of_the_support(memory: Memory, shown: tuple[Support, list[RGBImage]]) -> None:
    assert memory.traits == shown[0].traits


def test_masks_are_of_the_photographs_own_size(
    found: list[Propagated], memory: Memory, shown: tuple[Support, list[RGBImage]]
) -> None:
    assert len(found) == len(shown[1])
    for answer, image in zip(found, shown[1], strict=True):
        assert answer.masks.shape == (len(memory.traits), *image.shape[:2])
        assert answer.masks.dtype == np.bool_


def test_confidence_lies_between_0_and_1(found: list[Propagated], memory: Memory) -> None:
    for answer in found:
        assert answer.confidence.shape == (len(memory.traits),)
        assert answer.confidence.dtype == np.float32
        assert ((answer.confidence >= 0) & (answer.confidence <= 1)).all()


def test_something_is_found(found: list[Propagated]) -> None:
    assert all(answer.masks.any() for answer in found)


def test_a_frame_turns_and_scales_but_never_squashes(found: list[Propagated]) -> None:
    for answer in found:
        a, b, _, d, e, _ = answer.frame.matrix
        assert np.hypot(a, d) == pytest.approx(np.hypot(b, e))
        assert a * b + d * e == pytest.approx(0, abs=1e-9)


def test_order_changes_nothing(
    propagator: Propagator, memory: Memory, found: list[Propagated], shown: tuple[Support, list[RGBImage]]
) -> None:
    turned_round = propagator.propagate(memory, shown[1][::-1])
    for one, other in zip(found, reversed(turned_round), strict=True):
        assert_same(one, other)


def test_batch_size_changes_nothing(
    propagator: Propagator, memory: Memory, found: list[Propagated], shown: tuple[Support, list[RGBImage]]
) -> None:
    for answer, image in zip(found, shown[1], strict=True):
        (alone,) = propagator.propagate(memory, [image])
        assert_same(answer, alone)


def test_no_photographs_give_no_answers(propagator: Propagator, memory: Memory) -> None:
    assert propagator.propagate(memory, []) == []


def test_what_was_given_is_not_changed(
    propagator: Propagator, memory: Memory, shown: tuple[Support, list[RGBImage]]
) -> None:
    image = shown[1][1].copy()
    propagator.propagate(memory, [image])
    assert np.array_equal(image, shown[1][1])


def test_the_order_of_the_supports_traits_is_kept(
    propagator: Propagator, shown: tuple[Support, list[RGBImage]], found: list[Propagated]
) -> None:
    support, images = shown
    swapped = Support(support.individual, support.group, support.image, support.traits[::-1], support.masks[::-1])
    memory = propagator.remember([swapped])
    assert memory.traits == support.traits[::-1]
    (answer,) = propagator.propagate(memory, images[:1])
    agree = np.count_nonzero(answer.masks[::-1] & found[0].masks) / np.count_nonzero(found[0].masks)
    assert agree > 0.99


def test_several_supports_pool_their_traits(propagator: Propagator, shown: tuple[Support, list[RGBImage]]) -> None:
    support, images = shown
    assert len(support.traits) > 1
    first, second = (
        Support(name, support.group, support.image, support.traits[part], support.masks[part])
        for name, part in (("a", slice(0, 1)), ("b", slice(1, None)))
    )
    memory = propagator.remember([first, second])
    assert set(memory.traits) == set(support.traits)
    (answer,) = propagator.propagate(memory, images[:1])
    assert answer.masks.shape[0] == len(memory.traits)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2)])
def test_an_odd_photograph_is_answered_too(propagator: Propagator, memory: Memory, size: tuple[int, int]) -> None:
    (answer,) = propagator.propagate(memory, [np.full((*size, 3), 128, dtype=np.uint8)])
    assert answer.masks.shape[1:] == size
