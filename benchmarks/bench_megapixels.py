"""Measure a second, enlarged look at small traits on photographs of 20 megapixels.

    python benchmarks/bench_megapixels.py --specimens 4 --pixels 20

Butterflies of the synthetic drawer are drawn at full size (their parts anew, nothing is enlarged), with three dots and
a streak on each forewing, from 100 to 17 pixels in radius, two of them beside a neighbour of the same look that is no
trait. One is the support, the others are targets. The first look is that of a build: one view of the specimen, 448
pixels wide. The second is that of `build --second-look` (`track.dense.second_look`).

Per trait: its radius in pixels of the photograph and of the view, and the mean IoU of one look and of two; then the
seconds of processor of both, a photograph.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer

from sst_retrieval.imaging import frames
from sst_retrieval.synthetic import beetles, bodies, canvas, specimen, wings
from sst_retrieval.synthetic.canvas import Colour
from sst_retrieval.synthetic.markings import Eyespots, Ray
from sst_retrieval.synthetic.species import SPECIES, Butterfly
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.second_look import SecondLookPropagator
from sst_retrieval.track.dense.trained_decoder import TrainedDecoder
from sst_retrieval.types import Support

DRAWN_SIDE = 3648
"""Shorter edge of a photograph of 20 megapixels, 3:2."""

DARK: Colour = (18.0, 14.0, 12.0)
PALE: Colour = (244.0, 240.0, 226.0)


def main(
    specimens: Annotated[int, typer.Option(help="Photographs of each species; the first is the support.")] = 8,
    pixels: Annotated[float, typer.Option(help="Megapixels of a photograph.")] = 20.0,
    species: Annotated[list[str] | None, typer.Option(help="Names of the drawer's butterflies; else three.")] = None,
    seed: int = 0,
) -> None:
    """Draw, look once and twice, and print a table."""
    torch.set_num_threads(1)
    dense = DensePropagator("cpu", decoder=TrainedDecoder())
    looks = (dense, SecondLookPropagator(dense))
    names = species or ["Ocellina fulva", "Mimeria rubens", "Fictelia tigrina"]
    rows: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    spent = [0.0, 0.0]
    for one in (each for each in SPECIES if isinstance(each, Butterfly) and each.name in names):
        support, *targets = draw_series(one, specimens, math.sqrt(pixels / 20), seed)
        memories = [look.remember([support]) for look in looks]  # type: ignore[attr-defined]
        for target in targets:
            found = []
            for number, (look, memory) in enumerate(zip(looks, memories, strict=True)):
                began = time.process_time()
                found.append(look.propagate(memory, [target.image])[0])  # type: ignore[attr-defined]
                spent[number] += time.process_time() - began
            for trait, true in zip(target.traits, target.masks, strict=True):
                place = memories[0].traits.index(trait)
                radius = math.sqrt(true.sum() / math.pi)
                in_view = radius / frames.measure_side(found[0].frame) * dense.settings.side
                rows[trait].append((radius, in_view, *(compute_iou(each.masks[place], true) for each in found)))
        typer.echo(f"{one.name}: {len(targets)} targets of {support.image.shape[1]} x {support.image.shape[0]}")
    typer.echo("trait  px  px in the view  one look  two looks  (n)")
    for trait, values in sorted(rows.items()):
        mean = np.mean(values, axis=0)
        typer.echo(f"{trait}  {mean[0]:.0f}  {mean[1]:.1f}  {mean[2]:.3f}  {mean[3]:.3f}  ({len(values)})")
    count = len(rows["dot_large"])
    typer.echo(f"seconds of processor a photograph: {spent[0] / count:.2f} and {spent[1] / count:.2f}")


def draw_series(species: Butterfly, count: int, scale: float, seed: int) -> Iterator[Support]:
    """Draw specimens of a species at full size, with small markings that are traits."""
    marked = add_small_markings(species)
    with drawn_at_full_size(scale):
        for number in range(count):
            rng = np.random.default_rng([seed, number, 7])
            plan = specimen.SpecimenPlan(marked, float(rng.normal(0, 0.05)), "fresh", True, ())
            image, masks = specimen.draw_specimen(plan, rng)
            small = {name: mask for name, mask in masks.items() if name.startswith(("dot", "streak"))}
            yield Support(
                f"{species.name} {number}", species.name, image, tuple(sorted(small)),
                np.stack([small[name] for name in sorted(small)]),
            )  # fmt: skip


def add_small_markings(species: Butterfly) -> Butterfly:
    """Add three dots, their neighbours of the same look that are no trait, and a streak."""
    markings = [
        Eyespots("dot_large", (DARK, PALE), (2.5,), 0.78, 0.045),
        Eyespots("dot_middle", (PALE, DARK), (4.5,), 0.74, 0.02),
        Eyespots("", (PALE, DARK), (5.5,), 0.74, 0.02),
        Eyespots("dot_small", (DARK, PALE), (3.5,), 0.36, 0.008),
        Eyespots("", (DARK, PALE), (2.5,), 0.36, 0.008),
        Ray("streak", PALE, (0.16, 0.06), (0.32, 0.09), 0.006),
    ]
    return replace(species, fore=(*species.fore, *markings))


@contextmanager
def drawn_at_full_size(scale: float) -> Iterator[None]:
    """Let the drawer draw its parts for photographs of 20 megapixels (times `scale` squared)."""
    side = round(DRAWN_SIDE * scale)
    modules = (canvas, bodies, beetles, wings)
    before, sizes = canvas.RESOLUTION, specimen._SIZES
    wings._field.cache_clear()
    try:
        for module in modules:
            vars(module)["RESOLUTION"] = round(0.62 * side)
        vars(specimen)["_SIZES"] = ((side, side * 3 // 2),)
        yield
    finally:
        for module in modules:
            vars(module)["RESOLUTION"] = before
        vars(specimen)["_SIZES"] = sizes
        wings._field.cache_clear()


def compute_iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Compute the intersection over union of two masks."""
    return float((one & other).sum() / max(1, (one | other).sum()))


if __name__ == "__main__":
    typer.run(main)
