"""DuckDB: a sandboxed, read-only connection for untrusted predicates, and the quoting of names and values.

A predicate (`where`) comes from a command line, a web page or a script that was passed on. It is one expression, and it
runs on a connection that opens no other file, loads no extension, sees no Python variable and changes no setting.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Condition
from types import TracebackType
from typing import Any, Self

import duckdb
import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError, QueryError
from sst_retrieval.index.checksums import require_file
from sst_retrieval.index.predicate_advice import nearest_columns, suggest_predicate
from sst_retrieval.index.text_comparisons import (
    explain_types,
    find_text_comparisons,
    refuse_null_comparison,
    refuse_unordered,
)
from sst_retrieval.index.watchdog import Watchdog


def quote_name(identifier: str) -> str:
    """Quote the name of a column as an SQL identifier.

    >>> print(quote_name('say "it"'))
    "say ""it\"""
    """
    return '"' + identifier.replace('"', '""') + '"'


def quote_text(value: str | Path) -> str:
    """Quote a string, or a path, as an SQL string literal.

    >>> print(quote_text("d'Orbigny"))
    'd''Orbigny'
    """
    return "'" + str(value).replace("'", "''") + "'"


def column_namer(columns: Iterable[str]) -> Callable[[str], str]:
    """Return the function that names this program's columns beside those of a collection.

    A name that the collection has, too (whatever its capitals), gets the prefix "sst:".

    >>> name = column_namer(["sex", "Length_mm"])
    >>> name("length_mm"), name("width_mm")
    ('sst:length_mm', 'width_mm')
    """
    taken = {column.casefold() for column in columns}
    return lambda name: f"sst:{name}" if name.casefold() in taken else name


def memory_settings(scratch: Path) -> dict[str, str | bool | int | float | list[str]]:
    """Return the DuckDB settings of a build: joins and sorts use at most 1 GB of memory and spill to disk.

    Args:
        scratch: folder to spill to; DuckDB makes it if it is needed.
    """
    return {"memory_limit": "1GB", "temp_directory": str(scratch)}


TIME_LIMIT = "SST_RETRIEVAL_WHERE_SECONDS"
"""Environment variable: how many seconds a predicate may take."""

DEFAULT_SECONDS = 10.0
_DAY = 86400.0

MAX_PREDICATE = 1_000_000
"""Characters of a predicate."""

DAMAGE = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)
"""Errors of a damaged file, not of a predicate."""

_UNKNOWN = re.compile(r'Referenced column "([^"]*)" not found')

CLOSED = "the index is closed; ask it, and its hits, inside its `with` block"

_SANDBOX: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "python_enable_replacements": False,
    "temp_directory": "",
    "memory_limit": "2GB",
    "threads": 2,
    "lock_configuration": True,
}


_OWN = "own_file"
_LIST_NAMES = f"""SELECT table_name FROM duckdb_tables() WHERE database_name = '{_OWN}' AND schema_name = 'main'
                 UNION SELECT view_name FROM duckdb_views()
                 WHERE database_name = '{_OWN}' AND schema_name = 'main' AND NOT internal"""

_GIVEN = ("memory_limit", "python_enable_replacements")
"""Settings that a database is opened with."""
_LAST = ("enable_external_access", "lock_configuration")


_WATCHDOG = Watchdog()


class SandboxedDatabase:
    """A DuckDB file, opened read-only in the sandbox. Threads may share it: each call has its own cursor."""

    def __init__(self, path: Path, base: Path | None = None) -> None:
        """Open a DuckDB file.

        Args:
            path: of the file.
            base: another file that views of it read, as `base`; None if there is none.

        Raises:
            IndexFolderError: it is missing, broken, or no file.
        """
        self._remedy = "run the build again to make it anew"
        self._path = require_file(path, self._remedy)
        self._closed, self._cursors, self._change = False, 0, Condition()
        try:
            if base is None:
                self._connection = duckdb.connect(str(path), read_only=True, config=_SANDBOX)
            else:
                require_file(base, self._remedy)
                attach = (
                    f"ATTACH {quote_text(each)} AS {name} (READ_ONLY)" for each, name in ((path, _OWN), (base, "base"))
                )
                self._connection = _connect_sandboxed([*attach], None)
        except duckdb.Error as error:
            raise self._damage(error) from error

    def reopen_through(self, views: str, *, schema: str) -> None:
        """Open the file again behind views, in the same sandbox; for files that an older version made.

        Args:
            views: trusted SQL that makes views of its tables.
            schema: the name by which the SQL means the file.
        """
        self._connection.close()
        attach = f"ATTACH {quote_text(self._path)} AS {quote_name(schema)} (READ_ONLY)"
        self._connection = _connect_sandboxed([attach], views)

    def close(self) -> None:
        """Close the file; waits for the queries of other threads, and refuses new ones (`CLOSED`)."""
        with self._change:
            self._closed = True
            self._change.wait_for(lambda: self._cursors == 0)
            self._connection.close()

    def __enter__(self) -> Self:
        """Return the database itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run trusted SQL and return its rows; untrusted values go into `parameters`."""
        with self.cursor() as cursor:
            return cursor.execute(sql, parameters or {}).fetchall()

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a cursor, for results in another form than rows; the file is not closed before it is given back.

        Raises:
            QueryError: the file was closed.
            IndexFolderError: the file is damaged.
        """
        with self._change:
            if self._closed:
                raise QueryError(CLOSED)
            self._cursors += 1
        try:
            with self._connection.cursor() as cursor:
                yield cursor
        except duckdb.BinderException:
            raise  # A column is missing, as in catalogs of early versions.
        except (duckdb.Error, UnicodeDecodeError) as error:
            raise self._damage(error) from error
        finally:
            with self._change:
                self._cursors -= 1
                self._change.notify_all()

    def _damage(self, error: Exception) -> IndexFolderError:
        return IndexFolderError(f"{self._path} cannot be read; {self._remedy}: {error}")

    def select_where(
        self, sql: str, where: str, parameters: Mapping[str, Any], *, table: str
    ) -> dict[str, npt.NDArray[Any] | np.ma.MaskedArray[Any, Any]]:
        """Run a query with an untrusted predicate.

        Args:
            sql: trusted SQL; `{}` stands for the predicate.
            where: the predicate.
            parameters: values of `sql`.
            table: the table whose columns the message of an error lists.

        Returns:
            Column -> its values, (n,); masked where one is missing.

        Raises:
            QueryError: the predicate is not one expression, names something that is not there, or takes too long.
            IndexFolderError: the file is damaged.
        """
        if len(where) > MAX_PREDICATE:
            raise QueryError(f"the predicate has {len(where):,} characters; {MAX_PREDICATE:,} are allowed")
        seconds = time_limit()
        with self.cursor() as cursor, _WATCHDOG.limit(seconds, cursor.interrupt):
            try:
                _check_expression(where, cursor)
                refuse_null_comparison(where)
                self._refuse_unordered_text(where, table)
                return dict(cursor.execute(_insert(sql, where), parameters).fetchnumpy())
            except duckdb.InterruptException as error:
                raise QueryError(
                    f"the predicate {where!r} took longer than {seconds:g} seconds and was stopped; ask something "
                    f"simpler, or set {TIME_LIMIT} to more seconds"
                ) from error
            except DAMAGE:
                raise
            except duckdb.Error as error:
                fault: duckdb.Error = error
        raise QueryError(self._explain(sql, where, parameters, table, fault)) from fault

    def _refuse_unordered_text(self, where: str, table: str) -> None:
        """Refuse a predicate that compares text letter by letter where numbers or dates are meant.

        Raises:
            QueryError: it does.
        """
        if "'" in where:
            for comparison in find_text_comparisons(where, self._text_columns(table)):
                refuse_unordered(comparison, partial(self._find_cell, table))

    def _text_columns(self, table: str) -> list[str]:
        return [name for name, kind, *_ in self.rows(f"DESCRIBE {table}") if kind == "VARCHAR"]

    def _find_cell(self, table: str, column: str, pattern: str) -> str | None:
        """Return a filled cell of a column of text that does not fit a pattern as a whole; None if all fit."""
        name = quote_name(column)
        sql = f"SELECT {name} FROM {table} WHERE {name} <> '' AND NOT regexp_full_match({name}, $pattern) LIMIT 1"
        return next((str(value) for (value,) in self.rows(sql, {"pattern": pattern})), None)

    def _explain(self, sql: str, where: str, parameters: Mapping[str, Any], table: str, fault: duckdb.Error) -> str:
        """Say what to do about a predicate that does not work; DuckDB's own words come last."""
        columns = self._column_names(table)
        reserved = {
            word
            for (word,) in self.rows("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category='reserved'")
        }

        def works(candidate: str) -> bool:
            with self.cursor() as cursor:
                try:
                    _check_expression(candidate, cursor)
                    cursor.execute("EXPLAIN " + _insert(sql, candidate), parameters).fetchall()
                except (duckdb.Error, QueryError):
                    return False
            return True

        lines = [f"the predicate {where!r} does not work"]
        suggestion = suggest_predicate(where, columns, reserved, works)
        if suggestion is not None:
            lines[0] += f"; did you mean: {suggestion}"
            lines.append(
                "text stands in 'single quotes'; a column with blanks, or named like a word of SQL (order, "
                'group), in "double quotes"'
            )
        elif (unknown := _UNKNOWN.search(str(fault))) is not None:
            near = nearest_columns(unknown[1], columns)
            lines[0] += f": there is no column {unknown[1]!r}"
            lines[0] += f"; spelt most alike: {', '.join(near)}" if near else ""
        else:
            lines += explain_types(where, self._text_columns(table), partial(self._find_cell, table))
        return "\n".join([*lines, self.describe_columns(table), f"(the database says: {fault})"])

    def describe_columns(self, table: str) -> str:
        """List the columns of a table, for the message about a predicate that does not work."""
        return f"columns: {', '.join(self._column_names(table))}"

    def _column_names(self, table: str) -> list[str]:
        return [name for name, *_ in self.rows(f"DESCRIBE {table}") if not name.startswith("sst:")]


