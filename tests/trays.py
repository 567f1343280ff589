"""Trays: photographs of several painted beetles, and a finder that needs no network.

A beetle is a dark body with a red spot and a yellow bar on it, on grey paper. `BlobFinder` finds every piece of
anything but paper; small ones are crumbs, of which it is not sure. Its score of a beetle is 0.9 and a little less for
each further one, so that the order of scores is that of reading.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from fakes import FAKES, NUMBERS, FakeMemory, FakeTracker
from PIL import Image
from scipy import ndimage

from sst_retrieval.build.pipeline import build_index
from sst_retrieval.build.report import BuildReport
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.imaging.frames import square_frame
from sst_retrieval.types import Detection, Propagated, RGBImage, Support

TRAYS = replace(FAKES, finder="trays:BlobFinder", individuals="many")
SIZE = (100, 160)
BODY = (28, 20)
"""Height and width of a beetle in pixels."""
CRUMB = np.s_[90:96, 148:154]
"""The place of a crumb that is on every photograph, and no beetle."""
RED, YELLOW, DARK, PAPER = (220, 30, 30), (240, 200, 40), 90, 200

Corner = tuple[int, int]
"""(x, y) of the upper left pixel of a beetle."""

COLLECTION: Mapping[str, Sequence[Corner]] = {
    "t0": [(10, 10)],
    "t1": [(10, 10), (60, 12), (110, 60)],
    "t2": [(20, 50), (41, 50)],
    "t3": [],
    "t4": [(120, 20), (12, 60)],
}
"""Photograph -> its beetles in reading order. Those of t2 are a pixel apart; on t3 there is none."""


class BlobFinder:
    """Finds every piece that is not paper."""

    name = "blob finder"
    concurrent = True
    photographs = 0

    def __init__(self, device: str) -> None:
        self.device = device

    def remember(self, supports: Sequence[Support]) -> int:
        return len(supports)

    def find(self, memory: int, image: RGBImage) -> list[Detection]:
        BlobFinder.photographs += 1
        pieces, _ = ndimage.label(np.abs(image.astype(int) - PAPER).max(axis=2) > 30)
        found = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
            mask = pieces[rows, columns] == number
            box = (columns.start, rows.start, columns.stop, rows.stop)
            found.append(Detection(box, 0.9 - 0.01 * number if mask.sum() > 200 else 0.3, mask))
        return found


class OutliningBlobFinder(BlobFinder):
    """The same, and it says what drew the outlines."""

    name = "blob finder with outlines"
    outlines: Mapping[str, str] = {"name": "pencil", "file": "none", "sha256": "34" * 32, "licence": "MIT"}


class GreedyTracker(FakeTracker):
    """Takes all that it is shown for the spot, and keeps what it was shown."""

    name = "greedy tracker"
    shown: Sequence[RGBImage] = ()

    def _propagate(self, memory: FakeMemory, image: RGBImage) -> Propagated:
        GreedyTracker.shown = [*GreedyTracker.shown, image]
        height, width = image.shape[:2]
        masks = np.zeros((len(memory.traits), height, width), dtype=bool)
        masks[memory.traits.index("spot")] = True
        frame = square_frame((width / 2, height / 2), max(height, width), 0.0)
        return Propagated(masks, np.full(len(memory.traits), 0.75, np.float32), frame)


def paint_tray(corners: Sequence[Corner], size: tuple[int, int] = SIZE) -> tuple[RGBImage, list[dict[str, np.ndarray]]]:
    """Paint a tray: uint8 (H, W, 3), and of every beetle the masks of "spot", "bar" and "body", bool (H, W)."""
    image = np.full((*size, 3), PAPER, dtype=np.uint8)
    image[CRUMB] = DARK
    beetles = []
    for x, y in corners:
        beetle = {name: np.zeros(size, dtype=bool) for name in ("body", "spot", "bar")}
        beetle["body"][y : y + BODY[0], x : x + BODY[1]] = True
        beetle["spot"][y + 4 : y + 11, x + 5 : x + 12] = True
        beetle["bar"][y + 18 : y + 21, x + 2 : x + 18] = True
        for mask, colour in ((beetle["body"], DARK), (beetle["spot"], RED), (beetle["bar"], YELLOW)):
            image[mask] = colour
        beetles.append(beetle)
    return image, beetles


def write_photograph(folder: Path, name: str, corners: Sequence[Corner]) -> None:
    """Write the photograph of a tray."""
    Image.fromarray(paint_tray(corners)[0]).save(folder / "images" / f"{name}.png")


def label(beetles: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """Paint the label picture of some beetles, uint8 (H, W)."""
    labels = np.zeros(SIZE, dtype=np.uint8)
    for beetle in beetles:
        for trait, number in NUMBERS.items():
            labels[beetle[trait]] = number
    return labels


def a_collection_of_trays(folder: Path, trays: Mapping[str, Sequence[Corner]] = COLLECTION) -> Path:
    """Write a collection of trays; the support is the only beetle of the first. Returns its table."""
    for name in ("images", "supports"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, corners in trays.items():
        write_photograph(folder, name, corners)
    first = next(iter(trays))
    Image.fromarray(label(paint_tray(trays[first])[1])).save(folder / "supports" / f"{first}.png")
    traits = "\n".join(f"{trait} = {number}" for trait, number in NUMBERS.items())
    (folder / "supports" / "traits.toml").write_text(f"[traits]\n{traits}\n")
    rows = [{"catalogNumber": name, "image": f"images/{name}.png", "group": "beetle", "drawer": f"d{at}"}
            for at, name in enumerate(trays)]  # fmt: skip
    return write_rows(folder / "collection.csv", rows)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def build_trays(table: Path, index: Path, settings: BuildSettings = TRAYS) -> BuildReport:
    return build_index(table, table.parent / "supports", index, settings=settings)
