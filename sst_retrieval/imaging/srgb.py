"""Convert a decoded picture to 8-bit sRGB: bit depth, transparency, colour profile.

Every rule is fixed and the same for all pictures, so the same number is the same brightness on every photograph.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from sst_retrieval.types import RGBImage

_SRGB = ImageCms.createProfile("sRGB")


def convert_to_srgb(picture: Image.Image) -> RGBImage:
    """Convert a decoded picture of any depth and colour mode to 8-bit sRGB.

    Args:
        picture: as Pillow decoded it, its EXIF orientation applied or not.

    Returns:
        uint8 (H, W, 3). An embedded colour profile is applied, and transparent pixels are blended with white.

    Raises:
        ValueError: the brightness has no known meaning (floating point beyond 0..1, whole numbers beyond 16 bits).
    """
    profile = picture.info.get("icc_profile")
    colours, alpha = _split_alpha(_to_8_bits(picture))
    image = _apply_profile(colours, profile)
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    return np.array(image)


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Convert any depth to 8 bits a channel by a fixed rule, the same for every picture.

    16 bits: the high byte (65535 -> 255). 32-bit whole numbers are taken as 16-bit ones. Floating point: 0..1.
    Colour pictures of 16 bits have lost their low byte already as Pillow decoded them.
    """
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture)
    top = 1 if picture.mode == "F" else 65535
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # also true for not-a-number
        raise ValueError(f"its brightness runs from {low} to {high}, and only 0 to {top} has a known meaning")
    eight = np.round(values * np.float32(255)) if picture.mode == "F" else values.astype(np.uint32) >> 8
    return Image.fromarray(eight.astype(np.uint8))


def _split_alpha(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Separate the colours from the transparency, if there is any."""
    if picture.mode == "RGBa" or picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return picture.convert("RGB"), picture.getchannel("A")
    if picture.mode in ("L", "RGB", "CMYK", "LAB"):
        return picture, None
    return picture.convert("L" if picture.mode == "1" else "RGB"), None


def _apply_profile(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, _SRGB, outputMode="RGB")
            assert converted is not None  # only `inPlace` returns nothing
            return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # The profile is broken or for other channels: the pixels are taken as sRGB.
    return picture.convert("RGB")
