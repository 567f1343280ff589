"""Scores of found individuals against drawn ones: average precision, recall, mean IoU, and the error of the count.

pycocotools matches and integrates (Lin et al. 2014, "Microsoft COCO"): average precision is the mean of the precision
at 101 recalls; without its limit of 100 detections a photograph.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sst_retrieval.find.contract import FOUND

THRESHOLDS = (0.25, *np.round(np.arange(0.5, 0.96, 0.05), 2).tolist())
"""IoU from which a found individual is a drawn one; AP is the mean over all but the first."""

_ANY = 1


@dataclass(frozen=True, slots=True)
class ScoredPhotograph:
    """What was drawn and what was found on a photograph, as run-length codes of its size.

    Attributes:
        id: the photograph.
        group: its group.
        drawn: one code an individual.
        found: one code an individual.
        scores: 0..1, one a found individual.
    """

    id: str
    group: str
    drawn: tuple[Mapping[str, Any], ...]
    found: tuple[Mapping[str, Any], ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class InstanceSummary:
    """Figures of some photographs; those that count look at individuals found with a score of at least 0.5.

    Attributes:
        photographs: how many.
        individuals: drawn on them.
        ap50: average precision at IoU 0.5, of all photographs together.
        recall50: share of drawn individuals that a found one covers with IoU 0.5.
        mean_iou: mean over drawn individuals of their best IoU; a missed one is 0.
        count_error: mean absolute error of the count of a photograph.
        count_error_relative: the same, each as a share of what was drawn.
    """

    photographs: int
    individuals: int
    ap50: float
    recall50: float
    mean_iou: float
    count_error: float
    count_error_relative: float


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """Figures of a collection.

    Attributes:
        ap25: average precision at IoU 0.25, mean over groups.
        ap50: the same at 0.5.
        ap: the same, mean over 0.5, 0.55, ... 0.95.
        whole: all photographs.
        single: those with one individual, if there are any.
        several: those with more, if there are any.
        groups: group -> average precision at IoU 0.5.
    """

    ap25: float
    ap50: float
    ap: float
    whole: InstanceSummary
    single: InstanceSummary | None
    several: InstanceSummary | None
    groups: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON types."""
        return asdict(self)


def score_instances(photographs: Sequence[ScoredPhotograph]) -> InstanceScores:
    """Score found individuals.

    Args:
        photographs: at least one.

    Returns:
        Not a number where nothing was drawn.
    """
    groups: dict[str, list[ScoredPhotograph]] = {}
    for each in photographs:
        groups.setdefault(each.group, []).append(each)
    precisions = np.stack([compute_average_precisions(members) for members in groups.values()])
    single = [each for each in photographs if len(each.drawn) == 1]
    several = [each for each in photographs if len(each.drawn) > 1]
    return InstanceScores(
        ap25=float(precisions[:, 0].mean()),
        ap50=float(precisions[:, 1].mean()),
        ap=float(precisions[:, 1:].mean()),
        whole=summarise(photographs),
        single=summarise(single) if single else None,
        several=summarise(several) if several else None,
        groups={group: float(row[1]) for group, row in zip(groups, precisions, strict=True)},
    )


def compute_average_precisions(photographs: Sequence[ScoredPhotograph]) -> npt.NDArray[np.float64]:
    """Compute the average precision of photographs together, at every threshold.

    Args:
        photographs: their groups do not matter.

    Returns:
        float64 (len(THRESHOLDS),), 0..1; not a number if nothing is drawn on them.
    """
    missing: npt.NDArray[np.float64] = np.full(len(THRESHOLDS), np.nan)
    if not any(each.drawn for each in photographs):
        return missing
    if not any(each.found for each in photographs):
        return np.zeros(len(THRESHOLDS))
    drawn, found = _make_coco(photographs, found=False), _make_coco(photographs, found=True)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress.
        evaluation = COCOeval(drawn, found, "segm")
        evaluation.params.iouThrs = np.array(THRESHOLDS)
        evaluation.params.maxDets = [max(len(each.found) for each in photographs)]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e12]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])  # (thresholds, recalls, categories, areas, limits)
    means: npt.NDArray[np.float64] = precision[:, :, 0, 0, 0].mean(axis=1)
    return means


def summarise(photographs: Sequence[ScoredPhotograph]) -> InstanceSummary:
    """Compute the figures of some photographs together; at least one."""
    best, errors, shares = [], [], []
    for each in photographs:
        sure = [code for code, score in zip(each.found, each.scores, strict=True) if score >= FOUND]
        error = abs(len(sure) - len(each.drawn))
        errors.append(error)
        if each.drawn:
            shares.append(error / len(each.drawn))
            best += compare(sure, each.drawn).max(axis=0, initial=0).tolist()
    return InstanceSummary(
        photographs=len(photographs),
        individuals=len(best),
        ap50=float(compute_average_precisions(photographs)[1]),
        recall50=_mean([each >= 0.5 for each in best]),
        mean_iou=_mean(best),
        count_error=_mean(errors),
        count_error_relative=_mean(shares),
    )


def compare(found: Sequence[Mapping[str, Any]], drawn: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """Compute the IoU of every found with every drawn individual, float64 (F, D)."""
    if not found or not drawn:
        return np.zeros((len(found), len(drawn)))
    return np.asarray(coco.iou(list(found), list(drawn), [0] * len(drawn)), dtype=np.float64)


def _make_coco(photographs: Sequence[ScoredPhotograph], *, found: bool) -> COCO:
    """Put individuals into pycocotools' form."""
    annotations: list[dict[str, Any]] = []
    for number, each in enumerate(photographs, 1):
        codes = each.found if found else each.drawn
        scores = each.scores if found else (1.0,) * len(codes)
        for code, score in zip(codes, scores, strict=True):
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": _ANY, "iscrowd": 0, "score": score}
            annotations.append({**entry, "segmentation": dict(code), "area": float(coco.area(dict(code)))})
    made = COCO()
    made.dataset = {
        "images": [{"id": n, "height": 0, "width": 0} for n in range(1, len(photographs) + 1)],
        "categories": [{"id": _ANY, "name": "individual"}],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        made.createIndex()
    return made


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
