from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sst_retrieval.annotate.supports import SupportReference, Supports
from sst_retrieval.build import alignment
from sst_retrieval.build.alignment import UNCHANGED, Alignment, compute_alignment
from sst_retrieval.build.group_frames import (
    GroupFrame,
    add_frames_to_fingerprints,
    choose_reference,
    compute_group_frames,
)
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.imaging import frames as pose
from sst_retrieval.imaging import masks
from sst_retrieval.types import Box, Frame, Propagated, RGBImage, Support

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
            frame = pose.square_frame((SIDE / 2, SIDE / 2), side, angle)
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
    change = compute_alignment(compass, upright, sideways, [support(74)])
    assert change.account == "laid like the reference"
    for angle in (0, 74, 200):
        (own,), (wanted,) = (compass.propagate(each, [lying(angle)]) for each in (sideways, upright))
        laid = change.apply(own)
        assert not np.allclose(own.frame.matrix, wanted.frame.matrix)
        np.testing.assert_allclose(laid.frame.matrix, wanted.frame.matrix, atol=1e-12)
        assert laid.masks is own.masks


def test_a_group_that_lies_alike_already_is_not_touched() -> None:
    compass = Compass()
    memory = compass.remember([support(10)])
    change = compute_alignment(compass, memory, memory, [support(10)])
    assert change is UNCHANGED
    (found,) = compass.propagate(memory, [lying(50)])
    assert change.apply(found) is found


def test_of_a_wrong_size_only_the_turn_is_used() -> None:
    compass = Compass(zoom=4)
    upright, sideways = compass.remember([support(10)]), compass.remember([support(74)])
    change = compute_alignment(compass, upright, sideways, [support(74)])
    assert change.account == "turned like the reference"
    (own,) = compass.propagate(sideways, [lying(74)])
    a, b, *_ = change.apply(own).frame.matrix
    assert math.hypot(a, b) == pytest.approx(1 / SIDE)
    assert math.atan2(b, a) == pytest.approx(64 * UNIT)


def drawn(*, photograph: str = "", box: Box = (12, 12, 28, 28), **fingerprints: str) -> Supports:
    """One support a group, named by its fingerprint."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    references = [
        SupportReference(
            individual=group,
            group=group,
            image=Path(f"{group}.png"),
            size=(SIDE, SIDE),
            traits=("wing",),
            rles=(masks.encode(mask),),
            source=Path(),
            content=photograph or f"{group}'s",
            fingerprint=own,
        )
        for group, own in fingerprints.items()
    ]
    return Supports(tuple(references), {}, {}, fingerprints)


def joined(supports: Supports, reference: str) -> Mapping[str, str]:
    return add_frames_to_fingerprints(supports, compute_group_frames(supports, reference)).fingerprints


def test_a_new_group_does_not_change_what_the_old_ones_were_laid_like() -> None:
    old = drawn(b="1", c="2")
    assert choose_reference(old, None) == "b"
    new = drawn(a="0", b="1", c="2")
    assert choose_reference(new, "b") == "b"
    assert choose_reference(drawn(c="2"), "b") == "c"
    kept, grown = joined(old, "b"), joined(new, "b")
    assert kept["b"] == "1"
    assert kept["c"] != "2"
    assert {group: grown[group] for group in kept} == kept
    assert joined(drawn(b="9", c="2"), "b")["c"] == kept["c"]  # Redrawn inside the same box.
    assert joined(drawn(b="1", c="2", photograph="another"), "b")["c"] != kept["c"]
    assert joined(drawn(b="1", c="2", box=(12, 12, 28, 27)), "b")["c"] != kept["c"]
    assert joined(old, "c")["b"] != "1"


def test_a_frame_is_that_of_the_first_support_and_of_the_reference() -> None:
    frames = compute_group_frames(drawn(b="1", c="2"), "b")
    assert frames["b"] == GroupFrame("b's", (12, 12, 28, 28), None)
    assert frames["c"] == GroupFrame("c's", (12, 12, 28, 28), frames["b"])
    prints = {each.fingerprint for each in (*frames.values(), GroupFrame("c's", (12, 12, 28, 28), frames["c"]))}
    assert len(prints) == 3
    assert compute_group_frames(drawn(b="1", c="9"), "b") == frames


@pytest.mark.parametrize("change", [None, Frame((0.1, 1 / 3, -0.5, -1 / 3, 0.1, math.pi))])
def test_an_alignment_comes_back_from_the_index_to_the_last_bit(change: Frame | None) -> None:
    kept = Alignment(change, "laid like the reference")
    assert Alignment.from_json(json.loads(json.dumps(kept.as_json()))) == kept


@pytest.mark.parametrize(
    "kept",
    [
        None,
        {"change": None},
        {"change": [1, 0, 0, 0, 1], "account": ""},
        {"change": [0, 0, 0, 0, 0, 0], "account": ""},
        {"change": [1, 0, 0, 0, 1, math.inf], "account": ""},
        {"change": "upright", "account": ""},
    ],
)
def test_a_frame_that_is_none_is_refused(kept: object) -> None:
    with pytest.raises(IndexFolderError, match="--rebuild"):
        Alignment.from_json(kept)


def test_the_share_inside_a_frame_is_counted_in_parts_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.random.default_rng(0).random((90, 70)) < 0.3
    frame = pose.square_frame((33.0, 41.0), 50, 0.7)
    whole = alignment._fraction_inside(frame, mask)
    rows, columns = np.nonzero(mask)
    a, b, c, d, e, f = frame.matrix
    u, v = a * (columns + 0.5) + b * (rows + 0.5) + c, d * (columns + 0.5) + e * (rows + 0.5) + f
    assert whole == np.mean((u >= 0) & (u < 1) & (v >= 0) & (v < 1))
    assert 0.1 < whole < 0.9
    monkeypatch.setattr(alignment, "PIXELS_AT_ONCE", 300)
    assert alignment._fraction_inside(frame, mask) == whole
