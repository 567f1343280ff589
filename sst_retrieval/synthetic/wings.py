"""Paint a wing: outline, ground, margin, markings, veins, in this order.

A wing lies flat in its own frame: base at (0, 0), tip near (1, 0), x outwards, y towards the tail. A fan of veins
spreads from a hub near the base; the cells between them shape the margin and the markings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from sst_retrieval.synthetic.canvas import (
    RESOLUTION,
    Bytes,
    Colour,
    Part,
    Points,
    Values,
    as_bytes,
    blend,
    fill_polygon,
    noise,
    pixel_grid,
    rgb,
    smooth_curve,
    soft_edge,
)
from sst_retrieval.synthetic.markings import Field, Marking, paint_markings


@dataclass(frozen=True, slots=True)
class Wing:
    """The shape of a wing.

    Attributes:
        outline: points of a smooth closed curve that begins at the base, in units.
        hub: where the veins spread from.
        veins: directions of the veins in degrees, from the leading edge to the trailing edge.
        cell: how far from the hub the discal cell reaches; the veins begin at its end.
        scallop: how far the outer edge swings in and out between the veins, in units.
    """

    outline: Points
    hub: tuple[float, float]
    veins: tuple[float, ...]
    cell: float = 0.34
    scallop: float = 0.012


@dataclass(frozen=True, slots=True)
class Scales:
    """The colours of a wing without its markings.

    Attributes:
        ground: the wing.
        edge: its margin and its veins.
        margin: width of the margin in units.
        fringe: the flecks along the outermost edge.
    """

    ground: Colour
    edge: Colour
    margin: float
    fringe: Colour = (214.0, 206.0, 190.0)


def draw_wing(
    wing: Wing, scales: Scales, markings: Sequence[Marking], rng: np.random.Generator, *, tears: Sequence[Points] = ()
) -> Part:
    """Paint one wing, lying flat.

    Args:
        wing: its shape.
        scales: its colours.
        markings: painted in this order; a later one covers an earlier one, in colour and in mask.
        rng: where the small irregularities come from.
        tears: polygons, in units, that are missing from the wing.

    Returns:
        The part; its origin is the wing's base.
    """
    field = _field(wing)
    rough = noise(field.x.shape, RESOLUTION * 0.022, rng) * 0.005
    colour = _ground(field, scales, rng)
    _margin(colour, field, scales, rough)
    masks = paint_markings(colour, field, markings, rough, rng)
    _veins(colour, wing, field, scales)
    colour *= _relief(field, rng)[..., None]
    cover = _cover_without_tears(field, tears)
    return Part(
        as_bytes(colour),
        cover,
        {name: np.minimum(as_bytes(mask * 255), cover) for name, mask in masks.items()},
        field.origin,
    )


def wing_outline(wing: Wing) -> Values:
    """Compute the wing's outline, scalloped between the veins: float32 (N, 2) in units."""
    points = smooth_curve(wing.outline)
    cell, out = _fan(wing, points[:, 0], points[:, 1])
    swing = (np.abs(np.cos(np.pi * cell)) - 0.6) * wing.scallop * np.clip((out - 0.4) * 5, 0, 1)
    # Only the outer edge is scalloped; the leading and the trailing edge are where the fan ends.
    swing *= (cell > 0.9) & (cell < len(wing.veins) - 1.6)
    return np.asarray(wing.hub + (points - wing.hub) * (1 + swing / np.maximum(out, 0.1))[:, None], np.float32)


@lru_cache(maxsize=64)
def _field(wing: Wing) -> Field:
    """Compute a wing's coordinates once; hundreds of specimens share them."""
    outline = wing_outline(wing)
    low, high = outline.min(0) - 0.02, outline.max(0) + 0.02
    x, y, origin = pixel_grid((float(low[0]), float(high[0])), (float(low[1]), float(high[1])))
    inside = fill_polygon(x.shape, outline * RESOLUTION + origin)
    depth = ndimage.distance_transform_edt(inside).astype(np.float32) / RESOLUTION
    cell, out = _fan(wing, x, y)
    from_vein = (1 - np.abs(cell % 1 - 0.5) * 2).astype(np.float32)
    return Field(x, y, cell.astype(np.float32), out.astype(np.float32), depth, from_vein, origin)


