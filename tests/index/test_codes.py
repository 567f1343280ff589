from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coded import EQUAL, block_weights, clustered, code_files, index_of, many, queries
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import BLOCKS, a_collection, a_region, a_vector, built, rows

import sst_retrieval as sst
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index import codes, vectors
from sst_retrieval.index.codes import Codes, multiply_codes, write_codes
from sst_retrieval.index.query_vectors import QueryExample, WeightedQuery
from sst_retrieval.index.vectors import VectorIndex
from sst_retrieval.index.verification import verify_index

SLICES = [slice(0, 4), slice(4, 7), slice(7, 9)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("codes")


def exact_scores(stored: np.ndarray, query: list[QueryExample], weights: np.ndarray) -> np.ndarray:
    """The definition of a score, in double precision: float64 (n,)."""

    def normalised(values: np.ndarray) -> np.ndarray:
        parts = [values[:, block].astype(float) for block in SLICES]
        return np.hstack([part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in parts])

    scale = np.repeat(weights / weights.sum(), [4, 3, 2])
    rows, total = normalised(stored), np.zeros(len(stored))
    for example in query:
        total += example.weight * (rows @ (normalised(example.variants) * scale).T).max(axis=1)
    return total


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes for any number of regions, and used however little they rule out."""
    monkeypatch.setattr(codes, "MIN_REGIONS", 1)
    monkeypatch.setattr(vectors, "CODES_LIMIT", 1)
    monkeypatch.setattr(vectors, "FIRST_BOUNDS", 1)
    monkeypatch.setattr(vectors, "USEFUL_SHARE", 1)


@settings(max_examples=60, deadline=None)
@given(stored=many, query=queries, weights=block_weights, width=st.sampled_from([12, 16, 24, 37, 320]), data=st.data())
@pytest.mark.parametrize("product", ["simsimd", "numpy"])
def test_no_score_is_above_its_bound(
    folder: Path,
    product: str,
    stored: np.ndarray,
    query: list[QueryExample],
    weights: np.ndarray,
    width: int,
    data: st.DataObject,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, "MIN_REGIONS", 1)
        patch.setattr(codes, "CODE_BYTES", width)
        patch.setattr(codes, "FEW_DIRECTIONS", data.draw(st.sampled_from([0, 2, 16])))
        if product == "numpy":
            patch.setattr(codes, "load_simsimd", lambda: None)
        write_codes(*code_files(folder), stored, BLOCKS)
        opened = Codes(*code_files(folder), BLOCKS, len(stored))
        chosen = data.draw(st.none() | st.lists(st.integers(0, len(stored) - 1), unique=True).map(sorted).map(np.array))
        chosen = None if chosen is None else chosen.astype(np.int64)
        scaled = WeightedQuery.scale(query, SLICES, weights)
        bounds = opened.bound(scaled, chosen)
        close = opened.bound_closely(scaled, np.arange(len(stored)) if chosen is None else chosen)
    upper = bounds.values * bounds.factor + bounds.offset
    expected = exact_scores(stored, query, weights)
    assert (upper >= (expected if chosen is None else expected[chosen])).all()
    assert (close >= (expected if chosen is None else expected[chosen])).all()
    assert bounds.reaching(-10).tolist() == list(range(len(upper)))


@settings(max_examples=60, deadline=None)
@given(stored=many, query=queries, weights=block_weights, width=st.sampled_from([12, 20, 320]), data=st.data())
def test_search_by_codes_agrees_with_brute_force_and_with_search_without_codes(
    folder: Path, stored: np.ndarray, query: list[QueryExample], weights: np.ndarray, width: int, data: st.DataObject
) -> None:
    k, close = data.draw(st.integers(1, 5) | st.integers(1, 70)), data.draw(st.sampled_from([0, 3, 400]))
    inside = data.draw(st.none() | st.lists(st.booleans(), min_size=len(stored), max_size=len(stored)).map(np.array))
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (codes, "MIN_REGIONS", 1),
            (codes, "CODE_BYTES", width),
            (vectors, "CODES_LIMIT", 1),
            (vectors, "FIRST_BOUNDS", 1),
            (vectors, "USEFUL_SHARE", 1),
            (vectors, "MANY_REACHING", close),
        ):
            patch.setattr(module, name, value)
        index = index_of(folder, stored)
        ids = None if inside is None else index.ids[inside]
        found = index.search(query, k, weights=weights, ids=ids)
    plain = VectorIndex(folder / "trait.faiss", BLOCKS).search(query, k, weights=weights, ids=ids)
    for name in ("ids", "scores", "cosines"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
    scores = np.round(exact_scores(stored, query, weights), 9)
    everyone = zip(index.ids.tolist(), scores.tolist(), strict=True)
    expected = sorted(((number, score) for number, score in everyone if ids is None or number in ids), key=_by_score)
    assert found.scores == pytest.approx([score for _, score in expected[:k]], abs=2e-9)


def _by_score(pair: tuple[int, float]) -> tuple[float, int]:
    return -pair[1], pair[0]


@pytest.mark.parametrize("share", [None, 0.9, 0.2])
def test_most_vectors_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch, share: float | None) -> None:
    stored = clustered(4000)
    index = index_of(folder, stored)
    ids = None if share is None else np.sort(np.random.default_rng(1).permutation(index.ids)[: int(4000 * share)])
    query = [QueryExample(stored[7:8]), QueryExample(stored[9:10], -0.5)]
    expected = VectorIndex(folder / "trait.faiss", BLOCKS).search(query, 12, weights=EQUAL, ids=ids)
    read = []
    whole = VectorIndex.score_approximately
    monkeypatch.setattr(
        VectorIndex, "score_approximately", lambda self, query, rows: read.append(len(rows)) or whole(self, query, rows)
    )
    monkeypatch.setattr(VectorIndex, "find_candidates", lambda *_: pytest.fail("all vectors are read"))
    found = index.search(query, 12, weights=EQUAL, ids=ids)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert 12 <= read[0] < 400


def test_a_block_of_few_directions_is_bound_by_distances(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding is a large part of the differences within it, and a small one of those of its neighbours."""
    rng = np.random.default_rng(0)
    stored = np.zeros((4000, 9), np.float32)
    stored[:, :4] = [1, 0.5, 0, 0] + 0.4 * rng.standard_normal((4000, 4))
    stored[:, 0:4] /= np.linalg.norm(stored[:, 0:4], axis=1, keepdims=True)
    monkeypatch.setattr(codes, "FINE_BYTES", 1)
    index = index_of(folder, stored)
    read: list[int] = []
    whole = VectorIndex.score_approximately
    monkeypatch.setattr(
        VectorIndex, "score_approximately", lambda self, query, rows: read.append(len(rows)) or whole(self, query, rows)
    )
    query, weights = [QueryExample(stored[7:8])], np.array([1.0, 0, 0])
    found = index.search(query, 12, weights=weights)
    monkeypatch.setattr(vectors, "MANY_REACHING", 0)
    closely = index.search(query, 12, weights=weights)
    np.testing.assert_array_equal(found.ids, closely.ids)
    np.testing.assert_array_equal(found.scores, closely.scores)
    assert 12 <= read[3] < read[1] / 2


@pytest.mark.usefixtures("few")
def test_equal_vectors_come_in_order_of_id_wherever_the_cut_is(folder: Path) -> None:
    index = index_of(folder, np.repeat([a_vector(1), a_vector(2)], 300, axis=0))
    for k in (1, 7, 299):
        found = index.search([QueryExample(a_vector(2)[None])], k, weights=EQUAL)
        assert found.ids.tolist() == index.ids[300 : 300 + k].tolist()


def test_bounds_that_rule_out_little_are_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "CODE_BYTES", 12)  # Nothing but lengths.
    stored = clustered(2000)
    index = index_of(folder, stored)
    found = index.search([QueryExample(stored[:1])], 5, weights=EQUAL)
    plain = VectorIndex(folder / "trait.faiss", BLOCKS).search([QueryExample(stored[:1])], 5, weights=EQUAL)
    np.testing.assert_array_equal(found.scores, plain.scores)
    np.testing.assert_array_equal(found.ids, plain.ids)


