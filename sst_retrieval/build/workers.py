"""Process several photographs at the same time: how many, within how much memory, and with their results in order.

Threads, not processes: NumPy, SciPy, Pillow and PyTorch let other threads run while they compute, and all threads share
one copy of the weights and of the memories of the supports. Measured on two cores, two threads are as fast as two
processes, and both are half as fast again as one photograph whose convolutions are spread over both cores: the
convolutions are too small for that. About a sixth of the work of a photograph is Python's own, of which one thread runs
at a time; so more than `MAX_WORKERS` threads gain nothing, and each computes on several cores where there are more.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits

from sst_retrieval.engines import Engines
from sst_retrieval.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WORKERS = 8
"""Photographs at the same time, unless the user asks for more."""

MAX_PIXELS = 200_000_000
"""Of all photographs that are processed at the same time; one that has more is processed alone."""

PREFETCH = 2
"""Items per worker that are started before the result of the oldest is taken; so many wait for a slow photograph."""


class PixelBudget:
    """A memory budget in pixels that workers share: a photograph is processed when the budget has room for it."""

    def __init__(self, pixels: int = MAX_PIXELS) -> None:
        """Set how many pixels all photographs in process may have together."""
        self._total = self._free = pixels
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Wait until so many pixels are free, and hold them; more than the whole budget waits for all of it."""
        needed = min(pixels, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= needed)
            self._free -= needed
        try:
            yield
        finally:
            with self._changed:
                self._free += needed
                self._changed.notify_all()


def choose_workers(wanted: int | None, engines: Engines) -> int:
    """Choose how many photographs are processed at the same time.

    Args:
        wanted: what the user asked for; None leaves the choice to the program: on a processor as many as it has
            cores, but no more than `MAX_WORKERS`; one on a graphics card, and one where a model does not declare that
            several threads may call it (`Engines.concurrent`).
        engines: the models.

    Returns:
        How many, at least 1.

    Raises:
        InputError: less than one is asked for, or more than one of models that do not allow it.
    """
    if wanted is None:
        return min(count_cores(), MAX_WORKERS) if engines.concurrent and not engines.device.startswith("cuda") else 1
    if wanted < 1:
        raise InputError(f"--workers {wanted}: at least one photograph must be worked on at a time")
    if wanted > 1 and not engines.concurrent:
        raise InputError(
            f"--workers {wanted}: the models {' and '.join(engines.names)} work on one photograph after the other; "
            "leave out --workers (models of your own that several threads may ask say so: concurrent = True)"
        )
    return wanted


def count_cores() -> int:
    """Count the processor cores that this process may use; OMP_NUM_THREADS, where it is set, decides.

    A container that may use one and a half counts as two: with fewer threads the half would be lost.
    """
    if (requested := _read_omp_threads()) is not None:
        return requested
    allowed = _count_allowed_cores()
    return _count_system_cores() if allowed is None else min(_count_system_cores(), allowed)


def _read_omp_threads() -> int | None:
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _count_allowed_cores() -> int | None:
    quota = read_cpu_quota()
    return None if quota is None else max(1, math.ceil(quota))


def _count_system_cores() -> int:
    """Count the cores that the system runs this process on."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def read_cpu_quota(root: Path = Path("/")) -> float | None:
    """Read how much processor time the control groups of this process allow: a container's limit, on Linux.

    Args:
        root: of the file system.

    Returns:
        In cores, the strictest limit of all groups that the process is in; None if nothing is limited.
    """
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return None  # Not Linux, or hidden: the system's own count holds.
    limits = [limit for line in lines for folder in _list_control_groups(root, line) for limit in _read_limits(folder)]
    return min(limits, default=None)


def _list_control_groups(root: Path, line: str) -> Iterator[Path]:
    """List the folders that may limit a process: its group's, and those of all groups around it.

    A container often sees its own group at the top, whatever name the host calls it by; folders may be missing.
    """
    _, controllers, name = line.split(":", 2)
    mounted = root / "sys" / "fs" / "cgroup"
    if not controllers:
        tops = [mounted]
    elif "cpu" in controllers.split(","):
        tops = [mounted / controllers, mounted / "cpu"]
    else:
        return
    parts = [] if ".." in name.split("/") else [part for part in name.split("/") if part]
    for top in tops:
        for depth in range(len(parts) + 1):
            yield top.joinpath(*parts[:depth])


def _read_limits(folder: Path) -> Iterator[float]:
    """Read the limit of a control group, if it has one: version 2 writes it in one file, version 1 in two."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            words = [word for name in names for word in (folder / name).read_text().split()]
        except OSError:
            continue
        if len(words) == 2 and all(word.isdecimal() and int(word) > 0 for word in words):  # Else "max", or -1.
            yield int(words[0]) / int(words[1])


