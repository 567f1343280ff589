"""Copies of an index in a store that fsspec reaches (S3, GCS, ...): pushed by who builds it, pulled by who searches it.

1. `push_index` copies what a reader of the present generation needs, and then writes one file that says which files
   belong together (`RECORD_NAME`). Until then, the copy in the store is the one before.
2. `pull_index` brings a folder up to date: files that have not changed stay, others are first copied beside their
   places and then all put there, the manifest last. If the store changes meanwhile, it begins again.
3. Neither reads or removes a file that it does not know: a name in the store's file that leads out of the folder is
   refused, and a folder that holds something else is not touched.

Files are told apart by size and time of change, as the build that wrote them left them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from sst_retrieval.errors import FetchError, IndexFolderError, InputError
from sst_retrieval.fetch.stores import THREADS, explain_store_errors, open_store
from sst_retrieval.files import is_inside, remove, write_text
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.store import Store

RECORD_NAME = "index-copy.json"
"""In the store: which files are the index. In a pulled folder, hidden: what was pulled, and from where."""

FORMAT = 1
"""Of that file."""

LOCAL_RECORD = f".{RECORD_NAME}"
STAGING = ".pulled"
"""Folder of a pulled index in which files lie until all are there."""

ATTEMPTS = 5
"""Times that a pull begins again because the index was pushed anew meanwhile."""

Version: TypeAlias = tuple[int, int]
"""Size in bytes, and time of change in nanoseconds."""


@dataclass(frozen=True, slots=True)
class IndexCopyReport:
    """What was copied.

    Attributes:
        copied: files that were copied now.
        kept: files that were there already.
        megabytes: of those copied.
    """

    copied: int
    kept: int
    megabytes: float

    def text(self) -> str:
        """Say it in one line."""
        return f"{self.copied} files copied ({self.megabytes:,.1f} MB), {self.kept} were there"


@dataclass(slots=True)
class _LocalRecord:
    """What was pulled into a folder.

    Attributes:
        store: address.
        files: name -> version in the store.
        here: name -> version of the copy.
        pending: names whose files a pull began to replace.
    """

    store: str
    files: dict[str, Version] = field(default_factory=dict)
    here: dict[str, Version] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)


class _ChangedError(Exception):
    """The store has another index than the one that is being pulled."""


def push_index(
    index: Path, store: str, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> IndexCopyReport:
    """Copy an index into a store, or bring its copy there up to date.

    Args:
        index: the folder; no build may run meanwhile.
        store: address of a folder in a store, such as s3://bucket/heliconius, which is empty or has been pushed to.
        progress: is called with how many of how many files are up to date.

    Raises:
        IndexFolderError: the folder is no index, is being built, or has no generation yet.
        InputError: the address is none of a store, holds something else, or the library for it is not installed.
        FetchError: the store refuses.
    """
    system, root = open_store(store)
    opened = Store.open(index)
    with opened.lock(), opened.hold_reviews():
        generation = opened.generation
        if generation is None:
            raise IndexFolderError(f"{index} has no generation yet; run its build to the end, then push it")
        ours = _list_files(opened.paths, generation.number)
        before = _read_remote(system, root, store)
        if before is None:
            with explain_store_errors(root):
                if system.exists(root) and system.find(root, maxdepth=1):
                    raise InputError(f"{store} holds something that is no pushed index; choose an empty place")
        known = before or {}
        new = [name for name, version in ours.items() if known.get(name) != version]

        def copy(name: str) -> None:
            with explain_store_errors(f"{root}/{name}"):
                system.put_file(str(index / name), f"{root}/{name}")

        _run(copy, new, progress, len(ours))
        text = json.dumps({"format": FORMAT, "files": ours})
        with explain_store_errors(f"{root}/{RECORD_NAME}"):
            system.pipe_file(f"{root}/{RECORD_NAME}", text.encode())
            for name in sorted(known.keys() - ours.keys()):
                system.rm_file(f"{root}/{name}")
    return _report(new, ours)


def pull_index(
    store: str, folder: Path, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> IndexCopyReport:
    """Copy an index from a store into a folder, or bring its copy there up to date. Readers keep what they opened.

    Args:
        store: address that the index was pushed to.
        folder: new, empty, or pulled from there before.
        progress: is called with how many of how many files are up to date.

    Raises:
        InputError: the address is none of a store, the library for it is not installed, the folder holds something
            else, or files in it were changed here.
        FetchError: the store refuses, has no index there, or one with impossible names.
        OSError: the disk does not take the copies.
    """
    system, root = open_store(store)
    for _ in range(ATTEMPTS):
        try:
            return _pull(system, root, store, folder, progress)
        except _ChangedError:
            continue
    raise FetchError(f"{store} was pushed to {ATTEMPTS} times while it was pulled; pull it when nobody pushes")


def _pull(system: Any, root: str, store: str, folder: Path, progress: Callable[[int, int], None]) -> IndexCopyReport:
    wanted = _read_remote(system, root, store)
    if wanted is None:
        raise FetchError(f"{store} holds no index; push one with: sst-retrieval push INDEX {store}")
    _check_names(wanted, store, folder)
    own = _read_local(folder, store)
    _require_unchanged(own, folder, store)
    new = [
        name
        for name, version in wanted.items()
        if own.files.get(name) != version or name in own.pending or not (folder / name).is_file()
    ]
    staging = folder / STAGING
    staging.mkdir(parents=True, exist_ok=True)

    def copy(name: str) -> None:
        size, _ = wanted[name]
        place = staging / _stage_name(name, wanted[name])
        if place.is_file() and place.stat().st_size == size:
            return  # Of a pull that was stopped.
        part = place.with_suffix(".part")
        try:
            with explain_store_errors(f"{root}/{name}"):
                system.get_file(f"{root}/{name}", str(part))
        except FileNotFoundError:
            raise _ChangedError from None
        if part.stat().st_size != size:
            part.unlink()
            raise _ChangedError
        part.replace(place)

    _run(copy, new, progress, len(wanted))
    if _read_remote(system, root, store) != wanted:
        raise _ChangedError
    own.pending = new
    _write_local(folder, own)
    manifest = IndexPaths(folder).manifest_file.name
    for name in sorted(new, key=lambda each: each == manifest):  # The manifest is last.
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / _stage_name(name, wanted[name])).replace(folder / name)
    for name in own.files.keys() - wanted.keys():
        remove(folder / name)
    here = {name: _read_version(folder / name) for name in wanted}
    _write_local(folder, _LocalRecord(store, dict(wanted), here))
    remove(staging)
    return _report(new, wanted)


def _list_files(paths: IndexPaths, generation: int) -> dict[str, Version]:
    """List the files that a reader of a generation, or the next build, needs: name -> version, ascending."""
    current = paths.relative(paths.generation(generation).folder)
    found: dict[str, Version] = {}
    for folder, folders, names in os.walk(paths.root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in names:
            path = Path(folder, file)
            name = paths.relative(path)
            skipped = file.startswith(".") or name.startswith(("damaged/", "pictures/loose/"))
            if name.startswith("generations/") and not name.startswith(f"{current}/"):
                skipped = True
            if not skipped:
                found[name] = _read_version(paths.require_inside(path))
    return dict(sorted(found.items()))


def _read_version(path: Path) -> Version:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _read_remote(system: Any, root: str, store: str) -> dict[str, Version] | None:
    """Read which files of a store are the index; None if nothing was pushed there."""
    key = f"{root}/{RECORD_NAME}"
    try:
        with explain_store_errors(key):
            system.invalidate_cache()
            data = system.cat_file(key)
    except FileNotFoundError:
        return None
    files: dict[str, Version] = {}
    try:
        stored = json.loads(data)
        readable = stored["format"] == FORMAT
        if readable:
            files = {str(name): (int(size), int(changed)) for name, (size, changed) in stored["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FetchError(f"{store}/{RECORD_NAME} is damaged ({error}); push the index into an empty place") from error
    if not readable:
        raise FetchError(f"{store} was pushed by a newer version of this program; upgrade sst-retrieval")
    return files


def _check_names(names: Iterable[str], store: str, folder: Path) -> None:
    """Refuse names that lead out of the folder, or are none of an index: the store may be a stranger's."""
    for name in names:
        parts = PurePosixPath(name).parts
        hidden = any(part.startswith((".", "/")) for part in parts)
        if not parts or hidden or "\\" in name or ":" in name or not is_inside(folder / name, [folder]):
            raise FetchError(f"{store} names a file {name!r}, which no index has; do not use this store")


