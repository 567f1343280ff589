"""The annotation formats that are read: find the format of a file by its suffix and content, and read the file.

To add a format, write a module with an `AnnotationFormat` and name it in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sst_retrieval.annotate.formats.coco import COCO
from sst_retrieval.annotate.formats.contract import AnnotationFile, AnnotationFormat, ReadContext
from sst_retrieval.annotate.formats.cvat_xml import CVAT
from sst_retrieval.annotate.formats.geojson import GEOJSON
from sst_retrieval.annotate.formats.label_pictures import LABEL_PICTURES
from sst_retrieval.annotate.formats.label_studio import LABEL_STUDIO
from sst_retrieval.annotate.formats.labelme import LABELME
from sst_retrieval.annotate.formats.via import VIA, VIA_CSV
from sst_retrieval.annotate.formats.yolo import YOLO
from sst_retrieval.errors import SupportError

FORMATS: tuple[AnnotationFormat, ...] = (LABEL_PICTURES, COCO, LABELME, CVAT, VIA, LABEL_STUDIO, GEOJSON, YOLO, VIA_CSV)
"""In the order in which they are tried; those of one suffix must tell their files apart by `matches`."""

_DRAW = "draw the outlines in a program whose files are read, or paint a label picture"
OTHER_TOOLS: Mapping[str, str] = {
    ".tps": f"is a TPS file, which holds landmarks, not masks; {_DRAW}",
    ".nts": f"is an NTS file, which holds landmarks, not masks; {_DRAW}",
    ".roi": "is an ImageJ ROI; fill the ROIs in a label picture with ImageJ and save it as PNG or TIFF",
    ".zip": "is an archive; unpack it into a folder",
    ".xcf": "is a GIMP project; export a PNG of one number a trait, or a black-and-white mask of each",
    ".psd": "is a Photoshop project; export a PNG of one number a trait, or a black-and-white mask of each",
    ".svg": f"is a vector drawing; {_DRAW}",
    ".npy": "is a NumPy array; save it as a label picture (PNG)",
    ".mat": "is a Matlab file; save the label numbers as PNG",
    ".qpproj": "is a QuPath project; export the annotations as GeoJSON",
}
"""Files that lie where supports are expected and are not read: suffix -> what they are, and what to do."""


def annotation_suffixes(*, standalone: bool = False) -> tuple[str, ...]:
    """Return the suffixes of all formats, in lower case, or only of those whose files need no folder."""
    chosen = [each for each in FORMATS if each.standalone or not standalone]
    return tuple(dict.fromkeys(suffix for each in chosen for suffix in each.suffixes))


def optional_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of files that may be something else altogether, such as a text to be read."""
    optional = {suffix for each in FORMATS if each.optional for suffix in each.suffixes}
    return frozenset(optional - {suffix for each in FORMATS if not each.optional for suffix in each.suffixes})


def read_annotations(path: Path, context: ReadContext) -> AnnotationFile:
    """Read a file in whichever format it is.

    Args:
        path: a file with one of `annotation_suffixes`.
        context: what a reader may need beyond the file.

    Returns:
        The annotated photographs, and the numbers of the traits if the format has them.

    Raises:
        SupportError: the file cannot be read, is of no known format, or an entry of it is missing or damaged.
            A text file of no known format has no photographs.
    """
    candidates = [each for each in FORMATS if path.suffix.lower() in each.suffixes]
    documents: dict[Callable[[Path], Any], Any] = {}
    for candidate in candidates:
        if candidate.load not in documents:
            documents[candidate.load] = candidate.load(path)
        document = documents[candidate.load]
        if candidate.matches(document):
            return candidate.read(path, document, context)
    if all(candidate.optional for candidate in candidates):
        return AnnotationFile(())
    raise SupportError(
        f"{path} is {'neither ' if len(candidates) > 1 else 'not '}"
        f"{' nor '.join(each.description for each in candidates)}; "
        f"export the annotations in one of these formats, or move the file out of the supports"
    )
