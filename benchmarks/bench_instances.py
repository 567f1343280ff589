"""Measure how long it takes to find the individuals on a drawer, how much memory, and whether they are all found.

    python benchmarks/bench_instances.py                    # 1600 x 1200 with 30 beetles, 6000 x 4000 with 100
    python benchmarks/bench_instances.py --traits           # and find, describe and measure three parts of each
    python benchmarks/bench_instances.py --json found.json

The drawers are composed here: synthetic ground beetles, turned at any angle, on a foam board, in rows; on the larger
one some touch. A beetle on a board of its own is the support. Each drawer is searched in a process of its own, so
that the memory is its own: the peak of all it held, PyTorch and the networks among it. Times are of a wall clock and
do not count the loading of the networks, nor what is learnt of the support.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from sst_retrieval.build.alignment import UNCHANGED
from sst_retrieval.build.individuals import Numbered, as_propagated, describe_individuals, name_individual
from sst_retrieval.build.settings import DEFAULTS
from sst_retrieval.build.workers import PartWorkers, choose_workers, map_with_parts
from sst_retrieval.engines import Engines, load_engines
from sst_retrieval.find.contract import FOUND
from sst_retrieval.synthetic.beetles import draw_beetle
from sst_retrieval.synthetic.canvas import RESOLUTION
from sst_retrieval.synthetic.species import SPECIES, GroundBeetle
from sst_retrieval.synthetic.specimen import vary_beetle
from sst_retrieval.types import Detection, Photograph, RGBImage, Support

SPRITES = 12
"""Different beetles; each lies on the drawer several times, at other angles."""


@dataclass(frozen=True, slots=True)
class Drawer:
    """What is composed.

    Attributes:
        size: (height, width) in pixels.
        rows: of beetles.
        columns: of beetles.
        length: of a beetle, in pixels.
        jitter: how far a beetle lies from its place, as a share of the distance between places.
        seconds: the goal.
        gigabytes: the goal.
    """

    size: tuple[int, int]
    rows: int
    columns: int
    length: float
    jitter: float
    seconds: float
    gigabytes: float


DRAWERS = (Drawer((1200, 1600), 5, 6, 150.0, 0.05, 10.0, 2.5), Drawer((4000, 6000), 10, 10, 420.0, 0.13, 60.0, 2.5))


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on a drawer.

    Attributes:
        pixels: width x height.
        drawn: beetles on it.
        found: individuals with a score of at least 0.5.
        right: drawn beetles that one of these covers with IoU 0.5.
        mean_iou: over all drawn beetles, of the best of these.
        seconds: to find them, by a wall clock.
        processor_seconds: the same, of all threads together: on a busy computer they say more.
        traits_seconds: to propagate, describe and measure three parts of each, as a build does; None if not asked for.
        traits_processor_seconds: the same, of all threads together.
        gigabytes: most memory that the process held.
    """

    pixels: str
    drawn: int
    found: int
    right: int
    mean_iou: float
    seconds: float
    processor_seconds: float
    traits_seconds: float | None
    traits_processor_seconds: float | None
    gigabytes: float


def main() -> None:
    """Measure every drawer and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finder", default="dense")
    parser.add_argument("--foreground", default="u2netp")
    parser.add_argument("--traits", action="store_true", help="propagate, describe and measure three parts, too")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    results = []
    for drawer in DRAWERS:
        with context.Pool(1) as pool:
            measured = pool.apply(measure, (drawer, options.finder, options.foreground, options.traits))
        results.append(asdict(measured))
        print(
            f"{measured.pixels}: {measured.drawn} beetles, {measured.found} found, {measured.right} of them right, "
            f"mean IoU {measured.mean_iou:.3f}; {measured.seconds:.1f} s, of the processor "
            f"{measured.processor_seconds:.1f} s (goal {drawer.seconds:g}), "
            + (
                f"with traits {measured.traits_seconds:.1f} s more, of the processor "
                f"{measured.traits_processor_seconds:.1f} s, "
                if options.traits
                else ""
            )
            + f"{measured.gigabytes:.2f} GB (goal {drawer.gigabytes:g})",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def measure(drawer: Drawer, finder_name: str, foreground: str, traits: bool) -> Measured:
    """Compose a drawer and search it; `traits` says whether to find, describe and measure parts, too."""
    image, labels = compose(drawer, 0)
    single, mask = compose(Drawer((round(drawer.length * 2),) * 2, 1, 1, drawer.length, 0.0, 0, 0), 1)
    engines = load_engines(DEFAULTS.propagator, DEFAULTS.embedder, "cpu", finder=finder_name, foreground=foreground)
    finder = engines.finder
    assert finder is not None
    support = Support("one", "beetles", single, ("rear", "left", "right"), divide(mask > 0))
    memory = finder.remember([support])
    start, worked = time.perf_counter(), time.process_time()
    found = [each for each in finder.find(memory, image) if each.score >= FOUND]
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    more = describe(engines, support, image, found) if traits else (None, None)
    count = drawer.rows * drawer.columns
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    best = np.zeros(count + 1)
    for each in found:
        x0, y0, x1, y1 = each.box
        inside = np.ones((y1 - y0, x1 - x0), bool) if each.mask is None else each.mask
        shared = np.bincount(labels[y0:y1, x0:x1][inside], minlength=count + 1)
        best = np.maximum(best, shared / np.maximum(areas + inside.sum() - shared, 1))
    return Measured(
        pixels=f"{drawer.size[1]} x {drawer.size[0]}",
        drawn=count,
        found=len(found),
        right=int((best[1:] >= 0.5).sum()),
        mean_iou=float(best[1:].mean()),
        seconds=seconds,
        processor_seconds=worked,
        traits_seconds=more[0],
        traits_processor_seconds=more[1],
        gigabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9,
    )


def divide(body: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Divide a body into three parts: bool (H, W) to bool (3, H, W)."""
    rows, columns = np.nonzero(body)
    upper = (np.arange(body.shape[0]) < rows.mean())[:, None]
    left = (np.arange(body.shape[1]) < columns.mean())[None]
    return np.stack([body & ~upper, body & upper & left, body & upper & ~left])


