from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import a_collection, a_region, built

from sst_retrieval.errors import QueryError
from sst_retrieval.index.duck import SandboxedDatabase, quote_name, quote_text
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.words import Filter, Ranking, TraitPart, answer, remaining, understand
from sst_retrieval.words.lexicon.colour_words import BASIC, DEGREES, colour
from sst_retrieval.words.meaning.conditions import is_one_of
from sst_retrieval.words.reading.sentence import lemmas
from sst_retrieval.words.reading.trait_words import RELATIVES, is_trait_word

IDS = [f"CAM{number:03d}" for number in range(12)]
SEX = ["female", "male"] * 6
SPECIES = ["Heliconius erato"] * 4 + ["Heliconius melpomene"] * 4 + ["Danaus plexippus"] * 4
PLACE = ["Panama, Gamboa", "Panama, Gamboa", "Orange County", "Peru"] * 3
COLLECTOR = ["Peru"] + ["d'Orbigny"] * 5 + ["Wallace"] * 6
YEAR = [1900 + 10 * number for number in range(12)]
REMARK = ["a rather small wing with a red band, found near the river by the house"] * 12
COLOURS = {  # L*, a*, b* of the pure hues, at a middle lightness
    "orange": (65.0, 45.0, 65.0),
    "blue": (40.0, 5.0, -45.0),
    "yellow": (88.0, -12.0, 65.0),
}


def measured(number: int, name: str) -> dict[str, float]:
    lightness, a, b = COLOURS[["orange", "blue", "yellow"][number % 3]]
    area = 100.0 * (number + 1)
    return {
        "area_px": area,
        "area_share": 0.01 * (number + 1),
        "perimeter_px": 2 * area / (12 - number),  # width 12 - number, whatever the length
        "elongation": 1.0 + number,
        "pieces": 1.0 + number % 4,
        "solidity": 0.9,
        "lightness_mean": lightness,
        "a_mean": a,
        "b_mean": b,
        "lightness_sd": 1.0,
        "a_sd": 1.0,
        "b_sd": 1.0,
        "length_mm": 0.5 * number,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "index"
    regions = [
        a_region(name, "forewing_band", measurements=measured(i, name), confidence=i / 12) for i, name in enumerate(IDS)
    ]
    regions += [a_region(name, "hindwing_bar", measurements=measured(i, name)) for i, name in enumerate(IDS[:6])]
    regions += [a_region(name, "hindwing_bar", present=False) for name in IDS[6:]]
    regions += [a_region(name, "elytra", measurements=measured(i, name)) for i, name in enumerate(IDS)]
    columns = {"sex": "VARCHAR", "scientificName": "VARCHAR", "locality": "VARCHAR", "recordedBy": "VARCHAR"}
    table = a_collection(
        IDS,
        {**columns, "year": "BIGINT", "occurrenceRemarks": "VARCHAR"},
        sex=SEX,
        scientificName=SPECIES,
        locality=PLACE,
        recordedBy=COLLECTOR,
        year=YEAR,
        occurrenceRemarks=REMARK,
    )
    built(
        path,
        regions,
        table,
        numbers={"forewing_band": 1, "hindwing_bar": 2, "elytra": 3},
        provenance={"synonyms": {"hindwing_bar": ["racing stripe"]}},
    )
    return path


def specimens(index: Index, sentence: str, **more: object) -> list[str]:
    return [hit.specimen for hit in answer(index, understand(index, sentence), k=20, **more)]  # type: ignore[arg-type]


def some(keep: object) -> list[str]:
    return [name for i, name in enumerate(IDS) if keep(i)]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("sentence", "trait"),
    [
        ("bands", "forewing_band"),
        ("the forewing band", "forewing_band"),
        ("band of the forewing", "forewing_band"),
        ("forewing stripes", "forewing_band"),
        ("stripe on the hind wing", "hindwing_bar"),
        ("racing stripes", "hindwing_bar"),
        ("Elytra", "elytra"),
        ("wing cases", "elytra"),
        ("ELYTRON", "elytra"),
        ("hindwing_bar", "hindwing_bar"),
        ("females with large bars", "hindwing_bar"),
        ("bands without hindwing bars", "forewing_band"),
    ],
)
def test_a_trait_is_known_by_its_name_and_its_synonyms(index: Index, sentence: str, trait: str) -> None:
    question = understand(index, sentence)
    assert question.trait == trait
    assert not question.doubts
    assert not question.unknown


