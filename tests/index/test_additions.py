"""Commits that add to the last generation: the same index as a full commit makes, but for its whitening."""

from __future__ import annotations

import datetime
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import BLOCKS, SETTINGS, a_collection, a_region, a_vector, rows, without_checksums
from killing import kill_everywhere

import sst_retrieval as sst
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.imaging import masks
from sst_retrieval.index import addition, batch_search, codes, epochs, generation, owner_additions, vectors
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.epochs import Epoch, open_vectors, read_epoch, read_removed_ids
from sst_retrieval.index.owners import Owners
from sst_retrieval.index.paths import GenerationPaths
from sst_retrieval.index.query_vectors import QueryExample
from sst_retrieval.index.reviews import make_review
from sst_retrieval.index.store import Store
from sst_retrieval.index.verification import repair_index, verify_index
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
    keep_beside(monkeypatch, 100)


def keep_beside(patch: pytest.MonkeyPatch, share: float) -> None:
    """Set how much may stand beside a whole catalog, and beside its owners, before they are made whole again."""
    patch.setattr(addition, "MOST_ADDED", share)
    patch.setattr(owner_additions, "MOST_ADDED", share)


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
    return int(photograph[1:3]) % 7 + 100 * TRAITS.index(trait) + 1000 * seed


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
        found |= {
            table: sorted(map(repr, catalog.rows(f"SELECT * EXCLUDE (region_id) FROM {table}")))
            for table in ("region_hashes",)
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
        owners = {number: individual for number, individual, _ in regions}
        numbers = asked.numbers(np.array(list(owners), np.int64)).tolist()
        assert len({*zip(numbers, owners.values(), strict=True)}) == len(set(numbers)) == len(set(owners.values()))
        assert [name for _, name in sorted(zip(numbers, owners.values(), strict=True))] == sorted(owners.values())
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


@settings(max_examples=12, deadline=None)
@given(
    taken=st.lists(steps, min_size=1, max_size=4),
    segments=st.sampled_from([1, 2, 8]),
    beside=st.sampled_from([0, 0.2, 100]),
)
def test_additions_make_the_same_index_as_full_commits(
    tmp_path_factory: pytest.TempPathFactory, taken: list[Step], segments: int, beside: float
) -> None:
    folder = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "MOST_CHANGED", 100)
        patch.setattr(addition, "MOST_TOUCHED", 1)
        patch.setattr(addition, "MOST_SEGMENTS", segments)
        keep_beside(patch, beside)
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


@settings(max_examples=12, deadline=None)
@given(
    data=st.data(),
    taken=st.lists(steps, min_size=1, max_size=3),
    segments=st.sampled_from([1, 8]),
    coded=st.booleans(),
    few=st.sampled_from([0, 10_000]),
    many=st.sampled_from([0, 400]),
)
def test_search_over_segments_agrees_with_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    taken: list[Step],
    segments: int,
    coded: bool,
    few: int,
    many: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "MOST_CHANGED", 100)
        patch.setattr(addition, "MOST_TOUCHED", 1)
        patch.setattr(addition, "MOST_SEGMENTS", segments)
        patch.setattr(codes, "MIN_REGIONS", 1 if coded else 10**9)
        patch.setattr(vectors, "MATRIX_PRODUCT_LIMIT", few)
        patch.setattr(vectors, "MANY_REACHING", many)
        store = first_index(tmp_path_factory.mktemp("search") / "index")
        known = set(FIRST)
        for seed, step in enumerate(taken, start=1):
            take(store, step, known, seed)
            known = (known | set(step.photographs)) - step.leave
        paths = generation_of(store)
        index = open_vectors(paths, "wing", BLOCKS, epoch_of(store), read_removed_ids(paths))
        assert (index.codes is not None) == coded
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


