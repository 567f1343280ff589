"""Compose contact sheets of a search and overlay sheets of masks. Pure functions: images in, one image out.

1. A tile is a photograph, the masks to show on it, and its caption.
2. A contact sheet shows the query first, marked, then the hits, each cropped to its trait with some surroundings; one
   of several individuals of a photograph with a small picture of where it is there.
3. An overlay sheet shows whole photographs with every mask tinted and outlined, and a legend of the traits; where there
   are several individuals, they are outlined in white and numbered.

Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart. An outline has a dark and a light side,
so it is seen on a black wing and on a white one.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from sst_retrieval.errors import InputError
from sst_retrieval.imaging.masks import box
from sst_retrieval.pictures.lettering import font_for
from sst_retrieval.pictures.overlays import MARK, PALETTE, around_mask, locate, overlay
from sst_retrieval.types import Box, Hit, Mask, RGBImage

TILE = 220
"""Edge of a tile's picture in pixels."""

_MARGIN, _GAP, _LINE = 14, 10, 15
_PAPER, _INK, _GREY, _WELL = "#FFFFFF", "#1A1A1A", "#5F5F5F", "#ECECEA"
_ACROSS, _NARROWEST = 12, 480
_INSET, _NUMBER, _MOST = 84, 11, 0.5
_ROOM = 4  # As many times the letters' size, an individual has room for its number.
_LAYERS = 4  # Of individuals, so that two that touch are outlined each.


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a sheet.

    Attributes:
        image: uint8 (H, W, 3), the whole photograph.
        masks: trait name -> bool (H, W); an empty mask is an absent trait.
        title: first line of the caption; shortened in its middle where it is too long.
        lines: further lines; shortened at their end.
        badge: a word or a number in the corner of the picture; "" for none.
        inset: uint8 (h, w, 3), a small picture to lay over a corner of a contact sheet's tile; None for none.
        individuals: number -> bool (H, W), the individuals that an overlay sheet outlines and numbers.
    """

    image: RGBImage
    masks: Mapping[str, Mask]
    title: str
    lines: Sequence[str] = ()
    badge: str = field(default="", kw_only=True)
    inset: RGBImage | None = field(default=None, kw_only=True)
    individuals: Mapping[int, Mask] = field(default_factory=dict, kw_only=True)


def hit_tile(
    hit: Hit, image: RGBImage, *, columns: Sequence[str] = (), window: Box | None = None, place: str = ""
) -> Tile:
    """Caption a search's answer: rank, individual, similarity, its blocks, where it is, one line of metadata.

    Args:
        hit: the answer.
        image: its photograph, uint8 (H, W, 3).
        columns: metadata columns to name; a column that the specimen lacks is left out.
        window: the part of the photograph that shows the individual (`Index.window`); None shows all.
        place: which individual of which photograph it is, in words; "" where there is one of each.
    """
    known = [str(hit.metadata[name]) for name in columns if hit.metadata.get(name) not in (None, "")]
    blocks = "  ".join(f"{name} {cosine:.2f}" for name, cosine in hit.blocks.items())
    lines = [f"similarity {hit.similarity:.3f}   confidence {hit.confidence:.2f}", blocks, place, " · ".join(known)]
    masks = {each.trait: each.mask() for each in hit.parts or (hit,)}
    tile = Tile(image, masks, hit.individual, [line for line in lines if line], badge=str(hit.rank))
    return tile if window is None else cut_tile(tile, window)


def cut_tile(tile: Tile, window: Box) -> Tile:
    """Cut a tile to the part of the photograph that shows an individual; an inset shows where that is.

    A part that is most of the photograph needs no inset.

    Args:
        tile: of the whole photograph.
        window: (x0, y0, x1, y1) in pixels, half-open.
    """
    x0, y0, x1, y1 = window
    masks = {trait: mask[y0:y1, x0:x1] for trait, mask in tile.masks.items()}
    height, width = tile.image.shape[:2]
    inset = locate(tile.image, window, _INSET) if (x1 - x0) * (y1 - y0) < _MOST * height * width else None
    return replace(tile, image=tile.image[y0:y1, x0:x1], masks=masks, inset=inset)


def contact_sheet(query: Tile | None, hits: Sequence[Tile], *, heading: str = "", tile: int = TILE) -> RGBImage:
    """Lay out a search: the query first, marked, then the hits in their order.

    Args:
        query: what was searched for; None if it was words.
        hits: the answers, most similar first; may be none.
        heading: a line above the sheet.
        tile: edge of a picture in pixels.

    Returns:
        uint8 (H, W, 3).

    Raises:
        InputError: a mask is not of its image's size.
    """
    shown = [*([] if query is None else [query]), *hits]
    colours = _colours(shown)
    windows = [_window_around(one) for one in shown]
    size = _size(windows, tile) if shown else (tile, tile)
    marks = [MARK if one is query else "" for one in shown]
    cells = [
        _cell(one, window, size, colours, mark=mark) for one, window, mark in zip(shown, windows, marks, strict=True)
    ]
    if not hits:
        cells.append(_note("no specimen answers this search", cells[0].size if cells else size))
    return _sheet(cells, heading, {})


def overlay_sheet(tiles: Sequence[Tile], *, heading: str = "", tile: int = TILE) -> RGBImage:
    """Lay out whole photographs with all their masks tinted and outlined, and a legend of the traits.

    Args:
        tiles: the specimens.
        heading: a line above the sheet.
        tile: edge of a picture in pixels.

    Returns:
        uint8 (H, W, 3).

    Raises:
        InputError: there is no tile, or a mask is not of its image's size.
    """
    if not tiles:
        raise InputError("there is no specimen to draw; choose one or more")
    colours = _colours(tiles)
    windows = [_whole(one) for one in tiles]
    size = _size(windows, tile)
    cells = [
        _cell(replace(one, inset=None), window, size, colours, shade=75)
        for one, window in zip(tiles, windows, strict=True)
    ]
    return _sheet(cells, heading, colours)


def shorten(text: str, width: float, *, size: int = 12) -> str:
    """Shorten a name in its middle until it fits: both ends of a specimen's id tell it apart.

    Args:
        text: what to write.
        width: in pixels.
        size: of the letters, in pixels.
    """
    return _fit_text(text, width, size, lambda kept: text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :])


def _colours(tiles: Sequence[Tile]) -> dict[str, str]:
    """Give every trait its colour, in the order in which the traits are first met."""
    names = dict.fromkeys(name for tile in tiles for name in tile.masks)
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(names)}


def _size(windows: Sequence[Box], side: int) -> tuple[int, int]:
    """Return the width and height that every picture of a sheet gets: as high as the highest window needs."""
    needed = max((y1 - y0) / max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in windows)
    return side, max(1, round(side * needed))


def _cell(
    tile: Tile, window: Box, size: tuple[int, int], colours: Mapping[str, str], *, shade: int = 0, mark: str = ""
) -> Image.Image:
    """Draw one tile with its caption; `shade` 0..255 tints the masks, `mark` is the colour of a frame."""
    width, height = size
    cell = Image.new("RGB", (width, height + 8 + _LINE * (1 + len(tile.lines))), _PAPER)
    draw = ImageDraw.Draw(cell)
    draw.rectangle((0, 0, width - 1, height - 1), fill=_WELL)
    numbered = tile.individuals if shade else {}
    picture = overlay(tile.image, tile.masks, window, size, colours, shade, outlined=_layer(numbered))
    _write_numbers(picture, numbered, picture.width / tile.image.shape[1], max(_NUMBER, width // 60))
    corner = (width - picture.width) // 2, (height - picture.height) // 2
    cell.paste(picture, corner)
    if tile.inset is not None:
        _lay_inset(cell, tile.inset, _draw_cover(tile, window, picture.size, corner, size))
    if mark:
        draw.rectangle((0, 0, width - 1, height - 1), outline=mark, width=4)
    if tile.badge or mark:
        _badge(draw, tile.badge or "query", mark or _INK)
    title = shorten(_one_line(tile.title), width - 2, size=13)
    draw.text((1, height + 4), title, fill=_INK, font=font_for(title, 13))
    for k, line in enumerate(tile.lines, start=1):
        text = _truncate(_one_line(line), width - 2, 11)
        draw.text((1, height + 5 + _LINE * k), text, fill=_GREY, font=font_for(text, 11))
    return cell


def _layer(individuals: Mapping[int, Mask]) -> list[Mask]:
    """Put individuals into a few masks, so that two with numbers that follow each other are in different ones."""
    numbers = sorted(individuals)
    layers = [numbers[first::_LAYERS] for first in range(min(_LAYERS, len(numbers)))]
    return [np.logical_or.reduce([individuals[number] for number in layer]) for layer in layers]


def _write_numbers(picture: Image.Image, individuals: Mapping[int, Mask], scale: float, letters: int) -> None:
    """Write the number of each individual into its middle, or above it if it is small.

    Args:
        picture: to write on.
        individuals: number -> bool (H, W).
        scale: pixels of the picture a pixel of the photograph.
        letters: their size in pixels.
    """
    pen, font = ImageDraw.Draw(picture), font_for("0", letters)
    for number, mask in sorted(individuals.items()):
        x0, y0, x1, y1 = box(mask)
        if x0 < x1:
            across = font.getlength(str(number)) + 6
            x, y = (x0 + x1) / 2 * scale, y0 * scale - letters / 2 - 4
            if min(x1 - x0, y1 - y0) * scale > _ROOM * letters:
                rows, columns = np.nonzero(mask[y0:y1, x0:x1])
                nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
                x, y = (x0 + columns[nearest]) * scale, (y0 + rows[nearest]) * scale
            left = min(max(0.0, x - across / 2), picture.width - across)
            above = max(0.0, y - letters / 2 - 2)
            pen.rounded_rectangle((left, above, left + across, above + letters + 3), radius=3, fill=_INK)
            middle = left + across / 2, above + letters / 2 + 2
            pen.text(middle, str(number), fill="#FFFFFF", font=font, anchor="mm")


def _draw_cover(
    tile: Tile, window: Box, shown: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return what of a tile's picture the masks cover, bool (height, width) of the size."""
    x0, y0, x1, y1 = window
    union = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for mask in tile.masks.values():
        union |= mask[y0:y1, x0:x1]
    covered = np.zeros((size[1], size[0]), dtype=bool)
    part = np.asarray(Image.fromarray(union).resize(shown, Image.Resampling.NEAREST))
    covered[corner[1] : corner[1] + shown[1], corner[0] : corner[0] + shown[0]] = part
    return covered


