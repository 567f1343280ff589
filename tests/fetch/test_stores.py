"""Photographs in a store: copies that are up to date, and nothing asked for that lies elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fakes import FAKES, build_fake, every_region, same_region
from fsspec.implementations.memory import MemoryFileSystem

from sst_retrieval.errors import CollectionError, FetchError, ImageError, InputError
from sst_retrieval.fetch import copies_on_demand, stores
from sst_retrieval.fetch.copies_on_demand import CopiesOnDemand, list_stored
from sst_retrieval.fetch.stores import RECORD_NAME, copy_from_store
from sst_retrieval.imaging.images import content_hash
from sst_retrieval.search.index import open_index

STORE = "memory://museum/photographs"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths whose content was asked for."""
    paths: list[str] = []
    real = MemoryFileSystem.get_file
    monkeypatch.setattr(
        MemoryFileSystem, "get_file", lambda self, path, *rest: paths.append(path) or real(self, path, *rest)
    )
    return paths


@pytest.fixture
def memory(asked: list[str]) -> Iterator[MemoryFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def put(system: MemoryFileSystem, name: str, content: bytes) -> None:
    system.pipe_file(f"/museum/{name}", content)


def test_only_what_is_new_or_changed_is_copied(memory: MemoryFileSystem, asked: list[str], tmp_path: Path) -> None:
    put(memory, "photographs/a.png", b"first")
    put(memory, "photographs/deep/b.png", b"second")
    wanted = ["a.png", "deep/b.png", "a.png", "gone.png"]
    done: list[tuple[int, int]] = []
    report = copy_from_store(STORE, wanted, tmp_path / "copies", progress=lambda *now: done.append(now))
    assert (report.copied, report.kept, report.missing) == (2, 0, ("gone.png",))
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert (tmp_path / "copies" / "deep" / "b.png").read_bytes() == b"second"
    asked.clear()
    assert copy_from_store(STORE, wanted, tmp_path / "copies").kept == 2
    assert asked == []
    put(memory, "photographs/a.png", b"other")  # Of the same size.
    (tmp_path / "copies" / "deep" / "b.png").unlink()
    report = copy_from_store(STORE, wanted, tmp_path / "copies")
    assert (report.copied, report.kept) == (2, 0)
    assert (tmp_path / "copies" / "a.png").read_bytes() == b"other"
    assert not [path for path in (tmp_path / "copies").rglob("*") if path.name.endswith(".tmp")]


def test_a_damaged_record_is_not_used(memory: MemoryFileSystem, asked: list[str], tmp_path: Path) -> None:
    put(memory, "photographs/a.png", b"first")
    copy_from_store(STORE, ["a.png"], tmp_path)
    for damaged in ("{", "[]", '{"a.png": 3}'):
        (tmp_path / RECORD_NAME).write_text(damaged)
        assert copy_from_store(STORE, ["a.png"], tmp_path).copied == 1
    assert list(json.loads((tmp_path / RECORD_NAME).read_text())) == ["a.png"]


def test_nothing_is_asked_for_that_lies_elsewhere(memory: MemoryFileSystem, asked: list[str], tmp_path: Path) -> None:
    put(memory, "photographs/a.png", b"first")
    put(memory, "secret.png", b"secret")
    put(memory, "photographs-of-others/b.png", b"secret")
    others = [
        "memory://museum/secret.png",
        "memory://museum/photographs-of-others/b.png",
        "https://other.example/c.png",
    ]
    report = copy_from_store(STORE, [f"{STORE}/a.png", *others], tmp_path)
    assert (report.copied, report.missing) == (1, ())
    assert asked == ["/museum/photographs/a.png"]
    for reference in ("../secret.png", f"{STORE}/../secret.png", "/etc/passwd"):
        with pytest.raises(CollectionError, match="leads out of the store"):
            copy_from_store(STORE, [reference], tmp_path)
    assert asked == ["/museum/photographs/a.png"]


def test_a_store_that_has_nothing(memory: MemoryFileSystem, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"has none of the 2 photographs that the table names below it, such as a.png"):
        copy_from_store(STORE, ["a.png", "b.png"], tmp_path)
    assert copy_from_store(STORE, ["https://other.example/c.png"], tmp_path).missing == ()


def test_two_photographs_with_one_name(memory: MemoryFileSystem, tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="would both be copied"):
        copy_from_store(STORE, [f"{STORE}/one/a.png", f"{STORE}/two/a.png"], tmp_path)


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        ("photographs", "give the address of a store"),
        ("simplecache::memory://museum", "give the address of a store"),
        ("https://museum.example/photographs", "sst-retrieval fetch"),
        ("file:///photographs", "--images alone"),
        ("nowhere://museum", "nowhere"),
    ],
)
def test_addresses_of_no_store(store: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        copy_from_store(store, ["a.png"], tmp_path)


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(name: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(stores.importlib, "import_module", fail)
    with pytest.raises(InputError, match=r"Install s3fs to access S3.*pip install 'sst-retrieval\[s3\]'"):
        copy_from_store("s3://museum/photographs", ["a.png"], tmp_path)


def test_a_store_that_refuses(memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Access Denied")

    put(memory, "photographs/a.png", b"first")
    monkeypatch.setattr(MemoryFileSystem, "info", refuse)
    with pytest.raises(FetchError, match=r"a.png cannot be copied: Access Denied"):
        copy_from_store(STORE, ["a.png"], tmp_path)
    assert not (tmp_path / "a.png").exists()


def test_a_file_that_is_too_large(
    memory: MemoryFileSystem, asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(memory, "photographs/a.png", b"first")
    monkeypatch.setattr(stores, "MAX_BYTES", 4)
    with pytest.raises(FetchError, match="that is no photograph"):
        copy_from_store(STORE, ["a.png"], tmp_path)
    assert asked == []


def test_a_build_of_photographs_in_a_store(
    memory: MemoryFileSystem, asked: list[str], ten: Path, tmp_path: Path
) -> None:
    table = shutil.copy(ten / "collection.csv", tmp_path / "collection.csv")
    text = table.read_text().replace("images/", f"{STORE}/")
    table.write_text(text)
    shutil.copytree(ten / "supports", tmp_path / "supports")
    for path in (ten / "images").iterdir():
        put(memory, f"photographs/{path.name}", path.read_bytes())
    memory.rm_file("/museum/photographs/b4.png")
    settings = replace(FAKES, store=STORE, images=tmp_path / "copies")
    report = build_fake(table, tmp_path / "index", settings)
    assert (report.processed, sum(report.skipped.values())) == (9, 1)
    ours, theirs = every_region(tmp_path / "index"), every_region(ten / "index")
    assert [key for key in ours if ours[key].rle != theirs[key].rle] == []
    with open_index(tmp_path / "index") as index:
        assert {each.image.parent for each in index.individuals()} == {(tmp_path / "copies").absolute()}
        assert [row.photograph for row in index.skipped()] == ["b4"]
    asked.clear()
    memory.store.clear()  # Whoever has the index reads copies: nothing of it reaches out.
    with open_index(tmp_path / "index") as index:
        assert same_region(index.region("r0", "spot"), ours["r0", "spot"])
    assert asked == []


def test_a_store_without_a_folder_for_copies(table: Path) -> None:
    with pytest.raises(InputError, match="name the folder of the copies with --images"):
        build_fake(table, table.parent / "index", replace(FAKES, store=STORE))


# ----------------------------------------------------------------------------------------- a server that speaks S3


def test_photographs_on_an_s3_server(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe_file("museum/photographs/a.png", b"first")
    bucket.pipe_file("museum/photographs/deep/b c.png", b"second")
    bucket.pipe_file("museum/secret.png", b"secret")
    wanted = ["a.png", "s3://museum/photographs/deep/b c.png", "gone.png", "s3://museum/secret.png"]
    report = copy_from_store("s3://museum/photographs", wanted, tmp_path)
    assert (report.copied, report.kept, report.missing) == (2, 0, ("gone.png",))
    assert (tmp_path / "b c.png").read_bytes() == b"second"
    assert not list(tmp_path.rglob("secret*"))
    assert copy_from_store("s3://museum/photographs", wanted, tmp_path).kept == 2
    bucket.pipe_file("museum/photographs/a.png", b"other")  # Of the same size: the server's checksum tells.
    report = copy_from_store("s3://museum/photographs/", wanted, tmp_path)
    assert (report.copied, report.kept) == (1, 1)
    assert (tmp_path / "a.png").read_bytes() == b"other"


def test_an_s3_server_without_the_bucket(bucket: Any, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="s3://nowhere has none of the 1 photographs"):
        copy_from_store("s3://nowhere", ["a.png"], tmp_path)


def test_an_s3_server_that_cannot_be_reached(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(bucket).clear_instance_cache()
    with pytest.raises(FetchError, match=r"museum/a.png cannot be copied: .*127\.0\.0\.1:9"):
        copy_from_store("s3://museum", ["a.png"], tmp_path)


def test_a_build_of_photographs_on_an_s3_server(bucket: Any, ten: Path, tmp_path: Path) -> None:
    table = shutil.copy(ten / "collection.csv", tmp_path / "collection.csv")
    table.write_text(table.read_text().replace("images/", "s3://museum/photographs/"))
    shutil.copytree(ten / "supports", tmp_path / "supports")
    for path in (ten / "images").iterdir():
        bucket.pipe_file(f"museum/photographs/{path.name}", path.read_bytes())
    settings = replace(FAKES, store="s3://museum/photographs", images=tmp_path / "copies")
    assert build_fake(table, tmp_path / "index", settings).processed == 10
    ours, theirs = every_region(tmp_path / "index"), every_region(ten / "index")
    assert [key for key in theirs if not same_region(ours[key], theirs[key])] == []


# ------------------------------------------------------------------------------------------ copies that are opened


def test_photographs_are_copied_when_they_are_opened(
    memory: MemoryFileSystem, asked: list[str], tmp_path: Path
) -> None:
    for name, content in (("a.png", b"first"), ("deep/b.png", b"second"), ("c.png", b"third")):
        put(memory, f"photographs/{name}", content)
    stored = list_stored(STORE, ["a.png", f"{STORE}/deep/b.png", "gone.png"], tmp_path)
    a, b, gone = (tmp_path / name for name in ("a.png", "b.png", "gone.png"))
    assert (list(stored), [each.size for each in stored.values()]) == ([a, b], [5, 6])
    copies = CopiesOnDemand(STORE, tmp_path, stored)
    assert asked == []
    with copies.used():
        assert content_hash(a) == hashlib.sha256(b"first").hexdigest()
        content_hash(a)
        assert asked == ["/museum/photographs/a.png"]
        with pytest.raises(ImageError, match="does not exist"):
            content_hash(gone)
        (tmp_path / "own.png").write_bytes(b"own")
        assert content_hash(tmp_path / "own.png") == hashlib.sha256(b"own").hexdigest()
    with pytest.raises(ImageError, match="does not exist"):
        content_hash(b)  # Nobody fetches it any more.
    assert copies.get_state(a) == (a.stat().st_size, a.stat().st_mtime_ns)
    with pytest.raises(FileNotFoundError):
        copies.get_state(gone)


def test_another_version_is_copied_again(memory: MemoryFileSystem, asked: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for content in (b"first", b"other"):  # Of the same size.
        put(memory, "photographs/a.png", content)
        for _ in range(2):
            with CopiesOnDemand(STORE, tmp_path, list_stored(STORE, ["a.png"], tmp_path)).used():
                assert content_hash(path) == hashlib.sha256(content).hexdigest()
    assert asked == ["/museum/photographs/a.png"] * 2


def test_many_photographs_are_listed_at_once(
    memory: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "deep/b.png"):
        put(memory, f"photographs/{name}", b"content")
    wanted = ["a.png", "deep/b.png", "gone.png"]
    one_by_one = list_stored(STORE, wanted, tmp_path)
    monkeypatch.setattr(copies_on_demand, "FEW", 0)
    monkeypatch.setattr(copies_on_demand, "_ask_each", None)
    assert list_stored(STORE, wanted, tmp_path) == one_by_one
    assert len(one_by_one) == 2
    with pytest.raises(FetchError, match=r"has none of the 1 photographs that the table names below it, such as gone"):
        list_stored(STORE, ["gone.png"], tmp_path)


def test_old_copies_make_room(memory: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.png", "b.png", "c.png"]
    for name in names:
        put(memory, f"photographs/{name}", b"content")
    (tmp_path / "own.png").write_bytes(b"own")
    stored = list_stored(STORE, names, tmp_path)
    copies = CopiesOnDemand(STORE, tmp_path)
    for name in names:
        with copies.used({tmp_path / name: stored[tmp_path / name]}):
            content_hash(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names, "own.png"]
    (tmp_path / "b.png").unlink()
    monkeypatch.setattr(copies_on_demand, "SPARE_BYTES", 10**18)
    with copies.used({tmp_path / "b.png": stored[tmp_path / "b.png"]}):
        content_hash(tmp_path / "b.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "own.png"]


def test_a_store_that_refuses_or_a_full_disk_ends_it(
    memory: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(memory, "photographs/a.png", b"content")
    copies = CopiesOnDemand(STORE, tmp_path, list_stored(STORE, ["a.png"], tmp_path))
    for error, reason in ((PermissionError("no key"), "no key"), (OSError(28, "No space left", "x"), "make room")):

        def refuse(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(MemoryFileSystem, "get_file", refuse)
        with copies.used(), pytest.raises(FetchError, match=reason):
            content_hash(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
