from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import BLOCKS, DIM, SETTINGS, a_collection, a_mask, a_region, a_vector, built, rows, unit

from sst_retrieval.cli.index_scores import score_retrieval
from sst_retrieval.errors import ImageError, IndexFolderError, QueryError
from sst_retrieval.evaluate import average_precision
from sst_retrieval.export import export_table
from sst_retrieval.imaging.images import write_png
from sst_retrieval.index.store import Store
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.types import Skipped

IDS = [f"CAM {number:03d}" for number in range(60)]
SEX = ["female" if number % 3 else "male" for number in range(60)]
MASS = [number / 10 for number in range(60)]
UNSEEN = {IDS[7], IDS[20]}
SKIPPED = [
    Skipped("left out", "image", "the table names no photograph for it"),
    Skipped(IDS[59], "support", "no support"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("query") / "index"
    regions = [a_region(name, "wing", present=name not in UNSEEN) for name in IDS[:59]]
    regions += [a_region(name, "spot") for name in IDS[:30]]
    table = a_collection(IDS, {"sex": "VARCHAR", "mass": "DOUBLE"}, sex=SEX, mass=MASS)
    built(path, regions, table, skipped=SKIPPED, numbers={"wing": 2, "spot": 9})
    return path


def cosines(query: np.ndarray, specimen: str, trait: str = "wing") -> np.ndarray:
    """One cosine a block, in double precision."""
    stored = a_region(specimen, trait).vector
    assert stored is not None
    edges = pairwise(np.cumsum([0, *BLOCKS.values()]))
    parts = [(query[a:b].astype(float), stored[a:b].astype(float)) for a, b in edges]
    return np.array([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in parts])


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_search_agrees_with_brute_force(index: Index, data: st.DataObject) -> None:
    query = data.draw(st.sampled_from(sorted(set(IDS[:59]) - UNSEEN)))
    weights = data.draw(
        st.dictionaries(st.sampled_from(sorted(BLOCKS)), st.sampled_from([0.0, 0.2, 1.0, 5.0]), min_size=1)
    )
    k = data.draw(st.integers(1, 70))
    least = data.draw(st.sampled_from([0.0, 0.5, 3.0, 5.75]))
    sex = data.draw(st.sampled_from([None, "male", "female"]))
    where = f"mass >= {least}" + (f" AND sex = '{sex}'" if sex else "")
    if not any(weights.values()):
        with pytest.raises(QueryError):
            index.search(like=(query, "wing"), weights=weights)
        return
    hits = index.search(like=(query, "wing"), k=k, where=where, weights=weights)
    shares = np.array([weights.get(block, 0) for block in BLOCKS]) / sum(weights.values())
    vector = a_region(query, "wing").vector
    assert vector is not None
    expected = sorted(
        (-round(float(cosines(vector, name) @ shares), 9), name)
        for name, of_sex, mass in zip(IDS[:59], SEX, MASS, strict=False)
        if name not in UNSEEN and name != query and mass >= least and sex in (None, of_sex)
    )[:k]
    assert [hit.individual for hit in hits] == [name for _, name in expected]
    assert [hit.similarity for hit in hits] == pytest.approx([max(0, -score) for score, _ in expected], abs=2e-9)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    for hit in hits:
        assert list(hit.blocks.values()) == pytest.approx(cosines(vector, hit.individual), abs=1e-9)


def test_a_hit_carries_all_there_is_to_know(index: Index) -> None:
    hit = index.search(like=(IDS[0], "wing"), k=1, where=f"catalogNumber = '{IDS[5]}'")[0]
    assert (hit.rank, hit.individual, hit.trait, hit.confidence) == (1, IDS[5], "wing", 0.75)
    assert hit.metadata == {"catalogNumber": IDS[5], "sex": "female", "mass": 0.5}
    np.testing.assert_array_equal(hit.mask(), a_mask(IDS[5], "wing"))
    assert json.loads(json.dumps(hit.as_dict()))["blocks"].keys() == BLOCKS.keys()


def test_exactly_k_hits_come_whenever_k_match(index: Index) -> None:
    assert len(index.search(like=(IDS[0], "wing"), k=20, where="sex = 'male' OR mass > 4")) == 20
    # 3 specimens match, one of them is the query itself.
    assert [h.specimen for h in index.search(like=(IDS[1], "wing"), where="mass <= 0.2", k=12)].count(IDS[1]) == 0
    assert len(index.search(like=(IDS[1], "wing"), where="mass <= 0.2", k=12)) == 2
    assert index.search(like=(IDS[1], "wing"), where="mass > 99") == []


def test_the_query_may_be_a_region_of_another_trait(index: Index) -> None:
    hits = index.search(like=(IDS[0], "spot"), trait="wing", k=100)
    assert {hit.trait for hit in hits} == {"wing"}
    assert IDS[0] not in {hit.individual for hit in hits}
    assert len(hits) == 56


def test_a_photograph_from_elsewhere_is_found_by_its_vectors(index: Index) -> None:
    vector = a_region(IDS[3], "wing").vector
    assert vector is not None
    assert index.search(vectors=vector, trait="wing", k=1)[0].specimen == IDS[3]
    # Two readings: each region is judged by the one it resembles most.
    both = np.stack([a_vector(12345), vector])
    for hit in index.search(vectors=both, trait="wing", k=5):
        best = max(cosines(query, hit.individual).mean() for query in both)
        assert hit.similarity == pytest.approx(max(best, 0), abs=1e-9)


def test_similarity_is_never_below_zero_but_blocks_may_be(tmp_path: Path) -> None:
    vector = unit(np.arange(1, DIM + 1))
    built(
        tmp_path / "index", [a_region("a", vector=vector), a_region("b", vector=-vector), a_region("c", vector=-vector)]
    )
    with open_index(tmp_path / "index") as index:
        hits = index.search(like=("a", "wing"))
    assert [(hit.individual, hit.similarity) for hit in hits] == [("b", 0.0), ("c", 0.0)]
    assert hits[0].blocks == pytest.approx(dict.fromkeys(BLOCKS, -1.0))


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({}, "give `like`"),
        ({"unlike": (IDS[0], "wing")}, "give `like`"),
        ({"like": [(IDS[0], "wing"), (IDS[7], "wing")]}, "not found on CAM 007"),
        ({"like": (IDS[0], "wing"), "unlike": [(IDS[40], "spot")]}, "never looked for"),
        ({"like": ("CAM 0O1", "wing")}, r"no specimen 'CAM 0O1'; spelt most alike: CAM 0\d1"),
        ({"like": ("left out", "wing")}, "skipped .image.: the table names no photograph"),
        ({"like": (IDS[59], "wing")}, "skipped .support.: no support"),
        ({"like": (IDS[40], "spot")}, "never looked for"),
        ({"like": (IDS[7], "wing")}, "not found on CAM 007"),
        ({"like": (IDS[0], "leg")}, "no trait 'leg'; it has: wing, spot"),
        ({"like": (IDS[0], "wing"), "trait": "leg"}, "no trait 'leg'"),
        ({"vectors": a_vector(0)}, "which trait .*: wing, spot"),
        ({"vectors": np.ones(5), "trait": "wing"}, r"shape \(1, 5\)"),
        ({"vectors": np.ones((0, DIM)), "trait": "wing"}, r"shape \(0, 9\)"),
        ({"vectors": np.full(DIM, np.nan), "trait": "wing"}, "finite"),
        ({"like": (IDS[0], "wing"), "k": 0}, "at least 1"),
        ({"like": (IDS[0], "wing"), "weights": {"patern": 1}}, "no block 'patern'.*pattern, colour, shape"),
        ({"like": (IDS[0], "wing"), "weights": {"pattern": -1, "colour": 2}}, "0 or more"),
        ({"like": (IDS[0], "wing"), "weights": {"pattern": 0}}, "more than 0"),
        ({"like": (IDS[0], "wing"), "weights": {}}, "more than 0"),
        ({"like": (IDS[0], "wing"), "weights": {"pattern": float("nan")}}, "0 or more"),
        ({"like": (IDS[0], "wing"), "weights": {"pattern": float("inf")}}, "0 or more"),
        ({"like": (IDS[0], "wing"), "where": "sexx = 'male'"}, "(?s)sexx.*columns: "),
        ({"like": (IDS[0], "wing"), "where": ""}, "predicate"),
    ],
)
def test_a_wrong_question_is_explained(index: Index, how: dict[str, object], complaint: str) -> None:
    with pytest.raises(QueryError, match=complaint):
        index.search(**how)  # type: ignore[arg-type]


