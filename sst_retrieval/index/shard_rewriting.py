"""Write shards anew: those of earlier versions, whose vectors cannot be read in place, and very many small ones.

What they hold stays the same: the newest rows of every photograph, in the order of the shards, and which photographs
were removed. Every new shard is read again and compared, bit by bit, before it takes its place. New shards have higher
numbers, so that each replaces what it was made of. Whenever this is interrupted, both are there and say the same; the
old ones are removed by the commit that names the first of the new ones (`Recipe.first_shard`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.generation import SELECT_MADE, connect
from sst_retrieval.index.shards import (
    count_rows,
    has_plain_vectors,
    read_notes,
    read_rows,
    write_rows,
    write_tombstones,
)

LEAST_ROWS = 1000
"""Shards with fewer rows in all stay as they are."""

MOST_SHARDS = 500
"""More shards are joined when an epoch begins; each is an open file of a reader."""

MOST_OPEN = 1000
"""A commit that would leave more shards is a full one."""

ROWS = 20_000
"""Rows of a new shard, about."""

NewShard = Callable[[Sequence[str]], AbstractContextManager[tuple[Path, Path]]]
"""Makes the next shard, of these photographs: lends the path to write to, and the one that it gets."""


def must_be_rewritten(shards: Sequence[Path]) -> bool:
    """Say whether vectors cannot be read in place, or only in very many files.

    Args:
        shards: all of an index.

    Raises:
        IndexFolderError: one cannot be read.
    """
    rows = sum(map(count_rows, shards))
    many = len(shards) > MOST_SHARDS and rows < ROWS * MOST_SHARDS
    return rows >= LEAST_ROWS and (many or not all(has_plain_vectors(path) for path in shards))


def rewrite_shards(shards: Sequence[Path], scratch: Path, new_shard: NewShard) -> list[Path]:
    """Write what shards hold into new ones.

    Args:
        shards: all of an index, a higher number is newer; at least one.
        scratch: folder to spill to; made if it is needed.
        new_shard: makes the next shard.

    Returns:
        The new shards.

    Raises:
        IndexFolderError: a shard cannot be read.
        OSError: a new one cannot be written.
    """
    with connect(shards, scratch) as connection:
        made = connection.sql(f"SELECT photograph, shard, removed FROM ({SELECT_MADE})").to_arrow_table()
    notes: dict[str, Any] = {name: note for path in shards for name, note in read_notes(path).items()}
    written = []
    for table in _join(_select_newest(shards, made)):
        with new_shard(table["photograph"].unique().to_pylist()) as (temporary, path):
            write_rows(temporary, table, notes)
            stored = read_rows(temporary)
            if not all(is_same(stored[name], table[name]) for name in table.column_names):
                raise IndexFolderError(
                    f"{path} cannot be written as it is to be read; nothing was changed: check the disk"
                )
        written.append(path)
        notes = {}
    gone = made.filter(made["removed"])["photograph"].to_pylist()
    if gone or not written:
        with new_shard(gone) as (temporary, path):
            write_tombstones(temporary, gone, notes)
        written.append(path)
    return written


def is_same(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    """Say whether two columns hold the same values, to the last bit: of numbers that are none (NaN), too."""
    return one.type == other.type and len(one) == len(other) and _is_same(_join_chunks(one), _join_chunks(other))


def _is_same(one: pa.Array, other: pa.Array) -> bool:
    if len(one) != len(other) or not one.is_valid().equals(other.is_valid()):
        return False
    one, other = one.drop_null(), other.drop_null()
    if pa.types.is_floating(one.type):
        kind = f"u{one.type.bit_width // 8}"
        return bool(np.array_equal(one.to_numpy().view(kind), other.to_numpy().view(kind)))
    if pa.types.is_map(one.type):
        lists = pa.list_(pa.struct([("key", one.type.key_type), ("value", one.type.item_type)]))
        return _is_same(one.cast(lists), other.cast(lists))
    if pa.types.is_list(one.type):
        same = pc.list_value_length(one).equals(pc.list_value_length(other))
        return bool(same) and _is_same(one.flatten(), other.flatten())
    if pa.types.is_struct(one.type):
        return all(_is_same(a, b) for a, b in zip(one.flatten(), other.flatten(), strict=True))
    return bool(one.equals(other))


def _join_chunks(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _select_newest(shards: Sequence[Path], made: pa.Table) -> Iterator[pa.Table]:
    """Read the rows of each shard that no other replaces."""
    for path in shards:
        own = made.filter(pc.equal(made["shard"], int(path.stem)))
        if len(own):
            rows = read_rows(path)
            newest = pc.and_(
                pc.is_in(rows["photograph"], own["photograph"].cast(pa.string())), pc.invert(rows["removed"])
            )
            yield rows.filter(newest)


def _join(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Join tables until they have enough rows."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting)