def describe(engines: Engines, support: Support, image: RGBImage, found: Sequence[Detection]) -> tuple[float, float]:
    """Propagate the traits to all individuals, describe and measure them; returns seconds of clock and processor."""
    memory = engines.propagator.remember(as_propagated([support], "many"))
    numbered = [Numbered(name_individual("drawer", at), at, each) for at, each in enumerate(found, 1)]
    photograph = Photograph("drawer", Path("drawer.jpg"), "beetles")
    start, worked = time.perf_counter(), time.process_time()

    def work(_: None, parts: PartWorkers) -> int:
        regions, _notes = describe_individuals(
            *(photograph, image, numbered, memory, ()),
            propagator=engines.propagator,
            embedder=engines.embedder,
            align=UNCHANGED.apply,
            parts=parts,
        )
        return len(regions)

    (count,) = map_with_parts(work, [None], choose_workers(None, engines))
    assert count == len(found)
    return time.perf_counter() - start, time.process_time() - worked


def compose(drawer: Drawer, seed: int) -> tuple[RGBImage, npt.NDArray[np.uint16]]:
    """Compose a drawer: the photograph, and uint16 (H, W), 0 or the number of a beetle."""
    random = np.random.default_rng(seed)
    species = next(each for each in SPECIES if isinstance(each, GroundBeetle))
    parts = [draw_beetle(vary_beetle(species.beetle, random), random) for _ in range(SPRITES)]
    height, width = drawer.size
    image = np.empty((height, width, 3), np.uint8)
    for row in range(0, height, 500):  # In strips: a board of 24 megapixels is never held as floats.
        strip = image[row : row + 500]
        strip[:] = np.clip(random.normal((206, 204, 198), 2.5, strip.shape), 0, 255)
    labels = np.zeros((height, width), np.uint16)
    for number in range(drawer.rows * drawer.columns):
        row, column = divmod(number, drawer.columns)
        part = parts[random.integers(SPRITES)]
        factor = drawer.length * random.uniform(0.85, 1.1) / RESOLUTION
        size = (round(part.cover.shape[1] * factor), round(part.cover.shape[0] * factor))
        sprite = Image.fromarray(np.dstack([part.colour, part.cover]), "RGBA").resize(size, Image.Resampling.BILINEAR)
        turned = np.asarray(sprite.rotate(random.uniform(0, 360), Image.Resampling.BILINEAR, expand=True))
        middle = (np.array([row, column]) + 0.5 + random.normal(0, drawer.jitter, 2)) / (drawer.rows, drawer.columns)
        top, left = (np.array([height, width]) * middle - np.array(turned.shape[:2]) / 2).astype(int)
        y0, x0, y1, x1 = max(0, top), max(0, left), min(height, top + len(turned)), min(width, left + turned.shape[1])
        seen = turned[y0 - top : y1 - top, x0 - left : x1 - left]
        cover = seen[..., 3:] / 255.0
        image[y0:y1, x0:x1] = (image[y0:y1, x0:x1] * (1 - cover) + seen[..., :3] * cover + 0.5).astype(np.uint8)
        labels[y0:y1, x0:x1][seen[..., 3] > 127] = number + 1
    return image, labels


if __name__ == "__main__":
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    main()
