"""Convergence: pairs of groups that are close in a trait and far apart otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sst_retrieval.errors import QueryError
from sst_retrieval.morphology import trees
from sst_retrieval.morphology.distances import DistanceMatrix
from sst_retrieval.types import Doubles


@dataclass(frozen=True, slots=True)
class Convergence:
    """Pairs of groups, the most convergent first.

    Attributes:
        table: a pandas data frame, one row a pair. With a tree: one, other, trait_distance, tree_distance,
            closer_than (share of the pairs that are farther apart in the trait), farther_than (share of the pairs
            that are nearer in the tree), score (the product of the two, 0..1). Without: one, other, trait_distance,
            closer_than, and the values of the column in which they differ.
        about: what was compared, and how.
        not_in_tree: names without a tip.
        not_in_collection: tips without a specimen.
    """

    table: Any
    about: str
    not_in_tree: tuple[str, ...] = ()
    not_in_collection: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.table)


def convergence_by_tree(distances: DistanceMatrix, tree: Any) -> Convergence:
    """Rank all pairs: close in the trait, far in the tree.

    Both distances become ranks among all pairs, so neither's unit nor form matters. It is a list of candidates: it says
    nothing about what their ancestors looked like, and nothing about chance.

    Args:
        distances: of groups.
        tree: from `trees.read_tree`.

    Raises:
        InputError: fewer than two groups are in the tree. Single ones that are not are listed, with a warning.
    """
    matched = trees.match_tips_and_warn(distances.labels, tree)
    distances = distances.only(list(matched.tips))
    ways, unit = trees.branch_distances(tree, list(matched.tips.values()))
    table = _pairs(distances)
    table["tree_distance"] = ways[np.triu_indices(len(distances), 1)]
    table["closer_than"] = _share_above(table["trait_distance"].to_numpy())
    table["farther_than"] = _share_above(-table["tree_distance"].to_numpy())
    table["score"] = table["closer_than"] * table["farther_than"]
    table = table.sort_values(["score", "trait_distance"], ascending=[False, True], ignore_index=True)
    about = f"{distances.about}; tree: {unit}"
    return Convergence(table, about, matched.not_in_tree, matched.not_in_collection)


def convergence_by_column(distances: DistanceMatrix, values: Mapping[str, str], column: str) -> Convergence:
    """Rank the pairs that differ in a column (species, genus, ...), the closest in the trait first.

    A group without a value is left out, and counted in `about`: nobody knows whether it differs.

    Args:
        distances: of groups.
        values: group -> its value in the column.
        column: its name.

    Raises:
        QueryError: all groups have the same value.
    """
    table = _pairs(distances)
    table["closer_than"] = _share_above(table["trait_distance"].to_numpy())
    for end in ("one", "other"):
        table[f"{column} of {end}"] = table[end].map(values)
    one, other = table[f"{column} of one"], table[f"{column} of other"]
    differ = table[one.notna() & other.notna() & (one != other)]
    missing = len(set(distances.labels) - values.keys())
    note = f" ({missing} groups without a value left out)" if missing else ""
    if differ.empty:
        raise QueryError(f"no two groups differ in {column!r}; choose another column (apart=), or give a tree (tree=)")
    table = differ.sort_values("trait_distance", ignore_index=True, kind="stable")
    return Convergence(table, f"{distances.about}; pairs of different {column}{note}")


def _pairs(distances: DistanceMatrix) -> Any:
    rows, columns = np.triu_indices(len(distances), 1)
    labels = np.array(distances.labels, dtype=object)
    ends = {"one": labels[rows], "other": labels[columns]}
    return pd.DataFrame({**ends, "trait_distance": distances.values[rows, columns]})


def _share_above(values: Doubles) -> Doubles:
    """Of each value, the share of the others that are larger; equals count half. 0..1."""
    if len(values) < 2:
        return np.ones(len(values))
    from scipy.stats import rankdata  # Here: it takes a second to load, which every command would wait for.

    return np.asarray((len(values) - rankdata(values)) / (len(values) - 1), dtype=np.float64)
