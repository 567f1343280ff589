"""A second pass over a group: targets whose masks are surest become further supports, for all the others.

"Predicted masks from pseudo-preceding images" (SST, Feng et al. 2025, arXiv 2501.06749), as a second pass:

1. Propagate the group's supports to its targets (`Propagator.propagate`).
2. `choose_targets`: those on which every trait was found, with a high confidence on the whole; the surest first.
3. `make_support`, `remember_again`: with their predicted masks they join the supports.
4. Propagate to the targets that were not chosen from all of them. The chosen keep the masks of the first pass: asked
   again, each would find its own prediction and confirm it.
5. A target takes the masks of the second pass only where the first was not sure (`needs_second_pass`) and the second is
   clearly surer (`is_clearly_surer`). Predicted masks are worse than drawn ones: where the first pass is good already,
   or bad on every specimen, further supports do harm (benchmarks/README.md).

A mask then depends on which other photographs the group has, but not on their order: only confidences and ids decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sst_retrieval.errors import InputError
from sst_retrieval.track.contract import Memory, Propagator, check_propagated
from sst_retrieval.types import Floats, Propagated, RGBImage, Support

LEAST_CONFIDENCE = 0.6
"""Mean confidence of its traits below which a specimen becomes no support: a wrong one harms every other target. The
mean, since thin traits may be unsure on every specimen of a group; a trait that was not found at all would count as
background."""


SURE = 0.75
"""Mean confidence of the first pass from which on a target keeps its masks."""

CLEARLY_SURER = 0.02
"""By how much the mean confidence of the second pass must exceed that of the first."""


@dataclass(frozen=True, slots=True)
class TwoPassMemory:
    """The supports of a group, encoded for both passes; a `Memory` for `propagate_from`.

    Attributes:
        drawn: memory of the supports that people drew.
        extended: memory of those and of the chosen targets.
    """

    drawn: Memory
    extended: Memory

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the T traits."""
        return self.drawn.traits


def choose_targets(confidences: Mapping[str, tuple[Floats, Sequence[bool]]], count: int) -> tuple[str, ...]:
    """Choose the targets that become supports.

    Args:
        confidences: id of a target -> confidence of each trait, float32 (T,), and whether its mask holds any pixel.
        count: how many at most, 1 or more.

    Returns:
        Ids, the surest first (mean confidence; of equals the one whose id sorts first). Fewer than `count`, or none, if
        too few show every trait with a mean confidence of at least `LEAST_CONFIDENCE`.

    Raises:
        InputError: the count is below 1.

    >>> sure, there = np.array([0.9, 0.8]), [True, True]
    >>> choose_targets({"b": (sure, there), "a": (sure, there), "c": (sure, [True, False])}, 1)
    ('a',)
    """
    if count < 1:
        raise InputError(f"a second pass with {count} further supports cannot be; give 1 or more")
    whole = {
        target: float(np.mean(confidence))
        for target, (confidence, found) in confidences.items()
        if len(confidence) and all(found) and float(np.mean(confidence)) >= LEAST_CONFIDENCE
    }
    return tuple(sorted(whole, key=lambda target: (-whole[target], target))[:count])


def make_support(target: str, group: str, image: RGBImage, found: Propagated, traits: Sequence[str]) -> Support:
    """Make a support of a target and the masks that were found on it.

    Args:
        target: its id.
        group: its group.
        image: uint8 (H, W, 3).
        found: of the first pass, with a mask of every trait.
        traits: names of the T traits, in the order of the masks.
    """
    return Support(target, group, image, tuple(traits), found.masks)


def remember_again(propagator: Propagator, supports: Sequence[Support], further: Sequence[Support]) -> Memory:
    """Encode the supports that people drew, and after them those of the first pass.

    The first support lends its frame and its statistics to all, so it is always one that somebody drew.
    """
    return propagator.remember([*supports, *further])


def needs_second_pass(first: Floats) -> bool:
    """Say whether a target is propagated to again.

    Args:
        first: confidence of each trait in the first pass, float32 (T,).
    """
    return float(np.mean(first)) < SURE


def is_clearly_surer(second: Floats, first: Floats) -> bool:
    """Say whether the masks of a second pass are taken, of a target that needs one.

    Args:
        second: confidence of each trait in the second pass, float32 (T,).
        first: the same in the first pass.

    >>> is_clearly_surer(np.array([0.8, 0.7]), np.array([0.7, 0.7]))
    True
    >>> is_clearly_surer(np.array([0.8, 0.6]), np.array([0.7, 0.7]))
    False
    """
    return float(np.mean(second)) > float(np.mean(first)) + CLEARLY_SURER


def propagate_from(propagator: Propagator, memory: Memory, images: Sequence[RGBImage]) -> list[Propagated]:
    """Propagate to images, from a memory of one pass or of two.

    Args:
        propagator: what made the memories.
        memory: a memory of its own, or a `TwoPassMemory`.
        images: uint8 (H, W, 3) each.

    Returns:
        One result an image; of two passes the first, unless the second is needed and clearly surer.

    Raises:
        ModelError: the propagator breaks its contract.
    """
    if not isinstance(memory, TwoPassMemory):
        return list(check_propagated(propagator.propagate(memory, images), images, memory.traits, propagator.name))
    results = propagate_from(propagator, memory.drawn, images)
    unsure = [place for place, first in enumerate(results) if needs_second_pass(first.confidence)]
    if unsure:
        again = propagate_from(propagator, memory.extended, [images[place] for place in unsure])
        for place, second in zip(unsure, again, strict=True):
            if is_clearly_surer(second.confidence, results[place].confidence):
                results[place] = second
    return results
