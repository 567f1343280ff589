"""Scores of neighbours against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.neighbours import (
    compare_answers,
    compute_rank_correlation,
    correlate_ranks,
    measure_sensitivity,
)

COLOUR = np.repeat([0, 1], 8)
PAPER = np.tile(np.repeat([0, 1], 4), 2)
TURN = np.tile([0, 0, 1, 1], 4)


def agreement(*factors: np.ndarray) -> np.ndarray:
    """Similarity that is the number of factors in which two specimens agree."""
    return np.sum([factor[:, None] == factor[None] for factor in factors], axis=0).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=3, max_size=12), st.integers(0, 2**31))
def test_rank_correlation_is_scipys(values: list[int], seed: int) -> None:
    other = np.random.default_rng(seed).permutation(values).astype(float)
    if len(set(values)) > 1:
        assert correlate_ranks(np.array(values), other) == pytest.approx(spearmanr(values, other).statistic)
    else:
        assert correlate_ranks(np.array(values), other) == 0


def test_a_reversed_order_correlates_negatively() -> None:
    distance = np.abs(np.subtract.outer(np.arange(6.0) ** 2, np.arange(6.0) ** 2))
    assert compute_rank_correlation(-distance, distance) == 1
    assert compute_rank_correlation(distance, distance) == -1


def test_a_similarity_is_sensitive_to_what_it_looks_at_and_blind_to_the_rest() -> None:
    by_colour = agreement(COLOUR)
    assert measure_sensitivity(by_colour, COLOUR, [PAPER, TURN]) == 1
    assert measure_sensitivity(by_colour, PAPER, [COLOUR, TURN]) == 0.5
    assert measure_sensitivity(-by_colour, COLOUR, [PAPER, TURN]) == 0


def test_sensitivity_holds_all_else_equal() -> None:
    """What weighs little is still seen where nothing else differs, and not mistaken for what goes along with it."""
    mixed = 10 * agreement(COLOUR) + agreement(PAPER)
    assert measure_sensitivity(mixed, PAPER, [COLOUR, TURN]) == 1
    confounded = PAPER.copy()
    confounded[:3] = 1 - confounded[:3]
    assert measure_sensitivity(agreement(PAPER), confounded, [PAPER]) == pytest.approx(0.5)


def test_without_anything_to_compare_sensitivity_is_refused() -> None:
    with pytest.raises(InputError, match="no query"):
        measure_sensitivity(agreement(COLOUR), np.zeros(16, np.int64), [PAPER])


def test_a_query_is_no_hit_of_itself_and_changes_are_counted() -> None:
    before = np.array([[9.0, 3, 2, 1, 0]])
    after = np.array([[4.0, 0, 1, 2, 9]])
    relevant = np.array([[True, True, False, False, False]])
    change = compare_answers(before, after, [0], relevant, first=2)
    assert (change.shared, change.correlation, change.itself) == (0, pytest.approx(-1), 0)
    assert (change.mean_ap_before, change.mean_ap_after) == (1, 0.25)
    assert (change.first_before, change.first_after, change.queries) == (1, 0, 1)
    same = compare_answers(before, before, [0], relevant, first=2)
    assert (same.shared, same.correlation, same.itself, same.mean_ap_after) == (1, pytest.approx(1), 1, 1)
