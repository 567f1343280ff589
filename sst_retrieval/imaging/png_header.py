"""The chunks of a PNG file: its orientation, its depth and its checksums, read without decoding the picture."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_CHUNKS = 1_000_000
MAX_CHUNK = 1 << 20
MAX_TOTAL = 1 << 24
"""Limits: chunks of a file, bytes of a chunk that is kept, bytes of all that are kept. More are passed over."""

_KEPT = (b"eXIf", b"iTXt", b"zTXt", b"tEXt")
# Beside the chunks that a decoder must know, what changes the colours or the way up.
_SHOWN = (b"tRNS", b"gAMA", b"cHRM", b"iCCP", b"sBIT", b"sRGB", b"eXIf")
_BLOCK = 1 << 20


def make_png_shell(file: BinaryIO) -> BinaryIO:
    """Make a PNG of one pixel that has the texts and the EXIF block of another.

    Pillow decodes a whole PNG to know its orientation, since the EXIF block may follow the pixels. Of the shell it
    knows it at once, by the same rules.

    Args:
        file: a PNG file, possibly damaged.
    """
    shell = [SIGNATURE, _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))]
    total = 0
    for kind, length in _walk(file):
        if kind in _KEPT and length <= MAX_CHUNK and total + length <= MAX_TOTAL:
            shell.append(struct.pack(">I", length) + kind + file.read(length + 4))
            total += length
    shell += [_chunk(b"IDAT", zlib.compress(b"\0\0")), _chunk(b"IEND", b"")]
    return io.BytesIO(b"".join(shell))


def find_significant_bits(file: BinaryIO) -> int | None:
    """Return the largest number of significant bits of a channel that a PNG declares (sBIT), or None."""
    for kind, length in _walk(file):
        if kind == b"sBIT" and 1 <= length <= 4:
            return max(file.read(length))
        if kind == b"IDAT":
            return None
    return None


def check_png(file: BinaryIO) -> None:
    """Check the checksums of a PNG's pixels and of all that changes how they look; Pillow checks those of a few only.

    Args:
        file: a PNG file; left at another place.

    Raises:
        ValueError: a chunk is damaged or breaks off.
    """
    for kind, length in _walk(file):
        if not kind.isalpha():
            raise ValueError("where a chunk should begin there is something else")
        if kind == b"IEND" or not (kind[:1].isupper() or kind in _SHOWN):
            continue
        checksum, left = zlib.crc32(kind), length
        while block := file.read(min(left, _BLOCK)):
            checksum, left = zlib.crc32(block, checksum), left - len(block)
        if left or file.read(4) != struct.pack(">I", checksum):
            raise ValueError(f"its {kind.decode()} chunk {'breaks off' if left else 'has a wrong checksum'}")


def _walk(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the kind and the length of each chunk, with the file at the start of its data."""
    place = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, length
        if kind == b"IEND":
            return
        place += length + 12


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
