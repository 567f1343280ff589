from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import BLOCKS, DIM, SETTINGS, a_collection, a_region, a_vector, built

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index import whitening
from sst_retrieval.index.whitening import Whitening, read_whitening, whiten, write_whitening
from sst_retrieval.search.index import open_index


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def alike(count: int = 40, dim: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two kinds of regions that share nearly everything: what tells them apart is a hundredth of what they are."""
    rng = np.random.default_rng(seed)
    kind = np.arange(count) % 2
    rows = np.ones(dim) + rng.normal(0, 0.001, (count, dim))
    rows[:, 0] += np.where(kind, 0.01, -0.01)
    return unit_rows(rows), kind


def test_what_all_share_no_longer_hides_what_differs() -> None:
    rows, kind = alike()
    same, other = (kind[:, None] == kind), (kind[:, None] != kind)
    before = rows @ rows.T
    assert before.min() > 0.999
    mapped, _ = Whitening.fit([rows], 30.0).apply(rows)
    after = mapped @ mapped.T
    assert after[same].mean() > 0.6
    assert after[other].mean() < -0.6


def test_a_direction_that_varies_most_is_damped_the_more_the_less_is_shrunk() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 1, (4000, 5)) * [10, 1, 1, 1, 1]
    few, many = (Whitening.fit([rows[:count].astype(np.float32)], 1.0) for count in (2 + whitening.MIN_REGIONS, 4000))
    little, much = (Whitening.fit([rows.astype(np.float32)], amount) for amount in (1.0, 1e-4))

    def lead(made: Whitening) -> float:
        unit, lengths = made.apply(rows)
        spread = (unit * lengths[:, None]).std(axis=0)
        return float(spread[0] / spread[1:].mean())

    assert lead(Whitening.fit([rows.astype(np.float32)], 1e6)) == pytest.approx(10, abs=0.5)
    assert 10 > lead(little) > 2 > lead(much)
    assert lead(much) == pytest.approx(1, abs=0.1)
    assert lead(many) == lead(little) < 10
    assert lead(few) > 1


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 60), seed=st.integers(0, 99), shrinkage=st.sampled_from([0.01, 1.0, 30.0]))
def test_undo_gives_back_what_the_embedder_made(count: int, seed: int, shrinkage: float) -> None:
    rows = unit_rows(np.random.default_rng(seed).normal(1, 0.3, (count, 9)))
    made = Whitening.fit([rows], shrinkage)
    mapped, lengths = made.apply(rows)
    assert np.linalg.norm(mapped, axis=1) == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(made.undo(mapped.astype(np.float32), lengths), rows, atol=2e-6)


def test_few_regions_are_left_alone_and_equal_ones_do_no_harm() -> None:
    rows = unit_rows(np.random.default_rng(2).normal(1, 0.3, (whitening.MIN_REGIONS - 1, 5)))
    np.testing.assert_allclose(Whitening.fit([rows], 1.0).apply(rows)[0], rows, atol=1e-7)
    equal = np.tile(rows[:1], (20, 1))
    mapped, _ = Whitening.fit([equal], 1.0).apply(equal)
    assert np.isfinite(mapped).all()
    assert Whitening.fit([], 1.0).apply(np.zeros((0, 1)))[0].shape == (0, 1)


def test_similarities_do_not_jump_when_photographs_are_added() -> None:
    """In a report, a pair had 0.986 without whitening, and with two photographs more 0.832."""
    rng = np.random.default_rng(4)
    rows = unit_rows(1 + rng.normal(0, 0.25, (60, 40)))
    rows[1] = unit_rows((rows[0] + rng.normal(0, 0.02, 40))[None])[0]

    def cosine(count: int) -> float:
        mapped, _ = Whitening.fit([rows[:count]], 1.0).apply(rows[:2])
        return float(mapped[0] @ mapped[1])

    cosines = [cosine(count) for count in range(4, 60)]
    assert cosines[0] == pytest.approx(rows[0] @ rows[1], abs=1e-6)
    assert cosines[0] - cosines[-1] > 0.04
    steps = np.abs(np.diff(cosines))
    assert steps.max() < 0.4 * (cosines[0] - min(cosines))
    assert cosine(whitening.MIN_REGIONS) == cosine(4)


def test_the_map_of_many_regions_is_the_full_one() -> None:
    weights = [whitening.blend_weight(count) for count in range(60)]
    assert weights == sorted(weights)
    assert set(weights[: whitening.MIN_REGIONS + 1]) == {0.0}
    assert set(weights[whitening.FULL_REGIONS :]) == {1.0}
    rows = unit_rows(np.random.default_rng(6).normal(1, 0.3, (whitening.FULL_REGIONS, 9)))
    mean = rows.astype(np.float64).sum(axis=0) / len(rows)
    np.testing.assert_array_equal(Whitening.fit([rows], 1.0).mean, mean)


def test_pieces_of_a_file_give_the_same_map(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.array([a_vector(seed) for seed in range(50)])
    whole, parts = vectors.copy(), vectors.copy()
    one = whiten(whole, BLOCKS, {"pattern": 1.0})
    monkeypatch.setattr(whitening, "CHUNK", 7)
    other = whiten(parts, BLOCKS, {"pattern": 1.0})
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    np.testing.assert_allclose(one.lengths["pattern"], other.lengths["pattern"])
    np.testing.assert_array_equal(whole[:, BLOCKS["pattern"] :], vectors[:, BLOCKS["pattern"] :])
    np.testing.assert_allclose(one.apply(vectors), whole, atol=1e-6)
    np.testing.assert_allclose(one.undo(whole, np.arange(50)), vectors, atol=1e-6)


def test_a_file_comes_back_or_is_refused(tmp_path: Path) -> None:
    vectors = np.array([a_vector(seed) for seed in range(20)])
    path = tmp_path / "wing.npz"
    made = whiten(vectors, BLOCKS, {"pattern": 1.0})
    write_whitening(path, made)
    read = read_whitening(path, BLOCKS)
    raw = np.array([a_vector(seed) for seed in range(20)])
    np.testing.assert_array_equal(read.apply(raw), made.apply(raw))
    with pytest.raises(IndexFolderError, match="does not fit"):
        read_whitening(path, {**BLOCKS, "pattern": 5})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(IndexFolderError, match="cannot be read; run the build again"):
        read_whitening(path, BLOCKS)
    np.savez(path, **{"pattern/mean": np.zeros(4)})
    with pytest.raises(IndexFolderError, match="not whole"):
        read_whitening(path, BLOCKS)
    np.savez(path, evil=np.array([{"code": "runs"}], dtype=object))
    with pytest.raises(IndexFolderError, match="cannot be read"):
        read_whitening(path, BLOCKS)


def test_a_query_from_outside_goes_through_the_same(tmp_path: Path) -> None:
    names = [f"S{number:02d}" for number in range(30)]
    regions = [a_region(name, trait) for name in names for trait in ("wing", "spot")]
    built(
        tmp_path / "index",
        regions,
        a_collection(names, {}),
        settings={**SETTINGS, "whitening": {"pattern": 1.0}},
        numbers={"wing": 1, "spot": 2},
    )
    raw = a_region(names[4], "wing").vector
    assert raw is not None
    with open_index(tmp_path / "index") as index:
        compared = index.vectors("wing")[1]
        assert not np.allclose(compared[4], raw)
        assert np.abs(compared[:, : BLOCKS["pattern"]].mean(axis=0)).max() < 0.2
        region = index.region(names[4], "wing")
        np.testing.assert_allclose(region.vector, raw, atol=1e-6)
        outside = index.search(vectors=raw, trait="wing", k=3)
        assert outside[0].specimen == names[4]
        assert outside[0].similarity == pytest.approx(1, abs=1e-5)
        inside = index.search(like=(names[4], "wing"), k=2)
        assert [hit.individual for hit in inside] == [hit.individual for hit in outside[1:]]
        # Asked among another trait, a wing is compared as any vector from outside would be there.
        across = index.search(like=(names[4], "wing"), trait="spot", k=5)
        same = index.search(vectors=raw, trait="spot", k=6)
        assert [h.specimen for h in across] == [h.specimen for h in same if h.specimen != names[4]][:5]
    assert compared.shape[1] == DIM


def test_it_is_whitening_with_a_ridge() -> None:
    """(S + r I)^(-1/2), times the root of r, as the module says; r is the mean variance where regions are many."""
    rows = (np.random.default_rng(5).normal(size=(200, 6)) * [5, 3, 1, 1, 0.5, 0.1] + 2).astype(np.float32)
    centred = rows.astype(np.float64) - rows.astype(np.float64).mean(axis=0)
    covariance = centred.T @ centred / len(rows)
    ridge = 0.7 * np.trace(covariance) / 6
    values, axes = np.linalg.eigh(covariance + ridge * np.eye(6))
    expected = centred @ (axes * np.sqrt(ridge / values)) @ axes.T
    mapped, lengths = Whitening.fit([rows], 0.7).apply(rows)
    np.testing.assert_allclose(mapped * lengths[:, None], expected, atol=1e-9)
