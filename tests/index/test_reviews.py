from __future__ import annotations

import json
from pathlib import Path
from threading import Event, Lock, Thread

import duckdb
import numpy as np
import pytest
from fakes import FAKES, PATIENCE, a_collection_of, build_fake, every_region, same_region
from invented import a_collection, a_region, built

from sst_retrieval.build.pipeline import build_index
from sst_retrieval.build.regions import replace_reviewed
from sst_retrieval.errors import IndexFolderError, QueryError
from sst_retrieval.export import export_masks
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.foreground import frame_specimen
from sst_retrieval.imaging.images import read_labels
from sst_retrieval.index.origin import index_state
from sst_retrieval.index.reviews import Review, append_reviews, latest_reviews, read_reviews
from sst_retrieval.index.store import Store
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.types import Propagated

IDS = ["a", "b", "c", "d"]


def a_review(specimen: str = "a", decision: str = "accept", content: str = "c", second: int = 0) -> Review:
    rle = masks.encode(np.eye(6, 9, dtype=bool))
    time = f"2026-11-23T00:00:{second:02}+00:00"
    return Review(specimen, "wing", content, decision, "Mary", time, (6, 9), rle, "why")


@pytest.fixture
def index_folder(tmp_path: Path) -> Path:
    built(tmp_path / "index", [a_region(name) for name in IDS])
    return tmp_path / "index"


def hits(index: Index, **how: object) -> list[str]:
    return sorted(hit.individual for hit in index.search(like=("a", "wing"), k=9, **how))  # type: ignore[arg-type]


def test_a_mask_that_a_person_settled_did_not_go_there_and_back() -> None:
    two = np.zeros((2, 6, 9), dtype=bool)
    cycle = np.array([0.5, 0.75], dtype=np.float32)
    frame = frame_specimen(np.zeros((6, 9, 3), dtype=np.uint8))
    found = Propagated(two, np.array([0.4, 0.6], dtype=np.float32), frame, cycle)
    left = replace_reviewed(found, ["wing", "leg"], [a_review()])
    assert left.cycle is not None
    assert np.isnan(left.cycle[0])
    assert left.cycle[1] == 0.75
    alone = replace_reviewed(found, ["wing", "leg"], [])
    assert np.array_equal(alone.cycle, cycle)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------ the record


def test_the_record_gives_back_what_was_decided(tmp_path: Path) -> None:
    first, second = a_review(), a_review("Ünal 7", "reject", second=1)
    append_reviews(tmp_path / "reviews" / "decisions.jsonl", [first])
    append_reviews(tmp_path / "reviews" / "decisions.jsonl", [second])
    assert read_reviews(tmp_path / "reviews" / "decisions.jsonl") == (first, second)


def test_the_last_decision_counts_and_can_be_withdrawn() -> None:
    assert latest_reviews([a_review(), a_review(decision="reject")]) == {
        ("a", "wing", "c"): a_review(decision="reject")
    }
    assert latest_reviews([a_review(), a_review(decision="reopen")]) == {}
    other_photograph = a_review(content="another", decision="reject")
    assert latest_reviews([a_review(), other_photograph])["a", "wing", "c"].decision == "accept"


def test_a_line_that_was_cut_short_is_no_decision_and_spoils_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    append_reviews(path, [a_review()])
    with path.open("ab") as file:
        file.write(a_review("b").to_json().encode()[:40])
    assert read_reviews(path) == (a_review(),)
    append_reviews(path, [a_review("c")])
    assert read_reviews(path) == (a_review(), a_review("c"))


@pytest.mark.parametrize("line", ["{}", "[1]", "nonsense", '{"mask": 3}', json.dumps({"decision": "maybe"})])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(a_review().to_json() + "\n" + line + "\n")
    with pytest.raises(IndexFolderError, match="line 2"):
        read_reviews(path)


