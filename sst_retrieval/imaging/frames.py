"""Frames: similarity transforms between a photograph and the unit square, and images and masks sampled through them.

1. `foreground.frame_specimen` gives the frame of the specimen as it lies on the photograph.
2. Its pose is never assumed. A butterfly's longest axis is not its body and cut wings are four pieces, so no axis is
   read off the outline: rotations of the frame all the way round, and their mirror images, are the pose hypotheses.
3. `fit_similarity` turns matched points of two frames into the one similarity transform that most of them agree on.
4. `warp_image` and `warp_mask` sample a photograph inside a frame; `unwarp_masks` brings masks back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sst_retrieval.imaging.pyramid import Pyramid, mask_pyramid
from sst_retrieval.types import Box, Floats, Frame, Mask, MaskStack, RGBImage


def pose_hypotheses(frame: Frame, turns: int) -> list[Frame]:
    """Rotate a frame in equal steps all the way round, then its mirror image.

    Args:
        frame: the specimen as it lies.
        turns: number of rotations.

    Returns:
        2 * turns frames; the first is `frame` itself.
    """
    rotations = [square_frame((0.5, 0.5), 1.0, 2 * math.pi * turn / turns) for turn in range(turns)]
    return [compose(rotation, start) for start in (frame, mirror(frame)) for rotation in rotations]


def fit_similarity(source: npt.NDArray[np.float64], goal: npt.NDArray[np.float64]) -> Frame | None:
    """Find the similarity transform that takes most points of one frame to their partners in another.

    The rotation is the least-squares one (Umeyama 1991, without mirror); the scale is the ratio of the spreads (Horn
    1987), since least squares shrinks when partners are noisy. Four rounds; each reduces the weight of outliers
    (Cauchy).

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
    return _from_matrix(_as_matrix(outer) @ _as_matrix(inner))


def invert(frame: Frame) -> Frame:
    """Compute the inverse map: from the unit square to the photograph's pixels."""
    return _from_matrix(np.linalg.inv(_as_matrix(frame)))


def mirror(frame: Frame) -> Frame:
    """Mirror a frame: left and right are exchanged inside the unit square."""
    a, b, c, d, e, f = frame.matrix
    return Frame((-a, -b, 1 - c, d, e, f))


def square_frame(centre: tuple[float, float], side: float, angle: float) -> Frame:
    """Make the frame of a square around a point of the photograph.

    Args:
        centre: (x, y) in pixels; lands in the middle of the unit square.
        side: edge of the square in pixels.
        angle: radians; the photograph's direction (cos angle, sin angle) becomes "right".
    """
    cos, sin = math.cos(angle) / side, math.sin(angle) / side
    x, y = centre
    return Frame((cos, sin, 0.5 - cos * x - sin * y, -sin, cos, 0.5 + sin * x - cos * y))


def measure_side(frame: Frame) -> float:
    """Measure the edge of a frame's square on the photograph, in pixels.

    >>> round(measure_side(square_frame((50, 40), 80, 0.3)), 6)
    80.0
    """
    a, b, _, d, e, _ = frame.matrix
    return 1 / math.sqrt(abs(a * e - b * d))


def measure_shift(one: Frame, other: Frame) -> float:
    """Measure how far apart two frames lie: the largest shift of a corner of the first, in edges of the second.

    >>> measure_shift(square_frame((50, 50), 100, 0.0), square_frame((60, 50), 100, 0.0))
    0.1
    """
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]], dtype=float)
    moved = corners @ _as_matrix(compose(other, invert(one))).T
    return round(float(np.linalg.norm((moved - corners)[:, :2], axis=1).max()), 12)


def warp_image(image: RGBImage | Pyramid[RGBImage], frame: Frame, side: int) -> RGBImage:
    """Sample a photograph inside a frame.

    Args:
        image: uint8 (H, W, 3); a `Pyramid` if it is sampled more than once.
        frame: the part of the photograph.
        side: edge of the result in pixels.

    Returns:
        uint8 (side, side, 3). Beyond the photograph's edge the nearest pixel of the edge is repeated,
        so that a tight crop does not grow a black frame.
    """
    small, factor = (image if isinstance(image, Pyramid) else Pyramid(image)).level(frame, side)
    data = _pillow_data(frame, side, factor)
    pad = _padding(small.shape[:2], data, side)
    if pad:
        small = _repeat_edge(small, pad)
        data = (*data[:2], data[2] + pad, *data[3:5], data[5] + pad)
    picture = Image.fromarray(small)
    return np.asarray(picture.transform((side, side), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR))


