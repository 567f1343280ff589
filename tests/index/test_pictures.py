"""Thumbnails and crops: those of specimens that were taken out go, missing ones come again, with the next build."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FAKES, build_fake
from PIL import Image

from sst_retrieval.imaging.images import read_image, thumbnail
from sst_retrieval.index import addition, epochs, thumbnails
from sst_retrieval.index.old_pictures import _make_seal
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.picture_pack import list_pictures, read_picture, remove_pictures, write_pictures
from sst_retrieval.index.thumbnails import read_thumbnail
from sst_retrieval.index.verification import repair_index, verify_index
from sst_retrieval.search.index import open_index


@pytest.fixture
def paths(table: Path) -> IndexPaths:
    build_fake(table, table.parent / "index")
    return IndexPaths(table.parent / "index")


def read_all(paths: IndexPaths) -> dict[tuple[str, str], bytes | None]:
    pack = paths.pictures_file
    return {(name, each): read_picture(pack, name, each) for name, own in list_pictures(pack) for each in own}


def make_old(paths: IndexPaths) -> dict[tuple[str, str], bytes]:
    """Write the pictures as version 0.4 did, a JPEG file each."""
    files = {}
    for (name, trait), picture in read_all(paths).items():
        assert picture is not None
        path = paths.old_crop_file(name, trait) if trait else paths.old_thumbnail_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.open(io.BytesIO(picture)).convert("RGB").save(buffer, "JPEG", quality=90)
        files[name, trait] = buffer.getvalue()
        path.write_bytes(files[name, trait] + _make_seal(files[name, trait]))
    paths.pictures_file.unlink()
    return files


def decode(picture: bytes | None) -> np.ndarray:
    assert picture is not None
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def test_they_show_the_photograph_and_lie_in_one_file(paths: IndexPaths, table: Path) -> None:
    (path,) = (table.parent / "images").glob("r1.*")
    small = read_thumbnail(paths, "r1")
    assert np.abs(decode(small) - thumbnail(read_image(path), 512)).mean() < 6
    assert [each.name for each in (paths.root / "pictures").rglob("*") if each.is_file()] == ["pictures.sqlite"]
    with open_index(paths.root) as index:
        assert index.thumbnail("r1") == small
        assert index.crop("r1", "spot") == read_thumbnail(paths, "r1", "spot") is not None


def test_pictures_of_specimens_that_a_killed_build_took_out_go_with_the_next(paths: IndexPaths, table: Path) -> None:
    lines = table.read_text().splitlines(keepends=True)
    gone = lines[-1].split(",")[0]
    table.write_text("".join(lines[:-1]))
    before = read_all(paths)
    kept = {trait: picture or b"" for (name, trait), picture in before.items() if name == gone}
    assert len(kept) > 1
    build_fake(table, paths.root, replace(FAKES, prune=True))
    without = {key: picture for key, picture in before.items() if key[0] != gone}
    assert read_all(paths) == without
    write_pictures(paths.pictures_file, [(gone, kept)])  # As if the build had been killed right after its commit.
    build_fake(table, paths.root)
    assert read_all(paths) == without


def test_missing_pictures_come_again_with_the_next_build(paths: IndexPaths, table: Path) -> None:
    before = read_all(paths)
    remove_pictures(paths.pictures_file, ["r1"])
    write_pictures(paths.pictures_file, [("r2", {"": before["r2", ""] or b""})])  # Without its crops.
    assert "2 specimens lack a thumbnail or a crop" in "\n".join(verify_index(paths.root).notes)
    report = build_fake(table, paths.root)
    assert report.processed == 0
    assert read_all(paths) == before
    assert verify_index(paths.root).notes == []
    remove_pictures(paths.pictures_file, ["r1"])
    for photograph in (table.parent / "images").glob("r1.*"):
        photograph.unlink()
    build_fake(table, paths.root)  # Its photograph is not at hand: nothing to make it from, and nothing stops.
    assert read_thumbnail(paths, "r1") is None
    assert read_thumbnail(paths, "r2") == before["r2", ""]


@pytest.mark.parametrize("how", ["pipe", "folder", "text", "half", "other tables"])
def test_what_is_no_pack_is_noticed_and_made_anew(paths: IndexPaths, table: Path, how: str) -> None:
    before, pack = read_all(paths), paths.pictures_file
    content = pack.read_bytes()
    pack.unlink()
    if how == "pipe":
        os.mkfifo(pack)
    elif how == "folder":
        pack.mkdir()
    elif how == "other tables":
        shutil.copy(paths.generation(1).catalog_file, pack)
    else:
        pack.write_bytes(b"no database" * 1000 if how == "text" else content[: len(content) // 2])
    with open_index(paths.root) as index:
        assert index.thumbnail("r1") is None or how == "half"
    assert {damage.file for damage in verify_index(paths.root).damages} == {pack}
    repair_index(paths.root)
    build_fake(table, paths.root)
    assert read_all(paths) == before
    assert verify_index(paths.root).damages == []


def test_a_build_mends_a_damaged_pack(paths: IndexPaths, table: Path) -> None:
    before, pack = read_all(paths), paths.pictures_file
    pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])
    build_fake(table, paths.root)
    assert read_all(paths) == before
    assert verify_index(paths.root).damages == []


def test_a_build_that_is_killed_before_it_packs_the_pictures_loses_none(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their shard is written, so the next build does not make them again: it finds them where the worker put them."""

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    paths = IndexPaths(table.parent / "index")
    with monkeypatch.context() as patched:
        patched.setattr("sst_retrieval.index.store.pack_pictures", kill)
        with pytest.raises(KeyboardInterrupt):
            build_fake(table, paths.root)
    loose = {path.name for path in paths.list_loose_pictures()}
    assert loose
    assert not paths.pictures_file.exists()
    build_fake(table, paths.root)
    assert not list(paths.list_loose_pictures())
    assert len({name for name, _ in read_all(paths)}) == 10
    assert verify_index(paths.root).notes == []


