"""A collection whose spots change their colour step by step, and a tracker that knows the colours of its supports only.

The support shows the first shade; from it the tracker finds the next two, and from those two more: so a mask says which
supports it was made from.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fakes import FAKES, FakeTracker, write_table
from PIL import Image

from sst_retrieval.build import shard_writer
from sst_retrieval.build.pipeline import build_index
from sst_retrieval.build.report import BuildReport
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.imaging.frames import square_frame
from sst_retrieval.types import Propagated, RGBImage, Support

STEP, REACH = 20, 50
SECOND = replace(FAKES, propagator="shades:ShadeTracker", embedder="fakes:ConcurrentEmbedder", second_pass=2)
PAPER = 220


@dataclass
class Shades:
    traits: tuple[str, ...]
    shades: tuple[float, ...]


class ShadeTracker(FakeTracker):
    """Finds every pixel whose shade is within `REACH` of a support's; the nearer, the surer it is."""

    name = "shade tracker"
    concurrent = True

    def remember(self, supports: Sequence[Support]) -> Shades:  # type: ignore[override]
        shades = tuple(float(each.image[each.masks[0]].mean()) for each in supports)
        return Shades(supports[0].traits, shades)

    def _propagate(self, memory: Shades, image: RGBImage) -> Propagated:  # type: ignore[override]
        self.photographs += 1
        self._misbehave(*os.environ.get("FAKE_TRACKER", ":0").split(":"))
        distance = np.min([np.abs(image[:, :, 0] - shade) for shade in memory.shades], axis=0)
        mask = (image[:, :, 0] < PAPER) & (distance < REACH)
        confidence = 1 - distance[mask].mean() / 120 if mask.any() else 0.5
        # From how many supports a mask was made shows in the frame.
        frame = square_frame((20.0, 20.0), 40 + len(memory.shades), 0.0)
        return Propagated(mask[None], np.array([confidence], np.float32), frame)


def shade_collection(folder: Path, count: int = 8, *, first: int = 0) -> Path:
    """Write photographs s0, s1, ... of one group, with s0 annotated; returns the table."""
    for name in ("images", "supports"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(first, count):
        paint_shade(folder, number)
    label = np.zeros((40, 40), np.uint8)
    label[8:20, 8:20] = 7
    Image.fromarray(label).save(folder / "supports" / "s0.png")
    (folder / "supports" / "traits.toml").write_text("[traits]\nspot = 7\n")
    return write_table(folder / "collection.csv", [(f"s{number}", "shades") for number in range(count)])


def paint_shade(folder: Path, number: int, *, at: int = 8) -> None:
    image = np.full((40, 40, 3), 240, np.uint8)
    image[0, 0] = 240 + number  # Two photographs never have the same content.
    image[at : at + 12, at : at + 12] = STEP * number
    Image.fromarray(image).save(folder / "images" / f"s{number}.png")


def build_shades(table: Path, index: Path, settings: BuildSettings = SECOND) -> BuildReport:
    return build_index(table, table.parent / "supports", index, settings=settings)


def build_in_small_shards(table: str, index: str) -> None:
    shard_writer.SHARD_PHOTOGRAPHS = 2
    build_shades(Path(table), Path(index), replace(SECOND, workers=1))


def run_build(table: Path, index: Path, misbehaviour: str) -> int:
    """Build in a process of its own, with a shard every two photographs; return its exit status."""
    code = "import sys, shades; shades.build_in_small_shards(*sys.argv[1:])"
    here = [str(Path(__file__).parent), str(Path(shard_writer.__file__).parents[2])]
    environment = {**os.environ, "FAKE_TRACKER": misbehaviour, "PYTHONPATH": os.pathsep.join(here)}
    command = [sys.executable, "-c", code, str(table), str(index)]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode
