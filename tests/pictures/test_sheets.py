"""Sheets for people: what is marked, what is readable, any number of tiles, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageColor, ImageFont

from sst_retrieval.errors import InputError
from sst_retrieval.pictures.lettering import font_for
from sst_retrieval.pictures.overlays import overlay
from sst_retrieval.pictures.sheets import PALETTE, TILE, Tile, contact_sheet, hit_tile, overlay_sheet, shorten
from sst_retrieval.types import Hit

GREY = np.full((90, 120, 3), 128, np.uint8)
MARK = (213, 94, 0)


def a_tile(title: str = "SD-0001", *, trait: str = "band", box: tuple[int, int, int, int] = (20, 30, 60, 50)) -> Tile:
    mask = np.zeros(GREY.shape[:2], bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return Tile(GREY, {trait: mask}, title, ("similarity 0.93", "Fictelia rubella"))


def share_of(sheet: np.ndarray, colour: tuple[int, int, int] | str, tolerance: int = 12) -> float:
    rgb = ImageColor.getrgb(colour) if isinstance(colour, str) else colour
    return float((np.abs(sheet.astype(int) - rgb).max(-1) <= tolerance).mean())


def test_the_query_is_first_and_marked() -> None:
    hits = [a_tile(f"SD-{k:04d}") for k in range(2, 5)]
    sheet = contact_sheet(a_tile(), hits, heading="bands like SD-0001")
    assert sheet.dtype == np.uint8
    marked = np.abs(sheet.astype(int) - MARK).max(-1) <= 12
    columns = np.flatnonzero(marked.sum(0) > 50)
    assert columns.min() < 20
    assert columns.max() < 20 + TILE
    assert share_of(overlay_sheet([a_tile()]), MARK) == 0


def test_an_outline_is_a_pixel_of_colour_and_a_dark_one_around_it() -> None:
    """Two of each, drawn at twice the size; at the photograph's edge, too."""
    mask = np.zeros((24, 30), bool)
    mask[8:12, 10:15] = mask[0:3, 27:30] = True
    expected = np.full((24, 30, 3), 255, np.uint8)
    for colour, width in (((65, 65, 65), 2), ((255, 0, 0), 1), ((255, 255, 255), 0)):
        expected[8 - width : 12 + width, 10 - width : 15 + width] = colour
        expected[0 : 3 + width, 27 - width : 30] = colour
    drawn = overlay(np.full_like(expected, 255), {"": mask}, (0, 0, 30, 24), (30, 24), {"": "#ff0000"}, 0)
    np.testing.assert_array_equal(np.asarray(drawn), expected)


def test_the_trait_is_cropped_with_surroundings_and_outlined_around() -> None:
    """The photograph's far corner is blue: the crop must not show it; the trait is red: nothing may be drawn on it."""
    image = GREY.copy()
    image[-12:, -12:] = (0, 0, 255)
    mask = np.zeros(GREY.shape[:2], bool)
    mask[20:40, 20:50] = True
    image[mask] = (255, 0, 0)
    tile = Tile(image, {"band": mask}, "one")
    contact, overlay = contact_sheet(tile, []), overlay_sheet([tile])
    assert share_of(overlay, (0, 0, 255)) > 0.001
    assert share_of(contact, (0, 0, 255)) == 0
    assert share_of(contact, PALETTE[0], 40) > 0.002
    # 30 of 1.45 x 30 pixels of the width, 20 of 1.45 x 30 of the height of one tile.
    assert share_of(contact, (255, 0, 0)) * contact[..., 0].size == pytest.approx(TILE**2 * 600 / 43.5**2, rel=0.1)


def test_every_trait_has_one_colour_in_legend_and_picture() -> None:
    tiles = [a_tile(trait="band"), a_tile(trait="spot"), a_tile(trait="band")]
    sheet = overlay_sheet(tiles, heading="masks")
    legend, pictures = sheet[30:65], sheet[70:]
    for colour in PALETTE[:2]:
        assert share_of(legend, colour) > 0
        assert share_of(pictures, colour, 40) > 0
    for colour in (PALETTE[2], PALETTE[3]):
        assert share_of(legend, colour) == 0


def test_the_palette_is_told_apart_in_grey_too() -> None:
    assert len(set(PALETTE)) == 7
    lightness = sorted(np.dot(ImageColor.getrgb(colour), (0.299, 0.587, 0.114)) for colour in PALETTE)
    assert lightness[-1] - lightness[0] > 100


