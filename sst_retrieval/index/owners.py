"""Whose a region is: looked up in mapped files within microseconds, where the catalog would need milliseconds.

Written with a generation, from its catalog, and of no use without it:

    owners/                  lines of individuals (see `index.owner_lines`)
    owners/traits.json       trait -> its first region id, and the one after its last; a list of such ranges after
                             additions (see `index.epochs`)

A generation that adds to another holds the lines of individuals that are new or changed only, and of regions those
after the last one of the whole generation before, whose files stay as they are (`index.owner_additions`):

    owners/base/             lines of that generation
    owners/places.npy        int64, of every line here, before which line of the base it stands
    owners/gone.npy          int64, ascending: lines of the base that are of no individual any more, or changed
    owners/removed.npy       int64, region ids that are of no region any more

Regions are numbered by trait, then individual, so the lines of a range's regions ascend. A generation without these
files (of an early version, or of a collection with columns of types that have no plain JSON form) is asked by SQL.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.files import write_text
from sst_retrieval.index.duck import quote_name
from sst_retrieval.index.owner_lines import REMEDY, LineWriter, Owner, OwnerLines, make_line, map_array

Ids = npt.NDArray[np.int64]

PLAIN_TYPES = frozenset(
    [
        *("VARCHAR", "BOOLEAN", "DOUBLE", "FLOAT", "DATE", "TIMESTAMP", "HUGEINT"),
        *(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG")),
        *("INTEGER", "UINTEGER"),
    ]
)
"""Types of columns whose values are the same after they were written as JSON and read again."""

_BATCH = 10_000


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
    with LineWriter(folder) as writer:
        cursor = connection.execute(
            f'SELECT "sst:individual", "sst:photograph", "sst:specimen"{own} FROM individuals ORDER BY 1'
        )
        while rows := cursor.fetchmany(_BATCH):
            writer.write([make_line(row) for row in rows])
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


class Owners:
    """Whose the regions of a generation are, memory-mapped. Threads may share it.

    Attributes:
        ranges: trait -> ranges of its region ids, half-open, ascending.
        added: lines of what was added to the base; all lines if there is none.
        base: lines of the whole generation before; None if this one is whole.
        places: int64, of every added line, before which line of the base it stands.
        gone: int64, ascending: lines of the base that are of no individual any more, or changed.
        base_regions: region ids below this one are of the base.
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        """Open the files.

        Args:
            folder: of the files.
            columns: names of the collection's columns.

        Raises:
            IndexFolderError: a file cannot be read, or does not fit the others.
        """
        self._folder, self._columns = folder, tuple(columns)
        self.added = OwnerLines(folder)
        base, removed = folder / "base", folder / "removed.npy"
        self.base = OwnerLines(base) if base.exists() else None
        try:
            traits: dict[str, Any] = json.loads((folder / "traits.json").read_bytes())
            self.ranges = {name: _read_ranges(found) for name, found in traits.items()}
            self._removed = frozenset(map_array(removed, np.int64).tolist() if removed.exists() else ())
            self.gone, self.places = (
                np.zeros(0, np.int64) if self.base is None else map_array(folder / f"{name}.npy", np.int64)
                for name in ("gone", "places")
            )
        except (OSError, ValueError, TypeError, AttributeError, EOFError) as error:
            raise IndexFolderError(f"{folder} cannot be read; {REMEDY}: {error}") from error
        self.base_regions = 0 if self.base is None else len(self.base.individuals)
        # A query asks for the same individual twice; one pair, so that threads do not mix it.
        self._last: tuple[str, tuple[int | None, int | None]] = "", (None, None)
        ends = [end for ranges in self.ranges.values() for _, end in ranges]
        fits = self.base is None or len(self.places) == len(self.added)
        if max(ends, default=0) > len(self) or not fits or not bool((np.diff(self.gone) > 0).all()):
            raise IndexFolderError(f"the files in {folder} do not fit each other; {REMEDY}")

    def __len__(self) -> int:
        """Count the regions."""
        return self.base_regions + len(self.added.individuals)

    def owner(self, region_id: int) -> Owner:
        """Return whose a region is.

        Raises:
            IndexFolderError: the files are damaged.
            KeyError: there is no such region.
        """
        if not 0 <= region_id < len(self):
            raise KeyError(region_id)
        if region_id >= self.base_regions:
            place, lines = region_id - self.base_regions, self.added
            line = int(lines.individuals[place])
            confidence = float(lines.confidences[place])
        else:
            assert self.base is not None
            lines, line = self.base, int(self.base.individuals[region_id])
            confidence = float(self.base.confidences[region_id])
            if self._is_gone(line):
                line, there = self.added.locate(self.base.name(line))
                if not there:
                    raise KeyError(region_id)
                lines = self.added
        individual, photograph, specimen, *values = lines.values(line)
        if len(values) != len(self._columns):
            raise IndexFolderError(f"{self._folder} has other columns than its catalog; {REMEDY}")
        return Owner(individual, photograph, specimen, confidence, dict(zip(self._columns, values, strict=True)))

    def numbers(self, region_ids: Ids) -> Ids:
        """Return numbers of individuals, in order of their ids, whose regions these are: int64 (n,)."""
        if self.base is None:
            return np.asarray(self.added.individuals[region_ids], np.int64)
        # Those that were added stand between the lines of the base: before the line that follows them.
        step, places, own = len(self.added) + 1, self.places, np.arange(len(self.added))
        numbers, late = np.empty(len(region_ids), np.int64), region_ids >= self.base_regions
        lines = self.added.individuals[region_ids[late] - self.base_regions]
        numbers[late] = places[lines] * step + own[lines]
        lines = np.asarray(self.base.individuals[region_ids[~late]], np.int64)
        numbers[~late] = lines * step + len(self.added)
        changed = np.flatnonzero(np.isin(lines, self.gone))
        if len(changed):
            # A line that was changed is the first one that was added before itself, under its own name.
            inside = np.searchsorted(places, lines[changed], side="right") - 1
            numbers[np.flatnonzero(~late)[changed]] = places[inside] * step + own[inside]
        return numbers

    def names(self, individual: str) -> tuple[str, str] | None:
        """Return the photograph that an individual is on, and the specimen; None if there is no such individual."""
        of_base, of_added = self._find(individual)
        if of_added is not None:
            values = self.added.values(of_added)
        elif self.base is not None and of_base is not None and not self._is_gone(of_base):
            values = self.base.values(of_base)
        else:
            return None
        return values[1], values[2]

    def region(self, individual: str, trait: str) -> int | None:
        """Return the region id of a trait of an individual; None if it was not looked for there."""
        of_base, of_added = self._find(individual)
        for first, end in reversed(self.ranges.get(trait, ())):
            late = first >= self.base_regions
            number, start = (of_added, self.base_regions) if late else (of_base, 0)
            lines = self.added if late or self.base is None else self.base
            if number is None:
                continue
            individuals = lines.individuals[first - start : end - start]
            place = int(np.searchsorted(individuals, number))
            while place < len(individuals) and individuals[place] == number:
                if first + place not in self._removed:
                    return first + place
                place += 1  # Of a removed region, only the place of the line is known.
        return None

    def _is_gone(self, line: int) -> bool:
        place = int(np.searchsorted(self.gone, line))
        return place < len(self.gone) and int(self.gone[place]) == line

    def _find(self, individual: str) -> tuple[int | None, int | None]:
        """Return the lines of an individual, in the base and among what was added; None where there is none."""
        known, lines = self._last  # A query asks for the same individual twice.
        if known != individual:
            found = [None if part is None else part.locate(individual) for part in (self.base, self.added)]
            of_base, of_added = (each[0] if each is not None and each[1] else None for each in found)
            lines = of_base, of_added
            self._last = individual, lines
        return lines


def _read_ranges(found: Any) -> list[tuple[int, int]]:
    if not isinstance(found, list):
        raise ValueError("not ranges of region ids")
    pairs = found if found and isinstance(found[0], list) else [found]
    ranges = [(int(first), int(end)) for first, end in pairs]
    if any(not 0 <= first <= end for first, end in ranges):
        raise ValueError("not ranges of region ids")
    return ranges
