"""The dense finder off plain boards: striped animals on rough ground, crowds of round things, and strangers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_finder_contract import PLACES, PaperForeground, draw

from sst_retrieval.engines import load_finder
from sst_retrieval.find import board, dense
from sst_retrieval.find.appearance import Look
from sst_retrieval.find.board import lay_shapes
from sst_retrieval.find.contract import FOUND, compares_groups
from sst_retrieval.find.dense import SURE_FIT, DenseFinder, DenseFinderMemory
from sst_retrieval.find.formless import look_at_blobs, measure_formlessness
from sst_retrieval.find.fragments import Judged
from sst_retrieval.find.kinship import DOUBTFUL, OTHER_SPECIES, STRICT, Comparison
from sst_retrieval.find.likelihood import compute_likelihood, find_prototypes, fit_pixel_model
from sst_retrieval.find.proposals import Proposal
from sst_retrieval.find.salient import find_salient, propose_salient
from sst_retrieval.find.small_forms import SMALL_AREA, hides_its_form
from sst_retrieval.imaging.masks import iou, resize_mask
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Detection, Mask, MaskStack, RGBImage, Support

GROUND = (96, 112, 70)


@pytest.fixture(scope="module")
def trunk() -> EfficientNetTrunk:
    return EfficientNetTrunk("cpu")


@pytest.fixture(scope="module")
def finder(trunk: EfficientNetTrunk) -> DenseFinder:
    return DenseFinder(trunk=trunk, foreground=PaperForeground())


def put_on_ground(image: RGBImage, masks: MaskStack, seed: int = 0) -> RGBImage:
    """Put what the masks show on rough ground."""
    ground = np.random.default_rng(seed).normal(GROUND, 14, image.shape).clip(0, 255).astype(np.uint8)
    return np.where(masks.any(axis=0)[..., None], image, ground)


def animals(places: tuple[tuple[int, int, int], ...], size: tuple[int, int]) -> tuple[RGBImage, MaskStack]:
    image, masks = draw(places, size)
    return put_on_ground(image, masks), masks


def disks(places: list[tuple[int, int, int]], size: tuple[int, int]) -> tuple[RGBImage, MaskStack]:
    """Draw pale caps (x, y, radius) on rough ground: where two touch, each keeps its half."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    depth = np.array([radius - np.hypot(columns - x, rows - y) for x, y, radius in places])
    masks = (depth > 0) & (depth == depth.max(axis=0))
    image = np.zeros((*size, 3))
    for mask, each, (_, _, radius) in zip(masks, depth, places, strict=True):
        image[mask] = (np.array((238, 232, 220)) - 60 * (1 - each[mask, None] / radius) ** 2).clip(0, 255)
    return put_on_ground(image.astype(np.uint8), masks), masks


def support_of(image: RGBImage, mask: Mask) -> Support:
    return Support("one", "group", image, ("animal",), mask[None])


def sure_masks(found: list[Detection], size: tuple[int, ...]) -> list[Mask]:
    masks = []
    for each in found:
        if each.score >= FOUND:
            x0, y0, x1, y1 = each.box
            mask = np.zeros(size[:2], dtype=bool)
            mask[y0:y1, x0:x1] = True if each.mask is None else each.mask
            masks.append(mask)
    return masks


@pytest.fixture(scope="module")
def striped(finder: DenseFinder) -> DenseFinderMemory:
    image, masks = animals(PLACES[:1], (180, 160))
    return finder.remember([support_of(image, masks[0])])


def test_animals_on_rough_ground_are_found_once_each(finder: DenseFinder, striped: DenseFinderMemory) -> None:
    image, masks = animals(PLACES, (400, 360))
    assert lay_shapes(striped.board, image) is None
    sure = sure_masks(finder.find(striped, image), image.shape)
    assert len(sure) == len(masks)
    assert all(max(iou(mask, other) for other in sure) > 0.8 for mask in masks)
    assert np.sum(sure, axis=0).max() == 1


