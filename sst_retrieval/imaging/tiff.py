"""Decode the photograph of a TIFF file: by Pillow where it is right, else by tifffile.

Pillow takes 16-bit channels that lie apart for noise, 16-bit white-is-zero for black-is-zero, the first of ImageJ's
channels for the picture, and the first page, whatever it is. What neither can decode, or what would be a guess, is
refused by name.
"""

from __future__ import annotations

import io
import logging
import os
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from sst_retrieval.imaging import tiff_pages
from sst_retrieval.imaging.depth import UnsupportedPixelsError, reduce_depth
from sst_retrieval.imaging.tiff_pages import TiffFile, TiffPage

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # What it finds odd is said by an error, or harmless.

Opener = Callable[[BinaryIO], Image.Image]

_DEFLATE = (8, 32946)
_SIMPLE = (1, 32773, *_DEFLATE)
"""Compressions that tifffile decodes without the package imagecodecs: none, PackBits, deflate."""

_UNREAD = {
    **{33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC"},
    **{22610: "JPEG XR", 34934: "JPEG XR", 34933: "PNG", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"},
}
"""Compressions that Pillow's own builds do not know."""

_MOST_DEFLATED = 1032
"""Deflate makes nothing smaller than by this factor."""

_HARMLESS = 1 << 29
"""Bytes that a strip may become without being looked at."""

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_COLOURS = {0: 1, 1: 1, 2: 3, 5: 4}
"""Photometric interpretation -> number of colour channels; the others are Pillow's alone."""

_LUT_ORDER = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0))
"""ImageJ's colours of the channels of a composite: red, green, blue, grey, cyan, magenta, yellow."""


def decode_tiff(file: BinaryIO, tiff: TiffFile, open_picture: Opener) -> tuple[Image.Image, int, list[str]]:
    """Decode the photograph of a TIFF file.

    Args:
        file: the file.
        tiff: its tags.
        open_picture: opens a file as Pillow does.

    Returns:
        The picture, 8 bits a channel, with its colour profile in `info`; the orientation that is still to be applied,
        1 to 8; and notes.

    Raises:
        UnsupportedPixelsError: it is compressed in a way that is not read, or of a kind whose colours are not known.
        ValueError: it is damaged.
        ModuleNotFoundError: a package that is not installed is needed.
    """
    page = tiff.chosen
    if (name := _UNREAD.get(page.compression)) is not None:
        raise UnsupportedPixelsError(
            f"it is a TIFF compressed as {name}, which is not read; save it with LZW or deflate"
        )
    notes = list(tiff.notes)
    channels = _imagej_channels(page.description)
    if channels:
        merged, more = _merge_channels(file, tiff, channels)
        return merged, tiff.orientation, [f"ImageJ's {channels} channels are laid over each other", *more]
    own_turn = 1 if tiff.own_orientation else tiff.orientation  # Pillow turns a page as the page itself says.
    if _is_known_to_pillow(page):
        with _open_page(file, tiff, open_picture) as picture:
            picture.load()
        if max(page.bits) <= 8 or _is_bright(picture):
            return picture, own_turn, notes
    turn = tiff.orientation
    try:
        values = _read_values(file, page)
    except ModuleNotFoundError:
        with _open_page(file, tiff, open_picture) as picture:
            picture.load()
        if not picture.mode.startswith(("I", "F")):
            raise
        values, turn = np.asarray(picture)[..., None], own_turn
    picture, note = _make_picture(values, page)
    picture.info["icc_profile"] = page.profile
    return picture, turn, notes if note is None else [*notes, note]


