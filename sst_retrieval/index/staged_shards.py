"""Shards that another process makes, perhaps on another machine: written beside their places, and put there later.

The process writes the shard, and the small pictures of its photographs as a pack of their own, under temporary names
in the index folder (`stage_shard`). The build, which holds the lock and has reserved the number of the shard, moves
both to their places (`Store.adopt`). Of a build that is killed in between, only files with temporary names are left,
which the next one removes; so a process that outlives its build can never add anything to the index.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sst_retrieval.files import atomic_write, remove
from sst_retrieval.index.checksums import FileChecksum, compute_checksum
from sst_retrieval.index.disk import explain_disk_errors
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.picture_pack import PackRow, write_rows
from sst_retrieval.index.shards import EmptyRow, ShardRow, check_rows, write_shard


@dataclass(frozen=True, slots=True)
class StagedShard:
    """A shard that waits to be put into its place.

    Attributes:
        shard: its temporary file.
        checksum: of that.
        photographs: how many it has rows of.
        pictures: the pack of their small pictures, a temporary file; None if there are none.
    """

    shard: Path
    checksum: FileChecksum
    photographs: int
    pictures: Path | None


def stage_shard(
    paths: IndexPaths,
    rows: Sequence[ShardRow],
    *,
    notes: Mapping[str, Any],
    empty: Sequence[EmptyRow],
    pictures: Sequence[PackRow],
    blocks: Mapping[str, int],
) -> StagedShard:
    """Write a shard and its pictures beside their places.

    Args:
        paths: of the index.
        rows, notes, empty: as for `Store.append`.
        pictures: of the photographs in the rows.
        blocks: name of a block -> its numbers, as the index has them.

    Returns:
        The files; they survive a crash of this machine, until the build removes them.

    Raises:
        ValueError: a vector is not what the index holds, or a region is given twice.
        IndexFolderError: the files cannot be written.
    """
    check_rows(rows, blocks)
    name = f".{uuid.uuid4().hex}.staged.tmp"
    shard = paths.shard_file(0).with_name(name)
    pack = paths.pictures_file.with_name(name)
    with explain_disk_errors(paths.root):
        with atomic_write(shard) as temporary:
            write_shard(temporary, rows, notes, empty)
            checksum = compute_checksum(temporary)
        if pictures:
            # SQLite works on a disk of this machine: the folder of the index may be on one that locks files badly.
            with tempfile.TemporaryDirectory(prefix="sst-retrieval-") as folder, atomic_write(pack) as temporary:
                local = Path(folder, "pictures.sqlite")
                write_rows(local, pictures)
                shutil.copyfile(local, temporary)
    photographs = {region.photograph for region, _, _ in rows} | {name for name, _, _ in empty}
    return StagedShard(shard, checksum, len(photographs), pack if pictures else None)


def remove_staged(staged: StagedShard) -> None:
    """Remove a shard that will not be put into its place, and its pictures."""
    for path in (staged.shard, staged.pictures):
        if path is not None:
            remove(path)
