"""Make a crossed collection: trait, background, pose, light and photographer say nothing of each other.

    FOLDER/
      crossed.json                says that the collection is synthetic, and from which seed it was made
      collection.csv              one row a photograph, with the truth (see below)
      images/CX-L00.jpg           photographs
      labels/CX-L00.png           the exact masks, 0 = background, the numbers of traits.toml
      supports/                   traits.toml, and the label of one specimen a species

1. Of each of three species 64 specimens are made by an orthogonal array (`crossed_design`): every race of it, a pattern
   with a colour, is on every background, by every photographer, in every turn and under every light equally often.
2. Forewing and hindwing are two traits with looks of their own, which say nothing of each other.
3. A race is a place in continuous families (`looks`), its specimens lie around it; so the true distance between any two
   specimens is known (`compute_true_distances`). Races of different species with one pattern and colour are mimics.
4. One more specimen a species is its support: upright, with the looks of no race, so that the mistakes of masks that
   are found with it cannot tell a race.

Columns of the truth, with TRAIT `forewing` or `hindwing`: `TRAITPattern`, `TRAITColour`, `TRAITMimics` (both, whatever
the species), `TRAITRace` (with it); `TRAITDensity`, `TRAITBreaking`, `TRAITLightness`, `TRAITA`, `TRAITB`;
`shareGENUS`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from sst_retrieval.errors import InputError
from sst_retrieval.files import write_text
from sst_retrieval.imaging.images import write_jpeg, write_png
from sst_retrieval.synthetic.crossed_design import list_runs
from sst_retrieval.synthetic.looks import (
    PARENTS,
    TRAITS,
    WingLook,
    draw_look,
    draw_mixture,
    measure_outline_distances,
    middle_look,
)
from sst_retrieval.synthetic.own_folder import prepare_own_folder
from sst_retrieval.synthetic.studio import FLOORS, PHOTOGRAPHERS, Sitting, photograph_specimen
from sst_retrieval.types import Doubles, Mask, RGBImage

AXES = ("pattern", "colour", "outline")
"""Along which two specimens may differ; in the order of the blocks that should tell them."""

_MARKER = "crossed.json"
_LAB = ("Lightness", "A", "B")
_FORMS = {"forewing": ("fore_pattern", "fore_colour"), "hindwing": ("hind_pattern", "hind_colour")}


@dataclass(frozen=True, slots=True)
class CrossedSpecimen:
    """A specimen of the design, before it is drawn.

    Attributes:
        name: catalogue number.
        species: position in `looks.PARENTS`.
        levels: factor -> level, 0..3 (see `crossed_design.FORMS`); empty for a support.
        mixture: share of each parent in the outline.
        looks: trait -> looks.
        sitting: how it is photographed.
        seed: of what is left to chance.
    """

    name: str
    species: int
    levels: Mapping[str, int]
    mixture: tuple[float, ...]
    looks: Mapping[str, WingLook]
    sitting: Sitting
    seed: tuple[int, ...]

    def photograph(self, *, background: int | None = None) -> tuple[RGBImage, dict[str, Mask]]:
        """Photograph it, perhaps on another background; all else is the same to the pixel but for the sensor's noise.

        Returns:
            As `studio.photograph_specimen`.
        """
        sitting = self.sitting
        if background is not None:
            sitting = Sitting(background, sitting.photographer, sitting.turn, sitting.light, sitting.label)
        return photograph_specimen(self.mixture, dict(self.looks), sitting, self.seed)


def plan_crossed(seed: int = 0, species: int = len(PARENTS)) -> list[CrossedSpecimen]:
    """Plan all specimens, the support of each species before its others.

    Args:
        seed: 0 or more.
        species: how many, 1 to 3.

    Raises:
        InputError: there are not so many species, or the seed is negative.
    """
    if not 1 <= species <= len(PARENTS) or seed < 0:
        raise InputError(
            f"a crossed collection of {species} species from seed {seed} cannot be made; "
            f"ask for 1 to {len(PARENTS)} species and a seed of 0 or more"
        )
    planned = []
    for kind in range(species):
        letter = PARENTS[kind].split()[0][0]
        looks = dict.fromkeys(TRAITS, middle_look())
        mixture = tuple(np.eye(len(PARENTS))[kind].tolist())
        name = f"CX-{letter}00"
        planned.append(CrossedSpecimen(name, kind, {}, mixture, looks, Sitting(0, 0, 0, 3, name), (seed, kind, 0)))
        for number, levels in enumerate(list_runs(), 1):
            rng = np.random.default_rng((seed, kind, number, 2))
            looks = {
                trait: draw_look(levels[pattern], levels[colour], rng) for trait, (pattern, colour) in _FORMS.items()
            }
            name = f"CX-{letter}{number:02d}"
            sitting = Sitting(levels["background"], levels["photographer"], levels["turn"], levels["light"], name)
            mixture = draw_mixture(kind, rng)
            planned.append(CrossedSpecimen(name, kind, levels, mixture, looks, sitting, (seed, kind, number)))
    return planned


def make_crossed(folder: Path, *, seed: int = 0, species: int = len(PARENTS)) -> Path:
    """Draw a crossed collection: photographs, label pictures, table with the truth, supports.

    Args:
        folder: made if it does not exist. An earlier one in it is replaced; any other folder must be empty.
        seed: 0 or more; the same seed makes the same collection.
        species: how many, 1 to 3; of each 64 specimens and a support.

    Returns:
        Path of collection.csv; the supports lie beside it in supports/.

    Raises:
        InputError: the folder holds something else, or such a collection cannot be made.
    """
    planned = plan_crossed(seed, species)
    names = {each.name for each in planned}
    prepare_own_folder(
        folder,
        "crossed collection",
        marker=_MARKER,
        prefix="CX-",
        kept=dict.fromkeys(("images", "labels", "supports"), names),
        about={"made_by": "sst_retrieval.synthetic.crossed", "seed": seed, "specimens": len(names)},
    )
    for each in planned:
        image, masks = each.photograph()
        label = np.zeros(image.shape[:2], np.uint8)
        for trait, mask in masks.items():
            label[mask] = TRAITS[trait]
        quality = PHOTOGRAPHERS[each.sitting.photographer].quality
        write_jpeg(folder / "images" / f"{each.name}.jpg", image, quality=quality)
        write_png(folder / "labels" / f"{each.name}.png", label)
        if not each.levels:
            write_png(folder / "supports" / f"{each.name}.png", label)
    numbers = "\n".join(f"{trait} = {number}" for trait, number in TRAITS.items())
    write_text(folder / "supports" / "traits.toml", f"[traits]\n{numbers}\n")
    rows = [list_truth(each) for each in planned]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "collection.csv", text.getvalue())
    return folder / "collection.csv"


def list_truth(specimen: CrossedSpecimen) -> dict[str, str | int | float]:
    """List the row of the table: what the photograph shows, and how it was taken."""
    name, sitting = PARENTS[specimen.species], specimen.sitting
    row: dict[str, str | int | float] = {
        "catalogNumber": specimen.name,
        "image": f"images/{specimen.name}.jpg",
        "group": name,
        "scientificName": name,
        "role": "crossed" if specimen.levels else "support",
        "background": FLOORS[sitting.background],
        "photographer": f"photographer {sitting.photographer + 1}",
        "turn": f"{90 * sitting.turn} degrees",
        "light": f"light {sitting.light + 1}",
    }
    for trait, (pattern, colour) in _FORMS.items():
        look = specimen.looks[trait]
        levels = [specimen.levels[form] + 1 for form in (pattern, colour)] if specimen.levels else []
        row |= {
            f"{trait}Pattern": f"pattern {levels[0]}" if levels else "",
            f"{trait}Colour": f"colour {levels[1]}" if levels else "",
            f"{trait}Mimics": "pattern {} colour {}".format(*levels) if levels else "",
            f"{trait}Race": "{} pattern {} colour {}".format(name, *levels) if levels else "",
            f"{trait}Density": round(look.density, 5),
            f"{trait}Breaking": round(look.breaking, 5),
            **{
                f"{trait}{axis}": round(value, 4) for axis, value in zip(("Lightness", "A", "B"), look.lab, strict=True)
            },
        }
    shares = zip(PARENTS, specimen.mixture, strict=True)
    return row | {f"share{parent.split()[0]}": round(share, 5) for parent, share in shares}


def compute_true_distances(rows: Sequence[Mapping[str, Any]], trait: str) -> dict[str, Doubles]:
    """Compute how far any two specimens are apart along each axis.

    Args:
        rows: N rows of the table, as `list_truth` names the columns; numbers, or text that is one.
        trait: "forewing" or "hindwing".

    Returns:
        Axis -> float64 (N, N): pattern, Euclidean in density and breaking; colour, CIE 1976 difference of the stripes;
        outline, Procrustes distance without a turn. And "all": the mean of the three, each divided by its own mean.
    """
    columns = {
        "pattern": (f"{trait}Density", f"{trait}Breaking"),
        "colour": tuple(f"{trait}{axis}" for axis in _LAB),
    }
    found: dict[str, Doubles] = {}
    for axis, names in columns.items():
        points = np.array([[float(row[name]) for name in names] for row in rows])
        found[axis] = cdist(points, points)
    shares = [f"share{parent.split()[0]}" for parent in PARENTS]
    mixtures = np.array([[float(row[name]) for name in shares] for row in rows])
    found["outline"] = measure_outline_distances(trait, mixtures)
    found["all"] = np.mean([each / max(float(each.mean()), 1e-12) for each in found.values()], axis=0)
    return found
