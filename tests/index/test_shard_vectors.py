"""Vectors that stay in the shards: the same answers as from files of their own, to the last bit; and shards anew."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from coded import clustered
from invented import BLOCKS, SETTINGS, a_collection, a_region, a_vector, rows
from killing import kill_everywhere

import sst_retrieval as sst
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index import codes, epochs, generation, shard_rewriting, shard_vectors, shards
from sst_retrieval.index.shard_rewriting import is_same
from sst_retrieval.index.shard_vectors import MappedShard, Places, read_places, write_places
from sst_retrieval.index.shards import COLUMNS, count_photographs, has_plain_vectors, read_notes, read_vectors
from sst_retrieval.index.store import Store
from sst_retrieval.index.verification import repair_index, verify_index
from sst_retrieval.types import Hit

COUNT = 1300
NAMES = [f"S{number:04d}" for number in range(COUNT)]
WHITENED = {**SETTINGS, "whitening": {"pattern": 1.0}}


def make(path: Path) -> Path:
    """An index of 1300 wings, some alike, and 300 heads, in two shards."""
    stored = clustered(COUNT)
    stored[200:204] = stored[3]
    regions = [a_region(name, vector=vector) for name, vector in zip(NAMES, stored, strict=True)]
    store = Store.create(path, settings=WHITENED, blocks=BLOCKS)
    with store.lock():
        store.append(rows(regions[:700]))
        store.append(rows([*regions[700:], *(a_region(name, "head") for name in NAMES[700:1000])]))
        sexes = [("male", "female")[number % 2] for number in range(COUNT)]
        store.commit(a_collection(NAMES, sex=sexes), numbers={"wing": 7, "head": 2}, provenance={})
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An index with wings in the shards, and the same one with all vectors in files."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        inside = make(folder / "inside")
        patch.setattr(generation, "count_openable", lambda: 0)
        outside = make(folder / "outside")
    names = [sorted(path.name for path in each.rglob("*") if path.suffix == ".faiss") for each in (inside, outside)]
    assert names == [["head.faiss"], ["head.faiss", "wing.faiss"]]
    return inside, outside


@pytest.fixture
def inside(made: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "index"))


QUERIES: list[dict[str, Any]] = [
    {"like": ("S0003", "wing")},
    {"like": ("S0003", "wing"), "where": "sex = 'female'"},
    {"like": [("S0003", "wing"), ("S0050", "wing")], "unlike": ("S0900", "wing"), "k": 30},
    {"like": ("S0700", "wing"), "weights": {"colour": 1.0}},
    {"like": ("S0700", "wing"), "weights": {"pattern": 2.0, "shape": 0.5}, "k": COUNT},
    {"like": ("S0800", "wing"), "k": 500},
    {"vectors": np.array([a_vector(1), a_vector(2)]), "trait": "wing"},
    {"like": ("S0710", "head")},
    {"like": [("S0710", "wing"), ("S0710", "head")]},
]


def contents(hits: list[Hit]) -> list[tuple[Any, ...]]:
    return [(hit.individual, hit.region_id, hit.similarity, dict(hit.blocks)) for hit in hits]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: ", ".join(query))
def test_answers_are_the_same_to_the_last_bit(made: tuple[Path, Path], query: dict[str, Any]) -> None:
    with sst.open_index(made[0]) as one, sst.open_index(made[1]) as other:
        expected = contents(other.search(**query))
        assert len(expected) > 10
        assert contents(one.search(**query)) == expected
        if "vectors" not in query:
            assert [contents(hits) for hits in one.search_many([query] * 3)] == [expected] * 3


def test_vectors_are_the_same_to_the_last_bit(made: tuple[Path, Path]) -> None:
    with sst.open_index(made[0]) as one, sst.open_index(made[1]) as other:
        assert one.vectors("wing")[0] == other.vectors("wing")[0]
        assert np.array_equal(one.vectors("wing")[1], other.vectors("wing")[1])
        index = one._reader.vector_indexes["wing"]
        backwards = index.reconstruct(index.ids[::-1])[::-1]
        assert np.array_equal(backwards, index.reconstruct(index.ids))  # Whatever stands beside it.


def test_a_reader_goes_on_when_a_rebuild_removed_its_shards(inside: Path) -> None:
    with sst.open_index(inside) as index:
        expected = contents(index.search(like=("S0003", "wing")))
        store = Store.open(inside)
        with store.lock():
            store.begin_rebuild(settings={**WITHOUT, "side": 1}, blocks=BLOCKS)
            store.append(rows([a_region("S0003")]))
            store.commit(a_collection(NAMES), numbers={"wing": 7, "head": 2}, provenance={})
        assert not (inside / "shards" / "000000.parquet").exists()
        assert contents(index.search(like=("S0003", "wing"))) == expected


WITHOUT = {name: value for name, value in WHITENED.items() if name != "side"}


# ------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("how", ["missing", "short", "longer", "folder"])
def test_a_shard_that_is_not_whole_is_named_and_repaired(inside: Path, how: str) -> None:
    shard = inside / "shards" / "000001.parquet"
    content = shard.read_bytes()
    shard.unlink()
    if how == "folder":
        shard.mkdir()
    elif how != "missing":
        shard.write_bytes(content[:-1] if how == "short" else content + b"\0")
    with pytest.raises(IndexFolderError, match=r"000001\.parquet .*verify .* --repair"):
        sst.open_index(inside)
    assert "searches may fail" in str(verify_index(inside).damages[0])
    repair_index(inside)
    assert verify_index(inside).damages == []
    with sst.open_index(inside) as index:
        assert len(index.search(like=("S0003", "wing"), k=COUNT)) == 699


def test_an_index_that_lost_all_its_shards_says_so(inside: Path) -> None:
    for shard in (inside / "shards").glob("*.parquet"):
        shard.unlink()
    assert "build again" in "\n".join(repair_index(inside).lost)


def test_a_byte_that_changed_in_a_shard_is_found_by_verify(inside: Path) -> None:
    shard = inside / "shards" / "000000.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert [damage.file for damage in verify_index(inside).damages] == [shard]


BROKEN: dict[str, Any] = {
    "an offset behind the end": {"offset_steps": np.array([10**9, 0, 0])},
    "a negative offset": {"offset_steps": np.diff([-4, 0, 4], prepend=0)},
    "another shard": {"shard_steps": np.array([0, 0, 9], np.int32)},
    "no shards": {"numbers": np.zeros(0, np.int64), "sizes": np.zeros(0, np.int64)},
    "too few": {"id_steps": np.arange(2)},
    "floats": {"id_steps": np.arange(3.0)},
}


@pytest.mark.parametrize("how", BROKEN)
def test_places_that_cannot_be_are_refused(tmp_path: Path, how: str) -> None:
    places = Places(np.arange(3), np.zeros(3, np.int32), np.array([0, 36, 72]), {0: 108})
    write_places(tmp_path / "wing.places.npz", places)
    assert np.array_equal(read_places(tmp_path / "wing.places.npz", 9).offsets, [0, 36, 72])
    with np.load(tmp_path / "wing.places.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "wing.places.npz", **{**arrays, **BROKEN[how]})
    with pytest.raises(IndexFolderError, match=r"wing\.places\.npz"):
        read_places(tmp_path / "wing.places.npz", 9)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_places_are_read_in_both_forms(tmp_path: Path, count: int) -> None:
    ids = np.array([0, 3, 4, 5, 9])[:count]
    shards, offsets = np.array([7, 7, 2, 2, 7], np.int32)[:count], np.array([36, 0, 4, 40, 72])[:count]
    places = Places(ids, shards, offsets, dict.fromkeys(np.unique(shards).tolist(), 108))
    write_places(tmp_path / "new.npz", places)
    numbers = np.array(sorted(places.sizes), np.int64)
    sizes = np.full(len(numbers), 108, np.int64)
    np.savez(tmp_path / "old.npz", ids=ids, shards=shards, offsets=offsets, numbers=numbers, sizes=sizes)
    for name in ("new", "old"):
        found = read_places(tmp_path / f"{name}.npz", 9)
        for own, expected in ((found.ids, ids), (found.shards, shards), (found.offsets, offsets)):
            assert own.dtype == expected.dtype
            np.testing.assert_array_equal(own, expected)
        assert found.sizes == places.sizes


def test_a_shard_is_mapped_once(inside: Path) -> None:
    path = inside / "shards" / "000000.parquet"
    one = MappedShard.open(path, path.stat().st_size)
    assert MappedShard.open(path, path.stat().st_size) is one


def test_too_many_open_files_are_no_damage(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(shard_vectors.mmap, "mmap", refuse)
    path = inside / "shards" / "000000.parquet"
    with pytest.raises(IndexFolderError, match=r"000000\.parquet cannot be read .*ulimit -n") as raised:
        MappedShard.open(path, path.stat().st_size)
    assert "backup" not in str(raised.value)


# ------------------------------------------------------------------------------------------------ shards anew


def write_as_before(path: Path, table: Any, notes: Any = None) -> None:
    """Write a shard as version 0.5 did: vectors split by bytes, and compressed."""
    if notes:
        table = table.replace_schema_metadata({b"sst-retrieval notes": json.dumps(notes).encode()})
    texts = [field.name for field in COLUMNS if str(field.type) == "string"]
    encoding = {"vector.list.element": "BYTE_STREAM_SPLIT"}
    pq.write_table(
        table, path, compression="zstd", use_dictionary=texts, column_encoding=encoding, write_page_checksum=True
    )


def test_where_vectors_are_is_known_of_new_shards_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_GROUP", 3)
    regions = [a_region(f"p{number}", present=number != 2, vector=a_vector(number)) for number in range(8)]
    regions = [region if region.present else a_region(region.individual, present=False) for region in regions]
    shards.write_shard(tmp_path / "0.parquet", rows(regions))
    places = np.array([7, 0, 5, 3])
    expected = np.array([a_vector(int(place)) for place in places])
    found, offsets = read_vectors(tmp_path / "0.parquet", places, 9)
    assert np.array_equal(found, expected)
    assert offsets is not None
    content = (tmp_path / "0.parquet").read_bytes()
    assert b"".join(content[at : at + 36] for at in offsets) == expected.tobytes()
    assert has_plain_vectors(tmp_path / "0.parquet")
    monkeypatch.setattr(shards, "write_rows", write_as_before)
    shards.write_shard(tmp_path / "1.parquet", rows(regions))
    found, offsets = read_vectors(tmp_path / "1.parquet", places, 9)
    assert np.array_equal(found, expected)
    assert offsets is None
    assert not has_plain_vectors(tmp_path / "1.parquet")


FIRST = [f"p{number}" for number in range(9)]


def begin_as_before(path: Path) -> Store:
    """An index as version 0.5 made it: an older row is replaced, a photograph removed, one shows nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "write_rows", write_as_before)
        patch.setattr(shard_rewriting, "LEAST_ROWS", 10**6)
        store = Store.create(path, settings=WHITENED, blocks=BLOCKS)
        with store.lock():
            store.append(rows([a_region(name) for name in FIRST]), notes={"reference": "a", "older": 1})
            store.append(
                rows([a_region("p1", vector=a_vector(77))]), notes={"reference": "b"}, empty=[("p9", "c", "s")]
            )
            store.commit(a_collection([*FIRST[:-1], "p9"]), numbers={"wing": 7}, provenance={}, prune=True)
    return store


