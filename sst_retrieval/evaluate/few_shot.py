"""Few-shot evaluation of a propagator on a labelled collection, with randomly drawn supports.

The protocol of the SST paper (Feng et al. 2025, arXiv 2501.06749), for one or several supports:

1. Of every group some labelled specimens are drawn to be the supports (`few_shot_split`).
2. Their masks are propagated to all other labelled specimens of the group. These may be perturbed (`perturbation`):
   `turned=True` rotates every target by a random angle and mirrors half of them, to measure robustness to pose;
   `erased` is the share of targets on which one trait is painted over, as if it had been torn off, to measure whether
   the propagator detects its absence. Such targets count for presence only.
3. With a second pass, the targets whose masks are surest become supports, too; the masks of all others are propagated
   anew where they were unsure, and taken where they are now clearly surer (`track.second_pass`).
4. The masks are scored (`few_shot_scores`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.few_shot_scores import ProtocolScores, Trial, score_target
from sst_retrieval.evaluate.few_shot_split import (
    group_labelled,
    load_labelled_support,
    sample_supports,
    shows_any_trait,
)
from sst_retrieval.evaluate.perturbation import Perturbation, Target, load_target
from sst_retrieval.track.contract import Memory, Propagator, check_propagated, get_batch_size
from sst_retrieval.track.second_pass import (
    choose_targets,
    is_clearly_surer,
    make_support,
    needs_second_pass,
    remember_again,
)
from sst_retrieval.types import Floats, Photograph, Support


def run_protocol(
    collection: Collection,
    labels: Path,
    numbers: Mapping[str, int],
    propagator: Propagator,
    *,
    shots: int = 1,
    draws: int = 3,
    seed: int = 0,
    turned: bool = False,
    erased: float = 0.0,
    second_pass: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ProtocolScores:
    """Draw supports, propagate their masks to all other labelled specimens of their group, and score the result.

    Args:
        collection: the specimens.
        labels: folder with one label picture a specimen, `<specimen>.png`.
        numbers: trait -> its number in the labels.
        propagator: the propagator to measure.
        shots: supports a group.
        draws: most draws of supports a group; a group with few labelled specimens gives fewer.
        seed: of draws and perturbations, 0 or more.
        turned: whether to rotate every target by a random angle, and mirror half of them.
        erased: share of the targets on which one trait is painted over, 0..1.
        second_pass: most targets of a draw that become supports for a second pass; 0 for one pass.
        progress: called with the number of targets done and their total.

    Returns:
        One trial per trait, target and draw, and what they average to.

    Raises:
        InputError: no group has enough labelled specimens, or a label does not fit its photograph.
        ModelError: the propagator breaks its contract (wrong shapes, types or ranges).
    """
    if shots < 1 or draws < 1 or seed < 0:
        raise InputError(f"{draws} draws of {shots} supports from seed {seed}: ask for at least 1, and a seed from 0")
    if not 0 <= erased <= 1:
        raise InputError(f"a share of {erased} erased targets cannot be; give one of 0 to 1")
    labelled = group_labelled(collection, labels)
    splits, left_out = sample_supports(labelled, shots, draws, seed, lambda one: shows_any_trait(one, labels, numbers))
    if not splits:
        raise InputError(
            f"no group has more than {shots} labelled specimens in {labels}; ask for fewer supports, or label more"
        )
    total = sum(len(targets) for _, _, targets in splits) * (2 if second_pass else 1)
    perturbation = Perturbation(rotate=turned, erased_share=erased, seed=seed)
    trials: list[Trial] = []
    done = 0
    for draw, chosen, targets in splits:
        supports = [each for one in chosen if (each := load_labelled_support(one, labels, numbers)) is not None]
        memory = propagator.remember(supports)
        load = partial(_load_targets, labels, numbers, memory.traits, draw, perturbation)
        own: list[Trial] = []
        for batch in _batches(targets, get_batch_size(propagator)):
            own += _propagate_and_score(draw, load(batch), memory, propagator)
            done += len(batch)
            progress(done, total)
        if second_pass:
            first = _collect_confidences(own)
            surest = choose_targets(first, second_pass)
            chosen_targets = [one for target in surest for one in targets if one.id == target]
            further = [_make_support(target, memory, propagator) for target in load(chosen_targets)]
            unsure = {target for target, (confidence, _) in first.items() if needs_second_pass(confidence)}
            others = [one for one in targets if one.id in unsure.difference(surest)] if further else []
            if further:
                memory = remember_again(propagator, supports, further)
            second: list[Trial] = []
            for batch in _batches(others, get_batch_size(propagator)):
                second += _propagate_and_score(draw, load(batch), memory, propagator)
            own = _choose_surer(own, second)
            done += len(targets)
            progress(done, total)
        trials += own
    return ProtocolScores(tuple(trials), shots, tuple(left_out))


def _load_targets(
    labels: Path,
    numbers: Mapping[str, int],
    traits: Sequence[str],
    draw: int,
    perturbation: Perturbation,
    specimens: Sequence[Photograph],
) -> list[Target]:
    return [load_target(one, labels, numbers, traits, draw=draw, perturbation=perturbation) for one in specimens]


def _collect_confidences(trials: Sequence[Trial]) -> dict[str, tuple[Floats, list[bool]]]:
    """Collect what `track.second_pass.choose_targets` asks for, from the trials of one group and draw."""
    by_target: dict[str, list[Trial]] = {}
    for trial in trials:
        by_target.setdefault(trial.specimen, []).append(trial)
    return {
        target: (np.array([t.confidence for t in own], dtype=np.float32), [t.found for t in own])
        for target, own in by_target.items()
    }


def _choose_surer(first: Sequence[Trial], second: Sequence[Trial]) -> list[Trial]:
    """Choose between the trials of two passes, target by target; `second` has only those that needed one."""
    before, after = (_collect_confidences(trials) for trials in (first, second))
    surer = {target for target in after if is_clearly_surer(after[target][0], before[target][0])}
    return [t for t in first if t.specimen not in surer] + [t for t in second if t.specimen in surer]


def _make_support(target: Target, memory: Memory, propagator: Propagator) -> Support:
    """Propagate to one target and make a support of it and its masks."""
    (found,) = check_propagated(
        propagator.propagate(memory, [target.image]), [target.image], memory.traits, propagator.name
    )
    return make_support(target.specimen.id, target.specimen.group, target.image, found, memory.traits)


def _batches(targets: Sequence[Photograph], size: int) -> Iterator[Sequence[Photograph]]:
    return (targets[start : start + size] for start in range(0, len(targets), size))


def _propagate_and_score(
    draw: int, targets: Sequence[Target], memory: Memory, propagator: Propagator
) -> Iterator[Trial]:
    """Propagate to a batch of targets and compare the masks with the true ones."""
    images = [target.image for target in targets]
    answers = check_propagated(propagator.propagate(memory, images), images, memory.traits, propagator.name)
    for target, found in zip(targets, answers, strict=True):
        for trial in score_target(draw, target.specimen, memory.traits, found, target.truth):
            yield replace(trial, iou=None) if target.erased else trial