def test_a_word_for_two_traits_is_said_and_not_guessed(index: Index) -> None:
    question = understand(index, "find wings with a similar stripe")
    assert question.trait is None
    (doubt,) = question.doubts
    assert {choice.trait for choice in doubt.choices if isinstance(choice, TraitPart)} == {
        "forewing_band",
        "hindwing_bar",
    }
    with pytest.raises(QueryError, match="'stripe' may be forewing_band or hindwing_bar"):
        answer(index, question)
    chosen = question.choose(doubt, doubt.choices[0])
    assert chosen.trait == doubt.choices[0].trait  # type: ignore[union-attr]
    with pytest.raises(QueryError, match="similar to which"):
        answer(index, chosen)


def test_the_example_may_settle_which_trait_is_meant(index: Index) -> None:
    # CAM008 shows no hindwing bar.
    question = understand(index, "wings with a stripe like CAM008")
    assert (question.trait, question.example) == ("forewing_band", "CAM008")
    assert understand(index, "wings with a stripe like CAM001").trait is None
    assert understand(index, "wings with a similar stripe", like="CAM008").trait == "forewing_band"


@pytest.mark.parametrize(
    ("sentence", "keep"),
    [
        ("bands of females", lambda i: i % 2 == 0),
        ("bands of ♂", lambda i: i % 2 == 1),
        ("bands from Panama", lambda i: i % 4 < 2),
        ("bands from panama, gamboa", lambda i: i % 4 < 2),
        ("bands of Heliconius erato", lambda i: i < 4),
        ("bands of H. erato", lambda i: i < 4),
        ("bands of Heliconius", lambda i: i < 8),
        ("bands of erato or plexippus", lambda i: i < 4 or i >= 8),
        ("bands of erato and melpomene", lambda i: i < 8),
        ("bands, not erato", lambda i: i >= 4),
        ("bands, not erato or melpomene", lambda i: i >= 8),
        ("bands, neither erato nor melpomene", lambda i: i >= 8),
        ("bands, not erato, from Panama", lambda i: i >= 4 and i % 4 < 2),
        ("bands except males", lambda i: i % 2 == 0),
        ("bands collected by d'Orbigny", lambda i: 1 <= i < 6),
        ("bands of the Orange County", lambda i: i % 4 == 2),
        ("bands with locality Peru", lambda i: i % 4 == 3),
        ("bands before 1950", lambda i: i < 5),
        ("bands from 1950 to 1970", lambda i: 5 <= i <= 7),
        ("bands 1950-1970", lambda i: 5 <= i <= 7),
        ("bands of the 1920s", lambda i: i == 2),
        ("bands in 1930", lambda i: i == 3),
        ("bands since 1980 of males", lambda i: i >= 8 and i % 2 == 1),
        ("bands with confidence over 0.5", lambda i: i > 6),
        ("bands with at least 3 pieces", lambda i: i % 4 >= 2),
        ("bands longer than 3 mm", lambda i: i > 6),
        ("bands with elongation between 3 and 5", lambda i: 2 <= i <= 4),
        ("bands with area share > 8 %", lambda i: i > 7),
        ("bands with area px at least 1,000", lambda i: i >= 9),
        ("bands with confidence over 0,5", lambda i: i > 6),
        ("bands with length mm over -1", lambda i: True),
        ("bands with b mean under \u22125.5", lambda i: i % 3 == 1),
        ("bands without hindwing bars", lambda i: i >= 6),
        ("bands with a hindwing bar", lambda i: i < 6),
        ("bands, but not CAM003", lambda i: i != 3),
    ],
)
def test_what_the_index_holds_becomes_a_condition(index: Index, sentence: str, keep: object) -> None:
    question = understand(index, sentence)
    assert question.unknown == ()
    assert sorted(specimens(index, sentence, trait="forewing_band")) == some(keep)


