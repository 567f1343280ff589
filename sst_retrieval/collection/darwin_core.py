"""A Darwin Core Archive as a specimen table: one row a photograph, its occurrence's and its own columns side by side.

1. `meta.xml` says which file is the core (occurrences), which one lists the photographs (Multimedia, Image or
   Audiovisual Core), and what the columns mean.
2. A photograph belongs to the occurrence whose id its `coreid` is. An occurrence with several photographs becomes
   several specimens; one without a photograph keeps its row, without an image.
3. Photographs that lie inside a .zip are unpacked next to it, once, so that they can be read again later.
"""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from sst_retrieval.collection.tables import Table, decoded, rows_of
from sst_retrieval.errors import CollectionError
from sst_retrieval.imaging.images import atomic

IMAGE = "image"
"""The column that holds each photograph's reference (`accessURI`, `identifier` or `associatedMedia`)."""

_TEXT = "{http://rs.tdwg.org/dwc/text/}"
_PHOTOGRAPHS = ("/Multimedia", "/Image")
_FORMAT = re.compile(r"(image|audio|video|model|text|application)/[^/]+$")
_NO_PICTURE = re.compile(r"\b(audio|video|model|text|application)\b")

OF_RECORDS = frozenset(
    (
        *("type", "modified", "language", "license", "rights", "rightsHolder", "accessRights"),
        *("bibliographicCitation", "references", "source"),
    )
)
"""Dublin Core terms that say something of a record; of a photograph they are other ones (its licence, say)."""

MEDIA = "media_"
"""How columns begin that say of a photograph what others of the same name say of its record."""


@dataclass(frozen=True, slots=True)
class Archive:
    """What a Darwin Core Archive says about its specimens.

    Attributes:
        table: one row a photograph; every column is text that has not been looked at.
        copies: 0 for the only photograph of an occurrence, else 1, 2, ... in the order of the file; one a row.
        photographs: folder in which the photographs were found or unpacked; None if the archive holds none.
    """

    table: Table
    copies: tuple[int, ...]
    photographs: Path | None


def is_archive(path: Path) -> bool:
    """Tell a Darwin Core Archive from other tables: a .zip, an unpacked folder, or its meta.xml."""
    return path.suffix.lower() == ".zip" or path.is_dir() or path.name == "meta.xml"


def file_name(reference: str) -> str:
    """Return the file name that a web address or path ends in.

    >>> file_name("https://museum.example/media/IMG%201.jpg?size=full")
    'IMG 1.jpg'
    """
    if is_web_address(reference):
        reference = unquote(urlsplit(reference).path)
    return PurePosixPath(reference.replace("\\", "/")).name


def is_web_address(reference: str) -> bool:
    """Tell a web address from the path of a file."""
    return "://" in reference


def unambiguous(references: Iterable[str]) -> dict[str, str]:
    """Return the references that can be told apart by the file name they end in, by that name."""
    seen: dict[str, list[str]] = {}
    for reference in references:
        seen.setdefault(file_name(reference), []).append(reference)
    return {name: found[0] for name, found in seen.items() if len(found) == 1}


def read_archive(path: Path, *, unpack: bool) -> Archive:
    """Read a Darwin Core Archive.

    Args:
        path: the .zip, the folder it was unpacked into, or the meta.xml in that folder.
        unpack: the photographs inside a .zip are wanted, too: unpack them into the folder NAME.photographs next to it.

    Raises:
        CollectionError: not an archive, its files are missing or contradict meta.xml, or the core is not Occurrence.
    """
    if path.name == "meta.xml" and path.is_file():
        path = path.parent
    if path.is_dir():
        return _read(path, str(path), path)
    try:
        with zipfile.ZipFile(path) as file:
            root = _root(file, path)
            archive = _read(root, str(path), None)
            references = {str(value) for value in archive.table.columns.get(IMAGE, ()) if value is not None}
            folder = path.with_name(path.stem + ".photographs")
            if unpack and _unpacked(file, root.at, references, folder):
                return Archive(archive.table, archive.copies, folder)
            return archive
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise CollectionError(f"{path} cannot be read as a .zip ({error}); export or download it again") from error


