"""Builds of photographs that show several individuals, with models that need no network (`trays`)."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import FAKES, NUMBERS, a_collection_of, build_fake, every_region, same_region
from PIL import Image
from trays import (
    COLLECTION,
    DARK,
    PAPER,
    SIZE,
    TRAYS,
    BlobFinder,
    Corner,
    GreedyTracker,
    a_collection_of_trays,
    build_trays,
    label,
    paint_tray,
    write_photograph,
    write_rows,
)

from sst_retrieval import engines
from sst_retrieval.annotate.supports import Supports, read_supports
from sst_retrieval.build import shard_writer
from sst_retrieval.build.individuals import add_finder_to_fingerprints
from sst_retrieval.build.pipeline import build_index
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import InputError, ModelError
from sst_retrieval.find import cutouts
from sst_retrieval.imaging import masks
from sst_retrieval.index.picture_pack import list_pictures, remove_pictures, write_pictures
from sst_retrieval.index.store import Store
from sst_retrieval.index.thumbnails import find_missing_pictures, read_thumbnail
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.types import Box, Detection, Floats, Individual, Mask, RGBImage, Support

TRAITS = ("spot", "bar")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The table of a collection of trays, not built yet."""
    return a_collection_of_trays(tmp_path)


@pytest.fixture
def folder(table: Path) -> Path:
    """Its index."""
    build_trays(table, table.parent / "index")
    return table.parent / "index"


def numbers_on(index: Index) -> dict[str, list[int]]:
    """Photograph -> the numbers of its individuals, also where there is none."""
    found: dict[str, list[int]] = {each.id: [] for each in index.photographs()}
    for each in index.individuals():
        found[each.photograph.id].append(each.number)
    return found


def outline_of(individual: Individual) -> np.ndarray:
    assert individual.outline is not None
    assert individual.size is not None
    return masks.decode(individual.outline, individual.size)


def every_mask(index: Index) -> dict[tuple[str, str], np.ndarray]:
    return {(each.id, trait): index.mask(each.id, trait) for each in index.individuals() for trait in TRAITS}


def pictures(folder: Path) -> set[tuple[str, str]]:
    """Whose small pictures there are, and of what: (individual, trait); of a thumbnail, "" instead of the trait."""
    return {(name, each) for name, own in list_pictures(Store.open(folder).paths.pictures_file) for each in own}


# ----------------------------------------------------------------------------------------------------- what is found


def test_every_individual_is_found_numbered_and_described_by_itself(folder: Path) -> None:
    with open_index(folder) as index:
        assert numbers_on(index) == {name: [*range(1, len(c) + 1)] for name, c in COLLECTION.items()}
        for name in ("t1", "t2", "t4"):
            for (x, y), beetle, individual in zip(
                COLLECTION[name],
                paint_tray(COLLECTION[name])[1],
                [each for each in index.individuals() if each.photograph.id == name],
                strict=True,
            ):
                assert individual.id == f"{name}#{individual.number}"
                assert (individual.specimen, individual.group) == (name, "beetle")
                assert individual.box == (x, y, x + 20, y + 28)
                assert individual.size == SIZE
                assert np.array_equal(outline_of(individual), beetle["body"])
                for trait in TRAITS:
                    region = index.region(individual.id, trait)
                    assert np.array_equal(index.mask(individual.id, trait), beetle[trait])
                    assert region.size == SIZE
                    assert region.box == masks.box(beetle[trait])
                    assert region.measurements["area_px"] == beetle[trait].sum()
                    ys, xs = np.nonzero(beetle[trait])
                    centre = region.measurements["centroid_x"], region.measurements["centroid_y"]
                    assert centre == pytest.approx((xs.mean() + 0.5, ys.mean() + 0.5), abs=0.51)


def test_individuals_that_look_the_same_are_described_the_same_wherever_they_lie(folder: Path) -> None:
    with open_index(folder) as index:
        one, other = index.region("t1#2", "spot"), index.region("t4#2", "spot")
        assert one.vector is not None
        assert other.vector is not None
        assert one.vector == pytest.approx(other.vector, abs=1e-5)
        same = [name for name in one.measurements if not name.startswith("centroid")]
        assert {name: one.measurements[name] for name in same} == pytest.approx(
            {name: other.measurements[name] for name in same}
        )


