"""Where this room takes its regions, vectors and columns from: the catalog and the vector files of an index.

Every method takes the regions that show a trait and that `where` holds for; masks that a person rejected never count.
`where` is a DuckDB predicate over the collection's columns, `confidence` and the measurements, in pixels
(`index.catalog`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from sst_retrieval.errors import QueryError
from sst_retrieval.index.duck import column_namer
from sst_retrieval.index.reader import Reader
from sst_retrieval.morphology import distances, table
from sst_retrieval.morphology.distances import Rows
from sst_retrieval.morphology.table import SCALE_COLUMN, Scale, TraitTable
from sst_retrieval.types import Floats, Region

Ids: TypeAlias = npt.NDArray[np.int64]


class Source(Reader):
    """What is known of every region of an index."""

    def trait_table(
        self, trait: str | Sequence[str] | None = None, *, where: str | None = None, scale: Scale | None = None
    ) -> TraitTable:
        """Return everything that is known of the regions: one row a region, read when a method of the table asks.

        Args:
            trait: one or several; None takes all.
            where: see above.
            scale: group -> millimetres a pixel (`read_scales` reads them from a file); it wins over a column
                `mmPerPixel` of the collection. Where either is known, areas and lengths come in millimetres, too.

        Returns:
            Columns region_id, specimen, trait, confidence, review, group, the collection's own columns, the
            measurements; with `.arrow()`, `.pandas()` and `.polars()`. A measurement (or `review`) that shares its name
            with a column of the collection is called "sst:" and its name; the collection's own `region_id`, `specimen`,
            `trait` or `confidence` is called "collection:" and its name. A trait that was not found on a specimen has
            no row.

        Raises:
            QueryError: there is no such trait or group, the predicate does not work, or a scale is not above 0.
        """
        self._check_groups(scale)
        ids = self._ids(trait, where)
        known = table.described_columns(self.catalog)
        own_scale = SCALE_COLUMN if SCALE_COLUMN in self.catalog.columns else None
        name_of = column_namer(self.catalog.columns)
        millimetres = [
            name_of(name)
            for pixels, (name, _) in table.IN_MILLIMETRES.items()
            if name_of(pixels) in known and (scale or own_scale)
        ]

        def read(columns: Sequence[str] | None) -> pa.Table:
            wanted = None if columns is None or set(millimetres) & set(columns) else [c for c in columns if c in known]
            rows = self._described(ids, wanted)
            if wanted is None and millimetres:
                own = rows.column(own_scale) if own_scale else None
                per_row = table.scale_of_rows(self._groups_of(rows), scale, own)
                assert per_row is not None
                rows = table.with_millimetres(rows, per_row, name_of)
            return rows if columns is None else rows.select(list(columns))

        if scale or own_scale:
            read(["region_id", *millimetres])  # A wrong scale is said now, not when somebody looks.
        return TraitTable([*known, *millimetres], read)

    def groups(self) -> dict[str, str]:
        """Return specimen -> the group whose annotated specimen served it."""
        return self.catalog.groups()

    def trait_vectors(self, trait: str, *, where: str | None = None) -> tuple[tuple[str, ...], Floats]:
        """Return the vectors of a trait as they are stored.

        Args:
            trait: its name.
            where: see above.

        Returns:
            N specimens, and float32 (N, D): the blocks one after the other (`blocks` says how wide each is), each of
            unit length; in order of region ids, as in `trait_table`.
        """
        ids = self._ids(trait, where)
        names = self._described(ids, ["specimen"]).column(0).to_pylist()
        return tuple(names), self.vector_indexes[self.require_trait(trait)].reconstruct(ids)

    def drawn(self, trait: str | Sequence[str] | None = None, *, where: str | None = None) -> Iterator[Region]:
        """Go through regions with their masks, some thousand in memory at a time, in the order of `trait_table`.

        Args:
            trait: one or several; None takes all.
            where: see above.

        Yields:
            Regions without vectors and measurements.
        """
        return self.catalog.iterate_regions(self._ids(trait, where))

    def _ids(self, trait: str | Sequence[str] | None, where: str | None) -> Ids:
        """Resolve to region ids, ascending."""
        names = self.traits if trait is None else [trait] if isinstance(trait, str) else trait
        found = [self.catalog.resolve(where or "true", self.require_trait(name)) for name in names]
        return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *found]))

    def _described(self, ids: Ids, columns: Sequence[str] | None = None) -> pa.Table:
        return table.described(self.catalog, ids, columns)

    def _columns(self, *names: str) -> list[str]:
        known = table.described_columns(self.catalog)
        for name in names:
            if name not in known:
                raise QueryError(f"the index has no column {name!r}; it has: {', '.join(known)}")
        return list(dict.fromkeys(names))

    def _rows(self, trait: str, ids: Ids, weights: Mapping[str, float] | None) -> tuple[Rows, str]:
        """Give access to the scaled vectors of regions, and say what they are."""
        shares = self.block_weights(weights)
        scale, vectors = distances.block_scale(self.blocks, shares), self.vector_indexes[self.require_trait(trait)]
        said = ", ".join(f"{block} {share:g}" for block, share in zip(self.blocks, shares, strict=True) if share)
        return lambda places: vectors.reconstruct(ids[places]) * scale, f"{trait}, weights: {said}"

    def _grouped(self, trait: str, by: str, where: str | None) -> tuple[Ids, Ids, list[str], str]:
        """Sort the regions of a trait by a column: ids, group of each, names of the groups, who was left out."""
        rows = table.labelled(self._described(self._ids(trait, where), self._columns("region_id", by)))
        filled = rows[rows[by].notna() & (rows[by].astype(str) != "")]
        if filled.empty:
            raise QueryError(f"no specimen with {trait} has a value in {by!r}; choose another column")
        codes, values = pd.factorize(filled[by].astype(str), sort=True)
        missing = len(rows) - len(filled)
        note = f" ({missing} specimens without a value left out)" if missing else ""
        return filled["region_id"].to_numpy(np.int64), np.asarray(codes, dtype=np.int64), list(values), note

    def _values_of(self, trait: str, by: str, column: str, where: str | None) -> dict[str, str]:
        """Say which value of a column each group has; refuse groups that have several."""
        rows = table.labelled(self._described(self._ids(trait, where), self._columns(by, column))).astype("string")
        seen = rows.replace("", pd.NA).dropna().groupby(by)[column].unique()
        mixed = [group for group, values in seen.items() if len(values) > 1]
        if mixed:
            raise QueryError(
                f"{by} {mixed[0]!r} has several values of {column!r}: {', '.join(seen[mixed[0]])}; each group needs one"
            )
        return {str(group): str(values[0]) for group, values in seen.items()}

    def _groups_of(self, rows: pa.Table) -> list[str]:
        owners = self.catalog.groups()
        return [owners[name] for name in rows.column("specimen").to_pylist()]

    def _check_groups(self, scale: Scale | None) -> None:
        """Refuse scales of groups that the index does not have: a name spelt wrongly would leave pixels as they are."""
        groups = set(self.catalog.groups().values())
        unknown = sorted((scale or {}).keys() - groups)
        if unknown:
            raise QueryError(
                f"a scale is given for {', '.join(map(repr, unknown))}, which is no group of the index; "
                f"its groups: {', '.join(sorted(groups))}"
            )

    def _unit_vectors(self) -> dict[str, dict[str, Floats]]:
        """Specimen -> trait -> vector of length 1."""
        found: dict[str, dict[str, Floats]] = {}
        scale = distances.block_scale(self.blocks, np.ones(len(self.blocks)))
        for trait in self.traits:
            ids = self._ids(trait, None)
            names = self._described(ids, ["specimen"]).column(0).to_pylist()
            for name, vector in zip(names, self.vector_indexes[trait].reconstruct(ids) * scale, strict=True):
                found.setdefault(name, {})[trait] = vector
        return found
