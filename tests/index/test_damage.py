"""Damaged files: whatever byte of whatever file changes is noticed, named, and repaired where it can be."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from invented import SETTINGS, a_collection, a_region, built, rows, without_checksums

from sst_retrieval.errors import IndexFolderError, QueryError
from sst_retrieval.index import manifest as manifests
from sst_retrieval.index.loose_pictures import pack_pictures
from sst_retrieval.index.picture_pack import list_pictures, read_picture
from sst_retrieval.index.store import Store
from sst_retrieval.index.thumbnails import write_thumbnails
from sst_retrieval.index.verification import repair_index, verify_index
from sst_retrieval.search.index import open_index

IDS = [f"s{number:02d}" for number in range(12)]
MASK = np.zeros((6, 9), dtype=bool)
MASK[2:4, 3:6] = True


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with three shards, one of them not committed yet, reviews of before and after the commit, pictures."""
    path = tmp_path_factory.mktemp("whole") / "index"
    store = built(
        path,
        [a_region(name, trait) for name in IDS[:6] for trait in ("wing", "spot")],
        a_collection(IDS, sex=["f", "m"] * 6),
        settings={**SETTINGS, "whitening": {"pattern": 1.0}},
    )
    with open_index(path) as index:
        index.review("s00", "wing", "accept", reviewer="Ada")
    with store.lock():
        store.append(rows([a_region(name, trait) for name in IDS[6:10] for trait in ("wing", "spot")]))
        store.commit(a_collection(IDS, sex=["f", "m"] * 6), numbers={"wing": 7}, provenance={"program": "test"})
        store.append(rows([a_region(name) for name in IDS[10:]]))
    with open_index(path) as index:
        index.review("s01", "wing", "reject", reviewer="Ada")
        index.review("s02", "spot", "redraw", reviewer="Bo", mask=MASK, comment="drawn anew")
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    for name in IDS[:10]:
        mask = np.zeros((60, 90), dtype=bool)
        mask[20:40, 30:60] = True
        write_thumbnails(store.paths, name, image, {"wing": mask, "spot": mask})
    pack_pictures(store.paths)
    return path


@pytest.fixture
def index(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "index"))


def answers(path: Path) -> list[tuple[str, float]]:
    with open_index(path) as opened:
        return [(hit.individual, hit.similarity) for hit in opened.search(like=("s00", "wing"), k=20)]


def current_files(path: Path) -> list[Path]:
    """All files that the present state of the index needs."""
    generation = Store.open(path).generation
    assert generation is not None
    number = f"{generation.number:04d}"
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file()
        and file.stat().st_size
        and not file.name.startswith(".")
        and ("generations" not in file.parts or number in file.parts)
        and ("specimens" not in file.parts or file.stem == number)
    )


def kind(path: Path, index: Path) -> str:
    part = path.relative_to(index).parts[0]
    return part if path.suffix not in (".faiss", ".npz", ".jsonl") else part + path.suffix


def small_pictures(index: Path) -> dict[str, list[bytes | None]]:
    pack = index / "pictures" / "pictures.sqlite"
    return {name: [read_picture(pack, name, each) for each in sorted(own)] for name, own in list_pictures(pack)}


def test_an_index_without_damage_has_none(index: Path) -> None:
    found = verify_index(index)
    assert (found.damages, found.notes) == ([], [])
    assert found.files == len(current_files(index))