def _connect_sandboxed(attach: Sequence[str], views: str | None) -> duckdb.DuckDBPyConnection:
    """Open a database in memory that attaches others, close the sandbox, and make views of what they hold.

    In this order: a view that stands in a file is bound when another one is made of it, and might read a file then.

    Args:
        attach: trusted SQL.
        views: trusted SQL; None makes a view of each table and view of the database that is attached as `_OWN`.
    """
    memory = duckdb.connect(":memory:", config={"memory_limit": "2GB", "python_enable_replacements": False})
    try:
        for sql in attach:
            memory.execute(sql).fetchall()
        # Access to files goes when all else is set, and locking is the last.
        for name in (*(name for name in _SANDBOX if name not in (*_GIVEN, *_LAST)), *_LAST):
            value = _SANDBOX[name]
            memory.execute(f"SET {name} = {quote_text(value) if isinstance(value, str) else value}").fetchall()
        if views is None:
            names = [quote_name(name) for (name,) in memory.execute(_LIST_NAMES).fetchall()]
            views = ";".join(f"CREATE VIEW {name} AS FROM {_OWN}.main.{name}" for name in names)
        memory.execute(views).fetchall()
    except BaseException:
        memory.close()
        raise
    return memory


def time_limit() -> float:
    """Return how many seconds a predicate may take.

    Raises:
        QueryError: the environment variable `TIME_LIMIT` is no number above 0.
    """
    text = os.environ.get(TIME_LIMIT, "")
    try:
        seconds = float(text) if text.strip() else DEFAULT_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _DAY:
        raise QueryError(f"{TIME_LIMIT} is {text!r}; set it to the seconds that a predicate may take, such as 60")
    return seconds


def _insert(sql: str, where: str) -> str:
    """Put a predicate in its place; the line break ends a `--` comment, which would swallow the parenthesis."""
    return sql.format(f"(\n{where}\n)")


def _check_expression(where: str, cursor: duckdb.DuckDBPyConnection) -> None:
    """Refuse a predicate that is not one expression.

    `true) OR (true` parses in parentheses only, so it fails here; `true ORDER BY x` parses without them only, so it
    fails when the predicate is used, in parentheses.

    Raises:
        QueryError: it is several statements, or has a placeholder.
        duckdb.Error: it cannot be parsed.
    """
    statements = cursor.extract_statements(f"SELECT 1 WHERE {where}")
    if len(statements) != 1:
        raise QueryError(f"the predicate {where!r} must be one expression, such as sex = 'female'; leave out the ;")
    if statements[0].named_parameters:
        raise QueryError(f"the predicate {where!r} has a placeholder (? or $); write the value itself")
