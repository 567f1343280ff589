"""Read photographs and label pictures into arrays, always the same way; write pictures.

1. The header is read first: a file that is not a picture, or too large to hold, is refused before it is decoded.
2. The EXIF orientation is applied, so that pixels are counted as a viewer shows them.
3. Sixteen bits become eight by dropping the low byte (65535 -> 255), never by stretching each picture to its own range:
   the same number is the same brightness on every photograph.
4. An embedded colour profile is converted to sRGB; a picture without one, or with a broken one, is taken as sRGB
   (CMYK: Pillow's plain conversion).
5. Transparent pixels are blended with white. Of several pages the first is read.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from sst_retrieval.errors import ImageError
from sst_retrieval.files import atomic_write
from sst_retrieval.imaging.srgb import convert_to_srgb
from sst_retrieval.types import RGBImage

MAX_PIXELS = 400_000_000
"""A photograph with more pixels than this is refused, since it needs gigabytes once decoded."""

# Pillow can open more, but EPS would start another program and the rest are not photographs.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "BMP", "GIF", "PPM")

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise on broken files.
_DECODING = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError),
    *(RuntimeError, struct.error, zlib.error),
)


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> RGBImage:
    """Read a photograph: JPEG, PNG, TIFF and a few more, of any depth and colour mode.

    Args:
        path: the file.
        max_pixels: refuse a picture with more pixels than this, before it is decoded.

    Returns:
        uint8 (H, W, 3), sRGB, EXIF orientation applied.

    Raises:
        ImageError: the file is missing, not a picture, truncated or too large.
    """
    with _open_picture(path, max_pixels) as picture, _explain_errors(path):
        picture.load()
        # A TIFF file is turned by Pillow as it is decoded, and has lost its orientation by now.
        turn = _TURNS.get(_orientation(picture))
        return convert_to_srgb(picture if turn is None else picture.transpose(turn))


def read_labels(path: Path, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint16]:
    """Read a label picture: one number a pixel, exactly as stored.

    Args:
        path: an indexed (palette), greyscale or black-and-white PNG or TIFF of 1 to 16 bits.
        max_pixels: refuse a larger one.

    Returns:
        uint16 (H, W); of an indexed picture the palette index, not the colour.

    Raises:
        ImageError: the file cannot be read, or is a colour picture or a JPEG, which hold no label numbers.
    """
    with _open_picture(path, max_pixels) as picture, _explain_errors(path):
        if picture.format in ("JPEG", "MPO"):
            raise ImageError(f"{path} is a JPEG, whose compression changes label numbers; save the labels as PNG")
        if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N"):
            raise ImageError(
                f"{path} is a colour picture ({picture.mode}), and colours are not label numbers; "
                f"save the labels as an indexed or greyscale PNG, one number a trait"
            )
        labels = np.asarray(picture).astype(np.int64)
    if labels.min() < 0 or labels.max() > 65535:
        raise ImageError(f"{path} has the label {labels.max()}; use numbers from 1 to 65535, 0 for the background")
    return labels.astype(np.uint16)


def image_size(path: Path) -> tuple[int, int]:
    """Read the size of a photograph from its header.

    Returns:
        (height, width) in pixels with the EXIF orientation applied, as `read_image` returns it.

    Raises:
        ImageError: the file is missing or not a picture.
    """
    with _open_picture(path, None) as picture:
        width, height = picture.size
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            # Some releases of Pillow have exchanged the two already, for TIFF files only: ask the file itself.
            width, height = picture.tag_v2[TiffImagePlugin.IMAGEWIDTH], picture.tag_v2[TiffImagePlugin.IMAGELENGTH]
        return (width, height) if _orientation(picture) >= 5 else (height, width)


def orientation(path: Path) -> int:
    """Read a photograph's EXIF orientation: 1 is upright, 5 to 8 are rotated by a quarter.

    Raises:
        ImageError: the file is missing or not a picture.
    """
    with _open_picture(path, None) as picture:
        return _orientation(picture)


def content_hash(path: Path) -> str:
    """Compute the checksum of a file's content.

    Returns:
        SHA-256, 64 hexadecimal digits.

    Raises:
        ImageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(_unreadable(path, error)) from error