def finish(store: Store) -> None:
    with store.lock():
        store.append(rows([a_region("q1")]))
        store.commit(a_collection([*FIRST[:-1], "p9", "q1"]), numbers={"wing": 7}, provenance={}, refit=True)


def use_small_ones() -> None:
    """What holds for large collections holds for small ones here."""
    shard_rewriting.LEAST_ROWS, shard_rewriting.ROWS, codes.MIN_REGIONS = 1, 4, 1
    epochs.LEAST_REGIONS = 1


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (shard_rewriting, "LEAST_ROWS"),
        (shard_rewriting, "ROWS"),
        (codes, "MIN_REGIONS"),
        (epochs, "LEAST_REGIONS"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    use_small_ones()


def describe(path: Path) -> dict[str, Any]:
    store = Store.open(path)
    with sst.open_index(path) as index, store.lock():
        return {
            "vectors": [(each, index.region(each, "wing").vector.tolist()) for each in [*FIRST[:-1], "q1"]],  # type: ignore[union-attr]
            "masks": [index.mask(each, "wing").tolist() for each in [*FIRST[:-1], "q1"]],
            "hashes": store.indexed_hashes(),
            "removed": store.removed_photographs(),
            "notes": store.read_notes(),
            "photographs": [each.id for each in index.photographs()],
        }


@pytest.mark.usefixtures("small")
def test_shards_of_an_earlier_version_are_written_anew_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "index"
    store = begin_as_before(path)
    before = [each.name for each in store.paths.list_shards()]
    assert not any(map(has_plain_vectors, store.paths.list_shards()))
    finish(store)
    assert "were written anew as" in "\n".join(store.notes)
    after = store.paths.list_shards()
    assert not {each.name for each in after} & set(before)
    assert all(map(has_plain_vectors, after))
    assert read_notes(after[0]) == {"reference": "b", "older": 1}
    assert verify_index(path).damages == []
    found = describe(path)
    assert found["removed"] == {"p8"}
    assert found["hashes"].keys() == {*FIRST[:-1], "p9", "q1"}
    assert dict(found["vectors"])["p1"] == pytest.approx(a_vector(77).tolist(), abs=1e-6)
    kept = tmp_path / "kept"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_rewriting, "LEAST_ROWS", 10**6)
        finish(begin_as_before(kept))
    assert describe(kept) == found
    finish(store)  # Once is enough.
    assert store.notes == []