def test_a_value_of_two_columns_is_said_and_may_be_settled(index: Index) -> None:
    question = understand(index, "bands Peru")
    (doubt,) = question.doubts
    assert "locality" in doubt.said
    assert "recordedBy" in doubt.said
    assert sorted(hit.specimen for hit in answer(index, question)) == some(lambda i: i % 4 == 3 or i == 0)
    by = {choice.column: question.choose(doubt, choice) for choice in doubt.choices if isinstance(choice, Filter)}
    assert [hit.specimen for hit in answer(index, by["recordedBy"])] == ["CAM000"]
    assert len(answer(index, by["locality"])) == 3


def test_a_colour_that_is_also_a_place_is_a_colour_and_that_is_said(index: Index) -> None:
    question = understand(index, "orange bands")
    assert [type(part) for part in question.parts] == [Ranking, TraitPart]
    assert any("Orange County" in doubt.said for doubt in question.doubts)


def test_a_colour_finds_the_traits_of_that_colour(index: Index) -> None:
    for number, name in enumerate(("orange", "blue", "yellow")):
        hits = answer(index, understand(index, f"{name} bands"))
        assert sorted(hit.specimen for hit in hits) == some(lambda i, n=number: i % 3 == n)
        assert all(hit.similarity > 0.6 and list(hit.blocks) == [name] for hit in hits)
    assert sorted(specimens(index, "bands that are not blue")) == some(lambda i: i % 3 != 1)
    assert specimens(index, "purple bands") == []


def test_size_words_choose_a_third_and_order_it(index: Index) -> None:
    assert specimens(index, "large bands") == IDS[:-5:-1]
    assert specimens(index, "small bands") == IDS[:4]
    assert specimens(index, "very small bands") == IDS[:1]
    assert specimens(index, "the largest bands") == IDS[::-1]
    assert specimens(index, "the 3 largest bands") == IDS[::-1]  # k is given; the sentence's own number comes next
    assert len(answer(index, understand(index, "the 3 largest bands"))) == 3
    assert sorted(specimens(index, "bands that are not large")) == IDS[:8]
    # width 12 - number over the specimen's side, which is 100 for all
    assert specimens(index, "narrow bands") == IDS[:-5:-1]
    assert specimens(index, "wide bands") == IDS[:4]


def test_a_superlative_beside_an_example_is_said_to_order_nothing(index: Index) -> None:
    alone = understand(index, "the largest bands")
    assert alone.superlatives == ("largest",)
    assert not any("orders nothing" in note for note in alone.notes)
    beside = understand(index, "the largest bands", like="CAM001")
    assert any("'largest' orders nothing beside an example" in note for note in beside.notes)
    for words in ("large bands", "larger bands", "orange bands", "bands that are not the largest"):
        assert understand(index, words, like="CAM001").superlatives == ()


def test_several_words_count_alike(index: Index) -> None:
    hits = answer(index, understand(index, "large orange bands"))
    assert [hit.specimen for hit in hits] == ["CAM009"]
    assert hits[0].similarity == pytest.approx(np.mean(list(hits[0].blocks.values())))


def test_an_example_orders_and_words_choose_whom_it_is_compared_with(index: Index) -> None:
    hits = answer(index, understand(index, "orange bands of females like CAM004"))
    assert {hit.specimen for hit in hits} == set(some(lambda i: i % 3 == 0 and i % 2 == 0)) - {"CAM004"}
    plain = index.search(like=("CAM004", "forewing_band"), where="sex = 'female'", k=12)
    assert [hit.specimen for hit in plain if hit.specimen in {h.specimen for h in hits}] == [h.specimen for h in hits]


