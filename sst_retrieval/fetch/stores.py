"""Copies of photographs that lie in a store which fsspec reaches (S3, GCS, ...), in a local folder.

1. The table says which photographs: by an address below the store's, or by a path that is relative to it.
2. A photograph is copied if the folder has no copy, or if the store says another size or version than when it was
   copied. The record `.store.json` in the folder keeps what it said.
3. A copy appears under its name when it is complete. What the store does not have is left out; a build names it.

Nothing but a build with `--store` asks a store, and of it nothing but what lies below the address that the user gave:
neither a table nor an index from somebody else can make the program reach out.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sst_retrieval.collection.photograph_files import file_name, is_web_address
from sst_retrieval.errors import CollectionError, FetchError, InputError, SSTError
from sst_retrieval.files import atomic_write, is_inside, write_text

RECORD_NAME = ".store.json"
RECORD_EVERY = 200
"""Copies after which the record is written: a killed run copies so many again."""

THREADS = 16
"""Photographs that are copied at the same time."""

CHECKSUMS = ("ETag", "etag", "md5Hash", "content_md5")
TIMES = ("LastModified", "mtime", "updated", "created")
"""What stores call the checksum of a file, and the time when it was changed."""

MAX_BYTES = 1_000_000_000
"""A larger file is no photograph."""

OTHER_WAYS = {
    "http": "fetch them with: sst-retrieval fetch",
    "https": "fetch them with: sst-retrieval fetch",
    "file": "name the folder with --images alone",
    "local": "name the folder with --images alone",
}


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What was copied from a store.

    Attributes:
        copied: photographs that were copied now.
        kept: photographs whose copies were as they should be.
        missing: references of the table that the store does not have.
    """

    copied: int
    kept: int
    missing: tuple[str, ...]