def test_every_changed_byte_is_noticed(index: Path) -> None:
    """500 bytes, each changed once: of each kind of file as many, at both ends and anywhere."""
    rng = np.random.default_rng(7)
    kinds: dict[str, list[Path]] = {}
    for file in current_files(index):
        kinds.setdefault(kind(file, index), []).append(file)
    assert len(kinds) == 11, sorted(kinds)
    before = small_pictures(index)
    samples = [(name, files, turn) for name, files in sorted(kinds.items()) for turn in range(-(-500 // len(kinds)))]
    unnoticed, raw = [], []
    for name, files, turn in samples:
        file = files[int(rng.integers(len(files)))]
        data = file.read_bytes()
        place = [0, len(data) - 1, int(rng.integers(len(data)))][min(turn, 2)]
        # One bit, as a memory fault has it, or another byte.
        change = 1 << int(rng.integers(8)) if turn % 2 else int(rng.integers(1, 256))
        file.write_bytes(data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])
        try:
            found = verify_index(index)
            # Space of SQLite that holds nothing may change.
            if file not in {damage.file for damage in found.damages} and not (
                name == "pictures" and small_pictures(index) == before
            ):
                unnoticed.append((name, file, place, data[place], change))
        except IndexFolderError as error:
            if file.name not in str(error):
                unnoticed.append((name, file, place, data[place], change))
        try:  # Nothing but this program's own error, or an answer, for a reader and for a build.
            if turn % 10 == 0:
                answers(index)
        except (IndexFolderError, QueryError):
            pass
        except Exception as error:
            raw.append((name, place, repr(error)))
        file.write_bytes(data)
    assert (unnoticed, raw) == ([], [])


def damaged(path: Path, place: int = -40) -> bytes:
    """Change one byte of a file; returns its content before."""
    data = path.read_bytes()
    changed = bytearray(data)
    changed[place] ^= 4
    path.write_bytes(bytes(changed))
    return data


@pytest.mark.parametrize("sealed", [True, False])
def test_a_changed_letter_in_the_settings_removes_no_shard(tmp_path: Path, *, sealed: bool) -> None:
    store = built(tmp_path / "index", [a_region("a"), a_region("b")])
    if not sealed:
        without_checksums(tmp_path / "index")
    manifest = tmp_path / "index" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("invented 1", "invented 3", 1))
    with pytest.raises(IndexFolderError, match=r"manifest\.json.*--repair"):
        store = Store.open(tmp_path / "index")
    with pytest.raises(IndexFolderError, match=r"manifest\.json"), store.lock():
        store.require_same_model(SETTINGS)
    assert [path.name for path in store.paths.list_shards()] == ["000000.parquet"]
    if sealed:
        repair_index(tmp_path / "index")
        with store.lock():
            store.require_same_model(SETTINGS)
            assert set(store.indexed_hashes()) == {"a", "b"}


@pytest.mark.parametrize(("entry", "value"), [("first_shard", 1), ("number", 7)])
def test_an_old_manifest_that_is_not_certain_removes_nothing(tmp_path: Path, entry: str, value: int) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    fields = without_checksums(tmp_path / "index")
    before = {path.name: path.read_bytes() for path in (tmp_path / "index").rglob("*.parquet")}
    if entry == "number":
        fields["generation"]["number"] = value
    else:
        fields["recipe"]["first_shard"] = value
    (tmp_path / "index" / "manifest.json").write_text(json.dumps(fields))
    other = Store.open(tmp_path / "index")
    if entry == "number":
        with pytest.raises(IndexFolderError, match=r"manifest\.json says that generation 7"), other.lock():
            pass
    else:
        with other.lock():
            other.require_same_model(SETTINGS)
            other.append(rows([a_region("b")]))
            other.commit(a_collection(["a", "b"]), numbers={}, provenance={})
    kept = {path.read_bytes() for path in (tmp_path / "index").rglob("*parquet*")}
    assert set(before.values()) <= kept
    assert store.paths.root.is_dir()


def test_a_damaged_shard_stops_a_build_in_one_sentence_and_is_set_aside(index: Path) -> None:
    before = answers(index)
    shard = index / "shards" / "000000.parquet"
    data = damaged(shard, 100)
    store = Store.open(index)
    with (
        pytest.raises(IndexFolderError, match=r"000000\.parquet has changed.*6 specimens are lost.*--repair"),
        store.lock(),
    ):
        store.indexed_hashes()
    assert answers(index) == before
    shard.unlink()
    with pytest.raises(IndexFolderError, match=r"000000\.parquet is missing.*6 specimens"), store.lock():
        store.indexed_hashes()
    shard.write_bytes(data[:-20])
    repair = repair_index(index)
    assert any("000000.parquet" in line for line in repair.lost)
    assert (index / "damaged" / "shards-000000.parquet").read_bytes() == data[:-20]
    assert verify_index(index).damages == []
    assert answers(index) == before
    with store.lock():
        assert set(store.indexed_hashes()) == set(IDS[6:])
        store.append(rows([a_region(name, trait) for name in IDS[:6] for trait in ("wing", "spot")]))
        store.commit(a_collection(IDS), numbers={"wing": 7}, provenance={})
    assert len(answers(index)) >= len(before)


def test_a_shard_that_a_killed_build_wrote_without_its_checksum_is_read_wholly(index: Path) -> None:
    record = index / "shards" / "checksums.jsonl"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[:-1]) + lines[-1][:30])
    store = Store.open(index)
    with store.lock():
        assert set(store.indexed_hashes()) == set(IDS)
    assert record.read_text() == "".join(lines)
    record.write_text("".join(lines[:-1]))
    shard = index / "shards" / "000002.parquet"
    data = shard.read_bytes()
    content = pq.read_table(shard)
    noticed = 0
    for place in range(4, 1004, 50):  # The pages; those of a file are most of it.
        damaged(shard, place)
        try:
            with store.lock():
                store.indexed_hashes()
            assert pq.read_table(shard).equals(content)  # A byte of a page's head, without a meaning here.
        except IndexFolderError:
            noticed += 1
        record.write_text("".join(lines[:-1]))
        shard.write_bytes(data)
    assert noticed > 15


