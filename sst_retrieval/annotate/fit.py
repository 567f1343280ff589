"""Check whether masks fit their photograph: drawn on the photograph as stored, or on two specimens at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from sst_retrieval.imaging import masks
from sst_retrieval.imaging.foreground import find_foreground
from sst_retrieval.imaging.sources import turn
from sst_retrieval.types import Mask, MaskStack, RGBImage

SIDE = 1024
"""Longer edge, in pixels, of the copy of the photograph on which edges are compared."""

SURE = 1.1
"""How many times stronger the photograph's edges must be below one drawing's outlines than below another's.

Of 2,400 right drawings, turned as the orientations 2 to 8 say, none had 1.04 times stronger edges when turned; 95 % had
1.15 times stronger ones as they were."""

SURE_OUTLINE = 400
"""Length in pixels of outlines below which the comparison says less: a fish's pupil may meet an edge anywhere."""

LARGE_PIECE = 0.3
"""Pieces of foreground of at least this share of the largest may be specimens."""


def compare_turned(image: RGBImage, stack: MaskStack, orientation: int) -> float | None:
    """Compare how well masks fit a photograph as they are, and turned as its EXIF orientation says.

    Masks that were drawn on the photograph as stored fit when they are turned.

    Args:
        image: uint8 (H, W, 3), the photograph with its orientation applied.
        stack: bool (T, H, W).
        orientation: EXIF orientation of the photograph, 1..8.

    Returns:
        Strength of the photograph's edges below the outlines of the turned masks, divided by the same of the masks as
        they are; nearer to 1 if the outlines are short. None if there is nothing to compare: the photograph is upright
        or turned by a quarter to another size, or the turned masks are the same.
    """
    labels = np.zeros(stack.shape[1:], dtype=np.uint8)
    for place in sorted(range(len(stack)), key=lambda place: -masks.area(stack[place])):
        labels[stack[place]] = place % 255 + 1
    turned = turn(labels, orientation)
    if orientation == 1 or turned.shape != labels.shape or np.mean(turned != labels) <= 0.02 * np.mean(labels > 0):
        return None
    strength = _edge_strength(image)
    (own, length), (other, _) = (_mean_at_outlines(strength, drawn) for drawn in (labels, turned))
    ratio = max(other, 1e-6) / max(own, 1e-6)
    return float(ratio ** min(1.0, length / SURE_OUTLINE))


def find_far_apart(image: RGBImage, drawn: Mapping[str, Mask]) -> tuple[str, ...]:
    """Find the traits that are drawn on two separate large pieces of a photograph's foreground.

    Args:
        image: uint8 (H, W, 3).
        drawn: trait -> bool (H, W).

    Returns:
        Names of the traits; perhaps the photograph shows several specimens. Left and right wings are none of them:
        their masks are mirrored.
    """
    foreground = find_foreground(image)
    size = (foreground.shape[1], foreground.shape[0])
    small = {
        trait: np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) for trait, mask in drawn.items()
    }
    foreground = foreground | np.any(list(small.values()), axis=0)
    pieces, count = ndimage.label(ndimage.binary_dilation(foreground, iterations=2), np.ones((3, 3), dtype=bool))
    areas = ndimage.sum_labels(foreground, pieces, range(1, count + 1))
    large = 1 + np.flatnonzero(areas >= LARGE_PIECE * areas.max(initial=0))
    found = []
    for trait, mask in small.items():
        shares = np.bincount(pieces[mask], minlength=count + 1)[large]
        two = [large[place] for place in np.argsort(-shares)[:2] if shares[place] > LARGE_PIECE * shares.max()]
        if len(two) == 2 and not _are_mirrored(mask & (pieces == two[0]), mask & (pieces == two[1])):
            found.append(trait)
    return tuple(found)


def _edge_strength(image: RGBImage) -> npt.NDArray[np.float32]:
    """Compute the gradient of a photograph, shrunk to `SIDE`: float32 (h, w)."""
    factor = min(1.0, SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
    smooth = ndimage.gaussian_filter(small.astype(np.float32), (1, 1, 0))
    strength: npt.NDArray[np.float32] = np.sqrt(
        np.hypot(ndimage.sobel(smooth, axis=0), ndimage.sobel(smooth, axis=1)).sum(axis=2)
    )
    return strength


def _mean_at_outlines(strength: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> tuple[float, int]:
    """Return the mean of an array at the outlines of a label map of another size, and how many cells they hit."""
    outline = np.zeros(labels.shape, dtype=bool)
    outline[1:] |= labels[1:] != labels[:-1]
    outline[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    ys, xs = np.nonzero(outline)
    rows = np.minimum(ys * strength.shape[0] // labels.shape[0], strength.shape[0] - 1)
    columns = np.minimum(xs * strength.shape[1] // labels.shape[1], strength.shape[1] - 1)
    cells = np.unique(rows * strength.shape[1] + columns)
    return (float(strength.ravel()[cells].mean()), len(cells)) if len(cells) else (0.0, 0)


def _are_mirrored(one: Mask, other: Mask) -> bool:
    """Tell whether two masks are rather left and right of one body than the same part of two: mirrored, not shifted."""
    side = 48
    first, second = (
        np.asarray(Image.fromarray(mask[y0:y1, x0:x1]).resize((side, side), Image.Resampling.NEAREST))
        for mask in (one, other)
        for x0, y0, x1, y1 in [masks.box(mask)]
    )
    shifted = masks.iou(first, second)
    return max(masks.iou(first, second[:, ::-1]), masks.iou(first, second[::-1])) > shifted + 0.1
