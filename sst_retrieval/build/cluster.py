"""Process photographs on the cores of several machines: a pool of worker processes on a Ray cluster.

1. `open_cluster` starts Ray on this computer, or connects to a cluster that runs (extra `ray`).
2. Each worker (`PhotographWorker`) is an actor: a process with one core, or one graphics card, that loads the models
   once. `WorkerPool` gives it calls, two at a time, so that it never waits for the next one.
3. A worker that dies costs its call only: the call goes to another worker, and a new worker takes its place. A call at
   which `MAX_DEATHS` workers died is given up (`WorkerLostError`), and what it worked on is named and skipped.
4. Supports are remembered by a worker. The memory goes into Ray's object store once, and each worker fetches it once a
   group. If the machine that holds it is lost, a worker makes it anew.
5. Workers also hash the photographs that are new or changed, before the plan is made (`ClusterRunner.hash_ahead`).
6. Results come back in the order of the photographs (`ClusterRunner.process`), and the driver writes them as shards.
   Small pictures are written by the workers, into the index folder that all machines share.

A worker computes on one thread, as each thread of a build on one computer does where there is one a core
(`build.workers`): masks, vectors and confidences are the same to the last bit on processors of one kind.
"""

from __future__ import annotations

import hashlib
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from sst_retrieval import provenance
from sst_retrieval.build.photographs import Batch, PhotographRows, process_batch
from sst_retrieval.build.plan import Task
from sst_retrieval.build.second_pass import UNORDERED
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.build.workers import PixelBudget, count_cores, use_one_thread
from sst_retrieval.engines import Engines, load_engines
from sst_retrieval.errors import ClusterError, ImageError, InputError
from sst_retrieval.find.contract import compares_groups
from sst_retrieval.imaging.images import content_hash
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.photograph_hashes import SETTLED
from sst_retrieval.ray_cluster import LOCAL, connect, import_ray
from sst_retrieval.track.contract import get_batch_size
from sst_retrieval.track.second_pass import TwoPassMemory
from sst_retrieval.types import Detection, FeatureGrid, Propagated, RGBImage, Skipped, Support

MAX_DEATHS = 3
"""Workers that may die at one call before it is given up."""

CALLS_AT_ONCE = 2
"""Calls that a worker has been given: one that it works on, and the next."""

WINDOW = 8
"""Batches per worker that are started before the result of the oldest is taken; so many wait for a slow photograph."""

GROUPS_AHEAD = 4
"""Groups whose supports are remembered at the same time, while photographs of earlier groups are in process."""

HASHED_AT_ONCE = 64
"""Photographs that a worker hashes in one call."""

PATIENCE = 300.0
"""Seconds without any worker after which a build gives up."""

FETCH_SECONDS = 120.0
"""Seconds after which a worker makes a memory anew that it cannot fetch."""


PROGRAMS = ("sst-retrieval", "numpy", "pillow", "scikit-image", "scipy", "torch")
"""Packages whose versions must be the same on all machines."""


class WorkerLostError(ClusterError):
    """Several workers died at the same call."""


@dataclass(frozen=True, slots=True)
class RemoteMemory:
    """A memory of supports in Ray's object store.

    Attributes:
        traits: names of the traits; empty for a finder's memory.
        reference: Ray's reference to the memory, which lies on the machine of the worker that made it.
        supports: Ray's reference to what it was made of, which lies on the driver's machine.
    """

    traits: tuple[str, ...]
    reference: Any
    supports: Any


@dataclass(frozen=True, slots=True)
class WorkerDescription:
    """What a worker says about itself when its models are loaded.

    Attributes:
        node: address of its machine.
        programs: versions on which masks and vectors depend.
        recipe: of its models (`Engines.recipe`).
        weights, device: as `Engines`.
        propagator, embedder, finder: attributes of the models that a build asks for; no finder: None.
    """

    node: str
    programs: Mapping[str, str]
    recipe: Mapping[str, Any]
    weights: Mapping[str, Any]
    device: str
    propagator: Mapping[str, Any]
    embedder: Mapping[str, Any]
    finder: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class SharedIndex:
    """An index folder that workers write pictures to.

    Attributes:
        root: its path, the same on all machines.
        manifest: SHA-256 of its manifest, by which a worker sees that it is the same folder.
    """

    root: Path
    manifest: str