def test_an_unknown_decision_is_named(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(a_review(decision="maybe").to_json() + "\n")
    with pytest.raises(IndexFolderError, match=r"line 1.*'maybe'"):
        read_reviews(path)


# ------------------------------------------------------------------------------------------------------- searching


def test_a_rejected_region_is_no_hit_from_now_on(index_folder: Path) -> None:
    with open_index(index_folder) as index:
        assert hits(index) == ["b", "c", "d"]
        before = index.state
        index.review("b", "wing", "reject", reviewer="Mary")
        assert hits(index) == hits(index, where="true") == ["c", "d"]
        assert index.measurements("wing")["specimen"].tolist() == ["a", "c", "d"]
        assert index.state != before
    with open_index(index_folder) as again:
        assert hits(again) == ["c", "d"]
        again.review("b", "wing", "reopen", reviewer="Mary")
        assert hits(again) == ["b", "c", "d"]


def test_predicates_see_the_reviews_of_now(index_folder: Path) -> None:
    with open_index(index_folder) as index:
        assert hits(index, where="review IS NULL") == ["b", "c", "d"]
        index.review("b", "wing", "accept", reviewer="Mary")
        index.review("c", "wing", "reject", reviewer="Mary")
        assert hits(index, where="review = 'accepted'") == ["b"]
        assert hits(index, where="REVIEW IS NULL") == ["d"]
        assert hits(index, where="review = 'rejected'") == []
        assert index.measurements("wing", where="review = 'accepted'")["specimen"].tolist() == ["b"]
        assert dict(zip(index.table()["sst:specimen"], index.table()["sst:review"], strict=True)) == {
            **{"a": "", "b": "accepted", "c": "rejected", "d": ""}
        }


def test_the_next_commit_writes_the_reviews_into_the_catalog(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region(name) for name in IDS])
    store.add_reviews([a_review("b", "accept"), a_review("d", "reject", content="another photograph")])
    with store.lock():
        store.append([])
        store.commit(a_collection(IDS), numbers={"wing": 7}, provenance={})
    with duckdb.connect(str(store.paths.generation(2).catalog_file), read_only=True) as catalog:
        rows = catalog.execute("SELECT individual, review, reviewer FROM reviews").fetchall()
        assert rows == [("b", "accepted", "Mary")]
        rows = catalog.execute("SELECT specimen FROM searchable WHERE review = 'accepted'").fetchall()
        assert rows == [("b",)]


def test_a_column_review_of_the_collection_is_the_one_that_is_meant(tmp_path: Path) -> None:
    collection = a_collection(["a", "b"], {"Review": "VARCHAR"}, Review=["lovely", "dull"])
    built(tmp_path / "index", [a_region("a"), a_region("b")], collection)
    with open_index(tmp_path / "index") as index:
        index.review("b", "wing", "accept", reviewer="Mary")
        assert hits(index, where="review = 'dull'") == ["b"]


def test_a_decision_on_another_photograph_does_not_count(index_folder: Path) -> None:
    append_reviews(index_folder / "reviews" / "decisions.jsonl", [a_review("b", "reject", content="another")])
    with open_index(index_folder) as index:
        assert hits(index) == ["b", "c", "d"]
        assert index.reviews() == []


