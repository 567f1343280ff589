"""Questions of comparative morphology: spaces, distances, convergence, disparity, what to annotate next.

Functions of an index's reader; `search.index.Index` offers each as a method, so their docstrings leave the reader out.
Masks that a person rejected are left out. The arithmetic is in the modules of this package that know no index.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sst_retrieval.errors import QueryError
from sst_retrieval.index.reader import Reader
from sst_retrieval.morphology.convergence import Convergence, convergence_by_column, convergence_by_tree
from sst_retrieval.morphology.distances import (
    BETWEEN,
    DistanceMatrix,
    compare_distributions,
    compare_means,
    compare_specimens,
)
from sst_retrieval.morphology.forms import outlines
from sst_retrieval.morphology.morphospace import Morphospace, principal_components, variable_names
from sst_retrieval.morphology.selection import (
    count_specimens_once,
    group_regions,
    read_names,
    read_rows,
    read_scaled_vectors,
    select_regions,
    unit_vectors_by_individual,
    values_of_groups,
)
from sst_retrieval.morphology.statistics import Disparity, Mantel, compute_disparity, mantel_test
from sst_retrieval.morphology.support_suggestions import Suggestion, suggest_specimens
from sst_retrieval.morphology.trees import read_tree


def morphospace(
    reader: Reader,
    trait: str,
    *,
    of: str = "vectors",
    where: str | None = None,
    weights: Mapping[str, float] | None = None,
    components: int = 10,
) -> Morphospace:
    """Find the principal components of a trait.

    Args:
        trait: its name.
        of: "vectors" (what a search compares), or "outlines" (elliptic Fourier coefficients of the outline; of a
            pair the left one, or else the right one).
        where: DuckDB predicate over the collection's columns, `confidence` and the measurements; None takes all.
        weights: block -> weight, for vectors; None weighs all blocks alike.
        components: how many at most.

    Returns:
        Scores, loadings and explained variance; `.plot(colour="scientificName")` draws them.

    Raises:
        QueryError: no such trait, or fewer than three specimens.
    """
    if components < 1:
        raise QueryError(f"{components} components are none; ask for 1 or more")
    if of not in ("vectors", "outlines"):
        raise QueryError(f"a morphospace of {of!r} is not known; choose vectors or outlines")
    if of == "vectors":
        ids = select_regions(reader, trait, where)
        rows, about = read_scaled_vectors(reader, trait, ids, weights)
        found = principal_components(len(ids), rows, components)
        names: tuple[str, ...] = variable_names(reader.blocks)
        metadata = read_rows(reader, ids).to_pandas()
    else:
        coefficients = outlines(reader, trait, where=where).fourier().drop_duplicates("specimen", ignore_index=True)
        values = coefficients.drop(columns=["specimen", "side"])
        matrix = values.to_numpy(np.float64)
        found = principal_components(len(matrix), lambda rows: matrix[rows], components)
        names, about = tuple(values.columns), f"{trait}: elliptic Fourier coefficients of the outline"
        metadata = read_rows(reader, select_regions(reader, trait, where)).to_pandas()
        metadata = metadata.set_index(reader.catalog.owner_columns[-1]).loc[coefficients["specimen"]].reset_index()
    scores, loadings, explained, mean = found
    specimens = tuple(metadata[reader.catalog.owner_columns[-1]])
    return Morphospace(trait, specimens, scores, loadings, explained, mean, names, metadata, about)


def distances(
    reader: Reader,
    trait: str,
    *,
    by: str | None = None,
    between: str = "mean",
    where: str | None = None,
    weights: Mapping[str, float] | None = None,
) -> DistanceMatrix:
    """Compare specimens, or groups of them, in a trait (see `morphology.distances` for the formulas).

    Args:
        trait: its name.
        by: a column whose values are the groups; None compares photographs (individuals, where a photograph may show
            several). In a group each specimen counts once, with the mean of its photographs. Specimens without a value
            are left out, and counted in `about`.
        between: "mean" compares the groups' means, "energy" their whole distributions (energy distance); both are
            corrected for sample size, and 0 where two groups are not told apart.
        where: DuckDB predicate over the collection's columns, `confidence` and the measurements; None takes all.
        weights: block -> weight; None weighs all alike.

    Returns:
        A square, symmetric, labelled matrix; `about` says how many groups have one specimen only.

    Raises:
        QueryError: no such trait, column or method, or too many specimens for a matrix.
    """
    if between not in BETWEEN:
        raise QueryError(f"groups cannot be compared by {between!r}; choose {' or '.join(BETWEEN)}")
    if by is None:
        ids = select_regions(reader, trait, where)
        rows, about = read_scaled_vectors(reader, trait, ids, weights)
        names = read_names(reader, ids)
        return compare_specimens(names, rows, f"{about}; specimens")
    ids, codes, labels, note = group_regions(reader, trait, by, where)
    rows, about = read_scaled_vectors(reader, trait, ids, weights)
    codes, rows, once = count_specimens_once(reader, ids, codes, rows)
    if between == "mean":
        return compare_means(codes, labels, rows, f"{about}; means of each {by}{note}{once}")
    return compare_distributions(codes, labels, rows, f"{about}; energy distance of each {by}{note}{once}")


def convergence(
    reader: Reader,
    trait: str,
    *,
    by: str = "scientificName",
    tree: str | Path | None = None,
    apart: str | None = None,
    between: str = "mean",
    where: str | None = None,
    weights: Mapping[str, float] | None = None,
) -> Convergence:
    """Find groups that are close in a trait and far apart otherwise: mimics, say.

    Args:
        trait: its name.
        by: the column whose values are compared.
        tree: a Newick or NEXUS file whose tips are these values (underscores and spaces are the same): pairs that
            are close in the trait and far in the tree come first.
        apart: without a tree, a column in which the two of a pair must differ (the species, where `by` is the
            subspecies); None takes `by` itself, so that every pair counts.
        between, where, weights: as in `distances`.

    Returns:
        Pairs, the most convergent first, and the names that do not match the tree (there is a warning, too).

    Raises:
        QueryError: no such trait or column, or no pair differs.
        InputError: the tree cannot be read, or fewer than two names are in it.
    """
    if tree is not None and apart is not None:
        raise QueryError("give a tree, or a column in which pairs must differ (apart=), not both")
    phylogeny = None if tree is None else read_tree(tree)
    matrix = distances(reader, trait, by=by, between=between, where=where, weights=weights)
    if phylogeny is not None:
        return convergence_by_tree(matrix, phylogeny)
    column = by if apart is None else apart
    return convergence_by_column(matrix, values_of_groups(reader, trait, by, column, where), column)


def disparity(
    reader: Reader,
    trait: str,
    *,
    by: str,
    where: str | None = None,
    weights: Mapping[str, float] | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> Disparity:
    """Measure how varied a trait is within each group, and test whether groups differ (PERMDISP, PERMANOVA).

    Args:
        trait: its name.
        by: the column whose values are the groups.
        where, weights: as in `distances`.
        permutations: of the tests.
        seed: of the tests.

    Raises:
        QueryError: no such trait or column.
    """
    ids, codes, labels, note = group_regions(reader, trait, by, where)
    rows, about = read_scaled_vectors(reader, trait, ids, weights)
    codes, rows, once = count_specimens_once(reader, ids, codes, rows)
    about = f"{about}; within each {by}{note}{once}"
    return compute_disparity(codes, labels, rows, about, permutations=permutations, seed=seed)


def mantel(
    reader: Reader,
    trait: str,
    other: str | DistanceMatrix,
    *,
    by: str | None = None,
    between: str = "mean",
    where: str | None = None,
    weights: Mapping[str, float] | None = None,
    method: str = "pearson",
    permutations: int = 999,
    seed: int = 0,
) -> Mantel:
    """Test whether two traits go together: are groups that are alike in one alike in the other?

    Args:
        trait: its name.
        other: another trait, or any distance matrix over the same labels.
        by: the column whose values are compared; None compares specimens.
        between, where, weights: as in `distances`, for both traits.
        method: "pearson" or "spearman".
        permutations: of the test.
        seed: of the test.

    Raises:
        QueryError: no such trait or column, or the two share fewer than three labels.
    """
    first = distances(reader, trait, by=by, between=between, where=where, weights=weights)
    second = (
        distances(reader, other, by=by, between=between, where=where, weights=weights)
        if isinstance(other, str)
        else other
    )
    return mantel_test(first, second, method=method, permutations=permutations, seed=seed)


def suggest_support(reader: Reader, n: int = 5) -> list[Suggestion]:
    """Say which specimens to annotate next, and why (see `morphology.support_suggestions`).

    Args:
        n: how many, at least 1.
    """
    if n < 1:
        raise QueryError(f"{n} suggestions are none; ask for 1 or more")
    owners = reader.catalog.groups()
    doubts: dict[str, list[float]] = {}
    for name, confidence in reader.catalog.confidences():
        doubts.setdefault(name, []).append(1 - confidence)
    groups: dict[str, list[str]] = {}
    for name in doubts:
        groups.setdefault(owners[name], []).append(name)
    waiting: dict[str, list[str]] = {}
    for row in reader.skipped():
        if row.stage == "support" and row.photograph in owners:
            waiting.setdefault(owners[row.photograph], []).append(row.photograph)
    mean = {name: float(np.mean(values)) for name, values in doubts.items()}
    return suggest_specimens(groups, unit_vectors_by_individual(reader), mean, reader.support_specimens(), waiting, n)
