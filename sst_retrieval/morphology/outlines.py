"""Outlines as closed curves with a fixed number of points, and their elliptic Fourier coefficients.

1. The outline of a mask's largest piece is traced by marching squares (Lorensen and Cline 1987) on a picture blurred by
   one pixel: between bare pixels it would be a staircase, longer in some directions than in others, and points equally
   far apart on it would lie elsewhere on a specimen that is turned.
2. It is aligned to the annotated specimen: turned, and seen in a mirror where the specimen lies so, or where it is the
   right one of a pair. Sizes stay as they are.
3. It starts where the ray from its centroid "up" leaves it, runs counter-clockwise (y pointing up), and its points are
   equally far apart along it.

So point k is at a comparable place on every specimen, and outlines need no further sorting before a superimposition
(semi-landmarks; Bookstein 1997).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyefd
from scipy import ndimage
from skimage.measure import find_contours, label

from sst_retrieval.errors import InputError, QueryError
from sst_retrieval.imaging import masks
from sst_retrieval.types import Frame, Mask

Curve: TypeAlias = npt.NDArray[np.float64]
"""float64 (P, 2): a closed curve, the first point not repeated."""

POINTS = 128
"""How many points an outline has, unless another number is given."""

BLUR = 1.0
"""Standard deviation, in pixels, of the blur before tracing."""

HARMONICS = 12
"""How many harmonics describe an outline, unless another number is given."""


@dataclass(frozen=True, slots=True)
class Outlines:
    """Outlines of one trait, in order of specimens and sides.

    Attributes:
        trait: name of the trait.
        specimens: N ids.
        sides: N words: "left", "right", "median" or, if sides were not told apart, "".
        photograph: float64 (N, P, 2), (x, y) in pixels of the photograph, y down.
        laid: float64 (N, P, 2), (x, y) in pixels, y up, aligned to the annotated specimen, right ones seen in a mirror;
            the centroid is the origin.
        sizes: (height, width) of the N photographs.
        scale: float64 (N,), millimetres a pixel, NaN where it is not known.
    """

    trait: str
    specimens: tuple[str, ...]
    sides: tuple[str, ...]
    photograph: npt.NDArray[np.float64]
    laid: npt.NDArray[np.float64]
    sizes: tuple[tuple[int, int], ...]
    scale: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Count the outlines."""
        return len(self.specimens)

    def fourier(self, harmonics: int = HARMONICS, *, rotate: bool = False) -> Any:
        """Return elliptic Fourier coefficients as a pandas data frame (see `elliptic_fourier`).

        Returns:
            One row an outline: specimen, side, then A1, B1, C1, D1, A2, ...

        Raises:
            QueryError: fewer than one harmonic.
        """
        if harmonics < 1:
            raise QueryError(f"{harmonics} harmonics describe no outline; ask for 1 or more")
        rows = [elliptic_fourier(curve, harmonics, rotate=rotate).ravel() for curve in self.laid]
        names = [f"{letter}{order}" for order in range(1, harmonics + 1) for letter in "ABCD"]
        frame = pd.DataFrame(np.reshape(rows, (len(rows), len(names))), columns=names)
        frame.insert(0, "specimen", self.specimens)
        frame.insert(1, "side", self.sides)
        return frame


def trace_outline(
    mask: Mask, frame: Frame, *, points: int = POINTS, up: float = 0.0, mirror: bool = False
) -> tuple[Curve, Curve]:
    """Trace the outline of a mask's largest piece.

    Args:
        mask: bool (H, W), not empty.
        frame: the specimen's frame.
        points: how many points, at least 8.
        up: radians by which "up" is turned clockwise (as seen) from the frame's own.
        mirror: see it in a mirror, left and right exchanged: for the right one of a pair.

    Returns:
        The same P points twice: in pixels of the photograph, y down; and laid upright around the centroid, y up.

    Raises:
        InputError: too few points, or the mask is empty.
    """
    if points < 8:
        raise InputError(f"an outline of {points} points is none; ask for 8 or more")
    traced = _trace_largest_piece(mask)
    turn = _upright_transform(frame, up, mirror=mirror)
    laid = traced @ turn.T
    laid = laid - _centroid(laid)
    if masks.signed_area(laid) < 0:
        laid = laid[::-1]
    even = _resample_evenly(_start_at_top(laid), points)
    # Back to the photograph: the turn is orthogonal, so its inverse is its transpose.
    return even @ turn + _centroid(traced), even