def warp_mask(mask: Mask | Pyramid[Floats], frame: Frame, side: int) -> Floats:
    """Sample a mask inside a frame.

    Args:
        mask: bool (H, W); a `Pyramid` if it is sampled more than once.
        frame: the part of the photograph.
        side: edge of the result in pixels.

    Returns:
        float32 (side, side), 0..1: how much of each cell the mask covers.
    """
    coverage, factor = (mask if isinstance(mask, Pyramid) else mask_pyramid(mask)).level(frame, side)
    picture = Image.fromarray(coverage)
    data = _pillow_data(frame, side, factor)
    return np.asarray(picture.transform((side, side), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR))


def unwarp_masks(soft: Floats, frame: Frame, size: tuple[int, int], *, threshold: float = 0.5) -> MaskStack:
    """Bring soft masks of a frame back to the photograph, by bilinear sampling.

    Args:
        soft: float32 (T, S, S), 0..1, inside the frame.
        frame: the frame they were made in.
        size: (height, width) of the photograph.
        threshold: a pixel belongs to the mask above this.

    Returns:
        bool (T, height, width). Pixels outside the frame are never in a mask.
    """
    height, width = size
    masks = np.zeros((len(soft), height, width), dtype=bool)
    for mask, picture in zip(masks, soft, strict=True):
        box = _box_on_photograph(picture > threshold * 0.5, frame, size)
        if box is None:
            continue
        x0, y0, x1, y1 = box
        mask[y0:y1, x0:x1] = unwarp_soft(picture, frame, box) > threshold
    return masks


def unwarp_soft(soft: Floats, frame: Frame, box: Box) -> Floats:
    """Bring one soft mask of a frame back to a part of the photograph, by bilinear sampling.

    Args:
        soft: float32 (S, S), 0..1, inside the frame.
        frame: the frame it was made in.
        box: the part, (x0, y0, x1, y1) in pixels of the photograph.

    Returns:
        float32 (y1 - y0, x1 - x0); 0 outside the frame.
    """
    x0, y0, x1, y1 = box
    a, b, c, d, e, f = (value * soft.shape[-1] for value in frame.matrix)
    data = (a, b, a * x0 + b * y0 + c, d, e, d * x0 + e * y0 + f)
    picture = Image.fromarray(np.ascontiguousarray(soft, dtype=np.float32))
    part = picture.transform((x1 - x0, y1 - y0), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(part)


def _as_matrix(frame: Frame) -> npt.NDArray[np.float64]:
    return np.array([frame.matrix[:3], frame.matrix[3:], (0, 0, 1)], dtype=float)


def _from_matrix(matrix: npt.NDArray[np.floating[Any]]) -> Frame:
    a, b, c, d, e, f = (float(value) for value in matrix[:2].ravel())
    return Frame((a, b, c, d, e, f))


def _pillow_data(frame: Frame, side: int, factor: int) -> tuple[float, ...]:
    """Map pixels of the view to pixels of the photograph reduced by `factor`, in the order of Pillow's AFFINE."""
    a, b, c, d, e, f = invert(frame).matrix
    return (a / side / factor, b / side / factor, c / factor, d / side / factor, e / side / factor, f / factor)


def _padding(size: tuple[int, int], data: tuple[float, ...], side: int) -> int:
    """Count the pixels by which a frame reaches beyond the photograph."""
    a, b, c, d, e, f = data
    xs = [a * u + b * v + c for u in (0, side) for v in (0, side)]
    ys = [d * u + e * v + f for u in (0, side) for v in (0, side)]
    return max(0, math.ceil(max(-min(xs), -min(ys), max(xs) - size[1], max(ys) - size[0]))) + 1


def _repeat_edge(image: RGBImage, pad: int) -> RGBImage:
    """Pad a photograph on all sides by copies of the pixels of its edge: `numpy.pad` in up to a tenth of the time."""
    height, width = image.shape[:2]
    padded = np.empty((height + 2 * pad, width + 2 * pad, 3), dtype=np.uint8)
    middle = padded[pad : pad + height]
    middle[:, pad : pad + width] = image
    for start, edge in ((0, pad), (pad + width, pad + width - 1)):
        middle[:, start] = middle[:, edge]
        done = 1
        while done < pad:  # Twice as many columns at a time: three bytes at a time are slow.
            count = min(done, pad - done)
            middle[:, start + done : start + done + count] = middle[:, start : start + count]
            done += count
    padded[:pad], padded[pad + height :] = middle[0], middle[-1]
    return padded


def _box_on_photograph(inside: Mask, frame: Frame, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return the box on the photograph, half-open, around every marked cell, bool (S, S); None if there is none."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    scale = len(inside)
    a, b, c, d, e, f = invert(frame).matrix
    us = [(columns[0] - 1) / scale, (columns[-1] + 2) / scale]
    vs = [(rows[0] - 1) / scale, (rows[-1] + 2) / scale]
    xs = [a * u + b * v + c for u in us for v in vs]
    ys = [d * u + e * v + f for u in us for v in vs]
    x0, y0 = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
    x1, y1 = min(size[1], math.ceil(max(xs))), min(size[0], math.ceil(max(ys)))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