@pytest.mark.usefixtures("small")
def test_very_many_shards_become_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_rewriting, "MOST_SHARDS", 6)
    store = Store.create(tmp_path / "index", settings=WHITENED, blocks=BLOCKS)
    names = [f"p{number:02d}" for number in range(12)]
    with store.lock():
        for name in names:
            store.append(rows([a_region(name)]))
        store.commit(a_collection(names), numbers={"wing": 7}, provenance={})
    assert [count_photographs(path) for path in store.paths.list_shards()] == [4, 4, 4]
    assert verify_index(store.path).damages == []


@pytest.mark.usefixtures("small")
def test_an_addition_that_leaves_very_many_shards_is_a_full_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "MOST_CHANGED", 100)
    store = Store.create(tmp_path / "index", settings=WHITENED, blocks=BLOCKS)
    names = [f"p{number:02d}" for number in range(20)]
    with store.lock():
        store.append(rows([a_region(name) for name in names[:16]]))
        store.commit(a_collection(names[:16]), numbers={"wing": 7}, provenance={})
    for most, segments in ((1000, 1), (2, 0)):
        monkeypatch.setattr("sst_retrieval.index.store.MOST_OPEN", most)
        with store.lock():
            store.append(rows([a_region(names[16 + segments])]))
            store.commit(a_collection(names[:18]), numbers={"wing": 7}, provenance={})
        with sst.open_index(store.path) as index:
            assert index.info()["epoch"]["segments"] == segments