# ------------------------------------------------------------------------------------------- of an older version


def test_pictures_of_an_older_version_are_shown(paths: IndexPaths) -> None:
    files = make_old(paths)
    with open_index(paths.root) as index:
        for (name, trait), picture in files.items():
            assert (index.crop(name, trait) if trait else index.thumbnail(name)) == picture
    assert verify_index(paths.root).damages == []
    assert verify_index(paths.root).notes == []


def test_pictures_of_an_older_version_are_converted_by_the_next_build(paths: IndexPaths, table: Path) -> None:
    files = make_old(paths)
    Image.new("RGB", (9, 9)).save(paths.root / "thumbnails" / "mine.jpg")  # Somebody's own.
    for photograph in (table.parent / "images").glob("r1.*"):
        photograph.unlink()  # It is not needed.
    lost = paths.old_thumbnail_file("r2")
    lost.write_bytes(lost.read_bytes()[:-90])  # Damaged: it is made from the photograph.
    report = build_fake(table, paths.root)
    assert report.processed == 0
    now = read_all(paths)
    assert now.keys() == files.keys()
    for key, picture in now.items():
        assert picture is not None
        assert picture[8:12] == b"WEBP"
        assert np.abs(decode(picture) - decode(files[key])).mean() < 6, key
    left = [path.name for path in paths.root.rglob("*.jpg")]
    assert left == ["mine.jpg"]
    assert not (paths.root / "crops").exists()
    assert verify_index(paths.root).damages == []


def test_a_conversion_that_is_killed_goes_on(paths: IndexPaths, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = make_old(paths)
    monkeypatch.setattr("sst_retrieval.index.old_pictures._BATCH", 3)
    done = []

    def kill(pack: Path, pictures: object) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        write_pictures(pack, pictures)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("sst_retrieval.index.old_pictures.write_pictures", kill)
        with pytest.raises(KeyboardInterrupt):
            build_fake(table, paths.root)
    with open_index(paths.root) as index:  # Some of the one kind, some of the other.
        assert all(index.crop(name, trait) if trait else index.thumbnail(name) for name, trait in files)
    build_fake(table, paths.root)
    assert read_all(paths).keys() == files.keys()
    assert not (paths.root / "thumbnails").exists()


# ------------------------------------------------------------------------------------------- after an addition


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build adds to the last one, however small it is."""
    monkeypatch.setattr(epochs, "LEAST_REGIONS", 0)
    monkeypatch.setattr(addition, "MOST_TOUCHED", 2)
    monkeypatch.setattr(epochs, "MOST_CHANGED", 2)


def with_another(table: Path) -> str:
    """Add a row to the table: the photograph of the last one under another name."""
    lines = table.read_text().splitlines(keepends=True)
    name, rest = lines[-1].split(",", 1)
    images = table.parent / "images"
    (path,) = images.glob(f"{name}.*")
    shutil.copyfile(path, images / f"new{path.suffix}")
    table.write_text("".join(lines) + lines[-1].replace(name, "new"))
    return rest


@pytest.mark.usefixtures("added")
def test_after_an_addition_only_pictures_of_what_changed_are_compared(
    paths: IndexPaths, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_all(paths)

    def refuse(_: Path) -> Iterator[Any]:
        raise AssertionError("all pictures were listed")

    with_another(table)
    with monkeypatch.context() as patched:
        patched.setattr(thumbnails, "list_pictures", refuse)
        build_fake(table, paths.root)
        assert read_thumbnail(paths, "new") is not None
        table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
        build_fake(table, paths.root, replace(FAKES, prune=True))
    assert read_all(paths) == before


@pytest.mark.usefixtures("added")
def test_a_pack_that_was_changed_is_compared_wholly(paths: IndexPaths, table: Path) -> None:
    before = read_all(paths)
    remove_pictures(paths.pictures_file, ["r1"])
    with_another(table)
    build_fake(table, paths.root)
    now = read_all(paths)
    assert {key: picture for key, picture in now.items() if key[0] != "new"} == before
    assert ("new", "") in now


@pytest.mark.usefixtures("added")
def test_pictures_that_could_not_be_made_are_looked_for_again(paths: IndexPaths, table: Path) -> None:
    before = read_all(paths)
    (photograph,) = (table.parent / "images").glob("r1.*")
    away = photograph.with_name("away")
    photograph.rename(away)
    remove_pictures(paths.pictures_file, ["r1"])
    build_fake(table, paths.root)
    assert read_thumbnail(paths, "r1") is None
    away.rename(photograph)
    build_fake(table, paths.root)
    assert read_all(paths) == before
