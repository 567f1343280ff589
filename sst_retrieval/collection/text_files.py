"""Read the lines of a text file in the encoding that it has, within bounds of size and memory.

UTF-8, and UTF-16 or UTF-32 with or without a byte order mark, are recognised. Anything else is read as Windows-1252
if every accented word looks like one of Western Europe, and that is noted with examples; else it is refused.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sst_retrieval.errors import CollectionError

MAX_FILE_BYTES = 2 * 1024**3 - 1
"""A larger table is refused before it is read."""

MAX_LINE = 16 * 1024**2
"""Characters of the longest line; a footprint of a country has about a million."""

_BLOCK = 1024**2
_MARKS = (
    # UTF-32 first: the mark of UTF-16 is its beginning.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What else begins like this is no text: Excel's .xlsx and .ods are .zip files, its .xls an OLE file.
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")
# Letters of Western Europe, and the signs that occur in tables: quotation marks, dashes, degrees, ...
_WESTERN = re.compile(
    rb"[\x00-\x7f\x80\x85\x91-\x97\x99\xa0\xa1\xa7\xa9-\xab\xae\xb0-\xb7\xb9-\xd6\xd8-\xf6\xf8-\xff]*"
)
_FOREIGN = re.compile(
    rb"[\xc0-\xff]{3}|[A-Za-ln-z][\xb2\xb3]|[A-Za-z][\xb9\xbc-\xbf]|[\xb9\xbc-\xbe][A-Za-z]|[a-z][\x91\x93-\x97][a-z]"
)
_NO_ASCII = re.compile(rb"[\xa1-\xff]{4,}")
"""A word without any plain letter: two Chinese characters, say."""

_ACCENTED = re.compile(rb"[^\s,;\t\"]*[\x80-\xff][^\s,;\t\"]*")


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file that can be read more than once.

    Attributes:
        source: its name, for messages.
        open: opens it for bytes, from the beginning.
    """

    source: str
    open: Callable[[], IO[bytes]]


def open_text_file(path: Path) -> TextFile:
    """Check that a path is a file that may be read as text.

    Raises:
        CollectionError: it is missing, no regular file, or larger than `MAX_FILE_BYTES`.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise CollectionError(f"{path} is no regular file; give the table as a file")
        with path.open("rb"):
            pass
    except OSError as error:
        raise CollectionError(f"{path} cannot be opened ({error.strerror}); check the path of the table") from error
    if size > MAX_FILE_BYTES:
        raise CollectionError(
            f"{path} has {size / 1024**3:.1f} GB; leave out rows without a photograph and columns that you do not need"
        )
    return TextFile(str(path), lambda: path.open("rb"))


def find_encoding(file: TextFile) -> tuple[str, str | None]:
    """Find the encoding of a text file.

    Returns:
        (name for Python's codecs, a note if it is not certain).

    Raises:
        CollectionError: the file is a spreadsheet or compressed, or in none of the encodings known here.
    """
    with file.open() as stream:
        head = stream.read(4096)
    if head.startswith(_SPREADSHEETS):
        raise CollectionError(
            f"{file.source} is a spreadsheet (Excel or LibreOffice), not text; save the sheet as 'CSV UTF-8'"
        )
    if head.startswith(_COMPRESSED):
        raise CollectionError(f"{file.source} is a compressed file; unpack it first")
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) / 4 > 4 * min(even, odd):
        encoding = "utf-16-be" if even > odd else "utf-16-le"
        return encoding, f"{file.source} has no byte order mark; it was read as {encoding.upper()}"
    line = _find_undecodable_line(file, "utf-8")
    return ("utf-8", None) if line is None else ("windows-1252", _note_windows(file, line))


def check_encoding(encoding: str, source: str) -> None:
    """Refuse an encoding that Python does not know, or that is none of text.

    Raises:
        CollectionError: it is unknown.
    """
    try:
        b"".decode(encoding)
        codecs.getincrementaldecoder(encoding)().decode(b"id")
    except (LookupError, UnicodeError, ValueError) as error:
        raise CollectionError(
            f"{source} says that its encoding is {encoding!r}, which is unknown; use UTF-8"
        ) from error


def _find_undecodable_line(file: TextFile, encoding: str) -> int | None:
    """Find the first line that is not in an encoding, from 1."""
    decoder, lines = codecs.getincrementaldecoder(encoding)(), 1
    with file.open() as stream:
        while block := stream.read(_BLOCK):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return lines + block.count(b"\n", 0, error.start)
            lines += block.count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return lines
    return None


def _note_windows(file: TextFile, line: int) -> str:
    """Note that a file is read as Windows-1252, with words to check, or refuse it if they look wrong."""
    words: dict[bytes, None] = {}
    with file.open() as stream:
        while block := stream.read(_BLOCK):
            block += stream.readline(_BLOCK)
            for word in _ACCENTED.findall(block):
                no_ascii = _NO_ASCII.fullmatch(word) is not None and len(set(word)) > 1
                if not _WESTERN.fullmatch(word) or _FOREIGN.search(word) or no_ascii:
                    raise CollectionError(
                        f"{file.source} line {line} is not UTF-8 text, and guessing its encoding would garble names; "
                        f"save the table as 'CSV UTF-8', or convert it from the encoding it has; if that "
                        f"is an old Mac's: iconv -f MACINTOSH -t UTF-8 {Path(file.source).name} > utf8.csv"
                    )
                if len(words) < 3:
                    words[word[:40]] = None
    shown = ", ".join(repr(word.decode("windows-1252", "replace")) for word in words)
    return (
        f"{file.source} is not UTF-8 (line {line}); it was read as Windows-1252, with words such as {shown}: "
        f"if they are garbled, save the table as 'CSV UTF-8'"
    )


def read_lines(file: TextFile, encoding: str) -> Iterator[str]:
    r"""Read the lines of a text file with their ends: \n, \r\n or \r.

    Raises:
        CollectionError: the file is not in that encoding, holds NUL bytes, a line is longer than `MAX_LINE`, or the
            header is cut by a carriage return, which would lose the columns behind it.
    """
    number, cut = 1, False
    try:
        with file.open() as stream, io.TextIOWrapper(stream, encoding, newline="") as text:
            while line := text.readline(MAX_LINE):
                if len(line) == MAX_LINE:
                    raise CollectionError(
                        f"{file.source} line {number} is longer than {MAX_LINE:,} characters; a line holds one row, so "
                        f"check how the table was saved"
                    )
                if "\0" in line:
                    raise CollectionError(
                        f"{file.source} line {number} holds NUL bytes, so the file is damaged or no text; "
                        f"save or download it again as 'CSV UTF-8'"
                    )
                # A whole file with \r alone is an old Mac's. In quotation marks a cell may hold one.
                whole = line.count('"') % 2 == 0
                if number == 1:
                    cut = line.endswith("\r") and whole
                elif number == 2 and cut and line.endswith("\n") and whole:
                    name = Path(file.source).name
                    raise CollectionError(
                        f"{file.source} line 1 has a carriage return in the middle, as where columns were added to a "
                        f"file of Windows by a tool of Unix; take them out: tr -d '\\r' < {name} > fixed.csv"
                    )
                yield line.removeprefix("\ufeff") if number == 1 else line
                number += 1
    except UnicodeError as error:
        raise CollectionError(
            f"{file.source} line {number} or one soon after it is not {encoding.removesuffix('-sig').upper()} text; "
            f"save it as UTF-8, or export it again"
        ) from error
