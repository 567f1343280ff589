"""Find the photograph of a collection that an annotation file means, by its id or by its file name."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as Names
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from sst_retrieval.annotate.names_of_rows import NamesOfRows
from sst_retrieval.annotate.traits import MANY
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import ImageError, SupportError
from sst_retrieval.files import escape_name, file_name
from sst_retrieval.imaging.images import image_size, orientation
from sst_retrieval.types import Photograph

FORBIDDEN = r'[/\\:*?"<>|\x00-\x1f]'
"""Characters that no file name may have on all systems; in the name of a label picture, "_" or %2F stands for them."""

_PICTURE = r"(?:jpe?g|png|tiff?|bmp|webp|gif|heic)"
# b0_jpg.rf.0123456789abcdef0123456789abcdef.jpg
_ROBOFLOW = re.compile(rf"(?P<stem>.+)[_-](?P<suffix>{_PICTURE})\.rf\.[0-9A-Za-z]{{8,}}(?:\.\w+)?", re.IGNORECASE)
# 1a2b3c4d-b0.jpg
_LABEL_STUDIO = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){0,3}(?:-[0-9a-f]{12})?-(?P<name>.+)")
# task-1-annotation-1-by-1-tag-wing-0.png
_STUDIO_PICTURE = re.compile(r"task-\d+-annotation-\d+-by-")
# B0_mask.png
_MASK = re.compile(r"(?P<name>.+)[_. -](?:masks?|labels?|seg|segmentation|annotations?)", re.IGNORECASE)


class SpecimenFinder:
    """Finds photographs of a collection by their ids and by their file names."""

    def __init__(self, collection: Collection, individuals: Mapping[str, str] | None = None) -> None:
        """Index the photographs by id and by file name.

        Args:
            collection: what was read.
            individuals: group -> "one" or "many"; groups that are not in it have one.
        """
        self._source = collection.source
        self._photographs = collection.photographs
        self._individuals = individuals or {}
        self._without_photograph = {skipped.photograph for skipped in collection.left_out}
        self._rows = {kind: NamesOfRows() for kind in _KINDS}
        for row, photograph in enumerate(collection.photographs):
            for kind, list_names in _KINDS.items():
                for name in list_names(photograph):
                    self._rows[kind].add(name, row)

    def position(self, photograph: str) -> int | None:
        """Return the row of a photograph among those of the collection, by its id; None if there is none."""
        rows = (row for row in self._rows["id"].find(_normalise(photograph)))
        return next((row for row in rows if self._photographs[row].id == photograph), None)

    def rows_of(self, photograph: Photograph) -> tuple[Photograph, ...]:
        """Return the rows that share a photograph's file, in the order of the table; the photograph is one of them."""
        return tuple(self._named("image", str(photograph.image)))

    def _named(self, kind: str, name: str) -> list[Photograph]:
        """List the photographs that have a name of a kind, in the order of the table."""
        found = (self._photographs[row] for row in self._rows[kind].find(name))
        return [photograph for photograph in found if name in _KINDS[kind](photograph)]

    def _with_id(self, name: str) -> Photograph | None:
        found = self._named("id", _normalise(name))
        return found[-1] if found else None

    def expects_many(self, names: Sequence[str], *, ids_only: bool = False) -> bool:
        """Tell whether one of some names means a photograph that may show several; arguments as of `find`."""
        found = self._look_up(names, ids_only=ids_only)
        return found is not None and self.is_many(found)

    def is_many(self, photograph: Photograph) -> bool:
        """Tell whether a photograph may show several individuals."""
        return self._individuals.get(photograph.group) == MANY

    def is_photograph(self, path: Path) -> bool:
        """Tell whether a file among the supports is a photograph of the collection, not a label picture."""
        return any(path.samefile(s.image) for s in self._named("file", path.name) if s.image.exists())

    def is_known(self, names: Sequence[str], *, ids_only: bool = False) -> bool:
        """Tell whether one of some names means a specimen; arguments as of `find`."""
        return self._look_up(names, ids_only=ids_only) is not None

    def find(self, source: Path, names: Sequence[str], *, ids_only: bool = False) -> Photograph:
        """Find a specimen.

        A name that is neither an id nor the file name of a photograph is tried without what programs add to names
        (Roboflow, Label Studio), with another suffix, and with "_" or %2F for characters that no file name
        may have.

        Args:
            source: the annotation file, for the message.
            names: ids or file names of the photograph, the most telling first; the first that is known counts.
            ids_only: look for ids first of all; only a name that is none may be the file name of a photograph,
                without its suffix.

        Raises:
            SupportError: no name is known, or a photograph shows two specimens.
        """
        specimen = self._look_up(names, ids_only=ids_only)
        if specimen is None:
            raise SupportError(self._explain_unknown(source, names[0]))
        return specimen

    def image_size(self, source: Path, names: Sequence[str]) -> tuple[int, int]:
        """Return (height, width) in pixels of the photograph that the annotation file `source` means by `names`.

        Raises:
            SupportError: no name is known, or the photograph cannot be read.
        """
        specimen = self.find(source, names)
        try:
            return image_size(specimen.image)
        except ImageError as error:
            raise unusable_photograph(source, specimen, error) from error

    def check_size(self, source: Path, names: Sequence[str], size: tuple[int, int], *, ids_only: bool = False) -> None:
        """Check the size of a drawing against its photograph's, whose header alone is read.

        Args:
            source: the annotation file.
            names: of the photograph, as of `find`.
            size: (height, width) of the drawing in pixels.
            ids_only: as of `find`.

        Raises:
            SupportError: the sizes differ, no name is known, or the photograph cannot be read.
        """
        specimen = self.find(source, names, ids_only=ids_only)
        try:
            own = image_size(specimen.image)
            if size != own:
                raise SupportError(_explain_size(source, size, specimen, own))
        except ImageError as error:
            raise unusable_photograph(source, specimen, error) from error

    def _look_up(self, names: Sequence[str], *, ids_only: bool) -> Photograph | None:
        for name in names:
            parts = PurePosixPath(name.replace("\\", "/"))
            same_file = [] if ids_only else self._named("file", parts.name)
            if len(same_file) > 1:
                same_file = [s for s in same_file if s.image.parts[-len(parts.parts) :] == parts.parts] or same_file
            if (specimen := self._only(same_file)) is not None:
                return specimen
            for candidate in (name,) if ids_only else (parts.stem, parts.name):
                if (specimen := self._with_id(candidate)) is not None:
                    return specimen
        alike = (self._find_alike(name, ids_only=ids_only) for name in names)
        return next((specimen for specimen in alike if specimen is not None), None)

    def _only(self, found: Sequence[Photograph]) -> Photograph | None:
        """Return the only photograph, or the first of the rows that share one of many individuals; else None."""
        shared = len({each.image for each in found}) == 1 and any(map(self.is_many, found))
        return found[0] if len(found) == 1 or shared else None

    def _find_alike(self, name: str, *, ids_only: bool) -> Photograph | None:
        """Find the photograph of a name that a program or a file system has changed."""
        if len(encoded := self._named("safe id", _normalise(name))) == 1:
            return encoded[0]
        for candidate in _strip_additions(name, is_stem=ids_only):
            stem = candidate if ids_only else PurePosixPath(candidate).stem
            for known in (candidate, stem):
                if (specimen := self._with_id(known)) is not None:
                    return specimen
            own = self._named("specimen", _normalise(stem)) or self._named("specimen", _normalise(candidate))
            if len(own) == 1:
                return own[0]
            for found in (
                self._named("file", candidate),
                self._named("safe id", _normalise(stem)),
                self._named("stem", _normalise(stem).casefold()),
                self._named("letters", _keep_letters(stem)) if stem != name else [],
            ):
                photograph = self._only(found)
                # The name of a specimen with several photographs is not that of another specimen's file.
                if photograph is not None and (not own or photograph.id in {each.id for each in own}):
                    return photograph
        return None

    def _explain_unknown(self, source: Path, name: str) -> str:
        stem = name if name in self._without_photograph else PurePosixPath(base_name(name)).stem
        if stem in self._without_photograph:
            return f"{source}: {self._source} names no photograph for {stem}; add one to its row"
        own = self._named("specimen", _normalise(stem)) or self._named("specimen", _normalise(name))
        if len(own) > 1:
            listed = ", ".join(f"{each.id!r} ({each.image.name})" for each in own[:6])
            return (
                f"{source} annotates {name!r}, which is a specimen with several photographs; call it after the one it "
                f"was drawn on: {listed}{', ...' * (len(own) > 6)}"
            )
        for several in (self._named("file", base_name(name)), self._named("stem", stem.casefold())):
            if len({specimen.image for specimen in several}) == 1 and len(several) > 1:
                ids = " and ".join(specimen.id for specimen in several[:3])
                return (
                    f"{source} annotates {name!r}, which is not a specimen of {self._source}, but the photograph of "
                    f"{ids}; a photograph shows one specimen here: cut it, give the drawing the id of one, or, if it "
                    f"shows several, give each row its place and say --individuals many"
                )
        alike = self._named("file", base_name(name)) or self._named("stem", _normalise(stem).casefold())
        if len({specimen.image for specimen in alike}) > 1:
            listed = ", ".join(str(specimen.image) for specimen in alike[:3]) + ", ..." * (len(alike) > 3)
            return (
                f"{source} annotates {name!r}, and {len(alike)} photographs of {self._source} are called so: {listed}; "
                f"write the folder before the name, or the id of the specimen"
            )
        if _STUDIO_PICTURE.match(name):
            return (
                f"{source} is a picture of Label Studio, which does not name the photograph that it was drawn on; "
                f"export the annotations as JSON, or call the picture after the specimen and the trait"
            )
        # Comparing with very many names would take minutes.
        known = [_normalise(each.id) for each in islice(self._photographs, 20_000)]
        near = difflib.get_close_matches(stem, known, 1)
        example = near[0] if near else next(iter(known), "")
        hint = f"did you mean {example!r}?" if near else f"its specimens are called like {example!r};"
        if re.search(FORBIDDEN, example):
            hint += (
                f" (a label picture of it is called {escape_name(example)}.png or {_replace_forbidden(example)}.png)"
            )
        return (
            f"{source} annotates {name!r}, which is not a specimen of {self._source}; {hint} "
            f"name label pictures after the specimen's id, and images in .json files after its photograph"
        )


