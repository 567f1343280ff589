"""How long the app's own work takes for 100,000 regions: made-up rows, no photographs, no browser.

    python benchmarks/bench_app.py

Search itself, and what the browser does, are not in it. Milliseconds of processor time, so that a busy machine says the
same as an idle one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).resolve().parents[1] / "app"))
from sst_app.choosing import matching
from sst_app.filters import counts, facets, mask, predicate
from sst_app.opening import quick

ROWS = 100_000


def main() -> None:
    """Time every step an interaction may take."""
    table = quick(rows())
    kind = {"scientificName": "VARCHAR", "sex": "VARCHAR", "locality": "VARCHAR", "eventDate": "DATE"}
    columns = {**kind, "mass": "DOUBLE"}
    kinds = {facet.column: facet for facet in facets(table, columns)}
    chosen = {"sex": ["female"], "locality": ["place 3", "place 7"]}
    specimens = pd.DataFrame({"sst:specimen": table["sst:specimen"], "sst:search": table["sst:specimen"] + " panama"})
    steps: dict[str, Callable[[], object]] = {
        "find the columns to filter by (once an index)": lambda: facets(table, columns),
        "count the words of all filters, two of them set": lambda: [
            counts(table, kinds[name], chosen, kinds) for name in kinds if kinds[name].kind == "words"
        ],
        "which regions pass": lambda: mask(table, chosen, kinds),
        "write the predicate": lambda: predicate(chosen, kinds),
        "find specimens by two words": lambda: matching(specimens, "sp-99 panama"),
        "sort the masks to review": lambda: table.sort_values(["sst:confidence", "sst:region"]),
    }
    for name, step in steps.items():
        times = []
        for _ in range(5):
            start = time.process_time()
            step()
            times.append(time.process_time() - start)
        print(f"{name}: {1000 * float(np.median(times)):.0f} ms")


def rows() -> pd.DataFrame:
    """Make up a table as `Index.table` gives it."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "sst:region": np.arange(ROWS),
            "sst:specimen": [f"SP-{number:06d}" for number in range(ROWS)],
            "sst:present": rng.random(ROWS) < 0.95,
            "sst:confidence": rng.random(ROWS),
            "scientificName": [f"Genus species{number}" for number in rng.integers(0, 150, ROWS)],
            "sex": rng.choice(["female", "male"], ROWS),
            "locality": [f"place {number}" for number in rng.integers(0, 60, ROWS)],
            "eventDate": pd.to_datetime("1950-01-01") + pd.to_timedelta(rng.integers(0, 20_000, ROWS), unit="D"),
            "mass": rng.random(ROWS),
        }
    )


if __name__ == "__main__":
    main()
