"""Audit of an index: collect vectors, columns, poses and backgrounds for `confounds`.

The background is described by the rim of the photograph, the pose by the specimen's frame.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from skimage.color import rgb2lab

from sst_retrieval.errors import QueryError
from sst_retrieval.evaluate.confounds import Audit, measure_confounds
from sst_retrieval.search.index import Index
from sst_retrieval.types import Floats, Frame, RGBImage, Scalar

RIM = 0.05
"""Width of the rim of a photograph that counts as background, as a share of its longer edge."""

MAX_SPECIMENS = 2000
"""Most specimens of an audit; a larger collection is sampled evenly."""

MAX_DISTINCT = 0.5
"""A column of words with more distinct values than this share of the specimens is an identifier, not a category."""


def audit_index(index: Index, trait: str, columns: Sequence[str] = ()) -> Audit:
    """Predict columns, pose and background from the vectors of a trait.

    Args:
        index: an index.
        trait: one of its traits.
        columns: columns to predict; without any, all that hold categories or numbers.

    Raises:
        QueryError: there is no such trait or column.
        InputError: too few specimens show the trait.
    """
    for name in columns:
        if name not in index.columns and name != "group":
            raise QueryError(f"the index has no column {name!r}; it has: group, {', '.join(index.columns)}")
    names, ids = index.catalog.name_regions(trait)
    rows = np.linspace(0, len(names) - 1, min(len(names), MAX_SPECIMENS)).astype(int)
    names, vectors = [names[row] for row in rows], index.region_vectors(trait, ids[rows])
    specimens = {each.id: each for each in index.individuals()}
    table: dict[str, list[Scalar]] = {
        column: [specimens[name].metadata.get(column, specimens[name].group) for name in names]
        for column in columns or ("group", *index.columns)
    }
    chosen = {column: values for column, values in table.items() if columns or _is_predictable(values)}
    regions = [index.region(name, trait) for name in names]
    pose = {
        "turn on the photograph": np.array([_compute_direction(region.frame) for region in regions], np.float32),
        "size on the photograph": np.array(
            [[_compute_log_size(region.frame, region.size)] for region in regions], np.float32
        ),
    }
    backgrounds = np.stack([_describe_background(index.thumbnail(name)) for name in names])
    # Individuals on one photograph are different organisms, photographs of one specimen are not.
    shown = [specimens[name] for name in names]
    owners = [each.specimen if each.id == each.photograph.id else each.id for each in shown]
    return measure_confounds(trait, vectors @ vectors.T, backgrounds, chosen, pose, owners)


def measure_rim_colours(image: RGBImage) -> Floats:
    """Compute mean and standard deviation of the colours along the rim of a photograph, CIE Lab: float32 (6,)."""
    width = max(1, round(RIM * max(image.shape[:2])))
    inside = np.zeros(image.shape[:2], dtype=bool)
    inside[width:-width, width:-width] = True
    lab = rgb2lab(image[~inside][None])[0]
    colours: Floats = np.concatenate([lab.mean(axis=0), lab.std(axis=0)]).astype(np.float32)
    return colours


def _describe_background(thumbnail: bytes | None) -> Floats:
    """Return the rim colours of a thumbnail, float32 (6,); NaN if there is none."""
    if thumbnail is None:
        return np.full(6, np.nan, dtype=np.float32)
    return measure_rim_colours(np.asarray(Image.open(io.BytesIO(thumbnail)).convert("RGB")))


def _is_predictable(values: Sequence[Scalar]) -> bool:
    """Return whether a column holds categories or numbers, with two values or more."""
    present = [value for value in values if value not in (None, "")]
    if all(isinstance(value, int | float) for value in present):
        return len(set(present)) > 1
    return 1 < len(set(present)) <= MAX_DISTINCT * len(values)


def _compute_direction(frame: Frame) -> tuple[float, float]:
    """Return cosine and sine of the direction on the photograph of the frame's x axis."""
    a, b, *_ = frame.matrix
    length = math.hypot(a, b)
    return a / length, b / length


def _compute_log_size(frame: Frame, size: tuple[int, int]) -> float:
    """Return the logarithm of the frame's edge as a share of the photograph's longer edge."""
    return -math.log(math.hypot(*frame.matrix[:2]) * max(size))
