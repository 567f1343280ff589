from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from sst_retrieval import pose
from sst_retrieval.alignment import AS_IT_LIES, align, laid_like, reference_of
from sst_retrieval.images import write_png
from sst_retrieval.supports import SupportReference, Supports
from sst_retrieval.types import Propagated, RGBImage, Support

SIDE = 40
UNIT = 2 * math.pi / 256


@dataclass
class Remembered:
    traits: tuple[str, ...]
    angle: float
    zoom: float


class Compass:
    """Reads how a specimen lies off the photograph's first pixel, and lays it like the support."""

    name = "compass"

    def __init__(self, zoom: float = 1.0) -> None:
        self.zoom = zoom

    def remember(self, supports: Sequence[Support]) -> Remembered:
        return Remembered(supports[0].traits, supports[0].image[0, 0, 0] * UNIT, 1.0)

    def propagate(self, memory: Remembered, images: Sequence[RGBImage]) -> list[Propagated]:
        found = []
        for image in images:
            angle = image[0, 0, 0] * UNIT - memory.angle
            side = SIDE / (self.zoom if angle else 1.0)
            frame = pose.turned((SIDE / 2, SIDE / 2), side, angle)
            found.append(Propagated(np.zeros((1, SIDE, SIDE), bool), np.ones(1, np.float32), frame))
        return found


def lying(angle: int) -> RGBImage:
    return np.full((SIDE, SIDE, 3), angle, dtype=np.uint8)


def support(angle: int) -> Support:
    masks = np.zeros((1, SIDE, SIDE), dtype=bool)
    masks[0, 12:28, 12:28] = True
    return Support("s", "g", lying(angle), ("wing",), masks)


def test_groups_whose_supports_lie_otherwise_come_to_lie_alike() -> None:
    compass = Compass()
    upright, sideways = compass.remember([support(10)]), compass.remember([support(74)])
    alignment = align(compass, upright, sideways, [support(74)])
    assert alignment.account == "laid like the reference"
    for angle in (0, 74, 200):
        (own,), (wanted,) = (compass.propagate(each, [lying(angle)]) for each in (sideways, upright))
        laid = alignment.apply(own)
        assert not np.allclose(own.frame.matrix, wanted.frame.matrix)
        np.testing.assert_allclose(laid.frame.matrix, wanted.frame.matrix, atol=1e-12)
        assert laid.masks is own.masks


def test_a_group_that_lies_alike_already_is_not_touched() -> None:
    compass = Compass()
    memory = compass.remember([support(10)])
    alignment = align(compass, memory, memory, [support(10)])
    assert alignment is AS_IT_LIES
    (found,) = compass.propagate(memory, [lying(50)])
    assert alignment.apply(found) is found


def test_of_a_wrong_size_only_the_turn_is_used() -> None:
    compass = Compass(zoom=4)
    upright, sideways = compass.remember([support(10)]), compass.remember([support(74)])
    alignment = align(compass, upright, sideways, [support(74)])
    assert alignment.account == "turned like the reference"
    (own,) = compass.propagate(sideways, [lying(74)])
    a, b, *_ = alignment.apply(own).frame.matrix
    assert math.hypot(a, b) == pytest.approx(1 / SIDE)
    assert math.atan2(b, a) == pytest.approx(64 * UNIT)


def test_a_new_group_does_not_change_what_the_old_ones_were_laid_like(tmp_path: Path) -> None:
    write_png(tmp_path / "b.png", lying(3))
    first = SupportReference("s", "b", tmp_path / "b.png", (SIDE, SIDE), ("wing",), (b"",), tmp_path, "1")
    old = Supports((first,), {}, {}, {"b": "1", "c": "2"})
    assert reference_of(old, None) == "b"
    new = replace(old, fingerprints={"a": "0", **old.fingerprints})
    assert reference_of(new, "b") == "b"
    assert reference_of(replace(old, fingerprints={"c": "2"}), "b") == "c"
    kept, grown = laid_like(old, "b").fingerprints, laid_like(new, "b").fingerprints
    assert kept["b"] == "1"
    assert kept["c"] != "2"
    assert {group: grown[group] for group in kept} == kept
    redrawn = laid_like(replace(old, fingerprints={"b": "9", "c": "2"}), "b").fingerprints
    assert redrawn["c"] == kept["c"]
    write_png(tmp_path / "b.png", lying(4))
    assert laid_like(old, "b").fingerprints["c"] != kept["c"]
