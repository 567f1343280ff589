from __future__ import annotations

import datetime
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import BLOCKS, SETTINGS, a_collection, a_region, built, rows

import sst_retrieval as sst
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.owner_lines import LineWriter, OwnerLines
from sst_retrieval.index.owners import Owners
from sst_retrieval.index.store import Store
from sst_retrieval.types import Photograph, Placement

NAMES = ["ä#2", "S10", "S9", 'say "it"', "Ω", "s9", "z 1"]

TYPES = {
    "n": "BIGINT",
    "x": "DOUBLE",
    "yes": "BOOLEAN",
    "day": "DATE",
    "moment": "TIMESTAMP",
    "text": "VARCHAR",
    "confidence": "DOUBLE",
}
values = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "x": st.none() | st.floats(),
        "yes": st.none() | st.booleans(),
        "day": st.none() | st.dates(),
        "moment": st.none() | st.datetimes(),
        "text": st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        "confidence": st.none() | st.floats(0, 1),
    }
)


def both(folder: Path) -> tuple[Catalog, Catalog]:
    """The catalog of an index, as it is asked by SQL, and with the files of owners."""
    (file,) = folder.glob("generations/*/catalog.duckdb")
    quick = Catalog(file, file.with_name("owners"))
    assert quick._owners is not None
    return Catalog(file), quick


