"""Scores of found individuals: known answers, and the same as pycocotools' rules written out by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from typer.testing import CliRunner, Result

from sst_retrieval.cli import app
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import InputError, ModelError
from sst_retrieval.evaluate.instance_scores import ScoredPhotograph, compare, score_instances
from sst_retrieval.evaluate.instance_truth import load_drawn_support, read_instances
from sst_retrieval.evaluate.instances import run_instances
from sst_retrieval.imaging.images import write_png
from sst_retrieval.types import Box, Detection, RGBImage, Support

SIZE = (40, 60)


def code(*box: int, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    x0, y0, x1, y1 = box
    mask = np.zeros(size, np.uint8, order="F")
    mask[y0:y1, x0:x1] = 1
    return dict(coco.encode(mask))


def photograph(
    drawn: Sequence[tuple[int, ...]], found: Sequence[tuple[int, ...]], scores: Sequence[float], group: str = "a"
) -> ScoredPhotograph:
    return ScoredPhotograph("p", group, tuple(code(*b) for b in drawn), tuple(code(*b) for b in found), tuple(scores))


def test_what_is_found_exactly_scores_one() -> None:
    boxes = [(0, 0, 10, 10), (20, 0, 30, 10)]
    scores = score_instances([photograph(boxes, boxes, [0.9, 0.8])])
    assert scores.ap50 == pytest.approx(1)
    assert scores.ap == pytest.approx(1)
    assert scores.whole.recall50 == 1
    assert scores.whole.mean_iou == 1
    assert scores.whole.count_error == 0
    assert scores.single is None
    assert scores.several is not None


def test_a_missed_individual_halves_recall_and_mean_iou() -> None:
    scores = score_instances([photograph([(0, 0, 10, 10), (20, 0, 30, 10)], [(0, 0, 10, 10)], [0.9])])
    assert scores.whole.recall50 == 0.5
    assert scores.whole.mean_iou == 0.5
    assert scores.whole.count_error == 1
    assert scores.whole.count_error_relative == 0.5
    assert scores.ap50 == pytest.approx(51 / 101)


def test_individuals_below_one_half_do_not_count_but_are_ranked() -> None:
    found = [(0, 0, 10, 10), (20, 0, 30, 10)]
    scores = score_instances([photograph([found[0]], found, [0.9, 0.4])])
    assert scores.whole.count_error == 0
    assert scores.ap50 == pytest.approx(1)
    worse = score_instances([photograph([found[1]], found, [0.9, 0.4])])
    assert worse.ap50 == pytest.approx(0.5)
    assert worse.whole.recall50 == 0


def test_iou_decides_at_which_threshold_it_is_a_hit() -> None:
    scores = score_instances([photograph([(0, 0, 10, 10)], [(0, 0, 10, 7)], [0.9])])
    assert scores.ap50 == pytest.approx(1)
    assert scores.ap == pytest.approx(0.5)  # 0.5, 0.55, 0.6, 0.65, 0.7 of ten.
    quarter = score_instances([photograph([(0, 0, 10, 10)], [(0, 0, 10, 3)], [0.9])])
    assert (quarter.ap25, quarter.ap50) == (pytest.approx(1), 0)


def test_more_than_a_hundred_individuals_count() -> None:
    boxes = [(x, y, x + 1, y + 1) for x in range(0, 60, 2) for y in range(0, 10, 2)]
    assert len(boxes) > 100
    assert score_instances([photograph(boxes, boxes, [0.9] * len(boxes))]).ap50 == pytest.approx(1)


def test_groups_weigh_the_same() -> None:
    right, wrong = (0, 0, 10, 10), (30, 30, 40, 40)
    many = [photograph([right], [right], [0.9], "a")] * 3
    scores = score_instances([*many, photograph([right], [wrong], [0.9], "b")])
    assert scores.groups == {"a": pytest.approx(1), "b": 0}
    assert scores.ap50 == pytest.approx(0.5)


BOXES = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def precision_by_hand(photographs: Sequence[ScoredPhotograph], threshold: float) -> float:
    """Average precision as COCO defines it, without pycocotools."""
    hits, scores = [], []
    for each in photographs:
        taken: set[int] = set()
        for place in np.argsort([-score for score in each.scores], kind="stable"):
            row = compare([each.found[place]], each.drawn)[0]
            free = [n for n in range(len(row)) if n not in taken and row[n] >= threshold - 1e-10]
            if free:
                taken.add(max(free, key=lambda n: row[n]))
            hits.append(bool(free))
            scores.append(each.scores[place])
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.cumsum(np.array(hits)[order])
    precision, recall = right / np.arange(1, len(right) + 1), right / sum(len(each.drawn) for each in photographs)
    return float(np.mean([max(precision[recall >= r], default=0.0) for r in np.linspace(0, 1, 101)]))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.lists(BOXES, min_size=1, max_size=4), st.lists(BOXES, max_size=5)), min_size=1, max_size=3)
)
def test_it_agrees_with_the_definition(content: list[tuple[list[Box], list[Box]]]) -> None:
    random = np.random.default_rng(0)
    photographs = [photograph(drawn, found, random.random(len(found)).tolist()) for drawn, found in content]
    expected = precision_by_hand(photographs, 0.5) if any(found for _, found in content) else 0.0
    assert score_instances(photographs).ap50 == pytest.approx(expected, abs=1e-9)


# ------------------------------------------------------------------------------------------------- the protocol


def draw_spots(spots: Sequence[Box], colour: tuple[int, int, int]) -> RGBImage:
    image = np.full((*SIZE, 3), 230, np.uint8)
    for x0, y0, x1, y1 in spots:
        image[y0:y1, x0:x1] = colour
    return image


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Two groups, red and blue, of three photographs each with one to three squares."""
    (tmp_path / "images").mkdir()
    rows, images, annotations = ["catalogNumber,image,group"], [], []
    for group, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        for number in range(1, 4):
            name = f"{group}{number}"
            spots = [(4 + 18 * k, 5, 14 + 18 * k, 15 + 5 * k) for k in range(number)]
            write_png(tmp_path / "images" / f"{name}.png", draw_spots(spots, colour))
            rows.append(f"{name},images/{name}.png,{group}")
            images.append({"id": name, "file_name": f"{name}.png", "width": SIZE[1], "height": SIZE[0]})
            for x0, y0, x1, y1 in spots:
                segmentation: Any = [[x0, y0, x1, y0, x1, y1, x0, y1]]
                if number == 2:
                    segmentation = {**code(x0, y0, x1, y1), "counts": code(x0, y0, x1, y1)["counts"].decode()}
                annotations.append({"image_id": name, "segmentation": segmentation})
    (tmp_path / "collection.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "labels").mkdir()
    truth = {"images": images, "annotations": annotations}
    (tmp_path / "labels" / "instances.json").write_text(json.dumps(truth))
    return tmp_path


class ColourFinder:
    """Finds squares of the support's colour."""

    name = "colour finder"

    def remember(self, supports: Sequence[Support]) -> Any:
        return supports[0].image[supports[0].body].mean(axis=0)

    def find(self, memory: Any, image: RGBImage) -> list[Detection]:
        from scipy import ndimage

        pieces, _ = ndimage.label(np.abs(image.astype(float) - memory).max(axis=2) < 5)
        windows = ndimage.find_objects(pieces)
        return [
            Detection((w[1].start, w[0].start, w[1].stop, w[0].stop), 0.9, pieces[w] == number)
            for number, w in enumerate(windows, 1)
        ]


def test_a_perfect_finder_scores_one_and_finds_nothing_with_a_foreign_support(collection: Path) -> None:
    drawn = read_instances(collection / "labels" / "instances.json", read_collection(collection / "collection.csv"))
    assert [len(each.individuals) for each in drawn] == [1, 2, 3, 1, 2, 3]
    steps: list[tuple[int, int]] = []
    report = run_instances(drawn, ColourFinder(), progress=lambda done, total: steps.append((done, total)))
    assert report.mean("ap50") == pytest.approx(1)
    assert report.spread("ap50") == pytest.approx(0)
    assert report.foreign == 0
    assert len(report.draws) == 3
    # Each draw has another support, so that every photograph is left out once.
    assert sum(each.whole.photographs for each in report.draws) == 3 * 6 - 6
    assert steps[-1][0] == steps[-1][1] == 12 + 4
    assert "AP50 1.000 +- 0.000" in report.table()
    assert "0.00 false individuals" in report.table()
    json.dumps(report.as_dict(), allow_nan=False)


def test_the_seed_decides_which_supports_are_drawn(collection: Path) -> None:
    drawn = read_instances(collection / "labels" / "instances.json", read_collection(collection / "collection.csv"))

    def shown(seed: int) -> list[str]:
        return [each.id for each in run_instances(drawn, ColourFinder(), draws=1, seed=seed).found]

    assert shown(0) == shown(0)
    assert len({tuple(shown(seed)) for seed in range(8)}) > 1


def test_given_supports_are_used_as_they_are(collection: Path) -> None:
    drawn = read_instances(collection / "labels" / "instances.json", read_collection(collection / "collection.csv"))
    support = load_drawn_support(drawn[0], 0, collection / "labels" / "parts", {"animal": 1})
    assert support.traits == ("animal",)
    report = run_instances(drawn, ColourFinder(), given={"red": (support,)})
    assert report.left_out == ("blue",)
    assert report.foreign is None
    assert [each.id for each in report.found] == ["red2", "red3"]
    assert report.mean("ap50") == pytest.approx(1)


class AskingFinder(ColourFinder):
    """Keeps the species that it was told."""

    compares_groups = True

    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict[str, str]] = []

    def remember(self, supports: Sequence[Support]) -> Any:
        self.told.append({each.group: each.species for each in supports})
        return super().remember([each for each in supports if each.group == supports[0].group])


