"""The contract of interactive segmentation: from clicks on a photograph to a mask, to annotate a support.

    clicker = load_clicker("sam2.1_hiera_tiny")        # or load_clicker(): needs no checkpoint, and is a fallback
    picture = clicker.look(image)                      # once per photograph: the slow part
    clicked = picture.mask(inside=[(310, 200)], outside=[(340, 260)], box=(200, 120, 420, 300))

With a checkpoint, SAM 2's image predictor computes the mask. Without one, regions of similar colour and texture are
grown around the clicks: usable for traits with clear borders, and `fallback` says that it is not SAM 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sst_retrieval.types import Box, Clicked, Point, RGBImage


class Picture(Protocol):
    """An encoded photograph, ready for clicks."""

    def mask(self, inside: Sequence[Point] = (), outside: Sequence[Point] = (), box: Box | None = None) -> Clicked:
        """Segment the trait that is clicked on.

        Args:
            inside: points on the trait.
            outside: points beside it.
            box: around the trait.

        Raises:
            QueryError: neither a point inside nor a box is given, or one lies beside the photograph.
        """
        ...


class Clicker(Protocol):
    """Turns clicks into masks."""

    @property
    def name(self) -> str:
        """The model, in words."""
        ...

    @property
    def fallback(self) -> bool:
        """Whether this is the fallback without SAM 2; a user interface should say so."""
        ...

    def look(self, image: RGBImage) -> Picture:
        """Encode a photograph, uint8 (H, W, 3), once for all clicks on it."""
        ...


def load_clicker(checkpoint: str | None = None, *, sam2_config: Path | None = None, device: str = "auto") -> Clicker:
    """Load a clicker.

    Args:
        checkpoint: of SAM 2, a name of `nets.weights.WEIGHTS`, or the path of a .pt file. None: the fallback.
        sam2_config: its architecture, if it is not one of Meta's.
        device: "auto", "cpu" or "cuda".

    Raises:
        ModelError: the checkpoint is missing or broken; it is never replaced by the fallback.
    """
    if checkpoint is not None:
        from sst_retrieval.track.sam2.clicks import Sam2Clicker  # Here, because they load PyTorch.

        return Sam2Clicker(checkpoint, config=sam2_config, device=device)
    from sst_retrieval.track.dense.clicks import DenseClicker

    return DenseClicker(device)
