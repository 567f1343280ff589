"""Measure exact filtered search: milliseconds a query at several selectivities, against brute force in numpy.

    python benchmarks/bench_search.py                  # 100,000 regions x 789 values
    python benchmarks/bench_search.py --regions 20000 --readings 8

All search the same vectors with the same queries, in turn and in one process, and must give the same answers. Brute
force holds all vectors in memory and multiplies all of them; the index is memory-mapped, and searched with its codes
and without. The vectors are random blocks of unit length: nothing is like anything else, and no direction matters more
than another, which is the worst case for codes. `bench_scale.py` has vectors like real ones, and the whole program.
Times are medians over the queries. Compare ratios, not times, between computers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sst_retrieval.index.codes import write_codes
from sst_retrieval.index.query_vectors import QueryExample
from sst_retrieval.index.vector_files import write_vectors
from sst_retrieval.index.vectors import VectorIndex

BLOCKS = {"pattern": 472, "colour": 149, "shape": 168}
WEIGHTS = np.array([1.0, 0.5, 0.25])
SHARES = (None, 1.0, 0.5, 0.1, 0.01, 0.001)


def unit_blocks(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    """Make float32 (count, D) vectors whose blocks have unit length."""
    parts = [rng.standard_normal((count, size), dtype=np.float32) for size in BLOCKS.values()]
    return np.hstack([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts])


def brute_force(
    vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], k: int, ids: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.int64]:
    """Return the row numbers of the k best, the best first."""
    scaled = queries * np.repeat(WEIGHTS / WEIGHTS.sum(), list(BLOCKS.values())).astype(np.float32)
    scores = (vectors @ scaled.T).max(axis=1)
    if ids is not None:
        outside = np.ones(len(scores), dtype=bool)
        outside[ids] = False
        scores[outside] = -np.inf
    best = np.argpartition(-scores, k)[:k]
    return best[np.lexsort((best, -scores[best]))]


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=15)
    parser.add_argument("--readings", type=int, default=1, help="vectors per query (pose variants)")
    parser.add_argument("-k", type=int, default=12)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    vectors = unit_blocks(rng, options.regions)
    queries = unit_blocks(rng, options.queries * options.readings).reshape(options.queries, options.readings, -1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trait.faiss"
        write_vectors(path, np.arange(len(vectors)), vectors)
        code_files = path.with_suffix(".codes.npy"), path.with_suffix(".codes.npz")
        write_codes(*code_files, vectors, BLOCKS)
        coded, plain = VectorIndex(path, BLOCKS, code_files), VectorIndex(path, BLOCKS)
        print(f"{len(vectors):,} regions x {vectors.shape[1]}, k = {options.k}, {options.readings} vector(s) a query")
        print("   matching   codes ms   no codes ms   brute force ms   ratio of codes")
        for share in SHARES:
            ids = None
            if share is not None:
                ids = np.sort(rng.choice(len(vectors), max(options.k + 1, int(share * len(vectors))), replace=False))
            for index in (coded, plain):  # Warm up: load the pages of the files.
                index.search([QueryExample(queries[0])], options.k, weights=WEIGHTS, ids=ids)
            times: dict[str, list[float]] = {"codes": [], "plain": [], "brute": []}
            for query in queries:
                start = time.perf_counter()
                found = coded.search([QueryExample(query)], options.k, weights=WEIGHTS, ids=ids).ids
                second = time.perf_counter()
                same = plain.search([QueryExample(query)], options.k, weights=WEIGHTS, ids=ids).ids
                third = time.perf_counter()
                expected = brute_force(vectors, query, options.k, ids)
                ends = [start, second, third, time.perf_counter()]
                for own, begin, end in zip(times.values(), ends, ends[1:], strict=False):
                    own.append(1000 * (end - begin))
                if not found.tolist() == same.tolist() == expected.tolist():
                    raise SystemExit(f"the answers differ: {found}, {same} and {expected}")
            label = "no filter" if ids is None else f"{len(ids):,}"
            a, b, c = (float(np.median(own)) for own in times.values())
            print(f"{label:>11}{a:>11.1f}{b:>14.1f}{c:>17.1f}{a / c:>17.2f}", flush=True)


if __name__ == "__main__":
    main()
