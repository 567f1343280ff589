"""The canvas, and the parts of an insect that are placed on it, with the exact mask of every marking.

A part that covers a marking is removed from its mask, so the masks are what the photograph shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

RESOLUTION = 280
"""Pixels in one unit (a forewing's length, a beetle's) while a part is drawn."""

Colour: TypeAlias = tuple[float, float, float]
"""sRGB, 0..255."""

Points: TypeAlias = tuple[tuple[float, float], ...]
"""(x, y) in units: x right, y down."""

Bytes: TypeAlias = npt.NDArray[np.uint8]
"""uint8 of the shape that is given where it is used."""

Values: TypeAlias = npt.NDArray[np.floating[Any]]
"""float32, now and then float64 while something is computed, of the shape that is given where it is used."""


@dataclass(frozen=True, slots=True)
class Part:
    """A drawn part of an insect, before it is placed.

    Attributes:
        colour: uint8 (h, w, 3); painted beyond the outline too, so that no seam shows when it is scaled.
        cover: uint8 (h, w), 0..255: where the part is.
        masks: trait name -> uint8 (h, w), 0..255: where the trait is; never beyond `cover`.
        origin: (x, y) in pixels of the point by which it is placed.
    """

    colour: Bytes
    cover: Bytes
    masks: Mapping[str, Bytes]
    origin: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a part is placed: mirrored, stretched, rotated, then moved.

    Attributes:
        at: (x, y) in canvas pixels of the part's origin.
        angle: radians, clockwise as seen.
        scale: canvas pixels in one unit.
        mirror: whether left and right are exchanged.
        stretch: factor across the part's own x direction.
    """

    at: tuple[float, float]
    angle: float
    scale: float
    mirror: bool = False
    stretch: float = 1.0

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return the 2 x 2 map from units to canvas pixels (without the move)."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        mirrored = np.diag([-1.0 if self.mirror else 1.0, self.stretch])
        return np.asarray(np.array([[cos, -sin], [sin, cos]]) @ mirrored * self.scale)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return the canvas pixel of a point given in units."""
        dx, dy = self.matrix() @ (x, y)
        return self.at[0] + float(dx), self.at[1] + float(dy)


@dataclass(frozen=True, slots=True)
class Canvas:
    """What has been placed so far; its arrays are painted on.

    Attributes:
        colour: float32 (H, W, 3), 0..255, already multiplied by `cover`.
        cover: float32 (H, W), 0..1: how much of a pixel is insect.
        masks: trait name -> float32 (H, W), 0..1.
    """

    colour: Values
    cover: Values
    masks: dict[str, Values]

    @classmethod
    def blank(cls, size: tuple[int, int]) -> Canvas:
        """Return an empty canvas of (height, width) pixels."""
        return cls(np.zeros((*size, 3), np.float32), np.zeros(size, np.float32), {})

    def place(self, part: Part, pose: Pose, *, shadow: float = 0.0) -> None:
        """Place a part over what is there.

        Args:
            part: what to place.
            pose: where.
            shadow: how much it darkens what lies under its edge, 0..1.
        """
        window, data = _window(part, pose, self.cover.shape)
        if window is None:
            return
        size = (window[1].stop - window[1].start, window[0].stop - window[0].start)

        def warp(picture: Bytes) -> Values:
            warped = Image.fromarray(picture).transform(size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
            return np.asarray(warped, np.float32)

        cover = warp(part.cover) / 255
        below = 1 - cover
        shaded = below * (1 - shadow * blur(cover, 4)) if shadow else below
        self.colour[window] = self.colour[window] * shaded[..., None] + warp(part.colour) * cover[..., None]
        self.cover[window] = self.cover[window] * below + cover
        for mask in self.masks.values():
            mask[window] *= below
        for name, drawn in part.masks.items():
            self.masks.setdefault(name, np.zeros_like(self.cover))[window] += warp(drawn) / 255


def smooth_curve(points: Sequence[tuple[float, float]], per_piece: int = 14) -> npt.NDArray[np.float64]:
    """Draw a closed Catmull-Rom curve through points.

    Returns:
        float64 (N, 2): x and y.
    """
    p = np.asarray(points, dtype=float)
    t = np.linspace(0, 1, per_piece, endpoint=False)[None, :, None]
    before, here, after, beyond = (np.roll(p, shift, 0)[:, None] for shift in (1, 0, -1, -2))
    curve = 2 * here + (after - before) * t + (2 * before - 5 * here + 4 * after - beyond) * t**2
    return np.asarray((curve + (3 * here - before - 3 * after + beyond) * t**3).reshape(-1, 2) / 2)


def fill_polygon(size: tuple[int, ...], points: npt.NDArray[np.floating]) -> Bytes:
    """Fill a polygon: uint8 (height, width), 0 or 255; `points` are float (N, 2), x and y in pixels."""
    picture = Image.new("L", (size[1], size[0]))
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in points], fill=255)
    return np.asarray(picture)


def noise(size: tuple[int, int], grain: float, rng: np.random.Generator, octaves: int = 2) -> Values:
    """Make smooth random values around 0, mostly within -1..1: Gaussian noise, interpolated, in octaves.

    Args:
        size: (height, width).
        grain: how wide a blob is, in pixels.
        rng: source of the randomness.
        octaves: how many finer layers are added up.

    Returns:
        float32 (height, width).
    """
    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        step = max(1.0, grain / 2**octave)
        rows, columns = math.ceil(size[0] / step) + 3, math.ceil(size[1] / step) + 3
        coarse = Image.fromarray(rng.normal(size=(rows, columns)).astype(np.float32))
        total += np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC)) * (0.6 / 1.7**octave)
    return total


def blur(cover: Values, radius: float) -> Values:
    """Blur float32 (h, w), 0..1, with a Gaussian of `radius` pixels."""
    picture = Image.fromarray((cover * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def rgb(colour: Colour) -> Values:
    """Return a colour as float32 (3,)."""
    return np.asarray(colour, np.float32)


def as_bytes(values: Values) -> Bytes:
    """Round floats of 0..255 to bytes."""
    return np.asarray(np.clip(values + 0.5, 0, 255), np.uint8)


def pixel_grid(xs: tuple[float, float], ys: tuple[float, float]) -> tuple[Values, Values, tuple[float, float]]:
    """Make the coordinates of the pixels of a drawing.

    Args:
        xs: (from, to) in units.
        ys: (from, to) in units.

    Returns:
        x and y of every pixel, float32 (h, w) in units, and the (x, y) in pixels of the point (0, 0).
    """
    w, h = round((xs[1] - xs[0]) * RESOLUTION), round((ys[1] - ys[0]) * RESOLUTION)
    x, y = np.meshgrid(
        (np.arange(w, dtype=np.float32) + 0.5) / RESOLUTION + np.float32(xs[0]),
        (np.arange(h, dtype=np.float32) + 0.5) / RESOLUTION + np.float32(ys[0]),
    )
    return x, y, (-xs[0] * RESOLUTION, -ys[0] * RESOLUTION)


def blend(colour: Values, other: Colour | Values, amount: Values) -> None:
    """Paint over float32 (h, w, 3) in place.

    Args:
        colour: painted on.
        other: one colour, or float32 (h, w, 3).
        amount: float32 (h, w), 0..1: how strongly.
    """
    paint = np.asarray(other, np.float32)
    touched = amount > 0.002
    if np.count_nonzero(touched) > 0.4 * touched.size:
        colour += (paint - colour) * amount[..., None]
        return
    # Most markings touch a small part of a drawing; only that part is computed.
    rows, columns = np.nonzero(touched)
    if paint.ndim == 3:
        paint = paint[rows, columns]
    below = colour[rows, columns]
    colour[rows, columns] = below + (paint - below) * amount[rows, columns, None]


def soft_edge(depth: Values, width: float) -> Values:
    """Turn a depth (0 at an edge, positive inside) into 0..1, rising linearly over `width`; float32 of its shape."""
    return np.asarray(np.clip(depth / width + 0.5, 0, 1), np.float32)


def _window(part: Part, pose: Pose, size: tuple[int, ...]) -> tuple[tuple[slice, slice] | None, tuple[float, ...]]:
    """Find the window of the canvas that the part touches, and the map from its pixels back to the part's."""
    forth = pose.matrix() / RESOLUTION
    h, w = part.cover.shape
    corners = (np.array([(0, 0), (w, 0), (0, h), (w, h)]) - part.origin) @ forth.T + pose.at
    x0, y0 = (max(0, math.floor(low)) for low in corners.min(0))
    x1, y1 = min(size[1], math.ceil(corners[:, 0].max())), min(size[0], math.ceil(corners[:, 1].max()))
    if x0 >= x1 or y0 >= y1:
        return None, ()
    back = np.linalg.inv(forth)
    shift = np.asarray(part.origin) + back @ (np.array([x0, y0]) - pose.at)
    data = (back[0, 0], back[0, 1], shift[0], back[1, 0], back[1, 1], shift[1])
    return (slice(y0, y1), slice(x0, x1)), tuple(float(value) for value in data)
