"""Search on the machines of a Ray cluster: each worker searches a range of the regions, and the best are merged.

    with open_search_cluster("indexes/heliconius", address="auto") as cluster:
        hits = cluster.search(like=("CAM001", "forewing_band"), where="sex = 'female'")

1. Each worker (`SearchWorker`, an actor) opens the index folder, which all machines see at the same path, and answers
   for one range of the regions of each trait.
2. A query travels as its example vectors, weights and predicate; each worker resolves the predicate itself. With it
   go the reviews that the driver knows, once after each change, so that all judge by the same.
3. The neighbours come back with their exact scores. Merged by score, then region id, they are those of one machine.
4. A worker that dies is started again, on whatever machine has room, and asked again.

Queries for several traits at once rank individuals, not regions; they are answered by the driver alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import ClusterError, IndexFolderError, QueryError
from sst_retrieval.index.batch_search import BatchQuery, BatchSearch
from sst_retrieval.index.reader import Reader
from sst_retrieval.index.reviews import Review
from sst_retrieval.index.store import Store
from sst_retrieval.index.vectors import Neighbours
from sst_retrieval.ray_cluster import LOCAL, connect, import_ray
from sst_retrieval.search.many import answer_many
from sst_retrieval.search.query import Query
from sst_retrieval.search.retrieval import resolve_regions
from sst_retrieval.types import Hit

RESTARTS = 3
"""How often a worker that died is started again."""

KEPT = 4
"""Selections of regions that a worker keeps prepared."""


class SearchWorker:
    """Searches one range of the regions of each trait, in a process of its own; an actor of Ray."""

    def __init__(self, root: Path, generation: int, number: int, workers: int) -> None:
        """Open an index folder.

        Args:
            root: the folder, the same on all machines.
            generation: the one that the driver reads.
            number: of this worker, from 0.
            workers: how many there are.

        Raises:
            IndexFolderError: the folder cannot be read, or another generation is current.
        """
        store = Store.open(root)
        if store.generation is None or store.generation.number != generation:
            raise IndexFolderError(f"{root} was built again meanwhile; open it again")
        self._reader = Reader(store, store.generation)
        self._number, self._workers = number, workers
        self._reviews: Any = None
        self._prepared: dict[tuple[str, str | None, bytes | None], BatchSearch] = {}

    def count(self) -> dict[str, int]:
        """Count the regions of each trait that this worker answers for."""
        return {trait: len(self._select_range(trait)) for trait in self._reader.traits}

    def search(
        self,
        trait: str,
        where: str | None,
        among: npt.NDArray[np.int64] | None,
        queries: Sequence[BatchQuery],
        reviews: tuple[int, Sequence[Any]],
    ) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        """Search the range of this worker.

        Args:
            trait: name of the trait.
            where: the predicate.
            among: ids of the only regions that may be hits, as the user gave them.
            queries: what is searched for.
            reviews: number of the driver's record of reviews, and a reference to it; in a list, so that Ray does not
                fetch it for every call.

        Returns:
            Of each query the neighbours in this range: ids, scores and cosines as in `Neighbours`.

        Raises:
            QueryError: the predicate is not right.
        """
        state, (record,) = reviews
        if self._reviews != state:
            found: Sequence[Review] = import_ray().get(record)
            self._reader.catalog.apply_reviews(found)
            self._prepared.clear()
            self._reviews = state
        key = trait, where, None if among is None else among.tobytes()
        search = self._prepared.pop(key, None)
        if search is None:
            query = Query({trait: ()}, frozenset(), 1, where, {}, among)
            search = BatchSearch(self._reader.vector_indexes[trait], self._resolve(query, trait))
        self._prepared[key] = search  # The last one that was used comes last.
        while len(self._prepared) > KEPT:
            self._prepared.pop(next(iter(self._prepared)))
        return [(found.ids, found.scores, found.cosines) for found in search.search(queries)]

    def _resolve(self, query: Query, trait: str) -> npt.NDArray[np.int64]:
        own = self._select_range(trait)
        ids = resolve_regions(query, self._reader.catalog, trait)
        if ids is None or not len(own):
            return own
        first, last = np.searchsorted(ids, [own[0], own[-1] + 1])
        return ids[first:last]

    def _select_range(self, trait: str) -> npt.NDArray[np.int64]:
        ids = self._reader.vector_indexes[trait].ids
        start, stop = (len(ids) * edge // self._workers for edge in (self._number, self._number + 1))
        return ids[start:stop]


class SearchCluster:
    """An index that is searched by the workers of a cluster. Hits are those of `Index.search`, to the last bit."""

    def __init__(self, reader: Reader, actors: Sequence[Any]) -> None:
        """Use `open_search_cluster`."""
        self._ray, self._reader, self._actors = import_ray(), reader, actors
        self._reviews: Any = None
        self._sent: tuple[int, list[Any]] = (0, [])

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(self._actors)

    def search(self, **arguments: Any) -> list[Hit]:
        """Find the specimens whose trait is most similar to a query; takes the arguments of `Index.search`.

        Raises:
            QueryError: as `Index.search`.
            ClusterError: a worker was lost and could not be started again.
        """
        (hits,) = self.search_many([arguments])
        return hits

    def search_many(self, queries: Iterable[Mapping[str, Any]], **shared: Any) -> Iterator[list[Hit]]:
        """Search with many queries; takes the arguments of `Index.search_many`, without `device`.

        Yields:
            The hits of each query.

        Raises:
            QueryError: as `Index.search_many`.
            ClusterError: a worker was lost and could not be started again.
        """
        return answer_many(self._reader, queries, lambda trait, query: _RemoteSearch(self, trait, query), shared)

    def ask(self, trait: str, query: Query, queries: Sequence[BatchQuery]) -> list[Neighbours]:
        """Have every worker search its range, and merge what they found by score, then region id."""
        ray, reviews = self._ray, self._send_reviews()
        among = None if query.among is None else np.unique(query.among)
        waiting = [each.search.remote(trait, query.where, among, queries, reviews) for each in self._actors]
        try:
            found = ray.get(waiting)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, QueryError | IndexFolderError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"a worker was lost and could not be started again ({type(error).__name__}: {error}); open the index "
                "again when the cluster has room"
            ) from error
        return [_merge(parts, one.k) for one, parts in zip(queries, zip(*found, strict=True), strict=True)]

    def _send_reviews(self) -> tuple[int, list[Any]]:
        """Return the number of the record of reviews that the driver has applied, and a reference to the record."""
        reader = self._reader
        if self._reviews is not reader.catalog.region_reviews:
            with reader.review_lock:  # The driver applies the same record, which another program may have added to.
                record = reader.record()
                reader.catalog.apply_reviews(record)
                self._reviews = reader.catalog.region_reviews
            self._sent = self._sent[0] + 1, [self._ray.put(record)]
        return self._sent


class _RemoteSearch:
    """The search among the regions that a query asks, on the workers."""

    def __init__(self, cluster: SearchCluster, trait: str, query: Query) -> None:
        self._cluster, self._trait, self._query = cluster, trait, query

    def search(self, queries: Sequence[BatchQuery]) -> list[Neighbours]:
        """Find the regions most like each query."""
        return self._cluster.ask(self._trait, self._query, queries)


def _merge(parts: Sequence[tuple[Any, Any, Any]], k: int) -> Neighbours:
    """Merge the neighbours that several workers found: the k best, equals by region id."""
    ids, scores, cosines = (np.concatenate([part[number] for part in parts]) for number in range(3))
    best = np.lexsort((ids, -scores))[:k]
    return Neighbours(ids[best], scores[best], cosines[best])


@contextmanager
def open_search_cluster(
    path: str | Path, *, address: str = LOCAL, workers: int | None = None
) -> Iterator[SearchCluster]:
    """Open an index to search it on a Ray cluster (a context manager); extra `ray`.

    Args:
        path: the index folder, on a file system that all machines mount at the same path.
        address: "local" to start Ray on this computer, "auto" for the cluster that this computer belongs to, or the
            address of a cluster's head, HOST:PORT. Where this process is connected to Ray, that is used.
        workers: how many there are; None for one a core of the cluster.

    Raises:
        ClusterError: Ray is not installed, the cluster cannot be reached, or a machine does not see the index.
        IndexFolderError: the folder is not an index, is broken, or nothing was committed yet.
    """
    root = Path(path).absolute()
    store = Store.open(root)
    if store.generation is None:
        raise IndexFolderError(f"the first build of {path} has not finished; run it again, it goes on where it stopped")
    ray = import_ray()
    with Reader(store, store.generation) as reader:
        own = not ray.is_initialized()
        if own:
            connect(ray, address, max(os.cpu_count() or 1, workers or 1))
        actors: list[Any] = []
        try:
            count = workers or int(ray.cluster_resources().get("CPU", 0))
            if count < 1:
                raise ClusterError("no machine of the cluster offers a processor core; start Ray there with --num-cpus")
            remote = ray.remote(num_cpus=1, max_restarts=RESTARTS, max_task_retries=RESTARTS)(SearchWorker)
            actors = [remote.remote(root, store.generation.number, number, count) for number in range(count)]
            _wait_for(ray, actors, root)
            yield SearchCluster(reader, actors)
        finally:
            for actor in actors:
                ray.kill(actor)
            if own:
                ray.shutdown()


def _wait_for(ray: Any, actors: Sequence[Any], root: Path) -> None:
    """Wait until all workers have opened the index."""
    try:
        ray.get([actor.count.remote() for actor in actors])
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ClusterError(
            f"a worker cannot open {root}: {reason}; put the index on a file system that all machines of the cluster "
            "mount at the same path"
        ) from error
