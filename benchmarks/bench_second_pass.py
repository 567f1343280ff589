"""Measure a second pass of propagation, in which the surest targets become further supports.

    python benchmarks/bench_second_pass.py COLLECTION [COLLECTION ...] --extra 1 --extra 3 --every 9 --seed 0 --seed 1

The second pass is that of a build (`track.second_pass`), the "predicted masks from pseudo-preceding images" of SST.
A collection is a folder with collection.csv, labels/ and supports/traits.toml; of every group one specimen is
drawn, and all others are targets. The first pass is computed once for all numbers of further supports; the chosen ones
keep the masks of the first pass.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.engines import load_propagator
from sst_retrieval.evaluate.few_shot_scores import ProtocolScores, Trial, score_target
from sst_retrieval.evaluate.few_shot_split import group_labelled, load_labelled_support
from sst_retrieval.evaluate.perturbation import Perturbation, Target, load_target
from sst_retrieval.track.contract import Memory, Propagator
from sst_retrieval.track.second_pass import (
    choose_targets,
    is_clearly_surer,
    make_support,
    needs_second_pass,
    remember_again,
)
from sst_retrieval.types import Photograph, Propagated, Support


@dataclass(frozen=True, slots=True)
class Line:
    """One trial of one number of further supports, for a file of JSON lines."""

    collection: str
    seed: int
    extra: int
    chosen: bool
    surer: bool
    trial: Trial


def main(
    collections: Annotated[list[Path], typer.Argument(help="Folders of labelled collections.")],
    extra: Annotated[list[int] | None, typer.Option(help="Number of further supports per group; repeatable.")] = None,
    every: Annotated[int, typer.Option(help="Use every n-th specimen of a group only.")] = 1,
    groups: Annotated[list[str] | None, typer.Option("--group", help="Only these groups; repeatable.")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Of a draw; repeatable.")] = None,
    trials: Annotated[Path | None, typer.Option(help="Append every trial to this file, as JSON lines.")] = None,
) -> None:
    """Run one and two passes on each collection and print mean IoUs."""
    propagator = load_propagator("dense", "auto")
    counts = extra or [1, 3]
    for folder in collections:
        lines: list[Line] = []
        for seed in seeds or [0]:
            drawn = list(measure(propagator, folder, every, groups, seed, counts))
            lines += drawn
            if trials is not None:
                with trials.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(asdict(line)) + "\n" for line in drawn)
            report(f"{folder.name}, seed {seed}", drawn, counts)
        if len(seeds or []) > 1:
            report(f"{folder.name}, all draws", lines, counts)


def measure(
    propagator: Propagator, folder: Path, every: int, groups: Sequence[str] | None, seed: int, counts: Sequence[int]
) -> Iterator[Line]:
    """Draw a support of every group and score one and two passes over the others."""
    labels, numbers = folder / "labels", read_traits(folder / "supports" / "traits.toml").numbers
    for group, members in group_labelled(read_collection(folder / "collection.csv"), labels).items():
        own = members[::every]
        if len(own) < 2 or (groups and group not in groups):
            continue
        place = int(np.random.default_rng([seed, zlib.crc32(group.encode())]).integers(len(own)))
        support = load_labelled_support(own[place], labels, numbers)
        if support is None:
            continue
        targets = load_targets([one for one in own if one is not own[place]], labels, numbers, support.traits, seed)
        for count, chosen, surer, trial in propagate_twice(propagator, support, targets, counts, seed):
            yield Line(folder.name, seed, count, chosen, surer, trial)


def load_targets(
    specimens: Sequence[Photograph], labels: Path, numbers: Mapping[str, int], traits: Sequence[str], seed: int
) -> list[Target]:
    """Read the photographs and true masks of targets."""
    nothing = Perturbation(rotate=False, erased_share=0.0, seed=seed)
    return [load_target(one, labels, numbers, traits, draw=seed, perturbation=nothing) for one in specimens]


def propagate_twice(
    propagator: Propagator, drawn: Support, targets: Sequence[Target], counts: Sequence[int], seed: int
) -> Iterator[tuple[int, bool, bool, Trial]]:
    """Propagate once, and again with each number of further supports.

    Yields:
        Number of further supports, whether the target became one, whether the second pass is taken, and a trial
        of the last pass of the target.
    """
    memory = propagator.remember([drawn])
    first = {one.specimen.id: propagate(propagator, memory, one) for one in targets}
    for one in targets:
        for trial in score(one, first[one.specimen.id], memory, seed):
            yield 0, False, False, trial
    known = {name: (found.confidence, [bool(mask.any()) for mask in found.masks]) for name, found in first.items()}
    for count in counts:
        surest = choose_targets(known, count)
        further = [
            make_support(name, drawn.group, one.image, first[name], memory.traits)
            for name in surest
            for one in targets
            if one.specimen.id == name
        ]
        again = remember_again(propagator, [drawn], further) if further else memory
        for one in targets:
            name = one.specimen.id
            found = propagate(propagator, again, one) if further and name not in surest else first[name]
            unsure = needs_second_pass(first[name].confidence)
            surer = unsure and is_clearly_surer(found.confidence, first[name].confidence)
            for trial in score(one, found, memory, seed):
                yield count, name in surest, surer, trial


def propagate(propagator: Propagator, memory: Memory, target: Target) -> Propagated:
    """Propagate to one target."""
    return propagator.propagate(memory, [target.image])[0]


def score(target: Target, found: Propagated, memory: Memory, seed: int) -> Iterator[Trial]:
    """Score one target."""
    yield from score_target(seed, target.specimen, memory.traits, found, target.truth)


def report(name: str, lines: Sequence[Line], counts: Sequence[int]) -> None:
    """Print the mean IoU of one pass, of two, and of whichever is taken (`track.second_pass.is_clearly_surer`)."""
    first = [line for line in lines if line.extra == 0]
    typer.echo(f"{name}, one pass: {describe([line.trial for line in first])}")
    for count in counts:
        own = [line for line in lines if line.extra == count]
        taken = {(line.seed, line.trial.specimen): line.surer for line in own}
        mixed = [line.trial for line in own if line.surer]
        mixed += [line.trial for line in first if not taken[line.seed, line.trial.specimen]]
        chosen = len({(line.seed, line.trial.specimen) for line in own if line.chosen})
        typer.echo(f"{name}, {count} further ({chosen} chosen), all: {describe([line.trial for line in own])}")
        typer.echo(f"{name}, {count} further, {sum(taken.values())} of {len(taken)} surer: {describe(mixed)}")


def describe(trials: Sequence[Trial]) -> str:
    """Describe trials in one line."""
    scores = ProtocolScores(tuple(trials), 1, ())
    by_trait = ", ".join(f"{trait} {iou:.3f}" for trait, iou in scores.traits().items())
    return f"{scores.mean_iou():.3f} ({by_trait}); presence recall {scores.presence()['recall']:.3f}"


if __name__ == "__main__":
    typer.run(main)
