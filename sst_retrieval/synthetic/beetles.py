"""Paint a ground beetle seen from above, with the masks of its elytra and its pronotum.

A beetle lies head up in its own frame: (0, 0) in its middle, x right, y towards the tail, its length is 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from sst_retrieval.synthetic.canvas import (
    RESOLUTION,
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

_SPAN = ((-0.46, 0.46), (-0.78, 0.72))
"""What the drawing spans, in units: x from, to; y from, to."""


@dataclass(frozen=True, slots=True)
class Beetle:
    """A ground beetle's looks; lengths in units (its length).

    Attributes:
        colour: of the elytra.
        sheen: the colour their sides flash in.
        pronotum: colour of pronotum and head.
        legs: colour of legs and antennae.
        width: half the width of the elytra.
    """

    colour: Colour
    sheen: Colour
    pronotum: Colour
    legs: Colour
    width: float = 0.2


def draw_beetle(beetle: Beetle, rng: np.random.Generator, *, tears: Sequence[Points] = ()) -> Part:
    """Paint a beetle.

    Args:
        beetle: its looks.
        rng: where the small irregularities come from.
        tears: polygons, in units, that are broken off.

    Returns:
        A part with the masks `elytra` and `pronotum`; its origin is the middle of the beetle.
    """
    x, y, origin = pixel_grid(*_SPAN)
    limbs = _limbs(beetle.width, rng)
    colour = rgb(beetle.legs) * (0.55 + 0.9 * limbs**2)[..., None]
    cover = soft_edge(limbs - 0.2, 0.4)
    layers = (
        ("", _EYES, np.broadcast_to(rgb((30, 24, 20)), colour.shape)),
        ("", _HEAD, _dome(x, y + 0.41, beetle.pronotum, beetle.sheen, 0.1)),
        ("pronotum", _pronotum(beetle.width), _shield(x, y, beetle)),
        ("elytra", _elytra(beetle.width), _wing_cases(x, y, beetle, rng)),
    )
    masks: dict[str, Values] = {}
    for name, outline, painted in layers:
        depth = _depth(outline)
        inside = soft_edge(depth, 0.007)
        rim = 0.42 + 0.58 * soft_edge(depth - 0.011, 0.028)
        blend(colour, painted * rim[..., None], inside)
        cover = np.maximum(cover, inside)
        masks = {other: mask * (1 - inside) for other, mask in masks.items()}
        if name:
            masks[name] = inside
    colour *= (1 + 0.05 * noise(x.shape, 2.4, rng, 1))[..., None]
    left = np.ones(x.shape, np.float32)
    for tear in tears:
        left[fill_polygon(x.shape, np.asarray(tear) * RESOLUTION + origin) > 0] = 0
    kept = {name: as_bytes(mask * left * 255) for name, mask in masks.items()}
    return Part(as_bytes(colour), as_bytes(cover * left * 255), kept, origin)


@lru_cache(maxsize=64)
def _depth(outline: Points) -> Values:
    """Return how deep below an outline every pixel lies: float32 (h, w) in units, negative outside."""
    x, _, origin = pixel_grid(*_SPAN)
    inside = fill_polygon(x.shape, smooth_curve(outline) * RESOLUTION + origin) > 0
    depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return np.asarray(depth / RESOLUTION, np.float32)


def _close_symmetrically(right: Points, end: tuple[float, float]) -> Points:
    """Close an outline given by its right half, whose first point and `end` lie on the middle line."""
    return (*right, end, *((-x, y) for x, y in right[:0:-1]))


_HEAD = _close_symmetrically(
    ((0.0, -0.485), (0.018, -0.505), (0.046, -0.535), (0.05, -0.5), (0.07, -0.455), (0.078, -0.4), (0.066, -0.33)),
    (0.0, -0.32),
)
_EYES = _close_symmetrically(((0.0, -0.43), (0.06, -0.45), (0.094, -0.43), (0.09, -0.4), (0.06, -0.385)), (0.0, -0.39))


def _pronotum(width: float) -> Points:
    right = (
        (0.0, -0.348),
        (0.36, -0.355),
        (0.66, -0.335),
        (0.79, -0.275),
        (0.74, -0.205),
        (0.62, -0.15),
        (0.4, -0.143),
    )
    return _close_symmetrically(tuple((x * width, y) for x, y in right), (0.0, -0.14))


def _elytra(width: float) -> Points:
    right = (
        (0.0, -0.135),
        (0.45, -0.138),
        (0.82, -0.105),
        (0.95, 0.0),
        (1.0, 0.16),
        (0.93, 0.3),
        (0.7, 0.43),
        (0.3, 0.502),
    )
    return _close_symmetrically(tuple((x * width, y) for x, y in right), (0.0, 0.515))


def _wing_cases(x: Values, y: Values, beetle: Beetle, rng: np.random.Generator) -> Values:
    """Paint both elytra, float32 (h, w, 3), 0..255: grooves with pits, the suture, a coppery flash at the sides."""
    half = beetle.width * np.sqrt(np.clip(1 - ((y - 0.15) / 0.44) ** 2, 0.03, 1)) + 0.008
    across = x / half
    painted = _dome(across * beetle.width, (y - 0.17) * 0.42, beetle.colour, beetle.sheen, beetle.width)
    groove = np.abs(np.sin(np.pi * 8 * np.abs(across)))
    pits = 0.5 + 0.5 * np.sin(2 * np.pi * 42 * (y + 0.4 * np.floor(8 * np.abs(across)) / 42))
    relief = 0.62 + 0.42 * groove**0.7 - 0.16 * pits * (1 - groove)
    suture = 1 - 0.75 * np.exp(-((x / 0.0035) ** 2))
    dust = 1 + 0.05 * noise(x.shape, 9, rng)
    return np.asarray(painted * (relief * suture * dust)[..., None])


def _shield(x: Values, y: Values, beetle: Beetle) -> Values:
    painted = _dome(x, y + 0.25, beetle.pronotum, beetle.sheen, beetle.width * 0.8)
    line = 1 - 0.5 * np.exp(-((x / 0.004) ** 2)) * (np.abs(y + 0.25) < 0.085)
    hollows = 1 - 0.3 * np.exp(-((np.abs(x) - 0.07) ** 2 + (y + 0.175) ** 2) / 0.0006)
    return np.asarray(painted * (line * hollows)[..., None])


def _dome(x: Values, y: Values, colour: Colour, sheen: Colour, width: float) -> Values:
    """Shade a polished dome: dark flanks, a coloured flash along them, a dull highlight on the upper left."""
    round_ = np.clip(1 - 0.7 * (x / width) ** 2 - 0.5 * (y / width) ** 2, 0.1, 1)
    painted = rgb(colour) * (0.3 + 0.8 * round_)[..., None]
    flash = np.exp(-(((np.abs(x) / width - 0.82) / 0.16) ** 2))
    blend(painted, sheen, (flash * 0.5).astype(np.float32))
    glint = np.exp(-(((x / width + 0.36) / 0.13) ** 2) - ((y / width + 0.2) / 0.42) ** 2)
    return np.asarray(painted + 78 * glint[..., None], np.float32)


def _limbs(width: float, rng: np.random.Generator) -> Values:
    """Draw legs and antennae: float32 (h, w), 0..1, brightest along their middle."""
    x, _, origin = pixel_grid(*_SPAN)
    picture = Image.new("L", (x.shape[1], x.shape[0]))
    draw = ImageDraw.Draw(picture)

    def line(points: Sequence[tuple[float, float]], thickness: tuple[float, float]) -> None:
        """Draw a tapering limb as a string of discs, darker at its edge."""
        p = np.asarray(points) * RESOLUTION + origin
        for shade, share in ((150, 1.0), (205, 0.7), (255, 0.35)):
            for start, end in pairwise(p):
                for t in np.linspace(0, 1, 30):
                    u, v = start + (end - start) * t
                    r = share * (thickness[0] + (thickness[1] - thickness[0]) * t) * RESOLUTION / 2
                    draw.ellipse((u - r, v - r, u + r, v + r), fill=shade)

    for side in (-1, 1):
        for y, out, foot in ((-0.21, 0.3, -0.36), (-0.02, 0.37, 0.2), (0.1, 0.35, 0.46)):
            j = rng.normal(0, 0.016, size=4)
            hip = (side * width * 0.5, y)
            knee = (side * (out * 0.86 + j[0]), y + (foot - y) * 0.28 + j[1])
            ankle = (side * (out + j[2]), y + (foot - y) * 0.85 + j[3])
            toes = [(ankle[0] + side * 0.012 * k, ankle[1] + math.copysign(0.026 * k, foot)) for k in range(6)]
            line((ankle, toes[-1]), (0.009, 0.008))
            for toe in toes[1:]:
                line((toe, toe), (0.017, 0.017))
            line((knee, ankle), (0.026, 0.02))
            line((hip, knee), (0.05, 0.03))
        t = np.linspace(0, 1, 10)
        u = side * (0.045 + 0.27 * t + rng.normal(0.06, 0.02) * np.sin(np.pi * t))
        v = -0.46 - 0.24 * t + rng.normal(0.2, 0.05) * t**2
        joints = [(float(a), float(b)) for a, b in zip(u, v, strict=True)]
        for joint, following in pairwise(joints):
            line((joint, following), (0.012, 0.017))
    return np.asarray(picture, np.float32) / 255
