"""Number individuals as a page is read: row by row from the top, in a row from the left."""

from __future__ import annotations

from collections.abc import Sequence

from sst_retrieval.types import Box


def sort_in_reading_order(boxes: Sequence[Box]) -> list[int]:
    """Sort boxes as a page is read.

    A row is what lies beside the highest box that is left: boxes whose middle is above its lower edge.

    Args:
        boxes: (x0, y0, x1, y1) each.

    Returns:
        Their positions in `boxes`, in reading order.

    >>> sort_in_reading_order([(50, 12, 60, 22), (0, 40, 10, 50), (10, 10, 20, 20)])
    [2, 0, 1]
    """
    left = sorted(range(len(boxes)), key=lambda at: (boxes[at][1] + boxes[at][3], boxes[at]))
    order: list[int] = []
    while left:
        lower = boxes[left[0]][3]
        row = [at for at in left if boxes[at][1] + boxes[at][3] <= 2 * lower]
        order += sorted(row, key=lambda at: (boxes[at][0] + boxes[at][2], boxes[at]))
        left = [at for at in left if at not in row]
    return order
