"""Many queries at a time have the hits of one after the other, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coded import clustered, coded_index
from invented import a_collection, a_region, a_vector, built, rows

from sst_retrieval.errors import ModelError, QueryError
from sst_retrieval.index import epochs
from sst_retrieval.index.store import Store
from sst_retrieval.search import many
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.types import Hit

COUNT = 1500


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index whose regions are searched by codes; several are equal; another trait is without codes."""
    return coded_index(tmp_path_factory.mktemp("many") / "index", COUNT, slice(700, 730))


@pytest.fixture(scope="module")
def index(large: Path) -> Index:
    return open_index(large)


def exact(hits: list[Hit]) -> list[Any]:
    """All that a hit says; its numbers written in full."""
    return [(hit, repr(hit.similarity), repr(dict(hit.blocks)), exact(list(hit.parts))) for hit in hits]


def assert_same(index: Index, asked: list[Mapping[str, Any]], **shared: Any) -> list[list[Hit]]:
    together = list(index.search_many(asked, **shared))
    device = shared.pop("device", None)
    assert device in (None, "cpu")
    alone = [index.search(**{**shared, **query}) for query in asked]
    assert [exact(hits) for hits in together] == [exact(hits) for hits in alone]
    return together


@pytest.mark.parametrize(
    "shared",
    [
        {},
        {"k": 1},
        {"k": 40},
        {"k": 400},
        {"where": "sex = 'male'"},
        {"where": "hash(specimen) % 50 = 1"},
        {"where": "false"},
        {"weights": {"colour": 1}},
        {"weights": {"pattern": 0.2, "shape": 5}},
        {"among": np.arange(0, 2 * COUNT, 3)},
        {"expand": 3},
        {"rerank": 20},
        {"rerank": 100, "k": 3, "where": "sex = 'male'"},
        {"trait": "head"},
        {"per": "individual"},
    ],
    ids=str,
)
def test_hits_are_those_of_one_after_the_other(index: Index, shared: dict[str, Any]) -> None:
    asked: list[Mapping[str, Any]] = [{"like": (f"S{number:04d}", "wing")} for number in (3, 700, 705, 20, 999, 1499)]
    asked.append({"like": [("S0003", "wing"), ("S0011", "wing")], "unlike": ("S0300", "wing")})
    asked.append({"like": ("S0005", "head"), "trait": "wing"})
    asked.append({"vectors": a_vector(5), "trait": "wing"})
    asked.append({"vectors": np.stack([a_vector(5), a_vector(6)]), "trait": "wing"})
    found = assert_same(index, asked, **shared)
    assert any(found) == (shared.get("where") != "false")


def test_each_query_may_have_its_own_arguments(index: Index) -> None:
    assert_same(
        index,
        [
            {"like": ("S0003", "wing"), "k": 3},
            {"like": ("S0003", "head"), "k": 5, "where": "sex = 'female'"},
            {"like": [("S0003", "wing"), ("S0003", "head")]},
            {"like": ("S0004", "wing"), "weights": {"shape": 1}, "expand": 2},
            {"like": ("S0004", "wing"), "weights": {"shape": 1}, "rerank": 15},
            {"like": [("S0003", "wing"), ("S0003", "head")], "rerank": 9},
            {"like": ("S0005", "wing"), "where": "sex = 'female'"},
            {"like": ("S0006", "wing")},
        ],
        k=7,
    )


def test_equals_are_in_order_of_id_wherever_the_cut_is(index: Index) -> None:
    for k in (1, 5, 29):
        (hits,) = assert_same(index, [{"like": ("S0003", "wing")}], k=k)
        assert [hit.specimen for hit in hits] == [f"S{number:04d}" for number in range(700, 700 + k)]


def test_reviews_hide_regions_between_batches(large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "BATCH", 1)
    with open_index(large) as index:
        search = index.search_many([{"like": ("S0003", "wing")}] * 2, k=2)
        assert [hit.specimen for hit in next(search)] == ["S0700", "S0701"]
        index.review("S0700", "wing", "reject", reviewer="me")
        try:
            assert [hit.specimen for hit in next(search)] == ["S0701", "S0702"]
        finally:
            index.review("S0700", "wing", "accept", reviewer="me")


def test_queries_are_read_as_they_are_needed(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "BATCH", 4)
    taken = []

    def ask() -> Any:
        for number in range(100):
            taken.append(number)
            yield {"like": (f"S{number:04d}", "wing")}

    search = index.search_many(ask())
    assert not taken
    next(search)
    assert taken == [0, 1, 2, 3]
    assert len(list(search)) == 99


def test_regions_that_were_added_later_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "LEAST_REGIONS", 10)
    stored = clustered(2100)
    regions = [a_region(f"S{number:04d}", vector=vector) for number, vector in enumerate(stored)]
    built(tmp_path / "index", regions[:2000])
    store = Store.open(tmp_path / "index")
    with store.lock():
        store.append(rows(regions[2000:]))
        store.commit(a_collection([f"S{n:04d}" for n in range(2100)]), numbers={"wing": 7}, provenance={})
    with open_index(tmp_path / "index") as index:
        assert len(index._reader.vector_indexes["wing"]._files) == 2
        assert_same(index, [{"like": (f"S{number:04d}", "wing")} for number in (1, 1999, 2000, 2050, 2099)])
        assert_same(index, [{"like": ("S2001", "wing")}], where="hash(specimen) % 3 < 2")


def test_what_is_wrong_is_said(index: Index) -> None:
    with pytest.raises(QueryError, match="has 'near'; it takes the arguments of `search`"):
        list(index.search_many([{"near": "S0003"}]))
    with pytest.raises(QueryError, match="no specimen"):
        list(index.search_many([{"like": ("S0003", "wing")}, {"like": ("nobody", "wing")}]))
    with pytest.raises(QueryError, match="give `like`"):
        list(index.search_many([{}]))
    with pytest.raises(ModelError, match="device 'card' is unknown"):
        list(index.search_many([{"like": ("S0003", "wing")}], device="card"))
    assert list(index.search_many([])) == []
