"""Read a Darwin Core Archive as a specimen table: one row per photograph, with the columns of its occurrence.

1. `meta.xml` says which file is the core (occurrences), which one lists the photographs (Multimedia, Image or
   Audiovisual Core), and what the columns mean.
2. A photograph belongs to the occurrence whose id its `coreid` is. An occurrence with several photographs has as many
   rows; one without a photograph keeps its row, without an image.
3. Photographs inside a .zip are extracted next to it, once, so that later builds and searches can read them.

Format: Darwin Core text guide, http://rs.tdwg.org/dwc/terms/guides/text/.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from sst_retrieval.collection.archive_files import (
    UNPACKING_ERRORS,
    check_list_size,
    is_bomb,
    open_archive_file,
    read_meta,
)
from sst_retrieval.collection.delimited_rows import Dialect, find_tab_dialect, split_rows
from sst_retrieval.collection.photograph_files import file_name, index_by_file_name, is_web_address
from sst_retrieval.collection.specimen_table import SpecimenTable
from sst_retrieval.collection.text_files import TextFile, check_encoding, read_lines
from sst_retrieval.errors import CollectionError
from sst_retrieval.files import atomic_write

IMAGE_COLUMN = "image"
"""The column that holds each photograph's reference (`accessURI`, `identifier` or `associatedMedia`)."""

_TEXT = "{*}"
"""Any namespace: programs write that of http://rs.tdwg.org/dwc/text/ in several ways, or leave it out."""
_MEDIA_ROW_TYPES = ("multimedia", "image")
_MIME_TYPE = re.compile(r"(image|audio|video|model|text|application)/[^/]+$")
_OTHER_MEDIA = re.compile(r"\b(audio|video|model|text|application)\b")

RECORD_TERMS = frozenset(
    (
        *("type", "modified", "language", "license", "rights", "rightsHolder", "accessRights"),
        *("bibliographicCitation", "references", "source"),
    )
)
"""Dublin Core terms of an occurrence record that a photograph may have values of its own for (its licence, say)."""

MEDIA_PREFIX = "media_"
"""Prefix of a photograph's columns whose names are also columns of the record."""


@dataclass(frozen=True, slots=True)
class DarwinCoreArchive:
    """The content of a Darwin Core Archive.

    Attributes:
        table: one row per photograph; all columns are text, their types are not inferred yet.
        records: for each row, the id of its occurrence in the archive.
        photographs: folder in which the photographs were found or extracted; None if the archive holds none.
        why_none: why it names no photograph; "" if it names one.
    """

    table: SpecimenTable
    records: tuple[str, ...]
    photographs: Path | None
    why_none: str = ""


def is_archive(path: Path) -> bool:
    """Return whether a path is a Darwin Core Archive: a .zip, an extracted folder, or its meta.xml."""
    return path.suffix.lower() == ".zip" or path.is_dir() or path.name == "meta.xml"


def read_archive(path: Path, *, unpack: bool) -> DarwinCoreArchive:
    """Read a Darwin Core Archive.

    Args:
        path: the .zip, the folder it was unpacked into, or the meta.xml in that folder.
        unpack: also extract the photographs of a .zip, into the folder NAME.photographs next to it.

    Raises:
        CollectionError: not an archive, its files are missing or contradict meta.xml, or the core is not Occurrence.
    """
    if path.name == "meta.xml" and path.is_file():
        path = path.parent
    if path.is_dir():
        return _read_folder(path, str(path), path)
    if not path.is_file():
        raise CollectionError(f"{path} cannot be opened; check the path of the archive")
    try:
        check_list_size(path)
        with zipfile.ZipFile(path) as file:
            root = _find_root(file, path)
            archive = _read_folder(root, str(path), None)
            references = {str(value) for value in archive.table.columns.get(IMAGE_COLUMN, ()) if value is not None}
            folder = path.with_name(path.stem + ".photographs")
            if not unpack:
                return archive
            unpacked, notes = _unpack_photographs(file, root.at, references, folder)
    except CollectionError:
        raise
    except UNPACKING_ERRORS as error:
        raise CollectionError(f"{path} cannot be read as a .zip ({error}); export or download it again") from error
    table = replace(archive.table, notes=(*archive.table.notes, *notes))
    return replace(archive, table=table, photographs=folder if unpacked else None)


def _find_root(file: zipfile.ZipFile, path: Path) -> zipfile.Path:
    """Find the folder of meta.xml: the top of the .zip, or a folder in it."""
    found = [name for name in file.namelist() if PurePosixPath(name).name == "meta.xml" and "__MACOSX" not in name]
    if not found:
        raise CollectionError(f"{path} has no meta.xml, so it is no Darwin Core Archive; give the table itself instead")
    parent = PurePosixPath(min(found, key=lambda name: (name.count("/"), name))).parent
    return zipfile.Path(file, "" if parent == PurePosixPath() else f"{parent}/")


