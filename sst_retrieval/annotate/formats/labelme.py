"""LabelMe JSON: one file a photograph, whose labels are the traits.

The format of https://github.com/wkentaro/labelme. Polygons, rectangles, circles and masks are read; shapes without an
area (points, lines) are refused. The shapes of two traits may overlap.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sst_retrieval.annotate.formats.contract import AnnotationFile, AnnotationFormat, ImageAnnotation, ReadContext
from sst_retrieval.annotate.formats.json_documents import load_json, require_entry, require_size
from sst_retrieval.annotate.formats.shapes import check_points, encode_polygon, join_shapes
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.types import Mask


def is_labelme(document: Any) -> bool:
    """Tell whether a JSON document is LabelMe's: it lists shapes."""
    return isinstance(document, dict) and "shapes" in document


def read_labelme(path: Path, document: Mapping[str, Any], context: ReadContext) -> AnnotationFile:
    """Read a LabelMe document.

    Returns:
        Its one image, called like `imagePath` or like the file; LabelMe numbers no traits.

    Raises:
        SupportError: there are no shapes, an entry is missing or damaged, or a shape gives no mask.
    """
    size = require_size(document, "imageHeight", "imageWidth", str(path))
    shapes: dict[str, list[bytes]] = {}
    for position, shape in enumerate(require_entry(document, "shapes", (list,), str(path)), 1):
        label = require_entry(shape, "label", (str,), f"{path} shape {position}").strip()
        shapes.setdefault(label, []).append(_encode_shape(shape, size, f"{path} shape {position} ({label})"))
    if not shapes:
        raise SupportError(f"{path} has no shapes; draw the traits, or move the file out of the supports")
    image = document.get("imagePath")
    names = (image, path.stem) if isinstance(image, str) and image else (path.stem,)
    return AnnotationFile((ImageAnnotation(path, names, size, join_shapes(shapes, size, str(path))),))


def _encode_shape(shape: Mapping[str, Any], size: tuple[int, int], where: str) -> bytes:
    points = require_entry(shape, "points", (list,), where)
    kind = shape.get("shape_type") or "polygon"
    if kind in ("polygon", "oriented_rectangle") or (kind == "rectangle" and len(points) == 4):
        return encode_polygon(points, size, where)
    if kind in ("rectangle", "circle", "mask") and len(points) == 2:
        (x0, y0), (x1, y1) = check_points(points, size, where)
        if kind == "rectangle":
            return encode_polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], size, where)
        if kind == "circle":  # Its centre, and a point of its edge.
            ys, xs = np.ogrid[: size[0], : size[1]]
            return masks.encode(np.hypot(xs + 0.5 - x0, ys + 0.5 - y0) <= math.hypot(x1 - x0, y1 - y0))
        return masks.encode(_paste_mask(shape.get("mask"), (int(x0), int(y0)), size, where))
    raise SupportError(f"{where} is a {kind} of {len(points)} points, which has no area; draw it as a polygon")


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
        with Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)), formats=("PNG",)) as picture:
            fits = 0 <= x <= width - picture.width and 0 <= y <= height - picture.height
            crop = np.asarray(picture.convert("L")) > 0 if fits else None
    except (TypeError, binascii.Error, OSError, ValueError, SyntaxError) as error:
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
