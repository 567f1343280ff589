"""Read damaged inputs for as long as is wanted, and count what came of them: refused, right, explained, or a fault.

    python benchmarks/fuzz.py --minutes 30
    python benchmarks/fuzz.py --minutes 5 --only tables,supports --seed 7 --json counts.json
    python benchmarks/fuzz.py --only tables --seed 7 --input 1234      # one input again, as a count named it

A fault is an error that is not one of ours, a worker that hangs or uses more than 1.5 GB, or another result than of the
undamaged input without an error, a note or a reason (see `tests/fuzzing`). The time is shared by the kinds as their
inputs need it; `--count` ends a kind earlier. The exit status is 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzzing.kinds import KINDS
from fuzzing.outcomes import FAULTS
from fuzzing.runner import Counts, fuzz

SHARES = {"photographs": 3, "labels": 1, "tables": 2, "archives": 1, "supports": 2, "index_files": 6}
"""How much of the time each kind gets."""


def report(counts: Counts, seconds: float) -> dict[str, Any]:
    """Print what came of a kind, and return it in JSON-ready types."""
    faults = {verdict: counts.total(verdict) for verdict in FAULTS}
    print(f"\n{counts.kind}: {counts.inputs:,} inputs, {seconds:,.0f} s, at most {counts.peak / 1e6:,.0f} MB; {faults}")
    for (verdict, reason), count in sorted(counts.outcomes.items(), key=lambda each: (each[0][0], -each[1])):
        print(f"  {verdict:18} {count:7,}  {reason}")
    for number, fault in counts.faults:
        print(f"  --input {number}: {fault.verdict}, {fault.reason}\n    {fault.detail[-1500:]}")
    sys.stdout.flush()
    outcomes = [[*key, count] for key, count in counts.outcomes.most_common()]
    examples = [[number, fault.verdict, fault.reason, fault.detail] for number, fault in counts.faults]
    return {
        **{"inputs": counts.inputs, "seconds": round(seconds), "peak_bytes": counts.peak, "faults": faults},
        **{"outcomes": outcomes, "examples": examples},
    }


def main() -> None:
    """Fuzz all kinds, or those that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the processor, for all kinds together")
    parser.add_argument("--count", type=int, default=1_000_000, help="of inputs a kind, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(KINDS), help="kinds, separated by commas")
    parser.add_argument("--input", type=int, help="only the input of this number")
    parser.add_argument("--json", type=Path, help="file for the counts")
    options = parser.parse_args()
    kinds = options.only.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"no such kind: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    start, count = (0, options.count) if options.input is None else (options.input, 1)
    whole = sum(SHARES[kind] for kind in kinds)
    results = {}
    for kind in kinds:
        begun = time.monotonic()
        limit = 60 * options.minutes * SHARES[kind] / whole
        counts = fuzz(kind, seed=options.seed, count=count, seconds=limit, start=start)
        results[kind] = report(counts, time.monotonic() - begun)
    if options.json:
        options.json.write_text(json.dumps({"seed": options.seed, "kinds": results}, indent=1))
    raise SystemExit(any(result["faults"][verdict] for result in results.values() for verdict in FAULTS))


if __name__ == "__main__":
    main()
