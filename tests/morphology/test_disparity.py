"""The interval of disparity: it holds its estimate, and the true value about as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from sst_retrieval.morphology.statistics import compute_disparity
from sst_retrieval.types import Doubles, Floats


def intervals(sets: Floats) -> Doubles:
    """Disparity, low and high of many groups, float32 (groups, n, D) -> float64 (groups, 3)."""
    groups, count, dimensions = sets.shape
    vectors = sets.reshape(-1, dimensions)
    labels = [f"{number:03d}" for number in range(groups)]
    found = compute_disparity(
        np.repeat(np.arange(groups), count), labels, lambda rows: vectors[rows], "x", permutations=1, seed=0
    )
    assert found.permanova is None  # More than 2,000 specimens; tests would take long.
    return found.table[["disparity", "low", "high"]].to_numpy(np.float64)


@pytest.mark.parametrize("dimensions", [2, 200])
@pytest.mark.parametrize("count", [10, 30])
def test_the_interval_covers_the_true_disparity_as_often_as_it_says(count: int, dimensions: int) -> None:
    rng = np.random.default_rng(count + dimensions)
    # Not all directions vary alike, as in real vectors: half of the variance in a few.
    scale = np.sqrt(1 / np.arange(1, dimensions + 1))
    sets = (rng.normal(size=(300, count, dimensions)) * scale).astype(np.float32)
    found, low, high = intervals(sets).T
    true = float((scale**2).sum())
    assert (low < found).all()
    assert (found < high).all()
    assert 0.88 <= np.mean((low <= true) & (true <= high)) <= 0.99
    # A test that a very wide interval would not pass.
    assert np.median(high / low) < {10: 5.5, 30: 2.6}[count]


def test_the_interval_holds_its_estimate_in_many_dimensions() -> None:
    """Ten of 600 dimensions: drawn with replacement they lose a tenth of their variance, more than the interval."""
    sets = np.random.default_rng(0).normal(size=(210, 10, 600)).astype(np.float32) / np.float32(np.sqrt(600))
    found, low, high = intervals(sets).T
    assert ((low < found) & (found < high)).all()
    assert np.median(low) > 0.8
    assert np.median(high) < 1.2


def test_the_jackknife_leaves_each_specimen_out_once() -> None:
    """Worked out again, sample by sample."""
    from scipy import stats

    sets = np.random.default_rng(1).normal(size=(401, 5, 3)).astype(np.float32)
    found, low, high = intervals(sets)[0]
    without = np.array([np.delete(sets[0], k, axis=0).var(axis=0, ddof=1).sum(dtype=np.float64) for k in range(5)])
    error = np.sqrt(4 / 5 * ((without - without.mean()) ** 2).sum())
    factor = np.exp(stats.t.ppf(0.975, 4) * error / found)
    assert (low, high) == pytest.approx((found / factor, found * factor), rel=1e-5)


def test_two_specimens_have_a_disparity_and_no_interval_and_equal_ones_vary_by_nothing() -> None:
    values = np.array([[0, 0], [1, 0], [2, 2], [2, 2], [2, 2], [5, 5]], np.float32)
    codes = np.array([0, 0, 1, 1, 1, 2])
    table = compute_disparity(
        codes, ["two", "same", "one"], lambda rows: values[rows], "x", permutations=9, seed=0
    ).table
    assert table.loc["two", "disparity"] == 0.5
    assert table.loc["two", ["low", "high"]].isna().all()
    assert table.loc["same", ["disparity", "low", "high"]].tolist() == [0, 0, 0]
    assert table.loc["one"].isna().tolist() == [False, True, True, True, True]


def test_the_mean_distance_does_not_grow_with_the_sample() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(2000, 3, 50)), rng.normal(size=(2, 3000, 50))
    means = []
    for sets in (small, large):
        groups, count, _ = sets.shape
        vectors, codes = sets.reshape(-1, 50), np.repeat(np.arange(groups), count)
        labels = [str(number) for number in range(groups)]
        found = compute_disparity(codes, labels, lambda rows, v=vectors: v[rows], "x", permutations=1, seed=0)
        means.append(found.table["mean_distance"].mean())
    assert means[0] == pytest.approx(means[1], rel=0.01)
