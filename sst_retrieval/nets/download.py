"""Downloads over HTTP that resume where they were interrupted."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast
from urllib.error import HTTPError

from sst_retrieval.files import remove

BLOCK = 1 << 20
"""Bytes that are read at a time."""

TIMEOUT = 30.0
"""Seconds without an answer after which a download fails."""


def resume(url: str, part: Path, progress: Callable[[int, int | None], None]) -> None:
    """Download into a file, or complete a partial download.

    A partial file is continued if the server's file is still the same (by its entity tag, which is stored beside the
    partial file); otherwise the download starts again from the beginning.

    Args:
        url: http or https.
        part: the file; nothing else may be written to it.
        progress: is called with the bytes received so far and in all (None: the server does not say).

    Raises:
        OSError: no connection, the server refuses, or the connection was interrupted; what was received is kept.
    """
    tag_file = part.with_name(part.name + ".tag")
    have = part.stat().st_size if part.is_file() and tag_file.is_file() else 0
    tag = tag_file.read_text(encoding="ascii") if have else ""
    try:
        with _open(url, have, tag) as answer:
            if have and answer.status != HTTPStatus.PARTIAL_CONTENT:
                have = 0  # The file has changed, or the server cannot resume.
            total = _total(answer, have)
            _store_tag(tag_file, answer.headers.get("ETag", ""))
            _receive(answer, part, have, total, progress)
    except HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            # The file is complete already, or has become shorter: the checksum will tell.
            error.close()
        else:
            error.close()
            raise OSError(f"{url} answers {error.code} {error.reason}") from error
    except HTTPException as error:
        raise OSError(f"{url} gives no sensible answer ({type(error).__name__})") from error
    remove(tag_file)


def _open(url: str, have: int, tag: str) -> HTTPResponse:
    if not url.startswith(("https://", "http://")):
        raise OSError(f"{url} is no address of a web server")
    headers = {"User-Agent": "sst-retrieval", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    return cast(HTTPResponse, urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT))


def _total(answer: HTTPResponse, have: int) -> int | None:
    length = answer.headers.get("Content-Length")
    return have + int(length) if length is not None and length.isdigit() else None


def _store_tag(tag_file: Path, tag: str) -> None:
    """Store the entity tag; without a strong one a download cannot be resumed safely, so none is stored."""
    if tag.startswith('"'):
        tag_file.write_text(tag, encoding="ascii")
    else:
        remove(tag_file)


def _receive(
    answer: HTTPResponse, part: Path, have: int, total: int | None, progress: Callable[[int, int | None], None]
) -> None:
    with part.open("ab" if have else "wb") as file:
        progress(have, total)
        # read1, unlike read, returns what was received before an interruption.
        while block := answer.read1(BLOCK):
            file.write(block)
            have += len(block)
            progress(have, total)
    if total is not None and have < total:
        raise OSError(f"the connection was cut after {have:,} of {total:,} bytes; the same command goes on from there")
