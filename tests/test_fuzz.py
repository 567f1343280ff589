"""Damaged inputs of every kind are refused with our own error or read rightly; `benchmarks/fuzz.py` reads many more.

The inputs are the same in every run. On a slow computer fewer are read: all kinds together use at most 90 seconds of
the processor.
"""

from __future__ import annotations

import random

import pytest
from fuzzing.damages import DAMAGES
from fuzzing.kinds import KINDS
from fuzzing.outcomes import FAULTS, HANG, MEMORY, TRACEBACK
from fuzzing.runner import fuzz

BUDGETS = {
    "photographs": (1500, 15.0),
    "labels": (800, 10.0),
    "tables": (1000, 15.0),
    "archives": (200, 12.0),
    "supports": (800, 15.0),
    "index_files": (50, 23.0),
}
"""Kind -> how many inputs, and seconds of the processor, at most; the seconds add up to 90."""

LEAST = 20


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_inputs(kind: str) -> None:
    count, seconds = BUDGETS[kind]
    counts = fuzz(kind, seed=20260729, count=count, seconds=seconds)
    shown = "\n".join(f"input {number}: {each.verdict}, {each.reason}\n{each.detail}" for number, each in counts.faults)
    assert not any(map(counts.total, FAULTS)), f"python benchmarks/fuzz.py --only {kind} --seed 20260729\n{shown}"
    assert counts.inputs >= LEAST


def test_the_budget() -> None:
    assert sum(seconds for _, seconds in BUDGETS.values()) <= 90
    assert BUDGETS.keys() == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("hangs", HANG), ("waits", HANG), ("fills", MEMORY), ("dies", TRACEBACK), ("fails", TRACEBACK)],
)
def test_the_runner_notices(kind: str, verdict: str) -> None:
    counts = fuzz(f"faulty:{kind}", seed=0, count=2, seconds=60.0, patience=2.0 if verdict == HANG else 20.0)
    assert counts.inputs == 2
    assert counts.total(verdict) == 1, counts
    assert counts.total("right") == 1, counts


@pytest.mark.parametrize("name", list(DAMAGES))
def test_damages_change_bytes(name: str) -> None:
    content = bytes(range(256)) * 8
    changed = [DAMAGES[name](content, random.Random(seed), 400) for seed in range(20)]
    assert sum(each != content for each in changed) >= 18
    assert changed[0] == DAMAGES[name](content, random.Random(0), 400)
