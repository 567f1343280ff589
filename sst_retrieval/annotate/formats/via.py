"""VGG Image Annotator (VIA), versions 1 to 3: one file for many photographs; an attribute of the regions is the trait.

Its .json of all versions, and the .csv of versions 1 and 2, are read. Polygons, circles and ellipses are used;
rectangles, lines and points are left out. VIA stores no sizes.
https://www.robots.ox.ac.uk/~vgg/software/via/
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sst_retrieval.annotate.formats.contract import (
    AnnotationFile,
    AnnotationFormat,
    ImageAnnotation,
    ReadContext,
    make_annotation_file,
)
from sst_retrieval.annotate.formats.json_documents import list_entries, load_json, require_entry
from sst_retrieval.annotate.formats.shapes import (
    NoAreaError,
    TraitShapes,
    encode_ellipse,
    encode_polygon,
    find_individual,
)
from sst_retrieval.errors import SupportError

TRAIT_ATTRIBUTES = ("trait", "label", "class", "name", "type", "part")
"""Attributes of a region that are its trait, the most telling first; a region of one attribute may call it anything."""

_SHAPES_OF_VIA_3 = {
    **{1: "point", 2: "rect", 3: "circle", 4: "ellipse", 5: "line"},
    **{6: "polyline", 7: "polygon", 8: "rect", 9: "circle"},
}

_CSV_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")

Region = tuple[str, Mapping[str, Any], str | None]
"""A trait, the shape's attributes as VIA 2 calls them, and the individual if the region has an attribute for it."""


def is_via(document: Any) -> bool:
    """Tell whether a JSON document is VIA's: a project, or file names with regions."""
    if not isinstance(document, dict):
        return False
    if "_via_img_metadata" in document or {"metadata", "view", "file"} <= document.keys():
        return True
    items = list(document.values())
    return bool(items) and all(isinstance(item, dict) and {"filename", "regions"} <= item.keys() for item in items)


def load_csv(path: Path) -> dict[str, Any] | None:
    """Read the .csv of VIA 1 and 2 as the document that their .json holds; None if it is some other table.

    Raises:
        SupportError: it cannot be opened, or a cell of it is damaged.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = csv.DictReader(file)
            columns = [str(name).lstrip("#").strip() for name in rows.fieldnames or ()]
            if not set(_CSV_COLUMNS) <= set(columns):
                return None
            rows.fieldnames = columns
            document: dict[str, Any] = {}
            for row in rows:
                item = document.setdefault(str(row["filename"]), {"filename": str(row["filename"]), "regions": []})
                shape, attributes = (json.loads(row[key] or "{}") for key in _CSV_COLUMNS[1:])
                if shape:
                    item["regions"].append({"shape_attributes": shape, "region_attributes": attributes})
            return document
    except OSError as error:
        raise SupportError(f"{path} cannot be opened ({error.strerror}); check the path of the supports") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise SupportError(f"{path} is a damaged .csv of VIA ({error}); export the annotations again") from error


def read_via(path: Path, document: Mapping[str, Any], context: ReadContext) -> AnnotationFile:
    """Read a VIA document.

    Returns:
        One image each that has an outline; VIA numbers no traits.

    Raises:
        SupportError: nothing of it can be used.
    """
    notes: list[str] = []
    regions = _list_regions_of_3(path, document, notes) if "view" in document else _list_regions(path, document, notes)
    images: list[ImageAnnotation] = []
    for name, own in regions.items():
        try:
            size = context.image_size(path, (name,))
        except SupportError as error:
            notes.append(f"left out: {error}")
            continue
        shapes = TraitShapes(path, size, context.traits, photograph=name, stored_size=False)
        for position, (trait, shape, individual) in enumerate(own, 1):
            where = f"{path} image {name} region {position} ({trait})"
            shapes.add(trait, partial(_encode_shape, shape, size, where), individual)
        images += shapes.make_images((name,))
        notes += shapes.notes
    if not images and not notes:
        raise SupportError(f"{path} has no regions; draw the traits, or move the file out of the supports")
    return make_annotation_file(path, images, notes)


def _list_regions(path: Path, document: Mapping[str, Any], notes: list[str]) -> dict[str, list[Region]]:
    """List the regions of VIA 1 and 2: photograph -> its regions."""
    listed: dict[str, list[Region]] = {}
    options = _read_options(document)
    for item in list_entries(document.get("_via_img_metadata", document)):
        name = require_entry(item, "filename", (str,), str(path))
        for position, region in enumerate(list_entries(item.get("regions")), 1):
            where = f"{path} image {name} region {position}"
            try:
                shape = require_entry(region, "shape_attributes", (dict,), where)
                trait = _find_trait(region.get("region_attributes"), where, options)
            except SupportError as error:
                notes.append(f"left out: {error}")
                continue
            listed.setdefault(name, []).append((trait, shape, find_individual(region.get("region_attributes"))))
    return listed


def _list_regions_of_3(path: Path, document: Mapping[str, Any], notes: list[str]) -> dict[str, list[Region]]:
    """List the regions of VIA 3: photograph -> its regions."""
    files = {str(key): item for key, item in require_entry(document, "file", (dict,), str(path)).items()}
    views = require_entry(document, "view", (dict,), str(path))
    attributes = document.get("attribute")
    listed: dict[str, list[Region]] = {}
    for key, item in require_entry(document, "metadata", (dict,), str(path)).items():
        where = f"{path} region {key}"
        try:
            view = require_entry(views, str(item.get("vid")) if isinstance(item, dict) else "", (dict,), where)
            file = require_entry(files, str((view.get("fid_list") or [""])[0]), (dict,), where)
            name = require_entry(file, "fname", (str,), where)
            shape = _convert_shape(require_entry(item, "xy", (list,), where), where)
            values = {}
            for attribute, value in require_entry(item, "av", (dict,), where).items():
                about = (attributes or {}).get(attribute) or {}
                options = about.get("options") or {}
                values[about.get("aname", attribute)] = options.get(value, value) if isinstance(value, str) else value
            trait = _find_trait(values, where)
        except (SupportError, AttributeError, TypeError, KeyError) as error:
            reason = error if isinstance(error, SupportError) else f"{where} is damaged; export the annotations again"
            notes.append(f"left out: {reason}")
            continue
        listed.setdefault(name, []).append((trait, shape, find_individual(values)))
    return listed


def _convert_shape(xy: list[Any], where: str) -> Mapping[str, Any]:
    """Convert the numbers of a VIA 3 shape, kind first, to the attributes of VIA 2."""
    if not xy:
        raise SupportError(f"{where} belongs to the whole photograph")
    kind, numbers = _SHAPES_OF_VIA_3.get(xy[0], "unknown shape"), xy[1:]
    keys = {"circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")}.get(kind, ())
    return {
        "name": kind,
        "all_points_x": numbers[::2],
        "all_points_y": numbers[1::2],
        **dict(zip(keys, numbers, strict=False)),
    }


def _read_options(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Read the options of a VIA 2 project's attributes: attribute -> its options, id -> description."""
    attributes = document.get("_via_attributes")
    regions = attributes.get("region") if isinstance(attributes, dict) else None
    return {
        name: about["options"]
        for name, about in (regions.items() if isinstance(regions, dict) else ())
        if isinstance(about, dict) and isinstance(about.get("options"), dict)
    }


