"""Process photographs on the cores of several machines, on a Ray cluster.

1. `open_cluster` starts Ray on this computer, or connects to a cluster that runs (extra `ray`).
2. Each worker (`cluster_worker.PhotographWorker`) is an actor: a process with one core, or one graphics card, that
   loads the models once. `worker_pool.WorkerPool` gives it calls, two at a time, so that it never waits for one.
3. A worker that dies costs its call only: the call goes to another worker, and a new worker takes its place. A call at
   which `MAX_DEATHS` workers died is given up (`WorkerLostError`), and what it worked on is named and skipped.
4. Supports are remembered by a worker. The memory goes into Ray's object store once, and each worker fetches it once a
   group. If the machine that holds it is lost, a worker makes it anew.
5. Workers also hash the photographs that are new or changed, before the plan is made (`ClusterRunner.hash_ahead`).
6. What is said of a photograph comes back in the order of the table (`ClusterRunner.process`). Its rows and its small
   pictures stay in the object store until there are enough for a shard; then a worker writes that, into the index
   folder that all machines share. The driver reserves its number and puts it into its place, so shards are in the order
   of the table. Rows that were lost with a machine are made again.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from sst_retrieval.build.cluster_worker import (
    FETCH_SECONDS,
    PhotographWorker,
    Processed,
    RemoteMemory,
    RowsLostError,
    SharedIndex,
    write_processed,
)
from sst_retrieval.build.photographs import Batch, PhotographDone, PhotographRows
from sst_retrieval.build.second_pass import UNORDERED
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.build.shard_writer import ShardWriter
from sst_retrieval.build.worker_pool import MAX_DEATHS, WorkerLostError, WorkerPool
from sst_retrieval.build.workers import count_cores
from sst_retrieval.engines import Engines
from sst_retrieval.errors import ClusterError, InputError, SSTError
from sst_retrieval.fetch.copies_on_demand import CopiesOnDemand, StoredPhotograph
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.photograph_hashes import get_file_state
from sst_retrieval.index.staged_shards import StagedShard, remove_staged
from sst_retrieval.ray_cluster import LOCAL, connect, import_ray
from sst_retrieval.types import Detection, FeatureGrid, Propagated, RGBImage, Skipped, Support

WINDOW = 8
"""Batches per worker that are started before the result of the oldest is taken; so many wait for a slow photograph."""

BUNDLE = 4
"""Batches that go to a worker in one call, once each worker has had `WINDOW`: a call costs this process a millisecond
or two, whatever is in it."""

SHARDS_AT_ONCE = 4
"""Shards that are written at the same time."""

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
        name, compares_groups, outlines: the finder's own; outlines None if it has none.
    """

    def __init__(self, pool: WorkerPool, about: Mapping[str, Any]) -> None:
        """Take over what a worker says about its finder."""
        self._pool = pool
        self.name: str = about["name"]
        self.compares_groups: bool = about["compares_groups"]
        self.outlines: Mapping[str, str] | None = about["outlines"]

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

    def __init__(
        self, pool: WorkerPool, names: tuple[str, str], workers: int, copies: CopiesOnDemand | None = None
    ) -> None:
        """Take a pool of workers.

        Args:
            pool: the workers.
            names: of propagator and embedder, as on the command line.
            workers: how many there are.
            copies: what the build knows of photographs in a store; None if they lie on a disk.

        Raises:
            ModelError: they cannot load the models.
            ClusterError: none of them could start.
        """
        about = pool.description
        self._pool, self._stored = pool, {} if copies is None else copies.photographs
        self._get_state = get_file_state if copies is None else copies.get_state
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
        for part, future in [(part, self._hash(part)) for part in parts]:
            for photograph, hashed in zip(part, future.result(), strict=True):
                if hashed is not None:
                    ahead[photograph] = hashed
            done += len(part)
            progress(done, len(photographs))

        def hash_or_look_up(photograph: Path) -> str:
            if photograph in ahead:
                *state, content = ahead[photograph]
                if self._get_state(photograph) == tuple(state):
                    return content
            return hash_content(photograph)

        return hash_or_look_up

    def _hash(self, photographs: Sequence[Path]) -> Future[list[tuple[int, int, str] | None]]:
        return self._pool.submit("hash", photographs, _select(self._stored, photographs))

    def process(
        self, batches: Iterable[Batch], paths: IndexPaths, shards: ShardWriter
    ) -> Generator[Sequence[PhotographRows | PhotographDone | Skipped]]:
        """Process batches of photographs on the workers, which write the shards, too.

        Args:
            batches: taken one by one, while the workers run.
            paths: of the index.
            shards: says when a shard is due, reserves its number, and puts it into its place.

        Yields:
            What is said of the photographs of each batch, in the order of the batches.
        """
        manifest = hashlib.sha256(paths.manifest_file.read_bytes()).hexdigest()
        index = SharedIndex(paths.root.absolute(), manifest, dict(shards.blocks))
        run = _Run(self._pool, index, shards, self._stored)
        try:
            for bundle in _bundle(batches, WINDOW * self.workers):
                run.begin(bundle)
                while run.is_oldest_done(WINDOW * self.workers):
                    yield run.finish()
            while run.pending:
                yield run.finish()
            run.end()
        except (GeneratorExit, KeyboardInterrupt):  # A person stopped it: what was done is kept.
            run.end()
            raise
        except BaseException:
            run.salvage()
            raise


