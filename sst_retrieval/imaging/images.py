"""Read photographs and label pictures into arrays, always the same way; write pictures.

1. The header is read first: a file that is not a picture, or too large to hold, is refused before it is decoded.
2. The EXIF orientation is applied, so that pixels are counted as a viewer shows them.
3. Sixteen bits become eight by a fixed rule (`imaging.depth`), never by stretching each picture to its own range: the
   same number is the same brightness on every photograph.
4. An embedded colour profile is converted to sRGB; a picture without one, or with a broken one, is taken as sRGB
   (CMYK: Pillow's plain conversion).
5. Transparent pixels are blended with white. Of several pages the first is read, or the photograph behind a thumbnail.

`imaging.sources` has the kinds of files; what a person should know of one, such as that it has more pages, is a note.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from sst_retrieval.errors import ImageError, SSTError
from sst_retrieval.files import atomic_write
from sst_retrieval.imaging.absent_files import fetch_file
from sst_retrieval.imaging.depth import UnsupportedPixelsError
from sst_retrieval.imaging.jpeg_data import find_damage
from sst_retrieval.imaging.png_header import check_png
from sst_retrieval.imaging.sources import DECODING_ERRORS, Source, open_by_pillow, open_source, silence_pillow, turn
from sst_retrieval.imaging.tiff import read_first_page_numbers
from sst_retrieval.imaging.tiff_pages import is_tiff
from sst_retrieval.types import RGBImage

MAX_PIXELS = 400_000_000
"""A photograph with more pixels than this is refused, since it needs gigabytes once decoded."""

MAX_LABEL_PIXELS = 200_000_000
"""A label picture of more pixels is refused: of one colour it takes hardly any bytes, and yet as much memory."""

MAX_GREY_LABELS = 64
"""A picture of equal red, green and blue with more different values than this is a grey photograph, not labels."""

PICTURE_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Suffix of a picture that is written -> its format."""

_LONGEST_EDGE = {"JPEG": 65_500, "WEBP": 16_383}

LARGE = 50_000_000
"""Pixels from which a file is checked for holding too few bytes, and the machine for holding too little memory."""

_PIXELS_PER_BYTE = 100
"""No photograph of `LARGE` size has fewer bytes than a hundredth of its pixels."""

_BYTES_PER_PIXEL = 8
"""Memory that decoding takes, roughly."""


@dataclass(frozen=True, slots=True)
class PhotographContent:
    """A photograph, read.

    Attributes:
        image: uint8 (H, W, 3), sRGB, EXIF orientation applied.
        checksum: SHA-256 of the bytes it was decoded from, hexadecimal, as `content_hash` computes it.
        notes: what a person should know about the file, in a few words each.
    """

    image: RGBImage
    checksum: str
    notes: tuple[str, ...]


def read_photograph(path: Path, *, max_pixels: int = MAX_PIXELS) -> PhotographContent:
    """Read a photograph together with the checksum of what was read.

    Args:
        path: the file.
        max_pixels: refuse a picture with more pixels than this, before it is decoded.

    Returns:
        Pixels, checksum and notes, all of the same bytes.

    Raises:
        ImageError: as `read_image`; or the file changed while it was read.
    """
    with _open_file(path) as file:
        before = hashlib.file_digest(file, "sha256").hexdigest()
        with _open_source(path, file, max_pixels) as source:
            image, notes = source.decode()
            damage = find_damage(file)
        file.seek(0)
        if hashlib.file_digest(file, "sha256").hexdigest() != before:
            raise ImageError(f"{path} changed while it was read; try again when it is no longer written")
        return PhotographContent(image, before, notes if damage is None else (*notes, damage))


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
    with _open_file(path) as file, _open_source(path, file, max_pixels) as source:
        return source.decode()[0]


