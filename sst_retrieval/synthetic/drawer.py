"""Make a synthetic museum drawer: photographs of pinned insects with the exact mask of every trait.

    FOLDER/
      drawer.json                 says that the drawer is synthetic, and from which seed it was made
      collection.csv              one row a specimen, Darwin Core columns
      images/SD-0001.jpg          photographs
      labels/SD-0001.png          the truth for every specimen: 0 = background, the numbers of traits.toml
      supports/traits.toml        trait names, their numbers, other words for them
      supports/SD-0001.png        the label of one specimen a species
      tray/                       one photograph with many ground beetles, a collection of its own (`synthetic.tray`)

1. Every species has a wing shape, a body and a pattern; four pairs of species from different genera share a pattern
   (`mimicryRing`), so "who wears the same pattern?" has a known answer that is not "who is the same species?".
2. The first specimen of every species is fresh and upright and serves as its support. The others vary: turned at any
   angle, torn, one or both hindwings lost; a trait that is lost is not in the label.
3. A specimen depends on the seed and on its own number only: a larger drawer begins like a smaller one.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sst_retrieval.errors import InputError
from sst_retrieval.files import write_text
from sst_retrieval.imaging.images import write_jpeg, write_png
from sst_retrieval.synthetic.own_folder import prepare_own_folder
from sst_retrieval.synthetic.species import PLACES, SPECIES, SYNONYMS, TRAITS, GroundBeetle
from sst_retrieval.synthetic.specimen import WEAR, SpecimenPlan, draw_specimen
from sst_retrieval.synthetic.tray import write_tray
from sst_retrieval.types import Mask

COLUMNS = (
    "catalogNumber", "image", "group", "scientificName", "family", "sex", "locality", "decimalLatitude",
    "decimalLongitude", "eventDate", "mimicryRing", "view",
)  # fmt: skip
"""Columns of collection.csv."""

TRAY = "tray"
"""Folder, in that of the drawer, of the photograph with many individuals."""

_MARKER = "drawer.json"
_WEAR_SHARES = dict(zip(WEAR, (0.74, 0.12, 0.05, 0.045, 0.045), strict=True))
_ROTATED_SHARE = 0.22
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A specimen as the collection's register has it, and the plan for its photograph."""

    row: Mapping[str, str]
    plan: SpecimenPlan
    support: bool


def make_drawer(folder: Path, *, seed: int = 0, specimens: int = 100) -> Path:
    """Draw a synthetic collection: photographs, label pictures, table and supports.

    Args:
        folder: made if it does not exist. An earlier drawer in it is replaced; any other folder must be empty.
        seed: 0 or more; the same seed makes the same drawer.
        specimens: how many; the first nine are one of each species.

    Returns:
        Path of collection.csv; the supports lie beside it in supports/.

    Raises:
        InputError: the folder holds something else, or there is nothing to draw.
    """
    if specimens < 1 or seed < 0:
        raise InputError(
            f"a drawer of {specimens} specimens from seed {seed} cannot be made; "
            "ask for 1 specimen or more and a seed of 0 or more"
        )
    entries = [_make_entry(number, seed) for number in range(specimens)]
    _prepare(folder, entries, seed=seed)
    for number, entry in enumerate(entries):
        rng = np.random.default_rng((seed, number, 1))
        image, masks = draw_specimen(entry.plan, rng)
        name = entry.row["catalogNumber"]
        label = _label(masks, image.shape[:2])
        write_jpeg(folder / entry.row["image"], image, quality=int(rng.integers(80, 96)))
        write_png(folder / "labels" / f"{name}.png", label)
        if entry.support:
            write_png(folder / "supports" / f"{name}.png", label)
    write_text(folder / "supports" / "traits.toml", _traits_toml())
    _write_tray(folder, entries, seed)
    write_text(folder / "collection.csv", _table(entries))
    return folder / "collection.csv"


def _make_entry(number: int, seed: int) -> _Entry:
    """Choose species, locality, date, sex and wear of a specimen from the seed and its number."""
    rng = np.random.default_rng((seed, number, 0))
    species = SPECIES[number % len(SPECIES)]
    support = number < len(SPECIES)
    place, latitude, longitude = PLACES[species.places[rng.integers(len(species.places))]]
    date = datetime.date(1889, 4, 1) + datetime.timedelta(days=int(rng.integers(0, 45_000)))
    male = bool(rng.random() < 0.5)
    rotated = not support and rng.random() < _ROTATED_SHARE
    plan = SpecimenPlan(
        species=species,
        angle=float(rng.uniform(-math.pi, math.pi) if rotated else np.clip(rng.normal(0, 0.06), -0.15, 0.15)),
        wear="fresh" if support else str(rng.choice(WEAR, p=tuple(_WEAR_SHARES.values()))),
        male=male,
        label=(species.name, f"{place}  {date.day}.{_ROMAN[date.month - 1]}.{date.year}", "synthetic"),
    )
    name = f"SD-{number + 1:04d}"
    row = {
        "catalogNumber": name,
        "image": f"images/{name}.jpg",
        "group": species.name,
        "scientificName": species.name,
        "family": species.family,
        "sex": "male" if male else "female",
        "locality": place,
        "decimalLatitude": f"{latitude + rng.normal(0, 0.08):.4f}",
        "decimalLongitude": f"{longitude + rng.normal(0, 0.08):.4f}",
        "eventDate": date.isoformat(),
        "mimicryRing": species.ring,
        "view": "dorsal",
    }
    return _Entry(row, plan, support)


def _prepare(folder: Path, entries: Sequence[_Entry], *, seed: int) -> None:
    """Make the folders (see `prepare_own_folder`)."""
    names = {entry.row["catalogNumber"] for entry in entries}
    supports = {entry.row["catalogNumber"] for entry in entries if entry.support}
    prepare_own_folder(
        folder,
        "synthetic drawer",
        marker=_MARKER,
        prefix="SD-",
        kept={"images": names, "labels": names, "supports": supports},
        about={"made_by": "sst_retrieval.synthetic.drawer", "seed": seed, "specimens": len(names)},
    )


def _write_tray(folder: Path, entries: Sequence[_Entry], seed: int) -> None:
    """Write the tray, if the drawer has an annotated ground beetle; else remove an earlier one."""
    for entry in entries:
        if entry.support and isinstance(entry.plan.species, GroundBeetle):
            name = entry.row["catalogNumber"]
            support = (name, folder / entry.row["image"], folder / "supports" / f"{name}.png")
            write_tray(folder / TRAY, entry.plan.species, support, _traits_toml(), seed)
            return
    if (folder / TRAY).is_dir():
        shutil.rmtree(folder / TRAY)


def _label(masks: Mapping[str, Mask], size: tuple[int, ...]) -> np.ndarray:
    """Number the pixels, uint8 (H, W); a drawer's masks do not overlap."""
    label = np.zeros(size, np.uint8)
    for name, mask in masks.items():
        label[mask] = TRAITS[name]
    return label


def _traits_toml() -> str:
    numbers = "\n".join(f"{name} = {number}" for name, number in TRAITS.items())
    # A JSON list of words is a TOML array too.
    words = "\n".join(f"{name} = {json.dumps(list(others))}" for name, others in SYNONYMS.items())
    return f"[traits]\n{numbers}\n\n[synonyms]\n{words}\n"


def _table(entries: list[_Entry]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(entry.row for entry in entries)
    return text.getvalue()
