from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from invented import BLOCKS, SETTINGS, a_collection, a_region, a_vector, built, rows
from killing import kill_everywhere

from sst_retrieval.errors import CollectionError, IndexFolderError, ModelMismatchError
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.epochs import open_vectors, read_epoch, read_removed_ids
from sst_retrieval.index.store import Store
from sst_retrieval.index.vectors import VectorIndex
from sst_retrieval.types import Skipped

NEW_SETTINGS = {**SETTINGS, "embedder": "invented 2"}


def commit(store: Store, ids: list[str], **how: object) -> int:
    return store.commit(a_collection(ids), **{"numbers": {"wing": 7}, "provenance": {}, **how})  # type: ignore[arg-type]


def content(store: Store, trait: str = "wing") -> dict[str, np.ndarray]:
    """Specimen -> vector, of the regions that readers see."""
    assert store.generation is not None
    paths = store.paths.generation(store.generation.number)
    vectors = open_vectors(paths, trait, BLOCKS, read_epoch(paths), read_removed_ids(paths))
    with Catalog(paths.catalog_file) as catalog:
        owners = catalog.owners(vectors.ids.tolist())
        return {owners[i][0]: v for i, v in zip(vectors.ids.tolist(), vectors.reconstruct(vectors.ids), strict=True)}


