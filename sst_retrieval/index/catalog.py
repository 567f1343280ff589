"""The catalog of a generation: its photographs, individuals, regions, measurements and reviews in one DuckDB file.

    photographs   `PHOTOGRAPH_COLUMNS`, then every column of the collection under its own name
    individuals   `INDIVIDUAL_COLUMNS`, then every column of the collection; a photograph that was not processed has a
                  row without sst:height, one on which no individual was found has none
    regions       region_id, individual, trait, present, confidence, height, width, box, frame, rle
    region_hashes region_id, individual, trait, rle, content_hash; before this table, `regions` had the last column
    measurements  region_id, then one DOUBLE column a measurement
    reviews       region_id, individual, trait, review, reviewer, time, comment: what counted at the commit
    skipped       photograph, stage, reason
    searchable    all that a predicate may use, one row a region
    made          photograph, shard, content_hash, support_hash, removed: what its newest rows were made from
    notes         name, note (JSON): what shards note for later builds
    additions     generation, regions: a row each time something was added (`index.addition`); else no such table

Catalogs of version 0.1 had one individual a photograph, and a table `specimens`; they are read through views that give
them the tables above. Regions are numbered by trait, then individual; those that were added later have higher numbers,
and the numbers of removed ones are not given again. The file is written once (`index.generation`, or `index.addition`),
then only opened to read; some of these tables are views (`index.catalog_tables`), and a catalog that adds to another
one is read together with that.

A predicate (`where`) is one DuckDB expression over the collection's own columns, then `specimen`, `photograph`,
`individual`, `trait`, `confidence`, `review` and the measurements. If the collection has a column of such a name, the
collection's own is meant; this program's is then called "sst:confidence" and so on (in double quotes, as every name
with a colon).

Masks are reviewed between commits, so a reader applies the record of reviews to the open catalog (`apply_reviews`):
`review` then has its present value, and regions that were rejected, or redrawn since the build, are left out
of every result; the column "sst:hidden" marks them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sst_retrieval.errors import IndexFolderError, QueryError
from sst_retrieval.index.duck import SandboxedDatabase, column_namer, quote_name
from sst_retrieval.index.owner_lines import Owner
from sst_retrieval.index.owners import Owners
from sst_retrieval.index.paths import choose_base
from sst_retrieval.index.reviews import WHOLE, Key, RegionReviews, Review, latest_reviews
from sst_retrieval.types import Box, Frame, Individual, Photograph, Placement, Region, Skipped

PHOTOGRAPH_COLUMNS = ("sst:photograph", "sst:specimen", "sst:image", "sst:group", "sst:view")
"""Columns this program adds to a specimen table; the colon keeps them apart from the collection's own."""

INDIVIDUAL_COLUMNS = (
    *("sst:individual", *PHOTOGRAPH_COLUMNS, "sst:number", "sst:box", "sst:score", "sst:outline"),
    *("sst:height", "sst:width"),
)
"""Columns of the table of individuals, before the collection's own; number to outline as in `types.Placement`."""

PREDICATE_COLUMNS = ("specimen", "photograph", "individual", "trait", "confidence", "review")
"""What a predicate may use beside columns and measurements; "sst:" before it where the collection has it, too."""

_BEFORE_REVIEWS = (
    "this index was made before masks could be reviewed; run its build again (nothing is computed twice), then review"
)

_BATCH = 2048  # Masks in memory at a time.

BATCH_ROWS = 65_536
"""Rows of the table of regions in memory at a time."""

_ROWS_AT_ONCE = 10_000
"""Rows of individuals or photographs in memory at a time."""

_REVIEW_PLACE = 8
"""Place of the column "sst:review" in the table of regions."""

_PLACES = """(SELECT "sst:individual", "sst:photograph", "sst:specimen", "sst:number", "sst:box", "sst:score"
    FROM individuals)"""
"""The individuals without the collection's columns, one of which may be called like a column of the regions."""

