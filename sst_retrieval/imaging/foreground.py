"""What is specimen on a photograph and what is background; the frame around the specimen.

1. The commonest colours along the photograph's border are the background's.
2. A pixel is foreground if it differs from all of them by more than Otsu's threshold, however many pieces that makes.
3. Small pieces are left out and holes filled where the settings say so.

`find_foreground` is the only function that looks at colours. All others take its mask, of whatever size, as covering
the whole photograph: another finder (a segmentation network, say) has to replace that one function only.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.color import rgb2lab
from skimage.filters import threshold_otsu

from sst_retrieval.imaging import frames
from sst_retrieval.imaging.masks import resize_mask
from sst_retrieval.types import Floats, Frame, Mask, MaskStack, RGBImage

SEARCH_SIDE = 256
"""Longer edge, in pixels, of the copy of the photograph on which the foreground is found."""

BORDER_WIDTH = 0.03
"""Width of the border whose colours are the background's, as a share of the copy's longer edge."""

COLOUR_CELL = 8.0
"""Edge, in CIE Lab units, of the cells in which colours count as one."""

LEAST_DIFFERENCE = 8.0
"""Distance in CIE Lab below which a pixel is background, whatever Otsu's threshold says."""

FRAME_MARGIN = 1.3
"""The frame's side, as a multiple of the longer side of the specimen's box."""

FRAME_PIECE = 0.05
"""Pieces smaller than this share of the largest do not widen the frame."""

GREY = 127
"""Value of the plain background, in all three channels."""


@dataclass(frozen=True, slots=True)
class ForegroundSettings:
    """What counts as foreground.

    Attributes:
        common_share: 0..1, the share of the border's pixels whose colours, the commonest first, are the background's.
        smallest_piece: 0..1, pieces smaller than this share of the largest are background; 0 keeps all.
        fill_holes: whether background that is enclosed by foreground is foreground.
    """

    common_share: float
    smallest_piece: float = 0.0
    fill_holes: bool = False


STRICT = ForegroundSettings(common_share=0.92)
"""For the frame and the measurements: what surely differs from the background. Only the rarest colours of the border,
such as those of a leg that reaches it, may belong to the specimen."""

INCLUSIVE = ForegroundSettings(common_share=0.6, smallest_piece=0.02, fill_holes=True)
"""For putting a specimen on plain grey: a cut into the specimen would harm more than some background that stays, so a
wing may fill a good part of the border, and holes are filled. Specks of dust are left out, which a frame or an area
hardly notices, but the description of a small trait does."""


def find_foreground(image: RGBImage, settings: ForegroundSettings = STRICT) -> Mask:
    """Separate the specimen from the background, roughly.

    The threshold is Otsu's (1979), on the distance to the nearest background colour in CIE Lab.

    Args:
        image: uint8 (H, W, 3).
        settings: what counts as foreground.

    Returns:
        bool (h, w), the whole photograph at a size whose longer edge has at most `SEARCH_SIDE` pixels. All False if
        nothing differs from the background.
    """
    small = np.ascontiguousarray(_downscale(image, SEARCH_SIDE))
    found: Mask = _find_on_copy(small.tobytes(), small.shape, settings).copy()
    return found


def foreground_mask(image: RGBImage, settings: ForegroundSettings = STRICT) -> Mask:
    """Find the foreground at the photograph's own size.

    Args:
        image: uint8 (H, W, 3).
        settings: what counts as foreground.

    Returns:
        bool (H, W), with edges as coarse as `find_foreground` finds them.
    """
    return resize_mask(find_foreground(image, settings), image.shape[:2])


def foreground_coverage(image: RGBImage, frame: Frame, side: int, settings: ForegroundSettings = INCLUSIVE) -> Floats:
    """Compute how much of every cell of a frame is foreground.

    Args:
        image: uint8 (H, W, 3).
        frame: the part of the photograph.
        side: edge of the result in pixels.
        settings: what counts as foreground.

    Returns:
        float32 (side, side), 0..1; 0 everywhere if nothing differs from the background.
    """
    found = find_foreground(image, settings)
    down, across = (whole / part for whole, part in zip(image.shape[:2], found.shape, strict=True))
    return frames.warp_mask(found, frames.compose(frame, Frame((across, 0, 0, 0, down, 0))), side)


def frame_specimen(image: RGBImage, *, drawn: Mask | None = None) -> Frame:
    """Compute the frame of a specimen as it lies on its photograph: a square around its box, not rotated.

    Args:
        image: uint8 (H, W, 3).
        drawn: bool (H, W), pixels known to be specimen; the frame holds them all.

    Returns:
        The frame; the whole photograph if nothing differs from the background.
    """
    height, width = image.shape[:2]
    known = None if drawn is None else _bounds(drawn)
    boxes = [box for box in (_robust_bounds(find_foreground(image), (height, width)), known) if box is not None]
    if not boxes:
        return frames.square_frame((width / 2, height / 2), max(height, width), 0.0)
    (x0, y0), (x1, y1) = np.min([box[:2] for box in boxes], axis=0), np.max([box[2:] for box in boxes], axis=0)
    return frames.square_frame(
        (float(x0 + x1) / 2, float(y0 + y1) / 2), float(max(x1 - x0, y1 - y0)) * FRAME_MARGIN, 0.0
    )


