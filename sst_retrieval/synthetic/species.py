"""The invented species of the synthetic drawer: wing shapes, colours, markings, and who mimics whom.

Four mimicry rings of two species each, from different genera: the same warning pattern on another wing and another
body. A ground beetle shares the drawer, with other traits. None of these names belongs to a real animal.
"""

from __future__ import annotations

from dataclasses import dataclass

from sst_retrieval.synthetic.beetles import Beetle
from sst_retrieval.synthetic.bodies import Body
from sst_retrieval.synthetic.markings import Band, Eyespots, Marking, Ray
from sst_retrieval.synthetic.wings import Scales, Wing

TRAITS = {"forewing_band": 1, "hindwing_bar": 2, "hindwing_eyespot": 3, "elytra": 4, "pronotum": 5}
"""Trait -> its number in the label pictures."""

SYNONYMS = {
    "forewing_band": ("wing stripe", "stripe", "band"),
    "hindwing_bar": ("hindwing stripe", "bar"),
    "hindwing_eyespot": ("eyespot", "ocellus", "eye"),
    "elytra": ("wing cases",),
    "pronotum": ("neck shield",),
}
"""Trait -> other words people use for it."""


@dataclass(frozen=True, slots=True)
class Butterfly:
    """A species of butterfly or day-flying moth.

    Attributes:
        name: its (invented) scientific name.
        family: its family.
        ring: the mimicry ring it belongs to.
        forewing, hindwing: shapes.
        fore_scales, hind_scales: colours without markings.
        fore, hind: markings, in the order they are painted.
        body: body and antennae.
        spread: degrees by which forewing and hindwing point away from straight out (minus is forwards).
        size: length of a forewing in millimetres.
        places: where it is caught; positions in `PLACES`.
    """

    name: str
    family: str
    ring: str
    forewing: Wing
    hindwing: Wing
    fore_scales: Scales
    hind_scales: Scales
    fore: tuple[Marking, ...]
    hind: tuple[Marking, ...]
    body: Body
    spread: tuple[float, float]
    size: float
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GroundBeetle:
    """A species of beetle; the attributes are as in `Butterfly`, `size` is its whole length."""

    name: str
    family: str
    ring: str
    beetle: Beetle
    size: float
    places: tuple[int, ...]


Species = Butterfly | GroundBeetle

PLACES = (
    ("Valle Quimera", -3.4, -76.2),
    ("Rio Espejo", -4.1, -73.6),
    ("Cerro Fabula", 1.2, -77.9),
    ("Laguna Sombra", 5.6, -74.3),
    ("Monte Ilusorio", 46.3, 11.4),
)
"""Invented localities: name, decimal latitude, decimal longitude."""

_FORE_VEINS = (-24.0, -11, -3, 4, 11, 18, 26, 36, 50)
_HIND_VEINS = (-42.0, -18, -2, 13, 28, 43, 58, 74, 98)

