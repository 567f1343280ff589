"""Room 1: from a specimen table to photographs and their specimens.

A table is a CSV or TSV file, a Parquet file, or a Darwin Core Archive. One row is one photograph of one specimen; a
cell that lists several (`a.jpg|b.jpg`, Darwin Core's own list form) is as many. Some columns are interpreted, found by
their usual names or named by the caller (`column_roles`); all others are kept as metadata.

- the specimen: the first of `catalogNumber`, `specimen`, `id` and `occurrenceID` that exists, else the photograph's
  file name. Always text: 00123 stays 00123. It repeats where a specimen has several photographs.
- the file: `image`, `file`, ... A path is relative to the table's folder, or to the folder of photographs.
- the group whose support the photograph shares: `group`. Without that column all are of one group, "all".
- the view, such as "dorsal": `view`, `aspect`, or Audiovisual Core's `subjectOrientationLiteral`.
- the photograph's own name: `photograph`. Without it a photograph is called after its specimen, and where that has
  several, after its view and file, too (`photograph_names`): never after its place in the table.
- where on the file the row's individual is, if several rows share it: `box`, `xFrac` ..., `individual` (`places`).

A row that cannot be used is left out and listed; whatever is not certain is noted. The table is refused only where no
row could be used, or where it is not clear which row or column is meant.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sst_retrieval.collection.column_roles import ColumnRoles, check_column_prefix, find_roles
from sst_retrieval.collection.column_types import NOT_AVAILABLE, infer_types
from sst_retrieval.collection.darwin_core_archive import is_archive, read_archive
from sst_retrieval.collection.folder_table import find_photographs
from sst_retrieval.collection.photograph_files import (
    PhotographFinder,
    file_name,
    index_by_file_name,
    is_web_address,
)
from sst_retrieval.collection.photograph_lists import expand_lists
from sst_retrieval.collection.photograph_names import PhotographName, name_photographs, name_specimens
from sst_retrieval.collection.places import explain_shared, read_places, share_files
from sst_retrieval.collection.scale_column import check_scale_column
from sst_retrieval.collection.specimen_table import SpecimenTable
from sst_retrieval.collection.table_files import TEXT_SUFFIXES, read_table
from sst_retrieval.collection.table_photographs import TablePhotographs
from sst_retrieval.errors import CollectionError
from sst_retrieval.types import Photograph, Scalar, Skipped

DEFAULT_GROUP = "all"
"""The group of every specimen that has none."""

_INVISIBLE = frozenset("\u200b\u200c\u200d\u2060\ufeff\u00ad")
"""Characters without width that copied texts have at their ends, and that would tell equal ids apart."""

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

    photographs: Sequence[Photograph]
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
    view_column: str | None = None,
    elsewhere: Container[Path] = (),
) -> Collection:
    """Read a specimen table.

    Args:
        table: .csv, .tsv or .txt (commas, semicolons or tabs), .parquet, or a Darwin Core Archive: .zip or folder.
        images: folder of the photographs, if it is not the table's. A web address, or a path that does not exist, then
            means the file of that name in the folder, provided that no other photograph has the same name.
        id_column: column of the specimens' catalogue numbers.
        image_column: column of the photographs' files.
        group_column: column of the groups; one support serves one group.
        view_column: column of the views.
        elsewhere: absolute paths of photographs that are not there yet, but will be when they are opened
            (`imaging.absent_files`).

    Raises:
        CollectionError: the table cannot be read, is inconsistent, or none of its photographs exists. That some
            photographs are missing is no error here.
    """
    if images is not None and not images.is_dir():
        raise CollectionError(f"the folder of photographs {images} does not exist; check --images (images= in Python)")
    records: Sequence[str] = ()
    _require_table(table)
    folder, confined = table.parent, False
    if is_archive(table):
        # The photographs of an archive lie in it: what it names elsewhere on this computer is none of its business.
        confined = images is None
        folder = table.parent if table.is_file() else table
        archive = read_archive(table, unpack=images is None)
        raw, records, images = archive.table, archive.records, images or archive.photographs
        if archive.why_none and image_column is None:
            raise CollectionError(archive.why_none)
    else:
        raw = read_table(table)
    if not raw.row_numbers:
        raise CollectionError(f"{raw.source} has no rows below its header; list one photograph a row")
    check_column_prefix(raw.columns, raw.source)
    roles = find_roles(
        raw, id_column=id_column, image_column=image_column, group_column=group_column, view_column=view_column
    )
    if roles.id is not None and raw.types[roles.id] == "DOUBLE":
        raise CollectionError(f"{raw.source}: {roles.id} holds decimal numbers, which name nothing; store it as text")
    raw = _strip_names(raw, roles)
    listed, origin = expand_lists(raw, roles.image, [name for name in (roles.view, roles.photograph) if name])
    keep_text = roles.names() | {name for name in raw.columns if _CODE_NAME.search(name)}
    typed = check_scale_column(infer_types(listed, keep_text))
    notes = list(typed.notes)
    photographs = _find_photographs(
        typed, roles.image, images or folder, elsewhere, named=images is not None, inside=confined, notes=notes
    )
    specimens = name_specimens(raw, roles)
    names = name_photographs(
        typed, roles, [specimens[row] for row in origin], [records[row] for row in origin] if records else (), notes
    )
    return _build_collection(typed, names, photographs, roles, table, notes)


def read_references(
    table: Path,
    *,
    id_column: str | None = None,
    image_column: str | None = None,
    group_column: str | None = None,
    view_column: str | None = None,
) -> list[str]:
    """Read what a specimen table calls its photographs: paths and web addresses, in its order.

    Args:
        table, id_column, image_column, group_column, view_column: as `read_collection`.

    Raises:
        CollectionError: the table cannot be read, or has no column of photographs.
    """
    _require_table(table)
    raw = read_archive(table, unpack=False).table if is_archive(table) else read_table(table)
    roles = find_roles(
        raw, id_column=id_column, image_column=image_column, group_column=group_column, view_column=view_column
    )
    listed, _ = expand_lists(raw, roles.image, [])
    return [str(value) for value in listed.columns[roles.image] if value is not None]


def _strip_names(table: SpecimenTable, roles: ColumnRoles) -> SpecimenTable:
    """Take characters without width off the ends of what is looked for: ids, files, groups, views."""
    marks = "".join(_INVISIBLE)
    stripped: dict[str, list[Scalar]] = {}
    notes = []
    for name in roles.names():
        values = table.columns[name]
        marked = [
            row for row, value in enumerate(values)
            if isinstance(value, str) and value and {value[0], value[-1]} & _INVISIBLE
        ]  # fmt: skip
        if marked:
            stripped[name] = list(values)
            for row in marked:
                stripped[name][row] = str(values[row]).strip(marks).strip() or None
            notes.append(f"{table.source} {table.locate(marked)}: {name} has characters without width; left out")
    if not stripped:
        return table
    return replace(table, columns={**table.columns, **stripped}, notes=(*table.notes, *notes))


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
    table: SpecimenTable,
    column: str,
    folder: Path,
    elsewhere: Container[Path],
    *,
    named: bool,
    inside: bool,
    notes: list[str],
) -> list[_Photograph]:
    """Resolve the path of each row's photograph.

    Args:
        table: the specimens.
        column: column of the photographs.
        folder: folder that relative paths start from.
        elsewhere: as for `read_collection`.
        named: whether the folder was given by the caller (or extracted); then files are also found by name alone.
        inside: refuse photographs outside the folder.
        notes: gets what was noted.
    """
    values = [None if value is None else str(value) for value in table.columns[column]]
    by_name = index_by_file_name({value for value in values if value is not None})
    finder = PhotographFinder(folder, inside, frozenset(by_name) if named else frozenset(), elsewhere)
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
    _require_photographs(table, column, values, found, similar, finder)
    notes += _note_spellings(table, respelt, similar)
    return found


def _explain_unusable(
    table: SpecimenTable, row: int, value: str | None, by_name: Mapping[str, str], *, named: bool
) -> str:
    """Say why a cell names no photograph that could be looked for; "" if it does."""
    if value is None:
        return f"{table.source} names no photograph for it"
    if value.isprintable() and not is_web_address(value):
        return ""
    where = f"{table.source} {table.locate([row])}"
    if not value.isprintable():
        return f"{where}: the photograph {value!r} cannot be a file name"
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
    finder: PhotographFinder,
) -> None:
    """Refuse a table of which no photograph could be read."""
    if not any(values):
        raise CollectionError(f"{table.source}: the column {column!r} is empty, so there are no photographs")
    wanted = [each.path for each in found if each.path is not None]
    if not wanted:
        raise CollectionError(next(each.reason for each, value in zip(found, values, strict=True) if value))
    if not any(map(finder.is_there, wanted)):
        if similar:
            raise CollectionError(
                f"{table.source}: none of its {len(wanted):,} photographs exists, for example {wanted[0]}, but there "
                f"is {similar[0][1]}; write the names as the files are called, with what stands behind the dot"
            )
        raise CollectionError(
            f"{table.source}: none of its {len(wanted):,} photographs exists, for example {wanted[0]}; "
            f"name the folder of the photographs with --images (images= in Python)"
        )


def _note_spellings(
    table: SpecimenTable, respelt: Sequence[tuple[str, str]], similar: Sequence[tuple[str, str]]
) -> list[str]:
    notes = []
    if respelt:
        notes.append(
            f"{table.source}: {_count(respelt, 'photograph')} found under another spelling (capitals, accents, "
            f"blanks, %20), such as {respelt[0][1]!r} for {respelt[0][0]!r}"
        )
    if similar:
        notes.append(
            f"{table.source}: {_count(similar, 'photograph')} not there, but similar ones are: {similar[0][0]!r} is "
            f"named, and there is {similar[0][1]}"
        )
    return notes


def _count(found: Sequence[object], noun: str) -> str:
    return f"1 {noun} is" if len(found) == 1 else f"{len(found):,} {noun}s are"


# ------------------------------------------------------------------------------------------------- the collection


def _build_collection(
    table: SpecimenTable,
    names: Mapping[int, PhotographName],
    photographs: Sequence[_Photograph],
    roles: ColumnRoles,
    source: Path,
    notes: list[str],
) -> Collection:
    groups = table.columns[roles.group] if roles.group else None
    files = {row: path for row in names if (path := photographs[row].path) is not None}
    left_out = [Skipped(name.id, "image", photographs[row].reason) for row, name in names.items() if row not in files]
    if not files:
        raise CollectionError(f"{left_out[0].reason}; no row is left that has both an id and a photograph")
    places = read_places(table, files, notes)
    found = TablePhotographs(
        table.columns,
        names={row: names[row] for row in files},
        paths=list(files.values()),
        groups=[unicodedata.normalize("NFC", str((groups[row] if groups else None) or DEFAULT_GROUP)) for row in files],
        places=places,
    )
    notes += _note_similar_groups(table, found.groups, list(files))
    notes += _note_missing_groups(table, found.groups, list(files))
    notes += _note_mixed_views(table, found.groups, [names[row].view for row in files])
    notes += _note_shared_photographs(table, found, files)
    return Collection(found, dict(table.types), source, tuple(left_out), tuple(dict.fromkeys(notes)))


def _note_mixed_views(table: SpecimenTable, groups: Sequence[str], views: Sequence[str]) -> list[str]:
    """Note groups whose photographs have several views: a support shows one of them."""
    views_of: dict[str, dict[str, str]] = {}
    for group, view in zip(groups, views, strict=True):
        if view:
            views_of.setdefault(group, {}).setdefault(view.casefold(), view)
    mixed = {group: list(own.values()) for group, own in views_of.items() if len(own) > 1}
    if not mixed:
        return []
    group, own = next(iter(mixed.items()))
    more = f" (and {len(mixed) - 1:,} more groups)" if len(mixed) > 1 else ""
    return [
        f"{table.source}: the group {group!r} has the views {', '.join(own[:4])}{', ...' * (len(own) > 4)}{more}; one "
        f"support serves a group, so give each view a group of its own"
    ]


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


def _note_missing_groups(table: SpecimenTable, groups: Sequence[str], rows: Sequence[int]) -> list[str]:
    """Note groups that are called as R and spreadsheets write an empty cell; they may be real, and stay."""
    called = [row for group, row in zip(groups, rows, strict=True) if group in NOT_AVAILABLE]
    if not called:
        return []
    name = next(group for group in groups if group in NOT_AVAILABLE)
    return [
        f"{table.source} {table.locate(called)}: the group is called {name!r}; if that means an empty cell, empty it: "
        f"photographs without a group are of the group {DEFAULT_GROUP!r}"
    ]


def _note_shared_photographs(
    table: SpecimenTable, photographs: Sequence[Photograph], files: Mapping[int, Path]
) -> list[str]:
    """Note files that several rows share, of which not all name their places."""
    order = list(files)  # Ascending, and the photographs are in the same order.

    def select(rows: Sequence[int]) -> list[Photograph]:
        return [photographs[bisect_left(order, row)] for row in rows]

    shared = [rows for rows in share_files(files).values() if any(each.place is None for each in select(rows))]
    notes = [explain_shared(f"{table.source} {table.locate(rows)}", select(rows)) for rows in shared[:5]]
    return notes + [f"{table.source}: {len(shared) - 5:,} more photographs are named by several rows"] * (
        len(shared) > 5
    )