def test_a_lost_line_of_a_committed_shard_is_written_again_by_a_repair_only(index: Path) -> None:
    record = index / "shards" / "checksums.jsonl"
    text = record.read_text()
    record.write_text("".join(text.splitlines(keepends=True)[1:]))
    store = Store.open(index)
    with pytest.raises(IndexFolderError, match=r"checksums\.jsonl.*000000\.parquet.*--repair"), store.lock():
        store.indexed_hashes()
    repair_index(index)
    assert record.read_text() == text
    with store.lock():
        assert set(store.indexed_hashes()) == set(IDS)


@pytest.mark.parametrize("name", ["catalog.duckdb", "vectors/wing.faiss", "vectors/spot.whitening.npz"])
@pytest.mark.parametrize("how", ["changed", "missing", "pipe", "folder"])
def test_a_generation_is_made_again_from_its_shards(index: Path, name: str, how: str) -> None:
    before = answers(index)
    file = index / "generations" / "0002" / name
    if how == "changed":
        damaged(file)
    else:
        file.unlink()
        {"missing": lambda _: None, "pipe": os.mkfifo, "folder": os.mkdir}[how](file)
    with pytest.raises(IndexFolderError, match=rf"{file.name}.*nothing is lost.*--repair"):
        open_index(index)
    repair = repair_index(index)
    assert "generation 3 was made from the shards" in "\n".join(repair.done)
    assert verify_index(index).damages == []
    assert answers(index) == before
    with Store.open(index).lock():
        pass
    assert len(list((index / "generations").iterdir())) <= 2


def test_the_specimen_table_comes_back_from_the_catalog(index: Path) -> None:
    damaged(index / "specimens" / "0002.parquet")
    store = Store.open(index)
    with store.lock(), pytest.raises(IndexFolderError, match=r"specimens/0002\.parquet.*lost.*--repair"):
        store.commit(a_collection(IDS[1:]), numbers={}, provenance={})
    repair_index(index)
    assert verify_index(index).damages == []
    with store.lock():
        store.commit(a_collection(IDS[1:]), numbers={}, provenance={})
    with open_index(index) as opened:
        assert opened.individual("s00").metadata["catalogNumber"] == "s00"
    damaged(index / "specimens" / "0003.parquet")
    with store.lock():  # Nobody has left the table: nothing of it is needed.
        store.commit(a_collection(IDS), numbers={}, provenance={})
        assert "0003.parquet" in "\n".join(store.notes)


def test_damaged_reviews_are_set_aside_and_the_others_kept(index: Path) -> None:
    record = index / "reviews" / "decisions.jsonl"
    text = record.read_text()
    record.write_text(text.replace('"reviewer": "Ada"', '"reviewer": "Ida"', 1))
    with pytest.raises(IndexFolderError, match=r"decisions\.jsonl, line 1.*checksum.*--repair"):
        open_index(index)
    repair = repair_index(index)
    assert "1 of 3 reviews" in "\n".join(repair.lost)
    with open_index(index) as opened:
        assert [(review.individual, review.decision) for review in opened.reviews()] == [
            ("s02", "redraw"),
            ("s01", "reject"),
        ]
    assert verify_index(index).damages == []
    assert '"Ida"' in (index / "damaged" / "reviews-decisions.jsonl").read_text()


def test_a_review_that_was_cut_short_is_no_damage_and_lost_ones_are(index: Path) -> None:
    record = index / "reviews" / "decisions.jsonl"
    text = record.read_text()
    record.write_text(text[:-30])
    with open_index(index) as opened:
        assert len(opened.reviews()) == 2
    assert verify_index(index).damages == []
    record.unlink()  # The first one was there at the last commit.
    with pytest.raises(IndexFolderError, match="does not begin as it did"):
        open_index(index)
    assert [damage.file for damage in verify_index(index).damages] == [record]
    record.write_text(text[:-1] + "x")
    with pytest.raises(IndexFolderError, match=r"decisions\.jsonl"):
        open_index(index)


