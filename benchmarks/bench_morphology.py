"""Measure comparative morphology at scale: seconds and peak memory for the table and the matrices of many regions.

    python benchmarks/bench_morphology.py                  # 100,000 regions, 200 groups
    python benchmarks/bench_morphology.py --regions 20000

An index of synthetic regions (random blocks of unit length, small masks) is opened by a new process for each task, so
that each line is the peak of that task alone. Pages of the memory-mapped vector file count once they are read. Linux
only, since it reads /proc. With --keep FOLDER the index is kept, and reused if it exists.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import sst_retrieval as sst
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.describe.measure import measure_geometry
from sst_retrieval.imaging.frames import square_frame
from sst_retrieval.imaging.masks import box, encode
from sst_retrieval.index.store import Store
from sst_retrieval.types import Photograph, Region

BLOCKS = {"pattern": 472, "colour": 149, "shape": 168}
TASKS = {
    "open the index": "pass",
    "trait table (Arrow)": "index.trait_table().arrow()",
    "trait table (pandas)": "index.trait_table().pandas()",
    "group means": "index.distances('wing', by='species')",
    "energy distances": "index.distances('wing', by='species', between='energy')",
    "morphospace": "index.morphospace('wing')",
    "disparity": "index.disparity('wing', by='species')",
    "table to Parquet": "sst.export_table(index, pathlib.Path(OUT) / 'table.parquet')",
}
RUN = """
import json, pathlib, sys, time
import sst_retrieval as sst
OUT = sys.argv[2]
with sst.open_index(sys.argv[1]) as index:
    start = time.perf_counter()
    TASK
    seconds = time.perf_counter() - start
# Not `ru_maxrss`, which a process inherits from its parent.
status = pathlib.Path("/proc/self/status").read_text()
print(json.dumps([seconds, int(status.split("VmHWM:")[1].split()[0]) / 1024]))
"""


def make_index(path: Path, regions: int, groups: int) -> None:
    """Make an index of synthetic regions of one trait."""
    rng = np.random.default_rng(0)
    frame = square_frame((32, 24), 64, 0.0)
    mask = np.zeros((48, 64), dtype=bool)
    mask[10:30, 12:50] = True
    rle, around, measured = encode(mask), box(mask), measure_geometry(mask)
    centres = rng.standard_normal((groups, sum(BLOCKS.values())), dtype=np.float32)
    names = [f"S{number:06d}" for number in range(regions)]
    store = Store.create(path, settings={"program": "benchmark"}, blocks=BLOCKS)
    with store.lock():
        for start in range(0, regions, 5000):
            rows = []
            for number in range(start, min(start + 5000, regions)):
                vector = centres[number % groups] + 0.7 * rng.standard_normal(len(centres[0]), dtype=np.float32)
                for part in np.split(vector, np.cumsum(list(BLOCKS.values()))[:-1]):
                    part /= np.linalg.norm(part)
                own = {name: value * float(rng.uniform(0.8, 1.2)) for name, value in measured.items()}
                region = Region(
                    names[number], "wing", True, 0.9, mask.shape, rle, around, frame, vector.astype(np.float32), own
                )
                rows.append((region, f"content {number}", "supports"))
            store.append(rows)
        specimens = tuple(
            Photograph(name, Path(f"{name}.jpg"), "group", {"id": name, "species": f"species {number % groups:03d}"})
            for number, name in enumerate(names)
        )
        columns = {"id": "VARCHAR", "species": "VARCHAR"}
        store.commit(Collection(specimens, columns, Path("table.csv")), numbers={"wing": 1}, provenance={})


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=100_000)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = options.keep or Path(scratch) / "index"
        if not (path / "manifest.json").exists():
            start = time.perf_counter()
            make_index(path, options.regions, options.groups)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"index of {options.regions:,} regions made in {time.perf_counter() - start:.0f} s, {peak:,.0f} MB")
        with sst.open_index(path) as index:
            print(f"{len(index.trait_table()):,} regions x {sum(BLOCKS.values())} values, {options.groups} groups")
        print(f"{'task':<24}{'seconds':>9}{'peak MB':>10}")
        for name, task in TASKS.items():
            command = [sys.executable, "-c", RUN.replace("TASK", task), str(path), scratch]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, peak = json.loads(done.stdout)
            print(f"{name:<24}{seconds:>9.1f}{peak:>10,.0f}", flush=True)


if __name__ == "__main__":
    main()
