"""Thumbnails and crops: those of specimens that were taken out go, missing ones come again, with the next build."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from fakes import FAKES, build_fake

from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.verification import repair_index, verify_index


def test_pictures_of_specimens_that_a_killed_build_took_out_go_with_the_next(table: Path) -> None:
    folder = table.parent / "index"
    build_fake(table, folder)
    paths = IndexPaths(folder)
    lines = table.read_text().splitlines(keepends=True)
    gone = lines[-1].split(",")[0]
    table.write_text("".join(lines[:-1]))
    pictures = [paths.thumbnail_file(gone), *paths.list_crops(gone)]
    kept = {path: path.read_bytes() for path in pictures}
    assert len(kept) > 1
    build_fake(table, folder, replace(FAKES, prune=True))
    assert not any(path.exists() for path in pictures)
    for path, data in kept.items():  # As if the build had been killed right after its commit.
        path.write_bytes(data)
    build_fake(table, folder)
    assert not any(path.exists() for path in pictures)


def test_missing_pictures_come_again_with_the_next_build(table: Path) -> None:
    folder = table.parent / "index"
    build_fake(table, folder)
    paths = IndexPaths(folder)
    before = {path: path.read_bytes() for path in paths.list_pictures()}
    lost = [paths.thumbnail_file("r1"), paths.list_crops("r2")[0]]
    for path in lost:
        path.unlink()
    assert "2 specimens lack a thumbnail or a crop" in "\n".join(verify_index(folder).notes)
    report = build_fake(table, folder)
    assert report.processed == 0
    assert {path: path.read_bytes() for path in paths.list_pictures()} == before
    assert verify_index(folder).notes == []
    paths.thumbnail_file("r1").unlink()
    for photograph in (table.parent / "images").glob("r1.*"):
        photograph.unlink()
    build_fake(table, folder)  # Its photograph is not at hand: nothing to make it from, and nothing stops.
    assert not paths.thumbnail_file("r1").exists()


def test_what_is_no_picture_is_noticed_and_goes(table: Path) -> None:
    folder = table.parent / "index"
    build_fake(table, folder)
    paths = IndexPaths(folder)
    before = {path: path.read_bytes() for path in paths.list_pictures()}
    pipe, place = paths.thumbnail_file("r1"), paths.list_crops("r2")[0]
    pipe.unlink()
    place.unlink()
    os.mkfifo(pipe)
    place.mkdir()
    assert {damage.file for damage in verify_index(folder).damages} == {pipe, place}
    build_fake(table, folder)  # It neither waits nor stops.
    repair_index(folder)
    build_fake(table, folder)
    assert {path: path.read_bytes() for path in paths.list_pictures()} == before
    assert verify_index(folder).damages == []
