"""Process photographs on the cores of several machines, on a Ray cluster.

1. `open_cluster` starts Ray on this computer, or connects to a cluster that runs (extra `ray`).
2. Each worker (`cluster_worker.PhotographWorker`) is an actor: a process with one core, or one graphics card, that
   loads the models once. `worker_pool.WorkerPool` gives it calls, two at a time, so that it never waits for one.
3. A worker that dies costs its call only: the call goes to another worker, and a new worker takes its place. A call at
   which `MAX_DEATHS` workers died is given up (`WorkerLostError`), and what it worked on is named and skipped.
4. Supports are remembered by a worker. The memory goes into Ray's object store once, and each worker fetches it once a
   group. If the machine that holds it is lost, a worker makes it anew.
5. Workers also hash the photographs that are new or changed, before the plan is made (`ClusterRunner.hash_ahead`).
6. Results come back in the order of the photographs (`ClusterRunner.process`), and the driver writes them as shards.
   Small pictures are written by the workers, into the index folder that all machines share.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from sst_retrieval.build.cluster_worker import PhotographWorker, RemoteMemory, SharedIndex
from sst_retrieval.build.photographs import Batch, PhotographRows
from sst_retrieval.build.second_pass import UNORDERED
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.build.worker_pool import WorkerLostError, WorkerPool
from sst_retrieval.build.workers import count_cores
from sst_retrieval.engines import Engines
from sst_retrieval.errors import ClusterError, InputError
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.ray_cluster import LOCAL, connect, import_ray
from sst_retrieval.types import Detection, FeatureGrid, Propagated, RGBImage, Skipped, Support

WINDOW = 8
"""Batches per worker that are started before the result of the oldest is taken; so many wait for a slow photograph."""

GROUPS_AHEAD = 4
"""Groups whose supports are remembered at the same time, while photographs of earlier groups are in process."""

HASHED_AT_ONCE = 64
"""Photographs that a worker hashes in one call."""


class RemotePropagator:
    """The propagator of the workers (a `Propagator`).

    Attributes:
        name, batch: the propagator's own.
    """

    def __init__(self, pool: WorkerPool, about: Mapping[str, Any]) -> None:
        """Take over what a worker says about its propagator."""
        self._pool = pool
        self.name: str = about["name"]
        self.batch: int = about["batch"]

    def remember(self, supports: Sequence[Support]) -> RemoteMemory:
        """Have a worker encode the supports of a group."""
        return self._pool.remember("remember", supports)

    def propagate(self, memory: RemoteMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Have a worker find the traits on images."""
        found: list[Propagated] = self._pool.submit("propagate", memory, list(images)).result()
        return found


class RemoteEmbedder:
    """The embedder of the workers, as far as a build needs it away from them: what it is.

    Attributes:
        name, dim, side: the embedder's own.
    """

    def __init__(self, about: Mapping[str, Any]) -> None:
        """Take over what a worker says about its embedder."""
        self.name: str = about["name"]
        self.dim: int = about["dim"]
        self.side: int = about["side"]

    def features(self, images: Sequence[RGBImage]) -> list[FeatureGrid]:
        """Regions are described where their photographs are processed."""
        raise RuntimeError("the embedder is on the workers")


