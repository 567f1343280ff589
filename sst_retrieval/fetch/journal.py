"""What was fetched: a line of JSON a photograph, appended when its file is complete, so that a run can be resumed."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from sst_retrieval.errors import InputError
from sst_retrieval.files import hash_file

JOURNAL_NAME = "fetched.jsonl"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A photograph that was fetched.

    Attributes:
        address: as the table (or the manifest) has it, and the side asked for: what makes it the same photograph.
        side: longest side that was asked for, in pixels; None for the largest.
        file: its name in the folder.
        source: the address it came from, redirects followed.
        sha256: of the file, hexadecimal.
        bytes, height, width: of the file; height and width in pixels, upright.
        licence, holder: licence and rights holder, of the manifest or the table; "" if not said.
        label: of the view, if a manifest names it.
        time: when, UTC.
    """

    address: str
    side: int | None
    file: str
    source: str
    sha256: str
    bytes: int
    height: int
    width: int
    licence: str
    holder: str
    label: str
    time: str


class Journal:
    """The photographs that were fetched into a folder; may be written to by several threads."""

    def __init__(self, folder: Path) -> None:
        """Read the journal of a folder, which need not have one.

        Raises:
            InputError: a line of it is damaged.
        """
        self.path = folder / JOURNAL_NAME
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, int | None], Fetched] = {}
        for entry in self._read():
            self._entries[entry.address, entry.side] = entry
        self._taken = {entry.file.casefold() for entry in self._entries.values()}
        self._numbers: dict[str, int] = {}

    def _read(self) -> Iterator[Fetched]:
        if not self.path.is_file():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        names = {field.name for field in fields(Fetched)}
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if not isinstance(entry, dict) or entry.keys() != names or Path(entry["file"]).name != entry["file"]:
                    raise ValueError("other fields than expected")
            except (ValueError, TypeError) as error:
                if number == len(lines) and not line.endswith("\n"):
                    return  # The last line of a run that was killed.
                raise InputError(
                    f"{self.path} line {number} is damaged ({error}); remove that line: its photograph is fetched again"
                ) from error
            yield Fetched(**entry)

    def find(self, address: str, side: int | None, *, verify: bool) -> Fetched | None:
        """Return what was fetched from an address in a size, if its file is still there as it was.

        Args:
            address, side: see `Fetched`.
            verify: whether the checksum is computed, too, not only the size compared.
        """
        entry = self._entries.get((address, side))
        if entry is None:
            return None
        path = self.path.with_name(entry.file)
        try:
            same = path.stat().st_size == entry.bytes and (not verify or hash_file(path) == entry.sha256)
        except OSError:
            return None
        return entry if same else None

    def claim(self, stem: str, suffix: str, address: str, side: int | None) -> str:
        """Choose the name of a new file: that of the same photograph before, else one that is free.

        Names that differ in case only are one name to some file systems, and so they are here.
        """
        with self._lock:
            before = self._entries.get((address, side))
            if before is not None and before.file.endswith(suffix):
                return before.file
            key = f"{stem}{suffix}".casefold()
            number = self._numbers.get(key, 1)
            while (name := f"{stem}{f'_{number}' if number > 1 else ''}{suffix}").casefold() in self._taken:
                number += 1
            self._numbers[key] = number + 1
            self._taken.add(name.casefold())
            return name

    def append(self, entry: Fetched) -> None:
        """Add a photograph whose file is complete.

        Raises:
            OSError: the disk does not take it.
        """
        with self._lock:
            self._entries[entry.address, entry.side] = entry
            with self.path.open("a+b") as file:
                file.seek(0, os.SEEK_END)
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # The last line of a run that was killed.
                        file.write(b"\n")
                file.write(json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
