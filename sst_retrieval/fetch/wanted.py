"""From a table to what is wanted: one address a photograph, the specimen it shows, and the name its file gets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sst_retrieval.collection.column_roles import ID_COLUMNS
from sst_retrieval.collection.darwin_core_archive import (
    IMAGE_COLUMN,
    MEDIA_PREFIX,
    is_archive,
    read_archive,
)
from sst_retrieval.collection.photograph_files import PHOTOGRAPH_SUFFIXES, file_name, is_web_address
from sst_retrieval.collection.specimen_table import SpecimenTable
from sst_retrieval.collection.table_files import read_table
from sst_retrieval.errors import CollectionError
from sst_retrieval.files import escape_name

ADDRESS_COLUMNS = (
    *("accessURI", "image", "iiifManifest", "manifest", "image_url", "imageURL", "url", "identifier"),
    *("associatedMedia", "bestQualityAccessURI", "goodQualityAccessURI"),
)
"""Columns that usually hold the addresses of photographs; the first that does is taken."""

LICENCE_COLUMNS = ("license", "webStatement", "rights", "usageTerms", "accessRights")
HOLDER_COLUMNS = ("rightsHolder", "owner", "creator", "photographer", "institutionCode")

MAX_NAME_BYTES = 120
"""Of a file's name without its suffix."""

_SEVERAL = re.compile(r"\s*[|;]\s*(?=https?://)|\s+\|\s+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A photograph that a row of the table names.

    Attributes:
        row: position of the row, from 0.
        address: web address as the table has it.
        specimen: id of the specimen; None if the table has no ids.
        licence: of the photograph, else of the record; "" if neither is said.
        holder: who has the rights, as the table says; "" if nobody is named.
    """

    row: int
    address: str
    specimen: str | None
    licence: str
    holder: str

    def stem(self) -> str:
        """Return what its file is to be called: after the specimen, else after the address."""
        name = self.specimen
        if name is None:
            path = PurePosixPath(file_name(self.address))
            name = path.stem if path.suffix.lower() in PHOTOGRAPH_SUFFIXES else path.name
        name = escape_name(name or "photograph", more=':*?"<>|')  # What no Windows file may be called.
        encoded = name.encode()[:MAX_NAME_BYTES]
        return encoded.decode(errors="ignore").rstrip(". ") or "photograph"


@dataclass(frozen=True, slots=True)
class WantedTable:
    """A table and the photographs it names.

    Attributes:
        table: as read, its cells text or of the types of a Parquet file.
        column: of the addresses.
        wanted: in the order of the table; a row may name several.
        without: positions of rows that name no web address.
    """

    table: SpecimenTable
    column: str
    wanted: tuple[Wanted, ...]
    without: tuple[int, ...]


def read_wanted(path: Path, *, image_column: str | None = None, id_column: str | None = None) -> WantedTable:
    """Read which photographs a table names.

    Args:
        path: a table (.csv, .tsv, .txt, .parquet) or a Darwin Core Archive (.zip or folder), as GBIF, iDigBio and
            Symbiota portals export it.
        image_column: column of the addresses, if not a usual one.
        id_column: column of the specimens' ids, if not a usual one.

    Raises:
        CollectionError: the table cannot be read, or no column holds web addresses.
    """
    archive = is_archive(path)
    table = read_archive(path, unpack=False).table if archive else read_table(path)
    column = _find_address_column(table, image_column, IMAGE_COLUMN if archive else None)
    ids = _find_id_column(table, id_column, column)
    licences, holders = _columns(table, LICENCE_COLUMNS), _columns(table, HOLDER_COLUMNS)
    wanted: list[Wanted] = []
    without = []
    for row, cell in enumerate(table.columns[column]):
        addresses = [part for part in _SEVERAL.split(str(cell or "")) if is_web_address(part)]
        if not addresses:
            without.append(row)
        specimen = None if ids is None or table.columns[ids][row] is None else str(table.columns[ids][row])
        licence, holder = _first(table, licences, row), _first(table, holders, row)
        wanted += [Wanted(row, address.strip(), specimen, licence, holder) for address in addresses]
    if not wanted:
        raise CollectionError(
            f"{table.source}: the column {column!r} holds no web address; name the right one with --image-column"
        )
    return WantedTable(table, column, tuple(wanted), tuple(without))


def _find_address_column(table: SpecimenTable, requested: str | None, default: str | None) -> str:
    by_name = _index_names(table)
    if requested is not None:
        if requested in table.columns or _normalise(requested) in by_name:
            return requested if requested in table.columns else by_name[_normalise(requested)]
        raise CollectionError(
            f"{table.source} does not have a column {requested!r}; it has: {', '.join(table.columns)}"
        )
    for name in filter(None, (default, *ADDRESS_COLUMNS)):
        found = by_name.get(_normalise(name))
        if found is not None and any(
            value is not None and is_web_address(str(value)) for value in table.columns[found]
        ):
            return found
    raise CollectionError(
        f"{table.source}: none of the columns {', '.join(ADDRESS_COLUMNS)} holds web addresses; it has: "
        f"{', '.join(list(table.columns)[:40])}; name the right one with --image-column"
    )


def _find_id_column(table: SpecimenTable, requested: str | None, image_column: str) -> str | None:
    by_name = _index_names(table)
    if requested is not None:
        if _normalise(requested) not in by_name:
            raise CollectionError(
                f"{table.source} does not have a column {requested!r}; it has: {', '.join(table.columns)}"
            )
        return by_name[_normalise(requested)]
    found = (by_name.get(_normalise(name)) for name in ID_COLUMNS)
    return next((name for name in found if name is not None and name != image_column), None)


def _columns(table: SpecimenTable, usual: Sequence[str]) -> list[str]:
    """List the columns of some names, those of the photograph before those of the record."""
    by_name = _index_names(table)
    wanted = [f"{prefix}{name}" for name in usual for prefix in (MEDIA_PREFIX, "")]
    return [by_name[_normalise(name)] for name in wanted if _normalise(name) in by_name]


def _first(table: SpecimenTable, columns: Sequence[str], row: int) -> str:
    return next((str(value) for name in columns if (value := table.columns[name][row]) is not None), "")


def _index_names(table: SpecimenTable) -> dict[str, str]:
    """Map the names of columns, as `_normalise` writes them, to the first column of each."""
    by_name: dict[str, str] = {}
    for name in table.columns:
        by_name.setdefault(_normalise(name), name)
    return by_name


def _normalise(name: str) -> str:
    """Write a column's name without the prefix of its vocabulary, blanks and case."""
    return re.sub(r"[\s_-]", "", name.rpartition(":")[2]).casefold()
