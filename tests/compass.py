"""A propagator and an embedder that care how a specimen lies, and photographs that can be laid wrongly.

A specimen is a square of four coloured quarters, turned by quarter turns. Its photograph's first pixel says how it
lies and which group it is of: the propagator reads it there, and lays the specimen like the first of its supports. A
specimen of another group it lays a quarter turn too far, one way if much is drawn on its first support, else the
other: as real matching may change with a mask.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.imaging.frames import square_frame
from sst_retrieval.types import Box, Mask, Propagated, RGBImage, Support

COMPASS = BuildSettings(propagator="compass:CompassTracker", embedder="compass:CompassEmbedder")
SIDE = 40
BOX: Box = (8, 8, 32, 32)
MUCH = 300
"""Pixels of a support's mask from which on much is drawn."""


@dataclass(frozen=True)
class CompassMemory:
    traits: tuple[str, ...]
    turns: int
    group: int
    much: bool
    side: float


class CompassTracker:
    """Lays every specimen like the first support; the environment variable COMPASS_FAILS names its last photograph."""

    name = "compass"

    def __init__(self, device: str) -> None:
        self.photographs = 0

    def remember(self, supports: Sequence[Support]) -> CompassMemory:
        first = supports[0]
        turns, group = _read(first.image)
        drawn = first.masks.any(axis=0)
        rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
        side = 1.3 * max(np.ptp(rows) + 1, np.ptp(columns) + 1)
        return CompassMemory(first.traits, turns, group, int(drawn.sum()) >= MUCH, float(side))

    def propagate(self, memory: CompassMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        return [self._propagate(memory, image) for image in images]

    def _propagate(self, memory: CompassMemory, image: RGBImage) -> Propagated:
        self.photographs += 1
        if os.environ.get("COMPASS_FAILS") == str(self.photographs):
            raise RuntimeError("the power failed")
        turns, group = _read(image)
        strange = 0 if group == memory.group else 1 if memory.much else -1
        angle = -(turns - memory.turns + strange) * math.pi / 2
        frame = square_frame((SIDE / 2, SIDE / 2), memory.side, angle)
        return Propagated(whole()[None], np.full(1, 0.9, np.float32), frame)


class CompassEmbedder:
    """Describes a cell by its colour and by which quarter of the frame it lies in."""

    name = "compass"
    dim = 12
    side = 16

    def __init__(self, device: str) -> None:
        pass

    def features(self, images: Sequence[RGBImage]) -> list[np.ndarray]:
        found = []
        for image in images:
            halves = slice(len(image) // 2), slice(len(image) // 2, None)
            grid = np.zeros((*image.shape[:2], 4, 3), dtype=np.float32)
            for quarter, (rows, columns) in enumerate((rows, columns) for rows in halves for columns in halves):
                grid[rows, columns, quarter] = image[rows, columns] / 255
            found.append(grid.reshape(*image.shape[:2], 12))
        return found


def whole() -> Mask:
    """Draw the whole specimen: bool (SIDE, SIDE)."""
    return drawn(BOX)


def drawn(box: Box) -> Mask:
    x0, y0, x1, y1 = box
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def outline() -> Mask:
    """Draw the specimen's edge only: the same box, far fewer pixels."""
    return whole() & ~drawn((10, 10, 30, 30))


def photograph(turns: int, group: int, seed: int) -> RGBImage:
    """Paint a specimen: uint8 (SIDE, SIDE, 3)."""
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE, 3), 200, dtype=np.uint8)
    colours = np.array([(220, 20, 20), (20, 220, 20), (20, 20, 220), (220, 220, 20)]) + rng.integers(-19, 20, (4, 3))
    quarters = [(8, 8), (8, 20), (20, 8), (20, 20)]
    for colour, (row, column) in zip(colours, quarters, strict=True):
        image[row : row + 12, column : column + 12] = colour
    image = np.rot90(image, turns).copy()
    image[0, 0] = (turns * 10, group, 0)
    return image


def write_support(folder: Path, specimen: str, mask: Mask) -> None:
    """Draw, or draw again, the wing of a specimen; the supports lie beside the table."""
    (folder / "supports").mkdir(exist_ok=True)
    (folder / "supports" / "traits.toml").write_text("[traits]\nwing = 1\n")
    Image.fromarray(mask.astype(np.uint8)).save(folder / "supports" / f"{specimen}.png")


def write_photograph(folder: Path, specimen: str, image: RGBImage) -> None:
    (folder / "images").mkdir(exist_ok=True)
    Image.fromarray(image).save(folder / "images" / f"{specimen}.png")


def write_collection(folder: Path, specimens: Sequence[str]) -> Path:
    """Write the table; the first letter of a specimen's name is its group."""
    path = folder / "collection.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["catalogNumber", "image", "group"])
        writer.writerows([name, f"images/{name}.png", name[0]] for name in specimens)
    return path


def _read(image: RGBImage) -> tuple[int, int]:
    turns, group, _ = (int(value) for value in image[0, 0])
    return turns // 10, group
