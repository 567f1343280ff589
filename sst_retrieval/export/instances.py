"""Individuals as COCO JSON, one annotation each, and how many are on every photograph, as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from sst_retrieval.errors import InputError
from sst_retrieval.export.file_provenance import file_provenance, provenance_line, write_provenance
from sst_retrieval.export.photographs import PhotographContent, collect_outlines, list_photographs, select_photographs
from sst_retrieval.files import write_text
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
    photographs = list_photographs(index, where)
    individuals = [each for one in photographs for each in one.individuals]
    outlines, confidences = collect_outlines(index, individuals), _average_confidences(index, individuals)
    groups = sorted({each.photograph.group for each in photographs})
    categories = {group: number for number, group in enumerate(groups, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, content in enumerate(photographs, start=1):
        images.append(_describe_image(image_id, content))
        for each in content.individuals:
            score = confidences.get(each.id, 0.0) if each.score is None else each.score
            if each.id in outlines and score >= min_score:
                entry = {"id": len(annotations) + 1, "image_id": image_id, "category_id": categories[each.group]}
                annotations.append({**entry, **_describe_individual(each, outlines[each.id], score)})
    provenance = file_provenance(index, "individuals", where=where, min_score=min_score)
    document = {
        "info": {
            "description": provenance_line(provenance),
            "date_created": provenance["written"],
            "provenance": provenance,
        },
        "licenses": [],
        "images": images,
        "categories": [{"id": number, "name": group} for group, number in categories.items()],
        "annotations": annotations,
    }
    write_text(path, json.dumps(document, ensure_ascii=False, default=str))
    write_provenance(path, provenance)
    return len(annotations)


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
    processed = {each.id: each for each in list_photographs(index, where)}
    chosen = None if where is None else select_photographs(index, where)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["photograph", "specimen", "view", "group", "image", "individuals", "mean_score", "skipped"])
    count = 0
    for each in index.iterate_photographs():
        if chosen is None or each.id in chosen:
            about = each.id, each.specimen, each.view, each.group, each.image.name
            if each.id in processed:
                writer.writerow([*about, *_count(processed[each.id].individuals, min_score), ""])
            else:
                writer.writerow([*about, "", "", reasons.get(each.id, "not processed yet")])
            count += 1
    write_text(path, text.getvalue())
    write_provenance(path, file_provenance(index, "counts of individuals", where=where, min_score=min_score))
    return count


def _count(individuals: Sequence[Individual], min_score: float) -> tuple[int, str]:
    """Count individuals, and average their scores; "" if there is no score."""
    counted = [each for each in individuals if each.score is None or each.score >= min_score]
    scores = [each.score for each in counted if each.score is not None]
    return len(counted), f"{np.mean(scores):.4f}" if scores else ""


def _average_confidences(index: Index, individuals: Sequence[Individual]) -> dict[str, float]:
    """Return the mean confidence of the traits of individuals that were not looked for."""
    wanted = {each.id for each in individuals if each.score is None}
    values: dict[str, list[float]] = {}
    for region in index.drawn() if wanted else ():
        if region.individual in wanted:
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
