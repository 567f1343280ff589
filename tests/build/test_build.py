from __future__ import annotations

import gc
import json
import shutil
import signal
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import (
    FAKES,
    NUMBERS,
    FakeEmbedder,
    FakeMemory,
    FakeTracker,
    a_collection_of,
    build_fake,
    every_region,
    paint,
    run_in_small_shards,
    same_region,
    write_table,
)
from PIL import Image

from sst_retrieval.annotate.supports import Supports, read_supports
from sst_retrieval.build import pipeline, shard_writer
from sst_retrieval.build.pipeline import build_index
from sst_retrieval.cli.info import format_info
from sst_retrieval.engines import load_engines
from sst_retrieval.errors import (
    CollectionError,
    IndexFolderError,
    InputError,
    ModelError,
    ModelMismatchError,
    SupportError,
)
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.frames import square_frame
from sst_retrieval.index.store import Store
from sst_retrieval.index.thumbnails import read_thumbnail
from sst_retrieval.search.index import open_index
from sst_retrieval.types import Propagated, RGBImage, Support

TEN = [(f"{group[0]}{i}", group) for group in ("red", "blue") for i in range(5)]


@pytest.fixture
def unkilled(ten: Path) -> tuple[Path, Path]:
    """A collection and its index, built without any trouble."""
    return ten / "collection.csv", ten / "index"


def test_notes_stand_in_the_report_the_provenance_and_info(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_with_notes(*arguments: object, **options: object) -> Supports:
        return replace(read_supports(*arguments, **options), notes=("a scale bar is no trait, left out",))

    monkeypatch.setattr(pipeline, "read_supports", read_with_notes)
    report = build_fake(table, table.parent / "index")
    assert report.rows == 10
    assert report.notes == ("a scale bar is no trait, left out",)
    assert report.as_dict()["notes"] == ["a scale bar is no trait, left out"]
    assert "10 rows read" in report.text()
    assert "note: a scale bar is no trait, left out" in report.text()
    with open_index(table.parent / "index") as index:
        info = {**index.info(), "bytes": 0}
    assert info["provenance"]["notes"] == ["a scale bar is no trait, left out"]
    assert "note: a scale bar is no trait, left out" in format_info(info)


def assert_same(one: Path, other: Path) -> None:
    ours, theirs = every_region(one), every_region(other)
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not same_region(ours[key], theirs[key])] == []


# ------------------------------------------------------------------------------------------------- what is built


def test_every_trait_of_every_specimen_is_found_where_it_was_painted(unkilled: tuple[Path, Path]) -> None:
    found = every_region(unkilled[1])
    assert len(found) == 5 * 2 + 5
    for seed, (name, group) in enumerate(TEN):
        for trait, mask in paint(group, seed)[1].items():
            region = found[name, trait]
            assert np.array_equal(masks.decode(region.rle, region.size), mask)
            assert region.present
            assert region.measurements["area_px"] == mask.sum()


def test_similar_spots_are_neighbours(unkilled: tuple[Path, Path]) -> None:
    with open_index(unkilled[1]) as index:
        hits = index.search(like=("r1", "spot"), k=4, weights={"colour": 1})
    assert {hit.individual for hit in hits} == {"r0", "r2", "r3", "r4"}


def test_a_support_keeps_the_mask_that_was_drawn(tmp_path: Path) -> None:
    table = a_collection_of(tmp_path)
    label = np.zeros((40, 60), dtype=np.uint8)
    label[12:16, 20:30] = NUMBERS["spot"]  # Half on, half off the spot: no propagator would say so.
    Image.fromarray(label).save(tmp_path / "supports" / "r0.png")
    build_fake(table, tmp_path / "index")
    with open_index(tmp_path / "index") as index:
        assert np.array_equal(index.mask("r0", "spot"), label > 0)
        assert index.region("r0", "spot").confidence == 1
        assert index.region("r1", "spot").confidence == 0.75


