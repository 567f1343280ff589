"""Searches where a specimen has several photographs, and a photograph several individuals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import BLOCKS, a_region, built

from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import QueryError
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.types import Hit, Photograph, Placement, Region
from sst_retrieval.words import answer, understand

PER = ("specimen", "photograph", "individual")


@dataclass(frozen=True)
class Place:
    """Whose an individual is; `number` 0 for the only one of its photograph."""

    specimen: str
    photograph: str
    number: int

    @property
    def individual(self) -> str:
        return f"{self.photograph}#{self.number}" if self.number else self.photograph


# Of S0 and S1 two photographs with one individual; S2 and S3 are trays, S3 two of them; S4 to S9 plain.
PLACES = [
    *(Place("S0", f"S0 {view}", 0) for view in ("dorsal", "ventral")),
    *(Place("S1", f"S1 {view}", 0) for view in ("dorsal", "ventral")),
    *(Place("S2", "S2", number) for number in range(1, 9)),
    *(Place("S3", f"S3 {tray}", number) for tray in "ab" for number in (1, 2, 3)),
    *(Place(f"S{number}", f"S{number}", 0) for number in range(4, 10)),
]


def a_placed_region(place: Place, trait: str, vector: np.ndarray | None = None) -> Region:
    region = a_region(place.individual, trait, vector=vector)
    if not place.number:
        return region
    x0 = 10 * place.number
    return replace(region, placement=Placement(place.photograph, place.number, (x0, 0, x0 + 9, 6), 0.9, region.rle))


def a_collection_of_places(places: Sequence[Place]) -> Collection:
    columns = {"catalogNumber": "VARCHAR", "locality": "VARCHAR"}
    owners = {place.photograph: place.specimen for place in places}
    return Collection(
        photographs=tuple(
            Photograph(
                *(name, Path(f"/photographs/{name}.png"), "group"),
                {"catalogNumber": specimen, "locality": "Panama" if specimen in ("S2", "S4", "S5") else "Peru"},
                specimen=specimen,
                view=name.rpartition(" ")[2] if name != specimen else "",
            )
            for name, specimen in owners.items()
        ),
        columns=columns,
        source=Path("collection.csv"),
    )


def build_places(
    path: Path,
    places: Sequence[Place],
    vectors: Mapping[str, np.ndarray] | None = None,
    traits: Sequence[str] = ("wing",),
) -> Path:
    regions = [
        a_placed_region(place, trait, None if vectors is None else vectors[place.individual])
        for trait in traits
        for place in places
    ]
    numbers = {trait: number for number, trait in enumerate(traits, start=1)}
    built(path, regions, a_collection_of_places(places), numbers=numbers)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_places(tmp_path_factory.mktemp("places") / "index", PLACES, traits=("wing", "head"))


def rank(index: Index, individual: str, trait: str = "wing") -> list[str]:
    """All individuals, the most similar to one first, whoever's they are."""
    names, vectors = index.vectors(trait)
    width = len(BLOCKS)
    scores = np.round(vectors @ vectors[names.index(individual)] / width, 9)
    return [names[at] for at in sorted(range(len(names)), key=lambda at: (-max(scores[at], 0), -scores[at], names[at]))]


def keep(ranked: Sequence[str], per: str, excluded: str, places: Sequence[Place] = PLACES) -> list[str]:
    """The first of each specimen (photograph, individual), and none of the one that was searched with."""
    owner = {place.individual: getattr(place, per) for place in places}
    kept: dict[str, str] = {}
    for name in ranked:
        if owner[name] != owner[excluded]:
            kept.setdefault(owner[name], name)
    return list(kept.values())


