from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import BLOCKS, DIM, a_vector, unit

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index import vector_files, vectors
from sst_retrieval.index.query_vectors import QueryExample
from sst_retrieval.index.vector_files import write_vectors
from sst_retrieval.index.vectors import VectorIndex

EQUAL = np.ones(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vectors")


def index_of(folder: Path, stored: np.ndarray, first_id: int = 5, step: int = 3) -> VectorIndex:
    path = folder / "trait.faiss"
    path.unlink(missing_ok=True)
    ids = first_id + step * np.arange(len(stored))
    write_vectors(path, ids, stored)
    return VectorIndex(path, BLOCKS)


def brute_force(
    index: VectorIndex, stored: np.ndarray, queries: np.ndarray, k: int, weights: np.ndarray, ids: np.ndarray | None
) -> list[tuple[int, float]]:
    """All similarities in double precision, sorted by (similarity, id)."""
    edges = pairwise(np.cumsum([0, *BLOCKS.values()]))
    total = np.zeros((len(queries), len(stored)))
    for weight, (start, stop) in zip(weights, edges, strict=True):
        a, b = queries[:, start:stop].astype(float), stored[:, start:stop].astype(float)
        a = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
        b = b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-12)
        total += weight * (a[:, None, :] * b[None]).sum(2)
    best = np.round(total.max(0) / weights.sum(), 9)
    answer = [(int(i), float(s)) for i, s in zip(index.ids, best, strict=True) if ids is None or i in ids]
    return sorted(answer, key=lambda pair: (-pair[1], pair[0]))[:k]


# Few directions, so that equal vectors and ties are common.
coarse = st.lists(st.integers(-2, 2), min_size=DIM, max_size=DIM).map(unit)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("few", [0, 10_000])
def test_search_agrees_with_brute_force(folder: Path, few: int, data: st.DataObject) -> None:
    stored = np.array(data.draw(st.lists(coarse, min_size=1, max_size=60)))
    queries = np.array(data.draw(st.lists(coarse, min_size=1, max_size=2)))
    k = data.draw(st.integers(1, 5) | st.integers(1, 70))
    weights = np.array(data.draw(st.lists(st.sampled_from([0, 0.3, 1, 7]), min_size=3, max_size=3).filter(any)))
    index = index_of(folder, stored)
    size = len(stored)
    inside = data.draw(st.none() | st.lists(st.booleans(), min_size=size, max_size=size).map(np.array))
    ids = None if inside is None else index.ids[inside]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "MATRIX_PRODUCT_LIMIT", few)
        patch.setattr(vector_files, "EXTRA_CANDIDATES", 1)
        found = index.search([QueryExample(queries)], k, weights=weights, ids=ids)
    expected = brute_force(index, stored, queries, k, weights, ids)
    assert found.ids.tolist() == [number for number, _ in expected]
    assert found.scores == pytest.approx([score for _, score in expected], abs=2e-9)


def test_scores_are_the_weighted_mean_of_the_cosines(folder: Path) -> None:
    stored = np.array([a_vector(seed) for seed in range(40)])
    weights = np.array([2.0, 0.0, 1.0])
    found = index_of(folder, stored).search([QueryExample(stored[:1])], 5, weights=weights)
    assert found.ids[0] == 5
    assert found.scores[0] == pytest.approx(1, abs=1e-12)
    assert found.scores == pytest.approx(found.cosines @ weights / 3, abs=1e-9)


def test_weights_choose_what_alike_means(folder: Path) -> None:
    same_pattern = unit([1, 0, 0, 0, 0, 1, 0, 1, 0])
    same_colour = unit([0, 1, 0, 0, 1, 0, 0, 1, 0])
    index = index_of(folder, np.array([same_pattern, same_colour]), first_id=0, step=1)
    query = unit([1, 0, 0, 0, 1, 0, 0, 1, 0])[None]
    assert index.search([QueryExample(query)], 1, weights=np.array([1, 0, 0])).ids.tolist() == [0]
    assert index.search([QueryExample(query)], 1, weights=np.array([0, 1, 0])).ids.tolist() == [1]


@pytest.mark.parametrize("few", [0, 10_000])
def test_equal_vectors_come_in_order_of_id_wherever_the_cut_is(
    folder: Path, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "MATRIX_PRODUCT_LIMIT", few)
    stored = np.repeat([a_vector(1), a_vector(2)], 300, axis=0)
    index = index_of(folder, stored, first_id=0, step=1)
    for k in (1, 7, 299):
        found = index.search([QueryExample(a_vector(2)[None])], k, weights=EQUAL)
        assert found.ids.tolist() == list(range(300, 300 + k))


def test_faiss_candidates_include_all_near_ties_however_many(folder: Path) -> None:
    stored = np.repeat([a_vector(1), a_vector(2)], 300, axis=0)
    index = index_of(folder, stored, first_id=0, step=1)
    query = a_vector(2) / 3
    assert index._faiss_candidates(query, 1, np.arange(600), margin=5e-5).tolist() == list(range(300, 600))
    assert index._faiss_candidates(query, 2, np.arange(250, 400), margin=5e-5).tolist() == list(range(300, 400))


