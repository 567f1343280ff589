"""The design of the crossed collection: an orthogonal array; any three main factors meet in all ways equally often.

1. Pattern, colour and background are crossed in full: 4 x 4 x 4 = 64 specimens.
2. Every other factor is a linear form of these three over the field of four elements. The six main factors are the
   points of a hyperoval of the projective plane of order 4, no three on a line: an orthogonal array of strength 3 (Bush
   1952, "Orthogonal arrays of index unity"). So every race (pattern and colour) is seen once on every background, by
   every photographer, in every turn and under every light; and every pattern by every pair of those.
3. Pattern and colour of the other wings (`hind_pattern`, `hind_colour`) are two points of a line that meets no point of
   the hyperoval: independent of each other together with any one main factor, and of any two of the first wing's.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import MappingProxyType

LEVELS = 4
"""How many levels every factor has."""

FORMS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "fore_pattern": (1, 0, 0),
        "fore_colour": (0, 1, 0),
        "background": (0, 0, 1),
        "photographer": (1, 1, 1),
        "turn": (1, 2, 3),
        "light": (1, 3, 2),
        "hind_pattern": (1, 0, 1),
        "hind_colour": (0, 1, 2),
    }
)
"""Factor -> its coefficients over the field of four elements; the first six are the main factors."""

MAIN = tuple(FORMS)[:6]
"""The factors of which any three are crossed in full."""

_PRODUCTS = ((0, 0, 0, 0), (0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2))


def list_runs() -> list[dict[str, int]]:
    """List the 64 combinations of levels, 0..3, of the design: factor -> level.

    >>> runs = list_runs()
    >>> len(runs), len({(run["fore_pattern"], run["background"], run["photographer"]) for run in runs})
    (64, 64)
    """
    points = itertools.product(range(LEVELS), repeat=3)
    return [{name: _evaluate(form, point) for name, form in FORMS.items()} for point in points]


def _evaluate(form: tuple[int, int, int], point: tuple[int, ...]) -> int:
    """Evaluate a linear form; addition in this field is exclusive or."""
    total = 0
    for coefficient, value in zip(form, point, strict=True):
        total ^= _PRODUCTS[coefficient][value]
    return total
