"""Paint a butterfly's body and antennae.

A body lies head up in its own frame: (0, 0) in the middle of the thorax, x right, y towards the tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sst_retrieval.synthetic.canvas import (
    RESOLUTION,
    Colour,
    Part,
    Values,
    as_bytes,
    blend,
    noise,
    pixel_grid,
    rgb,
    soft_edge,
)


@dataclass(frozen=True, slots=True)
class Body:
    """A butterfly's body; lengths in units (a forewing's length).

    Attributes:
        colour: of the hairs.
        stripe: of the rings on the abdomen.
        abdomen: length of the abdomen.
        girth: half the width of the thorax.
        antennae: length of the antennae.
        feathered: whether they are a moth's combs instead of clubs.
    """

    colour: Colour
    stripe: Colour
    abdomen: float = 0.40
    girth: float = 0.058
    antennae: float = 0.42
    feathered: bool = False


def draw_body(body: Body, rng: np.random.Generator) -> Part:
    """Paint head, thorax and abdomen.

    Returns:
        A part without masks; its origin is the middle of the thorax.
    """
    g = body.girth
    x, y, origin = pixel_grid((-g * 1.4, g * 1.4), (-3.2 * g, body.abdomen + 0.16))
    colour = np.empty((*x.shape, 3), np.float32)
    colour[:] = np.multiply(body.colour, 0.5)
    cover = np.zeros(x.shape, np.float32)
    hair = noise(x.shape, 3, rng, 1) * 0.006
    # Fur runs from head to tail: noise stretched along the body.
    fur = noise((x.shape[0] // 3, x.shape[1]), 2.2, rng, 1).repeat(3, axis=0)
    fur = np.pad(fur, ((0, x.shape[0] - len(fur)), (0, 0)), mode="edge")
    for middle, half, length in _segments(body):
        depth = (1 - np.hypot(x / half, (y - middle) / length)) * half + hair
        inside = soft_edge(depth, 0.008)
        domed = np.clip(1 - (x / half + 0.25) ** 2 - 0.35 * ((y - middle) / length) ** 2, 0, 1)
        blend(colour, rgb(body.colour) * (0.34 + 0.85 * domed + 0.2 * fur)[..., None], inside)
        cover = np.maximum(cover, inside)
    rings = soft_edge(np.sin((y - g) / body.abdomen * 2 * math.pi * 7) - 0.75, 0.4) * (y > 1.9 * g)
    edge = np.clip(1.1 - np.abs(x) / (g * 0.75), 0.3, 1)
    blend(colour, rgb(body.stripe) * edge[..., None], (rings * (np.abs(x) < g)).astype(np.float32) * 0.55)
    _eyes(colour, cover, x, y, g)
    return Part(as_bytes(colour), as_bytes(cover * 255), {}, origin)


def draw_antennae(body: Body, rng: np.random.Generator) -> Part:
    """Draw both antennae: threads with a club, or a moth's combs; the origin is the middle of the thorax."""
    x, _, origin = pixel_grid((-0.42, 0.42), (-0.62, 0.0))
    picture = Image.new("L", (x.shape[1], x.shape[0]))
    draw = ImageDraw.Draw(picture)
    t = np.linspace(0, 1, 40)
    for side in (-1, 1):
        spread, bow = rng.normal(0.5, 0.07), rng.normal(0.05, 0.02)
        u = side * (0.018 + body.antennae * t * math.sin(spread) + bow * np.sin(math.pi * t))
        v = -2.3 * body.girth - body.antennae * t * math.cos(spread)
        points = [(float(a), float(b)) for a, b in np.stack([u, v], 1) * RESOLUTION + origin]
        draw.line(points, fill=255, width=3, joint="curve")
        if body.feathered:
            _comb(draw, points)
        else:
            _club(draw, points[-7:])
    cover = np.asarray(picture)
    colour = np.empty((*x.shape, 3), np.float32)
    colour[:] = np.multiply(body.colour, 0.42)
    return Part(as_bytes(colour), cover, {}, origin)


def _comb(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]]) -> None:
    for k, (u, v) in enumerate(points[3:-1]):
        reach = 13 * math.sin(math.pi * min(1, k / 36 * 0.9 + 0.1)) ** 0.6
        draw.line([(u - reach, v - reach * 0.45), (u, v), (u + reach, v - reach * 0.45)], fill=190, width=1)


def _club(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]]) -> None:
    for k, (u, v) in enumerate(points):
        radius = 1.5 + 2.6 * math.sin(math.pi * (0.12 + 0.8 * k / len(points)))
        draw.ellipse((u - radius, v - radius, u + radius, v + radius), fill=255)


def _segments(body: Body) -> list[tuple[float, float, float]]:
    """Middle, half width and half length of abdomen, head and thorax, in the order they are painted."""
    g = body.girth
    return [
        (g + body.abdomen / 2, g * 0.7, body.abdomen / 2 + 0.02),
        (-1.95 * g, g * 0.6, g * 0.55),
        (-0.1 * g, g, g * 1.7),
    ]


def _eyes(colour: Values, cover: Values, x: Values, y: Values, girth: float) -> None:
    for side in (-1, 1):
        dx, dy = x - side * 0.5 * girth, y + 2.0 * girth
        eye = soft_edge(0.3 * girth - np.hypot(dx, dy * 0.8), 0.006)
        shine = np.exp(-((dx / girth + 0.08) ** 2 + (dy / girth + 0.12) ** 2) / 0.012)
        blend(colour, rgb((34, 26, 22)) + 60 * shine[..., None], eye)
        np.maximum(cover, eye, out=cover)