def test_a_comparative_compares_with_the_example(index: Index) -> None:
    # Sizes grow and widths fall with the number, so that the tenth of all is no large one beside CAM009.
    assert sorted(specimens(index, "bands like CAM002 but larger")) == IDS[3:]
    assert sorted(specimens(index, "bands like CAM009 but larger")) == IDS[10:]
    assert sorted(specimens(index, "bands like CAM009 but smaller")) == IDS[:9]
    assert sorted(specimens(index, "bands like CAM009 but broader")) == IDS[:9]
    assert sorted(specimens(index, "bands like CAM009 but less elongated")) == IDS[:9]
    assert sorted(specimens(index, "bands like CAM009 but more elongated")) == IDS[10:]
    assert sorted(specimens(index, "bands like CAM002 but not larger")) == IDS[:2]
    assert sorted(specimens(index, "larger bands", like=("CAM002", "forewing_band"))) == IDS[3:]
    # Without an example there is nothing to compare with: as "large", and so it is said.
    assert specimens(index, "larger bands") == specimens(index, "large bands")
    assert "than the example; without one, highest third" in understand(index, "larger bands").rank[0].meaning


def test_a_comparative_needs_a_measured_example(index: Index) -> None:
    question = understand(index, "larger bars")
    with pytest.raises(QueryError, match="hindwing_bar of CAM008, which has no size"):
        answer(index, question, like=("CAM008", "hindwing_bar"))
    outside = index.vectors("forewing_band")[1][:1]
    with pytest.raises(QueryError, match="outside was not measured"):
        answer(index, understand(index, "larger bands"), vectors=outside)


def test_an_example_and_a_description_order_alike(index: Index) -> None:
    patterns = index.patterns("forewing_band", np.arange(0)).shape[1]
    described = np.asarray(index.region("CAM007", "forewing_band").vector)[:patterns]
    question = understand(index, "feathery bands like CAM004")
    hits = answer(index, question, k=20, described=described)
    alike = [hit.specimen for hit in answer(index, question, k=20)]
    fitting = [hit.specimen for hit in answer(index, understand(index, "feathery bands"), k=20, described=described)]
    fitting.remove("CAM004")
    assert fitting[0] == "CAM007"
    place = {name: 1 / (61 + alike.index(name)) + 1 / (61 + fitting.index(name)) for name in alike}
    assert [hit.specimen for hit in hits] == sorted(alike, key=lambda name: (-place[name], alike.index(name)))
    assert [hit.specimen for hit in hits] not in (alike, fitting)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert hits[0].blocks.keys() == {"pattern", "colour", "shape", "text"}
    assert [hit.specimen for hit in answer(index, question, k=3, described=described)] == [h.specimen for h in hits[:3]]


def test_blocks_may_be_named(index: Index) -> None:
    assert understand(index, "bands like CAM001 in shape").weights == {"shape": 1.0}
    assert understand(index, "the same colour and pattern of the band as CAM001").weights == {
        "pattern": 1.0,
        "colour": 1.0,
    }
    assert understand(index, "bands like CAM001, whatever the colour").weights == {"pattern": 1.0, "shape": 1.0}
    assert understand(index, "orange coloured bands").weights is None


def test_what_is_not_understood_is_said(index: Index) -> None:
    question = understand(index, "iridescent bands of females with hairy antennae")
    assert question.unknown == ("iridescent", "hairy", "antennae")
    assert any("'antennae' is no trait of this index" in note for note in question.notes)
    question = understand(index, "bands wider than 3 mm")
    assert any("nothing in mm" in note for note in question.notes)
    # Nothing is left of it: "wider" alone is not what was asked.
    assert [part.kind for part in question.parts] == ["trait"]
    assert understand(index, "").parts == ()
    assert understand(index, "bands of females or from Peru").notes


