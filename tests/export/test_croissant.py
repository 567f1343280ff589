"""Croissant metadata: every column is described as the Parquet file has it; the real library reads it where it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pairs import an_index_of_pairs

from sst_retrieval.errors import InputError
from sst_retrieval.export import export_croissant
from sst_retrieval.search.index import open_index


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    an_index_of_pairs(tmp_path / "index")
    with open_index(tmp_path / "index") as index:
        return export_croissant(
            index, tmp_path / "out", licences=["CC0-1.0"], creator="Museum", url="https://m.example"
        )


def test_it_describes_the_file_beside_it(exported: Path) -> None:
    found = json.loads(exported.read_text(encoding="utf-8"))
    (file,) = found["distribution"]
    table = exported.with_name(file["contentUrl"])
    assert file["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    (records,) = found["recordSet"]
    schema = pq.read_schema(table)
    assert [field["source"]["extract"]["column"] for field in records["field"]] == schema.names
    kinds = {field["source"]["extract"]["column"]: field["dataType"] for field in records["field"]}
    assert (kinds["specimen"], kinds["confidence"], kinds["area_px"]) == ("sc:Text", "sc:Float", "sc:Float")
    assert found["license"] == "CC0-1.0"
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.0"


def test_a_licence_is_never_guessed(tmp_path: Path) -> None:
    an_index_of_pairs(tmp_path / "index")
    with open_index(tmp_path / "index") as index, pytest.raises(InputError, match="names none; say it with --licence"):
        export_croissant(index, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of its own libraries.
def test_mlcroissant_reads_it(exported: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(exported)
    assert list(dataset.metadata.issues.errors) == []
    records = list(dataset.records("traits"))
    assert len(records) == pq.read_metadata(exported.with_name("traits.parquet")).num_rows
    assert {record["traits/trait"] for record in records} == {b"band", b"spot"}