def blend_with_grey(view: RGBImage, coverage: Floats) -> RGBImage:
    """Replace the background of a view by plain grey.

    Args:
        view: uint8 (h, w, 3).
        coverage: float32 (h, w), 0..1, how much of each pixel is foreground.

    Returns:
        uint8 (h, w, 3).
    """
    part = coverage[..., None]
    blended: RGBImage = (view * part + GREY * (1 - part) + 0.5).astype(np.uint8)
    return blended


def remove_background(image: RGBImage, masks: MaskStack) -> RGBImage:
    """Replace the background of a whole photograph by plain grey.

    Args:
        image: uint8 (H, W, 3).
        masks: bool (T, H, W), what is known to be specimen.

    Returns:
        uint8 (H, W, 3).
    """
    kept = foreground_mask(image, INCLUSIVE) | masks.any(axis=0)
    return np.where(kept[..., None], image, np.uint8(GREY))


@functools.lru_cache(maxsize=32)  # A build asks three times a photograph, and has several of them in process.
def _find_on_copy(pixels: bytes, shape: tuple[int, ...], settings: ForegroundSettings) -> Mask:
    """Find the foreground on a photograph's small copy, uint8 (h, w, 3) as bytes. The result must not be changed."""
    # Every colour once: only every third pixel has one of its own.
    red, green, blue = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, 3).astype(np.uint32).T
    packed, places = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.uint8)
    colours_in_lab = rgb2lab(colours[None])[0].astype(np.float32)
    lab = colours_in_lab[places].reshape(shape)
    width = max(1, round(BORDER_WIDTH * max(lab.shape)))
    border = np.ones(lab.shape[:2], dtype=bool)
    border[width:-width, width:-width] = False
    distances, _ = cKDTree(_common_colours(lab[border], settings.common_share)).query(colours_in_lab)
    distance = distances[places].reshape(shape[:2])
    distance = np.minimum(distance, np.percentile(distance, 99.5))  # A glint must not set the threshold.
    found: Mask = ndimage.binary_opening(distance > max(float(threshold_otsu(distance)), LEAST_DIFFERENCE))
    if settings.smallest_piece > 0:
        found = _drop_small_pieces(found, settings.smallest_piece)
    if settings.fill_holes:
        found = ndimage.binary_fill_holes(found)
    return found


def _bounds(mask: Mask) -> tuple[float, float, float, float] | None:
    """Return (x0, y0, x1, y1) around a mask, half-open, in its pixels, or None if it is empty."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _robust_bounds(foreground: Mask, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Return (x0, y0, x1, y1) around the large pieces of a foreground, in pixels of the photograph.

    Args:
        foreground: bool (h, w), the whole photograph at any size.
        size: (height, width) of the photograph in pixels.

    Returns:
        None if less than 1 % of the photograph is foreground.
    """
    if foreground.mean() < 0.01:
        return None
    rows, columns = np.nonzero(_drop_small_pieces(foreground, FRAME_PIECE))
    down, across = (whole / part for whole, part in zip(size, foreground.shape, strict=True))
    # Not the extremes: a single hair must not make the square larger.
    (x0, x1), (y0, y1) = (np.percentile(places, [0.5, 99.5]) for places in (columns, rows))
    return float(x0 * across), float(y0 * down), float((x1 + 1) * across), float((y1 + 1) * down)


def _drop_small_pieces(mask: Mask, smallest: float) -> Mask:
    """Remove the pieces smaller than a share of the largest; pieces up to four pixels apart count as one."""
    labelled, count = ndimage.label(ndimage.binary_dilation(mask, iterations=2))
    areas = ndimage.sum_labels(mask, labelled, range(1, count + 1))
    kept: Mask = mask & np.isin(labelled, 1 + np.flatnonzero(areas > smallest * areas.max(initial=0)))
    return kept


def _downscale(image: RGBImage, side: int) -> RGBImage:
    """Shrink an image until its longer edge has `side` pixels; a smaller one stays as it is."""
    factor = max(image.shape[:2]) / side
    if factor <= 1:
        return image
    size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _common_colours(lab: npt.NDArray[np.float32], share: float) -> npt.NDArray[np.float64]:
    """Compute the mean colours of the fullest cells of Lab space that together hold a share of the pixels.

    Args:
        lab: float32 (N, 3), CIE Lab.
        share: 0..1.

    Returns:
        float64 (K, 3), CIE Lab.
    """
    lightness, red, yellow = np.floor(lab / COLOUR_CELL).astype(np.int64).T + 1000
    # One number a cell, in the order of its three: `np.unique` of rows of three takes ten times as long.
    numbers = (lightness * 10_000 + red) * 10_000 + yellow
    _, cell, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(cell.ravel(), weights=channel) for channel in lab.T], axis=1)
    order = np.argsort(-counts, kind="stable")
    needed = int(np.searchsorted(np.cumsum(counts[order]), share * len(lab))) + 1
    kept = order[:needed]
    return sums[kept] / counts[kept, None]
