"""Which species the groups of a table are of, so that groups of one species are told from groups of different ones.

A species is the first two words of its name, without subgenus, subspecies, author and year. What a name leaves open
("Carabus sp.", "Carabus cf. granulatus", "Carabus") is unknown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable, Mapping

from sst_retrieval.collection.column_roles import find_column
from sst_retrieval.types import Photograph, Scalar

NAME_COLUMNS = ("scientificName", "species")
"""Columns of whole names, the first that is filled in; else `genus` and `specificEpithet`."""

_OPEN = re.compile("[\N{MULTIPLICATION SIGN}?/]")
"""What says that the species is not certain, or not one."""

_OPEN_BEHIND = frozenset(("x", "agg", "gr", "group", "complex"))
"""Words in lower case that say the same, behind the epithet; in upper case they may be an author's."""

_GENUS = re.compile(r"[^\W\d_]{2,}")
_EPITHET = re.compile(r"[^\W\d_]+-[^\W\d_]{2,}(-[^\W\d_]+)*|[^\W\d_]{2,}")
_SUBGENUS = re.compile(r"^(\S+) \([^\W\d_]+\)")

_NO_EPITHETS = frozenset(
    (
        *("sp", "spp", "spec", "species", "gen", "cf", "cfr", "aff", "nr", "near", "prope", "indet", "var", "subsp"),
        *("ssp", "subg", "sect", "de", "da", "do", "dos", "du", "des", "van", "von", "vom", "zu", "zur", "den", "der"),
        *("la", "le", "del", "della", "di", "ex", "et", "and", "in", "sensu", "auct", "nom"),
    )
)
"""Words that stand behind a genus, in lower case, and are no epithets: of names left open, and of authors."""


def read_species(name: str) -> str:
    """Read the species from a scientific name.

    Args:
        name: with or without subgenus, subspecies, author and year, in any case: "Carabus (Eucarabus) ulrichii
            Germar, 1824".

    Returns:
        "Carabus ulrichii"; "" if the name does not say one species.
    """
    text = re.sub(r"[\s_]+", " ", unicodedata.normalize("NFC", name)).strip()
    text = _SUBGENUS.sub(r"\1", text)
    words = [each.rstrip(".,") for each in text.split(" ")]
    if len(words) < 2 or _OPEN.search(text) or _OPEN_BEHIND & set(words[2:3]):
        return ""
    genus, epithet = text.split(" ")[0], words[1]
    written = epithet.islower() or text.isupper()
    if not (written and _GENUS.fullmatch(genus) and _EPITHET.fullmatch(epithet)) or epithet.lower() in _NO_EPITHETS:
        return ""
    return f"{genus.capitalize()} {epithet.lower()}"


def find_species(photographs: Iterable[Photograph], groups: Container[str]) -> dict[str, str]:
    """Find the species of groups by the rows of a table.

    Args:
        photographs: of the table, with their rows as metadata.
        groups: whose species is wanted.

    Returns:
        Group -> its species, as `read_species`; only groups whose rows, as far as they are named, all have one name.
    """
    found: dict[str, set[str]] = {}
    read: dict[str, str] = {}
    columns: dict[str, str | None] | None = None
    for photograph in photographs:
        row = photograph.metadata
        if columns is None:
            columns = {name: find_column(row, (name,)) for name in (*NAME_COLUMNS, "genus", "specificEpithet")}
            if not any(columns.values()):
                return {}
        if photograph.group not in groups:
            continue
        if name := _read_name(row, columns):
            if name not in read:
                read[name] = read_species(name)
            found.setdefault(photograph.group, set()).add(read[name])
    return {group: next(iter(names)) for group, names in found.items() if len(names) == 1 and "" not in names}


def _read_name(row: Mapping[str, Scalar], columns: Mapping[str, str | None]) -> str:
    """Read the scientific name that a row has; "" if it has none."""

    def read(column: str) -> str:
        name = columns[column]
        value = None if name is None else row.get(name)
        return "" if value is None else str(value).strip()

    for column in NAME_COLUMNS:
        if name := read(column):
            # GBIF's `species` is a whole name, other tables have the epithet alone in it.
            return name if " " in name or "_" in name or not read("genus") else f"{read('genus')} {name}"
    return f"{read('genus')} {read('specificEpithet')}".strip()
