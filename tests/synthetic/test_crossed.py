"""The crossed collection: its design, its truth, its repeatability, and that the program reads it."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from skimage.color import rgb2lab

from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import InputError
from sst_retrieval.imaging.images import read_image, read_labels
from sst_retrieval.synthetic import crossed
from sst_retrieval.synthetic.crossed import compute_true_distances, list_truth, make_crossed, plan_crossed
from sst_retrieval.synthetic.crossed_design import FORMS, MAIN, list_runs
from sst_retrieval.synthetic.looks import (
    PATTERN_LEVELS,
    TRAITS,
    WingLook,
    measure_outline_distances,
    middle_look,
    mix_wings,
)
from sst_retrieval.synthetic.studio import SIDE, Sitting, photograph_specimen
from sst_retrieval.synthetic.wings import Scales, draw_wing, wing_outline

ROWS = [list_truth(each) for each in plan_crossed()]
CROSSED = [row for row in ROWS if row["role"] == "crossed"]
SITTING = Sitting(0, 0, 0, 0, "CX-F01")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first eight photographs of a crossed collection of one species."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossed, "plan_crossed", lambda seed, species: plan_crossed(seed, species)[:8])
        return make_crossed(tmp_path_factory.mktemp("crossed"), species=1).parent


# --- the design ----------------------------------------------------------------------------------------------------


def test_any_three_main_factors_meet_in_every_combination_equally_often() -> None:
    runs = list_runs()
    assert len(runs) == 64
    for factors in itertools.combinations(MAIN, 3):
        met = Counter(tuple(run[factor] for factor in factors) for run in runs)
        assert len(met) == 64, factors


def test_the_other_wing_says_nothing_of_any_two_traits_or_of_any_one_factor() -> None:
    runs = list_runs()
    for pair in itertools.combinations(FORMS, 2):
        met = Counter(tuple(run[factor] for factor in pair) for run in runs)
        assert met == dict.fromkeys(itertools.product(range(4), repeat=2), 4), pair
    for factor in MAIN:
        triple = ("hind_pattern", "hind_colour", factor)
        assert len({tuple(run[each] for each in triple) for run in runs}) == 64, factor
    for hind in ("hind_pattern", "hind_colour"):
        assert len({(run["fore_pattern"], run["fore_colour"], run[hind]) for run in runs}) == 64


@pytest.mark.parametrize("trait", TRAITS)
@pytest.mark.parametrize("factor", ["background", "photographer", "turn", "light"])
def test_every_race_meets_every_level_of_every_nuisance_equally_often(trait: str, factor: str) -> None:
    met = Counter((row[f"{trait}Race"], row[factor]) for row in CROSSED)
    races = {row[f"{trait}Race"] for row in CROSSED}
    assert len(races) == 48
    assert met == dict.fromkeys(itertools.product(races, {row[factor] for row in CROSSED}), 1)


def test_a_support_is_of_no_race() -> None:
    supports = [row for row in ROWS if row["role"] == "support"]
    assert [row["group"] for row in supports] == sorted({row["group"] for row in CROSSED})
    assert all(row[f"{trait}Race"] == "" for row in supports for trait in TRAITS)


# --- the truth -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trait", TRAITS)
def test_true_distances_are_distances(trait: str) -> None:
    rows = CROSSED[::9]
    for axis, distance in compute_true_distances(rows, trait).items():
        np.testing.assert_allclose(distance, distance.T, atol=1e-12)
        np.testing.assert_allclose(np.diag(distance), 0, atol=1e-12)
        assert (distance[~np.eye(len(rows), dtype=bool)] > 0).all(), axis
        longest = distance[:, :, None] + distance[None]  # By way of any third.
        assert (distance[:, None] <= longest + 1e-9).all(), axis


@pytest.mark.parametrize(
    ("column", "axis"), [("forewingPattern", "pattern"), ("forewingColour", "colour"), ("group", "outline")]
)
def test_those_of_one_level_are_nearer_than_those_of_two(column: str, axis: str) -> None:
    distance = compute_true_distances(CROSSED, "forewing")[axis]
    levels = np.array([row[column] for row in CROSSED])
    same = levels[:, None] == levels[None]
    others = ~np.eye(len(levels), dtype=bool)
    assert distance[same & others].mean() < 0.5 * distance[~same].mean()


@pytest.mark.parametrize("trait", TRAITS)
def test_outlines_of_species_differ_by_more_than_the_edge_of_an_exact_mask(trait: str) -> None:
    # Left and right wing of the exact masks differ by 0.017, for they are drawn in pixels.
    distance = measure_outline_distances(trait, np.eye(3))
    assert distance[~np.eye(3, dtype=bool)].min() > 2 * 0.017


def test_wings_hide_hardly_anything_of_each_other() -> None:
    looks = dict.fromkeys(TRAITS, middle_look())
    for kind in np.eye(3):
        mixture = tuple(kind.tolist())
        _, masks = photograph_specimen(mixture, looks, SITTING, (0, 0, 1))
        butterfly = mix_wings(mixture)
        shoelace = {}
        for trait in TRAITS:
            x, y = wing_outline(getattr(butterfly, trait)).T.astype(float)
            shoelace[trait] = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
        # Both were drawn at one scale.
        seen = masks["hindwing"].sum() / masks["forewing"].sum()
        assert seen == pytest.approx(shoelace["hindwing"] / shoelace["forewing"], rel=0.03)


def test_one_axis_says_nothing_of_another() -> None:
    distances = compute_true_distances(CROSSED, "forewing")
    pairs = np.triu_indices(len(CROSSED), 1)
    for one, other in itertools.combinations(("pattern", "colour", "outline"), 2):
        assert abs(np.corrcoef(distances[one][pairs], distances[other][pairs])[0, 1]) < 0.05


def test_distances_can_be_computed_from_the_table_as_text() -> None:
    text = [{name: str(value) for name, value in row.items()} for row in CROSSED[:5]]
    for axis, distance in compute_true_distances(text, "hindwing").items():
        np.testing.assert_allclose(distance, compute_true_distances(CROSSED[:5], "hindwing")[axis])


@pytest.mark.parametrize("pattern", range(len(PATTERN_LEVELS)))
def test_every_pattern_covers_the_same_share_of_every_wing(pattern: int) -> None:
    density, breaking = PATTERN_LEVELS[pattern]
    look = WingLook(density, breaking, (60.0, 0.0, 0.0), 0.0)
    for kind in np.eye(3):
        wing = mix_wings(tuple(kind.tolist())).forewing
        scales = Scales((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0)
        part = draw_wing(wing, scales, (look.stripes(),), np.random.default_rng(0))
        assert (part.colour[part.cover > 250].mean(axis=1) > 70).mean() == pytest.approx(0.45, abs=0.06)


# --- the photographs -----------------------------------------------------------------------------------------------


def test_the_wings_show_the_colour_of_the_truth() -> None:
    red, green = (60.0, 35.0, 15.0), (60.0, -30.0, 10.0)
    looks = {"forewing": WingLook(0.3, 0.1, red, 0.0), "hindwing": WingLook(0.3, 0.1, green, 0.0)}
    image, masks = photograph_specimen((1.0, 0.0, 0.0), looks, SITTING, (0, 0))
    lab = rgb2lab(image)
    assert lab[masks["forewing"]][:, 1].mean() > 10 > -5 > lab[masks["hindwing"]][:, 1].mean()


def test_on_another_background_a_specimen_is_the_same() -> None:
    specimen = plan_crossed(species=1)[1]
    (one, masks), (other, same) = specimen.photograph(), specimen.photograph(background=2)
    for trait in TRAITS:
        np.testing.assert_array_equal(masks[trait], same[trait])
        assert 2000 < masks[trait].sum() < 0.4 * SIDE**2
    wings = masks["forewing"] | masks["hindwing"]
    assert not (masks["forewing"] & masks["hindwing"]).any()
    difference = np.abs(one.astype(float) - other).mean(axis=2)
    assert difference[wings].mean() < 0.2 * difference[~wings].mean()


def test_a_collection_depends_on_its_seed_alone(collection: Path) -> None:
    planned = plan_crossed(0, 1)[:8]
    for each in planned[:2]:
        label = read_labels(collection / "labels" / f"{each.name}.png")
        _, masks = each.photograph()
        for trait, number in TRAITS.items():
            np.testing.assert_array_equal(label == number, masks[trait])
    assert plan_crossed(0, 1)[:8] == planned
    assert plan_crossed(1, 1)[3].looks != planned[3].looks
    np.testing.assert_array_equal(planned[3].photograph()[0], planned[3].photograph()[0])


def test_the_program_reads_the_collection(collection: Path) -> None:
    read = read_collection(collection / "collection.csv")
    assert [each.id for each in read.photographs] == [each.name for each in plan_crossed(0, 1)[:8]]
    supports = read_supports(collection / "supports", read)
    assert dict(supports.numbers) == TRAITS
    assert supports.groups() == ("Fictelia rubella",)
    with (collection / "collection.csv").open(newline="") as file:
        assert list(next(csv.reader(file))) == list(ROWS[0])
    for each in read.photographs:
        assert read_image(each.image).shape == (SIDE, SIDE, 3)


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="somebody's collection"):
        make_crossed(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="is a file"):
        make_crossed(tmp_path / "mine.txt")


@pytest.mark.parametrize(("seed", "species"), [(0, 0), (0, 4), (-1, 2)])
def test_what_cannot_be_made_is_refused(tmp_path: Path, seed: int, species: int) -> None:
    with pytest.raises(InputError, match="cannot be made"):
        make_crossed(tmp_path / "new", seed=seed, species=species)
    assert not (tmp_path / "new").exists()


def test_the_middle_look_is_between_all_races() -> None:
    assert np.mean(PATTERN_LEVELS, axis=0).tolist() == [middle_look().density, middle_look().breaking]
