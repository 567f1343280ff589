"""All rows of one index lie in the same frame, whatever was built when: old and new ones can be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compass import COMPASS, drawn, outline, photograph, whole, write_collection, write_photograph, write_support
from invented import without_checksums

from sst_retrieval.build import shard_writer
from sst_retrieval.build.pipeline import build_index
from sst_retrieval.build.report import BuildReport
from sst_retrieval.index.store import Store
from sst_retrieval.search.index import open_index

A, B = [f"a{i}" for i in range(4)], [f"b{i}" for i in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two groups, a and b, each with one support: a0 lies upright, b0 on its side, the others this way and that."""
    for group, names in enumerate((A, B)):
        for number, name in enumerate(names):
            write_photograph(tmp_path, name, photograph((number + group) % 4, group, seed=10 * group + number))
        write_support(tmp_path, names[0], whole())
    write_collection(tmp_path, [*A, *B])
    return tmp_path


def build_compass(folder: Path, groups: Sequence[str] = ()) -> BuildReport:
    settings = replace(COMPASS, groups=tuple(groups))
    return build_index(folder / "collection.csv", folder / "supports", folder / "index", settings=settings)


def frames(folder: Path) -> dict[str, tuple[float, ...]]:
    with open_index(folder / "index") as index:
        return {each.id: index.region(each.id, "wing").frame.matrix for each in index.individuals()}


def copy_photograph(folder: Path, specimen: str, name: str) -> None:
    shutil.copy(folder / "images" / f"{specimen}.png", folder / "images" / f"{name}.png")


def assert_a_copy_is_found_first(folder: Path, specimen: str, copy: str) -> None:
    with open_index(folder / "index") as index:
        best = index.search(like=(copy, "wing"))[0]
    assert best.individual == specimen
    assert best.similarity == pytest.approx(1, abs=1e-5)
    lie = frames(folder)
    np.testing.assert_allclose(lie[copy], lie[specimen], atol=1e-9)


def test_a_table_sorted_anew_changes_no_frame(folder: Path) -> None:
    write_support(folder, "a1", whole())  # It lies a quarter turn from a0, the other support of its group.
    write_collection(folder, ["a1", "a3", "a0", "a2", *B])
    build_compass(folder)
    copy_photograph(folder, "a2", "a9")
    write_collection(folder, ["a0", "a9", "a1", "a2", "a3", *B])
    report = build_compass(folder)
    assert_a_copy_is_found_first(folder, "a2", "a9")
    assert (report.processed, report.reused) == (1, 8)


def test_a_reference_redrawn_to_another_box_lays_all_groups_anew(folder: Path) -> None:
    build_compass(folder)
    before = frames(folder)
    write_support(folder, "a0", drawn((8, 8, 24, 24)))
    report = build_compass(folder, groups=["a"])
    assert (report.processed, report.waiting) == (4, 4)
    copy_photograph(folder, "b2", "b9")
    write_collection(folder, [*A, *B, "b9"])
    report = build_compass(folder)
    assert (report.processed, report.reused, report.waiting) == (5, 4, 0)
    after = frames(folder)
    assert all(not np.allclose(before[name], after[name]) for name in before)
    assert_a_copy_is_found_first(folder, "b2", "b9")


def test_a_reference_redrawn_inside_its_box_moves_no_other_group(folder: Path) -> None:
    build_compass(folder)
    before = frames(folder)
    write_support(folder, "a0", outline())
    copy_photograph(folder, "b2", "b9")
    write_collection(folder, [*A, *B, "b9"])
    report = build_compass(folder)
    assert (report.processed, report.reused) == (5, 4)
    after = frames(folder)
    assert {name: after[name] for name in before} == before
    assert_a_copy_is_found_first(folder, "b2", "b9")


def test_a_killed_build_goes_on_in_the_frame_it_began(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_writer, "SHARD_PHOTOGRAPHS", 1)
    # Four of a, two looks at the support of b to lay it like a's, two of b; the last is not taken any more.
    monkeypatch.setenv("COMPASS_FAILS", "9")
    with pytest.raises(RuntimeError, match="the power failed"):
        build_compass(folder)
    assert Store.open(folder / "index").generation is None
    monkeypatch.delenv("COMPASS_FAILS")
    write_support(folder, "a0", outline())
    copy_photograph(folder, "b0", "b9")
    write_collection(folder, [*A, *B, "b9"])
    report = build_compass(folder)
    assert (report.processed, report.reused) == (7, 2)
    assert_a_copy_is_found_first(folder, "b0", "b9")


def test_a_rebuild_lays_the_groups_anew(folder: Path) -> None:
    build_compass(folder)
    before = frames(folder)
    write_support(folder, "a0", outline())
    build_index(
        folder / "collection.csv", folder / "supports", folder / "index", settings=replace(COMPASS, rebuild=True)
    )
    after = frames(folder)
    assert all(not np.allclose(before[name], after[name]) for name in B)


def test_an_index_of_an_older_program_opens_and_is_brought_up_to_date(folder: Path) -> None:
    build_compass(folder)
    before = frames(folder)
    store = Store.open(folder / "index")
    # As the older program wrote it: other hashes for b, and nothing about its frame.
    for shard in store.paths.list_shards():
        table = pq.read_table(shard)
        groups = [name[0] for name in table.column("individual").to_pylist()]
        hashes = table.column("support_hash").to_pylist()
        old = [each if group == "a" else "0" * 64 for group, each in zip(groups, hashes, strict=True)]
        place = table.column_names.index("support_hash")
        table = table.set_column(place, "support_hash", pa.array(old, pa.string()))
        pq.write_table(table.replace_schema_metadata(None), shard)
    store.paths.shard_checksums_file.unlink()
    manifest = without_checksums(store.path)
    del manifest["generation"]["provenance"]["alignments"]
    store.paths.manifest_file.write_text(json.dumps(manifest))
    assert frames(folder) == before
    report = build_compass(folder)
    assert (report.processed, report.reused) == (4, 4)
    assert frames(folder) == before
