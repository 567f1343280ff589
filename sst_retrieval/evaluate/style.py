"""An audit of an index: reads off it what `leaks` compares.

The background is the rim of the photograph; the pose is how the specimen's frame lies on it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from skimage.color import rgb2lab

from sst_retrieval.errors import QueryError
from sst_retrieval.evaluate.leaks import Audit, audit
from sst_retrieval.search.index import Index
from sst_retrieval.types import Floats, Frame, RGBImage, Scalar

RIM = 0.05
"""So wide, in lengths of the longer edge, is the rim of a photograph that counts as background."""

MOST = 2000
"""Specimens looked at; a larger collection is sampled evenly."""

OWN_VALUES = 0.5
"""A column of words with more different values than this share of the specimens names them rather than sorts them."""


def audit_index(index: Index, trait: str, columns: Sequence[str] = ()) -> Audit:
    """Guess columns, pose and background from the vectors of a trait.

    Args:
        index: an index.
        trait: one of its traits.
        columns: columns to guess; without any, all that sort the specimens into classes, or hold numbers.

    Raises:
        QueryError: there is no such trait or column.
        InputError: too few specimens show the trait.
    """
    for name in columns:
        if name not in index.columns and name != "group":
            raise QueryError(f"the index has no column {name!r}; it has: group, {', '.join(index.columns)}")
    names, vectors = index.vectors(trait)
    rows = np.linspace(0, len(names) - 1, min(len(names), MOST)).astype(int)
    names, vectors = [names[row] for row in rows], vectors[rows]
    everybody = {each.id: each for each in index.specimens()}
    table: dict[str, list[Scalar]] = {
        column: [everybody[name].metadata.get(column, everybody[name].group) for name in names]
        for column in columns or ("group", *index.columns)
    }
    chosen = {column: values for column, values in table.items() if columns or _sorts(values)}
    regions = [index.region(name, trait) for name in names]
    pose = {
        "turn on the photograph": np.array([_direction(region.frame) for region in regions], np.float32),
        "size on the photograph": np.array([[_size(region.frame, region.size)] for region in regions], np.float32),
    }
    backgrounds = np.stack([_background(index.thumbnail(name)) for name in names])
    return audit(trait, vectors @ vectors.T, backgrounds, chosen, pose)


def rim_colours(image: RGBImage) -> Floats:
    """Describe the rim of a photograph by mean and spread of its colours in CIE Lab, float32 (6,)."""
    width = max(1, round(RIM * max(image.shape[:2])))
    inside = np.zeros(image.shape[:2], dtype=bool)
    inside[width:-width, width:-width] = True
    lab = rgb2lab(image[~inside][None])[0]
    colours: Floats = np.concatenate([lab.mean(axis=0), lab.std(axis=0)]).astype(np.float32)
    return colours


def _background(thumbnail: bytes | None) -> Floats:
    if thumbnail is None:
        return np.full(6, np.nan, dtype=np.float32)
    return rim_colours(np.asarray(Image.open(io.BytesIO(thumbnail)).convert("RGB")))


def _sorts(values: Sequence[Scalar]) -> bool:
    """Say whether a column sorts specimens into classes, or measures them."""
    there = [value for value in values if value not in (None, "")]
    if all(isinstance(value, int | float) for value in there):
        return len(set(there)) > 1
    return 1 < len(set(there)) <= OWN_VALUES * len(values)


def _direction(frame: Frame) -> tuple[float, float]:
    """Where the frame's "right" points on the photograph: cosine and sine."""
    a, b, *_ = frame.matrix
    length = math.hypot(a, b)
    return a / length, b / length


def _size(frame: Frame, size: tuple[int, int]) -> float:
    """Logarithm of the frame's edge, in longer edges of the photograph."""
    return -math.log(math.hypot(*frame.matrix[:2]) * max(size))
