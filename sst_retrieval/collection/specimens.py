"""Room 1: from a specimen table to specimens.

A table is a CSV or TSV file, a Parquet file, or a Darwin Core Archive. One row is one photograph of one specimen. Three
columns are interpreted, found by their usual names or named by the caller; all others are kept as metadata.

- the id: the first of `catalogNumber`, `specimen`, `id` and `occurrenceID` that exists, else the photograph's file
  name. Always text: 00123 stays 00123.
- the photograph: `image`, `file`, ... A path is relative to the table's folder, or to the folder of photographs.
- the group whose support the specimen shares: `group`. Without that column all specimens are one group, "all".

A row that cannot be used is left out and listed; whatever is not certain is noted. The table is refused only where no
row could be used, or where it is not clear which row or column is meant.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sst_retrieval.collection.column_types import infer_types
from sst_retrieval.collection.darwin_core_archive import is_archive, read_archive
from sst_retrieval.collection.folder_table import find_photographs
from sst_retrieval.collection.photograph_files import (
    PhotographFinder,
    file_name,
    index_by_file_name,
    is_file,
    is_web_address,
    split_list,
)
from sst_retrieval.collection.scale_column import check_scale_column
from sst_retrieval.collection.specimen_table import SpecimenTable
from sst_retrieval.collection.table_files import TEXT_SUFFIXES, read_table
from sst_retrieval.errors import CollectionError
from sst_retrieval.types import Photograph, Skipped

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
    """The photographs of a table.

    Attributes:
        photographs: in the order of the table.
        columns: the table's columns in their order: name -> DuckDB type. They are the keys of `Photograph.metadata`.
        source: path of the table.
        left_out: rows without a photograph; a build records them.
        notes: how the table was read where that was not certain, one sentence each.
    """

    photographs: tuple[Photograph, ...]
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
    _require_table(table)
    folder, confined = table.parent, False
    if is_archive(table):
        # The photographs of an archive lie in it: what it names elsewhere on this computer is none of its business.
        confined = images is None
        folder = table.parent if table.is_file() else table
        archive = read_archive(table, unpack=images is None)
        raw, copy_numbers, images = archive.table, archive.copy_numbers, images or archive.photographs
    else:
        raw = read_table(table)
    if not raw.row_numbers:
        raise CollectionError(f"{raw.source} has no rows below its header; list one specimen a row")
    check_column_prefix(raw.columns, raw.source)
    names = _find_roles(raw, id_column, image_column, group_column)
    keep_text = {names.id, names.image, names.group} | {name for name in raw.columns if _CODE_NAME.search(name)}
    if names.id is not None and raw.types[names.id] == "DOUBLE":
        raise CollectionError(f"{raw.source}: {names.id} holds decimal numbers, which name nothing; store it as text")
    typed = check_scale_column(infer_types(raw, {name for name in keep_text if name is not None}))
    notes = list(typed.notes)
    photographs = _find_photographs(
        typed, names.image, images or folder, named=images is not None, inside=confined, notes=notes
    )
    rows = _name_rows(typed, names, photographs, copy_numbers, notes)
    return _build_collection(typed, rows, photographs, names, table, notes)


def _require_table(path: Path) -> None:
    """Refuse a table that is not there and a folder that is no unpacked archive, and say what to give in its place.

    Raises:
        CollectionError: it is one of the two.
    """
    if not path.exists() and path.parent.is_dir() and any(find_photographs(path.parent)):
        suffixes = (*TEXT_SUFFIXES, ".parquet")
        near = sorted(each.name for each in path.parent.iterdir() if each.suffix.lower() in suffixes)
        if near:
            raise CollectionError(f"{path} is not there; its folder has the table {near[0]}: check the name")
        raise CollectionError(
            f"{path} is not there; its folder holds photographs without a table: write one with: "
            f"sst-retrieval init {path.parent}"
        )
    if not path.is_dir() or (path / "meta.xml").is_file():
        return
    tables = sorted(each.name for each in path.iterdir() if each.suffix.lower() in (*TEXT_SUFFIXES, ".parquet", ".zip"))
    if tables:
        raise CollectionError(f"{path} is a folder; give the table in it: {path / tables[0]}")
    if any(find_photographs(path)):
        raise CollectionError(
            f"{path} is a folder of photographs without a table; write one with: sst-retrieval init {path}"
        )
    raise CollectionError(
        f"{path} is a folder that holds neither a table, nor photographs, nor the meta.xml of a Darwin Core Archive; "
        f"check the path"
    )


# ------------------------------------------------------------------------------------------------------- columns


@dataclass(frozen=True, slots=True)
class _ColumnRoles:
    """The columns that are interpreted.

    Attributes:
        id: of the ids; None takes the file names of the photographs.
        image: of the photographs.
        group: of the groups; None makes one group.
    """

    id: str | None
    image: str
    group: str | None


def _find_roles(
    table: SpecimenTable, id_column: str | None, image_column: str | None, group_column: str | None
) -> _ColumnRoles:
    image = _find_column(table, image_column, IMAGE_COLUMNS, "--image-column")
    if id_column is not None or _has_column(table, ID_COLUMNS, but=image):
        identity = _find_column(table, id_column, ID_COLUMNS, "--id-column")
    else:
        identity = None
    named_group = group_column is not None or _has_column(table, (GROUP_COLUMN,), but=image)
    group = _find_column(table, group_column, (GROUP_COLUMN,), "--group-column") if named_group else None
    return _ColumnRoles(identity, image, group)


def _has_column(table: SpecimenTable, usual: Sequence[str], *, but: str) -> bool:
    return bool({_normalise(name) for name in table.columns if name != but} & set(map(_normalise, usual)))


def _find_column(table: SpecimenTable, requested: str | None, usual: Sequence[str], option: str) -> str:
    by_name: dict[str, str] = {}
    for name in table.columns:
        by_name.setdefault(_normalise(name), name)
    for name in usual if requested is None else (requested,):
        if name in table.columns:
            return name
        if _normalise(name) in by_name:
            return by_name[_normalise(name)]
    wanted = f"a column {requested!r}" if requested else f"none of the columns {', '.join(usual)}"
    have = "does not have " if requested else "has "
    shown = [*list(table.columns)[:40], *(["..."] if len(table.columns) > 40 else [])]
    raise CollectionError(
        f"{table.source} {have}{wanted}; it has: {', '.join(shown)}; "
        f"name the right one with {option} ({option[2:].replace('-', '_')}= in Python)"
    )


def _normalise(name: str) -> str:
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


# --------------------------------------------------------------------------------------------------- photographs


@dataclass(frozen=True, slots=True)
class _Photograph:
    """The photograph of a row.

    Attributes:
        path: absolute path, whether the file exists or not; None if there is none to look for.
        reason: why there is none.
    """

    path: Path | None
    reason: str = ""


def _find_photographs(
    table: SpecimenTable, column: str, folder: Path, *, named: bool, inside: bool, notes: list[str]
) -> list[_Photograph]:
    """Resolve the path of each row's photograph.

    Args:
        table: the specimens.
        column: column of the photographs.
        folder: folder that relative paths start from.
        named: whether the folder was given by the caller (or extracted); then files are also found by name alone.
        inside: refuse photographs outside the folder.
        notes: gets what was noted.
    """
    values = [None if value is None else str(value) for value in table.columns[column]]
    by_name = index_by_file_name({value for value in values if value is not None})
    finder = PhotographFinder(folder, inside, frozenset(by_name) if named else frozenset())
    found, respelt, similar = [], [], []
    for row, value in enumerate(values):
        reason = _explain_unusable(table, row, value, by_name, named=named)
        if value is None or reason:
            found.append(_Photograph(None, reason))
            continue
        file = finder.find(value)
        if file is None:
            found.append(_Photograph(None, f"{table.source} {table.locate([row])}: {value} lies outside {folder}"))
            continue
        found.append(_Photograph(file.path))
        respelt += [(value, file.path.name)] * file.is_respelt
        similar += [(value, " and ".join(file.similar))] * bool(file.similar)
    _require_photographs(table, column, values, found, similar)
    notes += _note_spellings(table, respelt, similar)
    return found


def _explain_unusable(
    table: SpecimenTable, row: int, value: str | None, by_name: Mapping[str, str], *, named: bool
) -> str:
    """Say why a cell names no photograph that could be looked for; "" if it does."""
    where = f"{table.source} {table.locate([row])}"
    if value is None:
        return f"{table.source} names no photograph for it"
    if not value.isprintable():
        return f"{where}: the photograph {value!r} cannot be a file name"
    parts = split_list(value)
    if len(parts) > 1:
        return (
            f"{where} names {len(parts)} photographs ({value}); write a row for each, with an id of its own, "
            f"such as ID_1, ID_2"
        )
    if is_web_address(value) and not named:
        return (
            f"{where}: the photograph {value} is a web address; download the photographs first and name their folder "
            f"with --images (images= in Python)"
        )
    if is_web_address(value) and file_name(value) not in by_name:
        return (
            f"{where}: {value} and another address end in the same file name {file_name(value)!r}; write the names of "
            f"the downloaded files into a column and name it with --image-column"
        )
    return ""


def _require_photographs(
    table: SpecimenTable,
    column: str,
    values: Sequence[str | None],
    found: Sequence[_Photograph],
    similar: Sequence[tuple[str, str]],
) -> None:
    """Refuse a table of which no photograph could be read."""
    if not any(values):
        raise CollectionError(f"{table.source}: the column {column!r} is empty, so there are no photographs")
    wanted = [each.path for each in found if each.path is not None]
    if not wanted:
        raise CollectionError(next(each.reason for each, value in zip(found, values, strict=True) if value))
    if not any(map(is_file, wanted)):
        hint = f" (there is {similar[0][1]})" if similar else ""
        raise CollectionError(
            f"{table.source}: none of its {len(wanted):,} photographs exists, for example {wanted[0]}{hint}; "
            f"name the folder of the photographs with --images (images= in Python)"
        )


def _note_spellings(
    table: SpecimenTable, respelt: Sequence[tuple[str, str]], similar: Sequence[tuple[str, str]]
) -> list[str]:
    notes = []
    if respelt:
        notes.append(
            f"{table.source}: {_count(respelt, 'photograph')} found under another spelling (capitals, accents, "
            f"blanks), such as {respelt[0][1]!r} for {respelt[0][0]!r}"
        )
    if similar:
        notes.append(
            f"{table.source}: {_count(similar, 'photograph')} not there, but similar ones are: {similar[0][0]!r} is "
            f"named, and there is {similar[0][1]}"
        )
    return notes


def _count(found: Sequence[object], noun: str) -> str:
    return f"1 {noun} is" if len(found) == 1 else f"{len(found):,} {noun}s are"


# ----------------------------------------------------------------------------------------------------------- ids


def _name_rows(
    table: SpecimenTable,
    names: _ColumnRoles,
    photographs: Sequence[_Photograph],
    copy_numbers: Sequence[int],
    notes: list[str],
) -> dict[int, str]:
    """Give each row that can be used its id: row -> id."""
    column = names.id or names.image
    values = table.columns[names.id] if names.id else _name_by_file(table, names.image)
    if names.id is None:
        notes.append(
            f"{table.source} has none of the columns {', '.join(ID_COLUMNS)}: the file names of the photographs are "
            f"the ids; --id-column names another column"
        )
    missing = [row for row, value in enumerate(values) if value is None]
    if len(missing) == len(values):
        raise CollectionError(
            f"{table.source} {table.locate(missing)}: {column} is empty; give every specimen an id, "
            f"or choose another column with --id-column (id_column= in Python)"
        )
    if missing:
        notes.append(f"{table.source} {table.locate(missing)}: {column} is empty; left out, as a specimen needs an id")
    ids = {row: str(value) for row, value in enumerate(values) if value is not None}
    for row, name in list(ids.items()):
        if not _is_name(name):
            notes.append(
                f"{table.source} {table.locate([row])}: {column} {name[:80]!r} cannot be a file name (no control "
                f"characters, at most 200 bytes); left out"
            )
            del ids[row]
    if not ids:
        raise CollectionError(f"{notes[-1]}; rename the specimens, or choose another column with --id-column")
    copies = {row: copy for row, copy in enumerate(copy_numbers) if copy and row in ids}
    if copies:
        first = next(iter(copies))
        notes.append(
            f"{table.source}: {len(copies):,} photographs are of specimens that have several; each is a specimen of "
            f"its own, such as {ids[first]}_1 and {ids[first]}_2 (name supports so)"
        )
    ids |= {row: f"{ids[row]}_{copy}" for row, copy in copies.items()}
    return _drop_repeated(table, column, ids, photographs, notes)


def _name_by_file(table: SpecimenTable, column: str) -> list[str | None]:
    """Name rows after their photographs: by the file name alone, or by as much of the path as makes them differ."""
    paths = [None if value is None else PurePosixPath(str(value).replace("\\", "/")) for value in table.columns[column]]
    ways = (lambda path: path.stem, lambda path: path.name, lambda path: str(path.with_suffix("")))
    for name_of in ways:
        named = [None if path is None or not path.name else name_of(path) for path in paths]
        filled = [name for name in named if name]
        if len(set(filled)) == len(set(paths) - {None}):
            return named
    return [None if path is None else str(path) for path in paths]


def _is_name(name: str) -> bool:
    """Say whether exports can name a file after a specimen; `files.escape_name` takes care of / and \\."""
    return name not in (".", "..") and not re.search(r"[\x00-\x1f\x7f]", name) and len(name.encode()) <= 200


def _drop_repeated(
    table: SpecimenTable, column: str, ids: Mapping[int, str], photographs: Sequence[_Photograph], notes: list[str]
) -> dict[int, str]:
    """Leave out rows that say the same once more; refuse other rows of one id.

    Ids that differ only in how accents are composed are one: files and screens do not tell them apart.
    """
    rows: dict[str, list[int]] = {}
    for row, name in ids.items():
        rows.setdefault(unicodedata.normalize("NFC", name), []).append(row)
    several = {name: found for name, found in rows.items() if len(found) > 1}
    same = {
        name: found
        for name, found in several.items()
        if len({tuple(values[row] for values in table.columns.values()) for row in found}) == 1
    }
    if same:
        again = sorted(row for found in same.values() for row in found[1:])
        notes.append(f"{table.source} {table.locate(again)}: the same row as one before; left out")
    repeated = [f"{name!r} in {table.locate(found)}" for name, found in several.items() if name not in same]
    if repeated:
        more = f", and {len(repeated) - 3:,} more" if len(repeated) > 3 else ""
        raise CollectionError(
            f"{table.source}: {column} must be different for every row, but there is {'; '.join(repeated[:3])}{more}; "
            f"rename them (several photographs of one specimen so: ID_1, ID_2, and its supports alike), or choose "
            f"another column with --id-column (id_column= in Python)"
        )
    left = {row for found in same.values() for row in found[1:]}
    return {row: name for row, name in ids.items() if row not in left}


# ------------------------------------------------------------------------------------------------- the collection


def _build_collection(
    table: SpecimenTable,
    ids: Mapping[int, str],
    photographs: Sequence[_Photograph],
    names: _ColumnRoles,
    source: Path,
    notes: list[str],
) -> Collection:
    groups = table.columns[names.group] if names.group else None
    specimens, left_out, used = [], [], []
    for row, name in ids.items():
        photograph = photographs[row]
        if photograph.path is None:
            left_out.append(Skipped(name, "image", photograph.reason))
            continue
        metadata = {column: values[row] for column, values in table.columns.items()}
        group = str((groups[row] if groups else None) or DEFAULT_GROUP)
        specimens.append(Photograph(name, photograph.path, group, metadata))
        used.append(row)
    if not specimens:
        raise CollectionError(f"{left_out[0].reason}; no row is left that has both an id and a photograph")
    notes += _note_similar_groups(table, [each.group for each in specimens], used)
    notes += _note_shared_photographs(table, specimens, used)
    return Collection(tuple(specimens), dict(table.types), source, tuple(left_out), tuple(dict.fromkeys(notes)))


def _note_similar_groups(table: SpecimenTable, groups: Sequence[str], rows: Sequence[int]) -> list[str]:
    """Note groups that are spelt almost alike; the first of the most frequent spelling is the one to ask about."""
    spellings: dict[str, dict[str, list[int]]] = {}
    for group, row in zip(groups, rows, strict=True):
        key = re.sub(r"[\s_.-]+", " ", unicodedata.normalize("NFC", group)).strip().casefold()
        spellings.setdefault(key, {}).setdefault(group, []).append(row)
    notes = []
    for alike in spellings.values():
        usual = max(alike, key=lambda group: len(alike[group]))
        notes += [
            f"{table.source} {table.locate(found)}: the group {group!r} is not {usual!r}; is it? If so, write it "
            f"alike: one group has one support"
            for group, found in alike.items()
            if group != usual
        ]
    return notes


def _note_shared_photographs(table: SpecimenTable, specimens: Sequence[Photograph], rows: Sequence[int]) -> list[str]:
    owners: dict[Path, list[int]] = {}
    for position, specimen in enumerate(specimens):
        owners.setdefault(specimen.image, []).append(position)
    shared = {path: found for path, found in owners.items() if len(found) > 1}
    notes = [
        f"{table.source} {table.locate([rows[i] for i in found])}: {_list_names([specimens[i].id for i in found])} "
        f"have one photograph, {path.name}; each is measured on all of it, so cut it into one photograph a specimen"
        for path, found in list(shared.items())[:5]
    ]
    return notes + [f"{table.source}: {len(shared) - 5:,} more photographs are named by several rows"] * (
        len(shared) > 5
    )


def _list_names(names: Sequence[str]) -> str:
    shown = [*names[:4], *([f"{len(names) - 4:,} more"] if len(names) > 4 else [])]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