def _find_trait(attributes: Any, where: str, options: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Return the trait of a region: one of its attributes, or the ticked value of one with several.

    A value that is only the number of an option is called as the option is described.
    """
    values: dict[str, str] = {}
    for name, value in attributes.items() if isinstance(attributes, dict) else ():
        if isinstance(value, dict):
            ticked = [key for key, on in value.items() if on]
            value = ticked[0] if len(ticked) == 1 else ""
        if isinstance(value, str) and value.strip().isdecimal():
            described = (options or {}).get(name, {}).get(value.strip())
            value = described if isinstance(described, str) and described.strip() else value
        if isinstance(value, str) and value.strip():
            values[re.sub(r"\W", "", name).casefold()] = value.strip()
    found = next((values[name] for name in TRAIT_ATTRIBUTES if name in values), None)
    if len(values) > 1:  # What says the individual is no trait.
        values = {name: value for name, value in values.items() if find_individual({name: value}) is None}
    if found is None and len(values) == 1:
        found = next(iter(values.values()))
    if found is None:
        raise SupportError(f"{where} does not say its trait; give it an attribute called trait")
    return found


def _encode_shape(shape: Mapping[str, Any], size: tuple[int, int], where: str) -> list[bytes]:
    kind = shape.get("name")
    if kind == "polygon":
        xs, ys = (require_entry(shape, key, (list,), where) for key in ("all_points_x", "all_points_y"))
        if len(xs) != len(ys):
            raise SupportError(f"{where} has {len(xs)} x, but {len(ys)} y; export the annotations again")
        return [encode_polygon(list(zip(xs, ys, strict=True)), size, where)]
    if kind in ("circle", "ellipse"):
        radii = ("r", "r") if kind == "circle" else ("rx", "ry")
        x, y, along, across = (float(require_entry(shape, key, (int, float), where)) for key in ("cx", "cy", *radii))
        turn = shape.get("theta") or 0.0
        degrees = float(turn) * 57.29577951308232 if isinstance(turn, (int, float)) else 0.0
        return [encode_ellipse((x, y), (along, across), degrees, size, where)]
    raise NoAreaError(f"{where} is a {kind}, which has no outline; draw it as a polygon")


VIA_CSV = AnnotationFormat(
    description="VIA's .csv",
    suffixes=(".csv",),
    load=load_csv,
    matches=lambda document: document is not None,
    read=read_via,
    optional=True,
)

VIA = AnnotationFormat(
    description="VIA JSON (VGG Image Annotator)",
    suffixes=(".json",),
    load=load_json,
    matches=is_via,
    read=read_via,
)