@pytest.mark.parametrize("drawn_at_random", [True, False])
def test_a_finder_that_compares_groups_is_told_their_species(collection: Path, drawn_at_random: bool) -> None:
    table = collection / "collection.csv"
    names = {"red": "Carabus granulatus Linnaeus, 1758", "blue": ""}
    head, *rows = table.read_text().splitlines()
    group = head.split(",").index("group")
    named = [f'{row},"{names[row.split(",")[group]]}"' for row in rows]
    table.write_text("\n".join([f"{head},scientificName", *named]) + "\n")
    drawn = read_instances(collection / "labels" / "instances.json", read_collection(table))
    supports = {each.photograph.group: [load_drawn_support(each, 0, collection, {})] for each in (drawn[0], drawn[3])}
    finder = AskingFinder()
    run_instances(drawn, finder, given=None if drawn_at_random else supports, draws=1, foreign=False)
    assert finder.told == [{"red": "Carabus granulatus", "blue": ""}] * 2


def test_parts_of_an_individual_become_the_traits_of_its_support(collection: Path) -> None:
    drawn = read_instances(collection / "labels" / "instances.json", read_collection(collection / "collection.csv"))
    label = np.zeros(SIZE, np.uint8)
    label[:10, 20:60] = 1
    label[10:, :] = 2
    (collection / "labels" / "parts").mkdir()
    write_png(collection / "labels" / "parts" / "red2.png", label)
    support = load_drawn_support(drawn[1], 1, collection / "labels" / "parts", {"head": 1, "tail": 2, "wing": 3})
    assert support.traits == ("head", "tail")
    assert np.array_equal(support.body, drawn[1].mask(1))


