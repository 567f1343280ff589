"""Whole tables, part by part: the same rows as at once, with little in memory, and nothing held open meanwhile."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from invented import a_collection, a_region, built

import sst_retrieval as sst
from sst_retrieval.errors import QueryError
from sst_retrieval.export import tabular
from sst_retrieval.index import catalog
from sst_retrieval.morphology.trait_table import TraitTable
from sst_retrieval.search import retrieval

NAMES = [f"s{number:02d}" for number in range(23)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two traits, one of which some lack; a photograph without a region; columns with missing values."""
    regions = [a_region(name, measurements={"area": float(n), "hue": 0.5}) for n, name in enumerate(NAMES)]
    regions += [a_region(name, "leg", present=n % 3 > 0) for n, name in enumerate(NAMES)]
    names = [*NAMES, "zz"]
    lengths = [None if n % 5 == 0 else n / 2 for n in range(len(names))]
    table = a_collection(names, {"sex": "VARCHAR", "mm": "DOUBLE"}, sex=["f", "m"] * 12, mm=lengths)
    built(tmp_path / "index", regions, table, numbers={"wing": 1, "leg": 2})
    return tmp_path / "index"


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_ROWS_AT_ONCE", 4)
    monkeypatch.setattr(retrieval, "VECTORS_AT_ONCE", 3)
    monkeypatch.setattr(tabular, "_VECTORS_AT_ONCE", 5)
    for function in (catalog.Catalog.iterate_table, TraitTable.iterate):
        monkeypatch.setattr(function, "__defaults__", (None, 4))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("where", [None, "sex = 'f'", "mm IS NULL", "false"])
def test_individuals_and_photographs_come_in_order(folder: Path, where: str | None) -> None:
    with sst.open_index(folder) as index:
        found = list(index.iterate_individuals(where))
        assert found == index.individuals(where)
        expected = [
            (name, index.individual(name)) for name in [*NAMES, "zz"] if where is None or name in dict(_selected(where))
        ]
        assert [(each.id, each) for each in found] == expected
        assert [each.id for each in index.iterate_photographs()] == [*NAMES, "zz"]
        assert list(index.iterate_photographs()) == index.photographs()


def _selected(where: str) -> list[tuple[str, bool]]:
    chosen = {
        "sex = 'f'": lambda n: n % 2 == 0,
        "mm IS NULL": lambda n: n % 5 == 0,
        "false": lambda _: False,
    }[where]
    return [(name, True) for n, name in enumerate([*NAMES, "zz"]) if chosen(n)]


def test_an_index_is_closed_while_its_individuals_are_gone_through(folder: Path) -> None:
    with sst.open_index(folder) as index:
        parts = [index.iterate_individuals(), index.iterate_photographs(), index.iterate_table()]
        parts += [index.iterate_vectors("wing")]
        for part in parts:
            next(part)
    with pytest.raises(QueryError, match="closed"):
        list(index.iterate_individuals())


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("trait", [None, "leg"])
def test_the_table_comes_in_batches(folder: Path, trait: str | None) -> None:
    with sst.open_index(folder) as index:
        index.review("s03", "leg" if trait else "wing", "reject", reviewer="R")
        batches = list(index.iterate_table(trait))
        whole = index.table(trait)
    assert len(batches) == -(-len(whole) // 4)
    found = pa.Table.from_batches(batches).to_pandas()
    pd.testing.assert_frame_equal(found, whole, check_dtype=False)
    assert (whole["sst:review"] != "").sum() == 1


@pytest.mark.usefixtures("small_parts")
def test_vectors_come_in_order_of_region_ids(folder: Path) -> None:
    with sst.open_index(folder) as index:
        names, vectors = index.vectors("leg")
        parts = list(index.iterate_vectors("leg"))
        ids = np.concatenate([ids for ids, _ in parts])
        assert [owner.individual for owner in index.catalog.owners(ids.tolist()).values()] == names
        np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), vectors)
        some = list(index.iterate_vectors("leg", where="sex = 'f'"))
        assert {int(number) for ids, _ in some for number in ids} < set(ids.tolist())
        with pytest.raises(QueryError, match="no trait"):
            next(index.iterate_vectors("tail"))


def test_exports_are_the_same_in_parts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sst.open_index(folder) as index:
        sst.export.export_table(index, tmp_path / "whole.csv")
        for kind in ("parquet", "npz"):
            sst.export.export_vectors(index, tmp_path / f"whole.{kind}")
        monkeypatch.setattr(tabular, "_VECTORS_AT_ONCE", 5)
        monkeypatch.setattr(TraitTable.iterate, "__defaults__", (None, 4))
        assert sst.export.export_table(index, tmp_path / "parts.csv") == 38
        for kind in ("parquet", "npz"):
            assert sst.export.export_vectors(index, tmp_path / f"parts.{kind}") == 38
        assert sst.export.export_vectors(index, tmp_path / "none.npz", where="false") == 0
        assert sst.export.export_table(index, tmp_path / "none.csv", where="false") == 0
        ids = index.trait_table().arrow(["region_id"]).column(0).to_pylist()
        expected = np.concatenate([index.vectors(trait)[1] for trait in ("leg", "wing")])
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "none.csv").read_text().count("\n") == 1
    with (tmp_path / "parts.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 38
    assert pq.read_table(tmp_path / "parts.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))
    with np.load(tmp_path / "parts.npz") as parts, np.load(tmp_path / "whole.npz") as whole:
        assert parts.files == whole.files
        assert parts["region_id"].tolist() == ids
        np.testing.assert_array_equal(parts["vectors"], expected)
        for name in set(parts.files) - {"provenance"}:
            np.testing.assert_array_equal(parts[name], whole[name])
    with np.load(tmp_path / "none.npz") as none:
        assert none["vectors"].shape == (0, 9)