def _read_local(folder: Path, store: str) -> _LocalRecord:
    """Read what was pulled into a folder before."""
    path = folder / LOCAL_RECORD
    if not path.is_file():
        if folder.exists() and (not folder.is_dir() or any(not each.name.startswith(".") for each in folder.iterdir())):
            raise InputError(f"{folder} holds something that was not pulled; choose a new or empty folder")
        return _LocalRecord(store)
    try:
        stored = json.loads(path.read_text())
        files, here = (
            {str(name): (int(size), int(changed)) for name, (size, changed) in stored[part].items()}
            for part in ("files", "here")
        )
        record = _LocalRecord(str(stored["store"]), files, here, [str(name) for name in stored["pending"]])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}); pull into a new folder") from error
    if record.store.rstrip("/") != store.rstrip("/"):
        raise InputError(f"{folder} was pulled from {record.store}, not from {store}; choose another folder")
    _check_names(record.files, store, folder)
    return record


def _require_unchanged(own: _LocalRecord, folder: Path, store: str) -> None:
    """Refuse to replace what was changed here, such as reviews."""
    changed = [
        name
        for name, version in own.here.items()
        if name not in own.pending and (folder / name).is_file() and _read_version(folder / name) != version
    ]
    if changed:
        raise InputError(
            f"{folder / changed[0]} was changed here after it was pulled from {store}, and would be lost; pull into "
            "another folder (make reviews and builds in the folder that is pushed)"
        )


def _write_local(folder: Path, record: _LocalRecord) -> None:
    content = {"store": record.store, "files": record.files, "here": record.here, "pending": record.pending}
    write_text(folder / LOCAL_RECORD, json.dumps(content))


def _stage_name(name: str, version: Version) -> str:
    return hashlib.sha256(f"{name} {version}".encode()).hexdigest()


def _run(copy: Callable[[str], None], names: Collection[str], progress: Callable[[int, int], None], total: int) -> None:
    """Copy files, several at the same time; the first error ends it."""
    done = total - len(names)
    progress(done, total)
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="index copy")
    try:
        for future in as_completed([pool.submit(copy, name) for name in names]):
            future.result()
            done += 1
            progress(done, total)
    finally:
        pool.shutdown(cancel_futures=True)


def _report(new: Collection[str], files: Mapping[str, Version]) -> IndexCopyReport:
    return IndexCopyReport(len(new), len(files) - len(new), sum(files[name][0] for name in new) / 1e6)
