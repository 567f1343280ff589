"""Where this room takes its regions, vectors and columns from: the catalog and the vector files of an index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from sst_retrieval import masks
from sst_retrieval.catalog import Catalog
from sst_retrieval.errors import QueryError
from sst_retrieval.morphology import distances, sides, table
from sst_retrieval.morphology.distances import Rows
from sst_retrieval.morphology.sides import Axis
from sst_retrieval.morphology.table import SCALE_COLUMN, Scale
from sst_retrieval.types import Floats, Mask, Region, Skipped
from sst_retrieval.vectors import VectorIndex

Ids: TypeAlias = npt.NDArray[np.int64]


class Source(ABC):
    """One generation of an index, as this room sees it."""

    _catalog: Catalog
    _vectors: Mapping[str, VectorIndex]
    blocks: Mapping[str, int]

    @property
    @abstractmethod
    def traits(self) -> tuple[str, ...]:
        """Names of the traits."""

    @abstractmethod
    def skipped(self) -> list[Skipped]:
        """Specimens that could not be indexed."""

    @abstractmethod
    def _annotated(self) -> set[str]:
        """Specimens that are supports."""

    @abstractmethod
    def _trait(self, trait: str | None) -> str:
        """Refuse a trait that the index does not have."""

    @abstractmethod
    def _weights(self, weights: Mapping[str, float] | None) -> npt.NDArray[np.float64]:
        """Turn weights into one number a block."""

    def _ids(self, trait: str | Sequence[str] | None, where: str | None) -> Ids:
        """Resolve to region ids, ascending."""
        names = self.traits if trait is None else [trait] if isinstance(trait, str) else trait
        found = [self._catalog.resolve(where or "true", self._trait(name)) for name in names]
        return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *found]))

    def _described(self, ids: Ids, columns: Sequence[str] | None = None) -> pa.Table:
        return table.described(self._catalog, ids, columns)

    def _columns(self, *names: str) -> list[str]:
        known = table.described_columns(self._catalog)
        for name in names:
            if name not in known:
                raise QueryError(f"the index has no column {name!r}; it has: {', '.join(known)}")
        return list(dict.fromkeys(names))

    def _rows(self, trait: str, ids: Ids, weights: Mapping[str, float] | None) -> tuple[Rows, str]:
        """Give access to the scaled vectors of regions, and say what they are."""
        shares = self._weights(weights)
        scale, vectors = distances.block_scale(self.blocks, shares), self._vectors[self._trait(trait)]
        said = ", ".join(f"{block} {share:g}" for block, share in zip(self.blocks, shares, strict=True) if share)
        return lambda places: vectors.reconstruct(ids[places]) * scale, f"{trait}, weights: {said}"

    def _grouped(self, trait: str, by: str, where: str | None) -> tuple[Ids, Ids, list[str], str]:
        """Sort the regions of a trait by a column: ids, group of each, names of the groups, who was left out."""
        rows = self._described(self._ids(trait, where), self._columns("region_id", by)).to_pandas()
        filled = rows[rows[by].notna() & (rows[by].astype(str) != "")]
        if filled.empty:
            raise QueryError(f"no specimen with {trait} has a value in {by!r}; choose another column")
        codes, values = pd.factorize(filled[by].astype(str), sort=True)
        missing = len(rows) - len(filled)
        note = f" ({missing} specimens without a value left out)" if missing else ""
        return filled["region_id"].to_numpy(np.int64), np.asarray(codes, dtype=np.int64), list(values), note

    def _values_of(self, trait: str, by: str, column: str, where: str | None) -> dict[str, str]:
        """Say which value of a column each group has; refuse groups that have several."""
        rows = self._described(self._ids(trait, where), self._columns(by, column)).to_pandas().astype("string")
        seen = rows.dropna().groupby(by)[column].unique()
        mixed = [group for group, values in seen.items() if len(values) > 1]
        if mixed:
            raise QueryError(
                f"{by} {mixed[0]!r} has several values of {column!r}: {', '.join(seen[mixed[0]])}; each group needs one"
            )
        return {str(group): str(values[0]) for group, values in seen.items()}

    def _groups_of(self, rows: pa.Table) -> list[str]:
        owners = self._catalog.groups()
        return [owners[name] for name in rows.column("specimen").to_pylist()]

    def _scales(self, trait: str, where: str | None, scale: Scale | None) -> dict[str, float]:
        """Specimen -> millimetres a pixel, for those of which it is known."""
        own = [SCALE_COLUMN] if SCALE_COLUMN in self._catalog.columns else []
        rows = self._described(self._ids(trait, where), ["specimen", *own])
        known = table.scale_of_rows(self._groups_of(rows), scale, rows.column(SCALE_COLUMN) if own else None)
        if known is None:
            return {}
        pairs = zip(rows.column("specimen").to_pylist(), known.tolist(), strict=True)
        return {name: value for name, value in pairs if value == value}

    def _pieces(self, trait: str, where: str | None) -> Iterator[tuple[Region, str, Mask, Axis | None]]:
        for region in self._catalog.drawn(self._ids(trait, where)):
            yield region, "", masks.decode(region.rle, region.size), None

    def _sides(self, trait: str, where: str | None) -> Iterator[tuple[Region, str, Mask, Axis | None]]:
        """Go through the sides of a trait: specimen by specimen, left, right, median."""
        owners = self._catalog.groups()
        lines: dict[str, Axis | None] = {}
        for region in self._catalog.drawn(self._ids(trait, where)):
            group = owners[region.specimen]
            if group not in lines:
                lines[group] = self._middle_line(group)
            mask = masks.decode(region.rle, region.size)
            for side, part in sides.split(mask, region.frame, lines[group]).items():
                yield region, side, part, lines[group]

    def _middle_line(self, group: str) -> Axis | None:
        """Find the middle line of a group from its surest specimens, all traits together."""
        ids = self._catalog.surest(group, sides.SPECIMENS)
        regions = sorted(self._catalog.drawn(ids), key=lambda region: region.specimen)
        specimens = []
        for _, own in groupby(regions, key=lambda region: region.specimen):
            several = list(own)
            whole = np.any([masks.decode(each.rle, each.size) for each in several], axis=0)
            specimens.append((whole, several[0].frame))
        return sides.middle_line(sides.average(specimens)) if specimens else None

    def _unit_vectors(self) -> dict[str, dict[str, Floats]]:
        """Specimen -> trait -> vector of length 1."""
        found: dict[str, dict[str, Floats]] = {}
        scale = distances.block_scale(self.blocks, np.ones(len(self.blocks)))
        for trait in self.traits:
            ids = self._ids(trait, None)
            names = self._described(ids, ["specimen"]).column(0).to_pylist()
            for name, vector in zip(names, self._vectors[trait].reconstruct(ids) * scale, strict=True):
                found.setdefault(name, {})[trait] = vector
        return found
