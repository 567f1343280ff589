"""Reviews of individuals: what people decide on them counts at once, and the next build takes it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import a_collection_of, build_fake
from trays import BODY, COLLECTION, SIZE, a_collection_of_trays, build_trays, paint_tray, write_photograph

from sst_retrieval.errors import ImageError, QueryError
from sst_retrieval.imaging import masks
from sst_retrieval.index import reviewed_individuals
from sst_retrieval.index.store import Store
from sst_retrieval.search.index import Index, open_index

MARY = "Mary"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return a_collection_of_trays(tmp_path)


@pytest.fixture
def folder(table: Path) -> Path:
    """An index of trays; t2 shows two beetles that are a pixel apart, t3 none."""
    build_trays(table, table.parent / "index")
    return table.parent / "index"


def bodies(photograph: str) -> list[np.ndarray]:
    return [beetle["body"] for beetle in paint_tray(COLLECTION[photograph])[1]]


def block(x: int, y: int, width: int = BODY[1], height: int = BODY[0]) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[y : y + height, x : x + width] = True
    return mask


def hits(index: Index, like: str = "t0#1") -> list[str]:
    return sorted(hit.individual for hit in index.search(like=(like, "spot"), k=99, per="individual"))


def there(index: Index) -> dict[str, np.ndarray]:
    """Individual -> its outline."""
    found = {}
    for each in index.individuals():
        assert each.outline is not None
        assert each.size is not None
        found[each.id] = masks.decode(each.outline, each.size)
    return found


def build_again(folder: Path, *, work: int) -> None:
    report = build_trays(folder.parent / "collection.csv", folder)
    assert report.processed == work


EVERYONE = sorted(f"{name}#{at + 1}" for name, corners in COLLECTION.items() for at in range(len(corners)))
OTHERS = [name for name in EVERYONE if name != "t0#1"]


# ---------------------------------------------------------------------------------------------------------- decisions


def test_a_rejected_individual_is_gone_at_once_and_from_the_next_build(folder: Path) -> None:
    with open_index(folder) as index:
        assert hits(index) == OTHERS
        index.review_individual("t1#2", "reject", reviewer=MARY, comment="a label")
        assert hits(index) == [name for name in OTHERS if name != "t1#2"]
        assert index.pending_individuals() == {"t1#2": "reject"}
        assert [(each.individual, each.decision) for each in index.individual_reviews()] == [("t1#2", "reject")]
    with open_index(folder) as index:
        assert "t1#2" not in hits(index)
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert sorted(there(index)) == [name for name in EVERYONE if name != "t1#2"]
        assert hits(index) == [name for name in OTHERS if name != "t1#2"]
        assert index.pending_individuals() == {}
        assert [each.individual for each in index.individual_reviews("t1")] == ["t1#2"]
        assert np.array_equal(there(index)["t1#3"], bodies("t1")[2])
    build_again(folder, work=0)


def test_a_rejection_is_withdrawn_before_and_after_a_build(folder: Path) -> None:
    with open_index(folder) as index:
        index.review_individual("t1#2", "reject", reviewer=MARY)
        index.review_individual("t1#2", "reopen", reviewer=MARY)
        assert hits(index) == OTHERS
        assert index.pending_individuals() == {}
    build_again(folder, work=0)
    with open_index(folder) as index:
        index.review_individual("t1#2", "reject", reviewer=MARY)
    build_again(folder, work=1)
    with open_index(folder) as index:
        index.review_individual("t1#2", "reopen", reviewer=MARY)
        assert index.pending_individuals() == {"t1#2": "reopen"}
        assert "t1#2" not in hits(index)
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert hits(index) == OTHERS
        assert np.array_equal(there(index)["t1#2"], bodies("t1")[1])


def test_a_redrawn_outline_is_used_and_the_individual_is_a_hit_again(folder: Path) -> None:
    """The new outline leaves the bar out; the spot reaches to its very edge."""
    (x, y), outline = COLLECTION["t1"][1], bodies("t1")[1]
    outline[y + 11 :] = False
    with open_index(folder) as index:
        index.review_individual("t1#2", "redraw", reviewer=MARY, outline=outline)
        assert "t1#2" not in hits(index)
        assert index.pending_individuals() == {"t1#2": "redraw"}
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert np.array_equal(there(index)["t1#2"], outline)
        assert index.individual("t1#2").box == (x, y, x + BODY[1], y + 11)
        assert hits(index) == OTHERS
        assert not index.region("t1#2", "bar").present
        assert index.region("t1#2", "spot").measurements["area_px"] == 49
        assert index.pending_individuals() == {}
    build_again(folder, work=0)


def test_a_trait_does_not_leave_an_outline_that_a_person_drew(folder: Path) -> None:
    """Traits may reach a little out of what a finder finds, but a person's outline is meant."""
    outline = np.logical_or(*bodies("t2"))
    outline[COLLECTION["t2"][0][1] + 10 :] = False  # Through the last row of the spots.
    with open_index(folder) as index:
        index.review_individual("t2#1", "redraw", reviewer=MARY, outline=outline)
        index.review_individual("t2#2", "reject", reviewer=MARY)
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert np.array_equal(there(index)["t2#1"], outline)
        assert "t2#1" in hits(index)
        assert index.mask("t2#1", "spot").sum() == 84


