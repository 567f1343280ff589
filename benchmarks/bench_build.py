"""Measure a build: seconds per photograph for each step, speed-up with several workers, and peak memory.

    python benchmarks/bench_build.py [COLLECTION] [--workers N] [--repeats N]

COLLECTION is a folder with collection.csv and supports/; without one, a small synthetic drawer is made. All steps run
on the same photographs in the same process, alternating between one worker and several, so that ratios are comparable
on a busy computer. Times are wall-clock seconds and processor seconds of all cores; the latter depend less on other
load.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sst_retrieval import make_drawer, read_collection, read_supports
from sst_retrieval.build.alignment import UNCHANGED
from sst_retrieval.build.photographs import Batch, process_batch
from sst_retrieval.build.plan import Task
from sst_retrieval.build.regions import describe_regions
from sst_retrieval.build.workers import PixelBudget, choose_workers, map_in_order
from sst_retrieval.engines import Engines, load_engines
from sst_retrieval.imaging.images import read_image
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.thumbnails import write_thumbnails
from sst_retrieval.provenance import peak_memory
from sst_retrieval.track.contract import Memory
from sst_retrieval.types import Photograph, Skipped

MAX_PHOTOGRAPHS = 12


@dataclass
class Times:
    """Repeated measurements of a step.

    Attributes:
        wall: wall-clock seconds of each repetition.
        processor: processor seconds of each repetition, over all threads.
    """

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Measure the body of a `with` statement."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)

    def summary(self) -> str:
        """Return the medians as text, without the first repetition, which includes loading."""
        wall, processor = (sorted(each[1:] or each) for each in (self.wall, self.processor))
        middle = len(wall) // 2
        return (
            f"median {wall[middle]:6.3f} s, most {wall[-1]:6.3f} s; of the processor, median {processor[middle]:6.3f} s"
            f"; {len(wall)} times"
        )


def main(collection_folder: Path, workers: int | None, repeats: int) -> None:
    """Time up to MAX_PHOTOGRAPHS photographs without annotations: step by step, then as a build processes them."""
    collection = read_collection(collection_folder / "collection.csv")
    supports = read_supports(collection_folder / "supports", collection)
    engines = load_engines("dense", "efficientnet", "auto")
    annotated = {each.individual for each in supports.references}
    targets = [each for each in collection.photographs if each.id not in annotated and each.group in supports.groups()]
    targets = targets[:: max(1, len(targets) // MAX_PHOTOGRAPHS)][: MAX_PHOTOGRAPHS + 1]
    memories, times = {}, Times()
    for group in dict.fromkeys(specimen.group for specimen in targets):
        with times.measure():
            memories[group] = engines.propagator.remember(supports.load(group))
    _print_times("remember a group's support", times)
    with tempfile.TemporaryDirectory() as scratch:
        paths = IndexPaths(Path(scratch))
        time_steps(engines, memories, targets, paths)
        print(f"peak memory {_peak_memory_gb():.2f} GB")
        time_batches(engines, memories, targets, paths, (1, choose_workers(workers, engines)), repeats)
    print(f"peak memory {_peak_memory_gb():.2f} GB")


def time_steps(
    engines: Engines, memories: Mapping[str, Memory], targets: Sequence[Photograph], paths: IndexPaths
) -> None:
    """Time every step, photograph by photograph."""
    times: dict[str, Times] = defaultdict(Times)
    for specimen in targets:
        with times["read"].measure():
            image = read_image(specimen.image)
        memory = memories[specimen.group]
        with times["propagate"].measure():
            (found,) = engines.propagator.propagate(memory, [image])
        with times["describe and measure"].measure():
            describe_regions(specimen.id, image, found, memory.traits, engines.embedder)
        with times["write small pictures"].measure():
            masks = dict(zip(memory.traits, found.masks, strict=True))
            write_thumbnails(paths, specimen.id, image, masks)
    for step, each in times.items():
        _print_times(step, each)


def time_batches(
    engines: Engines,
    memories: Mapping[str, Memory],
    targets: Sequence[Photograph],
    paths: IndexPaths,
    workers: Sequence[int],
    repeats: int,
) -> None:
    """Time the whole processing of photographs, alternating between the numbers of workers."""
    batches = [Batch([Task(one, "", "")], memories[one.group], {}, UNCHANGED) for one in targets]
    times: dict[int, Times] = defaultdict(Times)
    process = partial(process_batch, engines=engines, paths=paths, budget=PixelBudget())
    for _ in range(repeats):
        for count in dict.fromkeys(workers):
            with times[count].measure():
                answers = list(map_in_order(process, batches, count))
            assert not any(isinstance(each, Skipped) for answer in answers for each in answer)
    alone = min(times[workers[0]].wall)
    for count, each in times.items():
        best, photographs = min(each.wall), len(targets)
        print(
            f"all, {count} at the same time".ljust(28)
            + f" {best / photographs:6.3f} s a photograph, of the processor {min(each.processor) / photographs:.3f} s; "
            f"{alone / best:.2f} times as fast as one after the other; the best of {repeats}, in turn"
        )


def _print_times(step: str, times: Times) -> None:
    print(f"{step:28s} {times.summary()}")


def _peak_memory_gb() -> float:
    return peak_memory() / 2**30


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("collection", type=Path, nargs="?", help="folder of a collection; default: a synthetic drawer")
    parser.add_argument("--workers", type=int, help="number of workers to compare with one; default: that of a build")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions for each number of workers")
    options = parser.parse_args()
    if options.collection is not None:
        main(options.collection, options.workers, options.repeats)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(make_drawer(Path(scratch) / "drawer", specimens=24).parent, options.workers, options.repeats)
