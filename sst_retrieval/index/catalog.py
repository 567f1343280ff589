"""Room 5a: one generation's DuckDB file: who the regions belong to.

    specimens     sst:specimen, sst:image, sst:group, then every column of the collection under its own name
    regions       region_id, specimen, trait, present, confidence, height, width, box, frame, rle, content_hash
    measurements  region_id, then one DOUBLE column a measurement
    reviews       region_id, specimen, trait, review, reviewer, time, comment: the decisions that counted at the commit
    skipped       specimen, stage, reason
    searchable    all that a predicate may use, one row a region

Regions are numbered by trait, then specimen. The file is written once (`write_catalog`) and then only opened to read.

A predicate (`where`) is one DuckDB expression over the collection's own columns, then `specimen`, `trait`,
`confidence`, `review` and the measurements. If the collection has a column of such a name, the collection's own is
meant; this program's is then called "sst:confidence" and so on (in double quotes, as every name with a colon).

Decisions come in between commits, so a reader lays the record of reviews over the catalog (`judge`): `review` is then
as it is now, and regions that were rejected, or redrawn and not yet described anew, are no longer found; "sst:hidden"
says which these are.
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
from sst_retrieval.index.reviews import Judgements, Review, latest
from sst_retrieval.types import Frame, Region, Scalar, Skipped, Specimen

OWN = ("sst:specimen", "sst:image", "sst:group")
"""Columns this program adds to a specimen table; the colon keeps them apart from the collection's own."""

NAMES = ("specimen", "trait", "confidence", "review")
"""What a predicate may use beside columns and measurements; "sst:" before it where the collection has it, too."""

_BEFORE_REVIEWS = (
    "this index was made before masks could be reviewed; run its build again (nothing is computed twice), then review"
)

_AT_ONCE = 2048  # Masks in memory at a time.


