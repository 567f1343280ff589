"""Overlapping tiles of a large photograph: where they lie, and how what was computed on each becomes one picture."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from PIL import Image

from sst_retrieval.types import Box, Floats

Tile: TypeAlias = Box
"""(x0, y0, x1, y1) in pixels, half-open."""


def cut_tiles(size: tuple[int, int], side: int) -> list[Tile]:
    """Cover a photograph with square tiles, each of which shares about half with its neighbours.

    Args:
        size: (height, width) of the photograph in pixels.
        side: edge of a tile in pixels.

    Returns:
        The tiles, row by row; smaller ones only where the photograph itself is smaller.

    >>> cut_tiles((100, 250), 100)
    [(0, 0, 100, 100), (50, 0, 150, 100), (100, 0, 200, 100), (150, 0, 250, 100)]
    """
    rows, columns = (_starts(length, side) for length in size)
    return [(x, y, min(x + side, size[1]), min(y + side, size[0])) for y in rows for x in columns]


def merge_tiles(base: Floats, parts: Iterable[tuple[Tile, Floats]], size: tuple[int, int]) -> Floats:
    """Join what was computed on tiles: everywhere the highest value counts.

    Args:
        base: float32 (h, w), the whole photograph.
        parts: a tile, and float32 (any size), what was computed on it.
        size: (height, width) of the photograph, in which the tiles are given.

    Returns:
        float32 (h, w), the size of `base`.
    """
    merged = base.copy()
    down, across = base.shape[0] / size[0], base.shape[1] / size[1]
    for (x0, y0, x1, y1), part in parts:
        left, top = round(x0 * across), round(y0 * down)
        right, bottom = max(left + 1, round(x1 * across)), max(top + 1, round(y1 * down))
        window = merged[top:bottom, left:right]
        fitted = Image.fromarray(part).resize((window.shape[1], window.shape[0]), Image.Resampling.BILINEAR)
        np.maximum(window, np.asarray(fitted), out=window)
    return merged


def _starts(length: int, side: int) -> list[int]:
    """Spread tiles evenly over a length, half a tile or less from one to the next."""
    if length <= side:
        return [0]
    steps = math.ceil((length - side) / (side / 2))
    return [round(step * (length - side) / steps) for step in range(steps + 1)]
