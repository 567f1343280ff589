"""Measure an index of made-up regions, made by the program's own writers: opening, searches, commits, memory, disk.

    python benchmarks/bench_scale.py --regions 100000
    python benchmarks/bench_scale.py --regions 10000 100000 300000 --json scale.json   # and how costs grow
    python benchmarks/bench_scale.py --regions 1000000 --against numpy flat

Nothing is read or computed from photographs: regions get vectors whose spectra are like those of real ones (789
numbers; the variance of the pattern falls to 1/e over 62 directions; few directions hold all but a hundredth of colour
and shape), in species of about 200 individuals, with masks, measurements and a table of seven columns. Shards, catalog,
vectors and codes are written by `Store`, whitened as the program does by default, and searched by `Index.search`.

Every query asks for another region, under another predicate (`bucket BETWEEN ...`), k = 12. Then the vectors alone are
searched, in the same process: by `VectorIndex` with and without codes, and by whatever is installed of NumPy, FAISS
(Flat, HNSW), usearch and LanceDB (`pip install usearch lancedb`; no part of this program). They get row numbers, not
predicates, and no hit is made. Recall is of the 12 best by brute force in double precision.

A hundred photographs are added with a commit of their own: of 10,000 regions and more, to the epoch of the first one
(`index.epochs`).

Each stage runs in a process of its own, so that its memory is its own: "anonymous" is what it held beside mapped files
(Linux only). Times are of a wall clock, but where they are said to be the processor's, which other programs disturb
less; compare ratios, not times, between computers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sst_retrieval.collection.photograph_names import PhotographName
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.collection.table_photographs import TablePhotographs
from sst_retrieval.describe.measure import MEASUREMENTS
from sst_retrieval.imaging import masks
from sst_retrieval.index.epochs import open_vectors, read_epoch, read_removed_ids
from sst_retrieval.index.query_vectors import QueryExample
from sst_retrieval.index.store import Store
from sst_retrieval.index.vector_files import load_faiss
from sst_retrieval.index.vectors import VectorIndex
from sst_retrieval.index.whitening import SHRINKAGE, SPREADS, TRUST
from sst_retrieval.search.index import open_index
from sst_retrieval.types import Frame, Photograph, Region

BLOCKS = {"pattern": 472, "colour": 149, "shape": 168}
DECAY = {"pattern": 62.0, "colour": 1.3, "shape": 3.5}
"""Block -> over how many directions the variance of raw vectors falls to 1/e."""
VARIANCE = {"pattern": 0.28, "colour": 0.05, "shape": 0.05}
"""Block -> share of a raw vector's squared length that differs between regions."""
BETWEEN = {"pattern": 0.5, "colour": 0.6, "shape": 0.5}
"""Block -> share of the variance that is between species."""

SHARD = 2000
K = 12
SHARES = {"all": None, "10 %": 100, "1 %": 10, "0.1 %": 1}
"""Filter -> how many of the thousand values of `bucket` it passes."""
AGAINST = ("numpy", "flat", "hnsw", "usearch", "lancedb")
COLUMNS = {
    "catalogNumber": "VARCHAR",
    "scientificName": "VARCHAR",
    "sex": "VARCHAR",
    "country": "VARCHAR",
    "year": "BIGINT",
    "elevation": "DOUBLE",
    "bucket": "BIGINT",
}


