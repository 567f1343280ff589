"""Indexes in a store: pushed, pulled, brought up to date; what is a stranger's stays untouched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fakes import FAKES, build_fake, every_region, same_region
from fsspec.implementations.memory import MemoryFileSystem

from sst_retrieval.errors import FetchError, IndexFolderError, InputError
from sst_retrieval.export import index_copies
from sst_retrieval.export.index_copies import LOCAL_RECORD, RECORD_NAME, pull_index, push_index
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.thumbnails import read_thumbnail
from sst_retrieval.search.index import open_index

STORE = "memory://museum/heliconius"


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture
def index(ten: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ten / "index", tmp_path / "index"))


def require_same(one: Path, other: Path) -> None:
    ours, theirs = every_region(one), every_region(other)
    assert ours.keys() == theirs.keys()
    assert [key for key in theirs if not same_region(ours[key], theirs[key])] == []


def grow(ten: Path, index: Path, tmp_path: Path) -> None:
    """Build the index anew from a table with one photograph more."""
    for name in ("images", "supports"):
        shutil.copytree(ten / name, tmp_path / name, dirs_exist_ok=True)
    shutil.copy(ten / "images" / "r4.png", tmp_path / "images" / "r9.png")
    row = next(line for line in (ten / "collection.csv").read_text().splitlines() if line.startswith("r4,"))
    table = tmp_path / "collection.csv"
    table.write_text((ten / "collection.csv").read_text().rstrip("\n") + "\n" + row.replace("r4", "r9") + "\n")
    build_fake(table, index, FAKES)


def test_what_was_pushed_is_pulled(memory: MemoryFileSystem, index: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    pushed = push_index(index, STORE, progress=lambda *now: seen.append(now))
    assert pushed.copied == seen[-1][0] == seen[-1][1] > 5
    pulled = pull_index(STORE, tmp_path / "pulled")
    assert (pulled.copied, pulled.kept) == (pushed.copied, 0)
    require_same(tmp_path / "pulled", index)
    for name, _ in every_region(index):
        pictures = [read_thumbnail(IndexPaths(folder), name) for folder in (tmp_path / "pulled", index)]
        assert pictures[0] == pictures[1] is not None
    assert not list((tmp_path / "pulled").glob(".pulled"))


def test_only_what_changed_is_copied(memory: MemoryFileSystem, ten: Path, index: Path, tmp_path: Path) -> None:
    push_index(index, STORE)
    assert push_index(index, STORE).copied == 0
    pull_index(STORE, tmp_path / "pulled")
    assert pull_index(STORE, tmp_path / "pulled").copied == 0
    opened = open_index(tmp_path / "pulled")
    grow(ten, index, tmp_path)
    again = push_index(index, STORE)
    assert again.copied > 0
    assert again.kept > 0
    pulled = pull_index(STORE, tmp_path / "pulled")
    assert (pulled.copied, pulled.kept) == (again.copied, again.kept)
    require_same(tmp_path / "pulled", index)
    with opened:
        assert len(list(opened.individuals())) == 10  # A reader keeps what it opened.
    generations = [path.name for path in (tmp_path / "pulled" / "generations").iterdir()]
    assert len([name for name in memory.find("/museum/heliconius/generations") if "catalog" in name]) == 1
    assert len(generations) <= 2


def test_a_push_that_is_stopped_leaves_the_copy_as_it_was(
    memory: MemoryFileSystem, ten: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_index(index, STORE)
    before = every_region(index)
    grow(ten, index, tmp_path)
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("gone")))
    with pytest.raises(FetchError, match="cannot be copied: gone"):
        push_index(index, STORE)
    monkeypatch.undo()
    record = json.loads(memory.cat_file(f"/museum/heliconius/{RECORD_NAME}"))
    assert any(name.startswith("generations/") for name in record["files"])
    assert push_index(index, STORE).copied > 0
    pull_index(STORE, tmp_path / "pulled")
    assert every_region(tmp_path / "pulled").keys() > before.keys()
    require_same(tmp_path / "pulled", index)


def test_a_pull_that_is_stopped_goes_on(
    memory: MemoryFileSystem, ten: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it puts files in their places, after some have been replaced."""
    push_index(index, STORE)
    pulled = tmp_path / "pulled"
    pull_index(STORE, pulled)
    grow(ten, index, tmp_path)
    push_index(index, STORE)
    replace, moved = Path.replace, 0

    def die(self: Path, target: Path) -> Path:
        nonlocal moved
        if self.parent.name == ".pulled" and self.suffix != ".part":
            moved += 1
            if moved == 3:
                raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        pull_index(STORE, pulled)
    monkeypatch.undo()
    pull_index(STORE, pulled)
    require_same(pulled, index)


