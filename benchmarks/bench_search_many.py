"""Measure `Index.search_many` against `Index.search` one by one: the same queries, in turn, and the same hits.

    python benchmarks/bench_search_many.py                       # 100,000 made-up regions
    python benchmarks/bench_search_many.py --index MY_INDEX --trait forewing_band
    python benchmarks/bench_search_many.py --cluster 2           # and by two workers of a Ray cluster on this computer

Without `--index`, an index of made-up regions is made as `bench_scale.py` makes it. The queries ask for the neighbours
of some of its individuals, as all-against-all would. Times are of the processor and of the wall clock; the ratio of
both ways, measured in turn in one process, is what counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bench_scale import commit, write_shards

from sst_retrieval.search.distributed import SearchCluster, open_search_cluster
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.types import Hit

K = 12


def main() -> None:
    """Measure, print a table, and stop where hits differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=100_000)
    parser.add_argument("--index", type=Path, help="of your own, instead of made-up regions")
    parser.add_argument("--trait", default="wing")
    parser.add_argument("--where", action="append", default=[], help="a predicate; may be repeated")
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cluster", type=int, default=0, help="so many workers of a Ray cluster on this computer")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.index
        if path is None:
            path = Path(folder) / "index"
            write_shards(path, options.regions)
            commit(path, options.regions)
            options.where = options.where or ["bucket < 100", "bucket < 10"]
        with open_index(path) as index, open_cluster(path, options.cluster) as cluster:
            results = [measure(index, cluster, where, options) for where in (None, *options.where)]
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


@contextmanager
def open_cluster(path: Path, workers: int) -> Iterator[SearchCluster | None]:
    """Open an index on a cluster, if workers are asked for."""
    if not workers:
        yield None
        return
    with open_search_cluster(path, workers=workers) as cluster:
        yield cluster


def measure(
    index: Index, cluster: SearchCluster | None, where: str | None, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure all ways under one predicate."""
    rng = np.random.default_rng(0)
    names, _ = index.vectors(options.trait)
    chosen = [names[at] for at in rng.choice(len(names), min(options.queries, len(names)), replace=False)]
    asked = [{"like": (name, options.trait)} for name in chosen]

    def search_alone() -> list[list[Hit]]:
        return [index.search(**query, k=K, where=where) for query in asked]

    def search_together() -> list[list[Hit]]:
        return list(index.search_many(asked, k=K, where=where, device=options.device))

    ways: dict[str, Callable[[], list[list[Hit]]]] = {"alone": search_alone, "together": search_together}
    if cluster is not None:
        ways["alone on the cluster"] = lambda: [cluster.search(**query, k=K, where=where) for query in asked]
        ways["together on the cluster"] = lambda: list(cluster.search_many(asked, k=K, where=where))
    expected = search_alone()
    for label, search in ways.items():  # This warms up, too.
        if search() != expected:
            raise SystemExit(f"the hits of {label} differ, where {where}")
    clock: dict[str, list[float]] = {label: [] for label in ways}
    spent: dict[str, list[float]] = {label: [] for label in ways}
    for _ in range(options.rounds):
        for label, search in ways.items():
            begin, processor = time.perf_counter(), time.process_time()
            search()
            clock[label].append(1000 * (time.perf_counter() - begin) / len(asked))
            spent[label].append(1000 * (time.process_time() - processor) / len(asked))
    wall, work = ({label: float(np.median(own)) for label, own in times.items()} for times in (clock, spent))
    print(f"{len(names):,} regions, {len(asked)} queries, where {where}: the same hits; ms a query, of this process")
    for label in ways:
        print(
            f"  {label:<24} clock {wall[label]:8.2f} (ratio {wall[label] / wall['alone']:.2f})"
            f"   processor {work[label]:8.2f} (ratio {work[label] / work['alone']:.2f})",
            flush=True,
        )
    return {"regions": len(names), "where": where, "clock_ms": wall, "processor_ms": work}


if __name__ == "__main__":
    main()