_LONG = Wing(
    ((0, 0.01), (0.1, -0.045), (0.34, -0.105), (0.62, -0.135), (0.84, -0.105), (0.97, -0.03), (1.0, 0.05),
     (0.94, 0.15), (0.82, 0.25), (0.68, 0.325), (0.53, 0.335), (0.36, 0.26), (0.16, 0.12), (0.02, 0.05)),
    (0.09, 0.01), _FORE_VEINS, scallop=0.008,
)  # fmt: skip
_LONG_HIND = Wing(
    ((0, 0), (0.1, -0.08), (0.3, -0.12), (0.53, -0.07), (0.68, 0.07), (0.72, 0.24), (0.66, 0.42), (0.52, 0.55),
     (0.35, 0.59), (0.19, 0.51), (0.07, 0.32), (0.01, 0.12)),
    (0.07, 0.05), _HIND_VEINS, cell=0.27, scallop=0.018,
)  # fmt: skip
_BROAD = Wing(
    ((0, 0.01), (0.1, -0.06), (0.32, -0.15), (0.58, -0.2), (0.81, -0.18), (0.96, -0.08), (0.99, 0.03), (0.95, 0.17),
     (0.88, 0.3), (0.78, 0.42), (0.63, 0.46), (0.42, 0.36), (0.18, 0.17), (0.02, 0.06)),
    (0.1, 0.02), (-26.0, -13, -4, 5, 14, 22, 31, 41, 56), scallop=0.014,
)  # fmt: skip
_BROAD_HIND = Wing(
    ((0, 0), (0.1, -0.09), (0.32, -0.14), (0.58, -0.1), (0.76, 0.05), (0.83, 0.24), (0.8, 0.42), (0.68, 0.58),
     (0.5, 0.67), (0.3, 0.66), (0.13, 0.52), (0.04, 0.3), (0.0, 0.12)),
    (0.08, 0.06), _HIND_VEINS, cell=0.3, scallop=0.026,
)  # fmt: skip
_ROUND = Wing(
    ((0, 0.01), (0.12, -0.06), (0.36, -0.14), (0.62, -0.17), (0.84, -0.12), (0.95, 0.0), (0.96, 0.14), (0.9, 0.29),
     (0.8, 0.4), (0.66, 0.44), (0.46, 0.36), (0.2, 0.18), (0.02, 0.06)),
    (0.1, 0.02), (-25.0, -12, -3, 6, 14, 23, 32, 42, 56), scallop=0.01,
)  # fmt: skip
_TAILED_FORE = Wing(
    ((0, 0.01), (0.1, -0.06), (0.3, -0.14), (0.58, -0.18), (0.84, -0.15), (1.0, -0.03), (1.0, 0.04), (0.93, 0.14),
     (0.84, 0.25), (0.74, 0.36), (0.6, 0.42), (0.42, 0.35), (0.18, 0.17), (0.02, 0.06)),
    (0.1, 0.02), (-25.0, -12, -4, 4, 12, 20, 29, 40, 56), scallop=0.012,
)  # fmt: skip
_TAILED = Wing(
    ((0, 0), (0.1, -0.09), (0.3, -0.12), (0.52, -0.06), (0.64, 0.08), (0.67, 0.25), (0.63, 0.4), (0.56, 0.5),
     (0.52, 0.6), (0.54, 0.74), (0.545, 0.86), (0.49, 0.885), (0.455, 0.82), (0.435, 0.7), (0.38, 0.635),
     (0.28, 0.6), (0.17, 0.55), (0.08, 0.36), (0.01, 0.14)),
    (0.06, 0.05), _HIND_VEINS, cell=0.26, scallop=0.03,
)  # fmt: skip
_MOTH = Wing(
    ((0, 0.01), (0.12, -0.05), (0.4, -0.09), (0.7, -0.1), (0.92, -0.07), (1.0, 0.0), (0.96, 0.1), (0.87, 0.22),
     (0.74, 0.33), (0.56, 0.33), (0.34, 0.24), (0.14, 0.12), (0.02, 0.05)),
    (0.08, 0.01), (-22.0, -10, -3, 4, 10, 17, 25, 35, 50), scallop=0.004,
)  # fmt: skip
_MOTH_HIND = Wing(
    ((0, 0), (0.12, -0.08), (0.32, -0.1), (0.5, -0.03), (0.58, 0.1), (0.56, 0.27), (0.47, 0.42), (0.32, 0.47),
     (0.18, 0.41), (0.07, 0.25), (0.01, 0.1)),
    (0.06, 0.04), _HIND_VEINS, cell=0.22, scallop=0.006,
)  # fmt: skip

_SOOT, _BARK, _CREAM, _RED = (30.0, 25, 25), (66.0, 46, 34), (236.0, 220, 162), (204.0, 46, 38)
_AMBER, _ORANGE, _LEMON = (222.0, 128, 34), (206.0, 96, 26), (240.0, 206, 84)
_NIGHT, _AZURE = (18.0, 21, 34), (56.0, 138, 226)
_OCELLUS = ((232.0, 190.0, 92.0), (30.0, 22.0, 20.0), (30.0, 22.0, 20.0), (96.0, 128.0, 196.0))
_BLACK = Scales(_SOOT, (14.0, 12, 13), 0.02)
_BLUE_BLACK = Scales(_NIGHT, (8.0, 9, 16), 0.02, fringe=(190.0, 200, 214))

_RED_BAND = Band("forewing_band", _RED, (0.9, 6.6), 0.55, 0.105, slope=-0.014, step=0.016)
_YELLOW_BAR = Ray("hindwing_bar", _LEMON, (0.07, 0.06), (0.66, 0.14), 0.05, bend=0.03)
_TIGER_BAND = Band("forewing_band", _LEMON, (0.8, 6.3), 0.59, 0.062, slope=-0.02)
_TIGER_BARS = (
    Band("", _SOOT, (0.3, 6.9), 0.595, 0.13, slope=-0.02),
    Band("", _SOOT, (4.2, 7.2), 0.27, 0.05, slope=-0.02),
)
_TIGER_HIND = Ray("hindwing_bar", (32.0, 24, 20), (0.1, 0.12), (0.62, 0.24), 0.042, bend=0.04)
_BLUE_BAND = Band("forewing_band", _AZURE, (0.9, 7.5), 0.46, 0.115, slope=-0.01, gloss=0.9)
_BLUE_BAR = Band("hindwing_bar", _AZURE, (1.2, 7.2), 0.36, 0.115, gloss=0.9)
_EYED_BAND = Band("forewing_band", (226.0, 162, 84), (0.9, 7.2), 0.66, 0.06, slope=-0.006)

