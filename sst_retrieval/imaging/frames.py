"""Room 3a: where the specimen is and how it may lie: hypotheses, of which the match later chooses one.

A pose is never assumed. A butterfly's longest axis is not its body and cut wings are four pieces, so no axis is read
off the outline; every turn is a hypothesis, "as photographed" the first of them.

1. The background is what the photograph's border looks like; everything unlike it is specimen, however many pieces.
2. The specimen's box gives the frame "as photographed".
3. Turns of that frame all the way round, each also seen in a mirror, are the hypotheses.
4. `fit` turns matched points of two frames into the one similarity transform that most of them agree on.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sst_retrieval.imaging.shrunk import Shrunk, shrinkable
from sst_retrieval.types import Floats, Frame, Mask, MaskStack, RGBImage


def hypotheses(frame: Frame, turns: int) -> list[Frame]:
    """Turn a frame all the way round, then its mirror image.

    Returns:
        2 * turns frames; the first is `frame` itself.
    """
    spins = [turned((0.5, 0.5), 1.0, 2 * math.pi * turn / turns) for turn in range(turns)]
    return [compose(spin, start) for start in (frame, mirrored(frame)) for spin in spins]


def fit(source: npt.NDArray[np.float64], goal: npt.NDArray[np.float64]) -> Frame | None:
    """Find the similarity transform that takes most points of one frame to their partners in another.

    The turn is the least-squares one (Umeyama 1991, without mirror); the scale is the ratio of the spreads (Horn 1987),
    since least squares shrinks when partners are noisy. Repeated with the weight of far-off pairs reduced (Cauchy).

    Args:
        source: float64 (N, 2), (u, v) in a unit square.
        goal: float64 (N, 2), their partners.

    Returns:
        The map from source to goal, or None if the points allow none or it would change sizes more than twofold.
    """
    if not len(source):
        return None
    weights = np.ones(len(source))
    p, q, shift = 1.0, 0.0, np.zeros(2)
    for _ in range(4):
        total = weights.sum()
        centre, target = weights @ source / total, weights @ goal / total
        a, b = source - centre, goal - target
        before, after = float(weights @ (a * a).sum(1)), float(weights @ (b * b).sum(1))
        p = float(weights @ (a * b).sum(1))
        q = float(weights @ (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]))
        if min(before, after, math.hypot(p, q)) < 1e-6 * total:
            return None
        scale = math.sqrt(after / before) / math.hypot(p, q)
        p, q = p * scale, q * scale
        turn = np.array([[p, -q], [q, p]])
        shift = target - turn @ centre
        miss = np.linalg.norm(goal - source @ turn.T - shift, axis=1)
        weights = 1 / (1 + (miss / max(float(np.median(miss)), 0.01)) ** 2)
    return Frame((p, -q, float(shift[0]), q, p, float(shift[1]))) if 0.5 < math.hypot(p, q) < 2 else None


def compose(outer: Frame, inner: Frame) -> Frame:
    """Apply `inner`, then `outer`, as one map."""
    return _frame(_square(outer) @ _square(inner))


def inverse(frame: Frame) -> Frame:
    """Return the map back: from the unit square to the photograph's pixels."""
    return _frame(np.linalg.inv(_square(frame)))


def mirrored(frame: Frame) -> Frame:
    """Return the same frame seen in a mirror: left and right exchanged inside the unit square."""
    a, b, c, d, e, f = frame.matrix
    return Frame((-a, -b, 1 - c, d, e, f))


def turned(centre: tuple[float, float], side: float, angle: float) -> Frame:
    """Build the frame of a square around a point of the photograph.

    Args:
        centre: (x, y) in pixels; lands in the middle of the unit square.
        side: edge of the square in pixels.
        angle: radians; the photograph's direction (cos angle, sin angle) becomes "right".
    """
    cos, sin = math.cos(angle) / side, math.sin(angle) / side
    x, y = centre
    return Frame((cos, sin, 0.5 - cos * x - sin * y, -sin, cos, 0.5 + sin * x - cos * y))


