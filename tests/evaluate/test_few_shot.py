"""Few-shot evaluation: splits, scores and perturbed targets, with propagators whose answers are known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeTracker
from PIL import Image

from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate import Trial, run_protocol
from sst_retrieval.evaluate.few_shot_scores import ProtocolScores
from sst_retrieval.types import Propagated

NUMBERS = {"spot": 7, "bar": 3}
COLOURS = {"spot": (220, 30, 30), "bar": (240, 200, 40)}


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    rows = []
    for number in range(9):
        name, group = f"S{number}", "many" if number < 8 else "single"
        picture = np.full((60, 90, 3), 200, np.uint8)
        label = np.zeros((60, 90), np.uint8)
        for k, (trait, colour) in enumerate(COLOURS.items()):
            box = (slice(10 + 24 * k, 25 + 24 * k), slice(15 + 3 * number, 40 + 3 * number))
            picture[box], label[box] = colour, NUMBERS[trait]
        for folder, array in (("images", picture), ("labels", label)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / folder / f"{name}.png")
        rows.append({"catalogNumber": name, "image": f"images/{name}.png", "group": group})
    with (tmp_path / "collection.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return read_collection(tmp_path / "collection.csv")


def labels(collection: Collection) -> Path:
    return collection.source.parent / "labels"


class Blind(FakeTracker):
    """Finds the bar, and never the spot."""

    def _propagate(self, memory, image):
        found = super()._propagate(memory, image)
        masks = found.masks.copy()
        masks[memory.traits.index("spot")] = False
        return Propagated(masks, found.confidence, found.frame)


def test_a_perfect_propagator_scores_one(collection: Collection) -> None:
    scores = run_protocol(collection, labels(collection), NUMBERS, FakeTracker("cpu"), draws=3)
    assert scores.draws() == [1.0, 1.0, 1.0]
    assert scores.spread() == 0
    assert scores.left_out == ("single",)
    assert len(scores.trials) == 3 * 7 * 2


class InThrees(FakeTracker):
    """Wants three photographs at once, and remembers how many it was given."""

    batch = 3

    def propagate(self, memory, images):
        self.given = [*getattr(self, "given", []), len(images)]
        return super().propagate(memory, images)


def test_targets_go_in_the_batches_that_a_propagator_wants(collection: Collection) -> None:
    tracker, reported = InThrees("cpu"), []
    asked = {"draws": 2, "turned": True, "erased": 0.5}
    progress = lambda done, total: reported.append((done, total))  # noqa: E731
    scores = run_protocol(collection, labels(collection), NUMBERS, tracker, progress=progress, **asked)
    assert tracker.given == [3, 3, 1, 3, 3, 1]
    assert reported == [(3, 14), (6, 14), (7, 14), (10, 14), (13, 14), (14, 14)]
    assert scores.trials == run_protocol(collection, labels(collection), NUMBERS, FakeTracker("cpu"), **asked).trials


def test_a_specimen_without_any_trait_is_a_target_and_no_support(collection: Collection) -> None:
    empty = labels(collection) / "S2.png"
    Image.fromarray(np.zeros((60, 90), np.uint8)).save(empty)
    scores = run_protocol(collection, labels(collection), NUMBERS, FakeTracker("cpu"), draws=8)
    supports_of = [{t.specimen for t in scores.trials if t.draw == draw} for draw in range(7)]
    assert len(scores.draws()) == 7
    assert all("S2" in targets for targets in supports_of)
    assert not any(t.there for t in scores.trials if t.specimen == "S2")


def test_a_trait_that_is_never_found_counts_as_nought(collection: Collection) -> None:
    scores = run_protocol(collection, labels(collection), NUMBERS, Blind("cpu"))
    assert scores.traits() == {"spot": 0.0, "bar": 1.0}
    assert scores.mean_iou() == 0.5
    assert scores.presence()["recall"] == 0.5
    assert scores.presence()["precision"] == 1.0
    assert scores.presence()["absence_precision"] == 0.0
    assert scores.presence()["absence_recall"] is None


def test_supports_are_drawn_by_the_seed_and_never_scored_against_themselves(collection: Collection) -> None:
    def targets(seed: int, shots: int = 1) -> list[tuple[int, str]]:
        scores = run_protocol(collection, labels(collection), NUMBERS, FakeTracker("cpu"), seed=seed, shots=shots)
        return [(trial.draw, trial.specimen) for trial in scores.trials]

    assert targets(0) == targets(0)
    assert any(targets(0) != targets(seed) for seed in (1, 2, 3))
    five = targets(0, shots=5)
    assert {draw for draw, _ in five} == {0}  # 8 specimens give one draw of 5 supports.
    assert len({name for _, name in five}) == 3


def test_turned_targets_keep_their_truth(collection: Collection) -> None:
    scores = run_protocol(collection, labels(collection), NUMBERS, FakeTracker("cpu"), draws=1, turned=True)
    # The fake looks at colours alone, so only the blur along the masks' edges is lost.
    assert 0.8 < scores.mean_iou() < 1


def test_a_trait_that_is_painted_over_should_be_absent(collection: Collection) -> None:
    scores = run_protocol(collection, labels(collection), NUMBERS, FakeTracker("cpu"), draws=1, erased=1.0)
    lost = [trial for trial in scores.trials if not trial.there]
    assert len(lost) == 7  # One a target.
    assert not any(trial.found for trial in lost)
    assert all(trial.iou is None for trial in scores.trials)
    assert "presence" in scores.table()
    assert scores.presence() == {
        "precision": 1.0, "recall": 1.0, "absence_precision": 1.0, "absence_recall": 1.0
    }  # fmt: skip


def test_confidence_is_compared_with_the_iou() -> None:
    trials = tuple(
        Trial(0, "g", f"s{k}", "t", iou, confidence, there=True, found=True)
        for k, (iou, confidence) in enumerate([(0.1, 0.2), (0.9, 0.9), (0.8, 0.8), (0.7, 0.85), (0.95, 0.95)])
    )
    scores = ProtocolScores(trials, 1, ())
    assert scores.confidence_order() == pytest.approx(0.9)
    assert scores.bad_among_least_confident() == 1.0


def scores_of(*ious: float) -> ProtocolScores:
    """One mask a draw."""
    return ProtocolScores(
        tuple(Trial(draw, "g", "s", "t", iou, 0.5, there=True, found=True) for draw, iou in enumerate(ious)), 1, ()
    )


def test_the_spread_is_that_of_all_draws_there_could_be_estimated_from_a_few() -> None:
    """With n - 1 in the denominator: three draws stand for many."""
    scores = scores_of(0.6, 0.7, 0.8)
    assert scores.spread() == pytest.approx(0.1)
    assert scores.as_dict()["spread"] == pytest.approx(0.1)
    assert "mean IoU 0.7000 +- 0.1000 over 3 draws of 1 support a group" in scores.table()


def test_a_single_draw_has_no_spread() -> None:
    scores = scores_of(0.6)
    assert np.isnan(scores.spread())
    assert scores.as_dict()["spread"] is None
    assert "mean IoU 0.6000 over 1 draw of 1 support a group (0.600)" in scores.table()


@pytest.mark.parametrize(("shots", "draws", "seed"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_impossible_requests_are_refused(collection: Collection, shots: int, draws: int, seed: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        run_protocol(collection, labels(collection), NUMBERS, FakeTracker("cpu"), shots=shots, draws=draws, seed=seed)


def test_too_few_labels_are_refused(collection: Collection) -> None:
    with pytest.raises(InputError, match="more than 8 labelled"):
        run_protocol(collection, labels(collection), NUMBERS, FakeTracker("cpu"), shots=8)


def test_a_label_of_another_size_is_refused(collection: Collection) -> None:
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(labels(collection) / "S3.png")
    with pytest.raises(InputError, match=r"S3\.png is 30 x 30"):
        run_protocol(collection, labels(collection), NUMBERS, FakeTracker("cpu"))


class Learner(FakeTracker):
    """Finds half of everything; with more than one support, all, and surer. Surest of the collection's first ones."""

    def __init__(self, device: str, sure: float = 0.74, gain: float = 0.05) -> None:
        super().__init__(device)
        self.sure, self.gain = sure, gain
        self.remembered: list[list[str]] = []

    def remember(self, supports):
        self.remembered.append([each.individual for each in supports])
        return super().remember(supports)

    def _propagate(self, memory, image):
        found = super()._propagate(memory, image)
        masks = found.masks.copy()
        if len(self.remembered[-1]) == 1:
            masks[:, ::2] = False
        place = float(np.flatnonzero(found.masks[0].any(axis=0))[0])  # The later a photograph, the farther right.
        sure = self.sure + (self.gain if len(self.remembered[-1]) > 1 else 0) - place / 1000
        return Propagated(masks, np.full(2, sure, np.float32), found.frame)


