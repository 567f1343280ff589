"""Left and right of invented specimens whose middle line is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invented import a_collection, built, unit
from skimage.draw import ellipse

from sst_retrieval.describe.measure import measure_geometry
from sst_retrieval.errors import QueryError
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.masks import box, encode
from sst_retrieval.morphology.asymmetry import compute_asymmetry
from sst_retrieval.morphology.sides import average_masks, find_middle_line, split_sides
from sst_retrieval.search.index import open_index
from sst_retrieval.types import Frame, Mask, Region

SIZE = (300, 300)


def a_wing(x: float, y: float, angle: float, *, along: float = 40) -> Mask:
    """An ellipse at (x, y) from the middle of the specimen, which is turned clockwise as seen."""
    cos, sin = math.cos(angle), math.sin(angle)
    column, row = 150 + cos * x - sin * y, 150 + sin * x + cos * y
    mask = np.zeros(SIZE, dtype=bool)
    mask[ellipse(row, column, 15, along, SIZE, rotation=-angle)] = True
    return mask


def a_specimen(angle: float, *, left: bool = True) -> tuple[Mask, Frame]:
    parts = [a_wing(60, -40, angle), a_wing(45, 40, angle, along=25), a_wing(-45, 40, angle, along=25)]
    parts += [a_wing(-60, -40, angle)] if left else []
    return np.any(parts, axis=0), frames.square_frame((150, 150), 300, angle)


@pytest.mark.parametrize("angle", [0.0, 1.0, 2.9, -2.2])
def test_left_and_right_of_turned_specimens(angle: float) -> None:
    line = find_middle_line(average_masks([a_specimen(turn) for turn in (0.0, 0.7, angle)]))
    assert line is not None
    assert (line.u, line.angle) == pytest.approx((0.5, 0.0), abs=0.03)
    assert line.symmetry > 0.8
    mask, frame = a_specimen(angle)
    sides = split_sides(mask, frame, line)
    assert list(sides) == ["left", "right"]
    assert np.array_equal(sides["left"], mask & (a_wing(-60, -40, angle) | a_wing(-45, 40, angle, along=25)))
    assert np.array_equal(sides["left"] | sides["right"], mask)


def test_a_lost_wing_moves_no_middle_line() -> None:
    line = find_middle_line(
        average_masks([*(a_specimen(turn) for turn in (0.0, 0.3, -1.0)), a_specimen(0.1, left=False)])
    )
    assert line is not None
    assert line.u == pytest.approx(0.5, abs=0.03)
    mask, frame = a_specimen(0.1, left=False)
    assert {side: part.sum() > 2000 for side, part in split_sides(mask, frame, line).items()} == {
        "left": False,
        "right": True,
    }


def test_a_support_that_lies_askew_has_an_askew_middle_line() -> None:
    upright = frames.square_frame((150, 150), 300, 0.0)
    line = find_middle_line(average_masks([(a_specimen(0.5)[0], upright)]))
    assert line is not None
    assert line.angle == pytest.approx(0.5, abs=0.03)
    assert np.array_equal(
        split_sides(a_wing(-60, -40, 0.5) | a_wing(60, -40, 0.5), upright, line)["right"], a_wing(60, -40, 0.5)
    )


def test_a_piece_on_both_sides_is_median_and_so_is_everything_without_a_middle_line() -> None:
    mask, frame = a_specimen(0.0)
    line = find_middle_line(average_masks([(mask, frame)]))
    across = a_wing(0, 0, 0.0)
    assert {side: part.sum() for side, part in split_sides(across, frame, line).items()} == {"median": across.sum()}
    assert list(split_sides(mask, frame, None)) == ["median"]
    assert split_sides(np.zeros(SIZE, dtype=bool), frame, line) == {}


def test_a_shape_without_symmetry_has_no_middle_line() -> None:
    lopsided = np.zeros(SIZE, dtype=bool)
    lopsided[30:60, 40:260] = lopsided[60:120, 40:70] = lopsided[200:260, 150:190] = lopsided[120:130, 240:290] = True
    assert find_middle_line(average_masks([(lopsided, frames.square_frame((150, 150), 300, 0.0))])) is None
    assert find_middle_line(np.zeros((96, 96), dtype=np.float32)) is None


def test_specks_belong_to_no_side() -> None:
    mask, frame = a_specimen(0.0)
    line = find_middle_line(average_masks([(mask, frame)]))
    speck = mask.copy()
    speck[5:8, 5:8] = True
    assert sum(part.sum() for part in split_sides(speck, frame, line).values()) == mask.sum()


def test_indices_of_asymmetry_worked_out_by_hand() -> None:
    rows = [("a", "left", 10.0), ("a", "right", 12.0), ("b", "left", 20.0), ("b", "right", 19.0), ("c", "left", 5.0)]
    frame = pd.DataFrame(rows, columns=["specimen", "side", "area_px"]).assign(group="g")
    found = compute_asymmetry(frame, "band", "area_px", "x")
    assert found.unpaired == ("c",)
    row = found.table.loc["g"]
    assert (row["specimens"], row["directional"], row["FA1"]) == (2, 0.5, 1.5)
    assert row["mean_size"] == pytest.approx((11 + 19.5) / 2)
    assert row["FA2"] == pytest.approx((2 / 11 + 1 / 19.5) / 2)
    assert row["FA4a"] == pytest.approx(0.798 * math.sqrt(4.5))
    assert row["FA8a"] == pytest.approx((math.log(12 / 10) + math.log(20 / 19)) / 2)
    with pytest.raises(QueryError, match="mass"):
        compute_asymmetry(frame, "band", "mass", "x")
    with pytest.raises(QueryError, match="left and on its right"):
        compute_asymmetry(frame[frame["side"] == "left"], "band", "area_px", "x")


def test_specimens_without_a_value_are_no_group_and_are_counted(tmp_path: Path) -> None:
    """As everywhere else: nothing, and an empty text, are no name of a group."""
    names = [f"s{number}" for number in range(6)]
    mask, frame = a_specimen(0.0)
    shown = Region(
        "s0", "wing", True, 0.9, mask.shape, encode(mask), box(mask), frame, unit(np.ones(9)), measure_geometry(mask)
    )  # fmt: skip
    values = {"species": ["albus", "", "albus", None, "rubens", ""], "ring": [1, 2, None, 1, 2, 1]}
    table = a_collection(names, {"species": "VARCHAR", "ring": "BIGINT"}, **values)
    built(tmp_path / "index", [replace(shown, individual=name) for name in names], table)
    with open_index(tmp_path / "index") as index:
        found = index.asymmetry("wing", by="species")
        assert found.table["specimens"].to_dict() == {"albus": 2, "rubens": 1}
        assert found.specimens["specimen"].tolist() == ["s0", "s2", "s4"]
        assert found.unpaired == ()
        assert "3 specimens without a value left out" in found.about
        assert "3 specimens without a value left out" in index.distances("wing", by="species").about
        assert list(index.asymmetry("wing", by="ring").table.index) == list(index.distances("wing", by="ring").labels)
        everybody = index.asymmetry("wing")
        assert everybody.table["specimens"].to_dict() == {"group": 6}
        assert "left out" not in everybody.about
        with pytest.raises(QueryError, match="no column 'genus'"):
            index.asymmetry("wing", by="genus")
        with pytest.raises(QueryError, match="no specimen with wing has a value in 'species'"):
            index.asymmetry("wing", by="species", where="species = ''")
