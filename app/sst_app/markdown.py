"""Text that comes from data, written so that Markdown shows it as it is.

Names of specimens, columns, traits and people may hold anything; whoever made the index chose them. Written into a
label or a caption as they are, `![](http://...)` would make the browser of whoever looks fetch a picture from
elsewhere.
What is written as HTML goes through `html.escape` instead.
"""

from __future__ import annotations

import re

_SIGNS = re.compile(r"[\\`*\[\]<>~$|]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|:(?=\w)")
_FIRST = re.compile(r"^(?=[#+=-])|^(\d+)(?=[.)])")
_LINKS = re.compile(r"(?<=:)(?=//|[\w+-]+:)|(?<=www)(?=\.)|(?<=@)(?=\w)", re.IGNORECASE)

WORD_JOINER = "\u2060"
"""A sign that is not seen: addresses and :names: of pictures are found in text, too, even where nothing marks them."""


def escape_md(text: object) -> str:
    r"""Escape what Markdown would read as more than text: pictures, links, emphasis, code, formulas, HTML.

    The rest is left alone, since screen readers are told labels as they are written.

    >>> print(plain("wing_spot *new* ![x](y)"))
    wing_spot \*new\* !\[x\](y)
    """
    line = " ".join(str(text).split())
    broken = _LINKS.sub(WORD_JOINER, line)
    return _FIRST.sub(lambda found: f"{found[1] or ''}\\", _SIGNS.sub(r"\\\g<0>", broken))


def format_code(text: object) -> str:
    """Write a path or a command in the letters of a typewriter.

    >>> code("a`b")
    '`` a`b ``'
    """
    line = " ".join(str(text).split())
    most = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (most + 1)
    return f"{fence} {line} {fence}" if most else f"`{line}`"
