"""Contract of annotation formats: what the reader of a format gets and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sst_retrieval.annotate.traits import Traits


@dataclass(frozen=True, slots=True)
class ImageAnnotation:
    """The masks of the traits that a person drew on one photograph.

    Attributes:
        source: the file it was read from.
        names: what the photograph or specimen is called there, the most telling name first.
        size: (height, width) in pixels of the photograph it was drawn on.
        rles: trait -> mask as compressed COCO run-length counts (see `imaging.masks.encode`), none of them empty.
        named_by_specimen: True if `names` are ids of specimens and nothing else; False if they are file names of
            photographs, too.
    """

    source: Path
    names: tuple[str, ...]
    size: tuple[int, int]
    rles: Mapping[str, bytes]
    named_by_specimen: bool = False


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """The content of one annotation file.

    Attributes:
        images: one an annotated photograph.
        numbers: trait -> its number in the file, for formats that number their traits; else empty.
    """

    images: tuple[ImageAnnotation, ...]
    numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadContext:
    """What a reader may need to know beyond its file.

    Attributes:
        traits: of the traits.toml next to the file; None if there is none.
        image_size: for formats that do not store it: given the annotation file and the names of a photograph (as in
            `ImageAnnotation`), return its (height, width) in pixels. Raises SupportError if the collection has none
            of these names, or the photograph cannot be read.
    """

    traits: Traits | None
    image_size: Callable[[Path, Sequence[str]], tuple[int, int]]


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
    """

    description: str
    suffixes: tuple[str, ...]
    load: Callable[[Path], Any]
    matches: Callable[[Any], bool]
    read: Callable[[Path, Any, ReadContext], AnnotationFile]
    standalone: bool = True
