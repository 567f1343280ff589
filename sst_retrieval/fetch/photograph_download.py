"""Download one photograph: into a partial file that is resumed, within bounds, and only if it is what it should be.

    .NAME.part         what was received so far
    .NAME.part.tag     the server's entity tag: only an unchanged file is continued

1. A length that is said beforehand and too large is refused before anything is read; what is not said is counted.
2. The type is that of the first bytes. What the server says it is decides nothing, except that it said a web page.
3. The picture's header must be read and its size lie within bounds. Where the server said no length, the photograph is
   decoded: it could have been cut short unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from urllib3 import BaseHTTPResponse

from sst_retrieval.errors import FetchError, ImageError
from sst_retrieval.fetch.client import Client, RefusedError, TemporaryError
from sst_retrieval.fetch.iiif import MAX_DOCUMENT_BYTES
from sst_retrieval.fetch.networks import WebAddress
from sst_retrieval.files import hash_file, remove
from sst_retrieval.imaging.images import MAX_PIXELS, image_size, read_image

BLOCK = 1 << 18
MIN_SIDE = 16
"""Pixels; smaller pictures are placeholders (a pixel that counts readers, an icon)."""

_FIRST_BYTES = (
    # (offset, bytes, suffix)
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"II*\x00", ".tif"),
    (0, b"MM\x00*", ".tif"),
    (0, b"II+\x00", ".tif"),
    (0, b"MM\x00+", ".tif"),
    (8, b"WEBP", ".webp"),
    (4, b"jP  \r\n\x87\n", ".jp2"),
    (0, b"BM", ".bmp"),
    (0, b"GIF8", ".gif"),
    (4, b"ftyphei", ".heic"),
    (4, b"ftypmif1", ".heic"),
)


@dataclass(frozen=True, slots=True)
class Received:
    """What came from an address.

    Attributes:
        path: the partial file, complete now; None if it was a document.
        suffix: by the first bytes, such as ".jpg".
        address: where it came from, redirects followed.
        sha256: of the content, hexadecimal.
        size: in bytes.
        height, width: in pixels, upright.
        document: JSON text, if it was that and no photograph.
    """

    path: Path | None
    suffix: str
    address: str
    sha256: str
    size: int
    height: int
    width: int
    document: bytes | None = None


def download(client: Client, address: str, part: Path, *, max_bytes: int) -> Received:
    """Download a photograph, or a IIIF document.

    Args:
        client: asks the server.
        address: of the photograph.
        part: the partial file; nothing else may be written to it.
        max_bytes: the largest file that is kept.

    Raises:
        FetchError: it cannot be had, or is no photograph within the bounds.
        OSError: the disk does not take it.
        StoppedError: the run ends; what was received is kept.
    """
    tag_file = part.with_name(f"{part.name}.tag")

    def resume_headers() -> dict[str, str]:
        if not (part.is_file() and tag_file.is_file() and (have := part.stat().st_size)):
            return {}
        return {"Range": f"bytes={have}-", "If-Range": tag_file.read_text(encoding="latin-1")}

    def read(answer: BaseHTTPResponse, source: WebAddress) -> Received:
        try:
            return _read(client, answer, source, part, tag_file, max_bytes)
        except FetchError:  # It is not what it should be: nothing of it is continued.
            remove(part)
            remove(tag_file)
            raise

    try:
        received = client.get(address, read, resume_headers)
    except RefusedError as error:
        if error.status != 416 or not part.is_file():
            raise
        # Complete already, or the file has become shorter: from the beginning, then it is certain.
        remove(part)
        received = client.get(address, read, resume_headers)
    remove(tag_file)
    return received


def _read(
    client: Client, answer: BaseHTTPResponse, source: WebAddress, part: Path, tag_file: Path, max_bytes: int
) -> Received:
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("application/json", "application/ld+json", "text/json"):
        document = answer.read(MAX_DOCUMENT_BYTES + 1)
        if len(document) > MAX_DOCUMENT_BYTES:
            raise FetchError(f"{source} answers with more than {MAX_DOCUMENT_BYTES // 1024**2} MB of JSON")
        return Received(None, "", str(source), "", len(document), 0, 0, document)
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FetchError(f"{source} answers compressed ({answer.headers['Content-Encoding']}), which was not asked for")
    resumed = answer.status == 206
    have = part.stat().st_size if resumed else 0
    if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        remove(part)
        raise TemporaryError(f"{source.origin} continues a file at another place than asked")
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length is not None and length.isdecimal() else None
    if total is not None and total > max_bytes:
        raise FetchError(f"{source} has {total / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} are taken (--max-mb)")
    tag = answer.headers.get("ETag", "")
    if tag.startswith('"'):  # A strong one: the same tag is the same bytes.
        tag_file.write_text(tag, encoding="latin-1")
    else:
        remove(tag_file)
    with part.open("ab" if resumed else "wb") as file:
        first = b"" if not resumed else part.read_bytes()[:16]
        for block in answer.stream(BLOCK):
            client.check_stop()
            have += len(block)
            if len(first) < 16:
                first = (first + block)[:16]
                if len(first) == 16:
                    _find_suffix(first, source, kind)
            if have > max_bytes:
                file.truncate(0)
                raise FetchError(f"{source} sends more than {max_bytes / 1e6:,.0f} MB (--max-mb)")
            file.write(block)
    known_length = total is not None or answer.headers.get("Transfer-Encoding", "").lower() == "chunked"
    return _check(part, source, kind, decode=not known_length)


def _find_suffix(first: bytes, source: WebAddress, kind: str) -> str:
    """Return the suffix of a photograph by its first bytes.

    Raises:
        FetchError: it is none.
    """
    for offset, mark, suffix in _FIRST_BYTES:
        if first[offset : offset + len(mark)] == mark:
            return suffix
    if kind in ("text/html", "application/xhtml+xml") or first.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise FetchError(f"{source} is a web page, not a photograph; the photograph's own address is needed")
    raise FetchError(f"{source} is no photograph (first bytes {first[:8].hex(' ')}; the server calls it {kind or '?'})")


def _check(part: Path, source: WebAddress, kind: str, *, decode: bool) -> Received:
    """Check what was received.

    Raises:
        FetchError: it is no photograph, or one of an impossible size; the partial file is removed.
    """
    try:
        with part.open("rb") as file:
            suffix = _find_suffix(file.read(16), source, kind)
        height, width = image_size(part)
        if decode:
            read_image(part)
    except (FetchError, ImageError) as error:
        remove(part)
        if isinstance(error, FetchError):
            raise
        raise FetchError(
            f"{source} is damaged or no photograph: {str(error).replace(str(part), 'the file')}"
        ) from error
    if min(height, width) < MIN_SIDE or height * width > MAX_PIXELS:
        remove(part)
        raise FetchError(f"{source} has {width} x {height} pixels; {MIN_SIDE} x {MIN_SIDE} to {MAX_PIXELS:,} are taken")
    return Received(part, suffix, str(source), hash_file(part), part.stat().st_size, height, width)
