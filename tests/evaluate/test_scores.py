"""Scores of masks and of rankings: known answers, agreement with independent scorers, bad input."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sst_retrieval.annotate.label_names import find_label_picture, list_label_picture_names
from sst_retrieval.annotate.saving import save_support
from sst_retrieval.errors import InputError, QueryError
from sst_retrieval.evaluate import MaskScores, TraitVectors, average_precision, mask_scores, recall_at, retrieval_scores
from sst_retrieval.evaluate.text_tables import format_table
from sst_retrieval.imaging.images import read_labels, write_png
from sst_retrieval.types import Support

BLOCKS = {"pattern": slice(0, 2), "colour": slice(2, 4)}


def a_support(specimen: str, group: str, label: np.ndarray, numbers: Mapping[str, int]) -> Support:
    traits = tuple(name for name, number in numbers.items() if (label == number).any())
    masks = np.array([label == numbers[name] for name in traits])
    return Support(specimen, group, np.zeros((*label.shape, 3), np.uint8), traits, masks)


# --- masks ---------------------------------------------------------------------------------------------------------


def a_collection(folder: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Write a tiny collection with everything that the averaging rules are about."""
    numbers = {"wing": 2, "spot": 5, "tail": 9}
    groups = {f"s{k:02d}": "abc"[k // 5] for k in range(15)} | {"no-label": "a", "no-support": "d"}
    rng = np.random.default_rng(5)
    for name in groups:
        label = rng.choice(np.array([0, 0, 2, 5, 9], np.uint8), size=(7, 9))
        if name in ("s03", "s05"):
            label[label == 9] = 0  # s05 is the support of b, so nobody of b is scored for the tail
        if name == "s04":
            label[:] = 0
        if name != "no-label":
            folder.joinpath("labels").mkdir(parents=True, exist_ok=True)
            write_png(folder / "labels" / f"{name}.png", label)
    folder.joinpath("supports").mkdir()
    for name in ("s00", "s05", "s10"):
        write_png(folder / "supports" / f"{name}.png", read_labels(folder / "labels" / f"{name}.png").astype(np.uint8))
    (folder / "supports" / "traits.toml").write_text("[traits]\nwing = 2\nspot = 5\ntail = 9\n")
    with (folder / "collection.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("catalogNumber", "group"), *groups.items()])
    return groups, numbers


def simulated(folder: Path, names: Mapping[str, str], seed: int = 0) -> dict[str, np.ndarray]:
    """Make predictions as a model might: shifted, with a trait lost here and invented there, some missing."""
    rng = np.random.default_rng(seed)
    predicted = {}
    for k, name in enumerate(names):
        path = folder / "labels" / f"{name}.png"
        if not path.exists() or k % 7 == 6:
            continue
        label = np.roll(read_labels(path).astype(np.uint8), rng.integers(-4, 5, size=2), axis=(0, 1))
        if k % 3 == 0:
            label[label == rng.choice(np.unique(label))] = 0
        if k % 4 == 0:
            label[:3, :3] = np.unique(label).max()
        predicted[name] = label
    return predicted


def independent(collection: Path, predicted: Mapping[str, np.ndarray], folder: Path, scorer: Path) -> dict:
    folder.mkdir()
    for name, label in predicted.items():
        write_png(folder / f"{name}.png", label)
    command = [sys.executable, str(scorer), str(collection), str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def assert_same(ours: dict, theirs: dict) -> None:
    assert ours["mean_iou"] == pytest.approx(theirs["mean_iou"], abs=1e-12)
    assert ours["traits"] == pytest.approx(theirs["traits"], abs=1e-12)
    assert ours["groups"] == pytest.approx(theirs["groups"], abs=1e-12)
    assert ours["specimens_without_prediction"] == theirs["specimens_without_prediction"]


def test_agrees_with_the_independent_scorer(tmp_path: Path, shared_data: Path) -> None:
    groups, numbers = a_collection(tmp_path / "c")
    predicted = simulated(tmp_path / "c", groups)
    supports = [
        a_support(name, groups[name], read_labels(tmp_path / "c" / "labels" / f"{name}.png"), numbers)
        for name in ("s00", "s05", "s10")
    ]
    assert "tail" not in supports[1].traits
    scores = mask_scores(tmp_path / "c" / "labels", predicted, groups=groups, supports=supports, numbers=numbers)
    theirs = independent(tmp_path / "c", predicted, tmp_path / "p", shared_data.parent / "eval" / "score_masks.py")
    assert theirs["specimens_without_prediction"] > 0
    assert_same(scores.as_dict(), theirs)


@pytest.mark.parametrize("name", ["heliconius", "neon_beetles"])
def test_agrees_with_the_independent_scorer_on_real_labels(name: str, tmp_path: Path, shared_data: Path) -> None:
    collection = shared_data / name
    numbers = tomllib.loads((collection / "supports" / "traits.toml").read_text())["traits"]
    with (collection / "collection.csv").open() as file:
        groups = {row["catalogNumber"]: row["group"] for row in csv.DictReader(file)}
    supports = [
        a_support(path.stem, groups[path.stem], read_labels(path), numbers)
        for path in sorted((collection / "supports").glob("*.png"))
    ]
    # A whole group, so that its mean is one over many specimens, and every other specimen of the rest.
    names = {n: g for k, (n, g) in enumerate(groups.items()) if k % 2 or g == supports[0].group}
    predicted = simulated(collection, names)
    scores = mask_scores(collection / "labels", predicted.get, groups=groups, supports=supports, numbers=numbers)
    theirs = independent(collection, predicted, tmp_path / "p", shared_data.parent / "eval" / "score_masks.py")
    assert 0.05 < theirs["mean_iou"] < 0.95
    assert_same(scores.as_dict(), theirs)


def test_known_answer(tmp_path: Path) -> None:
    """Two groups: one specimen right in a, two in b of which one is missed. Specimens, then groups."""
    label = np.zeros((4, 4), np.uint8)
    label[:2] = 1
    half = label.copy()
    half[0] = 0
    for name in ("a0", "a1", "b0", "b1", "b2"):
        write_png(tmp_path / f"{name}.png", label)
    groups = {name: name[0] for name in ("a0", "a1", "b0", "b1", "b2")}
    supports = [a_support(name, name[0], label, {"wing": 1}) for name in ("a0", "b0")]
    predicted = {"a1": label, "b1": half, "a0": half}
    scores = mask_scores(tmp_path, predicted, groups=groups, supports=supports, numbers={"wing": 1})
    assert scores.groups == {"a": 1.0, "b": 0.25}
    assert scores.mean_iou == 0.625
    assert scores.traits["wing"].precision == 1.0
    assert scores.traits["wing"].recall == pytest.approx(2 / 3)
    assert (scores.specimens, scores.without_prediction) == (3, 1)


def test_a_trait_that_is_invented_costs_precision_and_iou(tmp_path: Path) -> None:
    empty, full = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    write_png(tmp_path / "a1.png", empty)
    write_png(tmp_path / "a2.png", full)
    support = a_support("a0", "a", full, {"wing": 1})
    groups = dict.fromkeys(("a0", "a1", "a2"), "a")
    scores = mask_scores(tmp_path, {"a1": full, "a2": full}, groups=groups, supports=[support], numbers={"wing": 1})
    assert scores.traits["wing"].iou == 0.5
    assert (scores.traits["wing"].precision, scores.traits["wing"].recall) == (0.5, 1.0)


def test_mask_report_is_aligned_and_goes_into_json(tmp_path: Path) -> None:
    groups, numbers = a_collection(tmp_path)
    support = a_support("s00", "a", read_labels(tmp_path / "labels" / "s00.png"), numbers)
    scores = mask_scores(tmp_path / "labels", {}, groups=groups, supports=[support], numbers=numbers)
    assert json.loads(json.dumps(scores.as_dict()))["mean_iou"] == 0.0
    assert scores.traits["wing"].precision is None
    lines = scores.table().splitlines()
    assert lines[0].split() == ["trait", "IoU", "found,", "is", "there", "is", "there,", "found", "specimens"]
    assert lines[1].startswith("wing")
    assert " - " in lines[1]
    assert "4 of them without a prediction" in lines[-1]


def test_labels_that_are_called_after_no_specimen_are_listed(tmp_path: Path) -> None:
    full = np.ones((4, 4), dtype=np.uint8)
    for name in ("a1.png", "a2.png", "a3.PNG", "x1.png", "a4.tif", ".a.png"):
        write_png(tmp_path / name, full)
    (tmp_path / "instances.json").write_text("{}")
    support = a_support("a1", "a", full, {"wing": 1})
    groups = dict.fromkeys(("a1", "a2", "a3", "a4"), "a")
    scores = mask_scores(tmp_path, {"a2": full}, groups=groups, supports=[support], numbers={"wing": 1})
    assert (scores.specimens, scores.ignored) == (1, ("a3.PNG", "a4.tif", "x1.png"))
    assert "not compared: 3 pictures called after no specimen (a3.PNG, a4.tif, x1.png)" in scores.table()


@pytest.mark.parametrize("specimen", ["urn:catalog:BM:1", "BM/1/2", ".5 a", "100%AB"])
def test_labels_are_found_as_they_are_saved_exported_and_named(tmp_path: Path, specimen: str) -> None:
    full = np.ones((4, 4), dtype=np.uint8)
    support = a_support("a1", "a", full, {"wing": 1})
    groups = dict.fromkeys(("a1", specimen), "a")
    for number, name in enumerate(list_label_picture_names(specimen)):
        folder = tmp_path / str(number)
        write_png(folder / name, full)
        scores = mask_scores(folder, {specimen: full}, groups=groups, supports=[support], numbers={"wing": 1})
        assert (scores.specimens, scores.mean_iou, scores.ignored) == (1, 1.0, ())
    saved = save_support(tmp_path / "supports", specimen, {"wing": full > 0})
    assert find_label_picture(tmp_path / "supports", specimen) == saved


def numbered(folder: Path, labels: Mapping[int, int], *, own: Mapping[str, int] | None = None) -> MaskScores:
    """Score perfect masks of two traits (wing 1, tail 2) against labels whose numbers were changed."""
    truth = np.zeros((6, 6), np.uint8)
    truth[:2], truth[4:] = 1, 2
    folder.mkdir()
    for name in ("a0", "a1", "a2"):
        write_png(
            folder / f"{name}.png", np.vectorize(lambda number: labels.get(int(number), 0))(truth).astype(np.uint8)
        )
    numbers = {"wing": 1, "tail": 2}
    return mask_scores(
        folder, dict.fromkeys(("a1", "a2"), truth), groups=dict.fromkeys(("a0", "a1", "a2"), "a"),
        supports=[a_support("a0", "a", truth, numbers)], numbers=numbers, label_numbers=own,
    )  # fmt: skip


def test_labels_of_another_numbering_are_noticed(tmp_path: Path) -> None:
    assert numbered(tmp_path / "same", {1: 1, 2: 2}).notes == ()
    (swapped,) = numbered(tmp_path / "swapped", {1: 2, 2: 1}).notes
    assert "masks of wing lie where labels have 2, masks of tail lie where labels have 1" in swapped
    with pytest.raises(InputError, match="show the numbers 100, 200, but wing = 1, tail = 2"):
        numbered(tmp_path / "times", {1: 100, 2: 200})
    with pytest.raises(InputError, match="show the number 255"):
        numbered(tmp_path / "black_and_white", {1: 255, 2: 255})
    extra = numbered(tmp_path / "extra", {1: 1, 2: 7})
    assert "the number 7, which no trait has" in extra.notes[0]
    assert extra.as_dict()["notes"] == [*extra.notes]


def test_a_trait_that_no_label_shows_is_noted(tmp_path: Path) -> None:
    part = numbered(tmp_path / "part", {1: 1})
    assert part.mean_iou == 0.5
    assert "no label shows tail: if people did not draw that" in part.notes[0]
    assert part.notes[0] in part.table()


def test_labels_may_have_numbers_of_their_own(tmp_path: Path) -> None:
    own = numbered(tmp_path / "own", {1: 5, 2: 1}, own={"wing": 5, "tail": 1})
    assert (own.mean_iou, own.notes) == (1.0, ())
    wing = numbered(tmp_path / "wing", {1: 5}, own={"wing": 5})
    assert (wing.mean_iou, list(wing.traits), wing.notes) == (1.0, ["wing"], ())


def test_bad_labels_say_what_to_do(tmp_path: Path) -> None:
    label = np.ones((4, 4), np.uint8)
    support = a_support("a0", "a", label, {"wing": 1})
    groups = {"a0": "a", "a1": "a"}

    def score(folder: Path, predicted: Mapping[str, np.ndarray]) -> None:
        mask_scores(folder, predicted, groups=groups, supports=[support], numbers={"wing": 1})

    with pytest.raises(InputError, match="is not a folder"):
        score(tmp_path / "nowhere", {})
    write_png(tmp_path / "somebody_else.png", label)
    with pytest.raises(InputError, match=r"named after a specimen.*a0\.png"):
        score(tmp_path, {})
    write_png(tmp_path / "a0.png", label)
    with pytest.raises(InputError, match="are of supports"):
        score(tmp_path, {})
    write_png(tmp_path / "a1.png", label)
    with pytest.raises(InputError, match="a1: the prediction is 3 x 4 pixels, its label 4 x 4"):
        score(tmp_path, {"a1": label[:, :3]})
    write_png(tmp_path / "a1.png", label * 7)
    with pytest.raises(InputError, match="check that the labels use the numbers"):
        score(tmp_path, {})


# --- rankings ------------------------------------------------------------------------------------------------------

rankings = st.lists(st.booleans(), min_size=1, max_size=40).filter(any).map(np.array)


@settings(deadline=None)
@given(rankings)
def test_average_precision_is_its_definition(ranking: np.ndarray) -> None:
    precisions = [ranking[: k + 1].sum() / (k + 1) for k in range(len(ranking)) if ranking[k]]
    assert average_precision(ranking) == pytest.approx(sum(precisions) / len(precisions))
    assert 0 < average_precision(ranking) <= 1
    assert recall_at(ranking, len(ranking)) == 1.0


@settings(max_examples=30, deadline=None)
@given(rankings)
def test_average_precision_agrees_with_scikit_learn(ranking: np.ndarray) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent judge here")
    descending = np.arange(len(ranking), 0, -1.0)
    theirs = metrics.label_ranking_average_precision_score(ranking[None], descending[None])
    assert average_precision(ranking) == pytest.approx(theirs)


def test_recall_at() -> None:
    ranking = np.array([True, False, True, False, False, True, True])
    assert recall_at(ranking, 5) == 0.5
    assert recall_at(ranking, 1) == 0.25


def directions(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32)


def test_weights_choose_what_is_similar() -> None:
    """Patterns agree with the ring, colours with something else."""
    names = ["r1", "r2", "t1", "t2"]
    vectors = np.hstack([directions(0, 5, 90, 95), directions(0, 90, 5, 95)])
    ring = {name: name[0] for name in names}
    regions = {"band": TraitVectors(names, vectors)}
    pattern = retrieval_scores(regions, ring, column="ring", blocks=BLOCKS, weights={"pattern": 1})
    colour = retrieval_scores(regions, ring, column="ring", blocks=BLOCKS, weights={"colour": 1.0})
    assert pattern.mean_ap == 1.0
    assert pattern.traits["band"].precision_at_1 == 1.0
    assert colour.mean_ap == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert colour.traits["band"].precision_at_1 == 0.0
    assert colour.traits["band"].chance == pytest.approx(1 / 3)


def test_kept_apart_only_mimics_count() -> None:
    """Every specimen is nearest to its own species; its mimic of another species is farther than a stranger."""
    names = ["A1", "A2", "B1", "C1", "C2"]
    vectors = np.hstack([directions(0, 1, 60, 20, 21), np.zeros((5, 2), np.float32)])
    ring = {"A1": "red", "A2": "red", "B1": "red", "C1": "blue", "C2": "blue"}
    species = {name: name[0] for name in names}
    regions = {"band": TraitVectors(names, vectors)}
    together = retrieval_scores(regions, ring, column="ring", blocks=BLOCKS)
    apart = retrieval_scores(regions, ring, column="ring", blocks=BLOCKS, apart=species)
    assert together.traits["band"].queries == 5
    assert together.traits["band"].precision_at_1 == pytest.approx(4 / 5)
    assert apart.traits["band"].queries == 3
    assert apart.traits["band"].alone == 2  # C has no mimic
    assert apart.traits["band"].precision_at_1 == 0.0
    # A1 and A2: C2 and C1 come before B1 (AP 1/3); B1: C2, C1, then both A (AP (1/3 + 2/4) / 2).
    assert apart.mean_ap == pytest.approx((1 / 3 + 1 / 3 + 5 / 12) / 3)


def test_specimens_without_a_value_are_left_out_and_counted() -> None:
    names = ["a1", "a2", "x", "y", "z", "lonely"]
    vectors = np.hstack([directions(0, 30, 1, 2, 3, 4), directions(0, 0, 0, 0, 0, 0)])
    values = {"a1": "a", "a2": "a", "x": None, "y": "", "lonely": "b"}
    scores = retrieval_scores({"band": TraitVectors(names, vectors)}, values, column="ring", blocks=BLOCKS)
    assert scores.without_value == 3
    assert (scores.traits["band"].queries, scores.traits["band"].alone) == (2, 1)
    # a2 finds `lonely` before a1 or after it; x, y, z, which lie between, are not there.
    assert scores.mean_ap == pytest.approx((0.5 + 0.5) / 2)


def test_other_photographs_of_a_specimen_are_no_results() -> None:
    names = ["a dorsal", "a lateral", "b", "c"]
    vectors = np.hstack([directions(0, 1, 60, 30), directions(0, 0, 0, 0)])
    regions = {"band": TraitVectors(names, vectors), "tail": TraitVectors(names, vectors)}
    values = {"a dorsal": "x", "a lateral": "x", "b": "x", "c": "y"}
    copies = retrieval_scores(regions, values, column="ring", blocks=BLOCKS)
    assert copies.traits["band"].precision_at_1 == pytest.approx(2 / 3)  # Both of a find each other; b finds c.
    owners = {"a dorsal": "a", "a lateral": "a"}
    scores = retrieval_scores(regions, values, column="ring", blocks=BLOCKS, owners=owners)
    assert scores.traits["band"].precision_at_1 == 0  # c lies between a and b.
    assert scores.together is not None
    assert scores.together.precision_at_1 == 0
    values["b"] = "y"
    alone = retrieval_scores(regions, values, column="ring", blocks=BLOCKS, owners=owners)
    assert (alone.traits["band"].queries, alone.traits["band"].alone) == (2, 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_agrees_with_brute_force_whatever_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    names = [f"s{k}" for k in range(n)]
    vectors = rng.normal(size=(n, 4)).astype(np.float32)
    values = {name: int(rng.integers(3)) for name in names}
    weights = {"pattern": 0.3, "colour": 1.0}
    expected = []
    for q in range(n):
        others = [k for k in range(n) if k != q]
        score = {
            k: sum(w * float(vectors[q, BLOCKS[b]] @ vectors[k, BLOCKS[b]]) for b, w in weights.items()) for k in others
        }
        ranking = np.array([values[names[k]] == values[names[q]] for k in sorted(others, key=lambda k: -score[k])])
        if ranking.any():
            expected.append(average_precision(ranking))
    shuffled = rng.permutation(n)
    regions = {"band": TraitVectors([names[k] for k in shuffled], vectors[shuffled])}
    if not expected:
        with pytest.raises(InputError, match="choose a column"):
            retrieval_scores(regions, values, column="ring", blocks=BLOCKS, weights=weights)
        return
    scores = retrieval_scores(regions, values, column="ring", blocks=BLOCKS, weights=weights)
    assert scores.mean_ap == pytest.approx(np.mean(expected), abs=1e-5)
    assert scores.traits["band"].queries + scores.traits["band"].alone == n


def test_more_queries_than_are_asked_at_once() -> None:
    n = 600
    names = [f"s{k:03d}" for k in range(n)]
    vectors = np.hstack([directions(*np.linspace(0, 90, n)), np.zeros((n, 2), np.float32)])
    values = {name: k // 300 for k, name in enumerate(names)}
    scores = retrieval_scores({"band": TraitVectors(names, vectors)}, values, column="half", blocks=BLOCKS)
    assert scores.traits["band"].queries == n
    assert scores.traits["band"].precision_at_1 > 0.99


def test_several_traits_at_once_tell_what_none_tells_alone() -> None:
    """b has the band of a1 and c its tail; only a2 is like a1 in both."""
    names = ["a1", "a2", "b", "c"]
    nothing = np.zeros((4, 2), np.float32)
    band = TraitVectors(names, np.hstack([directions(0, 40, 1, 90), nothing]))
    # Stored in another order.
    tail = TraitVectors(["c", "b", "a2", "a1"], np.hstack([directions(1, 90, 40, 0), nothing]))
    values = {name: name[0] for name in names}
    scores = retrieval_scores({"band": band, "tail": tail}, values, column="ring", blocks=BLOCKS)
    assert scores.traits["band"].precision_at_1 == scores.traits["tail"].precision_at_1 == 0
    assert scores.together is not None
    assert (scores.together.mean_ap, scores.together.queries, scores.together.alone) == (1.0, 2, 2)
    assert scores.table().splitlines()[3].startswith("all at once")


def test_at_once_only_those_are_ranked_that_show_all_of_the_query() -> None:
    band = TraitVectors(["a", "b", "c", "d"], np.hstack([directions(0, 1, 2, 3), np.zeros((4, 2), np.float32)]))
    tail = TraitVectors(["a", "b", "d"], np.hstack([directions(0, 1, 2), np.zeros((3, 2), np.float32)]))
    values = {"a": 1, "b": 2, "c": 1, "d": 1}
    scores = retrieval_scores({"band": band, "tail": tail}, values, column="ring", blocks=BLOCKS)
    assert scores.together is not None
    # c has no tail: neither a query nor a hit. a and d find each other behind b.
    assert (scores.together.queries, scores.together.alone) == (2, 1)
    assert scores.together.mean_ap == 0.5
    alone = retrieval_scores({"band": band}, values, column="ring", blocks=BLOCKS)
    assert alone.together is None
    assert alone.as_dict()["together"] is None


def test_retrieval_report_goes_into_json() -> None:
    regions = {
        "band": TraitVectors(["a", "b", "c"], np.hstack([directions(0, 1, 90), directions(0, 0, 0)])),
        "tail": TraitVectors(["a"], np.ones((1, 4), np.float32)),
    }
    scores = retrieval_scores(regions, {"a": 1, "b": 1, "c": 2}, column="ring", blocks=BLOCKS)
    plain = json.loads(json.dumps(scores.as_dict()))
    assert plain["relevant_by"] == "ring"
    assert list(plain["traits"]) == ["band"]
    assert plain["traits"]["band"]["precision_at_1"] == 1.0
    lines = scores.table().splitlines()
    assert lines[1].split() == ["band", "1.000", "1.000", "1.000", "0.500", "2", "1"]
    assert "same ring" in lines[-1]


def test_bad_questions_say_what_to_do() -> None:
    regions = {"band": TraitVectors(["a", "b"], np.ones((2, 4), np.float32))}
    same = {"a": 1, "b": 1}
    with pytest.raises(InputError, match=r"'ring'.*repeated values"):
        retrieval_scores(regions, {"a": 1, "b": 2}, column="ring", blocks=BLOCKS)
    with pytest.raises(QueryError, match="no block smell; the blocks are pattern, colour"):
        retrieval_scores(regions, same, column="ring", blocks=BLOCKS, weights={"smell": 1})
    for weights in ({"pattern": 0.0}, {}, {"pattern": -1.0, "colour": 1}):
        with pytest.raises(QueryError, match="more than 0"):
            retrieval_scores(regions, same, column="ring", blocks=BLOCKS, weights=weights)


def test_aligned() -> None:
    assert format_table(("a", "n"), []) == "a  n"
    assert format_table(("a", "n"), [("long", "1")]).splitlines() == ["a     n", "long  1"]
