"""Escape text from data for Markdown.

Names of specimens, columns, traits and reviewers come from the index and may be hostile: unescaped, `![](http://...)`
in a label would make the browser fetch a remote picture. Text in HTML goes through `html.escape` instead.
"""

from __future__ import annotations

import re

_SIGNS = re.compile(r"[\\`*\[\]<>~$|]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|:(?=\w)")
_FIRST = re.compile(r"^(?=[#+=-])|^(\d+)(?=[.)])")
_LINKS = re.compile(r"(?<=:)(?=//|[\w+-]+:)|(?<=www)(?=\.)|(?<=@)(?=\w)", re.IGNORECASE)

WORD_JOINER = "\u2060"
"""Word joiner, an invisible character: it keeps bare URLs and :emoji: names from being recognised."""


def escape_md(text: object) -> str:
    r"""Escape Markdown syntax: images, links, emphasis, code, formulas, HTML.

    Other characters are kept, since screen readers read labels as they are written.

    >>> print(escape_md("wing_spot *new* ![x](y)"))
    wing_spot \*new\* !\[x\](y)
    """
    line = " ".join(str(text).split())
    broken = _LINKS.sub(WORD_JOINER, line)
    return _FIRST.sub(lambda found: f"{found[1] or ''}\\", _SIGNS.sub(r"\\\g<0>", broken))


def strip_md(text: object) -> str:
    """Take the signs of Markdown out of a text: for labels that only screen readers see, and read as they are written.

    >>> strip_md("wing_spot *new* ![x](http://y)")
    'wing_spot new !x(http:\u2060//y)'
    """
    return _LINKS.sub(WORD_JOINER, " ".join(re.sub(r"[\\`*\[\]<>~$|#]", "", str(text)).split()))


def format_code(text: object) -> str:
    """Format a path or a command as inline code.

    >>> format_code("a`b")
    '`` a`b ``'
    """
    line = " ".join(str(text).split())
    most = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (most + 1)
    return f"{fence} {line} {fence}" if most else f"`{line}`"