# ------------------------------------------------------------------------------------------------------ per


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("like", ["S0 dorsal", "S2#5", "S3 a#1", "S7"])
@pytest.mark.parametrize("k", [1, 3, 99])
def test_hits_are_the_best_of_each_and_none_of_the_query_s_own(index: Index, per: str, like: str, k: int) -> None:
    hits = index.search(like=(like, "wing"), k=k, per=per)
    assert [hit.individual for hit in hits] == keep(rank(index, like), per, like)[:k]
    assert [hit.rank for hit in hits] == [*range(1, len(hits) + 1)]
    places = {place.individual: place for place in PLACES}
    for hit in hits:
        assert (hit.specimen, hit.photograph) == (places[hit.individual].specimen, places[hit.individual].photograph)
        assert hit.metadata["catalogNumber"] == hit.specimen


@pytest.mark.parametrize("per", PER)
def test_many_searches_have_the_hits_of_one_after_the_other(index: Index, per: str) -> None:
    names, _ = index.vectors("wing")
    asked = [{"like": (name, "wing")} for name in names]
    for k in (1, 3, 99):
        assert list(index.search_many(asked, k=k, per=per)) == [index.search(**each, k=k, per=per) for each in asked]


def test_by_default_it_is_one_a_specimen(index: Index) -> None:
    hits = index.search(like=("S7", "wing"), k=99)
    assert hits == index.search(like=("S7", "wing"), k=99, per="specimen")
    assert sorted(hit.specimen for hit in hits) == ["S0", "S1", "S2", "S3", "S4", "S5", "S6", "S8", "S9"]


@settings(max_examples=25, deadline=None)
@given(
    owners=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=3, max_size=40),
    seed=st.integers(0, 2**16),
    k=st.integers(1, 8),
    per=st.sampled_from(PER),
)
def test_it_agrees_with_brute_force(
    tmp_path_factory: pytest.TempPathFactory, owners: list[tuple[int, int]], seed: int, k: int, per: str
) -> None:
    """Also where a great many individuals of few specimens are the most similar."""
    counts: dict[tuple[int, int], int] = {}
    places = []
    for specimen, photograph in sorted(owners):
        counts[specimen, photograph] = counts.get((specimen, photograph), 0) + 1
        places.append(Place(f"s{specimen}", f"s{specimen} {photograph}", counts[specimen, photograph]))
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, sum(BLOCKS.values())))
    vectors = {}
    for place in places:
        vector = centres[int(place.specimen[1:])] + 0.2 * rng.normal(size=centres.shape[1])
        parts = np.split(vector, np.cumsum([*BLOCKS.values()])[:-1])
        vectors[place.individual] = np.concatenate([part / np.linalg.norm(part) for part in parts]).astype(np.float32)
    path = build_places(tmp_path_factory.mktemp("brute") / "index", places, vectors)
    like = places[seed % len(places)].individual
    with open_index(path) as index:
        hits = index.search(like=(like, "wing"), k=k, per=per)
        expected = keep(rank(index, like), per, like, places)
        assert len(hits) == min(k, len(expected))
        similarities = {
            hit.individual: hit.similarity for hit in index.search(like=(like, "wing"), k=99, per="individual")
        }
        similarities |= {hit.individual: hit.similarity for hit in hits}
        assert [hit.similarity for hit in hits] == pytest.approx(
            [similarities[name] for name in expected[:k]], abs=1e-6
        )
        assert len({getattr(hit, per) for hit in hits}) == len(hits)


@pytest.mark.parametrize("per", PER)
def test_several_traits_are_those_of_one_individual(index: Index, per: str) -> None:
    hits = index.search(like=[("S2#5", "wing"), ("S2#5", "head")], k=99, per=per)
    assert hits
    for hit in hits:
        assert {part.individual for part in hit.parts} == {hit.individual}
    ranks = {"S2#5": 0.0}
    for trait in ("wing", "head"):
        names, vectors = index.vectors(trait)
        for name, score in zip(names, vectors @ vectors[names.index("S2#5")], strict=True):
            ranks[name] = ranks.get(name, 0.0) + float(score)
    ordered = sorted(ranks, key=lambda name: -ranks[name])
    assert [hit.individual for hit in hits] == keep(ordered, per, "S2#5")


