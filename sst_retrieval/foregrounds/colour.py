"""The colour rule as a foreground: what differs from the colours of the photograph's border; no network is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sst_retrieval.imaging.foreground import STRICT, ForegroundSettings, find_foreground
from sst_retrieval.types import Floats, RGBImage


@dataclass(frozen=True, slots=True)
class ColourForeground:
    """Tells things from a plain background by colour (`imaging.foreground`).

    Attributes:
        settings: what counts as foreground.
    """

    settings: ForegroundSettings = STRICT
    concurrent = True

    @property
    def name(self) -> str:
        """The rule and its settings in one line; goes into the provenance."""
        return f"colour, {self.settings.common_share:g} of the border's pixels are background"

    def compute(self, image: RGBImage) -> Floats:
        """Compute which pixels differ from the border's colours.

        Args:
            image: uint8 (H, W, 3), any size.

        Returns:
            float32 (h, w), 0 or 1, the whole photograph at a size whose longer edge has at most 256 pixels.
        """
        return find_foreground(image, self.settings).astype(np.float32)
