"""GeoJSON as QuPath writes it: one file a photograph, called after it; the class of an annotation is the trait.

Polygons with holes are read; points and lines are left out. Coordinates are pixels, and no size is stored.
https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sst_retrieval.annotate.formats.contract import (
    AnnotationFile,
    AnnotationFormat,
    ReadContext,
    make_annotation_file,
)
from sst_retrieval.annotate.formats.json_documents import load_json, require_entry
from sst_retrieval.annotate.formats.shapes import NoAreaError, TraitShapes, encode_polygon, find_individual
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks

Size = tuple[int, int]


def is_geojson(document: Any) -> bool:
    """Tell whether a JSON document is GeoJSON: a collection of features, a list of them, or one."""
    if isinstance(document, list):
        return bool(document) and all(isinstance(item, dict) and item.get("type") == "Feature" for item in document)
    return isinstance(document, dict) and document.get("type") in ("FeatureCollection", "Feature")


def read_geojson(path: Path, document: Any, context: ReadContext) -> AnnotationFile:
    """Read a GeoJSON document.

    Returns:
        One image, called like the file; GeoJSON numbers no traits.

    Raises:
        SupportError: the photograph is unknown, or nothing can be used.
    """
    features = document if isinstance(document, list) else [document]
    if isinstance(document, dict) and document["type"] == "FeatureCollection":
        features = require_entry(document, "features", (list,), str(path))
    size = context.image_size(path, (path.stem,))
    shapes = TraitShapes(path, size, context.traits, stored_size=False)
    for position, feature in enumerate(features, 1):
        where = f"{path} feature {position}"
        try:
            label = _find_label(feature, where)
            geometry = require_entry(feature, "geometry", (dict,), where)
        except SupportError as error:
            shapes.leave_out(error)
            continue
        properties = feature.get("properties")
        individual = find_individual(properties, properties.get("metadata") if isinstance(properties, dict) else None)
        shapes.add(label, partial(_encode_geometry, geometry, size, f"{where} ({label})"), individual)
    if not features:
        raise SupportError(f"{path} has no features; draw the traits, or move the file out of the supports")
    return make_annotation_file(path, shapes.make_images((path.stem,)), shapes.notes)


def _find_label(feature: Any, where: str) -> str:
    """Return the trait of a feature: QuPath's class, or a property called name, label or trait."""
    properties = require_entry(feature, "properties", (dict,), where)
    kind = properties.get("classification")
    label = _name_class(kind) if isinstance(kind, dict) else kind
    for candidate in (label, *(properties.get(key) for key in ("trait", "label", "name", "class"))):
        if isinstance(candidate, str) and candidate.strip():
            return candidate
    raise SupportError(f"{where} has no class; give the annotation the class of its trait")


def _name_class(kind: dict[str, Any]) -> Any:
    """Return the name of a class of QuPath, which writes a derived one as a list: "wing: left" as wing, left."""
    names = kind.get("names")
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return ": ".join(names)
    return kind.get("name")


def _encode_geometry(geometry: dict[str, Any], size: Size, where: str) -> list[bytes]:
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        parts = require_entry(geometry, "geometries", (list,), where)
        flat = [part for part in parts if isinstance(part, dict) and part.get("type") in ("Polygon", "MultiPolygon")]
        return [rle for part in flat for rle in _encode_geometry(part, size, where)]
    if kind not in ("Polygon", "MultiPolygon"):
        raise NoAreaError(f"{where} is a {kind}, which has no area; draw it as a polygon")
    coordinates = require_entry(geometry, "coordinates", (list,), where)
    return [_encode_rings(rings, size, where) for rings in (coordinates if kind == "MultiPolygon" else [coordinates])]


def _encode_rings(rings: Any, size: Size, where: str) -> bytes:
    """Fill the first ring, and cut out the others, its holes."""
    if not isinstance(rings, Sequence) or isinstance(rings, str) or not rings:
        raise NoAreaError(f"{where} has no outline")
    outer, *holes = (_drop_height(ring) for ring in rings)
    outline = encode_polygon(outer, size, where)
    if not holes:
        return outline
    mask = masks.decode(outline, size)
    for hole in holes:
        try:
            mask &= ~masks.decode(encode_polygon(hole, size, where), size)
        except NoAreaError:
            continue  # A hole without an area cuts out nothing.
    return masks.encode(mask)


def _drop_height(ring: Any) -> Any:
    """Return the x and y of points that may have a height, too (RFC 7946)."""
    if isinstance(ring, list) and ring and all(isinstance(each, list) and len(each) in (3, 4) for each in ring):
        return [each[:2] for each in ring]
    return ring


GEOJSON = AnnotationFormat(
    description="GeoJSON (QuPath)",
    suffixes=(".json", ".geojson"),
    load=load_json,
    matches=is_geojson,
    read=read_geojson,
)
