"""Draw a unit tray: one photograph with many ground beetles, a few of them strangers, and the exact mask of every one.

    FOLDER/
      collection.csv              two rows: the annotated beetle, and the tray
      images/                     their photographs
      labels/SD-TRAY.png          the number of every individual, 0 = background; strangers have none
      labels/instances.json       the same, as COCO
      labels/parts/SD-TRAY.png    the traits of all of them, the numbers of traits.toml
      supports/                   the annotated beetle's label, and traits.toml, which says `individuals = "many"`

The beetles lie in rows, turned at any angle; some touch or overlap their neighbours.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sst_retrieval.files import write_text
from sst_retrieval.imaging.images import write_jpeg, write_png
from sst_retrieval.imaging.masks import box, encode
from sst_retrieval.synthetic import backdrop
from sst_retrieval.synthetic.beetles import Beetle, draw_beetle
from sst_retrieval.synthetic.canvas import Canvas, Part, Pose
from sst_retrieval.synthetic.species import TRAITS, GroundBeetle
from sst_retrieval.synthetic.specimen import vary_beetle
from sst_retrieval.types import RGBImage

NAME = "SD-TRAY"
"""Catalogue number of the tray."""

SIZE = (1200, 1600)
"""(height, width) of its photograph in pixels."""

ROWS, COLUMNS = 4, 6
STRANGERS = 3
"""How many of the beetles are of another species."""

_STRANGER = Beetle((92, 40, 26), (150, 96, 60), (40, 24, 20), (120, 70, 34), 0.26)
_SCALES = (165.0, 220.0)


@dataclass(frozen=True, slots=True)
class Tray:
    """A drawn tray.

    Attributes:
        image: uint8 (H, W, 3).
        individuals: uint16 (H, W), 0 for background and strangers, else the number of the individual, from 1.
        parts: uint8 (H, W), 0 or the number of a trait of an individual or a stranger.
    """

    image: RGBImage
    individuals: npt.NDArray[np.uint16]
    parts: npt.NDArray[np.uint8]


def draw_tray(species: GroundBeetle, rng: np.random.Generator) -> Tray:
    """Draw a tray of a species, with some strangers.

    Args:
        species: whose individuals they are.
        rng: every variation comes from here.
    """
    canvas = Canvas.blank(SIZE)
    count = ROWS * COLUMNS
    strangers = set(rng.permutation(count)[:STRANGERS].tolist())
    for number in range(count):
        row, column = divmod(number, COLUMNS)
        middle = np.array([(column + 0.5) * SIZE[1] / COLUMNS, (row + 0.5) * SIZE[0] / ROWS])
        x, y = middle + rng.normal(0, 0.1, 2) * (SIZE[1] / COLUMNS, SIZE[0] / ROWS)
        looks = vary_beetle(_STRANGER if number in strangers else species.beetle, rng)
        part = draw_beetle(looks, rng)
        pose = Pose((float(x), float(y)), float(rng.uniform(-math.pi, math.pi)), float(rng.uniform(*_SCALES)))
        canvas.place(part if number in strangers else _number(part, number), pose, shadow=0.4)
    ground = backdrop.paint_floor("foam", SIZE, rng)
    for _ in range(3):
        label = backdrop.paper_label((species.name, "synthetic"), rng)
        backdrop.paste(ground, label, (int(rng.integers(0, SIZE[1] - 150)), int(rng.integers(0, SIZE[0] - 60))))
    picture = backdrop.render_photograph(ground, canvas, light=rng.uniform(-math.pi, 0), height=5.0, rng=rng)
    individuals = np.zeros(SIZE, np.uint16)
    parts = np.zeros(SIZE, np.uint8)
    for name, mask in canvas.masks.items():
        if name in TRAITS:
            parts[mask > 0.5] = TRAITS[name]
    whole = [mask > 0.5 for name, mask in canvas.masks.items() if name not in TRAITS]
    for number, shown in enumerate(whole, 1):
        individuals[shown] = number
    return Tray(picture, individuals, parts)


def write_tray(folder: Path, species: GroundBeetle, support: tuple[str, Path, Path], traits: str, seed: int) -> None:
    """Draw a tray and write it as a collection.

    Args:
        folder: made if it does not exist; what an earlier tray left in it is replaced.
        species: whose individuals they are.
        support: the annotated beetle: catalogue number, photograph, label picture.
        traits: content of traits.toml.
        seed: of the drawing.
    """
    tray = draw_tray(species, np.random.default_rng((seed, 0, 2)))
    name, photograph, label = support
    for part in ("images", "labels", "labels/parts", "supports"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_jpeg(folder / "images" / f"{NAME}.jpg", tray.image, quality=92)
    shutil.copyfile(photograph, folder / "images" / photograph.name)
    shutil.copyfile(label, folder / "supports" / label.name)
    write_png(folder / "labels" / f"{NAME}.png", tray.individuals)
    write_png(folder / "labels" / "parts" / f"{NAME}.png", tray.parts)
    write_text(folder / "labels" / "instances.json", json.dumps(_list_instances(tray)) + "\n")
    write_text(folder / "supports" / "traits.toml", f'individuals = "many"\n\n{traits}')
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("catalogNumber", "image", "group", "scientificName", "individualCount"))
    writer.writerow((name, f"images/{photograph.name}", species.name, species.name, 1))
    writer.writerow((NAME, f"images/{NAME}.jpg", species.name, species.name, int(tray.individuals.max())))
    write_text(folder / "collection.csv", text.getvalue())


def _number(part: Part, number: int) -> Part:
    """Give a part a mask of all of it, named by its number; a mask that something covers is reduced by the canvas."""
    return replace(part, masks={**part.masks, f"individual {number}": part.cover})


def _list_instances(tray: Tray) -> dict[str, object]:
    """List the individuals as COCO."""
    height, width = SIZE
    annotations = []
    for number in range(1, int(tray.individuals.max()) + 1):
        mask = tray.individuals == number
        x0, y0, x1, y1 = box(mask)
        code = {"size": [height, width], "counts": encode(mask).decode()}
        entry = {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": int(mask.sum())}
        annotations.append({**entry, "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": code})
    image = {"id": 1, "file_name": f"{NAME}.jpg", "width": width, "height": height}
    return {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "individual"}]}
