"""Room 4, the shape block: the outline of a trait.

The outline's elliptic Fourier harmonics (Kuhl and Giardina 1982), and a coarse picture of each piece in the specimen's
frame, where a piece on the left side is seen in a mirror.
"""

from __future__ import annotations

import numpy as np
import pyefd
from scipy import ndimage
from skimage.measure import find_contours, label

from sst_retrieval.imaging import frames
from sst_retrieval.types import Doubles, Floats, Frame, Mask, unit

HARMONICS = 12
PICTURE_SIDE = 12
PICTURE_REACH = 2.0  # Half the edge of the coarse picture, in root-mean-square radii; a straight line ends at 1.73.
OUTLINE_SIDE = 192  # Edge, in pixels, of the square in which outlines are traced.
SMALLEST_PIECE = 0.05  # Pieces smaller than this share of the largest are specks.
MOST_PIECES = 16  # The largest tell the shape; a sprinkled mask must not take minutes.


def shape_block(mask: Mask, frame: Frame) -> Floats:
    """Describe the outline of a trait, whatever its place and size and however many pieces it has.

    Pieces (the left and the right band, say) are described one by one and averaged by area. Elliptic Fourier harmonics
    enter by their amplitudes, which no turn or mirror changes; the coarse pictures keep the frame's "up".

    Args:
        mask: bool (H, W), not empty.
        frame: how the specimen lies; its middle line tells left from right.

    Returns:
        float32 (2 * HARMONICS + PICTURE_SIDE ** 2,), unit length.
    """
    close, left, width = _close_up(mask, frame)
    coverage = frames.warp_mask(mask, close, OUTLINE_SIDE)
    # Relative to the best covered cell: a hair covers no cell by half.
    labelled, count = label(coverage > 0.5 * coverage.max(), return_num=True)
    areas = np.bincount(labelled.ravel(), minlength=count + 1)[1:]
    middle = (0.5 - left) / width * OUTLINE_SIDE
    harmonics, picture = np.zeros(2 * HARMONICS), np.zeros(PICTURE_SIDE**2)
    for number in np.argsort(-areas, kind="stable")[:MOST_PIECES]:
        if areas[number] >= SMALLEST_PIECE * areas.max():
            piece = _without_holes(labelled == number + 1)
            harmonics += areas[number] * _amplitudes(piece)
            picture += areas[number] * _coarse_picture(piece, middle)
    return unit(np.concatenate([unit(harmonics), unit(picture)]))


def _without_holes(piece: Mask) -> Mask:
    """Fill what cannot be reached from the edge without crossing the piece: `binary_fill_holes`, five times as fast."""
    around, _ = ndimage.label(np.pad(~piece, 1, constant_values=True))
    filled: Mask = around[1:-1, 1:-1] != around[0, 0]
    return filled


def _close_up(mask: Mask, frame: Frame) -> tuple[Frame, float, float]:
    """Frame of a square around the trait, turned as the specimen is; its left edge and width in the old frame."""
    rows = np.flatnonzero(mask.any(axis=1))
    starts, ends = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows][:, ::-1].argmax(axis=1)
    # The outermost corners of every row of pixels: the box of a turned mask depends on no other point.
    xs = np.concatenate([starts, starts, ends, ends])
    ys = np.concatenate([rows, rows + 1, rows, rows + 1])
    a, b, c, d, e, f = frame.matrix
    us, vs = a * xs + b * ys + c, d * xs + e * ys + f
    width = 1.1 * float(max(np.ptp(us), np.ptp(vs)))
    left, top = (float(axis.min() + axis.max() - width) / 2 for axis in (us, vs))
    zoom = Frame((1 / width, 0, -left / width, 0, 1 / width, -top / width))
    return frames.compose(zoom, frame), left, width


def _amplitudes(piece: Mask) -> Doubles:
    """Amplitudes of the outline's harmonics, each times its order, so that fine detail counts: (2 * HARMONICS,)."""
    soft = ndimage.gaussian_filter(np.pad(piece.astype(np.float64), 2), 0.7)
    outline = max(find_contours(soft, 0.5 * soft.max()), key=len)
    moved = np.r_[True, np.any(np.diff(outline, axis=0) != 0, axis=1)]  # A step of no length has no direction.
    a, b, c, d = pyefd.elliptic_fourier_descriptors(outline[moved][:, ::-1], order=HARMONICS).T
    # An ellipse is the sum of two circles run through in opposite senses; their radii depend on nothing else.
    radii = np.hypot([a + d, a - d], [c - b, c + b]) * np.arange(1, HARMONICS + 1)
    return np.asarray(unit(radii.ravel()), dtype=np.float64)


def _coarse_picture(piece: Mask, middle: float) -> Doubles:
    """Picture of a piece, centred and scaled; seen in a mirror as far as it lies left of the middle line."""
    rows, columns = np.nonzero(piece)
    x, y = columns - columns.mean(), rows - rows.mean()
    reach = PICTURE_REACH * max(float(np.sqrt((x**2 + y**2).mean())), 0.5)
    on_left = float((columns + 0.5 < middle).mean())
    edges = np.linspace(-1, 1, PICTURE_SIDE + 1)
    counts, _, _ = np.histogram2d(y / reach, x / reach, bins=(edges, edges))
    picture = ndimage.gaussian_filter(counts, 0.8)
    return np.asarray(unit(((1 - on_left) * picture + on_left * picture[:, ::-1]).ravel()), dtype=np.float64)