def test_a_finder_that_breaks_its_contract_is_named(collection: Path) -> None:
    class Outside(ColourFinder):
        name = "outside"

        def find(self, memory: Any, image: RGBImage) -> list[Detection]:
            return [Detection((0, 0, 1000, 10), 0.9)]

    drawn = read_instances(collection / "labels" / "instances.json", read_collection(collection / "collection.csv"))
    with pytest.raises(ModelError, match="finder outside"):
        run_instances(drawn, Outside())


@pytest.mark.parametrize("content", ["", "[]", '{"images": []}', '{"images": [{"id": 1}], "annotations": []}'])
def test_a_file_that_is_no_coco_is_an_error(collection: Path, content: str) -> None:
    path = collection / "labels" / "instances.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"instances\.json"):
        read_instances(path, read_collection(collection / "collection.csv"))


def test_a_file_that_is_not_there_is_an_error(collection: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        read_instances(collection / "none.json", read_collection(collection / "collection.csv"))


class CarelessFinder(ColourFinder):
    """Finds every square, cut short or split, with scores of many values."""

    name = "careless finder"

    def find(self, memory: Any, image: RGBImage) -> list[Detection]:
        found = []
        for number, each in enumerate(super().find(memory, image)):
            x0, y0, x1, y1 = each.box
            low, share = y0 + 4 + 3 * number, 0.3 + 0.21 * number + 0.01 * (y1 % 7)
            found += [Detection((x0, y0, x1, min(low, y1)), share), Detection((x0, y0, x1 + 2, y1), 0.99 - share)]
        return found


def test_an_independent_program_gets_the_same_figures(collection: Path, shared_data: Path) -> None:
    script = shared_data.parent / "eval" / "score_instances.py"
    if not script.is_file():
        pytest.skip("the independent scores are not on this computer")
    drawn = read_instances(collection / "labels" / "instances.json", read_collection(collection / "collection.csv"))
    supports = {each.photograph.group: [load_drawn_support(each, 0, collection, {})] for each in (drawn[0], drawn[3])}
    report = run_instances(drawn, CarelessFinder(), given=supports, foreign=False)
    (collection / "found.json").write_text(json.dumps(report.as_coco()))
    # Without the photographs of the supports, which it tells by their column.
    rows = (collection / "collection.csv").read_text().splitlines()
    rows = [rows[0] + ",support", *(f"{row},{int(row.startswith(('red1', 'blue1')))}" for row in rows[1:])]
    (collection / "collection.csv").write_text("\n".join(rows) + "\n")
    command = [sys.executable, str(script), str(collection), str(collection / "found.json"), "--json"]
    theirs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    (ours,) = report.draws
    assert 0.05 < ours.ap < ours.ap50 < 0.95
    assert (ours.ap25, ours.ap50, ours.ap) == pytest.approx((theirs["AP25"], theirs["AP50"], theirs["AP"]), abs=1e-9)
    for mine, other in ((ours.whole, theirs), (ours.several, theirs["several"])):
        assert mine is not None
        figures = {**asdict(mine), "AP50": mine.ap50}
        names = ("recall50", "mean_iou", "count_error", "count_error_relative", "photographs", "individuals")
        assert [figures[name] for name in names] == pytest.approx([other[name] for name in names])
    assert ours.several is not None
    assert ours.several.ap50 == pytest.approx(theirs["several"]["AP50"])
    assert ours.groups == pytest.approx(theirs["groups"], abs=1e-4)


def make_colour_finder(device: str) -> ColourFinder:
    assert device == "cpu"
    return ColourFinder()


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_measures_a_finder_of_ones_own(collection: Path) -> None:
    words = ("evaluate", collection, "--protocol", "instances", "--finder", "test_instances:make_colour_finder")
    done = run(*words, "--device", "cpu", "--supports-per-group", 2, "--found", collection / "found.json")
    assert done.exit_code == 0, done.output
    assert "mean over groups and 2 draws: AP50 1.000 +- 0.000" in done.output
    found = json.loads((collection / "found.json").read_text())
    assert len(found["images"]) == 4
    assert {each["score"] for each in found["annotations"]} == {0.9}
    scores = json.loads(run(*words, "--device", "cpu", "--json").stdout)
    assert scores["finder"] == "colour finder"
    assert scores["ap50"] == {"mean": pytest.approx(1), "spread": pytest.approx(0)}
    assert scores["false_individuals_with_foreign_support"] == 0


def test_the_command_takes_the_supports_that_are_given(collection: Path) -> None:
    label = np.zeros(SIZE, np.uint8)
    label[5:15, 4:14] = 1
    (collection / "supports").mkdir()
    write_png(collection / "supports" / "red1.png", label)
    (collection / "supports" / "traits.toml").write_text('individuals = "many"\n\n[traits]\nspot = 1\n')
    words = ("--protocol", "instances", "--finder", "test_instances:make_colour_finder", "--given-supports")
    done = run("evaluate", collection, *words, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "left out, no support or nothing to search: blue" in done.output
    assert "AP50 1.000" in done.output


def test_the_command_needs_drawn_individuals(collection: Path) -> None:
    (collection / "labels" / "instances.json").unlink()
    done = run("evaluate", collection, "--protocol", "instances", "--finder", "test_instances:make_colour_finder")
    assert done.exit_code != 0
    assert "instances.json" in str(done.exception) + done.output


def spoil(path: Path, **changes: Any) -> None:
    """Change the first annotation, and the images where their entries are named, of a COCO file."""
    content = json.loads(path.read_text())
    for name, value in changes.items():
        for each in content["images"] if name in ("height", "width") else content["annotations"][:1]:
            each[name] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"segmentation": []}, r"annotation .* has no outline, perhaps only a box; draw it, or leave"),
        ({"segmentation": [[]]}, r"has no outline"),
        ({"segmentation": None}, r"has no outline"),
        ({"iscrowd": 1}, r"is a crowd \(iscrowd\), not one individual"),
        ({"segmentation": [[1, 2, 3]]}, r"is no COCO file of individuals"),
        ({"segmentation": "x"}, r"has no outline"),
        ({"height": None}, r"has no height and width; export the annotations again"),
        ({"height": 7}, r"was drawn on .* x 7 px, but .* is .*; compare with drawings on the photographs as they are"),
    ],
)
def test_drawings_that_are_no_individuals_are_refused(collection: Path, changes: dict[str, Any], reason: str) -> None:
    truth = collection / "labels" / "instances.json"
    spoil(truth, **changes)
    if changes.get("height"):
        spoil(truth, segmentation=[[0, 0, 5, 0, 5, 5]])
        content = json.loads(truth.read_text())
        content["annotations"] = content["annotations"][:1]
        truth.write_text(json.dumps(content))
    with pytest.raises(InputError, match=reason):
        read_instances(truth, read_collection(collection / "collection.csv"))


def test_outlines_in_any_dialect_are_the_same_individuals(collection: Path) -> None:
    truth = collection / "labels" / "instances.json"
    read = read_collection(collection / "collection.csv")
    flat = [4.0, 3.0, 20.0, 3.0, 20.0, 12.0, 4.0, 12.0]
    pairs = [flat[place : place + 2] for place in range(0, 8, 2)]
    found = []
    for segmentation in ([flat], flat, [pairs], pairs):
        spoil(truth, segmentation=segmentation)
        (drawn, *_) = [each for each in read_instances(truth, read) if each.individuals]
        found.append(drawn.mask(0))
    assert found[0].any()
    assert all(np.array_equal(found[0], each) for each in found[1:])
    content = truth.read_text()
    truth.write_bytes(content.encode("utf-8-sig"))
    assert read_instances(truth, read)
