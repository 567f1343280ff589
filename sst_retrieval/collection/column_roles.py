"""Which columns of a table are interpreted, and as what: found by their usual names or named by the caller."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sst_retrieval.collection.photograph_files import PHOTOGRAPH_SUFFIXES, is_web_address, split_list
from sst_retrieval.collection.specimen_table import SpecimenTable
from sst_retrieval.errors import CollectionError

ID_COLUMNS = ("catalogNumber", "specimen", "id", "occurrenceID")
IMAGE_COLUMNS = (
    *("image", "file", "path", "filename", "image_file", "photo", "photograph", "picture"),
    *("accessURI", "associatedMedia", "identifier"),
)
GROUP_COLUMN = "group"
VIEW_COLUMNS = ("view", "aspect", "subjectOrientationLiteral", "subjectOrientation")
"""The last two are Audiovisual Core's. Its `subjectPart` is none: a part may be photographed from several sides."""

PHOTOGRAPH_COLUMNS = ("photograph", "photographID", "photographName")
"""Of the photographs' own names; a column `photograph` that holds files is one of `IMAGE_COLUMNS`."""

_FILE_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,3}")

RESERVED_PREFIX = "sst:"
"""Prefix of this program's own columns in a catalog; no column of a table may begin with it."""


@dataclass(frozen=True, slots=True)
class ColumnRoles:
    """The columns that are interpreted.

    Attributes:
        id: of the specimens' catalogue numbers; None takes the file names of the photographs.
        image: of the photographs' files.
        group: of the groups; None makes one group.
        view: of the views; None if the table does not say.
        photograph: of the photographs' own names; None if they have none.
    """

    id: str | None
    image: str
    group: str | None
    view: str | None = None
    photograph: str | None = None

    def names(self) -> set[str]:
        """Return the names of all of them."""
        return {name for name in (self.id, self.image, self.group, self.view, self.photograph) if name is not None}


def find_roles(
    table: SpecimenTable,
    *,
    id_column: str | None = None,
    image_column: str | None = None,
    group_column: str | None = None,
    view_column: str | None = None,
) -> ColumnRoles:
    """Find the columns that are interpreted.

    Args:
        table: the table as read.
        id_column: of the catalogue numbers; None finds it by its usual names, as for the others.
        image_column: of the photographs' files.
        group_column: of the groups.
        view_column: of the views.

    Raises:
        CollectionError: the table does not have the column that is named, or none that may hold the photographs.
    """
    own_names = _find_own_names(table, image_column)
    usual_images = [name for name in IMAGE_COLUMNS if own_names is None or normalise_name(name) != "photograph"]
    image = _require_column(table, image_column, usual_images, "--image-column")

    def find(requested: str | None, usual: Sequence[str], option: str) -> str | None:
        if requested is None and find_column((name for name in table.columns if name != image), usual) is None:
            return None
        return _require_column(table, requested, usual, option)

    return ColumnRoles(
        id=find(id_column, ID_COLUMNS, "--id-column") or own_names,
        image=image,
        group=find(group_column, (GROUP_COLUMN,), "--group-column"),
        view=find(view_column, VIEW_COLUMNS, "--view-column"),
        photograph=own_names,
    )


def find_column(columns: Iterable[str], usual: Sequence[str]) -> str | None:
    """Find a column by its usual names, the most telling first, however it is spelt; None if there is none."""
    by_name: dict[str, str] = {}
    names = set()
    for name in columns:
        names.add(name)
        by_name.setdefault(normalise_name(name), name)
    for name in usual:
        if name in names:
            return name
        if normalise_name(name) in by_name:
            return by_name[normalise_name(name)]
    return None


def _find_own_names(table: SpecimenTable, image_column: str | None) -> str | None:
    """Find the column of the photographs' own names; it is not the one of their files."""
    for usual in PHOTOGRAPH_COLUMNS:
        column = find_column(table.columns, (usual,))
        if column is None or _holds_files(table, column):
            continue
        if image_column is not None:
            others = find_column(table.columns, (image_column,)) != column
        else:
            others = find_column((name for name in table.columns if name != column), IMAGE_COLUMNS) is not None
        if others:
            return column
    return None


def _holds_files(table: SpecimenTable, column: str) -> bool:
    """Say whether most cells of a column name files or web addresses."""
    filled = [part for value in table.columns[column] if value is not None for part in split_list(str(value))]
    files = [each for each in filled if is_web_address(each) or _FILE_SUFFIX.fullmatch(PurePosixPath(each).suffix)]
    return 2 * len(files) > len(filled)


def _require_column(table: SpecimenTable, requested: str | None, usual: Sequence[str], option: str) -> str:
    found = find_column(table.columns, usual if requested is None else (requested,))
    if found is not None:
        return found
    wanted = f"a column {requested!r}" if requested else f"none of the columns {', '.join(usual)}"
    have = "does not have " if requested else "has "
    shown = [*list(table.columns)[:40], *(["..."] if len(table.columns) > 40 else [])]
    if requested is None and any(PurePosixPath(name).suffix.lower() in PHOTOGRAPH_SUFFIXES for name in table.columns):
        raise CollectionError(
            f"{table.source} {have}{wanted}; its first line, {', '.join(shown)}, looks like a row: write the "
            f"names of the columns above it"
        )
    raise CollectionError(
        f"{table.source} {have}{wanted}; it has: {', '.join(shown)}; "
        f"name the right one with {option} ({option[2:].replace('-', '_')}= in Python)"
    )


def normalise_name(name: str) -> str:
    """Write a column's name without a prefix of its vocabulary (dwc: or an address), blanks and case."""
    bare = re.sub(
        r"^(https?://.*[/#]|(dwc|dwciri|dc|dcterms|ac|exif|xmp|gbif):)(?=.)", "", name.strip(), flags=re.IGNORECASE
    )
    return re.sub(r"[\s_-]", "", bare).casefold()


def check_column_prefix(columns: Iterable[str], source: str) -> None:
    """Refuse columns that a search would confuse with this program's own.

    Raises:
        CollectionError: a column begins with "sst:".
    """
    for name in columns:
        if name.casefold().startswith(RESERVED_PREFIX):
            raise CollectionError(
                f"{source}: the column {name!r} begins with {RESERVED_PREFIX!r}, which is this program's own; rename it"
            )
