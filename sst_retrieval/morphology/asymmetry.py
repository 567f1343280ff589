"""Fluctuating asymmetry: small random differences between the left and the right of a pair.

Indices after Palmer and Strobeck (1986, 2003). R and L are the right and the left value of one specimen. Part of every
difference is error of measurement: masks of one photograph measured once cannot tell how much. Photograph, or label,
some specimens twice before taking an index for a fact. Several photographs of a specimen count once, with their means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sst_retrieval.errors import QueryError
from sst_retrieval.morphology.selection import counting_units


@dataclass(frozen=True, slots=True)
class Asymmetry:
    """How different left and right are.

    Attributes:
        trait: name of the trait.
        measurement: which of the measurements was compared.
        specimens: a pandas data frame, one row a photograph with both sides: left, right, difference (R - L), relative
            ((R - L) / mean of both).
        table: a pandas data frame, one row a group: specimens; mean_size; directional (mean R - L) and its t-test's
            p-value (is one side larger as a rule?); FA1 (mean |R - L|); FA2 (mean |R - L| / mean size of each);
            FA4a (0.798 x standard deviation of R - L: without the directional part); FA8a (mean |ln R - ln L|).
        unpaired: specimens left out because a side is missing, or both are one piece, or there is no middle line.
        about: what was compared, and how many specimens without a value were left out.
    """

    trait: str
    measurement: str
    specimens: Any
    table: Any
    unpaired: tuple[str, ...]
    about: str


def compute_asymmetry(sides: Any, trait: str, measurement: str, about: str) -> Asymmetry:
    """Compare left and right.

    Args:
        sides: a pandas data frame: specimen (photograph, individual), group, side and measurements (`Index.sides`).
        trait: its trait.
        measurement: a column of it, of sizes above 0.
        about: what is compared.

    Raises:
        QueryError: no such measurement, or no specimen has both sides.
    """
    if measurement not in sides.columns or not pd.api.types.is_numeric_dtype(sides[measurement]):
        numbers = sides.select_dtypes("number").columns
        raise QueryError(f"there is no measurement {measurement!r} to compare; there are: {', '.join(numbers)}")
    paired = sides[sides["side"].isin(["left", "right"])]
    names = [name for name in ("specimen", "photograph", "individual") if name in sides.columns]
    wide = paired.pivot(index=[*names, "group"], columns="side", values=measurement)
    wide = wide.reindex(columns=["left", "right"]).dropna().reset_index()
    unpaired = tuple(sorted(set(sides[names[-1]]) - set(wide[names[-1]])))
    if wide.empty:
        raise QueryError(f"no specimen shows {trait} on its left and on its right; see Index.sides")
    wide.columns.name = None
    pairs = wide
    if "photograph" in names:
        units = wide.assign(unit=counting_units(wide))
        pairs = units.groupby(["group", "unit"], as_index=False)[["left", "right"]].mean()
        about += "; several photographs of a specimen count once, with their mean" * (len(pairs) < len(wide))
    wide, pairs = _with_differences(wide), _with_differences(pairs)
    table = pd.DataFrame({group: _indices(part) for group, part in pairs.groupby("group", sort=True)}).T
    table.index.name = "group"
    return Asymmetry(trait, measurement, wide, table.astype({"specimens": int}), unpaired, about)


def _with_differences(pairs: Any) -> Any:
    """Add the difference of right and left, and its share of their mean."""
    difference = pairs["right"] - pairs["left"]
    return pairs.assign(difference=difference, relative=difference / ((pairs["right"] + pairs["left"]) / 2))


def _indices(pairs: Any) -> dict[str, float]:
    from scipy import stats  # Here: it takes a second to load, which every command would wait for.

    difference, relative = pairs["difference"].to_numpy(float), pairs["relative"].to_numpy(float)
    many = len(pairs) > 1 and np.ptp(difference) > 0
    return {
        "specimens": len(pairs),
        "mean_size": float((pairs["left"] + pairs["right"]).mean() / 2),
        "directional": float(difference.mean()),
        "p_value": float(stats.ttest_1samp(difference, 0).pvalue) if many else np.nan,
        "FA1": float(np.abs(difference).mean()),
        "FA2": float(np.abs(relative).mean()),
        "FA4a": 0.798 * float(difference.std(ddof=1)) if len(pairs) > 1 else np.nan,
        "FA8a": float(np.abs(np.log(pairs["right"] / pairs["left"])).mean()),
    }
