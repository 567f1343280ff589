"""The device a model runs on, and how threads share the CPU's cores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch

from sst_retrieval.errors import ModelError

DEVICES = ("auto", "cpu", "cuda")
"""Values of `--device`; "cuda:1" is allowed, too."""

_SETTING = threading.Lock()


def resolve_device(device: str = "auto") -> torch.device:
    """Resolve the name of a device, and make sure that it is available.

    Args:
        device: "auto" (a CUDA card if there is one, else the CPU), "cpu" or "cuda" ("cuda:1" for the second card).

    Returns:
        The device.

    Raises:
        ModelError: the name is unknown, or names a CUDA card that is not available.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.partition(":")[0] not in DEVICES:
        raise ModelError(f"device {device!r} is unknown; choose one of {', '.join(DEVICES)}")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"device {device!r} is not understood; write cuda or cuda:NUMBER") from error
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if chosen.type == "cuda" and (chosen.index or 0) >= cards:
        raise ModelError(
            f"device {device!r} is asked for, but PyTorch {torch.__version__} sees {cards} CUDA cards; "
            "choose cpu or auto, or install a CUDA build of torch"
        )
    return chosen


@contextmanager
def share_cores(workers: int, allowed: int | None = None) -> Iterator[Callable[[], None]]:
    """Divide the CPU's cores among threads that compute at the same time (a context manager).

    The caller's thread gets the same share as each of them: products, normalisations and eigenvectors have other last
    bits when PyTorch computes them on another number of threads.

    Args:
        workers: number of threads, the caller's among them.
        allowed: cores that this process may use, if they are fewer than PyTorch sees (a container's limit).

    Yields:
        A function that each thread calls before it begins: PyTorch then uses its share of the cores in that thread.
    """
    before = torch.get_num_threads()
    usable = before if allowed is None else min(before, allowed)
    use_share = partial(set_threads, max(1, usable // workers))
    try:
        use_share()
        yield use_share
    finally:
        set_threads(before)  # What a thread sets for itself holds for threads that start later, too.


def set_threads(threads: int) -> None:
    """Set on how many threads PyTorch computes what this thread asks for, and threads that start later."""
    with _SETTING:
        # A thread takes the number of later threads when it first asks, even if it was given its own before.
        torch.get_num_threads()
        torch.set_num_threads(threads)


def set_own_threads(threads: int) -> None:
    """Set on how many threads PyTorch computes what this thread asks for, and no thread that starts later.

    PyTorch sets both; a thread that has just learnt the number of later threads, by asking for its own, sets that back.
    For some microseconds a thread that asks for the first time gets the other number, so do it seldom. Threads that
    were given theirs by `set_threads` or here are safe.
    """
    with _SETTING, ThreadPoolExecutor(1) as another:
        torch.get_num_threads()
        later = another.submit(torch.get_num_threads).result()
        torch.set_num_threads(threads)
        another.submit(torch.set_num_threads, later).result()
