"""How many threads PyTorch computes on, in which thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from sst_retrieval.nets.device import set_own_threads, set_threads, share_cores


@pytest.fixture(autouse=True)
def six_threads() -> Iterator[None]:
    """Let PyTorch use six threads in this thread and later ones, whatever the computer has."""
    before = torch.get_num_threads()
    set_threads(6)
    yield
    set_threads(before)


def get_threads_of_later() -> int:
    with ThreadPoolExecutor(1) as later:
        return later.submit(torch.get_num_threads).result()


def test_what_a_thread_sets_for_itself_holds_for_no_other() -> None:
    set_own_threads(2)
    assert (torch.get_num_threads(), get_threads_of_later()) == (2, 6)
    set_threads(4)
    assert (torch.get_num_threads(), get_threads_of_later()) == (4, 4)


def test_threads_may_set_their_own_at_the_same_time() -> None:
    def use(threads: int) -> tuple[int, int]:
        set_own_threads(threads)
        return threads, torch.get_num_threads()

    for _ in range(20):
        with ThreadPoolExecutor(8) as pool:
            assert all(own == wanted for wanted, own in pool.map(use, range(1, 9)))
        assert get_threads_of_later() == 6


@pytest.mark.parametrize("prepare", ["share", "own"])
def test_a_thread_keeps_its_share_whatever_others_set_before_it_computes(prepare: str) -> None:
    """PyTorch reads the number of later threads when a thread first asks, even if it was given its own before."""
    prepared, changed = threading.Event(), threading.Event()

    def work(take_share: Callable[[], None]) -> int:
        take_share()
        prepared.set()
        assert changed.wait(10)
        return torch.get_num_threads()

    with share_cores(2) as use_share, ThreadPoolExecutor(1) as pool:
        share = pool.submit(work, use_share if prepare == "share" else lambda: set_own_threads(3))
        assert prepared.wait(10)
        torch.set_num_threads(5)  # Somebody else's thread.
        changed.set()
        assert share.result() == 3