@pytest.mark.parametrize(
    ("sentence", "left_out"),
    [
        ("bands wider than long", "wider than long"),
        ("bands at least twice as long as wide, from Panama", "at least twice as long as wide"),
        ("bands wider than the hindwing bar", "wider than the hindwing bar"),
        ("bands larger than those of erato", "larger than those of erato"),
        ("bands longer than 3 px", "longer than 3 px"),
        ("bands unlike CAM003", "unlike CAM003"),
        ("bands as red as blood", "as red as blood"),
        ("bands not similar to CAM003", "not similar to CAM003"),
        ("bands most different from the specimen CAM003", "most different from the specimen CAM003"),
        ("not shiny bands", "not"),
        ("bands of another species", "another species"),
        ("bands, no blue hindwing bar", "hindwing bar"),
    ],
)
def test_what_cannot_be_asked_is_left_out_as_a_whole_and_said(index: Index, sentence: str, left_out: str) -> None:
    question = understand(index, sentence)
    assert any(f"{left_out!r}" in note for note in question.notes)
    assert left_out not in question.unknown  # It was understood; no model shall make something of it.
    kinds = {part.kind: part for part in question.parts}
    assert kinds.keys() <= {"trait", "filter"}
    assert kinds["trait"] == TraitPart("bands", "forewing_band", "forewing_band")
    assert ("filter" in kinds) == ("Panama" in sentence)
    assert question.example is None


@pytest.mark.parametrize(
    "sentence", ["blue or yellow bands", "bands, orange, blue or yellow", "bands not blue or yellow"]
)
def test_one_of_several_colours(index: Index, sentence: str) -> None:
    question = understand(index, sentence)
    wanted = {"b": {1, 2}, "o": {0, 1, 2}, "n": {0}}[sentence.removeprefix("bands").lstrip(", ")[0]]
    found = {hit.specimen for hit in answer(index, question, k=20)}
    assert found == {name for i, name in enumerate(IDS) if i % 3 in wanted}
    assert len(question.rank) == 1
    # Without "or" both are meant, and no band is both.
    assert answer(index, understand(index, "blue and yellow bands")) == []


def test_or_between_a_colour_and_a_size_is_said_not_to_be_understood(index: Index) -> None:
    assert any("both must hold" in note for note in understand(index, "orange or wide bands").notes)
    assert not understand(index, "bands not orange or wide").notes


def test_a_column_may_be_named_as_the_table_does(index: Index) -> None:
    by_name = understand(index, "bands, scientificName Danaus plexippus")
    assert {hit.specimen for hit in answer(index, by_name, k=20)} == set(IDS[8:])
    assert by_name.unknown == ()
    after = understand(index, "bands of female sex")
    assert (after.where, after.unknown) == (understand(index, "bands, sex female").where, ())
    area = understand(index, "bands with areaShare over 0.1")
    assert {hit.specimen for hit in answer(index, area, k=20)} == set(IDS[10:])


def test_what_is_said_of_numbers_in_words(index: Index) -> None:
    assert understand(index, "the three largest bands").k == 3
    assert understand(index, "top ten bands").k == 10
    hits = answer(index, understand(index, "bands with at least three pieces"))
    assert {hit.specimen for hit in hits} == {name for i, name in enumerate(IDS) if i % 4 >= 2}


@pytest.mark.parametrize(
    "sentence",
    [
        "bands like those of erato",
        "bands similar to erato",
        "bands resembling Heliconius erato",
        "mimics of erato, bands",
    ],
)
def test_to_resemble_a_species_asks_for_one_of_its_specimens(index: Index, sentence: str) -> None:
    question = understand(index, sentence)
    assert question.where is None  # The hits need not be of that species.
    (doubt,) = question.doubts
    assert {choice.specimen for choice in doubt.choices} == set(IDS[:3])  # type: ignore[union-attr]
    with pytest.raises(QueryError, match=r"similar to which.*CAM000 or CAM001 or CAM002"):
        answer(index, question)
    chosen = question.choose(doubt, doubt.choices[1])
    expected = index.search(like=("CAM001", "forewing_band"), k=12)
    assert [hit.specimen for hit in answer(index, chosen)] == [hit.specimen for hit in expected]
    # "Similar females" are females.
    assert understand(index, "similar females like CAM001, bands").where == understand(index, "female bands").where