class Catalog(SandboxedDatabase):
    """A committed catalog, opened to read only. Threads may share it."""

    def __init__(self, path: Path) -> None:
        """Open a catalog.

        Args:
            path: file that `index.generation.write_generation` made.

        Raises:
            IndexFolderError: the file is missing, broken or no catalog.
        """
        super().__init__(path)
        try:
            columns, measured = self.rows("DESCRIBE specimens"), self.rows("DESCRIBE measurements")
        except duckdb.Error as error:
            self.close()
            raise IndexFolderError(f"{path} is no catalog; run the build again to make it anew: {error}") from error
        self.columns: dict[str, str] = {name: kind for name, kind, *_ in columns if name not in OWN}
        self.measurement_names = tuple(name for name, *_ in measured)[1:]
        self.own_review = any(name.casefold() == "review" for name in self.columns)
        """Whether the collection has a column `review` of its own; then that one is meant."""
        self.judgements = Judgements.of({}, [])
        """What people decided, as far as `judge` was told. It is replaced as a whole: look at it once a question."""

    def resolve(self, where: str, trait: str) -> npt.NDArray[np.int64]:
        """Find the regions of a trait that a predicate holds for.

        Args:
            where: one DuckDB expression, see above.
            trait: name of the trait.

        Returns:
            int64 (n,), ids of present regions, ascending.

        Raises:
            QueryError: the predicate is not one expression or names something that is not there.
        """
        judgements = self.judgements
        today, reviews = self._today(where, judgements)
        sql = today + 'SELECT "sst:region" FROM searchable WHERE "sst:trait" = $trait AND "sst:present" AND {}'
        ids = self.ask(sql, where, {"trait": trait, **reviews}, table="searchable")["sst:region"]
        # Sorted here: of some hundred thousand regions, DuckDB's threads return the last ones first.
        return np.setdiff1d(np.sort(np.asarray(ids, dtype=np.int64)), judgements.hidden, assume_unique=True)

    def resolve_by_specimen(self, where: str, trait: str) -> dict[str, int]:
        """Find the same regions as `resolve`: specimen -> region id."""
        ids = self.resolve(where, trait).tolist()
        sql = 'SELECT "sst:specimen", "sst:region" FROM searchable WHERE "sst:region" IN (SELECT unnest($ids))'
        return dict(self.rows(sql, {"ids": ids}))

    def judge(self, reviews: Iterable[Review]) -> None:
        """Lay what people decided over the catalog.

        Args:
            reviews: all of the record, oldest first; decisions on other photographs are left alone.

        Raises:
            IndexFolderError: there are decisions, and the catalog was made by a version that knew none.
        """
        counting = latest(reviews)
        sql = """SELECT region_id, specimen, trait, content_hash, rle FROM regions
                 WHERE specimen IN (SELECT unnest($names))"""
        names = sorted({name for name, *_ in counting})
        self.judgements = Judgements.of(counting, self._with_contents(sql, {"names": names}) if names else [])

    def table(self, trait: str | None = None) -> Any:
        """Return all that is known of every region, absent and rejected ones included.

        Returns:
            A pandas data frame, one row a region, in order of trait and specimen: sst:region, sst:specimen, sst:trait,
            sst:present, sst:confidence, sst:group, sst:review ("" if nobody decided), then the collection's own
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
        judgements = self.judgements
        with self.cursor() as cursor:
            frame = cursor.execute(sql, {"trait": trait}).df()
        frame.insert(6, "sst:review", [judgements.word(number) or "" for number in frame["sst:region"].tolist()])
        return frame

    def measurements(self, trait: str, where: str | None = None) -> dict[str, npt.NDArray[Any]]:
        """Return the measurements of a trait on every specimen that shows it.

        Returns:
            "specimen" -> str (n,), "confidence" and each measurement -> float64 (n,), NaN where it is missing; a data
            frame takes it as it is. Ordered by specimen.
        """
        where = "true" if where is None else where
        judgements = self.judgements
        today, reviews = self._today(where, judgements)
        sql = (
            today
            + """SELECT specimen, confidence, measurements.* EXCLUDE (region_id)
                         FROM regions JOIN measurements USING (region_id)
                         WHERE trait = $trait AND region_id IN (SELECT "sst:region" FROM searchable WHERE {})
                               AND region_id NOT IN (SELECT unnest($hidden))
                         ORDER BY region_id"""
        )
        known = {"trait": trait, **reviews, "hidden": judgements.hidden.tolist()}
        table = self.ask(sql, where, known, table="searchable")
        return {
            name: np.asarray(values.filled(np.nan) if isinstance(values, np.ma.MaskedArray) else values)
            for name, values in table.items()
        }

    def groups(self) -> dict[str, str]:
        """Return specimen -> the group whose support served it."""
        return dict(self.rows('SELECT "sst:specimen", "sst:group" FROM specimens'))

    def confidences(self) -> list[tuple[str, float]]:
        """Return (specimen, confidence) of every region, absent traits included, ordered by specimen.

        A mask that was rejected deserves no confidence, one that a person settled all of it.
        """
        judged = {number: float(review.settles_mask) for number, review in self.judgements.reviews.items()}
        rows = self.rows("SELECT region_id, specimen, confidence FROM regions ORDER BY specimen, region_id")
        return [(name, judged.get(number, confidence)) for number, name, confidence in rows]

    def drawn(self, region_ids: npt.NDArray[np.int64]) -> Iterator[Region]:
        """Go through regions, their masks and frames, without vectors and measurements, ordered by region id."""
        sql = """SELECT specimen, trait, present, confidence, height, width, rle, box, frame FROM regions
                 WHERE region_id IN (SELECT unnest($ids)) ORDER BY region_id"""
        for start in range(0, len(region_ids), _AT_ONCE):
            part = np.sort(region_ids)[start : start + _AT_ONCE].tolist()
            for name, trait, present, confidence, height, width, rle, box, frame in self.rows(sql, {"ids": part}):
                place = (height, width), rle, tuple(box), Frame(tuple(frame))
                yield Region(name, trait, present, confidence, *place, vector=None, measurements={})

    def owners(self, region_ids: Sequence[int]) -> dict[int, tuple[str, float, dict[str, Scalar]]]:
        """Say whom regions belong to.

        Returns:
            region id -> (specimen, confidence of the mask, the specimen's row of the collection).
        """
        own = "".join(f", {quote_name(column)}" for column in self.columns)
        sql = f"""SELECT "sst:region", "sst:specimen", "sst:confidence"{own}
                  FROM searchable WHERE "sst:region" IN (SELECT unnest($ids))"""
        rows = self.rows(sql, {"ids": [int(number) for number in region_ids]})
        return {row[0]: (row[1], row[2], dict(zip(self.columns, row[3:], strict=True))) for row in rows}

    def specimen(self, name: str) -> Specimen | None:
        """Return a specimen by its id, or None."""
        rows = self.rows('SELECT * FROM specimens WHERE "sst:specimen" = $name', {"name": name})
        return self._specimen(rows[0]) if rows else None

    def specimens(self, where: str | None = None) -> list[Specimen]:
        """Return the specimens a predicate over the collection's own columns holds for, ordered by id.

        Raises:
            QueryError: the predicate is not one expression or names something that is not there.
        """
        today, reviews = self._today(where or "true", self.judgements)
        sql = today + 'SELECT "sst:specimen" FROM specimens WHERE {}'
        names = self.ask(sql, where or "true", reviews, table="specimens")
        wanted = set(names["sst:specimen"].tolist())
        every = map(self._specimen, self.rows('SELECT * FROM specimens ORDER BY "sst:specimen"'))
        return [specimen for specimen in every if specimen.id in wanted]

    def nearest_names(self, name: str, count: int = 3) -> list[str]:
        """Return the specimens' ids that are spelt most like a name."""
        sql = """SELECT "sst:specimen" FROM specimens
                 ORDER BY levenshtein(lower("sst:specimen"), lower($name)), 1 LIMIT $count"""
        return [found for (found,) in self.rows(sql, {"name": name, "count": count})]

    def region(self, specimen: str, trait: str) -> tuple[int, Region] | None:
        """Return a region's number and the region without its vector, or None if the trait was never looked for."""
        sql = """SELECT region_id, present, confidence, height, width, rle, box, frame
                 FROM regions WHERE specimen = $specimen AND trait = $trait"""
        rows = self.rows(sql, {"specimen": specimen, "trait": trait})
        if not rows:
            return None
        number, present, confidence, height, width, rle, box, frame = rows[0]
        measured = self.rows("SELECT * EXCLUDE (region_id) FROM measurements WHERE region_id = $id", {"id": number})
        pairs = zip(self.measurement_names, measured[0], strict=True) if measured else ()
        region = Region(
            specimen=specimen,
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

    def content(self, region_id: int) -> str:
        """Return the SHA-256 of the photograph that a region was found on.

        Raises:
            IndexFolderError: the catalog was made by a version that kept none.
        """
        sql = "SELECT content_hash FROM regions WHERE region_id = $id"
        return str(self._with_contents(sql, {"id": region_id})[0][0])

    def contents(self, specimen: str) -> tuple[str, ...]:
        """Return the SHA-256 of the photograph that a specimen's regions were found on; none if it was never read.

        Raises:
            IndexFolderError: the catalog was made by a version that kept none.
        """
        sql = "SELECT DISTINCT content_hash FROM regions WHERE specimen = $name"
        return tuple(str(content) for (content,) in self._with_contents(sql, {"name": specimen}))

    def mask_code(self, region_id: int) -> tuple[bytes, tuple[int, int]]:
        """Return a region's run-length code and the (height, width) of its photograph."""
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

    def specimen_count(self) -> int:
        """Count the specimens, skipped ones included."""
        return int(self.rows("SELECT count(*) FROM specimens")[0][0])

    def skipped(self) -> list[Skipped]:
        """Return the specimens that could not be indexed, ordered by id."""
        return [Skipped(*row) for row in self.rows("SELECT specimen, stage, reason FROM skipped ORDER BY ALL")]

    def explanation(self, table: str) -> str:
        """List the columns of a table, and what of this program's own the collection's columns hide."""
        own = {name.casefold() for name in self.columns}
        hidden = [name for name in (*NAMES, *self.measurement_names) if name.casefold() in own]
        said = super().explanation(table)
        if table != "searchable" or not hidden:
            return said
        return f"{said}; {', '.join(hidden)} of your table, the program's own: " + ", ".join(
            quote_name(f"sst:{name}") for name in hidden
        )

    def _today(self, where: str, judgements: Judgements) -> tuple[str, dict[str, Any]]:
        """Lay today's decisions over `searchable`, if a predicate asks for them.

        Returns:
            What to write before a SELECT that reads `searchable`, and its parameters.
        """
        asked = where.casefold()
        kept, added, joined = "known.*", "", ""
        parameters: dict[str, Any] = {}
        if "review" in asked:
            reviewed = list(judgements.reviews)
            parameters = {"reviewed": reviewed, "reviews": [judgements.word(number) for number in reviewed]}
            kept = "known.*" if self.own_review else "known.* EXCLUDE (review), now.review"
            added = ', now.review AS "sst:review"'
            joined = """ LEFT JOIN (SELECT unnest($reviewed::BIGINT[]) AS region_id,
                                           unnest($reviews::VARCHAR[]) AS review) now
                         ON now.region_id = known."sst:region\""""
        if "sst:hidden" in asked:
            parameters["hidden"] = judgements.hidden.tolist()
            added += ', known."sst:region" IN (SELECT unnest($hidden::BIGINT[])) AS "sst:hidden"'
        if not parameters:
            return "", {}
        return f"WITH searchable AS (SELECT {kept}{added} FROM main.searchable known{joined}) ", parameters

    def _with_contents(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Ask for contents of photographs, which early versions did not keep."""
        try:
            return self.rows(sql, parameters)
        except duckdb.BinderException as error:
            raise IndexFolderError(_BEFORE_REVIEWS) from error

    def _specimen(self, row: tuple[Any, ...]) -> Specimen:
        name, image, group, *values = row
        return Specimen(name, Path(image), group, dict(zip(self.columns, values, strict=True)))
