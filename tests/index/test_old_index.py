"""An index that version 0.1.0 made, before the house was rebuilt, opens, answers, and is built anew.

`made_by_0_1_0/drawer.zip` holds six photographs of the synthetic drawer at half size, two labels and the index that
version 0.1.0 made of them; the answers below are those that it gave.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import sst_retrieval as sst

ANSWERS = {
    "forewing_band": {"SD-0019": 0.9830, "SD-0001": 0.9811, "SD-0020": 0.9692, "SD-0011": 0.9577, "SD-0002": 0.9473},
    "hindwing_bar": {"SD-0019": 0.9877, "SD-0020": 0.9815, "SD-0001": 0.9766, "SD-0002": 0.9738, "SD-0011": 0.9196},
}
"""Trait -> the hits of SD-0010, the best first."""


@pytest.fixture
def drawer(tmp_path: Path) -> Path:
    """The collection and its index, elsewhere than where they were made: its photographs are not where it says."""
    shutil.unpack_archive(Path(__file__).parents[1] / "made_by_0_1_0" / "drawer.zip", tmp_path)
    return tmp_path


@pytest.mark.parametrize("trait", ANSWERS)
def test_it_answers_as_it_did(drawer: Path, trait: str) -> None:
    with sst.open_index(drawer / "index") as index:
        hits = index.search(like=("SD-0010", trait), k=5)
    assert [hit.individual for hit in hits] == list(ANSWERS[trait])
    assert [hit.similarity for hit in hits] == pytest.approx(list(ANSWERS[trait].values()), abs=1e-4)


def test_masks_of_another_version_of_the_propagator_are_not_mixed_with_its_own(drawer: Path) -> None:
    """The propagator has changed since: a build says so, harms nothing, and begins anew where it is told to."""
    parts = drawer / "collection.csv", drawer / "supports", drawer / "index"
    with pytest.raises(sst.ModelMismatchError, match=r"dense matching 7(.|\n)*--rebuild"):
        sst.build_index(*parts)
    with sst.open_index(drawer / "index") as index:
        specimens = [each.id for each in index.individuals()]
        before = {name: index.mask(name, "forewing_band") for name in specimens}
    report = sst.build_index(*parts, settings=sst.BuildSettings(rebuild=True))
    assert (report.reused, report.processed) == (0, 6)
    with sst.open_index(drawer / "index") as index:
        assert index.photograph("SD-0010").shape[2] == 3  # Found where the table says now.
        for name, mask in before.items():
            now = index.mask(name, "forewing_band")
            assert np.count_nonzero(now & mask) > 0.8 * np.count_nonzero(now | mask), name
    assert sst.build_index(*parts).processed == 0