def test_individuals_are_the_same_however_many_are_worked_on_at_the_same_time(table: Path) -> None:
    one, three = table.parent / "one", table.parent / "three"
    models = replace(TRAYS, propagator="fakes:ConcurrentTracker", embedder="fakes:ConcurrentEmbedder")
    build_trays(table, one, replace(models, workers=1))
    build_trays(table, three, replace(models, workers=3))
    with open_index(one) as alone, open_index(three) as together:
        for each, other in zip(alone.individuals(), together.individuals(), strict=True):
            assert each.id == other.id
            assert np.array_equal(outline_of(each), outline_of(other))
            for trait in TRAITS:
                first, second = alone.region(each.id, trait), together.region(each.id, trait)
                assert first.rle == second.rle
                assert first.measurements == second.measurements
                assert np.array_equal(first.vector, second.vector)
    assert pictures(one) == pictures(three)


def test_a_photograph_without_an_individual_says_0_and_is_not_searched_again(table: Path, folder: Path) -> None:
    with open_index(folder) as index:
        assert index.info()["individuals"] == 8
        assert index.info()["photographs"] == 5
        assert index.skipped() == []
        assert "t3" in {each.id for each in index.photographs()}
        assert not [each for each in index.individuals() if each.photograph.id == "t3"]
    before = BlobFinder.photographs
    report = build_trays(table, folder)
    assert (report.processed, report.reused) == (0, 5)
    assert BlobFinder.photographs == before
    with open_index(folder) as index:
        assert numbers_on(index)["t3"] == []


def test_an_index_of_trays_without_any_beetle_but_the_drawn_one(tmp_path: Path) -> None:
    table = a_collection_of_trays(tmp_path, {"t0": [(10, 10)], "t1": [], "t2": []})
    report = build_trays(table, tmp_path / "index")
    assert report.processed == 3
    with open_index(tmp_path / "index") as index:
        assert numbers_on(index) == {"t0": [1], "t1": [], "t2": []}
        assert index.search(like=("t0#1", "spot")) == []


def test_what_the_finder_is_not_sure_of_is_left_out(folder: Path) -> None:
    """The crumb that is on every photograph: its score is 0.3."""
    with open_index(folder) as index:
        assert all(each.score is not None and each.score > 0.5 for each in index.individuals())


# ------------------------------------------------------------------------------------------ one beside the other


class BoxFinder(BlobFinder):
    """Knows boxes alone; those of neighbours overlap."""

    name = "box finder"

    def find(self, memory: int, image: RGBImage) -> list[Detection]:
        height, width = image.shape[:2]
        found = super().find(memory, image)
        grown = [(max(0, x0 - 6), max(0, y0 - 6), min(width, x1 + 6), min(height, y1 + 6))
                 for x0, y0, x1, y1 in (each.box for each in found)]  # fmt: skip
        return [Detection(box, each.score) for box, each in zip(grown, found, strict=True)]


@pytest.mark.parametrize("finder", ["BlobFinder", "BoxFinder"])
def test_masks_of_two_individuals_never_share_a_pixel(table: Path, finder: str) -> None:
    settings = replace(TRAYS, propagator="trays:GreedyTracker", finder=f"{__name__}:{finder}")
    build_trays(table, table.parent / "index", settings)
    with open_index(table.parent / "index") as index:
        on: dict[str, list[np.ndarray]] = {}
        for each in index.individuals():
            if each.photograph.id != "t0":  # Its masks were drawn.
                spot = index.mask(each.id, "spot")
                assert spot.any()
                assert not (spot & ~outline_of(each)).any()
                on.setdefault(each.photograph.id, []).append(outline_of(each))
    assert {name: len(own) for name, own in on.items()} == {"t1": 3, "t2": 2, "t4": 2}
    assert all(np.sum(own, axis=0).max() == 1 for own in on.values())


def test_a_neighbour_is_painted_out(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GreedyTracker, "shown", [])
    build_trays(table, table.parent / "index", replace(TRAYS, propagator="trays:GreedyTracker", workers=1))
    # Their margin reaches far into each other: the left one lies in columns 4 to 24 of its cut-out.
    beside = [each for each in GreedyTracker.shown if each.shape[:2] == (28 + 8, 20 + 8)]
    assert len(beside) >= 7
    for shown in beside:
        own = np.zeros(shown.shape[:2], dtype=bool)
        own[4:32, 4:24] = True
        assert np.abs(shown[~own].astype(int) - PAPER).max() == 0, "something of a neighbour is seen"
        assert (shown[own] != PAPER).any(axis=1).all()


