"""Read many inputs of a kind in worker processes, and count what came of them."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fuzzing.outcomes import FAULTS, HANG, TRACEBACK, Outcome

PIECE = 2000
"""Inputs after which a worker makes room for the next one, so that leaks do not add up."""


@dataclass(slots=True)
class Counts:
    """What came of the inputs of a kind.

    Attributes:
        kind: which.
        inputs: how many were read.
        outcomes: (verdict, reason) -> how many inputs.
        faults: (number of the input, what was wrong), the first few of each reason.
        peak: bytes of memory that a worker used at most.
    """

    kind: str
    inputs: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[tuple[int, Outcome]] = field(default_factory=list)
    peak: int = 0

    def add(self, number: int, outcome: Outcome, peak: int) -> None:
        """Count an input."""
        self.inputs += 1
        self.outcomes[outcome.verdict, outcome.reason] += 1
        self.peak = max(self.peak, peak)
        if outcome.verdict in FAULTS and self.outcomes[outcome.verdict, outcome.reason] <= 3:
            self.faults.append((number, outcome))

    def total(self, verdict: str) -> int:
        """Return how many inputs had a verdict."""
        return sum(count for (each, _), count in self.outcomes.items() if each == verdict)


def fuzz(kind: str, *, seed: int, count: int, seconds: float, start: int = 0, patience: float = 20.0) -> Counts:
    """Read inputs of a kind.

    Args:
        kind: one of `kinds.KINDS`.
        seed: of the random numbers.
        count: how many inputs.
        seconds: of the processor; then it ends, whatever `count` says.
        start: number of the first input.
        patience: seconds of the processor after which an input hangs; or twice as many of the clock, when it waits.
    """
    counts = Counts(kind)
    stop, used = start + count, _child_seconds()
    while start < stop:
        left = seconds - (_child_seconds() - used)
        if left <= 0:
            break
        end = min(stop, start + PIECE)
        done = start
        for number, outcome, peak in _run_worker(kind, (seed, start, end, left, patience)):
            counts.add(number, outcome, peak)
            done = number + 1
        if done == start:  # No time for another input.
            break
        start = done
    return counts


def _child_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run_worker(kind: str, numbers: Sequence[float]) -> Iterator[tuple[int, Outcome, int]]:
    tests = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(tests), str(tests.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    warnings = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    command = [sys.executable, *warnings, "-m", "fuzzing.worker", kind, *map(str, numbers)]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=folder
        ) as process:
            assert process.stdout is not None
            begun = None
            for line in process.stdout:
                message = json.loads(line)
                if isinstance(message, dict):
                    begun = message["input"]
                else:
                    number, verdict, reason, detail, peak = message
                    begun = None
                    yield number, Outcome(verdict, reason, detail), peak
        errors.seek(0)
        said = errors.read()[-4000:]
    if begun is not None:  # The worker ended within this input.
        hangs = process.returncode == -27 or "Timeout (" in said
        yield begun, Outcome(*((HANG, "no end") if hangs else (TRACEBACK, f"exit {process.returncode}")), said), 0
    elif process.returncode != 0:
        raise RuntimeError(f"the worker ended with status {process.returncode}: {said}")