def test_an_accepted_individual_stays_a_hit_through_every_build(folder: Path) -> None:
    with open_index(folder) as index:
        index.review_individual("t1#2", "accept", reviewer=MARY)
        assert hits(index) == OTHERS
        assert index.pending_individuals() == {}
        index.review_individual("t1#3", "reject", reviewer=MARY)
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert hits(index) == [name for name in OTHERS if name != "t1#3"]
        assert np.array_equal(there(index)["t1#2"], bodies("t1")[1])


def test_an_added_individual_gets_its_traits_and_a_number_of_its_own(table: Path) -> None:
    """One that was taken away is drawn again, and bare paper is drawn on."""
    folder = table.parent / "index"
    build_trays(table, folder)
    with open_index(folder) as index:
        index.review_individual("t4#1", "reject", reviewer=MARY)
    build_again(folder, work=1)
    with open_index(folder) as index:
        # The one at number 1 was taken away; drawn again it is a new one.
        name = index.add_individual("t4", bodies("t4")[0], reviewer=MARY)
        assert name == "t4#3"
        assert index.pending_individuals() == {"t4#3": "redraw"}
        assert index.add_individual("t4", block(60, 60), reviewer=MARY) == "t4#4"
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert [each.number for each in index.individuals() if each.photograph.id == "t4"] == [2, 3, 4]
        assert index.mask("t4#3", "spot").sum() == 49
        assert not index.region("t4#4", "spot").present
        assert "t4#3" in hits(index)
        assert index.search(like=("t4#3", "spot"), per="individual")[0].similarity > 0.99
        assert index.thumbnail("t4#3") is not None


