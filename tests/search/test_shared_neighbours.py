"""The first hits in the order of their neighbours."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented import a_collection, a_region, built, unit

from sst_retrieval.errors import QueryError
from sst_retrieval.evaluate.retrieval import TraitVectors, retrieval_scores
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.search.shared_neighbours import (
    NEIGHBOURS,
    SIMILARITY_SHARE,
    TOGETHER_SHARE,
    measure_overlaps,
    order_by_neighbours,
)
from sst_retrieval.types import BLOCKS, Doubles, Floats

IDS = [f"S{number:03d}" for number in range(90)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def around(rng: np.random.Generator, centre: Doubles, count: int, spread: float) -> Doubles:
    rows = centre + rng.normal(0, spread, (count, len(centre)))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float64)


def overlap(similarity: Doubles, other: int) -> float:
    """The same with dictionaries: every set has the weight 1, and the half of it is the nearest neighbour's."""

    def share(row: int) -> dict[int, float]:
        others = [at for at in range(len(similarity)) if at != row]
        near = [row, *sorted(others, key=lambda at: (-similarity[row, at], at))[:NEIGHBOURS]]
        return dict.fromkeys(near, 1 / len(near))

    def joined(row: int) -> dict[int, float]:
        own = share(row)
        nearest = share(list(own)[1])
        return {at: (own.get(at, 0) + nearest.get(at, 0)) / 2 for at in own.keys() | nearest.keys()}

    one, two = joined(0), joined(other)
    common = sum(min(one.get(at, 0), two.get(at, 0)) for at in one)
    return common / sum(max(one.get(at, 0), two.get(at, 0)) for at in one.keys() | two.keys())


def test_overlaps_are_those_of_sets(rng: np.random.Generator) -> None:
    rows = around(rng, np.zeros(6), 40, 1.0)
    similarity = rows @ rows.T
    found = measure_overlaps(similarity)
    assert found.tolist() == pytest.approx([overlap(similarity, other) for other in range(1, 40)])
    assert 0 <= found.min() < 0.2 < found.max() < 1


def test_a_stranger_that_is_near_by_chance_goes_behind_the_query_s_own_kind(rng: np.random.Generator) -> None:
    """Hit 1 is of the query's kind, hit 2 of another one, hits 3 to 16 of the query's, the rest of the other's."""
    own = np.array([True, True, False, *[True] * 14, *[False] * 14])
    similarity = np.where(own[:, None] == own, 0.7, 0.3) + np.triu(rng.uniform(0, 0.01, (31, 31)), 1)
    similarity[0, own], similarity[0, ~own] = 0.6, 0.3
    similarity[0, :3] = 1, 0.68, 0.65
    similarity = np.triu(similarity, 1) + np.triu(similarity, 1).T + np.eye(31)
    order = order_by_neighbours(np.repeat(similarity[None], 3, axis=0), np.full(3, 1 / 3)) + 1
    assert order[0] == 1
    assert set(order[:15].tolist()) == {1, *range(3, 17)}
    assert order[15] == 2


def test_scores_are_the_shares_of_similarity_and_overlaps(rng: np.random.Generator) -> None:
    rows = [around(rng, np.zeros(5), 30, 1.0) for _ in BLOCKS]
    similarities = np.stack([one @ one.T for one in rows])
    weights = np.array([0.5, 0.0, 0.5])
    together = np.tensordot(weights, similarities, 1)
    overlaps = TOGETHER_SHARE * measure_overlaps(together)
    for block in (0, 2):
        overlaps += (1 - TOGETHER_SHARE) * 0.5 * measure_overlaps(similarities[block])
    scores = SIMILARITY_SHARE * together[0, 1:] + (1 - SIMILARITY_SHARE) * overlaps
    assert order_by_neighbours(similarities, weights).tolist() == np.argsort(-scores).tolist()


def test_with_hardly_any_hits_their_order_stays() -> None:
    """All are neighbours of each other, so that their overlaps are the same."""
    rows = np.stack([unit(np.array([1.0, angle])) for angle in (0.0, 0.1, 0.3, 0.2, 0.6)]).astype(np.float64)
    similarity = (rows @ rows.T)[None]
    assert order_by_neighbours(similarity, np.ones(1)).tolist() == [0, 2, 1, 3]
    assert order_by_neighbours(similarity[:, :2, :2], np.ones(1)).tolist() == [0]
    assert order_by_neighbours(similarity[:, :1, :1], np.ones(1)).tolist() == []


