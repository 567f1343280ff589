"""Label Studio's JSON and JSON-MIN: one file for many photographs, whose labels are the traits.

Polygons, ellipses and brush strokes are read, of the first annotation of a task that was not cancelled; rectangles and
key points are left out. Lengths are percent of the photograph. https://labelstud.io/guide/export
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.annotate.formats.contract import (
    AnnotationFile,
    AnnotationFormat,
    ImageAnnotation,
    ReadContext,
    make_annotation_file,
)
from sst_retrieval.annotate.formats.json_documents import (
    list_entries,
    load_json,
    require_entry,
    require_size,
    stores_size,
)
from sst_retrieval.annotate.formats.shapes import (
    NoAreaError,
    TraitShapes,
    encode_ellipse,
    encode_polygon,
    parse_points,
)
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks

Size = tuple[int, int]

_SHAPES = ("polygon", "brush", "ellipse", "polygonlabels", "brushlabels", "ellipselabels")
LABELS = (
    *("polygonlabels", "brushlabels", "ellipselabels", "rectanglelabels", "keypointlabels"),
    *("bitmasklabels", "vectorlabels", "labels"),
)


def is_label_studio(document: Any) -> bool:
    """Tell whether a JSON document is Label Studio's: tasks, or photographs with labels (JSON-MIN)."""
    if isinstance(document, dict):  # One task, or an annotation as a storage holds it.
        task = document.get("task") if "result" in document else document
        return (
            isinstance(task, dict)
            and isinstance(task.get("data"), dict)
            and ("annotations" in task or task is not document)
        )
    if not isinstance(document, list) or not document or not all(isinstance(item, dict) for item in document):
        return False
    tasks = all("data" in item and ("annotations" in item or "completions" in item) for item in document)
    return tasks or any(_list_min_regions(item) for item in document)


def read_label_studio(path: Path, document: Any, context: ReadContext) -> AnnotationFile:
    """Read a Label Studio export.

    Returns:
        One image each that has an outline; Label Studio numbers no traits.

    Raises:
        SupportError: nothing of it can be used.
    """
    images: list[ImageAnnotation] = []
    notes: list[str] = []
    tasks = _list_tasks(document)
    for position, item in enumerate(tasks, 1):
        where = f"{path} task {item.get('id', position)}"
        try:
            name, regions = _read_task(item, where, context, notes)
            if not regions:
                continue
            _require_upright(regions, where)
            sized = stores_size(regions[0], "original_height", "original_width")
            if sized:
                size = require_size(regions[0], "original_height", "original_width", where)
                context.photographs.check_size(path, (name,), size)
            else:
                size = context.image_size(path, (name,))
        except SupportError as error:
            notes.append(f"left out: {error}")
            continue
        shapes = TraitShapes(path, size, context.traits, photograph=name, stored_size=sized)
        for number, region in enumerate(regions, 1):
            place = f"{where} region {number}"
            for label in _find_labels(region):
                shapes.add(label, partial(_encode_region, region, size, f"{place} ({label})", shapes.clip_notes))
        images += shapes.make_images((name,))
        notes += shapes.notes
    if not images and not notes:
        raise SupportError(_explain_nothing(path, tasks))
    return make_annotation_file(path, images, notes)


def _list_tasks(document: Any) -> list[dict[str, Any]]:
    """List the tasks of a document: of an export, a single one, or an annotation as a storage holds it."""
    tasks = document if isinstance(document, list) else [document]
    return [
        {"id": each["task"].get("id"), "data": each["task"].get("data"), "annotations": [each]}
        if isinstance(each.get("task"), dict) and "result" in each
        else each
        for each in tasks
    ]


def _explain_nothing(path: Path, tasks: Sequence[dict[str, Any]]) -> str:
    if any(item.get("predictions") for item in tasks):
        return f"{path} holds predictions only; accept them in Label Studio (submit each task), and export again"
    done = [each for item in tasks for each in list_entries(item.get("annotations")) if isinstance(each, dict)]
    if any(each.get("was_cancelled") for each in done):
        return f"{path} holds skipped tasks only; annotate them in Label Studio, and export again"
    return f"{path} has no regions; draw the traits, or move the file out of the supports"


def _require_upright(regions: Sequence[dict[str, Any]], where: str) -> None:
    """Refuse a photograph that was turned while it was drawn on: what the points are then of is not documented."""
    turned = next((each["image_rotation"] for each in regions if each.get("image_rotation")), None)
    if turned is not None:
        raise SupportError(
            f"{where} was drawn on the photograph turned by {turned} degrees in Label Studio; turn it back there, draw "
            f"again, and export"
        )