def test_what_is_expanded_keeps_the_query_s_specimen_out(index: Index) -> None:
    for per in PER:
        hits = index.search(like=("S3 a#1", "wing"), k=99, per=per, expand=2)
        own = {"specimen": "S3", "photograph": "S3 a", "individual": "S3 a#1"}[per]
        assert own not in {getattr(hit, per) for hit in hits}
        assert len({getattr(hit, per) for hit in hits}) == len(hits)


def test_those_it_should_be_unlike_are_left_out_too(index: Index) -> None:
    hits = index.search(like=("S7", "wing"), unlike=("S2#1", "wing"), k=99)
    assert not {"S7", "S2"} & {hit.specimen for hit in hits}


def test_a_photograph_from_outside_finds_one_a_specimen(index: Index) -> None:
    vector = index.region("S2#3", "wing").vector
    assert vector is not None
    hits = index.search(vectors=vector, trait="wing", k=99)
    assert (hits[0].individual, hits[0].similarity) == ("S2#3", pytest.approx(1, abs=1e-6))
    assert len(hits) == 10
    assert [hit.individual for hit in index.search(vectors=vector, trait="wing", k=3, per="individual")] == rank(
        index, "S2#3"
    )[:3]


def test_only_some_regions_may_be_hits(index: Index) -> None:
    ids = [hit.region_id for hit in index.search(like=("S7", "wing"), k=99, per="individual") if hit.specimen == "S2"]
    (hit,) = index.search(like=("S7", "wing"), among=ids)
    assert hit.specimen == "S2"
    assert len(index.search(like=("S7", "wing"), among=ids, per="individual")) == 8


def test_per_something_else_is_refused(index: Index) -> None:
    with pytest.raises(QueryError, match="specimen, photograph, individual"):
        index.search(like=("S7", "wing"), per="drawer")


# ----------------------------------------------------------------------------------------------- examples by name


