"""Copies of photographs in a store, made where and when they are opened: for builds on several machines.

1. The store says once which photographs it has (`list_stored`): size and version of each. The build plans by these
   alone, and fetches nothing that has not changed since the last one.
2. Whoever opens a photograph - a worker that hashes or processes it, the build that reads a support - has it copied to
   its path first, if the disk there has no copy of this size and version (`CopiesOnDemand`).
3. A copy stays there, for the next time, as long as the disk has room; else the oldest ones that this process made are
   removed.

A copy bears its version as time of change: the time that the store says, and a fraction of a second made of the
checksum or whatever else tells one version from the next. So no record is needed that processes would have to share.
"""

from __future__ import annotations

import datetime
import hashlib
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sst_retrieval.errors import FetchError
from sst_retrieval.fetch.stores import (
    CHECKSUMS,
    MAX_BYTES,
    OTHER_WAYS,
    THREADS,
    TIMES,
    copy_file,
    explain_store_errors,
    open_store,
    plan_copies,
)
from sst_retrieval.imaging.absent_files import fetch_when_opened

FEW = 1000
"""Up to so many photographs are asked for one by one; of more, the store is listed."""

SPARE_BYTES = 5_000_000_000
"""With fewer bytes free, older copies make room for new ones."""

_NO_TIME = 315_532_800
"""Of a store that knows no times: 1980."""


@dataclass(frozen=True, slots=True)
class StoredPhotograph:
    """A photograph in a store, as it is now.

    Attributes:
        key: its path in the store.
        size: in bytes.
        changed: time of change that a copy of this version bears, in nanoseconds; -1 if the store tells no version.
    """

    key: str
    size: int
    changed: int


def list_stored(store: str, references: Iterable[str], folder: Path) -> dict[Path, StoredPhotograph]:
    """List which photographs a store has.

    Args:
        store: address of a bucket or a folder in it, such as s3://bucket/photographs.
        references: what the table calls the photographs.
        folder: of the copies; it is made. Names as for `copy_from_store`.

    Returns:
        Absolute path of the copy -> the photograph; what the store does not have is left out.

    Raises:
        InputError, CollectionError, FetchError: as `copy_from_store`.
        OSError: the folder cannot be made.
    """
    system, root = open_store(store, option="--store ", refused=OTHER_WAYS)
    planned = plan_copies(store, root, references, folder)
    folder.mkdir(parents=True, exist_ok=True)
    keys = [key for key, _ in planned.values()]
    about = _ask_each(system, keys) if len(keys) <= FEW else _list_all(system, root)
    found = {folder.absolute() / name: _describe(key, about[key]) for name, (key, _) in planned.items() if key in about}
    if planned and not found:
        _, reference = next(iter(planned.values()))
        raise FetchError(
            f"--store {store} has none of the {len(planned)} photographs that the table names below it, such as "
            f"{reference}; check the address, and that you may list it"
        )
    return found


class CopiesOnDemand:
    """Copies of photographs in one folder, made when they are opened; several threads may do that."""

    def __init__(self, store: str, folder: Path, photographs: Mapping[Path, StoredPhotograph] | None = None) -> None:
        """Copy nothing yet.

        Args:
            store: as for `list_stored`.
            folder: of the copies.
            photographs: as `list_stored` returns them.
        """
        self.store, self.folder = store, folder.absolute()
        self.photographs: Mapping[Path, StoredPhotograph] = photographs or {}
        self._system: Any = None
        self._lock = threading.Lock()
        self._made: dict[Path, None] = {}  # By this process, oldest first.

    @contextmanager
    def used(self, photographs: Mapping[Path, StoredPhotograph] | None = None) -> Iterator[None]:
        """Make copies when they are opened, from now on (a context manager).

        Args:
            photographs: those that may be opened, in place of the ones known before.
        """
        if photographs is not None:
            self.photographs = photographs
        with fetch_when_opened(self.folder, self.bring):
            yield

    def get_state(self, path: Path) -> tuple[int, int]:
        """Return size and time of change that the copy of a photograph has, whether it is there or not.

        Raises:
            FileNotFoundError: the store does not have it.
        """
        stored = self.photographs.get(path)
        if stored is None:
            raise FileNotFoundError(path)
        return stored.size, stored.changed

    def bring(self, path: Path) -> None:
        """Copy a photograph to its path, unless a copy of its version is there; leave alone what is not in the store.

        Raises:
            FetchError: the store refuses, the photograph is too large or is being written, or the disk is full.
        """
        stored = self.photographs.get(path)
        if stored is None or _is_copy(path, stored):
            return
        if stored.size > MAX_BYTES:
            raise FetchError(f"{stored.key} has {stored.size / 1e6:,.0f} MB; that is no photograph")
        with self._lock:
            if self._system is None:
                self._system, _ = open_store(self.store, option="--store ", refused=OTHER_WAYS)
            self._make_room(path.parent, stored.size)
        try:
            with suppress(FileNotFoundError), explain_store_errors(stored.key):
                copy_file(self._system, stored.key, path, stored.size, stored.changed)
        except OSError as error:
            reason = error.strerror or str(error)
            raise FetchError(
                f"{stored.key} cannot be copied to {path} ({reason}); make room, then build again"
            ) from error
        with self._lock:
            self._made.pop(path, None)
            self._made[path] = None

    def _make_room(self, folder: Path, size: int) -> None:
        """Remove copies that this process made, if the disk has little room; not those that may be opened now."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in [each for each in self._made if each not in self.photographs]:
            if shutil.disk_usage(folder).free - size >= SPARE_BYTES:
                return
            del self._made[old]
            old.unlink(missing_ok=True)


def _is_copy(path: Path, stored: StoredPhotograph) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return stored.changed >= 0 and (found.st_size, found.st_mtime_ns) == (stored.size, stored.changed)


def _ask_each(system: Any, keys: list[str]) -> dict[str, Mapping[str, Any]]:
    def ask(key: str) -> Mapping[str, Any] | None:
        try:
            with explain_store_errors(key):
                about: Mapping[str, Any] = system.info(key)
                return about
        except FileNotFoundError:
            return None

    with ThreadPoolExecutor(THREADS, thread_name_prefix="store") as pool:
        answers = zip(keys, pool.map(ask, keys), strict=True)
        return {key: about for key, about in answers if about is not None}


def _list_all(system: Any, root: str) -> dict[str, Mapping[str, Any]]:
    try:
        with explain_store_errors(root):
            return dict(system.find(root, detail=True))
    except FileNotFoundError:
        return {}


def _describe(key: str, about: Mapping[str, Any]) -> StoredPhotograph:
    size = int(about["size"] or 0)
    checksum = next((str(about[name]) for name in CHECKSUMS if about.get(name) is not None), "")
    seconds = next((_to_seconds(about[name]) for name in TIMES if about.get(name) is not None), None)
    if seconds is None and not checksum:
        return StoredPhotograph(key, size, -1)
    seconds = _NO_TIME if seconds is None else seconds
    mark = int(hashlib.sha256((checksum or f"{seconds:.6f}").encode()).hexdigest()[:12], 16)
    # In units of 100 ns, the finest that every usual file system keeps.
    return StoredPhotograph(key, size, int(seconds) * 10**9 + mark % 10_000_000 * 100)


def _to_seconds(value: Any) -> float:
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    return float(value.timestamp() if isinstance(value, datetime.datetime) else value)