def elliptic_fourier(curve: Curve, harmonics: int = HARMONICS, *, rotate: bool = False) -> npt.NDArray[np.float64]:
    """Describe a closed curve by elliptic Fourier coefficients (Kuhl and Giardina 1982), computed by pyefd.

    x(t) = sum of A_n cos(nt) + B_n sin(nt) and y(t) = sum of C_n cos(nt) + D_n sin(nt), t running along the curve.

    Args:
        curve: float64 (P, 2), closed, the first point not repeated.
        harmonics: how many, N.
        rotate: bring the first harmonic's ellipse to one turn and starting point, too. Without it the curve's own turn
            and start are kept, which `trace_outline` has made comparable already; the ellipse's axes are two to choose
            from, and on a nearly round outline chance chooses.

    Returns:
        float64 (N, 4): A, B, C, D of each harmonic, divided by the long half-axis of the first harmonic's ellipse: size
        does not count, position neither.
    """
    closed = np.vstack([curve, curve[:1]])
    moved = np.r_[True, np.any(np.diff(closed, axis=0) != 0, axis=1)]  # A step of no length has no direction.
    found: npt.NDArray[np.float64] = pyefd.elliptic_fourier_descriptors(closed[moved], order=harmonics)
    if rotate:
        return np.asarray(pyefd.normalize_efd(found, size_invariant=True), dtype=np.float64)
    half_axis = np.linalg.svd(found[0].reshape(2, 2), compute_uv=False)[0]
    return np.asarray(found / half_axis, dtype=np.float64)


def _trace_largest_piece(mask: Mask) -> Curve:
    """Trace the outer edge of the largest piece, (x, y) in pixels, the first point repeated."""
    x0, y0, x1, y1 = masks.box(mask)
    if x0 == x1:
        raise InputError("the mask is empty; an absent trait has no outline")
    labelled, _ = label(np.pad(mask[y0:y1, x0:x1], 4), return_num=True)
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    piece = ndimage.binary_fill_holes(labelled == sizes.argmax())
    soft = ndimage.gaussian_filter(piece.astype(np.float64), BLUR)
    # Of a hair, blurred, no pixel is covered by half.
    curves = find_contours(soft, 0.5 * min(1.0, soft.max()), fully_connected="high")
    curve = max(curves, key=lambda points: abs(masks.signed_area(points[:, ::-1])))
    return np.asarray(curve[:, ::-1] + (x0 - 3.5, y0 - 3.5), dtype=np.float64)


def _upright_transform(frame: Frame, up: float, *, mirror: bool) -> npt.NDArray[np.float64]:
    """Build the orthogonal map from photograph pixels (y down) to the upright specimen (y up)."""
    a, b, _, d, e, _ = frame.matrix
    linear = np.array([[a, b], [d, e]]) / math.sqrt(abs(a * e - b * d))
    cos, sin = math.cos(up), math.sin(up)
    spin = np.array([[cos, sin], [-sin, cos]])
    flip = np.diag([-1.0 if mirror else 1.0, -1.0])
    return np.asarray(flip @ spin @ linear, dtype=np.float64)


def _centroid(curve: Curve) -> npt.NDArray[np.float64]:
    """Centroid of the area inside a closed curve whose first point is repeated."""
    x, y = (curve - curve[0]).T
    cross = x[:-1] * y[1:] - x[1:] * y[:-1]
    total = 3 * cross.sum()
    inside = np.array([((x[:-1] + x[1:]) * cross).sum(), ((y[:-1] + y[1:]) * cross).sum()]) / total
    return np.asarray(curve[0] + inside, dtype=np.float64)


def _start_at_top(curve: Curve) -> Curve:
    """Let a closed curve (first point repeated) start where the ray up from the origin crosses it last."""
    (x0, y0), (x1, y1) = curve[:-1].T, curve[1:].T
    crossing = np.flatnonzero((x0 > 0) != (x1 > 0))
    share = x0[crossing] / (x0[crossing] - x1[crossing])
    heights = y0[crossing] + share * (y1[crossing] - y0[crossing])
    best = int(np.argmax(heights))
    start = np.array([[0.0, heights[best]]])
    after = int(crossing[best]) + 1
    return np.vstack([start, curve[after:-1], curve[:after], start])


def _resample_evenly(curve: Curve, points: int) -> Curve:
    """Walk along a closed curve (first point repeated) in equal steps."""
    steps = np.hypot(*np.diff(curve, axis=0).T)
    along = np.concatenate([[0], np.cumsum(steps)])
    wanted = np.linspace(0, along[-1], points, endpoint=False)
    return np.stack([np.interp(wanted, along, axis) for axis in curve.T], axis=1)


def stack_curves(curves: Sequence[Curve], points: int) -> npt.NDArray[np.float64]:
    """Stack outlines, also none: float64 (N, P, 2)."""
    return np.stack(curves) if curves else np.zeros((0, points, 2))