def _root(file: zipfile.ZipFile, path: Path) -> zipfile.Path:
    """Find the folder of meta.xml: people zip the files, and people zip the folder."""
    found = [name for name in file.namelist() if PurePosixPath(name).name == "meta.xml" and "__MACOSX" not in name]
    if not found:
        raise CollectionError(f"{path} has no meta.xml, so it is no Darwin Core Archive; give the table itself instead")
    parent = PurePosixPath(min(found, key=lambda name: (name.count("/"), name))).parent
    return zipfile.Path(file, "" if parent == PurePosixPath() else f"{parent}/")


# ------------------------------------------------------------------------------------------------ the text files


@dataclass(frozen=True, slots=True)
class _Rows:
    """One file of an archive: rows of named cells, and the id that joins them."""

    source: str
    names: tuple[str, ...]
    rows: list[dict[str, str]]
    ids: list[str]
    lines: list[int]


def _read(root: Path | zipfile.Path, name: str, photographs: Path | None) -> Archive:
    try:
        meta = ElementTree.fromstring((root / "meta.xml").read_bytes())
    except FileNotFoundError as error:
        raise CollectionError(
            f"{name} has no meta.xml, so it is no Darwin Core Archive; give the table itself"
        ) from error
    except ElementTree.ParseError as error:
        raise CollectionError(f"{name}/meta.xml is not valid XML ({error}); export the archive again") from error
    core = meta.find(f"{_TEXT}core")
    if core is None or not core.get("rowType", "").endswith("/Occurrence"):
        kind = "none" if core is None else core.get("rowType", "").rpartition("/")[2]
        raise CollectionError(f"{name}: the core must be Occurrence, not {kind}; export the occurrences as the core")
    occurrences = _rows(root, core, "id", name)
    media: dict[str, list[dict[str, str]]] = {}
    others: set[str] = set()
    for extension in meta.findall(f"{_TEXT}extension"):
        if extension.get("rowType", "").endswith(_PHOTOGRAPHS):
            listed = _rows(root, extension, "coreid", name)
            for owner, row in zip(listed.ids, listed.rows, strict=True):
                if _is_photograph(row):
                    media.setdefault(owner, []).append(_with_image(row))
                else:
                    others.add(_with_image(row)[IMAGE])
    return _joined(occurrences, media, others, photographs)


def _rows(root: Path | zipfile.Path, element: ElementTree.Element, key: str, name: str) -> _Rows:
    location = (element.findtext(f"{_TEXT}files/{_TEXT}location") or "").strip()
    source = f"{name}/{location}"
    try:
        text = decoded((root / location).read_bytes(), source, element.get("encoding", "utf-8").lower())
    except (OSError, KeyError) as error:
        raise CollectionError(f"{source} is named in meta.xml, but missing; export the archive again") from error
    joining = element.find(f"{_TEXT}{key}")
    index = _number(joining.get("index") if joining is not None else None, source)
    names, fields, constants = _fields(element, source)
    if key == "id" and index not in fields.values():
        names, fields = (*names, "id"), fields | {"id": index}  # The core's id may be no term, and then it has no name.
    rows = rows_of(
        text.removeprefix("\ufeff"),
        source,
        delimiter=_unescaped(element.get("fieldsTerminatedBy", ","), source),
        quote=_unescaped(element.get("fieldsEnclosedBy", '"'), source),
    )
    result = _Rows(source, names, [], [], [])
    skipped = _number(element.get("ignoreHeaderLines"), source)
    for line, cells in rows:
        if line <= skipped:
            continue
        if len(cells) <= max(index, *fields.values(), 0):
            raise CollectionError(f"{source} line {line} has only {len(cells)} cells; export the archive again")
        result.rows.append(constants | {term: cells[i] for term, i in fields.items() if cells[i]})
        result.ids.append(cells[index])
        result.lines.append(line)
    return result


def _fields(element: ElementTree.Element, source: str) -> tuple[tuple[str, ...], dict[str, int], dict[str, str]]:
    """Read which column means which term, and which terms are the same for all rows."""
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
            fields[term] = _number(index, source)
        if (default := field.get("default")) or index is None:
            constants[term] = default or ""
    return tuple(names), fields, constants


def _number(text: str | None, source: str) -> int:
    if text and not text.isdecimal():
        raise CollectionError(f"{source}: meta.xml has {text!r} where a number is due; export the archive again")
    return int(text or 0)


def _unescaped(mark: str, source: str) -> str:
    mark = mark.replace("\\t", "\t").replace("&quot;", '"')
    if len(mark) > 1:
        raise CollectionError(f"{source}: meta.xml separates or quotes cells with {mark!r}; export with tabs instead")
    return mark


