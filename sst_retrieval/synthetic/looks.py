"""Looks of wings in the crossed collection: continuous families of patterns, colours and outlines, with distances.

Pattern: how closely stripes follow each other, and how far they break into spots between the veins. Colour: of the
stripes, in CIE L*a*b*, on a ground that is always the same. Outline: a mixture of the wings of three species, point by
point. Stripes always cover the same share of a wing, so that a pattern's colours do not tell it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.spatial.distance import cdist
from skimage.color import lab2rgb

from sst_retrieval.synthetic.canvas import Colour, smooth_curve
from sst_retrieval.synthetic.markings import Stripes
from sst_retrieval.synthetic.species import SPECIES, Butterfly
from sst_retrieval.synthetic.wings import Wing
from sst_retrieval.types import Doubles

TRAITS = {"forewing": 1, "hindwing": 2}
"""Trait -> its number in the label pictures: a pair of wings, whole."""

PATTERN_LEVELS = ((0.14, 0.14), (0.86, 0.14), (0.14, 0.86), (0.86, 0.86))
"""The patterns of the races: (density, breaking), each 0..1."""

PATTERN_SPREAD = 0.14
"""How far a specimen may lie from its race, in density and in breaking."""

HUES = (30.0, 100.0, 190.0, 285.0)
"""The colours of the races: hue angles in CIE L*a*b*, degrees: red, yellow, green, blue."""

HUE_SPREAD, LIGHTNESS_SPREAD, CHROMA_SPREAD = 16.0, 5.0, 5.0
LIGHTNESS, CHROMA = 60.0, 38.0

PERIODS = (0.3, 0.1)
"""From stripe to stripe at densities 0 and 1, in units (a forewing's length)."""

OUTLINE_SPREAD = 0.35
"""The largest share of other species in the outline of a specimen."""

PARENTS = ("Fictelia rubella", "Mimeria rubens", "Noctaria tigrina")
"""The species whose wings are mixed."""

GROUND: Colour = (46.0, 40.0, 36.0)
"""What lies between the stripes."""

EXAGGERATION = {"forewing": 1.0, "hindwing": 2.5}
"""Factor by which the outlines of the parents differ from their mean more than they do, at the same size.

Their hindwings are so alike (0.02 to 0.05 by Procrustes) that the left one and the right one of an exact mask on a
photograph of 400 pixels differ as much; so far apart they differ as forewings do."""

_CORNERS = 40


@dataclass(frozen=True, slots=True)
class WingLook:
    """The looks of one pair of wings.

    Attributes:
        density: 0..1, from wide stripes to narrow ones.
        breaking: 0..1, from stripes to spots.
        lab: (L*, a*, b*) of the stripes.
        phase: where the first stripe lies, in stripes; no part of the truth.
    """

    density: float
    breaking: float
    lab: tuple[float, float, float]
    phase: float

    def stripes(self) -> Stripes:
        """Return the marking that shows it."""
        period = PERIODS[0] * (PERIODS[1] / PERIODS[0]) ** self.density
        red, green, blue = (255 * np.clip(lab2rgb(np.array([[self.lab]]))[0, 0], 0, 1)).tolist()
        return Stripes("", (red, green, blue), period, self.breaking, self.phase)


def draw_look(pattern: int, colour: int, rng: np.random.Generator) -> WingLook:
    """Draw the looks of a specimen of a race.

    Args:
        pattern: position in `PATTERN_LEVELS`.
        colour: position in `HUES`.
        rng: how it differs from its race.
    """
    density, breaking = np.asarray(PATTERN_LEVELS[pattern]) + rng.uniform(-PATTERN_SPREAD, PATTERN_SPREAD, 2)
    hue = math.radians(HUES[colour] + rng.uniform(-HUE_SPREAD, HUE_SPREAD))
    lightness = LIGHTNESS + rng.uniform(-LIGHTNESS_SPREAD, LIGHTNESS_SPREAD)
    chroma = CHROMA + rng.uniform(-CHROMA_SPREAD, CHROMA_SPREAD)
    lab = (float(lightness), float(chroma * math.cos(hue)), float(chroma * math.sin(hue)))
    return WingLook(float(density), float(breaking), lab, float(rng.uniform(-0.1, 0.1)))


def middle_look() -> WingLook:
    """Return the middle of both families, which belongs to no race: buff stripes of medium density."""
    return WingLook(0.5, 0.5, (LIGHTNESS, 3.0, 8.0), 0.0)


def draw_mixture(species: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Draw which share each of `PARENTS` has in the outlines of a specimen of a species; of sum 1."""
    others = rng.dirichlet(np.ones(len(PARENTS)))
    share = float(rng.uniform(0, OUTLINE_SPREAD))
    own = np.eye(len(PARENTS))[species]
    return tuple(((1 - share) * own + share * others).tolist())


def mix_wings(mixture: Sequence[float]) -> Butterfly:
    """Mix a butterfly of its parents' wings; body and posture are those of the parent with the largest share."""
    parents = [_find_parent(name) for name in PARENTS]
    main = parents[int(np.argmax(mixture))]
    # One fan of veins for all, so that a pattern is the same on every outline.
    veins = parents[0]
    return replace(
        main,
        forewing=_mix_outline("forewing", mixture, veins.forewing),
        hindwing=_mix_outline("hindwing", mixture, veins.hindwing),
    )


def measure_outline_distances(trait: str, mixtures: Doubles) -> Doubles:
    """Measure how far the outlines of mixtures are apart: the Procrustes distance without a turn.

    Outlines are centred and scaled to unit centroid size; the result is the root of the summed squared distances of
    corresponding points.

    Args:
        trait: "forewing" or "hindwing".
        mixtures: float64 (N, parents).

    Returns:
        float64 (N, N).
    """
    points = np.tensordot(mixtures, _corners(trait), 1)
    centred = points - points.mean(axis=1, keepdims=True)
    shapes = (centred / np.linalg.norm(centred, axis=(1, 2), keepdims=True)).reshape(len(mixtures), -1)
    return np.asarray(cdist(shapes, shapes), np.float64)


def _find_parent(name: str) -> Butterfly:
    for species in SPECIES:
        if species.name == name and isinstance(species, Butterfly):
            return species
    raise AssertionError(f"no butterfly is called {name}")


def _mix_outline(trait: str, mixture: Sequence[float], veins: Wing) -> Wing:
    points = np.tensordot(np.asarray(mixture), _corners(trait), 1)
    outline = tuple((float(x), float(y)) for x, y in points)
    return replace(veins, outline=outline, scallop=0.012)


@lru_cache
def _corners(trait: str) -> Doubles:
    """Return points at equal steps along the outlines of all parents, from the base: float64 (parents, points, 2)."""
    found = []
    for name in PARENTS:
        curve = smooth_curve(getattr(_find_parent(name), trait).outline)
        closed = np.vstack([curve, curve[:1]])
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
        wanted = np.linspace(0, along[-1], _CORNERS, endpoint=False)
        found.append(np.stack([np.interp(wanted, along, closed[:, axis]) for axis in (0, 1)], axis=1))
    corners = np.stack(found)
    if EXAGGERATION[trait] == 1:
        return corners
    centred = corners - corners.mean(axis=1, keepdims=True)
    size = np.linalg.norm(centred, axis=(1, 2), keepdims=True)
    shapes = centred / size
    mean = shapes.mean(axis=0)
    apart = mean + EXAGGERATION[trait] * (shapes - mean)
    apart *= size / np.linalg.norm(apart, axis=(1, 2), keepdims=True)
    return np.asarray(apart + corners[:, :1] - apart[:, :1], np.float64)  # The base stays where it was.
