"""Names and the rows that have them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sst_retrieval.annotate.names_of_rows import NamesOfRows


@given(st.lists(st.lists(st.text(max_size=2), max_size=3), max_size=20), st.integers(0, 20))
def test_every_row_is_found_by_each_of_its_names_in_order(rows: list[list[str]], looked_up_after: int) -> None:
    names = NamesOfRows()
    for row, own in enumerate(rows):
        for name in own:
            names.add(name, row)
        if row == looked_up_after:
            names.find("a")  # Rows may be added after it.
    for name in {"absent", *(name for own in rows for name in own)}:
        wanted = [row for row, own in enumerate(rows) for each in own if each == name]
        assert names.find(name) == wanted  # Hashes of so few names are all different.


def test_rows_of_names_with_the_same_hash_are_candidates() -> None:
    class Alike(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return 7

    names = NamesOfRows()
    names.add(Alike("a"), 0)
    names.add(Alike("b"), 3)
    assert names.find(Alike("b")) == [0, 3]