def test_regions_masks_and_specimens_come_back(index: Index) -> None:
    region, original = index.region(IDS[4], "spot"), a_region(IDS[4], "spot")
    np.testing.assert_array_equal(region.vector, original.vector)
    np.testing.assert_array_equal(index.mask(IDS[4], "spot"), a_mask(IDS[4], "spot"))
    assert index.region(IDS[7], "wing").vector is None
    assert not index.mask(IDS[7], "wing").any()
    assert index.individual(IDS[4]).metadata["mass"] == 0.4
    assert [row.id for row in index.individuals("mass < 0.15")] == IDS[:2]
    assert index.measurements("spot", "mass < 0.15")["area"].tolist() == [a_mask(n, "spot").sum() for n in IDS[:2]]


def test_info_tells_what_is_there(index: Index, folder: Path) -> None:
    info = json.loads(json.dumps(index.info()))
    assert info["traits"] == {
        "wing": {"number": 2, "present": 57, "absent": 2},
        "spot": {"number": 9, "present": 30, "absent": 0},
    }
    assert (info["specimens"], info["generation"]) == (60, 1)
    assert info["skipped"] == {"no support": 1, "the table names no photograph for it": 1}
    assert info["settings"] == SETTINGS
    assert info["blocks"] == BLOCKS
    assert index.size() == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert index.traits == ("wing", "spot")
    assert index.trait_numbers == {"wing": 2, "spot": 9}
    assert index.skipped() == sorted(SKIPPED, key=lambda row: row.photograph)