class World:
    """Made-up species, and regions of their individuals."""

    def __init__(self, species: int, seed: int = 0) -> None:
        """Invent species."""
        rng = np.random.default_rng(seed)
        self.species = species
        self._parts = []
        for name, size in BLOCKS.items():
            spread = np.sqrt(np.exp(-np.arange(size) / DECAY[name])).astype(np.float32)
            spread /= np.linalg.norm(spread)
            axes = np.linalg.qr(rng.standard_normal((size, size)))[0].astype(np.float32)
            mean = rng.standard_normal(size).astype(np.float32)
            centres = rng.standard_normal((species, size), dtype=np.float32) * spread
            self._parts.append((name, spread, axes, mean / np.linalg.norm(mean), centres))

    def vectors(self, rng: np.random.Generator, owners: np.ndarray) -> np.ndarray:
        """Make one vector of each owner's species, float32 (n, 789), as an embedder would: blocks of unit length."""
        blocks = []
        for name, spread, axes, mean, centres in self._parts:
            own = rng.standard_normal((len(owners), len(spread)), dtype=np.float32) * spread
            between, variance = BETWEEN[name], VARIANCE[name]
            mixed = np.float32(np.sqrt(between)) * centres[owners] + np.float32(np.sqrt(1 - between)) * own
            block = np.float32(np.sqrt(1 - variance)) * mean + np.float32(np.sqrt(variance)) * (mixed @ axes.T)
            blocks.append(block / np.linalg.norm(block, axis=1, keepdims=True))
        return np.hstack(blocks)


