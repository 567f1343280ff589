"""Invented butterflies with two bands and a spot, whose every number is known; no photographs, no models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from invented import BLOCKS, SETTINGS, a_collection, unit
from skimage.draw import ellipse

from sst_retrieval.describe.measure import measure_geometry
from sst_retrieval.imaging import frames, masks
from sst_retrieval.index.store import Store
from sst_retrieval.types import Floats, Mask, Region

SIZE = (120, 160)
SPECIES = ("Aus albus", "Bus rubens", "Cus niger")
IDS = [f"P {number:02d}" for number in range(12)]
SPECIES_OF = {name: SPECIES[number % 3] for number, name in enumerate(IDS)}
MM_PER_PIXEL = {name: None if number == 11 else 0.05 + 0.01 * (number % 2) for number, name in enumerate(IDS)}
FRAME = frames.square_frame((80, 60), 170, 0.0)

TREE = "((Aus_albus:1,Cus_niger:1):1,(Bus_rubens:1.5,Dus_dubius:1.5):0.5);"
"""Albus and niger are sisters; rubens is farther; a tip that the collection does not have."""

CENTRES = {"Aus albus": (0.0, 0.0), "Bus rubens": (0.3, 0.0), "Cus niger": (5.0, 5.0)}
"""Albus and rubens look alike."""


def band(name: str, side: str) -> Mask:
    """The left or the right band of a specimen; the right one is larger by a pixel on the odd ones."""
    number = IDS.index(name)
    mask = np.zeros(SIZE, dtype=bool)
    radius = 12 + number % 4 + (1 if side == "right" and number % 2 else 0)
    mask[ellipse(50, 80 + (40 if side == "right" else -40), radius, 24, SIZE)] = True
    return mask


def mask_of(name: str, trait: str) -> Mask:
    if trait == "band":
        return band(name, "left") | band(name, "right")
    mask = np.zeros(SIZE, dtype=bool)
    mask[ellipse(95, 80, 8, 20, SIZE)] = True
    return mask


def vector_of(name: str, trait: str) -> Floats:
    """Vectors of a species lie near each other; those of albus and rubens, too."""
    number = IDS.index(name)
    rng = np.random.default_rng((number, len(trait)))
    x, y = CENTRES[SPECIES_OF[name]]
    return unit(np.tile([1, x, y], 3) + rng.normal(scale=0.2, size=sum(BLOCKS.values())))


def a_pair(name: str, trait: str) -> Region:
    mask = mask_of(name, trait)
    return Region(
        individual=name,
        trait=trait,
        present=True,
        confidence=0.5 + 0.04 * IDS.index(name),
        size=SIZE,
        rle=masks.encode(mask),
        box=masks.box(mask),
        frame=FRAME,
        vector=vector_of(name, trait),
        measurements={**measure_geometry(mask), "lightness_mean": 50.0},
    )


def an_index_of_pairs(path: Path) -> Store:
    """Build it; the spot of the first specimen is absent."""
    regions = [a_pair(name, trait) for name in IDS for trait in ("band", "spot")]
    regions[1] = Region(
        IDS[0], "spot", False, 0.3, SIZE, masks.encode(np.zeros(SIZE, bool)), (0, 0, 0, 0), FRAME, None, {}
    )
    table = a_collection(
        IDS,
        {"scientificName": "VARCHAR", "sex": "VARCHAR", "mmPerPixel": "DOUBLE"},
        scientificName=[SPECIES_OF[name] for name in IDS],
        sex=["female" if number < 6 else None for number in range(12)],
        mmPerPixel=[MM_PER_PIXEL[name] for name in IDS],
    )
    store = Store.create(path, settings=SETTINGS, blocks=BLOCKS)
    supports = [{"specimen": IDS[0], "group": "group", "traits": ["band", "spot"]}]
    with store.lock():
        store.append([(region, f"content of {region.individual}", "s") for region in regions])
        store.commit(table, numbers={"band": 3, "spot": 7}, provenance={"program": "test", "supports": supports})
    return store
