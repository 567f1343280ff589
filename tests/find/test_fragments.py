"""Fragments of one individual: pieces whose looks the test makes up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sst_retrieval.find.appearance import Look
from sst_retrieval.find.contract import FOUND
from sst_retrieval.find.fragments import MOST_ON_BOARD, FragmentJoiner, Judged, measure_gap, unite
from sst_retrieval.find.proposals import Proposal
from sst_retrieval.find.templates import make_template
from sst_retrieval.types import Mask

ROWS, COLUMNS = np.mgrid[:120, :200]
OVAL = ((ROWS - 60) / 30) ** 2 + ((COLUMNS - 100) / 60) ** 2 < 1
WHOLE = range(6)
KNOWN = [Look(np.eye(320, dtype=np.float32)[0], np.eye(112, dtype=np.float32)[:6])]


def look(parts: Sequence[int], *, strange: bool = False) -> Look:
    return Look(np.eye(320, dtype=np.float32)[int(strange)], np.eye(112, dtype=np.float32)[list(parts)])


def cut(mask: Mask) -> Proposal:
    rows, columns = np.nonzero(mask)
    x0, y0, x1, y1 = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
    return Proposal((x0, y0, x1, y1), mask[y0:y1, x0:x1])


def join(pieces: Sequence[Judged], union: Look, score: float = 0.6, *, on_board: bool = True) -> list[Judged]:
    """Join pieces of which any two or more together look like `union`."""
    template = make_template(OVAL)
    joiner = FragmentJoiner(
        KNOWN, [template], lambda proposal: Judged(proposal, union, score), FOUND, on_board=on_board
    )
    return joiner.join(pieces)


def test_wings_apart_are_one_butterfly() -> None:
    corners = [(ROWS < 50) & (COLUMNS < 90), (ROWS < 50) & (COLUMNS > 110), (ROWS > 70) & (COLUMNS < 90)]
    wings = [Judged(cut(mask), look([number]), 0.3) for number, mask in enumerate(corners)]
    least = min(each.proposal.area for each in wings)

    def judge(proposal: Proposal) -> Judged:
        return Judged(proposal, look(WHOLE if proposal.area > 2.5 * least else [0, 1]), 0.6)

    # On a lawn, nobody laid them out.
    assert len(join(wings, look(WHOLE), on_board=False)) == 3
    (joined,) = FragmentJoiner(KNOWN, [make_template(OVAL)], judge, FOUND, on_board=True).join(wings)
    assert joined.score == 0.6
    assert joined.proposal.area == sum(int(mask.sum()) for mask in corners)


def test_two_animals_side_by_side_stay_two() -> None:
    pair = [Judged(cut(mask), look(WHOLE), 0.9) for mask in (OVAL & (ROWS > 0), np.roll(OVAL, 59, axis=0))]
    # Neither a loss of parts nor their shape alone may decide.
    assert len(join(pair, look(WHOLE))) == 2
    halves = [Judged(cut(OVAL & side), look(WHOLE), 0.9) for side in (COLUMNS < 100, COLUMNS >= 100)]
    assert len(join(halves, look(range(4)))) == 2


def test_a_body_that_a_pin_cuts_in_two_is_one_by_its_shape() -> None:
    halves = [Judged(cut(OVAL & side), look(WHOLE), 0.9) for side in (COLUMNS < 80, COLUMNS >= 80)]
    (joined,) = join(halves, look(WHOLE))
    assert joined.proposal.area == OVAL.sum()


def test_a_head_that_lies_beside_its_body_is_a_part_of_it_if_together_they_are_more_of_the_kind() -> None:
    head, body = COLUMNS < 70, COLUMNS >= 70
    for direction, count in ((0.35, 1), (0.2, 2)):  # Likeness of kind 0.76 and 0.92: together 0.24 or 0.08 more.
        kind = np.zeros(320, np.float32)
        kind[:2] = math.cos(2 * direction), math.sin(2 * direction)
        half = Look(kind, np.eye(112, dtype=np.float32)[:6])
        # Their shape says nothing: they are of a cross, not of an oval.
        cross = (OVAL & (abs(ROWS - 60) < 6)) | ((abs(COLUMNS - 70) < 6) & (abs(ROWS - 60) < 50))
        pieces = [Judged(cut(cross & side), half, 0.9) for side in (head, body)]
        assert len(join(pieces, look(WHOLE))) == count


def test_doubtful_pieces_beside_an_animal_are_no_other_one() -> None:
    legs = [(top < ROWS) & (top + 10 >= ROWS) & (abs(COLUMNS - 100) < 6) for top in (92, 103)]
    pieces = [Judged(cut(leg), look([number]), 0.3) for number, leg in enumerate(legs)]
    (alone,) = join(pieces, look([0, 1]))
    assert alone.score == 0.6
    beside = join([*pieces, Judged(cut(OVAL), look(WHOLE), 0.9)], look([0, 1]))
    assert [each.score for each in beside] == [0.9, 0.3, 0.3]


def test_a_leg_beside_its_animal_is_a_part_of_it() -> None:
    leg = (ROWS > 88) & (abs(COLUMNS - 100) < 6) & (ROWS < 115)
    animal = Judged(cut(OVAL), look(WHOLE), 0.9)
    (whole,) = join([animal, Judged(cut(leg), look([0, 1], strange=True), 0.6)], look(WHOLE))
    assert (whole.score, whole.proposal.area) == (0.9, (OVAL | leg).sum())
    # A young one, of the same kind, stays; so does what lies apart.
    young = Judged(cut(leg), look([0, 1, 2]), 0.6)
    assert len(join([animal, young], look(WHOLE))) == 2
    apart = Judged(cut((ROWS > 104) & (COLUMNS > 180)), look([0, 1], strange=True), 0.6)
    assert len(join([animal, apart], look(WHOLE))) == 2


def test_a_head_beside_its_animal_is_a_part_of_it_if_together_they_are_as_much_of_the_kind() -> None:
    """It has more of the animal's parts than a leg: 0.95 of them."""
    animal = Judged(cut(OVAL), look(WHOLE), 0.9)
    shape = cut((ROWS > 88) & (abs(COLUMNS - 100) < 6) & (ROWS < 115))
    parts = np.eye(112, dtype=np.float32)[:6]
    parts[0, 0], parts[0, 50] = 0.7, math.sqrt(1 - 0.7**2)
    kinds = np.eye(320, dtype=np.float32)
    head, young = Judged(shape, Look(kinds[1], parts), 0.6), Judged(shape, Look(kinds[0], parts), 0.6)
    assert len(join([animal, head], look(WHOLE))) == 1
    assert len(join([animal, head], look(WHOLE, strange=True))) == 2
    assert len(join([animal, young], look(WHOLE))) == 2