def test_in_a_second_pass_the_surest_targets_are_supports_and_keep_their_first_masks(collection: Collection) -> None:
    tracker, reported = Learner("cpu"), []
    progress = lambda done, total: reported.append((done, total))  # noqa: E731
    asked = {"draws": 1, "second_pass": 2}
    scores = run_protocol(collection, labels(collection), NUMBERS, tracker, progress=progress, **asked)
    (drawn,), (first, *further) = tracker.remembered
    assert first == drawn
    assert further == [name for name in (f"S{number}" for number in range(8)) if name != drawn][:2]
    ious = {trial.specimen: trial.iou for trial in scores.trials}
    assert len(scores.trials) == 7 * 2
    assert all((iou < 0.6) == (name in further) and (iou == 1 or name in further) for name, iou in ious.items())
    assert reported[-1] == (14, 14)


def test_a_second_pass_that_is_not_surer_changes_nothing(collection: Collection) -> None:
    once = run_protocol(collection, labels(collection), NUMBERS, Learner("cpu"), draws=1)
    twice = run_protocol(collection, labels(collection), NUMBERS, Learner("cpu", gain=0.01), draws=1, second_pass=2)
    assert sorted(once.trials, key=repr) == sorted(twice.trials, key=repr)


def test_without_a_sure_target_the_first_pass_stands(collection: Collection) -> None:
    tracker = Learner("cpu", sure=0.5)
    scores = run_protocol(collection, labels(collection), NUMBERS, tracker, draws=1, second_pass=2)
    assert len(tracker.remembered) == 1
    assert len(scores.trials) == 7 * 2
    assert scores.mean_iou() < 0.6