# ------------------------------------------------------------------------------------------------ the photographs


def _is_photograph(row: Mapping[str, str]) -> bool:
    """Say whether a row is a photograph: its type is StillImage, as a word or an address; without a type, its format.

    Audiovisual Core has two types, `dc:type` and `dcterms:type` (here `type_2`); both must agree where both are filled.
    """
    types = [row[name].lower() for name in ("type", "type_2") if row.get(name)]
    # Some write the format into the column of the type.
    formats = [row.get("format", "").lower(), *(each for each in types if _FORMAT.match(each))]
    kinds = {re.sub(r"\s", "", re.split(r"[/#:]", each.rstrip("/#"))[-1]) for each in types if not _FORMAT.match(each)}
    if kinds - {"image"}:  # DCMI's Image is StillImage or MovingImage: that says no more than nothing.
        return kinds <= {"stillimage", "image"}
    return not any(_NO_PICTURE.search(each) for each in formats)


def _with_image(row: dict[str, str]) -> dict[str, str]:
    return {IMAGE: row.get("accessURI") or row.get("identifier") or ""} | row


def _joined(
    occurrences: _Rows, media: Mapping[str, list[dict[str, str]]], others: Set[str], photographs: Path | None
) -> Archive:
    lower = {name.lower() for name in (*occurrences.names, IMAGE)}
    media_names = dict.fromkeys(name for rows in media.values() for row in rows for name in row if name != IMAGE)
    # The licence of a photograph is not the licence of its record.
    apart = lower | {name.lower() for name in OF_RECORDS}
    renamed = {name: f"{MEDIA}{name}" if name.lower() in apart else name for name in media_names}
    names = [*occurrences.names, *renamed.values()]
    columns: dict[str, list[str | None]] = {name: [] for name in dict.fromkeys((*names, IMAGE))}
    copies, lines = [], []
    for key, row, line in zip(occurrences.ids, occurrences.rows, occurrences.lines, strict=True):
        pictures = media.get(key) or _associated(row, others)
        for copy, picture in enumerate(pictures or [{}], 1):
            cells = row | {renamed.get(name, name): value for name, value in picture.items()}
            for name, column in columns.items():
                column.append(cells.get(name) or None)
            copies.append(copy if len(pictures) > 1 else 0)
            lines.append(line)
    return Archive(Table(occurrences.source, columns, dict.fromkeys(columns, ""), lines), tuple(copies), photographs)


def _associated(row: Mapping[str, str], others: Set[str]) -> list[dict[str, str]]:
    """Read the list in an occurrence's own `associatedMedia`, for archives without a file of photographs.

    Args:
        row: the occurrence.
        others: what the archive's other files say is no photograph.
    """
    parts = (part.strip() for part in row.get("associatedMedia", "").split("|"))
    return [{IMAGE: part} for part in parts if part and part not in others]


def _unpacked(file: zipfile.ZipFile, at: str, references: set[str], folder: Path) -> bool:
    """Unpack the photographs that the table names and the archive holds; say whether there are any."""
    members = {member.filename: member for member in file.infolist() if not member.is_dir()}
    # A photograph is found by its name alone only if nothing else has that name, in the table or in the archive.
    by_name = {name: members[path] for name, path in unambiguous(members).items()}
    named = unambiguous(references)
    found = False
    for reference, target in _targets(references, folder):
        inside = members.get(at + reference.replace("\\", "/"))
        if inside is None and file_name(reference) in named:
            inside = by_name.get(file_name(reference))
        if inside is None:
            continue
        found = True
        if not target.is_file() or target.stat().st_size != inside.file_size:
            _unpack(file, inside, target)
    return found


def _unpack(file: zipfile.ZipFile, inside: zipfile.ZipInfo, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with file.open(inside) as packed, atomic(target) as unpacked:
            shutil.copyfileobj(packed, unpacked)
    except OSError as error:
        raise CollectionError(
            f"{file.filename} holds photographs that cannot be unpacked to {target} ({error.strerror}); "
            f"unpack them yourself and name their folder with --images (images= in Python)"
        ) from error


def _targets(references: set[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """Say where each photograph goes; a name that leads out of the folder goes nowhere."""
    for reference in sorted(references):
        inside = PurePosixPath(file_name(reference) if is_web_address(reference) else reference.replace("\\", "/"))
        if inside.name and not inside.is_absolute() and ".." not in inside.parts:
            yield reference, folder / inside
