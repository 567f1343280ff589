"""Write the table of a folder of photographs that has none: one row a photograph.

Views are recognised by words: `dorsal/B0.jpg` and `ventral/B0.jpg`, or `B0_dorsal.jpg` and `B0_ventral.jpg`, are two
photographs of one specimen, B0. Each view is a group of its own, as it needs supports of its own.
"""

from __future__ import annotations

import csv
import io
import os
import re
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


_VIEWS = frozenset(("dorsal", "ventral", "lateral", "frontal", "anterior", "posterior", "left", "right"))
"""Words that say from where a specimen was photographed (Audiovisual Core's subjectOrientation has them all)."""


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
    """Write the table of a folder of photographs: catalogNumber, image and, where they are told apart, view and group.

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
    specimens, views = zip(*map(_split_view, photographs), strict=True)
    groups = [_name_group(each, view) for each, view in zip(specimens, views, strict=True)]
    has_groups, has_views = any(groups), any(views)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["catalogNumber", "image", *(["view"] if has_views else []), *(["group"] if has_groups else [])])
    for name, photograph, view, group in zip(_name_specimens(specimens), photographs, views, groups, strict=True):
        image = os.path.relpath(folder / photograph, path.parent).replace(os.sep, "/")
        writer.writerow([name, image, *([view] if has_views else []), *([group] if has_groups else [])])
    write_text(path, text.getvalue())
    return FolderTable(path, len(photographs), tuple(sorted(set(filter(None, groups)))))


def _split_view(photograph: PurePosixPath) -> tuple[PurePosixPath, str]:
    """Split the path of a photograph into the path that its specimen is named after, and the view; "" if none."""
    folders = [part for part in photograph.parts[:-1] if part.lower() not in _VIEWS]
    if len(folders) < len(photograph.parts) - 1:
        view = next(part for part in reversed(photograph.parts[:-1]) if part.lower() in _VIEWS)
        return PurePosixPath(*folders, photograph.name), view.lower()
    match = re.fullmatch(r"(?P<name>.*[^\s_.-])[\s_.-]+(?P<view>[A-Za-z]+)", photograph.stem)
    if match and match["view"].lower() in _VIEWS:
        return photograph.with_name(match["name"] + photograph.suffix), match["view"].lower()
    return photograph, ""


def _name_specimens(photographs: Sequence[PurePosixPath]) -> list[str]:
    """Name specimens after their photographs; names that differ in capitals only count as the same.

    Args:
        photographs: their paths without the views; the photographs of a specimen have the same.
    """
    ways = [
        [each.stem for each in photographs],
        ["_".join(each.with_suffix("").parts) for each in photographs],
        ["_".join(each.parts) for each in photographs],
        [str(each) for each in photographs],
    ]
    different = [set(zip(names, photographs, strict=True)) for names in ways]
    counts = [Counter(name.casefold() for name, _ in pairs) for pairs in different]
    return [
        next(
            (names[i] for names, count in zip(ways, counts, strict=True) if count[names[i].casefold()] == 1),
            ways[-1][i],
        )
        for i in range(len(photographs))
    ]


def _name_group(photograph: PurePosixPath, view: str) -> str:
    """Name the group after the sub-folders and the view; folders that only say what is in them do not count."""
    parts = [part for part in photograph.parts[:-1] if part.lower() not in _PLAIN_FOLDERS]
    return "/".join([*parts, *([view] if view else [])])
