"""Reading order: number what is on a photograph row by row, from left to right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sst_retrieval.types import Box


def sort_in_reading_order(boxes: Sequence[Box]) -> list[int]:
    """Sort boxes as a page is read: rows from top to bottom, a row from left to right.

    A box belongs to the row before it if its centre lies at most half the median height of all boxes below the mean of
    the row's centres. So specimens pinned a little askew are one row.

    Args:
        boxes: (x0, y0, x1, y1) in pixels, half-open.

    Returns:
        Positions in `boxes`, in reading order. They depend on the boxes alone, not on the order in which they come.

    >>> sort_in_reading_order([(50, 2, 60, 12), (0, 40, 10, 50), (0, 0, 10, 10)])
    [2, 0, 1]
    """
    if not boxes:
        return []
    sides = np.asarray(boxes, dtype=np.float64)
    centres = (sides[:, :2] + sides[:, 2:]) / 2
    step = float(np.median(sides[:, 3] - sides[:, 1])) / 2
    rows: list[list[int]] = []
    for place in sorted(range(len(boxes)), key=lambda place: (centres[place, 1], *boxes[place])):
        if rows and centres[place, 1] - centres[rows[-1], 1].mean() <= step:
            rows[-1].append(place)
        else:
            rows.append([place])
    return [place for row in rows for place in sorted(row, key=lambda place: (centres[place, 0], *boxes[place]))]
