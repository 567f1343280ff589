"""Photographs in batches: the same index, and a broken photograph harms only itself."""

from __future__ import annotations

import gc
import signal
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import (
    FAKES,
    FakeMemory,
    FakeTracker,
    HungryTracker,
    a_collection_of,
    build_fake,
    every_region,
    run_in_small_shards,
    same_region,
)

from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.engines import ModelOptions
from sst_retrieval.errors import InputError, ModelError
from sst_retrieval.search.index import open_index
from sst_retrieval.types import Propagated, RGBImage

HUNGRY = replace(FAKES, propagator="fakes:HungryTracker")


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photographs were in every call."""
    seen: list[int] = []
    real = FakeTracker.propagate

    def propagating(self: FakeTracker, memory: FakeMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        seen.append(len(images))
        return real(self, memory, images)

    monkeypatch.setattr(FakeTracker, "propagate", propagating)
    return seen


def assert_same(one: Path, other: Path) -> None:
    ours, theirs = every_region(one), every_region(other)
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not same_region(ours[key], theirs[key])] == []


def test_as_many_photographs_as_wanted_and_the_same_index(table: Path, sizes: list[int]) -> None:
    build_fake(table, table.parent / "one")
    assert set(sizes) == {1}
    sizes.clear()
    build_fake(table, table.parent / "three", HUNGRY)
    assert sizes == [3, 2, 1, 1, 3, 2]  # Five of each group; two looks to lay the second group like the first.
    assert_same(table.parent / "one", table.parent / "three")


def test_an_unreadable_photograph_harms_only_itself(table: Path, sizes: list[int]) -> None:
    (table.parent / "images" / "r1.png").write_bytes(b"no picture")
    report = build_fake(table, table.parent / "index", HUNGRY)
    assert (report.processed, sum(report.skipped.values())) == (9, 1)
    assert sizes[:2] == [2, 2]
    with open_index(table.parent / "index") as index:
        assert [(row.photograph, row.stage) for row in index.skipped()] == [("r1", "image")]


def test_a_refused_photograph_harms_only_itself(table: Path, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    odd = None
    real = FakeTracker._propagate

    def refusing(self: FakeTracker, memory: FakeMemory, image: RGBImage) -> Propagated:
        nonlocal odd
        odd = image if odd is None and self.photographs == 1 else odd
        if odd is not None and np.array_equal(image, odd):
            raise InputError("this photograph is too odd")
        return real(self, memory, image)

    monkeypatch.setattr(FakeTracker, "_propagate", refusing)
    report = build_fake(table, table.parent / "index", HUNGRY)
    assert report.skipped == {"this photograph is too odd": 1}
    assert sizes[:4] == [3, 1, 1, 1]
    with open_index(table.parent / "index") as index:
        assert [(row.photograph, row.stage) for row in index.skipped()] == [("r1", "propagation")]


def test_nonsense_in_the_midst_of_a_batch_is_named(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TRACKER", "nonsense:2")
    with pytest.raises(ModelError, match="gave confidence"):
        build_fake(table, table.parent / "index", HUNGRY)


def test_an_answer_too_few_is_named(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = FakeTracker.propagate
    monkeypatch.setattr(FakeTracker, "propagate", lambda self, memory, images: real(self, memory, images[:2]))
    with pytest.raises(ModelError, match=r"answered 3 photograph\(s\) with 2 results"):
        build_fake(table, table.parent / "index", HUNGRY)


@pytest.mark.parametrize("batch", [0, -1, 2.5, None])
def test_an_odd_batch_is_refused(table: Path, monkeypatch: pytest.MonkeyPatch, batch: object) -> None:
    monkeypatch.setattr(HungryTracker, "batch", batch)
    with pytest.raises(ModelError, match="wants batches of"):
        build_fake(table, table.parent / "index", HUNGRY)


def test_a_killed_build_goes_on_in_the_midst_of_a_batch(table: Path) -> None:
    whole, index = table.parent / "whole", table.parent / "index"
    build_fake(table, whole, HUNGRY)
    killed = run_in_small_shards(table, index, "kill:5", "fakes:HungryTracker")
    assert killed == -signal.SIGKILL
    report = build_fake(table, index, HUNGRY)
    assert (report.reused, report.processed) == (2, 8)  # The third was in hand, the fourth in the killed batch.
    assert_same(index, whole)


def test_no_more_photographs_are_held_than_one_batch(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[RGBImage]] = []
    most = 0
    real = FakeTracker.propagate

    def propagating(self: FakeTracker, memory: FakeMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        nonlocal most
        alive.extend(weakref.ref(image) for image in images)
        gc.collect()
        most = max(most, sum(each() is not None for each in alive))
        return real(self, memory, images)

    monkeypatch.setattr(FakeTracker, "propagate", propagating)
    build_fake(table, table.parent / "index", HUNGRY)
    # The batch, the photograph before it whose loop has not turned yet, and a support.
    assert most <= 3 + 2


def test_sam2_is_given_batches_by_a_build_and_masks_are_the_same(
    tmp_path: Path, sam2_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sst_retrieval.track.sam2.network import Sam2Network

    table = a_collection_of(tmp_path, [(f"r{i}", "red") for i in range(4)])
    checkpoint, config = sam2_files
    encode, seen = Sam2Network.encode, []
    monkeypatch.setattr(Sam2Network, "encode", lambda self, views: seen.append(len(views)) or encode(self, views))
    found = {}
    for batch in (1, 3):
        options = ModelOptions(str(checkpoint), config, batch=batch)
        settings = BuildSettings(propagator="sam2", embedder="fakes:FakeEmbedder", device="cpu", models=options)
        build_fake(table, tmp_path / f"by{batch}", settings)
        found[batch] = every_region(tmp_path / f"by{batch}")
    assert max(seen) == 3
    assert any(one.present for (name, _), one in found[1].items() if name != "r0")  # r0 is drawn, not found.
    for key, one in found[1].items():
        other = found[3][key]
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
        assert one.measurements.get("area_px", 0) == pytest.approx(other.measurements.get("area_px", 0), rel=1e-3)


def test_only_sam2_can_be_told_how_many_at_once(table: Path, tmp_path: Path, sam2_files: tuple[Path, Path]) -> None:
    with pytest.raises(ModelError, match="takes no --batch"):
        build_fake(table, tmp_path / "index", replace(FAKES, propagator="dense", models=ModelOptions(batch=2)))
    checkpoint, config = sam2_files
    film = ModelOptions(str(checkpoint), config, batch=2)
    with pytest.raises(ModelError, match="one photograph after the other"):
        build_fake(table, tmp_path / "index", replace(FAKES, propagator="sam2-video", models=film))
