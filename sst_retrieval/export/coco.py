"""Masks of traits as COCO JSON, in compressed run-length code: traits may overlap, and nothing is lost.

An image is a photograph; where it may show several individuals, or is not called like its specimen, an annotation says
whose the trait is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sst_retrieval.export.file_provenance import combine_predicate, file_provenance, provenance_line, write_provenance
from sst_retrieval.files import write_text
from sst_retrieval.imaging.masks import area, decode
from sst_retrieval.search.index import Index
from sst_retrieval.types import Photograph


def export_coco(
    index: Index,
    path: Path,
    *,
    traits: Sequence[str] | None = None,
    where: str | None = None,
    min_confidence: float = 0.0,
) -> int:
    """Write masks as one COCO file; `score` is the confidence, category ids are the user's own label numbers.

    Args:
        index: what to export.
        path: a .json file.
        traits: which; None takes all.
        where: predicate, see `Index.search`.
        min_confidence: leave out masks less sure than this, 0..1.

    Returns:
        The number of masks.
    """
    chosen = combine_predicate(where, min_confidence)
    numbers = index.trait_table(traits, where=chosen).arrow(["region_id"]).column("region_id").to_pylist()
    plain, individuals = index.catalog.plain, {each.id: each for each in index.individuals()}
    image_ids: dict[str, int] = {}
    images, annotations = [], []
    for number, region in zip(numbers, index.drawn(traits, where=chosen), strict=True):
        individual = individuals[region.individual]
        photograph = individual.photograph
        if photograph.id not in image_ids:
            image_ids[photograph.id] = len(image_ids) + 1
            images.append(_describe_image(image_ids[photograph.id], photograph, region.size, plain=plain))
        x0, y0, x1, y1 = region.box
        annotations.append(
            {
                "id": number + 1,  # COCO's tools take 0 for "no annotation".
                "image_id": image_ids[photograph.id],
                "category_id": index.trait_numbers[region.trait],
                "segmentation": {"size": list(region.size), "counts": region.rle.decode("ascii")},
                "area": area(decode(region.rle, region.size)),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "score": region.confidence,
                **({} if plain else {"individual": region.individual, "number": individual.number}),
            }
        )
    provenance = file_provenance(index, "masks", traits=traits, where=where, min_confidence=min_confidence)
    document = {
        "info": {
            "description": provenance_line(provenance),
            "date_created": provenance["written"],
            "provenance": provenance,
        },
        "licenses": [],
        "images": images,
        "categories": [{"id": index.trait_numbers[trait], "name": trait} for trait in index.traits],
        "annotations": annotations,
    }
    write_text(path, json.dumps(document, ensure_ascii=False, default=str))
    write_provenance(path, provenance)
    return len(annotations)


def _describe_image(number: int, photograph: Photograph, size: tuple[int, int], *, plain: bool) -> dict[str, object]:
    image = {"id": number, "file_name": photograph.image.name, "specimen": photograph.specimen}
    if not plain:
        image |= {"photograph": photograph.id, **({"view": photograph.view} if photograph.view else {})}
    return {**image, "height": size[0], "width": size[1]}