# ------------------------------------------------------------------------------------------------ the text files


@dataclass(frozen=True, slots=True)
class _DataFile:
    """One data file of an archive.

    Attributes:
        source: its name, for messages.
        names: terms of its columns.
        rows: term -> cell; empty cells are left out.
        ids: for each row, the id that joins core and extensions.
        lines: for each row, its line in the file, from 1.
    """

    source: str
    names: tuple[str, ...]
    rows: list[dict[str, str]]
    ids: list[str]
    lines: list[int]


def _read_folder(root: Path | zipfile.Path, name: str, photographs: Path | None) -> DarwinCoreArchive:
    meta = read_meta(root, name)
    core = meta.find(f"{_TEXT}core")
    if core is None:
        raise CollectionError(f"{name}: the core must be Occurrence, not none; export the occurrences as the core")
    kind = _read_row_type(core)
    if kind.casefold() != "occurrence":
        further = [_read_row_type(each) for each in meta.findall(f"{_TEXT}extension")]
        raise CollectionError(
            f"{name}: the core must be Occurrence, not {kind or 'none'} (other files: {', '.join(further) or 'none'}); "
            f"export the occurrences as the core, as GBIF's download 'Darwin Core Archive' does, or give a table of "
            f"one row a photograph"
        )
    occurrences = _read_data_file(root, core, "id", name)
    media: dict[str, list[dict[str, str]]] = {}
    others: set[str] = set()
    lists: list[_DataFile] = []
    for extension in meta.findall(f"{_TEXT}extension"):
        if _read_row_type(extension).casefold() in _MEDIA_ROW_TYPES:
            listed = _read_data_file(root, extension, "coreid", name)
            lists.append(listed)
            for owner, row in zip(listed.ids, listed.rows, strict=True):
                if _is_photograph(row):
                    media.setdefault(owner, []).append(_add_image_column(row))
                else:
                    others.add(_add_image_column(row)[IMAGE_COLUMN])
    notes = _drop_thumbnails(media, occurrences.source)
    archive = _join_photographs(occurrences, media, others, photographs)
    archive = replace(archive, table=replace(archive.table, notes=(*archive.table.notes, *notes)))
    if any(value is not None for value in archive.table.columns[IMAGE_COLUMN]):
        return archive
    return replace(archive, why_none=_explain_no_photographs(name, occurrences, lists, media))


def _drop_thumbnails(media: dict[str, list[dict[str, str]]], source: str) -> list[str]:
    """Leave out the thumbnails that Audiovisual Core lists beside the photographs they show; returns a note."""

    def is_thumbnail(row: Mapping[str, str]) -> bool:
        return any("thumbnail" in row.get(term, "").lower() for term in ("variant", "variantLiteral"))

    dropped = 0
    for owner, rows in media.items():
        kept = [row for row in rows if not is_thumbnail(row)]
        if kept and len(kept) < len(rows):
            dropped += len(rows) - len(kept)
            media[owner] = kept
    return [f"{source}: thumbnails listed beside their photographs are left out ({dropped:,})"] if dropped else []


def _explain_no_photographs(
    name: str, occurrences: _DataFile, lists: Sequence[_DataFile], media: Mapping[str, object]
) -> str:
    if media:  # Photographs that are no occurrence's.
        known = set(occurrences.ids)
        for each in lists:
            owner = next((owner for owner in each.ids if owner in media and owner not in known), None)
            if owner is not None:
                return (
                    f"{name}: no photograph of {each.source} belongs to an occurrence: it is of {owner!r}, and the "
                    f"occurrences are called like {next(iter(occurrences.ids), '')!r}; export the archive again"
                )
    return (
        f"{name} lists no photographs: it has no file of media with a photograph, and no associatedMedia; download the "
        f"records with their media, at GBIF as a 'Darwin Core Archive'"
    )


def _read_row_type(element: ElementTree.Element) -> str:
    """Return what the rows of a data file are, such as Occurrence, without the address of its vocabulary."""
    return re.split(r"[/#:]", element.get("rowType", "").strip().rstrip("/#"))[-1]


