from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable

import pytest

from sst_retrieval.index import watchdog
from sst_retrieval.index.watchdog import Watchdog


def waits_for(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_what_takes_too_long_is_interrupted_once() -> None:
    calls: list[str] = []
    with Watchdog().limit(0.05, lambda: calls.append(threading.current_thread().name)):
        assert waits_for(lambda: bool(calls))
        time.sleep(0.1)
    assert calls == ["watchdog"]


def test_what_ends_in_time_is_not() -> None:
    calls: list[int] = []
    dog = Watchdog()
    with dog.limit(0.2, lambda: calls.append(1)):
        pass
    time.sleep(0.3)
    assert calls == []


def test_each_call_has_its_own_limit() -> None:
    calls: list[str] = []
    dog = Watchdog()
    with dog.limit(60, lambda: calls.append("long")), dog.limit(0.05, lambda: calls.append("short")):
        assert waits_for(lambda: bool(calls))
    assert calls == ["short"]


def test_one_thread_watches_many_calls_and_ends_when_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "IDLE", 0.1)
    dog = Watchdog()
    with dog.limit(60, lambda: None):
        first = dog._thread
    for _ in range(50):
        with dog.limit(60, lambda: None):
            assert dog._thread is first
    assert first is not None
    first.join(20)
    assert not first.is_alive()
    calls: list[int] = []
    with dog.limit(0.05, lambda: calls.append(1)):
        assert waits_for(lambda: bool(calls))


def test_nothing_is_kept_of_a_call_that_has_ended() -> None:
    class Cursor:
        def interrupt(self) -> None:
            pass

    dog, cursor = Watchdog(), Cursor()
    kept = weakref.ref(cursor)
    with dog.limit(60, cursor.interrupt):
        time.sleep(3 * watchdog.INTERVAL)  # The thread has seen it.
    del cursor
    assert waits_for(lambda: kept() is None)
