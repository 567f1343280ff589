"""Contract of annotation formats: what the reader of a format gets and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sst_retrieval.annotate.traits import Traits
from sst_retrieval.errors import SupportError


@dataclass(frozen=True, slots=True)
class DrawnShape:
    """One shape that a person drew: an annotation of COCO, a polygon of LabelMe, ...

    Attributes:
        trait: name of the trait.
        rle: its mask as compressed COCO run-length counts (see `imaging.masks.encode`), not empty.
        individual: what the file calls the individual that it belongs to; None if it does not say.
    """

    trait: str
    rle: bytes
    individual: str | None = None


@dataclass(frozen=True, slots=True)
class ImageAnnotation:
    """The masks of the traits that a person drew on one photograph.

    Attributes:
        source: the file it was read from.
        names: what the photograph or specimen is called there, the most telling name first.
        size: (height, width) in pixels of the photograph it was drawn on.
        rles: trait -> mask as compressed COCO run-length counts (see `imaging.masks.encode`), none of them empty; all
            individuals together.
        named_by_specimen: True if `names` are ids of specimens and nothing else; False if they are file names of
            photographs, too.
        one_trait: True if other files may hold further traits of the same photograph.
        shapes: what was drawn, shape by shape, for formats that have shapes.
        instances: number of an individual -> its mask, for pictures of individuals; then `rles` may be empty.
    """

    source: Path
    names: tuple[str, ...]
    size: tuple[int, int]
    rles: Mapping[str, bytes]
    named_by_specimen: bool = False
    one_trait: bool = False
    shapes: tuple[DrawnShape, ...] = ()
    instances: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """The content of one annotation file.

    Attributes:
        images: one an annotated photograph.
        numbers: trait -> its number in the file, for formats that number their traits; else empty.
        notes: what was left out or clipped, one sentence each.
    """

    images: tuple[ImageAnnotation, ...]
    numbers: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Photographs(Protocol):
    """What a reader may ask about the photographs of the collection; see `specimen_finder.SpecimenFinder`."""

    def image_size(self, source: Path, names: Sequence[str]) -> tuple[int, int]:
        """Return (height, width) in pixels of a photograph."""

    def check_size(self, source: Path, names: Sequence[str], size: tuple[int, int], *, ids_only: bool = False) -> None:
        """Refuse a drawing of another size than its photograph, from the photograph's header."""

    def is_known(self, names: Sequence[str], *, ids_only: bool = False) -> bool:
        """Tell whether one of some names means a photograph of the collection."""

    def expects_many(self, names: Sequence[str], *, ids_only: bool = False) -> bool:
        """Tell whether one of some names means a photograph that may show several individuals."""


@dataclass(frozen=True, slots=True)
class ReadContext:
    """What a reader may need to know beyond its file.

    Attributes:
        traits: of the traits.toml next to the file; None if there is none.
        photographs: of the collection: their sizes, and whose they are.
    """

    traits: Traits | None
    photographs: Photographs

    def image_size(self, source: Path, names: Sequence[str]) -> tuple[int, int]:
        """Return the size of a photograph, for formats that do not store it.

        Args:
            source: the annotation file.
            names: of the photograph, as in `ImageAnnotation`.

        Returns:
            (height, width) in pixels.

        Raises:
            SupportError: the collection has none of these names, or the photograph cannot be read.
        """
        return self.photographs.image_size(source, names)


@dataclass(frozen=True, slots=True)
class AnnotationFormat:
    """How to recognise and read the files of one annotation format.

    Attributes:
        description: name of the format, and what its files are recognised by, for messages.
        suffixes: of its files, in lower case, with the dot.
        load: parse a file to a document (a JSON document, a label map, ...); formats that share a suffix share the
            function, so that a file is parsed once. Raises SupportError if it cannot.
        matches: tell whether a document is of this format; must accept any document of `load`.
        read: convert a document, given the path of its file (for messages and names). Raises SupportError.
        standalone: whether a single file may be given as the supports, without a folder.
        optional: whether other files have its suffixes, too, and are passed over.
    """

    description: str
    suffixes: tuple[str, ...]
    load: Callable[[Path], Any]
    matches: Callable[[Any], bool]
    read: Callable[[Path, Any, ReadContext], AnnotationFile]
    standalone: bool = True
    optional: bool = False


def make_annotation_file(
    path: Path,
    images: Sequence[ImageAnnotation],
    notes: Sequence[str],
    numbers: Mapping[str, int] | None = None,
) -> AnnotationFile:
    """Put together what was read from a file; refuse a file of which nothing is left.

    Args:
        path: the file.
        images: what was read.
        notes: what was left out, and why.
        numbers: trait -> its number in the file, for formats that have numbers.

    Raises:
        SupportError: there are notes, but no image; says the first reasons.
    """
    if not images and notes:
        more = f" (and {len(notes) - 3} more of this kind)" if len(notes) > 3 else ""
        text = "; ".join(note.removeprefix("left out: ") for note in notes[:3])
        raise SupportError(f"nothing of {path} can be used: {text}{more}")
    return AnnotationFile(tuple(images), numbers or {}, tuple(notes))
