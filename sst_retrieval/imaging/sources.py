"""The kinds of picture files: how to read the size and the orientation from the header, and how to decode the pixels.

`open_source` recognises a file by its first bytes, whatever its name ends with. Nothing is decoded before `decode`.
"""

from __future__ import annotations

import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from sst_retrieval.imaging.camera_files import CameraRaw, decode_heif, is_camera_raw, is_heif, open_heif
from sst_retrieval.imaging.depth import UnsupportedPixelsError, reduce_depth
from sst_retrieval.imaging.png_header import check_png, find_significant_bits, make_png_shell
from sst_retrieval.imaging.srgb import convert_to_srgb
from sst_retrieval.imaging.tiff import decode_tiff
from sst_retrieval.imaging.tiff_pages import is_tiff, read_tiff
from sst_retrieval.types import RGBImage

# Pillow can open more, but EPS would start another program and the rest are not photographs.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "BMP", "GIF", "PPM")

DECODING_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError),
    *(RuntimeError, AssertionError, struct.error, zlib.error),
)
"""What decoders raise on broken files."""

_ORIENTATION = 0x0112

Pixel = TypeVar("Pixel", bound=np.generic)

CheckSize = Callable[[int, int], None]
"""Is called with (height, width) before anything of that size is made; raises to refuse it."""


class Source(Protocol):
    """A picture file, opened and not decoded.

    Attributes:
        size: (height, width) in pixels, as `decode` returns it.
        orientation: 1 to 8, the turn and mirroring that `decode` applies.
    """

    size: tuple[int, int]
    orientation: int

    def decode(self) -> tuple[RGBImage, tuple[str, ...]]:
        """Decode the picture: uint8 (H, W, 3), sRGB, upright; and what a person should know about it."""
        ...


@contextmanager
def open_source(file: BinaryIO, check_size: CheckSize) -> Iterator[Source]:
    """Open a picture file of any kind.

    Args:
        file: from its beginning.
        check_size: is asked before the file is used.

    Yields:
        The source.

    Raises:
        ModuleNotFoundError: a package that is not installed is needed.
        Exception: one of `DECODING_ERRORS`: it is no picture, or damaged.
    """
    file.seek(0)
    start = file.read(32)
    if is_heif(start):
        yield _HeifSource(file, check_size)
    elif is_camera_raw(start):
        yield from _open_raw(file, check_size)
    elif is_tiff(start):
        source = _TiffSource(file, check_size)
        if source.raw:
            yield from _open_raw(file, check_size)
        else:
            yield source
    else:
        if (size := _webp_size(start)) is not None:
            check_size(*size)
        file.seek(0)
        with open_by_pillow(file) as picture:
            yield _PillowSource(picture, file, check_size)


def open_by_pillow(file: BinaryIO) -> Image.Image:
    """Open a picture file with Pillow, without decoding it."""
    return Image.open(file, formats=FORMATS)


class _PillowSource:
    def __init__(self, picture: Image.Image, file: BinaryIO, check_size: CheckSize) -> None:
        width, height = picture.size
        check_size(height, width)
        self._picture, self._file = picture, file
        self.orientation = _read_orientation(picture, file)
        self.size = turn_size((height, width), self.orientation)

    def decode(self) -> tuple[RGBImage, tuple[str, ...]]:
        picture, notes = self._picture, []
        if picture.format == "PNG":
            check_png(self._file)
        declared = find_significant_bits(self._file) if picture.format == "PNG" else None
        rawmode = _deep_rawmode(picture)
        picture.load()
        info = picture.info
        gamma = info.get("gamma") if picture.format == "PNG" and "srgb" not in info else None
        frames = _count_frames(picture)
        if picture.mode.startswith(("I", "F")):
            picture, note = _reduce(np.asarray(picture), declared, picture.info)
            notes.append(note)
        elif rawmode is not None and _high_byte(picture) < 64:
            values = self._read_deep_values(rawmode)
            picture, note = _reduce(values, declared, picture.info)
            notes.append(note)
        if frames != 1:
            notes.append(f"{frames or 'several'} pictures in one file, the first is taken")
        image = convert_to_srgb(picture, gamma=gamma)
        return turn(image, self.orientation), tuple(note for note in notes if note)

    def _read_deep_values(self, rawmode: str) -> npt.NDArray[np.uint16]:
        """Decode a 16-bit PNG a second time, for the low bytes: Pillow returns the high ones only."""
        if not rawmode.startswith("RGB"):
            raise UnsupportedPixelsError("its 16-bit values are nearly all 0 and their depth is not known")
        high = np.asarray(self._picture)
        self._file.seek(0)
        with open_by_pillow(self._file) as again:
            opened: Any = again
            opened.tile = [(*opened.tile[0][:3], rawmode.replace("16B", "16L"))]
            again.load()
            low = np.asarray(again)
        values: npt.NDArray[np.uint16] = (high.astype(np.uint16) << 8) | low
        if values.shape[2] == 4 and (values[..., 3] != 65535).any():
            raise UnsupportedPixelsError("its 16-bit values are nearly all 0 and their depth is not known")
        return values[..., :3]