def test_what_an_index_says_of_itself_is_read_without_looking_through_its_files(
    index: Index, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def listed(path: Path | str = ".", *others: Any, **named: Any) -> Any:
            if Path(path).is_relative_to(folder):
                raise AssertionError("an index is looked through, which may take minutes on a network disk")
            return original(path, *others, **named)

        return listed

    with monkeypatch.context() as patched:
        for owner, name in [
            *((os, name) for name in ("walk", "scandir", "listdir", "fwalk")),
            *((Path, name) for name in ("glob", "rglob", "iterdir")),
        ]:
            patched.setattr(owner, name, guarded(getattr(owner, name)))
        assert index.info()["provenance"] == {"program": "test"}
        export_table(index, tmp_path / "table.csv")
        with pytest.raises(AssertionError, match="looked through"):
            index.size()


def test_a_photograph_that_was_moved_is_missed(index: Index) -> None:
    with pytest.raises(ImageError, match=r"no longer at .*0\.png.*--images"):
        index.photograph(IDS[0])


def test_a_photograph_is_read_from_where_it_lies(tmp_path: Path) -> None:
    photograph = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", photograph)
    table = a_collection(["a"])
    table = replace(table, photographs=(replace(table.photographs[0], image=tmp_path / "a.png"),))
    built(tmp_path / "index", [a_region("a")], table)
    with open_index(tmp_path / "index") as index:
        np.testing.assert_array_equal(index.photograph("a"), photograph)


def test_an_open_index_keeps_its_state_while_others_are_committed(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a"), a_region("b")])
    with open_index(tmp_path / "index") as before:
        for number in range(3):
            with store.lock():
                store.append(rows([a_region(f"new {number}"), a_region("b", vector=a_vector(number))]))
                store.commit(a_collection(["a", "b", f"new {number}"]), numbers={}, provenance={})
        assert not (tmp_path / "index" / "generations" / "0001").exists()
        assert [hit.individual for hit in before.search(like=("a", "wing"))] == ["b"]
        np.testing.assert_array_equal(before.region("b", "wing").vector, a_region("b").vector)
        np.testing.assert_array_equal(before.search(like=("a", "wing"))[0].mask(), a_mask("b", "wing"))
        with open_index(tmp_path / "index") as after:
            assert len(after.search(like=("a", "wing"))) == 4


def test_threads_may_share_an_index(index: Index) -> None:
    expected = [hit.individual for hit in index.search(like=(IDS[0], "wing"), where="mass > 1")]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: index.search(like=(IDS[0], "wing"), where="mass > 1"), range(40))
        assert all([hit.individual for hit in answer] == expected for answer in answers)


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    built(tmp_path / "index", [a_region("a"), a_region("b")])
    with open_index(tmp_path / "index") as index:
        hit = index.search(like=("a", "wing"))[0]
    with pytest.raises(QueryError, match="closed"):
        hit.mask()
    with pytest.raises(QueryError, match="closed"):
        index.search(like=("a", "wing"))
    with pytest.raises(QueryError, match="closed"):
        index.search(vectors=a_vector(1), trait="wing")


def test_an_index_that_was_never_committed_says_so(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "index", settings=SETTINGS, blocks=BLOCKS)
    with store.lock():
        store.append(rows([a_region("a")]))
    with pytest.raises(IndexFolderError, match="has not finished"):
        open_index(tmp_path / "index")


def test_an_index_that_lost_its_generation_says_so(tmp_path: Path) -> None:
    built(tmp_path / "index", [a_region("a")])
    shutil.rmtree(tmp_path / "index" / "generations" / "0001")
    with pytest.raises(IndexFolderError, match="run the build again"):
        open_index(tmp_path / "index")


def test_an_index_that_cannot_be_opened_lets_go_of_its_catalog(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    store.paths.generation(1).vector_file("wing").write_bytes(b"no vectors")
    with pytest.raises(IndexFolderError, match=r"wing\.faiss") as caught:
        open_index(tmp_path / "index")
    assert caught.traceback  # As long as somebody looks at the error, nothing is let go of by itself.
    # It could not be opened to write if the catalog were still open.
    duckdb.connect(str(store.paths.generation(1).catalog_file)).close()


def test_an_index_can_be_read_where_nothing_can_be_written(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "index"
    shutil.copytree(folder, copy)
    before = sorted(copy.rglob("*"))
    with open_index(str(copy)) as index:
        index.search(like=(IDS[0], "wing"), where="sex = 'male'")
        assert sorted(copy.rglob("*")) == before


def shares_of(names: list[tuple[str, str]], total: float) -> list[tuple[str, str, float]]:
    traits = [trait for _, trait in names]
    return [(name, trait, total / len(set(traits)) / traits.count(trait)) for name, trait in names]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_every_form_of_a_question_agrees_with_brute_force(index: Index, data: st.DataObject) -> None:
    seen = sorted(set(IDS[:30]) - UNSEEN)
    examples = st.tuples(st.sampled_from(seen), st.sampled_from(["wing", "spot"]))
    like = data.draw(st.lists(examples, min_size=1, max_size=4))
    unlike = data.draw(st.lists(examples, max_size=3))
    k = data.draw(st.integers(1, 70))
    sex = data.draw(st.sampled_from(["male", "female"]))
    among = data.draw(st.sampled_from([None, "wing"]))
    weights = data.draw(st.sampled_from([None, {"pattern": 1.0}, {"colour": 0.3, "shape": 2.0}]))
    if among:
        like, unlike = [[(name, among) for name, _ in each] for each in (like, unlike)]
    hits = index.search(like=like, unlike=unlike, k=k, where=f"sex = '{sex}'", weights=weights, trait=among)
    parts = shares_of(like, 1.0) + shares_of(unlike, -0.5)
    traits = {trait for _, trait, _ in parts}
    given = np.array([(weights or dict.fromkeys(BLOCKS, 1.0)).get(block, 0) for block in BLOCKS])
    wanted = []
    for name, of_sex in zip(IDS[:59], SEX, strict=False):
        out = name in {asked for asked, _ in (*like, *unlike)} or of_sex != sex
        if out or (name in UNSEEN and "wing" in traits) or (name not in IDS[:30] and "spot" in traits):
            continue
        told = sum(share * cosines(a_region(asked, trait).vector, name, trait) for asked, trait, share in parts)
        wanted.append((-round(float(told @ given / given.sum()), 9), name, told))
    wanted.sort(key=lambda row: row[:2])
    assert [hit.individual for hit in hits] == [name for _, name, _ in wanted[:k]]
    for hit, (_, _, told) in zip(hits, wanted, strict=False):
        assert list(hit.blocks.values()) == pytest.approx(np.clip(told, -1, 1), abs=1e-6)
        assert {part.trait for part in hit.parts} == (traits if len(traits) > 1 else set())


def test_two_traits_of_two_specimens_rank_those_that_have_both(index: Index) -> None:
    hits = index.search(like=[(IDS[0], "wing"), (IDS[1], "spot")], k=60)
    # Only thirty have a spot, two of their wings were not found, and two specimens were asked with.
    assert len(hits) == 26
    first = hits[0]
    alone = {
        trait: index.search(like=(name, trait), where=f"catalogNumber = '{first.specimen}'")[0]
        for name, trait in ((IDS[0], "wing"), (IDS[1], "spot"))
    }
    for part in first.parts:
        assert part.similarity == pytest.approx(alone[part.trait].similarity, abs=1e-6)
        np.testing.assert_array_equal(part.mask(), a_mask(first.specimen, part.trait))
    assert json.loads(json.dumps(first.as_dict()))["parts"].keys() == {"wing", "spot"}


@pytest.mark.parametrize("expand", [1, 3, 500])
def test_asked_again_with_its_first_hits_agrees_with_brute_force(index: Index, expand: int) -> None:
    """The sum of the likenesses to the query and to the hits, each hit by its share of the best, to the power of 6."""
    where, weights = "sex = 'male'", {"pattern": 1.0, "shape": 0.5}
    asked = {"like": (IDS[0], "wing"), "unlike": (IDS[4], "wing"), "where": where, "weights": weights}
    first = index.search(**asked, k=expand)
    hits = index.search(**asked, k=60, expand=expand)
    votes = np.array([1, *((hit.similarity / first[0].similarity) ** 6 for hit in first)])
    named = [IDS[0], *(hit.individual for hit in first)]
    given = np.array([weights.get(block, 0) for block in BLOCKS]) / 1.5
    scores = {}
    for name in {hit.individual for hit in index.search(**asked, k=60)}:
        liked = np.array([cosines(a_region(one, "wing").vector, name, "wing") @ given for one in named])
        away = cosines(a_region(IDS[4], "wing").vector, name, "wing") @ given
        scores[name] = votes @ liked / votes.sum() - 0.5 * away
    assert [hit.individual for hit in hits] == sorted(scores, key=lambda name: (-round(scores[name], 9), name))
    for hit in hits:
        assert hit.similarity == pytest.approx(np.clip(scores[hit.individual], 0, 1), abs=1e-6)
    # It is another question than the one that was asked once.
    assert [hit.similarity for hit in hits] != [hit.similarity for hit in index.search(**asked, k=60)]


def test_two_traits_asked_again_with_their_first_hit(index: Index) -> None:
    like = [(IDS[0], "wing"), (IDS[1], "spot")]
    (first,) = index.search(like=like, k=1)
    again = index.search(like=like, k=3, expand=1)
    assert again[0].specimen == first.specimen
    # The first hit counts as much as the query.
    assert again[0].similarity == pytest.approx((first.similarity + 1) / 2, abs=1e-6)
    with pytest.raises(QueryError, match="expand -1"):
        index.search(like=like, expand=-1)


@pytest.mark.parametrize("asked", [{}, {"expand": 2}, {"rerank": 20}, {"rerank": 100}], ids=str)
def test_what_is_scored_is_what_a_search_answers(index: Index, asked: dict[str, int]) -> None:
    sexes = {each.id: each.metadata["sex"] for each in index.individuals()}
    scores = score_retrieval(index, "sex", **asked).traits["wing"]
    precisions = []
    for name in index.vectors("wing")[0]:
        hits = index.search(like=(name, "wing"), k=60, **asked)
        precisions.append(average_precision(np.array([sexes[hit.individual] == sexes[name] for hit in hits])))
    assert scores.mean_ap == pytest.approx(np.mean(precisions), abs=1e-9)


def test_unlike_pushes_away(index: Index) -> None:
    plain = [hit.individual for hit in index.search(like=(IDS[0], "wing"), k=57)]
    away = plain[0]
    pushed = [hit.individual for hit in index.search(like=(IDS[0], "wing"), unlike=(away, "wing"), k=57)]
    assert away not in pushed
    assert set(pushed) == set(plain) - {away}
    assert pushed != plain[1:]