def _read_task(
    item: dict[str, Any], where: str, context: ReadContext, notes: list[str]
) -> tuple[str, list[dict[str, Any]]]:
    """Return the photograph of a task and its regions: the value of each, with the size of the photograph."""
    if "data" not in item:
        return _find_photograph({key: value for key, value in item.items() if key != "annotator"}, context), (
            _list_min_regions(item)
        )
    data = require_entry(item, "data", (dict,), where)
    name = _find_photograph(data, context)
    done = [each for each in list_entries(item.get("annotations") or item.get("completions")) if isinstance(each, dict)]
    done = [each for each in done if not each.get("was_cancelled")]
    if len(done) > 1:
        notes.append(f"{where} has {len(done)} annotations of {name}; the first was taken")
    regions = []
    results = [each if isinstance(each, dict) else {} for each in list_entries(done[0].get("result") if done else None)]
    # With <Labels> beside <Polygon>, a region is two results of one id, and the second repeats the shape.
    labelled = {str(each.get("id")) for each in results if _find_labels(each.get("value")) and each.get("id")}
    for number, result in enumerate(results, 1):
        value = result.get("value")
        if isinstance(value, dict) and _find_labels(value):
            about = ("original_height", "original_width", "image_rotation")
            regions.append({**value, **{key: result.get(key) for key in about}})
        elif str(result.get("id")) in labelled:
            continue
        elif not isinstance(result.get("type"), str) or result["type"] in _SHAPES:  # Else a text, a choice, ...
            notes.append(f"left out: {where} region {number} has no label or no shape; export the annotations again")
    return name, regions


def _list_min_regions(item: dict[str, Any]) -> list[dict[str, Any]]:
    """List the regions of a photograph in a JSON-MIN export, under whatever name they stand."""
    lists = [value for value in item.values() if isinstance(value, list)]
    return [each for value in lists for each in value if isinstance(each, dict) and _find_labels(each)]


def _find_photograph(data: Mapping[str, Any], context: ReadContext) -> str:
    """Return the entry of a task that names a photograph of the collection, or else the one that is called image."""
    texts = [value for value in (data.get("image"), *data.values()) if isinstance(value, str)]
    known = (text for text in texts if context.photographs.is_known((text,)))
    return next(known, texts[0] if texts else "")


def _find_labels(region: Any) -> list[str]:
    if not isinstance(region, dict):
        return []
    labels: list[Any] = next((region[key] for key in LABELS if isinstance(region.get(key), list)), [])
    return [label for label in labels if isinstance(label, str) and label.strip()]


def _encode_region(region: dict[str, Any], size: Size, where: str, notes: list[str] | None) -> list[bytes]:
    height, width = size
    if "points" in region:
        points = parse_points(region["points"], where) * (width / 100, height / 100)
        return [encode_polygon(points.tolist(), size, where, notes)]
    if "radiusX" in region:
        keys = ("x", "y", "radiusX", "radiusY")
        x, y, along, across = (float(require_entry(region, key, (int, float), where)) / 100 for key in keys)
        turn = region.get("rotation") or 0.0
        degrees = float(turn) if isinstance(turn, (int, float)) else 0.0
        return [encode_ellipse((x * width, y * height), (along * width, across * height), degrees, size, where)]
    if "rle" in region:
        try:
            return [masks.encode(_decode_brush(region["rle"], size))]
        except (TypeError, ValueError, OverflowError) as error:
            raise SupportError(f"{where} has damaged brush strokes ({error}); export the annotations again") from error
    if "imageDataURL" in region:
        raise NoAreaError(f"{where} is a bit mask, which is not read; draw it with the brush or as a polygon")
    raise NoAreaError(f"{where} has no outline, perhaps only a box; draw it as a polygon or with the brush")


def _decode_brush(code: Sequence[int], size: Size) -> npt.NDArray[np.bool_]:
    """Decode brush strokes: run-length coded RGBA, of which the opaque pixels are the mask.

    The code (https://github.com/thi-ng/umbrella, rle-pack): 32 bits number of values, 5 bits width of a value less 1,
    four times 4 bits width of a length less 1; then runs of a bit that says whether one value is repeated, 2 bits that
    choose the width of the length, the length less 1, and the value or values.

    Returns:
        bool (H, W).
    """
    bits = np.unpackbits(np.array(code, dtype=np.uint8))
    place = 0

    def take(width: int) -> int:
        nonlocal place
        if place + width > len(bits):
            raise ValueError("they break off")
        value = int("".join("1" if bit else "0" for bit in bits[place : place + width]), 2)
        place += width
        return value

    count, width = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    if count != 4 * size[0] * size[1]:
        raise ValueError(f"they are of {count // 4} pixels, but the photograph has {size[0] * size[1]}")
    values = np.zeros(count, dtype=np.uint8)
    done = 0
    while done < count:
        repeated, length = take(1), take(widths[take(2)]) + 1
        stop = done + length
        if stop > count:
            raise ValueError("they are too long")
        if repeated:
            values[done:stop] = min(take(width), 255)
        else:
            if place + width * length > len(bits):
                raise ValueError("they break off")
            own = bits[place : place + width * length].reshape(length, width)[:, -8:]
            values[done:stop] = np.packbits(own, axis=1, bitorder="big")[:, 0] if own.shape[1] == 8 else own.any(axis=1)
            place += width * length
        done = stop
    return values.reshape(*size, 4)[..., 3] > 0


LABEL_STUDIO = AnnotationFormat(
    description="Label Studio JSON",
    suffixes=(".json",),
    load=load_json,
    matches=is_label_studio,
    read=read_label_studio,
)
