"""Checksums: of the files of an index (size, both ends, content), and of JSON values.

A file is checked in two ways. When an index is opened: its size, and the SHA-256 of its first and last 4 KiB. When a
build reads source data, and when a person asks for it (`sst-retrieval verify`): the SHA-256 of all of it, at about
0.8 GB a second. A JSON value is identified by the SHA-256 of its canonical form, which leaves out white space and the
order of names.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from sst_retrieval.errors import IndexFolderError

END_BYTES = 4096
"""How much of either end of a file is checked when an index is opened."""

_CHUNK = 1 << 20
_HEX = frozenset("0123456789abcdef")
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


@dataclass(frozen=True, slots=True)
class FileChecksum:
    """What a file must be.

    Attributes:
        size: in bytes.
        ends: SHA-256 of its first and last `END_BYTES` bytes.
        sha256: SHA-256 of its content.
    """

    size: int
    ends: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return the checksum in JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read a checksum.

        Raises:
            ValueError: the value is not one.
        """
        if not isinstance(value, Mapping) or value.keys() != {"size", "ends", "sha256"}:
            raise ValueError("not a checksum of a file")
        size, hashes = value["size"], (value["ends"], value["sha256"])
        if type(size) is not int or size < 0 or not all(map(is_sha256, hashes)):
            raise ValueError("not a checksum of a file")
        return cls(size, *hashes)


def is_sha256(value: Any) -> bool:
    """Say whether a JSON value is a SHA-256 in hexadecimal digits."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= _HEX


def compute_checksum(path: Path) -> FileChecksum:
    """Compute the checksum of a file.

    Raises:
        OSError: it cannot be read.
    """
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
        size = file.tell()
        return FileChecksum(size, _hash_ends(file, size), whole.hexdigest())


def find_difference(path: Path, expected: FileChecksum, *, whole: bool) -> str | None:
    """Compare a file with its checksum.

    Args:
        path: of the file.
        expected: what it must be.
        whole: read all of it; else its size and both ends only.

    Returns:
        What is wrong, to stand behind the path in a sentence ("is missing"); None if nothing is.
    """
    wrong = find_unreadable(path)
    if wrong is not None:
        return wrong
    try:
        size = path.stat().st_size
        if size != expected.size:
            return f"has {size} bytes instead of {expected.size}"
        if whole:
            return None if compute_checksum(path) == expected else "has changed since it was written"
        with path.open("rb") as file:
            return None if _hash_ends(file, size) == expected.ends else "has changed since it was written"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def find_unreadable(path: Path) -> str | None:
    """Say why a path cannot be a file of an index ("is missing", "is a pipe, not a file"); None if it can."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if stat.S_ISREG(mode):
        return None
    kind = next((name for test, name in _KINDS if test(mode)), "something else")
    return f"is {kind}, not a file"


def require_file(path: Path, remedy: str) -> Path:
    """Return a path if it is a regular file; opening a pipe would wait for ever, and a device never ends.

    Args:
        path: of the file.
        remedy: what to do if it is not one, as the end of the sentence.

    Raises:
        IndexFolderError: it is missing, or a folder, a pipe or a device.
    """
    wrong = find_unreadable(path)
    if wrong is not None:
        raise IndexFolderError(f"{path} {wrong}; {remedy}")
    return path


def hash_json(value: Any) -> str:
    """Return the SHA-256 of the canonical form of a JSON value.

    Raises:
        ValueError: it holds NaN or an infinity.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def parse_json(text: str | bytes) -> Any:
    """Parse JSON; NaN and infinities are none, and neither is a value that is nested too deep.

    Raises:
        ValueError: it is no JSON; says where.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _hash_ends(file: Any, size: int) -> str:
    """Hash the first and the last bytes of an open file; of a small one, all bytes once."""
    file.seek(0)
    ends = hashlib.sha256(file.read(END_BYTES))
    file.seek(max(END_BYTES, size - END_BYTES))
    ends.update(file.read(END_BYTES))
    return ends.hexdigest()


def sync_file(path: Path) -> None:
    """Wait until the content of a file is on disk."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