def test_the_support_is_shown_as_the_others_are(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[RGBImage] = []
    real = GreedyTracker.remember

    def remember(self: GreedyTracker, supports: object) -> object:
        shown.extend(each.image for each in supports)  # type: ignore[attr-defined]
        return real(self, supports)  # type: ignore[arg-type]

    monkeypatch.setattr(GreedyTracker, "remember", remember)
    build_trays(table, table.parent / "index", replace(TRAYS, propagator="trays:GreedyTracker"))
    assert all(each.shape[0] < 40 and each.shape[1] < 40 for each in shown)


# ------------------------------------------------------------------------------------------------ what was drawn


def test_the_annotated_individual_keeps_its_masks_and_is_not_counted_twice(table: Path) -> None:
    write_photograph(table.parent, "t0", [(60, 10), (10, 12), (110, 60)])
    drawn = label(paint_tray([(110, 60)])[1])
    drawn[drawn == NUMBERS["bar"]] = 0
    drawn[85:87, 112:120] = NUMBERS["bar"]  # No propagator would find it there.
    Image.fromarray(drawn).save(table.parent / "supports" / "t0.png")
    build_trays(table, table.parent / "index")
    with open_index(table.parent / "index") as index:
        own = [each for each in index.individuals() if each.photograph.id == "t0"]
        assert [each.number for each in own] == [1, 2, 3]
        assert (own[0].score, index.region("t0#1", "bar").confidence) == (1, 1)
        for trait in TRAITS:
            assert np.array_equal(index.mask("t0#1", trait), drawn == NUMBERS[trait])
        # The others in reading order.
        assert [each.box for each in own[1:]] == [(10, 12, 30, 40), (60, 10, 80, 38)]


def test_of_several_annotated_individuals_each_keeps_its_number(table: Path) -> None:
    corners: list[Corner] = [(10, 10), (60, 10), (110, 10), (10, 60)]
    write_photograph(table.parent, "t0", corners)
    beetles = paint_tray(corners)[1]
    Image.fromarray(label([beetles[2], beetles[3]])).save(table.parent / "supports" / "t0.png")
    numbers = np.zeros(SIZE, dtype=np.uint8)
    numbers[beetles[2]["body"]], numbers[beetles[3]["body"]] = 7, 9
    Image.fromarray(numbers).save(table.parent / "supports" / "t0.instances.png")
    build_trays(table, table.parent / "index")
    with open_index(table.parent / "index") as index:
        own = {each.number: each for each in index.individuals() if each.photograph.id == "t0"}
        assert {number: each.box[:2] for number, each in own.items() if each.box} == {
            1: (110, 10),
            2: (10, 60),
            3: (10, 10),
            4: (60, 10),
        }
        assert {number: each.score for number, each in own.items()}.items() >= {1: 1.0, 2: 1.0}.items()
        assert np.array_equal(outline_of(own[1]), beetles[2]["body"])


def test_another_support_changes_its_group_alone(tmp_path: Path) -> None:
    table = a_collection_of_trays(tmp_path)
    rows = [{"catalogNumber": name, "image": f"images/{name}.png", "group": "b" if name == "t4" else "a"}
            for name in COLLECTION]  # fmt: skip
    write_rows(table, rows)
    beetle = paint_tray(COLLECTION["t4"])[1][0]
    Image.fromarray(label([beetle])).save(tmp_path / "supports" / "t4.png")
    build_trays(table, tmp_path / "index")
    spot = label([beetle])
    spot[spot == NUMBERS["bar"]] = 0
    Image.fromarray(spot).save(tmp_path / "supports" / "t4.png")
    report = build_trays(table, tmp_path / "index")
    assert (report.processed, report.reused) == (1, 4)


# -------------------------------------------------------------------------------- what people decided on individuals


def test_the_number_of_one_that_was_rejected_is_given_to_nobody_else(table: Path, folder: Path) -> None:
    with open_index(folder) as index:
        index.review_individual("t1#1", "reject", reviewer="R")
    for _ in range(2):
        build_trays(table, folder)
        with open_index(folder) as index:
            assert numbers_on(index)["t1"] == [2, 3]
            assert index.individual("t1#2").box == (60, 12, 80, 40)
            hits = index.search(like=("t4#1", "spot"), k=99, per="individual")
            assert {hit.individual for hit in hits} == {"t0#1", "t1#2", "t1#3", "t2#1", "t2#2", "t4#2"}


def test_an_outline_that_a_person_drew_stays_as_it_is_and_is_a_hit_again(table: Path, folder: Path) -> None:
    """Also where a trait reaches across it: the spot lies half outside."""
    name, (x, y) = "t1#3", COLLECTION["t1"][2]
    outline = np.zeros(SIZE, dtype=bool)
    outline[y + 7 : y + 28, x : x + 20] = True
    with open_index(folder) as index:
        index.review_individual(name, "redraw", reviewer="R", outline=outline)
        assert name not in {hit.individual for hit in index.search(like=("t4#1", "spot"), k=99, per="individual")}
    assert build_trays(table, folder).processed == 1
    assert build_trays(table, folder).processed == 0
    with open_index(folder) as index:
        assert np.array_equal(outline_of(index.individual(name)), outline)
        assert name in {hit.individual for hit in index.search(like=("t4#1", "spot"), k=99, per="individual")}
        assert not (index.mask(name, "spot") & ~outline).any()


def test_an_individual_that_a_person_added_is_found_and_those_that_stood_there_keep_their_numbers(
    table: Path, folder: Path
) -> None:
    outline = np.zeros(SIZE, dtype=bool)
    outline[40:60, 60:90] = True
    with open_index(folder) as index:
        assert index.add_individual("t1", outline, reviewer="R") == "t1#4"
        assert index.add_individual("t3", outline, reviewer="R") == "t3#1"
    build_trays(table, folder)
    with open_index(folder) as index:
        assert numbers_on(index) == {"t0": [1], "t1": [1, 2, 3, 4], "t2": [1, 2], "t3": [1], "t4": [1, 2]}
        assert index.individual("t1#1").box == (10, 10, 30, 38)
        assert np.array_equal(outline_of(index.individual("t1#4")), outline)
        assert not index.region("t1#4", "spot").present


# -------------------------------------------------------------------------------------------------- once more


def test_a_changed_photograph_has_its_new_individuals_and_no_picture_of_old_ones(table: Path, folder: Path) -> None:
    before = pictures(folder)
    assert {each for each in before if "t1" in each[0]} == {
        *((f"t1#{n}", each) for n in (1, 2, 3) for each in ("", *TRAITS)),
    }
    write_photograph(table.parent, "t1", [(40, 40)])
    report = build_trays(table, folder)
    assert (report.processed, report.reused) == (1, 4)
    with open_index(folder) as index:
        assert numbers_on(index) == {"t0": [1], "t1": [1], "t2": [1, 2], "t3": [], "t4": [1, 2]}
        assert index.individual("t1#1").box == (40, 40, 60, 68)
        assert np.array_equal(index.mask("t1", "spot"), paint_tray([(40, 40)])[1][0]["spot"])
        assert {hit.individual for hit in index.search(like=("t0#1", "spot"), k=99, per="individual")} == {
            *("t1#1", "t2#1", "t2#2", "t4#1", "t4#2")
        }
    gone = {"t1#2", "t1#3"}
    assert before - pictures(folder) == {each for each in before if each[0] in gone}


def test_a_photograph_whose_individuals_all_went_says_0(table: Path, folder: Path) -> None:
    write_photograph(table.parent, "t2", [])
    build_trays(table, folder)
    with open_index(folder) as index:
        assert numbers_on(index)["t2"] == []
        assert index.info()["individuals"] == 6
    assert not [name for name, _ in pictures(folder) if "t2" in name]
    write_photograph(table.parent, "t3", [(10, 10)])
    build_trays(table, folder)
    with open_index(folder) as index:
        assert numbers_on(index)["t3"] == [1]


def test_another_finder_searches_again_and_groups_with_one_individual_stay(table: Path, folder: Path) -> None:
    report = build_trays(table, folder, replace(TRAYS, finder=f"{__name__}:LeftFinder"))
    assert (report.processed, report.reused) == (5, 0)
    with open_index(folder) as index:
        assert numbers_on(index) == {"t0": [1], "t1": [1], "t2": [1], "t3": [], "t4": [1]}
        assert index.info()["provenance"]["finder"] == "left finder"


class Widening:
    """Draws individuals a pixel wider on all sides (an `Outliner`)."""

    weights: Mapping[str, str] = {"name": "widening", "file": "none", "sha256": "12" * 32, "licence": "MIT"}

    def encode(self, image: RGBImage) -> Widening:
        return self

    def draw(self, box: Box, mask: Mask) -> list[tuple[Box, Floats]]:
        x0, y0, x1, y1 = box
        return [((x0 - 1, y0 - 1, x1 + 1, y1 + 1), np.ones((y1 - y0 + 2, x1 - x0 + 2), np.float32))]


def test_other_outlines_search_again_and_the_provenance_says_what_draws(
    table: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "load_outliner", lambda name, device: Widening())
    with open_index(folder) as index:
        annotated = next(each.box for each in index.individuals() if each.id == "t0#1")
    drawn = replace(TRAYS, outlines="mobile_sam")
    report = build_trays(table, folder, drawn)
    assert (report.processed, report.reused) == (5, 0)
    with open_index(folder) as index:
        assert numbers_on(index) == {name: [*range(1, len(c) + 1)] for name, c in COLLECTION.items()}
        assert index.info()["provenance"]["outlines"] == dict(Widening.weights)
        assert index.info()["provenance"]["finder"].startswith("blob finder; ")
        assert {each.id: each.box for each in index.individuals()} == {
            f"{name}#{number}": (x - 1, y - 1, x + 21, y + 29)
            for name in ("t1", "t4")
            for number, (x, y) in enumerate(COLLECTION[name], start=1)
        } | {"t0#1": annotated, "t2#1": (19, 49, 41, 79), "t2#2": (41, 49, 62, 79)}
        one, other = (outline_of(each) for each in index.individuals() if each.photograph.id == "t2")
        assert not (one & other).any()
    assert build_trays(table, folder, drawn).processed == 0
    assert build_trays(table, folder).processed == 5
    with open_index(folder) as index:
        assert "outlines" not in index.info()["provenance"]


@pytest.mark.parametrize("outlines", [None, "mobile_sam"])
def test_a_trait_widens_what_was_found_but_not_what_was_drawn_anew(
    table: Path, monkeypatch: pytest.MonkeyPatch, outlines: str | None
) -> None:
    monkeypatch.setattr(engines, "load_outliner", lambda name, device: Widening())
    monkeypatch.setattr(cutouts, "REACH", 0.2)  # The painted ones are so small that it would be less than a pixel.
    index_folder = table.parent / "index"
    build_trays(table, index_folder, replace(TRAYS, propagator="trays:GreedyTracker", outlines=outlines))
    with open_index(index_folder) as index:
        for each in index.individuals():
            if each.photograph.id in ("t1", "t4"):
                x, y = COLLECTION[each.photograph.id][each.number - 1]
                outline = outline_of(each)
                reach = 1 if outlines else 0
                drawn = np.zeros(SIZE, bool)
                drawn[y - reach : y + 28 + reach, x - reach : x + 20 + reach] = True
                assert np.array_equal(outline, drawn) == (outlines is not None)
                assert outline[drawn].all()
                for trait in TRAITS:
                    assert not (index.mask(each.id, trait) & ~outline).any()


def test_outlines_where_every_photograph_shows_one_are_an_error(table: Path, folder: Path) -> None:
    with pytest.raises(InputError, match=r"--outlines mobile_sam.*--individuals many"):
        build_trays(table, folder, replace(TRAYS, outlines="mobile_sam", individuals="one"))


def test_outlines_that_are_unknown_are_an_error_and_the_index_stays(table: Path, folder: Path) -> None:
    before = Store.open(folder).state()
    with pytest.raises(ModelError, match="there are no outlines 'sam'"):
        build_trays(table, folder, replace(TRAYS, outlines="sam"))
    assert Store.open(folder).state() == before


class LeftFinder(BlobFinder):
    """Finds the first individual alone."""

    name = "left finder"

    def find(self, memory: int, image: RGBImage) -> list[Detection]:
        return super().find(memory, image)[:1]


def test_from_one_to_many_and_back(table: Path) -> None:
    index_folder = table.parent / "index"
    build_trays(table, index_folder, FAKES)
    with open_index(index_folder) as index:
        assert [each.id for each in index.individuals()] == list(COLLECTION)
        assert "individuals" not in index.info()
    build_trays(table, index_folder)
    with open_index(index_folder) as index:
        assert index.info()["individuals"] == 8
    report = build_trays(table, index_folder, FAKES)
    assert (report.processed, report.reused) == (5, 0)
    with open_index(index_folder) as index:
        assert [each.id for each in index.individuals()] == list(COLLECTION)
        assert index.catalog.plain
    assert {name for name, _ in pictures(index_folder)} == set(COLLECTION)


def test_a_killed_build_goes_on(tmp_path: Path) -> None:
    table = a_collection_of_trays(tmp_path)
    code = """
import sys, trays
from pathlib import Path
from dataclasses import replace
from sst_retrieval.annotate.supports import Supports, read_supports
from sst_retrieval.build import shard_writer
from sst_retrieval.build.individuals import add_finder_to_fingerprints
shard_writer.SHARD_PHOTOGRAPHS = 1
trays.build_trays(Path(sys.argv[1]), Path(sys.argv[2]), replace(trays.TRAYS, workers=1))
"""
    here = [str(Path(__file__).parents[1]), str(Path(shard_writer.__file__).parents[2])]
    # The fake tracker counts individuals: the third is the second of t1.
    environment = {**os.environ, "FAKE_TRACKER": "kill:6", "PYTHONPATH": os.pathsep.join(here)}
    command = [sys.executable, "-c", code, str(table), str(tmp_path / "index")]
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == -9
    report = build_trays(table, tmp_path / "index")
    assert report.reused in (1, 2)
    assert report.processed + report.reused == 5
    build_trays(table, tmp_path / "unkilled")
    with open_index(tmp_path / "index") as killed, open_index(tmp_path / "unkilled") as index:
        assert numbers_on(killed) == numbers_on(index)
        expected = every_mask(index)
        for key, mask in every_mask(killed).items():
            assert np.array_equal(mask, expected[key])
            assert same_region(killed.region(*key), index.region(*key))
        assert killed.search(like=("t1#1", "spot"), per="individual") == index.search(
            like=("t1#1", "spot"), per="individual"
        )


def test_pruning_takes_all_individuals_of_a_photograph(table: Path, folder: Path) -> None:
    write_rows(table, [{"catalogNumber": n, "image": f"images/{n}.png", "group": "beetle"} for n in ("t0", "t3", "t4")])
    report = build_trays(table, folder, replace(TRAYS, prune=True))
    assert report.removed == ("t1", "t2")
    with open_index(folder) as index:
        assert numbers_on(index) == {"t0": [1], "t3": [], "t4": [1, 2]}
        assert index.info()["individuals"] == 3
    assert not [name for name, _ in pictures(folder) if "t1" in name or "t2" in name]


def test_a_photograph_that_is_renamed_is_found_again_under_its_new_name(table: Path, folder: Path) -> None:
    rows = [{"catalogNumber": f"new {n}" if n == "t1" else n, "image": f"images/{n}.png", "group": "beetle"}
            for n in COLLECTION]  # fmt: skip
    write_rows(table, rows)
    build_trays(table, folder, replace(TRAYS, prune=True))
    with open_index(folder) as index:
        assert numbers_on(index)["new t1"] == [1, 2, 3]
        assert "t1" not in numbers_on(index)
        assert index.individual("new t1#2").specimen == "new t1"


def test_one_individual_that_is_refused_takes_no_other_with_it(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TRACKER", "refuse:3")
    build_trays(table, table.parent / "index", replace(TRAYS, workers=1))
    with open_index(table.parent / "index") as index:
        found = numbers_on(index)
        assert sum(map(len, found.values())) == 7
        assert index.skipped() == []
        notes = " ".join(index.info()["provenance"]["notes"])
    assert "is left out: this photograph is too odd" in notes


# ------------------------------------------------------------------------------------------------------ files


def test_pictures_show_the_individual(folder: Path) -> None:
    with open_index(folder) as index:
        store = Store.open(folder)
        with Image.open(io.BytesIO(index.thumbnail("t1#2") or b"")) as picture:
            assert picture.size == (28, 36)
            middle = np.asarray(picture.convert("RGB"))[6:8, 12:14].astype(int)
        assert np.abs(middle - DARK).max() < 40
        assert index.window("t1#2") == (56, 8, 84, 44)
        assert find_missing_pictures(store.paths, index.catalog) == []


def test_missing_pictures_are_made_again(table: Path, folder: Path) -> None:
    store = Store.open(folder)
    pack, content = store.paths.pictures_file, read_thumbnail(store.paths, "t1#2")
    remove_pictures(pack, ["t1#2"])
    write_pictures(pack, [("t4#1", {"": read_thumbnail(store.paths, "t4#1") or b""})])
    assert read_thumbnail(store.paths, "t1#2") is None
    assert build_trays(table, folder).processed == 0
    assert read_thumbnail(store.paths, "t1#2") == content is not None
    assert read_thumbnail(store.paths, "t4#1", "bar")


def test_an_index_that_was_copied_elsewhere_answers_the_same(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    with open_index(folder) as index, open_index(tmp_path / "elsewhere") as copied:
        for like in ("t1#2", "t4#1"):
            assert copied.search(like=(like, "bar"), per="individual") == index.search(
                like=(like, "bar"), per="individual"
            )
        assert copied.thumbnail("t2#2") == index.thumbnail("t2#2")
        assert numbers_on(copied) == numbers_on(index)


class BrokenFinder(BlobFinder):
    name = "broken finder"

    def find(self, memory: int, image: RGBImage) -> list[Detection]:
        return [Detection((0, 0, image.shape[1] + 1, 5), 0.9)]


def test_a_finder_that_answers_nonsense_stops_the_build_and_names_the_photograph(table: Path) -> None:
    with pytest.raises(ModelError, match=r"broken finder returned the box \(0, 0, 161, 5\)") as caught:
        build_trays(table, table.parent / "index", replace(TRAYS, finder=f"{__name__}:BrokenFinder"))
    assert "t0" in " ".join(caught.value.__notes__)


# ------------------------------------------------------------------------------- one individual a photograph


def test_where_photographs_show_one_individual_nothing_is_new(ten: Path, tmp_path: Path) -> None:
    """The same regions, names, and files, whether a finder is named or not."""
    table = a_collection_of(tmp_path)
    build_index(
        table,
        table.parent / "supports",
        tmp_path / "index",
        settings=replace(FAKES, finder="trays:BlobFinder", individuals="one"),
    )
    ours, theirs = every_region(tmp_path / "index"), every_region(ten / "index")
    assert ours.keys() == theirs.keys()
    assert all(same_region(ours[key], theirs[key]) for key in ours)
    assert all(each.placement is None for each in ours.values())
    with open_index(tmp_path / "index") as index:
        assert index.catalog.plain
        info = index.info()
        assert "photographs" not in info
        assert "individuals" not in info
        assert not {"individuals", "finder"} & info["provenance"].keys()
        individual = index.individual("r1")
        assert (individual.number, individual.box, individual.score, individual.outline) == (1, None, None, None)
        assert index.window("r1") is None
        assert list(index.table().columns[:4]) == ["sst:region", "sst:individual", "sst:photograph", "sst:specimen"]
        assert list(index.measurements("spot"))[:2] == ["specimen", "confidence"]


def test_both_kinds_of_groups_in_one_index(tmp_path: Path) -> None:
    table = a_collection_of_trays(tmp_path)
    rows = [{"catalogNumber": name, "image": f"images/{name}.png", "group": "single" if name == "t4" else "beetle"}
            for name in COLLECTION]  # fmt: skip
    write_rows(table, rows)
    write_photograph(tmp_path, "t4", [(20, 20)])
    Image.fromarray(label(paint_tray([(20, 20)])[1])).save(tmp_path / "supports" / "t4.png")
    numbers = "\n".join(f"{trait} = {number}" for trait, number in NUMBERS.items())
    (tmp_path / "supports" / "traits.toml").write_text(
        f"[traits]\n{numbers}\n\n[individuals]\nbeetle = 'many'\nsingle = 'one'\n"
    )
    build_trays(table, tmp_path / "index", replace(TRAYS, individuals=None))
    with open_index(tmp_path / "index") as index:
        found: Mapping[str, Individual] = {each.id: each for each in index.individuals()}
        assert set(found) == {"t0#1", "t1#1", "t1#2", "t1#3", "t2#1", "t2#2", "t4"}
        assert found["t4"].box is None
        hits = index.search(like=("t4", "spot"), k=9)
        assert {hit.specimen for hit in hits} == {"t0", "t1", "t2"}
    report = build_fake(table, tmp_path / "index", replace(TRAYS, individuals=None))
    assert report.processed == 0


class ComparingFinder(BlobFinder):
    """Keeps what it was given to remember."""

    name = "comparing finder"
    compares_groups = True
    remembered: Sequence[Sequence[Support]] = ()

    def remember(self, supports: Sequence[Support]) -> int:
        ComparingFinder.remembered = [*ComparingFinder.remembered, supports]
        return super().remember(supports)


def make_comparing_finder(device: str) -> ComparingFinder:
    return ComparingFinder(device)


def with_a_second_group(table: Path) -> Path:
    """Make another group of the trays t2 and t4, its support the first beetle of t2."""
    support = label(paint_tray(COLLECTION["t2"])[1][:1])
    Image.fromarray(support).save(table.parent / "supports" / "t2.png")
    return write_rows(
        table,
        [
            {
                "catalogNumber": name,
                "image": f"images/{name}.png",
                "group": "other" if name in ("t2", "t4") else "beetle",
            }
            for name in COLLECTION
        ],
    )


def test_a_finder_that_compares_groups_is_given_the_others_cut_out(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ComparingFinder, "remembered", ())
    settings = replace(TRAYS, finder="test_build_individuals:make_comparing_finder")
    with_a_second_group(table)
    build_trays(table, table.parent / "index", settings)
    first, second = ComparingFinder.remembered
    assert [each.group for each in first] == ["beetle", "other"]
    assert [each.group for each in second] == ["other", "beetle"]
    assert first[0].image.shape[:2] == SIZE
    assert first[1].image.shape[0] < SIZE[0]
    assert first[1].body.sum() == second[0].body.sum()


def test_groups_that_are_compared_are_built_anew_when_one_of_them_changes(table: Path) -> None:
    with_a_second_group(table)
    supports = read_supports(table.parent / "supports", read_collection(table), individuals="many")
    changed = replace(supports, fingerprints={**supports.fingerprints, "other": "0" * 64})
    comparing, plain = ComparingFinder("cpu"), BlobFinder("cpu")

    def read(supports: Supports, finder: BlobFinder) -> Mapping[str, str]:
        return add_finder_to_fingerprints(supports, finder).fingerprints

    assert read(supports, plain)["beetle"] == read(changed, plain)["beetle"]
    assert read(supports, comparing)["beetle"] != read(changed, comparing)["beetle"]
    alone = replace(changed, individuals={"beetle": "many", "other": "one"})
    assert (
        read(alone, comparing)["beetle"] == read(replace(supports, individuals=alone.individuals), comparing)["beetle"]
    )


def name_species(table: Path, names: Mapping[str, str]) -> Supports:
    """Write the species of every row into the table, and read its supports."""
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    write_rows(table, [{**row, "scientificName": names[row["group"]]} for row in rows])
    return read_supports(table.parent / "supports", read_collection(table), individuals="many")


def test_a_finder_that_compares_groups_is_told_their_species(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ComparingFinder, "remembered", ())
    with_a_second_group(table)
    name_species(table, {"beetle": "Carabus granulatus Linnaeus, 1758", "other": "Carabus sp."})
    build_trays(table, table.parent / "index", replace(TRAYS, finder="test_build_individuals:make_comparing_finder"))
    told = [{each.group: each.species for each in some} for some in ComparingFinder.remembered]
    assert told == [{"beetle": "Carabus granulatus", "other": ""}] * 2


def test_groups_that_are_compared_are_built_anew_when_their_species_change(table: Path) -> None:
    with_a_second_group(table)
    first = "Carabus granulatus"
    comparing = ComparingFinder("cpu")

    def read(other: str, finder: BlobFinder = comparing, own: str = first) -> Mapping[str, str]:
        supports = name_species(table, {"beetle": own, "other": other})
        return add_finder_to_fingerprints(supports, finder).fingerprints

    unnamed = read("", own="")
    # One name alone says nothing of two groups: what was built without names stays.
    assert read("") == read("Carabus sp.") == unnamed
    different = read("Carabus cancellatus")
    assert different.keys() == unnamed.keys()
    assert all(different[group] != unnamed[group] for group in unnamed)
    assert read("Carabus cancellatus Illiger, 1798") == different
    same = read(first)
    assert all(same[group] not in (unnamed[group], different[group]) for group in unnamed)
    assert read(first, BlobFinder("cpu")) == read("", BlobFinder("cpu"))
