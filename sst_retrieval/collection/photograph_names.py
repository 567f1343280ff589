"""The names of the photographs of a table: each its own, and the same however the rows are sorted.

1. The column `photograph`, where it has a name.
2. The catalogue number, where the specimen has one photograph.
3. Catalogue number and view ("B0 dorsal"), where no other photograph of the specimen has that view.
4. Catalogue number, the view if there is one, and the file name without its suffix ("B0 dorsal IMG_0412"), or as much
   of its path as makes the photographs of the specimen differ.
5. Behind that, where rows share a file, the place that each has on it (`places`): "B0 IMG_0412 2".

Where the table has no column of catalogue numbers, the photographs' file names stand for them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sst_retrieval.collection.column_roles import ID_COLUMNS, ColumnRoles, find_column
from sst_retrieval.collection.column_types import NOT_AVAILABLE
from sst_retrieval.collection.photograph_files import file_name, is_web_address, split_list
from sst_retrieval.collection.places import find_place_columns
from sst_retrieval.collection.specimen_table import SpecimenTable
from sst_retrieval.errors import CollectionError
from sst_retrieval.types import Scalar

_RECORD_COLUMNS = ("occurrenceID", "institutionCode", "institutionID", "collectionCode", "collectionID")
"""Where they differ, there are two records of one catalogue number."""

_SHORTENED = re.compile(r"[1-9]([.,][0-9]+)?E\+[0-9]{2}")
"""1.23E+11, which was 123456789012 before a spreadsheet had it."""

_SPECIMEN_COLUMNS = ("scientificName", "species", "sex", "lifeStage")
"""Where they differ, somebody should look whether it is one specimen."""


@dataclass(frozen=True, slots=True)
class PhotographName:
    """What a row is called.

    Attributes:
        id: name of the photograph.
        specimen: catalogue number of its specimen.
        view: what the table says of it; else "".
    """

    id: str
    specimen: str
    view: str = ""


def name_specimens(table: SpecimenTable, roles: ColumnRoles) -> list[str | None]:
    """Return the catalogue number of every row; None where the cell is empty."""
    if roles.id is None:
        return _name_by_file(table, roles.image)
    return [None if value is None else str(value) for value in table.columns[roles.id]]


def name_photographs(
    table: SpecimenTable,
    roles: ColumnRoles,
    specimens: Sequence[str | None],
    records: Sequence[str],
    notes: list[str],
) -> dict[int, PhotographName]:
    """Name the photographs of all rows that can be used.

    Args:
        table: with a row for each photograph.
        roles: its columns.
        specimens: catalogue number of every row; None where there is none.
        records: for each row, which record of an archive it comes from; empty if the table says nothing of it.
        notes: gets what was left out and what is not certain.

    Returns:
        Row -> its names; rows that cannot be used, or say the same as another, are not in it.

    Raises:
        CollectionError: there are no names, two photographs have one, or two records one catalogue number.
    """
    column = roles.id or roles.image
    if roles.id is None:
        notes.append(
            f"{table.source} has none of the columns {', '.join(ID_COLUMNS)}: the file names of the photographs are "
            f"the ids; --id-column names another column"
        )
    no_names = NOT_AVAILABLE if roles.id is not None else frozenset()  # A file may be called NA.jpg.
    specimen_of = _require_specimens(table, column, specimens, no_names, notes)
    all_rows = _group_rows(specimen_of)
    _require_one_record(table, column, all_rows, records)
    rows_of = _drop_repeated(table, roles, all_rows, notes, is_archive=bool(records))
    own = _read_own_names(table, roles, rows_of)
    views = {row: _read_view(table, roles, row) for rows in rows_of.values() for row in rows}
    names: dict[int, PhotographName] = {}
    for specimen, rows in rows_of.items():
        for row, name in _name_rows(table, roles, specimen, rows, own, views).items():
            names[row] = PhotographName(name, specimen, views[row])
    for row in [row for row, name in names.items() if not _is_name(name.id)]:
        notes.append(_explain_name(table, row, names.pop(row).id))
    if not names:
        raise CollectionError(f"{notes[-1]}; rename the photographs, or choose another column with --id-column")
    _require_unique(table, names)
    notes += _note_several(table, column, rows_of, names, own)
    return dict(sorted(names.items()))


# ------------------------------------------------------------------------------------------------------ specimens


def _name_by_file(table: SpecimenTable, column: str) -> list[str | None]:
    """Name rows after their photographs: by the file name alone, or by as much of the path as makes them differ.

    A row that lists several photographs is named after the first.
    """
    values = [None if value is None else split_list(str(value))[0] for value in table.columns[column]]
    paths = [None if value is None else PurePosixPath(value.replace("\\", "/")) for value in values]
    ways: tuple[Callable[[PurePosixPath], str], ...] = (
        lambda path: path.stem,
        lambda path: path.name,
        lambda path: str(path.with_suffix("")),
    )
    for name_of in ways:
        named = [None if path is None or not path.name else name_of(path) for path in paths]
        filled = [name for name in named if name]
        if len(set(filled)) == len(set(paths) - {None}):
            return named
    return [None if path is None else str(path) for path in paths]


def _require_specimens(
    table: SpecimenTable, column: str, specimens: Sequence[str | None], no_names: frozenset[str], notes: list[str]
) -> dict[int, str]:
    """Leave out rows without a catalogue number, or whose number cannot be one.

    "NA" and the like are empty cells, as R and spreadsheets write them: all these rows would become one specimen.
    """
    words = [row for row, value in enumerate(specimens) if value in no_names]
    missing = [row for row, value in enumerate(specimens) if value is None or value in no_names]
    if len(missing) == len(specimens):
        raise CollectionError(
            f"{table.source} {table.locate(missing)}: {column} is empty; give every specimen an id, "
            f"or choose another column with --id-column (id_column= in Python)"
        )
    if words:
        notes.append(
            f"{table.source} {table.locate(words)}: {column} is {specimens[words[0]]!r}, which means an empty cell; "
            f"left out, as a specimen needs an id"
        )
    if empty := [row for row in missing if specimens[row] is None]:
        notes.append(f"{table.source} {table.locate(empty)}: {column} is empty; left out, as a specimen needs an id")
    found = {row: value for row, value in enumerate(specimens) if value is not None and value not in no_names}
    short = [row for row, name in found.items() if _SHORTENED.fullmatch(name)]
    if short:
        notes.append(
            f"{table.source} {table.locate(short)}: {column} is {found[short[0]]!r}, as spreadsheets shorten long "
            f"numbers, and several may have become one; save the column as text"
        )
    for row, name in list(found.items()):
        if not _is_name(name):
            notes.append(_explain_name(table, row, name, column))
            del found[row]
    if not found:
        raise CollectionError(f"{notes[-1]}; rename the specimens, or choose another column with --id-column")
    return found


def _is_name(name: str) -> bool:
    """Say whether exports can name a file after a specimen; `files.escape_name` takes care of / and \\."""
    return name not in (".", "..") and not re.search(r"[\x00-\x1f\x7f]", name) and len(name.encode()) <= 200


def _explain_name(table: SpecimenTable, row: int, name: str, column: str = "the photograph's name") -> str:
    return (
        f"{table.source} {table.locate([row])}: {column} {name[:80]!r} cannot be a file name (no control "
        f"characters, at most 200 bytes); left out"
    )


def _group_rows(specimen_of: Mapping[int, str]) -> dict[str, list[int]]:
    """Group the rows by their specimens.

    Numbers that differ only in how accents are composed are one: files and screens do not tell them apart.
    """
    rows: dict[str, list[int]] = {}
    spelling: dict[str, str] = {}
    for row, name in specimen_of.items():
        rows.setdefault(spelling.setdefault(_normalise(name), name), []).append(row)
    return rows


def _normalise(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _drop_repeated(
    table: SpecimenTable,
    roles: ColumnRoles,
    rows_of: Mapping[str, list[int]],
    notes: list[str],
    *,
    is_archive: bool,
) -> dict[str, list[int]]:
    """Leave out rows that say the same once more, and rows without a photograph beside others with one.

    In an archive only what is said of the file can differ where a record lists one twice.
    """
    kept: dict[str, list[int]] = {}
    places = find_place_columns(table)

    def describe(row: int) -> tuple[Scalar, ...]:
        if is_archive:
            return (table.columns[roles.image][row], *places.write(row))
        return tuple(values[row] for values in table.columns.values())

    again: list[int] = []
    without: dict[int, str] = {}
    for specimen, rows in rows_of.items():
        first: dict[tuple[Scalar, ...], int] = {}
        for row in rows if len(rows) > 1 else ():
            first.setdefault(describe(row), row)
        kept[specimen] = list(first.values()) if first else rows
        again += sorted(set(rows) - set(kept[specimen]))
        named = [row for row in kept[specimen] if table.columns[roles.image][row] is not None]
        if len(kept[specimen]) > 1 and len(named) < len(kept[specimen]):
            named = named or kept[specimen][:1]
            without.update(dict.fromkeys(sorted(set(kept[specimen]) - set(named)), specimen))
            kept[specimen] = named
    if again:
        what = "a photograph of its record once more" if is_archive else "the same row as one before"
        notes.append(f"{table.source} {table.locate(sorted(again))}: {what}; left out")
    if without:
        row, specimen = next(iter(without.items()))
        more = f", and {len(without) - 1:,} more rows of this kind" if len(without) > 1 else ""
        notes.append(
            f"{table.source} {table.locate([row])}: another row of {specimen} that names no photograph{more}; left out"
        )
    return kept


def _require_one_record(
    table: SpecimenTable, column: str, rows_of: Mapping[str, Sequence[int]], records: Sequence[str]
) -> None:
    """Refuse a catalogue number that two records have."""
    found = {find_column(table.columns, (name,)) for name in _RECORD_COLUMNS} - {None, column}
    telling: dict[str, Sequence[Scalar]] = {name: table.columns[name] for name in table.columns if name in found}
    if records:
        telling["the id of the record"] = records
    for specimen, rows in rows_of.items():
        for name, values in telling.items() if len(rows) > 1 else ():
            different = list(dict.fromkeys(values[row] for row in rows if values[row] is not None))
            if len(different) > 1:
                raise CollectionError(
                    f"{table.source}: {column} must be different for every specimen, but {specimen!r} in "
                    f"{table.locate(rows)} is of several: {name} is {different[0]} and {different[1]}; rename them, "
                    f"or choose another column with --id-column (id_column= in Python)"
                )


# ---------------------------------------------------------------------------------------------------- photographs


def _read_view(table: SpecimenTable, roles: ColumnRoles, row: int) -> str:
    """Return the view of a row; of an address of Audiovisual Core's vocabulary its last part."""
    value = table.columns[roles.view][row] if roles.view is not None else None
    text = " ".join(str(value).split()) if value is not None else ""
    return re.split(r"[/#]", text.rstrip("/#"))[-1] if is_web_address(text) else text


