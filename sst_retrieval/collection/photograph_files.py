"""Find the photographs that a table names on the disk, however their names are spelt there."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from sst_retrieval.files import is_inside

PHOTOGRAPH_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".jp2", ".bmp", ".gif", ".heic", ".dng", ".nef", ".cr2", ".arw")
)

_SEVERAL = re.compile(r"\s*[|;]\s*")
_MAX_FOLDER = 200_000
"""Names of one folder that are compared at most."""


def file_name(reference: str) -> str:
    """Return the file name that a web address or path ends in.

    >>> file_name("https://museum.example/media/IMG%201.jpg?size=full")
    'IMG 1.jpg'
    """
    if is_web_address(reference):
        reference = unquote(urlsplit(reference).path)
    return PurePosixPath(reference.replace("\\", "/")).name


def is_web_address(reference: str) -> bool:
    """Return whether a reference is a web address, not the path of a file."""
    return "://" in reference and not reference.lower().startswith("file://")


def index_by_file_name(references: Iterable[str]) -> dict[str, str]:
    """Map each file name to the one reference that ends in it; names that several references share are left out."""
    by_name: dict[str, list[str]] = {}
    for reference in references:
        by_name.setdefault(file_name(reference), []).append(reference)
    return {name: found[0] for name, found in by_name.items() if len(found) == 1}


def split_list(reference: str) -> list[str]:
    """Split a cell that lists several photographs; a cell that names one is returned as it is.

    >>> split_list("a.jpg|b.jpg")
    ['a.jpg', 'b.jpg']
    """
    parts = split_words(reference)
    addresses = [is_web_address(part) for part in parts]
    named = [PurePosixPath(part).suffix.lower() in PHOTOGRAPH_SUFFIXES for part in parts]
    several = len(parts) > 1 and (all(addresses) or (all(named) and not any(addresses)))
    return parts if several or (len(parts) == 1 and reference.startswith("[")) else [reference]


def split_words(text: str) -> list[str]:
    """Split a cell at the marks that separate the photographs of a list; one of Parquet's lists is JSON.

    >>> split_words("dorsal | ventral")
    ['dorsal', 'ventral']
    >>> split_words('["dorsal", "ventral"]')
    ['dorsal', 'ventral']
    """
    if text.startswith("[") and text.endswith("]"):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list) and listed and all(isinstance(each, str) and each.strip() for each in listed):
            return [each.strip() for each in listed]
    return [part for part in _SEVERAL.split(text.strip()) if part]


@dataclass(frozen=True, slots=True)
class FoundFile:
    """Where a photograph was looked for.

    Attributes:
        path: absolute path; of the file that is there, else as the table spells it.
        is_respelt: whether the file is spelt otherwise than in the table.
        similar: names beside it that may be meant, if no file is there.
    """

    path: Path
    is_respelt: bool = False
    similar: tuple[str, ...] = ()


@dataclass(slots=True)
class PhotographFinder:
    """Finds photographs, and remembers the lists of folders.

    A name that is not there as it is spelt means the one file that differs from it only in how accents are composed, in
    capitals, in blanks at its ends, or in signs that are written as on the web (%20).

    Attributes:
        folder: where relative paths start.
        inside: True refuses paths that lead out of the folder.
        names: file names that one photograph alone has; they are looked for in the folder itself, too.
        elsewhere: absolute paths of files that are not there yet, but will be when they are opened.
    """

    folder: Path
    inside: bool = False
    names: frozenset[str] = frozenset()
    elsewhere: Container[Path] = ()
    _lists: dict[Path, dict[str, list[str]]] = field(default_factory=dict)

    def find(self, reference: str) -> FoundFile | None:
        """Find a photograph by its path or web address; None if it leads out of the folder."""
        name = file_name(reference)
        if is_web_address(reference):
            candidates = [name]
        else:
            candidates = [_to_path(reference), *([name] if name in self.names else [])]
        found = [self._find_path(candidate) for candidate in candidates]
        best = next((each for each in found if self.is_there(each.path)), found[0])
        return best if not self.inside or is_inside(best.path, [self.folder]) else None

    def is_there(self, path: Path) -> bool:
        """Say whether a path is a file, or will be when it is opened."""
        return path in self.elsewhere or is_file(path)

    def _find_path(self, reference: str) -> FoundFile:
        path = (self.folder / reference).absolute()
        if self.is_there(path):
            return FoundFile(path)
        current = self.folder.absolute() if not PurePosixPath(reference).is_absolute() else Path(path.anchor)
        parts = PurePosixPath(reference).parts
        for position, part in enumerate(parts if current == self.folder.absolute() else parts[1:]):
            if part == ".." or _exists(current / part):
                current = current / part
                continue
            listed = self._list(current)
            spellings = listed.get(_exact_key(part)) or listed.get(_loose_key(part)) or []
            if len(spellings) != 1:
                last = position == len(parts) - 1
                return FoundFile(path, similar=tuple(spellings) or self._list_similar(current, part) if last else ())
            current = current / spellings[0]
        return FoundFile(current, is_respelt=True) if is_file(current) else FoundFile(path)

    def _list(self, folder: Path) -> dict[str, list[str]]:
        """List the names in a folder under their keys."""
        if folder not in self._lists:
            listed: dict[str, list[str]] = {}
            try:
                with os.scandir(folder) as entries:
                    for count, entry in enumerate(entries):
                        if count == _MAX_FOLDER:
                            break
                        for key in {_exact_key(entry.name), _loose_key(entry.name), _stem_key(entry.name)}:
                            listed.setdefault(key, []).append(entry.name)
            except OSError:
                pass  # No folder, or none that may be read: nothing is found in it.
            self._lists[folder] = listed
        return self._lists[folder]

    def _list_similar(self, folder: Path, name: str) -> tuple[str, ...]:
        """List the photographs in a folder whose names differ in the suffix only."""
        found = self._list(folder).get(_stem_key(name), [])
        return tuple(other for other in found if PurePosixPath(other).suffix.lower() in PHOTOGRAPH_SUFFIXES)[:3]


def _to_path(reference: str) -> str:
    """Turn a path as Windows or a file:// address writes it into one with slashes."""
    if reference.lower().startswith("file://"):
        reference = unquote(urlsplit(reference).path)
        reference = re.sub(r"^/(?=[A-Za-z]:)", "", reference)
    return reference.replace("\\", "/")


def _exact_key(name: str) -> str:
    return "=" + unicodedata.normalize("NFC", name).strip()


def _loose_key(name: str) -> str:
    return "~" + unicodedata.normalize("NFC", unicodedata.normalize("NFC", unquote(name)).strip().casefold())


def _stem_key(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    stem = name[: -len(suffix)] if suffix in PHOTOGRAPH_SUFFIXES else name
    return "." + _loose_key(stem)


def is_file(path: Path) -> bool:
    """Say whether a path is a file; a name that no disk accepts is none."""
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises of long names.


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  As above.