def test_an_absent_trait_shows_the_whole_photograph() -> None:
    image = GREY.copy()
    image[-12:, -12:] = (0, 0, 255)
    sheet = contact_sheet(Tile(image, {"band": np.zeros(GREY.shape[:2], bool)}, "absent"), [])
    assert share_of(sheet, (0, 0, 255)) > 0.001
    assert share_of(sheet, PALETTE[0]) == 0


@pytest.mark.parametrize("count", [1, 2, 3, 13, 200])
def test_any_number_of_tiles(count: int) -> None:
    tiles = [a_tile(f"SD-{k:04d}") for k in range(count)]
    for sheet in (contact_sheet(a_tile(), tiles, tile=60), overlay_sheet(tiles, tile=60)):
        assert sheet.shape[1] <= 12 * 70 + 28
        assert sheet.shape[0] <= 20 * 120
        assert sheet.shape[2] == 3


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 299), st.integers(0, 299))
def test_any_shape_of_photograph(height: int, width: int, y: int, x: int) -> None:
    mask = np.zeros((height, width), bool)
    mask[min(y, height - 1), min(x, width - 1)] = True
    tile = Tile(np.full((height, width, 3), 128, np.uint8), {"spot": mask}, "one pixel")
    assert contact_sheet(tile, [tile], tile=40).any()
    assert overlay_sheet([tile], tile=40).any()


def test_a_thread_as_thin_as_an_antenna_is_seen() -> None:
    image = np.full((1000, 1500, 3), 128, np.uint8)
    mask = np.zeros((1000, 1500), bool)
    mask[100:900, 700:705] = True
    assert share_of(overlay_sheet([Tile(image, {"antenna": mask}, "thin")]), PALETTE[0], 60) > 0.001


def test_inputs_are_not_changed() -> None:
    tile = a_tile()
    before = tile.image.copy(), tile.masks["band"].copy()
    contact_sheet(tile, [tile])
    overlay_sheet([tile])
    assert np.array_equal(tile.image, before[0])
    assert np.array_equal(tile.masks["band"], before[1])


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.integers(0, 300))
def test_a_long_name_is_shorten_in_its_middle(text: str, width: int) -> None:
    short = shorten(text, width)
    if short != text:
        assert font_for(text, 12).getlength(text) > width
        head, tail = short.split("…") if short.count("…") == 1 else (short, "")
        assert text.startswith(head.rstrip("…"))
        assert text.endswith(tail)
    else:
        assert "…" in text or font_for(text, 12).getlength(text) <= max(width, font_for("…", 12).getlength("…"))


def test_both_ends_of_an_id_stay() -> None:
    short = shorten("H.e.phyllis__10428488_calibrated_D", 150)
    assert short.startswith("H.e.")
    assert short.endswith("ed_D")
    assert ImageFont.load_default(size=12).getlength(short) <= 150


def test_odd_text_does_not_stop_a_sheet() -> None:
    odd = Tile(GREY, {}, "two\nlines\t\x00", ("", "x" * 4000, "größe Ω 蝶 \n"))
    sheet = contact_sheet(odd, [], heading="y" * 4000)
    assert sheet.shape[1] < 600


def test_a_hit_is_captioned() -> None:
    mask = a_tile().masks["band"]
    hit = Hit(
        rank=3,
        specimen="SD-0007",
        trait="band",
        similarity=0.8765,
        blocks={"pattern": 0.9, "colour": -0.1, "shape": 0.5},
        confidence=0.66,
        metadata={"sex": "male", "locality": None, "year": 1934},
        region_id=1,
        _masks=lambda _: mask,
    )
    tile = hit_tile(hit, GREY, columns=("sex", "locality", "collector", "year"))
    assert tile.title == "SD-0007"
    assert tile.badge == "3"
    assert "0.876" in tile.lines[0] or "0.877" in tile.lines[0]
    assert "confidence 0.66" in tile.lines[0]
    assert tile.lines[1].split() == ["pattern", "0.90", "colour", "-0.10", "shape", "0.50"]
    assert tile.lines[2] == "male · 1934"
    assert np.array_equal(tile.masks["band"], mask)


def test_bad_input_says_what_to_do() -> None:
    with pytest.raises(InputError, match="choose one or more"):
        overlay_sheet([])
    wrong = Tile(GREY, {"band": np.zeros((5, 6), bool)}, "SD-0009")
    with pytest.raises(InputError, match="SD-0009: the mask of band is 6 x 5 pixels, its photograph 120 x 90"):
        contact_sheet(wrong, [])
    with pytest.raises(InputError, match="own size"):
        overlay_sheet([a_tile(), wrong])


