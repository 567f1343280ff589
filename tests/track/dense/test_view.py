"""Votes by keys are weighed with the matching's: what is strange to keys is left to the matching."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sst_retrieval.track.dense.view import STRANGE, Seen, familiarity, weighed
from sst_retrieval.types import Frame

CELLS = 32


def votes(cells: int, left: int) -> np.ndarray:
    """All for one trait in a square, none elsewhere: float32 (2, cells, cells)."""
    trait = np.zeros((cells, cells), np.float32)
    edge = cells // 4
    trait[edge : 3 * edge, left * cells // 16 : left * cells // 16 + 2 * edge] = 1
    return np.stack([1 - trait, trait])


def seen(*, by_keys: int, distance: float) -> Seen:
    """The matching sees a square in the middle, the keys one that starts at `by_keys` sixteenths."""
    matched = votes(CELLS, 4)
    return Seen(
        frame=Frame((1, 0, 0, 0, 1, 0)),
        view=np.zeros((2 * CELLS, 2 * CELLS, 3), np.uint8),
        shares=matched,
        distance=np.zeros((CELLS, CELLS), np.float32),
        bent=matched[1:],
        levels=(),
        flows=(),
        recalled=(torch.from_numpy(votes(CELLS // 2, by_keys)), torch.full((CELLS // 2, CELLS // 2), distance)),
    )


def test_a_strange_specimen_is_left_to_the_matching() -> None:
    strange = weighed(seen(by_keys=8, distance=STRANGE + 5))
    assert strange.familiar < 0.01
    assert np.abs(strange.both - seen(by_keys=8, distance=0).shares)[:, 4:-4, 4:-4].max() < 0.3  # But for the rim.
    assert np.abs(strange.both.argmax(0) - seen(by_keys=8, distance=0).shares.argmax(0)).mean() < 0.02


def test_a_known_specimen_hears_both() -> None:
    known = weighed(seen(by_keys=8, distance=STRANGE - 4))
    assert known.familiar > 0.99
    only_keys = known.both[1, CELLS // 2, CELLS - 6]
    only_matching = known.both[1, CELLS // 2, CELLS // 4 + 2]
    assert 0.2 < only_keys < 0.8
    assert 0.2 < only_matching < 0.8


def test_where_both_agree_the_matching_draws_the_edge() -> None:
    agreed = seen(by_keys=4, distance=STRANGE - 4)
    shifted = agreed.shares.copy()
    shifted[1, :, CELLS // 4], shifted[0, :, CELLS // 4] = 0, 1  # An edge that the keys' cells are too large to show.
    agreed = replace(agreed, shares=shifted)
    assert weighed(agreed).doubt == pytest.approx([0.0])
    np.testing.assert_allclose(weighed(agreed).both, shifted, atol=1e-5)


def test_votes_stay_shares() -> None:
    np.testing.assert_allclose(weighed(seen(by_keys=8, distance=STRANGE)).both.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize(("by_keys", "doubt"), [(4, 0.0), (12, 1.0)])
def test_votes_that_differ_leave_doubt(by_keys: int, doubt: float) -> None:
    assert weighed(seen(by_keys=by_keys, distance=1.0)).doubt == pytest.approx([doubt], abs=0.01)


def test_where_keys_find_nothing_nothing_is_strange() -> None:
    nothing = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])
    assert familiarity(nothing, torch.full((4, 4), 100.0)) == 1.0
