"""Masks of traits as COCO JSON, in compressed run-length code: traits may overlap, and nothing is lost.

An image is a photograph; where it may show several individuals, or is not called like its specimen, an annotation says
whose the trait is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pycocotools import mask as coco

from sst_retrieval.export.coco_files import write_coco
from sst_retrieval.export.file_provenance import combine_predicate, file_provenance
from sst_retrieval.export.photographs import AT_ONCE, cut
from sst_retrieval.search.index import Index
from sst_retrieval.types import Individual, Photograph, Region


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
    numbers = index.trait_table(traits, where=chosen).arrow(["region_id"]).column("region_id").to_numpy()
    provenance = file_provenance(index, "masks", traits=traits, where=where, min_confidence=min_confidence)
    categories = [{"id": index.trait_numbers[trait], "name": trait} for trait in index.traits]
    image_ids: dict[str, int] = {}
    with write_coco(path, provenance, categories) as file:
        for part in cut(zip(numbers, index.drawn(traits, where=chosen), strict=True), AT_ONCE):
            named = index.catalog.individuals_named(region.individual for _, region in part)
            individuals = {each.id: each for each in named}
            for number, region in part:
                individual = individuals[region.individual]
                image_id = image_ids.setdefault(individual.photograph.id, len(image_ids) + 1)
                if image_id > file.images:
                    file.add_image(
                        _describe_image(image_id, individual.photograph, region.size, plain=index.catalog.plain)
                    )
                file.add_annotation(_describe_region(int(number), image_id, region, individual, index))
    return file.annotations


def _describe_region(
    number: int, image_id: int, region: Region, individual: Individual, index: Index
) -> dict[str, object]:
    x0, y0, x1, y1 = region.box
    return {
        "id": number + 1,  # COCO's tools take 0 for "no annotation".
        "image_id": image_id,
        "category_id": index.trait_numbers[region.trait],
        "segmentation": {"size": list(region.size), "counts": region.rle.decode("ascii")},
        "area": int(coco.area({"size": list(region.size), "counts": region.rle})),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "score": region.confidence,
        **({} if index.catalog.plain else {"individual": region.individual, "number": individual.number}),
    }


def _describe_image(number: int, photograph: Photograph, size: tuple[int, int], *, plain: bool) -> dict[str, object]:
    image = {"id": number, "file_name": photograph.image.name, "specimen": photograph.specimen}
    if not plain:
        image |= {"photograph": photograph.id, **({"view": photograph.view} if photograph.view else {})}
    return {**image, "height": size[0], "width": size[1]}
