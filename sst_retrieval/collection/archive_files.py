"""Open the files of a Darwin Core Archive, a .zip or a folder, so that a hostile one harms nothing.

- Nothing outside the archive is read, whatever `meta.xml` calls its files; links out of a folder are not followed.
- What a .zip unpacks to is bounded: its list of files, the size of each, and how much it is compressed.
- `meta.xml` is small and declares no entities.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO
from xml.etree import ElementTree
from xml.parsers import expat

from sst_retrieval.collection.text_files import MAX_FILE_BYTES
from sst_retrieval.errors import CollectionError
from sst_retrieval.files import is_inside

MAX_META_BYTES = 1024**2
MAX_LIST_BYTES = 32 * 1024**2
"""Size of the list of files in a .zip; each file takes about 100 bytes of it."""

MAX_RATIO = 150
"""How much larger than in the .zip a file of more than `SMALL_BYTES` may be; text is 5 to 20 times as large."""

SMALL_BYTES = 20 * 1024**2

UNPACKING_ERRORS = (
    *(OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, struct.error),
    *(UnicodeDecodeError, OverflowError, NotImplementedError),
)
"""What Python raises of damaged .zip files."""


def check_list_size(path: Path) -> None:
    """Refuse a .zip whose list of files alone would fill the memory, before Python reads the list.

    Raises:
        CollectionError: it is too long.
    """
    with path.open("rb") as file:
        file.seek(0, 2)
        length = min(file.tell(), 66_000)
        file.seek(-length, 2)
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 16:
        return  # No .zip; `zipfile` says so.
    (size,) = struct.unpack_from("<L", tail, end + 12)
    wide = tail.rfind(b"PK\x06\x06")
    if wide >= 0 and len(tail) >= wide + 48:
        size = max(size if size != 0xFFFFFFFF else 0, struct.unpack_from("<Q", tail, wide + 40)[0])
    if size > MAX_LIST_BYTES:
        raise CollectionError(
            f"{path} lists too many files ({size / 1024**2:,.0f} MB of names); take its photographs out into a folder, "
            f"and name that with --images (images= in Python)"
        )


def is_bomb(member: zipfile.ZipInfo) -> bool:
    """Say whether a file of a .zip is suspiciously large for what it takes in the .zip."""
    return member.file_size > SMALL_BYTES and member.file_size > MAX_RATIO * max(member.compress_size, 1)


def open_archive_file(root: Path | zipfile.Path, location: str, name: str) -> IO[bytes]:
    """Open a file of an archive for bytes.

    Args:
        root: the folder of meta.xml.
        location: the file, as meta.xml calls it.
        name: of the archive, for messages.

    Raises:
        CollectionError: it lies outside the archive, is missing, or too large.
    """
    source = f"{name}/{location}"
    parts = PurePosixPath(location.replace("\\", "/"))
    if not location or parts.is_absolute() or ".." in parts.parts or ":" in location:
        raise CollectionError(
            f"{name}/meta.xml names the file {location!r}, which is not in the archive; export it again"
        )
    missing = CollectionError(f"{source} is named in meta.xml, but missing; export the archive again")
    if isinstance(root, zipfile.Path):
        try:
            member = root.root.getinfo(root.at + parts.as_posix())
        except KeyError as error:
            raise missing from error
        if member.is_dir():
            raise missing
        if is_bomb(member) or member.file_size > MAX_FILE_BYTES:
            raise CollectionError(
                f"{source} unpacks to {member.file_size / 1024**2:,.0f} MB from "
                f"{member.compress_size / 1024**2:,.1f} MB, as no table does; unpack it yourself if you trust it"
            )
        return root.root.open(member)
    path = root / parts
    if not is_inside(path, [root]):
        raise CollectionError(f"{source} is a link that leads out of the archive; put the file itself there")
    if not path.is_file():
        raise missing
    if path.stat().st_size > MAX_FILE_BYTES:
        raise CollectionError(f"{source} has {path.stat().st_size / 1024**3:.1f} GB; export fewer records")
    return path.open("rb")


def read_meta(root: Path | zipfile.Path, name: str) -> ElementTree.Element:
    """Read `meta.xml`, without entities and within bounds.

    Raises:
        CollectionError: it is missing, too large, no XML, or declares a document type.
    """
    if not (root / "meta.xml").is_file():
        raise CollectionError(f"{name} has no meta.xml, so it is no Darwin Core Archive; give the table itself")
    with open_archive_file(root, "meta.xml", name) as file:
        content = file.read(MAX_META_BYTES + 1)
    if len(content) > MAX_META_BYTES:
        raise CollectionError(f"{name}/meta.xml has more than 1 MB, as none does; export the archive again")
    try:
        _refuse_document_type(content, name)
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, expat.ExpatError, LookupError, UnicodeError) as error:
        raise CollectionError(f"{name}/meta.xml is not valid XML ({error}); export the archive again") from error
    except CollectionError:
        raise
    except ValueError as error:
        raise CollectionError(f"{name}/meta.xml is not valid XML ({error}); export the archive again") from error


def _refuse_document_type(content: bytes, name: str) -> None:
    """Refuse a document type: its entities may expand to gigabytes."""

    def refuse(*_: object) -> None:
        raise CollectionError(f"{name}/meta.xml declares a document type, which none does; export the archive again")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)