# ------------------------------------------------------------------------------------------- several individuals


def a_hit(mask: np.ndarray, **names: str) -> Hit:
    return Hit(1, "S", "band", 0.9, {"pattern": 0.9}, 0.8, {}, 0, **names, _masks=lambda _: mask)


def test_a_hit_of_a_part_of_a_photograph_has_an_inset_that_frames_the_part() -> None:
    """The photograph is red at its left edge, which the part does not show: it is seen on the inset alone."""
    image = np.full((100, 300, 3), 128, np.uint8)
    image[:, :60] = (255, 0, 0)
    mask = np.zeros(image.shape[:2], bool)
    mask[40:60, 220:240] = True
    window = (200, 20, 260, 80)
    tile = hit_tile(a_hit(mask, photograph="P", individual="P#2"), image, window=window, place="2 of 5 on P")
    assert tile.title == "P#2"
    assert "2 of 5 on P" in tile.lines
    assert tile.image.shape[:2] == tile.masks["band"].shape == (60, 60)
    assert tile.inset is not None
    assert tile.inset.shape == (28, 84, 3)
    framed = np.argwhere(np.abs(tile.inset.astype(int) - MARK).max(-1) <= 12)
    (top, left), (bottom, right) = framed.min(0), framed.max(0)
    assert (left, top, right, bottom) == pytest.approx((200 * 0.28, 20 * 0.28, 260 * 0.28, 80 * 0.28), abs=2)
    sheet = contact_sheet(None, [tile])
    assert share_of(sheet, (255, 0, 0)) > 0.001
    assert share_of(contact_sheet(None, [hit_tile(a_hit(mask), image)]), (255, 0, 0)) == 0
    assert share_of(overlay_sheet([tile]), (255, 0, 0)) == 0  # It shows whole tiles, nothing laid over them.


@pytest.mark.parametrize("corner", ["right", "left"])
def test_an_inset_lies_where_it_hides_least_of_the_trait(corner: str) -> None:
    """The trait is a triangle; the corner without it is free."""
    mask = np.zeros((200, 200), bool)
    mask[50:150, 50:150] = np.tri(100, dtype=bool) if corner == "right" else np.tri(100, dtype=bool)[:, ::-1]
    green = np.full((60, 60, 3), (0, 255, 0), np.uint8)
    sheet = contact_sheet(None, [Tile(np.full((200, 200, 3), 128, np.uint8), {"band": mask}, "x", inset=green)])
    _, columns = np.nonzero((sheet == (0, 255, 0)).all(-1))
    assert (columns.min() > TILE / 2) == (corner == "right")
    assert columns.max() < TILE + 20


def test_most_of_a_photograph_needs_no_inset() -> None:
    mask = np.zeros(GREY.shape[:2], bool)
    mask[30:60, 40:80] = True
    assert hit_tile(a_hit(mask), GREY, window=(10, 10, 110, 80)).inset is None


def test_individuals_are_outlined_in_white_and_numbered_even_where_they_touch() -> None:
    image = np.full((200, 300, 3), 128, np.uint8)
    individuals = {}
    for number, x in ((1, 40), (2, 100), (12, 200)):
        individuals[number] = np.zeros(image.shape[:2], bool)
        individuals[number][80:140, x : x + 60] = True  # 1 and 2 touch.
    tile = Tile(image, {"band": np.zeros(image.shape[:2], bool)}, "P", individuals=individuals)
    sheet = overlay_sheet([tile], tile=300)
    area = sheet[60 : 60 + 200, 14 : 14 + 300]
    white = (area >= 250).all(-1)
    # Lines down the picture: the two sides of each individual, and the border that 1 and 2 have in common.
    columns = np.flatnonzero(white[90:120].mean(0) > 0.9)
    middle = [np.abs(columns - x).min() for x in (40, 100, 160, 200, 260)]
    assert max(middle) <= 3
    plain = overlay_sheet([Tile(image, tile.masks, "P")], tile=300)
    numbers = (np.abs(sheet.astype(int) - plain).max(-1) > 0)[60 : 60 + 75, 14 : 14 + 300]
    assert [numbers[:, x - 15 : x + 15].any() for x in (70, 130, 230)] == [True] * 3
    assert not numbers[:, :35].any()
