"""Whose a region is: looked up in mapped files within microseconds, where the catalog would need milliseconds.

Written with a generation, from its catalog, and of no use without it:

    owners/lines.jsonl       one line an individual, in order of ids: id, photograph, specimen, the columns of the table
    owners/starts.npy        int64 (m + 1,), where each line starts
    owners/individuals.npy   int32 (n,), of every region, in order of region ids, the line of its individual
    owners/confidences.npy   float64 (n,), of every region's mask
    owners/traits.json       trait -> its first region id, and the one after its last; a list of such ranges after
                             additions (see `index.epochs`)
    owners/removed.npy       int64, region ids that are of no region any more; there after additions only

Regions are numbered by trait, then individual, so the lines of a range's regions ascend. A generation without these
files (of an early version, or of a collection with columns of types that have no plain JSON form) is asked by SQL.
"""

from __future__ import annotations

import datetime
import io
import json
import mmap
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.files import write_text
from sst_retrieval.index.duck import quote_name
from sst_retrieval.types import Scalar

PLAIN_TYPES = frozenset(
    [
        *("VARCHAR", "BOOLEAN", "DOUBLE", "FLOAT", "DATE", "TIMESTAMP", "HUGEINT"),
        *(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG")),
        *("INTEGER", "UINTEGER"),
    ]
)
"""Types of columns whose values are the same after they were written as JSON and read again."""

_BATCH = 10_000
_BEGINNING = '["'
_REMEDY = "run the build again to make it anew"


class Owner(NamedTuple):
    """Whose a region is.

    Attributes:
        individual: id of the individual.
        photograph: id of the photograph that it is on.
        specimen: catalogue number of the specimen.
        confidence: 0..1, of the region's mask.
        metadata: the row of the collection.
    """

    individual: str
    photograph: str
    specimen: str
    confidence: float
    metadata: dict[str, Scalar]


def write_owners(folder: Path, connection: duckdb.DuckDBPyConnection, columns: Sequence[tuple[str, str]]) -> None:
    """Write whose the regions of a catalog are; nothing if a column has a type without a plain JSON form.

    Args:
        folder: to write into; made.
        connection: to the catalog.
        columns: of the collection: name, and DuckDB type.

    Raises:
        OSError: a file cannot be written.
    """
    if any(kind not in PLAIN_TYPES for _, kind in columns):
        return
    folder.mkdir()
    own = "".join(f", {quote_name(name)}" for name, _ in columns)
    starts = [0]
    with (folder / "lines.jsonl").open("wb") as file:
        cursor = connection.execute(
            f'SELECT "sst:individual", "sst:photograph", "sst:specimen"{own} FROM individuals ORDER BY 1'
        )
        while rows := cursor.fetchmany(_BATCH):
            lines = [make_line(row) for row in rows]
            file.write(b"".join(lines))
            starts += (starts[-1] + np.cumsum([len(line) for line in lines])).tolist()
    np.save(folder / "starts.npy", np.array(starts, np.int64))
    found = connection.execute(
        """SELECT line, confidence FROM regions JOIN (
               SELECT "sst:individual" AS individual, row_number() OVER (ORDER BY "sst:individual") - 1 AS line
               FROM individuals
           ) USING (individual) ORDER BY region_id"""
    ).fetchnumpy()
    np.save(folder / "individuals.npy", np.asarray(found["line"]).astype(np.int32))
    np.save(folder / "confidences.npy", np.asarray(found["confidence"]).astype(np.float64))
    traits = connection.execute("SELECT trait, min(region_id), max(region_id) + 1 FROM regions GROUP BY trait")
    write_text(
        folder / "traits.json", json.dumps({name: place for name, *place in traits.fetchall()}, ensure_ascii=False)
    )


def make_line(row: Sequence[Any]) -> bytes:
    """Write individual, photograph, specimen and the columns of the table as a line."""
    return json.dumps(row, ensure_ascii=False, default=_tag, separators=(",", ":")).encode() + b"\n"


class Owners:
    """Whose the regions of a generation are, memory-mapped. Threads may share it.

    Attributes:
        lines: the file of lines.
        starts: int64 (m + 1,), where each line starts.
        individuals: int32 (n,), of every region id, the line of its individual.
        confidences: float64 (n,), of every region id.
        ranges: trait -> ranges of its region ids, half-open, ascending.
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        """Open what `write_owners` wrote.

        Args:
            folder: of the files.
            columns: names of the collection's columns.

        Raises:
            IndexFolderError: a file cannot be read, or does not fit the others.
        """
        self._folder, self._columns = folder, tuple(columns)
        try:
            self.starts, self.individuals, self.confidences = (
                _map(folder / f"{name}.npy", kind)
                for name, kind in (("starts", np.int64), ("individuals", np.int32), ("confidences", np.float64))
            )
            traits: dict[str, Any] = json.loads((folder / "traits.json").read_bytes())
            self.ranges = {name: _read_ranges(found) for name, found in traits.items()}
            self.lines = _map_bytes(folder / "lines.jsonl")
            removed = folder / "removed.npy"
            self._removed = frozenset(_map(removed, np.int64).tolist() if removed.exists() else ())
        except (OSError, ValueError, TypeError, AttributeError, EOFError) as error:
            raise IndexFolderError(f"{folder} cannot be read; {_REMEDY}: {error}") from error
        self._last = "", -1  # A query asks for the same individual twice; one pair, so that threads do not mix it.
        ends = [end for ranges in self.ranges.values() for _, end in ranges]
        fits = len(self.starts) and self.starts[-1] == len(self.lines)
        if not fits or len(self.individuals) != len(self.confidences) or max(ends, default=0) > len(self):
            raise IndexFolderError(f"the files in {folder} do not fit each other; {_REMEDY}")

    def __len__(self) -> int:
        """Count the regions."""
        return len(self.individuals)

    def owner(self, region_id: int) -> Owner:
        """Return whose a region is.

        Raises:
            IndexFolderError: the files are damaged.
            KeyError: there is no such region.
        """
        if not 0 <= region_id < len(self):
            raise KeyError(region_id)
        individual, photograph, specimen, *values = self._line(int(self.individuals[region_id]))
        if len(values) != len(self._columns):
            raise IndexFolderError(f"{self._folder} has other columns than its catalog; {_REMEDY}")
        metadata = dict(zip(self._columns, values, strict=True))
        return Owner(individual, photograph, specimen, float(self.confidences[region_id]), metadata)

    def numbers(self, region_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Return numbers of individuals, in order of their ids, whose regions these are: int32 (n,)."""
        return np.asarray(self.individuals[region_ids])

    def names(self, individual: str) -> tuple[str, str] | None:
        """Return the photograph that an individual is on, and the specimen; None if there is no such individual."""
        number = self._find(individual)
        if number is None:
            return None
        _, photograph, specimen, *_ = self._line(number)
        return photograph, specimen

    def region(self, individual: str, trait: str) -> int | None:
        """Return the region id of a trait of an individual; None if it was not looked for there."""
        number = self._find(individual)
        if number is None:
            return None
        for first, end in reversed(self.ranges.get(trait, ())):
            place = first + int(np.searchsorted(self.individuals[first:end], number))
            while place < end and self.individuals[place] == number:
                if place not in self._removed:
                    return place
                place += 1  # Of a removed region, only the place of the line is known.
        return None

    def _find(self, individual: str) -> int | None:
        """Return the line of an individual; None if there is no such individual."""
        known, number = self._last
        if known != individual or number < 0:
            number, there = self.locate(individual)
            if not there:
                return None
            self._last = individual, number
        return number

    def locate(self, individual: str) -> tuple[int, bool]:
        """Return the line of an individual, or the one that it would stand before; and whether it is there."""
        count = len(self.starts) - 1
        number = bisect_left(range(count), individual, key=self._name)
        return number, number < count and self._name(number) == individual

    def _name(self, number: int) -> str:
        """Return the individual of a line, without reading the rest of it."""
        try:
            text = self.lines[self.starts[number] : self.starts[number + 1]].decode()
            if text.startswith(_BEGINNING):
                name, _ = json.decoder.scanstring(text, len(_BEGINNING))  # type: ignore[attr-defined]
                return str(name)
        except (ValueError, TypeError, IndexError) as error:
            raise IndexFolderError(f"{self._folder} is damaged; {_REMEDY}: {error}") from error
        raise IndexFolderError(f"{self._folder} is damaged; {_REMEDY}")

    def _line(self, number: int) -> list[Any]:
        try:
            values = _DECODER.decode(self.lines[self.starts[number] : self.starts[number + 1]].decode())
            if isinstance(values, list) and len(values) >= 3 and all(isinstance(each, str) for each in values[:3]):
                return values
        except (ValueError, TypeError, IndexError, RecursionError) as error:
            raise IndexFolderError(f"{self._folder} is damaged; {_REMEDY}: {error}") from error
        raise IndexFolderError(f"{self._folder} is damaged; {_REMEDY}")


def _tag(value: Any) -> dict[str, str]:
    """Write a date or a time as JSON; a datetime is a date, too, so it comes first."""
    if isinstance(value, datetime.datetime):
        return {"time": value.isoformat()}
    if isinstance(value, datetime.date):
        return {"date": value.isoformat()}
    raise TypeError(f"{type(value).__name__} is none of the plain types")


def _untag(value: dict[str, str]) -> Scalar:
    if "time" in value:
        return datetime.datetime.fromisoformat(value["time"])
    return datetime.date.fromisoformat(value["date"])


_DECODER = json.JSONDecoder(object_hook=_untag)
"""Made once: `json.loads` would make another one for every line."""


def _read_ranges(found: Any) -> list[tuple[int, int]]:
    if not isinstance(found, list):
        raise ValueError("not ranges of region ids")
    pairs = found if found and isinstance(found[0], list) else [found]
    ranges = [(int(first), int(end)) for first, end in pairs]
    if any(not 0 <= first <= end for first, end in ranges):
        raise ValueError("not ranges of region ids")
    return ranges


def _map(path: Path, kind: type[np.generic]) -> npt.NDArray[Any]:
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.ndim != 1 or found.dtype != kind:
        raise ValueError(f"{path.name} holds {found.dtype} {found.shape}")
    return np.asarray(found)


def _map_bytes(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