def test_of_two_who_decide_at_once_neither_is_forgotten(index_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_has_read, second_waits_or_is_done, read = Event(), Event(), Store.reviews

    class Door:
        """A lock that says when somebody stands before it."""

        def __init__(self) -> None:
            self.lock = Lock()

        def __enter__(self) -> None:
            if not self.lock.acquire(blocking=False):
                second_waits_or_is_done.set()
                self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    def slowly(store: Store) -> tuple[Review, ...]:
        record = read(store)
        if len(record) == 1:
            first_has_read.set()
            assert second_waits_or_is_done.wait(PATIENCE)
        return record

    with open_index(index_folder) as index:
        monkeypatch.setattr(index._reader, "review_lock", Door())
        monkeypatch.setattr(Store, "reviews", slowly)
        first = Thread(target=index.review, args=("b", "wing", "reject"), kwargs={"reviewer": "Mary"})
        first.start()
        assert first_has_read.wait(PATIENCE)
        index.review("c", "wing", "reject", reviewer="Ann")
        second_waits_or_is_done.set()
        first.join()
        assert hits(index) == ["d"]


def test_a_decision_that_comes_while_another_is_kept_looks_new(
    index_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, path = Store.reviews, index_folder / "reviews" / "decisions.jsonl"

    def then_another(store: Store) -> tuple[Review, ...]:
        record = read(store)
        append_reviews(path, [a_review("d", "reject")])
        return record

    with open_index(index_folder) as index:
        monkeypatch.setattr(Store, "reviews", then_another)
        index.review("b", "wing", "reject", reviewer="Mary")
        assert hits(index) == ["c", "d"]
        assert index.state != index_state(index_folder)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"specimen": "z"}, "no specimen 'z'"),
        ({"decision": "maybe"}, "'maybe' is no decision"),
        ({"reviewer": "  "}, "who decides"),
        ({"decision": "redraw"}, "belongs to"),
        ({"mask": np.ones((6, 9), dtype=bool)}, "belongs to"),
        ({"decision": "redraw", "mask": np.ones((9, 6), dtype=bool)}, "6 x 9 px, the photograph 9 x 6"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(index_folder: Path, how: dict[str, object], complaint: str) -> None:
    given = {"specimen": "a", "trait": "wing", "decision": "accept", "reviewer": "Mary", **how}
    with open_index(index_folder) as index:
        with pytest.raises(QueryError, match=complaint):
            index.review(**given)  # type: ignore[arg-type]
        assert index.reviews() == []


# -------------------------------------------------------------------------------------------------------- building


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    return a_collection_of(tmp_path / "collection", [("r0", "red"), ("r1", "red"), ("r2", "red")])


def test_a_redrawn_mask_takes_the_place_of_the_one_found(collection: Path, tmp_path: Path) -> None:
    path = tmp_path / "index"
    build_fake(collection, path)
    drawn = np.zeros((40, 60), dtype=bool)
    drawn[20:30, 15:30] = True
    with open_index(path) as index:
        index.review("r1", "spot", "redraw", reviewer="Mary", mask=drawn)
        assert np.array_equal(index.mask("r1", "spot"), drawn)
        assert "r1" not in [hit.individual for hit in index.search(like=("r0", "spot"))]
        old = index.crop("r1", "spot")
    report = build_fake(collection, path)
    assert (report.processed, report.reused) == (1, 2)
    with open_index(path) as index:
        region = index.region("r1", "spot")
        assert np.array_equal(index.mask("r1", "spot"), drawn)
        assert region.confidence == 1
        assert region.measurements["area_px"] == drawn.sum()
        assert "r1" in [hit.individual for hit in index.search(like=("r0", "spot"))]
        assert index.crop("r1", "spot") != old
    assert build_fake(collection, path).processed == 0


def test_decisions_outlive_a_rebuild_with_another_model(collection: Path, tmp_path: Path) -> None:
    path = tmp_path / "index"
    build_fake(collection, path)
    with open_index(path) as index:
        index.review("r1", "spot", "accept", reviewer="Mary")
        index.review("r2", "spot", "reject", reviewer="Mary")
        accepted = index.mask("r1", "spot")
    other = type(FAKES)(propagator="fakes:BlindTracker", embedder="fakes:FakeEmbedder", rebuild=True)
    build_index(collection, collection.parent / "supports", path, settings=other)
    with open_index(path) as index:
        assert np.array_equal(index.mask("r1", "spot"), accepted)
        assert not index.mask("r1", "bar").any()
        decided = {(review.individual, review.trait): review.decision for review in index.reviews()}
        assert decided == {("r1", "spot"): "accept", ("r2", "spot"): "reject"}


def test_reviews_change_nothing_else(collection: Path, tmp_path: Path) -> None:
    build_fake(collection, tmp_path / "index")
    before = every_region(tmp_path / "index")
    with open_index(tmp_path / "index") as index:
        smaller = index.mask("r1", "spot")
        smaller[: np.flatnonzero(smaller.any(axis=1))[0] + 1] = False
        index.review("r1", "spot", "redraw", reviewer="Mary", mask=smaller)
    build_fake(collection, tmp_path / "index")
    after = every_region(tmp_path / "index")
    changed = {name for name in before if not same_region(before[name], after[name])}
    assert changed == {("r1", "spot")}


def test_a_rejected_region_is_not_exported(collection: Path, tmp_path: Path) -> None:
    build_fake(collection, tmp_path / "index")
    with open_index(tmp_path / "index") as index:
        index.review("r1", "spot", "reject", reviewer="Mary")
        export_masks(index, tmp_path / "masks")
    assert set(np.unique(read_labels(tmp_path / "masks" / "r1.png"))) == {0, 3}
    assert set(np.unique(read_labels(tmp_path / "masks" / "r2.png"))) == {0, 3, 7}


def test_traits_have_small_pictures_of_their_own(collection: Path, tmp_path: Path) -> None:
    build_fake(collection, tmp_path / "index")
    with open_index(tmp_path / "index") as index:
        assert index.crop("r1", "spot") is not None
        assert index.crop("r1", "spot") != index.crop("r1", "bar")
        assert index.thumbnail("r1") is not None
