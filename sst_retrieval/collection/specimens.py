"""Room 1: from a specimen table to specimens.

A table is a CSV or TSV file, a Parquet file, or a Darwin Core Archive. One row is one photograph of one specimen. Three
columns are interpreted, found by their usual names or named by the caller; all others are kept as metadata.

- the id: the first of `catalogNumber`, `specimen`, `id` and `occurrenceID` that exists. Always text: 00123 stays 00123.
- the photograph: `image`, `file`, ... A path is relative to the table's folder, or to the folder of photographs.
- the group whose support the specimen shares: `group`. Without that column all specimens are one group, "all".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sst_retrieval.collection.darwin_core_archive import (
    file_name,
    index_by_file_name,
    is_archive,
    is_web_address,
    read_archive,
)
from sst_retrieval.collection.table_files import SpecimenTable, infer_types, read_table
from sst_retrieval.errors import CollectionError
from sst_retrieval.types import Skipped, Specimen

ID_COLUMNS = ("catalogNumber", "specimen", "id", "occurrenceID")
IMAGE_COLUMNS = (
    *("image", "file", "path", "filename", "image_file", "photo", "photograph", "picture"),
    *("accessURI", "associatedMedia", "identifier"),
)
GROUP_COLUMN = "group"
DEFAULT_GROUP = "all"
"""The group of every specimen that has none."""

RESERVED_PREFIX = "sst:"
"""Prefix of this program's own columns in a catalog; no column of a table may begin with it."""

# Names of columns that hold codes: 0412 and 412 are different codes.
_CODE_NAME = re.compile(r"(ID|Id|_id|Number|Code|Identifier)$")


@dataclass(frozen=True, slots=True)
class Collection:
    """The specimens of a table.

    Attributes:
        specimens: in the order of the table.
        columns: the table's columns in their order: name -> DuckDB type. They are the keys of `Specimen.metadata`.
        source: path of the table.
        left_out: rows without a photograph; a build records them.
        notes: how the table was read where that was not certain, one sentence each.
    """

    specimens: tuple[Specimen, ...]
    columns: Mapping[str, str]
    source: Path
    left_out: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


def read_collection(
    table: Path,
    *,
    images: Path | None = None,
    id_column: str | None = None,
    image_column: str | None = None,
    group_column: str | None = None,
) -> Collection:
    """Read a specimen table.

    An occurrence of a Darwin Core Archive with several photographs becomes as many specimens: ID_1, ID_2, ...

    Args:
        table: .csv, .tsv or .txt (commas, semicolons or tabs), .parquet, or a Darwin Core Archive: .zip or folder.
        images: folder of the photographs, if it is not the table's. A web address, or a path that does not exist, then
            means the file of that name in the folder, provided that no other photograph has the same name.
        id_column: column of the specimens' ids.
        image_column: column of the photographs.
        group_column: column of the groups; one support serves one group.

    Raises:
        CollectionError: the table cannot be read, is inconsistent, or none of its photographs exists. That some
            photographs are missing is no error here.
    """
    if images is not None and not images.is_dir():
        raise CollectionError(f"the folder of photographs {images} does not exist; check --images (images= in Python)")
    copy_numbers: Sequence[int] = ()
    folder = table.parent
    if is_archive(table):
        archive = read_archive(table, unpack=images is None)
        raw, copy_numbers, images = archive.table, archive.copy_numbers, images or archive.photographs
    else:
        raw = read_table(table)
    if not raw.row_numbers:
        raise CollectionError(f"{raw.source} has no rows below its header; list one specimen a row")
    names = _ColumnRoles(
        _find_column(raw, id_column, ID_COLUMNS, "--id-column"),
        _find_column(raw, image_column, IMAGE_COLUMNS, "--image-column"),
        _find_group_column(raw, group_column),
    )
    check_column_prefix(raw.columns, raw.source)
    keep_text = {names.id, names.image, names.group} | {name for name in raw.columns if _CODE_NAME.search(name)}
    if raw.types[names.id] == "DOUBLE":
        raise CollectionError(f"{raw.source}: {names.id} holds decimal numbers, which name nothing; store it as text")
    typed = infer_types(raw, {name for name in keep_text if name is not None})
    ids = _read_ids(typed, names.id, copy_numbers)
    photographs = _find_photographs(typed, names.image, images or folder, named=images is not None)
    return _build_collection(typed, ids, photographs, names.group, table)


# ------------------------------------------------------------------------------------------------------- columns


@dataclass(frozen=True, slots=True)
class _ColumnRoles:
    id: str
    image: str
    group: str | None


def _find_column(table: SpecimenTable, requested: str | None, usual: Sequence[str], option: str) -> str:
    by_name = {_normalise(name): name for name in table.columns}
    for name in usual if requested is None else (requested,):
        if name in table.columns:
            return name
        if _normalise(name) in by_name:
            return by_name[_normalise(name)]
    wanted = f"a column {requested!r}" if requested else f"none of the columns {', '.join(usual)}"
    have = "does not have " if requested else "has "
    raise CollectionError(
        f"{table.source} {have}{wanted}; it has: {', '.join(table.columns)}; "
        f"name the right one with {option} ({option[2:].replace('-', '_')}= in Python)"
    )


