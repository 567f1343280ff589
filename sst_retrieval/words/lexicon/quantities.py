"""What size, shape and colour words are about: quantities computed from the stored measurements of a trait.

They compare specimens of one index with each other. None depends on how large the photograph is, as far as the
specimen's own size is known (`area_share`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from sst_retrieval.types import Doubles

Table = Mapping[str, Doubles]


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that there can be much or little of.

    Attributes:
        meaning: what it is, for a person.
        needs: the measurements it is computed from.
        compute: measurements (n,) -> values float64 (n,).
    """

    meaning: str
    needs: tuple[str, ...]
    compute: Callable[[Table], Doubles]


def _specimen_length(table: Table) -> Doubles:
    """Side of a square with the specimen's area, in pixels."""
    return np.sqrt(table["area_px"] / np.maximum(table["area_share"], 1e-9))


def _width(table: Table) -> Doubles:
    # A long bar of length l and width w has the area l * w and the outline 2 * l, however many of them there are.
    return 2 * table["area_px"] / table["perimeter_px"] / _specimen_length(table)


def _length(table: Table) -> Doubles:
    return table["perimeter_px"] / 2 / _specimen_length(table)


def _roundness(table: Table) -> Doubles:
    # The isoperimetric quotient, 1 for a disc. Not divided among the pieces: specks would make anything round.
    return 4 * np.pi * table["area_px"] / table["perimeter_px"] ** 2


def _chroma(table: Table) -> Doubles:
    return np.hypot(table["a_mean"], table["b_mean"])


def _contrast(table: Table) -> Doubles:
    return np.sqrt(table["lightness_sd"] ** 2 + table["a_sd"] ** 2 + table["b_sd"] ** 2)


def _same(name: str) -> Callable[[Table], Doubles]:
    return lambda table: table[name]


_FORM = ("area_px", "area_share", "perimeter_px")

QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        "size": Quantity("size (share of the specimen's area)", ("area_share",), _same("area_share")),
        "width": Quantity("width relative to the specimen's size", _FORM, _width),
        "length": Quantity("length (half the outline) relative to the specimen's size", _FORM, _length),
        "elongation": Quantity(
            "elongation (long axis / short axis of the whole trait)", ("elongation",), _same("elongation")
        ),
        "roundness": Quantity("roundness (4π area / outline²)", ("area_px", "perimeter_px"), _roundness),
        "solidity": Quantity("solidity (share of the convex hull that is filled)", ("solidity",), _same("solidity")),
        "pieces": Quantity("number of pieces", ("pieces",), _same("pieces")),
        "lightness": Quantity("mean lightness (CIE L*)", ("lightness_mean",), _same("lightness_mean")),
        "chroma": Quantity("chroma of the mean colour (CIE C*)", ("a_mean", "b_mean"), _chroma),
        "contrast": Quantity("spread of the colours in CIE Lab", ("lightness_sd", "a_sd", "b_sd"), _contrast),
        "confidence": Quantity("confidence of the mask", ("confidence",), _same("confidence")),
    }
)
"""name -> quantity."""

COLOUR_NEEDS = ("lightness_mean", "a_mean", "b_mean")
"""The measurements that a colour word is compared with: the mean colour of the trait."""
