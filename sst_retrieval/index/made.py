"""What the newest rows of each photograph were made from: read from shards, or from the catalog made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from sst_retrieval.index.duck import SandboxedDatabase
from sst_retrieval.index.generation import SELECT_MADE, connect
from sst_retrieval.index.paths import choose_base

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
    with SandboxedDatabase(path, choose_base(path)) as catalog:
        return {
            name: (content, supports, removed) for name, content, supports, removed in catalog.rows(f"{_SELECT} made")
        }


def list_made(shards: Sequence[Path], scratch: Path) -> pa.Table:
    """List the photographs of shards, in Arrow's memory: photograph, removed.

    As `read_made`, but in a tenth of the memory.
    """
    if not shards:
        return pa.table({"photograph": pa.array([], pa.string()), "removed": pa.array([], pa.bool_())})
    with connect(shards, scratch) as connection:
        return connection.sql(f"SELECT photograph, removed FROM ({SELECT_MADE})").to_arrow_table()


def list_made_in_catalog(path: Path) -> pa.Table:
    """List the photographs that a catalog knows, as `list_made` does."""
    with SandboxedDatabase(path, choose_base(path)) as catalog, catalog.cursor() as cursor:
        return cursor.sql("SELECT photograph, removed FROM made").to_arrow_table()


def read_notes_in_catalog(path: Path) -> dict[str, Any]:
    """Read what the shards noted that a catalog was made of.

    Raises:
        IndexFolderError: it cannot be read.
    """
    with SandboxedDatabase(path, choose_base(path)) as catalog:
        return {name: json.loads(note) for name, note in catalog.rows("SELECT name, note FROM notes ORDER BY name")}
