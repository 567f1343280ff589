"""Names and values, quoted for SQL: no text of a table, a sentence or a path becomes a command."""

from __future__ import annotations

from pathlib import Path


def quoted(identifier: str) -> str:
    """Quote a column name.

    >>> print(quoted('say "it"'))
    "say ""it\"""
    """
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: str | Path) -> str:
    """Quote a piece of text, or a path.

    >>> print(literal("d'Orbigny"))
    'd''Orbigny'
    """
    return "'" + str(value).replace("'", "''") + "'"
