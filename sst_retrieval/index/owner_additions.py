"""Whose the regions are, after an addition: lines of what is new or changed, beside those of the last whole generation.

When they are many, they are spliced into lines of a new whole one (see `index.owners`).
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

from sst_retrieval.files import write_text
from sst_retrieval.index.disk import link_file
from sst_retrieval.index.duck import quote_name
from sst_retrieval.index.owner_lines import FILES, LineWriter, OwnerLines, make_line
from sst_retrieval.index.owners import Owners

Ids = npt.NDArray[np.int64]

MOST_ADDED = 0.05
"""Up to this share of the lines of a whole generation may stand beside it; they are written at each addition."""


def add_owners(
    old_folder: Path,
    folder: Path,
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[str],
    removed_ids: Ids,
    require_whole: Callable[[Path], None],
) -> None:
    """Write the owners of a generation that adds to another.

    Args:
        old_folder: of the other generation's owners; nothing is written if it has none.
        folder: to write into; made.
        connection: to the catalog as it is after the addition, with the temporary tables `replaced` (individuals that
            were there and were taken out or written again) and `touched` (photographs whose individuals were), and
            `numbers` (the regions that were added, see `index.addition`).
        columns: of the collection.
        removed_ids: int64 (m,), ascending, all region ids that are of no region any more.
        require_whole: refuses a file of the other generation that is not as it was written.

    Raises:
        IndexFolderError: the old files are damaged.
        OSError: a file cannot be written.
    """
    if not old_folder.exists():
        return
    folder.mkdir()
    old = Owners(old_folder, columns)
    base_folder = old_folder if old.base is None else old_folder / "base"
    base = old.added if old.base is None else old.base
    added = _join(old, base, connection, columns)
    if len(added.names) > MOST_ADDED * len(base):
        for path in sorted(base_folder.iterdir()):
            if path.name in FILES:
                require_whole(path)
        _write_whole(folder, base, added)
    else:
        _write_beside(folder, base_folder, added)
    ranges = {trait: list(own) for trait, own in old.ranges.items()}
    for trait, first, end in added.ranges:
        ranges.setdefault(trait, []).append((first, end))
    write_text(folder / "traits.json", json.dumps(ranges, ensure_ascii=False))
    np.save(folder / "removed.npy", removed_ids)


@dataclass(frozen=True, slots=True)
class _Added:
    """What stands beside a base.

    Attributes:
        names: of individuals that are new or changed, in order.
        lines: theirs.
        places: before which line of the base each stands.
        gone: int64, ascending: lines of the base that are of no individual any more, or changed.
        individuals: int64 (n,), of every region that the base does not have, the line; of one that was removed, the
            line that its individual's would stand before.
        confidences: float64 (n,), of these regions.
        ranges: of the newest of these regions: trait, first region id, and the one after its last.
    """

    names: list[str]
    lines: list[bytes]
    places: list[int]
    gone: Ids
    individuals: Ids
    confidences: npt.NDArray[np.float64]
    ranges: list[tuple[str, int, int]]


def _join(old: Owners, base: OwnerLines, connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> _Added:
    """Join what stood beside a base with what is new."""
    own = "".join(f", {quote_name(name)}" for name in columns)
    rows = connection.execute(
        f"""SELECT "sst:individual", "sst:photograph", "sst:specimen"{own} FROM individuals
            WHERE "sst:photograph" IN (SELECT photograph FROM touched) ORDER BY 1"""
    ).fetchall()
    replaced = {name for (name,) in connection.execute("SELECT individual FROM replaced").fetchall()}
    changed = replaced | {row[0] for row in rows}
    located = {name: base.locate(name) for name in changed}
    known: dict[str, tuple[bytes, int]] = {row[0]: (make_line(row), located[row[0]][0]) for row in rows}
    before: list[str] = []
    if old.base is not None:
        before = [old.added.name(number) for number in range(len(old.added))]
        places = old.places.tolist()
        known |= {
            name: (old.added.text(number) + b"\n", places[number])
            for number, name in enumerate(before)
            if name not in changed
        }
    names = sorted(known)
    found = connection.execute(
        """SELECT r.trait, r.region_id, individual, confidence FROM regions r JOIN numbers USING (region_id)
           ORDER BY r.region_id"""
    ).fetchall()
    individuals = np.array([bisect_left(names, individual) for _, _, individual, _ in found], np.int64)
    confidences = np.array([confidence for *_, confidence in found], np.float64)
    if old.base is not None:
        moved = np.array([*(bisect_left(names, name) for name in before), len(names)], np.int64)
        individuals = np.concatenate([moved[old.added.individuals], individuals])
        confidences = np.concatenate([old.added.confidences, confidences])
    ranges: dict[str, tuple[int, int]] = {}
    for trait, number, *_ in found:
        ranges[trait] = ranges.get(trait, (number, 0))[0], number + 1
    gone = np.union1d(old.gone, np.array([line for line, there in located.values() if there], np.int64))
    return _Added(
        names,
        [known[name][0] for name in names],
        [known[name][1] for name in names],
        gone.astype(np.int64),
        individuals,
        confidences,
        [(trait, *own) for trait, own in ranges.items()],
    )


def _write_beside(folder: Path, base_folder: Path, added: _Added) -> None:
    """Write what stands beside a base, and link the base."""
    (folder / "base").mkdir()
    for name in FILES:
        if (base_folder / name).exists():
            link_file(base_folder / name, folder / "base" / name)
    with LineWriter(folder) as writer:
        writer.write(added.lines)
    np.save(folder / "individuals.npy", added.individuals.astype(np.int32))
    np.save(folder / "confidences.npy", added.confidences)
    np.save(folder / "places.npy", np.array(added.places, np.int64))
    np.save(folder / "gone.npy", added.gone)


def _write_whole(folder: Path, base: OwnerLines, added: _Added) -> None:
    """Splice what stands beside a base into it."""
    count, places = len(base), np.array(added.places, np.int64)
    kept = np.ones(count, dtype=bool)
    kept[added.gone] = False
    kept_before = np.concatenate([[0], np.cumsum(kept)])
    numbers = np.append(kept_before[places] + np.arange(len(places)), kept_before[-1] + len(places))
    moved = kept_before + np.searchsorted(places, np.arange(count + 1), side="right")
    same = [
        number for number, place in enumerate(added.places) if place < count and base.name(place) == added.names[number]
    ]
    moved[places[same]] = numbers[same]
    with LineWriter(folder) as writer:
        for lines in _splice(base, kept, added):
            writer.write(lines)
    individuals = np.concatenate([moved[base.individuals], numbers[added.individuals]])
    np.save(folder / "individuals.npy", individuals.astype(np.int32))
    np.save(folder / "confidences.npy", np.concatenate([base.confidences, added.confidences]))


def _splice(base: OwnerLines, kept: npt.NDArray[np.bool_], added: _Added) -> Iterator[list[bytes]]:
    """Yield the lines of both in order, some at a time."""
    position = 0

    def copy(stop: int) -> Iterator[list[bytes]]:
        # Runs of kept lines between those that are taken out.
        edges = np.flatnonzero(np.diff(kept[position:stop].astype(np.int8), prepend=0, append=0))
        for begin, end in (position + edges.reshape(-1, 2)).tolist():
            yield from base.texts(begin, end)

    for place, line in zip(added.places, added.lines, strict=True):
        yield from copy(place)
        position = max(position, place)
        yield [line]
    yield from copy(len(kept))