def same(one: object, other: object) -> bool:
    """Equal, of the same type, NaN like NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and one == other


@settings(max_examples=15, deadline=None)
@given(table=st.lists(values, min_size=len(NAMES), max_size=len(NAMES)))
def test_owners_are_those_of_the_catalog(tmp_path_factory: pytest.TempPathFactory, table: list[dict]) -> None:
    folder = tmp_path_factory.mktemp("owners") / "index"
    regions = [a_region(name, confidence=0.1 * n) for n, name in enumerate(NAMES) if name != "Ω"]
    regions += [a_region(name, "head", present=name != "S9") for name in NAMES[1:]]
    columns = {name: [row[name] for row in table] for name in TYPES}
    built(folder, regions, a_collection(NAMES, TYPES, **columns), numbers={"wing": 7, "head": 2})
    asked, quick = both(folder)
    with asked, quick:
        ids = list(range(len(regions)))
        expected, found = asked.owners(ids), quick.owners(ids)
        assert found.keys() == expected.keys() == set(ids)
        for number in ids:
            assert found[number][:4] == expected[number][:4]
            assert found[number].metadata.keys() == expected[number].metadata.keys()
            for name, value in expected[number].metadata.items():
                assert same(found[number].metadata[name], value), (name, value)
        for name in [*NAMES, "", "S1", "S100", "nobody", "zz"]:
            assert quick.names(name) == asked.names(name)
            for trait in ("wing", "head", "tail"):
                assert quick.region_id(name, trait) == asked.region_id(name, trait), (name, trait)


def test_individuals_of_one_photograph_have_its_row(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "index", settings=SETTINGS, blocks=BLOCKS)
    photograph = Photograph("P1", Path("/p1.jpg"), "group", {"catalogNumber": "S1"}, specimen="S1")
    empty = Photograph("P2", Path("/p2.jpg"), "group", {"catalogNumber": "S1"}, specimen="S1")
    several = [replace(a_region(f"P1#{n}"), placement=Placement("P1", n, (0, 0, 9, 6), 0.9, None)) for n in (1, 2)]
    collection = replace(a_collection([]), photographs=(photograph, empty))
    with store.lock():
        store.append(rows(several))
        store.commit(collection, numbers={"wing": 1}, provenance={})
    asked, quick = both(tmp_path / "index")
    with asked, quick:
        assert quick.owners([0, 1]) == asked.owners([0, 1])
        assert quick.names("P1#2") == asked.names("P1#2") == ("P1", "S1")
        assert quick.names("P2") == asked.names("P2")
        assert quick.region_id("P1#2", "wing") == 1
        assert quick.region_id("P2", "wing") is None


def test_owners_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """They had the start of every line, and named the individual again where photograph and specimen are called so."""
    folder = tmp_path / "index"
    many = [f"s{number:03d}" for number in range(40)]
    built(folder, [a_region(name) for name in many], a_collection(many, sex=["f", "m"] * 20))
    (files,) = folder.glob("generations/*/owners")
    columns = ["catalogNumber", "sex"]
    new = Owners(files, columns)
    expected = [new.owner(number) for number in range(40)]
    lines = [
        json.dumps([each.individual, each.photograph, each.specimen, *each.metadata.values()]).encode() + b"\n"
        for each in expected
    ]
    (files / "records.jsonl").unlink()
    (files / "lines.jsonl").write_bytes(b"".join(lines))
    np.save(files / "starts.npy", np.cumsum([0, *map(len, lines)]))
    old = Owners(files, columns)
    assert [old.owner(number) for number in range(40)] == expected
    for name in many:
        assert old.names(name) == new.names(name)
        assert old.region(name, "wing") == new.region(name, "wing")
    assert b"".join(b"".join(part) for part in old.added.texts(3, 37)) == b"".join(lines[3:37])


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_lines_are_written_in_parts(tmp_path: Path, count: int) -> None:
    lines = [json.dumps([f"s{number:03d}", {}, {}]).encode() + b"\n" for number in range(count)]
    for size in (1, 7, 16, 50):
        with LineWriter(tmp_path) as writer:
            for start in range(0, count, size):
                writer.write(lines[start : start + size])
        np.save(tmp_path / "individuals.npy", np.zeros(0, np.int32))
        np.save(tmp_path / "confidences.npy", np.zeros(0))
        found = OwnerLines(tmp_path)
        assert len(found) == count
        assert [found.text(number) + b"\n" for number in range(count)] == lines
        assert b"".join(b"".join(part) for part in found.texts(0, count)) == b"".join(lines)
        assert found.locate("s000") == (0, True)
        assert found.locate("t") == (count, False)


def test_an_index_without_owners_gives_the_same_hits(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    built(folder, [a_region(name) for name in NAMES], a_collection(NAMES, sex=["f", "m"] * 3 + ["f"]))
    with sst.open_index(folder) as index:
        assert index.catalog._owners is not None
        expected = index.search(like=("S9", "wing"), k=4, where="sex = 'f'")
        index.catalog._owners = None
        assert index.search(like=("S9", "wing"), k=4, where="sex = 'f'") == expected
        assert expected[0].metadata["sex"] == "f"


def test_a_column_without_a_plain_form_is_asked_by_sql(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    times = [datetime.time(number) for number in range(len(NAMES))]
    built(folder, [a_region(name) for name in NAMES], a_collection(NAMES, {"at": "TIME"}, at=times))
    assert not list(folder.glob("generations/*/owners"))
    with sst.open_index(folder) as index:
        (hit,) = index.search(like=("S9", "wing"), k=1)
        assert isinstance(hit.metadata["at"], datetime.time)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    built(tmp_path / "index", [a_region(name) for name in NAMES])
    (folder,) = (tmp_path / "index").glob("generations/*/owners")
    return folder


@pytest.mark.parametrize("name", ["records.jsonl", "starts.npy", "individuals.npy", "confidences.npy", "traits.json"])
def test_damaged_files_are_named(files: Path, name: str) -> None:
    whole = (files / name).read_bytes()
    for damage in (b"", whole[:-3], b"something else"):
        (files / name).write_bytes(damage)
        with pytest.raises(IndexFolderError, match=r"owners.*run the build again"):
            Owners(files, ["catalogNumber"])
        with pytest.raises(IndexFolderError, match=rf"{name} .*nothing is lost"):
            sst.open_index(files.parents[2])
    (files / name).write_bytes(whole)
    sst.open_index(files.parents[2]).close()


def test_lines_that_are_no_owners_are_refused_when_they_are_read(files: Path) -> None:
    lines = files / "records.jsonl"
    whole = lines.read_bytes()
    for damage in (b"[" * len(whole), b"7" * len(whole), whole.replace(b'"', b" "), whole.replace(b"S9", b"\xff9")):
        lines.write_bytes(damage)
        owners = Owners(files, ["catalogNumber"])
        with pytest.raises(IndexFolderError, match="damaged"):
            [owners.owner(number) for number in range(len(NAMES))]
        with pytest.raises(IndexFolderError, match="damaged"):
            owners.region("S9", "wing")
    lines.write_bytes(whole)
    with pytest.raises(IndexFolderError, match="other columns"):
        Owners(files, ["catalogNumber", "sex"]).owner(0)


def test_a_region_that_is_not_there_is_a_key_error(files: Path) -> None:
    owners = Owners(files, ["catalogNumber"])
    assert owners.owner(len(NAMES) - 1).individual == "Ω"
    for number in (-1, len(NAMES)):
        with pytest.raises(KeyError):
            owners.owner(number)