def test_bare_ground_has_none(finder: DenseFinder, striped: DenseFinderMemory) -> None:
    image, masks = animals(PLACES[:1], (300, 280))
    bare = put_on_ground(image, np.zeros_like(masks), seed=1)
    assert sure_masks(finder.find(striped, bare), bare.shape) == []


def test_another_kind_is_none_of_them(finder: DenseFinder, striped: DenseFinderMemory) -> None:
    image, masks = animals(((90, 80, 20),), (400, 300))
    other, stranger = disks([(290, 190, 55)], (300, 400))
    both = np.where(stranger[0][..., None], other, image)
    sure = sure_masks(finder.find(striped, both), both.shape)
    assert len(sure) == 1
    assert iou(sure[0], masks[0]) > 0.8


def test_of_an_animal_too_small_to_show_its_form_only_the_foreground_is_asked(finder: DenseFinder) -> None:
    image, masks = animals(PLACES[:1], (180, 160))
    size = (40, 36)
    small = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))
    mask = resize_mask(masks[0], size).copy()
    mask[size[0] // 2 :, size[1] // 2 :] = False  # What is left has a corner, as limbs make.
    memory = finder.remember([support_of(small, mask)])
    assert mask.sum() < SMALL_AREA
    assert memory.too_small
    scene, drawn = animals(PLACES, (500, 620))
    found = finder.find(memory, scene)
    things, scores = find_salient(finder.foreground, scene)
    assert [each.box for each in found] == [each.box for each in things]
    assert [each.score for each in found] == scores
    assert len(sure_masks(found, scene.shape)) == len(drawn)
    # One that is large enough beside it: the small one says nothing more.
    large, masks = animals(PLACES[:1], (180, 160))
    both = finder.remember([support_of(small, mask), support_of(large, masks[0])])
    alone = finder.remember([support_of(large, masks[0])])
    assert not both.too_small
    np.testing.assert_array_equal(both.looks[0].kind, alone.looks[0].kind)
    assert len(both.looks) == len(alone.looks)


def test_small_things_without_limbs_show_their_form(finder: DenseFinder) -> None:
    image, masks = disks([(40, 40, 12)], (80, 80))
    assert not hides_its_form(masks[0])
    assert not finder.remember([support_of(image, masks[0])]).too_small
    cross = np.zeros((80, 80), dtype=bool)
    cross[38:42, 30:50] = cross[30:50, 38:42] = True
    assert hides_its_form(cross)
    assert not hides_its_form(np.kron(cross, np.ones((4, 4), dtype=bool)))


def test_touching_round_things_of_all_sizes_are_counted(finder: DenseFinder) -> None:
    one, cap = disks([(80, 80, 40)], (160, 160))
    memory = finder.remember([support_of(one, cap[0])])
    assert memory.pixels is not None
    places = [(60 + 74 * n, 70 + 20 * (n % 2), 38) for n in range(5)] + [(70 + 44 * n, 190, 24) for n in range(6)]
    image, masks = disks(places, (260, 440))
    sure = sure_masks(finder.find(memory, image), image.shape)
    hits = [max((iou(mask, other) for other in sure), default=0.0) > 0.5 for mask in masks]
    assert sum(hits) >= 10
    assert len(sure) <= len(masks) + 1


def test_long_bodies_are_not_split_as_if_they_were_round(finder: DenseFinder) -> None:
    image, masks = draw(PLACES[:1], (180, 160))
    long = np.zeros_like(masks[0])
    long[60:100, 20:160] = True
    assert finder.remember([support_of(image, long)]).pixels is None


def test_a_plain_sky_on_which_the_shapes_do_not_fit_is_no_board(striped: DenseFinderMemory) -> None:
    sky = np.full((300, 400, 3), (150, 180, 220), dtype=np.uint8)
    rows, columns = np.mgrid[:300, :400]
    sky[(np.abs(rows - 150) < 12) | (np.abs(columns - 200) < 12)] = (40, 40, 40)
    laid = lay_shapes(striped.board, sky)
    assert laid is None or laid.fit < SURE_FIT


def refuse_all(*arguments: Any) -> list[Detection]:
    """Find what is on a board, and say that none of it is of the kind."""
    return [replace(each, score=0.4 * each.score) for each in board.judge_laid(*arguments)]


def test_few_things_on_a_plain_ground_of_which_none_is_of_the_kind_are_looked_at_as_elsewhere(
    finder: DenseFinder, striped: DenseFinderMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, masks = draw(PLACES[:1], (400, 360))
    laid = lay_shapes(striped.board, image)
    assert laid is not None
    assert laid.fit >= SURE_FIT
    monkeypatch.setattr(dense, "judge_laid", refuse_all)
    sure = sure_masks(finder.find(striped, image), image.shape)
    assert len(sure) == 1
    assert iou(sure[0], masks[0]) > 0.8
    monkeypatch.setattr(dense, "FEW_LAID", 0)
    assert sure_masks(finder.find(striped, image), image.shape) == []


@pytest.mark.parametrize(("name", "comparison"), [("dense", DOUBTFUL), ("dense:groups", STRICT), ("dense:alone", None)])
def test_how_much_other_groups_say_is_chosen_by_name(name: str, comparison: Comparison | None) -> None:
    chosen = load_finder(name, "colour", "cpu")
    assert isinstance(chosen, DenseFinder)
    assert compares_groups(chosen) == (comparison is not None)
    image, masks = animals(PLACES[:1], (180, 160))
    own = support_of(image, masks[0])
    memory = chosen.remember([own, replace(own, group="others")])
    if comparison is None:
        assert memory.board.others == {}
        assert "alone" in chosen.name
    else:
        assert {each: len(sitters) for each, sitters in memory.board.others.items()} == {comparison: 1}
        assert chosen.remember([own]).board.others == {}


def test_groups_of_one_species_are_not_compared_and_those_of_different_ones_are_strictly() -> None:
    chosen = load_finder("dense", "colour", "cpu")
    image, masks = animals(PLACES[:1], (180, 160))
    own = replace(support_of(image, masks[0]), species="Cervus elaphus")
    others = [replace(own, group=species or "unnamed", species=species) for species in ("Dama dama", "", own.species)]
    others[-1] = replace(others[-1], group="hinds")

    def count(supports: Sequence[Support]) -> dict[Comparison, int]:
        return {each: len(sitters) for each, sitters in chosen.remember(supports).board.others.items()}

    assert count([own, *others]) == {OTHER_SPECIES: 1, DOUBTFUL: 1}
    assert count([own, others[-1]]) == {}
    assert count([replace(own, species=""), *others]) == {DOUBTFUL: 3}
    strict = load_finder("dense:groups", "colour", "cpu").remember([own, *others])
    assert {each: len(sitters) for each, sitters in strict.board.others.items()} == {STRICT: 3}


def test_what_is_seen_in_every_view_has_more_votes_than_what_is_seen_in_one(finder: DenseFinder) -> None:
    image, masks = animals(PLACES, (400, 360))
    proposals = propose_salient(finder.foreground, image)
    votes: dict[bool, list[float]] = {True: [], False: []}
    for each in proposals:
        whole = np.zeros(image.shape[:2], dtype=bool)
        x0, y0, x1, y1 = each.box
        whole[y0:y1, x0:x1] = each.mask
        votes[any(iou(whole, mask) > 0.8 for mask in masks)].append(each.votes)
    assert min(votes[True]) >= 3
    assert not votes[False] or np.mean(votes[True]) > np.mean(votes[False])


def test_pixels_of_the_kind_are_told_from_the_ground(trunk: EfficientNetTrunk) -> None:
    one, cap = disks([(80, 80, 40)], (160, 160))
    model = fit_pixel_model(trunk, [support_of(one, cap[0])])
    assert model is not None
    assert model.trust > 0.8
    image, masks = disks([(60, 60, 30), (150, 100, 40)], (200, 240))
    likely = compute_likelihood(trunk, model, image)
    rows = (np.arange(200) * likely.shape[0] // 200)[:, None]
    assert iou(likely[rows, np.arange(240) * likely.shape[1] // 240] > 0.5, masks.any(axis=0)) > 0.8


def test_neighbours_that_nobody_annotated_are_no_background(trunk: EfficientNetTrunk) -> None:
    """One of a bed was annotated; the others have other sizes, and are paler or darker."""
    random = np.random.default_rng(4)
    places = [(44 + 74 * n, 44 + 74 * m, int(random.integers(24, 38))) for n in range(5) for m in range(4)]
    bed, masks = disks(places, (320, 390))
    tones = random.uniform(0.65, 1.0, (len(places), 1, 1, 1)) * masks[..., None]
    bed = (bed * np.where(masks.any(axis=0)[..., None], tones.sum(axis=0), 1)).astype(np.uint8)
    model = fit_pixel_model(trunk, [support_of(bed, masks[9])])
    assert model is not None
    likely = compute_likelihood(trunk, model, bed)
    rows = (np.arange(320) * likely.shape[0] // 320)[:, None]
    found = likely[rows, np.arange(390) * likely.shape[1] // 390] > 0.5
    assert iou(found, masks.any(axis=0)) > 0.86


def test_an_individual_that_fills_its_photograph_has_no_pixel_model(trunk: EfficientNetTrunk) -> None:
    image = np.full((80, 80, 3), 120, dtype=np.uint8)
    assert fit_pixel_model(trunk, [support_of(image, np.ones((80, 80), dtype=bool))]) is None


def test_prototypes_are_the_middles_of_clusters_and_always_the_same() -> None:
    random = np.random.default_rng(3)
    middles = np.array([[0, 0], [10, 0], [0, 10]], dtype=np.float32)
    points = (middles[np.arange(300) % 3] + random.normal(0, 0.3, (300, 2))).astype(np.float32)
    found = find_prototypes(points, 3)
    assert np.array_equal(found, find_prototypes(points, 3))
    assert all(np.abs(found - middle).sum(axis=1).min() < 0.3 for middle in middles)
    assert len(find_prototypes(points[:1], 5)) == 1


def test_a_blob_is_a_blob_and_a_striped_animal_less_so(finder: DenseFinder, striped: DenseFinderMemory) -> None:
    blobs, again = look_at_blobs(finder.trunk), look_at_blobs(finder.trunk)
    assert all(np.array_equal(one.kind, other.kind) for one, other in zip(blobs, again, strict=True))
    assert measure_formlessness(blobs[:1], blobs) == pytest.approx(1, abs=1e-5)
    assert measure_formlessness(striped.looks, blobs) < 0.6


@pytest.mark.parametrize(
    ("alike", "whole", "count"), [(True, 0.9, 2), (True, 0.4, 2), (False, 0.9, 1), (False, 0.4, 1)]
)
def test_halves_are_two_animals_if_they_look_alike_and_one_if_not(
    finder: DenseFinder,
    striped: DenseFinderMemory,
    monkeypatch: pytest.MonkeyPatch,
    alike: bool,
    whole: float,
    count: int,
) -> None:
    width = 100
    left, right, both = (
        Proposal((x0, 0, x1, 80), np.ones((80, x1 - x0), dtype=bool), 9.0)
        for x0, x1 in ((0, width), (width, 2 * width), (0, 2 * width))
    )
    parts = np.eye(striped.looks[0].parts.shape[1], dtype=np.float32)
    kind = striped.looks[0].kind
    looks = {
        id(left): Look(kind, parts[:20]),
        id(right): Look(kind, parts[:20] if alike else parts[20:40]),
        id(both): Look(kind, parts[: 20 if alike else 40]),
    }
    scores = {id(left): 0.8, id(right): 0.7, id(both): whole}

    def judge(memory: DenseFinderMemory, image: RGBImage, proposal: Proposal) -> Judged:
        return Judged(proposal, looks.get(id(proposal), looks[id(both)]), scores.get(id(proposal), 0.0))

    monkeypatch.setattr(finder, "_judge", judge)
    image = np.zeros((80, 2 * width, 3), np.uint8)
    chosen = finder.choose(striped, image, [left, right, both], on_board=False)
    found = [each for each in chosen if each.score >= FOUND]
    assert len(found) == count
    assert {each.proposal.box for each in found} == ({left.box, right.box} if count == 2 else {both.box})
