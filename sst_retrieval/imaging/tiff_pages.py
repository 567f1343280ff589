"""The pages of a TIFF file, from their tags: how large, how stored, and which of them is the photograph.

Nothing is decoded. Every number is checked before it is used, so that a damaged file costs neither time nor memory.
The format: TIFF 6.0 (Adobe 1992), BigTIFF, and TIFF/EP for sub-pages and raw sensor values.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
"""How a TIFF file begins; the third and fourth are wrong, but written."""

MAX_PAGES = 10_000
MAX_ENTRIES = 4_096
MAX_VALUES = 2_000_000
MAX_BYTES = 1 << 22
"""Limits: pages of a file, tags of a page, numbers of a tag, bytes of a text or a colour profile. More are not read."""

GREY, RGB, PALETTE, CMYK, YCBCR, LAB = (0, 1), 2, 3, 5, 6, 8
RAW = (32803, 34892)
"""Photometric interpretations; the last: a colour filter array, linear raw."""

MAX_TILE = 1 << 22
"""Pixels that a tile may have beyond eight times those of its page."""

_FORMATS = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}


@dataclass(frozen=True, slots=True)
class TiffPage:
    """What the tags of a page say.

    Attributes:
        offset: where its list of tags lies, in bytes.
        width, height: in pixels, as stored.
        bits: of each sample.
        formats: of each sample: 1 unsigned, 2 signed, 3 floating point.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr, 8 Lab, `RAW`.
        planar: whether each channel lies for itself.
        compression: 1 none, 5 LZW, 7 JPEG, 8 deflate, ...
        reduced: whether it says of itself that it is a smaller copy or a mask of another.
        orientation: 1 to 8, or None if the page does not say it.
        extra: kinds of the samples beyond the colours: 0 unknown, 1 premultiplied alpha, 2 alpha.
        maximum: the largest value that a sample can have, if the page says it.
        description: a text; programs such as ImageJ write there what the pages are.
        segments: (offset, length) in bytes of each strip or tile.
        segment_size: (height, width) in pixels of a strip or tile.
        sub_pages: where the lists of tags of its sub-pages lie.
        profile: the ICC colour profile, or None.
    """

    offset: int
    width: int
    height: int
    bits: tuple[int, ...]
    formats: tuple[int, ...]
    photometric: int
    planar: bool
    compression: int
    reduced: bool
    orientation: int | None
    extra: tuple[int, ...]
    maximum: int | None
    description: str
    segments: tuple[tuple[int, int], ...]
    segment_size: tuple[int, int]
    sub_pages: tuple[int, ...]
    profile: bytes | None

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class TiffFile:
    """A TIFF file, not decoded.

    Attributes:
        pages: the pages in their order, at least one.
        chosen: the photograph: the first page, or a larger one if the first is a thumbnail.
        raw: whether the photograph is a camera's raw sensor values.
        orientation: 1 to 8, of the photograph.
        own_orientation: whether the chosen page says it itself.
        count: pages that are no smaller copies of others, or ImageJ's planes.
        notes: what a person should know, such as that there are more pages.
    """

    pages: tuple[TiffPage, ...]
    chosen: TiffPage
    raw: bool
    orientation: int
    own_orientation: bool
    count: int
    notes: tuple[str, ...]


def is_tiff(start: bytes) -> bool:
    """Say whether the first bytes of a file are those of a TIFF file."""
    return start[:4] in MAGIC


def read_tiff(file: BinaryIO) -> TiffFile:
    """Read the tags of a TIFF file and choose the photograph among its pages.

    Args:
        file: from its beginning.

    Returns:
        The pages and which of them is the photograph.

    Raises:
        ValueError: the tags are damaged.
    """
    reader = _TagReader(file)
    pages: list[TiffPage] = []
    visited: set[int] = set()
    offset = reader.first
    while offset and offset not in visited and len(pages) < MAX_PAGES:
        visited.add(offset)
        try:
            page, offset = reader.read_page(offset)
        except ValueError:
            if not pages:
                raise
            break  # The list of pages is damaged further on; the first ones may be whole.
        pages.append(page)
    if not pages:
        raise ValueError("it has no page")
    below = []
    for place in pages[0].sub_pages:
        if place not in visited:
            visited.add(place)
            below.append(reader.read_page(place)[0])
    return _choose(pages, below, raw=reader.is_raw)


def _choose(pages: Sequence[TiffPage], below: Sequence[TiffPage], *, raw: bool) -> TiffFile:
    first = pages[0]
    candidates = [page for page in (*pages, *below) if not page.reduced] or [*pages, *below]
    largest = max(candidates, key=lambda page: page.pixels)
    small = 2 * first.width <= largest.width and 2 * first.height <= largest.height
    thumbnail = largest is not first and (small or (first.reduced and not largest.reduced))
    chosen = largest if thumbnail else first
    notes = []
    if thumbnail:
        notes.append(
            f"its first page is a thumbnail of {first.width} x {first.height} pixels: "
            f"the page of {chosen.width} x {chosen.height} is taken"
        )
    # Copies of half the size and less are a pyramid's.
    others = [page for page in pages if not page.reduced and 2 * page.width > chosen.width]
    planes = _count_planes(first.description)
    count = max(len(others), planes)
    if count > 1:
        notes.append(f"{count} pages, the first {'of its size ' * thumbnail}is taken")
    orientation = chosen.orientation or first.orientation or 1
    sensor = [page for page in (*pages, *below) if page.photometric in RAW and 2 * page.pixels >= chosen.pixels]
    return TiffFile(
        pages=tuple(pages),
        chosen=chosen,
        raw=raw or bool(sensor),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        own_orientation=chosen.orientation is not None,
        count=count,
        notes=tuple(notes),
    )


def _count_planes(description: str) -> int:
    """Count the planes that ImageJ has put behind a single page."""
    match = re.search(r"^images=(\d{1,9})", description, re.MULTILINE) if description.startswith("ImageJ=") else None
    return int(match[1]) if match else 1


class _TagReader:
    """Reads the lists of tags of one file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        start = self._read(0, 16, least=8)
        self._order = "<" if start[:2] == b"II" else ">"
        self._big = 43 in start[2:4]
        self.first = self._unpack("Q", start[8:16]) if self._big else self._unpack("I", start[4:8])
        self.is_raw = start[8:10] == b"CR" and not self._big
        """Canon's CR2: the raw values are in a page that does not say so."""

    def read_page(self, offset: int) -> tuple[TiffPage, int]:
        """Read a page's tags; returns the page and where the next one lies, 0 after the last."""
        count_size, entry_size, place_size = (8, 20, 8) if self._big else (2, 12, 4)
        count = self._unpack("Q" if self._big else "H", self._read(offset, count_size))
        if not 1 <= count <= MAX_ENTRIES:
            raise ValueError(f"its page has {count} tags")
        block = self._read(offset + count_size, count * entry_size)
        entries: dict[int, bytes] = {}
        for start in range(0, len(block), entry_size):
            entry = block[start : start + entry_size]
            entries.setdefault(self._unpack("H", entry[:2]), entry)
        after = offset + count_size + len(block)
        rest = self._read(after, place_size, least=0)
        following = self._unpack("Q" if self._big else "I", rest) if len(rest) == place_size else 0
        return self._make_page(offset, entries), following

    def _make_page(self, offset: int, entries: dict[int, bytes]) -> TiffPage:
        def numbers(tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
            return self._numbers(entries[tag]) if tag in entries else default

        def number(tag: int, default: int = 0) -> int:
            return next(iter(numbers(tag)), default)

        width, height, samples = number(256), number(257), number(277, 1)
        if width < 1 or height < 1 or not 1 <= samples <= 1024:
            raise ValueError(f"its page has {width} x {height} pixels of {samples} samples")
        tiled = 324 in entries
        lengths = numbers(325 if tiled else 279)
        places = numbers(324 if tiled else 273)
        across, down = (number(322), number(323)) if tiled else (width, min(number(278, height), height) or height)
        if tiled and down * across > 8 * width * height + MAX_TILE:
            raise ValueError(f"its tiles of {across} x {down} pixels are larger than itself")
        maximum = number(281) or None
        orientation = number(274, 0)
        if 274 not in entries and 700 in entries:
            match = re.search(r'tiff:Orientation(?:="|>)([0-9])', self._text(entries[700]))
            orientation = int(match[1]) if match else 0
        return TiffPage(
            offset=offset,
            width=width,
            height=height,
            bits=_fill(numbers(258, (1,)), samples),
            formats=_fill(numbers(339, (1,)), samples),
            photometric=number(262, 1),
            planar=number(284, 1) == 2 and samples > 1,
            compression=number(259, 1),
            reduced=bool(number(254) & 5) or number(255) == 2,
            orientation=orientation or None,
            extra=numbers(338),
            maximum=maximum,
            description=self._text(entries[270]) if 270 in entries else "",
            segments=tuple(zip(places, lengths, strict=False)),
            segment_size=(down, across),
            sub_pages=numbers(330)[:32],
            profile=self._bytes(entries[34675]) if 34675 in entries else None,
        )

    def _numbers(self, entry: bytes) -> tuple[int, ...]:
        """Return the whole numbers of a tag, none if it holds something else."""
        kind, count, value = self._split(entry)
        code = _FORMATS.get(kind, "s")
        if code == "s" or not 1 <= count <= MAX_VALUES:
            return ()
        data = self._value(value, count * struct.calcsize(f"={code}"))
        return struct.unpack(f"{self._order}{count}{code}", data)

    def _text(self, entry: bytes) -> str:
        return (self._bytes(entry) or b"").split(b"\0")[0].decode("utf-8", "replace")

    def _bytes(self, entry: bytes) -> bytes | None:
        """Return the bytes of a tag, at most `MAX_BYTES`; None if it holds something else."""
        kind, count, value = self._split(entry)
        return self._value(value, min(count, MAX_BYTES), least=0) if kind in (1, 2, 7) and count else None

    def _split(self, entry: bytes) -> tuple[int, int, bytes]:
        if self._big:
            return self._unpack("H", entry[2:4]), self._unpack("Q", entry[4:12]), entry[12:]
        return self._unpack("H", entry[2:4]), self._unpack("I", entry[4:8]), entry[8:]

    def _value(self, value: bytes, size: int, *, least: int | None = None) -> bytes:
        if size <= len(value):
            return value[:size]
        return self._read(self._unpack("Q" if self._big else "I", value), min(size, MAX_VALUES * 8), least=least)

    def _read(self, offset: int, size: int, *, least: int | None = None) -> bytes:
        data = b""
        if offset < self._size:
            self._file.seek(offset)
            data = self._file.read(size)
        if len(data) < (size if least is None else least):
            raise ValueError("its tags lie beyond its end")
        return data

    def _unpack(self, code: str, data: bytes) -> int:
        return int(struct.unpack(self._order + code, data)[0])


def _fill(values: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """Give each sample its value; some programs write one for all."""
    return values[:samples] if len(values) >= samples else (values or (1,))[:1] * samples


def count_expected_segments(page: TiffPage) -> int:
    """Count the strips or tiles that a page must have."""
    down, across = page.segment_size
    if down < 1 or across < 1:
        raise ValueError("its tiles have no size")
    each = math.ceil(page.height / down) * math.ceil(page.width / across)
    return each * (len(page.bits) if page.planar else 1)
