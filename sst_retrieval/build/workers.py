"""Several photographs at the same time: how many, and how their results keep their order.

Threads, not processes: NumPy, SciPy, Pillow and PyTorch let other threads run while they compute, and all threads share
one copy of the weights and of what is remembered of the supports. Measured on two cores, two threads are as fast as two
processes, and both are half as fast again as one photograph whose convolutions are spread over both cores: the
convolutions are too small for that. About a sixth of the work of a photograph is Python's own, of which one thread runs
at a time; so more than `MOST` threads gain nothing, and each computes on several cores where there are more.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits

from sst_retrieval.engines import Engines
from sst_retrieval.errors import InputError

Piece = TypeVar("Piece")
Result = TypeVar("Result")

MOST = 8
"""Photographs at the same time, unless somebody asks for more."""

PIXELS = 200_000_000
"""Of all photographs that are worked on at the same time; one that has more is worked on alone."""

AHEAD = 2  # Pieces a worker that are begun or done while the oldest is not; so much waits for a slow photograph.


class Room:
    """What workers share, so that large photographs do not fill the memory: each begins when there is room for it."""

    def __init__(self, pixels: int = PIXELS) -> None:
        """Set how many pixels all photographs in hand may have together."""
        self._whole = self._free = pixels
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for so many pixels, and keep it; more than there ever is waits for all of it."""
        needed = min(pixels, self._whole)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= needed)
            self._free -= needed
        try:
            yield
        finally:
            with self._changed:
                self._free += needed
                self._changed.notify_all()


def workers_of(wanted: int | None, engines: Engines) -> int:
    """Say how many photographs are worked on at the same time.

    Args:
        wanted: what the person asked for; None leaves the choice to the program: on a processor as many as it has
            cores, but no more than `MOST`; one on a graphics card, and one where a model does not say that several
            threads may ask it (`Engines.concurrent`).
        engines: the models.

    Raises:
        InputError: less than one is asked for, or more than one of models that do not allow it.
    """
    if wanted is None:
        return min(cores(), MOST) if engines.concurrent and not engines.device.startswith("cuda") else 1
    if wanted < 1:
        raise InputError(f"--workers {wanted}: at least one photograph must be worked on at a time")
    if wanted > 1 and not engines.concurrent:
        raise InputError(
            f"--workers {wanted}: the models {' and '.join(engines.names)} work on one photograph after the other; "
            "leave out --workers (models of your own that several threads may ask say so: concurrent = True)"
        )
    return wanted


def cores() -> int:
    """Count the processor cores that this process may use; OMP_NUM_THREADS, where it is set, says how many.

    A container that may use one and a half counts as two: with fewer threads the half would be lost.
    """
    if (asked := _asked()) is not None:
        return asked
    allowed = _allowed()
    return _offered() if allowed is None else min(_offered(), allowed)


def _asked() -> int | None:
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(told) if told.isdecimal() and int(told) > 0 else None


def _allowed() -> int | None:
    limit = quota()
    return None if limit is None else max(1, math.ceil(limit))


def _offered() -> int:
    """Count the cores that the system runs this process on."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def quota(root: Path = Path("/")) -> float | None:
    """Say how much processor time the control groups of this process allow: a container's limit, on Linux.

    Args:
        root: of the file system.

    Returns:
        In cores; None if nothing is limited. The strictest limit of all groups that the process is in.
    """
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return None  # Not Linux, or hidden: the system's own count holds.
    limits = [limit for line in lines for folder in _control_groups(root, line) for limit in _limits(folder)]
    return min(limits, default=None)


def _control_groups(root: Path, line: str) -> Iterator[Path]:
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


def _limits(folder: Path) -> Iterator[float]:
    """Read the limit of a control group, if it has one: version 2 writes it in one file, version 1 in two."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            words = [word for name in names for word in (folder / name).read_text().split()]
        except OSError:
            continue
        if len(words) == 2 and all(word.isdecimal() and int(word) > 0 for word in words):  # Else "max", or -1.
            yield int(words[0]) / int(words[1])


def in_order(work: Callable[[Piece], Result], pieces: Iterable[Piece], workers: int) -> Generator[Result]:
    """Do pieces of work, several at the same time.

    The results come in the order of the pieces, however fast each is, and an error of a piece is raised in its place.
    No more than `AHEAD` pieces a worker are taken ahead, so that little is in memory. Whoever stops before the end
    closes the iterator: what is under way is then waited for, and no more is begun.

    Args:
        work: what is done; by several threads, if there are several workers.
        pieces: taken one by one, in the caller's thread, while the workers work.
        workers: how many at the same time; one works in the caller's thread.
    """
    with _cores_shared(workers) as prepare:
        if workers == 1:
            for piece in pieces:
                yield work(piece)
            return
        pool = ThreadPoolExecutor(workers, thread_name_prefix="photographs", initializer=prepare)
        waiting: deque[Future[Result]] = deque()
        try:
            for piece in pieces:
                waiting.append(pool.submit(work, piece))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _cores_shared(workers: int) -> Iterator[Callable[[], None]]:
    """Share the cores among workers; gives what each calls in its own thread before it begins."""
    # The products of NumPy are small here: to wake more threads for them costs more than they save.
    with threadpool_limits(1, user_api="blas"):
        if "torch" not in sys.modules:
            yield lambda: None  # The models are somebody's own, and do without.
            return
        from sst_retrieval.nets.device import cores_shared  # Here, because it loads PyTorch.

        with cores_shared(workers, None if _asked() else _allowed()) as prepare:
            yield prepare