def warp(image: RGBImage | Shrunk[RGBImage], frame: Frame, side: int) -> RGBImage:
    """Look at a photograph through a frame.

    Args:
        image: uint8 (H, W, 3); as `Shrunk`, if it will be looked at again.
        frame: where to look.
        side: edge of the result in pixels.

    Returns:
        uint8 (side, side, 3). Beyond the photograph's edge the nearest pixel of the edge is repeated,
        so that a tight crop does not grow a black frame.
    """
    small, factor = (image if isinstance(image, Shrunk) else Shrunk(image)).seen(frame, side)
    data = _pillow_data(frame, side, factor)
    pad = _padding(small.shape[:2], data, side)
    if pad:
        small = np.pad(small, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        data = (*data[:2], data[2] + pad, *data[3:5], data[5] + pad)
    picture = Image.fromarray(small)
    return np.asarray(picture.transform((side, side), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR))


def warp_mask(mask: Mask | Shrunk[Floats], frame: Frame, side: int) -> Floats:
    """Look at a mask through a frame.

    Args:
        mask: bool (H, W); as `Shrunk`, if it will be looked at again.
        frame: where to look.
        side: edge of the result in pixels.

    Returns:
        float32 (side, side), 0..1: how much of each cell the mask covers.
    """
    coverage, factor = (mask if isinstance(mask, Shrunk) else shrinkable(mask)).seen(frame, side)
    picture = Image.fromarray(coverage)
    data = _pillow_data(frame, side, factor)
    return np.asarray(picture.transform((side, side), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR))


def unwarp(soft: Floats, frame: Frame, size: tuple[int, int], *, threshold: float = 0.5) -> MaskStack:
    """Bring soft masks of a frame back to the photograph.

    Args:
        soft: float32 (T, S, S), 0..1, inside the frame.
        frame: the frame they were made in.
        size: (height, width) of the photograph.
        threshold: a pixel belongs to the mask above this.

    Returns:
        bool (T, height, width). Pixels outside the frame are never in a mask.
    """
    height, width = size
    scale = soft.shape[-1]
    masks = np.zeros((len(soft), height, width), dtype=bool)
    a, b, c, d, e, f = (value * scale for value in frame.matrix)
    for mask, picture in zip(masks, soft, strict=True):
        box = _box_on_photograph(picture > threshold * 0.5, frame, size)
        if box is None:
            continue
        x0, y0, x1, y1 = box
        data = (a, b, a * x0 + b * y0 + c, d, e, d * x0 + e * y0 + f)
        window = Image.fromarray(picture).transform(
            (x1 - x0, y1 - y0), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
        )
        mask[y0:y1, x0:x1] = np.asarray(window) > threshold
    return masks


def _square(frame: Frame) -> npt.NDArray[np.float64]:
    return np.array([frame.matrix[:3], frame.matrix[3:], (0, 0, 1)], dtype=float)


def _frame(matrix: npt.NDArray[np.floating[Any]]) -> Frame:
    a, b, c, d, e, f = (float(value) for value in matrix[:2].ravel())
    return Frame((a, b, c, d, e, f))


def _pillow_data(frame: Frame, side: int, factor: int) -> tuple[float, ...]:
    """Map cells of the result to pixels of the (reduced) photograph, as Pillow's AFFINE wants it."""
    a, b, c, d, e, f = inverse(frame).matrix
    return (a / side / factor, b / side / factor, c / factor, d / side / factor, e / side / factor, f / factor)


def _padding(size: tuple[int, int], data: tuple[float, ...], side: int) -> int:
    """How many pixels the frame looks beyond the photograph."""
    a, b, c, d, e, f = data
    xs = [a * u + b * v + c for u in (0, side) for v in (0, side)]
    ys = [d * u + e * v + f for u in (0, side) for v in (0, side)]
    return max(0, math.ceil(max(-min(xs), -min(ys), max(xs) - size[1], max(ys) - size[0]))) + 1


def _box_on_photograph(inside: Mask, frame: Frame, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Box on the photograph that holds every marked cell of the frame, or None if none is marked."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    scale = len(inside)
    a, b, c, d, e, f = inverse(frame).matrix
    us = [(columns[0] - 1) / scale, (columns[-1] + 2) / scale]
    vs = [(rows[0] - 1) / scale, (rows[-1] + 2) / scale]
    xs = [a * u + b * v + c for u in us for v in vs]
    ys = [d * u + e * v + f for u in us for v in vs]
    x0, y0 = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
    x1, y1 = min(size[1], math.ceil(max(xs))), min(size[0], math.ceil(max(ys)))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