class Made:
    """A made-up collection: its table, and its regions."""

    def __init__(self, regions: int) -> None:
        """Plan a collection of so many regions, one a photograph."""
        self.world, self.rng = World(max(5, regions // 200)), np.random.default_rng(1)
        ellipses = [np.hypot(*np.ogrid[-1:1:600j, -r:r:900j]) < 0.9 for r in np.linspace(1, 2, 40)]
        self.masks = [masks.encode(np.asarray(mask)) for mask in ellipses]

    def photographs(self, start: int, stop: int) -> list[Photograph]:
        """Return the rows of the table from one number to another; the same whenever it is asked."""
        found = []
        for number in range(start, stop):
            rng = np.random.default_rng(number)
            species, bucket, year = rng.integers([self.world.species, 1000, 120])
            values = [f"S{number:08d}", f"Genus species{species:05d}", ("female", "male")[number % 2]]
            values += [("Peru", "Ecuador", "Brazil")[number % 3], int(1900 + year), float(rng.random()), int(bucket)]
            name = values[0]
            image = Path("/photographs") / f"{name}.jpg"
            found.append(Photograph(name, image, "group", dict(zip(COLUMNS, values, strict=True))))
        return found

    def collection(self, count: int) -> Collection:
        """Return the table of so many photographs, in columns, as a build reads it from a file."""
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for start in range(0, count, SHARD):
            for row in self.photographs(start, min(start + SHARD, count)):
                for name, values in columns.items():
                    values.append(row.metadata[name])
        ids = columns["catalogNumber"]
        photographs = TablePhotographs(
            columns,
            names={row: PhotographName(name, name, "") for row, name in enumerate(ids)},
            paths=[Path("/photographs") / f"{name}.jpg" for name in ids],
            groups=["group"] * count,
            places={},
        )
        return Collection(photographs, COLUMNS, Path("made-up.csv"))

    def rows(self, photographs: list[Photograph]) -> list[tuple[Region, str, str]]:
        """Make the rows of a shard."""
        species = np.array([int(each.metadata["scientificName"][-5:]) for each in photographs])
        vectors = self.world.vectors(self.rng, species)
        values = self.rng.random((len(photographs), len(MEASUREMENTS)))
        frame = Frame((0.001, 0.0, 0.1, 0.0, 0.001, 0.1))
        found = []
        for photograph, vector, measured in zip(photographs, vectors, values, strict=True):
            rle = self.masks[len(found) % len(self.masks)]
            region = Region(
                photograph.id, "wing", True, float(measured[0]), (600, 900), rle, (10, 10, 890, 590), frame, vector,
                dict(zip(MEASUREMENTS, measured.tolist(), strict=True)),
            )  # fmt: skip
            found.append((region, photograph.id.rjust(64, "0"), "s"))
        return found


# ------------------------------------------------------------------------------------------------ stages


def write_shards(path: Path, regions: int) -> dict[str, float]:
    """Make the shards of an index."""
    made = Made(regions)
    store = Store.create(
        path, settings={"whitening": dict(SHRINKAGE), "spread": dict(SPREADS), "trust": list(TRUST)}, blocks=BLOCKS
    )
    spent = 0.0
    with store.lock():
        for start in range(0, regions, SHARD):
            rows = made.rows(made.photographs(start, min(start + SHARD, regions)))
            begin = time.perf_counter()
            store.append(rows)
            spent += time.perf_counter() - begin
    return {"write_shards_seconds": spent}


def commit(path: Path, regions: int) -> dict[str, float]:
    """Commit for the first time."""
    collection = Made(regions).collection(regions)
    with Cost() as cost:
        store = Store.open(path)
        with store.lock():
            store.commit(collection, numbers={"wing": 1}, provenance={})
    return {f"first_commit_{name}": value for name, value in cost.spent.items()}


def add(path: Path, regions: int) -> dict[str, float]:
    """Add a hundred photographs, and commit."""
    made = Made(regions)
    collection = made.collection(regions + 100)
    rows = made.rows(made.photographs(regions, regions + 100))
    with Cost() as cost:
        store = Store.open(path)
        with store.lock():
            store.append(rows)
            store.commit(collection, numbers={"wing": 1}, provenance={})
    return {f"add_100_{name}": value for name, value in cost.spent.items()}


def search(path: Path, regions: int, queries: int) -> dict[str, Any]:
    """Open an index and search it by its public interface."""
    rng = np.random.default_rng(2)
    names = [f"S{number:08d}" for number in rng.integers(regions, size=queries + 1)]
    before = anonymous_memory()
    begin = time.perf_counter()
    index = open_index(path)
    opened = time.perf_counter() - begin
    result: dict[str, Any] = {"open_ms": 1000 * opened}
    begin = time.perf_counter()
    index.search(like=(names[-1], "wing"), k=K)
    result["first_query_ms"] = 1000 * (time.perf_counter() - begin)
    asked = {label: (share, {}) for label, share in SHARES.items()}
    asked["colour only"] = None, {"weights": {"colour": 1.0}}
    asked["pattern only"] = None, {"weights": {"pattern": 1.0}}
    asked["3 like, 1 unlike"] = None, {}
    times: dict[str, list[float]] = {label: [] for label in asked}
    spent: dict[str, list[float]] = {label: [] for label in asked}
    for number, name in enumerate(names[:-1]):
        for label, (share, options) in asked.items():  # In turn, so that noise meets all alike.
            where = None
            if share is not None:
                least = int(rng.integers(1001 - share))
                where = f"bucket BETWEEN {least} AND {least + share - 1}"
            like: Any = (name, "wing")
            if label.startswith("3 like"):
                like = [(names[(number + step) % queries], "wing") for step in range(3)]
                options = {"unlike": (names[(number + 3) % queries], "wing")}
            begin, processor = time.perf_counter(), time.process_time()
            index.search(like=like, k=K, where=where, **options)
            times[label].append(1000 * (time.perf_counter() - begin))
            spent[label].append(1000 * (time.process_time() - processor))
    for percentile in (50, 95):
        result[f"search_ms_p{percentile}"] = {name: float(np.percentile(t, percentile)) for name, t in times.items()}
    result["search_processor_ms_p50"] = {name: float(np.median(own)) for name, own in spent.items()}
    result["memory_bytes_a_region"] = (anonymous_memory() - before) / regions
    index.close()
    return result


def compare(path: Path, queries: int, against: tuple[str, ...]) -> dict[str, Any]:
    """Search the vectors alone, by this program and by others: median milliseconds and recall by filter."""
    with open_index(path) as index:
        folder = index._reader._paths.generation(index._reader._generation.number)
        epoch, removed = read_epoch(folder), read_removed_ids(folder)
        codes = open_vectors(folder, "wing", BLOCKS, epoch, removed)
        plain = open_vectors(folder, "wing", BLOCKS, epoch, removed)
        plain.codes = None
        buckets = index.table("wing")["bucket"].to_numpy()
    vectors = np.array(plain.reconstruct(plain.ids)) / np.float32(np.sqrt(len(BLOCKS)))
    build: dict[str, Callable[[], Callable[..., Any]]] = {
        "codes": lambda: _own(codes),
        "without codes": lambda: _own(plain),
        "numpy": lambda: _numpy(vectors),
        "flat": lambda: _flat(vectors),
        "hnsw": lambda: _hnsw(vectors),
        "usearch": lambda: _usearch(vectors),
        "lancedb": lambda: _lancedb(vectors, buckets, path.parent / "lancedb"),
    }
    rng = np.random.default_rng(3)
    asked = []
    for row in rng.integers(len(vectors), size=queries):
        for label, share in SHARES.items():
            least = 0 if share is None else int(rng.integers(1001 - share))
            among = np.ones(len(vectors), bool) if share is None else (buckets >= least) & (buckets < least + share)
            rows = np.flatnonzero(among)
            if len(rows) < K:
                continue
            scores = vectors[rows] @ vectors[row]
            close = rows[scores >= np.partition(scores, -K)[-K] - 1e-5]
            exact = (vectors[close].astype(np.float64) * vectors[row].astype(np.float64)).sum(axis=1)
            best = set(close[np.lexsort((close, -np.round(exact, 9)))[:K]].tolist())
            asked.append((label, row, None if share is None else rows, (least, least + (share or 1000) - 1), best))
    result: dict[str, Any] = {}
    for name in ("codes", "without codes", *against):
        begin = time.perf_counter()
        try:
            ask = build[name]()
        except ImportError as error:
            result[name] = {"missing": str(error)}
            continue
        seconds = time.perf_counter() - begin
        found: dict[str, list[tuple[float, float]]] = {}
        for warm in (True, False):
            for label, row, rows, buckets_between, best in asked[: 4 if warm else None]:
                begin = time.perf_counter()
                answer = ask(vectors[row], rows, buckets_between)
                spent = 1000 * (time.perf_counter() - begin)
                if not warm:
                    found.setdefault(label, []).append((spent, len(best & set(answer)) / len(best)))
        result[name] = {"build_seconds": seconds} | {
            label: {"ms_p50": float(np.median([t for t, _ in own])), "recall": float(np.mean([r for _, r in own]))}
            for label, own in found.items()
        }
    return {"vectors_alone": result}


# ------------------------------------------------------------------------------------------------ others


def _own(index: VectorIndex) -> Callable[..., Any]:
    weights = np.ones(len(BLOCKS))

    def ask(query: np.ndarray, rows: np.ndarray | None, _: Any) -> Any:
        ids = None if rows is None else index.ids[rows]
        found = index.search([QueryExample(query[None])], K, weights=weights, ids=ids)
        return np.searchsorted(index.ids, found.ids).tolist()

    return ask


def _numpy(vectors: np.ndarray) -> Callable[..., Any]:
    def ask(query: np.ndarray, rows: np.ndarray | None, _: Any) -> Any:
        scores = (vectors if rows is None else vectors[rows]) @ query
        best = np.argpartition(scores, -K)[-K:]
        return (best if rows is None else rows[best]).tolist()

    return ask


def _flat(vectors: np.ndarray) -> Callable[..., Any]:
    faiss = load_faiss()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return _faiss(index, len(vectors), faiss.SearchParameters)


def _hnsw(vectors: np.ndarray) -> Callable[..., Any]:
    faiss = load_faiss()
    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 80
    index.add(vectors)
    return _faiss(index, len(vectors), lambda **own: faiss.SearchParametersHNSW(efSearch=128, **own))


def _faiss(index: Any, count: int, parameters: Callable[..., Any]) -> Callable[..., Any]:
    faiss = load_faiss()

    def ask(query: np.ndarray, rows: np.ndarray | None, _: Any) -> Any:
        own = {}
        if rows is not None:
            marks = np.zeros(count, bool)
            marks[rows] = True
            own = {"sel": faiss.IDSelectorBitmap(np.packbits(marks, bitorder="little"))}
        return index.search(query[None], K, params=parameters(**own))[1][0].tolist()

    return ask


def _usearch(vectors: np.ndarray) -> Callable[..., Any]:
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=32, expansion_search=128)
    index.add(np.arange(len(vectors)), vectors)

    def ask(query: np.ndarray, rows: np.ndarray | None, _: Any) -> Any:
        # It has no filter: more are asked for, and those that pass are taken.
        if rows is None:
            return index.search(query, K).keys.tolist()
        passing = set(rows.tolist())
        wanted = min(len(vectors), 20 * K * len(vectors) // len(rows) // 10)
        return [key for key in index.search(query, wanted).keys.tolist() if key in passing][:K]

    return ask


def _lancedb(vectors: np.ndarray, buckets: np.ndarray, folder: Path) -> Callable[..., Any]:
    import lancedb
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(vectors), 10_000):
            part = vectors[start : start + 10_000]
            values = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1])
            numbers = pa.array(np.arange(start, start + len(part)))
            own = pa.array(buckets[start : start + len(part)])
            yield pa.record_batch([numbers, own, values], names=["number", "bucket", "vector"])

    table = lancedb.connect(folder).create_table("wing", pa.Table.from_batches(batches()), mode="overwrite")
    if len(vectors) >= 10_000:
        table.create_index(metric="dot", index_type="IVF_PQ", num_sub_vectors=263)

    def ask(query: np.ndarray, rows: np.ndarray | None, between: tuple[int, int]) -> Any:
        asked = table.search(query).distance_type("dot").nprobes(20).refine_factor(10).limit(K)
        if rows is not None:
            asked = asked.where(f"bucket BETWEEN {between[0]} AND {between[1]}", prefilter=True)
        return asked.select(["number"]).to_arrow().column("number").to_pylist()

    return ask


