"""Distances between specimens, or between groups of them, in the trait space of the vectors.

The distance of two regions is Euclid's in the space of their vectors, each block scaled by the root of its weight's
share. Blocks have unit length, so its square is 2 (1 - similarity): 0 for the same, 1.41 for nothing in common.

Groups are compared by their means, or by the energy distance (Szekely and Rizzo 2013), which sees differences of
spread and form, too: the root of 2 E|X - Y| - E|X - X'| - E|Y - Y'|. Neither needs the matrix of all specimens.

Both are corrected for sample size, or small groups would be far from all others by chance alone. Their squares are
unbiased estimates, whatever the number of specimens n:

1. means: |m_i - m_j|^2 - tr(S_i) / n_i - tr(S_j) / n_j, with S the covariance within a group (n - 1 in the
   denominator). Its expectation is that of the cross-validated squared distance (Walther et al. 2016).
2. energy: E|X - X'| is the mean over the n (n - 1) pairs of different specimens (a U-statistic), not over all n^2.
3. A group of one specimen does not show how it varies. It is taken to vary like the others: for tr(S) or E|X - X'| it
   gets the pooled value of the groups of two or more (weighted by n - 1). Where no group has two, nothing is corrected.
4. Unbiased squares of groups that do not differ are negative as often as not; those become 0: "not told apart". So two
   groups may be at distance 0, and the triangle inequality may fail by as much as chance adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from sst_retrieval.errors import QueryError
from sst_retrieval.morphology.libraries import required
from sst_retrieval.types import Doubles, Floats

Rows: TypeAlias = Callable[[npt.NDArray[np.int64]], Floats]
"""Positions int64 (n,) -> their scaled vectors float32 (n, D)."""

BETWEEN = ("mean", "energy")

MOST_SPECIMENS = 20_000
"""Of more specimens no matrix is made: 20,000 of them fill 3.2 GB."""

MOST_SAMPLED = 12_000
"""Specimens compared one by one for energy distances; of more, each group gives an equal part, drawn with a seed."""

AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class DistanceMatrix:
    """Distances of labelled things: square, symmetric, zeros on the diagonal.

    Attributes:
        labels: N specimens or groups, in order.
        values: float64 (N, N).
        counts: how many specimens stand behind each label (individuals, where photographs may show several).
        about: what was compared, and how, in a sentence.
    """

    labels: tuple[str, ...]
    values: Doubles
    counts: tuple[int, ...]
    about: str

    def __len__(self) -> int:
        """Count the labels."""
        return len(self.labels)

    def between(self, one: str, other: str) -> float:
        """Return the distance of two labels.

        Raises:
            QueryError: there is no such label.
        """
        for label in (one, other):
            if label not in self.labels:
                raise QueryError(f"the matrix has no {label!r}; it has: {', '.join(self.labels[:10])} ...")
        return float(self.values[self.labels.index(one), self.labels.index(other)])

    def pandas(self) -> Any:
        """Return a square pandas data frame."""
        return pd.DataFrame(self.values, index=list(self.labels), columns=list(self.labels))

    def skbio(self) -> Any:
        """Return a `skbio.DistanceMatrix`.

        Raises:
            SSTError: scikit-bio is not installed.
        """
        return required("skbio").DistanceMatrix(self.values, list(self.labels))

    def only(self, labels: Sequence[str]) -> DistanceMatrix:
        """Return the distances of some of the labels, in the order given."""
        rows = [self.labels.index(label) for label in labels]
        counts = tuple(self.counts[row] for row in rows)
        return DistanceMatrix(tuple(labels), self.values[np.ix_(rows, rows)], counts, self.about)


def block_scale(blocks: Mapping[str, int], shares: Doubles) -> Floats:
    """Return what each component of a vector is multiplied by: float32 (D,), the root of its block's share.

    Args:
        blocks: block name -> number of values.
        shares: float64 (B,), weights of the blocks, not negative, not all zero.
    """
    roots = np.sqrt(shares / shares.sum())
    return np.repeat(roots, list(blocks.values())).astype(np.float32)


def compare_specimens(labels: Sequence[str], rows: Rows, about: str) -> DistanceMatrix:
    """Compare every specimen with every other.

    Raises:
        QueryError: there are too many.
    """
    count = len(labels)
    if count > MOST_SPECIMENS:
        raise QueryError(
            f"a matrix of {count:,} x {count:,} specimens would need {8 * count**2 / 1e9:.0f} GB; "
            "compare groups (by=), or choose fewer (where=)"
        )
    values = np.zeros((count, count))
    everything = rows(np.arange(count))
    for start in range(0, count, AT_ONCE):
        values[start : start + AT_ONCE] = _pairwise(everything[start : start + AT_ONCE], everything)
    return DistanceMatrix(tuple(labels), _symmetric(values), (1,) * count, about)


def compare_means(codes: npt.NDArray[np.int64], labels: Sequence[str], rows: Rows, about: str) -> DistanceMatrix:
    """Compare the means of groups, in one pass over the vectors; corrected for sample size (see above).

    Args:
        codes: int64 (n,), the group of each row, 0..len(labels) - 1.
        labels: names of the groups; none is empty.
        rows: gives vectors.
        about: what is compared.
    """
    counts = np.bincount(codes, minlength=len(labels))
    values = _root(estimate_squared_mean_distances(codes, len(labels), rows))
    return DistanceMatrix(tuple(labels), values, tuple(counts.tolist()), f"{about}; {_correction(counts)}")


def compare_distributions(
    codes: npt.NDArray[np.int64], labels: Sequence[str], rows: Rows, about: str, *, most: int = MOST_SAMPLED
) -> DistanceMatrix:
    """Compare groups by their energy distance, one pair of groups after the other; corrected for sample size.

    Args:
        codes: int64 (n,), the group of each row, 0..len(labels) - 1.
        labels: names of the groups; none is empty.
        rows: gives vectors.
        about: what is compared.
        most: compare this many specimens at most; of more, larger groups give a random part (seed 0), and `about` says
            so.
    """
    members = [np.flatnonzero(codes == group) for group in range(len(labels))]
    counts = tuple(len(group) for group in members)
    about += f"; {_correction(np.array(counts))}"
    if sum(counts) > most:
        share = _share(counts, most)
        rng = np.random.default_rng(0)
        members = [np.sort(rng.choice(group, min(share, len(group)), replace=False)) for group in members]
        about += f"; of groups of more than {share}, {share} specimens drawn at random (seed 0)"
    values = _root(estimate_squared_energy_distances([rows(group) for group in members]))
    return DistanceMatrix(tuple(labels), values, counts, about)


def estimate_squared_mean_distances(codes: npt.NDArray[np.int64], groups: int, rows: Rows) -> Doubles:
    """Estimate the squared distances of the means of G groups, without bias.

    Args:
        codes: int64 (n,), the group of each row, 0..groups - 1.
        groups: how many there are, G; none is empty.
        rows: gives vectors.

    Returns:
        float64 (G, G), symmetric, zeros on the diagonal; negative where groups are nearer than chance makes them.
    """
    if not groups:
        return np.zeros((0, 0))
    # Sums around the first vector, which is near to all: sums around the origin would lose digits.
    origin = rows(np.arange(1))[0].astype(np.float64)
    sums, squares = np.zeros((groups, len(origin))), np.zeros(groups)
    for places, vectors in chunks(rows, len(codes)):
        # Row g sums up group g. (`np.add.at` takes ten times as long.)
        member = csr_array((np.ones(len(places)), (codes[places], np.arange(len(places)))), (groups, len(places)))
        shifted = vectors - origin
        sums += member @ shifted
        squares += member @ np.einsum("ij,ij->i", shifted, shifted)
    counts = np.bincount(codes, minlength=groups)
    means = sums / counts[:, None]
    around = np.maximum(squares - counts * np.einsum("ij,ij->i", means, means), 0)
    noise = _pooled_where_single(around / np.maximum(counts - 1, 1), counts) / counts
    return _symmetric(_squares(means, means) - noise[:, None] - noise[None])


def estimate_squared_energy_distances(groups: Sequence[Floats]) -> Doubles:
    """Estimate the squared energy distances of G groups, without bias.

    Args:
        groups: the vectors of each, float32 (n, D); none is empty.

    Returns:
        float64 (G, G), symmetric, zeros on the diagonal; negative where groups are nearer than chance makes them.
    """
    mean = np.zeros((len(groups), len(groups)))
    for i, one in enumerate(groups):
        for j in range(i, len(groups)):
            mean[i, j] = mean[j, i] = _mean_distance(one, groups[j])
    counts = np.array([len(group) for group in groups], dtype=np.int64)
    # The n pairs of a specimen with itself are no pairs.
    within = _pooled_where_single(np.diag(mean) * counts / np.maximum(counts - 1, 1), counts)
    return _symmetric(2 * mean - within[:, None] - within[None])


def chunks(rows: Rows, count: int) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
    """Go through all vectors, some thousand at a time."""
    for start in range(0, count, AT_ONCE):
        places = np.arange(start, min(start + AT_ONCE, count))
        yield places, rows(places)


def _share(counts: Sequence[int], most: int) -> int:
    """Return the largest number a group that no more than `most` remain when no group gives more; at least 2."""
    ordered = np.sort(counts)
    left, groups = most, len(ordered)
    for size in ordered.tolist():
        if size * groups > left:
            break
        left, groups = left - size, groups - 1
    return max(2, left // max(groups, 1))


def _mean_distance(one: Floats, other: Floats) -> float:
    total = 0.0
    for start in range(0, len(one), AT_ONCE):
        total += float(_pairwise(one[start : start + AT_ONCE], other).sum())
    return total / (len(one) * len(other))


def _pooled_where_single(within: Doubles, counts: npt.NDArray[np.int64]) -> Doubles:
    """Give groups of one the mean of the others, weighted by n - 1; 0 where there is no other."""
    several = counts > 1
    if not several.any():
        return np.zeros(len(counts))
    return np.where(several, within, np.average(within[several], weights=counts[several] - 1))


def _correction(counts: npt.NDArray[np.int64]) -> str:
    """Say how distances were corrected for sample size."""
    single = np.count_nonzero(counts == 1)
    if single == len(counts):
        return "not corrected for sample size, as no group has two specimens"
    note = f"; {single} groups of one specimen taken to vary like the {len(counts) - single} others" if single else ""
    return f"corrected for sample size (squares are unbiased, negative ones set to 0{note})"


def _pairwise(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Doubles:
    """Euclidean distances, by one matrix product: float64 (n, m)."""
    return np.asarray(np.sqrt(_squares(one, other)), dtype=np.float64)


def _squares(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Doubles:
    """Squared Euclidean distances: float64 (n, m)."""
    # In double precision: the root of a rounding error of single precision is 0.0003, far too much for near neighbours.
    first, second = one.astype(np.float64), other.astype(np.float64)
    lengths = [np.einsum("ij,ij->i", part, part) for part in (first, second)]
    between = lengths[0][:, None] + lengths[1][None] - 2 * (first @ second.T)
    return np.asarray(np.maximum(between, 0), dtype=np.float64)


def _root(squares: Doubles) -> Doubles:
    """Take the roots of squares, of negative ones 0."""
    return np.asarray(np.sqrt(np.maximum(squares, 0)), dtype=np.float64)


def _symmetric(values: Doubles) -> Doubles:
    """Take out rounding: exactly symmetric, exact zeros on the diagonal."""
    values = (values + values.T) / 2
    np.fill_diagonal(values, 0)
    return values
