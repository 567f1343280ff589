"""Room 4: which pixels of a photograph are specimen, so that a description can do without the background."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.color import rgb2lab
from skimage.filters import threshold_otsu

from sst_retrieval.imaging import frames
from sst_retrieval.types import Floats, Frame, Mask, MaskStack, RGBImage

LOOK_SIDE = 256  # Longer edge, in pixels, of the small picture on which the specimen is looked for.


COLOUR_CELL = 8.0  # Colours closer than about this in Lab count as one.


COMMON = 0.92  # Share of the border that is trusted to be background; the rarest colours there may be legs.


MARGIN = 1.3  # The frame is this much larger than the specimen's box.


def specimen_mask(image: RGBImage, *, common: float = COMMON) -> Mask:
    """Tell specimen from background, roughly.

    The colours along the border are the background's (a colour seldom seen there may be a leg that reaches it);
    what differs from all of them by more than Otsu's threshold is specimen.

    Args:
        image: uint8 (H, W, 3).
        common: share of the border whose commonest colours are the background's; less where wings reach the border.

    Returns:
        bool (h, w) on a copy whose longer edge has at most `LOOK_SIDE` pixels. All False if nothing stands out.
    """
    lab = rgb2lab(_shrunk(image, LOOK_SIDE)).astype(np.float32)
    rim = max(1, round(0.03 * max(lab.shape)))
    border = np.ones(lab.shape[:2], dtype=bool)
    border[rim:-rim, rim:-rim] = False
    distance, _ = cKDTree(_common_colours(lab[border], common)).query(lab)
    distance = np.minimum(distance, np.percentile(distance, 99.5))  # A glint must not set the threshold.
    found: Mask = ndimage.binary_opening(distance > max(float(threshold_otsu(distance)), 8.0))
    return found


def as_photographed(image: RGBImage, *, drawn: Mask | None = None) -> Frame:
    """Frame the specimen as it lies: a square around its box, not turned.

    Args:
        image: uint8 (H, W, 3).
        drawn: bool (H, W), pixels known to be specimen; the frame holds them all.

    Returns:
        The frame; the whole photograph if no specimen stands out from the background.
    """
    height, width = image.shape[:2]
    boxes = [box for box in (_specimen_box(image), _drawn_box(drawn)) if box is not None]
    if not boxes:
        return frames.turned((width / 2, height / 2), max(height, width), 0.0)
    (x0, y0), (x1, y1) = np.min([box[:2] for box in boxes], axis=0), np.max([box[2:] for box in boxes], axis=0)
    return frames.turned((float(x0 + x1) / 2, float(y0 + y1) / 2), float(max(x1 - x0, y1 - y0)) * MARGIN, 0.0)


def _drawn_box(drawn: Mask | None) -> tuple[float, float, float, float] | None:
    if drawn is None or not drawn.any():
        return None
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _specimen_box(image: RGBImage) -> tuple[float, float, float, float] | None:
    """Box (x0, y0, x1, y1) around the specimen in pixels of the photograph, or None if nothing stands out."""
    found = specimen_mask(image)
    if found.mean() < 0.01:
        return None
    labelled, count = ndimage.label(ndimage.binary_dilation(found, iterations=2))
    areas = ndimage.sum_labels(found, labelled, range(1, count + 1))
    rows, columns = np.nonzero(found & np.isin(labelled, 1 + np.flatnonzero(areas > 0.05 * areas.max())))
    down, across = (whole / part for whole, part in zip(image.shape[:2], found.shape, strict=True))
    # Not the extremes: a single hair must not make the square larger.
    (x0, x1), (y0, y1) = (np.percentile(places, [0.5, 99.5]) for places in (columns, rows))
    return float(x0 * across), float(y0 * down), float((x1 + 1) * across), float((y1 + 1) * down)


def _shrunk(image: RGBImage, side: int) -> RGBImage:
    factor = max(image.shape[:2]) / side
    if factor <= 1:
        return image
    size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _common_colours(lab: npt.NDArray[np.float32], common: float) -> npt.NDArray[np.float64]:
    """Mean colours of the fullest cells of Lab space that together hold this share of the pixels: float64 (K, 3)."""
    lightness, red, yellow = np.floor(lab / COLOUR_CELL).astype(np.int64).T + 1000
    # One number a cell, in the order of its three: rows of three take ten times as long to tell apart.
    names = (lightness * 10_000 + red) * 10_000 + yellow
    _, cell, counts = np.unique(names, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(cell.ravel(), weights=channel) for channel in lab.T], axis=1)
    order = np.argsort(-counts, kind="stable")
    needed = int(np.searchsorted(np.cumsum(counts[order]), common * len(lab))) + 1
    kept = order[:needed]
    return sums[kept] / counts[kept, None]


PLAIN = 0.6
"""Share of a photograph's border that is surely background, even where wings reach it."""

SPECK = 0.02
"""Pieces smaller than this share of the largest are no part of the specimen."""

GREY = 127


def specimen_coverage(image: RGBImage, frame: Frame, side: int) -> Floats:
    """Find the specimen in a frame: what is unlike the photograph's border, without specks and holes.

    Args:
        image: uint8 (H, W, 3).
        frame: where to look.
        side: edge of the result in pixels.

    Returns:
        float32 (side, side), 0..1: how much of each cell the specimen covers; 0 everywhere if nothing stands out.
    """
    small = _specimen(image)
    down, across = (whole / part for whole, part in zip(image.shape[:2], small.shape, strict=True))
    return frames.warp_mask(small, frames.compose(frame, Frame((across, 0, 0, 0, down, 0))), side)


def on_grey(view: RGBImage, coverage: Floats) -> RGBImage:
    """Put a specimen on plain grey.

    Args:
        view: uint8 (h, w, 3).
        coverage: float32 (h, w), 0..1, how much of each pixel is specimen.
    """
    part = coverage[..., None]
    shown: RGBImage = (view * part + GREY * (1 - part) + 0.5).astype(np.uint8)
    return shown


def without_background(image: RGBImage, masks: MaskStack) -> RGBImage:
    """Put the specimen of a whole photograph on plain grey.

    Args:
        image: uint8 (H, W, 3).
        masks: bool (T, H, W), what is known to be specimen.

    Returns:
        uint8 (H, W, 3).
    """
    small = Image.fromarray(_specimen(image))
    shown = np.asarray(small.resize(image.shape[1::-1], Image.Resampling.NEAREST)) | masks.any(axis=0)
    return np.where(shown[..., None], image, np.uint8(GREY))


def _specimen(image: RGBImage) -> Mask:
    """Return the specimen's pixels on the small copy that `imaging.specimen.specimen_mask` looks at."""
    found = specimen_mask(image, common=PLAIN)
    labelled, count = ndimage.label(ndimage.binary_dilation(found, iterations=2))
    areas = ndimage.sum_labels(found, labelled, range(1, count + 1))
    whole = found & np.isin(labelled, 1 + np.flatnonzero(areas > SPECK * areas.max(initial=0)))
    filled: Mask = ndimage.binary_fill_holes(whole)
    return filled