def map_in_order(process: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result]:
    """Process items on threads that share the processor's cores, several at the same time (see `map_on_threads`)."""
    with _share_cores(workers) as prepare:
        yield from map_on_threads(process, items, workers, prepare)


class PartWorkers:
    """Threads that work on parts of photographs, such as the individuals of a drawer (a context manager).

    They are beside those that work on photographs, which wait meanwhile: so a single drawer uses all cores, and of
    several drawers no more parts are in work at the same time than there are workers.
    """

    def __init__(self, workers: int = 1, prepare: Callable[[], None] | None = None) -> None:
        """Start no thread yet.

        Args:
            workers: how many parts at the same time; with one they are worked on in the caller's thread.
            prepare: is called by each of several threads before it starts.
        """
        self._pool = (
            ThreadPoolExecutor(workers, thread_name_prefix="parts", initializer=prepare) if workers > 1 else None
        )

    def __enter__(self) -> PartWorkers:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for what is running, and start nothing more."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, process: Callable[[Item], Result], parts: Sequence[Item]) -> list[Result]:
        """Process parts; the results come in their order, and the error of the first that failed is raised.

        Args:
            process: is called with each part. It must not call this method.
            parts: of one photograph.
        """
        if self._pool is None or len(parts) < 2:
            return [process(each) for each in parts]
        return list(self._pool.map(process, parts))


def map_with_parts(
    process: Callable[[Item, PartWorkers], Result], items: Iterable[Item], workers: int
) -> Generator[Result]:
    """Process items as `map_in_order` does, with threads for the parts of each.

    Args:
        process: is called with each item, and with what works on its parts.
        items: taken one by one, in the caller's thread, while the workers run.
        workers: how many items at the same time, and how many parts of all items.

    Yields:
        The result of each item, in their order.
    """
    with _share_cores(workers) as prepare, PartWorkers(workers, prepare) as parts:
        yield from map_on_threads(lambda item: process(item, parts), items, workers, prepare)


def map_on_threads(
    process: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    prepare: Callable[[], None] | None = None,
    *,
    prefetch: int = PREFETCH,
) -> Generator[Result]:
    """Process items, several at the same time.

    The results come in the order of the items, however long each takes, and the error of an item is raised in its
    place. No more than `prefetch` items per worker are taken in advance, so that few are in memory. A caller who stops
    before the end closes the iterator: what is running is then waited for, and nothing more is started.

    Args:
        process: is called with each item; by several threads, if there are several workers.
        items: taken one by one, in the caller's thread, while the workers run.
        workers: how many at the same time; one runs in the caller's thread.
        prepare: is called by each of several threads before it starts.
        prefetch: items per worker that are started before the result of the oldest is taken.

    Yields:
        The result of each item.
    """
    if workers == 1:
        for item in items:
            yield process(item)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="photographs", initializer=prepare)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(process, item))
            if len(pending) >= prefetch * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def keep_share() -> Callable[[], None]:
    """Return a function by which another thread computes on as many cores as this one: results have the same bits."""
    if "torch" not in sys.modules:
        return lambda: None
    from sst_retrieval.nets.device import set_threads

    return partial(set_threads, sys.modules["torch"].get_num_threads())


def use_one_thread() -> None:
    """Compute on one thread from now on, in this process: other processes have the other cores.

    As each thread of `map_in_order` does where there is one a core, so that results have the same last bits.
    """
    threadpool_limits(1, user_api="blas")
    if "torch" in sys.modules:
        from sst_retrieval.nets.device import set_threads

        set_threads(1)


@contextmanager
def _share_cores(workers: int) -> Iterator[Callable[[], None]]:
    """Share the cores among workers; yields what each calls in its own thread before it starts."""
    # The products of NumPy are small here: to wake more threads for them costs more than they save.
    with threadpool_limits(1, user_api="blas"):
        if "torch" not in sys.modules:
            yield lambda: None  # The models are the user's own, and do without.
            return
        from sst_retrieval.nets.device import share_cores  # Here, because it loads PyTorch.

        with share_cores(workers, None if _read_omp_threads() else _count_allowed_cores()) as prepare:
            yield prepare