def test_a_condition_may_be_relative_to_the_example(index: Index) -> None:
    species, sex = dict(zip(IDS, SPECIES, strict=True)), dict(zip(IDS, SEX, strict=True))
    for sentence, keep in {
        "bands like CAM001 but of another species": lambda name: species[name] != species["CAM001"],
        "bands like CAM001 of the same species": lambda name: species[name] == species["CAM001"],
        "bands like CAM001, not of the same sex": lambda name: sex[name] != sex["CAM001"],
        "bands like CAM001, another species, same sex": lambda name: (
            species[name] != species["CAM001"] and sex[name] == sex["CAM001"]
        ),
    }.items():
        found = {hit.specimen for hit in answer(index, understand(index, sentence), k=20)}
        assert found == {name for name in IDS if keep(name)} - {"CAM001"}, sentence
    # The example may come apart from the sentence.
    beside = understand(index, "bands of other species", like="CAM001")
    assert {hit.specimen for hit in answer(index, beside, k=20)} == set(IDS[4:])


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("bands except females and erato", "male not erato"),
        ("bands, excluding erato and the females", "male not erato"),
        ("non-erato bands", "not erato"),
        ("bands of erato with hindwing bars absent", "none"),
        ("bands with hindwing bars missing", "late"),
        ("bands missing hindwing bars", "late"),
        ("bands without visible hindwing bars", "late"),
        ("bands from outside Panama", "not Panama"),
        ("I would like to see bands, not from Panama", "not Panama"),
    ],
)
def test_what_excludes(index: Index, sentence: str, expected: str) -> None:
    numbers = {
        "male not erato": [5, 7, 9, 11],
        "not erato": range(4, 12),
        "none": [],
        "late": range(6, 12),
        "not Panama": [i for i in range(12) if "Panama" not in PLACE[i]],
    }[expected]
    question = understand(index, sentence)
    assert {hit.specimen for hit in answer(index, question, k=20)} == {IDS[number] for number in numbers}
    assert question.unknown in ((), ("visible",))


def test_remarks_are_not_searched_word_by_word(index: Index) -> None:
    assert understand(index, "red bands near the river").unknown == ("near", "river")


def test_parts_can_be_removed_and_changed(index: Index) -> None:
    question = understand(index, "large bands of females from Panama")
    (female,) = [part for part in question.parts if isinstance(part, Filter) and part.column == "sex"]
    assert sorted(hit.specimen for hit in answer(index, question.without(female))) == ["CAM008", "CAM009"]
    (large,) = question.rank
    wider = replace(question, parts=tuple(replace(p, share=1.0) if p == large else p for p in question.parts))
    assert [hit.specimen for hit in answer(index, wider)] == ["CAM008", "CAM004", "CAM000"]
    assert question.without(large).rank == ()
    assert question.adding(TraitPart("", "elytra", "elytra")).trait == "elytra"
    json.dumps(question.as_dict())


def test_what_left_nothing_is_said(index: Index) -> None:
    question = understand(index, "large blue bands of females from Peru")
    assert [(part.words, alone, left) for part, alone, left in remaining(index, question, "forewing_band")] == [
        ("large", 4, 4),
        ("blue", 4, 1),
        ("females", 6, 1),
        ("Peru", 4, 0),
    ]


