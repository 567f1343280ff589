"""Measure a second pass of propagation in which the most confident targets become further supports.

    python benchmarks/bench_second_pass.py COLLECTION [COLLECTION ...] --extra 1 --extra 3

"Predicted masks from pseudo-preceding images" (SST, Feng et al. 2025) as a second pass: the masks of one labelled
specimen per group are propagated to all others; the most confident targets become supports, with their predicted masks;
then all targets are propagated again. A collection is a folder with collection.csv, labels/ and supports/traits.toml.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.engines import load_propagator
from sst_retrieval.evaluate.few_shot_split import group_labelled, load_labelled_support
from sst_retrieval.imaging.masks import iou
from sst_retrieval.track.contract import Propagator
from sst_retrieval.types import Propagated, Support

Scores = dict[tuple[int, str], list[float]]
"""(number of further supports, trait) -> IoU of every mask."""


def main(
    collections: Annotated[list[Path], typer.Argument(help="Folders of labelled collections.")],
    extra: Annotated[list[int] | None, typer.Option(help="Number of further supports per group; repeatable.")] = None,
    every: Annotated[int, typer.Option(help="Use every n-th specimen only.")] = 1,
    seed: int = 0,
) -> None:
    """Run one and two passes on each collection and print mean IoUs."""
    propagator = load_propagator("dense", "auto")
    for folder in collections:
        numbers = read_traits(folder / "supports" / "traits.toml").numbers
        scores: Scores = defaultdict(list)
        for group, members in group_labelled(read_collection(folder / "collection.csv"), folder / "labels").items():
            read = [load_labelled_support(each, folder / "labels", numbers) for each in members[::every]]
            known = [each for each in read if each is not None]
            if len(known) > 1:
                own = np.random.default_rng([seed, zlib.crc32(group.encode())]).integers(len(known))
                propagate_twice(propagator, known.pop(int(own)), known, extra or [1, 3], scores)
        for count in (0, *(extra or [1, 3])):
            means = {trait: float(np.mean(ious)) for (number, trait), ious in scores.items() if number == count}
            by_trait = ", ".join(f"{trait} {mean:.3f}" for trait, mean in means.items())
            typer.echo(f"{folder.name}, {count} further: {np.mean(list(means.values())):.3f} ({by_trait})")


def propagate_twice(
    propagator: Propagator, drawn: Support, others: Sequence[Support], extra: Sequence[int], scores: Scores
) -> None:
    """Propagate one specimen's masks to the others of its group, once and with each number of further supports."""
    memory = propagator.remember([drawn])
    found = [propagator.propagate(memory, [each.image])[0] for each in others]
    surest = np.argsort([-float(one.confidence.mean()) for one in found]).tolist()
    add_scores(others, found, memory.traits, scores, 0)
    for count in extra:
        further = [_make_support(others[place], found[place], memory.traits) for place in surest[:count]]
        grown = propagator.remember([drawn, *further])
        again = [propagator.propagate(grown, [each.image])[0] for each in others]
        add_scores(others, again, grown.traits, scores, count)


def add_scores(
    others: Sequence[Support], found: Sequence[Propagated], traits: Sequence[str], scores: Scores, count: int
) -> None:
    """Add the IoU of every predicted mask to `scores`."""
    for truth, one in zip(others, found, strict=True):
        drawn = dict(zip(truth.traits, truth.masks, strict=True))
        for trait, mask in zip(traits, one.masks, strict=True):
            if trait in drawn:
                scores[count, trait].append(iou(mask, drawn[trait]))


def _make_support(target: Support, found: Propagated, traits: Sequence[str]) -> Support:
    there = [place for place, mask in enumerate(found.masks) if mask.any()]
    return Support(
        target.individual, target.group, target.image, tuple(traits[place] for place in there), found.masks[there]
    )


if __name__ == "__main__":
    typer.run(main)