def _fan(wing: Wing, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the fan's cell number (with its fraction) and the distance from the hub."""
    dx, dy = x - wing.hub[0], y - wing.hub[1]
    out = np.hypot(dx, dy)
    # Veins are not straight: they turn towards the tail on their way out.
    angle = np.degrees(np.arctan2(dy, dx)) - 9 * out**2
    return np.interp(angle, wing.veins, np.arange(len(wing.veins))), out


def _ground(field: Field, scales: Scales, rng: np.random.Generator) -> Values:
    """Paint the ground: darker hairs at the base, a slow drift of colour, single scales."""
    size = field.x.shape
    colour = np.empty((*size, 3), np.float32)
    colour[:] = scales.ground
    colour *= (1 + 0.07 * noise(size, RESOLUTION * 0.22, rng, 1))[..., None]
    hairs = np.exp(-np.hypot(field.x, field.y) / 0.13).astype(np.float32)
    blend(colour, rgb(scales.edge) * 0.9 + rgb((11, 8, 5)), hairs * 0.7)
    return colour


def _margin(colour: Values, field: Field, scales: Scales, rough: Values) -> None:
    """Paint the margin, wider where a vein meets it, and the flecks of the fringe between the veins."""
    rim = scales.margin * (1.35 - 0.6 * field.from_vein) + rough * 2 - field.depth
    # The margin runs round the outer edge and thins out towards the base.
    blend(colour, scales.edge, soft_edge(np.minimum(rim, (field.out - 0.22) * 0.5), 0.02))
    fleck = np.minimum(0.007 - np.abs(field.depth - 0.004), (field.from_vein - 0.45) * 0.03)
    fleck = np.where((field.out > 0.5) & (field.cell > 1) & (field.cell < field.cell.max() - 1), fleck, -1)
    blend(colour, scales.fringe, soft_edge(fleck, 0.006) * 0.6)


def _veins(colour: Values, wing: Wing, field: Field, scales: Scales) -> None:
    """Draw the veins and the discal cell: dark on a light wing, a faint light line on a dark one."""
    spacing = np.interp(field.cell, np.arange(len(wing.veins) - 1) + 0.5, np.radians(np.diff(wing.veins)))
    away = field.from_vein * 0.5 * spacing * field.out
    last = len(wing.veins) - 1
    reach = wing.cell * (1 - 0.12 * np.cos(field.cell * 1.7))
    begins = np.where((field.cell > 1.5) & (field.cell < last - 2.5), reach, 0.02)
    line = np.exp(-((away / 0.0032) ** 2)) * soft_edge(field.out - begins, 0.02)
    closing = np.exp(-(((field.out - reach) / 0.003) ** 2)) * ((field.cell > 1.6) & (field.cell < last - 2.6))
    line = np.maximum(line, closing).astype(np.float32)
    line *= (field.cell > 0.02) & (field.cell < last - 0.02)
    light = colour.mean(-1) > 62
    blend(colour, scales.edge, line * light * 0.55)
    blend(colour, colour + 24, line * ~light)


def _relief(field: Field, rng: np.random.Generator) -> Values:
    """Compute how much light each pixel gets, float32 (h, w), around 1: a membrane between veins, and its scales."""
    sag = 0.07 * np.sin(2 * np.pi * field.cell) * np.clip(field.out * 3, 0, 1)
    return np.asarray(1 + sag + 0.045 * noise(field.x.shape, 2.4, rng, 1) - 0.16 * np.exp(-field.depth / 0.006))


def _cover_without_tears(field: Field, tears: Sequence[Points]) -> Bytes:
    """Compute where the wing is, uint8 (h, w), 0..255, with its tears cut out."""
    # The edge is two pixels soft, so that it stays smooth when the wing is turned.
    cover = as_bytes(np.clip(field.depth * RESOLUTION / 2, 0, 1) * 255)
    for tear in tears:
        cover[fill_polygon(cover.shape, np.asarray(tear) * RESOLUTION + field.origin) > 0] = 0
    return cover
