"""Room 5a: one generation's DuckDB file: who the regions belong to.

    specimens     sst:specimen, sst:image, sst:group, then every column of the collection under its own name
    regions       region_id, specimen, trait, present, confidence, height, width, box, frame, rle
    measurements  region_id, then one DOUBLE column a measurement
    skipped       specimen, stage, reason
    searchable    all that a predicate may use, one row a region

Regions are numbered by trait, then specimen. The file is written once (`write_catalog`) and then only opened to read.

A predicate (`where`) is one DuckDB expression over the collection's own columns, then `specimen`, `trait`, `confidence`
and the measurements. If the collection has a column of such a name, the collection's own is meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError, QueryError
from sst_retrieval.types import Frame, Region, Scalar, Skipped, Specimen

OWN = ("sst:specimen", "sst:image", "sst:group")
"""Columns this program adds to a specimen table; the colon keeps them apart from the collection's own."""

_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    # A predicate is a stranger's text: it must reach no file, no extension, no Python variable, no setting.
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "python_enable_replacements": False,
    "temp_directory": "",
    "memory_limit": "2GB",
    "threads": 2,
    "lock_configuration": True,
}


class Catalog:
    """A committed catalog, opened to read only. Threads may share it: each call has its own cursor."""

    def __init__(self, path: Path) -> None:
        """Open a catalog.

        Args:
            path: file that `write_catalog` made.

        Raises:
            IndexFolderError: the file is missing or broken.
        """
        try:
            self._connection = duckdb.connect(str(path), read_only=True, config=_CLOSED)
        except duckdb.Error as error:
            raise IndexFolderError(f"{path} cannot be read; run the build again to make it anew: {error}") from error
        self.columns: dict[str, str] = {
            name: kind for name, kind, *_ in self._rows("DESCRIBE specimens") if name not in OWN
        }
        self.measurement_names = tuple(name for name, *_ in self._rows("DESCRIBE measurements"))[1:]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Return the catalog itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the file."""
        self.close()

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
        sql = 'SELECT "sst:region" FROM searchable WHERE "sst:trait" = $trait AND "sst:present" AND {}'
        ids = self._ask(sql, where, {"trait": trait}, "searchable")["sst:region"]
        return np.sort(np.asarray(ids, dtype=np.int64))

    def measurements(self, trait: str, where: str | None = None) -> dict[str, npt.NDArray[Any]]:
        """Return the measurements of a trait on every specimen that shows it.

        Returns:
            "specimen" -> str (n,), "confidence" and each measurement -> float64 (n,), NaN where it is missing; a data
            frame takes it as it is. Ordered by specimen.
        """
        sql = """SELECT specimen, confidence, measurements.* EXCLUDE (region_id)
                 FROM regions JOIN measurements USING (region_id)
                 WHERE trait = $trait AND region_id IN (SELECT "sst:region" FROM searchable WHERE {})
                 ORDER BY region_id"""
        table = self._ask(sql, where or "true", {"trait": trait}, "searchable")
        return {
            name: np.asarray(values.filled(np.nan) if isinstance(values, np.ma.MaskedArray) else values)
            for name, values in table.items()
        }

    def owners(self, region_ids: Sequence[int]) -> dict[int, tuple[str, float, dict[str, Scalar]]]:
        """Say whom regions belong to.

        Returns:
            region id -> (specimen, confidence of the mask, the specimen's row of the collection).
        """
        own = "".join(f", {quoted(column)}" for column in self.columns)
        sql = f"""SELECT "sst:region", "sst:specimen", "sst:confidence"{own}
                  FROM searchable WHERE "sst:region" IN (SELECT unnest($ids))"""
        rows = self._rows(sql, {"ids": [int(number) for number in region_ids]})
        return {row[0]: (row[1], row[2], dict(zip(self.columns, row[3:], strict=True))) for row in rows}

    def specimen(self, name: str) -> Specimen | None:
        """Return a specimen by its id, or None."""
        rows = self._rows('SELECT * FROM specimens WHERE "sst:specimen" = $name', {"name": name})
        return self._specimen(rows[0]) if rows else None

    def specimens(self, where: str | None = None) -> list[Specimen]:
        """Return the specimens a predicate over the collection's own columns holds for, ordered by id.

        Raises:
            QueryError: the predicate is not one expression or names something that is not there.
        """
        names = self._ask('SELECT "sst:specimen" FROM specimens WHERE {}', where or "true", {}, "specimens")
        wanted = set(names["sst:specimen"].tolist())
        every = map(self._specimen, self._rows('SELECT * FROM specimens ORDER BY "sst:specimen"'))
        return [specimen for specimen in every if specimen.id in wanted]

    def nearest_names(self, name: str, count: int = 3) -> list[str]:
        """Return the specimens' ids that are spelt most like a name."""
        sql = """SELECT "sst:specimen" FROM specimens
                 ORDER BY levenshtein(lower("sst:specimen"), lower($name)), 1 LIMIT $count"""
        return [found for (found,) in self._rows(sql, {"name": name, "count": count})]

    def region(self, specimen: str, trait: str) -> tuple[int, Region] | None:
        """Return a region's number and the region without its vector, or None if the trait was never looked for."""
        sql = """SELECT region_id, present, confidence, height, width, rle, box, frame
                 FROM regions WHERE specimen = $specimen AND trait = $trait"""
        rows = self._rows(sql, {"specimen": specimen, "trait": trait})
        if not rows:
            return None
        number, present, confidence, height, width, rle, box, frame = rows[0]
        measured = self._rows("SELECT * EXCLUDE (region_id) FROM measurements WHERE region_id = $id", {"id": number})
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

    def mask_code(self, region_id: int) -> tuple[bytes, tuple[int, int]]:
        """Return a region's run-length code and the (height, width) of its photograph."""
        sql = "SELECT rle, height, width FROM regions WHERE region_id = $id"
        ((rle, height, width),) = self._rows(sql, {"id": region_id})
        return rle, (height, width)

    def region_ids(self, trait: str) -> npt.NDArray[np.int64]:
        """Return the ids of the regions that show a trait, int64 (n,), ascending."""
        return self.resolve("true", trait)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count, for each trait in order of name, the regions that show it ("present") and that do not ("absent")."""
        sql = """SELECT trait, count(*) FILTER (present), count(*) FILTER (NOT present)
                 FROM regions GROUP BY trait ORDER BY trait"""
        return {trait: {"present": present, "absent": absent} for trait, present, absent in self._rows(sql)}

    def specimen_count(self) -> int:
        """Count the specimens, skipped ones included."""
        return int(self._rows("SELECT count(*) FROM specimens")[0][0])

    def skipped(self) -> list[Skipped]:
        """Return the specimens that could not be indexed, ordered by id."""
        return [Skipped(*row) for row in self._rows("SELECT specimen, stage, reason FROM skipped ORDER BY ALL")]

    def _specimen(self, row: tuple[Any, ...]) -> Specimen:
        name, image, group, *values = row
        return Specimen(name, Path(image), group, dict(zip(self.columns, values, strict=True)))

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.cursor()
        except duckdb.ConnectionException as error:
            raise QueryError("the index is closed; ask it, and its hits, inside its `with` block") from error

    def _rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with self._cursor() as cursor:
            return cursor.execute(sql, parameters or {}).fetchall()

    def _ask(self, sql: str, where: str, parameters: Mapping[str, Any], table: str) -> dict[str, npt.NDArray[Any]]:
        """Run `sql` with the predicate in place of its `{}`."""
        with self._cursor() as cursor:
            try:
                _check_expression(where, cursor)
                # The line break ends a `--` comment, which would swallow the parenthesis.
                found = cursor.execute(sql.format(f"(\n{where}\n)"), parameters).fetchnumpy()
            except duckdb.Error as error:
                names = [name for name, *_ in self._rows(f"DESCRIBE {table}") if not name.startswith("sst:")]
                raise QueryError(
                    f"the predicate {where!r} does not work: {error}\ncolumns: {', '.join(names)}"
                ) from error
        return dict(found)


def quoted(identifier: str) -> str:
    """Quote a column name for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def _check_expression(where: str, cursor: duckdb.DuckDBPyConnection) -> None:
    """Refuse what is not one expression when it stands alone.

    `true) OR (true` only reads well in parentheses, so it fails here; `true ORDER BY x` only reads well alone, so it
    fails when the predicate is used, in parentheses.
    """
    statements = cursor.extract_statements(f"SELECT 1 WHERE {where}")
    if len(statements) != 1:
        raise QueryError(f"the predicate {where!r} must be one expression, such as sex = 'female'; leave out the ;")
    if statements[0].named_parameters:
        raise QueryError(f"the predicate {where!r} has a placeholder (? or $); write the value itself")