def test_a_specimen_with_two_photographs_is_two_examples(index: Index) -> None:
    both = index.search(like=("S0", "wing"), k=99)
    named = index.search(like=[("S0 dorsal", "wing"), ("S0 ventral", "wing")], k=99)
    assert both == named
    assert "S0" not in {hit.specimen for hit in both}
    alone = index.search(like=("S0 dorsal", "wing"), k=99)
    assert [hit.similarity for hit in alone] != [hit.similarity for hit in both]
    assert index.examples("S0", "wing") == ["S0 dorsal", "S0 ventral"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("S2", "'S2' is 8 individuals; name one of them: S2#1, S2#2"),
        ("S3", "'S3' is 6 individuals"),
        ("S3 a", "S3 a#1"),
    ],
)
def test_one_of_several_individuals_must_be_named(index: Index, name: str, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        index.search(like=(name, "wing"))


def test_a_name_that_nobody_has_is_answered_with_the_nearest(index: Index) -> None:
    with pytest.raises(QueryError, match=r"S3 a#1|S3 a#2|S3 a#3"):
        index.search(like=("S3 a#9", "wing"))


# ---------------------------------------------------------------------------------------------------- predicates


@pytest.mark.parametrize(
    ("where", "individuals"),
    [
        ("specimen = 'S3'", {f"S3 {tray}#{n}" for tray in "ab" for n in (1, 2, 3)}),
        ("photograph = 'S3 b'", {"S3 b#1", "S3 b#2", "S3 b#3"}),
        ("individual IN ('S3 b#2', 'S0 dorsal')", {"S3 b#2", "S0 dorsal"}),
        ("individual LIKE '%#2' AND locality = 'Panama'", {"S2#2"}),
        ("specimen = 'S0' AND photograph LIKE '%ventral'", {"S0 ventral"}),
        ("photograph = specimen AND individual <> photograph", {f"S2#{n}" for n in range(1, 9)}),
    ],
)
def test_predicates_speak_of_specimens_photographs_and_individuals(
    index: Index, where: str, individuals: set[str]
) -> None:
    hits = index.search(like=("S7", "wing"), where=where, k=99, per="individual")
    assert {hit.individual for hit in hits} == individuals
    assert {hit.specimen for hit in index.search(like=("S7", "wing"), where=where, k=99)} == {
        place.specimen for place in PLACES if place.individual in individuals
    }


# --------------------------------------------------------------------------------------------------------- words


def ask(index: Index, text: str, **more: str) -> list[Hit]:
    return answer(index, understand(index, text), k=99, **more)  # type: ignore[arg-type]


def test_a_sentence_is_answered_with_one_hit_a_specimen_or_as_asked(index: Index) -> None:
    assert sorted(hit.specimen for hit in ask(index, "wings from Panama")) == ["S2", "S4", "S5"]
    assert sorted(hit.individual for hit in ask(index, "wings from Panama", per="individual")) == [
        *(f"S2#{n}" for n in range(1, 9)),
        *("S4", "S5"),
    ]


def test_a_sentence_may_name_an_individual_or_a_specimen_with_several_photographs(index: Index) -> None:
    for name in ("S2#5", "S0 dorsal", "S0"):
        hits = ask(index, f'wings like "{name}"')
        assert [hit.individual for hit in hits] == [
            hit.individual for hit in index.search(like=(name, "wing"), k=99)
        ], name


# ---------------------------------------------------------------------------------------------------- reviews


@pytest.fixture
def reviewed(folder: Path, tmp_path: Path) -> Iterator[Index]:
    """An index that may be reviewed."""
    with open_index(build_places(tmp_path / "index", PLACES)) as index:
        yield index


def test_where_the_best_of_a_specimen_is_rejected_the_next_is_the_hit(reviewed: Index) -> None:
    def hit_of(specimen: str) -> str:
        return next(h.individual for h in reviewed.search(like=("S7", "wing"), k=99) if h.specimen == specimen)

    order = [name for name in rank(reviewed, "S7") if name.startswith("S2#")]
    for name in order[:-1]:
        assert hit_of("S2") == name
        reviewed.review(name, "wing", "reject", reviewer="R")
    assert hit_of("S2") == order[-1]
    reviewed.review(order[-1], "wing", "reject", reviewer="R")
    assert "S2" not in {hit.specimen for hit in reviewed.search(like=("S7", "wing"), k=99)}


# ------------------------------------------------------------------------------------------------- plain indexes


def test_where_each_specimen_has_one_individual_all_three_are_the_same(tmp_path: Path) -> None:
    places = [Place(f"S{n}", f"S{n}", 0) for n in range(12)]
    with open_index(build_places(tmp_path / "index", places)) as index:
        found = [index.search(like=("S7", "wing"), k=99, per=per) for per in PER]
        assert found[0] == found[1] == found[2]
        assert {(hit.specimen, hit.photograph, hit.individual) for hit in found[0]} == {
            (place.specimen,) * 3 for place in places if place.specimen != "S7"
        }
        assert index.catalog.plain


def test_a_comparison_with_a_specimen_is_with_the_mean_of_its_photographs(tmp_path: Path) -> None:
    """A spot that is larger than both of S0 together on average, and one that is larger than one of them alone."""
    sizes = {"S0 a": 4.0, "S0 b": 8.0, "S1": 5.0, "S2": 7.0, "S3": 20.0}
    places = [Place(name[:2], name, 0) for name in sizes]
    regions = [
        replace(
            a_region(each.individual),
            measurements={"area_px": sizes[each.individual], "area_share": sizes[each.individual] / 100},
        )
        for each in places
    ]
    built(tmp_path / "index", regions, a_collection_of_places(places), numbers={"wing": 1})
    with open_index(tmp_path / "index") as index:
        assert sorted(hit.individual for hit in ask(index, 'larger wings like "S0"')) == ["S2", "S3"]
        assert sorted(hit.individual for hit in ask(index, 'larger wings like "S0 a"')) == ["S1", "S2", "S3"]
