"""How good is a propagator on a labelled collection, whichever specimens happen to be annotated.

The protocol of the SST paper (Feng et al. 2025, arXiv 2501.06749), for one or several supports: of every group some
labelled specimens are drawn to be the supports (`draws`), all others are propagated to (`targets`), and the masks are
scored (`trials`).

`erased` is the share of targets on which one trait is painted over with colours of the photograph's border, as if it
had been torn off: a propagator should say that it is absent. These targets count for presence only.

`turned=True` turns every target by a random angle and mirrors half of them: who survives pose scores alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.draws import by_group, labelled_support, plans_of, shows_any
from sst_retrieval.evaluate.targets import Changes, Target, target_of
from sst_retrieval.evaluate.trials import ProtocolScores, Trial, trials_of
from sst_retrieval.track.contract import Memory, Propagator, batch_of, checked
from sst_retrieval.types import Specimen


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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ProtocolScores:
    """Draw supports, propagate them to all other labelled specimens of their group, and score the masks.

    Args:
        collection: the specimens.
        labels: folder with one label picture a specimen, `<specimen>.png`.
        numbers: trait -> its number in the labels.
        propagator: what is measured.
        shots: supports a group.
        draws: how often supports are drawn; a group with few labelled specimens gives fewer draws.
        seed: of the draws and turns, 0 or more.
        turned: turn every target by a random angle, and mirror half of them.
        erased: share of the targets on which one trait is painted over, 0..1.
        progress: is told how many of how many targets are done.

    Raises:
        InputError: no group has enough labelled specimens, or a label does not fit its photograph.
        ModelError: the propagator answers nonsense.
    """
    if shots < 1 or draws < 1 or seed < 0:
        raise InputError(f"{draws} draws of {shots} supports from seed {seed}: ask for at least 1, and a seed from 0")
    if not 0 <= erased <= 1:
        raise InputError(f"a share of {erased} erased targets cannot be; give one of 0 to 1")
    labelled = by_group(collection, labels)
    plans, left_out = plans_of(labelled, shots, draws, seed, lambda one: shows_any(labels / f"{one.id}.png", numbers))
    if not plans:
        raise InputError(
            f"no group has more than {shots} labelled specimens in {labels}; ask for fewer supports, or label more"
        )
    total = sum(len(targets) for _, _, targets in plans)
    changes = Changes(turned, erased, seed)
    trials: list[Trial] = []
    done = 0
    for draw, chosen, targets in plans:
        supports = [each for one in chosen if (each := labelled_support(one, labels, numbers)) is not None]
        memory = propagator.remember(supports)
        for some in _batches(targets, batch_of(propagator)):
            read = [target_of(one, labels, numbers, memory.traits, draw=draw, changes=changes) for one in some]
            trials += _scored(draw, read, memory, propagator)
            done += len(some)
            progress(done, total)
    return ProtocolScores(tuple(trials), shots, tuple(left_out))


def _batches(targets: Sequence[Specimen], size: int) -> Iterator[Sequence[Specimen]]:
    return (targets[start : start + size] for start in range(0, len(targets), size))


def _scored(draw: int, targets: Sequence[Target], memory: Memory, propagator: Propagator) -> Iterator[Trial]:
    """Propagate to some targets at once, and compare what was found with what is there."""
    images = [target.image for target in targets]
    answers = checked(propagator.propagate(memory, images), images, memory.traits, propagator.name)
    for target, found in zip(targets, answers, strict=True):
        for trial in trials_of(draw, target.specimen, memory.traits, found, target.truth):
            yield replace(trial, iou=None) if target.lost else trial