# ---------------------------------------------------------------------------------------------------- in an index


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("neighbours") / "index"
    regions = [a_region(name, trait) for name in IDS for trait in ("wing", "spot")]
    sexes = ["female" if number % 3 else "male" for number in range(len(IDS))]
    built(path, regions, a_collection(IDS, {"sex": "VARCHAR"}, sex=sexes), numbers={"wing": 1, "spot": 2})
    with open_index(path) as opened:
        yield opened


@pytest.mark.parametrize(
    "asked",
    [
        {"like": (IDS[0], "wing")},
        {"like": [(IDS[0], "wing"), (IDS[9], "wing")], "unlike": (IDS[4], "wing")},
        {"like": [(IDS[0], "wing"), (IDS[1], "spot")]},
        {"like": (IDS[0], "wing"), "weights": {"colour": 1.0}, "where": "sex = 'female'"},
        {"like": (IDS[0], "wing"), "trait": "spot", "per": "individual"},
    ],
    ids=str,
)
def test_only_the_order_of_the_first_hits_changes(index: Index, asked: dict[str, Any]) -> None:
    plain = {hit.individual: hit for hit in index.search(**asked, k=90)}
    hits = index.search(**asked, k=90, rerank=25)
    named = [hit.individual for hit in hits]
    assert [hit.rank for hit in hits] == list(range(1, len(plain) + 1))
    assert set(named[:25]) == set(list(plain)[:25])
    assert named[:25] != list(plain)[:25]
    assert named[25:] == list(plain)[25:]
    for hit in hits:
        assert (hit.similarity, hit.blocks, hit.parts) == (
            plain[hit.individual].similarity,
            plain[hit.individual].blocks,
            plain[hit.individual].parts,
        )
    assert [hit.individual for hit in index.search(**asked, k=7, rerank=25)] == named[:7]


def test_hits_are_compared_as_their_vectors_are(index: Index) -> None:
    asked = {"like": (IDS[3], "wing"), "weights": {"pattern": 1.0, "shape": 3.0}}
    plain = [hit.individual for hit in index.search(**asked, k=60)]
    names, vectors = index.vectors("wing")
    rows = vectors[[names.index(name) for name in (IDS[3], *plain)]].astype(np.float64)
    edges = np.cumsum([0, *index.blocks.values()])
    similarities = np.stack([rows[:, a:b] @ rows[:, a:b].T for a, b in pairwise(edges)])
    order = order_by_neighbours(similarities, np.array([0.25, 0, 0.75]))
    expected = [plain[at] for at in order if at < 30]
    assert [hit.individual for hit in index.search(**asked, k=30, rerank=30)] == expected


def test_a_photograph_from_outside_and_no_hit_at_all(index: Index) -> None:
    vectors = index.vectors("wing")[1][:1]
    assert len(index.search(vectors=vectors, trait="wing", k=5, rerank=20)) == 5
    assert index.search(like=(IDS[0], "wing"), where="false", rerank=20) == []
    (only,) = index.search(like=(IDS[0], "wing"), where=f"specimen = '{IDS[5]}'", rerank=20)
    assert (only.specimen, only.rank) == (IDS[5], 1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"rerank": -1}, "rerank is -1"), ({"rerank": 9, "expand": 2}, "one of"), ({"rerank": 10**6}, "0 to 1000")],
)
def test_what_cannot_be_asked(index: Index, asked: dict[str, int], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        index.search(like=(IDS[0], "wing"), **asked)


def test_a_kind_is_found_better_where_it_is_dense(rng: np.random.Generator) -> None:
    """Three kinds that overlap: with shared neighbours more of the query's own come first."""
    centres = around(rng, np.zeros(30), 3, 1.0)
    rows = np.vstack([around(rng, 0.6 * centre, 25, 0.22) for centre in centres])
    names = [f"s{number:02d}" for number in range(75)]
    vectors: Floats = np.hstack([rows, rows, rows]).astype(np.float32)
    blocks = {name: slice(30 * number, 30 * number + 30) for number, name in enumerate(BLOCKS)}
    values = {name: number // 25 for number, name in enumerate(names)}
    plain, again = (
        retrieval_scores({"wing": TraitVectors(names, vectors)}, values, column="kind", blocks=blocks, rerank=count)
        for count in (0, 75)
    )
    assert plain.mean_ap < 0.9
    assert again.mean_ap > plain.mean_ap + 0.02
