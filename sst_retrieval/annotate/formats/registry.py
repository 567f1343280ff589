"""The annotation formats that are read: find the format of a file by its suffix and content, and read the file.

To add a format, write a module with an `AnnotationFormat` and name it in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sst_retrieval.annotate.formats.coco import COCO
from sst_retrieval.annotate.formats.contract import AnnotationFile, AnnotationFormat, ReadContext
from sst_retrieval.annotate.formats.label_pictures import LABEL_PICTURES
from sst_retrieval.annotate.formats.labelme import LABELME
from sst_retrieval.errors import SupportError

FORMATS: tuple[AnnotationFormat, ...] = (LABEL_PICTURES, COCO, LABELME)
"""In the order in which they are tried; those of one suffix must tell their files apart by `matches`."""


def annotation_suffixes(*, standalone: bool = False) -> tuple[str, ...]:
    """Return the suffixes of all formats, in lower case, or only of those whose files need no folder."""
    chosen = [each for each in FORMATS if each.standalone or not standalone]
    return tuple(dict.fromkeys(suffix for each in chosen for suffix in each.suffixes))


def read_annotations(path: Path, context: ReadContext) -> AnnotationFile:
    """Read a file in whichever format it is.

    Args:
        path: a file with one of `annotation_suffixes`.
        context: what a reader may need beyond the file.

    Returns:
        The annotated photographs, and the numbers of the traits if the format has them.

    Raises:
        SupportError: the file cannot be read, is of no known format, or an entry of it is missing or damaged.
    """
    candidates = [each for each in FORMATS if path.suffix.lower() in each.suffixes]
    documents: dict[Callable[[Path], Any], Any] = {}
    for candidate in candidates:
        if candidate.load not in documents:
            documents[candidate.load] = candidate.load(path)
        document = documents[candidate.load]
        if candidate.matches(document):
            return candidate.read(path, document, context)
    raise SupportError(
        f"{path} is neither {' nor '.join(each.description for each in candidates)}; "
        f"export the annotations in one of these formats, or move the file out of the supports"
    )
