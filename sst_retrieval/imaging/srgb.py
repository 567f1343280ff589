"""Convert a decoded picture of 8 bits to sRGB: transparency, colour profile, gamma.

Every rule is fixed and the same for all pictures, so the same number is the same brightness on every photograph.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

from sst_retrieval.types import RGBImage

_SRGB = ImageCms.createProfile("sRGB")

_STRIP = 1 << 24
"""Pixels that are converted at once: the copies on the way are small beside the picture."""

SRGB_GAMMA = 1 / 2.2
"""A PNG's gamma that means sRGB; one within `GAMMA_TOLERANCE` of it is taken as sRGB, too."""

GAMMA_TOLERANCE = 0.05
"""As a share of `SRGB_GAMMA`."""


def convert_to_srgb(picture: Image.Image, *, gamma: float | None = None) -> RGBImage:
    """Convert a decoded picture of 8 bits a channel to sRGB.

    Args:
        picture: as Pillow decoded it, of any mode but "I" and "F".
        gamma: the exponent by which the file says that its values were made from light (PNG's gAMA); it counts only
            where no colour profile is embedded.

    Returns:
        uint8 (H, W, 3). An embedded colour profile is applied, and transparent pixels are blended with white.
    """
    profile = picture.info.get("icc_profile")
    convert = _make_conversion(picture, profile)
    curve = None if profile or gamma is None else _gamma_curve(gamma)
    width, height = picture.size
    result = np.empty((height, width, 3), dtype=np.uint8)
    step = max(1, _STRIP // width)
    for top in range(0, height, step):
        whole = step >= height
        strip = picture if whole else picture.crop((0, top, width, min(top + step, height)))
        colours, alpha = _split_alpha(strip)
        image = convert(colours)
        if curve is not None:
            image = image.point(curve * 3)
        if alpha is not None:
            image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
        result[top : top + step] = np.asarray(image)
    return result


def _split_alpha(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Separate the colours from the transparency, if there is any."""
    if picture.mode == "RGBa" or picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return picture.convert("RGB"), picture.getchannel("A")
    if picture.mode in ("L", "RGB", "CMYK", "LAB"):
        return picture, None
    return picture.convert("L" if picture.mode == "1" else "RGB"), None


def _make_conversion(picture: Image.Image, profile: bytes | None) -> Callable[[Image.Image], Image.Image]:
    """Choose how the colours of a picture become sRGB; its transform is computed once for all strips."""
    if not profile:
        return lambda colours: colours.convert("RGB")
    colours, _ = _split_alpha(picture.crop((0, 0, 1, 1)))
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, _SRGB, colours.mode, "RGB")
        transform.apply(colours)
    except (ImageCms.PyCMSError, OSError, ValueError):
        # The profile is broken or for other channels: the pixels are taken as sRGB.
        return lambda colours: colours.convert("RGB")
    return transform.apply


def _gamma_curve(gamma: float) -> list[int] | None:
    """Compute what becomes of each value of a picture whose values are light to the power of `gamma`."""
    if not 0.1 <= gamma <= 2 or abs(gamma / SRGB_GAMMA - 1) <= GAMMA_TOLERANCE:
        return None
    light = (np.arange(256) / 255) ** (1 / gamma)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return [int(value) for value in np.round(encoded * 255)]
