"""Croissant metadata (mlcommons.org/croissant/1.0): the trait table as a data set that search engines and loaders know.

FOLDER/
  croissant.json       what it is, whose, under which licence, and every column with its type
  traits.parquet       the trait table, one row a region
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sst_retrieval import provenance
from sst_retrieval.errors import InputError
from sst_retrieval.export.tabular import export_table
from sst_retrieval.files import hash_file, write_text
from sst_retrieval.search.index import Index

METADATA_NAME, TABLE_NAME = "croissant.json", "traits.parquet"
LICENCE_COLUMNS = ("image_license", "media_license", "license")
"""Columns of the collection that say licences, the photograph's own first."""

_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context of the specification, version 1.0."""


def export_croissant(
    index: Index,
    folder: Path,
    *,
    name: str | None = None,
    licences: Sequence[str] | None = None,
    creator: str | None = None,
    url: str | None = None,
    description: str | None = None,
    where: str | None = None,
    min_confidence: float = 0.0,
) -> Path:
    """Write the trait table and its Croissant metadata.

    Args:
        index: what to export.
        folder: where to; made if it does not exist.
        name: of the data set; the index's by default.
        licences: SPDX names or addresses; by default those that the collection's table names.
        creator: a person or an institution.
        url: where the data set is to be found.
        description: what it is; by default which traits of how many specimens it holds.
        where: predicate, see `Index.search`.
        min_confidence: leave out masks less sure than this, 0..1.

    Returns:
        The metadata file.

    Raises:
        InputError: nobody says the licence.
    """
    stated = list(licences or _find_licences(index))
    if not stated:
        raise InputError(
            "a data set needs a licence, and the collection's table names none; say it with --licence (licences= in "
            "Python), such as CC-BY-4.0"
        )
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / TABLE_NAME
    rows = export_table(index, table, where=where, min_confidence=min_confidence)
    info = index.info()
    title = name or Path(info["path"]).name
    schema = pq.read_schema(table)
    programs = provenance.programs()["versions"]
    metadata = {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": title,
        "description": description or f"Measurements of {', '.join(index.traits)}: {rows:,} regions, one a row.",
        "license": stated if len(stated) > 1 else stated[0],
        "version": f"{info['generation']}.0.0",
        "datePublished": provenance.now()[:10],
        **({"url": url} if url else {}),
        **({"creator": {"@type": "sc:Organization", "name": creator}} if creator else {}),
        "citeAs": "Made with sst-retrieval "
        + programs.get("sst-retrieval", "")
        + "; method: Feng et al. 2025, https://doi.org/10.48550/arXiv.2501.06749",
        "rai:dataCollection": "Photographs of specimens; traits were annotated by people on one specimen a group and "
        "found on the others by a program, with a confidence for each mask.",
        "rai:dataLimitation": "Masks of thin or small parts are the least exact. Confidence ranks masks of one "
        "collection and is no probability. Colours are compared as photographed.",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": TABLE_NAME,
                "name": TABLE_NAME,
                "description": "The trait table: one row a region (one trait on one specimen).",
                "contentUrl": TABLE_NAME,
                "contentSize": f"{table.stat().st_size} B",
                "encodingFormat": "application/x-parquet",
                "sha256": hash_file(table),
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "traits",
                "name": "traits",
                "description": "One row a region. Units are in the names: px, px2, mm, mm2, deg.",
                "field": [_describe_column(column) for column in schema],
            }
        ],
    }
    path = folder / METADATA_NAME
    write_text(path, json.dumps(metadata, indent=1, ensure_ascii=False) + "\n")
    return path


def _find_licences(index: Index) -> list[str]:
    """List the licences that the collection's table names, the photographs' own where it has them."""
    columns = {name.casefold(): name for name in index.info()["columns"]}
    for name in LICENCE_COLUMNS:
        found = columns.get(name.casefold())
        if found is not None:
            values = (each.photograph.metadata[found] for each in index.iterate_individuals())
            return sorted({str(value) for value in values if value is not None})
    return []


def _describe_column(column: pa.Field) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"traits/{column.name}",
        "name": f"traits/{column.name}",
        "description": column.name.replace("_", " "),
        "dataType": _data_type(column.type),
        "source": {"fileObject": {"@id": TABLE_NAME}, "extract": {"column": column.name}},
    }


def _data_type(kind: pa.DataType) -> str:
    """Name an Arrow type in schema.org's words."""
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "sc:Date"
    return "sc:Text"