_OLD_VIEWS = """
CREATE VIEW photographs AS SELECT "sst:specimen" AS "sst:photograph", "sst:specimen", "sst:image", "sst:group",
    '' AS "sst:view", * EXCLUDE ("sst:specimen", "sst:image", "sst:group") FROM old.specimens;
CREATE VIEW individuals AS SELECT "sst:photograph" AS "sst:individual", "sst:photograph", "sst:specimen", "sst:image",
    "sst:group", "sst:view", 1 AS "sst:number", NULL::INTEGER[] AS "sst:box", NULL::DOUBLE AS "sst:score",
    NULL::BLOB AS "sst:outline", r.height AS "sst:height", r.width AS "sst:width",
    p.* EXCLUDE ("sst:photograph", "sst:specimen", "sst:image", "sst:group", "sst:view")
    FROM photographs p LEFT JOIN (SELECT specimen, any_value(height) AS height, any_value(width) AS width
        FROM old.regions GROUP BY specimen) r ON r.specimen = "sst:photograph";
CREATE VIEW regions AS SELECT region_id, specimen AS individual, * EXCLUDE (region_id, specimen) FROM old.regions;
CREATE VIEW measurements AS FROM old.measurements;
CREATE VIEW skipped AS SELECT specimen AS photograph, stage, reason FROM old.skipped;
CREATE VIEW searchable AS SELECT "sst:specimen" AS "sst:individual", "sst:specimen" AS "sst:photograph", *{names}
    FROM old.searchable;
"""
"""The tables of today, of a catalog that version 0.1 made."""


