"""Tasks on threads of one core each: results, errors, order, and the threads that PyTorch may use."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
import torch

from sst_retrieval.nets.device import set_own_threads
from sst_retrieval.nets.side_tasks import MOST, SideTasks, compute_on_threads

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    """Let PyTorch use three threads in this thread and later ones, whatever the computer has."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_are_those_of_the_tasks_in_any_order() -> None:
    def compute(tasks: SideTasks) -> str:
        started = [tasks.start(lambda number=number: number**2) for number in range(20)]
        assert [task.result() for task in reversed(started)] == [number**2 for number in reversed(range(20))]
        assert [task.result() for task in started] == [number**2 for number in range(20)]
        return "done"

    assert compute_on_threads(CPU, compute) == "done"


def test_tasks_run_beside_the_one_that_starts_them() -> None:
    began = threading.Event()
    with SideTasks(1) as tasks:
        task = tasks.start(began.set)
        assert began.wait(10)  # Though nobody has asked for the result.
        task.result()


def test_without_threads_a_task_runs_when_it_is_asked_for() -> None:
    ran: list[str] = []
    with SideTasks() as tasks:
        task = tasks.start(lambda: ran.append("once"))
        assert ran == []
        task.result()
        task.result()
    assert ran == ["once"]


def test_a_task_may_wait_for_one_that_was_started_before() -> None:
    with SideTasks(1) as tasks:
        first = tasks.start(lambda: 1)
        second = tasks.start(lambda: first.result() + 1)
        assert tasks.start(lambda: second.result() + 1).result() == 3


def test_urgent_tasks_go_before_the_others_and_keep_their_order() -> None:
    hold, busy, order = threading.Event(), threading.Event(), []
    with SideTasks(1) as tasks:
        tasks.start(lambda: (busy.set(), hold.wait(10)))
        assert busy.wait(10)
        patient = [tasks.start(lambda number=number: order.append(number)) for number in range(2)]
        withdrawn = tasks.start(lambda: order.append(5), urgent=True)
        for number in (6, 7):
            tasks.start(lambda number=number: order.append(number), urgent=True)
        withdrawn.result()  # Done here, as the only thread is busy.
        last = tasks.start(lambda: order.append(8), urgent=True)
        end = threading.Event()
        tasks.start(end.set)
        hold.set()
        assert end.wait(10)
        assert [task.result() for task in (*patient, last)] == [None] * 3
    assert order == [5, 6, 7, 8, 0, 1]


def test_the_error_of_a_task_is_raised_where_its_result_is_asked_for() -> None:
    def fail() -> None:
        raise ValueError("no wing")

    with SideTasks(1) as tasks:
        task = tasks.start(fail)
        assert tasks.start(lambda: 1).result() == 1
        with pytest.raises(ValueError, match="no wing"):
            task.result()


def test_tasks_that_wait_when_the_caller_fails_are_not_begun() -> None:
    hold, busy, ran = threading.Event(), threading.Event(), []

    def fail() -> None:
        with SideTasks(1) as tasks:
            tasks.start(lambda: (busy.set(), hold.wait(10)))
            waiting.append(tasks.start(lambda: ran.append(1)))
            assert busy.wait(10)
            threading.Timer(0.2, hold.set).start()  # While the end of the block waits for the first task.
            raise ValueError("stop")

    waiting = []
    with pytest.raises(ValueError, match="stop"):
        fail()
    assert ran == []
    with pytest.raises(CancelledError):  # Whoever asks for it now does not wait for ever.
        waiting[0].result()


def test_an_error_reaches_the_caller_and_ends_the_threads_work() -> None:
    def compute(tasks: SideTasks) -> None:
        tasks.start(lambda: 1)
        raise ValueError("no wing")

    for _ in range(100):
        with pytest.raises(ValueError, match="no wing"):
            compute_on_threads(CPU, compute)
    assert compute_on_threads(CPU, lambda tasks: tasks.start(lambda: 2).result()) == 2


def count_threads_used(tasks: SideTasks) -> set[int]:
    """Ask every thread of some tasks on how many threads its PyTorch computes, and how many threads there are."""
    together = threading.Barrier(MOST)

    def ask() -> int:
        together.wait(10)
        torch.ones(99, 99) @ torch.ones(99, 99)
        return torch.get_num_threads()

    started = [tasks.start(ask) for _ in range(MOST - 1)]
    return {ask(), *(task.wait() for task in started)}


def test_every_thread_computes_on_one_core() -> None:
    set_own_threads(MOST)
    assert compute_on_threads(CPU, count_threads_used) == {1}
    assert torch.get_num_threads() == MOST


def test_threads_that_start_meanwhile_compute_on_as_many_cores_as_before() -> None:
    def compute(tasks: SideTasks) -> set[int]:
        tasks.start(lambda: torch.ones(9) + 1)
        with ThreadPoolExecutor(1) as later:
            return {later.submit(torch.get_num_threads).result() for _ in range(3)}

    compute_on_threads(CPU, count_threads_of)  # The threads are there.
    assert {three for _ in range(100) for three in compute_on_threads(CPU, compute)} == {3}
    assert torch.get_num_threads() == 3


def test_tasks_record_no_gradients() -> None:
    with SideTasks(1) as tasks:
        assert tasks.start(torch.is_inference_mode_enabled).wait()
    for own in (1, 2):
        set_own_threads(own)
        assert compute_on_threads(CPU, lambda tasks: torch.is_inference_mode_enabled())
        assert not torch.is_inference_mode_enabled()


def count_threads_of(tasks: SideTasks) -> int:
    return tasks.threads


@pytest.mark.parametrize(("own", "taken"), [(1, 0), (2, 2), (3, 3), (MOST + 5, MOST)])
def test_a_caller_takes_no_more_threads_than_its_share(own: int, taken: int) -> None:
    set_own_threads(own)
    assert compute_on_threads(CPU, count_threads_of) == taken


def test_callers_at_the_same_time_take_their_shares_only() -> None:
    """Eight callers with two threads each never have more than sixteen pieces in work."""
    at_work, most, lock = [0], [0], threading.Lock()

    def piece() -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        threading.Event().wait(0.002)
        with lock:
            at_work[0] -= 1

    def compute(tasks: SideTasks) -> int:
        return len([task.result() for task in [tasks.start(piece) for _ in range(10)]])

    def call(_: int) -> int:
        set_own_threads(2)
        return compute_on_threads(CPU, compute)

    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(call, range(40))) == [10] * 40
    assert 2 <= most[0] <= 16


def test_a_graphics_card_has_no_side_threads() -> None:
    assert compute_on_threads(torch.device("cuda"), count_threads_of) == 0
    assert torch.get_num_threads() == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no process")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of threads.
def test_a_forked_process_has_threads_of_its_own() -> None:
    compute_on_threads(CPU, count_threads_of)
    child = os.fork()
    if child == 0:
        os._exit(7 if SideTasks(1).__enter__().start(lambda: 7).wait() == 7 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
