"""A second pass of a build: what it finds, that nothing but the photographs decides, and that the choice is kept."""

from __future__ import annotations

import json
import random
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import FAKES, same_region, write_table
from shades import SECOND, build_shades, paint_shade, run_build, shade_collection

from sst_retrieval.build import second_pass
from sst_retrieval.build.plan import Task
from sst_retrieval.build.second_pass import ChosenTarget, list_candidates, read_choice
from sst_retrieval.errors import IndexFolderError, InputError, ModelMismatchError
from sst_retrieval.imaging import masks
from sst_retrieval.index.origin import rebuild_command
from sst_retrieval.index.reviews import make_review
from sst_retrieval.index.store import Store
from sst_retrieval.search.index import open_index
from sst_retrieval.types import Frame, Photograph, Region


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return shade_collection(tmp_path / "shades")


def read_regions(index: Path) -> dict[str, Region]:
    with open_index(index) as opened:
        return {each.id: opened.region(each.id, "spot") for each in opened.individuals()}


def list_found(index: Path) -> list[str]:
    return sorted(name for name, region in read_regions(index).items() if region.present)


def list_joined(index: Path) -> list[str]:
    generation = Store.open(index).generation
    assert generation is not None
    joined: list[str] = generation.provenance["second_pass"]["groups"]["shades"]
    return joined


def assert_same(one: Path, other: Path) -> None:
    ours, theirs = read_regions(one), read_regions(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not same_region(ours[name], theirs[name])] == []


def test_the_surest_photographs_lead_to_others(table: Path) -> None:
    once, twice = table.parent / "once", table.parent / "twice"
    build_shades(table, once, replace(SECOND, second_pass=0))
    report = build_shades(table, twice)
    assert list_found(once) == ["s0", "s1", "s2"]
    assert list_found(twice) == ["s0", "s1", "s2", "s3", "s4"]
    assert list_joined(twice) == ["s1", "s2"]
    assert "photographs that joined the supports of shades: s1 and s2" in report.notes


def test_the_chosen_keep_what_the_first_pass_found(table: Path) -> None:
    once, twice = table.parent / "once", table.parent / "twice"
    build_shades(table, once, replace(SECOND, second_pass=0))
    build_shades(table, twice)
    before, after = read_regions(once), read_regions(twice)
    assert all(same_region(before[name], after[name]) for name in ("s1", "s2"))
    assert before["s3"].frame != after["s3"].frame


def test_one_pass_leaves_no_trace(table: Path) -> None:
    build_shades(table, table.parent / "index", replace(SECOND, second_pass=0))
    store = Store.open(table.parent / "index")
    assert store.generation is not None
    assert "second_pass" not in store.generation.provenance
    assert "second_pass" not in store.manifest.recipe.settings
    assert store.read_notes() == {}


def test_neither_workers_nor_the_order_of_rows_matter(table: Path) -> None:
    build_shades(table, table.parent / "index", replace(SECOND, workers=1))
    names = [(f"s{number}", "shades") for number in range(8)]
    for seed in range(3):
        random.Random(seed).shuffle(names)
        write_table(table, names)
        other = table.parent / f"other{seed}"
        build_shades(table, other, replace(SECOND, workers=3))
        assert list_joined(other) == ["s1", "s2"]
        assert_same(table.parent / "index", other)


@pytest.mark.parametrize("photograph", [3, 8, 10, 13])
def test_a_killed_build_ends_as_if_nothing_had_happened(table: Path, photograph: int) -> None:
    build_shades(table, table.parent / "whole")
    killed = table.parent / "killed"
    # The first pass is made on seven photographs, then both on all eight less the two that were chosen.
    assert run_build(table, killed, f"kill:{photograph}") == -signal.SIGKILL
    report = build_shades(table, killed)
    assert (report.reused > 0) == (photograph >= 10)
    assert list_joined(killed) == ["s1", "s2"]
    assert_same(table.parent / "whole", killed)


def test_what_is_added_later_changes_no_mask(table: Path) -> None:
    small = shade_collection(table.parent / "small", count=4)
    index = small.parent / "index"
    build_shades(small, index)
    before = read_regions(index)
    shade_collection(small.parent, count=8, first=4)
    report = build_shades(small, index)
    assert (report.processed, report.reused) == (4, 4)
    after = read_regions(index)
    assert all(same_region(before[name], after[name]) for name in before)
    assert list_found(index) == ["s0", "s1", "s2", "s3", "s4"]
    assert list_joined(index) == ["s1", "s2"]


