"""Annotation files to be read in tests, of photographs of WIDTH x HEIGHT pixels; a plugin with two fixtures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sst_retrieval.annotate.supports import Supports
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.imaging.images import write_png
from sst_retrieval.types import Mask, Photograph, Support

HEIGHT, WIDTH = 20, 30
TRAITS = "[traits]\nwing = 2\nspot = 5\n"


@pytest.fixture
def butterflies(tmp_path: Path) -> Collection:
    """Specimens erato-1, erato-2 (group erato) and melpomene.1 (group melpomene), each with a photograph."""
    specimens = []
    rng = np.random.default_rng(0)
    for name, group in [("erato-1", "erato"), ("erato-2", "erato"), ("melpomene.1", "melpomene")]:
        path = tmp_path / "images" / f"IMG_{name}.png"
        path.parent.mkdir(exist_ok=True)
        write_png(path, rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        specimens.append(Photograph(name, path, group))
    return Collection(tuple(specimens), {}, tmp_path / "collection.csv")


@pytest.fixture
def supports_folder(tmp_path: Path) -> Path:
    path = tmp_path / "supports"
    path.mkdir()
    return path


def label_map() -> npt.NDArray[np.uint8]:
    """A wing (2) with a spot (5) on it."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    labels[4:16, 3:25] = 2
    labels[6:9, 5:10] = 5
    return labels


def box_mask(x0: int, y0: int, x1: int, y1: int) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def only(supports: Supports) -> Support:
    (group,) = supports.groups()
    (support,) = supports.load(group)
    return support


def corners(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def polygon(label: str, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
    return {"label": label, "shape_type": "polygon", "points": corners(x0, y0, x1, y1)}


def labelme(shapes: Sequence[Any], **changes: Any) -> str:
    document = {
        "imagePath": "..\\images\\IMG_erato-1.png",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        "imageData": None,
    }
    return json.dumps({"version": "5.5.0", "flags": {}, "shapes": list(shapes), **document, **changes})
