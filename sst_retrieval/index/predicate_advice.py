"""What to do about a predicate that does not work: names and values that lack their quotation marks, misspelt columns.

A corrected predicate is only suggested after DuckDB accepted it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Sequence
from functools import partial

_QUOTED = r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\""
"""Text ('...') or a name ("...") in quotation marks."""

_TYPOGRAPHIC = (("\u2018", "\u2019", "'"), ("\u201c", "\u201d", "'"), ("\u201e", "\u201c", "'"), ("`", "`", "'"))
"""Quotation marks that a word processor writes: opening, closing, and what SQL has for text."""

_COMPARISON = r"(?:=|==|!=|<>|\bnot\s+i?like\b|\bi?like\b|\bis\b|:)"
_END = r"(?=\s+(?:and|or)\b|\s*[);]|\s*$)"
_NO_TEXT = re.compile(r"[-+]?[\d.]+(?:e[-+]?\d+)?|true|false|null|not\s+null|unknown", re.IGNORECASE)


def suggest_predicate(
    where: str, columns: Sequence[str], reserved: Collection[str], works: Callable[[str], bool]
) -> str | None:
    """Suggest how a predicate was meant.

    Args:
        where: the predicate, which does not work.
        columns: the columns that it may name.
        reserved: words of SQL, in small letters, that name a column in double quotes only.
        works: says whether DuckDB accepts a predicate.

    Returns:
        A predicate that DuckDB accepts; None if none was found.
    """
    plain = straighten_quotes(where)
    named = quote_columns(plain, columns, reserved)
    candidates = (named, quote_values(named, columns), quote_values(plain, columns))
    return next((each for each in candidates if each != where and works(each)), None)


def straighten_quotes(where: str) -> str:
    """Replace typographic quotation marks by those of SQL.

    >>> straighten_quotes("sex = \u201cfemale\u201d")
    "sex = 'female'"
    """
    for opening, closing, straight in _TYPOGRAPHIC:
        where = re.sub(f"{opening}([^{opening}{closing}']*){closing}", rf"{straight}\1{straight}", where)
    return where


def quote_columns(where: str, columns: Sequence[str], reserved: Collection[str]) -> str:
    """Put double quotes around columns that are no words of SQL as they are: reserved ones, ones with blanks.

    >>> quote_columns("order = 'Lepidoptera'", ["order", "sex"], {"order"})
    '"order" = \\'Lepidoptera\\''
    """
    odd = [name for name in columns if name.casefold() in reserved or not re.fullmatch(r"[^\W\d]\w*", name)]
    for name in sorted(odd, key=len, reverse=True):
        # "ORDER BY" and "GROUP BY" inside a subquery are no columns.
        pattern = rf"({_QUOTED})|(?<![\w.\"]){re.escape(name)}(?![\w\"])(?!\s+by\b)"
        quoted = '"' + name.replace('"', '""') + '"'
        where = re.sub(pattern, partial(_keep_quoted, quoted), where, flags=re.IGNORECASE)
    return where


def _keep_quoted(quoted: str, found: re.Match[str]) -> str:
    """Return what stands in quotation marks as it is, and `quoted` for the name."""
    return found[1] or quoted


def quote_values(where: str, columns: Sequence[str]) -> str:
    """Put quotation marks around what stands behind a comparison with a column and is neither number nor column.

    >>> quote_values("sex = female and mass > 3", ["sex", "mass"])
    "sex = 'female' and mass > 3"
    """
    names = "|".join(
        rf"\"{re.escape(name.replace(chr(34), chr(34) * 2))}\"|(?<!\w){re.escape(name)}(?!\w)"
        for name in sorted(columns, key=len, reverse=True)
    )
    known = {name.casefold() for name in columns}
    value = r"\"[^\"]*\"|[^\s'\"()<>=][^'\"()<>=]*?"
    pattern = rf"(?P<left>(?:{names})\s*)(?P<how>{_COMPARISON})(?P<gap>\s*)(?P<value>{value}){_END}"

    def quote(found: re.Match[str]) -> str:
        text = found["value"].strip().strip('"')
        if text.casefold() in known or _NO_TEXT.fullmatch(text):
            return found[0]
        how = "=" if found["how"].casefold() in ("is", ":") else found["how"]
        quoted = text.replace("'", "''")
        return f"{found['left'].rstrip()} {how} '{quoted}'"

    def quote_list(found: re.Match[str]) -> str:
        items = [item.strip().strip('"') for item in found["items"].split(",")]
        texts = [
            item if item.casefold() in known or _NO_TEXT.fullmatch(item) else "'" + item.replace("'", "''") + "'"
            for item in items
        ]
        return f"{found['left']}({', '.join(texts)})"

    where = re.sub(pattern, quote, where, flags=re.IGNORECASE)
    lists = rf"(?P<left>(?:{names})\s+(?:not\s+)?in\s*)\((?P<items>[^()']+)\)"
    return re.sub(lists, quote_list, where, flags=re.IGNORECASE)


def nearest_columns(name: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that are spelt most like a name, at most three."""
    spelt = {column.casefold(): column for column in columns}
    return [spelt[each] for each in difflib.get_close_matches(name.casefold(), list(spelt), 3, 0.6)]
