"""A build on a Ray cluster of two nodes: the same index, whatever dies in the middle."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import FAKES, FakeMemory, FakeTracker, a_collection_of, build_fake, paint
from museum_store import ORDERS
from shades import SECOND, build_shades, shade_collection
from trays import TRAYS, a_collection_of_trays, build_trays

from sst_retrieval import ray_cluster
from sst_retrieval.build import cluster as clusters
from sst_retrieval.build import cluster_worker, shard_writer
from sst_retrieval.build.cluster import open_cluster
from sst_retrieval.build.cluster_worker import RowsLostError, SharedIndex
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.build.worker_pool import MAX_DEATHS
from sst_retrieval.errors import ClusterError, IndexFolderError, InputError, ModelError
from sst_retrieval.files import remove
from sst_retrieval.imaging.images import content_hash
from sst_retrieval.index import thumbnails
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.picture_pack import list_pictures, read_picture
from sst_retrieval.index.staged_shards import StagedShard
from sst_retrieval.index.store import Store
from sst_retrieval.search.index import open_index
from sst_retrieval.types import Propagated, RGBImage


class ObedientTracker(FakeTracker):
    """Follows the orders in a folder: slow (every photograph takes a while), die-SEED (kill the process, so often)."""

    name = "fake tracker"

    def _propagate(self, memory: FakeMemory, image: RGBImage) -> Propagated:
        orders = Path(os.environ[ORDERS])
        if (orders / "slow").exists():
            time.sleep(0.25)
        for order in orders.glob("die-*-*"):
            group, seed, times = order.name.split("-")[1:]
            deaths = order.with_name(f"deaths-{order.name}")
            known = np.array_equal(image, paint(group, int(seed))[0])
            if known and (not deaths.exists() or deaths.stat().st_size < int(times)):
                with deaths.open("a") as file:
                    file.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
        if (orders / "full").exists() and np.array_equal(image, paint("blue", 7)[0]):
            thumbnails.write_loose_pictures = raise_no_space  # In this worker, which ends with the build.
        if (orders / "die-writing").exists():
            cluster_worker.stage_shard = die  # In this worker.
        if (orders / "lost").exists():
            cluster_worker.write_processed = raise_lost
        if (orders / "nonsense").exists():
            return replace(super()._propagate(memory, image), confidence=np.float32([7, 7]))
        return super()._propagate(memory, image)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def cluster(orders: Path) -> Iterator[Any]:
    """A cluster of two nodes of one core each, on this computer."""
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'sst-retrieval[ray]')")
    from ray.cluster_utils import Cluster

    here = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(shard_writer.__file__).parents[2])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(here))
        patch.setenv(ORDERS, str(orders))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        started.second = started.add_node(num_cpus=1)
        started.wait_for_nodes()
        try:
            yield started
        finally:
            started.shutdown()


@pytest.fixture
def settings(cluster: Any, orders: Path) -> BuildSettings:
    for order in orders.iterdir():
        remove(order)
    return replace(FAKES, propagator="test_cluster:ObedientTracker", ray=cluster.address)


def list_rows(index: Path) -> list[dict[str, Any]]:
    """List all that the shards hold, in its order: masks, vectors, confidences."""
    rows: list[dict[str, Any]] = []
    for path in sorted((index / "shards").glob("*.parquet")):
        rows += pq.read_table(path).to_pylist()
    return rows


def read_pictures(index: Path) -> dict[str, list[bytes | None]]:
    pack = IndexPaths(index).pictures_file
    return {name: [read_picture(pack, name, each) for each in sorted(own)] for name, own in list_pictures(pack)}


def test_the_same_index(table: Path, ten: Path, settings: BuildSettings) -> None:
    for photograph in (table.parent / "images").iterdir():
        os.utime(photograph, (1e9, 1e9))  # The hash of one that has just been written is not kept.
    done: list[tuple[str, int]] = []
    report = clusters_build(table, settings, lambda stage, now, _: done.append((stage, now)))
    assert (report.processed, report.workers) == (10, 2)
    assert "2 workers on Ray" in report.text()
    assert [now for stage, now in done if stage == "finding traits"] == list(range(1, 11))
    assert list_rows(table.parent / "index") == list_rows(ten / "index")
    pictures = read_pictures(ten / "index")
    assert len(pictures) == 10
    assert read_pictures(table.parent / "index") == pictures
    stages = {stage for stage, _ in done}
    assert "reading new photographs" in stages
    done.clear()
    again = clusters_build(table, settings, lambda stage, now, _: done.append((stage, now)))
    assert (again.processed, again.reused) == (0, 10)
    assert "reading new photographs" not in {stage for stage, _ in done}  # The record of hashes knows them.


def clusters_build(table: Path, settings: BuildSettings, progress: Any = None) -> Any:
    from sst_retrieval.build.pipeline import build_index

    return build_index(table, table.parent / "supports", table.parent / "index", settings=settings, progress=progress)


@pytest.mark.parametrize("window", [8, 1])
def test_workers_write_the_shards(
    table: Path, ten: Path, settings: BuildSettings, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(shard_writer, "SHARD_PHOTOGRAPHS", 3)
    monkeypatch.setattr(clusters, "WINDOW", window)
    monkeypatch.setattr(clusters, "BUNDLE", 3)
    monkeypatch.setattr(Store, "append", None)  # The driver gets no rows to write.
    monkeypatch.setattr(clusters, "write_processed", None)
    clusters_build(table, settings)
    index = table.parent / "index"
    shards = Store.open(index).paths.list_shards()
    assert [path.name for path in shards] == [f"{number:06d}.parquet" for number in range(len(shards))]
    assert len(shards) > 2
    if window == 8:  # Singly; else from the third on three of a group at a time.
        assert [len(set(pq.read_table(path)["photograph"].to_pylist())) for path in shards] == [3, 3, 3, 1]
    assert list_rows(index) == list_rows(ten / "index")
    assert read_pictures(index) == read_pictures(ten / "index")
    assert not list(index.rglob("*.tmp"))
    assert not list((index / "pictures" / "loose").iterdir())


@pytest.mark.parametrize("order", ["die-writing", "lost"])
def test_shards_that_no_worker_can_write(
    table: Path, ten: Path, settings: BuildSettings, orders: Path, order: str
) -> None:
    (orders / order).touch()
    report = clusters_build(table, settings)
    assert (report.processed, report.skipped) == (10, {})
    assert list_rows(table.parent / "index") == list_rows(ten / "index")
    assert read_pictures(table.parent / "index") == read_pictures(ten / "index")


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raise_lost(*_: Any, **__: Any) -> None:
    raise RowsLostError("the machine is gone")


def test_a_person_stops_it(table: Path, ten: Path, settings: BuildSettings) -> None:
    def stop(stage: str, done: int, _: int) -> None:
        if stage == "finding traits" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clusters_build(table, settings, stop)
    with open_index(table.parent / "index") as index:
        assert len(list(index.photographs())) >= 4
    report = clusters_build(table, settings)
    assert report.reused >= 4
    assert list_rows(table.parent / "index") == list_rows(ten / "index")


@pytest.mark.parametrize("bundle", [1, 4])
def test_workers_that_die(
    table: Path, ten: Path, settings: BuildSettings, orders: Path, monkeypatch: pytest.MonkeyPatch, bundle: int
) -> None:
    monkeypatch.setattr(clusters, "WINDOW", 8 if bundle == 1 else 1)
    (orders / "die-red-2-1").touch()
    (orders / "die-red-3-99").touch()
    (orders / "die-blue-7-2").touch()
    report = clusters_build(table, settings)
    deaths = {name: (orders / f"deaths-die-{name}").stat().st_size for name in ("red-2-1", "red-3-99", "blue-7-2")}
    assert (deaths["red-2-1"], deaths["blue-7-2"]) == (1, 2)
    # A worker whose last answer is lost with it is counted at that photograph, not at the one that it died of. And one
    # may die at several photographs together, before it is known at which.
    assert MAX_DEATHS <= deaths["red-3-99"] <= MAX_DEATHS + 3
    # One at which every worker dies is named and skipped; the others cost a moment only.
    assert (report.processed, sum(report.skipped.values())) == (9, 1)
    with open_index(table.parent / "index") as index:
        ((name, stage, reason),) = [(row.photograph, row.stage, row.reason) for row in index.skipped()]
    assert (name, stage) == ("r3", "propagation")
    assert reason.startswith("3 workers died at it, one after the other; the last one:")
    assert list_rows(table.parent / "index") == [row for row in list_rows(ten / "index") if row["photograph"] != "r3"]


def test_a_node_that_is_lost(cluster: Any, tmp_path: Path, settings: BuildSettings, orders: Path) -> None:
    specimens = [(f"{group[0]}{i}", group) for group in ("red", "blue") for i in range(10)]
    table = a_collection_of(tmp_path, specimens)
    build_fake(table, tmp_path / "plain")
    (orders / "slow").touch()
    third = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    lost = threading.Event()

    def lose(stage: str, done: int, _: int) -> None:
        if stage == "finding traits" and done == 3 and not lost.is_set():
            lost.set()
            cluster.remove_node(third, allow_graceful=False)

    report = clusters_build(table, replace(settings, workers=3), lose)
    assert lost.is_set()
    assert (report.processed, report.skipped) == (20, {})
    assert list_rows(tmp_path / "index") == list_rows(tmp_path / "plain")


def test_a_driver_that_is_killed_and_started_again(
    table: Path, ten: Path, settings: BuildSettings, orders: Path
) -> None:
    (orders / "slow").touch()
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(table), str(settings.ray)])
    wait_until(lambda: len(list((table.parent / "index").glob("shards/*.parquet"))) >= 2)
    driver.kill()
    driver.wait()
    (orders / "slow").unlink()
    report = clusters_build(table, settings)
    assert report.reused >= 4  # Two shards of two photographs.
    assert report.processed + report.reused == 10
    assert list_rows(table.parent / "index") == list_rows(ten / "index")


DRIVER = """
import sys
from dataclasses import replace
from pathlib import Path
from sst_retrieval.build import shard_writer
from test_cluster import FAKES, clusters_build

