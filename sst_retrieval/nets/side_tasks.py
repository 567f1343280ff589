"""Work that is made of many small independent pieces, on several threads, each of which computes on one core.

PyTorch spreads one convolution or product over its threads. Those of a small view are too small for that: on two
threads the support of a group took as long as on one. Pieces of it that do not need each other, side by side, take the
time of the longest chain instead. Every piece is computed on one thread, whatever the number of threads, so that the
result has the same bits on any number.

The threads are kept and used again: how many cores a thread computes on cannot be set without a moment in which threads
that start just then take that number, too (`nets.device.set_own_threads`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

import torch

from sst_retrieval.nets.device import set_own_threads

Result = TypeVar("Result")

MOST = 4
"""Threads of one caller: no work that uses this has more pieces than that at most times."""

MOST_OF_ALL = 64
"""Threads of all callers. Work of more waits until others are done."""


class SideTask(Generic[Result]):
    """A piece of work that a side thread does, or whoever needs its result first."""

    def __init__(self, compute: Callable[[], Result], owner: SideTasks) -> None:
        """Take what is called; `SideTasks.start` makes these."""
        self._compute, self._owner = compute, owner
        self._outcome: Future[Result] = Future()

    def result(self) -> Result:
        """Return the result: computed in the caller's thread, unless a side thread has begun; or raise its error."""
        if self._owner.withdraw(self):
            self.run()
        return self._outcome.result()

    def wait(self) -> Result:
        """Return the result that a side thread computes, or raise its error."""
        return self._outcome.result()

    def run(self) -> None:
        """Compute the result; an error is kept for `result`."""
        try:
            with torch.inference_mode():  # A setting of each thread.
                self._outcome.set_result(self._compute())
        except BaseException as error:  # Whoever asks for the result gets it.
            self._outcome.set_exception(error)

    def cancel(self) -> None:
        """Raise `CancelledError` where the result is asked for."""
        self._outcome.cancel()


class SideTasks:
    """Tasks and the threads that do them (a context manager). Without threads `SideTask.result` does them.

    Attributes:
        threads: how many there are.
    """

    def __init__(self, threads: int = 0) -> None:
        """Set how many threads there are; they begin with the `with` block."""
        self.threads = threads
        self._working: list[Future[None]] = []
        self._waiting: list[SideTask[Any]] = []
        self._urgent = 0  # So many tasks at the start of the list.
        self._closed = False
        self._changed = threading.Condition()

    def __enter__(self) -> SideTasks:
        """Begin."""
        self._working = [_threads.submit(self._work) for _ in range(self.threads)]
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for what is running, and start nothing more."""
        with self._changed:
            self._closed = True
            for task in self._waiting:
                task.cancel()
            self._waiting.clear()
            self._changed.notify_all()
        for working in self._working:
            if not working.cancel():  # It waited for a thread: too many callers.
                working.result()

    def start(self, compute: Callable[[], Result], *, urgent: bool = False) -> SideTask[Result]:
        """Let a side thread compute something as soon as one is free.

        Args:
            compute: is called once, in any thread. It may ask for the results of tasks that were started before it.
            urgent: whether it goes before all that are not, because the caller will wait for it first.
        """
        task = SideTask(compute, self)
        with self._changed:
            if self._closed:
                task.cancel()
                return task
            self._waiting.insert(self._urgent if urgent else len(self._waiting), task)
            self._urgent += urgent
            self._changed.notify()
        return task

    def withdraw(self, task: SideTask[Any]) -> bool:
        """Take back a task that no thread has begun; say whether there was such a one."""
        with self._changed:
            if task not in self._waiting:
                return False
            place = self._waiting.index(task)
            self._urgent -= place < self._urgent
            del self._waiting[place]
            return True

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._waiting))
                if self._closed:
                    return
                task = self._waiting.pop(0)
                self._urgent -= self._urgent > 0
            task.run()


def compute_on_threads(device: torch.device, compute: Callable[[SideTasks], Result]) -> Result:
    """Compute something on as many threads as the caller's PyTorch may use; the caller waits.

    In a build, where threads have divided the cores among them (`nets.device.share_cores`), each caller takes no more
    than its share; one with a share of one core computes all by itself. So it is with a graphics card, on which kernels
    run one after the other anyway.

    Args:
        device: on which the networks compute.
        compute: is called in inference mode, with what starts tasks beside it.

    Returns:
        What `compute` returns.
    """
    threads = min(torch.get_num_threads(), MOST)
    if threads == 1 or device.type != "cpu":
        with torch.inference_mode():
            return compute(SideTasks())
    with SideTasks(threads) as tasks:
        return tasks.start(lambda: compute(tasks)).wait()


def _make_pool() -> ThreadPoolExecutor:
    """Make a pool of threads that compute on one core each; each starts when all others are at work."""
    return ThreadPoolExecutor(MOST_OF_ALL, thread_name_prefix="side tasks", initializer=partial(set_own_threads, 1))


def _renew_pool() -> None:
    """Start anew in a process that was forked: its copy of the pool has no threads."""
    global _threads
    _threads = _make_pool()


_threads = _make_pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_pool)
