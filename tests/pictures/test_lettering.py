"""Names in any script are written in letters, not in boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from sst_retrieval.pictures import lettering
from sst_retrieval.pictures.lettering import font_for
from sst_retrieval.pictures.sheets import Tile, contact_sheet


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[Path, str]:
    """A computer with these fonts, and what characters they have."""
    fonts = {tmp_path / "latin.ttf": "Ab", tmp_path / "broken.ttf": "", tmp_path / "cjk.ttc": "A選彩"}
    known = lettering._characters
    monkeypatch.setattr(lettering, "_system_fonts", lambda: tuple(fonts))
    monkeypatch.setattr(
        lettering, "_characters", lambda path: frozenset(map(ord, fonts[path])) if path in fonts else known(path)
    )
    lettering._find_font.cache_clear()
    return fonts


@pytest.mark.parametrize("letters", ["éñ", "šż", "жц", "ωψ", "♀♂"])
def test_letters_of_europe_and_signs_of_sex_are_told_apart(letters: str) -> None:
    mask, image = np.ones((40, 60), bool), np.full((40, 60, 3), 128, np.uint8)
    one, other = (contact_sheet(None, [Tile(image, {"band": mask}, f"A {letter} b")]) for letter in letters)
    assert not np.array_equal(one, other)


def test_english_looks_as_it_did() -> None:
    plain = ImageFont.load_default(size=12)
    for text in ("SD-0001 …", "female · Rio Espejo", "40° “north”"):
        assert font_for(text, 12).getmask(text).getbbox() == plain.getmask(text).getbbox()


def test_other_scripts_take_the_font_of_the_system_that_has_most_of_them(system: dict[Path, str]) -> None:
    assert lettering._find_font(frozenset(map(ord, "選彩"))).name == "cjk.ttc"
    assert lettering._find_font(frozenset(map(ord, "é選"))).name in ("cjk.ttc", "DejaVuSans.ttf")
    assert lettering._find_font(frozenset(map(ord, "é♀"))).name == "DejaVuSans.ttf"


def test_what_no_font_has_and_fonts_that_are_none_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    monkeypatch.setattr(lettering, "_system_fonts", lambda: (broken, tmp_path / "missing.ttf"))
    lettering._find_font.cache_clear()
    assert font_for("\U0001f98b Ж", 12).getlength("Ж") > 0
