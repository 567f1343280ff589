"""The contract of a finder: from annotated individuals of a group to the individuals on its other photographs.

The finders of this program are in this package; a third party passes its own as `--finder mylab.models:Finder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from sst_retrieval.errors import ModelError
from sst_retrieval.types import Detection, RGBImage, Support

FOUND = 0.5
"""Detections with a score of at least this are individuals; a finder may return others, which a build leaves out."""


@runtime_checkable
class Finder(Protocol):
    """Finds the individuals of a group on photographs.

    A finder that has an attribute `compares_groups`, True, is given the annotated individuals of the other groups of
    the collection, too, where these may show several individuals: cut out of their photographs, after those of the
    group it shall find (`Support.group` says whose they are). What it finds may depend on them, and on whether the
    species of two groups (`Support.species`) are known and the same.
    """

    @property
    def name(self) -> str:
        """The model and its settings in one line; goes into the provenance."""
        ...

    def remember(self, supports: Sequence[Support]) -> Any:
        """Encode the annotated individuals of one group, once for all its photographs.

        Args:
            supports: one an annotated individual; those on one photograph share `photograph` and `image`. What is on
                that photograph and not annotated may be more individuals, or anything else.

        Returns:
            A memory that only this finder understands. It is not changed afterwards.
        """
        ...

    def find(self, memory: Any, image: RGBImage) -> list[Detection]:
        """Find the individuals on a photograph.

        The result never depends on other photographs.

        Args:
            memory: from `remember` of the same finder.
            image: uint8 (H, W, 3), any size.

        Returns:
            The individuals, the surest first; masks of two never share a pixel. Empty if there are none.
        """
        ...


def compares_groups(finder: Finder) -> bool:
    """Return whether a finder wants the annotated individuals of other groups, too (see `Finder`)."""
    return getattr(finder, "compares_groups", False) is True


def check_detections(found: Sequence[Detection], image: RGBImage, name: str) -> list[Detection]:
    """Check what a finder returns.

    Args:
        found: its answer.
        image: uint8 (H, W, 3), the photograph.
        name: the finder's, for the message.

    Returns:
        The same.

    Raises:
        ModelError: a box is empty or leaves the photograph, a mask is empty or not of its box's size, or a score is
            not in 0..1.
    """
    height, width = image.shape[:2]
    for each in found:
        x0, y0, x1, y1 = each.box
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ModelError(f"finder {name} returned the box {each.box} on a photograph of {width} x {height} px")
        if each.mask is not None and (each.mask.shape != (y1 - y0, x1 - x0) or not each.mask.any()):
            raise ModelError(f"finder {name} returned a mask that is empty or not of the size of its box {each.box}")
        if not 0 <= each.score <= 1:
            raise ModelError(f"finder {name} returned the score {each.score}; it must be 0..1")
    return list(found)
