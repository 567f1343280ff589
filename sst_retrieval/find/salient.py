"""Proposals of a foreground that knows no group: the things it shows on the whole photograph, on tiles, and close by.

1. On the whole photograph it shows the most salient things; on nine overlapping tiles of half its size others, too.
2. Every thing is looked at once more from close by: its outline gets finer, and neighbours come apart.
3. At three thresholds, and split where they are narrow at three spacings, the things give more proposals than there
   are individuals. How often nearly the same one is proposed says how much of a thing it is.
"""

from __future__ import annotations

import numpy as np

from sst_retrieval.find.proposals import (
    LEAST_AREA,
    Proposal,
    collect_pieces,
    find_pieces,
    measure_around,
    merge_alike,
    resize_map,
)
from sst_retrieval.find.watershed import split_round
from sst_retrieval.foregrounds.contract import Foreground
from sst_retrieval.types import Box, Floats, RGBImage

THRESHOLDS = (0.2, 0.5, 0.85)
"""From which foreground on a pixel belongs to a thing."""

LEAST_THING = 0.002
"""Where things are not compared with anything, those that cover less of the photograph are left out."""

TILES = 3
"""How many tiles lie beside each other; each has half the photograph's width and height."""

CLOSE_UPS = 8
"""At most so many things are looked at from close by."""

CLOSE_UP_MARGIN = 1.3
"""Size of the part that is looked at from close by, as a multiple of the thing's box."""

SPACINGS = (0.6, 1.0, 1.5)
"""Where things are split: see `find.watershed`."""


def propose_salient(foreground: Foreground, image: RGBImage) -> list[Proposal]:
    """Propose the things of a photograph.

    Args:
        foreground: tells things from background.
        image: uint8 (H, W, 3).

    Returns:
        The proposals with their votes and surroundings, none of them twice.
    """
    height, width = image.shape[:2]
    least = LEAST_AREA * height * width
    whole = resize_map(foreground.compute(image), (height, width))
    things = [piece for threshold in THRESHOLDS for piece in find_pieces(whole >= threshold, least_area=least)]
    for window in _list_close_ups(things, (height, width)):
        values = _look_at(foreground, image, window)
        things += [piece for threshold in THRESHOLDS for piece in find_pieces(values >= threshold, window[:2], least)]
    for window in _list_tiles((height, width)):
        things += find_pieces(_look_at(foreground, image, window) >= 0.5, window[:2], least)
    parts = []
    for thing in things:
        for spacing in SPACINGS:
            smoothing = 3 * max(1.0, thing.area**0.5 / 120)
            labelled = split_round(thing.mask, spacing, smoothing)
            if labelled.max() > 1:
                parts += collect_pieces(labelled, thing.box[:2], least)
    merged = merge_alike(things + parts)
    return [Proposal(each.box, each.mask, each.votes, measure_around(each, whole)) for each in merged]


def find_salient(foreground: Foreground, image: RGBImage) -> tuple[list[Proposal], list[float]]:
    """Find what a foreground shows on a whole photograph, whatever it is.

    Args:
        foreground: tells things from background.
        image: uint8 (H, W, 3).

    Returns:
        Its connected things, holes filled, and a score for each, 0..1: the mean of the foreground on it. The surest
        first.
    """
    height, width = image.shape[:2]
    whole = resize_map(foreground.compute(image), (height, width))
    things = []
    for each in find_pieces(whole >= THRESHOLDS[0], least_area=LEAST_THING * height * width):
        x0, y0, x1, y1 = each.box
        things.append((float(np.clip(whole[y0:y1, x0:x1][each.mask].mean(), 0, 1)), each))
    things.sort(key=lambda each: -each[0])
    return [each for _, each in things], [score for score, _ in things]


def _look_at(foreground: Foreground, image: RGBImage, window: Box) -> Floats:
    x0, y0, x1, y1 = window
    part = np.ascontiguousarray(image[y0:y1, x0:x1])
    return resize_map(foreground.compute(part), part.shape[:2])


def _list_close_ups(things: list[Proposal], size: tuple[int, int]) -> list[Box]:
    """List the parts of the photograph that are looked at from close by, the largest things first."""
    height, width = size
    windows: list[Box] = []
    for thing in sorted(things, key=lambda each: -each.area):
        x0, y0, x1, y1 = thing.box
        middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
        across, down = (x1 - x0) * CLOSE_UP_MARGIN / 2, (y1 - y0) * CLOSE_UP_MARGIN / 2
        # Not much narrower than long: the network squashes what it sees into a square.
        across, down = max(across, 0.7 * down), max(down, 0.7 * across)
        window = (
            *(max(0, int(middle_x - across)), max(0, int(middle_y - down))),
            *(min(width, int(middle_x + across) + 1), min(height, int(middle_y + down) + 1)),
        )
        large = (window[2] - window[0]) * (window[3] - window[1]) > 0.8 * height * width
        near = 0.0125 * max(size)
        known = any(max(abs(a - b) for a, b in zip(window, other, strict=True)) < near for other in windows)
        if not large and not known:
            windows.append(window)
        if len(windows) == CLOSE_UPS:
            break
    return windows


def _list_tiles(size: tuple[int, int]) -> list[Box]:
    height, width = size
    if min(size) < 2 * TILES:
        return []
    high, wide = 2 * height // (TILES + 1), 2 * width // (TILES + 1)
    tops = [(height - high) * step // (TILES - 1) for step in range(TILES)]
    lefts = [(width - wide) * step // (TILES - 1) for step in range(TILES)]
    return [(left, top, left + wide, top + high) for top in tops for left in lefts]
