"""Photographs that a build skips or takes with a note."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeMemory, FakeTracker, a_collection_of, build_fake
from PIL import Image

from sst_retrieval.annotate import supports
from sst_retrieval.annotate.formats import label_pictures
from sst_retrieval.build import photographs, pipeline
from sst_retrieval.cli.info import format_info
from sst_retrieval.errors import SupportError
from sst_retrieval.search.index import open_index
from sst_retrieval.types import Propagated


def skipped_reasons(index: Path) -> dict[str, str]:
    with open_index(index) as opened:
        return {each.photograph: each.reason for each in opened.skipped()}


def photograph_of(table: Path, specimen: str) -> Path:
    return next(path for path in (table.parent / "images").iterdir() if path.stem == specimen)


def test_a_photograph_that_changes_after_it_was_hashed_is_skipped(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photograph_of(table, "r2")
    read = photographs.read_photograph

    def change_and_read(asked: Path) -> Any:
        if asked == path:
            Image.fromarray(np.asarray(Image.open(path).convert("RGB"))[::-1]).save(path, quality=95)
        return read(asked)

    monkeypatch.setattr(photographs, "read_photograph", change_and_read)
    report = build_fake(table, table.parent / "index")
    assert report.processed == 9
    assert "changed while the index was built" in skipped_reasons(table.parent / "index")["r2"]
    monkeypatch.undo()
    assert build_fake(table, table.parent / "index").processed == 1
    assert not skipped_reasons(table.parent / "index")


def test_a_support_that_changes_after_it_was_checked_stops_the_build(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photograph_of(table, "r0")
    make_plan = pipeline.make_plan

    def change_and_plan(*arguments: Any, **options: Any) -> Any:
        Image.fromarray(np.asarray(Image.open(path).convert("RGB"))[::-1]).save(path, quality=95)
        return make_plan(*arguments, **options)

    monkeypatch.setattr(pipeline, "make_plan", change_and_plan)
    with pytest.raises(SupportError, match="changed since it was checked"):
        build_fake(table, table.parent / "index")


def test_one_colour_pipes_and_oddities(table: Path) -> None:
    Image.new("RGB", (60, 40), "white").save(photograph_of(table, "r1"))
    piped = photograph_of(table, "r2")
    piped.unlink()
    os.mkfifo(piped)
    several = photograph_of(table, "b1")
    kept = Image.open(several).convert("RGB")
    kept.save(several, "TIFF", save_all=True, append_images=[kept, kept])
    report = build_fake(table, table.parent / "index")
    assert report.processed == 8
    reasons = skipped_reasons(table.parent / "index")
    assert "of one colour" in reasons["r1"]
    assert "is a pipe, not a photograph" in reasons["r2"]
    assert report.notes == ("b1: 3 pages, the first is taken",)
    with open_index(table.parent / "index") as opened:
        assert "note: b1: 3 pages, the first is taken" in format_info({**opened.info(), "bytes": 0})


def test_notes_of_many_photographs_are_one(tmp_path: Path) -> None:
    table = a_collection_of(tmp_path, [(f"r{i}", "red") for i in range(8)])
    for specimen in range(1, 8):
        path = photograph_of(table, f"r{specimen}")
        kept = Image.open(path).convert("RGB")
        kept.save(path, "TIFF", save_all=True, append_images=[kept])
    report = build_fake(table, tmp_path / "index")
    assert report.notes == ("r1, r2, r3, r4, r5 and 2 more: 2 pages, the first is taken",)


@pytest.mark.parametrize(("surest", "doubted"), [(0.09, True), (0.11, False)])
def test_photographs_on_which_all_masks_are_very_unsure_are_noted(
    table: Path, monkeypatch: pytest.MonkeyPatch, surest: float, doubted: bool
) -> None:
    path = photograph_of(table, "r3")
    stranger = np.asarray(Image.open(path).convert("RGB"))[::-1].copy()
    Image.fromarray(stranger).save(path)
    propagate = FakeTracker._propagate

    def doubt(self: FakeTracker, memory: FakeMemory, image: np.ndarray) -> Propagated:
        found = propagate(self, memory, image)
        return replace(found, confidence=np.float32([0, surest])) if np.array_equal(image, stranger) else found

    monkeypatch.setattr(FakeTracker, "_propagate", doubt)
    report = build_fake(table, table.parent / "index")
    note = "r3: it does not seem to show such a specimen: all masks on it are very unsure"
    assert report.notes == ((note,) if doubted else ())
    assert report.as_dict()["notes"] == [note] * doubted
    with open_index(table.parent / "index") as opened:
        assert (f"note: {note}" in format_info({**opened.info(), "bytes": 0})) == doubted


def test_photographs_without_any_trait_are_noted_but_for_groups_with_one(table: Path) -> None:
    for specimen in ("r1", "r4", "b2"):
        empty = np.full((40, 60, 3), 200, dtype=np.uint8)
        empty[8:36, 10:50] = 90
        Image.fromarray(empty).save(photograph_of(table, specimen))
    report = build_fake(table, table.parent / "index")
    assert report.notes == ("r1 and r4: none of the traits was found",)


def test_a_label_picture_of_another_size_is_refused_undecoded(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label = table.parent / "supports" / "r0.png"
    read = label_pictures.read_labels
    monkeypatch.setattr(label_pictures, "read_labels", lambda path, **_: read(path) if path != label else 1 / 0)
    Image.new("L", (61, 40)).save(label)
    with pytest.raises(SupportError, match=r"is 61 x 40 px, but .* is 60 x 40"):
        supports.read_supports(table.parent / "supports", pipeline.read_collection(table))
