"""A process that reads inputs: `python -m fuzzing.worker KIND SEED START STOP SECONDS PATIENCE`; one line of JSON each.

The process may hang, or be killed for its memory; the line before each input says which one it was. Files are written
into the folder that it is started in.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from random import Random

from fuzzing.kinds import load_kind
from fuzzing.outcomes import MEMORY, REFUSED, TRACEBACK, Check, Outcome
from sst_retrieval.errors import SSTError

MAX_BYTES = 1_500_000_000
"""Memory that a worker may have used at most; the libraries take about 400 MB of it."""

_MAX_ADDRESSES = 8 * 1024**3


def check_input(check: Check, kind: str, seed: int, number: int) -> Outcome:
    """Make input `number` and say what came of it."""
    try:
        return check(Random(f"{seed}/{kind}/{number}"))
    except SSTError as error:
        return Outcome(REFUSED, type(error).__name__, str(error)[:500])
    except MemoryError:
        return Outcome(MEMORY, "MemoryError", traceback.format_exc()[-3000:])
    except BaseException as error:
        where = [f for f in traceback.extract_tb(error.__traceback__) if "sst_retrieval" in f.filename]
        place = f"{Path(where[-1].filename).name}:{where[-1].name}" if where else "the test"
        return Outcome(TRACEBACK, f"{type(error).__name__} in {place}", traceback.format_exc()[-4000:])


def peak_bytes() -> int:
    """Return the most memory that this program has used.

    Not by `getrusage` on Linux: its figure begins with what the process that started this one had in memory.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(kind: str, seed: int, start: int, stop: int, *, seconds: float, patience: float) -> None:
    """Read inputs `start` to `stop` or until `seconds` of the processor are used up (see `runner.fuzz`)."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESSES, _MAX_ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)  # Prints where it hangs, and the process ends.
    check = load_kind(kind)(Path.cwd())
    for number in range(start, stop):
        if time.process_time() > seconds:
            break
        print(json.dumps({"input": number}), flush=True)
        faulthandler.dump_traceback_later(2 * patience, exit=True)
        signal.setitimer(signal.ITIMER_PROF, patience)
        outcome = check_input(check, kind, seed, number)
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        peak = peak_bytes()
        if peak > MAX_BYTES:
            outcome = Outcome(MEMORY, f"more than {MAX_BYTES / 1e9} GB", f"{peak:,} bytes; {outcome}")
        print(json.dumps([number, outcome.verdict, outcome.reason, outcome.detail, peak]), flush=True)
        if peak > MAX_BYTES:
            break  # The peak never falls; the next worker begins anew.


if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    main(name, *map(int, numbers[:3]), seconds=float(numbers[3]), patience=float(numbers[4]))