def read_first_page_numbers(file: BinaryIO, max_pixels: int) -> npt.NDArray[Any] | None:
    """Read the numbers of the first page as they are stored, where Pillow would change them or knows no such page.

    Args:
        file: a TIFF file.
        max_pixels: a larger page is left to the caller.

    Returns:
        Numbers of any kind, (H, W); None if Pillow reads the page, or if it is too large.

    Raises:
        UnsupportedPixelsError: it is compressed as a JPEG, or the file has several pages of numbers.
        ValueError: it is damaged.
    """
    tiff = tiff_pages.read_tiff(file)
    if tiff.count > 1:
        raise UnsupportedPixelsError(
            f"it has {tiff.count} pages, and it is not clear which holds the labels; save each as a picture of its own"
        )
    page = tiff.pages[0]
    if page.compression in (6, 7):
        raise UnsupportedPixelsError("it is compressed as a JPEG, which changes label numbers; save the labels as PNG")
    plain = page.formats == (1,) and page.bits[0] in (1, 2, 4, 8, 16, 32)
    if len(page.bits) != 1 or page.pixels > max_pixels or plain:
        return None
    return _read_values(file, page)[..., 0]


def _is_known_to_pillow(page: TiffPage) -> bool:
    """Say whether Pillow decodes a page rightly."""
    whole = all(each == 1 for each in page.formats) and len(set(page.bits)) == 1
    if not whole or (page.photometric == tiff_pages.YCBCR and page.compression not in (6, 7)):
        return False
    if page.bits[0] <= 8:
        return page.bits[0] in (1, 2, 4, 8)
    return page.bits[0] == 16 and not page.planar and page.photometric in (2, 5)


def _is_bright(picture: Image.Image) -> bool:
    """Say whether the high bytes of a 16-bit picture leave no doubt about its depth."""
    ranges = picture.getextrema()
    colours = ranges[:3] if isinstance(ranges[0], tuple) else (ranges,)
    return max(high for _, high in colours) >= 64 or picture.mode == "CMYK"


def _open_page(file: BinaryIO, tiff: TiffFile, open_picture: Opener) -> Image.Image:
    file.seek(0)
    if tiff.chosen is tiff.pages[0]:
        return open_picture(file)
    # Pillow reaches no sub-pages: it gets a copy of the file whose first page is the wanted one.
    copy = bytearray(file.read())
    order = "<" if copy[:2] == b"II" else ">"
    if 43 in copy[2:4]:
        struct.pack_into(f"{order}Q", copy, 8, tiff.chosen.offset)
    else:
        struct.pack_into(f"{order}I", copy, 4, tiff.chosen.offset)
    return open_picture(io.BytesIO(copy))


def _read_values(file: BinaryIO, page: TiffPage) -> npt.NDArray[Any]:
    """Decode a page by tifffile; returns (H, W, S), of whatever kind it is stored."""
    import tifffile

    check_segments(file, page)
    file.seek(0)
    with tifffile.TiffFile(file) as opened:
        opened.filehandle.seek(page.offset)
        decoded = tifffile.TiffPage(opened, index=0)
        values = np.asarray(_decode_by_tifffile(decoded))
    samples = len(page.bits)
    if values.size != page.pixels * samples:
        raise ValueError(f"it holds {values.size} values instead of {page.pixels * samples}")
    if page.planar:
        return np.moveaxis(values.reshape(samples, page.height, page.width), 0, -1)
    return values.reshape(page.height, page.width, samples)


def _decode_by_tifffile(page: Any) -> Any:
    try:
        return page.asarray(maxworkers=1)
    except (ValueError, NotImplementedError) as error:
        if "imagecodecs" in str(error):
            raise ModuleNotFoundError(f"it is compressed by {page.compression.name}", name="imagecodecs") from error
        raise ValueError(str(error)) from error


