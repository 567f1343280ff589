"""Individuals as COCO JSON, one annotation each, and how many are on every photograph, as CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from sst_retrieval.errors import InputError
from sst_retrieval.export.coco_files import write_coco
from sst_retrieval.export.file_provenance import file_provenance, write_provenance
from sst_retrieval.export.photographs import (
    AT_ONCE,
    PhotographContent,
    collect_outlines,
    cut,
    iterate_contents,
    list_groups,
    select_photographs,
)
from sst_retrieval.files import atomic_write
from sst_retrieval.search.index import Index
from sst_retrieval.types import Individual


def export_instances(index: Index, path: Path, *, where: str | None = None, min_score: float = 0.0) -> int:
    """Write individuals as one COCO file: an image is a photograph, an annotation one individual with its outline.

    Categories are the groups. `score` is the finder's; of an individual that was not looked for, being the only one of
    its photograph, the mean confidence of its traits, which together are its outline. Photographs on which none was
    found are listed, too.

    Args:
        index: what to export.
        path: a .json file.
        where: predicate over the collection's columns, `photograph`, `specimen` and `view`.
        min_score: leave out individuals less sure than this, 0..1.

    Returns:
        The number of individuals.
    """
    categories = {group: number for number, group in enumerate(list_groups(index, where), start=1)}
    provenance = file_provenance(index, "individuals", where=where, min_score=min_score)
    described = [{"id": number, "name": group} for group, number in categories.items()]
    with write_coco(path, provenance, described) as file:
        for photographs in cut(iterate_contents(index, where), AT_ONCE):
            individuals = [each for one in photographs for each in one.individuals]
            outlines, confidences = collect_outlines(index, individuals), _average_confidences(index, individuals)
            for content in photographs:
                file.add_image(_describe_image(file.images + 1, content))
                for each in content.individuals:
                    score = confidences.get(each.id, 0.0) if each.score is None else each.score
                    if each.id in outlines and score >= min_score:
                        entry = {"id": file.annotations + 1, "image_id": file.images}
                        entry["category_id"] = categories[each.group]
                        file.add_annotation({**entry, **_describe_individual(each, outlines[each.id], score)})
    return file.annotations


def export_counts(index: Index, path: Path, *, where: str | None = None, min_score: float = 0.0) -> int:
    """Write how many individuals are on every photograph, 0 included.

    A photograph that was skipped has no count, and says why.

    Args:
        index: what to export.
        path: a .csv file (UTF-8).
        where: predicate over the collection's columns, `photograph`, `specimen` and `view`.
        min_score: count only individuals that the finder is so sure of, 0..1.

    Returns:
        The number of photographs.

    Raises:
        InputError: the file is of another kind.
    """
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path.name}: counts are written as .csv; end the file's name so")
    reasons = {each.photograph: each.reason for each in index.skipped()}
    chosen = None if where is None else select_photographs(index, where)
    contents, count = iterate_contents(index, where), 0
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["photograph", "specimen", "view", "group", "image", "individuals", "mean_score", "skipped"])
        content = next(contents, None)
        for each in index.iterate_photographs():  # In the same order.
            if chosen is not None and each.id not in chosen:
                continue
            about = each.id, each.specimen, each.view, each.group, each.image.name
            if content is not None and content.id == each.id:
                writer.writerow([*about, *_count(content.individuals, min_score), ""])
                content = next(contents, None)
            else:
                writer.writerow([*about, "", "", reasons.get(each.id, "not processed yet")])
            count += 1
        assert content is None, "a photograph that the index does not list was processed"
    write_provenance(path, file_provenance(index, "counts of individuals", where=where, min_score=min_score))
    return count


def _count(individuals: Sequence[Individual], min_score: float) -> tuple[int, str]:
    """Count individuals, and average their scores; "" if there is no score."""
    counted = [each for each in individuals if each.score is None or each.score >= min_score]
    scores = [each.score for each in counted if each.score is not None]
    return len(counted), f"{np.mean(scores):.4f}" if scores else ""


def _average_confidences(index: Index, individuals: Sequence[Individual]) -> dict[str, float]:
    """Return the mean confidence of the traits of individuals that were not looked for."""
    values: dict[str, list[float]] = {}
    for region in index.catalog.regions_of(each.id for each in individuals if each.score is None):
        values.setdefault(region.individual, []).append(region.confidence)
    return {name: float(np.mean(own)) for name, own in values.items()}


def _describe_image(number: int, content: PhotographContent) -> dict[str, Any]:
    photograph, size = content.photograph, content.size
    image = {"id": number, "file_name": photograph.image.name, "photograph": photograph.id}
    image["specimen"] = photograph.specimen
    if photograph.view:
        image["view"] = photograph.view
    return image if size is None else {**image, "height": size[0], "width": size[1]}


def _describe_individual(individual: Individual, outline: bytes, score: float) -> Mapping[str, Any]:
    assert individual.size is not None
    code = {"size": list(individual.size), "counts": outline}
    return {
        "segmentation": {"size": list(individual.size), "counts": outline.decode("ascii")},
        "area": int(coco.area(code)),
        "bbox": [int(value) for value in coco.toBbox(code)],
        "iscrowd": 0,
        "score": score,
        "individual": individual.id,
        "number": individual.number,
    }
