"""COCO JSON: one file for many photographs, whose categories are the traits.

Lin et al. (2014), "Microsoft COCO: Common Objects in Context", arXiv 1405.0312; https://cocodataset.org/#format-data.
Polygons, uncompressed and compressed run-length counts are read; the shapes of two traits may overlap. As many programs
write them, polygons may be pairs of coordinates, or one without a list around it, and images may lack their size.

COCO has no entry for the animal that several annotations belong to. What is read as such: `instance_id`, `individual`
or `group_id` of an annotation or of its `attributes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sst_retrieval.annotate.formats.contract import (
    AnnotationFile,
    AnnotationFormat,
    ImageAnnotation,
    ReadContext,
    make_annotation_file,
)
from sst_retrieval.annotate.formats.json_documents import (
    load_json,
    require_entry,
    require_size,
    require_whole,
    stores_size,
)
from sst_retrieval.annotate.formats.shapes import NoAreaError, TraitShapes, encode_polygon, find_individual
from sst_retrieval.annotate.traits import BACKGROUND
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks


def is_coco(document: Any) -> bool:
    """Tell whether a JSON document is COCO's: it lists images and annotations."""
    return isinstance(document, dict) and "annotations" in document and "images" in document


def read_coco(path: Path, document: Mapping[str, Any], context: ReadContext) -> AnnotationFile:
    """Read a COCO document.

    Left out, with a note: annotations without an outline, damaged ones, categories that traits.toml does not name, and
    images that are not in the collection or of another size than their photographs.

    Returns:
        One image each that has an annotation, and the category ids as the numbers of the traits.

    Raises:
        SupportError: the file's own lists are damaged, or nothing of it can be used.
    """
    categories = {
        _require_id(item, "id", f"{path} category"): require_entry(item, "name", (str,), f"{path} category").strip()
        for item in require_entry(document, "categories", (list,), str(path))
    }
    images = {
        _require_id(item, "id", f"{path} image"): item for item in require_entry(document, "images", (list,), str(path))
    }
    notes: list[str] = []
    annotations: dict[int | str, list[tuple[str, Any, str]]] = {}
    drawn_categories: dict[int | str, str] = {}
    for position, item in enumerate(require_entry(document, "annotations", (list,), str(path))):
        number = item.get("id", position) if isinstance(item, dict) else position
        try:
            image_id, category, where = _find_image(item, images, categories, f"{path} annotation {number}")
        except SupportError as error:
            notes.append(f"left out: {error}")
            continue
        if category == 0 and categories[category].casefold() in BACKGROUND:
            notes.append(f"left out: {path} annotates {categories[category]!r}, its category 0, which is no trait")
            continue
        annotations.setdefault(image_id, []).append((categories[category], item, where))
        drawn_categories[category] = categories[category]
    # Roboflow adds one without annotations that is called like its project.
    if len(set(drawn_categories.values())) < len(drawn_categories):
        raise SupportError(f"{path} has two categories of one name; rename one, or join them")
    annotated = []
    for image_id, drawn in annotations.items():
        try:
            image = _read_image(path, images[image_id], drawn, context, notes)
        except SupportError as error:
            notes.append(f"left out: {error}")
            continue
        if image.rles:
            annotated.append(image)
    used = {trait for image in annotated for trait in image.rles}
    numbers = {name: number for number, name in drawn_categories.items() if name in used and isinstance(number, int)}
    return make_annotation_file(path, annotated, notes, numbers)


def _require_id(item: Any, key: str, where: str) -> int | str:
    """Return the id of an image or a category, which some programs write as "3" or 3.0."""
    value = require_entry(item, key, (int, float, str), where)
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else value
    return require_whole(item, key, where)


def _find_image(
    item: Any, images: Mapping[int | str, Any], categories: Mapping[int | str, str], where: str
) -> tuple[int | str, int | str, str]:
    """Return the ids of an annotation's image and category, and where it stands, for messages."""
    image_id, category = _require_id(item, "image_id", where), _require_id(item, "category_id", where)
    if image_id not in images or category not in categories:
        missing = f"image {image_id}" if image_id not in images else f"category {category}"
        raise SupportError(f"{where} is of {missing}, which the file does not list; export the annotations again")
    return image_id, category, f"{where} ({categories[category]} on {images[image_id].get('file_name')})"


