"""From drawn shapes to masks: points are checked, polygons filled, all shapes of a trait joined.

Polygons are filled by pycocotools, as COCO defines it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from sst_retrieval.errors import SupportError

EDGE_TOLERANCE = 2.0
"""How many pixels a point may lie beyond the photograph's edge. A hand slips; more is a photograph of another size."""


def check_points(points: Sequence[Any], size: tuple[int, int], where: str) -> list[tuple[float, float]]:
    """Check that points are (x, y) pairs on the photograph, and move those just beyond its edge onto it.

    Args:
        points: (x, y) in pixels each, if they are right.
        size: (height, width) of the photograph in pixels.
        where: file and place in it, for the message.

    Returns:
        (x, y) in pixels, 0 <= x <= width and 0 <= y <= height.

    Raises:
        SupportError: a point is no pair of finite numbers, or more than `EDGE_TOLERANCE` outside of the photograph.
    """
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise SupportError(f"{where} has points that are no x, y pairs; export the annotations again")
    outside = ((array < -EDGE_TOLERANCE) | (array > np.array(size[::-1]) + EDGE_TOLERANCE)).any(axis=1)
    if outside.any():
        x, y = array[outside][0]
        raise SupportError(
            f"{where} has the point ({x:g}, {y:g}) outside of its photograph of {size[1]} x {size[0]} px; "
            f"annotate the photograph at the size that it has now"
        )
    return [(float(x), float(y)) for x, y in np.clip(array, 0, size[::-1])]


def encode_polygon(points: Sequence[Any], size: tuple[int, int], where: str) -> bytes:
    """Fill a polygon.

    Args:
        points: corners, (x, y) in pixels each.
        size: (height, width) of the photograph in pixels.
        where: file and place in it, for the message.

    Returns:
        The mask as compressed COCO run-length counts, perhaps of an empty mask.

    Raises:
        SupportError: as `check_points`, or there are fewer than 3 corners.
    """
    corners = check_points(points, size, where)
    if len(corners) < 3:
        raise SupportError(f"{where} has an outline of {len(corners)} points; an area needs at least 3")
    rle: bytes = coco.frPyObjects([[value for corner in corners for value in corner]], *size)[0]["counts"]
    return rle


def join_shapes(shapes: Mapping[str, Sequence[bytes]], size: tuple[int, int], where: str) -> dict[str, bytes]:
    """Join all shapes of a trait to one mask: their union.

    Args:
        shapes: trait -> masks as compressed COCO run-length counts.
        size: (height, width) of the photograph in pixels.
        where: the file and the photograph, for the message.

    Returns:
        trait -> mask as compressed COCO run-length counts, none of them empty.

    Raises:
        SupportError: the shapes of a trait cover no pixel.
    """
    joined = {}
    for trait, rles in shapes.items():
        union = coco.merge([{"size": list(size), "counts": rle} for rle in rles])
        if not coco.area(union):
            raise SupportError(f"{where}: {trait!r} covers no pixel; draw it larger, or erase it")
        joined[trait] = union["counts"]
    return joined
