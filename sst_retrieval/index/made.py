"""What the newest rows of each photograph were made from: read from shards, or from the catalog made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import duckdb

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.generation import SELECT_MADE, connect

Made: TypeAlias = tuple[str, str, bool]
"""SHA-256 of the photograph's content, hash of the supports its masks were made from, and whether it was removed."""

_SELECT = "SELECT photograph, content_hash, support_hash, removed FROM"


def read_made(shards: Sequence[Path], scratch: Path) -> dict[str, Made]:
    """Read from shards, without reading a vector.

    Args:
        shards: files of `index.shards.write_shard`; a higher number is newer.
        scratch: folder to spill to; made if it is needed.

    Returns:
        photograph -> what its newest rows were made from.

    Raises:
        IndexFolderError: a shard cannot be read.
    """
    if not shards:
        return {}
    with connect(shards, scratch) as connection:
        rows = connection.execute(f"{_SELECT} ({SELECT_MADE})").fetchall()
    return {name: (content, supports, removed) for name, content, supports, removed in rows}


def read_made_in_catalog(path: Path) -> dict[str, Made]:
    """Read what stands in a catalog: photograph -> what its newest rows were made from.

    Raises:
        IndexFolderError: it cannot be read.
    """
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            rows = connection.execute(f"{_SELECT} made").fetchall()
    except duckdb.Error as error:
        raise IndexFolderError(f"{path} cannot be read; run the build again with --refit: {error}") from error
    return {name: (content, supports, removed) for name, content, supports, removed in rows}


def list_made_in_catalog(path: Path) -> set[str]:
    """List the photographs that a catalog says are indexed; as `read_made_in_catalog`, but in a tenth of the memory."""
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            found = connection.execute("SELECT photograph FROM made WHERE NOT removed").fetchnumpy()
    except duckdb.Error as error:
        raise IndexFolderError(f"{path} cannot be read; run the build again with --refit: {error}") from error
    return set(found["photograph"].tolist())


def has_made(path: Path) -> bool:
    """Say whether a catalog has what `read_made_in_catalog` reads; those of early versions do not."""
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'made'").fetchall()
    return bool(found[0][0])