def _read_data_file(root: Path | zipfile.Path, element: ElementTree.Element, key: str, name: str) -> _DataFile:
    locations = [(each.text or "").strip() for each in element.findall(f"{_TEXT}files/{_TEXT}location")] or [""]
    source = f"{name}/{locations[0]}"
    joining = element.find(f"{_TEXT}{key}")
    index = _parse_index(joining.get("index") if joining is not None else None, source)
    names, fields, constants = _read_fields(element, source)
    if key == "id" and index not in fields.values():
        names, fields = (*names, "id"), fields | {"id": index}  # The core's id may be no term, and then it has no name.
    skipped = _parse_index(element.get("ignoreHeaderLines"), source)
    result = _DataFile(source, names, [], [], [])
    for location in locations:
        for line, cells in _read_rows(root, location, element, name):
            if line <= skipped:
                continue
            if len(cells) <= max(index, *fields.values(), 0):
                raise CollectionError(
                    f"{name}/{location} line {line} has only {len(cells)} cells; export the archive again"
                )
            result.rows.append(constants | {term: cells[i] for term, i in fields.items() if cells[i]})
            result.ids.append(cells[index])
            result.lines.append(line)
    return result


def _read_rows(
    root: Path | zipfile.Path, location: str, element: ElementTree.Element, name: str
) -> Iterator[tuple[int, list[str]]]:
    """Read the rows of one file, its header lines among them."""
    source = f"{name}/{location}"
    file = TextFile(source, partial(open_archive_file, root, location, name))
    with file.open() as stream:
        has_mark = stream.read(2) in (b"\xff\xfe", b"\xfe\xff")
    encoding = "utf-16" if has_mark else element.get("encoding", "").strip().lower() or "utf-8"
    check_encoding(encoding, source)
    dialect = Dialect(
        _parse_mark(element.get("fieldsTerminatedBy", ","), source),
        _parse_mark(element.get("fieldsEnclosedBy", '"'), source),
    )
    if dialect.delimiter == "\t" and dialect.quote:
        # Many archives state quoting that they do not have.
        dialect = find_tab_dialect(partial(read_lines, file, encoding), source)
    return split_rows(read_lines(file, encoding), source, dialect)


def _read_fields(element: ElementTree.Element, source: str) -> tuple[tuple[str, ...], dict[str, int], dict[str, str]]:
    """Read the fields of a data file: terms, term -> column, and term -> constant for terms that have no column."""
    names: list[str] = []
    fields: dict[str, int] = {}
    constants: dict[str, str] = {}
    for field in element.findall(f"{_TEXT}field"):
        term = field.get("term", "").rpartition("#" if "#" in field.get("term", "") else "/")[2]
        if not term:
            raise CollectionError(f"{source}: meta.xml has a field without a term; export the archive again")
        while term.lower() in {name.lower() for name in names}:
            term += "_2"  # dc:identifier and dcterms:identifier are two columns
        names.append(term)
        if (index := field.get("index")) is not None:
            fields[term] = _parse_index(index, source)
        if (default := field.get("default")) or index is None:
            constants[term] = default or ""
    return tuple(names), fields, constants


def _parse_index(text: str | None, source: str) -> int:
    if text and not (text.isdecimal() and len(text) < 10):
        raise CollectionError(f"{source}: meta.xml has {text[:40]!r} where a number is due; export the archive again")
    return int(text or 0)


def _parse_mark(mark: str, source: str) -> str:
    mark = mark.replace("\\t", "\t").replace("&quot;", '"')
    if len(mark) > 1:
        raise CollectionError(f"{source}: meta.xml separates or quotes cells with {mark!r}; export with tabs instead")
    return mark


# ------------------------------------------------------------------------------------------------ the photographs


def _is_photograph(row: Mapping[str, str]) -> bool:
    """Return whether a media row is a photograph: its type is StillImage (word or IRI); without a type, by its format.

    Audiovisual Core has two types, `dc:type` and `dcterms:type` (here `type_2`); both must agree where both are filled.
    """
    types = [row[name].lower() for name in ("type", "type_2") if row.get(name)]
    # Some archives have the format in the type column.
    formats = [row.get("format", "").lower(), *(each for each in types if _MIME_TYPE.match(each))]
    kinds = {
        re.sub(r"\s", "", re.split(r"[/#:]", each.rstrip("/#"))[-1]) for each in types if not _MIME_TYPE.match(each)
    }
    if kinds - {"image"}:  # DCMI's Image is StillImage or MovingImage, so it decides nothing.
        return kinds <= {"stillimage", "image"}
    return not any(_OTHER_MEDIA.search(each) for each in formats)


def _add_image_column(row: dict[str, str]) -> dict[str, str]:
    return {IMAGE_COLUMN: row.get("accessURI") or row.get("identifier") or ""} | row


