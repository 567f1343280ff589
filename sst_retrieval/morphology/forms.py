"""The form of traits, mask by mask: outlines, and the left and the right one of a pair.

Functions of an index's reader; `search.index.Index` offers `outlines`, `sides` and `asymmetry` as methods, so their
docstrings leave the reader out. Masks that a person rejected are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sst_retrieval.describe.measure import measure_geometry
from sst_retrieval.imaging import masks
from sst_retrieval.index.reader import Reader
from sst_retrieval.morphology.asymmetry import Asymmetry, compute_asymmetry
from sst_retrieval.morphology.outlines import POINTS, Outlines, stack_curves, trace_outline
from sst_retrieval.morphology.scales import Scale, specimen_scales, with_millimetres
from sst_retrieval.morphology.selection import group_regions, read_names, select_regions
from sst_retrieval.morphology.sides import SPECIMENS, Axis, average_masks, find_middle_line, split_sides
from sst_retrieval.types import Individual, Mask, Region


def outlines(
    reader: Reader,
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
        where: DuckDB predicate over the collection's columns, `confidence` and the measurements; None takes all.
        scale: group -> millimetres a pixel; it wins over a column `mmPerPixel`.
    """
    found = _iterate_sides(reader, trait, where) if sides else _iterate_masks(reader, trait, where)
    places, curves = [], []
    for region, side, mask, axis in found:
        up = 0.0 if axis is None else axis.angle
        curves.append(trace_outline(mask, region.frame, points=points, up=up, mirror=side == "right"))
        places.append((region.individual, side, region.size))
    per_specimen = specimen_scales(reader, trait, where, scale)
    return Outlines(
        trait=trait,
        specimens=tuple(name for name, _, _ in places),
        sides=tuple(side for _, side, _ in places),
        photograph=stack_curves([photograph for photograph, _ in curves], points),
        laid=stack_curves([laid for _, laid in curves], points),
        sizes=tuple(size for _, _, size in places),
        scale=np.array([per_specimen.get(name, np.nan) for name, _, _ in places]),
    )


def sides(reader: Reader, trait: str, *, where: str | None = None, scale: Scale | None = None) -> Any:
    """Measure the left and the right one of a pair apart (see `morphology.sides`).

    Args:
        trait: its name.
        where: DuckDB predicate over the collection's columns, `confidence` and the measurements; None takes all.
        scale: group -> millimetres a pixel; it wins over a column `mmPerPixel`.

    Returns:
        A pandas data frame, one row an individual and side: specimen (photograph, individual unless all have one
        name), group, trait, side ("left", "right", or
        "median" for what lies on both sides), symmetry (of its group; below 0.7 look at the sides before you trust
        them), confidence, and the measurements that need no photograph.
    """
    names, owners = reader.catalog.owner_columns, {each.id: each for each in reader.individuals()}
    records = [
        {
            **_name_owner(owners[region.individual], names),
            **{"group": owners[region.individual].group, "trait": trait, "side": side},
            **{"symmetry": np.nan if line is None else line.symmetry, "confidence": region.confidence},
            **measure_geometry(mask),
        }
        for region, side, mask, line in _iterate_sides(reader, trait, where)
    ]
    columns = [
        *names,
        "group",
        "trait",
        "side",
        "symmetry",
        "confidence",
        *measure_geometry(np.ones((1, 1), dtype=bool)),
    ]
    rows = pa.table(pd.DataFrame(records, columns=columns))
    known = specimen_scales(reader, trait, where, scale)
    if known:
        individuals = rows.column(names[-1]).to_pylist()
        rows = with_millimetres(rows, np.array([known.get(name, np.nan) for name in individuals]))
    return rows.to_pandas()


def asymmetry(
    reader: Reader, trait: str, *, by: str | None = None, measurement: str = "area_px", where: str | None = None
) -> Asymmetry:
    """Measure the differences between left and right (see `morphology.asymmetry` for the indices).

    Args:
        trait: a paired trait.
        by: the column whose values are the groups; None takes the groups of the build. Specimens without a value
            are left out, and counted in `about`.
        measurement: a size: area_px, length_px, perimeter_px, ...
        where: DuckDB predicate over the collection's columns, `confidence` and the measurements; None takes all.

    Raises:
        QueryError: no such trait, column or measurement, or no specimen has both sides.
    """
    measured = sides(reader, trait, where=where)
    if by is None:
        return compute_asymmetry(measured, trait, measurement, f"{trait}: {measurement}; each group of the build")
    ids, codes, labels, note = group_regions(reader, trait, by, where)
    names = read_names(reader, ids)
    group_of = {name: labels[code] for name, code in zip(names, codes.tolist(), strict=True)}
    own = reader.catalog.owner_columns[-1]
    measured = measured[measured[own].isin(group_of.keys())]
    measured = measured.assign(group=measured[own].map(group_of))
    return compute_asymmetry(measured, trait, measurement, f"{trait}: {measurement}; each {by}{note}")


def _name_owner(individual: Individual, names: Sequence[str]) -> dict[str, str]:
    """Name an individual by some of "specimen", "photograph" and "individual"."""
    known = {"specimen": individual.specimen, "photograph": individual.photograph.id, "individual": individual.id}
    return {name: known[name] for name in names}


def _iterate_masks(reader: Reader, trait: str, where: str | None) -> Iterator[tuple[Region, str, Mask, Axis | None]]:
    for region in reader.catalog.iterate_regions(select_regions(reader, trait, where)):
        yield region, "", masks.decode(region.rle, region.size), None


def _iterate_sides(reader: Reader, trait: str, where: str | None) -> Iterator[tuple[Region, str, Mask, Axis | None]]:
    """Go through the sides of a trait: specimen by specimen, left, right, median."""
    owners = reader.catalog.groups()
    lines: dict[str, Axis | None] = {}
    for region in reader.catalog.iterate_regions(select_regions(reader, trait, where)):
        group = owners[region.individual]
        if group not in lines:
            lines[group] = _middle_line_of_group(reader, group)
        mask = masks.decode(region.rle, region.size)
        for side, part in split_sides(mask, region.frame, lines[group]).items():
            yield region, side, part, lines[group]


def _middle_line_of_group(reader: Reader, group: str) -> Axis | None:
    """Find the middle line of a group from the specimens whose masks are surest, all traits together."""
    sql = """SELECT region_id FROM regions WHERE present AND individual IN (
                 SELECT r.individual FROM regions r JOIN individuals s ON s."sst:individual" = r.individual
                 WHERE s."sst:group" = $group GROUP BY r.individual
                 ORDER BY avg(r.confidence) DESC, r.individual LIMIT $count)"""
    found = [number for (number,) in reader.catalog.rows(sql, {"group": group, "count": SPECIMENS})]
    ids = np.setdiff1d(np.array(found, dtype=np.int64), reader.catalog.region_reviews.hidden_ids)
    regions = sorted(reader.catalog.iterate_regions(ids), key=lambda region: region.individual)
    specimens = []
    for _, own in groupby(regions, key=lambda region: region.individual):
        several = list(own)
        whole = np.any([masks.decode(each.rle, each.size) for each in several], axis=0)
        specimens.append((whole, several[0].frame))
    return find_middle_line(average_masks(specimens)) if specimens else None
