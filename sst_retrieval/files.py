"""Files on disk: written atomically, under names that every file system accepts, inside the folders they belong to."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

NOT_IN_NAMES = ':*?"<>|' if os.name == "nt" else ""
"""What no name of a file may hold on this system, besides what `escape_name` escapes everywhere. Only there, because
names that were written elsewhere must be found again."""

UNFINISHED = ".*.tmp"
"""Glob pattern of the temporary names of `atomic_write`: what a killed process may leave behind."""

OS_REMEDIES: Mapping[int | None, str] = {
    errno.EEXIST: "a file or folder of that name is there: choose another name",
    errno.ENOTDIR: "a file is where a folder is needed: choose another name",
    errno.EISDIR: "it is a folder: name a file in it",
    errno.EACCES: "you may not read or write there: choose another folder, or ask whose it is",
    errno.EPERM: "you may not read or write there: choose another folder, or ask whose it is",
    errno.EROFS: "nothing can be written on that disk: choose another folder",
    errno.ENOSPC: "the disk is full: make room, then start again",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}
"""What to do about an error of the disk."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file or a folder that appears under its name only when it is complete and on disk.

    Args:
        path: the final name. A file of that name is replaced; a folder is replaced by a folder only.

    Yields:
        A hidden, unique name in the same folder (`UNFINISHED`), to write the file or make the folder under. If the
        block fails, it is removed; if the process is killed, at most this remains.

    Raises:
        OSError: it cannot be written; the error names `path`, or its folder if that cannot be made.
    """
    _make_folder(path.parent)
    # Unique: two that write the same file at once must not write into each other's. Not `tempfile`: its files are
    # private to one user, and would stay so after the renaming.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        for written in [temporary, *temporary.rglob("*")]:
            _sync(written)
        if temporary.is_dir() and path.is_dir():
            remove(path)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        # Nobody knows the temporary name, and some errors (a full disk) name no file.
        unnamed = error.filename is None or str(error.filename) == str(temporary)
        if error.errno is None or not unnamed:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        remove(temporary)


def move(source: Path, target: Path) -> None:
    """Give a file that is on disk another name on the same file system; once this returns, a crash does not undo it."""
    source.replace(target)
    _sync(target.parent)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file with `atomic_write`; line ends are written as they are."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(text.encode())


def hash_file(path: Path) -> str:
    """Compute the SHA-256 of a file's content, a part in memory at a time.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_inside(path: Path, folders: Iterable[Path]) -> bool:
    """Check whether a path, all links followed, lies in one of some folders, or is one of them."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):
        return False  # Links in a circle, or no path at all.
    return any(real.is_relative_to(folder.resolve()) for folder in folders)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_name(name: str) -> str:
    """Turn any name into one that every file system accepts, different names into different ones.

    >>> file_name("forewing_band")
    'forewing_band'
    >>> file_name("left spot")
    'left%20spot'
    >>> file_name("Spot")
    'Spot-74f80925'
    """
    safe = quote(name, safe="")
    if len(safe) <= 100 and name == name.lower():
        return safe
    # Some file systems see no difference between S and s, and most take no very long names.
    return f"{safe[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def escape_name(name: str, more: str = "") -> str:
    r"""Turn a name into a file name that a person still reads: only what no file name can hold is escaped.

    A dot at the beginning is escaped, too: it would hide the file from who looks for it, and from a build.

    >>> escape_name("NHMUK 1929/12"), escape_name(".5 a")
    ('NHMUK 1929%2F12', '%2E5 a')

    Args:
        name: the id of a specimen, say.
        more: further characters to escape.
    """
    escaped = re.sub(
        rf"^\.|[/\\\x00-\x1f\x7f{re.escape(more + NOT_IN_NAMES)}]|%(?=[0-9A-F]{{2}})",
        lambda found: f"%{ord(found[0]):02X}",
        name,
    )
    return _escape_for_windows(escaped) if NOT_IN_NAMES else escaped


def _escape_for_windows(name: str) -> str:
    """Escape what Windows takes for a device (CON, nul.txt, COM1), and dots and blanks at the end, which it drops."""
    if re.match(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", name, re.IGNORECASE):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return re.sub(r"[. ]$", lambda found: f"%{ord(found[0]):02X}", name)


def unescape_name(name: str) -> str:
    """Return the name that `escape_name` was given."""
    return re.sub(r"%([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), name)


def explain_os_error(error: OSError) -> str:
    """Write an error of the disk as what, where and what to do."""
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename} cannot be used: {error.strerror}; {OS_REMEDIES.get(error.errno, 'check the path')}"


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they do not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(
            errno.ENOTDIR, "is a file, so that nothing can be written into it", str(folder)
        ) from error


def _sync(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder, and keeps its list of files in order by itself.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot sync a folder; PostgreSQL passes over the same two errors.
        if not path.is_dir() or error.errno not in (errno.EBADF, errno.EINVAL):
            raise
    finally:
        os.close(handle)