def base_name(name: str) -> str:
    """Return the last part of a path as POSIX or Windows writes it."""
    return PurePosixPath(name.replace("\\", "/")).name


def unusable_photograph(source: Path, specimen: Photograph, error: ImageError) -> SupportError:
    """Make the error for a specimen whose photograph cannot be read, annotated in the file `source`."""
    return SupportError(f"{source}: the photograph of {specimen.id} cannot be used: {error}")


def _explain_size(source: Path, own: tuple[int, int], specimen: Photograph, size: tuple[int, int]) -> str:
    (height, width), (own_height, own_width) = size, own
    text = f"{source} is {own_width} x {own_height} px, but {specimen.image} is {width} x {height}"
    if own == (width, height) and orientation(specimen.image) >= 5:
        return (
            f"{text} once turned as its EXIF orientation says; the drawing was made on the photograph as stored: "
            f"turn the drawing the same way, or draw in a program that follows EXIF orientation"
        )
    return f"{text}; draw on the photograph at the size that it has now"


def _strip_additions(name: str, *, is_stem: bool) -> Iterator[str]:
    """Yield what a name may have been before a program changed it, without folders."""
    name = name.partition("?d=")[2] or name  # Label Studio's local files.
    if "://" in name:
        name = name.partition("?")[0]
    decoded = unquote(name)
    waiting = [decoded, *([] if is_stem else [base_name(decoded)])]
    tried: list[str] = []
    while waiting:
        candidate = waiting.pop(0)
        if candidate in tried or not candidate:
            continue
        tried.append(candidate)
        yield candidate
        if match := _ROBOFLOW.fullmatch(candidate):
            waiting += [match["stem"], *([] if is_stem else [f"{match['stem']}.{match['suffix']}"])]
        if match := _LABEL_STUDIO.fullmatch(candidate):
            waiting.append(match["name"])
        stem, dot, suffix = candidate.rpartition(".") if not is_stem else (candidate, "", "")
        if match := _MASK.fullmatch(stem if dot else candidate):
            waiting.append(f"{match['name']}{dot}{suffix}" if dot else match["name"])


def _normalise(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _replace_forbidden(name: str) -> str:
    return re.sub(FORBIDDEN, "_", _normalise(name))


def _keep_letters(name: str) -> str:
    """Reduce a name to its letters and digits: programs replace blanks and dots."""
    return re.sub(r"[\W_]+", "-", _normalise(name).casefold())


def _list_safe_ids(photograph: Photograph) -> set[str]:
    """List the names of files that may stand for an id, without the id itself."""
    name = photograph.id
    return {_replace_forbidden(name), escape_name(name), file_name(name)} - {name}


_KINDS: Mapping[str, Callable[[Photograph], Names[str]]] = {
    # Some systems write "é" as one sign in tables and as two in file names.
    "id": lambda photograph: (_normalise(photograph.id),),
    "specimen": lambda photograph: (_normalise(photograph.specimen),),
    "image": lambda photograph: (str(photograph.image),),
    "file": lambda photograph: (photograph.image.name,),
    "stem": lambda photograph: (_normalise(photograph.image.stem).casefold(),),
    "letters": lambda photograph: (_keep_letters(photograph.image.stem),),
    "safe id": _list_safe_ids,
}
"""Kind of name -> the names of that kind that a photograph has."""