# ------------------------------------------------------------------------------------------------ cost


class Cost:
    """What a stage costs: seconds, seconds of processor, peak bytes in all and beside mapped files."""

    def __enter__(self) -> Cost:
        """Begin to measure."""
        self.spent: dict[str, float] = {}
        self._peak, self._end = 0, threading.Event()
        self._before = anonymous_memory()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        """End it."""
        self.spent = {
            "seconds": time.perf_counter() - self._start[0],
            "processor_seconds": time.process_time() - self._start[1],
        }
        self._end.set()
        self._watch.join()
        self.spent["anonymous_bytes"] = self._peak - self._before

    def _look(self) -> None:
        while not self._end.wait(0.02):
            self._peak = max(self._peak, anonymous_memory())


def anonymous_memory() -> int:
    """Return what this process holds in memory beside mapped files, in bytes; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) * 1024


def disk(path: Path, regions: int) -> dict[str, Any]:
    """Add up the sizes of the files of an index by kind, in bytes a region."""
    kinds = {"shards": "shards/*.parquet", "catalog": "generations/*/catalog.duckdb"}
    kinds |= {"vectors": "generations/*/vectors/*.faiss", "places": "generations/*/vectors/*.places.npz"}
    kinds |= {"codes": "generations/*/vectors/*.codes.np[yz]", "owners": "generations/*/owners/*"}
    sizes = {name: sum(file.stat().st_size for file in path.glob(kind)) / regions for name, kind in kinds.items()}
    whole = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / regions
    return {"disk_bytes_a_region": {**sizes, "in all": whole}}


def _be_a_script() -> None:
    """Keep DuckDB from drawing progress bars, as it does where the main module has no file (a notebook)."""
    sys.modules["__main__"].__file__ = __file__


def run(stage: Callable[..., dict[str, Any]], *values: Any) -> dict[str, Any]:
    """Run a stage in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1, _be_a_script) as pool:
        return pool.apply(stage, values)