def _lay_inset(cell: Image.Image, inset: RGBImage, covered: npt.NDArray[np.bool_]) -> None:
    """Lay a small picture over the corner, other than the badge's, where it hides least of the masks."""
    (height, width), (high, wide) = inset.shape[:2], covered.shape
    right, below = max(0, wide - width - 4), max(0, high - height - 4)
    x, y = min(
        ((right, below), (4, below), (right, 4)),
        key=lambda at: np.count_nonzero(covered[at[1] : at[1] + height, at[0] : at[0] + width]),
    )
    ImageDraw.Draw(cell).rectangle((x - 2, y - 2, x + width + 1, y + height + 1), fill=_PAPER, outline=_GREY)
    cell.paste(Image.fromarray(inset), (x, y))


def _whole(tile: Tile) -> Box:
    """Return the whole photograph as a window, after checking the masks' sizes."""
    height, width = tile.image.shape[:2]
    for name, mask in tile.masks.items():
        if mask.shape != (height, width):
            raise InputError(
                f"{tile.title}: the mask of {name} is {mask.shape[1]} x {mask.shape[0]} pixels, its photograph "
                f"{width} x {height}; masks must be given at the photograph's own size"
            )
    return 0, 0, width, height


def _window_around(tile: Tile) -> Box:
    """Return a window around the masks, after checking their sizes."""
    _, _, width, height = _whole(tile)
    union = np.zeros((height, width), bool)
    for mask in tile.masks.values():
        union |= mask
    return around_mask(union)


