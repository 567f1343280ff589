"""Templates: the trunk of an annotated individual as a shape that is laid on foreground, at any place, turn and size.

The trunk is the body without what is thin: legs and antennae are opened away, narrow gaps closed. Lengths are in units
of its half-width, the largest distance of a pixel inside from the outside; so the size of an individual is known from
how thick it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from sst_retrieval.types import Doubles, Mask

HALF_WIDTH = 24.0
"""Half-width, in pixels, of a template's raster."""

APPENDAGE = 0.22
"""What is thinner than this share of the trunk's half-width, on both sides of its middle, is no trunk."""

GAP = 0.08
"""Gaps narrower than twice this share of the half-width are closed before thin parts are opened away."""

RING = (0.12, 0.35)
"""From how far to how far around the trunk there should be background, in half-widths."""

_INSIDE, _AROUND = 350, 200


class Pose(NamedTuple):
    """Where a template lies.

    Attributes:
        x: of its thickest place, in pixels.
        y: of its thickest place, in pixels.
        angle: radians, clockwise as seen, from how the support lies.
        size: half-width in pixels.
        stretch: its length relative to the support's, at the same half-width.
        mirror: -1 if left and right are exchanged, else 1.
    """

    x: float
    y: float
    angle: float
    size: float
    stretch: float
    mirror: float


@dataclass(frozen=True, slots=True)
class Template:
    """The trunk of an individual, its long axis along x.

    Attributes:
        raster: bool (h, w), `HALF_WIDTH` pixels a half-width.
        origin: (x, y) of its thickest place, in pixels of the raster.
        inside: float64 (N, 2), (x, y) of places inside, in half-widths from the origin.
        around: float64 (M, 2), of places around it.
        area: in squared half-widths.
        body_area: of the whole individual, in squared half-widths.
        reach: distance of its farthest place from the origin, in half-widths.
        gap: half the widest gap between its pieces, in half-widths: 0 unless it is in pieces, as a butterfly of four
            wings that were cut off.
    """

    raster: Mask
    origin: tuple[float, float]
    inside: Doubles
    around: Doubles
    area: float
    body_area: float
    reach: float
    gap: float


def make_template(body: Mask) -> Template:
    """Make the template of an annotated individual.

    Args:
        body: bool (H, W), not empty.
    """
    rows, columns = np.nonzero(body)
    cut = body[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    # With room around it: what touches the edge would be taken to go on outside.
    cut = np.pad(_resize(cut, HALF_WIDTH / _half_width(cut)), round(HALF_WIDTH))
    trunk = close_gaps(find_trunk(close_gaps(cut, GAP * HALF_WIDTH), HALF_WIDTH), 2 * GAP * HALF_WIDTH)
    trunk = _turn_upright(ndimage.binary_fill_holes(_drop_small_pieces(trunk)))
    factor = HALF_WIDTH / _half_width(trunk)
    trunk = _resize(trunk, factor)
    body_area = float(cut.sum()) * factor**2 / HALF_WIDTH**2
    depth = ndimage.distance_transform_edt(np.pad(trunk, 1))[1:-1, 1:-1]
    # Of two wings of the same width only one.
    thickest, _ = ndimage.label(depth > 0.97 * depth.max())
    rows, columns = np.nonzero(thickest == thickest[np.unravel_index(depth.argmax(), depth.shape)])
    origin = (float(columns.mean()), float(rows.mean()))
    rows, columns = np.nonzero(trunk)
    margin = math.ceil(HALF_WIDTH)
    outside = ndimage.distance_transform_edt(~np.pad(trunk, margin)) / HALF_WIDTH
    ring_rows, ring_columns = np.nonzero((outside > RING[0]) & (outside < RING[1]))
    inside = np.stack([columns - origin[0], rows - origin[1]], axis=1) / HALF_WIDTH
    around = np.stack([ring_columns - margin - origin[0], ring_rows - margin - origin[1]], axis=1) / HALF_WIDTH
    return Template(
        raster=trunk,
        origin=origin,
        inside=_thin_out(inside, _INSIDE),
        around=_thin_out(around, _AROUND),
        area=len(inside) / HALF_WIDTH**2,
        body_area=body_area,
        reach=float(np.linalg.norm(inside, axis=1).max()),
        gap=_measure_gap(trunk),
    )


def place_points(points: Doubles, poses: Doubles) -> Doubles:
    """Place points of a template on a photograph.

    Args:
        points: float64 (N, 2), in half-widths from the origin.
        poses: float64 (P, 6), one `Pose` a row.

    Returns:
        float64 (P, N, 2), (x, y) in pixels.
    """
    x, y, angle, size, stretch, mirror = poses.T[:, :, None]
    along, across = points[None, :, 0] * size * stretch, points[None, :, 1] * size * mirror
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x + cos * along - sin * across, y + sin * along + cos * across], axis=-1)


