"""Inputs that do what the runner must notice; `faulty:hangs` is a kind, and its second input is all right."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from random import Random

import numpy as np

from fuzzing.outcomes import RIGHT, Check, Outcome


def prepare(folder: Path, fault: str) -> Check:
    """Make inputs of which the first has a fault."""

    def check(rng: Random) -> Outcome:
        if rng.random() != Random(f"0/faulty:{fault}/0").random():
            return Outcome(RIGHT, "no fault")
        if fault == "hangs":
            while True:
                pass
        if fault == "waits":
            time.sleep(10_000)
        if fault == "fills":
            np.ones(210_000_000, dtype=np.uint64)
        if fault == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ZeroDivisionError(str(folder))

    return check
