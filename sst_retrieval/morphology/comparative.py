"""The questions of comparative morphology that an index answers; `search.index.Index` inherits them.

What is known of every region is in `source`, what is traced on photographs in `forms`. Every method takes the regions
that show a trait and that `where` holds for; masks that a person rejected never count. `where` is a DuckDB predicate
over the collection's columns, `confidence` and the measurements, in pixels (`index.catalog`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sst_retrieval.errors import QueryError
from sst_retrieval.morphology import convergence as converging
from sst_retrieval.morphology import distances as apart_by
from sst_retrieval.morphology import space, statistics, supporting, trees
from sst_retrieval.morphology.convergence import Convergence
from sst_retrieval.morphology.distances import DistanceMatrix
from sst_retrieval.morphology.forms import Forms
from sst_retrieval.morphology.space import Morphospace
from sst_retrieval.morphology.statistics import Disparity, Mantel
from sst_retrieval.morphology.supporting import Suggestion


class Comparative(Forms):
    """What an index answers beyond single searches."""

    def morphospace(
        self,
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
            where: see above.
            weights: block -> weight, for vectors; None weighs all blocks alike.
            components: how many at most.

        Returns:
            Scores, loadings and explained variance; `.plot(colour="scientificName")` draws them.

        Raises:
            QueryError: no such trait, or fewer than three specimens.
        """
        if of not in ("vectors", "outlines"):
            raise QueryError(f"a morphospace of {of!r} is not known; choose vectors or outlines")
        if of == "vectors":
            ids = self._ids(trait, where)
            rows, about = self._rows(trait, ids, weights)
            found = space.principal_components(len(ids), rows, components)
            names: tuple[str, ...] = space.variable_names(self.blocks)
            metadata = self._described(ids).to_pandas()
        else:
            coefficients = self.outlines(trait, where=where).fourier().drop_duplicates("specimen", ignore_index=True)
            values = coefficients.drop(columns=["specimen", "side"])
            matrix = values.to_numpy(np.float64)
            found = space.principal_components(len(matrix), lambda rows: matrix[rows], components)
            names, about = tuple(values.columns), f"{trait}: elliptic Fourier coefficients of the outline"
            metadata = self._described(self._ids(trait, where)).to_pandas()
            metadata = metadata.set_index("specimen").loc[coefficients["specimen"]].reset_index()
        scores, loadings, explained, mean = found
        specimens = tuple(metadata["specimen"])
        return Morphospace(trait, specimens, scores, loadings, explained, mean, names, metadata, about)

    def distances(
        self,
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
            by: a column whose values are the groups; None compares specimens. Specimens without a value are left out,
                and counted in `about`.
            between: "mean" compares the groups' means, "energy" their whole distributions (energy distance); both are
                corrected for sample size, and 0 where two groups are not told apart.
            where: see above.
            weights: block -> weight; None weighs all alike.

        Returns:
            A square, symmetric, labelled matrix; `about` says how many groups have one specimen only.

        Raises:
            QueryError: no such trait, column or method, or too many specimens for a matrix.
        """
        if between not in apart_by.BETWEEN:
            raise QueryError(f"groups cannot be compared by {between!r}; choose {' or '.join(apart_by.BETWEEN)}")
        if by is None:
            ids = self._ids(trait, where)
            rows, about = self._rows(trait, ids, weights)
            names = self._described(ids, ["specimen"]).column(0).to_pylist()
            return apart_by.of_specimens(names, rows, f"{about}; specimens")
        ids, codes, labels, note = self._grouped(trait, by, where)
        rows, about = self._rows(trait, ids, weights)
        if between == "mean":
            return apart_by.of_means(codes, labels, rows, f"{about}; means of each {by}{note}")
        return apart_by.of_distributions(codes, labels, rows, f"{about}; energy distance of each {by}{note}")

    def convergence(
        self,
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
        phylogeny = None if tree is None else trees.read_tree(tree)
        matrix = self.distances(trait, by=by, between=between, where=where, weights=weights)
        if phylogeny is not None:
            return converging.by_tree(matrix, phylogeny)
        column = by if apart is None else apart
        return converging.by_column(matrix, self._values_of(trait, by, column, where), column)

    def disparity(
        self,
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
        ids, codes, labels, note = self._grouped(trait, by, where)
        rows, about = self._rows(trait, ids, weights)
        about = f"{about}; within each {by}{note}"
        return statistics.disparity(codes, labels, rows, about, permutations=permutations, seed=seed)

    def mantel(
        self,
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
        first = self.distances(trait, by=by, between=between, where=where, weights=weights)
        second = (
            self.distances(other, by=by, between=between, where=where, weights=weights)
            if isinstance(other, str)
            else other
        )
        return statistics.mantel(first, second, method=method, permutations=permutations, seed=seed)

    def suggest_support(self, n: int = 5) -> list[Suggestion]:
        """Say which specimens to annotate next, and why (see `morphology.supporting`).

        Args:
            n: how many, at least 1.
        """
        if n < 1:
            raise QueryError(f"{n} suggestions are none; ask for 1 or more")
        owners = self.catalog.groups()
        doubts: dict[str, list[float]] = {}
        for name, confidence in self.catalog.confidences():
            doubts.setdefault(name, []).append(1 - confidence)
        groups: dict[str, list[str]] = {}
        for name in doubts:
            groups.setdefault(owners[name], []).append(name)
        waiting: dict[str, list[str]] = {}
        for row in self.skipped():
            if row.stage == "support" and row.specimen in owners:
                waiting.setdefault(owners[row.specimen], []).append(row.specimen)
        mean = {name: float(np.mean(values)) for name, values in doubts.items()}
        return supporting.suggest(groups, self._unit_vectors(), mean, self.support_specimens(), waiting, n)
