"""Where the time of a build goes: seconds a photograph for each step, and peak memory.

    python benchmarks/bench_build.py [COLLECTION]

COLLECTION is a folder with collection.csv and supports/; without one, a small synthetic drawer is made. Every step runs
on the same photographs in the same process, so that the ratios hold on a busy computer too.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from sst_retrieval import make_drawer, read_collection, read_supports
from sst_retrieval.embedding import embed_regions
from sst_retrieval.engines import load_engines
from sst_retrieval.images import read_image
from sst_retrieval.measure import measure

PHOTOGRAPHS = 12
STEPS = ("read", "propagate", "embed", "measure")


def main(collection_folder: Path) -> None:
    """Time every step on the first photographs of the collection that were not annotated."""
    collection = read_collection(collection_folder / "collection.csv")
    supports = read_supports(collection_folder / "supports", collection)
    engines = load_engines("dense", "efficientnet", "auto")
    annotated = {each.specimen for each in supports.references}
    targets = [each for each in collection.specimens if each.id not in annotated and each.group in supports.groups()]
    seconds: dict[str, list[float]] = defaultdict(list)
    memories = {}
    for specimen in targets[:: max(1, len(targets) // PHOTOGRAPHS)][: PHOTOGRAPHS + 1]:
        if specimen.group not in memories:
            start = time.perf_counter()
            memories[specimen.group] = engines.propagator.remember(supports.load(specimen.group))
            seconds["remember a group's support"].append(time.perf_counter() - start)
        clock = [time.perf_counter()]
        image = read_image(specimen.image)
        clock.append(time.perf_counter())
        (found,) = engines.propagator.propagate(memories[specimen.group], [image])
        clock.append(time.perf_counter())
        embed_regions(image, found.masks, found.frame, engines.embedder)
        clock.append(time.perf_counter())
        for mask in found.masks:
            if mask.any():
                measure(mask, image, found.masks.any(axis=0))
        clock.append(time.perf_counter())
        for step, (before, after) in zip(STEPS, pairwise(clock), strict=True):
            seconds[step].append(after - before)
    for step, each in seconds.items():
        # The first photograph also pays for loading.
        steady = sorted(each[1:] or each)
        print(f"{step:28s} median {steady[len(steady) // 2]:6.3f} s   most {steady[-1]:6.3f} s   of {len(steady)}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(make_drawer(Path(scratch) / "drawer", specimens=24).parent)