def _join_photographs(
    occurrences: _DataFile, media: Mapping[str, list[dict[str, str]]], others: Set[str], photographs: Path | None
) -> DarwinCoreArchive:
    lower = {name.lower() for name in (*occurrences.names, IMAGE_COLUMN)}
    media_names = dict.fromkeys(name for rows in media.values() for row in rows for name in row if name != IMAGE_COLUMN)
    # The licence of a photograph is not the licence of its record.
    apart = lower | {name.lower() for name in RECORD_TERMS}
    renamed = {name: f"{MEDIA_PREFIX}{name}" if name.lower() in apart else name for name in media_names}
    names = [*occurrences.names, *renamed.values()]
    columns: dict[str, list[str | None]] = {name: [] for name in dict.fromkeys((*names, IMAGE_COLUMN))}
    records, lines = [], []
    for key, row, line in zip(occurrences.ids, occurrences.rows, occurrences.lines, strict=True):
        pictures = media.get(key) or _list_associated_media(row, others)
        for picture in pictures or [{}]:
            cells = row | {renamed.get(name, name): value for name, value in picture.items()}
            for name, column in columns.items():
                column.append(cells.get(name) or None)
            records.append(key)
            lines.append(line)
    return DarwinCoreArchive(
        SpecimenTable(occurrences.source, columns, dict.fromkeys(columns, ""), lines), tuple(records), photographs
    )


def _list_associated_media(row: Mapping[str, str], others: Set[str]) -> list[dict[str, str]]:
    """List the photographs in an occurrence's `associatedMedia`, for archives without a media file.

    Args:
        row: the occurrence.
        others: references that the archive's media files list as something other than a photograph.
    """
    parts = (part.strip() for part in row.get("associatedMedia", "").split("|"))
    return [{IMAGE_COLUMN: part} for part in parts if part and part not in others]


def _unpack_photographs(file: zipfile.ZipFile, at: str, references: set[str], folder: Path) -> tuple[bool, list[str]]:
    """Extract the photographs that the table names and the archive holds.

    Returns:
        (whether there are any, notes on those that could not be extracted).
    """
    # Python asks the last letter of a name whether it is a folder, and damaged archives have names of none.
    members = {each.filename: each for each in file.infolist() if each.filename and not each.is_dir()}
    # Match by file name alone only if the name is unique both in the table and in the archive.
    by_name = {name: members[path] for name, path in index_by_file_name(members).items()}
    named = index_by_file_name(references)
    wanted = []
    for reference, target in _list_targets(references, folder):
        inside = members.get(at + reference.replace("\\", "/"))
        if inside is None and file_name(reference) in named:
            inside = by_name.get(file_name(reference))
        if inside is not None:
            wanted.append((inside, target))
    missing = [pair for pair in wanted if not pair[1].is_file() or pair[1].stat().st_size != pair[0].file_size]
    _check_disk(file, [inside for inside, _ in missing if not is_bomb(inside)], folder)
    return bool(wanted), [note for inside, target in missing if (note := _unpack(file, inside, target))]


def _check_disk(file: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo], folder: Path) -> None:
    """Refuse to unpack more than there is room for."""
    size, free = sum(member.file_size for member in members), shutil.disk_usage(folder.parent).free
    if size > free:
        raise CollectionError(
            f"{file.filename} holds photographs of {size / 1024**3:.1f} GB, but {folder.parent} has room for "
            f"{free / 1024**3:.1f} GB; make room, or name a folder of photographs with --images (images= in Python)"
        )


def _unpack(file: zipfile.ZipFile, inside: zipfile.ZipInfo, target: Path) -> str | None:
    """Extract a photograph; returns a note if the archive holds it damaged."""
    if is_bomb(inside):
        return (
            f"{file.filename}: {inside.filename} unpacks to {inside.file_size:,} bytes, as no photograph does; left out"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with file.open(inside) as packed, atomic_write(target) as temporary, temporary.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    except OSError as error:
        raise CollectionError(
            f"{file.filename} holds photographs that cannot be unpacked to {target} ({error.strerror}); "
            f"unpack them yourself and name their folder with --images (images= in Python)"
        ) from error
    except UNPACKING_ERRORS as error:
        return f"{file.filename}: {inside.filename} is damaged ({error}); export or download the archive again"
    return None


def _list_targets(references: set[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """Give each photograph's target path; references that lead out of the folder are left out (zip slip)."""
    for reference in sorted(references):
        inside = PurePosixPath(file_name(reference) if is_web_address(reference) else reference.replace("\\", "/"))
        if inside.name and not inside.is_absolute() and ".." not in inside.parts:
            yield reference, folder / inside