def _read_own_names(table: SpecimenTable, roles: ColumnRoles, rows_of: Mapping[str, Sequence[int]]) -> dict[int, str]:
    """Read the column of the photographs' own names; rows of one file that share one are named otherwise."""
    if roles.photograph is None:
        return {}
    column = table.columns[roles.photograph]
    own = {row: str(column[row]) for rows in rows_of.values() for row in rows if column[row] is not None}
    rows_named: dict[str, list[int]] = {}
    for row, name in own.items():
        rows_named.setdefault(_normalise(name), []).append(row)
    for rows in rows_named.values():
        files = {str(table.columns[roles.image][row]) for row in rows}
        if len(rows) > 1 and len(files) == 1:
            for row in rows:
                del own[row]
    return own


def _name_rows(
    table: SpecimenTable,
    roles: ColumnRoles,
    specimen: str,
    rows: Sequence[int],
    own: Mapping[int, str],
    views: Mapping[int, str],
) -> dict[int, str]:
    """Name the photographs of one specimen."""
    names = {row: own[row] for row in rows if row in own}
    if len(rows) == 1:
        return names or {rows[0]: specimen}
    words = {row: ([specimen, views[row]] if views[row] else [specimen]) for row in rows if row not in own}
    usual = Counter(views[row].casefold() for row in words)
    unclear = [row for row in words if not views[row] or usual[views[row].casefold()] > 1]
    files = _name_files([str(table.columns[roles.image][row]) for row in unclear])
    for row, file in zip(unclear, files, strict=True):
        words[row].append(file)
    twice = Counter(_key(each) for each in words.values())
    shared = [row for row in unclear if twice[_key(words[row])] > 1]
    for row in shared:
        words[row] += find_place_columns(table).write(row)
    repeated = Counter(_key(words[row]) for row in shared)
    for row in shared:
        if repeated[_key(words[row])] > 1:
            others = [other for other in shared if _key(words[other]) == _key(words[row])]
            raise CollectionError(
                f"{table.source} {table.locate(others)}: {specimen} has the photograph "
                f"{table.columns[roles.image][row]} several times; remove all rows but one, or give each the place of "
                f"its individual on it, in a column `box` (x0 y0 x1 y1 in pixels) or `individual` (1, 2, ...)"
            )
    return names | {row: " ".join(each) for row, each in words.items()}


