"""Columns of large tables in a mapped file: the same cells, in hardly any memory."""

from __future__ import annotations

import datetime
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sst_retrieval.collection import packed_columns
from sst_retrieval.collection.packed_columns import PackedColumn, pack_columns

cells = st.one_of(
    st.lists(st.none() | kind, min_size=1, max_size=12)
    for kind in (
        st.text(),
        st.integers(),
        st.floats(allow_nan=False),
        st.booleans(),
        st.dates(),
        st.datetimes(),
        st.integers() | st.text(),
    )
)


@given(column=cells, at_once=st.sampled_from([1, 5, 100]))
def test_cells_come_back_as_they_were(column: list[object], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_columns, "LEAST_ROWS", 1)
        patch.setattr(packed_columns, "_AT_ONCE", at_once)
        found = pack_columns({"a": column, "b": ["x"] * len(column)})  # type: ignore[dict-item]
        assert list(found) == ["a", "b"]
        assert isinstance(found["b"], PackedColumn)
        assert list(found["a"]) == column
        assert [type(each) for each in found["a"]] == [type(each) for each in column]
        assert [found["a"][at] for at in range(-len(column), len(column))] == column * 2
        for part in (slice(1, 3), slice(None, None, -1), slice(-2, None)):
            assert list(found["a"][part]) == column[part]
        with pytest.raises(IndexError):
            found["b"][len(column)]


def test_columns_of_a_large_table_are_mapped_and_leave_no_file() -> None:
    before = {path.name for path in Path(tempfile.gettempdir()).glob("sst-retrieval-table-*")}
    held = pa.total_allocated_bytes()
    rows = packed_columns.LEAST_ROWS
    day = datetime.date(1900, 1, 1)
    found = pack_columns({"name": [f"S{row:050d}" for row in range(rows)], "day": [day] * rows})
    assert found["name"][rows - 1] == f"S{rows - 1:050d}"
    assert found["day"][7] == day
    if os.name != "nt":
        assert pa.total_allocated_bytes() - held < 20 * rows
    assert {path.name for path in Path(tempfile.gettempdir()).glob("sst-retrieval-table-*")} <= before


def test_a_small_table_stays_as_it_is() -> None:
    columns = {"name": ["a", "b"]}
    assert pack_columns(columns) is columns