PREDICATES = {
    None: lambda each: True,
    "sex = 'f'": lambda each: each.metadata["sex"] == "f",
    "sex <> 'f'": lambda each: each.metadata["sex"] != "f",
    "photograph < 'p11' OR photograph >= 'p20'": lambda each: not "p11" <= each.photograph.id < "p20",
    "sex = 'm' AND photograph > 'p03'": lambda each: each.metadata["sex"] == "m" and each.photograph.id > "p03",
}
WEIGHTS = (None, {"colour": 1}, {"pattern": 1}, {"shape": 2, "colour": 1}, {"pattern": 1, "colour": 0.3, "shape": 0})


@settings(max_examples=15, deadline=None)
@given(
    data=st.data(),
    taken=st.lists(steps, min_size=1, max_size=4),
    beside=st.sampled_from([0, 0.2, 100]),
    coded=st.booleans(),
    many=st.sampled_from([0, 400]),
)
def test_hits_over_a_linked_catalog_agree_with_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    taken: list[Step],
    beside: float,
    coded: bool,
    many: int,
) -> None:
    """Through the public search, whatever of the catalog is linked and whatever was made whole again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "MOST_CHANGED", 100)
        patch.setattr(addition, "MOST_TOUCHED", 1)
        patch.setattr(codes, "MIN_REGIONS", 1 if coded else 10**9)
        for module in (vectors, batch_search):
            patch.setattr(module, "MANY_REACHING", many)
            for name in ("CODES_LIMIT", "FIRST_BOUNDS", "USEFUL_SHARE"):
                patch.setattr(module, name, 1)
        keep_beside(patch, beside)
        store = first_index(tmp_path_factory.mktemp("hits") / "index")
        known = set(FIRST)
        for seed, step in enumerate(taken, start=1):
            take(store, step, known, seed)
            known = (known | set(step.photographs)) - step.leave
        with sst.open_index(store.path) as index:
            names, stored = index.vectors("wing")
            if not names:
                return
            everyone = {each.id: each for each in index.iterate_individuals()}
            asked = []
            for _ in range(4):
                like, unlike = (data.draw(st.lists(st.sampled_from(names), min_size=n, max_size=2)) for n in (1, 0))
                query = {"like": [(name, "wing") for name in like], "unlike": [(name, "wing") for name in unlike]}
                query |= {"k": data.draw(st.integers(1, 30)), "weights": data.draw(st.sampled_from(WEIGHTS))}
                asked.append({**query, "where": data.draw(st.sampled_from(list(PREDICATES)))})
            together = list(index.search_many(asked, per="individual"))
            for query, answer in zip(asked, together, strict=True):
                hits = index.search(**query, per="individual")
                assert answer == hits
                own = [name for name, _ in (*query["like"], *query["unlike"])]
                weights = dict.fromkeys(BLOCKS, 1.0) if query["weights"] is None else query["weights"]
                examples = [
                    QueryExample(stored[[names.index(name)]], weight / len(pairs))
                    for pairs, weight in ((query["like"], 1.0), (query["unlike"], -0.5))
                    for name, _ in pairs
                ]
                scores = brute_force(stored, examples, np.array([float(weights.get(name, 0)) for name in BLOCKS]))
                passing = [
                    (score, name)
                    for score, name in zip(scores, names, strict=True)
                    if name not in own and PREDICATES[query["where"]](everyone[name])
                ]
                expected = sorted((score for score, _ in passing), reverse=True)[: query["k"]]
                assert [hit.similarity for hit in hits] == pytest.approx(np.clip(expected, 0, 1), abs=2e-9)
                score_of = {name: score for score, name in passing}
                assert [score_of[hit.individual] for hit in hits] == pytest.approx(expected, abs=2e-9)
                assert len({hit.individual for hit in hits}) == len(hits)


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


# ------------------------------------------------------------------------------------------------ when a commit is full


def test_a_commit_of_a_small_index_is_a_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "LEAST_REGIONS", 10_000)
    store = first_index(tmp_path / "index")
    add(store, {"p20": "one"}, [*FIRST, "p20"])
    assert (epoch_of(store).number, epoch_of(store).segments) == (2, ())


def test_an_addition_keeps_the_epoch_and_the_region_ids_and_links_the_files(tmp_path: Path) -> None:
    store = first_index(tmp_path / "index")
    before = generation_of(store)
    with sst.open_index(store.path) as index:
        ids = {hit.individual: hit.region_id for hit in index.search(like=("p00", "wing"), k=30)}
        scores = {hit.individual: hit.similarity for hit in index.search(like=("p00", "wing"), k=30)}
    add(store, {"p20": "one", "p05": "one"}, [*FIRST, "p20"], seed=1)
    after, epoch = generation_of(store), epoch_of(store)
    assert (epoch.number, epoch.segments) == (1, (2,))
    assert (dict(epoch.added), dict(epoch.removed)) == ({"wing": 2, "leg": 2}, {"wing": 1, "leg": 1})
    assert before.places_file("wing").samefile(after.places_file("wing"))
    files = {path.stat().st_ino: path.stat().st_size for path in store.path.rglob("*") if path.is_file()}
    assert store.paths.total_bytes() == sum(files.values())
    with sst.open_index(store.path) as index:
        hits = index.search(like=("p00", "wing"), k=30)
        assert {hit.individual for hit in hits} == {*FIRST, "p20"} - {"p00"}
        for hit in hits:
            if hit.individual not in ("p05", "p20"):
                assert (hit.region_id, hit.similarity) == (ids[hit.individual], scores[hit.individual])
            else:
                assert hit.region_id >= 40
        assert index.info()["epoch"] == {"number": 1, "segments": 1, "added": 4, "removed": 2}


@pytest.mark.parametrize("openable", [0, 2000])
@pytest.mark.usefixtures("always")
def test_a_program_that_knows_no_segments_or_vectors_in_shards_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openable: int
) -> None:
    monkeypatch.setattr(generation, "count_openable", lambda: openable)
    store = first_index(tmp_path / "index")
    schemas = [read_schema(store)]
    add(store, {"p20": "one"}, [*FIRST, "p20"])
    schemas.append(read_schema(store))
    with store.lock():
        commit(store, [*FIRST, "p20"])  # Without a change.
        schemas.append(read_schema(store))
        commit(store, [*FIRST, "p20"], refit=True)
    assert [*schemas, read_schema(store)] == [5, 5, 5, 5]


def read_schema(store: Store) -> int:
    return int(json.loads((store.path / "manifest.json").read_text())["schema"])


def test_tables_keep_their_order(tmp_path: Path) -> None:
    store = first_index(tmp_path / "index")
    add(store, {"p05x": "one", "p03": "one"}, [*FIRST, "p05x"], seed=1)
    assert epoch_of(store).segments == (2,)
    with sst.open_index(store.path) as index:
        table = index.table()
        pairs = list(zip(table["sst:trait"], table["sst:individual"], strict=True))
        assert pairs == sorted(pairs)
        assert index.measurements("wing")["specimen"].tolist() == sorted([*FIRST, "p05x"])
        for name in ("p05x", "p03", "p00"):
            index.review(name, "wing", "accept", reviewer="R")
        index.review("p05x", "leg", "accept", reviewer="R")
        assert [(each.trait, each.individual) for each in index.reviews()] == [
            *(("leg", "p05x"), ("wing", "p00"), ("wing", "p03"), ("wing", "p05x"))
        ]
        both = index.search(like=[("p00", "wing"), ("p00", "leg")], k=30)
        assert {hit.individual for hit in both} == {*FIRST, "p05x"} - {"p00"}
        equal = [(-hit.similarity, hit.individual) for hit in both if hit.similarity > 0]
        assert equal == sorted(equal)


ODD = {
    **{name: "VARCHAR" for name in ("photograph", "individual", "review", "trait", "removed", "name")},
    **{"shard": "BIGINT", "region_id": "BIGINT", "confidence": "DOUBLE", "parts": "BIGINT[]", "day": "DATE"},
    **{"place": "STRUCT(x DOUBLE, y DOUBLE)", "area": "DOUBLE"},
}


@pytest.mark.parametrize("plain", [True, False])
def test_columns_of_any_name_and_type_are_compared(
    tmp_path: Path, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = {name: kind for name, kind in ODD.items() if not plain or kind in ("VARCHAR", "BIGINT", "DOUBLE")}

    def table(names: Sequence[str], changed: str) -> Any:
        values: dict[str, list[Any]] = {}
        for name, kind in types.items():
            own: list[Any] = [f"{name} of {each}{'!' * (each == changed)}" for each in names]
            if kind != "VARCHAR":
                own = [number + (each == changed) for number, each in enumerate(names)]
            if kind == "DOUBLE":
                own = [float("nan") if number == 3 else float(number) for number in own]
            if kind == "BIGINT[]":
                own = [None if number == 3 else [number, None] for number in own]
            if kind == "DATE":
                own = [datetime.date(2020, 1, 1 + number) for number in own]
            if kind.startswith("STRUCT"):
                own = [{"x": float(number), "y": None} for number in own]
            values[name] = own
        return a_collection(list(names), types, **values)

    found = []
    for least in (1, 10**9):
        monkeypatch.setattr(epochs, "LEAST_REGIONS", least)
        store = Store.create(tmp_path / str(least), settings=WHITENED, blocks=BLOCKS)
        how: dict[str, Any] = {"numbers": {"wing": 7}, "provenance": {}}
        with store.lock():
            store.append(rows([region for name in FIRST for region in regions_of(name, "one")]))
            store.commit(table(FIRST, ""), **how)
            store.append(rows(regions_of("p20", "one")))
            store.commit(table([*FIRST, "p20"], "p07"), **how)
        assert generation_of(store).owners_folder.exists() == plain
        assert epoch_of(store).segments == ((2,) if least == 1 else ())
        with Catalog(generation_of(store).catalog_file) as catalog:
            found.append(
                [
                    sorted(map(repr, catalog.rows(f"SELECT {what} FROM {which}")))
                    for what, which in (
                        ("*", "photographs"),
                        ("*", "individuals"),
                        ('* EXCLUDE ("sst:region")', "searchable"),
                    )
                ]
            )
            if least == 1:
                ((additions,),) = catalog.rows("SELECT count(*) FROM additions")
                assert additions == 1
        with sst.open_index(store.path) as index:
            assert len(index.search(like=("p20", "wing"), k=50, where='"sst:confidence" > 0.1')) == 20
    assert found[0] == found[1]


def test_a_commit_without_changes_adds_nothing(tmp_path: Path) -> None:
    store = first_index(tmp_path / "index")
    before = dump(store)
    with store.lock():
        commit(store, FIRST)
    assert (epoch_of(store).number, epoch_of(store).segments) == (1, ())
    assert dump(store) == before


def test_it_can_be_asked_to_begin_an_epoch(tmp_path: Path) -> None:
    store = first_index(tmp_path / "index")
    add(store, {"p20": "one"}, [*FIRST, "p20"], refit=True)
    assert (epoch_of(store).number, epoch_of(store).segments) == (2, ())


@pytest.mark.parametrize("changed", ["trait", "column", "half", "outgrown", "rebuild"])
def test_what_cannot_be_added_makes_a_full_commit(tmp_path: Path, changed: str) -> None:
    store = first_index(tmp_path / "index")
    names = [*FIRST, "p20"]
    with store.lock():
        if changed == "rebuild":
            store.begin_rebuild(settings=WHITENED, blocks=BLOCKS)
            store.append(rows([each for name in names for each in regions_of(name, "one")]))
        elif changed == "trait":
            store.append(rows([*regions_of("p20", "one"), a_region("p20", "eye")]))
        elif changed == "outgrown":
            names = [*FIRST, *(f"p{number}" for number in range(20, 31))]
            store.append(rows([each for name in names[20:] for each in regions_of(name, "one")]))
        if changed == "column":
            how: dict[str, Any] = {"numbers": {"wing": 7}, "provenance": {}}
            store.commit(a_collection(names, sex=["f"] * 21, place=["x"] * 21), **how)
        else:
            commit(store, names, sex=dict.fromkeys(names[:11], "m") if changed == "half" else {})
    assert (epoch_of(store).number, epoch_of(store).segments) == (2, ())
    assert [path.name for path in (tmp_path / "index" / "generations").glob(".*")] == []


def test_a_photograph_that_left_the_table_before_its_commit_comes_back_whole(tmp_path: Path) -> None:
    store = first_index(tmp_path / "index")
    with store.lock():
        store.append(rows(regions_of("p20", "one")))
        commit(store, FIRST)
        assert set(store.indexed_hashes()) == {*FIRST, "p20"}
        commit(store, [*FIRST, "p20"])
    assert ("p20", "wing") in living(store)


def test_segments_that_hold_vectors_and_places_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addition, "MOST_SEGMENTS", 1)
    store = first_index(tmp_path / "index")
    add(store, {"p20": "one"}, [*FIRST, "p20"])
    monkeypatch.setattr(generation, "count_openable", lambda: 0)
    add(store, {"p21": "one"}, [*FIRST, "p20", "p21"])
    assert epoch_of(store).segments == ()
    assert len(living(store)) == 2 * 22
    assert verify_index(store.path).damages == []


@pytest.mark.usefixtures("always")
def test_what_needs_more_memory_makes_a_full_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = first_index(tmp_path / "index")
    before = epoch_of(store).number
    monkeypatch.setattr(addition, "choose_memory", lambda _: "1MB")
    add(store, {"p99": "one"}, [*FIRST, "p99"])
    assert epoch_of(store).number > before
    assert "p99" in store.indexed_hashes()
    monkeypatch.undo()
    small, large = (int(addition.choose_memory(count).removesuffix("MB")) for count in (500_000, 5_000_000))
    assert large == 10 * small


@pytest.mark.parametrize("openable", [0, 2000])
def test_many_segments_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openable: int) -> None:
    monkeypatch.setattr(generation, "count_openable", lambda: openable)
    monkeypatch.setattr(addition, "MOST_SEGMENTS", 2)
    store = first_index(tmp_path / "index")
    add(store, {"p20": "one"}, [*FIRST, "p20"])
    add(store, {"p21": "one", "p20": "one"}, [*FIRST, "p20", "p21"], seed=1)
    assert epoch_of(store).segments == (2, 3)
    add(store, {"p22": "one"}, [*FIRST, "p20", "p21", "p22"], seed=2)
    assert epoch_of(store).segments == (4,)
    paths = generation_of(store)
    index = open_vectors(paths, "wing", BLOCKS, epoch_of(store), read_removed_ids(paths))
    assert len(index._files[1]) == 3
    assert [path.name for path in paths.segment_folder.iterdir()] == ["0004"]
    assert verify_index(store.path).damages == []


@pytest.mark.usefixtures("always")
def test_a_large_segment_is_not_merged_with_small_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addition, "MOST_SEGMENTS", 2)
    store, names = first_index(tmp_path / "index"), list(FIRST)
    for count in (20, 1, 2):
        new = [f"q{number:03d}" for number in range(len(names), len(names) + count)]
        names += new
        add(store, dict.fromkeys(new, "one"), names)
    assert epoch_of(store).segments == (2, 4)
    assert len(living(store)) == 2 * len(names)
    assert verify_index(store.path).damages == []


def test_files_are_copied_where_they_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr("os.link", refuse)
    store = first_index(tmp_path / "index")
    before = generation_of(store)
    add(store, {"p20": "one"}, [*FIRST, "p20"])
    assert epoch_of(store).segments == (2,)
    assert not before.places_file("wing").samefile(generation_of(store).places_file("wing"))
    assert verify_index(store.path).damages == []


def test_old_shards_are_not_read_and_lost_ones_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = first_index(tmp_path / "index")
    shard = tmp_path / "index" / "shards" / "000000.parquet"
    monkeypatch.setattr("sst_retrieval.index.checksums.compute_checksum", None)  # Nothing is read wholly of it.
    found = store._check_shards(0, 0)
    assert found == [shard]
    monkeypatch.undo()
    shard.rename(tmp_path / "away")
    with store.lock(), pytest.raises(IndexFolderError, match=r"000000\.parquet is missing"):
        store.indexed_hashes()


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("beside", [100, 0], ids=["beside its base", "made whole each time"])
def test_an_index_that_is_open_in_the_same_process_is_added_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: float
) -> None:
    keep_beside(monkeypatch, beside)
    store = first_index(tmp_path / "index")
    names = list(FIRST)
    with ExitStack() as stack:
        opened = []
        for number in range(3):
            opened += [stack.enter_context(sst.open_index(store.path)) for _ in range(2)]
            names.append(f"q{number:02d}")
            add(store, {names[-1]: "one"}, names)
            assert epoch_of(store).number == 1
            assert verify_index(store.path).damages == []
        counts = [len(each.search(like=("p00", "wing"), k=100)) for each in opened]
        assert counts == [19, 19, 20, 20, 21, 21]


def test_a_catalog_of_an_earlier_version_is_made_anew(tmp_path: Path) -> None:
    """Its regions are a table, not a view; nothing can stand beside it."""
    store = first_index(tmp_path / "index")
    expected = dump(store)
    with duckdb.connect(str(generation_of(store).catalog_file)) as catalog:
        for name in ("regions", "measurements", "searchable", "individuals", "photographs"):
            catalog.execute(f"CREATE TABLE old_{name} AS FROM {name}")
        catalog.execute(
            "CREATE TABLE hashed AS SELECT r.*, h.content_hash FROM regions r JOIN region_hashes h USING (region_id)"
        )
        for name in ("region_hashes", "regions", "measurements", "searchable", "individuals", "photographs"):
            catalog.execute(f"DROP VIEW {name}")
        for name in ("region_rows", "individual_rows", "lone_photographs", "old_regions"):
            catalog.execute(f"DROP TABLE {name}")
        for name in ("measurements", "searchable", "individuals", "photographs"):
            catalog.execute(f"ALTER TABLE old_{name} RENAME TO {name}")
        catalog.execute("ALTER TABLE hashed RENAME TO regions")
    without_checksums(store.path)
    with sst.open_index(store.path) as index:
        hits = index.search(like=("p00", "wing"), k=5, where="sex = 'f'")
        index.review("p01", "wing", "accept", reviewer="R")
        assert index.decision("p01", "wing") is not None
    store = Store.open(store.path)
    with store.lock():
        commit(store, FIRST)
    assert epoch_of(store).segments == ()
    found = dump(store)
    assert [len(found.pop("reviews")), found.pop("searchable") != expected["searchable"]] == [1, True]
    assert found == {name: rows for name, rows in expected.items() if name not in ("reviews", "searchable")}
    with sst.open_index(store.path) as index:
        assert index.search(like=("p00", "wing"), k=5, where="sex = 'f'") == hits


# ------------------------------------------------------------------------------------------------ damage


def files_of(store: Store) -> list[str]:
    folder = generation_of(store).folder
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def added(tmp_path: Path) -> Store:
    store = first_index(tmp_path / "index")
    add(store, {"p20": "one", "p03": "one"}, [*FIRST, "p20"], seed=1)
    return store


def test_every_file_of_an_addition_is_verified_and_made_again(added: Store) -> None:
    expected = dump(added)
    names = files_of(added)
    assert {name.split("/")[0] for name in names} == {
        *("base.duckdb", "catalog.duckdb", "epoch.json", "owners", "removed.npy", "segments", "vectors")
    }
    assert len([name for name in names if name.startswith("segments/0002/")]) == 8
    for name in names:
        path = generation_of(added).folder / name
        content = path.read_bytes()
        path.write_bytes(
            content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
        )
        assert [damage.file for damage in verify_index(added.path).damages] == [path], name
        path.write_bytes(content)
    path = generation_of(added).folder / "segments" / "0002" / "wing.places.npz"
    path.write_bytes(b"")
    with pytest.raises(IndexFolderError, match=r"wing\.places\.npz has 0 bytes"):
        sst.open_index(added.path)
    repair_index(added.path)
    store = Store.open(added.path)
    assert verify_index(store.path).damages == []
    assert dump(store) == expected
    assert epoch_of(store).segments == ()


@pytest.mark.parametrize(
    "name",
    [
        *("segments/0002/wing.places.npz", "catalog.duckdb", "base.duckdb", "epoch.json"),
        *("owners/records.jsonl", "owners/base/records.jsonl"),
    ],
)
def test_the_next_build_makes_a_damaged_generation_anew(added: Store, name: str) -> None:
    expected = dump(added)
    path = generation_of(added).folder / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with added.lock():
        commit(added, [*FIRST, "p20"])
    assert (epoch_of(added).number, epoch_of(added).segments) == (3, ())
    assert dump(added) == expected


@pytest.mark.parametrize("whole", [True, False])
def test_a_catalog_that_is_damaged_inside_is_made_anew(tmp_path: Path, whole: bool) -> None:
    """Its middle is not read before it is added to, so that this costs nothing; the database notices."""
    store = first_index(tmp_path / "index")
    names = [*FIRST, "p20"]
    if not whole:
        add(store, {"p20": "one"}, names, seed=1)
    path = generation_of(store).catalog_file if whole else generation_of(store).base_file
    content = bytearray(path.read_bytes())
    for place in range(1 << 15, len(content) - 5000, 1 << 15):
        content[place] ^= 1
    path.write_bytes(content)
    add(store, {"p21": "two"}, names := [*names, "p21"], seed=2)
    assert epoch_of(store).segments == ()
    assert verify_index(store.path).damages == []
    other = first_index(tmp_path / "other")
    if not whole:
        add(other, {"p20": "one"}, names[:-1], seed=1)
    add(other, {"p21": "two"}, names, seed=2, refit=True)
    assert dump(store) == dump(other)


@pytest.mark.parametrize("name", ["evil", "searchable"])
def test_a_view_of_a_strangers_catalog_reads_no_other_file(added: Store, tmp_path: Path, name: str) -> None:
    """Its views are part of the file; they are bound when it is opened, by which a function would read a file."""
    without_checksums(added.path)
    secret = tmp_path / "secret.csv"
    secret.write_text("word\nopen\n")
    with duckdb.connect(str(generation_of(added).catalog_file)) as catalog:
        catalog.execute(f"ATTACH '{generation_of(added).base_file}' AS base (READ_ONLY)")
        catalog.execute(f"CREATE OR REPLACE VIEW {name} AS FROM read_csv('{secret}')")
    with pytest.raises(IndexFolderError, match="disabled"):
        Catalog(generation_of(added).catalog_file)


@pytest.mark.parametrize("name", ["wing.codes.npy", "wing.codes.npz", "wing.lengths.npz", "wing.places.npz"])
@pytest.mark.parametrize("content", [b"", b"not this", None])
def test_files_of_a_segment_that_are_not_its_own_are_named(added: Store, name: str, content: bytes | None) -> None:
    manifest = without_checksums(added.path)
    assert manifest["generation"]["number"] == 2
    segment = generation_of(added).segment_folder / "0002"
    path = segment / name
    if content is None:
        path.write_bytes((segment / ("wing.codes.npz" if name.endswith("npy") else "wing.codes.npy")).read_bytes())
    else:
        path.write_bytes(content)
    with pytest.raises(IndexFolderError, match=name.replace(".", r"\.")):
        sst.open_index(added.path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"number": -1}', '{"number": 1, "fitted": {"wing": "x"}}'])
def test_an_epoch_file_that_is_none_is_named(added: Store, text: str) -> None:
    without_checksums(added.path)
    generation_of(added).epoch_file.write_text(text)
    with pytest.raises(IndexFolderError, match=r"epoch\.json cannot be read"):
        sst.open_index(added.path)


def test_a_shard_that_was_set_aside_is_not_taken_for_indexed(added: Store) -> None:
    shard = added.path / "shards" / "000001.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    repair_index(added.path)
    store = Store.open(added.path)
    with store.lock():
        assert "p20" not in store.indexed_hashes()
        assert "p20" not in store.indexed_photographs()
        commit(store, [*FIRST, "p20"])
    assert (epoch_of(store).segments, epoch_of(store).shards) == ((), 1)
    assert {name for name, _ in living(store)} == set(FIRST)
    add(store, {"p20": "one"}, [*FIRST, "p20"])
    assert store.generation is not None
    assert epoch_of(store).segments == (store.generation.number,)


# ------------------------------------------------------------------------------------------------ killed builds

KILL_AT_EVERY = 29  # 1 tries each moment, and takes minutes

STATES = {
    1: FIRST,
    2: [*FIRST, "p20", "p21"],
    3: [*FIRST[1:], "p20", "p21"],
    4: [*FIRST[1:], "p20", "p21", "p22"],
    5: [*FIRST[1:], "p20", "p21", "p22"],
}
"""Generation -> the photographs in it."""


def walk(path: Path, journal: Path) -> None:
    """Build, add, prune, annotate anew (and make the catalog whole), merge and refit.

    Runs in a process of its own that is killed.
    """
    epochs.LEAST_REGIONS = codes.MIN_REGIONS = 1  # type: ignore[misc]
    epochs.MOST_CHANGED, addition.MOST_TOUCHED, addition.MOST_SEGMENTS = 100, 1, 1  # type: ignore[misc]
    store = Store.open(path) if Store.exists(path) else Store.create(path, settings=WHITENED, blocks=BLOCKS)
    done = int(journal.read_text()) if journal.exists() else 0
    with store.lock():
        for number in range(done + 1, 6):
            beside = 0 if number == 4 else 100
            addition.MOST_ADDED = owner_additions.MOST_ADDED = beside  # type: ignore[misc]
            if store.generation is None or store.generation.number < number:
                # Of the fourth, the supports have changed: every photograph of the second commit is made anew.
                new = {1: FIRST, 2: ["p20", "p21"], 4: ["p20", "p21", "p22"]}.get(number, [])
                store.append(rows([each for name in new for each in regions_of(name, "one", seed=number)]))
                commit(store, STATES[number], prune=number == 3, refit=number == 5)
            journal.write_text(str(number))


@pytest.mark.skipif(sys.platform == "win32", reason="kills itself with a signal")
def test_an_addition_killed_at_any_moment_leaves_a_usable_index_and_goes_on(tmp_path: Path) -> None:
    kill_everywhere(Path(__file__), tmp_path, KILL_AT_EVERY)
    whole = tmp_path / "whole"
    whole.mkdir()
    walk(whole / "index", whole / "journal")
    expected = dump(Store.open(whole / "index"))
    killed = sorted((folder for folder in tmp_path.iterdir() if folder != whole), key=lambda folder: int(folder.name))
    assert len(killed) > 3
    seen = set()
    for folder in killed:
        index, journal = folder / "index", folder / "journal"
        if Store.exists(index) and (store := Store.open(index)).generation is not None:
            number = store.generation.number
            seen.add(number)
            assert {name for name, _ in living(store)} == set(STATES[number])
            dump(store)
            assert number >= (int(journal.read_text()) if journal.exists() else 0)
            # One that is killed between the manifest and its copy leaves them different; the next one mends that.
            assert {damage.file.name for damage in verify_index(index).damages} <= {"manifest.backup.json"}
            assert generation_of(store).base_file.exists() == (number in (2, 3))
            assert epoch_of(store).segments == {1: (), 2: (2,), 3: (2,), 4: (4,), 5: ()}[number]
        walk(index, journal)
        ended = Store.open(index)
        assert verify_index(index).damages == []
        assert {key: value for key, value in dump(ended).items() if key != "made"} == {
            key: value for key, value in expected.items() if key != "made"
        }
        assert [path.name for path in index.rglob(".*")] == [".lock"]
        assert len(list((index / "generations").iterdir())) == 2
    assert {2, 3, 4} <= seen
