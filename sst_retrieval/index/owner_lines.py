"""One sorted file of lines that say whose regions are: id, photograph, specimen and row of each individual.

    records.jsonl      one line an individual, in order of ids: id, photograph, specimen, the columns of the table, as
                       JSON; {} stands for the id itself, and dates and times have tags
    starts.npy         int64, where every sixteenth line starts, the first and so on; how many lines there are; and how
                       many bytes
    individuals.npy    int32 (n,), of every region, in order of region ids, the line of its individual
    confidences.npy    float64 (n,), of every region's mask

Earlier versions called the first one `lines.jsonl`, and had the start of every line in `starts.npy`.
"""

from __future__ import annotations

import datetime
import io
import json
import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.types import Scalar

RECORDS, OLD_RECORDS = "records.jsonl", "lines.jsonl"
FILES = (RECORDS, OLD_RECORDS, "starts.npy", "individuals.npy", "confidences.npy")
"""Names of the files; of the first two, there is one."""

REMEDY = "run the build again to make it anew"
_GROUP = 16
"""Lines from one whose start is stored to the next."""
_GROUPS = 1024
"""So many of them are read at a time, if all lines are."""
_BEGINNING = '["'
_SAME: Any = object()
"""A value that is the id of the individual."""


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


def make_line(row: Sequence[Any]) -> bytes:
    """Write individual, photograph, specimen and the columns of the table as a line."""
    name = row[0]
    values = [name, *({} if value == name and isinstance(value, str) else value for value in row[1:])]
    return json.dumps(values, ensure_ascii=False, default=_tag, separators=(",", ":")).encode() + b"\n"


class LineWriter:
    """Writes lines, and at the end where they start."""

    def __init__(self, folder: Path) -> None:
        """Write into a folder, which exists."""
        self._folder = folder
        self._file = (folder / RECORDS).open("wb")
        self._starts: list[int] = []
        self._lines, self._bytes = 0, 0

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; and write where lines start, if all were written."""
        self._file.close()
        if kind is None:
            np.save(self._folder / "starts.npy", np.array([*self._starts, self._lines, self._bytes], np.int64))

    def write(self, lines: Sequence[bytes]) -> None:
        """Write lines."""
        self._file.write(b"".join(lines))
        starts = self._bytes + np.cumsum([0, *map(len, lines)], dtype=np.int64)
        self._starts += starts[: len(lines)][-self._lines % _GROUP :: _GROUP].tolist()
        self._lines, self._bytes = self._lines + len(lines), int(starts[-1])


class OwnerLines:
    """Lines of individuals, memory-mapped. Threads may share them.

    Attributes:
        lines: the file of lines.
        individuals: int32 (n,), of every region, the line of its individual.
        confidences: float64 (n,), of every region.
    """

    def __init__(self, folder: Path) -> None:
        """Open the files.

        Args:
            folder: of the files.

        Raises:
            IndexFolderError: a file cannot be read, or does not fit the others.
        """
        self._folder = folder
        try:
            starts, self.individuals, self.confidences = (
                map_array(folder / f"{name}.npy", kind)
                for name, kind in (("starts", np.int64), ("individuals", np.int32), ("confidences", np.float64))
            )
            records = folder / RECORDS
            self.lines = _map_bytes(records if records.exists() else folder / OLD_RECORDS)
            self._group = _GROUP if records.exists() else 1
            if self._group == 1:
                self._starts, self._count = starts, len(starts) - 1
            else:
                self._starts, self._count = np.delete(starts, -2), int(starts[-2])
        except (OSError, ValueError, TypeError, AttributeError, EOFError, IndexError) as error:
            raise IndexFolderError(f"{folder} cannot be read; {REMEDY}: {error}") from error
        fits = 0 <= self._count <= self._group * (len(self._starts) - 1) < self._count + self._group
        fits = fits and self._starts[-1] == len(self.lines)
        if not fits or len(self.individuals) != len(self.confidences):
            raise IndexFolderError(f"the files in {folder} do not fit each other; {REMEDY}")

    def __len__(self) -> int:
        """Count the lines."""
        return self._count

    def locate(self, individual: str) -> tuple[int, bool]:
        """Return the line of an individual, or the one that it would stand before; and whether it is there."""
        number = bisect_left(range(len(self)), individual, key=self.name)
        return number, number < len(self) and self.name(number) == individual

    def name(self, number: int) -> str:
        """Return the individual of a line, without reading the rest of it."""
        try:
            text = self.text(number).decode()
            if text.startswith(_BEGINNING):
                name, _ = json.decoder.scanstring(text, len(_BEGINNING))  # type: ignore[attr-defined]
                return str(name)
        except (ValueError, TypeError, IndexError) as error:
            raise IndexFolderError(f"{self._folder} is damaged; {REMEDY}: {error}") from error
        raise IndexFolderError(f"{self._folder} is damaged; {REMEDY}")

    def text(self, number: int) -> bytes:
        """Return a line as it is stored, without its end.

        Raises:
            IndexError: there is no such line.
        """
        group, place = divmod(number, self._group)
        lines = self.lines[self._starts[group] : self._starts[group + 1]].split(b"\n")
        return lines[place]

    def texts(self, first: int, stop: int) -> Iterator[list[bytes]]:
        """Yield the lines from one to before another as they are stored, some at a time."""
        while first < stop:
            group, place = divmod(first, self._group)
            last = min(group + _GROUPS, len(self._starts) - 1)
            lines = self.lines[self._starts[group] : self._starts[last]].split(b"\n")[:-1]
            part = [line + b"\n" for line in lines[place : place + stop - first]]
            if not part:
                raise IndexFolderError(f"{self._folder} is damaged; {REMEDY}")
            yield part
            first += len(part)

    def values(self, number: int) -> list[Any]:
        """Return individual, photograph, specimen and the columns of the table."""
        try:
            values = _DECODER.decode(self.text(number).decode())
            if isinstance(values, list) and len(values) >= 3:
                values = [values[0] if value is _SAME else value for value in values]
                if all(isinstance(each, str) for each in values[:3]):
                    return values
        except (ValueError, TypeError, IndexError, RecursionError, KeyError) as error:
            raise IndexFolderError(f"{self._folder} is damaged; {REMEDY}: {error}") from error
        raise IndexFolderError(f"{self._folder} is damaged; {REMEDY}")


def map_array(path: Path, kind: type[np.generic]) -> npt.NDArray[Any]:
    """Map an array of one dimension.

    Raises:
        OSError: it cannot be read.
        ValueError: it is of another kind.
    """
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.ndim != 1 or found.dtype != kind:
        raise ValueError(f"{path.name} holds {found.dtype} {found.shape}")
    return np.asarray(found)


def _tag(value: Any) -> dict[str, str]:
    """Write a date or a time as JSON; a datetime is a date, too, so it comes first."""
    if isinstance(value, datetime.datetime):
        return {"time": value.isoformat()}
    if isinstance(value, datetime.date):
        return {"date": value.isoformat()}
    raise TypeError(f"{type(value).__name__} is none of the plain types")


def _untag(value: dict[str, str]) -> Any:
    if not value:
        return _SAME
    if "time" in value:
        return datetime.datetime.fromisoformat(value["time"])
    return datetime.date.fromisoformat(value["date"])


_DECODER = json.JSONDecoder(object_hook=_untag)
"""Made once: `json.loads` would make another one for every line."""


def _map_bytes(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
