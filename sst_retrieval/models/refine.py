"""From votes on cells to masks on pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from sst_retrieval.types import Floats, RGBImage

RADIUS = 6  # Of the guided filter, in pixels of the view.
COARSER = 2  # The filter's lines are found on a picture half as large (He and Sun 2015, fast guided filter).
SMOOTHNESS = 1e-3  # Variance (of colours 0..1) below which the guided filter smooths.


def refine(view: RGBImage, shares: Floats, distance: Floats, rivals: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Sharpen votes along a view's edges and let the traits compete.

    Args:
        view: uint8 (S, S, 3).
        shares: float32 (1 + T, G, G): votes for "no trait" and for each trait.
        distance: float32 (G, G): squared feature distance to the best candidate.
        rivals: bool (T, T): which traits compete for a pixel.

    Returns:
        float32 (T, S, S), above 0.5 where a trait wins; float32 (T,), confidence 0..1.
    """
    side = len(view)
    sharp = guided(view.astype(np.float32) / 255, _resized(shares, (side, side)))
    soft = compete(sharp, rivals)
    confidence = np.array([_confidence(s, m, distance) for s, m in zip(sharp[1:], soft, strict=True)], dtype=np.float32)
    return soft, confidence


def compete(shares: Floats, rivals: npt.NDArray[np.bool_]) -> Floats:
    """Turn shares into margins over the strongest rival: above 0.5 where a trait wins."""
    nothing, traits = shares[0], shares[1:]
    margins = []
    for trait, against in zip(traits, rivals, strict=True):
        strongest = np.maximum(nothing, traits[against].max(axis=0)) if against.any() else nothing
        margins.append(0.5 + (trait - strongest) / 2)
    return np.stack(margins).astype(np.float32)


def guided(guide: Floats, pictures: Floats, *, radius: int = RADIUS, smoothness: float = SMOOTHNESS) -> Floats:
    """Filter pictures so that their edges follow a guide's (He, Sun and Tang 2013, colour guide).

    Args:
        guide: float32 (H, W, 3), 0..1.
        pictures: float32 (N, H, W).
        radius: of the box, in pixels.
        smoothness: epsilon of the paper.

    Returns:
        float32 (N, H, W).
    """

    height, width = guide.shape[:2]
    small = (height // COARSER, width // COARSER)
    colours = _resized(guide.transpose(2, 0, 1), small)
    coarse = _resized(pictures, small)
    # One pass over everything that has to be averaged.
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    products = np.stack([colours[i] * colours[j] for i, j in pairs])
    crossed = (coarse[:, None] * colours).reshape(-1, *small)
    means = _box_mean(np.concatenate([colours, products, coarse, crossed]), radius // COARSER)
    centre, squares, level, cross = np.split(means, [3, 9, 9 + len(coarse)])
    covariance = np.empty((*small, 3, 3), dtype=np.float32)
    for (i, j), square in zip(pairs, squares, strict=True):
        covariance[..., i, j] = covariance[..., j, i] = square - centre[i] * centre[j]
    inverse = np.linalg.inv(covariance + np.float32(smoothness) * np.eye(3, dtype=np.float32))
    together = cross.reshape(-1, 3, *small) - level[:, None] * centre
    slope = np.einsum("hwij,njhw->nihw", inverse, together, optimize=True)
    offset = level - (slope * centre).sum(1)
    lines = _box_mean(np.concatenate([slope, offset[:, None]], axis=1).reshape(-1, *small), radius // COARSER)
    lines = _resized(lines, (height, width)).reshape(-1, 4, height, width)
    result: Floats = (lines[:, :3] * guide.transpose(2, 0, 1)).sum(1) + lines[:, 3]
    return result


def _box_mean(stack: Floats, radius: int) -> Floats:
    edge = 2 * radius + 1
    padded = functional.pad(torch.from_numpy(stack)[None], (radius,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, edge, stride=1)[0].numpy()


def _resized(stack: Floats, size: tuple[int, int]) -> Floats:
    tensor = torch.from_numpy(np.ascontiguousarray(stack))[None]
    if size[0] < stack.shape[1]:
        return functional.interpolate(tensor, size=size, mode="area")[0].numpy()
    return functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False)[0].numpy()


def _confidence(share: Floats, margin: Floats, distance: Floats) -> float:
    """How clearly a trait wins where it wins; 0 where it wins nowhere."""
    won = margin > 0.5
    if not won.any():
        return 0.0
    return float(np.clip(share[won].mean(), 0, 1))
