"""Room 3: from one annotated specimen to masks on all the others.

This room holds the contract; the propagators live in `models/` (dense, sam2, ...) and a third party passes its own
as `--propagator mylab.models:Tracker`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from sst_retrieval.errors import ModelError
from sst_retrieval.types import Propagated, RGBImage, Support


class Memory(Protocol):
    """What a propagator keeps of a group's supports. Opaque but for the order of the traits."""

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the T traits, in the order of every mask stack made from this memory."""
        ...


@runtime_checkable
class Propagator(Protocol):
    """Finds the traits of a group's supports on other photographs of that group.

    One that is faster with several photographs at once may have a whole number `batch`: so many are then given to it
    (see `batch_of`). It need not. One that several threads may ask at the same time says so by `concurrent = True`; a
    build then works on several photographs at once.
    """

    @property
    def name(self) -> str:
        """The model and its settings in one line; goes into the provenance."""
        ...

    def remember(self, supports: Sequence[Support]) -> Memory:
        """Encode the supports of one group, once; the memory serves every target of the group.

        Args:
            supports: one or more annotated specimens of one group.

        Returns:
            A memory whose traits are the union of the supports' traits.
        """
        ...

    def propagate(self, memory: Memory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find every trait of the memory on every image.

        A result never depends on the other images of the call: order and batch size change nothing.

        Args:
            memory: from `remember` of the same propagator.
            images: uint8 (H, W, 3) each, any sizes.

        Returns:
            One `Propagated` an image, masks at the image's own size.
        """
        ...


def batch_of(propagator: Propagator) -> int:
    """Say how many photographs a propagator wants at once: its `batch`, or 1 if it says nothing.

    Raises:
        ModelError: its `batch` is no whole number above 0.
    """
    batch = getattr(propagator, "batch", 1)
    if not isinstance(batch, int) or batch < 1:
        raise ModelError(f"propagator {propagator.name} wants batches of {batch!r}; `batch` must be 1 or more")
    return batch


def checked(
    found: Sequence[Propagated], images: Sequence[RGBImage], traits: Sequence[str], name: str
) -> Sequence[Propagated]:
    """Make sure that a propagator answered photographs with what it promised.

    Raises:
        ModelError: it did not; names the propagator and what is wrong.
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