class _TiffSource:
    def __init__(self, file: BinaryIO, check_size: CheckSize) -> None:
        self._file = file
        self._tiff = read_tiff(file)
        self.raw = self._tiff.raw
        page = self._tiff.chosen
        if not self.raw:
            check_size(page.height, page.width)
        self.orientation = self._tiff.orientation
        self.size = turn_size((page.height, page.width), self.orientation)

    def decode(self) -> tuple[RGBImage, tuple[str, ...]]:
        picture, remaining, notes = decode_tiff(self._file, self._tiff, open_by_pillow)
        return turn(convert_to_srgb(picture), remaining), tuple(notes)


class _HeifSource:
    orientation = 1

    def __init__(self, file: BinaryIO, check_size: CheckSize) -> None:
        self._opened = open_heif(file)
        width, height = self._opened.size
        check_size(height, width)
        self.size = (height, width)

    def decode(self) -> tuple[RGBImage, tuple[str, ...]]:
        count = len(self._opened)
        note = (f"{count} pictures in one file, the main one is taken",) if count > 1 else ()
        image = convert_to_srgb(decode_heif(self._opened))
        if image.shape[:2] != self.size:
            raise ValueError("its header says another size than it has")
        return image, note


class _RawSource:
    orientation = 1

    def __init__(self, raw: CameraRaw) -> None:
        self._raw = raw
        self.size = raw.size

    def decode(self) -> tuple[RGBImage, tuple[str, ...]]:
        return self._raw.develop(), ()


def _open_raw(file: BinaryIO, check_size: CheckSize) -> Iterator[Source]:
    raw = CameraRaw(file)
    try:
        check_size(*raw.size)
        yield _RawSource(raw)
    finally:
        raw.close()


def turn(image: npt.NDArray[Pixel], orientation: int) -> npt.NDArray[Pixel]:
    """Turn and mirror a picture as its EXIF orientation says.

    Args:
        image: (H, W, ...), as stored.
        orientation: 1 to 8.

    Returns:
        (H, W, ...) or (W, H, ...), upright.
    """
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def turn_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the (height, width) that a picture has after `turn`."""
    return size if orientation < 5 else size[::-1]


def _read_orientation(picture: Image.Image, file: BinaryIO) -> int:
    try:
        if picture.format == "PNG":
            with open_by_pillow(make_png_shell(file)) as shell:
                value = shell.getexif().get(_ORIENTATION, 1)
        else:
            value = picture.getexif().get(_ORIENTATION, 1)
    except DECODING_ERRORS:
        return 1  # A broken EXIF block says nothing about the way up; every viewer shows such a file as stored.
    return value if value in range(1, 9) else 1


def _reduce(values: npt.NDArray[Any], declared: int | None, info: dict[Any, Any]) -> tuple[Image.Image, str | None]:
    eight, note = reduce_depth(values, declared)
    picture = Image.fromarray(eight)
    picture.info["icc_profile"] = info.get("icc_profile")
    return picture, note


def _deep_rawmode(picture: Image.Image) -> str | None:
    """Return how a PNG of 16 bits a channel is stored, None if it is none, or a grey one."""
    tiles: Any = getattr(picture, "tile", ())
    rawmode = tiles[0][3] if picture.format == "PNG" and tiles else None
    return rawmode if isinstance(rawmode, str) and rawmode.endswith(";16B") and picture.mode[0] != "I" else None


def _high_byte(picture: Image.Image) -> int:
    """Return the largest value of the colours, transparency aside."""
    ranges: Any = picture.getextrema()
    return int(max(high for _, high in (ranges[:-1] if picture.mode.endswith("A") else ranges)))


def _count_frames(picture: Image.Image) -> int:
    """Count the frames of an animation or the pictures of a file; 0 for more than one that it costs time to count."""
    try:
        if picture.format == "GIF":
            return 0 if getattr(picture, "is_animated", False) else 1
        return int(getattr(picture, "n_frames", 1))
    except DECODING_ERRORS:
        return 1


def _webp_size(start: bytes) -> tuple[int, int] | None:
    """Return (height, width) of a WebP file from its first 32 bytes.

    Some releases of Pillow reserve memory for it on opening.
    """
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP" or len(start) < 30:
        return None
    if start[12:16] == b"VP8X":
        return int.from_bytes(start[27:30], "little") + 1, int.from_bytes(start[24:27], "little") + 1
    if start[12:16] == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", start, 26)
    return height & 0x3FFF, width & 0x3FFF


_pillow_lock = threading.Lock()
_pillow_readers: list[Any] = []
# Unlike any that somebody else may have set for Pillow, so that only our own is taken out again.
_QUIET = ("ignore", re.compile("(?:)"), Warning, re.compile(r"PIL\."), 0)


@contextmanager
def silence_pillow() -> Iterator[None]:
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
