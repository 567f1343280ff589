"""The photographs of a table, made of its columns when they are asked for, so that a million rows fit into memory.

As objects of their own, with a path and a dictionary of cells each, they would take several times as much.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sst_retrieval.collection.packed_columns import pack_arrays, pack_columns
from sst_retrieval.collection.photograph_names import PhotographName
from sst_retrieval.collection.specimen_table import TableRow
from sst_retrieval.types import Box, Photograph, Scalar

_AT_ONCE = 4096


class TablePhotographs(Sequence[Photograph]):
    """Photographs in the order of their table.

    Attributes:
        groups: of each photograph.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[Scalar]],
        *,
        names: Mapping[int, PhotographName],
        paths: Sequence[Path],
        groups: Sequence[str],
        places: Mapping[int, Box | int],
    ) -> None:
        """Take over the columns, which must stay as they are.

        Args:
            columns: of the table; those of a large one are moved into a file (`collection.packed_columns`).
            names: position of a row in the columns -> what it is called, in the order of the photographs.
            paths: absolute path of each photograph.
            groups: of each photograph.
            places: position of a row in the columns -> where its individual is, if the table says it.
        """
        self.groups = groups
        self._columns, self._places = pack_columns(columns), places
        self._rows = array("q", names)
        # Arrow keeps texts one after the other: an eighth of what so many Python objects take.
        self._views = pa.array((each.view for each in names.values()), pa.large_string()).dictionary_encode()
        self._ids, self._specimens, self._paths = pack_arrays(
            [
                pa.array((each.id for each in names.values()), pa.large_string()),
                pa.array((each.specimen for each in names.values()), pa.large_string()),
                pa.array(map(str, paths), pa.large_string()),
            ]
        )

    def __len__(self) -> int:
        """Count the photographs."""
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Photograph: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Photograph]: ...
    def __getitem__(self, index: int | slice) -> Photograph | Sequence[Photograph]:
        """Make one photograph, or a tuple of several."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return tuple(self._make(start, stop)) if step == 1 else tuple(self[at] for at in range(start, stop, step))
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"there are {len(self)} photographs, and none at {index}")
        return next(self._make(at, at + 1))

    def __iter__(self) -> Iterator[Photograph]:
        """Make one photograph after the other."""
        return chain.from_iterable(self._make(start, start + _AT_ONCE) for start in range(0, len(self), _AT_ONCE))

    def __eq__(self, other: object) -> bool:
        """Compare with other photographs, in their order."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Say how many there are."""
        return f"<{len(self):,} photographs of a table>"

    @property
    def ids(self) -> pa.Array:
        """The ids of all photographs: Arrow's large strings."""
        return self._ids

    def texts(self, start: int, stop: int) -> dict[str, pa.Array]:
        """Return id, specimen, image, group and view of some photographs: name -> Arrow's strings."""
        own = {"id": self._ids, "specimen": self._specimens, "image": self._paths, "view": self._views}
        found = {name: each[start:stop].cast(pa.string()) for name, each in own.items()}
        found["specimen"] = pc.if_else(pc.equal(found["specimen"], ""), found["id"], found["specimen"])
        return {**found, "group": pa.array(self.groups[start:stop], pa.string())}

    def values(self, column: str, start: int, stop: int) -> Sequence[Scalar]:
        """Return the values that a column of the table has in the rows of some photographs."""
        own, rows = self._columns[column], self._rows[start:stop]
        if len(rows) and bool((np.diff(np.asarray(rows)) == 1).all()):
            return own[rows[0] : rows[-1] + 1]
        return [own[row] for row in rows]

    def _make(self, start: int, stop: int) -> Iterator[Photograph]:
        texts = [each[start:stop].to_pylist() for each in (self._ids, self._paths, self._specimens, self._views)]
        rows, groups = self._rows[start:stop], self.groups[start:stop]
        for row, group, name, path, specimen, view in zip(rows, groups, *texts, strict=True):
            metadata = TableRow(self._columns, row)
            yield Photograph(name, Path(path), group, metadata, specimen, view, self._places.get(row))
