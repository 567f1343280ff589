"""Overlapping pieces: counted, suppressed, and told apart pixel by pixel; pieces split where they are narrow."""

from __future__ import annotations

import numpy as np
import pytest

from sst_retrieval.find.overlaps import Piece, compute_ious, share_pixels, suppress
from sst_retrieval.find.proposals import Proposal, collect_pieces, find_pieces, measure_around, merge_alike
from sst_retrieval.find.watershed import is_compact, split_round
from sst_retrieval.imaging.masks import iou
from sst_retrieval.types import Mask


def rectangle(x0: int, y0: int, x1: int, y1: int) -> Piece:
    return (x0, y0, x1, y1), np.ones((y1 - y0, x1 - x0), dtype=bool)


def place(piece: Piece | None, size: tuple[int, int] = (60, 60)) -> Mask:
    whole = np.zeros(size, dtype=bool)
    if piece is not None:
        (x0, y0, x1, y1), mask = piece
        whole[y0:y1, x0:x1] = mask
    return whole


def random_pieces(count: int = 30) -> list[Piece]:
    random = np.random.default_rng(0)
    pieces = []
    for _ in range(count):
        x0, y0 = random.integers(0, 40, 2).tolist()
        wide, high = random.integers(4, 20, 2).tolist()
        pieces.append(((x0, y0, x0 + wide, y0 + high), random.random((high, wide)) < 0.8))
    return pieces


@pytest.mark.parametrize("least", [0.05, 0.3])
def test_overlaps_are_those_of_brute_force(least: float) -> None:
    pieces = random_pieces()
    found = compute_ious(pieces, least)
    for one, piece in enumerate(pieces):
        expected = {
            other: value
            for other, neighbour in enumerate(pieces)
            if other != one and (value := iou(place(piece), place(neighbour))) >= least
        }
        assert dict(found[one]) == pytest.approx(expected)


def test_the_better_of_two_that_overlap_stays_and_so_does_what_lies_apart() -> None:
    pieces = [rectangle(0, 0, 20, 20), rectangle(2, 0, 22, 20), rectangle(30, 30, 50, 50)]
    assert suppress(pieces, [0.4, 0.9, 0.5], iou=0.5, inside=0.7) == [1, 2]


def test_a_part_of_a_better_piece_is_left_out_and_so_is_a_worse_whole() -> None:
    whole, part = rectangle(0, 0, 40, 40), rectangle(0, 0, 10, 10)
    assert suppress([whole, part], [0.9, 0.8], iou=0.5, inside=0.7) == [0]
    assert suppress([whole, part], [0.8, 0.9], iou=0.5, inside=0.7) == [1]


def test_no_pixel_is_shared_and_none_is_lost() -> None:
    pieces = random_pieces()
    shared = [place(each) for each in share_pixels(pieces)]
    assert np.sum(shared, axis=0).max() == 1
    assert np.array_equal(np.any(shared, axis=0), np.any([place(each) for each in pieces], axis=0))
    assert np.array_equal(shared[0], place(pieces[0]))


def test_a_piece_that_is_covered_entirely_is_none() -> None:
    assert share_pixels([rectangle(0, 0, 20, 20), rectangle(5, 5, 10, 10)])[1] is None


def test_pieces_that_are_nearly_the_same_vote_for_one() -> None:
    proposals = [
        Proposal(*rectangle(0, 0, 20, 20)),
        Proposal(*rectangle(0, 0, 20, 21)),
        Proposal(*rectangle(30, 0, 50, 9)),
    ]
    merged = merge_alike(proposals)
    assert [each.votes for each in merged] == [2, 1]
    assert merged[0].box == (0, 0, 20, 20)


def test_what_is_around_a_part_of_a_thing_is_the_rest_of_it() -> None:
    foreground = np.zeros((60, 60), dtype=np.float32)
    foreground[10:50, 10:50] = 1
    whole, half = Proposal(*rectangle(10, 10, 50, 50)), Proposal(*rectangle(10, 10, 30, 50))
    assert measure_around(whole, foreground) == 0
    assert 0.2 < measure_around(half, foreground) < 0.6
    assert measure_around(Proposal(*rectangle(0, 0, 60, 60)), foreground) == 0


def test_holes_are_filled_and_specks_left_out() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[5:25, 5:25] = True
    mask[10:15, 10:15] = False
    mask[35, 35] = True
    (piece,) = find_pieces(mask, corner=(100, 200))
    assert piece.box == (105, 205, 125, 225)
    assert piece.mask.all()


def disk(size: tuple[int, int], x: float, y: float, radius: float) -> Mask:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.hypot(columns - x, rows - y) < radius


def test_a_large_and_a_small_disk_that_touch_come_apart() -> None:
    large, small = disk((100, 160), 50, 50, 40), disk((100, 160), 102, 50, 15)
    parts = split_round(large | small, 1.0)
    assert parts.max() == 2
    pieces = [place((each.box, each.mask), (100, 160)) for each in collect_pieces(parts)]
    assert all(max(iou(mask, piece) for piece in pieces) > 0.85 for mask in (large, small & ~large))


@pytest.mark.parametrize("radii", [(40, 40), (46, 36)])
def test_what_is_round_stays_whole(radii: tuple[int, int]) -> None:
    rows, columns = np.mgrid[:100, :100]
    mask = ((columns - 50) / radii[0]) ** 2 + ((rows - 50) / radii[1]) ** 2 < 1
    parts = split_round(mask, 1.0)
    assert parts.max() == 1
    assert np.array_equal(parts > 0, mask)


def test_a_cap_is_compact_even_half_hidden_and_a_body_with_legs_or_a_long_one_is_not() -> None:
    cap = disk((100, 160), 50, 50, 30)
    assert is_compact(cap)
    assert is_compact(cap & ~disk((100, 160), 100, 50, 30))
    legs = cap.copy()
    legs[20:95, 30:36] = legs[20:95, 64:70] = True
    assert not is_compact(legs)
    assert not is_compact(place(rectangle(0, 20, 60, 35)))