def draw_template(template: Template, pose: Pose, size: tuple[int, int]) -> tuple[tuple[slice, slice], Mask]:
    """Draw a template on a photograph.

    Args:
        template: the shape.
        pose: where it lies.
        size: (height, width) of the photograph in pixels.

    Returns:
        The window of the photograph, and bool (h, w) in it; both may be empty.
    """
    reach = template.reach * pose.size * max(1.0, pose.stretch) + 2
    x0, x1 = (int(np.clip(value, 0, size[1])) for value in (pose.x - reach, pose.x + reach + 1))
    y0, y1 = (int(np.clip(value, 0, size[0])) for value in (pose.y - reach, pose.y + reach + 1))
    dx, dy = np.arange(x0, x1)[None, :] - pose.x, np.arange(y0, y1)[:, None] - pose.y
    cos, sin = math.cos(pose.angle), math.sin(pose.angle)
    unit = HALF_WIDTH / pose.size
    columns = np.rint((cos * dx + sin * dy) * unit / pose.stretch + template.origin[0]).astype(np.int64)
    rows = np.rint((cos * dy - sin * dx) * unit * pose.mirror + template.origin[1]).astype(np.int64)
    height, width = template.raster.shape
    valid = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    drawn = np.zeros(valid.shape, dtype=bool)
    drawn[valid] = template.raster[rows[valid], columns[valid]]
    return (slice(y0, y1), slice(x0, x1)), drawn


def find_trunk(mask: Mask, half_width: float) -> Mask:
    """Open away what is thin.

    Args:
        mask: bool (h, w).
        half_width: of the trunk, in pixels.

    Returns:
        bool (h, w); the mask itself if nothing would be left.
    """
    radius = APPENDAGE * half_width
    # What leaves the picture goes on outside it.
    padded = np.pad(mask, math.ceil(radius) + 1, mode="edge")
    core = ndimage.distance_transform_edt(padded) > radius
    if not core.any():
        return mask
    opened = ndimage.distance_transform_edt(~core) <= radius
    rim = math.ceil(radius) + 1
    trunk: Mask = opened[rim:-rim, rim:-rim] & mask
    return trunk if trunk.any() else mask


def close_gaps(mask: Mask, radius: float) -> Mask:
    """Close gaps that are narrower than twice a radius, and fill holes of less than its square."""
    rim = math.ceil(radius) + 1
    padded = np.pad(mask, rim)
    grown = ndimage.distance_transform_edt(~padded) <= radius
    closed = ndimage.distance_transform_edt(grown) > radius
    closed = (closed | padded)[rim:-rim, rim:-rim]
    holes, _ = ndimage.label(~closed)
    areas = np.bincount(holes.ravel())
    small = areas < 4 * radius**2
    small[0] = False
    filled: Mask = closed | small[holes]
    return filled


def _measure_gap(mask: Mask) -> float:
    """Measure by how much a mask must grow to be in one piece, in half-widths."""
    away = ndimage.distance_transform_edt(~np.pad(mask, round(2 * HALF_WIDTH)))
    for step in range(64):
        if ndimage.label(away <= step * HALF_WIDTH / 16, np.ones((3, 3)))[1] <= 1:
            return step / 16
    return 4.0


def _half_width(mask: Mask) -> float:
    return float(ndimage.distance_transform_edt(np.pad(mask, 1)).max())


def _drop_small_pieces(mask: Mask) -> Mask:
    """Remove the pieces smaller than a tenth of the largest."""
    pieces, count = ndimage.label(mask)
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    areas[0] = 0
    kept: Mask = (areas > 0.1 * areas.max())[pieces]
    return kept


def _resize(mask: Mask, factor: float) -> Mask:
    height, width = (max(1, round(length * factor)) for length in mask.shape)
    soft = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
    resized: Mask = np.asarray(soft) > 127
    return resized if resized.any() else np.ones((1, 1), dtype=bool)


def _turn_upright(mask: Mask) -> Mask:
    """Turn a mask until its principal axis is horizontal, and cut it out."""
    rows, columns = np.nonzero(mask)
    spread = np.cov(np.stack([columns, rows])) if len(rows) > 2 else np.eye(2)
    values, vectors = np.linalg.eigh(spread)
    axis = vectors[:, np.argmax(values)]
    picture = Image.fromarray(np.pad(mask, 4).astype(np.uint8) * 255)
    picture = picture.filter(ImageFilter.GaussianBlur(0.08 * HALF_WIDTH))
    turned = picture.rotate(math.degrees(math.atan2(axis[1], axis[0])), Image.Resampling.BILINEAR, expand=True)
    upright = np.asarray(turned) > 127
    rows, columns = np.nonzero(upright)
    cut: Mask = upright[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return cut


def _thin_out(points: Doubles, count: int) -> Doubles:
    """Keep at most `count` points, always the same."""
    if len(points) <= count:
        return points
    kept: Doubles = points[np.sort(np.random.default_rng(0).permutation(len(points))[:count])]
    return kept
