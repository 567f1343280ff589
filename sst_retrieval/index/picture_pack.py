"""The small pictures of all individuals of an index in one file, an SQLite database: one row an individual.

SQLite, because a picture among millions is found in a millisecond, nothing of the file is held in memory, a program
that is killed in the middle leaves the file as it was before (its journal is rolled back by whoever opens it next), and
the space of pictures that were replaced or removed is used again (`compact` gives it back).

    individual  its id
    contents    JSON: [[name of a picture, its size in bytes], ...], as they follow each other in `data`
    checksum    SHA-256 of all three
    data        the picture files, one after the other

One program writes at a time, the build; readers open the file for a moment.
"""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import accumulate, pairwise
from pathlib import Path

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.files import atomic_write
from sst_retrieval.index.checksums import find_unreadable, parse_json

THUMBNAIL = ""
"""The name of a thumbnail; a crop is called after its trait."""

MAX_BYTES = 4_000_000
"""The pictures of an individual that are larger were not written by a build, and are not read."""

MOST_FREE = 0.25
"""If more than this share of the file is free space, the space is given back."""

_TABLE = (
    "CREATE TABLE pictures (individual TEXT PRIMARY KEY NOT NULL, contents TEXT NOT NULL, checksum BLOB NOT NULL, "
    "data BLOB NOT NULL)"
)
_SCHEMA = [("index", "sqlite_autoindex_pictures_1", None), ("table", "pictures", _TABLE)]
_SECONDS = 30.0
"""So long one program waits for another that reads or writes the file."""


Pictures = Mapping[str, bytes]
"""Name of a picture -> its file."""

PackRow = tuple[str, str, bytes, bytes]
"""Individual, contents, checksum and data: a row of the file."""


class DamagedPackError(Exception):
    """The file is damaged, or is no pack. Says how; no person sees it."""


def read_picture(path: Path, individual: str, name: str) -> bytes | None:
    """Read a picture.

    Args:
        path: of the pack.
        individual: whose.
        name: of the picture.

    Returns:
        Its file; None if there is none, or it is damaged.
    """
    try:
        with _open(path) as connection:
            sql = "SELECT contents, checksum, data FROM pictures WHERE individual = ? AND length(data) <= ?"
            row = connection.execute(sql, (individual, MAX_BYTES)).fetchone()
            return None if row is None else decode_row(individual, *row).get(name)
    except (FileNotFoundError, DamagedPackError):
        return None


def list_pictures(path: Path) -> Iterator[tuple[str, frozenset[str]]]:
    """List the names of all pictures: (individual, names), ordered by individual. There may be none.

    Nothing can be written to the pack before the iterator is used up or closed.

    Raises:
        DamagedPackError: it cannot be read.
    """
    try:
        with _open(path) as connection:
            rows = connection.execute("SELECT individual, contents FROM pictures ORDER BY individual")
            for individual, contents in rows:
                yield individual, frozenset(name for name, _ in _parse(contents))
    except FileNotFoundError:
        return


