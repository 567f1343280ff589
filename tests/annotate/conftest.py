from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_files import HEIGHT, WIDTH

from sst_retrieval.collection.specimens import Collection
from sst_retrieval.imaging.images import write_png
from sst_retrieval.types import Specimen


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """Specimens erato-1, erato-2 (group erato) and melpomene.1 (group melpomene), each with a photograph."""
    specimens = []
    rng = np.random.default_rng(0)
    for name, group in [("erato-1", "erato"), ("erato-2", "erato"), ("melpomene.1", "melpomene")]:
        path = tmp_path / "images" / f"IMG_{name}.png"
        path.parent.mkdir(exist_ok=True)
        write_png(path, rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        specimens.append(Specimen(name, path, group))
    return Collection(tuple(specimens), {}, tmp_path / "collection.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "supports"
    path.mkdir()
    return path
