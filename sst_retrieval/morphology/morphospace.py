"""A morphospace: principal components of a trait, and the picture of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sst_retrieval.errors import QueryError
from sst_retrieval.morphology.distances import Rows, chunks
from sst_retrieval.types import Doubles

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's (2008), which colour-blind readers can tell apart; with `MARKERS` 35 groups look different."""

MARKERS = ("o", "^", "s", "D", "v")


@dataclass(frozen=True, slots=True)
class Morphospace:
    """Principal components of one trait.

    Attributes:
        trait: name of the trait.
        specimens: N ids.
        scores: float64 (N, K): where each specimen lies on each component.
        loadings: float64 (K, D): the components, of unit length, the value of greatest size positive.
        explained: float64 (K,): share of the variance each component explains.
        mean: float64 (D,).
        variables: names of the D values; blocks are numbered: "pattern 0", ...
        metadata: a pandas data frame, one row a specimen, for colours.
        about: what was analysed, in a sentence.
    """

    trait: str
    specimens: tuple[str, ...]
    scores: Doubles
    loadings: Doubles
    explained: Doubles
    mean: Doubles
    variables: tuple[str, ...]
    metadata: Any = field(repr=False)
    about: str

    def pandas(self) -> Any:
        """Return a pandas data frame: one row a specimen, PC1, PC2, ..., then what is known of it."""
        names = [f"PC{number}" for number in range(1, len(self.explained) + 1)]
        scores = pd.DataFrame(self.scores, columns=names)
        return pd.concat([scores, self.metadata.reset_index(drop=True)], axis=1)

    def shares(self) -> Any:
        """Say what each component is made of: for each block of the vectors its share of the squared loadings."""
        kinds = [name.rpartition(" ")[0] or name.rstrip("0123456789") for name in self.variables]
        squares = pd.DataFrame(self.loadings.T**2).groupby(kinds, sort=False).sum()
        squares.columns = [f"PC{number}" for number in range(1, len(self.explained) + 1)]
        return squares.T

    def plot(self, *, colour: str | None = None, x: int = 1, y: int = 2) -> Any:
        """Draw the specimens in the plane of two components.

        Args:
            colour: a column of the collection, or a measurement; numbers become a scale of colours.
            x: the component drawn from left to right, from 1.
            y: the component drawn from bottom to top.

        Returns:
            A matplotlib figure; `figure.savefig("space.png", dpi=150)` writes it.

        Raises:
            QueryError: there is no such column or component.
        """
        for number in (x, y):
            if not 1 <= number <= len(self.explained):
                raise QueryError(f"there is no component {number}; there are {len(self.explained)}")
        if colour is not None and colour not in self.metadata.columns:
            raise QueryError(
                f"there is no column {colour!r} to colour by; there are: {', '.join(self.metadata.columns)}"
            )
        from matplotlib.figure import Figure  # Late: half a second that only pictures need.

        figure = Figure(figsize=(8, 5.5), layout="constrained")
        axes = figure.add_subplot()
        across, up = self.scores[:, x - 1], self.scores[:, y - 1]
        if colour is None:
            axes.scatter(across, up, s=28, color=COLOURS[0], alpha=0.8, linewidths=0)
        elif pd.api.types.is_numeric_dtype(self.metadata[colour]):
            dots = axes.scatter(across, up, s=28, c=self.metadata[colour].to_numpy(float), cmap="viridis", linewidths=0)
            figure.colorbar(dots, label=colour)
        else:
            names = self.metadata[colour].astype("string").replace("", pd.NA).fillna("not known")
            _draw_groups(axes, across, up, names, colour)
        axes.set_xlabel(f"PC{x} ({self.explained[x - 1]:.1%} of the variance)")
        axes.set_ylabel(f"PC{y} ({self.explained[y - 1]:.1%})")
        axes.set_title(self.about, fontsize=9, loc="left", wrap=True)
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid(visible=True, color="#E4E4E4", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        return figure


def principal_components(count: int, rows: Rows, components: int) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Find principal components in two passes, without holding all vectors in double precision.

    Args:
        count: number of vectors, N.
        rows: gives them, D values each.
        components: how many at most, K; there are no more than N - 1 and D.

    Returns:
        scores float64 (N, K), loadings (K, D), explained share of the variance (K,), mean (D,).

    Raises:
        QueryError: fewer than three vectors, or all are the same.
    """
    if count < 3:
        specimens = f"{count} specimen{'s' * (count != 1)}"
        raise QueryError(f"{specimens} can be compared, and a space is spanned by 3 or more")
    # Sums around the first vector, which is near to all: sums around the origin would lose digits.
    origin = rows(np.arange(1))[0].astype(np.float64)
    total, products = np.zeros(len(origin)), np.zeros((len(origin), len(origin)))
    for _, vectors in chunks(rows, count):
        shifted = vectors - origin
        total += shifted.sum(axis=0)
        products += shifted.T @ shifted
    shift = total / count
    covariance = (products - count * np.outer(shift, shift)) / (count - 1)
    variances, directions = np.linalg.eigh(covariance)
    kept = min(components, count - 1, len(origin))
    values, loadings = np.maximum(variances[::-1][:kept], 0), directions[:, ::-1][:, :kept].T
    if np.trace(covariance) <= 1e-12:
        raise QueryError("all specimens are the same in this; there is nothing to take apart")
    # A component has no sign of its own; fixed, so that the same data give the same picture.
    loadings = loadings * np.sign(loadings[np.arange(kept), np.abs(loadings).argmax(axis=1)])[:, None]
    mean = origin + shift
    scores = np.concatenate([(vectors - mean) @ loadings.T for _, vectors in chunks(rows, count)])
    return scores, loadings, values / np.trace(covariance), mean


def variable_names(blocks: Mapping[str, int]) -> tuple[str, ...]:
    """Name the values of a vector: "pattern 0", "pattern 1", ..."""
    return tuple(f"{block} {number}" for block, size in blocks.items() for number in range(size))


def _draw_groups(
    axes: Any, across: npt.NDArray[np.float64], up: npt.NDArray[np.float64], column: Sequence[str], title: str
) -> None:
    names = np.asarray(column, dtype=str)
    groups = sorted(set(names.tolist()))
    for number, group in enumerate(groups):
        inside = names == group
        style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        label = f"{group} ({np.count_nonzero(inside)})"
        axes.scatter(across[inside], up[inside], s=46, alpha=0.8, linewidths=0, label=label, **style)
    axes.legend(
        title=title, fontsize=8, title_fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1),
        ncols=1 + len(groups) // 26,
    )  # fmt: skip
