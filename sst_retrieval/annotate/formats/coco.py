"""COCO JSON: one file for many photographs, whose categories are the traits.

Lin et al. (2014), "Microsoft COCO: Common Objects in Context", arXiv 1405.0312; https://cocodataset.org/#format-data.
Polygons, uncompressed and compressed run-length counts are read; the shapes of two traits may overlap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sst_retrieval.annotate.formats.contract import AnnotationFile, AnnotationFormat, ImageAnnotation, ReadContext
from sst_retrieval.annotate.formats.json_documents import load_json, require_entry, require_size
from sst_retrieval.annotate.formats.shapes import encode_polygon, join_shapes
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks


def is_coco(document: Any) -> bool:
    """Tell whether a JSON document is COCO's: it lists images and annotations."""
    return isinstance(document, dict) and "annotations" in document and "images" in document


def read_coco(path: Path, document: Mapping[str, Any], context: ReadContext) -> AnnotationFile:
    """Read a COCO document.

    Returns:
        One image each that has an annotation, and the category ids as the numbers of the traits.

    Raises:
        SupportError: an entry is missing or damaged, or a shape gives no mask.
    """
    categories = {
        require_entry(item, "id", (int,), f"{path} category"): require_entry(
            item, "name", (str,), f"{path} category"
        ).strip()
        for item in require_entry(document, "categories", (list,), str(path))
    }
    if len(set(categories.values())) < len(categories):
        raise SupportError(f"{path} has two categories of one name; rename one, or join them")
    images = {
        require_entry(item, "id", (int, str), f"{path} image"): item
        for item in require_entry(document, "images", (list,), str(path))
    }
    shapes_of_image: dict[int | str, dict[str, list[bytes]]] = {}
    for position, item in enumerate(require_entry(document, "annotations", (list,), str(path))):
        number = item.get("id", position) if isinstance(item, dict) else position
        where = f"{path} annotation {number}"
        image_id = require_entry(item, "image_id", (int, str), where)
        category = require_entry(item, "category_id", (int,), where)
        if image_id not in images or category not in categories:
            missing = f"image {image_id}" if image_id not in images else f"category {category}"
            raise SupportError(f"{where} is of {missing}, which the file does not list; export the annotations again")
        where += f" ({categories[category]} on {images[image_id].get('file_name')})"
        rles = _encode_segmentation(
            item.get("segmentation"), require_size(images[image_id], "height", "width", where), where
        )
        shapes_of_image.setdefault(image_id, {}).setdefault(categories[category], []).extend(rles)
    annotated = []
    for image_id, shapes in shapes_of_image.items():
        name = require_entry(images[image_id], "file_name", (str,), f"{path} image {image_id}")
        size = require_size(images[image_id], "height", "width", f"{path} image {name}")
        annotated.append(ImageAnnotation(path, (name,), size, join_shapes(shapes, size, f"{path}: image {name}")))
    used = {trait for image in annotated for trait in image.rles}
    return AnnotationFile(tuple(annotated), {name: number for number, name in categories.items() if name in used})


def _encode_segmentation(segmentation: Any, size: tuple[int, int], where: str) -> list[bytes]:
    if isinstance(segmentation, dict):
        return [_encode_run_lengths(segmentation, size, where)]
    if not isinstance(segmentation, list) or not segmentation:
        raise SupportError(f"{where} has no outline, perhaps only a box; draw the trait's outline")
    rles = []
    for flat in segmentation:
        if not isinstance(flat, list) or len(flat) % 2:
            raise SupportError(f"{where} has an outline that is no list of x, y pairs; export the annotations again")
        rles.append(encode_polygon(list(zip(flat[::2], flat[1::2], strict=True)), size, where))
    return rles


def _encode_run_lengths(segmentation: Mapping[str, Any], size: tuple[int, int], where: str) -> bytes:
    """Check run-length counts, a list of lengths or a compressed string, and return them compressed."""
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
            column_by_column = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
            return masks.encode(column_by_column.reshape(size[::-1]).T)
        rle = counts.encode("ascii") if isinstance(counts, str) else b""
        masks.decode(rle, size)
    except (ValueError, TypeError, OverflowError) as error:
        raise SupportError(f"{where} has a damaged mask ({error}); export the annotations again") from error
    return rle


COCO = AnnotationFormat(
    description="COCO JSON (images, annotations, categories)",
    suffixes=(".json",),
    load=load_json,
    matches=is_coco,
    read=read_coco,
)
