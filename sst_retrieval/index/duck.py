"""A DuckDB file in which a stranger's predicate can be tried: it is only read, and nothing else can be reached from it.

A predicate (`where`) comes from a command line, a web page or a script that was passed on. It is one expression, and it
is run on a connection that opens no file, loads no extension, sees no Python variable and changes no setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError, QueryError


def quote_name(identifier: str) -> str:
    """Quote a column name.

    >>> print(quote_name('say "it"'))
    "say ""it\"""
    """
    return '"' + identifier.replace('"', '""') + '"'


def quote_text(value: str | Path) -> str:
    """Quote a piece of text, or a path.

    >>> print(quote_text("d'Orbigny"))
    'd''Orbigny'
    """
    return "'" + str(value).replace("'", "''") + "'"


def column_namer(columns: Iterable[str]) -> Callable[[str], str]:
    """Say what is called how beside the columns of a collection: "sst:" and its name if the collection has it, too.

    >>> name = column_namer(["sex", "Length_mm"])
    >>> name("length_mm"), name("width_mm")
    ('sst:length_mm', 'width_mm')
    """
    taken = {column.casefold() for column in columns}
    return lambda name: f"sst:{name}" if name.casefold() in taken else name


def memory_settings(scratch: Path) -> dict[str, str | bool | int | float | list[str]]:
    """Return settings of a database that joins and sorts within 1 GB of memory.

    Args:
        scratch: folder for what does not fit; made if it is needed.
    """
    return {"memory_limit": "1GB", "temp_directory": str(scratch)}


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


class SandboxedDatabase:
    """A DuckDB file, opened to read only. Threads may share it: each call has its own cursor."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Args:
            path: the file.

        Raises:
            IndexFolderError: it is missing or broken.
        """
        try:
            self._connection = duckdb.connect(str(path), read_only=True, config=_SANDBOX)
        except duckdb.Error as error:
            raise IndexFolderError(f"{path} cannot be read; run the build again to make it anew: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Return the database itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the file."""
        self.close()

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run SQL of this program's own (never a stranger's text: values go into `parameters`)."""
        with self.cursor() as cursor:
            return cursor.execute(sql, parameters or {}).fetchall()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a cursor for other forms of an answer than rows; use it in a `with` block.

        Raises:
            QueryError: the file was closed.
        """
        try:
            return self._connection.cursor()
        except duckdb.ConnectionException as error:
            raise QueryError(CLOSED) from error

    def ask(
        self, sql: str, where: str, parameters: Mapping[str, Any], *, table: str
    ) -> dict[str, npt.NDArray[Any] | np.ma.MaskedArray[Any, Any]]:
        """Run `sql` with a stranger's predicate in place of its `{}`.

        Args:
            sql: of this program's own.
            where: the predicate.
            parameters: values of `sql`.
            table: the table whose columns an explanation lists.

        Returns:
            Column -> its values, (n,); masked where one is missing.

        Raises:
            QueryError: the predicate is not one expression, or names something that is not there.
        """
        with self.cursor() as cursor:
            try:
                _check_expression(where, cursor)
                # The line break ends a `--` comment, which would swallow the parenthesis.
                return dict(cursor.execute(sql.format(f"(\n{where}\n)"), parameters).fetchnumpy())
            except duckdb.Error as error:
                raise QueryError(
                    f"the predicate {where!r} does not work: {error}\n{self.explanation(table)}"
                ) from error

    def explanation(self, table: str) -> str:
        """List the columns of a table, for somebody whose predicate did not work."""
        names = [name for name, *_ in self.rows(f"DESCRIBE {table}") if not name.startswith("sst:")]
        return f"columns: {', '.join(names)}"


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
