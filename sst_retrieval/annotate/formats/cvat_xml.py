"""CVAT's XML ("CVAT for images 1.1"): one file for many photographs, whose labels are the traits.

Polygons, masks and ellipses are read; boxes, lines, points, cuboids and skeletons are left out. Shapes of one
`group_id`, or of one value of an attribute `individual`, are one individual.
https://docs.cvat.ai/docs/manual/advanced/xml_format/
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from sst_retrieval.annotate.formats.contract import (
    AnnotationFile,
    AnnotationFormat,
    ImageAnnotation,
    ReadContext,
    make_annotation_file,
)
from sst_retrieval.annotate.formats.json_documents import require_size
from sst_retrieval.annotate.formats.shapes import (
    NoAreaError,
    TraitShapes,
    encode_ellipse,
    encode_polygon,
    find_individual,
)
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks

Size = tuple[int, int]


def load_xml(path: Path) -> ElementTree.Element:
    """Parse an XML file that declares no entities.

    Raises:
        SupportError: it cannot be opened, is not valid XML, or declares entities, with which a small file can fill the
            memory.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SupportError(f"{path} cannot be opened ({error.strerror}); check the path of the supports") from error
    if b"<!ENTITY" in content or b"<!\0E\0N\0T" in content:
        raise SupportError(f"{path} declares XML entities, which no annotation program does; export it again")
    try:
        document = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise SupportError(f"{path} is not valid XML ({error}); export the annotations again") from error
    if document.tag == "annotation" and document.find("object") is not None:
        raise SupportError(
            f"{path} is in Pascal VOC's format, which holds boxes; draw outlines, and export them as COCO JSON or as "
            f'"CVAT for images 1.1"'
        )
    return document


def is_cvat(document: ElementTree.Element) -> bool:
    """Tell whether an XML document is CVAT's."""
    return document.tag == "annotations"


def read_cvat(path: Path, document: ElementTree.Element, context: ReadContext) -> AnnotationFile:
    """Read a CVAT document.

    Returns:
        One image each that has an outline; CVAT numbers no traits.

    Raises:
        SupportError: nothing of it can be used.
    """
    if document.find("image") is None:
        reason = "has no images"
        if document.find("track") is not None:
            reason = "is an export of a video, which does not name its frames"
        raise SupportError(f'{path} {reason}; export the annotations as "CVAT for images 1.1"')
    images: list[ImageAnnotation] = []
    notes: list[str] = []
    for item in document.iter("image"):
        if not len(item):
            continue
        name = item.get("name", "")
        try:
            attributes = {key: _whole(item, key) for key in ("width", "height")}
            size = require_size(attributes, "height", "width", f"{path} image {name}")
            context.photographs.check_size(path, (name,), size)
        except SupportError as error:
            notes.append(f"left out: {error}")
            continue
        shapes = TraitShapes(path, size, context.traits, photograph=name)
        for position, shape in enumerate(item, 1):
            label = shape.get("label", "")
            where = f"{path} image {name} shape {position} ({label})"
            if shape.tag != "tag":
                attributes_of = {each.get("name"): each.text for each in shape.iter("attribute")}
                individual = find_individual(attributes_of, shape.attrib)
                shapes.add(label, partial(_encode_shape, shape, size, where, shapes.notes), individual)
        images += shapes.make_images((name,))
        notes += shapes.notes
    return make_annotation_file(path, images, notes)


def _encode_shape(shape: ElementTree.Element, size: Size, where: str, notes: list[str]) -> list[bytes]:
    try:
        if shape.tag == "polygon":
            points = [[float(value) for value in pair.split(",")] for pair in shape.get("points", "").split(";")]
            return [encode_polygon(points, size, where, notes)]
        if shape.tag == "ellipse":
            cx, cy, rx, ry, degrees = (float(shape.get(key, 0)) for key in ("cx", "cy", "rx", "ry", "rotation"))
            return [encode_ellipse((cx, cy), (rx, ry), degrees, size, where)]
        if shape.tag == "mask":
            return [_encode_mask(shape, size)]
    except (ValueError, OverflowError) as error:
        if isinstance(error, SupportError):
            raise
        raise SupportError(f"{where} is damaged ({error}); export the annotations again") from error
    raise NoAreaError(f"{where} is a {shape.tag}, which has no outline; draw it as a polygon or a mask")


def _encode_mask(shape: ElementTree.Element, size: Size) -> bytes:
    """Paste a mask of run lengths, row by row and background first, into an empty one of the photograph's size."""
    left, top, width, height = (int(float(shape.get(key, ""))) for key in ("left", "top", "width", "height"))
    if width < 1 or height < 1 or left < 0 or top < 0 or left + width > size[1] or top + height > size[0]:
        raise ValueError("its box does not lie on the photograph")
    runs = np.array([int(run) for run in shape.get("rle", "").split(",")], dtype=np.int64)
    if runs.min() < 0 or runs.max() > width * height or runs.sum() != width * height:
        raise ValueError("its run lengths do not fill its box")
    mask = np.zeros(size, dtype=bool)
    mask[top : top + height, left : left + width] = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(
        height, width
    )
    return masks.encode(mask)


def _whole(item: ElementTree.Element, key: str) -> Any:
    try:
        value = float(item.get(key, ""))
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


CVAT = AnnotationFormat(
    description='CVAT\'s XML ("CVAT for images 1.1")',
    suffixes=(".xml",),
    load=load_xml,
    matches=is_cvat,
    read=read_cvat,
)
