"""Traits looked at on their photographs, mask by mask: outlines, and the left and the right one of a pair.

`where` is a DuckDB predicate, as everywhere (see `index.catalog`); masks that a person rejected never count.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sst_retrieval.describe.measure import measure_geometry
from sst_retrieval.imaging import masks
from sst_retrieval.morphology import sides, table
from sst_retrieval.morphology.asymmetry import Asymmetry, asymmetry
from sst_retrieval.morphology.outlines import POINTS, Outlines, outline, stacked
from sst_retrieval.morphology.sides import Axis
from sst_retrieval.morphology.source import Source
from sst_retrieval.morphology.table import SCALE_COLUMN, Scale
from sst_retrieval.types import Mask, Region


class Forms(Source):
    """What an index answers about the form of traits."""

    def outlines(
        self,
        trait: str,
        *,
        points: int = POINTS,
        sides: bool = True,
        where: str | None = None,
        scale: Scale | None = None,
    ) -> Outlines:
        """Trace a trait's outline on every specimen (see `morphology.outlines`).

        Args:
            trait: its name.
            points: how many points each outline has.
            sides: trace the left and the right one of a pair; False takes the largest piece, whatever its side.
            where: see above.
            scale: group -> millimetres a pixel; it wins over a column `mmPerPixel`.
        """
        found = self._sides(trait, where) if sides else self._pieces(trait, where)
        places, curves = [], []
        for region, side, mask, axis in found:
            up = 0.0 if axis is None else axis.angle
            curves.append(outline(mask, region.frame, points=points, up=up, mirror=side == "right"))
            places.append((region.specimen, side, region.size))
        per_specimen = self._scales(trait, where, scale)
        return Outlines(
            trait=trait,
            specimens=tuple(name for name, _, _ in places),
            sides=tuple(side for _, side, _ in places),
            photograph=stacked([photograph for photograph, _ in curves], points),
            laid=stacked([laid for _, laid in curves], points),
            sizes=tuple(size for _, _, size in places),
            scale=np.array([per_specimen.get(name, np.nan) for name, _, _ in places]),
        )

    def sides(self, trait: str, *, where: str | None = None, scale: Scale | None = None) -> Any:
        """Measure the left and the right one of a pair apart (see `morphology.sides`).

        Args:
            trait: its name.
            where: see above.
            scale: group -> millimetres a pixel; it wins over a column `mmPerPixel`.

        Returns:
            A pandas data frame, one row a specimen and side: specimen, group, trait, side ("left", "right", or
            "median" for what lies on both sides), symmetry (of its group; below 0.7 look at the sides before you trust
            them), confidence, and the measurements that need no photograph.
        """
        groups = self.catalog.groups()
        records = [
            {
                **{"specimen": region.specimen, "group": groups[region.specimen], "trait": trait, "side": side},
                **{"symmetry": np.nan if line is None else line.symmetry, "confidence": region.confidence},
                **measure_geometry(mask),
            }
            for region, side, mask, line in self._sides(trait, where)
        ]
        columns = [
            "specimen",
            "group",
            "trait",
            "side",
            "symmetry",
            "confidence",
            *measure_geometry(np.ones((1, 1), dtype=bool)),
        ]
        rows = pa.table(pd.DataFrame(records, columns=columns))
        known = self._scales(trait, where, scale)
        if known:
            names = rows.column("specimen").to_pylist()
            rows = table.with_millimetres(rows, np.array([known.get(name, np.nan) for name in names]))
        return rows.to_pandas()

    def asymmetry(
        self, trait: str, *, by: str | None = None, measurement: str = "area_px", where: str | None = None
    ) -> Asymmetry:
        """Measure the differences between left and right (see `morphology.asymmetry` for the indices).

        Args:
            trait: a paired trait.
            by: the column whose values are the groups; None takes the groups of the build. Specimens without a value
                are left out, and counted in `about`.
            measurement: a size: area_px, length_px, perimeter_px, ...
            where: see above.

        Raises:
            QueryError: no such trait, column or measurement, or no specimen has both sides.
        """
        measured = self.sides(trait, where=where)
        if by is None:
            return asymmetry(measured, trait, measurement, f"{trait}: {measurement}; each group of the build")
        ids, codes, labels, note = self._grouped(trait, by, where)
        names = self._described(ids, ["specimen"]).column(0).to_pylist()
        group_of = {name: labels[code] for name, code in zip(names, codes.tolist(), strict=True)}
        measured = measured[measured["specimen"].isin(group_of.keys())]
        measured = measured.assign(group=measured["specimen"].map(group_of))
        return asymmetry(measured, trait, measurement, f"{trait}: {measurement}; each {by}{note}")

    def _scales(self, trait: str, where: str | None, scale: Scale | None) -> dict[str, float]:
        """Specimen -> millimetres a pixel, for those of which it is known."""
        self._check_groups(scale)
        own = [SCALE_COLUMN] if SCALE_COLUMN in self.catalog.columns else []
        rows = self._described(self._ids(trait, where), ["specimen", *own])
        known = table.scale_of_rows(self._groups_of(rows), scale, rows.column(SCALE_COLUMN) if own else None)
        if known is None:
            return {}
        pairs = zip(rows.column("specimen").to_pylist(), known.tolist(), strict=True)
        return {name: value for name, value in pairs if value == value}

    def _pieces(self, trait: str, where: str | None) -> Iterator[tuple[Region, str, Mask, Axis | None]]:
        for region in self.catalog.iterate_regions(self._ids(trait, where)):
            yield region, "", masks.decode(region.rle, region.size), None

    def _sides(self, trait: str, where: str | None) -> Iterator[tuple[Region, str, Mask, Axis | None]]:
        """Go through the sides of a trait: specimen by specimen, left, right, median."""
        owners = self.catalog.groups()
        lines: dict[str, Axis | None] = {}
        for region in self.catalog.iterate_regions(self._ids(trait, where)):
            group = owners[region.specimen]
            if group not in lines:
                lines[group] = self._middle_line(group)
            mask = masks.decode(region.rle, region.size)
            for side, part in sides.split(mask, region.frame, lines[group]).items():
                yield region, side, part, lines[group]

    def _middle_line(self, group: str) -> Axis | None:
        """Find the middle line of a group from the specimens whose masks are surest, all traits together."""
        sql = """SELECT region_id FROM regions WHERE present AND specimen IN (
                     SELECT r.specimen FROM regions r JOIN specimens s ON s."sst:specimen" = r.specimen
                     WHERE s."sst:group" = $group GROUP BY r.specimen
                     ORDER BY avg(r.confidence) DESC, r.specimen LIMIT $count)"""
        found = [number for (number,) in self.catalog.rows(sql, {"group": group, "count": sides.SPECIMENS})]
        ids = np.setdiff1d(np.array(found, dtype=np.int64), self.catalog.region_reviews.hidden_ids)
        regions = sorted(self.catalog.iterate_regions(ids), key=lambda region: region.specimen)
        specimens = []
        for _, own in groupby(regions, key=lambda region: region.specimen):
            several = list(own)
            whole = np.any([masks.decode(each.rle, each.size) for each in several], axis=0)
            specimens.append((whole, several[0].frame))
        return sides.middle_line(sides.average(specimens)) if specimens else None
