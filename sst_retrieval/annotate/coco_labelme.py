"""From the files of annotation programs to masks: COCO JSON and LabelMe JSON.

Outlines are filled by pycocotools, as COCO defines it. Several shapes of one trait on one photograph are one mask;
shapes of different traits may overlap and stay so.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.types import Mask

BEYOND = 2.0
"""How many pixels a point may lie beyond the photograph's edge. A hand slips; more is a photograph of another size."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a person drew on one photograph.

    Attributes:
        source: the file it is read from.
        names: what the photograph or specimen is called there, the most telling name first.
        size: (height, width) in pixels of the photograph it was drawn on.
        rles: trait -> mask as compressed COCO run-length counts (see `imaging.masks.encode`), none of them empty.
    """

    source: Path
    names: tuple[str, ...]
    size: tuple[int, int]
    rles: Mapping[str, bytes]


def read_annotations(path: Path) -> tuple[list[Drawing], dict[str, int]]:
    """Read a COCO or LabelMe file.

    Args:
        path: .json.

    Returns:
        One drawing an annotated photograph, and the label number of each trait (COCO's category ids; LabelMe has none).

    Raises:
        SupportError: not JSON, neither of the two formats, or a shape that gives no mask.
    """
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise SupportError(f"{path} cannot be opened ({error.strerror}); check the path of the supports") from error
    except (ValueError, RecursionError) as error:
        raise SupportError(f"{path} is not valid JSON ({error}); export the annotations again") from error
    if isinstance(document, dict) and "annotations" in document and "images" in document:
        return _read_coco(path, document)
    if isinstance(document, dict) and "shapes" in document:
        return [_read_labelme(path, document)], {}
    raise SupportError(
        f"{path} is neither COCO JSON (images, annotations, categories) nor LabelMe JSON (shapes, imagePath); "
        f"export the annotations in one of the two, or move the file out of the supports"
    )


# ---------------------------------------------------------------------------------------------------------- COCO


def _read_coco(path: Path, document: Mapping[str, Any]) -> tuple[list[Drawing], dict[str, int]]:
    categories = {
        _entry(item, "id", (int,), f"{path} category"): _entry(item, "name", (str,), f"{path} category").strip()
        for item in _entry(document, "categories", (list,), str(path))
    }
    if len(set(categories.values())) < len(categories):
        raise SupportError(f"{path} has two categories of one name; rename one, or join them")
    images = {
        _entry(item, "id", (int, str), f"{path} image"): item for item in _entry(document, "images", (list,), str(path))
    }
    found: dict[int | str, dict[str, list[bytes]]] = {}
    for position, item in enumerate(_entry(document, "annotations", (list,), str(path))):
        number = item.get("id", position) if isinstance(item, dict) else position
        where = f"{path} annotation {number}"
        image_id = _entry(item, "image_id", (int, str), where)
        category = _entry(item, "category_id", (int,), where)
        if image_id not in images or category not in categories:
            missing = f"image {image_id}" if image_id not in images else f"category {category}"
            raise SupportError(f"{where} is of {missing}, which the file does not list; export the annotations again")
        where += f" ({categories[category]} on {images[image_id].get('file_name')})"
        rles = _coco_shape(item.get("segmentation"), _size(images[image_id], "height", "width", where), where)
        found.setdefault(image_id, {}).setdefault(categories[category], []).extend(rles)
    drawings = []
    for image_id, shapes in found.items():
        name = _entry(images[image_id], "file_name", (str,), f"{path} image {image_id}")
        size = _size(images[image_id], "height", "width", f"{path} image {name}")
        drawings.append(Drawing(path, (name,), size, _joined(shapes, size, f"{path}: image {name}")))
    used = {trait for drawing in drawings for trait in drawing.rles}
    return drawings, {name: number for number, name in categories.items() if name in used}


def _coco_shape(segmentation: Any, size: tuple[int, int], where: str) -> list[bytes]:
    if isinstance(segmentation, dict):
        return [_coco_rle(segmentation, size, where)]
    if not isinstance(segmentation, list) or not segmentation:
        raise SupportError(f"{where} has no outline, perhaps only a box; draw the trait's outline")
    rles = []
    for flat in segmentation:
        if not isinstance(flat, list) or len(flat) % 2:
            raise SupportError(f"{where} has an outline that is no list of x, y pairs; export the annotations again")
        rles.append(_polygon(list(zip(flat[::2], flat[1::2], strict=True)), size, where))
    return rles


def _coco_rle(segmentation: Mapping[str, Any], size: tuple[int, int], where: str) -> bytes:
    counts = segmentation.get("counts")
    if segmentation.get("size") != list(size):
        raise SupportError(
            f"{where} has a mask of size {segmentation.get('size')}, but its image is {list(size)} (height, width); "
            f"export the annotations again"
        )
    try:
        if isinstance(counts, list):
            runs = np.array(counts, dtype=np.int64)
            if runs.ndim != 1 or runs.min(initial=0) < 0 or runs.max(initial=0) > math.prod(size):
                raise ValueError("the run-length counts are damaged")
            flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
            return masks.encode(flat.reshape(size[::-1]).T)
        rle = counts.encode("ascii") if isinstance(counts, str) else b""
        masks.decode(rle, size)
    except (ValueError, TypeError, OverflowError) as error:
        raise SupportError(f"{where} has a damaged mask ({error}); export the annotations again") from error
    return rle


# ------------------------------------------------------------------------------------------------------- LabelMe


def _read_labelme(path: Path, document: Mapping[str, Any]) -> Drawing:
    size = _size(document, "imageHeight", "imageWidth", str(path))
    shapes: dict[str, list[bytes]] = {}
    for position, shape in enumerate(_entry(document, "shapes", (list,), str(path)), 1):
        label = _entry(shape, "label", (str,), f"{path} shape {position}").strip()
        shapes.setdefault(label, []).append(_labelme_shape(shape, size, f"{path} shape {position} ({label})"))
    if not shapes:
        raise SupportError(f"{path} has no shapes; draw the traits, or move the file out of the supports")
    image = document.get("imagePath")
    names = (image, path.stem) if isinstance(image, str) and image else (path.stem,)
    return Drawing(path, names, size, _joined(shapes, size, str(path)))


def _labelme_shape(shape: Mapping[str, Any], size: tuple[int, int], where: str) -> bytes:
    points = _entry(shape, "points", (list,), where)
    kind = shape.get("shape_type") or "polygon"
    if kind in ("polygon", "oriented_rectangle") or (kind == "rectangle" and len(points) == 4):
        return _polygon(points, size, where)
    if kind in ("rectangle", "circle", "mask") and len(points) == 2:
        (x0, y0), (x1, y1) = _checked(points, size, where)
        if kind == "rectangle":
            return _polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], size, where)
        if kind == "circle":  # Its middle, and a point of its edge.
            ys, xs = np.ogrid[: size[0], : size[1]]
            return masks.encode(np.hypot(xs + 0.5 - x0, ys + 0.5 - y0) <= math.hypot(x1 - x0, y1 - y0))
        return masks.encode(_placed(shape.get("mask"), (int(x0), int(y0)), size, where))
    raise SupportError(f"{where} is a {kind} of {len(points)} points, which has no area; draw it as a polygon")


def _placed(encoded: Any, corner: tuple[int, int], size: tuple[int, int], where: str) -> Mask:
    """Put a cut-out mask, a PNG in base64, where it lies on the photograph."""
    (x, y), (height, width) = corner, size
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)), formats=("PNG",)) as picture:
            fits = 0 <= x <= width - picture.width and 0 <= y <= height - picture.height
            cut_out = np.asarray(picture.convert("L")) > 0 if fits else None
    except (TypeError, binascii.Error, OSError, ValueError, SyntaxError) as error:
        raise SupportError(f"{where} has a mask that cannot be decoded ({error}); draw it again") from error
    if cut_out is None:
        raise SupportError(
            f"{where} has a mask that leads out of the photograph of {width} x {height} px; draw it again"
        )
    mask = np.zeros(size, dtype=bool)
    mask[y : y + cut_out.shape[0], x : x + cut_out.shape[1]] = cut_out
    return mask


# ---------------------------------------------------------------------------------------------------------- both


def _entry(item: Any, key: str, kinds: tuple[type, ...], where: str) -> Any:
    """Take an entry of a JSON object, and see that it is there and of the right kind."""
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise SupportError(f"{where}: {key!r} is missing or of the wrong kind; export the annotations again")
    return value


def _size(item: Any, height: str, width: str, where: str) -> tuple[int, int]:
    size = (_entry(item, height, (int,), where), _entry(item, width, (int,), where))
    if min(size) < 1 or math.prod(size) > 2**31:
        raise SupportError(f"{where}: {height} and {width} are no size of a photograph; export the annotations again")
    return size


def _checked(points: Sequence[Any], size: tuple[int, int], where: str) -> list[tuple[float, float]]:
    """See that points are (x, y) pairs on the photograph."""
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise SupportError(f"{where} has points that are no x, y pairs; export the annotations again")
    outside = ((array < -BEYOND) | (array > np.array(size[::-1]) + BEYOND)).any(axis=1)
    if outside.any():
        x, y = array[outside][0]
        raise SupportError(
            f"{where} has the point ({x:g}, {y:g}) outside of its photograph of {size[1]} x {size[0]} px; "
            f"annotate the photograph at the size that it has now"
        )
    return [(float(x), float(y)) for x, y in np.clip(array, 0, size[::-1])]


def _polygon(points: Sequence[Any], size: tuple[int, int], where: str) -> bytes:
    checked = _checked(points, size, where)
    if len(checked) < 3:
        raise SupportError(f"{where} has an outline of {len(checked)} points; an area needs at least 3")
    counts: bytes = coco.frPyObjects([[value for point in checked for value in point]], *size)[0]["counts"]
    return counts


def _joined(shapes: Mapping[str, Sequence[bytes]], size: tuple[int, int], where: str) -> dict[str, bytes]:
    """Make one mask a trait out of all its shapes."""
    joined = {}
    for trait, rles in shapes.items():
        whole = coco.merge([{"size": list(size), "counts": rle} for rle in rles])
        if not coco.area(whole):
            raise SupportError(f"{where}: {trait!r} covers no pixel; draw it larger, or erase it")
        joined[trait] = whole["counts"]
    return joined