def test_words_and_conditions_of_the_caller_both_hold(index: Index) -> None:
    question = understand(index, "bands of females")
    assert [hit.specimen for hit in answer(index, question, where="year > 1980 -- late ones")] == ["CAM010"]
    with pytest.raises(QueryError, match="columns:"):
        answer(index, question, where="yeer > 1980")
    with pytest.raises(QueryError, match="no trait 'leg'"):
        answer(index, question, trait="leg")
    with pytest.raises(QueryError, match="which trait"):
        answer(index, understand(index, "females"))
    vector = index.region("CAM004", "forewing_band").vector
    hits = answer(index, question, vectors=vector, k=1)
    assert [(hit.specimen, round(hit.similarity, 6)) for hit in hits] == [("CAM004", 1.0)]
    with pytest.raises(QueryError, match="give one example"):
        answer(index, question, vectors=vector, like=("CAM004", "forewing_band"))


def test_a_missing_measurement_is_said(tmp_path: Path) -> None:
    built(tmp_path / "index", [a_region("a"), a_region("b")])
    with open_index(tmp_path / "index") as small:
        with pytest.raises(QueryError, match="has not measured a_mean"):
            answer(small, understand(small, "red wings"))
        assert understand(small, "wing").trait == "wing"
        assert understand(small, "all females").trait == "wing"


COLUMN = 'a "col'
BENCH = duckdb.connect()
AWKWARD = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=12
) | st.sampled_from(["'", "''", "\\'", "'; DROP TABLE specimens; --", "{}", "{0}", "$trait", "?", "%s", '"', ")"])


@settings(max_examples=60, deadline=None)
@given(values=st.lists(AWKWARD, min_size=1, max_size=3), other=AWKWARD)
def test_a_quoted_value_means_itself_and_nothing_else(values: list[str], other: str) -> None:
    with BENCH.cursor() as connection:
        named = f"(SELECT unnest($values) AS {quote_name(COLUMN)})"
        sql = f"SELECT * FROM {named} WHERE ({is_one_of(COLUMN, values)})"
        rows = connection.execute(sql, {"values": [*values, other]})
        assert {value for (value,) in rows.fetchall()} == set(values)
        assert connection.execute(f"SELECT {quote_text(other)}").fetchall() == [(other,)]


@settings(max_examples=30, deadline=None)
@given(sentence=st.text(max_size=60) | st.lists(AWKWARD, max_size=6).map(" ".join))
def test_any_sentence_is_read(index: Index, sentence: str) -> None:
    question = understand(index, "bands " + sentence)
    question.lines()
    json.dumps(question.as_dict())
    if question.where is not None:
        index.catalog.resolve(question.where, "forewing_band")


@pytest.mark.parametrize("value", ["d'Arc; DROP TABLE regions", "x') OR ('1'='1", "{where}", "$ids ? %"])
def test_a_hostile_value_of_the_table_is_only_a_value(tmp_path: Path, value: str) -> None:
    table = a_collection(["a", "b"], {"place": "VARCHAR"}, place=[value, "elsewhere"])
    built(tmp_path / "index", [a_region("a"), a_region("b")], table)
    with open_index(tmp_path / "index") as small:
        question = understand(small, f'wings from "{value}"')
        assert [hit.specimen for hit in answer(small, question)] == ["a"]


def words_of_the_docs() -> list[tuple[str, str]]:
    """The words that docs/words.md promises: (section, word)."""
    text = (Path(__file__).parents[2] / "docs" / "words.md").read_text(encoding="utf-8")
    found = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if title == "Much and little":
            rows = [line.split("|") for line in body.splitlines() if line.startswith("|")][2:]
            found += [(title, word) for row in rows for cell in row[1:3] for word in cell.split(", ")]
        if title == "Words for traits":
            lines = re.findall(r"^- (.*)$", body.replace('; "wing" is any of them', ""), re.MULTILINE)
            found += [(title, word) for line in lines for word in re.split("[,;] ", line)]
        if title == "Colours":
            lists = re.findall(r"(?:Hues|Before them): ([^;.]*)", body)
            found += [(title, word) for line in lists for word in re.split(r", | \(|\)", " ".join(line.split()))]
    return [(title, word.strip()) for title, word in found if word.strip("- ")]


