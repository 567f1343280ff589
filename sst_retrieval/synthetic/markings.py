"""Markings on a wing: bands, rays and eyespots, with the exact mask of each.

1. Fan coordinates (which cell between two veins, how far from the hub) place a marking, so a band steps from cell to
   cell as the bands of real butterflies do.
2. Every marking knows how deep inside it a point lies; its colour and its mask come from the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sst_retrieval.synthetic.canvas import Colour, Values, blend, noise, rgb, soft_edge


@dataclass(frozen=True, slots=True)
class Band:
    """A marking across the veins.

    Attributes:
        trait: name of its mask; "" for a marking that is no trait.
        colour: its colour.
        cells: first and last cell of the fan, fractions allowed.
        at: distance of its middle from the hub, in units.
        width: half its width at its widest.
        slope: how much farther out it lies from one cell to the next.
        step: how irregular its edge is from cell to cell.
        gloss: 0 for pigment, 1 for a metallic shine.
    """

    trait: str
    colour: Colour
    cells: tuple[float, float]
    at: float
    width: float
    slope: float = 0.0
    step: float = 0.012
    gloss: float = 0.0


@dataclass(frozen=True, slots=True)
class Ray:
    """A marking along the wing, from `start` to `end` (units), `width` being half its width at its widest."""

    trait: str
    colour: Colour
    start: tuple[float, float]
    end: tuple[float, float]
    width: float
    bend: float = 0.0
    gloss: float = 0.0


@dataclass(frozen=True, slots=True)
class Eyespots:
    """Ringed spots in the middle of the given `cells`; `rings` from the outermost to the pupil."""

    trait: str
    rings: tuple[Colour, ...]
    cells: tuple[float, ...]
    at: float
    radius: float
    gloss: float = 0.0


@dataclass(frozen=True, slots=True)
class Stripes:
    """Stripes over a whole wing, of a continuous family; they always cover the same share of it.

    Attributes:
        trait: name of their mask; "" if they are no trait.
        colour: their colour.
        period: distance of one stripe from the next, in units.
        breaking: 0 for whole stripes; towards 1 they break into a spot between every two veins.
        phase: where the first lies, in periods.
        share: of the wing that they cover, 0..1.
    """

    trait: str
    colour: Colour
    period: float
    breaking: float
    phase: float = 0.0
    share: float = 0.45
    gloss: float = 0.0


Marking: TypeAlias = Band | Ray | Eyespots | Stripes


@dataclass(frozen=True, slots=True)
class Field:
    """The coordinates of every pixel of a wing.

    Attributes:
        x, y: float32 (h, w), units.
        cell: float32 (h, w): number of the fan's cell, with its fraction.
        out: float32 (h, w): distance from the hub.
        depth: float32 (h, w): distance from the wing's edge, 0 outside.
        from_vein: float32 (h, w): 0 on a vein, 1 in the middle of a cell.
        origin: (x, y) in pixels of the base.
    """

    x: Values
    y: Values
    cell: Values
    out: Values
    depth: Values
    from_vein: Values
    origin: tuple[float, float]


def paint_markings(
    colour: Values, field: Field, markings: Sequence[Marking], rough: Values, rng: np.random.Generator
) -> dict[str, Values]:
    """Paint the markings of a wing, a later one over an earlier one.

    Args:
        colour: float32 (h, w, 3); painted on.
        field: the coordinates of every pixel.
        markings: what to paint.
        rough: float32 (h, w): how far every edge is displaced, in units.
        rng: where the irregularities come from.

    Returns:
        Trait name -> its mask, float32 (h, w), 0..1.
    """
    masks: dict[str, Values] = {}
    grain = 1 + 0.05 * noise(field.x.shape, 3.0, rng, 1)
    for marking in markings:
        depth = _depth(marking, field, rng) + rough
        amount = soft_edge(depth, 0.009)
        painted = _marking_colour(marking, field, depth)
        if marking.gloss:
            # Structural colour: it flashes where the wing bends towards the light.
            flash = np.exp(-(((field.x - 0.62 + 0.5 * field.y) / 0.24) ** 2))
            dusk = soft_edge(depth - 0.02, 0.07)
            painted = painted * (1 + marking.gloss * (0.55 * flash + 0.5 * dusk - 0.6))[..., None]
            painted = painted + marking.gloss * (flash * dusk)[..., None] * rgb((10, 34, 10))
        blend(colour, painted * grain[..., None], amount)
        for other in masks.values():
            other *= 1 - amount
        if marking.trait:
            masks[marking.trait] = masks.get(marking.trait, 0) + amount
    return masks


def _depth(marking: Marking, field: Field, rng: np.random.Generator) -> Values:
    """Compute how deep inside a marking every pixel lies: float32 (h, w) in units, 0 at its edge, negative outside."""
    if isinstance(marking, Band):
        first, last = marking.cells
        middle, half = (first + last) / 2, (last - first) / 2
        steps = rng.normal(0, marking.step, size=(2, 24)).astype(np.float32)
        number = np.clip(field.cell, 0, 22).astype(int)
        bulge = 0.16 * marking.width * (1 - field.from_vein) ** 2
        taper = np.sqrt(np.clip(1 - ((field.cell - middle) / half) ** 2, 0, 1)) ** 0.7
        centre = marking.at + marking.slope * (field.cell - middle) + steps[0][number]
        width = (marking.width + steps[1][number] - bulge) * taper - 0.004
        return np.asarray(width - np.abs(field.out - centre), np.float32)
    if isinstance(marking, Ray):
        along = np.subtract(marking.end, marking.start)
        length = math.hypot(*along)
        s = ((field.x - marking.start[0]) * along[0] + (field.y - marking.start[1]) * along[1]) / length
        t = ((field.y - marking.start[1]) * along[0] - (field.x - marking.start[0]) * along[1]) / length
        p = np.clip(s / length, 0, 1)
        width = marking.width * np.sqrt(np.clip(4 * p * (1 - p), 0, 1)) ** 0.8 * (0.8 + 0.2 * field.from_vein)
        return np.asarray(np.minimum(width - np.abs(t - marking.bend * 4 * p * (1 - p)), np.minimum(s, length - s)))
    if isinstance(marking, Stripes):
        return _depth_in_stripes(marking, field)
    return np.asarray(marking.radius - _distance_to_spot(marking, field), np.float32)


def _depth_in_stripes(stripes: Stripes, field: Field) -> Values:
    """As `_depth`. The height that is exceeded on the wanted share of the wing is the edge."""
    waves = np.cos(2 * np.pi * (field.out / stripes.period + stripes.phase))
    height = (1 - 0.45 * stripes.breaking) * waves + 1.5 * stripes.breaking * (field.from_vein - 0.5)
    level = np.quantile(height[field.depth > 0], 1 - stripes.share)
    return np.asarray((height - level) * (stripes.period / (2 * np.pi)), np.float32)


def _distance_to_spot(spots: Eyespots, field: Field) -> Values:
    """Compute the distance to the nearest spot's centre, float32 (h, w) in units; sizes differ, as on real wings."""
    nearest = np.full(field.x.shape, 9.0, np.float32)
    for k, cell in enumerate(spots.cells):
        if not (np.abs(field.cell - cell) < 0.2).any():
            continue
        where = np.abs(field.cell - cell) + 12 * np.abs(field.out - spots.at)
        row, column = np.unravel_index(np.argmin(where), where.shape)
        size = (1.0, 0.72, 0.9)[k % 3]
        distance = np.hypot(field.x - field.x[row, column], field.y - field.y[row, column]) / size
        nearest = np.minimum(nearest, distance)
    return nearest


def _marking_colour(marking: Marking, field: Field, depth: Values) -> Values:
    """Compute the colour of a marking at every pixel, float32 (h, w, 3), 0..255."""
    if not isinstance(marking, Eyespots):
        return np.broadcast_to(rgb(marking.colour), (*depth.shape, 3))
    painted = np.empty((*depth.shape, 3), np.float32)
    painted[:] = marking.rings[0]
    for k, ring in enumerate(marking.rings[1:], start=1):
        blend(painted, ring, soft_edge(depth - marking.radius * k / len(marking.rings), 0.009))
    return painted