def _badge(draw: ImageDraw.ImageDraw, text: str, colour: str) -> None:
    font = font_for(text, 13)
    width = font.getlength(text) + 12
    draw.rounded_rectangle((6, 6, 6 + width, 25), radius=5, fill=colour)
    draw.text((6 + width / 2, 16), text, fill="#FFFFFF", font=font, anchor="mm")


def _note(text: str, size: tuple[int, int]) -> Image.Image:
    cell = Image.new("RGB", size, _PAPER)
    middle = (size[0] / 2, size[1] / 2)
    shown = _truncate(text, size[0], 12)
    ImageDraw.Draw(cell).text(middle, shown, fill=_GREY, font=font_for(shown, 12), anchor="mm")
    return cell


def _one_line(text: str) -> str:
    """Replace line ends and other control characters, which metadata may hold, by blanks."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _truncate(text: str, width: float, size: int) -> str:
    return _fit_text(text, width, size, lambda kept: text[:kept] + "…")


def _fit_text(text: str, width: float, size: int, short: Callable[[int], str]) -> str:
    """Return the text, or `short` with as many of its letters as fit."""
    font = font_for(text, size)
    if font.getlength(text) <= width:
        return text
    # Bisection: metadata may be a page long.
    fitting = bisect.bisect_right(range(1, len(text)), width, key=lambda kept: font.getlength(short(kept)))
    return short(fitting)


def _sheet(cells: Sequence[Image.Image], heading: str, legend: Mapping[str, str]) -> RGBImage:
    """Arrange the cells in rows below the heading and the legend."""
    across = _across(len(cells))
    width = max(_NARROWEST, across * cells[0].width + (across - 1) * _GAP + 2 * _MARGIN)
    top = _header(heading, legend, width)
    rows = [cells[k : k + across] for k in range(0, len(cells), across)]
    heights = [max(cell.height for cell in row) for row in rows]
    sheet = Image.new("RGB", (width, top.height + sum(heights) + _GAP * (len(rows) - 1) + _MARGIN), _PAPER)
    sheet.paste(top, (0, 0))
    y = top.height
    for row, height in zip(rows, heights, strict=True):
        for k, cell in enumerate(row):
            sheet.paste(cell, (_MARGIN + k * (cell.width + _GAP), y))
        y += height + _GAP
    return np.asarray(sheet)


def _across(count: int) -> int:
    """Choose how many cells a row has: a sheet about as wide as high, or wider, with few places left empty."""
    fewest = min(_ACROSS, math.ceil(math.sqrt(count)))
    most = max(fewest, min(_ACROSS, count, math.ceil(math.sqrt(2 * count))))
    return min(range(most, fewest - 1, -1), key=lambda across: -count % across)


def _header(heading: str, legend: Mapping[str, str], width: int) -> Image.Image:
    """Draw the heading and, below it, the traits' names beside their colours, in as many lines as they need."""
    places, x, y = [], _MARGIN, 40 if heading else _MARGIN
    for name in legend:
        text = shorten(_one_line(name), width - 2 * _MARGIN - 24)
        needed = 34 + math.ceil(font_for(text, 12).getlength(text))
        if x > _MARGIN and x + needed > width - _MARGIN:
            x, y = _MARGIN, y + 20
        places.append((x, y, text, legend[name]))
        x += needed
    bottom = y + 26 if places else y
    header = Image.new("RGB", (width, bottom), _PAPER)
    draw = ImageDraw.Draw(header)
    if heading:
        text = _truncate(_one_line(heading), width - 2 * _MARGIN, 16)
        draw.text((_MARGIN, 11), text, fill=_INK, font=font_for(text, 16))
    for left, above, text, colour in places:
        draw.rounded_rectangle((left, above, left + 16, above + 13), radius=3, fill=colour, outline=_INK)
        draw.text((left + 22, above), text, fill=_INK, font=font_for(text, 12))
    return header
