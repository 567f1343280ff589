"""Notice JPEG files whose data are damaged in the middle: decoders go on and show grey or shifted colours instead.

A file that breaks off is refused by Pillow. One with a lost block (a bad sector, a transfer that failed) is not: the
decoder says so by a warning, which Pillow drops. simplejpeg, a binding of the same libjpeg-turbo, passes it on.
"""

from __future__ import annotations

import mmap
import re
from typing import BinaryIO

import simplejpeg

_DAMAGED = re.compile(
    r"premature end of data segment|bad Huffman code|bad arithmetic code|found marker|"
    r"extraneous bytes before marker 0x(?!d9)",
    re.IGNORECASE,
)
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9", re.IGNORECASE)
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"

MAX_LEFT_OVER = 16
"""More bytes than this between the pixels and the end of the picture are damage, unless all are the same."""


def find_damage(file: BinaryIO) -> str | None:
    """Say whether the data of a JPEG file are damaged where Pillow decodes it without a word.

    The smallest copy that the decoder can make is decoded in grey, about a third of the time of decoding it whole. A
    single bit that changed is not noticed as a rule: most such data are valid, but mean something else.

    Args:
        file: a picture file that was decoded, on a disk; of another kind than JPEG nothing is said.

    Returns:
        What a person should know about it, or None.
    """
    file.seek(0)
    if file.read(len(_START)) != _START:
        return None
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            simplejpeg.decode_jpeg(
                data, colorspace="GRAY", fastdct=True, fastupsample=True, min_height=1, min_width=1, strict=True
            )
        except ValueError as error:
            said = str(error)
        else:
            return None
        if not _DAMAGED.search(said) and not _has_left_over(data, said):
            return None
    said = said.removeprefix("Corrupt JPEG data: ")
    return f"its data are damaged ({said}), so a part of it may be grey or shifted; copy it again from where it came"


def _has_left_over(data: mmap.mmap, said: str) -> bool:
    """Say whether the pixels ended before their data did. Some cameras fill up their files there with equal bytes."""
    found = _LEFT_OVER.search(said)
    count = int(found[1]) if found else 0
    if count <= MAX_LEFT_OVER:
        return False
    end = data.find(_END)
    while end >= 0:
        between = data[max(0, end - count) : end]
        if between == between[:1] * count:
            return False
        end = data.find(_END, end + 1)
    return True