def read_labels(path: Path, *, max_pixels: int = MAX_LABEL_PIXELS) -> npt.NDArray[np.uint16]:
    """Read a label picture: one number a pixel, exactly as stored, with the EXIF orientation applied.

    Args:
        path: an indexed (palette), greyscale or black-and-white PNG or TIFF of 1 to 16 bits. Greyscale may be stored as
            equal red, green and blue of few values, and have transparency; a wholly transparent pixel has the number 0.
        max_pixels: refuse a larger one, before it is decoded.

    Returns:
        uint16 (H, W); of an indexed picture the palette index, not the colour.

    Raises:
        ImageError: the file cannot be read, has several pages, or is a colour picture or a JPEG, which hold no label
            numbers.
    """
    with silence_pillow(), _open_file(path) as file, _explain_errors(path):
        numbers = read_first_page_numbers(file, max_pixels) if is_tiff(file.read(4)) else None
        if numbers is not None:
            return turn(_check_labels(path, numbers), orientation(path))
        file.seek(0)
        with _open_picture(path, file) as picture:
            width, height = picture.size
            _check_limit(path, height, width, max_pixels)
            if picture.format in ("JPEG", "MPO"):
                raise ImageError(f"{path} is a JPEG, whose compression changes label numbers; save the labels as PNG")
            if picture.mode == "F":
                raise ImageError(f"{path} holds floating point numbers; save the labels as whole numbers, 8 or 16 bits")
            if picture.format == "PNG":
                check_png(file)
            picture.load()
            width, height = picture.size  # Pillow turns a TIFF while it loads it.
            labels = np.empty((height, width), dtype=np.uint16)
            step = max(1, (1 << 24) // width)
            for top in range(0, height, step):
                strip = picture.crop((0, top, width, min(top + step, height)))
                labels[top : top + step] = _check_labels(path, _read_numbers(path, strip))
            if picture.mode in ("RGB", "RGBA") and not 2 <= len(np.unique(labels)) <= MAX_GREY_LABELS:
                raise _colours_are_no_labels(path, picture)
            return labels if picture.format == "TIFF" else turn(labels, orientation(path))


def _read_numbers(path: Path, picture: Image.Image) -> npt.NDArray[Any]:
    """Return the numbers of a decoded label picture, (H, W)."""
    values = np.asarray(picture)
    if picture.mode in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N"):
        return values
    if picture.mode in ("LA", "PA", "RGB", "RGBA"):
        colours = values[..., :-1] if picture.mode.endswith("A") else values
        alpha = values[..., -1] if picture.mode.endswith("A") else np.uint8(255)
        if (colours == colours[..., :1]).all() and np.isin(alpha, (0, 255)).all():
            return np.where(alpha == 0, 0, colours[..., 0])
    raise _colours_are_no_labels(path, picture)


def _colours_are_no_labels(path: Path, picture: Image.Image) -> ImageError:
    return ImageError(
        f"{path} is a colour picture ({picture.mode}), and colours are not label numbers; "
        f"save the labels as an indexed or greyscale PNG, one number a trait"
    )


def _check_labels(path: Path, numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    if numbers.dtype.kind not in "biu":
        raise ImageError(f"{path} holds floating point numbers; save the labels as whole numbers, 8 or 16 bits")
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high > 65535:
        wrong = low if low < 0 else high
        raise ImageError(f"{path} has the label {wrong}; use numbers from 1 to 65535, 0 for the background")
    return numbers.astype(np.uint16)


def image_size(path: Path) -> tuple[int, int]:
    """Read the size of a photograph from its header.

    Returns:
        (height, width) in pixels with the EXIF orientation applied, as `read_image` returns it.

    Raises:
        ImageError: the file is missing or not a picture.
    """
    with _open_file(path) as file, _open_source(path, file, None) as source:
        return source.size


def orientation(path: Path) -> int:
    """Read a photograph's EXIF orientation: 1 is upright, 5 to 8 are rotated by a quarter.

    Raises:
        ImageError: the file is missing or not a picture.
    """
    with _open_file(path) as file, _open_source(path, file, None) as source:
        return source.orientation


def content_hash(path: Path) -> str:
    """Compute the checksum of a file's content.

    Returns:
        SHA-256, 64 hexadecimal digits.

    Raises:
        ImageError: the file cannot be read.
    """
    with _open_file(path, empty=True) as file:
        try:
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


def write_picture(path: Path, image: RGBImage) -> None:
    """Write a picture in the format that its name ends with; the file appears whole or not at all.

    Args:
        path: where to; ends with one of `PICTURE_FORMATS`. A folder that does not exist is made.
        image: uint8 (H, W, 3).

    Raises:
        ImageError: the name ends with something else, or the format holds no picture of that size.
    """
    kind = check_picture_name(path)
    height, width = image.shape[:2]
    if max(height, width) > _LONGEST_EDGE.get(kind, 1 << 31):
        raise ImageError(f"{path}: {kind} holds no picture of {width} x {height} pixels; let the name end with .png")
    options: dict[str, Any] = {"quality": 90} if kind in ("JPEG", "WEBP") else {}
    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary, kind, **options)


def check_picture_name(path: Path) -> str:
    """Return the format that the name of a picture to be written asks for, as Pillow calls it.

    Raises:
        ImageError: there is none of that ending.
    """
    kind = PICTURE_FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(
            f"{path} ends with {path.suffix or 'no suffix'}, which is no picture that can be written; "
            f"let the name end with {', '.join(PICTURE_FORMATS)}"
        )
    return kind


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
def _open_source(path: Path, file: BinaryIO, max_pixels: int | None) -> Iterator[Source]:
    """Open a picture without decoding it; refuse what is not a picture, or has more than `max_pixels`."""
    size = path.stat().st_size

    def check(height: int, width: int) -> None:
        if max_pixels is not None:
            _check_limit(path, height, width, max_pixels)
            _check_large(path, height * width, size)

    with silence_pillow(), _explain_errors(path), open_source(file, check) as source:
        yield source


@contextmanager
def _open_picture(path: Path, file: BinaryIO) -> Iterator[Image.Image]:
    try:
        picture = open_by_pillow(file)
    except DECODING_ERRORS as error:
        raise _no_picture(path) from error
    with picture:
        yield picture


def _check_limit(path: Path, height: int, width: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(
            f"{path} has {width} x {height} pixels, more than the {max_pixels:,} allowed; "
            f"save a smaller copy (from Python, max_pixels allows more if memory suffices)"
        )


def _check_large(path: Path, pixels: int, size: int) -> None:
    """Refuse a large picture that has too few bytes to be a photograph, or that memory has no room for."""
    if pixels < LARGE:
        return
    if size * _PIXELS_PER_BYTE < pixels:
        raise ImageError(
            f"{path} is said to have {pixels:,} pixels, but its {size:,} bytes hold no photograph of that size; "
            f"copy the photograph again from where it came"
        )
    free = _free_memory()
    if free is not None and pixels * _BYTES_PER_PIXEL > free:
        raise ImageError(
            f"{path} has {pixels:,} pixels, and the {free / 1e9:.1f} GB of memory that are free do not hold it; "
            f"save a smaller copy"
        )


def _free_memory() -> int | None:
    """Return how many bytes of memory are free, None where the system does not say it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


@contextmanager
def _open_file(path: Path, *, empty: bool = False) -> Iterator[BufferedReader]:
    """Open a file that may be a picture; a pipe or a device would wait for ever or never end."""
    try:
        fetch_file(path)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path} is {_kind_of(status.st_mode)}, not a photograph; check the path")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        if isinstance(error, SSTError):
            raise
        raise ImageError(_unreadable(path, error)) from error
    with file:
        if not status.st_size and not empty:
            raise ImageError(f"{path} is empty (0 bytes); copy the photograph again from where it came")
        yield file


_SAVE = "which is not read; save it as JPEG, PNG or TIFF"
_OTHER_KINDS = (
    (re.compile(rb".{4}ftypavi[fs]", re.DOTALL), f"an AVIF picture, {_SAVE}"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "), f"a JPEG XL picture, {_SAVE}"),
    (re.compile(rb"II\xbc\x01"), f"a JPEG XR picture, {_SAVE}"),
    (re.compile(rb"8BPS"), f"a Photoshop document, {_SAVE}"),
    (re.compile(rb"gimp xcf"), f"a GIMP project, {_SAVE}"),
    (re.compile(rb"%PDF|%!PS"), f"a document (PDF or PostScript), {_SAVE}"),
    (
        re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg", re.DOTALL | re.IGNORECASE),
        f"a vector drawing, {_SAVE}",
    ),
    (
        re.compile(rb"\s*(<\?xml[^>]*>\s*)?<(!doctype html|html|head|body)", re.IGNORECASE),
        "a page of the web, not a photograph, as of a download that failed; fetch it again",
    ),
    (re.compile(rb".{4}ftyp(isom|mp4|qt|M4V)|RIFF.{4}AVI ", re.DOTALL), "a video; save a frame of it as JPEG or PNG"),
    (re.compile(rb"PK\x03\x04"), "an archive (.zip); unpack it"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS; fetch the file itself: git lfs pull"),
)
"""First bytes of files that lie where photographs should -> what they are, and what to do."""


def _kind_of(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return kinds.get(stat.S_IFMT(mode), "something else")


@contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    """Turn the errors of decoders into an `ImageError` that says what to do."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise _no_picture(path) from error
    except MemoryError as error:
        raise ImageError(f"{path} does not fit into this machine's memory; save a smaller copy") from error
    except ModuleNotFoundError as error:
        raise ImageError(
            f"{path} cannot be read without the package {error.name}: {error.msg}; install it by "
            f"pip install 'sst-retrieval[formats]', or save the photograph as JPEG, PNG or 8-bit TIFF"
        ) from error
    except UnsupportedPixelsError as error:
        raise ImageError(f"{path} cannot be used: {error}") from error
    except DECODING_ERRORS as error:
        raise ImageError(
            f"{path} is truncated or damaged and cannot be decoded ({error}); "
            f"copy the photograph again from where it came, or open it in an image program and save it anew"
        ) from error


def _no_picture(path: Path) -> ImageError:
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:
        start = b""
    for pattern, kind in _OTHER_KINDS:
        if pattern.match(start):
            return ImageError(f"{path} is {kind}")
    return ImageError(
        f"{path} is not a picture that can be read or is damaged at its start; "
        f"open it in an image program and save it as JPEG, PNG or 8- or 16-bit TIFF"
    )


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist; check the path, in a table the image column and the folder of the photographs"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder, not a photograph; check the path"
    reason = error.strerror if isinstance(error, OSError) else error
    return f"{path} cannot be opened ({reason}); check that you may read it"
