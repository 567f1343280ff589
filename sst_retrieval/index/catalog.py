"""The catalog of a generation: its specimens, regions, measurements and reviews in one DuckDB file.

    specimens     sst:specimen, sst:image, sst:group, then every column of the collection under its own name
    regions       region_id, specimen, trait, present, confidence, height, width, box, frame, rle, content_hash
    measurements  region_id, then one DOUBLE column a measurement
    reviews       region_id, specimen, trait, review, reviewer, time, comment: the decisions that counted at the commit
    skipped       specimen, stage, reason
    searchable    all that a predicate may use, one row a region

Regions are numbered by trait, then specimen. The file is written once (`index.generation`), then only opened to read.

A predicate (`where`) is one DuckDB expression over the collection's own columns, then `specimen`, `trait`,
`confidence`, `review` and the measurements. If the collection has a column of such a name, the collection's own is
meant; this program's is then called "sst:confidence" and so on (in double quotes, as every name with a colon).

Masks are reviewed between commits, so a reader applies the record of reviews to the open catalog (`apply_reviews`):
`review` then has its present value, and regions that were rejected, or redrawn since the build, are left out
of every result; the column "sst:hidden" marks them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.duck import SandboxedDatabase, column_namer, quote_name
from sst_retrieval.index.reviews import RegionReviews, Review, latest_reviews
from sst_retrieval.types import Frame, Individual, Photograph, Region, Scalar, Skipped

PROGRAM_COLUMNS = ("sst:specimen", "sst:image", "sst:group")
"""Columns this program adds to a specimen table; the colon keeps them apart from the collection's own."""

PREDICATE_COLUMNS = ("specimen", "trait", "confidence", "review")
"""What a predicate may use beside columns and measurements; "sst:" before it where the collection has it, too."""

_BEFORE_REVIEWS = (
    "this index was made before masks could be reviewed; run its build again (nothing is computed twice), then review"
)

_BATCH = 2048  # Masks in memory at a time.


