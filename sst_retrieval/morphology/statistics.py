"""Statistics of distances: disparity of groups, and the tests that go with it; Mantel's test of two matrices.

The tests are scikit-bio's; their random numbers start from a seed, so that a figure in a paper can be made again.
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
from sst_retrieval.morphology.distances import DistanceMatrix, Rows, of_specimens
from sst_retrieval.morphology.libraries import required

MOST_TESTED = 2_000
"""Specimens up to which permutation tests over the specimen matrix are made."""

RESAMPLES = 999


@dataclass(frozen=True, slots=True)
class Test:
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
            to the group's mean, n - 1 in the denominator), low and high (95 % of bootstrap samples), mean_distance (to
            the group's mean). Groups of one specimen have none.
        permdisp: are the spreads different? (Anderson 2006); None if it was not tested.
        permanova: are the places different? (Anderson 2001); None if it was not tested.
        about: what was compared, and why nothing was tested, if nothing was.
    """

    table: Any
    permdisp: Test | None
    permanova: Test | None
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


def disparity(
    codes: npt.NDArray[np.int64], labels: Sequence[str], rows: Rows, about: str, *, permutations: int, seed: int
) -> Disparity:
    """Measure how varied groups are, and test whether they differ.

    Args:
        codes: int64 (n,), the group of each row, 0..len(labels) - 1.
        labels: names of the groups; none is empty.
        rows: gives vectors.
        about: what is compared.
        permutations: of the tests.
        seed: of the tests and the bootstrap.
    """
    rng = np.random.default_rng(seed)
    records = []
    for number, name in enumerate(labels):
        records.append({"group": name, **_spread(np.flatnonzero(codes == number), rows, rng)})
    table = pd.DataFrame(records).set_index("group")
    counts = np.bincount(codes, minlength=len(labels))
    large = np.flatnonzero(counts > 1)
    tested = np.flatnonzero(np.isin(codes, large))
    if len(large) < 2 or not 4 <= len(tested) <= MOST_TESTED:
        why = f"not tested: that takes two groups of two or more, and {MOST_TESTED:,} specimens at most"
        return Disparity(table, None, None, f"{about}; {why}")
    matrix = of_specimens([str(row) for row in tested], lambda places: rows(tested[places]), about).skbio()
    groups = [labels[code] for code in codes[tested]]
    found = {name: _test(name, matrix, groups, permutations, seed) for name in ("permdisp", "permanova")}
    return Disparity(table, found["permdisp"], found["permanova"], about)


def mantel(one: DistanceMatrix, other: DistanceMatrix, *, method: str, permutations: int, seed: int) -> Mantel:
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


def _spread(members: npt.NDArray[np.int64], rows: Rows, rng: np.random.Generator) -> dict[str, float]:
    count = len(members)
    if count < 2:
        return {"specimens": count, **dict.fromkeys(("disparity", "low", "high", "mean_distance"), np.nan)}
    vectors = rows(members).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    squares = np.einsum("ij,ij->i", vectors, vectors)
    resampled = []
    for start in range(0, RESAMPLES, 64):
        # How often each specimen is drawn; the sum of variances of a sample needs no more.
        times = rng.multinomial(count, np.full(count, 1 / count), size=min(64, RESAMPLES - start)).astype(np.float64)
        means = times @ vectors / count
        resampled.append((times @ squares - count * np.einsum("ij,ij->i", means, means)) / (count - 1))
    low, high = np.percentile(np.concatenate(resampled), [2.5, 97.5])
    spread = {"disparity": squares.sum() / (count - 1), "low": low, "high": high}
    return {"specimens": count, **spread, "mean_distance": np.sqrt(squares).mean()}


def _test(name: str, matrix: Any, groups: Sequence[str], permutations: int, seed: int) -> Test:
    # Around means, not medians: distances are Euclidean, so the mean is exact.
    options = {"test": "centroid", "dimensions": len(groups), "warn_neg_eigval": False} if name == "permdisp" else {}
    found = getattr(required("skbio.stats.distance"), name)(
        matrix, list(groups), permutations=permutations, seed=seed, **options
    )
    return Test(
        name=name.upper(),
        statistic=float(found["test statistic"]),
        p_value=float(found["p-value"]),
        permutations=permutations,
        groups=int(found["number of groups"]),
        specimens=int(found["sample size"]),
    )