def test_reviews_without_checksums_of_their_own_stay_readable(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a"), a_region("b")])
    with open_index(tmp_path / "index") as opened:
        review = opened.review("a", "wing", "accept", reviewer="Ada")
    record = store.paths.decisions_file
    record.write_text(review.to_json(sealed=False) + "\n")
    with open_index(tmp_path / "index") as opened:
        assert [each.reviewer for each in opened.reviews()] == ["Ada"]
    with store.lock():
        store.commit(a_collection(["a", "b"]), numbers={}, provenance={})
    record.write_text(record.read_text().replace("Ada", "Ida"))
    with pytest.raises(IndexFolderError, match="does not begin as it did"):
        open_index(tmp_path / "index")


def test_a_damaged_manifest_without_a_copy_is_left_as_it_is_and_called_damaged(index: Path) -> None:
    """An index of an older version has no copy: the folder is an index all the same, and nothing of it is moved."""
    manifest = index / "manifest.json"
    (index / "manifest.backup.json").unlink()
    text = manifest.read_text(encoding="utf-8").replace('"settings"', '"setting"', 1)
    manifest.write_text(text, encoding="utf-8")
    (damage, *_) = verify_index(index).damages
    assert (damage.file, damage.fault) == (manifest, "is damaged and has no copy")
    with pytest.raises(IndexFolderError, match=r"cannot be repaired, since no copy of it can be read"):
        repair_index(index)
    assert manifest.read_text(encoding="utf-8") == text


def test_a_damaged_manifest_is_taken_from_its_copy(index: Path) -> None:
    before, text = answers(index), (index / "manifest.json").read_text()
    for change in (text[:500], text.replace("wing", "wine"), "", None):
        (index / "manifest.json").unlink()
        if change is not None:
            (index / "manifest.json").write_text(change)
        with pytest.raises(IndexFolderError, match=r"manifest\.json.*--repair"):
            open_index(index)
        repair_index(index)
        assert (index / "manifest.json").read_text() == text
        assert answers(index) == before
    damaged(index / "manifest.backup.json")
    assert [damage.file.name for damage in verify_index(index).damages] == ["manifest.backup.json"]
    assert answers(index) == before
    with Store.open(index).lock():
        pass
    assert verify_index(index).damages == []
    damaged(index / "manifest.backup.json")
    damaged(index / "manifest.json")
    with pytest.raises(IndexFolderError, match="manifest"):
        repair_index(index)


def test_a_damaged_picture_is_not_shown_and_removed_by_a_repair(index: Path) -> None:
    pack = index / "pictures" / "pictures.sqlite"
    with open_index(index) as opened:
        before = {name: opened.thumbnail(name) for name in IDS[:10]}
        assert before["s00"] is not None
        damaged(pack, pack.read_bytes().index(b's00[["') + 200)
        assert opened.thumbnail("s00") is None
        assert opened.thumbnail("s01") == before["s01"]
        (found,) = verify_index(index).damages
        assert "pictures of s00" in str(found)
        repair_index(index)
        assert opened.thumbnail("s00") is None
        assert {name: opened.thumbnail(name) for name in IDS[1:10]} == {name: before[name] for name in IDS[1:10]}
    after = verify_index(index)
    assert after.damages == []
    assert "1 specimens lack" in after.notes[0]


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


CHANGES: dict[str, Callable[[dict], object]] = {
    "a list for the settings": lambda m: m["recipe"].update(settings=[1]),
    "text for a number": lambda m: m["generation"].update(number="1"),
    "a truth value for a number": lambda m: m["generation"].update(number=True),
    "a fraction for a number": lambda m: m["generation"].update(number=1.5),
    "a huge number": lambda m: m["generation"].update(number=10**30),
    "a negative shard": lambda m: m["recipe"].update(first_shard=-1),
    "a later recipe for the generation": lambda m: m["generation"]["recipe"].update(first_shard=5),
    "text for a block": lambda m: m["recipe"]["blocks"].update(pattern="4"),
    "a list for the blocks": lambda m: m["generation"]["recipe"].update(blocks=["pattern"]),
    "a list for the numbers": lambda m: m["generation"].update(numbers=[7]),
    "text for a label number": lambda m: m["generation"].update(numbers={"wing": "seven"}),
    "no label number": lambda m: m["generation"].update(numbers={}),
    "text for the provenance": lambda m: m["generation"].update(provenance="test"),
    "a number for synonyms": lambda m: m["generation"]["provenance"].update(synonyms={"wing": 3}),
    "text for supports": lambda m: m["generation"]["provenance"].update(supports="abc"),
    "a list for the generation": lambda m: m.update(generation=[]),
    "text for the schema": lambda m: m.update(schema="1"),
    "a list for the schema": lambda m: m.update(schema=[1]),
    "null for the recipe": lambda m: m.update(recipe=None),
    "no recipe": lambda m: m.pop("recipe"),
    "an unknown entry": lambda m: m["recipe"].update(colour="red"),
    "an unknown entry above": lambda m: m.update(colour="red"),
    "a list for whitening": lambda m: m["recipe"]["settings"].update(whitening=[1]),
    "the spread of no block": lambda m: m["recipe"]["settings"].update(spread={"scent": 1.0}),
    "one limit of trust": lambda m: m["recipe"]["settings"].update(trust=[0.5]),
    "limits of trust the wrong way": lambda m: m["recipe"]["settings"].update(trust=[0.9, 0.5, 0.2]),
    "text for trust": lambda m: m["recipe"]["settings"].update(trust="much"),
    "a list for a spread": lambda m: m["recipe"]["settings"].update(spread={"shape": [1]}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("sealed", [True, False])
def test_wrong_types_in_a_manifest_are_explained(tmp_path: Path, change: str, *, sealed: bool) -> None:
    built(tmp_path / "index", [a_region("a")])
    fields = without_checksums(tmp_path / "index")
    CHANGES[change](fields)
    if sealed:  # By somebody who knows how.
        fields["contents"] = None
        fields["checksum"] = manifests.hash_json(fields)
    (tmp_path / "index" / "manifest.json").write_text(json.dumps(fields))
    if sealed and change == "an unknown entry above":
        return  # A later version may add entries.
    with pytest.raises(IndexFolderError, match=r"manifest\.json.*(restore|repair)"):
        open_index(tmp_path / "index")


@pytest.mark.parametrize(
    "text", [nested(100_000), '{"a":' * 50_000, "NaN", '{"format": 1e999}', "1" * 6000, "\ufeff{}", '"\\ud800"', "null"]
)
def test_odd_json_is_no_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(IndexFolderError, match=r"manifest\.json"):
        Store.open(tmp_path)


@pytest.mark.parametrize("how", ["pipe", "folder", "device"])
@pytest.mark.parametrize(
    "name",
    [
        *("manifest.json", "manifest.backup.json", "shards/checksums.jsonl", "shards/000000.parquet"),
        *(
            "specimens/0002.parquet",
            "reviews/decisions.jsonl",
            "pictures/pictures.sqlite",
            "pictures/pictures.sqlite-journal",
        ),
    ],
)
def test_what_is_no_file_is_not_waited_for(index: Path, name: str, how: str) -> None:
    file = index / name
    file.unlink(missing_ok=True)
    if how == "device":
        file.symlink_to("/dev/zero")
    else:
        {"pipe": os.mkfifo, "folder": os.mkdir}[how](file)
    complaints = []
    for use in (
        lambda: open_index(index).close(),
        lambda: verify_index(index),
        lambda: build_again(index),
        lambda: repair_index(index),
    ):
        try:
            use()
        except IndexFolderError as error:
            complaints.append(str(error))
    if not name.startswith("pictures/"):
        assert any(file.name in text for text in complaints) or name == "manifest.backup.json"


def build_again(path: Path) -> None:
    store = Store.open(path)
    with store.lock():
        store.require_same_model({**SETTINGS, "whitening": {"pattern": 1.0}})
        store.commit(a_collection(IDS[1:]), numbers={"wing": 7}, provenance={})


def test_an_index_without_checksums_gets_them_with_the_next_build(index: Path) -> None:
    before = answers(index)
    without_checksums(index)
    (index / "manifest.backup.json").unlink()
    (index / "shards" / "checksums.jsonl").unlink()
    assert answers(index) == before
    found = verify_index(index)
    assert found.damages == []
    assert "the next build" in "\n".join(found.notes)
    store = Store.open(index)
    with store.lock():
        store.require_same_model({**SETTINGS, "whitening": {"pattern": 1.0}})
        store.commit(a_collection(IDS), numbers={"wing": 7}, provenance={})
        assert "3 files of the index had no checksums" in "\n".join(store.notes)
    found = verify_index(index)
    assert found.damages == []
    assert "no checksum" not in "\n".join(found.notes)
    (index / "generations" / "0003" / "vectors" / "wing.faiss").write_bytes(b"x")
    assert len(verify_index(index).damages) == 1


def test_ids_of_vectors_are_compared_with_the_catalog_when_an_old_index_is_opened(index: Path) -> None:
    without_checksums(index)
    file = index / "generations" / "0002" / "vectors" / "wing.faiss"
    damaged(file, -16)
    with pytest.raises(IndexFolderError, match=r"wing\.faiss"):
        open_index(index)
