"""A pool of workers on a Ray cluster: which of them gets which call, and what becomes of the calls of one that dies."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from sst_retrieval.build.cluster_worker import RemoteMemory, WorkerDescription
from sst_retrieval.errors import ClusterError
from sst_retrieval.ray_cluster import import_ray
from sst_retrieval.types import Support

MAX_DEATHS = 3
"""Workers that may die at one call before it is given up."""

CALLS_AT_ONCE = 2
"""Calls that a worker has been given: one that it works on, and the next."""

PATIENCE = 300.0
"""Seconds without any worker after which a build gives up."""


class WorkerLostError(ClusterError):
    """Several workers died at the same call."""


@dataclass(eq=False, slots=True)
class _Call:
    """A call that some worker is to answer."""

    method: str
    arguments: tuple[Any, ...]
    answers: int = 1
    most_deaths: int = MAX_DEATHS
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

    def submit(self, method: str, *arguments: Any, answers: int = 1, deaths: int = MAX_DEATHS) -> Future[Any]:
        """Have a worker answer a call.

        Args:
            method: of `PhotographWorker`.
            arguments: of the method.
            answers: 2 of a method that returns a pair whose second part stays in the object store: the future then
                has the first part, and Ray's reference to the second.
            deaths: workers that may die at it before it is given up.

        Returns:
            Its answer; `WorkerLostError` if so many workers died at it.
        """
        call = _Call(method, arguments, answers, deaths)
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
        if first.method != "start" and first.deaths >= first.most_deaths:
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