class Catalog(SandboxedDatabase):
    """A committed catalog, opened read-only. Threads may share it.

    Attributes:
        columns: column of the collection -> DuckDB type.
        measurement_names: names of the measurements, in the order of their columns.
        has_review_column: whether the collection has a column `review` of its own, which then is the one a predicate
            means.
        region_reviews: the reviews that `apply_reviews` was given. The object is replaced as a whole and never changes:
            take it once a query.
    """

    def __init__(self, path: Path) -> None:
        """Open a catalog.

        Args:
            path: `catalog.duckdb` of a generation.

        Raises:
            IndexFolderError: the file is missing, broken or no catalog.
        """
        super().__init__(path)
        try:
            columns, measured = self.rows("DESCRIBE specimens"), self.rows("DESCRIBE measurements")
        except (duckdb.Error, IndexFolderError) as error:
            self.close()
            raise IndexFolderError(f"{path} is no catalog; run the build again to make it anew: {error}") from error
        self.columns: dict[str, str] = {name: kind for name, kind, *_ in columns if name not in PROGRAM_COLUMNS}
        self.measurement_names = tuple(name for name, *_ in measured)[1:]
        self.has_review_column = any(name.casefold() == "review" for name in self.columns)
        self.region_reviews = RegionReviews.of({}, [])

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

    def resolve_by_specimen(self, where: str, trait: str) -> dict[str, int]:
        """Resolve a predicate as `resolve` does: specimen -> region id."""
        ids = self.resolve(where, trait).tolist()
        sql = 'SELECT "sst:specimen", "sst:region" FROM searchable WHERE "sst:region" IN (SELECT unnest($ids))'
        return dict(self.rows(sql, {"ids": ids}))

    def apply_reviews(self, reviews: Iterable[Review]) -> None:
        """Apply reviews to the catalog, in place of those applied before.

        Args:
            reviews: the whole record, oldest first; reviews of other photographs have no effect.

        Raises:
            IndexFolderError: there are reviews, and the catalog was made by a version without reviews.
        """
        current = latest_reviews(reviews)
        sql = """SELECT region_id, specimen, trait, content_hash, rle FROM regions
                 WHERE specimen IN (SELECT unnest($names))"""
        names = sorted({name for name, *_ in current})
        self.region_reviews = RegionReviews.of(current, self._rows_with_hash(sql, {"names": names}) if names else [])

    def table(self, trait: str | None = None) -> Any:
        """Return one row a region, absent and rejected regions included.

        Args:
            trait: name of a trait; None takes all.

        Returns:
            A pandas data frame in order of trait and specimen: sst:region, sst:specimen, sst:trait,
            sst:present, sst:confidence, sst:group, sst:review ("" without a review), then the collection's own
            columns, then measurements; one that the collection has, too, is called "sst:" and its name.
        """
        own = "".join(f", s.{quote_name(column)}" for column in self.columns)
        name_of = column_namer(self.columns)
        measured = "".join(f", m.{quote_name(name)} AS {quote_name(name_of(name))}" for name in self.measurement_names)
        sql = f"""SELECT r.region_id AS "sst:region", r.specimen AS "sst:specimen", r.trait AS "sst:trait",
                         r.present AS "sst:present", r.confidence AS "sst:confidence", s."sst:group"{own}{measured}
                  FROM regions r JOIN specimens s ON s."sst:specimen" = r.specimen
                  LEFT JOIN measurements m ON m.region_id = r.region_id
                  WHERE $trait IS NULL OR r.trait = $trait ORDER BY r.region_id"""
        region_reviews = self.region_reviews
        with self.cursor() as cursor:
            frame = cursor.execute(sql, {"trait": trait}).df()
        frame.insert(6, "sst:review", [region_reviews.status(number) or "" for number in frame["sst:region"].tolist()])
        return frame

    def measurements(self, trait: str, where: str | None = None) -> dict[str, npt.NDArray[Any]]:
        """Return the measurements of a trait on every specimen that shows it.

        Args:
            trait: name of the trait.
            where: one DuckDB expression (see the module); None takes all.

        Returns:
            "specimen" -> str (n,), "confidence" and each measurement -> float64 (n,), NaN where missing, in order of
            the specimens; `pandas.DataFrame` takes it as it is.
        """
        where = "true" if where is None else where
        region_reviews = self.region_reviews
        cte, parameters = self._reviews_cte(where, region_reviews)
        sql = (
            cte
            + """SELECT specimen, confidence, measurements.* EXCLUDE (region_id)
                         FROM regions JOIN measurements USING (region_id)
                         WHERE trait = $trait AND region_id IN (SELECT "sst:region" FROM searchable WHERE {})
                               AND region_id NOT IN (SELECT unnest($hidden))
                         ORDER BY region_id"""
        )
        parameters = {"trait": trait, **parameters, "hidden": region_reviews.hidden_ids.tolist()}
        table = self.select_where(sql, where, parameters, table="searchable")
        return {
            name: np.asarray(values.filled(np.nan) if isinstance(values, np.ma.MaskedArray) else values)
            for name, values in table.items()
        }

    def groups(self) -> dict[str, str]:
        """Return specimen -> its group."""
        return dict(self.rows('SELECT "sst:specimen", "sst:group" FROM specimens'))

    def confidences(self) -> list[tuple[str, float]]:
        """Return (specimen, confidence) of every region, absent traits included, ordered by specimen.

        A rejected mask has confidence 0, an accepted or redrawn one 1.
        """
        reviewed = {
            number: float(review.overrides_propagation) for number, review in self.region_reviews.by_region.items()
        }
        rows = self.rows("SELECT region_id, specimen, confidence FROM regions ORDER BY specimen, region_id")
        return [(name, reviewed.get(number, confidence)) for number, name, confidence in rows]

    def iterate_regions(self, region_ids: npt.NDArray[np.int64]) -> Iterator[Region]:
        """Yield regions with their masks and frames, ordered by region id, some thousand in memory at a time.

        Args:
            region_ids: int64 (n,).

        Yields:
            Regions without vectors and measurements.
        """
        sql = """SELECT specimen, trait, present, confidence, height, width, rle, box, frame FROM regions
                 WHERE region_id IN (SELECT unnest($ids)) ORDER BY region_id"""
        for start in range(0, len(region_ids), _BATCH):
            part = np.sort(region_ids)[start : start + _BATCH].tolist()
            for name, trait, present, confidence, height, width, rle, box, frame in self.rows(sql, {"ids": part}):
                place = (height, width), rle, tuple(box), Frame(tuple(frame))
                yield Region(name, trait, present, confidence, *place, vector=None, measurements={})

    def owners(self, region_ids: Sequence[int]) -> dict[int, tuple[str, float, dict[str, Scalar]]]:
        """Return what a hit says about the specimens of regions.

        Args:
            region_ids: any number of them, in any order.

        Returns:
            region id -> (specimen, confidence of the mask, the specimen's row of the collection).
        """
        own = "".join(f", {quote_name(column)}" for column in self.columns)
        sql = f"""SELECT "sst:region", "sst:specimen", "sst:confidence"{own}
                  FROM searchable WHERE "sst:region" IN (SELECT unnest($ids))"""
        rows = self.rows(sql, {"ids": [int(number) for number in region_ids]})
        return {row[0]: (row[1], row[2], dict(zip(self.columns, row[3:], strict=True))) for row in rows}

    def individual(self, name: str) -> Individual | None:
        """Return an individual by its id, or None."""
        rows = self.rows('SELECT * FROM specimens WHERE "sst:specimen" = $name', {"name": name})
        return self._individual(rows[0]) if rows else None

    def individuals(self, where: str | None = None) -> list[Individual]:
        """Return the individuals that a predicate over the collection's own columns holds for, ordered by id.

        Args:
            where: one DuckDB expression; None takes all.

        Raises:
            QueryError: the predicate is not one expression or names something that is not there.
        """
        cte, parameters = self._reviews_cte(where or "true", self.region_reviews)
        sql = cte + 'SELECT "sst:specimen" FROM specimens WHERE {}'
        names = self.select_where(sql, where or "true", parameters, table="specimens")
        wanted = set(names["sst:specimen"].tolist())
        every = map(self._individual, self.rows('SELECT * FROM specimens ORDER BY "sst:specimen"'))
        return [each for each in every if each.id in wanted]

    def nearest_names(self, name: str, count: int = 3) -> list[str]:
        """Return the ids of specimens with the smallest edit distance (Levenshtein) to a name."""
        sql = """SELECT "sst:specimen" FROM specimens
                 ORDER BY levenshtein(lower("sst:specimen"), lower($name)), 1 LIMIT $count"""
        return [found for (found,) in self.rows(sql, {"name": name, "count": count})]

    def region(self, specimen: str, trait: str) -> tuple[int, Region] | None:
        """Return a region's id and the region without its vector, or None if the trait was never looked for."""
        sql = """SELECT region_id, present, confidence, height, width, rle, box, frame
                 FROM regions WHERE specimen = $specimen AND trait = $trait"""
        rows = self.rows(sql, {"specimen": specimen, "trait": trait})
        if not rows:
            return None
        number, present, confidence, height, width, rle, box, frame = rows[0]
        measured = self.rows("SELECT * EXCLUDE (region_id) FROM measurements WHERE region_id = $id", {"id": number})
        pairs = zip(self.measurement_names, measured[0], strict=True) if measured else ()
        region = Region(
            individual=specimen,
            trait=trait,
            present=present,
            confidence=confidence,
            size=(height, width),
            rle=rle,
            box=tuple(box),
            frame=Frame(tuple(frame)),
            vector=None,
            measurements={name: value for name, value in pairs if value is not None},
        )
        return number, region

    def content_hash(self, region_id: int) -> str:
        """Return the SHA-256 of the photograph that a region was found on.

        Raises:
            IndexFolderError: the catalog was made by a version that did not store hashes.
        """
        sql = "SELECT content_hash FROM regions WHERE region_id = $id"
        return str(self._rows_with_hash(sql, {"id": region_id})[0][0])

    def content_hashes(self, specimen: str) -> tuple[str, ...]:
        """Return the SHA-256 of the photograph that a specimen's regions were found on; empty if it was never read.

        Raises:
            IndexFolderError: the catalog was made by a version that did not store hashes.
        """
        sql = "SELECT DISTINCT content_hash FROM regions WHERE specimen = $name"
        return tuple(str(content) for (content,) in self._rows_with_hash(sql, {"name": specimen}))

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

    def specimen_count(self) -> int:
        """Count the specimens, skipped ones included."""
        return int(self.rows("SELECT count(*) FROM specimens")[0][0])

    def skipped(self) -> list[Skipped]:
        """Return the specimens that could not be indexed, ordered by id."""
        return [Skipped(*row) for row in self.rows("SELECT specimen, stage, reason FROM skipped ORDER BY ALL")]

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
        name, image, group, *values = row
        return Individual(name, Photograph(name, Path(image), group, dict(zip(self.columns, values, strict=True))))