def test_of_two_supports_each_keeps_its_own_traits(table: Path) -> None:
    drawn = paint("red", 1)[1]
    Image.fromarray(drawn["spot"].astype(np.uint8) * NUMBERS["spot"]).save(table.parent / "supports" / "r1.png")
    build_fake(table, table.parent / "index")
    with open_index(table.parent / "index") as index:
        bar = index.region("r1", "bar")
        assert (bar.present, bar.confidence) == (False, 1)  # The person did not draw it.
        assert index.region("r2", "bar").present


def test_an_absent_trait_is_remembered_as_absent(table: Path) -> None:
    Image.fromarray(paint("red", 3, bar=False)[0]).save(table.parent / "images" / "r3.png")
    build_fake(table, table.parent / "index")
    with open_index(table.parent / "index") as index:
        bar = index.region("r3", "bar")
        assert (bar.present, bar.vector, bar.measurements, bar.confidence) == (False, None, {}, 0.25)
        assert index.region("r3", "spot").present


def test_a_trait_drawn_beside_the_frame_is_described_all_the_same(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = square_frame((500.0, 500.0), 10, 0.0)
    real = FakeTracker._propagate
    monkeypatch.setattr(
        FakeTracker, "_propagate", lambda self, memory, image: replace(real(self, memory, image), frame=elsewhere)
    )
    build_fake(table, table.parent / "index")
    assert all(region.present for region in every_region(table.parent / "index").values())


def test_what_an_index_was_made_with_is_written_down(unkilled: tuple[Path, Path]) -> None:
    with open_index(unkilled[1]) as index:
        info = index.info()
    made = info["provenance"]
    assert info["settings"]["propagator"] == {"engine": "fakes:FakeTracker", "model": "fake tracker"}
    assert made["settings"]["embedder"] == "fakes:FakeEmbedder"
    assert made["versions"]["numpy"] == np.__version__
    assert made["photographs"] == {"indexed": 10, "processed": 10, "reused": 0, "waiting": 0, "skipped": 0}
    assert made["started"] <= made["ended"]
    assert made["supports"][0] == {"specimen": "r0", "group": "red", "traits": ["bar", "spot"]}
    json.dumps(info)


def test_every_specimen_has_a_small_picture(unkilled: tuple[Path, Path]) -> None:
    store = Store.open(unkilled[1])
    assert all(read_thumbnail(store.paths, name) for name, _ in TEN)


# ----------------------------------------------------------------------------------------------------- once more


def test_a_second_build_has_nothing_to_do(table: Path) -> None:
    index = table.parent / "index"
    first, before = build_fake(table, index), every_region(index)
    second, after = build_fake(table, index), every_region(index)
    assert (first.processed, first.reused, second.processed, second.reused) == (10, 0, 0, 10)
    assert second.seconds_per_image is None
    assert before.keys() == after.keys()
    assert all(same_region(before[key], after[key]) for key in before)


def test_only_a_changed_photograph_is_worked_on(table: Path) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    Image.fromarray(paint("red", 99)[0]).save(table.parent / "images" / "r2.png")
    report = build_fake(table, index)
    assert (report.processed, report.reused) == (1, 9)
    with open_index(index) as opened:
        assert np.array_equal(opened.mask("r2", "spot"), paint("red", 99)[1]["spot"])


def test_a_new_photograph_is_added(table: Path) -> None:
    write_table(table, TEN[:7])
    build_fake(table, table.parent / "index")
    write_table(table, TEN)
    report = build_fake(table, table.parent / "index")
    assert (report.processed, report.reused) == (3, 7)


def test_a_changed_support_touches_its_own_group_only(table: Path) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    label = paint("blue", 5)[1]["spot"].astype(np.uint8) * NUMBERS["spot"]
    label[:, 24:] = 0
    assert label.any()
    Image.fromarray(label).save(table.parent / "supports" / "b0.png")
    report = build_fake(table, index)
    assert (report.processed, report.reused) == (5, 5)


def test_one_group_is_propagated_again_and_the_others_stay(table: Path) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    before = every_region(index)
    for name in ("r3", "b3"):  # Both groups get one more support.
        shutil.copy(table.parent / "labels" / f"{name}.png", table.parent / "supports" / f"{name}.png")
    # A photograph of another group is not even looked at.
    (table.parent / "images" / "b4.png").write_bytes(b"broken")
    report = build_fake(table, index, replace(FAKES, groups=("red",)))
    assert (report.processed, report.reused, report.waiting) == (5, 0, 5)
    assert "5 of other groups wait" in report.text()
    after = every_region(index)
    assert after.keys() == before.keys()
    # The spread of outlines follows the confidence of all masks, so the whitening that is undone is another one.
    own = [key for key in before if key[0].startswith("b")]
    assert all(same_region(after[key], before[key], tolerance=1e-6) for key in own)
    with open_index(index) as opened:
        made = opened.info()["provenance"]
    # What the masks were made from: the new support of the group that was propagated, the old one of the other.
    assert [each["specimen"] for each in made["supports"]] == ["r0", "r3", "b0"]
    assert not made["complete"]
    assert made["photographs"]["waiting"] == 5
    assert made["settings"]["groups"] == ["red"]
    assert made["alignments"].keys() == {"blue"}
    shutil.copy(table.parent / "images" / "b3.png", table.parent / "images" / "b4.png")
    report = build_fake(table, index)
    assert (report.processed, report.reused, report.waiting) == (5, 5, 0)
    with open_index(index) as opened:
        made = opened.info()["provenance"]
    assert [each["specimen"] for each in made["supports"]] == ["r0", "r3", "b0", "b3"]
    assert made["complete"]


def test_the_others_have_no_work_if_nothing_changed(table: Path) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    shutil.copy(table.parent / "labels" / "b3.png", table.parent / "supports" / "b3.png")
    report = build_fake(table, index, replace(FAKES, groups=("blue",)))
    assert (report.processed, report.reused, report.waiting) == (5, 5, 0)
    with open_index(index) as opened:
        assert opened.info()["provenance"]["complete"]


def test_a_first_build_of_one_group(table: Path) -> None:
    report = build_fake(table, table.parent / "index", replace(FAKES, groups=("blue",)))
    assert (report.processed, report.waiting) == (5, 5)
    assert report.skipped == {"its group 'red' was not built yet": 5}
    assert build_fake(table, table.parent / "index").processed == 5


@pytest.mark.parametrize(
    ("change", "message"), [({}, "no support serves the group 'green'"), ({"rebuild": True}, "anew")]
)
def test_groups_that_cannot_be_propagated_are_refused(table: Path, change: dict[str, bool], message: str) -> None:
    groups = ("red",) if change else ("green",)
    with pytest.raises(InputError, match=message):
        build_fake(table, table.parent / "index", replace(FAKES, groups=groups, **change))
    assert not (table.parent / "index").exists()


def test_a_vanished_specimen_stays_until_it_is_pruned(table: Path) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    write_table(table, TEN[:-1])
    report = build_fake(table, index)
    assert (report.vanished, report.removed) == (1, ())
    assert ("b4", "spot") in every_region(index)
    report = build_fake(table, index, replace(FAKES, prune=True))
    assert (report.vanished, report.removed, report.processed) == (0, ("b4",), 0)
    assert ("b4", "spot") not in every_region(index)
    assert read_thumbnail(Store.open(index).paths, "b4") is None


# ------------------------------------------------------------------------------------------------- what goes wrong


def test_a_bad_photograph_is_skipped_and_recorded(table: Path) -> None:
    images = table.parent / "images"
    (images / "r1.png").write_bytes((images / "r1.png").read_bytes()[:60])
    (images / "b3.png").unlink()
    report = build_fake(table, table.parent / "index")
    assert (report.processed, sum(report.skipped.values())) == (8, 2)
    with open_index(table.parent / "index") as index:
        reasons = {row.photograph: (row.stage, row.reason) for row in index.skipped()}
    assert reasons["r1"][0] == reasons["b3"][0] == "image"
    assert "truncated" in reasons["r1"][1]
    assert "does not exist" in reasons["b3"][1]


def test_a_photograph_that_became_bad_is_taken_out_by_prune_only(table: Path) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    (table.parent / "images" / "r1.png").write_bytes(b"no picture")
    build_fake(table, index)
    assert len(Store.open(index).paths.list_shards()) == 1
    with open_index(index) as opened:
        assert opened.region("r1", "spot").present
    assert build_fake(table, index, replace(FAKES, prune=True)).removed == ("r1",)


def test_a_photograph_that_the_propagator_refuses_is_skipped(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TRACKER", "refuse:3")
    report = build_fake(table, table.parent / "index")
    assert report.skipped == {"this photograph is too odd": 1}
    with open_index(table.parent / "index") as index:
        assert [(row.photograph, row.stage) for row in index.skipped()] == [("r2", "propagation")]


def test_specimens_of_a_group_without_support_are_skipped(table: Path) -> None:
    (table.parent / "supports" / "b0.png").unlink()
    report = build_fake(table, table.parent / "index")
    ((reason, count),) = report.skipped.items()
    assert count == 5
    assert "'blue' has no support" in reason
    with open_index(table.parent / "index") as index:
        assert {row.stage for row in index.skipped()} == {"support"}
        assert index.traits == ("bar", "spot")


def test_rows_without_a_photograph_are_skipped(table: Path) -> None:
    with table.open("a") as file:
        file.write("r9,,red,male,1909-05-01\n")
    report = build_fake(table, table.parent / "index")
    assert sum(report.skipped.values()) == 1


def test_a_bad_table_or_support_stops_the_build_before_any_work(table: Path) -> None:
    index = table.parent / "index"
    good = table.read_text()
    table.write_text(good.replace("r1,", "r0,").replace("r1.png", "r0.png"))
    with pytest.raises(CollectionError, match="r0"):
        build_fake(table, index)
    table.write_text(good)
    Image.fromarray(np.full((40, 60), 9, dtype=np.uint8)).save(table.parent / "supports" / "r0.png")
    with pytest.raises(SupportError, match="9"):
        build_fake(table, index)
    assert not index.exists()


def test_a_propagator_that_breaks_its_promise_is_named(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TRACKER", "nonsense:2")
    with pytest.raises(ModelError, match="fake tracker"):
        build_fake(table, table.parent / "index")


@pytest.mark.parametrize(
    ("masks", "problem"),
    [
        (np.zeros((2, 40, 60), dtype=np.uint8), "must be bool .2, 40, 60"),
        (np.zeros((1, 40, 60), dtype=bool), "1, 40, 60"),
        (np.zeros((2, 60, 40), dtype=bool), "2, 60, 40"),
    ],
)
def test_wrong_masks_are_refused(table: Path, monkeypatch: pytest.MonkeyPatch, masks: np.ndarray, problem: str) -> None:
    real = FakeTracker._propagate
    monkeypatch.setattr(
        FakeTracker, "_propagate", lambda self, memory, image: replace(real(self, memory, image), masks=masks)
    )
    with pytest.raises(ModelError, match=problem):
        build_fake(table, table.parent / "index")


# ----------------------------------------------------------------------------------- other models, other processes


def test_an_index_of_another_model_is_refused_and_rebuilt_on_request(table: Path) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    other = replace(FAKES, embedder="fakes:OtherEmbedder")
    with pytest.raises(ModelMismatchError, match="--rebuild"):
        build_fake(table, index, other)
    assert build_fake(table, index, replace(other, rebuild=True)).processed == 10
    assert build_fake(table, index, other).reused == 10


def test_two_builds_in_one_folder_refuse(table: Path) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    with Store.open(index).lock(), pytest.raises(IndexFolderError, match="another process"):
        build_fake(table, index)


def test_a_folder_with_other_things_is_not_touched(table: Path) -> None:
    with pytest.raises(IndexFolderError, match="holds something"):
        build_fake(table, table.parent / "images")


def test_a_killed_build_goes_on_where_it_was(unkilled: tuple[Path, Path], tmp_path: Path) -> None:
    table, whole = unkilled
    assert run_in_small_shards(table, tmp_path / "index", "kill:4") == -signal.SIGKILL
    # Three of the first group, two looks at the support of the second to lay it like the first, three of the second.
    assert run_in_small_shards(table, tmp_path / "index", "kill:8") == -signal.SIGKILL
    report = build_fake(table, tmp_path / "index")
    # Two photographs survived the first time (the third was in hand), four more the second.
    assert (report.reused, report.processed) == (6, 4)
    assert_same(tmp_path / "index", whole)


def test_a_stopped_build_leaves_what_it_did_searchable(
    unkilled: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, whole = unkilled
    monkeypatch.setenv("FAKE_TRACKER", "interrupt:4")
    with pytest.raises(KeyboardInterrupt):
        build_fake(table, tmp_path / "index")
    with open_index(tmp_path / "index") as index:
        assert {hit.individual for hit in index.search(like=("r0", "spot"))} == {"r1", "r2"}
        assert not index.info()["provenance"]["complete"]
    monkeypatch.delenv("FAKE_TRACKER")
    report = build_fake(table, tmp_path / "index")
    assert (report.reused, report.processed) == (3, 7)
    assert_same(tmp_path / "index", whole)
    with open_index(tmp_path / "index") as index:
        assert index.info()["provenance"]["complete"]


def test_a_stopped_rebuild_hides_nothing(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    before = every_region(index)
    other = replace(FAKES, embedder="fakes:OtherEmbedder", rebuild=True)
    monkeypatch.setenv("FAKE_TRACKER", "interrupt:4")
    with pytest.raises(KeyboardInterrupt):
        build_fake(table, index, other)
    after = every_region(index)
    assert before.keys() == after.keys()
    assert all(same_region(before[key], after[key]) for key in before)
    monkeypatch.delenv("FAKE_TRACKER")
    report = build_fake(table, index, other)
    assert (report.reused, report.processed) == (3, 7)


def test_a_build_stopped_at_once_leaves_no_empty_index(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TRACKER", "interrupt:1")
    with pytest.raises(KeyboardInterrupt):
        build_fake(table, table.parent / "index")
    with pytest.raises(IndexFolderError, match="has not finished"):
        open_index(table.parent / "index")


# ------------------------------------------------------------------------------------------------------ how it works


def test_shards_are_written_on_the_way(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_writer, "SHARD_PHOTOGRAPHS", 3)
    build_fake(table, table.parent / "index")
    assert len(list((table.parent / "index" / "shards").glob("*.parquet"))) == 4
    monkeypatch.setattr(shard_writer, "SHARD_PHOTOGRAPHS", 256)
    monkeypatch.setattr(shard_writer, "SHARD_SECONDS", 0.0)
    build_fake(table, table.parent / "other")
    assert len(list((table.parent / "other" / "shards").glob("*.parquet"))) == 10
    assert_same(table.parent / "index", table.parent / "other")


def test_few_memories_and_one_photograph_are_held(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[FakeMemory]] = []
    remember, propagate = FakeTracker.remember, FakeTracker.propagate

    def remembering(self: FakeTracker, supports: Sequence[object]) -> FakeMemory:
        gc.collect()
        assert len([memory for memory in alive if memory() is not None]) <= 1  # All groups are laid like the first.
        memory = remember(self, supports)  # type: ignore[arg-type]
        alive.append(weakref.ref(memory))
        return memory

    def propagating(self: FakeTracker, memory: FakeMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        assert len(images) == 1
        return propagate(self, memory, images)

    monkeypatch.setattr(FakeTracker, "remember", remembering)
    monkeypatch.setattr(FakeTracker, "propagate", propagating)
    build_fake(table, table.parent / "index", replace(FAKES, workers=1))
    assert len(alive) == 2  # Once a group.


def test_two_groups_are_prepared_at_the_same_time(table: Path, ten: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, remember, groups = threading.Barrier(2, timeout=60), FakeTracker.remember, []

    def remembering(self: FakeTracker, supports: Sequence[Support]) -> FakeMemory:
        groups.append(supports[0].individual)
        both.wait()  # Breaks where the second group is remembered after the first.
        return remember(self, supports)

    monkeypatch.setattr(FakeTracker, "remember", remembering)
    for model in (FakeTracker, FakeEmbedder):
        monkeypatch.setattr(model, "concurrent", True, raising=False)
    build_fake(table, table.parent / "index", replace(FAKES, workers=4))
    assert sorted(groups) == ["b0", "r0"]  # Each once, the reference too, though the other is laid like it.
    assert_same(table.parent / "index", ten / "index")


def test_progress_is_told(table: Path) -> None:
    told: list[tuple[str, int, int]] = []
    (table.parent / "images" / "r1.png").write_bytes(b"no picture")
    build_index(
        table,
        table.parent / "supports",
        table.parent / "index",
        settings=FAKES,
        progress=lambda stage, done, total: told.append((stage, done, total)),
    )
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["looking for new photographs", "finding traits", "making them searchable"]
    assert [done for stage, done, total in told if stage == "finding traits"] == list(range(1, 11))
    assert told[-1][1:] == (1, 1)


@pytest.mark.parametrize("group", ["red", "blue"])
def test_progress_reaches_its_total_though_a_group_is_left_alone(table: Path, group: str) -> None:
    told: list[tuple[str, int, int]] = []
    build_index(
        table,
        table.parent / "supports",
        table.parent / "index",
        settings=replace(FAKES, groups=(group,)),
        progress=lambda stage, done, total: told.append((stage, done, total)),
    )
    looked_at = [(done, total) for stage, done, total in told if stage == "looking for new photographs"]
    assert looked_at == [(number, 10) for number in range(1, 11)]


def test_the_report_says_which_propagator_it_was(table: Path) -> None:
    report = build_fake(table, table.parent / "index")
    assert report.propagator == "fake tracker"
    assert report.as_dict()["processed"] == 10
    assert report.peak_memory > 10_000_000
    json.dumps(report.as_dict())


# ---------------------------------------------------------------------------------------------------------- engines


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sam3", "choose dense"),
        ("nowhere.models:Tracker", "PYTHONPATH"),
        ("fakes:Nothing", "Nothing"),
        ("fakes:NUMBERS", "not a class"),
        ("fakes:Half", "propagate, remember"),
        ("fakes:", "module:Name"),
    ],
)
def test_an_unknown_propagator_is_refused_with_a_way_out(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_engines(name, "fakes:FakeEmbedder")


def test_ones_own_models_are_loaded_by_name() -> None:
    engines = load_engines("fakes:FakeTracker", "fakes:FakeEmbedder", "cpu")
    assert isinstance(engines.propagator, FakeTracker)
    assert isinstance(engines.embedder, FakeEmbedder)
    assert engines.propagator.device == "cpu"
    assert engines.weights == {}


def test_the_default_models_share_one_network() -> None:
    engines = load_engines("dense", "efficientnet", "cpu")
    assert engines.propagator.trunk is engines.embedder.trunk  # type: ignore[attr-defined]
    assert len(engines.weights["propagator"]["sha256"]) == 64
    assert engines.device == "cpu"