def test_a_crowd_has_no_fragments() -> None:
    masks = [(abs(ROWS - 60) < 5) & (abs(COLUMNS - 10 * n - 5) < 5) for n in range(MOST_ON_BOARD + 1)]
    crowd = [Judged(cut(mask), look([n % 6]), 0.8) for n, mask in enumerate(masks)]
    assert len(join(crowd, look(WHOLE))) == MOST_ON_BOARD + 1
    assert len(join(crowd[:2], look(WHOLE))) == 1


def test_a_gap_is_measured_between_the_nearest_pixels() -> None:
    one, other = cut((ROWS < 20) & (COLUMNS < 20)), cut((ROWS < 20) & (COLUMNS >= 30) & (COLUMNS < 40))
    assert measure_gap(one, other, 50) == measure_gap(other, one, 50) == 11
    assert measure_gap(one, other, 9) is None
    # Boxes that share pixels may belong to pieces that are far apart.
    corner = cut(((ROWS < 100) & (COLUMNS < 5)) | ((ROWS > 95) & (ROWS < 100) & (COLUMNS < 90)))
    inside = cut((ROWS < 20) & (COLUMNS > 60) & (COLUMNS < 80))
    assert measure_gap(corner, inside, 40) is None


def test_united_pieces_have_the_votes_of_the_better_one() -> None:
    one = Proposal((2, 3, 5, 6), np.ones((3, 3), dtype=bool), votes=2, around=0.1)
    other = Proposal((8, 1, 10, 4), np.ones((3, 2), dtype=bool), votes=5, around=0.4)
    both = unite([one, other])
    assert (both.box, both.area, both.votes, both.around) == ((2, 1, 10, 6), 15, 5, 0.4)
