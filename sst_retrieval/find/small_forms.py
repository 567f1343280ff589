"""Is an annotated individual so small on its photograph that its form cannot be seen?

Enlarged to the size at which pieces are compared, an animal of 24 x 44 pixels is a blur that looks like many things: it
says nothing of its kind. A mushroom as small says as much as a large one, for its form is an outline without limbs.
"""

from __future__ import annotations

import numpy as np
from skimage.morphology import convex_hull_image

from sst_retrieval.types import Mask

SMALL_AREA = 32 * 32
"""Area in pixels below which an individual is small: COCO's definition (Lin et al. 2014)."""

LIMBLESS = 0.94
"""Share of its convex hull that a shape without limbs covers at least: of 55 mushrooms below `SMALL_AREA` all do; of 87
wild animals, shrunk to 600 pixels where they were larger, every deer covers less, of tigers and turtles most."""


def hides_its_form(mask: Mask) -> bool:
    """Return whether an individual is small and has limbs, which so few pixels do not show.

    Args:
        mask: bool (H, W), not empty.
    """
    area = np.count_nonzero(mask)
    if area >= SMALL_AREA:
        return False
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return bool(area < LIMBLESS * np.count_nonzero(convex_hull_image(cut)))