# ------------------------------------------------------------------------------------------------ report


def measure(regions: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure an index of so many regions."""
    path = folder / f"index-{regions}"
    against = tuple(options.against if options.against is not None else AGAINST[: 5 if regions <= 100_000 else 2])
    result: dict[str, Any] = {"regions": regions}
    result |= run(write_shards, path, regions)
    result |= run(commit, path, regions)
    result |= disk(path, regions)
    result |= run(search, path, regions, options.queries)
    if not options.no_addition:
        result |= run(add, path, regions)
        after = run(search, path, regions, options.queries)
        result["after_addition"] = {name: after[name] for name in ("open_ms", "search_ms_p50")}
    if not options.public_only:
        result |= run(compare, path, options.queries, against)
    return result


def show(result: dict[str, Any]) -> None:
    """Print what was measured of one size."""
    print(f"\n{result['regions']:,} regions x {sum(BLOCKS.values())} numbers, k = {K}")
    for name, value in result.items():
        if isinstance(value, int | float) and name != "regions":
            unit, divisor = ("MB", 1e6) if name.endswith("bytes") else ("", 1)
            print(f"  {name:<36}{value / divisor:>12.1f} {unit}")
    print("  disk, bytes a region: ", ", ".join(f"{k} {v:,.0f}" for k, v in result["disk_bytes_a_region"].items()))
    print("  public search, ms         p50     p95     processor p50")
    for name, value in result["search_ms_p50"].items():
        p95, processor = result["search_ms_p95"][name], result["search_processor_ms_p50"][name]
        print(f"    {name:<20}{value:>9.1f}{p95:>8.1f}{processor:>18.1f}")
    if "after_addition" in result:
        print(f"    all, after the addition{result['after_addition']['search_ms_p50']['all']:>6.1f}")
    if "vectors_alone" in result:
        print("  vectors alone, ms (recall)" + "".join(f"{label:>18}" for label in SHARES) + "     build s")
        for name, own in result["vectors_alone"].items():
            if "missing" in own:
                print(f"    {name:<22} not installed: {own['missing']}")
                continue
            cells = [f"{own[s]['ms_p50']:.1f} ({own[s]['recall']:.3f})" if s in own else "-" for s in SHARES]
            print(f"    {name:<22}" + "".join(f"{cell:>18}" for cell in cells) + f"{own['build_seconds']:>12.1f}")
    sys.stdout.flush()


def exponents(results: list[dict[str, Any]]) -> dict[str, float]:
    """Fit how costs grow with the number of regions: cost = constant * regions ^ exponent."""
    sizes = np.log([each["regions"] for each in results])
    names = ("first_commit_seconds", "first_commit_processor_seconds", "add_100_seconds", "write_shards_seconds")
    return {
        name: float(np.polyfit(sizes, np.log([each[name] for each in results]), 1)[0])
        for name in names
        if all(name in each for each in results)
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, nargs="+", default=[100_000])
    parser.add_argument("--queries", type=int, default=31)
    parser.add_argument("--json", type=Path, help="write the figures to this file; of several sizes, of the largest")
    parser.add_argument("--folder", type=Path, help="make the indexes here, and keep them; else in a temporary folder")
    parser.add_argument("--against", nargs="*", choices=AGAINST, help="default: all up to 100,000 regions, then two")
    parser.add_argument("--public-only", action="store_true", help="do not search the vectors alone")
    parser.add_argument("--no-addition", action="store_true", help="do not add a hundred photographs")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    try:
        for regions in options.regions:
            results.append(measure(regions, options, folder))
            show(results[-1])
            if options.folder is None:
                shutil.rmtree(folder / f"index-{regions}")
    finally:
        if options.folder is None:
            shutil.rmtree(folder)
    written = dict(results[-1])
    if len(results) > 1:
        written |= {"exponents": exponents(results), "smaller": results[:-1]}
        print("\nexponents:", ", ".join(f"{name} {value:.2f}" for name, value in written["exponents"].items()))
    if options.json is not None:
        options.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
