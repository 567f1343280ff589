"""Room 4, the shape block: the outline of a trait.

1. The mask is taken apart into pieces. A wide one that lies on the specimen's midline like its own mirror image is a
   pair that hangs together, and is cut along it: where a found mask runs over the body from one wing to the other, both
   are still described one by one. Between a pair and a single piece there is no jump (`WIDE`, `MIRRORED`).
2. Each piece is described by elliptic Fourier amplitudes of its outline (Kuhl and Giardina 1982, "Elliptic Fourier
   features of a closed contour", Computer Graphics and Image Processing 18: 236-258), which do not depend on its turn,
3. and by a coarse grid of signed distances to its outline in the specimen's frame, mirrored if the piece lies on the
   left. A distance changes little where a mask is a few pixels too wide; it is squashed, so that what is far from the
   outline counts as inside or outside only.
"""

from __future__ import annotations

import numpy as np
import pyefd
from scipy import ndimage
from skimage.measure import find_contours, label

from sst_retrieval.describe.unit_vectors import normalise
from sst_retrieval.imaging import frames
from sst_retrieval.types import Doubles, Floats, Frame, Mask

HARMONICS = 12
ORDER_POWER = 0.5  # An amplitude counts times its order to this power: detail counts, mistakes in it not too much.
GRID_SIDE = 10  # Rows and columns of the grid of distances.
GRID_EXTENT = 1.8  # Half the grid's edge, in root-mean-square radii of the piece; a straight line ends at 1.73.
EDGE_WIDTH = 0.35  # Distance from the outline, in these radii, at which 76 % of the way to inside or outside is gone.
# A piece counts as two, cut along the midline, the more the more it is like its mirror image (IoU) and the wider it is
# (half its width, as a share of the specimen's frame): nothing below the first number, wholly above the second.
MIRRORED = (0.3, 0.6)
WIDE = (0.17, 0.27)
OUTLINE_SIDE = 192  # Edge, in pixels, of the square in which outlines are traced.
MIN_PIECE_SHARE = 0.05  # Pieces smaller than this share of the largest are taken for specks.
MAX_PIECES = 16  # The largest pieces define the shape; a mask of many specks must not take minutes.


def compute_shape_block(mask: Mask, frame: Frame) -> Floats:
    """Describe the outline of a trait, independent of its position and size, and for any number of pieces.

    Pieces (the left and the right band, say) are described one by one; the mean is weighted by their areas. Amplitudes
    of harmonics do not change when the outline is turned or mirrored; the grids keep the frame's "up".

    Args:
        mask: bool (H, W), not empty.
        frame: the pose of the specimen; its midline, u = 0.5, tells left from right.

    Returns:
        float32 (2 * HARMONICS + GRID_SIDE ** 2,), unit length: amplitudes, then the grid row by row.
    """
    trait_frame, left, width = frame_trait(mask, frame)
    coverage = frames.warp_mask(mask, trait_frame, OUTLINE_SIDE)
    midline = (0.5 - left) / width * OUTLINE_SIDE
    # Relative to the best covered cell: a hair covers no cell by half.
    pieces = _list_pieces(coverage > 0.5 * coverage.max(), midline, width)
    amplitudes, grid = np.zeros(2 * HARMONICS), np.zeros(GRID_SIDE**2)
    for area, piece in pieces:
        filled = _fill_holes(piece)
        amplitudes += area * _fourier_amplitudes(filled)
        grid += area * _distance_grid(filled, midline)
    return normalise(np.concatenate([normalise(amplitudes), normalise(grid)]))


def _list_pieces(covered: Mask, midline: float, width: float) -> list[tuple[float, Mask]]:
    """Take a mask apart: (area in pixels, piece), of the largest pieces.

    A pair whose sides hang together counts as two pieces, in part or wholly; the parts of its area are shared.

    Args:
        covered: bool (OUTLINE_SIDE, OUTLINE_SIDE), not empty.
        midline: x of the specimen's midline in pixels.
        width: of the view, in units of the specimen's frame.
    """
    labelled, count = label(covered, return_num=True)
    areas = np.bincount(labelled.ravel(), minlength=count + 1)[1:]
    left = np.arange(OUTLINE_SIDE) + 0.5 < midline
    found: list[tuple[float, Mask]] = []
    for number in np.argsort(-areas, kind="stable")[:MAX_PIECES]:
        if areas[number] < MIN_PIECE_SHARE * areas.max():
            break
        piece = labelled == number + 1
        columns = np.flatnonzero(piece.any(axis=0))
        half_width = (columns[-1] + 1 - columns[0]) / 2 / OUTLINE_SIDE * width
        share = _rise(half_width, WIDE) * _rise(_compare_with_mirror(piece, midline), MIRRORED)
        if share > 0:
            found += [(share * int(half.sum()), half) for half in (piece & left, piece & ~left)]
        if share < 1:
            found.append(((1 - share) * int(areas[number]), piece))
    return found