@dataclass(frozen=True, slots=True)
class _Begun:
    """Batches that a worker processes in one call.

    Attributes:
        batches: of one group.
        context: Ray's reference to what they have in common.
        answer: what is said of them, and Ray's reference to what is kept.
    """

    batches: Sequence[Batch]
    context: Any
    answer: Future[tuple[list[PhotographDone | Skipped], Any]]


@dataclass(frozen=True, slots=True)
class _Due:
    """A shard that a worker writes: its number, its notes, its batches with references to what is kept of them."""

    number: int
    notes: Mapping[str, Any]
    parts: Sequence[tuple[_Begun, Any]]
    answer: Future[StagedShard]


class _Run:
    """The photographs of a build on their way: in process, then in the object store, then in a shard.

    Attributes:
        pending: calls that were begun, oldest first.
    """

    def __init__(
        self, pool: WorkerPool, index: SharedIndex, shards: ShardWriter, stored: Mapping[Path, StoredPhotograph]
    ) -> None:
        self._pool, self._index, self._shards, self._stored = pool, index, shards, stored
        self._ray = import_ray()
        self._context: tuple[Mapping[str, Support], Any] | None = None
        self.pending: deque[_Begun] = deque()
        self._kept: list[tuple[_Begun, Any]] = []
        self._photographs = 0
        self._due: deque[_Due] = deque()

    def begin(self, batches: Sequence[Batch]) -> None:
        """Give batches of one group to the workers."""
        first = batches[0]
        if self._context is None or self._context[0] is not first.annotations:  # Another group.
            self._context = first.annotations, self._ray.put(replace(first, tasks=()))
        self.pending.append(self._submit(batches, self._context[1]))

    def is_oldest_done(self, most: int) -> bool:
        """Say whether the oldest call is done, or must be waited for because so many are pending."""
        return len(self.pending) >= most or (bool(self.pending) and self.pending[0].answer.done())

    def finish(self) -> list[PhotographDone | Skipped]:
        """Take the answer to the oldest call, and have a shard written if one is due."""
        begun = self.pending.popleft()
        results = []
        for part in self._process_again(begun):
            results += part.answer.result()[0]
            self._keep(part)
        if self._shards.is_due(self._photographs):
            self._write()
        while self._due and (len(self._due) > SHARDS_AT_ONCE or self._due[0].answer.done()):
            self._adopt()
        return results

    def end(self) -> None:
        """Have written what is kept, and put all shards into their places."""
        self._write()
        while self._due:
            self._adopt()

    def salvage(self) -> None:
        """Put shards that are being written into their places, as far as possible; remove the others."""
        with suppress(SSTError):
            while self._due:
                self._adopt()
        for due in self._due:
            with suppress(SSTError):  # What a worker could not write has left nothing.
                remove_staged(due.answer.result())

    def _process_again(self, begun: _Begun) -> list[_Begun]:
        """Wait for a call; what workers died at is processed photograph by photograph."""
        try:
            begun.answer.result()
            return [begun]
        except WorkerLostError as error:
            single = [replace(batch, tasks=[task]) for batch in begun.batches for task in batch.tasks]
            if len(single) == 1:
                answer: Future[Any] = Future()
                answer.set_result(([Skipped(single[0].tasks[0].photograph.id, "propagation", str(error))], None))
                return [replace(begun, answer=answer)]
            again = [self._submit([batch], begun.context) for batch in single]
            return [part for each in again for part in self._process_again(each)]

    def _submit(self, batches: Sequence[Batch], context: Any) -> _Begun:
        parts = [batch.tasks for batch in batches]
        stored = _select(self._stored, [task.photograph.image for tasks in parts for task in tasks])
        # Several are taken apart at the first death: it may be of one of them, which costs the others nothing then.
        deaths = MAX_DEATHS if len(parts) == 1 else 1
        answer = self._pool.submit("process", parts, [context], self._index, stored, answers=2, deaths=deaths)
        return _Begun(batches, context, answer)

    def _keep(self, done: _Begun) -> None:
        results, reference = done.answer.result()
        if photographs := sum(isinstance(each, PhotographDone) for each in results):
            self._kept.append((done, reference))
            self._photographs += photographs

    def _write(self) -> None:
        """Have a worker write what is kept as a shard."""
        if not self._kept:
            return
        number, notes = self._shards.reserve()
        references = [reference for _, reference in self._kept]
        answer = self._pool.submit("write_shard", references, notes, self._index)
        self._due.append(_Due(number, notes, self._kept, answer))
        self._kept, self._photographs = [], 0

    def _adopt(self) -> None:
        """Put the oldest shard into its place; if its worker cannot write it, this process does."""
        due = self._due.popleft()
        try:
            staged = due.answer.result()
        except (WorkerLostError, RowsLostError):
            staged = write_processed([self._fetch(*part) for part in due.parts], due.notes, self._index)
        self._shards.adopt(staged, due.number)

    def _fetch(self, done: _Begun, reference: Any) -> Processed:
        """Fetch what is kept of a batch; what was lost with its machine is processed again."""
        for _ in range(MAX_DEATHS):
            try:
                kept: Processed = self._ray.get(reference, timeout=FETCH_SECONDS)
                return kept
            except self._ray.exceptions.RayError:
                _, reference = self._submit(done.batches, done.context).answer.result()
        raise ClusterError("machines are lost faster than photographs are processed; look after the cluster")


