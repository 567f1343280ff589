"""Awkward real inputs (../shared/cases, not part of the project): what a user may expect of each.

Each case is read, or built with the fake models; none needs a network. Cases of one kind stand together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sst_retrieval.collection.specimens import read_collection

Cases = Callable[[str], Path]


# ------------------------------------------------------------------------------------------------------- tables


def test_00_base(shared_cases: Cases) -> None:
    collection = read_collection(shared_cases("00-base") / "collection.csv")
    assert [each.id for each in collection.specimens] == ["B0", "B1", "B2", "B3", "B4"]
    assert collection.notes == ()


# ----------------------------------------------------------------------------------------------------- supports


# -------------------------------------------------------------------------------------------------- photographs