def test_what_is_appended_and_committed_comes_back(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a"), a_region("b"), a_region("c", present=False)])
    found = content(store)
    assert sorted(found) == ["a", "b"]
    np.testing.assert_array_equal(found["b"], a_region("b").vector)
    assert store.indexed_hashes() == {name: ("c", "s") for name in "abc"}
    assert Store.open(tmp_path / "index").generation == store.generation
    assert store.generation is not None
    assert store.generation.numbers == {"wing": 7}
    assert store.generation.provenance == {"program": "test"}


def test_committing_twice_adds_nothing(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a"), a_region("b")])
    before = content(store)
    with store.lock():
        assert commit(store, ["a", "b"]) == 2
    after = content(store)
    assert sorted(after) == sorted(before)
    assert all((after[name] == before[name]).all() for name in before)


def test_the_newest_rows_of_a_specimen_count_and_its_older_traits_go(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a"), a_region("a", "spot"), a_region("b")])
    with store.lock():
        store.append(rows([a_region("a", vector=a_vector(99))], content="new"))
        commit(store, ["a", "b"])
    np.testing.assert_array_equal(content(store)["a"], a_vector(99))
    assert store.indexed_hashes() == {"a": ("new", "s"), "b": ("c", "s")}
    with Catalog(store.paths.generation(2).catalog_file) as catalog:
        assert catalog.region("a", "spot") is None
        assert "spot" not in catalog.counts()


def test_more_than_ten_shards_are_read_in_order(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    with store.lock():
        for number in range(12):
            store.append(rows([a_region("a", vector=a_vector(number))]))
        commit(store, ["a"])
    np.testing.assert_array_equal(content(store)["a"], a_vector(11))


def test_a_specimen_that_left_the_table_stays_with_its_old_row_until_pruned(tmp_path: Path) -> None:
    regions = [a_region("a"), a_region("b")]
    store = built(tmp_path / "index", regions, a_collection(["a", "b"], sex=["female", "male"]))
    with store.lock():
        for _ in range(3):
            store.commit(a_collection(["a"], weight=["3"]), numbers={"wing": 7}, provenance={})
            assert store.generation is not None
            with Catalog(store.paths.generation(store.generation.number).catalog_file) as catalog:
                kept = catalog.individual("b")
                assert kept is not None
                assert kept.metadata == {"catalogNumber": "b", "weight": None, "sex": "male"}
                assert str(kept.image) == "/photographs/1.png"
        assert sorted(content(store)) == ["a", "b"]
        commit(store, ["a"], prune=True)
        assert sorted(content(store)) == ["a"]
        assert set(store.indexed_hashes()) == {"a"}
        commit(store, ["a", "b"])
        assert sorted(content(store)) == ["a"]
        store.append(rows([a_region("b")]))
        commit(store, ["a", "b"])
        assert sorted(content(store)) == ["a", "b"]


def test_an_old_row_is_brought_to_the_types_of_today(tmp_path: Path) -> None:
    old = a_collection(["a", "b"], {"mass": "VARCHAR"}, mass=["heavy", "12"])
    store = built(tmp_path / "index", [a_region("a"), a_region("b")], old)
    with store.lock():
        store.commit(a_collection(["a"], {"mass": "BIGINT"}, mass=[5]), numbers={}, provenance={})
    with Catalog(store.paths.generation(2).catalog_file) as catalog:
        assert catalog.columns == {"catalogNumber": "VARCHAR", "mass": "BIGINT"}
        assert [row.metadata["mass"] for row in catalog.individuals()] == [5, 12]


def test_skipped_specimens_are_recorded_and_an_old_region_of_theirs_stays_until_pruned(tmp_path: Path) -> None:
    skipped = [Skipped("b", "image", "b.png is cut off"), Skipped("c", "support", "no support for erato")]
    store = built(tmp_path / "index", [a_region("a"), a_region("b")], a_collection(["a", "b", "c"]), skipped=skipped)
    with Catalog(store.paths.generation(1).catalog_file) as catalog:
        assert catalog.skipped() == skipped
        assert catalog.count_nouns()["photographs"] == 3
    assert sorted(content(store)) == ["a", "b"]
    with store.lock():
        commit(store, ["a", "b", "c"], skipped=skipped, prune=True)
    assert sorted(content(store)) == ["a"]


def test_an_index_of_nothing_but_skipped_specimens_is_whole(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "index", settings=SETTINGS, blocks=BLOCKS)
    with store.lock():
        commit(store, ["a"], skipped=[Skipped("a", "image", "gone")])
    with Catalog(store.paths.generation(1).catalog_file) as catalog:
        assert catalog.counts() == {}


def test_regions_of_specimens_no_table_knows_are_left_out(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a"), a_region("stray")], a_collection(["a"]))
    assert sorted(content(store)) == ["a"]


def test_two_generations_are_kept(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    with store.lock():
        for _ in range(3):
            commit(store, ["a"])
    assert sorted(path.name for path in (tmp_path / "index" / "generations").iterdir()) == ["0003", "0004"]
    assert sorted(path.name for path in (tmp_path / "index" / "specimens").iterdir()) == [
        "0003.parquet",
        "0004.parquet",
    ]


def test_traits_with_odd_names_get_files_of_their_own(tmp_path: Path) -> None:
    traits = [
        "spot",
        "Spot",
        "../spot",
        "spot/left",
        "Flügel [mm]",
        "s" * 300,
        'o\'k; DROP "x"',
        ".",
        "a" * 40 + "é" * 40,
    ]
    store = built(tmp_path / "index", [a_region("a", trait) for trait in traits], numbers={"spot": 3})
    for trait in traits:
        np.testing.assert_array_equal(content(store, trait)["a"], a_region("a", trait).vector)
    names = {store.paths.generation(1).vector_file(trait).name.casefold() for trait in traits}
    assert len(names) == len(traits)
    assert store.generation is not None
    assert store.generation.numbers["spot"] == 3
    assert sorted(store.generation.numbers.values()) == list(range(3, 3 + len(traits)))


def test_a_trait_that_is_no_longer_drawn_keeps_its_number(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a", "wing"), a_region("a", "leg")], numbers={"wing": 7, "leg": 2})
    with store.lock():
        assert commit(store, ["a"], numbers={"wing": 7, "head": 1}) == 2
        assert store.generation is not None
        assert store.generation.numbers == {"wing": 7, "head": 1, "leg": 2}
        commit(store, ["a"], numbers={"wing": 2})
        assert store.generation.numbers == {"wing": 2, "leg": 3}


@pytest.mark.parametrize(
    ("vector", "complaint"),
    [
        (np.ones(9), "length 2"),
        (np.full(9, np.nan), "length nan"),
        (a_vector(0)[:5], r"shape \(5,\)"),
        (a_vector(0) * np.float32(1.001), "pattern block"),
    ],
)
def test_vectors_that_would_spoil_a_search_are_refused(tmp_path: Path, vector: np.ndarray, complaint: str) -> None:
    store = Store.create(tmp_path / "index", settings=SETTINGS, blocks=BLOCKS)
    with store.lock(), pytest.raises(ValueError, match=complaint):
        store.append(rows([a_region("a", vector=vector)]))
    with store.lock(), pytest.raises(ValueError, match="given twice"):
        store.append(rows([a_region("a"), a_region("a")]))
    assert store.indexed_hashes() == {}


def test_a_folder_with_other_things_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(IndexFolderError, match="holds something already"):
        Store.create(tmp_path, settings={}, blocks=BLOCKS)
    with pytest.raises(IndexFolderError, match=r"not an index.*sst-retrieval build"):
        Store.open(tmp_path)
    with pytest.raises(IndexFolderError, match="not an index and does not exist"):
        Store.open(tmp_path / "nowhere")
    with pytest.raises(IndexFolderError, match="not an index but a file"):
        Store.open(tmp_path / "thesis.tex")
    assert not Store.exists(tmp_path)


def test_an_index_in_or_around_the_named_folder_is_pointed_to(tmp_path: Path) -> None:
    index = tmp_path / "beetles"
    Store.create(index, settings={}, blocks=BLOCKS)
    (index / "inside").mkdir()
    with pytest.raises(IndexFolderError, match=f"not an index, but holds {re.escape(str(index))}; name that"):
        Store.open(tmp_path)
    with pytest.raises(IndexFolderError, match=f"lies in one; name {re.escape(str(index))}$"):
        Store.open(index / "inside")


def test_a_question_mark_in_the_path_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(IndexFolderError, match=r"rename the folder with the \?"):
        Store.create(tmp_path / "what?" / "index", settings={}, blocks=BLOCKS)
    assert not list(tmp_path.iterdir())
    Store.create(tmp_path / "index", settings={}, blocks=BLOCKS)
    (tmp_path / "index").rename(tmp_path / "index?")
    with pytest.raises(IndexFolderError, match=r"rename the folder with the \?"):
        Store.open(tmp_path / "index?")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "not written by this program"),
        ('{"format": "other"}', "not written by this program"),
        ('{"format": "sst-retrieval index", "schema": 99}', "newer version"),
    ],
)
def test_a_foreign_or_newer_manifest_is_explained(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(IndexFolderError, match=complaint):
        Store.open(tmp_path)


def test_a_second_build_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    other = Store.open(tmp_path / "index")
    with store.lock():
        with pytest.raises(IndexFolderError, match="another process"), other.lock():
            pass
        assert sorted(content(other)) == ["a"]
    with other.lock():
        pass


def test_changing_an_index_without_the_lock_is_a_mistake(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    with pytest.raises(RuntimeError, match="lock"):
        store.append([])


def test_the_lock_shows_what_another_build_committed(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    late = Store.open(tmp_path / "index")
    with store.lock():
        commit(store, ["a"])
    with late.lock():
        assert commit(late, ["a"]) == 3


def test_another_model_is_refused_with_each_difference(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    with store.lock():
        store.require_same_model(dict(SETTINGS))
        with pytest.raises(ModelMismatchError) as caught:
            store.require_same_model({"propagator": "invented 1", "embedder": "invented 2", "pose": True})
    text = str(caught.value)
    assert '"invented 1" in the index, "invented 2" now' in text
    assert "side: 64 in the index, not set now" in text
    assert "pose: not set in the index, true now" in text
    assert "propagator" not in text
    assert "--rebuild" in text
    assert store.indexed_hashes() == {"a": ("c", "s")}


def test_a_rebuild_keeps_the_old_state_readable_until_it_is_committed(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a"), a_region("b")])
    blocks = {"pattern": 9}
    vector = np.eye(9, dtype=np.float32)[0]
    with store.lock():
        store.begin_rebuild(settings=NEW_SETTINGS, blocks=blocks)
        assert store.indexed_hashes() == {}
        store.append(rows([a_region("a", vector=vector)]))
    again = Store.open(tmp_path / "index")
    assert sorted(content(again)) == ["a", "b"]
    with again.lock():
        assert sorted(content(again)) == ["a", "b"]
        again.require_same_model(NEW_SETTINGS)
        again.begin_rebuild(settings=NEW_SETTINGS, blocks=blocks)
        assert set(again.indexed_hashes()) == {"a"}
        commit(again, ["a", "b"])
    assert again.generation is not None
    assert again.generation.recipe.blocks == blocks
    vectors = VectorIndex(again.paths.generation(2).vector_file("wing"), blocks)
    np.testing.assert_array_equal(vectors.reconstruct(vectors.ids), vector[None])
    assert [path.name for path in (tmp_path / "index" / "shards").glob("*.parquet")] == ["000001.parquet"]


def test_a_rebuild_with_the_same_settings_also_starts_anew(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    with store.lock():
        store.begin_rebuild(settings=SETTINGS, blocks=BLOCKS)
        assert store.indexed_hashes() == {}
        store.require_same_model(SETTINGS)
        assert store.indexed_hashes() == {}
        commit(store, ["a"])
    with Catalog(store.paths.generation(2).catalog_file) as catalog:
        assert catalog.counts() == {}


def test_a_rebuild_can_be_given_up(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    with store.lock():
        store.begin_rebuild(settings=NEW_SETTINGS, blocks=BLOCKS)
        store.append(rows([a_region("b")]))
    with store.lock():
        store.begin_rebuild(settings={"third": 3}, blocks=BLOCKS)
        assert store.indexed_hashes() == {}
        store.append(rows([a_region("c")]))
    with store.lock():
        store.require_same_model(SETTINGS)
        assert set(store.indexed_hashes()) == {"a"}
        commit(store, ["a", "b", "c"])
    assert sorted(content(store)) == ["a"]


def test_what_a_killed_build_left_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "index"
    store = built(path, [a_region("a")])
    (path / "crops" / "wing").mkdir(parents=True)
    (path / "thumbnails").mkdir()
    before = sorted(path.rglob("*"))
    for name in (
        *("shards/.000001.parquet.tmp", "specimens/0002.parquet", "specimens/.fresh.tmp", ".manifest.json.tmp"),
        *("thumbnails/.8d.tmp", "crops/wing/.8d.tmp", "pictures/.8d.tmp", "pictures/loose/.8d.tmp"),
    ):
        (path / name).write_bytes(b"half")
    for name in ("generations/0002/vectors", "generations/.0002.tmp", ".spill"):
        (path / name).mkdir(parents=True)
        (path / name / "half").write_bytes(b"half")
    (path / "generations" / "notes.txt").write_text("not ours, left alone")
    assert sorted(content(store)) == ["a"]
    with store.lock():
        assert sorted(path.rglob("*")) == sorted([*before, path / "generations" / "notes.txt"])
        commit(store, ["a"])


def test_copies_that_somebody_made_are_neither_read_nor_removed(tmp_path: Path) -> None:
    path = tmp_path / "index"
    store = built(path, [a_region("a")])
    copies = [
        *("shards/000000 (1).parquet", "shards/0-old.parquet", "specimens/1 copy.parquet"),
        *("generations/0001 copy", "generations/0001.bak", "generations/0"),
    ]
    for name in copies:
        (path / name).write_bytes(b"a copy")
    with store.lock():
        for _ in range(3):
            commit(store, ["a"])
    assert sorted(content(store)) == ["a"]
    assert all((path / name).read_bytes() == b"a copy" for name in copies)


def test_two_that_begin_an_index_at_once_do_not_write_over_each_other(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(IndexFolderError, match="another process"):
        Store.create(tmp_path, settings=SETTINGS, blocks=BLOCKS)
    assert not Store.exists(tmp_path)


def test_the_size_can_be_asked_while_files_come_and_go(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    least, done = store.paths.total_bytes(), threading.Event()
    folder = tmp_path / "index" / "pictures"

    def coming_and_going() -> None:
        while not done.is_set():
            for number in range(50):
                (folder / str(number)).mkdir()
                (folder / str(number) / "file").write_bytes(b"x")
            for number in range(50):
                shutil.rmtree(folder / str(number))

    thread = threading.Thread(target=coming_and_going)
    thread.start()
    try:
        assert all(store.paths.total_bytes() >= least for _ in range(150))
    finally:
        done.set()
        thread.join()


def test_the_shards_and_the_table_are_enough_to_make_the_rest_again(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a"), a_region("b")], a_collection(["a", "b"], sex=["f", "m"]))
    shutil.rmtree(tmp_path / "index" / "generations")
    shutil.rmtree(tmp_path / "index" / "pictures")
    with store.lock():
        store.commit(a_collection(["a"], sex=["f"]), numbers={"wing": 7}, provenance={})
    assert sorted(content(store)) == ["a", "b"]


def test_columns_that_only_differ_in_capitals_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="'Sex' and 'sex'"):
        built(tmp_path / "index", [a_region("a")], a_collection(["a"], Sex=["f"], sex=["f"]))
    with pytest.raises(CollectionError, match="sst:"):
        built(tmp_path / "other", [a_region("a")], a_collection(["a"], **{"sst:image": ["f"]}))


def test_shards_are_plain_parquet_with_one_row_a_region(tmp_path: Path) -> None:
    built(tmp_path / "index", [a_region("a"), a_region("b", present=False)])
    first, second = pq.read_table(tmp_path / "index" / "shards" / "000000.parquet").to_pylist()
    assert first["vector"] == a_vector_of("a")
    assert (second["present"], second["vector"], second["measurements"]) == (False, None, [])
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text())
    assert manifest["schema"] == 5
    assert manifest["generation"]["number"] == 1


def a_vector_of(specimen: str) -> list[float]:
    vector = a_region(specimen).vector
    assert vector is not None
    return vector.tolist()


def test_a_broken_shard_is_named(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    (tmp_path / "index" / "shards" / "000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(IndexFolderError, match="000000"), store.lock():  # Each lock checks what it reads once.
        store.indexed_hashes()


KILL_AT_EVERY = 23  # 1 tries each moment, and takes minutes


def walk(path: Path, journal: Path) -> None:
    """Build, add, prune and rebuild; runs in a process of its own that is killed, and again until it ends."""
    store = Store.open(path) if Store.exists(path) else Store.create(path, settings=SETTINGS, blocks=BLOCKS)
    done = int(journal.read_text()) if journal.exists() else 0
    with store.lock():
        if done < 1:
            store.append(rows([a_region("a"), a_region("b")]))
            journal.write_text("1")
        if done < 2:
            assert set(store.indexed_hashes()) == {"a", "b"}
            commit(store, ["a", "b"])
            journal.write_text("2")
        if done < 3:
            store.append(rows([a_region("c"), a_region("a", vector=a_vector(99))]))
            commit(store, ["a", "c"], prune=True)
            journal.write_text("3")
        if done < 4:
            store.begin_rebuild(settings=NEW_SETTINGS, blocks=BLOCKS)
            store.append(rows([a_region("d")]))
            journal.write_text("4")
        if done < 5:
            assert set(store.indexed_hashes()) == {"d"}
            commit(store, ["a", "c", "d"])
            journal.write_text("5")


@pytest.mark.skipif(sys.platform == "win32", reason="kills itself with a signal")
def test_a_build_killed_at_any_moment_leaves_a_usable_index_and_goes_on(tmp_path: Path) -> None:
    kill_everywhere(Path(__file__), tmp_path, KILL_AT_EVERY)
    states = {None: None, 1: ["a", "b"], 2: ["a", "c"], 3: ["d"]}
    killed = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    assert len(killed) > 3
    for folder in killed:
        index, journal = folder / "index", folder / "journal"
        if Store.exists(index):
            store = Store.open(index)
            number = None if store.generation is None else store.generation.number
            assert states[number] == (None if number is None else sorted(content(store)))
            promised = int(journal.read_text()) if journal.exists() else 0
            assert (number or 0) >= [0, 0, 1, 2, 2, 3][promised]
        walk(index, journal)
        assert sorted(content(Store.open(index))) == ["d"]
        assert [path.name for path in index.rglob(".*")] == [".lock"]
        assert len(list((index / "generations").iterdir())) == 2