def _bundle(batches: Iterable[Batch], singly: int) -> Iterator[list[Batch]]:
    """Put batches of one group together, so many first ones singly; those that may show many individuals stay alone."""
    bundle: list[Batch] = []
    for number, batch in enumerate(batches):
        if bundle and (bundle[0].annotations is not batch.annotations or len(bundle) == BUNDLE):
            yield bundle
            bundle = []
        bundle.append(batch)
        if number < singly or batch.group_finder is not None:
            yield bundle
            bundle = []
    if bundle:
        yield bundle


def _select(stored: Mapping[Path, StoredPhotograph], paths: Sequence[Path]) -> dict[Path, StoredPhotograph]:
    """Select what the store said of some photographs."""
    return {path: stored[path] for path in paths if path in stored}


@contextmanager
def open_cluster(
    settings: BuildSettings, *, finder: bool, copies: CopiesOnDemand | None = None
) -> Iterator[ClusterRunner]:
    """Start workers on a Ray cluster, and end them (a context manager).

    Args:
        settings: of the build; `ray` is "local" to start Ray on this computer, "auto" to find the cluster that this
            computer belongs to, or the address of a cluster's head, HOST:PORT. `workers` is how many processes there
            are, None for one a core, or one a graphics card where the cluster has any and `device` allows it.
        finder: whether photographs may show several individuals.
        copies: what the build knows of photographs in a store, which workers copy when they need them; None if they lie
            on a disk.

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
        folder = None if copies is None else copies.folder
        pool = WorkerPool(lambda: remote.remote(settings, finder=finder, copies=folder), count)
        try:
            yield ClusterRunner(pool, (settings.propagator, settings.embedder), count, copies)
        finally:
            pool.close()
    finally:
        if own:
            ray.shutdown()
