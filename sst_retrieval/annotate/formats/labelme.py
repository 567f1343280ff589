"""LabelMe JSON: one file a photograph, whose labels are the traits.

The format of https://github.com/wkentaro/labelme, and of programs that write it (AnyLabeling). Polygons, rectangles,
circles and masks are read; shapes without an area (points, lines) are left out. The shapes of two traits may overlap.
Shapes of one `group_id` are one individual. Files of old versions store no size.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sst_retrieval.annotate.formats.contract import (
    AnnotationFile,
    AnnotationFormat,
    ReadContext,
    make_annotation_file,
)
from sst_retrieval.annotate.formats.json_documents import load_json, require_entry, require_size, stores_size
from sst_retrieval.annotate.formats.shapes import (
    NoAreaError,
    TraitShapes,
    check_points,
    encode_polygon,
    find_individual,
    parse_points,
)
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.png_header import check_png
from sst_retrieval.imaging.sources import DECODING_ERRORS, silence_pillow
from sst_retrieval.types import Mask


def is_labelme(document: Any) -> bool:
    """Tell whether a JSON document is LabelMe's: it lists shapes."""
    return isinstance(document, dict) and "shapes" in document


def read_labelme(path: Path, document: Mapping[str, Any], context: ReadContext) -> AnnotationFile:
    """Read a LabelMe document.

    Returns:
        Its one image, called like `imagePath` or like the file; LabelMe numbers no traits.

    Raises:
        SupportError: there are no shapes, an entry is missing or damaged, the photograph is unknown or of another size,
            or no shape gives a mask.
    """
    image = document.get("imagePath")
    names = (image, path.stem) if isinstance(image, str) and image else (path.stem,)
    sized = stores_size(document, "imageHeight", "imageWidth")
    if sized:
        size = require_size(document, "imageHeight", "imageWidth", str(path))
        context.photographs.check_size(path, names, size)
    else:
        size = context.image_size(path, names)
    shapes = TraitShapes(path, size, context.traits, stored_size=sized)
    listed = require_entry(document, "shapes", (list,), str(path))
    for position, shape in enumerate(listed, 1):
        try:
            label = str(require_entry(shape, "label", (str, int), f"{path} shape {position}")).strip()
        except SupportError as error:
            shapes.leave_out(error)
            continue
        where = f"{path} shape {position} ({label})"
        individual = find_individual(shape, shape.get("attributes"), shape.get("flags"))
        shapes.add(label, partial(_encode_shape, shape, size, where, shapes.clip_notes), individual)
    if not listed:
        raise SupportError(f"{path} has no shapes; draw the traits, or move the file out of the supports")
    return make_annotation_file(path, shapes.make_images(names), shapes.notes)


def _encode_shape(shape: Mapping[str, Any], size: tuple[int, int], where: str, notes: list[str] | None) -> list[bytes]:
    points = require_entry(shape, "points", (list,), where)
    kind = shape.get("shape_type") or "polygon"
    turned = kind in ("rectangle", "oriented_rectangle", "rotation", "quadrilateral") and len(points) == 4
    if kind == "polygon" or turned:
        return [encode_polygon(points, size, where, notes)]
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = parse_points(points, where).tolist()
        return [encode_polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], size, where, notes)]
    if kind == "circle" and len(points) == 2:  # Its centre, and a point of its edge.
        (x0, y0), (x1, y1) = parse_points(points, where).tolist()
        check_points([(x0, y0)], size, where)
        ys, xs = np.ogrid[: size[0], : size[1]]
        return [masks.encode(np.hypot(xs + 0.5 - x0, ys + 0.5 - y0) <= math.hypot(x1 - x0, y1 - y0))]
    if kind == "mask" and len(points) == 2:
        (x0, y0), _ = check_points(points, size, where)
        return [masks.encode(_paste_mask(shape.get("mask"), (int(x0), int(y0)), size, where))]
    raise NoAreaError(f"{where} is a {kind} of {len(points)} points, which has no area; draw it as a polygon")


def _paste_mask(encoded: Any, corner: tuple[int, int], size: tuple[int, int], where: str) -> Mask:
    """Paste a cropped mask, a PNG in base64, into an empty mask of the photograph's size, bool (H, W).

    Args:
        encoded: base64 of a PNG.
        corner: (x, y) in pixels where its top left corner lies.
        size: (height, width) of the photograph in pixels.
        where: file and shape, for the message.
    """
    (x, y), (height, width) = corner, size
    try:
        file = io.BytesIO(base64.b64decode(encoded, validate=True))
        with silence_pillow(), Image.open(file, formats=("PNG",)) as picture:
            check_png(file)
            fits = 0 <= x <= width - picture.width and 0 <= y <= height - picture.height
            crop = np.asarray(picture.convert("L")) > 0 if fits else None
    except DECODING_ERRORS as error:
        raise SupportError(f"{where} has a mask that cannot be decoded ({error}); draw it again") from error
    if crop is None:
        raise SupportError(
            f"{where} has a mask that leads out of the photograph of {width} x {height} px; draw it again"
        )
    mask = np.zeros(size, dtype=bool)
    mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    return mask


LABELME = AnnotationFormat(
    description="LabelMe JSON (shapes, imagePath)",
    suffixes=(".json",),
    load=load_json,
    matches=is_labelme,
    read=read_labelme,
)
