"""The end of a run does not wait for Python to look through all of a large index again."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "app"))

from sst_app import heap


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    before = list(gc.callbacks)
    gc.callbacks[:] = [each for each in before if not isinstance(each, heap._Watch)]
    gc.unfreeze()
    heap.watch()
    yield monkeypatch
    gc.callbacks[:] = before
    gc.unfreeze()


class Ring:
    """An object that only the collector of garbage removes."""

    def __init__(self) -> None:
        self.own = self


def test_what_survives_a_slow_collection_is_not_looked_through_again(watched: pytest.MonkeyPatch) -> None:
    watched.setattr(heap, "SLOW", 0.0)
    gc.collect()
    assert gc.get_freeze_count() > 10_000


def test_a_quick_collection_sets_nothing_aside(watched: pytest.MonkeyPatch) -> None:
    watched.setattr(heap, "SLOW", 60.0)
    gc.collect()
    assert gc.get_freeze_count() == 0


def test_garbage_is_removed_as_before(watched: pytest.MonkeyPatch) -> None:
    watched.setattr(heap, "SLOW", 0.0)
    gc.collect()
    watched.setattr(heap, "SLOW", 60.0)
    ring = Ring()
    gone = weakref.ref(ring)
    del ring
    gc.collect()
    assert gone() is None


def test_what_was_set_aside_is_looked_through_once_another_index_is_opened(watched: pytest.MonkeyPatch) -> None:
    watched.setattr(heap, "SLOW", 0.0)
    ring = Ring()
    gone = weakref.ref(ring)
    gc.collect()
    watched.setattr(heap, "SLOW", 60.0)
    del ring
    gc.collect()
    assert gone() is not None, "nothing was set aside"
    heap.release()
    gc.collect()
    assert gone() is None


def test_it_is_watched_once(watched: pytest.MonkeyPatch) -> None:
    heap.watch()
    assert sum(isinstance(each, heap._Watch) for each in gc.callbacks) == 1
