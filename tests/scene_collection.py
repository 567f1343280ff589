"""A collection on disk of drawn scenes of one group, the first of which is annotated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from sst_retrieval.types import Mask, RGBImage


def write_scenes(folder: Path, scene: Callable[[int], tuple[RGBImage, Mask]], count: int) -> list[str]:
    """Write the collection; return the arguments that name its table and supports on the command line."""
    for name in ("images", "supports"):
        (folder / name).mkdir()
    rows = ["catalogNumber,image,group"]
    for k in range(count):
        image, mask = scene(k)
        Image.fromarray(image).save(folder / f"images/s{k}.png")
        rows.append(f"s{k},images/s{k}.png,reds")
        if k == 0:
            Image.fromarray(mask.astype(np.uint8)).save(folder / "supports/s0.png")
    (folder / "collection.csv").write_text("\n".join(rows) + "\n")
    (folder / "supports/traits.toml").write_text("[traits]\npatch = 1\n")
    return [str(folder / "collection.csv"), "--supports", str(folder / "supports")]
