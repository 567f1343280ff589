"""The contract of a foreground: from a photograph to how much of each pixel belongs to a thing."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from sst_retrieval.types import Floats, RGBImage


@runtime_checkable
class Foreground(Protocol):
    """Tells things from background, knowing nothing of the group."""

    @property
    def name(self) -> str:
        """The model and its settings in one line; goes into the provenance."""
        ...

    def compute(self, image: RGBImage) -> Floats:
        """Compute how much of each pixel is a thing.

        The result never depends on other photographs.

        Args:
            image: uint8 (H, W, 3), any size.

        Returns:
            float32 (h, w), 0..1, covering the whole photograph, of any size; the caller resizes it.
        """
        ...
