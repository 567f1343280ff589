"""An image with its smaller copies, for sampling through many frames: each size is computed once.

A support is sampled in 33 frames. On a photograph of 40 megapixels, every sampling would begin with shrinking all of
it, which takes a tenth of a second, though most of the frames are of one size.
"""

from __future__ import annotations

import math
from typing import Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from sst_retrieval.types import Floats, Frame, Mask

Pixels = TypeVar("Pixels", bound=npt.NDArray[Any])


class Pyramid(Generic[Pixels]):
    """An image and its copies, smaller by whole factors; each is computed when it is first needed, and kept.

    For one frame only, none is needed: `imaging.frames.warp_image` takes the image itself, too.

    Attributes:
        full: the image at its own size, uint8 (H, W, 3) or float32 (H, W).
    """

    def __init__(self, full: Pixels) -> None:
        """Take an image; it must not change any more.

        Args:
            full: uint8 (H, W, 3) or float32 (H, W).
        """
        self.full = full
        self._levels: dict[int, Pixels] = {1: full}

    def level(self, frame: Frame, side: int) -> tuple[Pixels, int]:
        """Choose the copy to sample a frame from: bilinear sampling of the full image would skip thin legs.

        Args:
            frame: the part of the photograph to sample.
            side: edge of the wanted view in pixels.

        Returns:
            The copy with at least one pixel, but less than two, a pixel of the view: box averages of the full image,
            uint8 (h, w, 3) or float32 (h, w); and the factor, an int >= 1, by which it is smaller.
        """
        pixels_per_cell = 1 / math.hypot(frame.matrix[0], frame.matrix[1]) / side
        factor = max(1, int(pixels_per_cell))
        if factor not in self._levels:
            self._levels[factor] = cast(Pixels, np.asarray(Image.fromarray(self.full).reduce(factor)))
        return self._levels[factor], factor


def mask_pyramid(mask: Mask) -> Pyramid[Floats]:
    """Make the pyramid of a mask, bool (H, W): its levels hold how much of each pixel it covers, float32, 0..1."""
    return Pyramid(mask.astype(np.float32))
