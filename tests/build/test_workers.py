"""Several photographs at the same time: the same index, in the same order, and nothing hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import small_clip
import torch
from fakes import (
    CONCURRENT,
    FAKES,
    PATIENCE,
    ConcurrentTracker,
    FakeMemory,
    a_collection_of,
    build_fake,
    every_region,
    run_in_small_shards,
    same_region,
)
from threadpoolctl import threadpool_info

from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.build import workers
from sst_retrieval.build.pipeline import build_index
from sst_retrieval.build.regions import describe_regions
from sst_retrieval.build.workers import (
    MAX_WORKERS,
    PREFETCH,
    PartWorkers,
    PixelBudget,
    choose_workers,
    count_cores,
    map_in_order,
    map_with_parts,
)
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.describe.openclip import open_clip_embedder
from sst_retrieval.engines import Engines, load_engines
from sst_retrieval.errors import InputError, ModelError
from sst_retrieval.imaging.images import read_image
from sst_retrieval.index.store import Store
from sst_retrieval.search.index import open_index
from sst_retrieval.types import Propagated, Region, RGBImage


@pytest.fixture
def one_by_one(ten: Path) -> tuple[Path, Path]:
    """A collection and its index, built by one worker."""
    return ten / "collection.csv", ten / "index"


def assert_same(one: Mapping[tuple[str, str], Region], other: Mapping[tuple[str, str], Region]) -> None:
    assert one.keys() == other.keys()
    assert [key for key in one if not same_region(one[key], other[key])] == []


def rows_in_order(index: Path) -> list[dict[str, str]]:
    shards = sorted(Store.open(index).paths.list_shards())
    return [row for shard in shards for row in pq.read_table(shard, columns=["individual", "trait"]).to_pylist()]


# --------------------------------------------------------------------------------------------------- order and errors


def test_results_keep_the_order_of_the_pieces_though_the_first_is_the_last_to_end() -> None:
    later = threading.Event()

    def work(piece: int) -> int:
        if piece == 0:
            assert later.wait(PATIENCE)  # Only another worker can end this waiting.
        if piece == 2:
            later.set()
        return piece

    assert list(map_in_order(work, range(7), 2)) == list(range(7))


def test_few_pieces_are_taken_ahead_of_the_slowest() -> None:
    taken: list[int] = []
    release = threading.Event()

    def pieces() -> Iterator[int]:
        for piece in range(50):
            taken.append(piece)
            if len(taken) == 2 * PREFETCH:
                release.set()  # As many as may be taken: if it waited for more, it would wait for ever.
            yield piece

    def work(piece: int) -> int:
        assert release.wait(PATIENCE)
        return piece

    results = map_in_order(work, pieces(), 2)
    assert next(results) == 0
    assert len(taken) == 2 * PREFETCH
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_raised_in_its_place_and_nothing_is_begun_after_it(workers: int) -> None:
    begun: list[int] = []

    def work(piece: int) -> int:
        begun.append(piece)
        if piece == 3:
            raise ValueError("three")
        return piece

    seen: list[int] = []
    with pytest.raises(ValueError, match="three"):
        seen.extend(map_in_order(work, range(1000), workers))  # Takes what comes before the error.
    assert seen == [0, 1, 2]
    assert len(begun) <= 4 + PREFETCH * workers


def test_parts_of_one_piece_are_worked_on_at_the_same_time_and_stay_in_order() -> None:
    together = threading.Barrier(3, timeout=PATIENCE)

    def work(piece: int, parts: PartWorkers) -> list[int]:
        def double(part: int) -> int:
            together.wait()  # Fewer than three at the same time would wait for ever.
            return 2 * part

        return parts.map(double, range(piece, piece + 3))

    assert list(map_with_parts(work, [0, 10], 3)) == [[0, 2, 4], [20, 22, 24]]


def test_of_all_pieces_no_more_parts_than_workers_are_in_work() -> None:
    lock, busy, most = threading.Lock(), 0, 0

    def work(piece: int, parts: PartWorkers) -> list[int]:
        def count(part: int) -> int:
            nonlocal busy, most
            with lock:
                busy += 1
                most = max(most, busy)
            threading.Event().wait(0.005)
            with lock:
                busy -= 1
            return part

        return parts.map(count, range(5))

    assert list(map_with_parts(work, range(4), 2)) == [list(range(5))] * 4
    assert most == 2


def test_one_worker_works_on_parts_in_its_own_thread_and_errors_are_raised() -> None:
    def work(piece: int, parts: PartWorkers) -> set[int]:
        return set(parts.map(lambda _: threading.get_ident(), range(3)))

    assert list(map_with_parts(work, range(2), 1)) == [{threading.get_ident()}] * 2

    def fail(part: int) -> int:
        if part == 1:
            raise ValueError("one")
        return part

    for count in (1, 2):
        with pytest.raises(ValueError, match="one"):
            list(map_with_parts(lambda piece, parts: parts.map(fail, range(3)), range(2), count))


def test_large_photographs_wait_for_room() -> None:
    budget, lock = PixelBudget(100), threading.Lock()
    inside: list[int] = []
    sums: list[int] = []

    def work(pixels: int) -> int:
        with budget.reserve(pixels):
            with lock:
                inside.append(pixels)
                sums.append(sum(inside))
            with lock:
                inside.remove(pixels)
        return pixels

    pieces = [40, 40, 40, 500, 10, 60, 100, 1, 99, 30] * 2
    assert list(map_in_order(work, pieces, 4)) == pieces
    assert max(each for each in sums if each != 500) <= 100  # One larger than the whole budget is processed alone.
    assert max(sums) == 500


def watch_for_waiting(budget: PixelBudget) -> threading.Event:
    """Return what is set as soon as a thread finds the budget too small."""
    waits, wait_for = threading.Event(), budget._changed.wait_for

    def watched(enough: Callable[[], bool]) -> bool:
        if not enough():
            waits.set()
        return wait_for(enough)

    budget._changed.wait_for = watched  # type: ignore[method-assign, assignment]
    return waits


@pytest.mark.parametrize(("held", "wanted"), [(60, 41), (1, 100), (100, 1), (500, 1), (1, 500)])
def test_who_finds_too_little_room_waits_until_it_is_given_back(held: int, wanted: int) -> None:
    budget, inside = PixelBudget(100), threading.Event()
    waits = watch_for_waiting(budget)

    def enter() -> None:
        with budget.reserve(wanted):
            inside.set()

    with ThreadPoolExecutor(1) as pool:
        with budget.reserve(held):
            entering = pool.submit(enter)
            assert waits.wait(PATIENCE)
            assert not inside.is_set()
        entering.result(PATIENCE)
    assert inside.is_set()


def test_who_finds_room_enters_at_once() -> None:
    budget = PixelBudget(100)
    waits = watch_for_waiting(budget)
    with budget.reserve(60), budget.reserve(40):
        assert not waits.is_set()


def test_room_is_given_back_after_an_error() -> None:
    budget = PixelBudget(100)
    with pytest.raises(ValueError, match="broken"), budget.reserve(80):
        raise ValueError("broken")
    with budget.reserve(100):
        pass


@pytest.mark.parametrize(("photographs", "together"), [(1, False), (10, True)])
def test_a_build_works_on_no_more_pixels_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photographs: int, together: bool
) -> None:
    table = a_collection_of(tmp_path, [(f"r{number}", "red") for number in range(8)])
    made: list[ConcurrentTracker] = []
    init = ConcurrentTracker.__init__
    monkeypatch.setattr(ConcurrentTracker, "__init__", lambda self, device: init(self, device) or made.append(self))
    budget = PixelBudget(photographs * 40 * 60)
    waits = watch_for_waiting(budget)

    def until_another_waits(_: ConcurrentTracker) -> None:
        assert waits.wait(PATIENCE)

    monkeypatch.setattr("sst_retrieval.build.runner.PixelBudget", lambda: budget)
    meanwhile = ConcurrentTracker.until_overtaken if together else until_another_waits
    monkeypatch.setattr(ConcurrentTracker, "meanwhile", meanwhile)
    assert build_fake(table, tmp_path / "index", CONCURRENT).processed == 8
    assert (made[0].most > 1) == together


def test_closing_waits_for_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    course: list[str] = []
    begun, closing, shutdown = threading.Event(), threading.Event(), ThreadPoolExecutor.shutdown

    def work(piece: int) -> int:
        if piece:
            begun.set()
            assert closing.wait(PATIENCE)
        course.append("a piece ended")
        return piece

    def closed(pool: ThreadPoolExecutor, **how: bool) -> None:
        closing.set()  # What is under way may end now.
        shutdown(pool, **how)
        course.append("closed")

    results = map_in_order(work, range(100), 2)
    next(results)
    assert begun.wait(PATIENCE)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", closed)
    results.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("photographs")]
    assert course[-1] == "closed"
    assert 2 <= course.count("a piece ended") < 10


def test_each_worker_computes_on_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    def counts(_: int) -> tuple[int, set[int]]:
        # That of FAISS counts for every thread by itself, and no worker searches.
        blas = [each for each in threadpool_info() if each["user_api"] == "blas"]
        libraries = [each for each in blas if each["threading_layer"] != "openmp"]
        return torch.get_num_threads(), {each["num_threads"] for each in libraries}

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(workers, "read_cpu_quota", lambda: None)
    before, blas = torch.get_num_threads(), counts(0)[1]
    try:
        torch.set_num_threads(5)
        assert set(map(repr, map_in_order(counts, range(6), 2))) == {repr((2, {1}))}
        assert torch.get_num_threads() == 5
        # Supports are remembered in the caller's thread: their last bits depend on the number of threads, too.
        between = (torch.get_num_threads() for _ in range(6))
        assert {(own, used) for own, (used, _) in map_in_order(lambda own: (own, counts(0)), between, 2)} == {(2, 2)}
        with ThreadPoolExecutor(1) as pool:  # A thread of somebody else's, after all.
            assert pool.submit(counts, 0).result() == (5, blas)
        monkeypatch.setattr(workers, "read_cpu_quota", lambda: 3.2)
        assert set(map(repr, map_in_order(counts, range(6), 2))) == {repr((2, {1}))}
        assert {repr(each) for each in map_in_order(counts, range(6), 1)} == {repr((4, {1}))}
        monkeypatch.setenv("OMP_NUM_THREADS", "5")
        assert {repr(each) for each in map_in_order(counts, range(6), 1)} == {repr((5, {1}))}
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)


# ------------------------------------------------------------------------------------------------------------ how many


class Model:
    def __init__(self, concurrent: object) -> None:
        self.concurrent = concurrent


def engines(propagator: object = True, embedder: object = True, device: str = "cpu") -> Engines:
    return Engines(Model(propagator), Model(embedder), ("mine", "yours"), {}, device)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "models", "said"),
    [
        (None, engines(), 6),
        (None, engines(device="cuda"), 1),
        (None, engines(device="cuda:1"), 1),
        (None, engines(propagator=False), 1),
        (None, engines(embedder=None), 1),
        (None, engines(embedder="yes"), 1),
        (1, engines(propagator=False), 1),
        (20, engines(), 20),
        (3, engines(device="cuda"), 3),
    ],
)
def test_how_many_photographs(monkeypatch: pytest.MonkeyPatch, wanted: int | None, models: Engines, said: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert choose_workers(wanted, models) == said


def test_one_a_core_but_not_more_than_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert choose_workers(None, engines()) == MAX_WORKERS
    for nothing in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert 1 <= count_cores() <= (os.cpu_count() or 1)


V2, V1 = "0::{}\n", "4:memory:/m\n3:cpu,cpuacct:{}\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "allowed"),
    [
        (V2.format("/"), {"cpu.max": "150000 100000"}, 1.5),
        (V2.format("/"), {"cpu.max": "max 100000"}, None),
        (V2.format("/"), {}, None),
        (
            V2.format("/a/b"),
            {"cpu.max": "max 100000", "a/cpu.max": "200000 100000", "a/b/cpu.max": "300000 100000"},
            2.0,
        ),
        (V2.format("/a/b"), {"a/b/cpu.max": "50000 100000"}, 0.5),
        (V2.format("/docker/not here"), {"cpu.max": "400000 100000"}, 4.0),
        (V2.format("/../elsewhere"), {"cpu.max": "400000 100000"}, 4.0),
        (V2.format("/"), {"cpu.max": "odd"}, None),
        (V1.format("/"), {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, None),
        (V1.format("/"), {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 2.5),
        (V1.format("/d/e"), {"cpu/d/cpu.cfs_quota_us": "300000", "cpu/d/cpu.cfs_period_us": "100000"}, 3.0),
        ("", {"cpu.max": "150000 100000"}, None),
        (None, {"cpu.max": "150000 100000"}, None),
    ],
)
def test_what_control_groups_allow(
    tmp_path: Path, groups: str | None, files: Mapping[str, str], allowed: float | None
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    if groups is not None:
        (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert workers.read_cpu_quota(tmp_path) == allowed


def test_a_container_works_on_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(workers, "_count_system_cores", lambda: 64)
    for allowed, expected in [(None, 64), (1.5, 2), (2.0, 2), (0.2, 1), (100.0, 64)]:
        monkeypatch.setattr(workers, "read_cpu_quota", lambda allowed=allowed: allowed)
        assert count_cores() == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # A person's word counts.
    assert count_cores() == 7


def test_models_that_cannot_are_not_asked_at_the_same_time(table: Path) -> None:
    with pytest.raises(InputError, match="fakes:FakeTracker and fakes:FakeEmbedder work on one photograph"):
        build_fake(table, table.parent / "index", replace(FAKES, workers=2))
    with pytest.raises(InputError, match="at least one"):
        build_fake(table, table.parent / "index", replace(FAKES, workers=0))
    assert not (table.parent / "index").exists()


def test_sam2_works_on_one_photograph_after_the_other() -> None:
    from sst_retrieval.track.sam2.propagator import Sam2Propagator, Sam2VideoPropagator

    # Their network changes with the group (adapters); a film also with every photograph.
    assert not hasattr(Sam2Propagator, "concurrent")
    assert not hasattr(Sam2VideoPropagator, "concurrent")


# ------------------------------------------------------------------------------------------------------------ a build


@pytest.mark.parametrize("propagator", ["ConcurrentTracker", "HungryConcurrentTracker"])
def test_the_same_index_however_many_workers(
    one_by_one: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, propagator: str
) -> None:
    table, index = one_by_one
    made: list[ConcurrentTracker] = []
    init = ConcurrentTracker.__init__
    monkeypatch.setattr(ConcurrentTracker, "__init__", lambda self, device: init(self, device) or made.append(self))
    monkeypatch.setattr(ConcurrentTracker, "meanwhile", ConcurrentTracker.until_overtaken)
    done: list[int] = []
    report = build_index(
        table,
        table.parent / "supports",
        tmp_path / "index",
        settings=replace(CONCURRENT, propagator=f"fakes:{propagator}"),
        progress=lambda stage, now, of: done.append(now) if stage == "finding traits" else None,
    )
    assert made[0].most > 1
    assert done == list(range(1, 11))
    assert report.workers == 3
    assert "3 at the same time" in report.text()
    assert_same(every_region(tmp_path / "index"), every_region(index))
    assert rows_in_order(tmp_path / "index") == rows_in_order(index)
    with open_index(tmp_path / "index") as opened:
        assert opened.info()["provenance"]["workers"] == 3


def test_unreadable_and_refused_photographs_harm_only_themselves(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (table.parent / "images" / "b3.png").write_bytes(b"no picture")
    real = ConcurrentTracker._propagate

    def picky(self: ConcurrentTracker, memory: FakeMemory, image: RGBImage) -> Propagated:
        if np.array_equal(image, read_image(table.parent / "images" / "r2.png")):
            raise InputError("this photograph is too odd")
        return real(self, memory, image)

    monkeypatch.setattr(ConcurrentTracker, "_propagate", picky)
    report = build_fake(table, table.parent / "index", CONCURRENT)
    assert (report.processed, sum(report.skipped.values())) == (8, 2)
    with open_index(table.parent / "index") as index:
        skipped = {row.photograph: row.stage for row in index.skipped()}
    assert skipped.keys() == {"b3", "r2"}
    assert skipped["b3"] == "image"


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_names_the_photograph(table: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    real = ConcurrentTracker._propagate

    def broken(self: ConcurrentTracker, memory: FakeMemory, image: RGBImage) -> Propagated:
        found = real(self, memory, image)
        odd = np.array_equal(image, read_image(table.parent / "images" / "r2.png"))
        return replace(found, confidence=found.confidence + 7) if odd else found

    monkeypatch.setattr(ConcurrentTracker, "_propagate", broken)
    with pytest.raises(ModelError) as raised:
        build_fake(table, table.parent / "index", replace(CONCURRENT, workers=workers))
    assert raised.value.__notes__ == ["at work on r2"]


def test_the_command_line_names_the_photograph_too(table: Path) -> None:
    command = [sys.executable, "-m", "sst_retrieval", "build", str(table), "--supports", str(table.parent / "supports")]
    command += ["--output", str(table.parent / "index"), "--propagator", CONCURRENT.propagator]
    command += ["--embedder", CONCURRENT.embedder, "--workers", "1"]
    here = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    environment = {**os.environ, "FAKE_TRACKER": "nonsense:3", "PYTHONPATH": os.pathsep.join(here)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.endswith("\nat work on r2\n"), done.stderr
    assert "error: propagator fake tracker gave confidence" in done.stderr


def test_a_killed_build_goes_on_where_it_was(one_by_one: tuple[Path, Path], tmp_path: Path) -> None:
    table, whole = one_by_one
    assert run_in_small_shards(table, tmp_path / "index", "kill:11", CONCURRENT.propagator) == -signal.SIGKILL
    report = build_fake(table, tmp_path / "index", CONCURRENT)
    # Two looks lay the second group like the first, so nine photographs were taken, of which the last six may be
    # under way or in hand: the first three are done, in whatever order the threads came.
    assert 2 <= report.reused < 10
    assert report.reused + report.processed == 10
    assert_same(every_region(tmp_path / "index"), every_region(whole))


def test_a_stopped_build_leaves_what_it_did_searchable(
    one_by_one: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, whole = one_by_one
    # In the thread of a worker; Python brings it to the main thread, which waits for a result then.
    monkeypatch.setenv("FAKE_TRACKER", "ctrl-c:8")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # Ignored, where the tests run in the background.
    try:
        with pytest.raises(KeyboardInterrupt):
            build_fake(table, tmp_path / "index", replace(CONCURRENT, workers=2))
    finally:
        signal.signal(signal.SIGINT, before)
    with open_index(tmp_path / "index") as index:
        assert index.search(like=("r0", "spot"))
        assert not index.info()["provenance"]["complete"]
    monkeypatch.delenv("FAKE_TRACKER")
    report = build_fake(table, tmp_path / "index", CONCURRENT)
    assert 1 <= report.reused < 10
    assert_same(every_region(tmp_path / "index"), every_region(whole))


# -------------------------------------------------------------------------------------------------------- real models


@pytest.mark.parametrize("propagator", ["dense", "tracker"])
def test_the_built_in_models_answer_threads_as_they_answer_one(
    drawer: Path, monkeypatch: pytest.MonkeyPatch, propagator: str
) -> None:
    """Fresh models are asked by three threads at once: what is built when it is first needed is built under fire."""
    monkeypatch.setattr("sst_retrieval.track.sam2.tracker.MIN_IOU", 2.0)  # Every mask is uncertain.
    collection = read_collection(drawer / "collection.csv")
    supports = read_supports(drawer / "supports", collection)
    targets = [each for each in collection.photographs if each.group == collection.photographs[0].group]
    assert len(targets) == 3

    def found(models: Engines, workers: int) -> list[list[Region]]:
        assert models.concurrent
        memory = models.propagator.remember(supports.load(targets[0].group))

        def work(name: str, image: RGBImage) -> list[Region]:
            (answer,) = models.propagator.propagate(memory, [image])
            return describe_regions(name, image, answer, memory.traits, models.embedder)

        images = [(each.id, read_image(each.image)) for each in targets]
        return list(map_in_order(lambda one: work(*one), images, workers))

    together = found(load_engines(propagator, "efficientnet", "cpu"), 3)
    alone = found(load_engines(propagator, "efficientnet", "cpu"), 1)
    assert any(region.present for regions in alone for region in regions)
    for ours, theirs in zip(together, alone, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert (one.rle, one.present, one.frame) == (other.rle, other.present, other.frame)
            assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
            if one.vector is not None:
                np.testing.assert_allclose(one.vector, other.vector, atol=1e-5)


def test_openclip_answers_threads_as_it_answers_one(tmp_path: Path) -> None:
    embedder = open_clip_embedder(str(small_clip.save(tmp_path)), None, device="cpu")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (embedder.side, embedder.side, 3), dtype=np.uint8) for _ in range(6)]
    together = list(map_in_order(lambda image: embedder.features([image])[0], images, 3))
    assert not np.allclose(together[0], together[1])
    for one, other in zip(together, embedder.features(images), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
