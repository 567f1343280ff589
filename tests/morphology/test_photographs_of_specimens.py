"""Comparative morphology where specimens have several photographs: these are no independent samples."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Once
from fakes import build_fake

import sst_retrieval as sst
from sst_retrieval.morphology.asymmetry import compute_asymmetry


@pytest.fixture(scope="module")
def twice(once: Once, ten: Path) -> Path:
    """The ten invented specimens, each with two photographs that show the same."""

    def make(at: Path) -> None:
        shutil.copytree(ten / "images", at / "images")
        shutil.copytree(ten / "supports", at / "supports")
        with (ten / "collection.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            shutil.copy(ten / row["image"], at / "images" / f"{row['catalogNumber']}_again.png")
        with (at / "collection.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
            writer.writerows({**row, "image": f"images/{row['catalogNumber']}_again.png"} for row in rows)
        build_fake(at / "collection.csv", at / "index")

    return once("twice", make)


FIRST = "photograph NOT LIKE '%again'"
"""One photograph of each specimen."""


@pytest.mark.parametrize("between", ["mean", "energy"])
def test_distances_of_groups_are_those_of_one_photograph_a_specimen(twice: Path, between: str) -> None:
    with sst.open_index(twice / "index") as index:
        expected = index.distances("spot", by="group", between=between, where=FIRST)
        found = index.distances("spot", by="group", between=between)
        assert len(index.distances("spot").labels) == 20
    assert found.counts == expected.counts == (5, 5)
    assert expected.values.max() > 0.1
    assert found.values == pytest.approx(expected.values, abs=1e-6)
    assert "count once" in found.about
    assert "count once" not in expected.about


def test_a_second_photograph_makes_no_difference_surer(twice: Path) -> None:
    with sst.open_index(twice / "index") as index:
        expected, found = (index.disparity("spot", by="sex", where=where) for where in (FIRST, None))
    assert found.table.to_numpy() == pytest.approx(expected.table.to_numpy(), abs=1e-6, nan_ok=True)
    assert found.permanova is not None
    assert expected.permanova is not None
    assert found.permanova.p_value == expected.permanova.p_value


def test_asymmetry_averages_photographs_first() -> None:
    rows = [
        ("a", "a 1", "left", 10.0),
        ("a", "a 1", "right", 12.0),
        ("a", "a 2", "left", 12.0),
        ("a", "a 2", "right", 10.0),
        ("b", "b", "left", 20.0),
        ("b", "b", "right", 21.0),
    ]
    frame = pd.DataFrame(rows, columns=["specimen", "photograph", "side", "area_px"]).assign(group="g")
    frame["individual"] = frame["photograph"]
    found = compute_asymmetry(frame, "band", "area_px", "x")
    assert len(found.specimens) == 3
    row = found.table.loc["g"]
    assert (row["specimens"], row["directional"], row["FA1"]) == (2, 0.5, 0.5)
    assert "count once" in found.about
    trays = compute_asymmetry(
        frame.assign(individual=["a#1", "a#1", "a#2", "a#2", "b", "b"], photograph="t"), "band", "area_px", "x"
    )
    assert trays.table.loc["g", "specimens"] == 3
    assert np.isclose(trays.table.loc["g", "FA1"], 5 / 3)
