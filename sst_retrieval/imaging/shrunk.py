"""A photograph or a mask with its smaller copies: looking at it through many frames shrinks it only once or twice.

A support is seen in 33 frames. On a photograph of 40 megapixels each look would begin with shrinking all of it, a tenth
of a second, though most of the frames are of one size.
"""

from __future__ import annotations

import math
from typing import Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from sst_retrieval.types import Floats, Frame, Mask

Pixels = TypeVar("Pixels", bound=npt.NDArray[Any])


class Shrunk(Generic[Pixels]):
    """A picture and its copies that are smaller by a whole factor; each is made when it is first asked for, and kept.

    Whoever looks through one frame only need not make one: `imaging.frames.warp` does.
    """

    def __init__(self, whole: Pixels) -> None:
        """Take a picture; it must not change any more.

        Args:
            whole: uint8 (H, W, 3) or float32 (H, W).
        """
        self.whole = whole
        self._copies: dict[int, Pixels] = {1: whole}

    def seen(self, frame: Frame, side: int) -> tuple[Pixels, int]:
        """Shrink for a look through a frame: bilinear sampling alone would skip pixels and lose thin legs.

        Args:
            frame: where to look.
            side: edge, in pixels, of what is wanted.

        Returns:
            The picture, and how many times it is smaller than the whole.
        """
        pixels_per_cell = 1 / math.hypot(frame.matrix[0], frame.matrix[1]) / side
        factor = max(1, int(pixels_per_cell))
        if factor not in self._copies:
            self._copies[factor] = cast(Pixels, np.asarray(Image.fromarray(self.whole).reduce(factor)))
        return self._copies[factor], factor


def shrinkable(mask: Mask) -> Shrunk[Floats]:
    """Make a mask, bool (H, W), ready to be looked at: how much of each pixel it covers, 0 or 1."""
    return Shrunk(mask.astype(np.float32))
