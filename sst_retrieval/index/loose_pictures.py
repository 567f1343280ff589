"""Small pictures on their way into the pack: one file an individual, written by whichever worker made them.

Workers may be many, and on many machines; the pack has one writer. So a worker writes a file in one step, and the build
puts it into the pack when the shard of its photograph is written (`pack_pictures`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from sst_retrieval.files import atomic_write
from sst_retrieval.index.checksums import find_unreadable, is_sha256, parse_json
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.picture_pack import (
    MAX_BYTES,
    DamagedPackError,
    PackRow,
    Pictures,
    decode_row,
    encode_row,
    write_rows,
)

_BATCH = 256
"""Individuals whose pictures are put into the pack at once."""


def write_loose_pictures(paths: IndexPaths, individual: str, pictures: Pictures) -> None:
    """Write the pictures of an individual, in place of what was written before; the file appears whole or not at all.

    Raises:
        IndexFolderError: their folder is a link out of the index.
        OSError: the file cannot be written.
    """
    path = paths.loose_pictures_file(individual)
    paths.require_inside(path.parent)
    contents, checksum, data = encode_row(individual, pictures)
    head = json.dumps({"individual": individual, "contents": contents, "checksum": checksum.hex()})
    with atomic_write(path) as temporary:
        temporary.write_bytes(head.encode() + b"\n" + data)


def pack_pictures(paths: IndexPaths, individuals: Iterable[str] | None = None) -> list[str]:
    """Put loose pictures into the pack. If it is interrupted, they are put there again.

    Args:
        paths: of the index, whose lock is held.
        individuals: whose; None takes all.

    Returns:
        Whose pictures were put there.

    Raises:
        OSError: the pack cannot be written.
        IndexFolderError: another program does not let go of it.
    """
    if individuals is None:
        files = paths.list_loose_pictures()
    else:
        files = map(paths.loose_pictures_file, dict.fromkeys(individuals))
    packed: list[str] = []
    while batch := list(islice(files, _BATCH)):
        found = [path for path in batch if find_unreadable(path) is None]
        if found:
            write_rows(paths.pictures_file, _note_names(_read(found), packed))
        for path in found:
            path.unlink()
    return packed


def read_loose_pictures(paths: IndexPaths) -> list[PackRow]:
    """Read all loose pictures, as rows of a pack."""
    return list(_read(paths.list_loose_pictures()))


def _note_names(rows: Iterable[PackRow], names: list[str]) -> Iterator[PackRow]:
    for row in rows:
        names.append(row[0])
        yield row


def _read(files: Iterable[Path]) -> Iterator[PackRow]:
    """Read loose pictures; what is damaged is left out, and made again at the end of the build."""
    for path in files:
        if path.stat().st_size > 2 * MAX_BYTES:
            continue
        head, _, data = path.read_bytes().partition(b"\n")
        try:
            fields = parse_json(head)
            individual, contents, checksum = (fields[name] for name in ("individual", "contents", "checksum"))
            if is_sha256(checksum):
                row = individual, contents, bytes.fromhex(checksum), data
                decode_row(*row)
                yield row
        except (ValueError, KeyError, TypeError, DamagedPackError):
            continue