def test_products_are_the_same_without_simsimd(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simsimd")
    rng = np.random.default_rng(0)
    stored, asked = (rng.integers(-127, 128, (count, 320), dtype=np.int8) for count in (5000, 3))
    stored[0], asked[0] = -127, 127
    fast = multiply_codes(stored, asked)
    monkeypatch.setattr(codes, "load_simsimd", lambda: None)
    np.testing.assert_array_equal(multiply_codes(stored, asked), fast)
    np.testing.assert_array_equal(fast, stored.astype(np.int64) @ asked.T.astype(np.int64))


def test_coordinates_of_blocks_with_many_directions_have_one_byte(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both kinds of blocks, fine and coarse, in one code; else all tests would be of fine ones."""
    monkeypatch.setattr(codes, "FEW_DIRECTIONS", 2)
    stored = clustered(2000)
    index_of(folder, stored)
    opened = Codes(*code_files(folder), BLOCKS, len(stored))
    assert opened._parts[0].shape[1] == (4 + 4) + (3 + 4) + (2 * codes.FINE_BYTES + 4)
    query = [QueryExample(stored[:1]), QueryExample(stored[1:2], -0.5)]
    bounds = opened.bound(WeightedQuery.scale(query, SLICES, EQUAL), None)
    upper, exact = bounds.values * bounds.factor + bounds.offset, exact_scores(stored, query, EQUAL)
    assert (upper >= exact).all()
    assert (upper - exact).max() < 0.05


def test_the_highest_bounds_are_as_many_as_asked_for() -> None:
    bounds = codes.Bounds(np.array([1.0, 3, 2, 3, 3, 0]), 0.5, 1.0)
    assert set(bounds.highest(2)) < {1, 3, 4}
    assert sorted(bounds.highest(4)) == [1, 2, 3, 4]
    assert bounds.reaching(2.5).tolist() == [1, 3, 4]


def test_few_regions_have_no_codes(tmp_path: Path) -> None:
    index = index_of(tmp_path, clustered(codes.MIN_REGIONS - 1))
    assert not any(file.exists() for file in code_files(tmp_path))
    assert len(index.search([QueryExample(a_vector(0)[None])], 3, weights=EQUAL).ids) == 3


def test_files_that_are_not_of_these_vectors_are_refused(tmp_path: Path) -> None:
    stored = clustered(1200)
    index_of(tmp_path, stored)
    codes_file, basis_file = code_files(tmp_path)
    with pytest.raises(IndexFolderError, match=r"codes\.npy holds int8 \(1200, 48\) instead of int8 \(1201, 48\)"):
        Codes(codes_file, basis_file, BLOCKS, 1201)
    with pytest.raises(IndexFolderError, match=r"codes\.npz does not fit vectors of"):
        Codes(codes_file, basis_file, {"pattern": 3, "colour": 4, "shape": 2}, 1200)
    with pytest.raises(IndexFolderError, match=r"codes\.npz lacks 'axes/outline'"):
        Codes(codes_file, basis_file, {"pattern": 4, "colour": 3, "outline": 2}, 1200)
    whole = codes_file.read_bytes()
    for damage in (b"", whole[:40], whole[:-5], b"not codes"):
        codes_file.write_bytes(damage)
        with pytest.raises(IndexFolderError, match=r"codes\.npy"):
            VectorIndex(tmp_path / "trait.faiss", BLOCKS, code_files(tmp_path))
    codes_file.write_bytes(whole)
    for damage in (b"", basis_file.read_bytes()[:-30], b"not a basis"):
        basis_file.write_bytes(damage)
        with pytest.raises(IndexFolderError, match=r"codes\.npz"):
            VectorIndex(tmp_path / "trait.faiss", BLOCKS, code_files(tmp_path))
    basis_file.unlink()
    with pytest.raises(IndexFolderError, match=r"codes\.npz"):
        VectorIndex(tmp_path / "trait.faiss", BLOCKS, code_files(tmp_path))


def test_codes_of_another_version_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = clustered(1200)
    expected = index_of(tmp_path, stored).search([QueryExample(stored[:1])], 5, weights=EQUAL)
    monkeypatch.setattr(codes, "VERSION", codes.VERSION + 1)
    monkeypatch.setattr(codes, "FINE_BYTES", 3)
    index = VectorIndex(tmp_path / "trait.faiss", BLOCKS, code_files(tmp_path))
    assert index.codes is None
    np.testing.assert_array_equal(index.search([QueryExample(stored[:1])], 5, weights=EQUAL).ids, expected.ids)


def test_a_code_file_with_code_to_run_is_not_run(tmp_path: Path) -> None:
    stored = clustered(1200)
    index_of(tmp_path, stored)
    np.save(code_files(tmp_path)[0], np.array([{}]), allow_pickle=True)
    with pytest.raises(IndexFolderError, match=r"codes\.npy cannot be read"):
        VectorIndex(tmp_path / "trait.faiss", BLOCKS, code_files(tmp_path))


# ------------------------------------------------------------------------------------------------ in an index


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 1,200 specimens that are searched by codes."""
    path = tmp_path_factory.mktemp("large") / "index"
    stored = clustered(1200)
    built(path, [a_region(f"S{number:04d}", vector=vector) for number, vector in enumerate(stored)])
    return path


def test_an_index_of_many_regions_is_searched_by_codes(large: Path) -> None:
    with sst.open_index(large) as index:
        assert index._reader.vector_indexes["wing"].codes is not None
        hits = index.search(like=("S0003", "wing"), unlike=("S0004", "wing"), k=7, where="hash(specimen) % 5 < 4")
        index._reader.vector_indexes["wing"].codes = None
        plain = index.search(like=("S0003", "wing"), unlike=("S0004", "wing"), k=7, where="hash(specimen) % 5 < 4")
    assert [(hit.specimen, hit.similarity, hit.blocks) for hit in hits] == [
        (hit.specimen, hit.similarity, hit.blocks) for hit in plain
    ]


def test_individuals_that_show_several_traits_are_ranked_by_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 1500
    regions = [a_region(f"S{n:04d}", vector=vector) for n, vector in enumerate(clustered(count))]
    regions += [a_region(f"S{n:04d}", "head", vector=vector) for n, vector in enumerate(clustered(count, 1)) if n % 7]
    built(tmp_path / "index", regions, numbers={"wing": 7, "head": 2})
    like, unlike = [("S0003", "wing"), ("S0003", "head")], ("S0011", "head")
    among = np.arange(0, 2 * count, 3)
    asked: list[dict] = [
        {},
        {"where": "hash(specimen) % 5 < 4", "k": 7},
        {"unlike": unlike, "weights": {"colour": 1}},
        {"k": 2000},
        {"among": among},
        {"where": "false"},
    ]
    with sst.open_index(tmp_path / "index") as index:
        scored: list[int] = []
        score = VectorIndex.scores
        monkeypatch.setattr(
            VectorIndex,
            "scores",
            lambda self, query, ids, **rest: scored.append(len(ids)) or score(self, query, ids, **rest),
        )
        quick = [index.search(like=like, **options) for options in asked]
        assert max(scored[:4]) < count / 4
        for each in index._reader.vector_indexes.values():
            each.codes = None
        without_codes = [index.search(like=like, **options) for options in asked]
        index.catalog._owners = None
        assert [index.search(like=like, **options) for options in asked] == without_codes == quick
    assert [len(hits) for hits in quick[:3]] == [12, 7, 12]
    assert len(quick[3]) == count - count // 7 - 1 - 1
    assert quick[5] == []


def test_codes_have_checksums_and_are_repaired(large: Path) -> None:
    (codes_file,) = large.glob("generations/*/vectors/wing.codes.npy")
    assert verify_index(large).damages == []
    whole = codes_file.read_bytes()
    codes_file.unlink()
    with pytest.raises(IndexFolderError, match=r"wing\.codes\.npy is missing; nothing is lost"):
        sst.open_index(large)
    codes_file.write_bytes(whole[:-1] + b"?")
    with pytest.raises(IndexFolderError, match=r"wing\.codes\.npy has changed"):
        sst.open_index(large)
    assert [damage.file.name for damage in verify_index(large).damages] == ["wing.codes.npy"]
    codes_file.write_bytes(whole)
    sst.open_index(large).close()


def test_additions_are_found_by_codes(large: Path) -> None:
    from sst_retrieval.index.store import Store

    store = Store.open(large)
    with store.lock():
        store.append(rows([a_region("S9999", vector=clustered(1200)[5])]))
        store.commit(
            a_collection([*(f"S{number:04d}" for number in range(1200)), "S9999"]), numbers={"wing": 7}, provenance={}
        )
    with sst.open_index(large) as index:
        assert index.search(like=("S0005", "wing"), k=1)[0].specimen == "S9999"


@pytest.mark.parametrize("order", ["random", "ascending", "equal", "a peak between samples"])
@pytest.mark.parametrize("count", [1, 48, 700])
def test_the_highest_bounds_are_the_highest(order: str, count: int) -> None:
    values = np.random.default_rng(0).integers(0, 5000, 20_000).astype(np.float64)
    if order == "ascending":
        values.sort()
    elif order == "equal":
        values[:] = 1.0
    elif order == "a peak between samples":
        values[1::32] += 10**6
    found = codes.Bounds(values, 1.0, 0.0).highest(count)
    assert len(set(found.tolist())) == count
    assert sorted(values[found]) == sorted(values)[-count:]
