"""Distances of groups do not grow as samples shrink: unbiased squares, worked out another way and on average."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import cdist, pdist

from sst_retrieval.morphology import distances
from sst_retrieval.morphology.distances import DistanceMatrix
from sst_retrieval.types import Doubles, Floats

SIZES = (3, 3, 30, 300, 300)
"""Few and many specimens of one and the same distribution."""

DIMENSIONS = 40

Compare = Callable[..., DistanceMatrix]

BOTH = pytest.mark.parametrize("compare", [distances.compare_means, distances.compare_distributions])


def points(
    sizes: Sequence[int], seed: int, *, spread: Sequence[float] | None = None
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Draw normal points around the origin, float32 (n, D), and the group of each."""
    codes = np.repeat(np.arange(len(sizes)), sizes)
    drawn = np.random.default_rng(seed).normal(size=(len(codes), DIMENSIONS)) / np.sqrt(DIMENSIONS)
    return (drawn * np.array(spread or [1.0] * len(sizes))[codes, None]).astype(np.float32), codes


def compared(compare: Compare, values: Floats, codes: npt.NDArray[np.int64], **options: int) -> DistanceMatrix:
    labels = [f"g{number}" for number in range(codes.max() + 1)]
    return compare(codes, labels, lambda rows: values[rows], "about", **options)


def squared_means(parts: Sequence[Doubles]) -> Doubles:
    """Unbiased squares of the distances of means: dot products of different specimens only, pair by pair."""

    def inside(part: Doubles) -> float:
        return float(np.mean([one @ other for one, other in combinations(part, 2)]))

    across = [[(one @ other.T).mean() for other in parts] for one in parts]
    return np.array(
        [[inside(parts[i]) + inside(parts[j]) - 2 * across[i][j] if i != j else 0 for j in range(len(parts))]
         for i in range(len(parts))]
    )  # fmt: skip


def squared_energies(parts: Sequence[Doubles]) -> Doubles:
    """Unbiased squares of energy distances: `pdist` knows no pair of a specimen with itself."""
    return np.array(
        [[2 * cdist(one, other).mean() - pdist(one).mean() - pdist(other).mean() if one is not other else 0
          for other in parts] for one in parts]
    )  # fmt: skip


@BOTH
def test_samples_of_one_distribution_are_not_apart_however_small(compare: Compare) -> None:
    """An unbiased square is negative, and the distance 0, about as often as not; a biased one never is."""
    matrices = [compared(compare, *points(SIZES, seed)).values for seed in range(40)]
    nought = np.mean([values == 0 for values in matrices], axis=0)
    for i, j in combinations(range(len(SIZES)), 2):
        assert 0.25 <= nought[i, j] <= 0.85, (SIZES[i], SIZES[j])


@pytest.mark.parametrize("which", ["mean", "energy"])
def test_squares_before_clipping_are_nought_on_average(which: str) -> None:
    found = []
    for seed in range(150):
        values, codes = points(SIZES, seed, spread=[1.0] * 5)
        if which == "mean":
            found.append(distances.estimate_squared_mean_distances(codes, 5, lambda rows, v=values: v[rows]))
        else:
            vectors = [values[codes == group] for group in range(5)]
            found.append(distances.estimate_squared_energy_distances(vectors))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    above = np.triu_indices(5, 1)
    assert (np.abs(mean[above]) < 3.5 * error[above]).all()
    # The bias that was there: two variances over three, or two pairs of a specimen with itself of three.
    assert np.abs(mean[0, 1]) < 0.05 < 2 / 3


@pytest.mark.parametrize(
    ("compare", "expected"),
    [(distances.compare_means, squared_means), (distances.compare_distributions, squared_energies)],
)
@pytest.mark.parametrize("at_once", [4, 2048])
def test_distances_agree_with_all_pairs_one_by_one(
    compare: Compare, expected: Callable[[Sequence[Doubles]], Doubles], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "AT_ONCE", at_once)
    values, codes = points((3, 2, 7, 20), 5, spread=(1, 2, 1, 0.5))
    values += np.array([0, 0.2, 0, 0.05], np.float32)[codes, None] + np.float32(1)
    order = np.random.default_rng(0).permutation(len(codes))
    found = compared(compare, values[order], codes[order])
    squares = expected([values[codes == group].astype(np.float64) for group in range(4)])
    assert (squares[np.triu_indices(4, 1)] < 0).any()
    assert found.values == pytest.approx(np.sqrt(np.maximum(squares, 0)), abs=1e-6)
    assert np.array_equal(found.values, found.values.T)
    assert found.counts == (3, 2, 7, 20)


@BOTH
def test_different_distributions_still_rank_right(compare: Compare) -> None:
    """The two that are alike have three specimens each; the one that differs a little is compared with 300."""
    right = 0
    for seed in range(40):
        values, codes = points((3, 3, 300, 300, 300), seed)
        values[codes == 3, 0] += 0.5
        values[codes == 4, 0] += 1.5
        found = compared(compare, values, codes)
        assert found.between("g2", "g3") < found.between("g3", "g4") < found.between("g2", "g4")
        right += found.between("g0", "g1") < found.between("g2", "g3")
    assert right >= 25


def test_energy_sees_another_spread_and_means_do_not() -> None:
    found = [points((200, 200), seed, spread=(1, 2)) for seed in range(5)]
    assert min(compared(distances.compare_distributions, *each).values[0, 1] for each in found) > 0.4
    assert np.median([compared(distances.compare_means, *each).values[0, 1] for each in found]) < 0.1


@pytest.mark.parametrize("which", ["mean", "energy"])
def test_a_group_of_one_is_taken_to_vary_like_the_others(which: str) -> None:
    """So it is no farther from the rest than a large sample would be, and never "not a number"."""
    compare = distances.compare_means if which == "mean" else distances.compare_distributions
    found = []
    for seed in range(150):
        values, codes = points((1, 1, 50, 9), seed)
        if which == "mean":
            found.append(distances.estimate_squared_mean_distances(codes, 4, lambda rows, v=values: v[rows]))
        else:
            found.append(distances.estimate_squared_energy_distances([values[codes == group] for group in range(4)]))
        if seed == 0:
            matrix = compared(compare, values, codes)
            assert np.isfinite(matrix.values).all()
            assert "2 groups of one specimen taken to vary like the 2 others" in matrix.about
            assert len(matrix.skbio().ids) == 4
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    above = np.triu_indices(4, 1)
    assert (np.abs(mean[above]) < 3.5 * error[above]).all()


@BOTH
def test_where_no_group_has_two_distances_are_those_of_specimens(compare: Compare) -> None:
    values, codes = points((1, 1, 1), 0)
    found = compared(compare, values, codes)
    apart = cdist(values, values)
    assert found.values == pytest.approx(apart if compare is distances.compare_means else np.sqrt(2 * apart), abs=1e-6)
    assert "no group has two specimens" in found.about


@BOTH
def test_the_same_specimens_many_times_are_not_apart(compare: Compare) -> None:
    values = np.full((6, DIMENSIONS), 0.3, np.float32)
    found = compared(compare, values, np.array([0, 0, 1, 1, 1, 2]))
    assert found.values == pytest.approx(np.zeros((3, 3)), abs=1e-3)


def test_a_part_drawn_of_large_groups_brings_no_bias_back() -> None:
    nought = [
        compared(distances.compare_distributions, *points((3000, 3000), seed), most=20).values[0, 1] == 0
        for seed in range(20)
    ]
    assert 0.2 <= np.mean(nought) <= 0.85
