"""Measure reading a large specimen table: seconds, and memory a row.

    python benchmarks/bench_collection.py --rows 1000000

The table is made up: eight columns, of which catalogue number and photograph differ in every row. Each table is read in
a process of its own; what is held a row is the difference between the large table and one of a tenth, so that what the
libraries take does not count (Linux only).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from sst_retrieval.collection.specimens import read_collection


def write_table(folder: Path, rows: int) -> Path:
    """Write a table of so many photographs, one of which is there."""
    path = folder / f"{rows}.csv"
    with path.open("w") as file:
        file.write("catalogNumber,image,scientificName,sex,country,year,elevation,locality\n")
        for row in range(rows):
            file.write(
                f"S{row:08d},images/S{row:08d}.jpg,Genus species{row % 500:05d},{('female', 'male')[row % 2]},"
                f"{('Peru', 'Ecuador', 'Brazil')[row % 3]},{1900 + row % 120},{row % 3000}.5,Valley {row % 900}\n"
            )
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "S00000000.jpg").touch()
    return path


def read(path: Path) -> tuple[float, int, int]:
    """Read a table: processor seconds, bytes held, and the most bytes taken."""
    begin, before = time.process_time(), measure_memory()
    collection = read_collection(path)
    seconds = time.process_time() - begin
    assert len(collection.photographs)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return seconds, measure_memory() - before, most - before


def measure_memory() -> int:
    """Return the resident memory of this process in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def main() -> None:
    """Read two tables and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tables = [write_table(Path(folder), rows) for rows in (options.rows // 10, options.rows)]
        context = multiprocessing.get_context("spawn")
        results = []
        for table in tables:
            with context.Pool(1) as pool:
                results.append(pool.apply(read, (table,)))
    (_, small, small_most), (seconds, held, most) = results
    rows = options.rows - options.rows // 10
    a_row, most_a_row = (held - small) / rows, (most - small_most) / rows
    print(
        f"{options.rows:,} rows: {seconds:.1f} s of processor time; held {held / 1e6:,.0f} MB ({a_row:.0f} "
        f"bytes a row more), at most {most / 1e6:,.0f} MB ({most_a_row:.0f})"
    )


if __name__ == "__main__":
    main()