def test_a_group_without_a_sure_photograph_keeps_one_pass_for_good(tmp_path: Path) -> None:
    table = shade_collection(tmp_path / "shades", count=2)
    paint_shade(table.parent, 7)
    write_table(table, [("s0", "shades"), ("s7", "shades")])
    report = build_shades(table, tmp_path / "index")
    assert any("no photograph shows every trait" in note for note in report.notes)
    paint_shade(table.parent, 3)
    write_table(table, [(f"s{number}", "shades") for number in (0, 1, 3, 7)])
    report = build_shades(table, tmp_path / "index")
    assert (report.processed, report.reused) == (2, 2)
    assert list_joined(tmp_path / "index") == []
    assert list_found(tmp_path / "index") == ["s0", "s1"]


def test_a_chosen_photograph_that_changes_makes_the_choice_void(table: Path) -> None:
    index = table.parent / "index"
    build_shades(table, index)
    paint_shade(table.parent, 2, at=14)
    assert build_shades(table, index).processed == 8
    assert list_joined(index) == ["s1", "s2"]
    assert build_shades(table, index).processed == 0
    build_shades(table, table.parent / "anew")
    assert_same(index, table.parent / "anew")


def test_a_chosen_photograph_that_leaves_the_table_makes_the_choice_void(table: Path) -> None:
    index = table.parent / "index"
    build_shades(table, index)
    write_table(table, [(f"s{number}", "shades") for number in range(8) if number != 2])
    assert build_shades(table, index, replace(SECOND, prune=True)).processed == 7
    assert list_joined(index) == ["s1"]
    assert list_found(index) == ["s0", "s1", "s3"]
    assert build_shades(table, index, replace(SECOND, prune=True)).processed == 0


def test_an_index_keeps_its_number_of_passes(table: Path) -> None:
    index = table.parent / "index"
    build_shades(table, index)
    for other in (0, 3):
        with pytest.raises(ModelMismatchError, match="second_pass"):
            build_shades(table, index, replace(SECOND, second_pass=other))
    build_shades(table, index, replace(SECOND, second_pass=1, rebuild=True))
    assert list_joined(index) == ["s1"]
    words = rebuild_command(index)
    assert words[words.index("--second-pass") + 1] == "1"


def test_masks_that_a_person_rejected_become_no_support(table: Path) -> None:
    index = table.parent / "index"
    build_shades(table, index)
    with open_index(index) as opened:
        region = opened.region("s1", "spot")
    content = Store.open(index).indexed_hashes()["s1"][0]
    nothing = np.zeros(region.size, dtype=bool)
    Store.open(index).add_reviews([make_review(region, content, "redraw", "a curator", nothing)])
    build_shades(table, index, replace(SECOND, rebuild=True))
    assert list_joined(index) == ["s2"]


def test_candidates_are_chosen_by_content_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [
        Task(Photograph(name, Path(name), "g"), content, "")
        for name, content in [("a", "3"), ("b", "1"), ("c", "2"), ("d", "1"), ("e", "0")]
    ]
    names = [task.photograph.id for task in list_candidates(tasks, ["0"])]
    assert names == ["b", "c", "a"]
    monkeypatch.setattr(second_pass, "CANDIDATES", 2)
    assert [task.photograph.id for task in list_candidates(tasks[::-1], [])] == ["e", "b"]


def test_a_second_pass_that_cannot_be_is_refused(table: Path) -> None:
    with pytest.raises(InputError, match="--second-pass -1"):
        build_shades(table, table.parent / "index", replace(SECOND, second_pass=-1))
    with pytest.raises(InputError, match="sam2-video"):
        build_shades(table, table.parent / "index", replace(FAKES, propagator="sam2-video", second_pass=2))
    assert not (table.parent / "index").exists()


def test_a_choice_is_stored_to_the_bit() -> None:
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 1:3] = True
    confidence = tuple(np.array([0.1, 0.7], np.float32).tolist())
    frame = Frame((1 / 3, 0.1, 2.0, -0.1, 1 / 3, 0.7))
    rles = (masks.encode(mask), masks.encode(~mask))
    chosen = ChosenTarget("s", "abc", ("x", "y"), (3, 4), rles, confidence, frame, (0.5, float("nan")))
    again = ChosenTarget.from_json(json.loads(json.dumps(chosen.as_json(), allow_nan=False)))
    assert np.array_equal(again.as_propagated().masks, np.stack([mask, ~mask]))
    assert again.as_propagated().confidence.tolist() == list(confidence)
    assert again.frame == frame
    assert np.array_equal(again.as_propagated().cycle, np.array([0.5, np.nan], np.float32), equal_nan=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", [[{}], [5], {"a": 1}, [{"photograph": "s"}]])
def test_a_damaged_choice_is_refused(broken: object) -> None:
    with pytest.raises(IndexFolderError, match="--rebuild"):
        read_choice({"second pass f": broken}, "f")
