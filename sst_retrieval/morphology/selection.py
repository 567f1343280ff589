"""Regions of an index selected by trait and predicate, and what is known of them: columns, groups, vectors, masks.

Every function takes the regions that show a trait and for which `where` holds, a DuckDB predicate over the collection's
columns, `confidence` and the measurements, in pixels (`index.catalog`). Masks that a person rejected are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sst_retrieval.errors import QueryError
from sst_retrieval.index.duck import column_namer, quote_name
from sst_retrieval.index.reader import Reader
from sst_retrieval.morphology import distances
from sst_retrieval.morphology.distances import Rows
from sst_retrieval.types import Floats, Region

Ids: TypeAlias = npt.NDArray[np.int64]
"""int64 (n,): region ids."""


def select_regions(reader: Reader, trait: str | Sequence[str] | None, where: str | None) -> Ids:
    """Resolve traits and a predicate to region ids.

    Args:
        reader: an open index.
        trait: one or several; None takes all.
        where: predicate; None takes all regions.

    Returns:
        int64 (n,), ascending.

    Raises:
        QueryError: there is no such trait, or the predicate does not work.
    """
    names = reader.traits if trait is None else [trait] if isinstance(trait, str) else trait
    found = [reader.catalog.resolve(where or "true", reader.require_trait(name)) for name in names]
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *found]))


def read_rows(reader: Reader, region_ids: Ids, columns: Sequence[str] | None = None) -> pa.Table:
    """Read what the catalog holds of regions: all but their masks and vectors.

    Args:
        reader: an open index.
        region_ids: int64 (n,), each once.
        columns: names to return; None returns all (see `row_columns`).

    Returns:
        An Arrow table, one row a region, ordered by region id; empty (not NaN) where a value is missing.
    """
    catalog = reader.catalog
    every, region_reviews = row_columns(reader), catalog.region_reviews
    chosen = ", ".join(f"{every[name]} AS {quote_name(name)}" for name in (every if columns is None else columns))
    sql = f"""SELECT {chosen} FROM regions r JOIN individuals s ON s."sst:individual" = r.individual
              LEFT JOIN measurements m ON m.region_id = r.region_id
              WHERE r.region_id BETWEEN $first AND $last AND r.region_id IN (SELECT unnest($ids::BIGINT[]))
              ORDER BY r.region_id"""
    # The ends save the database from looking through all regions for a part of them.
    first, last = (int(region_ids.min()), int(region_ids.max())) if len(region_ids) else (0, 0)
    given = {"ids": region_ids.tolist(), "first": first, "last": last}
    with catalog.cursor() as cursor:
        found = _without_nan(cursor.sql(sql, params=given).to_arrow_table())
    name = column_namer(catalog.columns)("review")
    if name not in found.column_names:
        return found
    words = pa.array([region_reviews.status(number) for number in np.sort(region_ids).tolist()], pa.string())
    return found.set_column(found.column_names.index(name), name, words)


def row_columns(reader: Reader) -> dict[str, str]:
    """Return the columns of `read_rows`, name -> SQL: this program's own, then the collection's, then measurements.

    Where photographs may show several individuals, there are the individual's number, score, and box as the table of a
    collection may have it: "x0 y0 x1 y1" in pixels.

    A column of the collection that is called like one of this program's own (`confidence`) has "collection:" before its
    name. A decision or a measurement that a column of the collection shares its name with has "sst:" before its own
    (`index.duck.column_namer`).
    """
    catalog = reader.catalog
    names = {"region_id": "r.region_id"} | {name: f's."sst:{name}"' for name in catalog.owner_columns}
    if catalog.places_individuals:
        box = """CASE WHEN s."sst:box" IS NOT NULL THEN array_to_string(s."sst:box", ' ') END"""
        names |= {"individual_number": 's."sst:number"', "individual_score": 's."sst:score"', "individual_box": box}
    names |= {name: f"r.{name}" for name in ("trait", "confidence")}
    name_of = column_namer(catalog.columns)
    names[name_of("review")] = "NULL"  # Laid over what is read: decisions come in between commits.
    if "group" not in {name.casefold() for name in catalog.columns}:
        names["group"] = 's."sst:group"'
    ours = set(names)
    theirs = {f"collection:{name}" if name.casefold() in ours else name: name for name in catalog.columns}
    names |= {shown: f"s.{quote_name(name)}" for shown, name in theirs.items()}
    measured = [f"m.{quote_name(name)}" for name in catalog.measurement_names]
    names |= dict(zip(map(name_of, catalog.measurement_names), measured, strict=True))
    return names


def require_columns(reader: Reader, *names: str) -> list[str]:
    """Return column names of `read_rows`, each once.

    Raises:
        QueryError: there is no such column; lists those that exist.
    """
    known = row_columns(reader)
    for name in names:
        if name not in known:
            raise QueryError(f"the index has no column {name!r}; it has: {', '.join(known)}")
    return list(dict.fromkeys(names))


def to_label_frame(table: pa.Table) -> Any:
    """Convert to a pandas data frame to take labels from: where some values are missing, whole numbers stay whole."""
    return table.to_pandas(integer_object_nulls=True)


def groups(reader: Reader) -> dict[str, str]:
    """Return individual -> the group whose supports served it."""
    return reader.catalog.groups()


def trait_vectors(reader: Reader, trait: str, *, where: str | None = None) -> tuple[tuple[str, ...], Floats]:
    """Return the vectors of a trait as they are stored.

    Args:
        trait: its name.
        where: DuckDB predicate over the collection's columns, `confidence` and the measurements; None takes all.

    Returns:
        N individuals, and float32 (N, D): the blocks one after the other (`blocks` says how wide each is), each of
        unit length; in order of region ids, as in `trait_table`.
    """
    ids = select_regions(reader, trait, where)
    names = read_names(reader, ids)
    return tuple(names), reader.vector_indexes[reader.require_trait(trait)].reconstruct(ids)


def drawn(reader: Reader, trait: str | Sequence[str] | None = None, *, where: str | None = None) -> Iterator[Region]:
    """Go through regions with their masks, some thousand in memory at a time, in the order of `trait_table`.

    Args:
        trait: one or several; None takes all.
        where: DuckDB predicate over the collection's columns, `confidence` and the measurements; None takes all.

    Yields:
        Regions without vectors and measurements.
    """
    return reader.catalog.iterate_regions(select_regions(reader, trait, where))


def read_scaled_vectors(reader: Reader, trait: str, ids: Ids, weights: Mapping[str, float] | None) -> tuple[Rows, str]:
    """Give access to the scaled vectors of regions of a trait (see `distances.block_scale`).

    Args:
        reader: an open index.
        trait: name of the trait.
        ids: region ids.
        weights: block -> weight; None weighs all alike.

    Returns:
        Positions in `ids` -> vectors, and a sentence that says what they are.
    """
    shares = reader.block_weights(weights)
    scale, vectors = distances.block_scale(reader.blocks, shares), reader.vector_indexes[reader.require_trait(trait)]
    listed = ", ".join(f"{block} {share:g}" for block, share in zip(reader.blocks, shares, strict=True) if share)
    return lambda places: vectors.reconstruct(ids[places]) * scale, f"{trait}, weights: {listed}"


def group_regions(reader: Reader, trait: str, by: str, where: str | None) -> tuple[Ids, Ids, list[str], str]:
    """Group the regions of a trait by the values of a column.

    Args:
        reader: an open index.
        trait: name of the trait.
        by: the column.
        where: predicate; None takes all regions.

    Returns:
        Region ids int64 (n,); the group of each, int64 (n,), 0..G - 1; the names of the G groups; and a note that says
        how many specimens without a value were left out, "" if there are none.

    Raises:
        QueryError: there is no such trait or column, or no specimen has a value.
    """
    columns = require_columns(reader, "region_id", by)
    rows = to_label_frame(read_rows(reader, select_regions(reader, trait, where), columns))
    filled = rows[rows[by].notna() & (rows[by].astype(str) != "")]
    if filled.empty:
        raise QueryError(f"no specimen with {trait} has a value in {by!r}; choose another column")
    codes, values = pd.factorize(filled[by].astype(str), sort=True)
    missing = len(rows) - len(filled)
    note = f" ({missing} specimens without a value left out)" if missing else ""
    return filled["region_id"].to_numpy(np.int64), np.asarray(codes, dtype=np.int64), list(values), note


def count_specimens_once(reader: Reader, ids: Ids, codes: Ids, rows: Rows) -> tuple[Ids, Rows, str]:
    """Let each specimen count once in its group, with the mean of its photographs: these are no independent samples.

    Where photographs may show several individuals, each of them counts.

    Args:
        reader: an open index.
        ids: region ids, int64 (n,), ascending.
        codes: the group of each, int64 (n,).
        rows: positions in `ids` -> vectors.

    Returns:
        The group of each specimen, int64 (m,), in order of its first region; positions among the specimens -> mean
        vectors; and a note, "" if every specimen has one region.
    """
    if reader.catalog.plain:
        return codes, rows, ""
    units = np.asarray(counting_units(to_label_frame(read_rows(reader, ids, reader.catalog.owner_columns))))
    number, _ = pd.factorize(pd.MultiIndex.from_arrays([codes, units]))
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], np.arange(number.max(initial=-1) + 2))
    if len(starts) - 1 == len(ids):
        return codes, rows, ""

    def average(places: npt.NDArray[np.int64]) -> Floats:
        members = [order[starts[place] : starts[place + 1]] for place in places]
        counts = np.array([len(each) for each in members])
        vectors = rows(np.concatenate(members))
        sums = np.add.reduceat(vectors, np.cumsum(counts) - counts, axis=0, dtype=np.float64)
        return np.asarray(sums / counts[:, None], dtype=np.float32)

    return codes[order[starts[:-1]]], average, "; several photographs of a specimen count once, with their mean"


def counting_units(owners: Any) -> Any:
    """Return what counts once in statistics: the specimen; the individual where its photograph may show several.

    Args:
        owners: a pandas data frame with the columns "specimen", "photograph" and "individual".

    Returns:
        A pandas series, a name a row.
    """
    return owners["specimen"].where(owners["individual"] == owners["photograph"], owners["individual"])


def values_of_groups(reader: Reader, trait: str, by: str, column: str, where: str | None) -> dict[str, str]:
    """Look up the one value of another column that each group has.

    Args:
        reader: an open index.
        trait: name of the trait.
        by: the column whose values are the groups.
        column: the other column.
        where: predicate; None takes all regions.

    Returns:
        Group -> value; groups without a value are missing.

    Raises:
        QueryError: there is no such column, or a group has several values.
    """
    columns = require_columns(reader, by, column)
    rows = to_label_frame(read_rows(reader, select_regions(reader, trait, where), columns)).astype("string")
    found = rows.replace("", pd.NA).dropna().groupby(by)[column].unique()
    mixed = [group for group, values in found.items() if len(values) > 1]
    if mixed:
        raise QueryError(
            f"{by} {mixed[0]!r} has several values of {column!r}: {', '.join(found[mixed[0]])}; each group needs one"
        )
    return {str(group): str(values[0]) for group, values in found.items()}


def read_names(reader: Reader, region_ids: Ids) -> list[str]:
    """Return whose some regions are: the id of each individual, in order of the region ids."""
    sql = "SELECT individual FROM regions WHERE region_id IN (SELECT unnest($ids::BIGINT[])) ORDER BY region_id"
    return [str(name) for (name,) in reader.catalog.rows(sql, {"ids": region_ids.tolist()})]


def unit_vectors_by_individual(reader: Reader) -> dict[str, dict[str, Floats]]:
    """Read the vectors of all traits: individual -> trait -> float32 (D,) of length 1, all blocks weighed alike."""
    found: dict[str, dict[str, Floats]] = {}
    scale = distances.block_scale(reader.blocks, np.ones(len(reader.blocks)))
    for trait in reader.traits:
        ids = select_regions(reader, trait, None)
        names = read_names(reader, ids)
        for name, vector in zip(names, reader.vector_indexes[trait].reconstruct(ids) * scale, strict=True):
            found.setdefault(name, {})[trait] = vector
    return found


def _without_nan(table: pa.Table) -> pa.Table:
    """Empty the cells that are not a number: files that people read would say "nan" there."""
    for place, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            column = table.column(place)
            table = table.set_column(place, field, pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column))
    return table