def test_two_programs_that_add_at_once_have_two_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has read what is there before the other has written, unless one waits for the other."""
    looking = reviewed_individuals._refuse_taken

    def slowly(*arguments: Any) -> None:
        looking(*arguments)
        time.sleep(0.3)

    monkeypatch.setattr(reviewed_individuals, "_refuse_taken", slowly)
    with open_index(folder) as one, open_index(folder) as other, ThreadPoolExecutor(2) as both:
        first = both.submit(one.add_individual, "t4", block(60, 60), reviewer=MARY)
        second = both.submit(other.add_individual, "t4", block(80, 10), reviewer="John")
        assert {first.result(), second.result()} == {"t4#3", "t4#4"}


def test_one_is_added_to_a_row_that_names_a_place(table: Path) -> None:
    head, *rows = table.read_text().splitlines()
    shared = next(row for row in rows if row.startswith("t4"))
    places = [(row, "") for row in rows if row != shared]
    places += [(shared, "0 0 40 96"), (shared.replace("t4", "t5", 1), "40 0 96 96")]
    table.write_text("\n".join([f"{head},box", *(f"{row},{box}" for row, box in places)]) + "\n")
    folder = table.parent / "index"
    build_trays(table, folder)
    with open_index(folder) as index:
        assert [name for name in there(index) if name > "t4"] == ["t4#1", "t5#1"]
        assert index.add_individual("t4", block(60, 60), reviewer=MARY) == "t4#2"
        assert index.pending_individuals() == {"t4#2": "redraw"}
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert [name for name in there(index) if name > "t4"] == ["t4#1", "t4#2", "t5#1"]
        assert index.pending_individuals() == {}


def test_one_is_added_where_none_was_found(folder: Path) -> None:
    with open_index(folder) as index:
        assert index.add_individual("t3", block(30, 40), reviewer=MARY) == "t3#1"
        assert index.add_individual("t3", block(90, 40), reviewer=MARY) == "t3#2"
        assert index.pending_individuals("t3") == {"t3#1": "redraw", "t3#2": "redraw"}
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert index.individual("t3#1").box == (30, 40, 50, 68)
        assert index.pending_individuals() == {}
        index.review_individual("t3#1", "reject", reviewer=MARY)
        index.review_individual("t3#2", "reopen", reviewer=MARY)
        assert index.pending_individuals() == {"t3#1": "reject", "t3#2": "reopen"}
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert "t3#1" not in there(index)
        assert "t3#2" not in there(index)
        assert index.pending_individuals() == {}


def test_an_added_one_is_drawn_anew_before_the_build(folder: Path) -> None:
    with open_index(folder) as index:
        name = index.add_individual("t3", block(30, 40), reviewer=MARY)
        index.review_individual(name, "redraw", reviewer=MARY, outline=block(32, 44))
        assert index.pending_individuals() == {name: "redraw"}
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert index.individual("t3#1").box == (32, 44, 52, 72)


def test_an_added_one_is_withdrawn_before_the_build(folder: Path) -> None:
    with open_index(folder) as index:
        name = index.add_individual("t3", block(30, 40), reviewer=MARY)
        index.review_individual(name, "reopen", reviewer=MARY)
        assert index.pending_individuals() == {}
        assert index.individual_reviews() == []
    build_again(folder, work=0)


def test_one_that_was_two_is_split(folder: Path) -> None:
    """Redraw the one, add the other: here both halves of a beetle of t1."""
    y, whole = COLLECTION["t1"][1][1], bodies("t1")[1]
    upper, lower = whole.copy(), whole.copy()
    upper[y + 14 :], lower[: y + 14] = False, False
    with open_index(folder) as index:
        index.review_individual("t1#2", "redraw", reviewer=MARY, outline=upper)
        assert index.add_individual("t1", lower, reviewer=MARY) == "t1#4"
    build_again(folder, work=1)
    with open_index(folder) as index:
        found = there(index)
        assert [name for name in found if name.startswith("t1")] == ["t1#1", "t1#2", "t1#3", "t1#4"]
        assert np.array_equal(found["t1#2"], upper)
        assert np.array_equal(found["t1#4"], lower)
        assert index.region("t1#2", "spot").present
        assert not index.region("t1#2", "bar").present
        assert index.region("t1#4", "bar").present
        assert np.array_equal(found["t1#3"], bodies("t1")[2])


def test_two_that_are_one_are_merged(folder: Path) -> None:
    """Redraw the one with the outline of both, reject the other."""
    both = np.logical_or(*bodies("t2"))
    with open_index(folder) as index:
        index.review_individual("t2#1", "redraw", reviewer=MARY, outline=both)
        index.review_individual("t2#2", "reject", reviewer=MARY)
    build_again(folder, work=1)
    with open_index(folder) as index:
        found = there(index)
        assert [name for name in found if name.startswith("t2")] == ["t2#1"]
        assert np.array_equal(found["t2#1"], both)
        assert index.mask("t2#1", "spot").sum() == 98


def test_a_neighbour_does_not_get_the_number_of_one_that_was_decided_on(folder: Path) -> None:
    """The mask reviewed under the rejected number reaches into the neighbour's box."""
    wide = np.zeros(SIZE, dtype=bool)
    wide[55:60, 25:50] = True
    with open_index(folder) as index:
        index.review("t2#1", "bar", "redraw", reviewer=MARY, mask=wide)
        index.review_individual("t2#1", "reject", reviewer=MARY)
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert [name for name in there(index) if name.startswith("t2")] == ["t2#2"]
        index.review_individual("t2#1", "redraw", reviewer=MARY, outline=bodies("t2")[0])
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert [name for name in there(index) if name.startswith("t2")] == ["t2#1", "t2#2"]


