"""Choose a font for a text in any script, so that names such as Guenée or Übersee are drawn in full."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_PLAIN = frozenset(map(chr, range(128))) | set("…·\u2019“”°")
"""Characters of Pillow's own font."""


def font_for(text: str, size: int) -> Font:
    """Choose a font that has every character of a text.

    Pillow's own has hardly more than English. DejaVu Sans, which comes with matplotlib, has the scripts of Europe,
    signs of sex and a few more. For others, the system's font that has most of the characters is taken.

    Args:
        text: what is to be written, one line.
        size: of the letters in pixels.
    """
    if not set(text) - _PLAIN:
        return _plain(size)
    return _load_font(_find_font(frozenset(map(ord, text))), size)


@lru_cache(maxsize=8)
def _plain(size: int) -> Font:
    return ImageFont.load_default(size=size)


@lru_cache(maxsize=64)
def _load_font(path: Path, size: int) -> Font:
    # Raqm, which sets some scripts more finely, fails on characters that it does not know.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1024)
def _find_font(needed: frozenset[int]) -> Path:
    """Find a font that has these characters, or most of them."""
    import matplotlib  # Late, here and below: a third of a second that few names need.

    broad = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    if needed <= _characters(broad):
        return broad
    return max((broad, *_system_fonts()), key=lambda path: len(needed & _characters(path)))


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[Path, ...]:
    from matplotlib.font_manager import findSystemFonts

    return tuple(Path(path) for path in sorted(findSystemFonts()))


@cache
def _characters(path: Path) -> frozenset[int]:
    """Return the characters of a font, none if it cannot be read: the system may hold any file."""
    from matplotlib.ft2font import FT2Font

    try:
        _load_font(path, 12)
        return frozenset(FT2Font(str(path)).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