def thumbnail(image: RGBImage, side: int) -> RGBImage:
    """Shrink a photograph until its longer edge is `side` pixels; a smaller one stays as it is.

    Args:
        image: uint8 (H, W, 3).
        side: pixels.

    Returns:
        uint8 (h, w, 3), no edge shorter than 1 or longer than `side`.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer <= side:
        return image.copy()
    size = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def write_png(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a picture or a label map as PNG; the file appears whole or not at all.

    Args:
        path: where to; an older file of that name is replaced.
        array: uint8 (H, W, 3) for a picture; uint8 or uint16 (H, W) for numbers, kept exactly.
    """
    with atomic_write(path) as temporary:
        Image.fromarray(array).save(temporary, "PNG")


def write_jpeg(path: Path, image: RGBImage, *, quality: int = 90) -> None:
    """Write a picture as JPEG; the file appears whole or not at all.

    Args:
        path: where to; an older file of that name is replaced.
        image: uint8 (H, W, 3).
        quality: 1 to 95.
    """
    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary, "JPEG", quality=quality)


@contextmanager
def _open_picture(path: Path, max_pixels: int | None) -> Iterator[Image.Image]:
    """Open a picture without decoding it; refuse what is not a picture, or has more than `max_pixels`."""
    with _silence_pillow(), _open_file(path) as file:
        try:
            picture = Image.open(file, formats=FORMATS)
        except _DECODING as error:
            raise ImageError(
                f"{path} is not a picture that can be read or is damaged at its start; "
                f"open it in an image program and save it as JPEG, PNG or 8- or 16-bit TIFF"
            ) from error
        with picture:
            width, height = picture.size
            if max_pixels is not None and width * height > max_pixels:
                raise ImageError(
                    f"{path} has {width} x {height} pixels, more than the {max_pixels:,} allowed; "
                    f"save a smaller copy, or raise max_pixels if it is a real photograph and memory suffices"
                )
            yield picture


@contextmanager
def _open_file(path: Path) -> Iterator[IO[bytes]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImageError(_unreadable(path, error)) from error
    with file:
        if not os.fstat(file.fileno()).st_size:
            raise ImageError(f"{path} is empty (0 bytes); copy the photograph again from where it came")
        yield file


@contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    """Turn the errors of decoders into an `ImageError` that says what to do."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{path} does not fit into this machine's memory; save a smaller copy") from error
    except _DECODING as error:
        raise ImageError(
            f"{path} is truncated or damaged and cannot be decoded ({error}); "
            f"copy the photograph again from where it came, or open it in an image program and save it anew"
        ) from error


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist; check the path, in a table the image column and the folder of the photographs"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder, not a photograph; check the path"
    return f"{path} cannot be opened ({error.strerror}); check that you may read it"


def _orientation(picture: Image.Image) -> int:
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except _DECODING:
        return 1  # A broken EXIF block says nothing about the way up; every viewer shows such a file as stored.
    return value if value in _TURNS else 1


_pillow_lock = threading.Lock()
_pillow_readers: list[Any] = []
# Unlike any that somebody else may have set for Pillow, so that only our own is taken out again.
_QUIET = ("ignore", re.compile("(?:)"), Warning, re.compile(r"PIL\."), 0)


@contextmanager
def _silence_pillow() -> Iterator[None]:
    """Switch off Pillow's own size limit and its warnings about odd files while anybody reads here.

    Both belong to the whole process: with readers in several threads, the first switches and the last restores. Only
    what was switched is restored: other threads may set filters and the limit meanwhile, and theirs stay.
    """
    with _pillow_lock:
        if not _pillow_readers:
            # Not `catch_warnings`, whose end takes back what others set, too.
            filters: Any = warnings.filters
            filters.insert(0, _QUIET)
            _pillow_readers.append((filters, Image.MAX_IMAGE_PIXELS))
            Image.MAX_IMAGE_PIXELS = None
        _pillow_readers.append(None)
    try:
        yield
    finally:
        with _pillow_lock:
            _pillow_readers.pop()
            if len(_pillow_readers) == 1:
                filters, limit = _pillow_readers.pop()
                if Image.MAX_IMAGE_PIXELS is None:
                    Image.MAX_IMAGE_PIXELS = limit
                now: Any = warnings.filters
                for each in (filters, now):  # They differ while somebody catches warnings.
                    with suppress(ValueError):
                        each.remove(_QUIET)