_EYED_DISC = Band("", (74.0, 50, 34), (0.6, 7.4), 0.4, 0.1, slope=-0.006)
_EYED_GLOW = Band("", (170.0, 100, 46), (1.4, 6.9), 0.53, 0.1)
_EYED_GLOW_NEAR = Band("", (170.0, 100, 46), (1.4, 7.2), 0.45, 0.09)
_OCELLI = Eyespots("hindwing_eyespot", _OCELLUS, (2.5, 3.5, 4.5, 5.5), 0.53, 0.058)
_OCELLI_NEAR = Eyespots("hindwing_eyespot", _OCELLUS, (2.5, 3.5, 4.5, 6.4), 0.45, 0.052)

SPECIES: tuple[Species, ...] = (
    Butterfly(
        "Fictelia rubella", "Nymphalidae", "red-banded", _LONG, _LONG_HIND, _BLACK, _BLACK,
        (_RED_BAND,), (_YELLOW_BAR,), Body((58, 48, 40), (196, 170, 96)), (-26, 12), 38, (0, 1),
    ),
    Butterfly(
        "Mimeria rubens", "Pieridae", "red-banded", _BROAD, _BROAD_HIND, _BLACK, _BLACK,
        (_RED_BAND,), (_YELLOW_BAR,), Body((74, 60, 46), (120, 96, 64), 0.46, 0.075, 0.34), (-32, 2), 32, (0, 1),
    ),
    Butterfly(
        "Fictelia tigrina", "Nymphalidae", "tiger", _LONG, _LONG_HIND,
        Scales(_AMBER, (28, 20, 18), 0.05), Scales(_ORANGE, (28, 20, 18), 0.06),
        (*_TIGER_BARS, _TIGER_BAND), (_TIGER_HIND,), Body((70, 52, 36), (214, 150, 60)), (-26, 12), 40, (1, 2),
    ),
    Butterfly(
        "Noctaria tigrina", "Erebidae", "tiger", _MOTH, _MOTH_HIND,
        Scales(_AMBER, (28, 20, 18), 0.035), Scales(_ORANGE, (28, 20, 18), 0.05),
        (*_TIGER_BARS, _TIGER_BAND), (_TIGER_HIND,), Body((120, 78, 40), (34, 26, 22), 0.44, 0.085, 0.3, True),
        (-16, 18), 30, (1, 2),
    ),
    Butterfly(
        "Caerulia nitens", "Nymphalidae", "blue-banded", _ROUND, _BROAD_HIND, _BLUE_BLACK, _BLUE_BLACK,
        (_BLUE_BAND,), (_BLUE_BAR,), Body((40, 40, 48), (90, 96, 110), 0.36, 0.06, 0.36), (-34, 2), 46, (2, 3),
    ),
    Butterfly(
        "Regalia glauca", "Papilionidae", "blue-banded", _TAILED_FORE, _TAILED, _BLUE_BLACK, _BLUE_BLACK,
        (_BLUE_BAND,), (_BLUE_BAR,), Body((34, 32, 38), (150, 150, 140), 0.44, 0.07, 0.34), (-30, 6), 50, (2, 3),
    ),
    Butterfly(
        "Ocellina fulva", "Nymphalidae", "eyed", _ROUND, _BROAD_HIND,
        Scales((112, 78, 48), _BARK, 0.03), Scales((120, 84, 52), _BARK, 0.03),
        (_EYED_DISC, _EYED_BAND), (_EYED_GLOW, _OCELLI),
        Body((104, 78, 52), (140, 110, 76), 0.34, 0.056, 0.36), (-34, 2), 27, (3, 4),
    ),
    Butterfly(
        "Regalia oculata", "Papilionidae", "eyed", _TAILED_FORE, _TAILED,
        Scales((96, 66, 44), _BARK, 0.04), Scales((108, 74, 48), _BARK, 0.04),
        (_EYED_DISC, _EYED_BAND), (_EYED_GLOW_NEAR, _OCELLI_NEAR),
        Body((84, 64, 46), (190, 160, 100), 0.44, 0.068, 0.34), (-30, 6), 44, (3, 4),
    ),
    GroundBeetle(
        "Carabella smaragdina", "Carabidae", "",
        Beetle((38, 98, 58), (190, 120, 52), (112, 66, 40), (52, 34, 26)), 24, (3, 4),
    ),
)  # fmt: skip
"""All species of the drawer."""
