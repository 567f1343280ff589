"""What everybody who writes SQL needs.

Names and values are quoted: no text of a table, a sentence or a path becomes a command. The memory is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def called(columns: Iterable[str]) -> Callable[[str], str]:
    """Say what is called how beside the columns of a collection: "sst:" and its name if the collection has it, too.

    >>> name = called(["sex", "Length_mm"])
    >>> name("length_mm"), name("width_mm")
    ('sst:length_mm', 'width_mm')
    """
    taken = {column.casefold() for column in columns}
    return lambda name: f"sst:{name}" if name.casefold() in taken else name


def bounded(scratch: Path) -> dict[str, str | bool | int | float | list[str]]:
    """Return settings of a database that joins and sorts within 1 GB of memory.

    Args:
        scratch: folder for what does not fit; made if it is needed.
    """
    return {"memory_limit": "1GB", "temp_directory": str(scratch)}