def test_every_word_that_the_docs_promise_is_understood(index: Index) -> None:
    promised = words_of_the_docs()
    assert len(promised) > 120
    for title, word in promised:
        question = understand(index, f"{word} elytra")
        if title == "Colours" and word in DEGREES:
            assert any(colour([word, hue]) for hue in BASIC), word
        elif title == "Words for traits":
            assert is_trait_word(lemmas(word)[0]) or lemmas(word) in RELATIVES, word
        else:
            assert not question.unknown, word
            assert question.rank, word


def test_no_region_is_listed_in_a_question_to_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids go along as data: a list of a hundred thousand, written out, takes the database seconds to read."""
    names = [f"Z{number:04d}" for number in range(600)]
    regions = [
        a_region(name, trait, measurements={"area_share": float(number)})
        for number, name in enumerate(names)
        for trait in ("wing", "leg")
    ]
    built(tmp_path / "index", regions, numbers={"wing": 1, "leg": 2})
    with open_index(tmp_path / "index") as index:
        for name in names[200:500]:
            index.review(name, "leg", "reject", reviewer="Mary")
        index.review("Z0599", "wing", "reject", reviewer="Mary")
        asked: list[str] = []
        for method in ("rows", "select_where"):
            own = getattr(SandboxedDatabase, method)

            def noted(self: SandboxedDatabase, sql: str, *more: Any, _own: Any = own, **named: Any) -> Any:
                asked.extend([sql, *(text for text in more if isinstance(text, str))])
                return _own(self, sql, *more, **named)

            monkeypatch.setattr(SandboxedDatabase, method, noted)
        large = understand(index, "large wings like Z0450")
        found = {hit.specimen for hit in answer(index, large, k=600)}
        # The largest third, without the example and the rejected one.
        assert found == {name for name in names[399:] if name not in ("Z0450", "Z0599")}
        without = understand(index, "wings without legs")
        assert {hit.specimen for hit in answer(index, without, k=600)} == set(names[200:500])
        assert [left for _, _, left in remaining(index, without, "wing")] == [300]
        both = understand(index, "large wings with legs like Z0510")
        expected = {name for name in names[500:] if name not in ("Z0510", "Z0599")}
        assert {hit.specimen for hit in answer(index, both, k=600)} == expected
        assert max(map(len, asked)) < 1500
        index.review("Z0550", "leg", "reject", reviewer="Mary")  # A question that was understood before.
        assert {hit.specimen for hit in answer(index, both, k=600)} == expected - {"Z0550"}


def test_a_search_among_some_regions_is_the_search_of_all_but_the_others(index: Index) -> None:
    every = index.search(like=("CAM003", "forewing_band"), k=12)
    some_ids = [hit.region_id for hit in every][1::2]
    for more in ({}, {"where": "true"}):
        found = index.search(like=("CAM003", "forewing_band"), k=12, among=some_ids, **more)  # type: ignore[arg-type]
        assert [hit.region_id for hit in found] == some_ids
    assert index.search(like=("CAM003", "forewing_band"), k=12, among=[]) == []
    assert len(every) == 11
    assert len(some_ids) == 5
    pairs = [("CAM003", "forewing_band"), ("CAM003", "elytra")]
    rows = index.trait_table().arrow(["region_id", "specimen", "trait"]).to_pylist()
    ids = [row["region_id"] for row in rows if row["specimen"] in ("CAM001", "CAM007") or row["trait"] == "elytra"]
    assert {hit.specimen for hit in index.search(like=pairs, k=12, among=ids)} == {"CAM001", "CAM007"}


@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_a_number_of_very_many_digits(index: Index, digits: int) -> None:
    understand(index, f"show {'9' * digits} specimens")


def test_a_sentence_of_hundreds_of_words_is_refused(index: Index) -> None:
    with pytest.raises(QueryError, match=r"too long .*at most 150 words"):
        understand(index, "orange bands " * 400)
    with pytest.raises(QueryError, match="too long"):
        understand(index, "orange" * 10_000)