def test_small_indexes_stay_as_they_are(tmp_path: Path) -> None:
    store = begin_as_before(tmp_path / "index")
    finish(store)
    assert store.notes == []
    assert store.paths.list_shards()[0].name == "000000.parquet"


COLUMN: dict[str, tuple[pa.DataType, list[Any], list[Any]]] = {
    "texts": (pa.string(), ["a", None], ["a", "b"]),
    "numbers": (pa.float64(), [1.0, float("nan"), None], [1.0, 2.0, None]),
    "signs of zero": (pa.float64(), [0.0], [-0.0]),
    "lists": (pa.list_(pa.float32()), [[1.0, float("nan")], None, []], [[1.0], [float("nan")], []]),
    "maps": (pa.map_(pa.string(), pa.float64()), [[("a", float("nan"))], None], [[("b", float("nan"))], None]),
    "bytes": (pa.binary(), [b"a"], [b"b"]),
}


@pytest.mark.parametrize("kind", COLUMN)
def test_columns_are_compared_to_the_last_bit(kind: str) -> None:
    type_, one, other = COLUMN[kind]
    whole = pa.chunked_array([pa.array(one, type_)])
    parts = pa.chunked_array([pa.array(one[:1], type_), pa.array(one[1:], type_)])
    assert is_same(whole, parts)
    assert not is_same(whole, pa.chunked_array([pa.array(other, type_)]))
    assert not is_same(whole, pa.chunked_array([pa.array([*one, None], type_)]))


@pytest.mark.usefixtures("small")
def test_what_was_not_written_as_it_is_ends_the_build_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = begin_as_before(tmp_path / "index")
    before = [path.read_bytes() for path in store.paths.list_shards()]

    def lose_a_row(path: Path, table: Any, notes: Any = None) -> None:
        shards.write_rows(path, table.slice(1), notes)

    monkeypatch.setattr(shard_rewriting, "write_rows", lose_a_row)
    with pytest.raises(IndexFolderError, match="cannot be written as it is to be read"):
        finish(store)
    assert [path.read_bytes() for path in store.paths.list_shards()][: len(before)] == before
    assert verify_index(store.path).damages == []


def walk(index: Path, journal: Path) -> None:
    use_small_ones()
    store = Store.open(index) if Store.exists(index) else None
    if store is None or store.generation is None:
        shutil.rmtree(index, ignore_errors=True)
        store = begin_as_before(index)
        journal.write_text("1")
    if store.manifest.recipe.first_shard == 0:
        finish(store)
    journal.write_text("2")


@pytest.mark.skipif(sys.platform == "win32", reason="kills itself with a signal")
@pytest.mark.usefixtures("small")
def test_writing_anew_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    kill_everywhere(Path(__file__), tmp_path, 11)
    (tmp_path / "whole").mkdir()
    walk(tmp_path / "whole" / "index", tmp_path / "whole" / "journal")
    expected = describe(tmp_path / "whole" / "index")
    killed = [folder for folder in tmp_path.iterdir() if folder.name.isdecimal()]
    assert len(killed) > 5
    begun = 0
    for folder in killed:
        if (folder / "journal").exists():
            begun += 1
            assert verify_index(folder / "index").damages == []
            with sst.open_index(folder / "index") as opened:
                assert len(opened.search(like=("p1", "wing"))) >= 7
        walk(folder / "index", folder / "journal")
        assert describe(folder / "index") == expected
        assert verify_index(folder / "index").damages == []
    assert begun > 2
