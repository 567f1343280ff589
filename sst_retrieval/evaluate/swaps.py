"""Photographs whose background is replaced by that of another, from which its specimen is removed.

What is kept is the foreground as colours tell it, with all that is known to be a trait.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from sst_retrieval.imaging.foreground import INCLUSIVE, foreground_mask
from sst_retrieval.types import Mask, RGBImage

GROWTH = 0.012
"""How far beyond a specimen its photograph is painted over when it is removed, as a share of the longer edge."""

_SMOOTH = 0.03


def find_specimen(image: RGBImage, traits: Mask) -> Mask:
    """Find the pixels of the specimen: the foreground and the traits, bool (H, W)."""
    found: Mask = foreground_mask(image, INCLUSIVE) | traits
    return found


def remove_specimen(image: RGBImage, specimen: Mask, rng: np.random.Generator) -> RGBImage:
    """Paint a specimen over with its background.

    The colours of the background are spread into the hole (normalised convolution: Knutsson and Westin 1993), and the
    grain that is missing there is drawn from the background's own.

    Args:
        image: uint8 (H, W, 3).
        specimen: bool (H, W), what is painted over.
        rng: where the grain is drawn from.

    Returns:
        uint8 (H, W, 3); the image itself if nothing or everything is specimen.
    """
    grown = ndimage.binary_dilation(specimen, iterations=max(2, round(GROWTH * max(image.shape))))
    if not grown.any() or grown.all():
        return image
    known = (~grown).astype(np.float32)
    values = image.astype(np.float32)
    smooth = np.zeros_like(values)
    missing = np.ones(known.shape, bool)
    # Wider and wider, so that the middle of a large hole is reached too.
    width = _SMOOTH * max(image.shape)
    while missing.any():
        weight = ndimage.gaussian_filter(known, width)
        reached = missing & (weight > 0.02)
        for channel in range(3):
            spread = ndimage.gaussian_filter(values[..., channel] * known, width)
            smooth[reached, channel] = spread[reached] / weight[reached]
        missing &= ~reached
        width *= 2
    grain = (values - smooth)[~grown]
    grain = np.clip(grain, *np.percentile(grain, (5, 95), axis=0))  # Without labels and the edges of shadows.
    painted = values.copy()
    painted[grown] = smooth[grown] + grain[rng.integers(0, len(grain), int(grown.sum()))]
    removed: RGBImage = np.clip(painted + 0.5, 0, 255).astype(np.uint8)
    return removed


def paste_specimen(image: RGBImage, specimen: Mask, background: RGBImage) -> RGBImage:
    """Paste a specimen, where it is, onto a background that is stretched to its photograph's size.

    Args:
        image: uint8 (H, W, 3).
        specimen: bool (H, W).
        background: uint8 (h, w, 3).

    Returns:
        uint8 (H, W, 3); the edge is one pixel soft.
    """
    height, width = image.shape[:2]
    ground = np.asarray(Image.fromarray(background).resize((width, height), Image.Resampling.BILINEAR), np.float32)
    cover = ndimage.gaussian_filter(specimen.astype(np.float32), 0.7)[..., None]
    pasted: RGBImage = np.asarray(image * cover + ground * (1 - cover) + 0.5, np.uint8)
    return pasted