def _find_group_column(table: SpecimenTable, requested: str | None) -> str | None:
    if requested is None and not any(_normalise(name) == GROUP_COLUMN for name in table.columns):
        return None
    return _find_column(table, requested, (GROUP_COLUMN,), "--group-column")


def _normalise(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


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


# ----------------------------------------------------------------------------------------------------------- ids


def _read_ids(table: SpecimenTable, column: str, copy_numbers: Sequence[int]) -> list[str]:
    values = table.columns[column]
    missing = [row for row, value in enumerate(values) if value is None]
    if missing:
        raise CollectionError(
            f"{table.source} {table.locate(missing)}: {column} is empty; give every specimen an id, "
            f"or choose another column with --id-column (id_column= in Python)"
        )
    ids = [str(value) for value in values]
    _check_file_names(table, column, ids)
    ids = [f"{name}_{copy}" if copy else name for name, copy in zip(ids, copy_numbers or [0] * len(ids), strict=True)]
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(ids):
        rows.setdefault(name, []).append(row)
    repeated = [f"{name!r} in {table.locate(found)}" for name, found in rows.items() if len(found) > 1]
    if repeated:
        more = f", and {len(repeated) - 3:,} more" if len(repeated) > 3 else ""
        raise CollectionError(
            f"{table.source}: {column} must be different for every row, but there is {'; '.join(repeated[:3])}{more}; "
            f"rename them, or choose another column with --id-column (id_column= in Python)"
        )
    return ids


def _check_file_names(table: SpecimenTable, column: str, ids: Sequence[str]) -> None:
    """Refuse ids that cannot be file names: exports write files named after specimens."""
    for row, name in enumerate(ids):
        if name in (".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name) or len(name.encode()) > 200:
            raise CollectionError(
                f"{table.source} {table.locate([row])}: {column} {name[:80]!r} cannot be a file name (no / or \\, no "
                f"control characters, at most 200 bytes); rename it, or choose another column with --id-column "
                f"(id_column= in Python)"
            )


# --------------------------------------------------------------------------------------------------- photographs


def _find_photographs(table: SpecimenTable, column: str, folder: Path, *, named: bool) -> list[Path | None]:
    """Resolve the path of each photograph, whether the file exists or not; None for an empty cell.

    Args:
        table: the specimens.
        column: column of the photographs.
        folder: folder that relative paths start from.
        named: whether the folder was given by the caller (or extracted); then files are also found by name alone.
    """
    values = [None if value is None else str(value) for value in table.columns[column]]
    names = index_by_file_name({value for value in values if value is not None})
    found = [_find_photograph(table, row, value, folder, names if named else None) for row, value in enumerate(values)]
    wanted = [path for path in found if path is not None]
    if not wanted:
        raise CollectionError(f"{table.source}: the column {column!r} is empty, so there are no photographs")
    if not any(path.is_file() for path in wanted):
        raise CollectionError(
            f"{table.source}: none of its {len(wanted):,} photographs exists, for example {wanted[0]}; "
            f"name the folder of the photographs with --images (images= in Python)"
        )
    return found


def _find_photograph(
    table: SpecimenTable, row: int, value: str | None, folder: Path, names: Mapping[str, str] | None
) -> Path | None:
    if value is None:
        return None
    if not value.isprintable():
        raise CollectionError(f"{table.source} {table.locate([row])}: the photograph {value!r} cannot be a file name")
    name = file_name(value)
    if is_web_address(value):
        if names is None:
            raise CollectionError(
                f"{table.source} {table.locate([row])}: the photograph {value} is a web address; download the "
                f"photographs first and name their folder with --images (images= in Python)"
            )
        if name not in names:
            raise CollectionError(
                f"{table.source} {table.locate([row])}: {value} and another address end in the same file name {name!r};"
                f" write the names of the downloaded files into a column and name it with --image-column"
            )
        return (folder / name).absolute()
    path = (folder / value.replace("\\", "/")).absolute()
    alone = (folder / name).absolute()
    return alone if names is not None and name in names and not path.is_file() and alone.is_file() else path


def _build_collection(
    table: SpecimenTable, ids: Sequence[str], photographs: Sequence[Path | None], group_column: str | None, source: Path
) -> Collection:
    groups = table.columns[group_column] if group_column else [None] * len(ids)
    rows = zip(*table.columns.values(), strict=True)
    specimens, left_out = [], []
    for name, image, group, cells in zip(ids, photographs, groups, rows, strict=True):
        if image is None:
            left_out.append(Skipped(name, "image", f"{table.source} names no photograph for it"))
        else:
            metadata = dict(zip(table.columns, cells, strict=True))
            specimens.append(Specimen(name, image, str(group or DEFAULT_GROUP), metadata))
    return Collection(tuple(specimens), dict(table.types), source, tuple(left_out))
