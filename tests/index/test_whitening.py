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
    one = whiten(whole, BLOCKS, {"pattern": 1.0}, {})
    monkeypatch.setattr(whitening, "CHUNK", 7)
    other = whiten(parts, BLOCKS, {"pattern": 1.0}, {})
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    np.testing.assert_allclose(one.lengths["pattern"], other.lengths["pattern"])
    np.testing.assert_array_equal(whole[:, BLOCKS["pattern"] :], vectors[:, BLOCKS["pattern"] :])
    np.testing.assert_allclose(one.apply(vectors), whole, atol=1e-6)
    np.testing.assert_allclose(one.undo(whole, np.arange(50)), vectors, atol=1e-6)


def test_a_file_comes_back_or_is_refused(tmp_path: Path) -> None:
    vectors = np.array([a_vector(seed) for seed in range(20)])
    path = tmp_path / "wing.npz"
    made = whiten(vectors, BLOCKS, {"pattern": 1.0}, {})
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


def crossed_blocks(count: int = 64, noise: float = 0.01, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Patterns that differ widely, and outlines that are nearly the same: two forms, whatever the pattern."""
    rng = np.random.default_rng(seed)
    form = rng.permutation(np.arange(count) % 2)
    patterns = unit_rows(rng.normal(0, 1, (count, BLOCKS["pattern"])))
    outlines = np.ones((count, BLOCKS["shape"])) + rng.normal(0, noise, (count, BLOCKS["shape"]))
    outlines[:, 0] += np.where(form, 0.15, -0.15)
    colours = unit_rows(np.ones((count, BLOCKS["colour"])))
    parts = {"pattern": patterns, "colour": colours, "shape": unit_rows(outlines)}
    return np.hstack([parts[name] for name in BLOCKS]).astype(np.float32), form


def test_outlines_count_as_much_as_patterns() -> None:
    raw, form = crossed_blocks()
    vectors, before = raw.copy(), raw.copy()
    whiten(before, BLOCKS, {"pattern": 1000.0}, {})
    made = whiten(vectors, BLOCKS, {"pattern": 1000.0}, {"shape": 1.0})
    blocks = whitening.block_slices(BLOCKS)
    spreads = {name: whitening.measure_spread(vectors[:, part]) for name, part in blocks.items()}
    assert spreads["shape"] == pytest.approx(spreads["pattern"], rel=1e-3)
    assert whitening.measure_spread(before[:, blocks["shape"]]) < 0.1 * spreads["shape"]
    assert np.linalg.norm(vectors[:, blocks["shape"]], axis=1) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(made.undo(vectors, np.arange(len(raw))), raw, atol=2e-6)

    def share_of_own_form(rows: np.ndarray) -> float:
        similar = rows @ rows.T
        np.fill_diagonal(similar, -np.inf)
        return float((form[np.argsort(-similar, axis=1)[:, :8]] == form[:, None]).mean())

    assert share_of_own_form(before) < 0.65
    assert share_of_own_form(vectors) > share_of_own_form(before) + 0.15


def test_outlines_that_differ_too_much_are_narrowed_and_equal_ones_not_stretched() -> None:
    rng = np.random.default_rng(8)
    wide = unit_rows(1 + rng.normal(0, 1, (50, 6)))
    narrowed = Whitening.fit_spread(wide, 0.1, 50)
    assert whitening.measure_spread(narrowed.apply(wide)[0]) == pytest.approx(0.1, abs=1e-4)
    same = unit_rows(1 + rng.normal(0, 1e-5, (50, 6)))
    made = Whitening.fit_spread(same, 0.3, 50)
    assert made.mean == pytest.approx(whitening.SHARES_OF_MEAN[1] * same.mean(axis=0), abs=1e-6)
    assert whitening.measure_spread(made.apply(same)[0]) < 1e-3
    np.testing.assert_array_equal(Whitening.fit_spread(same[:8], 0.3, 8).mean, np.zeros(6))


def test_more_is_subtracted_the_more_regions_there_are() -> None:
    rng = np.random.default_rng(9)
    rows = unit_rows(1 + rng.normal(0, 0.2, (60, 6)))
    shares = [
        float(np.linalg.norm(Whitening.fit_spread(rows, 0.2, count).mean)) for count in (8, 9, 12, 16, 24, 32, 60)
    ]
    assert shares == sorted(shares)
    assert shares[0] == 0 < shares[1]
    assert shares[-1] == shares[-2] < whitening.SHARES_OF_MEAN[1]


@given(count=st.integers(2, 12), seed=st.integers(0, 99))
def test_the_spread_is_that_of_all_pairs(count: int, seed: int) -> None:
    rows = unit_rows(np.random.default_rng(seed).normal(0.5, 1, (count, 4)))
    pairs = (rows.astype(np.float64) @ rows.T.astype(np.float64))[np.triu_indices(count, 1)]
    assert whitening.measure_spread(3 * rows) == pytest.approx(float(pairs.std()), abs=1e-6)


def test_an_index_keeps_its_similarities_until_a_build_fits_them_anew(tmp_path: Path) -> None:
    names = [f"S{number:02d}" for number in range(40)]
    raw, _ = crossed_blocks(len(names))
    regions = [a_region(name, vector=vector) for name, vector in zip(names, raw, strict=True)]
    stored = {**SETTINGS, "whitening": {"pattern": 1000.0}}
    requested = {**stored, "spread": {"shape": 1.0}}
    store = built(tmp_path / "index", regions, a_collection(names), settings=stored)

    def build(**how: bool) -> tuple[np.ndarray, str]:
        with store.lock():
            store.require_same_model(requested)
            store.commit(a_collection(names), numbers={"wing": 7}, provenance={}, **how)
        with open_index(tmp_path / "index") as index:
            np.testing.assert_allclose(index.region(names[4], "wing").vector, raw[4], atol=1e-5)
            return index.vectors("wing")[1], "\n".join(store.notes)

    with open_index(tmp_path / "index") as index:
        before = index.vectors("wing")[1]
    kept, note = build()
    np.testing.assert_array_equal(kept, before)
    assert "--refit" in note
    fitted, note = build(refit=True)
    assert note == ""
    shape = whitening.block_slices(BLOCKS)["shape"]
    assert whitening.measure_spread(fitted[:, shape]) > 10 * whitening.measure_spread(before[:, shape])
    again, note = build()
    assert note == ""
    np.testing.assert_array_equal(again, fitted)


@pytest.mark.parametrize(
    ("confidence", "share"), [(0.3, 0.2), (0.6, 0.2), (0.725, 0.6), (0.85, 1.0), (0.97, 1.0)], ids=str
)
def test_outlines_count_as_far_as_their_masks_are_trusted(tmp_path: Path, confidence: float, share: float) -> None:
    names = [f"S{number:02d}" for number in range(40)]
    raw, _ = crossed_blocks(len(names))
    # Half of the masks are surer than the mean, half less sure.
    regions = [
        a_region(name, vector=vector, confidence=confidence + (0.03 if number % 2 else -0.03))
        for number, (name, vector) in enumerate(zip(names, raw, strict=True))
    ]
    asked = {**SETTINGS, "whitening": {"pattern": 1000.0}, "spread": {"shape": 1.0}, "trust": [0.6, 0.85, 0.2]}
    built(tmp_path / "index", regions, a_collection(names), settings=asked)
    with open_index(tmp_path / "index") as index:
        vectors = index.vectors("wing")[1]
        np.testing.assert_allclose(index.region(names[4], "wing").vector, raw[4], atol=1e-5)
    blocks = whitening.block_slices(BLOCKS)
    spreads = {name: whitening.measure_spread(vectors[:, part]) for name, part in blocks.items()}
    assert spreads["shape"] == pytest.approx(share * spreads["pattern"], rel=2e-3)


def test_an_index_without_trust_trusts_all_masks(tmp_path: Path) -> None:
    names = [f"S{number:02d}" for number in range(40)]
    raw, _ = crossed_blocks(len(names))
    regions = [a_region(name, vector=vector, confidence=0.1) for name, vector in zip(names, raw, strict=True)]
    stored = {**SETTINGS, "whitening": {"pattern": 1000.0}, "spread": {"shape": 1.0}}
    requested = {**stored, "trust": [0.6, 0.85, 0.2]}
    store = built(tmp_path / "index", regions, a_collection(names), settings=stored)
    shape = whitening.block_slices(BLOCKS)["shape"]
    spreads = []
    for refit in (None, False, True):
        if refit is not None:
            with store.lock():
                store.require_same_model(requested)
                store.commit(a_collection(names), numbers={"wing": 7}, provenance={}, refit=refit)
            assert ("--refit" in "".join(store.notes)) is not refit
        with open_index(tmp_path / "index") as index:
            spreads.append(whitening.measure_spread(index.vectors("wing")[1][:, shape]))
    assert spreads[0] == spreads[1]
    assert spreads[2] == pytest.approx(0.2 * spreads[0], rel=2e-3)