def _rise(value: float, limits: tuple[float, float]) -> float:
    """Rise from 0 at the first limit to 1 at the second."""
    return min(max((value - limits[0]) / (limits[1] - limits[0]), 0.0), 1.0)


def _compare_with_mirror(piece: Mask, midline: float) -> float:
    """Compute the IoU of a piece with its mirror image about the midline."""
    columns = np.round(2 * midline - 1 - np.arange(OUTLINE_SIDE)).astype(int)
    inside = (columns >= 0) & (columns < OUTLINE_SIDE)
    image = piece[:, np.clip(columns, 0, OUTLINE_SIDE - 1)] & inside
    both = np.count_nonzero(piece & image)
    return both / (2 * np.count_nonzero(piece) - both)


def _fill_holes(piece: Mask) -> Mask:
    """Fill the holes of a piece: the result of scipy's `binary_fill_holes`, five times as fast."""
    background, _ = ndimage.label(np.pad(~piece, 1, constant_values=True))
    filled: Mask = background[1:-1, 1:-1] != background[0, 0]
    return filled


def frame_trait(mask: Mask, frame: Frame) -> tuple[Frame, float, float]:
    """Compute the frame of a square around the trait, with the specimen's turn.

    Args:
        mask: bool (H, W), not empty.
        frame: the pose of the specimen.

    Returns:
        The frame, and the left edge and width of the square in units of the specimen's frame.
    """
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


def _fourier_amplitudes(piece: Mask) -> Doubles:
    """Compute the amplitudes of the outline's harmonics, each times a power of its order.

    Returns:
        float64 (2 * HARMONICS,), unit length.
    """
    soft = ndimage.gaussian_filter(np.pad(piece.astype(np.float64), 2), 0.7)
    outline = max(find_contours(soft, 0.5 * soft.max()), key=len)
    moved = np.r_[True, np.any(np.diff(outline, axis=0) != 0, axis=1)]  # A step of no length has no direction.
    a, b, c, d = pyefd.elliptic_fourier_descriptors(outline[moved][:, ::-1], order=HARMONICS).T
    # An ellipse is the sum of two circles run through in opposite senses; their radii depend on nothing else.
    radii = np.hypot([a + d, a - d], [c - b, c + b]) * np.arange(1, HARMONICS + 1) ** ORDER_POWER
    return np.asarray(normalise(radii.ravel()), dtype=np.float64)


def _distance_grid(piece: Mask, midline: float) -> Doubles:
    """Sample the squashed signed distance to a piece's outline on a coarse grid, centred and scaled.

    A piece left of the midline is mirrored; one that the midline crosses is blended with its mirror image, by the share
    of it on the left.

    Args:
        piece: bool (OUTLINE_SIDE, OUTLINE_SIDE).
        midline: x of the specimen's midline in pixels.

    Returns:
        float64 (GRID_SIDE ** 2,), -1 far outside to 1 deep inside, before it is scaled to unit length.
    """
    rows, columns = np.nonzero(piece)
    radius = max(float(np.sqrt(rows.var() + columns.var())), 0.5)
    on_left = float((columns + 0.5 < midline).mean())
    # Farther out than one radius everything is outside, wherever it is sampled.
    margin = 2 + int(np.ceil(radius))
    y0, x0 = rows.min(), columns.min()
    near = np.pad(piece[y0 : rows.max() + 1, x0 : columns.max() + 1], margin)
    distance = ndimage.distance_transform_edt(near) - ndimage.distance_transform_edt(~near)
    steps = ((np.arange(GRID_SIDE) + 0.5) * (2 / GRID_SIDE) - 1) * GRID_EXTENT * radius
    wanted = np.meshgrid(rows.mean() - y0 + margin + steps, columns.mean() - x0 + margin + steps, indexing="ij")
    sampled = ndimage.map_coordinates(distance, wanted, order=1, mode="nearest")
    grid = np.tanh(sampled / (EDGE_WIDTH * radius))
    return np.asarray(normalise(((1 - on_left) * grid + on_left * grid[:, ::-1]).ravel()), dtype=np.float64)