shard_writer.SHARD_PHOTOGRAPHS = 2
clusters_build(Path(sys.argv[1]), replace(FAKES, propagator="test_cluster:ObedientTracker", ray=sys.argv[2]))
"""


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


@pytest.mark.parametrize("where", ["worker", "driver"])
def test_a_disk_that_is_full_and_has_room_again(
    table: Path, ten: Path, settings: BuildSettings, orders: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_writer, "SHARD_PHOTOGRAPHS", 2)
    with monkeypatch.context() as patch:
        if where == "worker":
            (orders / "full").touch()
        else:
            adopt, adopted = Store.adopt, []

            def adopt_twice(store: Store, staged: StagedShard, number: int) -> Path:
                adopted.append(number)
                if len(adopted) > 2:
                    patch.setattr("sst_retrieval.index.store.move", raise_no_space)
                return adopt(store, staged, number)

            patch.setattr(Store, "adopt", adopt_twice)
        with pytest.raises(IndexFolderError, match=r"is full .*stays as it was.*run the build again"):
            clusters_build(table, settings)
    (orders / "full").unlink(missing_ok=True)
    assert not [path for path in (table.parent / "index").rglob("*.tmp*") if path.is_file()]
    report = clusters_build(table, settings)
    assert report.reused >= 4  # Two shards of two photographs.
    assert report.processed + report.reused == 10
    assert list_rows(table.parent / "index") == list_rows(ten / "index")


def raise_no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_error_in_a_worker_names_the_photograph(table: Path, settings: BuildSettings, orders: Path) -> None:
    (orders / "nonsense").touch()
    with pytest.raises(ModelError, match="fake tracker gave confidence") as raised:
        clusters_build(table, settings)
    assert "at work on r0" in raised.value.__notes__
    assert not isinstance(raised.value, ClusterError)


def test_models_that_no_worker_can_load(table: Path, settings: BuildSettings) -> None:
    with pytest.raises(ModelError, match="nowhere:Tracker cannot be imported"):
        clusters_build(table, replace(settings, propagator="nowhere:Tracker"))


def test_several_individuals_a_photograph(tmp_path: Path, settings: BuildSettings) -> None:
    table = a_collection_of_trays(tmp_path)
    build_trays(table, tmp_path / "plain")
    build_trays(table, tmp_path / "index", replace(TRAYS, ray=settings.ray))
    rows = list_rows(tmp_path / "index")
    assert len({row["individual"] for row in rows}) > len({row["photograph"] for row in rows})
    assert rows == list_rows(tmp_path / "plain")


def test_what_draws_outlines_on_the_workers_is_in_the_provenance(tmp_path: Path, settings: BuildSettings) -> None:
    table = a_collection_of_trays(tmp_path)
    build_trays(table, tmp_path / "index", replace(TRAYS, finder="trays:OutliningBlobFinder", ray=settings.ray))
    with open_index(tmp_path / "index") as index:
        assert index.info()["provenance"]["outlines"]["name"] == "pencil"


def test_outlines_that_workers_cannot_draw_are_an_error(tmp_path: Path, settings: BuildSettings) -> None:
    table = a_collection_of_trays(tmp_path)
    with pytest.raises(ModelError, match="there are no outlines 'pencil'"):
        build_trays(table, tmp_path / "index", replace(TRAYS, outlines="pencil", ray=settings.ray))


def test_a_second_pass(tmp_path: Path, settings: BuildSettings) -> None:
    table = shade_collection(tmp_path / "shades")
    build_shades(table, tmp_path / "plain")
    build_shades(table, tmp_path / "index", replace(SECOND, ray=settings.ray))
    assert list_rows(tmp_path / "index") == list_rows(tmp_path / "plain")


@pytest.mark.parametrize("individuals", ["one", "many"])
def test_photographs_of_a_store_are_fetched_by_who_needs_them(
    tmp_path: Path, settings: BuildSettings, orders: Path, monkeypatch: pytest.MonkeyPatch, individuals: str
) -> None:
    monkeypatch.setenv(ORDERS, str(orders))
    many = individuals == "many"
    table = a_collection_of_trays(tmp_path) if many else a_collection_of(tmp_path)
    build, plain = (build_trays, TRAYS) if many else (build_fake, replace(FAKES, propagator=settings.propagator))
    build(table, tmp_path / "plain", plain)
    shutil.move(tmp_path / "images", orders / "store" / "images")
    for path in (orders / "store" / "images").iterdir():
        os.utime(path, (1.6e9, 1.6e9))  # What changed a moment ago is read again, whatever its size and time.
    copies = tmp_path / "copies"
    on_ray = replace(plain, ray=settings.ray, store="museum://", images=copies)
    build(table, tmp_path / "index", on_ray)
    assert list_rows(tmp_path / "index") == list_rows(tmp_path / "plain")
    fetched = [line.split() for line in (orders / "fetched").read_text().splitlines()]
    names = {path.name for path in (orders / "store" / "images").iterdir()}
    assert {name for _, name in fetched} == names
    supports = {path.stem for path in (tmp_path / "supports").iterdir()}
    own = {Path(name).stem for process, name in fetched if int(process) == os.getpid()}
    assert own <= supports  # The driver opens no others.
    shutil.rmtree(copies)
    (orders / "fetched").unlink()
    again = build(table, tmp_path / "index", on_ray)
    assert (again.processed, again.reused) == (0, len(names))
    fetched = [line.split() for line in (orders / "fetched").read_text().splitlines()]
    assert {Path(name).stem for _, name in fetched} <= supports


def test_photographs_are_hashed_by_workers(
    table: Path, settings: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = sorted((table.parent / "images").iterdir())
    for number, photograph in enumerate(photographs):
        os.utime(photograph, (1e9 + number, 1e9 + number))
    late, gone = photographs[1], photographs[2]
    os.utime(
        late, (time.time() + 600,) * 2
    )  # It may be written again within a tick of the clock: whoever asks reads it then.
    asked: list[Path] = []
    monkeypatch.setattr(clusters, "HASHED_AT_ONCE", 3)
    done: list[tuple[int, int]] = []
    with open_cluster(settings, finder=False) as runner:
        hashed = runner.hash_ahead(
            photographs, lambda path: asked.append(path) or content_hash(path), lambda *now: done.append(now)
        )
    assert done == [(3, 10), (6, 10), (9, 10), (10, 10)]
    assert [hashed(each) for each in photographs] == [content_hash(each) for each in photographs]
    assert asked == [late]
    gone.write_bytes(b"another")
    assert hashed(gone) == content_hash(gone)
    assert asked == [late, gone]


# ----------------------------------------------------------------------------------------------- without a cluster


def test_ray_is_not_installed(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(ray_cluster.importlib, "import_module", lambda name: fail(name) if name == "ray" else None)
    with pytest.raises(ClusterError, match=r"pip install 'sst-retrieval\[ray\]'"):
        clusters_build(table, replace(FAKES, ray="local"))
    assert not (table.parent / "index").exists()


def test_a_propagator_that_follows_the_order_of_the_table() -> None:
    settings = BuildSettings(propagator="sam2-video", ray="local")
    with pytest.raises(InputError, match="sam2-video a mask depends"), open_cluster(settings, finder=False):
        pass


def test_a_machine_that_does_not_share_the_folders(ten: Path, tmp_path: Path) -> None:
    manifest = hashlib.sha256((ten / "index" / "manifest.json").read_bytes()).hexdigest()
    photograph = ten / "images" / "r0.png"
    cluster_worker._require_shared_folders(SharedIndex(ten / "index", manifest, {}), photograph)
    with pytest.raises(ClusterError, match="does not see the index folder"):
        cluster_worker._require_shared_folders(SharedIndex(tmp_path, manifest, {}), photograph)
    with pytest.raises(ClusterError, match="does not see the index folder"):
        cluster_worker._require_shared_folders(SharedIndex(ten / "index", "another", {}), photograph)
    with pytest.raises(ClusterError, match="does not see the folder of the photographs"):
        cluster_worker._require_shared_folders(
            SharedIndex(ten / "index", manifest, {}), tmp_path / "nowhere" / "r0.png"
        )
