"""Statistics of distances: disparity of groups, and the tests that go with it; Mantel's test of two matrices.

The tests are scikit-bio's; their random numbers start from a seed, so that a figure in a paper can be made again.

The interval of a disparity is a jackknife's: each specimen is left out once, the standard error that follows is taken
on the logarithmic scale, and Student's t (n - 1 degrees of freedom) makes 95 % of it (Miller 1968, "Jackknifing
variances"). A bootstrap would not do: a sample drawn with replacement varies less by 1/n, and in hundreds of dimensions
that is more than the whole width of the interval, which then does not even hold its own estimate.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sst_retrieval.errors import QueryError
from sst_retrieval.morphology.distances import DistanceMatrix, Rows, compare_specimens
from sst_retrieval.morphology.libraries import required
from sst_retrieval.types import Doubles

MOST_TESTED = 2_000
"""Specimens up to which permutation tests over the specimen matrix are made."""

CONFIDENCE = 0.95
"""Of the interval of a disparity."""


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """A permutation test.

    Attributes:
        name: whose test it is.
        statistic: its value.
        p_value: share of the permutations that are at least as extreme, the data themselves counted as one.
        permutations: how many.
        groups: how many groups were compared.
        specimens: how many specimens.
    """

    name: str
    statistic: float
    p_value: float
    permutations: int
    groups: int
    specimens: int

    __test__ = False  # pytest: a noun, not a test.


@dataclass(frozen=True, slots=True)
class Disparity:
    """How varied the specimens of each group are.

    Attributes:
        table: a pandas data frame, one row a group: specimens, disparity (sum of the variances: mean squared distance
            to the group's mean, n - 1 in the denominator), low and high (95 % confidence interval by the jackknife,
            see above; none of two specimens), mean_distance (to the group's mean, times the root of n / (n - 1), or
            small groups would seem less varied; O'Neill and Mathews 2000). Groups of one specimen have none of these.
        permdisp: are the spreads different? (Anderson 2006); None if it was not tested.
        permanova: are the places different? (Anderson 2001); None if it was not tested.
        about: what was compared, and why nothing was tested, if nothing was.
    """

    table: Any
    permdisp: PermutationTest | None
    permanova: PermutationTest | None
    about: str


@dataclass(frozen=True, slots=True)
class Mantel:
    """Mantel's test: do two matrices of the same things go together?

    Attributes:
        correlation: -1..1.
        p_value: two-sided, by permutation.
        permutations: how many.
        labels: what was compared in both.
        left_out: what only one of the matrices has.
        method: "pearson" or "spearman".
        about: the two matrices.
    """

    correlation: float
    p_value: float
    permutations: int
    labels: tuple[str, ...]
    left_out: tuple[str, ...]
    method: str
    about: str


def compute_disparity(
    codes: npt.NDArray[np.int64], labels: Sequence[str], rows: Rows, about: str, *, permutations: int, seed: int
) -> Disparity:
    """Measure how varied groups are, and test whether they differ.

    Args:
        codes: int64 (n,), the group of each row, 0..len(labels) - 1.
        labels: names of the groups; none is empty.
        rows: gives vectors.
        about: what is compared.
        permutations: of the tests.
        seed: of the tests.
    """
    records = []
    for number, name in enumerate(labels):
        records.append({"group": name, **_spread(np.flatnonzero(codes == number), rows)})
    table = pd.DataFrame(records).set_index("group")
    counts = np.bincount(codes, minlength=len(labels))
    large = np.flatnonzero(counts > 1)
    tested = np.flatnonzero(np.isin(codes, large))
    if len(large) < 2 or not 4 <= len(tested) <= MOST_TESTED:
        why = f"not tested: that takes two groups of two or more, and {MOST_TESTED:,} specimens at most"
        return Disparity(table, None, None, f"{about}; {why}")
    matrix = compare_specimens([str(row) for row in tested], lambda places: rows(tested[places]), about).skbio()
    groups = [labels[code] for code in codes[tested]]
    found = {name: _test(name, matrix, groups, permutations, seed) for name in ("permdisp", "permanova")}
    return Disparity(table, found["permdisp"], found["permanova"], about)


def mantel_test(one: DistanceMatrix, other: DistanceMatrix, *, method: str, permutations: int, seed: int) -> Mantel:
    """Correlate two matrices over the labels they share.

    Raises:
        QueryError: they share fewer than three, or the method is unknown.
        SSTError: scikit-bio is not installed.
    """
    if method not in ("pearson", "spearman"):
        raise QueryError(f"there is no method {method!r}; choose pearson or spearman")
    shared = [label for label in one.labels if label in set(other.labels)]
    if len(shared) < 3:
        raise QueryError(f"the two matrices share {len(shared)} labels; Mantel's test needs 3 or more")
    left_out = tuple(sorted(set(one.labels) ^ set(other.labels)))
    if left_out:
        message = f"left out, because only one of the two has them: {', '.join(left_out)}"
        warnings.warn(message, UserWarning, stacklevel=3)
    first, second = one.only(shared), other.only(shared)
    for matrix in (first, second):
        if np.ptp(matrix.values[np.triu_indices(len(shared), 1)]) == 0:
            raise QueryError(f"all distances are the same, so nothing can go with them: {matrix.about}")
    distance = required("skbio.stats.distance")
    correlation, p_value, _ = distance.mantel(
        first.skbio(), second.skbio(), method=method, permutations=permutations, seed=seed
    )
    about = f"{one.about} / {other.about}"
    return Mantel(float(correlation), float(p_value), permutations, tuple(shared), left_out, method, about)


def _spread(members: npt.NDArray[np.int64], rows: Rows) -> dict[str, float]:
    count = len(members)
    if count < 2:
        return {"specimens": count, **dict.fromkeys(("disparity", "low", "high", "mean_distance"), np.nan)}
    vectors = rows(members).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    squares = np.einsum("ij,ij->i", vectors, vectors)
    found = float(squares.sum() / (count - 1))
    low, high = _interval(squares, found)
    mean_distance = float(np.sqrt(squares * count / (count - 1)).mean())
    return {"specimens": count, "disparity": found, "low": low, "high": high, "mean_distance": mean_distance}


def _interval(squares: Doubles, found: float) -> tuple[float, float]:
    """Say between which values the disparity of a group lies; NaN where it has two specimens.

    Args:
        squares: float64 (n,), squared distances to the group's mean.
        found: its disparity.
    """
    from scipy import stats  # Here: it takes a second to load, which every command would wait for.

    count = len(squares)
    if count < 3:
        return np.nan, np.nan
    if found == 0:
        return 0.0, 0.0
    # Without specimen i the sum of squares is less by n / (n - 1) of its own: the mean moves, too.
    without = (squares.sum() - squares * count / (count - 1)) / (count - 2)
    error = float(np.sqrt((count - 1) * without.var()))
    factor = float(np.exp(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * error / found))
    return found / factor, found * factor


def _test(name: str, matrix: Any, groups: Sequence[str], permutations: int, seed: int) -> PermutationTest:
    # Around means, not medians: distances are Euclidean, so the mean is exact.
    options = {"test": "centroid", "dimensions": len(groups), "warn_neg_eigval": False} if name == "permdisp" else {}
    found = getattr(required("skbio.stats.distance"), name)(
        matrix, list(groups), permutations=permutations, seed=seed, **options
    )
    return PermutationTest(
        name=name.upper(),
        statistic=float(found["test statistic"]),
        p_value=float(found["p-value"]),
        permutations=permutations,
        groups=int(found["number of groups"]),
        specimens=int(found["sample size"]),
    )
