"""The checksums of shards, `shards/checksums.jsonl`: one line a shard, appended after the shard is in its place.

    {"shard": 3, "specimens": 12, "size": ..., "ends": ..., "sha256": ..., "checksum": ...}
    {"shard": 3, "dropped": true, "checksum": ...}      the shard is not there any more, on purpose

Of two lines of one shard the last one counts. Each line has a checksum of its own, over its other entries. If a build
is killed after a shard was written and before its line was, the shard is not lost: the next build reads it wholly
(Parquet has checksums of its pages) and writes the line. Shards of versions that wrote no such file get their lines
that way, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.checksums import FileChecksum, find_unreadable, hash_json, is_sha256, parse_json

_TAIL = 4096
"""Bytes that are read at once when the end of the record is looked for."""


@dataclass(frozen=True, slots=True)
class ShardChecksum:
    """One line of the record.

    Attributes:
        shard: its number.
        file: its checksum; None if it was dropped.
        specimens: how many specimens it has rows of.
    """

    shard: int
    file: FileChecksum | None
    specimens: int = 0

    def to_line(self) -> str:
        """Write as one line."""
        fields: dict[str, Any] = {"shard": self.shard}
        fields |= {"dropped": True} if self.file is None else {"specimens": self.specimens, **self.file.to_json()}
        return json.dumps({**fields, "checksum": hash_json(fields)}) + "\n"


def append_shard_checksums(path: Path, checksums: Iterable[ShardChecksum]) -> None:
    """Append lines to the record; once this returns they survive a crash.

    Args:
        path: the record; its folder exists.
        checksums: in their order.
    """
    lines = "".join(one.to_line() for one in checksums).encode()
    if not lines:
        return
    with path.open("ab+") as file:
        file.truncate(_find_end(file))  # A line that a crash cut short: its shard is read wholly again.
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def _find_end(file: BinaryIO) -> int:
    """Find the end of the last whole line, from the end of the file: there may be a million lines."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _TAIL)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def read_shard_checksums(path: Path) -> dict[int, ShardChecksum]:
    """Read the record: number of the shard -> its last line. Empty if there is no file.

    Raises:
        IndexFolderError: a line is damaged.
    """
    lines, damaged = scan_shard_checksums(path)
    if damaged:
        raise IndexFolderError(
            f"{path}, line {damaged[0]} is damaged: the checksum of a shard is lost, not the shard; "
            f"sst-retrieval verify {path.parent.parent} --repair reads the shard wholly and writes the line again"
        )
    return lines


def scan_shard_checksums(path: Path) -> tuple[dict[int, ShardChecksum], list[int]]:
    """Read the record: number of the shard -> its last line; and the numbers of damaged lines, counted from 1.

    Raises:
        IndexFolderError: the file cannot be read.
    """
    wrong = find_unreadable(path)
    if wrong == "is missing":
        return {}, []
    if wrong is not None:
        raise IndexFolderError(f"{path} {wrong}; remove it: sst-retrieval verify {path.parent.parent} --repair")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise IndexFolderError(f"{path} cannot be read ({error.strerror}); check that you may read it") from error
    found: dict[int, ShardChecksum] = {}
    damaged = []
    *lines, rest = text.split(b"\n")
    # What follows the last line end was cut short by a crash, unless only its line end is damaged.
    if _is_line(rest[:-1]):
        lines.append(rest)
    for number, line in enumerate(lines, start=1):
        try:
            one = _parse_line(line)
        except (ValueError, KeyError, TypeError):
            damaged.append(number)
        else:
            found[one.shard] = one
    return found, damaged


def _is_line(line: bytes) -> bool:
    try:
        _parse_line(line)
    except (ValueError, KeyError, TypeError):
        return False
    return True


def _parse_line(line: bytes) -> ShardChecksum:
    fields = parse_json(line.decode())
    if not isinstance(fields, dict) or not is_sha256(fields.get("checksum")):
        raise ValueError("not a line of the record")
    shard, specimens = fields["shard"], fields.get("specimens", 0)
    if type(shard) is not int or type(specimens) is not int:
        raise ValueError("not a line of the record")
    file = None
    if not fields.get("dropped"):
        file = FileChecksum.from_json({name: fields[name] for name in ("size", "ends", "sha256")})
    one = ShardChecksum(shard, file, specimens)
    if one.to_line().encode() != line + b"\n":
        raise ValueError("not as it was written")
    return one