def _read_image(
    path: Path, item: Any, drawn: Sequence[tuple[str, Any, str]], context: ReadContext, notes: list[str]
) -> ImageAnnotation:
    """Read the annotations of one image: category, annotation and place in the file each."""
    name = require_entry(item, "file_name", (str,), f"{path} image {item.get('id')}").strip()
    sized = stores_size(item, "height", "width")
    if sized:
        size = require_size(item, "height", "width", f"{path} image {name}")
        context.photographs.check_size(path, (name,), size)
    else:
        size = context.image_size(path, (name,))
    shapes = TraitShapes(path, size, context.traits, photograph=name, stored_size=sized)
    many = context.photographs.expects_many((name,))
    for category, annotation, where in drawn:
        if many and annotation.get("iscrowd"):
            shapes.leave_out(f"{where} is a crowd (iscrowd), not one individual; draw some of them one by one")
            continue
        encode = partial(_encode_segmentation, annotation.get("segmentation"), size, where, shapes)
        shapes.add(category, encode, find_individual(annotation, annotation.get("attributes")))
    rles = shapes.join()
    notes += shapes.notes
    return ImageAnnotation(path, (name,), size, rles, shapes=shapes.list_shapes())


def _encode_segmentation(segmentation: Any, size: tuple[int, int], where: str, shapes: TraitShapes) -> list[bytes]:
    outlines = list_outlines(segmentation)
    if not outlines:
        raise NoAreaError(f"{where} has no outline, perhaps only a box; draw the trait's outline")
    rles: list[bytes] = []
    scraps: list[NoAreaError] = []
    for outline in outlines:
        if isinstance(outline, dict):
            rles.append(_encode_run_lengths(outline, size, where))
            continue
        try:
            rles.append(encode_polygon(_pair_points(outline, where), size, where, shapes.clip_notes))
        except NoAreaError as error:
            scraps.append(error)
    if scraps and not rles:
        raise scraps[0]
    for scrap in scraps:
        shapes.leave_out(scrap)
    return rles


def list_outlines(segmentation: Any) -> list[Any]:
    """List the outlines of a `segmentation`.

    Returns:
        Outlines: x, y, x, y, ..., or pairs of coordinates, or run-length codes; a single one may stand without a list
        around it. None of them is checked; an empty list if there is no outline.
    """
    if isinstance(segmentation, dict):
        return [segmentation]
    if not isinstance(segmentation, list) or not segmentation:
        return []
    bare = isinstance(segmentation[0], int | float)
    # As outlines, these would be of one point each.
    pairs = len(segmentation) > 2 and all(isinstance(each, list) and len(each) == 2 for each in segmentation)
    return [segmentation] if bare or pairs else segmentation


def _pair_points(outline: Any, where: str) -> list[Any]:
    """Return the corners of an outline: x, y, x, y, ..., or pairs already."""
    if isinstance(outline, list) and outline and all(isinstance(each, list) for each in outline):
        return outline
    if not isinstance(outline, list) or len(outline) % 2:
        raise SupportError(f"{where} has an outline that is no list of x, y pairs; export the annotations again")
    return list(zip(outline[::2], outline[1::2], strict=True))


def _encode_run_lengths(segmentation: Mapping[str, Any], size: tuple[int, int], where: str) -> bytes:
    """Check run-length counts, a list of lengths or a compressed string, and return them compressed."""
    counts = segmentation.get("counts")
    stored = segmentation.get("size")
    if not isinstance(stored, list) or stored != list(size):
        raise SupportError(
            f"{where} has a mask of size {segmentation.get('size')}, but its image is {list(size)} (height, width); "
            f"export the annotations again"
        )
    try:
        if isinstance(counts, list):
            runs = np.array(counts, dtype=np.int64)
            if runs.ndim != 1 or runs.min(initial=0) < 0 or runs.max(initial=0) > math.prod(size):
                raise ValueError("the run-length counts are damaged")
            if int(runs.sum()) != math.prod(size):
                raise ValueError(f"its run-length counts cover {int(runs.sum())} of {math.prod(size)} pixels")
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
