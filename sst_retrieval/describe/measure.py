"""Room 4b: from a trait mask and its pixels to named measurements.

All pieces of a trait are measured as one. Lengths are in pixels of the photograph: convert them with a scale bar before
comparing photographs taken at different magnifications; shares and ratios need no scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.color import rgb2lab
from skimage.measure import label, perimeter_crofton

from sst_retrieval.imaging.masks import box
from sst_retrieval.types import Mask, RGBImage

MEASUREMENTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "area_px": ("px²", "number of pixels of the trait"),
        "area_share": ("1", "area of the trait / area of the specimen, trait included; 0..1"),
        "centroid_x": ("px", "mean of the pixel centres, from the photograph's left edge"),
        "centroid_y": ("px", "mean of the pixel centres, from the photograph's top edge"),
        "elongation": ("1", "long / short axis of the ellipse with the same second moments; 1 = round or square"),
        "orientation": ("°", "from the horizontal to that ellipse's long axis, counter-clockwise; 0..180, 0 if round"),
        "solidity": ("1", "area / area of the convex hull of all pieces; 1 = no notch, no gap"),
        "length_px": ("px", "longest caliper (Feret) diameter of the convex hull of all pieces, pixels being squares"),
        "width_px": ("px", "shortest caliper (Feret) diameter of that hull"),
        "perimeter_px": ("px", "length of all outlines, holes included, by Crofton's formula in four directions"),
        "pieces": ("1", "number of pieces, pixels touching at a corner belonging together"),
        "lightness_mean": ("CIE L*", "mean lightness (CIE 1976 L*a*b*, D65, 2° observer, sRGB assumed); 0..100"),
        "lightness_sd": ("CIE L*", "standard deviation of lightness"),
        "a_mean": ("CIE a*", "mean of a*: green (-) to red (+)"),
        "a_sd": ("CIE a*", "standard deviation of a*"),
        "b_mean": ("CIE b*", "mean of b*: blue (-) to yellow (+)"),
        "b_sd": ("CIE b*", "standard deviation of b*"),
    }
)
"""name -> (unit, what it means and how it is computed), in the order in which `measure` returns them."""

_COLOUR_PIXELS = 65_536  # Evenly spread over the trait; more change no mean visibly.


def measure(mask: Mask, image: RGBImage, specimen_mask: Mask) -> dict[str, float]:
    """Measure one trait of one specimen.

    Args:
        mask: bool (H, W), the trait, not empty.
        image: uint8 (H, W, 3), the photograph.
        specimen_mask: bool (H, W), everything that is specimen. The trait counts as specimen even where this misses it.

    Returns:
        Every name of `MEASUREMENTS` with a finite value.

    Raises:
        ValueError: the mask is empty or the sizes differ.
    """
    if mask.shape != image.shape[:2] or mask.shape != specimen_mask.shape:
        raise ValueError(
            f"mask {mask.shape}, photograph {image.shape[:2]} and specimen mask {specimen_mask.shape} "
            "must be of one size; bring all to the photograph's"
        )
    x0, y0, x1, y1 = box(mask)
    crop = np.ascontiguousarray(mask[y0:y1, x0:x1])
    area = int(np.count_nonzero(crop))
    if not area:
        raise ValueError("the mask is empty; an absent trait has no measurements")
    missed = int(np.count_nonzero(crop & ~specimen_mask[y0:y1, x0:x1]))
    values = {
        **measure_geometry(mask),
        "area_share": area / (int(np.count_nonzero(specimen_mask)) + missed),
        **_measure_colour(image[y0:y1, x0:x1], crop),
    }
    return {name: values[name] for name in MEASUREMENTS}


def measure_geometry(mask: Mask) -> dict[str, float]:
    """Measure position, size and shape, for which the mask suffices.

    Args:
        mask: bool (H, W), not empty.

    Returns:
        The measurements of `MEASUREMENTS` but `area_share` and colours, all finite.

    Raises:
        ValueError: the mask is empty.
    """
    x0, y0, x1, y1 = box(mask)
    if x0 == x1:
        raise ValueError("the mask is empty; an absent trait has no measurements")
    crop = np.ascontiguousarray(mask[y0:y1, x0:x1])
    area = int(np.count_nonzero(crop))
    hull, length, width = _measure_hull(crop)
    values = {
        "area_px": area,
        **_measure_ellipse(crop, x0, y0),
        "solidity": min(1.0, area / hull),
        "length_px": length,
        "width_px": width,
        "perimeter_px": perimeter_crofton(crop, directions=4),
        "pieces": label(crop, return_num=True)[1],
    }
    return {name: float(value) for name, value in values.items()}


def _measure_ellipse(mask: Mask, x0: int, y0: int) -> dict[str, float]:
    """Measure the centroid, and the axes of the ellipse with the same second moments, of a crop at (x0, y0)."""
    in_row, in_column = np.count_nonzero(mask, axis=1), np.count_nonzero(mask, axis=0)
    area = in_row.sum()
    columns, rows = np.arange(mask.shape[1]), np.arange(mask.shape[0])
    x, y = float(in_column @ columns / area), float(in_row @ rows / area)
    # A pixel is a square, not a point: 1/12 is the second moment of a unit square about its centre.
    xx = float(in_column @ (columns - x) ** 2 / area) + 1 / 12
    yy = float(in_row @ (rows - y) ** 2 / area) + 1 / 12
    xy = float((rows - y) @ (mask @ (columns - x)) / area)
    spread = math.hypot(xx - yy, 2 * xy)
    # Below a billionth of the size no axis is longer than the other but for rounding.
    angle = 0.5 * math.degrees(math.atan2(-2 * xy, xx - yy)) % 180 if spread > 1e-9 * (xx + yy) else 0.0
    return {
        "centroid_x": x0 + x + 0.5,
        "centroid_y": y0 + y + 0.5,
        # Never below 1/12: even a line of pixels has a width.
        "elongation": math.sqrt((xx + yy + spread) / 2 / max((xx + yy - spread) / 2, 1 / 12)),
        "orientation": angle if angle < 180 else 0.0,  # -1e-17 % 180 is 180.
    }


def _measure_hull(mask: Mask) -> tuple[float, float, float]:
    """Measure area (px²), longest and shortest caliper diameter (px) of the convex hull of the pixels' squares."""
    rows = np.flatnonzero(mask.any(axis=1))
    starts, ends = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows][:, ::-1].argmax(axis=1)
    # The outer corners of every row of pixels suffice.
    corners = [np.stack([x, y], axis=1) for x in (starts, ends) for y in (rows, rows + 1)]
    hull = ConvexHull(np.concatenate(corners))
    points = hull.points[hull.vertices]
    # The shortest caliper lies along an edge of the hull; `equations` holds the edges' unit normals.
    projected = hull.equations[:, :2] @ points.T
    # In two dimensions the "volume" is the area.
    return float(hull.volume), float(pdist(points).max()), float(np.ptp(projected, axis=1).min())


def _measure_colour(image: RGBImage, mask: Mask) -> dict[str, float]:
    indices = np.flatnonzero(mask)
    rows, columns = np.unravel_index(indices[:: -(-len(indices) // _COLOUR_PIXELS)], mask.shape)
    lab: npt.NDArray[np.float64] = rgb2lab(image[rows, columns][None])[0]
    names = ("lightness", "a", "b")
    means, deviations = lab.mean(axis=0), lab.std(axis=0)
    return {f"{name}_mean": float(means[i]) for i, name in enumerate(names)} | {
        f"{name}_sd": float(deviations[i]) for i, name in enumerate(names)
    }
