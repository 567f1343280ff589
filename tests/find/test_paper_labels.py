"""Labels on a board: their print is no part of the animal whose leg lies on them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from sst_retrieval.find.board import find_on_board, lay_shapes, remember_board
from sst_retrieval.find.paper_labels import find_labels, leave_out_labels
from sst_retrieval.find.pieces import Pieces, find_pieces, list_colours
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Mask, RGBImage, Support

HALF_WIDTH = 30.0
BODY = (40, 30, 28)
INK = (45, 45, 45)


def _draw(
    *,
    board: tuple[int, int, int] = (175, 175, 180),
    paper: tuple[int, int, int] | None = (240, 236, 225),
    turn: int = 0,
) -> tuple[RGBImage, Mask]:
    """Draw a board with a beetle whose leg crosses a printed, framed label; and the beetle alone, bool (H, W)."""
    label = Image.new("RGBA", (150, 70), (0, 0, 0, 0))
    pen = ImageDraw.Draw(label)
    if paper is not None:
        pen.rectangle((0, 0, 149, 69), fill=(*paper, 255))
        pen.rectangle((4, 4, 145, 65), outline=(*INK, 255))
        for row in (16, 28, 40, 52):
            pen.line((12, row, 100 + row, row), fill=(*INK, 255), width=2)
    picture = Image.new("RGB", (600, 400), board)
    label = label.rotate(turn, expand=True)
    picture.paste(label, (300, 150 - turn // 2), label)
    beetle = Image.new("1", picture.size)
    pen = ImageDraw.Draw(beetle)
    pen.ellipse((170, 130, 290, 190), fill=1)
    pen.line((270, 165, 340, 190, 400, 205), fill=1, width=7)
    pen.line((200, 180, 180, 240), fill=1, width=7)
    mask = np.asarray(beetle)
    image = np.array(picture)
    image[mask] = BODY
    noise = np.random.default_rng(0).normal(0, 1, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask


def _find(image: RGBImage, beetle: Mask) -> Pieces:
    return find_pieces(image, list_colours(image[ndimage.binary_erosion(beetle, iterations=2)], 0.8))


@pytest.mark.parametrize("paper", [(240, 236, 225), (178, 174, 150)], ids=["bright", "as bright as the board, tinted"])
@pytest.mark.parametrize("turn", [0, 12])
def test_print_and_frame_go_and_the_leg_across_the_label_stays(paper: tuple[int, int, int], turn: int) -> None:
    image, beetle = _draw(paper=paper, turn=turn)
    before = _find(image, beetle)
    after = leave_out_labels(before, HALF_WIDTH)
    beside = ~ndimage.binary_dilation(beetle, iterations=3)
    assert (before.foreground & beside).sum() > 500, "the print is on the picture"
    assert (after.foreground & beside).sum() < 0.05 * (before.foreground & beside).sum()
    assert (after.foreground & beetle).sum() > 0.98 * beetle.sum()


TAN = (186, 168, 136)


def _add_leg_over(image: RGBImage, box: tuple[int, int, int, int], colours: list[tuple[int, int, int]]) -> RGBImage:
    """Lay a sheet of side by side colours, with a dark frame, under the beetle of `_draw`."""
    _, beetle = _draw(paper=None)
    x0, y0, x1, y1 = box
    sheet = image.copy()
    for at, colour in enumerate(colours):
        left, right = (x0 + (x1 - x0) * step // len(colours) for step in (at, at + 1))
        sheet[y0:y1, left:right] = colour
    sheet[y0:y1, [x0, x1 - 1]] = sheet[[y0, y1 - 1], x0:x1] = INK
    sheet[beetle] = image[beetle]
    return sheet


@pytest.mark.parametrize(
    ("box", "colours"),
    [
        ((340, 195, 450, 233), [(252, 252, 252)]),
        ((380, 196, 480, 214), [(252, 252, 252)]),
        ((340, 185, 500, 235), [(200, 40, 40), (40, 160, 60), (50, 70, 200), (230, 220, 60), (250, 250, 250)]),
        ((240, 180, 400, 230), [(252, 252, 252)]),
    ],
    ids=["white label under a leg", "narrow scale bar at a leg's end", "colour chart", "label that the body covers"],
)
def test_sheets_that_differ_from_the_board_as_animals_do_are_no_part_of_one(
    box: tuple[int, int, int, int], colours: list[tuple[int, int, int]]
) -> None:
    image, beetle = _draw(board=TAN, paper=None)
    image = _add_leg_over(image, box, colours)
    memory = remember_board([Support("one", "beetles", image, ("beetle",), beetle[None])])
    before = find_pieces(image, memory.body)
    x0, y0, x1, y1 = box
    assert before.foreground[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].mean() > 0.9, "the sheet is foreground"
    laid = lay_shapes(memory, image)
    assert laid is not None
    found = laid.split.labels == laid.split.labels[160, 230]
    assert (found & beetle).sum() / (found | beetle).sum() > 0.95


def test_a_sheet_is_none_of_those_that_the_animals_are_compared_with() -> None:
    board, beetle = _draw(board=TAN, paper=None)
    memory = remember_board([Support("one", "beetles", board, ("beetle",), beetle[None])])
    places = []
    for number, paint in enumerate(((0, 0, 0), (30, 4, 0), (4, 30, 8), (36, 8, 20), (6, 6, 24), (24, 20, 0))):
        place = board.copy()
        place[beetle] = np.clip(place[beetle] + np.array(paint), 0, 255).astype(np.uint8)
        places.append(place[:: -1 if number % 2 else 1])
    drawer = np.concatenate([np.concatenate(places[:3], axis=1), np.concatenate(places[3:], axis=1)])
    labelled = drawer.copy()
    labelled[20:50, 1640:1770] = (252, 252, 252)
    labelled[20:50, [1640, 1769]] = labelled[[20, 49], 1640:1770] = INK
    trunk = EfficientNetTrunk("cpu")
    with_sheet, without = (find_on_board(trunk, memory, each) for each in (labelled, drawer))
    assert with_sheet is not None
    assert without is not None
    assert len(without) == 6
    assert len({round(each.score, 2) for each in without}) > 3, "they are compared"
    assert [each.box for each in with_sheet] == [each.box for each in without]
    assert [each.score for each in with_sheet] == pytest.approx([each.score for each in without], abs=0.02)


def test_a_pale_beetle_with_a_straight_edged_white_band_keeps_it() -> None:
    image, beetle = _draw(board=TAN, paper=None)
    band = np.zeros_like(beetle)
    band[:, 215:245] = True
    image[band & beetle] = (252, 252, 252)
    pieces = find_pieces(image, list_colours(np.full((1, 3), BODY, np.uint8)))
    assert (pieces.unlike_body & band & beetle).sum() > 0.9 * (band & beetle).sum()
    assert leave_out_labels(pieces, HALF_WIDTH) is pieces


def _draw_strangers(shape: str) -> tuple[RGBImage, list[Mask]]:
    """Draw twelve animals of one shape, turned, in colours of their own, on a tan board."""
    rng = np.random.default_rng(0)
    board, animals = np.full((600, 800, 3), TAN, np.float64), []
    for place in range(12):
        picture = Image.new("1", (190, 190))
        pen = ImageDraw.Draw(picture)
        if shape == "butterfly":
            for side in (-1, 1):
                pen.polygon([(95, 91), (95 + side * 66, 48), (95 + side * 74, 75), (95 + side * 42, 101)], fill=1)
                pen.polygon([(95, 95), (95 + side * 48, 97), (95 + side * 45, 130), (95 + side * 16, 142)], fill=1)
        else:
            pen.rounded_rectangle((45, 74, 145, 116), radius=8 if shape == "box" else 21, fill=1)
            pen.ellipse((137, 84, 165, 106), fill=1)
            for x in (70, 95, 120):
                pen.line((x - 12, 50, x, 95, x - 12, 140), fill=1, width=4)
        window = (
            slice(place // 4 * 200 + 5, place // 4 * 200 + 195),
            slice(place % 4 * 200 + 5, place % 4 * 200 + 195),
        )
        animal = np.zeros(board.shape[:2], dtype=bool)
        animal[window] = np.asarray(picture.rotate(rng.uniform(0, 360)))
        board[animal] = (rng.uniform(0, 90), rng.uniform(60, 160), rng.uniform(120, 255))
        animals.append(animal)
    return np.clip(board + rng.normal(0, 2, board.shape), 0, 255).astype(np.uint8), animals


@pytest.mark.parametrize("shape", ["butterfly", "beetle", "box"])
def test_animals_of_colours_that_no_annotated_one_has_are_no_sheets(shape: str) -> None:
    image, animals = _draw_strangers(shape)
    pieces = find_pieces(image, list_colours(np.full((1, 3), BODY, np.uint8)))
    after = leave_out_labels(pieces, 21.0)
    for animal in animals:
        assert (pieces.unlike_body & animal).sum() > 0.8 * animal.sum()
        assert (after.foreground & animal).sum() > 0.98 * (pieces.foreground & animal).sum()


def test_the_animal_found_on_a_board_has_no_print() -> None:
    image, beetle = _draw()
    alone, own = _draw(paper=None)
    memory = remember_board([Support("one", "beetles", alone, ("beetle",), own[None])])
    laid = lay_shapes(memory, image)
    assert laid is not None
    found = laid.split.labels == laid.split.labels[160, 230]
    assert (found & beetle).sum() / (found | beetle).sum() > 0.95


def test_an_animal_on_its_card_keeps_its_legs() -> None:
    image = np.full((400, 600, 3), (150, 150, 155), np.uint8)
    image[120:300, 180:440] = (240, 238, 230)
    beetle = Image.new("1", (600, 400))
    pen = ImageDraw.Draw(beetle)
    pen.ellipse((250, 180, 370, 240), fill=1)
    for x in (270, 300, 330):
        pen.line((x, 185, x - 15, 140), fill=1, width=2)
        pen.line((x, 235, x - 15, 280), fill=1, width=2)
    mask = np.asarray(beetle)
    image[mask] = BODY
    pieces = _find(image, mask)
    assert find_labels(pieces.image, pieces.foreground, HALF_WIDTH)
    assert np.array_equal(leave_out_labels(pieces, HALF_WIDTH).foreground, pieces.foreground)


def test_a_label_beside_the_animals_loses_all_its_print() -> None:
    image, beetle = _draw()
    image[beetle] = (240, 236, 225)
    pieces = find_pieces(image, list_colours(np.full((1, 3), BODY, np.uint8)))
    assert pieces.foreground.any()
    assert not leave_out_labels(pieces, HALF_WIDTH).foreground[150:220, 345:420].any()


def test_a_board_without_labels_stays_as_it_is() -> None:
    image, beetle = _draw(paper=None)
    pieces = _find(image, beetle)
    assert leave_out_labels(pieces, HALF_WIDTH) is pieces


def test_a_bright_slat_with_a_broken_leg_on_it_is_no_label() -> None:
    image, beetle = _draw(paper=None)
    bright = np.zeros(beetle.shape, dtype=bool)
    bright[150:230, 320:360] = True
    image[bright & ~beetle] = (215, 214, 210)
    image[220:222, 325:350] = BODY
    pieces = _find(image, beetle)
    assert find_labels(pieces.image, pieces.foreground, HALF_WIDTH)
    after = leave_out_labels(pieces, HALF_WIDTH)
    assert np.array_equal(after.foreground, pieces.foreground)