class Catalog(SandboxedDatabase):
    """A committed catalog, opened read-only. Threads may share it.

    Attributes:
        columns: column of the collection -> DuckDB type.
        plain: whether every individual is the only one of its specimen, so that all three have one name.
        places_individuals: whether there are photographs that may show several, so that individuals have places.
        measurement_names: names of the measurements, in the order of their columns.
        has_review_column: whether the collection has a column `review` of its own, which then is the one a predicate
            means.
        region_reviews: the reviews that `apply_reviews` was given. The object is replaced as a whole and never changes:
            take it once a query.
    """

    def __init__(self, path: Path, owners_folder: Path | None = None) -> None:
        """Open a catalog.

        Args:
            path: `catalog.duckdb` of a generation.
            owners_folder: what `index.owners.write_owners` wrote of it, for quick answers; it need not exist.

        Raises:
            IndexFolderError: the file is missing, broken or no catalog.
        """
        super().__init__(path, choose_base(path))
        try:
            tables = self._adapt_old()
            columns, measured = self.rows("DESCRIBE individuals"), self.rows("DESCRIBE measurements")
            sql = 'SELECT count(*), count("sst:box") FROM individuals WHERE "sst:individual" <> "sst:specimen"'
            differ, placed = self.rows(sql)[0]
        except (duckdb.Error, IndexFolderError) as error:
            self.close()
            raise IndexFolderError(f"{path} is no catalog; run the build again to make it anew: {error}") from error
        self.columns: dict[str, str] = {name: kind for name, kind, *_ in columns if name not in INDIVIDUAL_COLUMNS}
        self.plain, self.places_individuals = differ == 0, placed > 0
        self.measurement_names = tuple(name for name, *_ in measured)[1:]
        self._hashes = "region_hashes" if "region_rows" in tables else "regions"
        # In which order regions are listed; of what was added, the numbers do not tell the order.
        self._order = ("trait", "individual") if "additions" in tables else ("region_id",)
        self.has_review_column = any(name.casefold() == "review" for name in self.columns)
        self.region_reviews = RegionReviews.of({}, [])
        self._owners: Owners | None = None
        if owners_folder is not None and owners_folder.exists():
            try:
                self._owners = Owners(owners_folder, list(self.columns))
            except IndexFolderError:
                self.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._owners = None
        super().close()

    def _adapt_old(self) -> set[str]:
        """Give a catalog of version 0.1 the tables of today; return the names of the tables that it has."""
        tables = {name for (name,) in self.rows("SELECT table_name FROM duckdb_tables()")}
        if "specimens" in tables and "individuals" not in tables:
            own = {name.casefold() for name, *_ in self.rows("DESCRIBE specimens")}
            added = [f'"sst:specimen" AS {name}' for name in ("individual", "photograph") if name not in own]
            self.reopen_through(_OLD_VIEWS.format(names="".join(f", {each}" for each in added)), schema="old")
        return tables

    def resolve(self, where: str, trait: str) -> npt.NDArray[np.int64]:
        """Resolve a predicate to the regions of a trait that it holds for.

        Args:
            where: one DuckDB expression (see the module).
            trait: name of the trait.

        Returns:
            int64 (n,), ids of present regions that are not hidden, ascending.

        Raises:
            QueryError: the predicate is not one expression or names something that is not there.
        """
        region_reviews = self.region_reviews
        cte, parameters = self._reviews_cte(where, region_reviews)
        sql = cte + 'SELECT "sst:region" FROM searchable WHERE "sst:trait" = $trait AND "sst:present" AND {}'
        ids = self.select_where(sql, where, {"trait": trait, **parameters}, table="searchable")["sst:region"]
        # Sorted here: of some hundred thousand regions, DuckDB's threads return the last ones first.
        return np.setdiff1d(np.sort(np.asarray(ids, dtype=np.int64)), region_reviews.hidden_ids, assume_unique=True)

    def resolve_by_individual(self, where: str, trait: str) -> dict[str, int]:
        """Resolve a predicate as `resolve` does: individual -> region id."""
        ids = self.resolve(where, trait).tolist()
        sql = 'SELECT "sst:individual", "sst:region" FROM searchable WHERE "sst:region" IN (SELECT unnest($ids))'
        return dict(self.rows(sql, {"ids": ids}))

    def name_regions(self, trait: str) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Name the individuals that show a trait, and are not hidden: their ids in order, and int64 (n,) region ids."""
        hidden = self.region_reviews.hidden_ids
        sql = """SELECT individual, region_id FROM regions WHERE trait = $trait AND present ORDER BY 1"""
        with self.cursor() as cursor:
            found = cursor.execute(sql, {"trait": trait}).fetchnumpy()
        ids = np.asarray(found["region_id"], dtype=np.int64)
        kept = ~np.isin(ids, hidden)
        return found["individual"][kept].tolist(), ids[kept]

    def match_individuals(self, ids: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.int64]]:
        """Find the individuals that have a region of every trait.

        Args:
            ids: trait -> int64 (n,), ids of regions of it, ascending.

        Returns:
            Trait -> int64 (m,), the region of each of these individuals, in order of the individuals' ids.
        """
        if (owners := self._owners) is not None:
            # Numbers of individuals, in order of their ids, as regions of a trait are.
            numbers = {trait: owners.numbers(own) for trait, own in ids.items()}
            common = functools.reduce(functools.partial(np.intersect1d, assume_unique=True), numbers.values())
            orders = {trait: np.argsort(own, kind="stable") for trait, own in numbers.items()}  # Of what was added.
            return {
                trait: own[orders[trait]][np.searchsorted(numbers[trait][orders[trait]], common)]
                for trait, own in ids.items()
            }
        sql = 'SELECT "sst:individual", "sst:region" FROM searchable WHERE "sst:region" IN (SELECT unnest($ids))'
        regions = {trait: dict(self.rows(sql, {"ids": own.tolist()})) for trait, own in ids.items()}
        names = sorted(set.intersection(*(set(own) for own in regions.values())))
        return {trait: np.array([own[name] for name in names], dtype=np.int64) for trait, own in regions.items()}

    def apply_reviews(self, reviews: Iterable[Review]) -> None:
        """Apply reviews to the catalog, in place of those applied before.

        Args:
            reviews: the whole record, oldest first; reviews of other photographs have no effect.

        Raises:
            IndexFolderError: there are reviews, and the catalog was made by a version without reviews.
        """
        current = latest_reviews(reviews)
        sql = f"""SELECT region_id, individual, trait, content_hash, rle FROM {self._hashes}
                 WHERE individual IN (SELECT unnest($names))"""
        names = sorted({name for name, *_ in current})
        rows = self._rows_with_hash(sql, {"names": names}) if names else []
        self.region_reviews = RegionReviews.of(current, rows, self._find_reviewed_individuals(current))

    def _find_reviewed_individuals(self, current: Mapping[Key, Review]) -> list[tuple[str, bytes | None, str]]:
        """Find (individual, outline, SHA-256 of the photograph's content) of those that were reviewed themselves."""
        names = sorted({name for name, trait, _ in current if trait == WHOLE})
        sql = f"""SELECT "sst:individual", "sst:outline", any_value(content_hash) FROM individuals
                 JOIN {self._hashes} ON individual = "sst:individual"
                 WHERE "sst:individual" IN (SELECT unnest($names)) GROUP BY ALL"""
        return (
            [(name, outline, content) for name, outline, content in self.rows(sql, {"names": names})] if names else []
        )

    def table(self, trait: str | None = None) -> Any:
        """Return one row a region, absent and rejected regions included.

        Args:
            trait: name of a trait; None takes all.

        Returns:
            A pandas data frame in order of trait and individual: sst:region, sst:individual, sst:photograph,
            sst:specimen, sst:trait, sst:present, sst:confidence, sst:group, sst:review ("" without a review), then the
            collection's own columns, then measurements; one that the collection has, too, is called "sst:" and its
            name.
        """
        region_reviews = self.region_reviews
        with self.cursor() as cursor:
            frame = cursor.execute(self._table_sql("$trait IS NULL OR r.trait = $trait"), {"trait": trait}).df()
        frame.insert(_REVIEW_PLACE, "sst:review", region_reviews.statuses(frame["sst:region"].to_numpy()))
        return frame

    def iterate_table(self, trait: str | None = None, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `table` as Arrow record batches, some thousand in memory at a time.

        Args:
            trait: name of a trait; None takes all.
            rows: of a batch, at most.

        Yields:
            Batches of one schema, at least one; empty (not NaN) where a value is missing.
        """
        region_reviews = self.region_reviews
        order = ", ".join(self._order)
        with self.cursor() as cursor:
            sql = f"SELECT region_id FROM regions WHERE $trait IS NULL OR trait = $trait ORDER BY {order}"
            ids = np.asarray(cursor.execute(sql, {"trait": trait}).fetchnumpy()["region_id"], dtype=np.int64)
        condition = "r.region_id BETWEEN $first AND $last AND r.region_id IN (SELECT unnest($ids::BIGINT[]))"
        for start in range(0, max(len(ids), 1), rows):
            part = ids[start : start + rows]
            first, last = (int(part.min()), int(part.max())) if len(part) else (0, 0)
            given = {"ids": part.tolist(), "first": first, "last": last}
            with self.cursor() as cursor:
                found = cursor.sql(self._table_sql(condition), params=given).to_arrow_table()
            decided = pa.array(region_reviews.statuses(part), pa.string())
            found = found.add_column(_REVIEW_PLACE, "sst:review", decided)
            yield from found.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=found.schema)]

    def _table_sql(self, condition: str) -> str:
        """Return the SQL that selects the rows of `table`, but for the decisions."""
        own = "".join(f", s.{quote_name(column)}" for column in self.columns)
        name_of = column_namer(self.columns)
        measured = "".join(f", m.{quote_name(name)} AS {quote_name(name_of(name))}" for name in self.measurement_names)
        return f"""SELECT r.region_id AS "sst:region", s."sst:individual", s."sst:photograph", s."sst:specimen",
                          r.trait AS "sst:trait", r.present AS "sst:present", r.confidence AS "sst:confidence",
                          s."sst:group"{own}{measured}
                   FROM regions r JOIN individuals s ON s."sst:individual" = r.individual
                   LEFT JOIN measurements m ON m.region_id = r.region_id
                   WHERE {condition} ORDER BY {", ".join(f"r.{name}" for name in self._order)}"""

    def measurements(self, trait: str, where: str | None = None) -> dict[str, npt.NDArray[Any]]:
        """Return the measurements of a trait on every individual that shows it.

        Args:
            trait: name of the trait.
            where: one DuckDB expression (see the module); None takes all.

        Returns:
            "specimen" -> str (n,), then where they have other names "photograph" and "individual", "confidence" and
            each measurement -> float64 (n,), NaN where missing, in order of the individuals; `pandas.DataFrame` takes
            it as it is.
        """
        where = "true" if where is None else where
        region_reviews = self.region_reviews
        cte, parameters = self._reviews_cte(where, region_reviews)
        sql = (
            cte
            + f"""SELECT {self.owner_names()}, confidence, measurements.* EXCLUDE (region_id)
                         FROM regions JOIN measurements USING (region_id)
                         JOIN {_PLACES} ON "sst:individual" = individual
                         WHERE trait = $trait AND region_id IN (SELECT "sst:region" FROM searchable WHERE {{}})
                               AND region_id NOT IN (SELECT unnest($hidden))
                         ORDER BY {", ".join(f"regions.{name}" for name in self._order)}"""
        )
        parameters = {"trait": trait, **parameters, "hidden": region_reviews.hidden_ids.tolist()}
        table = self.select_where(sql, where, parameters, table="searchable")
        return {
            name: np.asarray(values.filled(np.nan) if isinstance(values, np.ma.MaskedArray) else values)
            for name, values in table.items()
        }

    def groups(self) -> dict[str, str]:
        """Return individual -> its group."""
        return dict(self.rows('SELECT "sst:individual", "sst:group" FROM individuals'))

    def owner_names(self) -> str:
        """Return SQL that selects from `individuals` what a table names: the specimen, and more where that differs."""
        return ", ".join(f'"sst:{name}" AS {name}' for name in self.owner_columns)

    @property
    def owner_columns(self) -> tuple[str, ...]:
        """Columns by which a table names an individual: "specimen", and two more unless all have one name."""
        return ("specimen",) if self.plain else ("specimen", "photograph", "individual")

    def confidences(self) -> list[tuple[str, float]]:
        """Return (individual, confidence) of every region, absent traits included, ordered by individual.

        A rejected mask has confidence 0, an accepted or redrawn one 1.
        """
        reviewed = {
            number: float(review.overrides_propagation) for number, review in self.region_reviews.by_region.items()
        }
        rows = self.rows("SELECT region_id, individual, confidence FROM regions ORDER BY individual, region_id")
        return [(name, reviewed.get(number, confidence)) for number, name, confidence in rows]

    def iterate_regions(self, region_ids: npt.NDArray[np.int64]) -> Iterator[Region]:
        """Yield regions with their masks and frames, ordered by region id, some thousand in memory at a time.

        Args:
            region_ids: int64 (n,).

        Yields:
            Regions without vectors and measurements.
        """
        sql = f"""SELECT individual, trait, present, confidence, height, width, rle, box, frame,
                        "sst:photograph", "sst:number", "sst:box", "sst:score"
                 FROM regions JOIN {_PLACES} ON "sst:individual" = individual
                 WHERE region_id BETWEEN $first AND $last AND region_id IN (SELECT unnest($ids)) ORDER BY region_id"""
        ordered = np.sort(region_ids)
        for start in range(0, len(ordered), _BATCH):
            part = ordered[start : start + _BATCH].tolist()
            given = {"ids": part, "first": part[0], "last": part[-1]}
            for name, trait, present, confidence, *rest in self.rows(sql, given):
                height, width, rle, box, frame, *where = rest
                place = (height, width), rle, tuple(box), Frame(tuple(frame))
                yield Region(
                    *(name, trait, present, confidence, *place),
                    vector=None,
                    measurements={},
                    placement=_place(*where),
                )

    def owners(self, region_ids: Sequence[int]) -> dict[int, Owner]:
        """Return what a hit says about whose regions they are.

        Args:
            region_ids: any number of them, in any order.

        Returns:
            region id -> its owner.
        """
        if (owners := self._owners) is not None:
            return {int(number): owners.owner(int(number)) for number in region_ids}
        own = "".join(f", {quote_name(column)}" for column in self.columns)
        sql = f"""SELECT "sst:region", "sst:individual", "sst:photograph", "sst:specimen", "sst:confidence"{own}
                  FROM searchable WHERE "sst:region" IN (SELECT unnest($ids))"""
        rows = self.rows(sql, {"ids": [int(number) for number in region_ids]})
        return {
            row[0]: Owner(row[1], row[2], row[3], row[4], dict(zip(self.columns, row[5:], strict=True))) for row in rows
        }

    def names(self, individual: str) -> tuple[str, str] | None:
        """Return the photograph that an individual is on, and the specimen; None if there is no such individual."""
        if (owners := self._owners) is not None:
            return owners.names(individual)
        sql = 'SELECT "sst:photograph", "sst:specimen" FROM individuals WHERE "sst:individual" = $name'
        found: list[tuple[Any, ...]] = self.rows(sql, {"name": individual})
        return (found[0][0], found[0][1]) if found else None

    def region_id(self, individual: str, trait: str) -> int | None:
        """Return the id of a region, which may be absent; None if the trait was never looked for."""
        if (owners := self._owners) is not None:
            return owners.region(individual, trait)
        sql = "SELECT region_id FROM regions WHERE individual = $individual AND trait = $trait"
        found = self.rows(sql, {"individual": individual, "trait": trait})
        return int(found[0][0]) if found else None

    def individual(self, name: str) -> Individual | None:
        """Return an individual by its id, or None."""
        rows = self.rows('SELECT * FROM individuals WHERE "sst:individual" = $name', {"name": name})
        return self._individual(rows[0]) if rows else None

    def individuals(self, where: str | None = None) -> list[Individual]:
        """Return the individuals that a predicate over the collection's own columns holds for, ordered by id.

        Args:
            where: one DuckDB expression; None takes all.

        Raises:
            QueryError: the predicate is not one expression or names something that is not there.
        """
        return list(self.iterate_individuals(where))

    def iterate_individuals(self, where: str | None = None) -> Iterator[Individual]:
        """Yield the individuals of `individuals`, some thousand in memory at a time."""
        names: pa.ChunkedArray | npt.NDArray[Any]
        if where is None:
            with self.cursor() as cursor:
                names = cursor.sql('SELECT "sst:individual" FROM individuals ORDER BY 1').to_arrow_table().column(0)
        else:
            cte, parameters = self._reviews_cte(where, self.region_reviews)
            sql = cte + 'SELECT "sst:individual" FROM individuals WHERE {}'
            names = np.sort(self.select_where(sql, where, parameters, table="individuals")["sst:individual"])
        for row in self._iterate_rows("individuals", "sst:individual", names):
            yield self._individual(row)

    def individuals_named(self, names: Iterable[str]) -> Iterator[Individual]:
        """Yield the individuals of some ids, ordered by id; those that are not there are left out."""
        for row in self._iterate_rows("individuals", "sst:individual", np.array(sorted(set(names)), dtype=object)):
            yield self._individual(row)

    def individuals_on(self, photographs: Iterable[str]) -> Iterator[Individual]:
        """Yield the individuals on some photographs, ordered by the id of the photograph and their number."""
        names = np.array(sorted(set(photographs)), dtype=object)
        for row in self._iterate_rows("individuals", "sst:photograph", names, then="sst:number"):
            yield self._individual(row)

    def regions_of(self, individuals: Iterable[str]) -> Iterator[Region]:
        """Yield the regions that some individuals show (see `iterate_regions`), rejected masks left out."""
        names = sorted(set(individuals))
        sql = """SELECT region_id FROM regions WHERE present AND individual BETWEEN $first AND $last
                 AND individual IN (SELECT unnest($names))"""
        if not names:
            return
        with self.cursor() as cursor:
            given = {"first": names[0], "last": names[-1], "names": names}
            ids = np.asarray(cursor.execute(sql, given).fetchnumpy()["region_id"], dtype=np.int64)
        yield from self.iterate_regions(np.setdiff1d(ids, self.region_reviews.hidden_ids, assume_unique=True))

    def _iterate_rows(
        self, table: str, key: str, names: pa.ChunkedArray | npt.NDArray[Any], then: str | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of these names, which are sorted, in their order; no cursor is held meanwhile.

        Args:
            table: name of a table.
            key: the column that names are of.
            names: str (n,), each once.
            then: the column by which rows of one name are ordered; None where each name has one row.
        """
        name, order = quote_name(key), ", ".join(quote_name(each) for each in (key, then) if each is not None)
        sql = f"""SELECT * FROM {table} WHERE {name} BETWEEN $first AND $last AND {name} IN (SELECT unnest($names))
                  ORDER BY {order}"""
        for start in range(0, len(names), _ROWS_AT_ONCE):
            part = names[start : start + _ROWS_AT_ONCE]
            listed = part.to_pylist() if isinstance(part, pa.ChunkedArray) else part.tolist()
            yield from self.rows(sql, {"first": listed[0], "last": listed[-1], "names": listed})

    def nearest_names(self, name: str, count: int = 3) -> list[str]:
        """Return the ids of individuals with the smallest edit distance (Levenshtein) to a name."""
        sql = """SELECT "sst:individual" FROM individuals
                 ORDER BY levenshtein(lower("sst:individual"), lower($name)), 1 LIMIT $count"""
        return [found for (found,) in self.rows(sql, {"name": name, "count": count})]

    def individuals_of(self, name: str) -> list[str]:
        """Return the ids of the individuals on a photograph, or of a specimen, in order."""
        sql = """SELECT "sst:individual" FROM individuals WHERE "sst:photograph" = $name OR "sst:specimen" = $name
                 ORDER BY "sst:photograph", "sst:number\""""
        return [found for (found,) in self.rows(sql, {"name": name})]

    def showing(self, individuals: Sequence[str], trait: str) -> list[tuple[str, str]]:
        """Return (photograph, individual) of those of some individuals that show a trait, rejected masks left out."""
        sql = f"""SELECT "sst:photograph", individual, region_id FROM regions
                 JOIN {_PLACES} ON "sst:individual" = individual
                 WHERE trait = $trait AND present AND individual IN (SELECT unnest($names)) ORDER BY ALL"""
        hidden = set(self.region_reviews.hidden_ids.tolist())
        rows = self.rows(sql, {"trait": trait, "names": list(individuals)})
        return [(photograph, name) for photograph, name, number in rows if number not in hidden]

    def photograph(self, name: str) -> Photograph | None:
        """Return a photograph by its id, or None."""
        rows = self.rows('SELECT * FROM photographs WHERE "sst:photograph" = $name', {"name": name})
        return self._photograph(rows[0]) if rows else None

    def photographs(self) -> list[Photograph]:
        """Return all photographs, those without an individual included, ordered by id."""
        return list(self.iterate_photographs())

    def iterate_photographs(self) -> Iterator[Photograph]:
        """Yield the photographs of `photographs`, some thousand in memory at a time."""
        with self.cursor() as cursor:
            names = cursor.sql('SELECT "sst:photograph" FROM photographs ORDER BY 1').to_arrow_table().column(0)
        for row in self._iterate_rows("photographs", "sst:photograph", names):
            yield self._photograph(row)

    def region(self, individual: str, trait: str) -> tuple[int, Region] | None:
        """Return a region's id and the region without its vector, or None if the trait was never looked for."""
        sql = f"""SELECT region_id, present, confidence, height, width, rle, box, frame,
                        "sst:photograph", "sst:number", "sst:box", "sst:score"
                 FROM regions JOIN {_PLACES} ON "sst:individual" = individual
                 WHERE individual = $individual AND trait = $trait"""
        rows = self.rows(sql, {"individual": individual, "trait": trait})
        if not rows:
            return None
        number, present, confidence, height, width, rle, box, frame, *where = rows[0]
        measured = self.rows("SELECT * EXCLUDE (region_id) FROM measurements WHERE region_id = $id", {"id": number})
        pairs = zip(self.measurement_names, measured[0], strict=True) if measured else ()
        region = Region(
            individual=individual,
            trait=trait,
            present=present,
            confidence=confidence,
            size=(height, width),
            rle=rle,
            box=tuple(box),
            frame=Frame(tuple(frame)),
            vector=None,
            measurements={name: value for name, value in pairs if value is not None},
            placement=_place(*where),
        )
        return number, region

    def content_hash(self, region_id: int) -> str:
        """Return the SHA-256 of the photograph that a region was found on.

        Raises:
            IndexFolderError: the catalog was made by a version that did not store hashes.
        """
        sql = f"SELECT content_hash FROM {self._hashes} WHERE region_id = $id"
        return str(self._rows_with_hash(sql, {"id": region_id})[0][0])

    def content_hashes(self, individual: str) -> tuple[str, ...]:
        """Return the SHA-256 of the photograph that an individual was found on; empty if it was never read.

        Raises:
            IndexFolderError: the catalog was made by a version that did not store hashes.
        """
        sql = f"SELECT DISTINCT content_hash FROM {self._hashes} WHERE individual = $name"
        return tuple(str(content) for (content,) in self._rows_with_hash(sql, {"name": individual}))

    def encoded_mask(self, region_id: int) -> tuple[bytes, tuple[int, int]]:
        """Return a region's mask as compressed COCO run-length counts, and the (height, width) of its photograph."""
        sql = "SELECT rle, height, width FROM regions WHERE region_id = $id"
        ((rle, height, width),) = self.rows(sql, {"id": region_id})
        return rle, (height, width)

    def region_ids(self, trait: str) -> npt.NDArray[np.int64]:
        """Return the ids of the regions that show a trait, int64 (n,), ascending."""
        return self.resolve("true", trait)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count, for each trait in order of name, the regions that show it ("present") and that do not ("absent")."""
        sql = """SELECT trait, count(*) FILTER (present), count(*) FILTER (NOT present)
                 FROM regions GROUP BY trait ORDER BY trait"""
        return {trait: {"present": present, "absent": absent} for trait, present, absent in self.rows(sql)}

    def sum_ids(self) -> dict[str, tuple[int, int]]:
        """Return, for each trait, how many regions show it and the sum of their ids: cheap to compare with others."""
        sql = "SELECT trait, count(*), CAST(sum(region_id) AS BIGINT) FROM regions WHERE present GROUP BY trait"
        return {trait: (count, total) for trait, count, total in self.rows(sql)}

    def count_nouns(self) -> dict[str, int]:
        """Count "specimens" and "photographs", skipped ones included, and the "individuals" that were found."""
        specimens, photographs = self.rows('SELECT count(DISTINCT "sst:specimen"), count(*) FROM photographs')[0]
        (individuals,) = self.rows('SELECT count("sst:height") FROM individuals')[0]
        return {"specimens": specimens, "photographs": photographs, "individuals": individuals}

    def skipped(self) -> list[Skipped]:
        """Return the photographs that could not be indexed, ordered by id."""
        return [Skipped(*row) for row in self.rows("SELECT photograph, stage, reason FROM skipped ORDER BY ALL")]

    def describe_columns(self, table: str) -> str:
        """List the columns of a table, and which of this program's the collection's columns shadow."""
        own = {name.casefold() for name in self.columns}
        shadowed = [name for name in (*PREDICATE_COLUMNS, *self.measurement_names) if name.casefold() in own]
        listed = super().describe_columns(table)
        if table != "searchable" or not shadowed:
            return listed
        return f"{listed}; {', '.join(shadowed)} of your table, the program's own: " + ", ".join(
            quote_name(f"sst:{name}") for name in shadowed
        )

    def _reviews_cte(self, where: str, region_reviews: RegionReviews) -> tuple[str, dict[str, Any]]:
        """Write a common table expression that shadows `searchable` with one that knows the applied reviews.

        Args:
            where: the predicate; what it does not name is not joined, for speed.
            region_reviews: the applied reviews.

        Returns:
            SQL to put before a SELECT that reads `searchable` ("" if it needs none), and its parameters.
        """
        if not isinstance(where, str):
            raise QueryError(f"the predicate {where!r} is no text; write one such as \"sex = 'female'\"")
        text = where.casefold()
        columns, more_columns, join = "known.*", "", ""
        parameters: dict[str, Any] = {}
        if "review" in text:
            reviewed = list(region_reviews.by_region)
            parameters = {"reviewed": reviewed, "reviews": [region_reviews.status(number) for number in reviewed]}
            columns = "known.*" if self.has_review_column else "known.* EXCLUDE (review), now.review"
            more_columns = ', now.review AS "sst:review"'
            join = """ LEFT JOIN (SELECT unnest($reviewed::BIGINT[]) AS region_id,
                                           unnest($reviews::VARCHAR[]) AS review) now
                         ON now.region_id = known."sst:region\""""
        if "sst:hidden" in text:
            parameters["hidden"] = region_reviews.hidden_ids.tolist()
            more_columns += ', known."sst:region" IN (SELECT unnest($hidden::BIGINT[])) AS "sst:hidden"'
        if not parameters:
            return "", {}
        return f"WITH searchable AS (SELECT {columns}{more_columns} FROM main.searchable known{join}) ", parameters

    def _rows_with_hash(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run SQL that reads `content_hash`, a column that early versions did not write.

        Raises:
            IndexFolderError: the catalog has no such column.
        """
        try:
            return self.rows(sql, parameters)
        except duckdb.BinderException as error:
            raise IndexFolderError(_BEFORE_REVIEWS) from error

    def _individual(self, row: tuple[Any, ...]) -> Individual:
        name, *rest = row
        known = len(PHOTOGRAPH_COLUMNS)
        number, box, score, outline, height, width, *values = rest[known:]
        return Individual(
            name,
            self._photograph((*rest[:known], *values)),
            number,
            _box(box),
            score,
            outline,
            None if height is None else (height, width),
        )

    def _photograph(self, row: tuple[Any, ...]) -> Photograph:
        name, specimen, image, group, view, *values = row
        metadata = dict(zip(self.columns, values, strict=True))
        return Photograph(name, Path(image), group, metadata, specimen=specimen, view=view or "")


def _place(photograph: str, number: int, box: Sequence[int] | None, score: float | None) -> Placement | None:
    """Return where an individual is; None for the only one of a photograph that was not looked for."""
    return None if score is None and box is None else Placement(photograph, number, _box(box), score)


def _box(box: Sequence[int] | None) -> Box | None:
    if box is None:
        return None
    x0, y0, x1, y1 = box
    return x0, y0, x1, y1
