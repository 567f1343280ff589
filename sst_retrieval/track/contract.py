"""The contract of a propagator: from annotated specimens of a group to masks on its other photographs.

The propagators of this program are in `track.dense` and `track.sam2`; a third party passes its own as
`--propagator mylab.models:Tracker`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from sst_retrieval.errors import ModelError
from sst_retrieval.types import Propagated, RGBImage, Support


class Memory(Protocol):
    """The supports of a group, encoded by a propagator. Opaque but for the order of the traits."""

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the T traits, in the order of every mask stack made from this memory."""
        ...


@runtime_checkable
class Propagator(Protocol):
    """Finds the traits of a group's supports on other photographs of that group.

    Two attributes are optional. `batch`, a whole number: photographs that are passed in one call, if the propagator is
    faster with several (see `get_batch_size`). `concurrent`, a bool: whether several threads may call it at the same
    time; a build then processes several photographs at once.
    """

    @property
    def name(self) -> str:
        """The model and its settings in one line; goes into the provenance."""
        ...

    def remember(self, supports: Sequence[Support]) -> Memory:
        """Encode the supports of one group, once for all its targets.

        Args:
            supports: one or more annotated specimens of one group.

        Returns:
            A memory whose traits are the union of the supports' traits.
        """
        ...

    def propagate(self, memory: Memory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find every trait of the memory on every image.

        The result for an image never depends on the other images of the call, their number or order.

        Args:
            memory: from `remember` of the same propagator.
            images: uint8 (H, W, 3) each, any sizes.

        Returns:
            One `Propagated` per image: masks bool (T, H, W) at the image's size, confidences float32 (T,), frame.
        """
        ...


def get_batch_size(propagator: Propagator) -> int:
    """Return how many photographs are passed to a propagator in one call: its `batch`, or 1 without one.

    Raises:
        ModelError: its `batch` is not a whole number above 0.
    """
    batch = getattr(propagator, "batch", 1)
    if not isinstance(batch, int) or batch < 1:
        raise ModelError(f"propagator {propagator.name} wants batches of {batch!r}; `batch` must be 1 or more")
    return batch


def check_propagated(
    found: Sequence[Propagated], images: Sequence[RGBImage], traits: Sequence[str], name: str
) -> Sequence[Propagated]:
    """Check that the results of a propagator keep the contract.

    Args:
        found: results of one call.
        images: that were passed.
        traits: names of the T traits of the memory.
        name: of the propagator, for the message.

    Returns:
        The results, unchanged.

    Raises:
        ModelError: they do not; names the propagator and what is wrong.
    """
    if len(found) != len(images):
        raise ModelError(f"propagator {name} answered {len(images)} photograph(s) with {len(found)} results")
    for answer, image in zip(found, images, strict=True):
        masks, confidence = answer.masks, answer.confidence
        wanted = (len(traits), *image.shape[:2])
        if masks.shape != wanted or masks.dtype != np.bool_:
            raise ModelError(f"propagator {name} gave masks {masks.dtype} {masks.shape}; they must be bool {wanted}")
        if confidence.shape != wanted[:1] or not ((confidence >= 0) & (confidence <= 1)).all():
            raise ModelError(f"propagator {name} gave confidence {confidence}; it must be {len(traits)} numbers 0..1")
    return found