def check_segments(file: BinaryIO, page: TiffPage) -> None:
    """Refuse a page whose strips or tiles are missing, lie beyond the file's end, or decompress to more than they may.

    Raises:
        ValueError: it is damaged.
    """
    size = file.seek(0, os.SEEK_END)
    if len(page.segments) < tiff_pages.count_expected_segments(page):
        raise ValueError("strips or tiles are missing")
    if any(length < 1 or offset < 8 or offset + length > size for offset, length in page.segments):
        raise ValueError("its end is missing")
    down, across = page.segment_size
    samples = 1 if page.planar else len(page.bits)
    each = down * ((across * samples * max(page.bits) + 7) // 8)
    if page.compression == 1:
        rows = ((page.width * samples * max(page.bits) + 7) // 8) * page.height * (len(page.bits) if page.planar else 1)
        if sum(length for _, length in page.segments) < rows:
            raise ValueError("its end is missing")
    if page.compression in _DEFLATE:
        for offset, length in page.segments:
            _check_deflated(file, offset, length, each)


def _check_deflated(file: BinaryIO, offset: int, length: int, most: int) -> None:
    """Refuse a compressed strip that becomes larger than it may be, without holding it."""
    if length * _MOST_DEFLATED <= max(most, _HARMLESS):
        return
    file.seek(offset)
    decompress = zlib.decompressobj()
    data, total = file.read(length), 0
    while data and total <= most:
        total += len(decompress.decompress(data, 1 << 20))
        data = decompress.unconsumed_tail
    if total > most + (1 << 16):
        raise ValueError("a strip or tile is larger than it may be")


def _make_picture(values: npt.NDArray[Any], page: TiffPage) -> tuple[Image.Image, str | None]:
    """Make a picture of 8 bits from the values of a page."""
    count = _COLOURS.get(page.photometric)
    if count is None or values.shape[2] < count:
        raise UnsupportedPixelsError(
            f"it is a TIFF of a rare kind (photometric interpretation {page.photometric}, "
            f"{len(page.bits)} samples of {max(page.bits)} bits)"
        )
    if values.shape[2] > count + 1 or (values.shape[2] > count and not page.extra):
        raise UnsupportedPixelsError(
            f"it has {values.shape[2]} channels, and which of them are red, green and blue is not known"
        )
    colours = values[..., :count]
    eight, note = _reduce(colours, page)
    if page.photometric == 0:
        eight = 255 - eight
    if count == 4:
        return Image.fromarray(np.ascontiguousarray(eight), "CMYK"), note
    if values.shape[2] > count and page.extra[0] in (1, 2):
        alpha = _reduce_alpha(values[..., count])
        if page.extra[0] == 1:
            light = np.round(eight / np.maximum(alpha, 1)[..., None] * np.float32(255))
            eight = np.minimum(light, 255).astype(np.uint8)
        eight = np.concatenate([eight, alpha[..., None]], axis=2)
    mode = _MODES[eight.shape[2]]
    return Image.fromarray(np.ascontiguousarray(eight[..., 0] if mode == "L" else eight), mode), note


def _reduce(colours: npt.NDArray[Any], page: TiffPage) -> tuple[npt.NDArray[np.uint8], str | None]:
    bits = page.bits[0]
    if page.formats[0] == 1 and bits < 16 and bits != 8:
        if bits > 8:
            return (colours >> (bits - 8)).astype(np.uint8), None
        return np.round(colours * (255 / ((1 << bits) - 1))).astype(np.uint8), None
    declared = page.maximum.bit_length() if page.maximum and page.formats[0] == 1 else None
    return reduce_depth(colours, declared)


def _reduce_alpha(alpha: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Convert transparency to 8 bits; it is stored in as many bits as the colours."""
    if np.issubdtype(alpha.dtype, np.floating):
        scaled = np.round(np.clip(alpha, 0, 1) * 255)
    elif alpha.dtype == np.uint8:
        scaled = alpha
    else:
        top = int(alpha.max(initial=1))
        scaled = alpha.astype(np.uint32) * 255 // (top if top < 1 << 15 else 65535)
    eight: npt.NDArray[np.uint8] = scaled.astype(np.uint8)
    return eight


def _imagej_channels(description: str) -> int:
    """Return how many channels ImageJ or OME have put into pages of their own, 0 if none.

    Raises:
        ValueError: they are no composite, so that no colours are known.
    """
    if description.startswith("ImageJ="):
        entries = dict(re.findall(r"^(\w+)=(.*?)\s*$", description, re.MULTILINE))
        channels = int(entries["channels"]) if entries.get("channels", "").isdigit() else 1
        if channels < 2:
            return 0
        if entries.get("mode") != "composite" or any(entries.get(key, "1") != "1" for key in ("slices", "frames")):
            raise UnsupportedPixelsError(f"it holds {channels} channels that ImageJ does not show together; {_MERGE}")
        return channels
    if "<OME" in description and "<Pixels" in description:
        channels = max(map(int, re.findall(r'SizeC="(\d{1,4})"', description)), default=1)
        samples = max(map(int, re.findall(r'SamplesPerPixel="(\d{1,4})"', description)), default=1)
        if channels > samples:
            raise UnsupportedPixelsError(f"it is an OME-TIFF of {channels} separate channels; {_MERGE}")
    return 0


_MERGE = "make one colour picture of them (in ImageJ: Image > Type > RGB Color) and save that"


def _merge_channels(file: BinaryIO, tiff: TiffFile, channels: int) -> tuple[Image.Image, list[str]]:
    """Lay ImageJ's channels over each other in their colours, as ImageJ shows a composite."""
    page = tiff.chosen
    if channels > len(_LUT_ORDER) or len(page.bits) != 1 or page.formats != (1,) or page.bits[0] not in (8, 16):
        raise UnsupportedPixelsError(f"it holds {channels} channels of a rare kind; {_MERGE}")
    planes = _read_planes(file, tiff, channels)
    eight, note = reduce_depth(planes)
    tables = _read_tables(file, channels)
    total = np.zeros((page.height, page.width, 3), dtype=np.uint16)
    for plane, table in zip(eight, tables, strict=True):
        total += table[plane]
    return Image.fromarray(np.minimum(total, 255).astype(np.uint8)), [note] if note else []


def _read_planes(file: BinaryIO, tiff: TiffFile, channels: int) -> npt.NDArray[Any]:
    """Read the channels, (C, H, W): each in a page, or all behind the first."""
    page = tiff.pages[0]
    if len(tiff.pages) >= channels:
        pages = tiff.pages[:channels]
        if any((other.width, other.height, other.bits) != (page.width, page.height, page.bits) for other in pages):
            raise UnsupportedPixelsError(f"its {channels} channels differ in size; {_MERGE}")
        return np.stack([_read_values(file, each)[..., 0] for each in pages])
    if page.compression != 1 or not page.segments:
        raise ValueError("channels are missing")
    file.seek(0)
    big = file.read(2) == b"MM"
    dtype = np.dtype(f"{'>' if big else '<'}u{page.bits[0] // 8}")
    file.seek(page.segments[0][0])
    data = file.read(channels * page.pixels * dtype.itemsize)
    if len(data) < channels * page.pixels * dtype.itemsize:
        raise ValueError("its end is missing")
    return np.frombuffer(data, dtype=dtype).reshape(channels, page.height, page.width).astype(dtype.newbyteorder("="))


def _read_tables(file: BinaryIO, channels: int) -> Sequence[npt.NDArray[np.uint16]]:
    """Read ImageJ's colours of the channels, each (256, 3); its usual ones if the file does not say them."""
    import tifffile

    ramp = np.arange(256, dtype=np.uint16)[:, None]
    usual = [ramp * np.array(colour, dtype=np.uint16) for colour in _LUT_ORDER[:channels]]
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as opened:
            tables = (opened.imagej_metadata or {}).get("LUTs", [])
    except (ValueError, KeyError, IndexError, TypeError, OSError, struct.error, UnicodeError):
        return usual
    if len(tables) != channels or any(np.shape(table) != (3, 256) for table in tables):
        return usual
    return [np.asarray(table).T.astype(np.uint16) for table in tables]
