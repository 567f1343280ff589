"""Room 4: which pixels of a photograph are specimen, so that a description can do without the background."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from sst_retrieval.imaging import frames
from sst_retrieval.types import Floats, Frame, Mask, MaskStack, RGBImage

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
    found = frames.specimen_mask(image, common=PLAIN)
    labelled, count = ndimage.label(ndimage.binary_dilation(found, iterations=2))
    areas = ndimage.sum_labels(found, labelled, range(1, count + 1))
    whole = found & np.isin(labelled, 1 + np.flatnonzero(areas > SPECK * areas.max(initial=0)))
    filled: Mask = ndimage.binary_fill_holes(whole)
    return filled
