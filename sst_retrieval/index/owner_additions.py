"""Whose the regions are, after an addition: the files of `index.owners` are copied, and what differs is spliced in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

from sst_retrieval.files import write_text
from sst_retrieval.index.duck import quote_name
from sst_retrieval.index.owners import Owners, make_line

Ids = npt.NDArray[np.int64]


def add_owners(
    old_folder: Path,
    folder: Path,
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[str],
    removed_ids: Ids,
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

    Raises:
        IndexFolderError: the old files are damaged.
        OSError: a file cannot be written.
    """
    if not old_folder.exists():
        return
    folder.mkdir()
    old = Owners(old_folder, columns)
    own = "".join(f", {quote_name(name)}" for name in columns)
    rows = connection.execute(
        f"""SELECT "sst:individual", "sst:photograph", "sst:specimen"{own} FROM individuals
            WHERE "sst:photograph" IN (SELECT photograph FROM touched) ORDER BY 1"""
    ).fetchall()
    replaced = [name for (name,) in connection.execute("SELECT individual FROM replaced").fetchall()]
    gone = [line for line, there in map(old.locate, replaced) if there]
    splice = _Splice(len(old.starts) - 1, gone, [old.locate(row[0])[0] for row in rows], {row[0] for row in rows})
    splice.keep_places_of_replaced([name for name in replaced if name in splice.names], old)
    lines = [make_line(row) for row in rows]
    with (folder / "lines.jsonl").open("wb") as file:
        for part in splice.parts(old, lines):
            file.write(part)
    sizes = np.insert(
        np.diff(old.starts)[splice.kept], splice.kept_before[splice.places], [len(line) for line in lines]
    )
    np.save(folder / "starts.npy", np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))

    lines_of_names = {row[0]: int(number) for row, number in zip(rows, splice.new_lines, strict=True)}
    added = connection.execute(
        """SELECT r.trait, r.region_id, individual, confidence FROM regions r JOIN numbers USING (region_id)
           ORDER BY r.region_id"""
    ).fetchall()
    individuals = [lines_of_names[individual] for _, _, individual, _ in added]
    moved = np.concatenate([splice.moved[old.individuals], np.array(individuals, dtype=np.int64)])
    np.save(folder / "individuals.npy", moved.astype(np.int32))
    confidences = np.array([confidence for *_, confidence in added], dtype=np.float64)
    np.save(folder / "confidences.npy", np.concatenate([old.confidences, confidences]))
    ranges = {trait: list(own) for trait, own in old.ranges.items()}
    for trait in dict.fromkeys(trait for trait, *_ in added):
        ids = [number for own, number, *_ in added if own == trait]
        ranges.setdefault(trait, []).append((ids[0], ids[-1] + 1))
    write_text(folder / "traits.json", json.dumps(ranges, ensure_ascii=False))
    np.save(folder / "removed.npy", removed_ids)


class _Splice:
    """Where lines go when some of a sorted list are taken out and others put in.

    Attributes:
        names: of the lines that are put in.
        kept: bool (m,), of the old lines.
        kept_before: int64 (m + 1,), how many lines are kept before each.
        places: int64 (n,), before which old line each new one is put, ascending.
        new_lines: int64 (n,), their numbers afterwards.
        moved: int64 (m + 1,), the number of each old line afterwards; of one that was taken out, of the line in its
            place; and the number of all of them.
    """

    def __init__(self, count: int, gone: Sequence[int], places: Sequence[int], names: set[str]) -> None:
        self.names = names
        self.kept = np.ones(count, dtype=bool)
        self.kept[list(gone)] = False
        self.kept_before = np.concatenate([[0], np.cumsum(self.kept)])
        self.places = np.array(places, dtype=np.int64)
        self.new_lines = self.kept_before[self.places] + np.arange(len(places))
        self.moved = self.kept_before + np.searchsorted(self.places, np.arange(count + 1), side="right")

    def keep_places_of_replaced(self, names: Sequence[str], old: Owners) -> None:
        """Move the old lines that are put in again, under the same name, to their new ones."""
        lines = [old.locate(name)[0] for name in names]
        self.moved[lines] -= 1  # The new line is the last of those that are put in before the old one.

    def parts(self, old: Owners, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Yield the bytes of the new file of lines, part by part."""
        position = 0

        def copy(stop: int) -> Iterator[bytes]:
            # Runs of kept lines between those that are taken out.
            edges = np.flatnonzero(np.diff(self.kept[position:stop].astype(np.int8), prepend=0, append=0))
            for begin, end in edges.reshape(-1, 2).tolist():
                yield old.lines[old.starts[position + begin] : old.starts[position + end]]

        for place, line in zip(self.places.tolist(), lines, strict=True):
            yield from copy(place)
            position = max(position, place)
            yield line
        yield from copy(len(self.kept))
