"""Small pictures as files in memory: encoded as WebP, and checked before anything decodes them."""

from __future__ import annotations

import io

from PIL import Image

from sst_retrieval.types import RGBImage

QUALITY = 45
"""Of WebP, 0 to 100: outlines of one pixel stay clear, and it takes a fifth of JPEG at 90. (55 takes a ninth more for
0.7 dB that nobody sees on pictures of beetles and butterflies at three times their size.)"""

MAX_PIXELS = 4_000_000
"""A picture beyond this was not written by a build, and is not read."""


def encode_picture(image: Image.Image | RGBImage) -> bytes:
    """Encode a picture, uint8 (H, W, 3), as a WebP file."""
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, "WEBP", quality=QUALITY, method=2)  # 4 takes twice as long for files 5 % smaller.
    return buffer.getvalue()


def is_small(data: bytes) -> bool:
    """Say whether a file is a WebP or JPEG picture of at most `MAX_PIXELS`, by its head."""
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP", "JPEG"]) as picture:
            return picture.width * picture.height <= MAX_PIXELS
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