def find_pictures(path: Path, individuals: Iterable[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """List the names of the pictures of some individuals, in their order; those without any are left out.

    Raises:
        DamagedPackError: it cannot be read.
    """
    try:
        with _open(path) as connection:
            for individual in individuals:
                sql = "SELECT contents FROM pictures WHERE individual = ?"
                for (contents,) in connection.execute(sql, (individual,)):
                    yield individual, frozenset(name for name, _ in _parse(contents))
    except FileNotFoundError:
        return


def write_pictures(path: Path, pictures: Iterable[tuple[str, Pictures]]) -> None:
    """Write the pictures of individuals, in place of all older ones of theirs: all or, if it fails, none.

    Args:
        path: of the pack; made if there is none, and mended if it is damaged.
        pictures: (individual, pictures); iterated once.

    Raises:
        OSError: they cannot be written.
        IndexFolderError: another program does not let go of the file.
    """
    write_rows(path, ((individual, *encode_row(individual, each)) for individual, each in pictures))


def write_rows(path: Path, rows: Iterable[PackRow]) -> None:
    """Write encoded pictures of individuals (`encode_row`), as `write_pictures` does."""
    if find_unreadable(path) is None and not _is_whole(path):
        mend(path)
    with _change(path) as connection:
        connection.executemany("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?)", rows)


def merge_pack(path: Path, other: Path) -> None:
    """Write all pictures of another pack, in place of older ones of the same individuals: all or, if it fails, none.

    Raises:
        OSError: they cannot be written, or the other pack cannot be read.
        IndexFolderError: another program does not let go of the file.
    """
    try:
        with _open(other) as reading:
            write_rows(path, reading.execute("SELECT individual, contents, checksum, data FROM pictures"))
    except DamagedPackError as error:
        raise OSError(errno.EIO, str(error), str(other)) from error


def remove_pictures(path: Path, individuals: Iterable[str]) -> None:
    """Remove all pictures of some individuals.

    Raises:
        OSError: the file cannot be written.
        IndexFolderError: another program does not let go of the file.
    """
    with _change(path) as connection:
        connection.executemany("DELETE FROM pictures WHERE individual = ?", ((each,) for each in individuals))


def compact(path: Path) -> None:
    """Give the free space back if there is much of it; it takes the time of what is given back.

    Raises:
        OSError: the file cannot be written.
        IndexFolderError: another program does not let go of the file.
    """
    if find_unreadable(path) is not None:
        return
    with _change(path) as connection:
        free, pages = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count"))
        if free > MOST_FREE * pages:
            # Not `execute`, which does one step, that is one page: the pragma has no column.
            connection.executescript("PRAGMA incremental_vacuum; BEGIN")


def find_faults(path: Path) -> list[str]:
    """Read all of a pack; returns what is wrong with it, to stand behind its path."""
    try:
        with _open(path) as connection:
            for (answer,) in connection.execute("PRAGMA integrity_check(1)"):
                if answer != "ok":
                    return [f"is damaged ({answer.splitlines()[0]})"]
            faults = []
            for individual, *row in connection.execute("SELECT * FROM pictures"):
                try:
                    decode_row(individual, *row)
                except DamagedPackError:
                    faults.append(f"is damaged in the pictures of {individual}")
            return faults
    except FileNotFoundError:
        return []
    except DamagedPackError as error:
        return [f"is damaged ({error})"]


def mend(path: Path) -> None:
    """Write a damaged pack anew, with what of it can be read and fits its checksums.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_write(path) as temporary:
        with _change(temporary, journal="MEMORY") as connection:
            for individual, row in _rescue(path):
                connection.execute("INSERT OR IGNORE INTO pictures VALUES (?, ?, ?, ?)", (individual, *row))
        get_journal(path).unlink(missing_ok=True)  # Of the damaged file: it must not be rolled back into the new one.


def get_journal(path: Path) -> Path:
    """Return the journal of a pack: there is one while the pack is written, or if the program was killed then."""
    return path.with_name(f"{path.name}-journal")


def _rescue(path: Path) -> Iterator[tuple[str, tuple[str, bytes, bytes]]]:
    """Read the rows that can be read: from the first until one cannot, and from the last."""
    for order in ("ASC", "DESC"):
        try:
            with _open(path) as connection:
                for individual, *row in connection.execute(f"SELECT * FROM pictures ORDER BY rowid {order}"):
                    try:
                        decode_row(individual, *row)
                    except DamagedPackError:
                        continue
                    yield individual, (row[0], row[1], row[2])
                return
        except (DamagedPackError, FileNotFoundError):
            continue


def _is_whole(path: Path) -> bool:
    try:
        with _open(path):
            return True
    except DamagedPackError:
        return False


# ------------------------------------------------------------------------------------------------ rows


def encode_row(individual: str, pictures: Pictures) -> tuple[str, bytes, bytes]:
    """Return contents, checksum and data of the pictures of an individual."""
    contents = json.dumps([[name, len(picture)] for name, picture in pictures.items()], ensure_ascii=False)
    data = b"".join(pictures.values())
    return contents, _hash(individual, contents, data), data


def decode_row(individual: object, contents: object, checksum: object, data: object) -> dict[str, bytes]:
    """Return the pictures of a row.

    Raises:
        DamagedPackError: it does not fit its checksum.
    """
    # What was damaged, or put there, may be of any type.
    if not (isinstance(individual, str) and isinstance(contents, str) and isinstance(data, bytes)):
        raise DamagedPackError("a row holds something else")
    if checksum != _hash(individual, contents, data):
        raise DamagedPackError("a row does not fit its checksum")
    parts = _parse(contents)
    edges = pairwise(accumulate((size for _, size in parts), initial=0))
    return {name: data[start:stop] for (name, _), (start, stop) in zip(parts, edges, strict=True)}


def _parse(contents: object) -> list[tuple[str, int]]:
    try:
        parts = [(name, size) for name, size in parse_json(str(contents))]
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedPackError("a row has no list of its pictures") from error
    if not all(isinstance(name, str) and type(size) is int and size >= 0 for name, size in parts):
        raise DamagedPackError("a row has no list of its pictures")
    return parts


def _hash(individual: str, contents: str, data: bytes) -> bytes:
    head = json.dumps([individual, contents]).encode()
    return hashlib.sha256(head + b"\n" + data).digest()


# ------------------------------------------------------------------------------------------------ SQLite


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a pack for reading.

    Raises:
        FileNotFoundError: there is none.
        DamagedPackError: it is damaged, now or while it is read.
    """
    for each in (path, get_journal(path)):
        fault = find_unreadable(each)  # SQLite would wait for a pipe.
        if fault == "is missing" and each == path:
            raise FileNotFoundError(path)
        if fault not in (None, "is missing"):
            raise DamagedPackError(f"{each.name} {fault}")
    try:
        with closing(_connect(path, "ro")) as connection:
            try:
                _check_schema(connection)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                    raise
                # A build was killed while it wrote: what it left is rolled back.
                with closing(_connect(path, "rw")) as writing:
                    _check_schema(writing)
                _check_schema(connection)
            yield connection
    except sqlite3.Error as error:
        raise DamagedPackError(str(error)) from error


@contextmanager
def _change(path: Path, *, journal: str = "DELETE") -> Iterator[sqlite3.Connection]:
    """Open a pack for one transaction of writing; it is made if there is none."""
    try:
        with closing(_connect(path, "rwc")) as connection:
            connection.execute(f"PRAGMA journal_mode = {journal}").fetchall()
            if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()
                connection.execute(_TABLE)
            _check_schema(connection)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, str(error), str(path)) from error
        if code == sqlite3.SQLITE_BUSY:
            raise IndexFolderError(f"{path} is held by another program; wait until it ends") from error
        raise OSError(errno.EIO, str(error), str(path)) from error
    except DamagedPackError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=_SECONDS, isolation_level=None)
    # The file may come from somebody else: nothing that its schema names is called, and sizes in it are not believed.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _check_schema(connection: sqlite3.Connection) -> None:
    found = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type").fetchmany(3)
    if found != _SCHEMA:
        raise DamagedPackError("it has other tables")