def test_several_pose_variants_count_by_the_best(folder: Path) -> None:
    stored = np.array([a_vector(seed) for seed in range(50)])
    index = index_of(folder, stored, first_id=0, step=1)
    found = index.search([QueryExample(stored[[10, 20]])], 2, weights=EQUAL)
    assert sorted(found.ids.tolist()) == [10, 20]
    assert found.scores == pytest.approx([1, 1], abs=1e-6)


def test_an_id_set_is_searched_to_its_last_member(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = np.array([a_vector(seed) for seed in range(500)])
    index = index_of(folder, stored)
    only = index.ids[::7]
    for few in (0, 10_000):
        monkeypatch.setattr(vectors, "MATRIX_PRODUCT_LIMIT", few)
        assert set(index.search([QueryExample(stored[:1])], 10_000, weights=EQUAL, ids=only).ids) == set(only)
        assert len(index.search([QueryExample(stored[:1])], 20, weights=EQUAL, ids=only).ids) == 20
    assert len(index.search([QueryExample(stored[:1])], 3, weights=EQUAL, ids=np.array([], dtype=np.int64)).ids) == 0
    assert len(index.search([QueryExample(stored[:1])], 3, weights=EQUAL, ids=np.array([1, 4, 9_999])).ids) == 0


@settings(max_examples=60, deadline=None)
@given(
    stored=st.lists(st.integers(0, 90), min_size=1, unique=True).map(sorted),
    asked=st.lists(st.integers(-3, 99), unique=True).map(sorted),
    limit=st.sampled_from([0, 1000]),
)
def test_rows_of_ids_are_found_by_table_and_by_search(
    folder: Path, stored: list[int], asked: list[int], limit: int
) -> None:
    path = folder / "rows.faiss"
    path.unlink(missing_ok=True)
    write_vectors(path, np.array(stored, dtype=np.int64), np.array([a_vector(number) for number in stored]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "ROW_TABLE_LIMIT", limit)
        rows = VectorIndex(path, BLOCKS)._rows(np.array(asked, dtype=np.int64))
    assert rows.tolist() == [stored.index(number) for number in asked if number in stored]
    assert rows.dtype == np.int64


def test_reconstruct_returns_what_was_written(folder: Path) -> None:
    stored = np.array([a_vector(seed) for seed in range(20)])
    index = index_of(folder, stored)
    np.testing.assert_array_equal(index.reconstruct(index.ids[[3, 0, 19]]), stored[[3, 0, 19]])
    with pytest.raises(KeyError, match="6"):
        index.reconstruct(np.array([5, 6]))


def test_stored_vectors_cannot_be_changed(folder: Path) -> None:
    index = index_of(folder, np.array([a_vector(0)]))
    with pytest.raises(ValueError, match="read-only"):
        index._files[0].vectors[0, 0] = 1


def test_a_trait_nobody_shows_is_an_empty_index(folder: Path) -> None:
    index = index_of(folder, np.zeros((0, DIM), dtype=np.float32))
    assert len(index) == 0
    assert len(index.search([QueryExample(a_vector(0)[None])], 5, weights=EQUAL).ids) == 0


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_the_file_is_the_one_that_faiss_writes(tmp_path: Path, count: int) -> None:
    faiss = vector_files.load_faiss()
    stored = np.random.default_rng(0).normal(size=(count, DIM)).astype(np.float32)
    ids = 3 * np.arange(count) + 2
    index = faiss.IndexIDMap(faiss.IndexFlatIP(DIM))
    index.add_with_ids(stored, ids)
    faiss.write_index(index, str(tmp_path / "theirs"))
    write_vectors(tmp_path / "ours", ids, stored)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_an_open_index_outlives_its_file(folder: Path) -> None:
    stored = np.array([a_vector(seed) for seed in range(2000)])
    index = index_of(folder, stored)
    every = index_of(folder, stored)
    (folder / "trait.faiss").unlink()
    np.testing.assert_array_equal(index.reconstruct(index.ids), stored)
    query = index.scale([QueryExample(stored[7][None])], EQUAL)
    assert query.vector is not None
    found = every._files[0].find_candidates(query.vector.astype(np.float32), 3, None, margin=1e-6)  # By FAISS.
    assert 7 in found


@pytest.mark.parametrize("place", [0, 4, 8, 40, 44, 78])
def test_a_file_whose_head_does_not_fit_is_named(folder: Path, place: int) -> None:
    index_of(folder, np.array([a_vector(seed) for seed in range(20)]))
    content = bytearray((folder / "trait.faiss").read_bytes())
    content[place] ^= 2
    (folder / "trait.faiss").write_bytes(bytes(content))
    with pytest.raises(IndexFolderError, match=r"trait\.faiss"):
        VectorIndex(folder / "trait.faiss", BLOCKS)


@pytest.mark.parametrize("damage", [b"", b"IxMp", b"not a vector file at all"])
def test_a_broken_file_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "broken.faiss"
    path.write_bytes(damage)
    with pytest.raises(IndexFolderError, match=r"broken\.faiss"):
        VectorIndex(path, BLOCKS)


def test_vectors_of_another_length_are_refused(folder: Path) -> None:
    index_of(folder, np.array([a_vector(0)]))
    with pytest.raises(IndexFolderError, match="9 values"):
        VectorIndex(folder / "trait.faiss", {"pattern": 4})