def test_an_index_that_is_pushed_anew_meanwhile(
    memory: MemoryFileSystem, ten: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_index(index, STORE)
    get_file, asked = MemoryFileSystem.get_file, []

    def push_meanwhile(self: MemoryFileSystem, *arguments: Any, **options: Any) -> None:
        asked.append(arguments[0])
        if len(asked) == 1:
            grow(ten, index, tmp_path)
            push_index(index, STORE)
        get_file(self, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", push_meanwhile)
    monkeypatch.setattr(index_copies, "THREADS", 1)
    pull_index(STORE, tmp_path / "pulled")
    require_same(tmp_path / "pulled", index)


def test_what_was_changed_here_is_not_overwritten(memory: MemoryFileSystem, index: Path, tmp_path: Path) -> None:
    push_index(index, STORE)
    pulled = tmp_path / "pulled"
    pull_index(STORE, pulled)
    (pulled / "manifest.json").write_text("mine")
    with pytest.raises(InputError, match=r"manifest.json was changed here after it was pulled"):
        pull_index(STORE, pulled)
    assert (pulled / "manifest.json").read_text() == "mine"


def test_folders_and_stores_that_hold_something_else(memory: MemoryFileSystem, index: Path, tmp_path: Path) -> None:
    push_index(index, STORE)
    with pytest.raises(InputError, match="holds something that was not pulled"):
        pull_index(STORE, index)
    pull_index(STORE, tmp_path / "pulled")
    push_index(index, "memory://museum/other")
    with pytest.raises(InputError, match="was pulled from memory://museum/heliconius, not from"):
        pull_index("memory://museum/other", tmp_path / "pulled")
    memory.pipe_file("/museum/letters/a.txt", b"dear")
    with pytest.raises(InputError, match="holds something that is no pushed index"):
        push_index(index, "memory://museum/letters")
    with pytest.raises(FetchError, match="holds no index; push one"):
        pull_index("memory://museum/letters", tmp_path / "new")
    with pytest.raises(IndexFolderError):
        push_index(tmp_path / "nowhere", STORE)
    with pytest.raises(InputError, match="give the address of a store"):
        push_index(index, str(tmp_path))


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/passwd", ".lock", "shards/../../x", "a\\b", "C:x", ""])
def test_names_that_lead_out_of_the_folder(memory: MemoryFileSystem, index: Path, tmp_path: Path, name: str) -> None:
    push_index(index, STORE)
    key = f"/museum/heliconius/{RECORD_NAME}"
    record = json.loads(memory.cat_file(key))
    record["files"][name] = [1, 1]
    memory.pipe_file(key, json.dumps(record).encode())
    with pytest.raises(FetchError, match="which no index has"):
        pull_index(STORE, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": 1, "files": {"a": 1}}'])
def test_a_damaged_record(memory: MemoryFileSystem, index: Path, tmp_path: Path, content: bytes) -> None:
    push_index(index, STORE)
    memory.pipe_file(f"/museum/heliconius/{RECORD_NAME}", content)
    with pytest.raises(FetchError, match="is damaged"):
        pull_index(STORE, tmp_path / "pulled")
    memory.pipe_file(f"/museum/heliconius/{RECORD_NAME}", b'{"format": 2}')
    with pytest.raises(FetchError, match="newer version"):
        pull_index(STORE, tmp_path / "pulled")


def test_a_damaged_record_of_a_folder(memory: MemoryFileSystem, index: Path, tmp_path: Path) -> None:
    push_index(index, STORE)
    pull_index(STORE, tmp_path / "pulled")
    (tmp_path / "pulled" / LOCAL_RECORD).write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        pull_index(STORE, tmp_path / "pulled")


def test_an_index_on_an_s3_server(bucket: Any, ten: Path, index: Path, tmp_path: Path) -> None:
    store = "s3://museum/indexes/ten"
    push_index(index, store)
    pull_index(store, tmp_path / "pulled")
    require_same(tmp_path / "pulled", index)
    grow(ten, index, tmp_path)
    pushed = push_index(index, store)
    assert pull_index(store, tmp_path / "pulled").copied == pushed.copied > 0
    require_same(tmp_path / "pulled", index)