class RemoteFinder:
    """The finder of the workers, as far as a build needs it away from them.

    Attributes:
        name, compares_groups: the finder's own.
    """

    def __init__(self, pool: WorkerPool, about: Mapping[str, Any]) -> None:
        """Take over what a worker says about its finder."""
        self._pool = pool
        self.name: str = about["name"]
        self.compares_groups: bool = about["compares_groups"]

    def remember(self, supports: Sequence[Support]) -> RemoteMemory:
        """Have a worker encode the annotated individuals of a group."""
        return self._pool.remember("remember_individuals", supports)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the pool behind on the way to a worker, which puts its own finder in the place of this one."""
        return {"name": self.name}

    def find(self, memory: Any, image: RGBImage) -> list[Detection]:
        """Individuals are found where their photographs are processed."""
        raise RuntimeError("the finder is on the workers")


class ClusterRunner:
    """Processes the photographs of a build on a cluster (see `build.runner`).

    Attributes:
        engines: the models of the workers.
        workers: how many photographs are processed at the same time.
        groups_ahead: how many groups are prepared at the same time.
    """

    def __init__(self, pool: WorkerPool, names: tuple[str, str], workers: int) -> None:
        """Take a pool of workers.

        Args:
            pool: the workers.
            names: of propagator and embedder, as on the command line.
            workers: how many there are.

        Raises:
            ModelError: they cannot load the models.
            ClusterError: none of them could start.
        """
        about = pool.description
        self._pool = pool
        self.workers = workers
        self.groups_ahead = GROUPS_AHEAD
        self.engines = Engines(
            cast(Any, RemotePropagator(pool, about.propagator)),
            RemoteEmbedder(about.embedder),
            names,
            about.weights,
            f"{about.device} of {workers} workers on Ray",
            None if about.finder is None else RemoteFinder(pool, about.finder),
        )

    def hash_ahead(
        self,
        photographs: Sequence[Path],
        hash_content: Callable[[Path], str],
        progress: Callable[[int, int], None],
    ) -> Callable[[Path], str]:
        """Have the workers hash photographs, as `build.runner.Runner.hash_ahead`; what they cannot read is left out."""
        parts = [photographs[first : first + HASHED_AT_ONCE] for first in range(0, len(photographs), HASHED_AT_ONCE)]
        ahead: dict[Path, tuple[int, int, str]] = {}
        done = 0
        for part, future in [(part, self._pool.submit("hash", part)) for part in parts]:
            for photograph, hashed in zip(part, future.result(), strict=True):
                if hashed is not None:
                    ahead[photograph] = hashed
            done += len(part)
            progress(done, len(photographs))

        def hash_or_look_up(photograph: Path) -> str:
            if photograph in ahead:
                size, changed, content = ahead[photograph]
                found = photograph.stat()
                if (found.st_size, found.st_mtime_ns) == (size, changed):
                    return content
            return hash_content(photograph)

        return hash_or_look_up

    def process(self, batches: Iterable[Batch], paths: IndexPaths) -> Generator[list[PhotographRows | Skipped]]:
        """Process batches of photographs on the workers.

        Args:
            batches: taken one by one, while the workers run.
            paths: of the index.

        Yields:
            What is kept of the photographs of each batch, in the order of the batches.
        """
        ray = import_ray()
        index = SharedIndex(paths.root.absolute(), hashlib.sha256(paths.manifest_file.read_bytes()).hexdigest())
        pending: deque[tuple[Batch, Any, Future[list[PhotographRows | Skipped]]]] = deque()
        known: tuple[Mapping[str, Support], Any] | None = None

        def finish() -> list[PhotographRows | Skipped]:
            batch, context, future = pending.popleft()
            try:
                return future.result()
            except WorkerLostError as error:
                return self._process_singly(batch, context, index, error)

        for batch in batches:
            if known is None or known[0] is not batch.annotations:  # Another group.
                known = batch.annotations, ray.put(replace(batch, tasks=()))
            future = self._pool.submit("process", batch.tasks, [known[1]], index)
            pending.append((batch, known[1], future))
            while len(pending) >= WINDOW * self.workers or (pending and pending[0][2].done()):
                yield finish()
        while pending:
            yield finish()

    def _process_singly(
        self, batch: Batch, context: Any, index: SharedIndex, error: WorkerLostError
    ) -> list[PhotographRows | Skipped]:
        """Process the photographs of a batch at which workers died one by one; skip the one that is to blame."""
        if len(batch.tasks) == 1:
            return [Skipped(batch.tasks[0].photograph.id, "propagation", str(error))]
        results: list[PhotographRows | Skipped] = []
        for task in batch.tasks:
            try:
                results += self._pool.submit("process", [task], [context], index).result()
            except WorkerLostError as own:
                results.append(Skipped(task.photograph.id, "propagation", str(own)))
        return results


@contextmanager
def open_cluster(settings: BuildSettings, *, finder: bool) -> Iterator[ClusterRunner]:
    """Start workers on a Ray cluster, and end them (a context manager).

    Args:
        settings: of the build; `ray` is "local" to start Ray on this computer, "auto" to find the cluster that this
            computer belongs to, or the address of a cluster's head, HOST:PORT. `workers` is how many processes there
            are, None for one a core, or one a graphics card where the cluster has any and `device` allows it.
        finder: whether photographs may show several individuals.

    Raises:
        ClusterError: Ray is not installed, or the cluster cannot be reached or has no room.
        InputError: the propagator follows the order of the table.
        ModelError: the workers cannot load the models.
    """
    if settings.propagator in UNORDERED:
        raise InputError(
            f"--ray {settings.ray}: with --propagator {settings.propagator} a mask depends on the photographs before "
            "it, so that a group cannot be divided among workers; leave out --ray, or choose another propagator"
        )
    ray = import_ray()
    own = not ray.is_initialized()
    if own:
        connect(ray, settings.ray or LOCAL, max(count_cores(), settings.workers or 1))
    try:
        resources = ray.cluster_resources()
        cards = int(resources.get("GPU", 0))
        on_cards = settings.device.startswith("cuda") or (settings.device == "auto" and cards > 0)
        if settings.device.startswith("cuda") and not cards:
            raise ClusterError(f"--device {settings.device}: no machine of the cluster has a graphics card")
        count = settings.workers or (cards if on_cards else int(resources.get("CPU", 0)))
        if count < 1:
            raise ClusterError("no machine of the cluster offers a processor core; start Ray there with --num-cpus")
        remote = ray.remote(num_cpus=1, num_gpus=1 if on_cards else 0, max_restarts=0)(PhotographWorker)
        pool = WorkerPool(lambda: remote.remote(settings, finder=finder), count)
        try:
            yield ClusterRunner(pool, (settings.propagator, settings.embedder), count)
        finally:
            pool.close()
    finally:
        if own:
            ray.shutdown()
