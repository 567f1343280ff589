"""Commits that add to the last generation: the same index as a full commit makes, but for its whitening."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from invented import BLOCKS, SETTINGS, a_collection, a_region, a_vector, rows

import sst_retrieval as sst
from sst_retrieval.imaging import masks
from sst_retrieval.index import addition, codes, epochs, vectors
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.epochs import Epoch, open_vectors, read_epoch, read_removed_ids
from sst_retrieval.index.owners import Owners
from sst_retrieval.index.paths import GenerationPaths
from sst_retrieval.index.query_vectors import QueryExample
from sst_retrieval.index.reviews import make_review
from sst_retrieval.index.store import Store
from sst_retrieval.index.verification import verify_index
from sst_retrieval.types import Placement, Region, Skipped

WHITENED = {**SETTINGS, "whitening": {"pattern": 1.0}}
TRAITS = ("wing", "leg")
FIRST = [f"p{number:02d}" for number in range(20)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds for large collections holds for small ones here."""
    monkeypatch.setattr(epochs, "LEAST_REGIONS", 1)
    monkeypatch.setattr(codes, "MIN_REGIONS", 1)
    monkeypatch.setattr(vectors, "CODES_LIMIT", 1)
    monkeypatch.setattr(vectors, "FIRST_BOUNDS", 1)
    monkeypatch.setattr(vectors, "USEFUL_SHARE", 1)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is too much for an addition."""
    monkeypatch.setattr(epochs, "MOST_CHANGED", 100)
    monkeypatch.setattr(addition, "MOST_TOUCHED", 1)


def regions_of(photograph: str, kind: str, seed: int = 0) -> list[Region]:
    """The regions of a photograph of a kind: "one" or "two" individuals, "absent": of one the leg is not seen."""
    if kind == "two":
        found = []
        for number in (1, 2):
            outline = np.zeros((6, 9), dtype=bool)
            outline[1:5, 2 * number] = True
            where = Placement(photograph, number, (2 * number, 1, 2 * number + 1, 5), 0.9, masks.encode(outline))
            for trait in TRAITS:
                region = a_region(f"{photograph}#{number}", trait, vector=a_vector(hash_of(photograph, trait, seed)))
                found.append(replace(region, placement=where))
        return found
    return [
        a_region(
            photograph,
            trait,
            vector=a_vector(hash_of(photograph, trait, seed)),
            measurements={"area": float(seed), "hue": 0.5},
        )
        if trait == "wing" or kind == "one"
        else a_region(photograph, trait, present=False)
        for trait in TRAITS
    ]


def hash_of(photograph: str, trait: str, seed: int) -> int:
    # Few vectors, so that equal ones are common.
    return int(photograph[1:]) % 7 + 100 * TRAITS.index(trait) + 1000 * seed


def epoch_of(store: Store) -> Epoch:
    found = read_epoch(generation_of(store))
    assert found is not None
    return found


def generation_of(store: Store) -> GenerationPaths:
    assert store.generation is not None
    return store.paths.generation(store.generation.number)


def first_index(path: Path, names: Sequence[str] = FIRST) -> Store:
    store = Store.create(path, settings=WHITENED, blocks=BLOCKS)
    with store.lock():
        store.append(rows([region for name in names for region in regions_of(name, "one")]))
        commit(store, names)
    return store


def commit(store: Store, names: Sequence[str], **how: Any) -> int:
    more = {"numbers": {"wing": 7, "leg": 2}, "provenance": {}, **how}
    sex = more.pop("sex", {})
    return store.commit(a_collection(list(names), sex=[sex.get(name, "f") for name in names]), **more)


def add(store: Store, photographs: Mapping[str, str], names: Sequence[str], seed: int = 0, **how: Any) -> None:
    with store.lock():
        found = [region for name, kind in photographs.items() for region in regions_of(name, kind, seed)]
        empty = [(name, "c", "s") for name, kind in photographs.items() if kind == "empty"]
        store.append(
            rows([each for each in found if photographs[each.individual.split("#")[0]] != "empty"]), empty=empty
        )
        commit(store, names, **how)


# ------------------------------------------------------------------------------------------------ the same content


def dump(store: Store) -> dict[str, Any]:
    """All that a catalog says, without region ids, in an order that does not depend on them."""
    paths = generation_of(store)
    with Catalog(paths.catalog_file) as catalog:
        found: dict[str, Any] = {
            table: sorted(map(repr, catalog.rows(f"SELECT * FROM {table}")))
            for table in ("photographs", "individuals", "skipped", "made")
        }
        joined = "JOIN (SELECT region_id, individual, trait FROM regions) USING (region_id)"
        found["regions"] = sorted(map(repr, catalog.rows("SELECT * EXCLUDE (region_id) FROM regions")))
        found["searchable"] = sorted(map(repr, catalog.rows('SELECT * EXCLUDE ("sst:region") FROM searchable')))
        for table in ("measurements",):
            sql = f"SELECT * EXCLUDE (region_id) FROM {table} {joined}"
            found[table] = sorted(map(repr, catalog.rows(sql)))
        found["reviews"] = sorted(
            map(repr, catalog.rows("SELECT * EXCLUDE (region_id) REPLACE (CAST(time AS VARCHAR) AS time) FROM reviews"))
        )
        assert catalog.rows('SELECT "sst:region" FROM searchable ORDER BY 1') == catalog.rows(
            "SELECT region_id FROM regions ORDER BY 1"
        )
        asked = Owners(paths.owners_folder, list(catalog.columns))
        regions = catalog.rows("SELECT region_id, individual, trait FROM regions")
        for number, individual, trait in regions:
            assert asked.region(individual, trait) == number
            assert catalog.owners([number])[number] == asked.owner(number)
        known = {(individual, trait) for _, individual, trait in regions}
        names = {name for (name,) in catalog.rows('SELECT "sst:individual" FROM individuals')}
        for name, trait in itertools.product([*names, "p", "p99"], TRAITS):
            assert (asked.region(name, trait) is not None) == ((name, trait) in known)
            assert (asked.names(name) is not None) == (name in names)
    return found


def living(store: Store) -> dict[tuple[str, str], np.ndarray]:
    """(individual, trait) -> its vector as the embedder made it."""
    found = {}
    with sst.open_index(store.path) as index:
        reader = index._reader
        for trait, own in reader.vector_indexes.items():
            given = reader.unwhitened_vectors(trait, own.ids)
            for number, vector in zip(own.ids.tolist(), given, strict=True):
                found[reader.catalog.owners([number])[number].individual, trait] = vector
    return found


@dataclass
class Step:
    """What one build does."""

    photographs: dict[str, str]
    leave: set[str] = field(default_factory=set)
    sex: dict[str, str] = field(default_factory=dict)
    prune: bool = False
    skipped: bool = False
    reject: bool = False


NAMES = [f"p{number:02d}" for number in range(26)]
steps = st.builds(
    Step,
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["one", "two", "absent", "empty"]), max_size=4),
    st.sets(st.sampled_from(NAMES), max_size=3),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["m", "x"]), max_size=3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


def take(store: Store, step: Step, known: set[str], seed: int) -> None:
    names = sorted((known | set(step.photographs)) - step.leave)
    skipped = [Skipped(name, "image", "is cut off") for name in names[:1]] if step.skipped else []
    if step.reject and store.generation is not None:
        with Catalog(generation_of(store).catalog_file) as catalog:
            first = catalog.rows("SELECT individual, trait FROM regions WHERE present ORDER BY ALL LIMIT 1")
            for individual, trait in first:
                found = catalog.region(individual, trait)
                assert found is not None
                store.add_reviews([replace(make_review(found[1], "c", "reject", "R"), time="2026-01-01T00:00:00Z")])
    add(store, step.photographs, names, seed=seed, prune=step.prune, skipped=skipped, sex=step.sex)


@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(taken=st.lists(steps, min_size=1, max_size=4), segments=st.sampled_from([1, 2, 8]))
def test_additions_make_the_same_index_as_full_commits(
    tmp_path_factory: pytest.TempPathFactory, taken: list[Step], segments: int
) -> None:
    folder = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "MOST_CHANGED", 100)
        patch.setattr(addition, "MOST_TOUCHED", 1)
        patch.setattr(addition, "MOST_SEGMENTS", segments)
        adding, full = first_index(folder / "adding"), first_index(folder / "full")
        known = set(FIRST)
        for seed, step in enumerate(taken, start=1):
            take(adding, step, known, seed)
            with pytest.MonkeyPatch.context() as other:
                other.setattr(epochs, "LEAST_REGIONS", 10**9)
                take(full, step, known, seed)
                expected, raw = dump(full), living(full)
            known = (known | set(step.photographs)) - step.leave
            assert dump(adding) == expected
            assert adding.indexed_hashes() == full.indexed_hashes()
            with adding.lock(), full.lock():
                assert adding.indexed_hashes() == full.indexed_hashes()
                assert adding.removed_photographs() == full.removed_photographs()
            found = living(adding)
            assert found.keys() == raw.keys()
            for key, vector in raw.items():
                np.testing.assert_allclose(found[key], vector, atol=2e-6)
            assert verify_index(adding.path).damages == []


# ------------------------------------------------------------------------------------------------ search


example = st.builds(
    QueryExample,
    st.lists(st.integers(0, 9).map(a_vector), min_size=1, max_size=2).map(np.array),
    st.sampled_from([1.0, 0.5, -0.5]),
)


@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(
    data=st.data(),
    taken=st.lists(steps, min_size=1, max_size=3),
    segments=st.sampled_from([1, 8]),
    coded=st.booleans(),
    few=st.sampled_from([0, 10_000]),
)
def test_search_over_segments_agrees_with_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    taken: list[Step],
    segments: int,
    coded: bool,
    few: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "MOST_CHANGED", 100)
        patch.setattr(addition, "MOST_TOUCHED", 1)
        patch.setattr(addition, "MOST_SEGMENTS", segments)
        patch.setattr(codes, "MIN_REGIONS", 1 if coded else 10**9)
        patch.setattr(vectors, "MATRIX_PRODUCT_LIMIT", few)
        store = first_index(tmp_path_factory.mktemp("search") / "index")
        known = set(FIRST)
        for seed, step in enumerate(taken, start=1):
            take(store, step, known, seed)
            known = (known | set(step.photographs)) - step.leave
        paths = generation_of(store)
        index = open_vectors(paths, "wing", BLOCKS, epoch_of(store), read_removed_ids(paths))
        assert (index._codes is not None) == coded
        stored = index.reconstruct(index.ids)
        for _ in range(3):
            query = data.draw(st.lists(example, min_size=1, max_size=3))
            weights = np.array(data.draw(st.lists(st.sampled_from([0, 0.3, 1]), min_size=3, max_size=3).filter(any)))
            inside = data.draw(
                st.none() | st.lists(st.booleans(), min_size=len(stored), max_size=len(stored)).map(np.array)
            )
            ids = None if inside is None else index.ids[inside]
            k = data.draw(st.integers(1, 60))
            found = index.search(query, k, weights=weights, ids=ids)
            scores = np.round(brute_force(stored, query, weights), 9)
            among = np.arange(len(stored)) if inside is None else np.flatnonzero(inside)
            best = among[np.lexsort((among, -scores[among]))][:k]
            assert found.ids.tolist() == index.ids[best].tolist()
            assert found.scores == pytest.approx(scores[best], abs=2e-9)
            given, _ = index.scores(query, index.ids[::-1], weights=weights)
            np.testing.assert_allclose(given[::-1], scores, atol=2e-9)
            bounds = index.bounds(query, index.ids[::-1], weights=weights)
            assert bounds is None or (bounds[::-1] >= scores - 1e-9).all()


def brute_force(stored: np.ndarray, query: list[QueryExample], weights: np.ndarray) -> np.ndarray:
    """The definition of a score, in double precision: float64 (n,)."""
    blocks = [slice(0, 4), slice(4, 7), slice(7, 9)]

    def normalised(values: np.ndarray) -> np.ndarray:
        parts = [values[:, block].astype(float) for block in blocks]
        return np.hstack([part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in parts])

    total, values = np.zeros(len(stored)), normalised(stored)
    for each in query:
        total += each.weight * sum(
            0.0 if len(each.variants) == 0 else part
            for part in [
                np.max(
                    [
                        sum(
                            weight / weights.sum() * (values[:, block] * variant[block]).sum(axis=1)
                            for weight, block in zip(weights, blocks, strict=True)
                        )
                        for variant in normalised(each.variants)
                    ],
                    axis=0,
                )
            ]
        )
    return total