def copy_from_store(
    store: str,
    references: Iterable[str],
    folder: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> StoreReport:
    """Bring the copies of photographs in a folder up to date.

    Args:
        store: address of a bucket or a folder in it, such as s3://bucket/photographs.
        references: what the table calls the photographs: addresses below the store's, or paths relative to it.
        folder: of the copies; it is made. The copy of a relative path has that path, that of an address the file name.
        progress: is called with how many of how many photographs are up to date.

    Raises:
        InputError: the address is none of a store, or the library for it is not installed.
        CollectionError: two photographs would have the same copy, or a path leads out of the folder.
        FetchError: the store refuses to answer, has none of the photographs, or a file is too large.
        OSError: the disk does not take the copies.
    """
    system, root = open_store(store, option="--store ", refused=OTHER_WAYS)
    wanted = plan_copies(store, root, references, folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = _Record(folder / RECORD_NAME)
    counts = {"copied": 0, "kept": 0}
    missing: list[str] = []
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
    try:
        running = {
            pool.submit(_copy, system, key, folder / name, name, record): reference
            for name, (key, reference) in wanted.items()
        }
        for done, future in enumerate(as_completed(running), start=1):
            outcome = future.result()
            if outcome is None:
                missing.append(running[future])
            else:
                counts[outcome] += 1
            progress(done, len(running))
    finally:
        pool.shutdown(cancel_futures=True)
        record.write()
    if wanted and len(missing) == len(wanted):
        raise FetchError(
            f"--store {store} has none of the {len(wanted)} photographs that the table names below it, such as "
            f"{missing[0]}; check the address, and that you may list it"
        )
    return StoreReport(counts["copied"], counts["kept"], tuple(sorted(missing)))


def open_store(store: str, *, option: str = "", refused: Mapping[str, str] | None = None) -> tuple[Any, str]:
    """Open a store: its file system (fsspec's), and the path in it.

    Args:
        store: address of a bucket or a folder in it.
        option: that it was given by, for messages.
        refused: protocols that are not stores -> what to do instead.

    Raises:
        InputError: the address is none of a store, or the library for it is not installed.
    """
    scheme, separator, _ = store.partition("://")
    if not separator or "::" in store:
        raise InputError(f"{option}{store}: give the address of a store, such as s3://bucket/photographs")
    if refused is not None and scheme in refused:
        raise InputError(f"{option}{store}: {refused[scheme]}")
    try:
        core = importlib.import_module("fsspec.core")
        system, root = core.url_to_fs(store)
    except ImportError as error:
        raise InputError(
            f"{option}{store}: {error}; for S3 run: pip install 'sst-retrieval[s3]', for others install what fsspec "
            "names"
        ) from error
    except ValueError as error:  # A protocol that fsspec does not know.
        raise InputError(f"{option}{store}: {error}; give an address such as s3://bucket/photographs") from error
    return system, str(root).rstrip("/")


@contextmanager
def explain_store_errors(key: str) -> Iterator[None]:
    """Say in one sentence that a store refuses (a context manager).

    Args:
        key: the path in the store.

    Raises:
        FileNotFoundError: the store does not have it.
        FetchError: for every other error of the store.
        OSError: of the disk here.
    """
    try:
        yield
    except (FileNotFoundError, SSTError):
        raise
    except OSError as error:
        if error.errno is not None and error.filename is not None:  # Of the disk here.
            raise
        raise FetchError(f"{key} cannot be copied: {error}") from error
    except Exception as error:  # Each kind of store has errors of its own.
        raise FetchError(f"{key} cannot be copied: {type(error).__name__}: {error}") from error


def plan_copies(store: str, root: str, references: Iterable[str], folder: Path) -> dict[str, tuple[str, str]]:
    """Plan the copies: name in the folder -> (path in the store, what the table calls it)."""
    prefix = store.rstrip("/") + "/"
    planned: dict[str, tuple[str, str]] = {}
    for reference in dict.fromkeys(references):
        if is_web_address(reference):
            if not reference.startswith(prefix):
                continue  # Another server's: it may be in the folder already.
            below, name = reference.removeprefix(prefix), file_name(reference)
        else:
            below = name = reference.replace("\\", "/").removeprefix("./")
        if ".." in PurePosixPath(below).parts or not is_inside(folder.absolute() / name, [folder.absolute()]):
            raise CollectionError(f"{reference!r} leads out of the store {store}; write the path of a photograph in it")
        key = f"{root}/{below}"
        if planned.get(name, (key,))[0] != key:
            raise CollectionError(
                f"{reference} and {planned[name][1]} would both be copied to {folder / name}; write paths relative to "
                "the store in place of addresses"
            )
        planned[name] = key, reference
    return planned


def _copy(system: Any, key: str, path: Path, name: str, record: _Record) -> str | None:
    """Bring one copy up to date; returns "copied", "kept", or None if the store does not have it."""
    try:
        with explain_store_errors(key):
            about = system.info(key)
            size, version = int(about["size"] or 0), read_version(about)
            if record.knows(name, size, version) and path.is_file() and path.stat().st_size == size:
                return "kept"
            if size > MAX_BYTES:
                raise FetchError(f"{key} has {size / 1e6:,.0f} MB; that is no photograph: take it out of the table")
            copy_file(system, key, path, size)
    except FileNotFoundError:
        return None
    record.add(name, size, version)
    return "copied"


def copy_file(system: Any, key: str, path: Path, size: int, changed: int = -1) -> None:
    """Copy a photograph from a store; it appears under its name when it is complete.

    Args:
        system: the store's.
        key: path in the store.
        path: of the copy.
        size: in bytes, as the store says.
        changed: time of change that the copy gets, in nanoseconds; below 0 it gets the present one.

    Raises:
        FetchError: it has another size.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        system.get_file(key, str(temporary))
        if temporary.stat().st_size != size:
            raise FetchError(f"{key} changed while it was copied; build again when it is no longer written")
        if changed >= 0:
            os.utime(temporary, ns=(changed, changed))


def read_version(about: Mapping[str, Any]) -> str:
    """Read what tells one version of a file from the next: a checksum if the store has one, else the time."""
    for name in (*CHECKSUMS, *TIMES):
        if about.get(name) is not None:
            return f"{name} {about[name]}"
    return ""


class _Record:
    """What the store said about each copy when it was made. A help, not data: a damaged one is not used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._new = 0
        try:
            stored = json.loads(path.read_text())
            self._known = {str(name): [int(size), str(version)] for name, (size, version) in stored.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self._known = {}

    def knows(self, name: str, size: int, version: str) -> bool:
        """Say whether the copy is of this version; one without any version is not known."""
        return bool(version) and self._known.get(name) == [size, version]

    def add(self, name: str, size: int, version: str) -> None:
        with self._lock:
            self._known[name] = [size, version]
            self._new += 1
            if self._new >= RECORD_EVERY:
                self._write()

    def write(self) -> None:
        with self._lock:
            if self._new:
                self._write()

    def _write(self) -> None:
        write_text(self._path, json.dumps(self._known))
        self._new = 0