def _key(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(_normalise(word).casefold() for word in words)


def _name_files(references: Sequence[str]) -> list[str]:
    """Name files by their names without suffixes, or by as much of their paths as makes them differ."""
    paths = [
        PurePosixPath(f"{PurePosixPath(reference).parent}/{file_name(reference)}")
        if is_web_address(reference)
        else PurePosixPath(reference.replace("\\", "/"))
        for reference in references
    ]
    different = len({str(path).casefold() for path in paths})
    longest = max((len(path.parts) for path in paths), default=0)
    for depth in range(1, longest + 1):
        for end in ("stem", "name"):
            named = [
                "/".join([*path.parts[-depth:-1], path.stem if end == "stem" else path.name]).lstrip("/")
                for path in paths
            ]
            if len({name.casefold() for name in named}) == different:
                return named
    return [str(path) for path in paths]


def _require_unique(table: SpecimenTable, names: Mapping[int, PhotographName]) -> None:
    """Refuse photographs of one name, and photographs that are called like another specimen."""
    remedy = "rename one, or add a column `photograph` that gives every photograph a name of its own"
    row_of: dict[str, int] = {}
    specimen_of = {_normalise(name.specimen): row for row, name in names.items()}
    for row, name in names.items():
        other = row_of.setdefault(_normalise(name.id), row)
        if other != row:
            raise CollectionError(
                f"{table.source} {table.locate(sorted((other, row)))}: two photographs would be called {name.id!r}; "
                f"{remedy}"
            )
    for row, name in names.items():
        other = specimen_of.get(_normalise(name.id), row)
        if _normalise(names[other].specimen) != _normalise(name.specimen):
            where = table.locate(sorted((other, row)))
            raise CollectionError(
                f"{table.source} {where}: {name.id!r} would be a photograph of {name.specimen} and is another "
                f"specimen; {remedy}"
            )


def _note_several(
    table: SpecimenTable,
    column: str,
    rows_of: Mapping[str, Sequence[int]],
    names: Mapping[int, PhotographName],
    own: Mapping[int, str],
) -> list[str]:
    """Note how the photographs of specimens with several are called, and whether it may be an error."""
    several = {specimen: rows for specimen, rows in rows_of.items() if len(rows) > 1}
    made = {specimen: rows for specimen, rows in several.items() if not all(row in own for row in rows)}
    notes = []
    if made:
        specimen, rows = next(iter(made.items()))
        called = [f"{names[row].id!r}" for row in rows if row in names]
        many = "1 specimen has" if len(made) == 1 else f"{len(made):,} specimens have"
        notes.append(
            f"{table.source}: {many} several photographs, such as {specimen} in {table.locate(rows)}: they are called "
            f"{', '.join(called[:4])}{', ...' * (len(called) > 4)}; name supports so, or after the files"
        )
    return notes + _note_differences(table, column, several)


def _note_differences(table: SpecimenTable, column: str, several: Mapping[str, Sequence[int]]) -> list[str]:
    """Note specimens whose rows do not say the same of them, the first of very many."""
    found = {find_column(table.columns, (name,)) for name in _SPECIMEN_COLUMNS} - {None, column}
    notes = []
    for telling in [name for name in table.columns if name in found] if several else ():
        for specimen, rows in several.items():
            values = [table.columns[telling][row] for row in rows]
            different = list(dict.fromkeys(str(value) for value in values if value is not None))
            if len(different) > 1:
                notes.append(
                    f"{table.source} {table.locate(rows)}: {telling} of {specimen} is {different[0]} and "
                    f"{different[1]}; is it one specimen? If not, give each its own {column}"
                )
    more = [f"{table.source}: {len(notes) - 5:,} more specimens whose rows differ"] if len(notes) > 5 else []
    return notes[:5] + more
