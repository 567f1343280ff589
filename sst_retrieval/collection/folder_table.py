"""Write the table of a folder of photographs that has none: one row a photograph."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sst_retrieval.collection.photograph_files import PHOTOGRAPH_SUFFIXES
from sst_retrieval.errors import CollectionError
from sst_retrieval.files import write_text

TABLE_NAME = "collection.csv"

_OTHER_FOLDERS = frozenset(("supports", "labels", "masks", "annotations", "indexes", "index", "crops", "thumbnails"))
"""Folders that hold pictures of another kind, by their names in lower case."""

_PLAIN_FOLDERS = frozenset(("images", "photographs", "photos", "pictures", "jpg", "jpeg", "tif", "tiff", "raw"))
"""Folders whose names say nothing about the specimens in them."""


@dataclass(frozen=True, slots=True)
class FolderTable:
    """The table that was written for a folder.

    Attributes:
        path: of the table.
        photographs: number of its rows.
        groups: in alphabetical order; empty if the table has no column of groups.
    """

    path: Path
    photographs: int
    groups: tuple[str, ...]


def find_photographs(folder: Path) -> Iterator[PurePosixPath]:
    """Find the photographs in a folder and its sub-folders, by their suffixes.

    Hidden files, folders of supports and labels, and indexes are left out; links to folders are not followed.

    Yields:
        Paths relative to the folder.
    """
    for current, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name.lower() not in _OTHER_FOLDERS
            and not (Path(current, name) / "manifest.json").exists()  # An index.
        ]
        inside = PurePosixPath(Path(current).relative_to(folder).as_posix())
        for name in names:
            if not name.startswith(".") and PurePosixPath(name).suffix.lower() in PHOTOGRAPH_SUFFIXES:
                yield inside / name


def write_folder_table(folder: Path, output: Path | None = None) -> FolderTable:
    """Write the table of a folder of photographs: catalogNumber, image and, where there are sub-folders, group.

    The id is the file name without its suffix; where several photographs have it, the names of their folders, and if
    need be the suffix, are added. So ids depend on the files alone.

    Args:
        folder: of the photographs.
        output: the table; None writes `collection.csv` into the folder.

    Raises:
        CollectionError: the folder does not exist or holds no photograph, or there is a table already.
    """
    path = output if output is not None else folder / TABLE_NAME
    if not folder.is_dir():
        raise CollectionError(f"{folder} is not a folder; name the folder of the photographs")
    if path.exists() or path.is_symlink():
        raise CollectionError(f"{path} is there already and is not replaced; move it away to write it anew")
    photographs = sorted(each for each in find_photographs(folder) if str(each).isprintable())
    if not photographs:
        raise CollectionError(f"{folder} holds no photographs (JPEG, PNG, TIFF, ...); name their folder")
    groups = [_name_group(each) for each in photographs]
    has_groups = any(groups)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["catalogNumber", "image", *(["group"] if has_groups else [])])
    for name, photograph, group in zip(_name_specimens(photographs), photographs, groups, strict=True):
        image = os.path.relpath(folder / photograph, path.parent).replace(os.sep, "/")
        writer.writerow([name, image, *([group] if has_groups else [])])
    write_text(path, text.getvalue())
    return FolderTable(path, len(photographs), tuple(sorted(set(filter(None, groups)))))


def _name_specimens(photographs: Sequence[PurePosixPath]) -> list[str]:
    """Name specimens after their photographs; names that differ in capitals only count as the same."""
    ways = [
        [each.stem for each in photographs],
        ["_".join(each.with_suffix("").parts) for each in photographs],
        ["_".join(each.parts) for each in photographs],
        [str(each) for each in photographs],
    ]
    counts = [Counter(name.casefold() for name in names) for names in ways]
    return [
        next(
            (names[i] for names, count in zip(ways, counts, strict=True) if count[names[i].casefold()] == 1),
            ways[-1][i],
        )
        for i in range(len(photographs))
    ]


def _name_group(photograph: PurePosixPath) -> str:
    """Name the group after the sub-folders; those that only say what is in them do not count."""
    parts = [part for part in photograph.parts[:-1] if part.lower() not in _PLAIN_FOLDERS]
    return "/".join(parts)