def test_two_builds_agree(folder: Path) -> None:
    """One that goes on from an older generation, and one from nothing but the record."""
    with open_index(folder) as index:
        index.review_individual("t1#2", "reject", reviewer=MARY)
        index.review_individual("t2#1", "redraw", reviewer=MARY, outline=np.logical_or(*bodies("t2")))
        index.review_individual("t2#2", "reject", reviewer=MARY)
        index.add_individual("t3", block(30, 40), reviewer=MARY)
    build_again(folder, work=3)
    other = folder.parent / "other"
    build_trays(folder.parent / "collection.csv", other)
    (other / "reviews").mkdir(exist_ok=True)
    (other / "reviews" / "decisions.jsonl").write_bytes((folder / "reviews" / "decisions.jsonl").read_bytes())
    build_again(other, work=3)
    with open_index(folder) as one, open_index(other) as another:
        assert sorted(there(one)) == sorted(there(another))
        for name, outline in there(one).items():
            assert np.array_equal(outline, there(another)[name])
            for trait in one.traits:
                assert np.array_equal(one.mask(name, trait), another.mask(name, trait))
        assert hits(one) == hits(another)


def test_a_decision_belongs_to_the_photograph_s_content(folder: Path) -> None:
    with open_index(folder) as index:
        index.review_individual("t1#2", "reject", reviewer=MARY)
    write_photograph(folder.parent, "t1", [(10, 10), (60, 40)])
    build_again(folder, work=1)
    with open_index(folder) as index:
        assert {"t1#1", "t1#2"} < set(there(index))
        assert "t1#2" in hits(index)
        assert index.individual_reviews() == []
        assert index.pending_individuals() == {}


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "decision", "why"),
    [
        ("t1#9", "reject", "no specimen 't1#9'"),
        ("t1", "reject", "3 individuals; name one"),
        ("t1#2", "delete", "is no decision"),
        ("t1#2", "redraw", "a mask belongs to"),
        ("t0#1", "reject", "annotated in the supports"),
    ],
)
def test_what_cannot_be_decided(folder: Path, name: str, decision: str, why: str) -> None:
    with open_index(folder) as index:
        with pytest.raises(QueryError, match=why):
            index.review_individual(name, decision, reviewer=MARY)
        assert index.individual_reviews() == []


def test_outlines_that_do_not_fit(folder: Path) -> None:
    with open_index(folder) as index:
        with pytest.raises(QueryError, match="the outline is empty"):
            index.add_individual("t1", np.zeros(SIZE, dtype=bool), reviewer=MARY)
        with pytest.raises(QueryError, match="draw on the photograph at its own size"):
            index.add_individual("t1", np.ones((10, 10), dtype=bool), reviewer=MARY)
        with pytest.raises(QueryError, match="say who decides"):
            index.add_individual("t1", block(30, 60), reviewer=" ")
        with pytest.raises(QueryError, match="no photograph 'x'"):
            index.add_individual("x", block(30, 60), reviewer=MARY)
        index.add_individual("t1", block(30, 60), reviewer=MARY)
        with pytest.raises(QueryError, match=r"200 px of the outline belong to t1#4, which Mary has decided on"):
            index.add_individual("t1", block(40, 60, 20, 20), reviewer=MARY)


def test_an_individual_that_is_the_whole_photograph_is_not_decided_on(tmp_path: Path) -> None:
    build_fake(a_collection_of(tmp_path), tmp_path / "index")
    with open_index(tmp_path / "index") as index:
        with pytest.raises(QueryError, match="only individual of its photograph"):
            index.review_individual("r1", "reject", reviewer=MARY)
        with pytest.raises(QueryError, match="only individual of its photograph"):
            index.add_individual("r1", np.ones((40, 60), dtype=bool), reviewer=MARY)


def test_a_photograph_that_was_skipped_or_is_not_there(table: Path) -> None:
    (table.parent / "images" / "t4.png").write_bytes(b"no picture")
    folder = table.parent / "index"
    build_trays(table, folder)
    (table.parent / "images" / "t3.png").unlink()
    with open_index(folder) as index:
        with pytest.raises(QueryError, match="t4 is not indexed; it was skipped"):
            index.add_individual("t4", block(1, 1), reviewer=MARY)
        with pytest.raises(ImageError, match=r"no longer at .*t3\.png"):
            index.add_individual("t3", block(1, 1), reviewer=MARY)
    assert Store.open(folder).reviews() == ()


def test_what_is_withdrawn_must_have_been_decided(folder: Path) -> None:
    with open_index(folder) as index, pytest.raises(QueryError, match="nobody has decided on t1#2"):
        index.review_individual("t1#2", "reopen", reviewer=MARY)
