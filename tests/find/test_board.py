"""Individuals on boards: known answers drawn by the test, and a tray of the synthetic drawer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sst_retrieval.find import board
from sst_retrieval.find.board import (
    BoardMemory,
    compare_with_others,
    complete_body,
    find_on_board,
    judge_laid,
    lay_shapes,
    remember_board,
)
from sst_retrieval.find.contract import FOUND, check_detections
from sst_retrieval.find.kinship import (
    DOUBTFUL,
    LEAST_KINSHIP,
    OTHER_SPECIES,
    STRICT,
    Portrait,
    choose_comparison,
    judge,
    load_common_look,
    measure_kinship,
)
from sst_retrieval.find.pieces import find_pieces, list_colours
from sst_retrieval.find.splitting import fit_template, measure_half_width, split_foreground
from sst_retrieval.find.templates import HALF_WIDTH, Pose, draw_template, find_trunk, make_template
from sst_retrieval.imaging.masks import iou
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.synthetic.species import SPECIES, TRAITS, GroundBeetle
from sst_retrieval.synthetic.specimen import SpecimenPlan, draw_specimen
from sst_retrieval.synthetic.tray import Tray, draw_tray
from sst_retrieval.types import Detection, Mask, RGBImage, Support

BOARD = (214, 208, 196)
BROWN = (74, 44, 30)


def draw_body(size: tuple[int, int], x: float, y: float, angle: float, scale: float = 1.0) -> Mask:
    """An egg-shaped body of 120 x 50 pixels with a head at one end, and six thin legs."""
    body, head, legs = _outlines(angle, scale)
    picture = Image.new("1", size[::-1])
    draw = ImageDraw.Draw(picture)
    for outline in (body, head):
        draw.polygon([(x + dx, y + dy) for dx, dy in outline], fill=1)
    for start, end in legs:
        draw.line([(x + start[0], y + start[1]), (x + end[0], y + end[1])], fill=1, width=max(2, round(4 * scale)))
    return np.array(picture)


def _outlines(angle: float, scale: float) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * scale
    t = np.linspace(0, 2 * math.pi, 60)
    body = np.stack([60 * np.cos(t), (25 + 5 * np.cos(t)) * np.sin(t)], axis=1)
    head = np.stack([-68 + 18 * np.cos(t), 15 * np.sin(t)], axis=1)
    legs = [np.array([(x, 15 * side), (x + 12, 62 * side)]) for x in (-35, 0, 30) for side in (-1, 1)]
    return body @ turn.T, head @ turn.T, [(line @ turn.T)[[0, 1]] for line in legs]  # type: ignore[misc]


def paint(masks: Sequence[Mask], size: tuple[int, int], *, board: tuple[int, int, int] = BOARD) -> RGBImage:
    image = np.full((*size, 3), board, np.int16)
    for number, mask in enumerate(masks):
        image[mask] = np.array(BROWN) + 4 * (number % 3)
    noise = np.random.default_rng(0).integers(-3, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def trunk() -> EfficientNetTrunk:
    return EfficientNetTrunk("cpu")


@pytest.fixture(scope="module")
def support() -> Support:
    mask = draw_body((200, 240), 120, 100, 0.3)
    return Support("one", "brown", paint([mask], (200, 240)), ("animal",), mask[None])


@pytest.fixture(scope="module")
def memory(trunk: EfficientNetTrunk, support: Support) -> BoardMemory:
    return remember_board([support])


def whole(found: Sequence[Detection], size: tuple[int, int]) -> list[Mask]:
    masks = []
    for each in found:
        x0, y0, x1, y1 = each.box
        mask = np.zeros(size, dtype=bool)
        assert each.mask is not None
        mask[y0:y1, x0:x1] = each.mask
        masks.append(mask)
    return masks


# ------------------------------------------------------------------------------------------------- templates


def test_a_trunk_has_no_legs() -> None:
    mask = draw_body((220, 240), 120, 110, 0.0)
    bare = mask & ~draw_legs_only((220, 240))
    trunk = find_trunk(mask, 30.0)
    assert not trunk[40:70].any()
    assert iou(trunk, bare) > 0.9


def draw_legs_only(size: tuple[int, int]) -> Mask:
    rows = np.arange(size[0])[:, None]
    return (np.abs(rows - 110) > 33) & np.ones(size, dtype=bool)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_a_template_is_the_same_whatever_the_size_of_the_support(scale: float) -> None:
    size = (round(220 * scale), round(240 * scale))
    template = make_template(draw_body(size, 120 * scale, 110 * scale, 0.7, scale))
    reference = make_template(draw_body((220, 240), 120, 110, 0.0))
    assert template.area == pytest.approx(reference.area, rel=0.08)
    assert template.reach == pytest.approx(reference.reach, rel=0.08)
    assert template.raster.shape[1] > template.raster.shape[0]


def test_a_template_is_found_on_its_own_support() -> None:
    mask = draw_body((220, 240), 120, 110, 1.1)
    pose, fit = fit_template(mask, make_template(mask))
    assert fit > 0.9
    assert pose.stretch == pytest.approx(1, abs=0.12)


def test_a_template_is_drawn_where_its_pose_says() -> None:
    template = make_template(draw_body((220, 240), 120, 110, 0.0))
    window, drawn = draw_template(template, Pose(150.0, 100.0, 0.0, HALF_WIDTH, 1.0, 1.0), (300, 300))
    assert drawn.sum() == pytest.approx(template.raster.sum(), rel=0.02)
    rows, _ = np.nonzero(drawn)
    assert window[0].start + rows.mean() == pytest.approx(100, abs=6)
    _, nothing = draw_template(template, Pose(-900.0, 100.0, 0.0, 20.0, 1.0, 1.0), (300, 300))
    assert not nothing.any()


# ------------------------------------------------------------------------------------------------- splitting


@pytest.mark.parametrize(
    "places",
    [
        [(150, 150, 0.0, 1.0)],
        [(150, 150, 0.4, 1.0), (420, 150, 2.0, 1.3)],
        # Head to tail, side by side, crossed: they share pixels.
        [(120, 150, 0.0, 1.0), (255, 160, 0.1, 1.0)],
        [(150, 130, 0.0, 1.0), (170, 184, 0.2, 1.0)],
        [(120, 150, 0.0, 1.0), (250, 140, 1.4, 1.0), (380, 160, 0.2, 1.1)],
    ],
)
def test_as_many_individuals_as_were_drawn(places: list[tuple[float, float, float, float]]) -> None:
    size = (320, 560)
    masks = [draw_body(size, *place) for place in places]
    split = split_foreground(np.any(masks, axis=0), [make_template(draw_body((220, 240), 120, 110, 0.0))])
    assert len(split.poses) == len(places)
    for mask in masks:
        assert max(iou(mask, split.labels == number + 1) for number in range(len(places))) > 0.8


def test_a_head_that_a_gap_cuts_off_stays_with_its_body() -> None:
    mask = draw_body((220, 240), 120, 110, 0.0)
    mask[:, 66:70] = False
    split = split_foreground(mask, [make_template(draw_body((220, 240), 120, 110, 0.0))])
    assert len(split.poses) == 1
    assert iou(split.labels > 0, mask) == 1


def test_nothing_is_split_where_nothing_is() -> None:
    template = make_template(draw_body((220, 240), 120, 110, 0.0))
    assert split_foreground(np.zeros((50, 70), dtype=bool), [template]).poses == ()
    assert measure_half_width(np.zeros((50, 70), dtype=bool)) == 0


# ------------------------------------------------------------------------------------------------- pieces


def test_white_labels_and_slats_are_board() -> None:
    size = (400, 600)
    masks = [draw_body(size, 150, 200, 0.5), draw_body(size, 420, 220, 2.5)]
    image = paint(masks, size)
    striped = image.copy()
    striped[:, ::40] = striped[:, 1::40] = striped[:, 2::40] = (186, 180, 170)
    striped[~np.any(masks, axis=0) & (np.arange(600) % 80 < 30)[None, :]] -= 24
    striped[20:60, 250:360] = 250
    colours = list_colours(image[masks[0]])
    for picture in (image, striped):
        found = find_pieces(picture, colours)
        assert found.is_board
        assert iou(found.foreground, np.any(masks, axis=0)) > 0.9
        assert not found.foreground[20:60, 250:360].any()


def test_grass_is_no_board(trunk: EfficientNetTrunk, memory: BoardMemory) -> None:
    random = np.random.default_rng(0)
    grass = np.clip(random.normal((80, 110, 50), 30, (300, 400, 3)), 0, 255).astype(np.uint8)
    assert find_on_board(trunk, memory, grass) is None


# ------------------------------------------------------------------------------------------------- the whole


def test_individuals_of_all_turns_and_sizes_are_found(trunk: EfficientNetTrunk, memory: BoardMemory) -> None:
    size = (600, 800)
    masks = [draw_body(size, 130 + 270 * (n % 3), 120 + 180 * (n // 3), 0.7 * n, 0.8 + 0.05 * n) for n in range(9)]
    image = paint(masks, size)
    found = find_on_board(trunk, memory, image)
    assert found is not None
    check_detections(found, image, "board")
    sure = whole([each for each in found if each.score >= FOUND], size)
    assert len(sure) == 9
    assert all(max(iou(mask, other) for other in sure) > 0.85 for mask in masks)
    assert np.sum(sure, axis=0).max() == 1
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    again = find_on_board(trunk, memory, image)
    assert again is not None
    assert [each.box for each in again] == [each.box for each in found]


def test_groups_are_compared_by_the_individuals_that_are_most_alike(
    trunk: EfficientNetTrunk, memory: BoardMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "MOST_OTHERS", 1)
    size = (200, 200)
    egg, round_one = draw_body(size, 100, 100, 0.3), np.hypot(*(np.mgrid[:200, :200] - 100)) < 60
    others = [
        Support(str(n), "others", paint([mask], size), ("body",), mask[None]) for n, mask in enumerate((round_one, egg))
    ]
    ((comparison, (kept,)),) = compare_with_others(
        trunk, memory, {DOUBTFUL: others[:1], STRICT: others[1:]}
    ).others.items()
    assert comparison == STRICT
    assert (
        iou(kept.body[kept.body.any(axis=1)][:, kept.body.any(axis=0)], egg[egg.any(axis=1)][:, egg.any(axis=0)]) == 1
    )
    assert compare_with_others(trunk, memory, {}).others == {}


def test_an_empty_board_has_none(trunk: EfficientNetTrunk, memory: BoardMemory) -> None:
    assert find_on_board(trunk, memory, paint([], (300, 400))) == []


def test_crumbs_on_a_bare_board_are_no_individuals_but_a_small_beetle_is(
    trunk: EfficientNetTrunk, memory: BoardMemory
) -> None:
    size = (1000, 1400)
    crumbs = np.zeros(size, dtype=bool)
    for x, y in ((300, 200), (800, 600), (1100, 300)):
        crumbs[y : y + 6, x : x + 10] = True
    found = find_on_board(trunk, memory, paint([crumbs], size))
    assert found is not None
    assert len(found) == 3
    assert [each for each in found if each.score >= FOUND] == []
    beetle = draw_body(size, 700, 500, 0.4, 0.5)
    image = paint([beetle], size)
    laid = lay_shapes(memory, image)
    assert laid is not None
    assert laid.empty
    (one,) = judge_laid(trunk, memory, laid, image)
    assert one.score >= FOUND


def test_a_large_photograph_is_searched_small_and_answered_large(trunk: EfficientNetTrunk, memory: BoardMemory) -> None:
    size = (1500, 2400)
    masks = [draw_body(size, 600 * (n + 1), 700, n, 3.0) for n in range(3)]
    found = find_on_board(trunk, memory, paint(masks, size))
    assert found is not None
    sure = whole([each for each in found if each.score >= FOUND], size)
    assert len(sure) == 3
    assert all(max(iou(mask, other) for other in sure) > 0.9 for mask in masks)
    assert np.sum(sure, axis=0).max() == 1


def make_portrait(direction: float, lightness: float = 30.0) -> Portrait:
    """A portrait whose likeness to another is the cosine of the difference of directions."""
    features = np.array([math.cos(direction), math.sin(direction)], np.float32)
    return Portrait(features, features, np.full((5, 3), lightness, np.float32))


def test_who_differs_from_all_others_is_a_stranger() -> None:
    random = np.random.default_rng(0)
    own = [make_portrait(0.1 * float(random.normal()), 30 + float(random.normal())) for _ in range(12)]
    scores = judge([make_portrait(0.1)], [*own, make_portrait(1.1, 45)])
    assert (scores[:-1] >= FOUND).all()
    assert scores[-1] < FOUND


def test_where_all_are_unlike_the_annotated_none_is_of_its_kind() -> None:
    scores = judge([make_portrait(0.0)], [make_portrait(0.9 + 0.02 * n) for n in range(6)])
    assert (scores < FOUND).all()


def test_an_odd_annotated_one_is_one_of_those_that_differ_as_much() -> None:
    varied = [make_portrait(0.7 * (-1) ** n + 0.02 * n) for n in range(12)]
    uniform = [make_portrait(0.02 * n) for n in range(12)]
    assert (judge([make_portrait(0.9)], varied) >= FOUND).all()
    assert (judge([make_portrait(0.9)], uniform) < FOUND).all()
    assert measure_kinship([make_portrait(0.7)], uniform) < measure_kinship([make_portrait(0.7)], varied) < 0.15
    # The one of several that is most alike counts.
    both = [make_portrait(1.5), make_portrait(0.1)]
    assert measure_kinship(both, uniform) == measure_kinship(both[1:], uniform)


def test_what_beetles_have_in_common_is_loaded() -> None:
    common = load_common_look()
    assert common.shape == (432,)
    assert 0.5 < np.linalg.norm(common) < 1


def test_one_alone_is_compared_with_the_annotated() -> None:
    assert judge([make_portrait(0.0)], [make_portrait(0.2)])[0] >= FOUND
    assert judge([make_portrait(0.0)], [make_portrait(1.2)])[0] >= FOUND
    assert judge([make_portrait(0.0)], [make_portrait(1.4)])[0] < FOUND
    assert judge([make_portrait(0.0)], []).shape == (0,)


def test_a_drawer_that_is_nearer_to_another_group_is_of_that_group() -> None:
    drawer = [make_portrait(0.54 + 0.002 * n) for n in range(18)]
    annotated, theirs, as_near, same = (make_portrait(each) for each in (0.0, 0.9, 1.1, 0.6))
    assert (judge([annotated], drawer) >= FOUND).all()
    assert (judge([annotated], drawer, {STRICT: [as_near, theirs]}) < FOUND).all()
    assert (judge([annotated], drawer, {STRICT: [as_near]}) >= FOUND).all()
    # A group of the same look says nothing.
    assert (judge([annotated], drawer, {STRICT: [same]}) >= FOUND).all()
    # One alone is not refused for it: whoever photographs one specimen means it.
    assert judge([annotated], drawer[:1], {STRICT: [theirs]})[0] >= FOUND


def test_by_default_another_group_counts_only_where_the_own_kinship_is_in_doubt() -> None:
    drawer = [make_portrait(0.54 + 0.002 * n) for n in range(18)]
    theirs = make_portrait(0.56)
    limit = float(np.interp(len(drawer), list(LEAST_KINSHIP), list(LEAST_KINSHIP.values())))
    angles = np.linspace(0.54, 0.0, 200)
    kinships = [measure_kinship([make_portrait(each)], drawer) for each in angles]
    assert kinships[0] > limit + 0.05
    assert kinships[-1] < limit + 0.03
    refused = {True: [], False: []}
    for angle, kinship in zip(angles, kinships, strict=True):
        if (judge([make_portrait(angle)], drawer, {DOUBTFUL: [theirs]}) < FOUND).all():
            refused[kinship >= limit].append(kinship)
        else:
            assert kinship >= limit
    assert refused[True]  # In doubt, and the other is more like them.
    assert max(refused[True]) < limit + 0.04  # Beyond doubt, nobody asks for others.
    # One that is as little like them changes nothing.
    doubtful = make_portrait(angles[kinships.index(refused[True][0])])
    assert (judge([doubtful], drawer, {DOUBTFUL: [make_portrait(1.2)]}) >= FOUND).all()
    assert (judge([doubtful], drawer) >= FOUND).all()


def test_a_group_of_another_species_counts_beyond_doubt_but_never_in_favour() -> None:
    drawer = [make_portrait(0.54 + 0.002 * n) for n in range(18)]
    own, nearer, farther = (make_portrait(each) for each in (0.0, 0.9, 1.6))
    assert (judge([own], drawer, {DOUBTFUL: [nearer]}) >= FOUND).all()
    assert (judge([own], drawer, {OTHER_SPECIES: [nearer]}) < FOUND).all()
    assert (judge([own], drawer, {DOUBTFUL: [nearer], OTHER_SPECIES: [farther]}) >= FOUND).all()
    assert (judge([own], drawer, {DOUBTFUL: [farther], OTHER_SPECIES: [nearer]}) < FOUND).all()
    # Not being of one other species does not make them of the own.
    strange = [make_portrait(0.9 + 0.02 * n) for n in range(6)]
    assert (judge([own], strange, {OTHER_SPECIES: [make_portrait(-1.5)]}) < FOUND).all()


def test_the_names_of_two_groups_say_how_they_are_compared() -> None:
    one, other = "Carabus granulatus", "Carabus cancellatus"
    assert choose_comparison(DOUBTFUL, one, one) is None
    assert choose_comparison(DOUBTFUL, one, other) == OTHER_SPECIES
    assert choose_comparison(DOUBTFUL, one, "") == choose_comparison(DOUBTFUL, "", one) == DOUBTFUL
    assert choose_comparison(DOUBTFUL, "", "") == DOUBTFUL
    # Who says how groups count, is obeyed.
    assert choose_comparison(STRICT, one, one) == choose_comparison(STRICT, one, other) == STRICT


@pytest.fixture(scope="module")
def tray() -> tuple[Support, Tray]:
    species = next(each for each in SPECIES if isinstance(each, GroundBeetle))
    image, masks = draw_specimen(SpecimenPlan(species, 0.05, "fresh", True, ()), np.random.default_rng(3))
    support = Support("one", species.name, image, tuple(masks), np.stack(list(masks.values())))
    return support, draw_tray(species, np.random.default_rng(4))


def test_a_drawn_tray_is_exact(tray: tuple[Support, Tray]) -> None:
    drawn = tray[1]
    count = int(drawn.individuals.max())
    assert count == 21
    assert set(np.unique(drawn.individuals)) == set(range(count + 1))
    assert set(np.unique(drawn.parts)) == {0, TRAITS["elytra"], TRAITS["pronotum"]}
    # The parts of the three strangers lie outside of all individuals.
    assert 0.02 < ((drawn.parts > 0) & (drawn.individuals == 0)).sum() / (drawn.parts > 0).sum() < 0.25


def test_a_tray_is_counted(trunk: EfficientNetTrunk, tray: tuple[Support, Tray]) -> None:
    support, drawn = tray
    found = find_on_board(trunk, remember_board([support]), drawn.image)
    assert found is not None
    size = drawn.individuals.shape
    everything, sure = whole(found, size), whole([each for each in found if each.score >= FOUND], size)
    truth = [drawn.individuals == number for number in range(1, int(drawn.individuals.max()) + 1)]
    assert np.mean([max(iou(mask, other) for other in everything) for mask in truth]) > 0.85
    assert abs(len(sure) - len(truth)) <= 2
    assert sum(max(iou(mask, other) for other in sure) > 0.5 for mask in truth) >= len(truth) - 2


def test_a_body_of_which_only_scattered_traits_were_drawn_is_completed() -> None:
    size = (220, 260)
    body = draw_body(size, 130, 110, 0.0)
    image = paint([body], size)
    spots = np.zeros((2, *size), dtype=bool)
    spots[0, 100:120, 85:95] = spots[1, 100:120, 160:170] = True
    spots &= body
    completed = complete_body(Support("one", "brown", image, ("front", "rear"), spots))
    assert iou(completed, body) > 0.9
    outline = Support("one", "brown", image, ("front", "rear"), spots, outline=body)
    assert np.array_equal(complete_body(outline), body)
    # Beside others it stays what was drawn: whose the rest is, nobody knows.
    wide = (220, 1100)
    others = [draw_body(wide, 130 + 270 * n, 110, 0.0) for n in range(4)]
    crowd = np.zeros((2, *wide), dtype=bool)
    crowd[:, :, :260] = spots
    alone = Support("one", "brown", paint(others, wide), ("front", "rear"), crowd)
    assert np.array_equal(complete_body(alone), alone.body)


def test_a_body_is_completed_though_its_colour_is_nearer_to_the_board_than_to_the_drawn_bands() -> None:
    """As black wings with red and cream bands, cut off and laid apart, on a blue board."""
    size = (300, 460)
    wings, bands = np.zeros(size, dtype=bool), np.zeros((2, *size), dtype=bool)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for y, x in ((90, 120), (90, 340), (210, 120), (210, 340)):
        wings |= ((rows - y) / 45) ** 2 + ((columns - x) / 85) ** 2 < 1
        bands[int(y > 150)] |= (abs(columns - x) < 14) & (abs(rows - y) < 30)
    image = np.full((*size, 3), (92, 128, 160), np.int16)
    image[wings] = (22, 20, 22)
    image[bands[0]], image[bands[1]] = (214, 40, 36), (226, 224, 190)
    image = np.clip(image + np.random.default_rng(0).integers(-3, 4, image.shape), 0, 255).astype(np.uint8)
    support = Support("one", "black", image, ("fore", "hind"), bands)
    assert iou(complete_body(support), wings) > 0.95


def test_an_animal_in_pieces_is_one() -> None:
    """As a butterfly of which the wings were cut off and laid apart."""
    size = (300, 460)

    def wings(x: int, y: int) -> Mask:
        picture = Image.new("1", size[::-1])
        for dx, dy, r in ((-40, -30, 32), (40, -30, 32), (-34, 44, 26), (34, 44, 26)):
            ImageDraw.Draw(picture).ellipse((x + dx - r, y + dy - r, x + dx + r, y + dy + r), fill=1)
        return np.array(picture)

    template = make_template(wings(150, 150))
    assert template.gap > 0
    split = split_foreground(wings(200, 160), [template])
    assert len(split.poses) == 1
    assert iou(split.labels > 0, wings(200, 160)) > 0.95


def test_small_individuals_of_a_large_photograph_are_described_at_its_own_size(
    trunk: EfficientNetTrunk, memory: BoardMemory
) -> None:
    size = (2400, 3200)
    masks = [draw_body(size, 400 * (n % 7) + 400, 400 * (n // 7) + 400, n, 0.8) for n in range(28)]
    image = paint(masks, size)
    laid = lay_shapes(memory, image)
    assert laid is not None
    seen = []

    class Spy(EfficientNetTrunk):
        def __init__(self) -> None:
            self.__dict__ = trunk.__dict__

        def levels(self, images: np.ndarray, *, deepest: int = 5) -> list:  # type: ignore[type-arg]
            seen.append(float(np.abs(np.diff(images[0].astype(float), axis=0)).mean()))
            return trunk.levels(images, deepest=deepest)

    found = judge_laid(Spy(), memory, laid, image)
    assert sum(each.score >= FOUND for each in found) == 28
    close = list(seen)
    seen.clear()
    judge_laid(Spy(), memory, laid, laid.pieces.image)
    assert np.mean(close) > 1.1 * np.mean(seen)
