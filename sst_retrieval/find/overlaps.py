"""Detections that claim the same pixels: the better one stays, and no pixel belongs to two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sst_retrieval.types import Box, Mask

Piece = tuple[Box, Mask]
"""A box (x0, y0, x1, y1), and bool (y1 - y0, x1 - x0)."""


def count_shared(one: Piece, other: Piece) -> int:
    """Count the pixels that two pieces share."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = one[0], other[0]
    x0, y0, x1, y1 = max(ax0, bx0), max(ay0, by0), min(ax1, bx1), min(ay1, by1)
    if x0 >= x1 or y0 >= y1:
        return 0
    first = one[1][y0 - ay0 : y1 - ay0, x0 - ax0 : x1 - ax0]
    second = other[1][y0 - by0 : y1 - by0, x0 - bx0 : x1 - bx0]
    return int(np.count_nonzero(first & second))


def compute_ious(pieces: Sequence[Piece], least: float) -> list[list[tuple[int, float]]]:
    """Compute which pieces overlap strongly.

    Args:
        pieces: the pieces.
        least: the least intersection over union that counts, above 0.

    Returns:
        For every piece the positions of the others, and the IoU with each.
    """
    boxes = np.array([box for box, _ in pieces], dtype=np.float64).reshape(-1, 4)
    areas = np.array([np.count_nonzero(mask) for _, mask in pieces], dtype=np.float64)
    found: list[list[tuple[int, float]]] = [[] for _ in pieces]
    for one in range(len(pieces)):
        rest = slice(one + 1, None)
        low, high = np.maximum(boxes[one, :2], boxes[rest, :2]), np.minimum(boxes[one, 2:], boxes[rest, 2:])
        most = np.minimum(np.clip(high - low, 0, None).prod(axis=1), np.minimum(areas[one], areas[rest]))
        # No pair whose boxes and areas already differ too much is looked at pixel by pixel.
        close = np.flatnonzero(most >= least * np.maximum(areas[one], areas[rest]))
        for other in (one + 1 + close).tolist():
            shared = count_shared(pieces[one], pieces[other])
            iou = shared / (areas[one] + areas[other] - shared)
            if iou >= least:
                found[one].append((other, float(iou)))
                found[other].append((one, float(iou)))
    return found


def suppress(pieces: Sequence[Piece], scores: Sequence[float], *, iou: float, inside: float) -> list[int]:
    """Choose pieces, the best first, that hardly overlap.

    Args:
        pieces: the pieces.
        scores: one a piece; of equal ones the earlier piece comes first.
        iou: a piece whose intersection over union with a chosen one is larger is left out.
        inside: so is one that shares a larger part of the smaller of both.

    Returns:
        Positions of those chosen, the best first.
    """
    areas = [int(np.count_nonzero(mask)) for _, mask in pieces]
    chosen: list[int] = []
    for position in sorted(range(len(pieces)), key=lambda each: -scores[each]):
        for taken in chosen:
            shared = count_shared(pieces[position], pieces[taken])
            either = areas[position] + areas[taken] - shared
            if shared > iou * either or shared > inside * min(areas[position], areas[taken]):
                break
        else:
            chosen.append(position)
    return chosen


def share_pixels(pieces: Sequence[Piece]) -> list[Piece | None]:
    """Give every pixel to the first of the pieces that claim it.

    Returns:
        The pieces with what is left of them, boxes tightened; None where nothing is left.
    """
    left: list[Piece | None] = []
    for box, mask in pieces:
        x0, y0, x1, y1 = box
        rest = mask.copy()
        for before in left:
            if before is None:
                continue
            (bx0, by0, bx1, by1), taken = before
            cx0, cy0, cx1, cy1 = max(x0, bx0), max(y0, by0), min(x1, bx1), min(y1, by1)
            if cx0 < cx1 and cy0 < cy1:
                rest[cy0 - y0 : cy1 - y0, cx0 - x0 : cx1 - x0] &= ~taken[cy0 - by0 : cy1 - by0, cx0 - bx0 : cx1 - bx0]
        left.append(tighten(box, rest))
    return left


def tighten(box: Box, mask: Mask) -> Piece | None:
    """Shrink a piece's box to its mask; None if the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    x0, y0 = box[0] + int(columns[0]), box[1] + int(rows[0])
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return (x0, y0, x0 + inner.shape[1], y0 + inner.shape[0]), inner