class PhotographWorker:
    """Processes photographs in a process of its own, one after the other; an actor of Ray."""

    def __init__(self, settings: BuildSettings, *, finder: bool) -> None:
        """Keep what the models are loaded by; `start` loads them.

        Args:
            settings: of the build.
            finder: whether photographs may show several individuals.
        """
        self._settings, self._finder = settings, finder
        self._budget = PixelBudget()
        self._index: SharedIndex | None = None
        self._context: tuple[str, Batch] | None = None
        self._engines: Engines | None = None

    def start(self) -> WorkerDescription:
        """Load the models.

        Raises:
            ModelError: as `load_engines`.
        """
        settings = self._settings
        engines = self._engines = load_engines(
            *(settings.propagator, settings.embedder, settings.device, settings.models),
            finder=settings.finder if self._finder else None,
            foreground=settings.foreground,
        )
        use_one_thread()
        propagator, embedder = engines.propagator, engines.embedder
        return WorkerDescription(
            node=platform.node(),
            programs=_list_programs(),
            recipe=engines.recipe(),
            weights=engines.weights,
            device=engines.device,
            propagator={"name": propagator.name, "batch": get_batch_size(propagator)},
            embedder={"name": embedder.name, "dim": embedder.dim, "side": embedder.side},
            finder=None
            if engines.finder is None
            else {"name": engines.finder.name, "compares_groups": compares_groups(engines.finder)},
        )

    def remember(self, supports: Sequence[Support]) -> tuple[tuple[str, ...], Any]:
        """Encode the supports of a group for the propagator: the traits, and the memory."""
        memory = self._loaded.propagator.remember(supports)
        return memory.traits, memory

    def remember_individuals(self, supports: Sequence[Support]) -> tuple[tuple[str, ...], Any]:
        """Encode the annotated individuals of a group for the finder: no traits, and the memory."""
        assert self._loaded.finder is not None
        return (), self._loaded.finder.remember(supports)

    def propagate(self, memory: RemoteMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find every trait of a memory on images."""
        propagator = self._loaded.propagator
        return propagator.propagate(_fetch(memory, propagator.remember), images)

    def hash(self, photographs: Sequence[Path]) -> list[tuple[int, int, str] | None]:
        """Hash the content of photographs: size, time of change and hash of each.

        None for one that cannot be read here, or may still be written (`index.photograph_hashes.SETTLED`).
        """
        return [_hash(photograph) for photograph in photographs]

    def process(
        self, tasks: Sequence[Task], context: Sequence[Any], index: SharedIndex
    ) -> list[PhotographRows | Skipped]:
        """Process the photographs of a batch (`build.photographs.process_batch`).

        Args:
            tasks: the photographs.
            context: one reference to the batch without its photographs; in a list, so that Ray does not fetch it for
                every call.
            index: where pictures are written.

        Raises:
            ClusterError: this machine does not see the index folder, or the folder of the photographs.
        """
        if self._index != index:
            _require_shared_folders(index, tasks[0].photograph.image)
            self._index = index
        batch = replace(self._fetch_context(context[0]), tasks=tasks)
        return process_batch(batch, self._loaded, IndexPaths(index.root), self._budget)

    @property
    def _loaded(self) -> Engines:
        assert self._engines is not None, "start comes first"
        return self._engines

    def _fetch_context(self, reference: Any) -> Batch:
        """Fetch what the photographs of a group have in common; the last one fetched is kept."""
        name = reference.hex()
        if self._context is None or self._context[0] != name:
            self._context = None  # The memory of the last group is released before the next one is fetched.
            self._context = name, self._fill(import_ray().get(reference))
        return self._context[1]

    def _fill(self, batch: Batch) -> Batch:
        """Put this worker's models and fetched memories into a batch."""
        models, group = self._loaded, batch.group_finder
        remember = models.propagator.remember
        memory: Any = batch.memory
        if isinstance(memory, TwoPassMemory):
            drawn, extended = (_fetch(cast(RemoteMemory, part), remember) for part in (memory.drawn, memory.extended))
            memory = TwoPassMemory(drawn, extended)
        else:
            memory = _fetch(memory, remember)
        if group is not None and models.finder is not None:
            own = _fetch(group.memory, models.finder.remember)
            group = replace(group, finder=models.finder, memory=own)
        return replace(batch, memory=memory, group_finder=group)


def _fetch(memory: RemoteMemory, remember: Callable[[Sequence[Support]], Any]) -> Any:
    """Fetch a memory from the object store; one that was lost with its machine is made anew."""
    ray = import_ray()
    try:
        return ray.get(memory.reference, timeout=FETCH_SECONDS)
    except ray.exceptions.RayError:
        return remember(ray.get(memory.supports))


def _hash(photograph: Path) -> tuple[int, int, str] | None:
    try:
        found, begun = photograph.stat(), time.time()
        if found.st_mtime_ns / 1e9 >= begun - SETTLED:
            return None
        return found.st_size, found.st_mtime_ns, content_hash(photograph)
    except (OSError, ImageError):
        return None


def _require_shared_folders(index: SharedIndex, photograph: Path) -> None:
    manifest = IndexPaths(index.root).manifest_file
    if not manifest.is_file() or hashlib.sha256(manifest.read_bytes()).hexdigest() != index.manifest:
        raise ClusterError(
            f"the machine {platform.node()} does not see the index folder {index.root}; put it on a file system that "
            "all machines of the cluster mount at the same path"
        )
    if not photograph.parent.is_dir():
        raise ClusterError(
            f"the machine {platform.node()} does not see the folder of the photographs {photograph.parent}; put it on "
            "a file system that all machines of the cluster mount at the same path"
        )


def _list_programs() -> dict[str, str]:
    """List the versions that must be the same on all machines."""
    versions = provenance.programs()["versions"]
    return {name: versions[name] for name in PROGRAMS if name in versions}


# ------------------------------------------------------------------------------------------------------- the driver


@dataclass(eq=False, slots=True)
class _Call:
    """A call that some worker is to answer."""

    method: str
    arguments: tuple[Any, ...]
    answers: int = 1
    deaths: int = 0
    future: Future[Any] = field(default_factory=Future)


@dataclass(eq=False, slots=True)
class _Worker:
    """A worker, and the calls that it was given, in their order."""

    actor: Any
    calls: deque[tuple[Any, _Call]] = field(default_factory=deque)
    started: bool = False


class WorkerPool:
    """Workers on a cluster, and the calls that wait for them. Several threads may submit calls."""

    def __init__(self, make_worker: Callable[[], Any], count: int) -> None:
        """Start workers.

        Args:
            make_worker: starts an actor and returns its handle.
            count: how many.
        """
        self._ray = import_ray()
        self._make_worker = make_worker
        self._changed = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._workers: list[_Worker] = []
        self._description: Future[WorkerDescription] = Future()
        self._failure: BaseException | None = None
        self._deaths_in_a_row, self._allowed_deaths = 0, MAX_DEATHS * (count + MAX_DEATHS)
        self._closed = False
        with self._changed:
            for _ in range(count):
                self._add_worker()
        self._thread = threading.Thread(target=self._run, name="ray workers", daemon=True)
        self._thread.start()

    @property
    def description(self) -> WorkerDescription:
        """What the first worker said about itself; waits for it.

        Raises:
            ModelError: it cannot load the models.
            ClusterError: no machine of the cluster had room for it.
        """
        try:
            return self._description.result(PATIENCE)
        except TimeoutError as error:
            raise ClusterError(
                f"no worker could start in {PATIENCE:.0f} s; the machines of the cluster are busy or too small "
                "(`ray status` shows them): free cores, or add machines"
            ) from error

    def submit(self, method: str, *arguments: Any, answers: int = 1) -> Future[Any]:
        """Have a worker answer a call.

        Args:
            method: of `PhotographWorker`.
            arguments: of the method.
            answers: 2 of a method that returns a pair whose second part stays in the object store: the future then
                has the first part, and Ray's reference to the second.

        Returns:
            Its answer; `WorkerLostError` if several workers died at it.
        """
        call = _Call(method, arguments, answers)
        with self._changed:
            if self._failure is not None:
                call.future.set_exception(self._failure)
            else:
                self._waiting.append(call)
                self._assign()
                self._changed.notify_all()
        return call.future

    def remember(self, method: str, supports: Sequence[Support]) -> RemoteMemory:
        """Have a worker make a memory of supports, and wait for it.

        Args:
            method: of `PhotographWorker`; it returns traits and memory.
            supports: of one group.
        """
        stored = self._ray.put(tuple(supports))
        traits, reference = self.submit(method, stored, answers=2).result()
        return RemoteMemory(traits, reference, stored)

    def close(self) -> None:
        """End all workers; calls that were not answered are cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        for call in self._take_calls():
            call.future.cancel()
        for worker in self._workers:
            self._ray.kill(worker.actor)

    def _add_worker(self) -> None:
        worker = _Worker(self._make_worker())
        call = _Call("start", ())
        worker.calls.append((worker.actor.start.remote(), call))
        self._workers.append(worker)

    def _assign(self) -> None:
        """Give waiting calls to workers that have fewer than `CALLS_AT_ONCE`, the idlest first."""
        for load in range(CALLS_AT_ONCE):
            for worker in self._workers:
                if not self._waiting:
                    return
                if worker.started and len(worker.calls) == load:
                    call = self._waiting.popleft()
                    method = getattr(worker.actor, call.method).options(num_returns=call.answers)
                    answer = method.remote(*call.arguments)
                    worker.calls.append((answer, call))

    def _run(self) -> None:
        try:
            while not self._closed:
                self._wait()
        except BaseException as error:  # Else whoever waits for a future would wait for ever.
            self._fail(error)

    def _wait(self) -> None:
        """Wait for an answer, and pass on all that are there."""
        with self._changed:
            first = {_first_reference(worker.calls[0][0]): worker for worker in self._workers if worker.calls}
            if not first:
                self._changed.wait(0.2)
                return
        references = list(first)
        if self._ray.wait(references, num_returns=1, timeout=0.2)[0]:
            ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
            for reference in ready:
                self._take_answer(first[reference])

    def _take_answer(self, worker: _Worker) -> None:
        if not worker.calls:
            return  # All calls were given up meanwhile.
        reference, call = worker.calls[0]
        ray = self._ray
        try:
            value = ray.get(_first_reference(reference))
        except ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else ClusterError(str(error))
            with self._changed:
                worker.calls.popleft()
                if call.method == "start":
                    self._fail(cause)
                else:
                    call.future.set_exception(cause)
                self._assign()
        except ray.exceptions.RayError as error:
            with self._changed:
                self._bury(worker, error)
                self._assign()
        else:
            with self._changed:
                worker.calls.popleft()
                if call.method == "start":
                    self._welcome(worker, value)
                else:
                    self._deaths_in_a_row = 0
                    call.future.set_result(value if call.answers == 1 else (value, reference[1]))
                self._assign()

    def _welcome(self, worker: _Worker, description: WorkerDescription) -> None:
        worker.started = True
        if not self._description.done():
            self._description.set_result(description)
            return
        first = self._description.result()
        for name in ("programs", "recipe", "device"):
            ours, theirs = getattr(first, name), getattr(description, name)
            if ours != theirs:
                self._fail(
                    ClusterError(
                        f"the machines {first.node} and {description.node} differ in {name}: {ours} and {theirs}; "
                        "install the same versions on all machines of the cluster"
                    )
                )

    def _bury(self, worker: _Worker, error: Exception) -> None:
        """Put the calls of a dead worker back; the first of them is the one that it worked on.

        Or the one before, if its answer was lost with the worker: it is asked again, and has one death too many.
        """
        reason = " ".join(str(error).split())
        _, first = worker.calls[0]
        first.deaths += 1
        self._deaths_in_a_row += 1
        calls = [call for _, call in worker.calls if call.method != "start"]
        if first.method != "start" and first.deaths >= MAX_DEATHS:
            calls.remove(first)
            first.future.set_exception(
                WorkerLostError(f"{first.deaths} workers died at it, one after the other; the last one: {reason}")
            )
        self._waiting.extendleft(reversed(calls))
        self._workers.remove(worker)
        self._ray.kill(worker.actor)  # An answer may be lost while its worker lives.
        if self._deaths_in_a_row > self._allowed_deaths:
            self._fail(
                ClusterError(
                    f"{self._deaths_in_a_row} workers died one after the other, and none has done anything; the last "
                    f"one: {reason}"
                )
            )
        else:
            self._add_worker()

    def _fail(self, error: BaseException) -> None:
        """Give all calls the same error, now and later."""
        with self._changed:
            self._failure = self._failure or error
            if not self._description.done():
                self._description.set_exception(error)
            for call in self._take_calls():
                call.future.set_exception(error)

    def _take_calls(self) -> list[_Call]:
        given = [call for worker in self._workers for _, call in worker.calls if call.method != "start"]
        calls = [*given, *self._waiting]
        for worker in self._workers:
            worker.calls.clear()
        self._waiting.clear()
        return calls


def _first_reference(answer: Any) -> Any:
    return answer[0] if isinstance(answer, list) else answer


# --------------------------------------------------------------------------------------------- models on the cluster


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
