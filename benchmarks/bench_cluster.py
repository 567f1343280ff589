"""What a build on a Ray cluster costs the computer on which it was started, in processor time a photograph.

    python benchmarks/bench_cluster.py --photographs 1000

The workers' models are made up and cost next to nothing, but what they give is as large as usual: five traits a
photograph, 783 numbers a region, a thumbnail and five crops. So the driver is what limits the build, and its processor
time a photograph says how many cores it could keep busy with real models.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sst_retrieval.build.pipeline import build_index
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.imaging.frames import square_frame
from sst_retrieval.types import Propagated, RGBImage, Support

TRAITS = ("head", "pronotum", "elytra", "legs", "antennae")
SIDE = 160
SECONDS = 0.82
"""Of a core, that a photograph takes with the models that ship."""


@dataclass
class Memory:
    """A memory of supports that holds as much as the default propagator's."""

    traits: tuple[str, ...]
    data: np.ndarray


class Tracker:
    """Finds five blobs where they always are."""

    name = "made-up tracker"

    def __init__(self, device: str) -> None:
        """Load nothing."""
        self.device = device

    def remember(self, supports: Sequence[Support]) -> Memory:
        """Return a memory of 25 MB."""
        return Memory(TRAITS, np.zeros(25_000_000, dtype=np.uint8))

    def propagate(self, memory: Memory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Return the same masks of every photograph."""
        found = []
        for image in images:
            height, width = image.shape[:2]
            masks = np.zeros((len(TRAITS), height, width), dtype=bool)
            for number in range(len(TRAITS)):
                masks[number, 12 + 25 * number : 31 + 25 * number, 30:130] = True
            confidence = np.full(len(TRAITS), 0.75, dtype=np.float32)
            found.append(Propagated(masks, confidence, square_frame((width / 2, height / 2), width, 0.0)))
        return found


class Embedder:
    """Describes a picture by noise that depends on it."""

    name = "made-up embedder"
    dim = 468
    side = 64

    def __init__(self, device: str) -> None:
        """Load nothing."""
        self.device = device

    def features(self, images: Sequence[RGBImage]) -> list[np.ndarray]:
        """Return a grid of noise a picture."""
        grids = []
        for image in images:
            noise = np.random.default_rng(int(image.sum()) % 2**32)
            grids.append(noise.normal(size=(4, 4, self.dim)).astype(np.float32))
        return grids


def make_collection(folder: Path, photographs: int) -> Path:
    """Write photographs, a table and a support."""
    noise = np.random.default_rng(0)
    (folder / "images").mkdir()
    (folder / "supports").mkdir()
    texture = noise.integers(0, 255, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    names = [f"s{number:06d}" for number in range(photographs)]
    for number, name in enumerate(names):
        picture = Image.fromarray(np.roll(texture, number, axis=0)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture.save(folder / "images" / f"{name}.jpg", quality=85)
    labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for number in range(len(TRAITS)):
        labels[12 + 25 * number : 31 + 25 * number, 30:130] = number + 1
    Image.fromarray(labels).save(folder / "supports" / f"{names[0]}.png")
    lines = "\n".join(f"{trait} = {number}" for number, trait in enumerate(TRAITS, start=1))
    (folder / "supports" / "traits.toml").write_text(f"[traits]\n{lines}\n")
    with (folder / "collection.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["catalogNumber", "image", "group"])
        writer.writerows([name, f"images/{name}.jpg", "beetles"] for name in names)
    return folder / "collection.csv"


def main() -> None:
    """Build once, and print what the driver did meanwhile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray", default="local", help="address of a cluster; local starts one here")
    options = parser.parse_args()
    here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    os.environ["PYTHONPATH"] = os.pathsep.join([*here, os.environ.get("PYTHONPATH", "")])
    folder = Path(tempfile.mkdtemp(prefix="bench_cluster"))
    try:
        table = make_collection(folder, options.photographs)
        settings = BuildSettings(
            propagator="bench_cluster:Tracker",
            embedder="bench_cluster:Embedder",
            workers=options.workers,
            ray=options.ray,
        )
        spent: dict[str, tuple[float, float]] = {}

        def progress(stage: str, done: int, total: int) -> None:
            now = (time.perf_counter(), time.process_time())
            spent[f"{stage}, begin"] = spent.get(f"{stage}, begin", now)
            spent[f"{stage}, end"] = now

        build_index(table, folder / "supports", folder / "index", settings=settings, progress=progress)
        clock, processor = np.subtract(spent["finding traits, end"], spent["finding traits, begin"])
        each = processor / (options.photographs - 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"{options.photographs} photographs in {clock:.1f} s, {options.workers} workers")
        print(f"driver: {1e3 * each:.2f} ms of processor time a photograph, {peak:,.0f} MB at most")
        print(f"at {SECONDS} s of a core a photograph it keeps {SECONDS / each:,.0f} cores busy")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
