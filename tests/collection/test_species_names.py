"""The species of groups, as the names in a table say it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from sst_retrieval.collection.species_names import find_species, read_species
from sst_retrieval.types import Photograph, Scalar


@pytest.mark.parametrize(
    "name",
    [
        "Carabus granulatus",
        "Carabus granulatus Linnaeus, 1758",
        "Carabus granulatus interstitialis Duftschmid, 1812",
        "Carabus (Carabus) granulatus Linnaeus, 1758",
        "CARABUS GRANULATUS",
        " carabus  granulatus ",
        "Carabus_granulatus",
        "Carabus granulatus (Linnaeus, 1758)",
        "Carabus granulatus cf. interstitialis",
        "Carabus granulatus X. Near & A. Group, 1900",
    ],
)
def test_a_species_is_read_however_it_is_written(name: str) -> None:
    assert read_species(name) == "Carabus granulatus"


@pytest.mark.parametrize(
    "name",
    [
        *("", "Carabus", "Carabus Linnaeus, 1758", "Carabus de Geer", "Carabus sp.", "Carabus sp. 2", "Carabus spec"),
        *("Carabus cf. granulatus", "Carabus aff granulatus", "Carabus x hybridus"),
        *(
            "Carabus \N{MULTIPLICATION SIGN} hybridus",
            "Carabus granulatus?",
            "Carabus granulatus/cancellatus",
            "C. granulatus",
            "12 34",
        ),
        *("Carabus granulatus x cancellatus", "Carabus granulatus agg.", "Carabidae gen. sp."),
    ],
)
def test_a_name_that_leaves_the_species_open_is_unknown(name: str) -> None:
    assert read_species(name) == ""


def test_hyphens_and_letters_of_other_alphabets_are_parts_of_names() -> None:
    assert read_species("Polygonia c-album L.") == "Polygonia c-album"
    assert read_species("Cicindela mülleri") == read_species("Cicindela mu\u0308lleri") == "Cicindela mülleri"


def rows(*cells: tuple[str, Mapping[str, Scalar]]) -> list[Photograph]:
    return [Photograph(str(at), Path(f"{at}.png"), group, row) for at, (group, row) in enumerate(cells)]


def test_a_group_has_the_species_that_its_rows_agree_on() -> None:
    name = "scientificName"
    table = rows(
        ("males", {name: "Lucanus cervus (Linnaeus, 1758)"}),
        ("males", {name: None}),
        ("females", {name: "Lucanus cervus"}),
        ("mixed", {name: "Lucanus cervus"}),
        ("mixed", {name: "Dorcus parallelipipedus"}),
        ("unsure", {name: "Lucanus cervus"}),
        ("unsure", {name: "Lucanus sp."}),
        ("unnamed", {name: ""}),
        ("unasked", {name: "Lucanus cervus"}),
    )
    groups = {each.group for each in table} - {"unasked"}
    assert find_species(table, groups) == {"males": "Lucanus cervus", "females": "Lucanus cervus"}


def test_the_name_may_be_in_several_columns() -> None:
    def read(row: Mapping[str, Scalar]) -> str | None:
        return find_species(rows(("one", row)), {"one"}).get("one")

    assert read({"dwc:genus": "Lucanus", "specific_epithet": "cervus"}) == "Lucanus cervus"
    assert read({"scientificName": None, "genus": "Lucanus", "specificEpithet": "cervus"}) == "Lucanus cervus"
    assert read({"genus": "Lucanus", "species": "cervus"}) == "Lucanus cervus"
    assert read({"genus": "Lucanus", "species": "Lucanus cervus"}) == "Lucanus cervus"
    # Of no genus, an epithet names nothing: many species are called vulgaris.
    assert read({"specificEpithet": "cervus"}) is None
    assert read({"genus": "Lucanus", "specificEpithet": None}) is None
    assert read({"locality": "Kyiv oblast"}) is None
