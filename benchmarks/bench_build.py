"""Where the time of a build goes: seconds a photograph for each step, photographs a second, and peak memory.

    python benchmarks/bench_build.py [COLLECTION] [--workers N] [--repeats N]

COLLECTION is a folder with collection.csv and supports/; without one, a small synthetic drawer is made. Every step runs
on the same photographs in the same process, one worker and several in turn, so that the ratios hold on a busy computer
too. Seconds are given twice: by the clock on the wall, and as processor time of all cores, which depends less on what
else the computer does.
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
from sst_retrieval.index.folder import IndexFolder
from sst_retrieval.index.thumbnails import write_small_pictures
from sst_retrieval.provenance import peak_memory
from sst_retrieval.track.contract import Memory
from sst_retrieval.types import Skipped, Specimen

PHOTOGRAPHS = 12


@dataclass
class Times:
    """How long something took, again and again.

    Attributes:
        wall, processor: seconds each time.
    """

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take the time of what is done inside."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)

    def said(self) -> str:
        """Say the medians, without the first, which also pays for loading."""
        wall, processor = (sorted(each[1:] or each) for each in (self.wall, self.processor))
        middle = len(wall) // 2
        return (
            f"median {wall[middle]:6.3f} s, most {wall[-1]:6.3f} s; of the processor, median {processor[middle]:6.3f} s"
            f"; {len(wall)} times"
        )


def main(collection_folder: Path, workers: int | None, repeats: int) -> None:
    """Time the first photographs of the collection that were not annotated: step by step, then as a build does."""
    collection = read_collection(collection_folder / "collection.csv")
    supports = read_supports(collection_folder / "supports", collection)
    engines = load_engines("dense", "efficientnet", "auto")
    annotated = {each.specimen for each in supports.references}
    targets = [each for each in collection.specimens if each.id not in annotated and each.group in supports.groups()]
    targets = targets[:: max(1, len(targets) // PHOTOGRAPHS)][: PHOTOGRAPHS + 1]
    memories, times = {}, Times()
    for group in dict.fromkeys(specimen.group for specimen in targets):
        with times.taken():
            memories[group] = engines.propagator.remember(supports.load(group))
    _say("remember a group's support", times)
    with tempfile.TemporaryDirectory() as scratch:
        folder = IndexFolder(Path(scratch))
        for part in ("thumbnails", "crops"):
            (folder.path / part).mkdir()
        step_by_step(engines, memories, targets, folder)
        print(f"peak memory {_peak():.2f} GB")
        together(engines, memories, targets, folder, (1, choose_workers(workers, engines)), repeats)
    print(f"peak memory {_peak():.2f} GB")


def step_by_step(
    engines: Engines, memories: Mapping[str, Memory], targets: Sequence[Specimen], folder: IndexFolder
) -> None:
    """Time every step of one photograph after the other."""
    times: dict[str, Times] = defaultdict(Times)
    for specimen in targets:
        with times["read"].taken():
            image = read_image(specimen.image)
        memory = memories[specimen.group]
        with times["propagate"].taken():
            (found,) = engines.propagator.propagate(memory, [image])
        with times["describe and measure"].taken():
            describe_regions(specimen.id, image, found, memory.traits, engines.embedder)
        with times["write small pictures"].taken():
            masks = dict(zip(memory.traits, found.masks, strict=True))
            write_small_pictures(folder, specimen.id, image, masks)
    for step, each in times.items():
        _say(step, each)


def together(
    engines: Engines,
    memories: Mapping[str, Memory],
    targets: Sequence[Specimen],
    folder: IndexFolder,
    workers: Sequence[int],
    repeats: int,
) -> None:
    """Time all that a build does with a photograph, with few and with many workers in turn."""
    batches = [Batch([Task(one, "", "")], memories[one.group], {}, UNCHANGED) for one in targets]
    times: dict[int, Times] = defaultdict(Times)
    process = partial(process_batch, engines=engines, folder=folder, budget=PixelBudget())
    for _ in range(repeats):
        for count in dict.fromkeys(workers):
            with times[count].taken():
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


def _say(step: str, times: Times) -> None:
    print(f"{step:28s} {times.said()}")


def _peak() -> float:
    return peak_memory() / 2**30


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("collection", type=Path, nargs="?", help="a synthetic drawer if left out")
    parser.add_argument("--workers", type=int, help="photographs at the same time, against one; else as a build does")
    parser.add_argument("--repeats", type=int, default=3)
    told = parser.parse_args()
    if told.collection is not None:
        main(told.collection, told.workers, told.repeats)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(make_drawer(Path(scratch) / "drawer", specimens=24).parent, told.workers, told.repeats)
