from __future__ import annotations

import numpy as np
import pytest

from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.confounds import compute_neighbour_accuracy, compute_neighbour_r2, measure_confounds


def similarity(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return (unit @ unit.T).astype(np.float32)


def clusters(kind: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.05, (len(kind), 8)) + np.eye(8)[kind]


KIND = np.arange(60) % 3
SPECIES = [f"species {kind}" for kind in KIND]
ELSEWHERE = np.random.default_rng(5).permutation(KIND)
TURN = np.stack([np.cos(KIND), np.sin(KIND)], axis=1).astype(np.float32)


def test_neighbours_predict_categories_and_numbers() -> None:
    near = similarity(clusters(KIND, 0))
    assert compute_neighbour_accuracy(near, SPECIES) == 1
    assert compute_neighbour_accuracy(near, [f"{kind}" for kind in ELSEWHERE]) < 0.6
    assert compute_neighbour_r2(near, KIND[:, None].astype(float)) == pytest.approx(1)
    assert compute_neighbour_r2(near, np.random.default_rng(1).normal(size=(60, 1))) < 0.1
    assert compute_neighbour_r2(near, np.ones((60, 2))) == 0


def test_nobody_is_their_own_neighbour() -> None:
    lone = ["a"] * 5 + ["b"]
    assert compute_neighbour_accuracy(similarity(np.eye(6) + 1), lone) == pytest.approx(5 / 6)


def test_photograph_style_is_separated_from_the_trait() -> None:
    by_style = measure_confounds(
        "wing",
        similarity(clusters(KIND, 0)),
        clusters(KIND, 1).astype(np.float32),
        {"species": SPECIES},
        {"turn": TURN},
    )
    assert [(confound.name, confound.kind) for confound in by_style.confounds] == [
        ("species", "column"),
        ("turn", "pose"),
        ("background's colours", "background"),
    ]
    assert by_style.confounds[0].chance == pytest.approx(1 / 3)
    assert "may be the same photograph style" in by_style.findings()[0]
    assert "something of the turn" in by_style.findings()[1]
    honest = measure_confounds(
        "wing",
        similarity(clusters(KIND, 0)),
        clusters(ELSEWHERE, 1).astype(np.float32),
        {"species": SPECIES, "locality": [f"{kind}" for kind in ELSEWHERE]},
        {"turn": np.random.default_rng(2).normal(size=(60, 2)).astype(np.float32)},
    )
    assert honest.findings()[0] == "The trait tells species better than the background does."
    assert honest.confounds[0].vectors == 1
    assert honest.confounds[-1].vectors < 0.1
    assert "species" in honest.table()


def test_properties_that_cannot_be_predicted_are_left_out() -> None:
    near, backgrounds = similarity(clusters(KIND, 0)), clusters(KIND, 1).astype(np.float32)
    columns = {"one": ["x"] * 60, "names": [f"{n}" for n in range(60)], "empty": [None] * 60, "mass": list(range(60))}
    assert [confound.name for confound in measure_confounds("wing", near, backgrounds, columns, {}).confounds] == [
        "background's colours"
    ]
    unknown = np.full_like(backgrounds, np.nan)
    assert measure_confounds("wing", near, unknown, {"species": SPECIES}, {}).confounds == ()
    with pytest.raises(InputError, match="5 specimens show wing"):
        measure_confounds("wing", near[:5, :5], backgrounds[:5], {}, {})


def test_photographs_of_one_specimen_do_not_predict_each_other() -> None:
    """Twelve specimens whose looks say nothing of the collector, photographed three times, alike."""
    looks = np.repeat(np.random.default_rng(3).normal(size=(12, 8)), 3, axis=0)
    near = similarity(looks)
    owners = [f"s{n // 3}" for n in range(36)]
    columns = {"collector": ["ABC"[n // 3 % 3] for n in range(36)], "catalogNumber": owners}
    backgrounds = looks.astype(np.float32)
    copies = measure_confounds("wing", near, backgrounds, columns, {})
    assert copies.confounds[0].vectors == 1
    audit = measure_confounds("wing", near, backgrounds, columns, {}, owners)
    assert [each.name for each in audit.confounds] == ["collector", "background's colours"]
    assert audit.confounds[0].vectors < 0.6
    assert audit.confounds[0].specimens == 12
    with pytest.raises(InputError, match="5 specimens show wing"):
        measure_confounds("wing", near[:15, :15], backgrounds[:15], {}, {}, owners[:15])
