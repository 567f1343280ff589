"""A search that is divided among workers has the hits of one machine, to the last bit."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from coded import coded_index

from sst_retrieval import ray_cluster
from sst_retrieval.errors import ClusterError, IndexFolderError, QueryError
from sst_retrieval.index.reader import Reader
from sst_retrieval.search import distributed
from sst_retrieval.search.distributed import SearchCluster, SearchWorker, open_search_cluster
from sst_retrieval.search.index import Index, open_index

COUNT = 1500
EQUAL = slice(490, 520)
"""Equal ones, on both sides of where three workers divide."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coded_index(tmp_path_factory.mktemp("distributed") / "index", COUNT, EQUAL)


ASKED: list[Mapping[str, Any]] = [
    {"like": ("S0003", "wing")},
    {"like": ("S0003", "wing"), "k": 31},
    {"like": ("S0499", "wing"), "k": 10},
    {"like": ("S0003", "wing"), "where": "sex = 'male'"},
    {"like": ("S0003", "wing"), "where": "specimen > 'S1400'"},
    {"like": ("S0003", "wing"), "where": "false"},
    {"like": ("S0700", "wing"), "weights": {"colour": 1, "shape": 0.2}},
    {"like": [("S0700", "wing"), ("S0701", "wing")], "unlike": ("S0702", "wing"), "k": 400},
    {"like": ("S0700", "wing"), "expand": 3},
    {"like": ("S0700", "wing"), "rerank": 30},
    {"like": [("S0007", "head"), ("S0007", "wing")], "rerank": 30},
    {"like": ("S0700", "wing"), "among": np.arange(0, COUNT, 7)},
    {"like": ("S0007", "head")},
    {"like": ("S0007", "head"), "trait": "wing"},
    {"like": [("S0007", "head"), ("S0007", "wing")]},
]


def assert_same(cluster: SearchCluster, index: Index) -> None:
    expected = [index.search(**query) for query in ASKED]
    assert any(expected)
    for query, hits in zip(ASKED, expected, strict=True):
        assert cluster.search(**query) == hits
    assert list(cluster.search_many(ASKED)) == expected


# ----------------------------------------------------------------------------------------------- without a cluster


class LocalRay:
    """Calls workers in this process, with what they would get through a network; counts what travels."""

    def __init__(self) -> None:
        self.exceptions = SimpleNamespace(RayTaskError=(), RayError=())
        self.bytes: list[int] = []

    def put(self, value: Any) -> bytes:
        return pickle.dumps(value)

    def get(self, given: Any) -> Any:
        return [call() for call in given] if isinstance(given, list) else pickle.loads(given)

    def actor(self, worker: SearchWorker) -> Any:
        def remote(*arguments: Any) -> Any:
            sent = pickle.dumps(arguments)
            self.bytes.append(len(sent))
            return lambda: pickle.loads(pickle.dumps(worker.search(*pickle.loads(sent))))

        return SimpleNamespace(search=SimpleNamespace(remote=remote))


@pytest.fixture
def local_ray(monkeypatch: pytest.MonkeyPatch) -> LocalRay:
    ray = LocalRay()
    monkeypatch.setattr(distributed, "import_ray", lambda: ray)
    return ray


def open_locally(ray: LocalRay, index: Index, folder: Path, workers: int) -> SearchCluster:
    made = [SearchWorker(folder, index.state[0], number, workers) for number in range(workers)]
    assert sum(each.count()["wing"] for each in made) == COUNT
    return SearchCluster(index._reader, [ray.actor(each) for each in made])


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 400])
def test_hits_are_those_of_one_machine_however_many_workers(
    local_ray: LocalRay, folder: Path, index: Index, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if workers == 400:  # More workers than some traits have regions.
        monkeypatch.setitem(globals(), "ASKED", ASKED[-4:])
    assert_same(open_locally(local_ray, index, folder, workers), index)


def test_the_predicate_travels_not_the_regions(local_ray: LocalRay, folder: Path, index: Index) -> None:
    cluster = open_locally(local_ray, index, folder, 2)
    for where in ("true", "sex = 'male'", "specimen > 'S0001'"):
        cluster.search(like=("S0003", "wing"), where=where)
    assert len(local_ray.bytes) == 6
    assert max(local_ray.bytes) < 2000 < 8 * COUNT


def test_workers_know_the_reviews_of_the_driver(local_ray: LocalRay, tmp_path: Path) -> None:
    path = coded_index(tmp_path / "index", COUNT, EQUAL)
    with open_index(path) as index, open_index(path) as other:
        cluster = open_locally(local_ray, index, path, 3)
        first = [hit.specimen for hit in cluster.search(like=("S0003", "wing"), k=3)]
        index.review(first[0], "wing", "reject", reviewer="me")
        assert [hit.specimen for hit in cluster.search(like=("S0003", "wing"), k=2)] == first[1:]
        other.review(first[1], "wing", "reject", reviewer="somebody else")
        index.review(first[0], "wing", "reopen", reviewer="me")
        assert [hit.specimen for hit in cluster.search(like=("S0003", "wing"), k=2)] == [first[0], first[2]]
        assert_same(cluster, index)


def test_a_worker_opens_no_other_generation(folder: Path, index: Index) -> None:
    with pytest.raises(IndexFolderError, match="built again meanwhile; open it again"):
        SearchWorker(folder, index.state[0] + 1, 0, 2)


def test_ray_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(ray_cluster.importlib, "import_module", fail)
    with pytest.raises(ClusterError, match=r"pip install 'sst-retrieval\[ray\]'"), open_search_cluster(folder):
        pass


# --------------------------------------------------------------------------------------------------- with a cluster


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two nodes of one core each, on this computer."""
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'sst-retrieval[ray]')")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(distributed.__file__).parents[2]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        started.add_node(num_cpus=1)
        started.wait_for_nodes()
        try:
            yield started.address
        finally:
            started.shutdown()


def test_on_a_cluster(address: str, folder: Path, index: Index) -> None:
    import ray

    with open_search_cluster(folder, address=address) as cluster:
        assert cluster.workers == 2
        assert_same(cluster, index)
        with pytest.raises(QueryError, match="colour_of_wing"):
            cluster.search(like=("S0003", "wing"), where="colour_of_wing = 'red'")
        ray.kill(cluster._actors[0], no_restart=False)  # As if its machine had been lost.
        assert_same(cluster, index)
        ray.kill(cluster._actors[1])  # This one does not come back.
        with pytest.raises(ClusterError, match="a worker was lost and could not be started again"):
            cluster.search(like=("S0003", "wing"))


def test_a_machine_that_does_not_see_the_index(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = folder.with_name("hidden")
    hidden.symlink_to(folder)
    monkeypatch.setattr(distributed, "Reader", lambda store, generation: _remove_first(hidden, store, generation))
    with (
        pytest.raises(ClusterError, match="put the index on a file system that all machines"),
        open_search_cluster(hidden, address=address),
    ):
        pass


def _remove_first(link: Path, store: Any, generation: Any) -> Any:
    reader = Reader(store, generation)
    link.unlink()
    return reader
