"""Left and right: where the middle line of a group's specimens runs, and on which side of it a trait's pieces lie.

1. The masks of a group, aligned to its annotated specimen, are averaged: what one specimen lost, the others show.
2. The line over which that average is most like its mirror image is the middle line (found among all turns, near the
   upright before the others). Unless most of the average lies on its own mirror image, there is none: a fish seen from
   its side has no left and right fin.
3. Every piece of a mask lies left or right of it; one that lies on both sides is "median", and no pair.

Left is the left of the picture when the specimen lies like the annotated one with the line's upper end up: the animal's
own left if it is seen from above with its head up, its right if it is seen from below.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import label

from sst_retrieval.imaging import frames
from sst_retrieval.imaging.masks import box
from sst_retrieval.types import Floats, Frame, Mask

SIDES = ("left", "right", "median")

LEAST_SYMMETRY = 0.58
"""Overlap (intersection over union) of the average with its mirror image below which there is no middle line. One
specimen alone, its label drawn by a person, reaches 0.60 and more; a letter L 0.55."""

SPECIMENS = 40
"""Specimens averaged to find a middle line; more change nothing."""

_BLUR = 1.5  # In pixels of that picture.
_SIDE = 64  # Edge of the average picture.
_BOTH = 0.2  # A piece with this share of its area on either side lies on both.
_SMALLEST_PIECE = 0.05  # Pieces smaller than this share of the largest are specks.
_UPRIGHT = 0.1  # How much worse a line lying level may be and still be taken before an upright one.


@dataclass(frozen=True, slots=True)
class Axis:
    """The middle line of a group in the unit square of its frame.

    Attributes:
        u, v: a point on the line.
        angle: radians from the square's "up" to the line, clockwise as seen, -pi/2 to pi/2.
        symmetry: overlap of the average of all masks, a little blurred, with its mirror image, 0..1.
    """

    u: float
    v: float
    angle: float
    symmetry: float


def average_masks(specimens: Iterable[tuple[Mask, Frame]]) -> Floats:
    """Average the masks of a group, aligned to its annotated specimen.

    Args:
        specimens: of each, all its traits in one mask, bool (H, W), and how it lies; at least one.

    Returns:
        float32 (64, 64), 0..1, over the frame's unit square.
    """
    pictures = [frames.warp_mask(mask, frame, _SIDE) for mask, frame in specimens]
    mean: Floats = np.mean(pictures, axis=0, dtype=np.float32)
    return mean


def find_middle_line(picture: Floats) -> Axis | None:
    """Find the line over which a picture is most like its mirror image.

    Args:
        picture: float32 (S, S), 0..1, over a unit square.

    Returns:
        The line, or None if the picture is not symmetric.
    """
    if not picture.any():
        return None
    # Thin bands that miss their mirror image by a hair are symmetric all the same.
    picture = ndimage.gaussian_filter(picture, _BLUR)
    centre = np.array(ndimage.center_of_mass(picture))
    best = (-math.inf, 0.0, 0.0, 0.0)
    for angle in np.radians(np.arange(-90, 90, 3)):
        best = max(best, _best_shift(picture, centre, float(angle)))
    for nearby in best[1] + np.radians(np.arange(-2.5, 2.75, 0.5)):
        best = max(best, _best_shift(picture, centre, float(nearby)))
    _, angle, shift, symmetry = best
    if symmetry < LEAST_SYMMETRY:
        return None
    row, column = centre + shift * np.array([math.sin(angle), math.cos(angle)])
    return Axis(float(column + 0.5) / len(picture), float(row + 0.5) / len(picture), angle, symmetry)


def split_sides(mask: Mask, frame: Frame, axis: Axis | None) -> dict[str, Mask]:
    """Divide a mask's pieces among the sides of the middle line.

    Args:
        mask: bool (H, W).
        frame: the specimen's frame.
        axis: the middle line of its group; None if there is none.

    Returns:
        Side -> bool (H, W), for the sides on which there is something. Specks are left out. Without a middle line, and
        if a piece lies on both sides, everything is "median".
    """
    x0, y0, x1, y1 = box(mask)
    labelled, count = label(mask[y0:y1, x0:x1], return_num=True)
    if not count:
        return {}
    areas = np.bincount(labelled.ravel(), minlength=count + 1)[1:]
    kept = areas >= _SMALLEST_PIECE * areas.max()
    sides = np.where(kept, "median", "")
    if axis is not None:
        rows, columns = np.nonzero(labelled)
        to_right = across(columns + x0 + 0.5, rows + y0 + 0.5, frame, axis) > 0
        on_right = np.bincount(labelled[rows, columns], weights=to_right, minlength=count + 1)[1:] / areas
        if not (kept & (on_right > _BOTH) & (on_right < 1 - _BOTH)).any():
            sides = np.where(kept, np.where(on_right > 0.5, "right", "left"), "")
    found = {}
    for side in SIDES:
        if (sides == side).any():
            found[side] = np.zeros_like(mask)
            found[side][y0:y1, x0:x1] = np.concatenate([[False], sides == side])[labelled]
    return found


def across(
    x: npt.NDArray[np.floating[Any]], y: npt.NDArray[np.floating[Any]], frame: Frame, axis: Axis
) -> npt.NDArray[np.float64]:
    """Say how far points of a photograph lie to the right of the middle line, in edges of the frame's unit square."""
    a, b, c, d, e, f = frame.matrix
    u, v = a * x + b * y + c - axis.u, d * x + e * y + f - axis.v
    return np.asarray(u * math.cos(axis.angle) + v * math.sin(axis.angle), dtype=np.float64)


def _best_shift(picture: Floats, centre: npt.NDArray[np.float64], angle: float) -> tuple[float, float, float, float]:
    """Find the best line of one turn: (symmetry less a little for lying level, angle, shift in pixels, symmetry)."""
    side = len(picture)
    cos, sin = math.cos(angle), math.sin(angle)
    # Sampled in a coordinate system whose second axis runs across the line; padded so that nothing is cut off.
    half = math.ceil(0.75 * side)
    along, over = np.mgrid[-half : half + 1, -half : half + 1]
    places = np.stack([centre[0] + along * cos + over * sin, centre[1] - along * sin + over * cos])
    turned = ndimage.map_coordinates(picture, places, order=1)
    mirror = turned[:, ::-1]
    best = (-math.inf, angle, 0.0, 0.0)
    for shift in range(-side // 8, side // 8 + 1):
        # A line shifted by s pixels: the mirror image is shifted by 2 s.
        moved = np.roll(mirror, 2 * shift, axis=1)
        overlap = float(np.minimum(turned, moved).sum() / np.maximum(turned, moved).sum())
        score = overlap - _UPRIGHT * abs(angle) / (math.pi / 2)
        if score > best[0]:
            best = (score, angle, float(shift), overlap)
    return best
