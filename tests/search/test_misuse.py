"""Misuse of the query API: a sentence that says what to give, not an error from somewhere inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sst_retrieval as sst
from sst_retrieval.search.index import Index
from sst_retrieval.search.query import as_pairs


@pytest.fixture(scope="module")
def folder(ten: Path) -> Path:
    return ten / "index"


@pytest.mark.parametrize(
    "like", ["r1", "BMNH_1234", ("r1",), ("r1", "spot", "x"), (1, "spot"), [("r1", "spot"), "r2"], 5, [1, 2]]
)
def test_what_is_no_example_says_what_one_is(index: Index, like: Any) -> None:
    with pytest.raises(sst.QueryError, match=r"is no example; give \(specimen, trait\)"):
        index.search(like=like)
    with pytest.raises(sst.QueryError, match=r"is no example; give \(specimen, trait\)"):
        index.search(like=("r1", "spot"), unlike=like)


def test_pairs_may_come_in_any_container() -> None:
    expected = [("a", "wing"), ("b", "wing")]
    for given in (expected, tuple(expected), (pair for pair in expected), [list(pair) for pair in expected]):
        assert as_pairs(given) == expected  # type: ignore[arg-type]
    assert as_pairs(np.array(expected)) == expected  # type: ignore[arg-type]
    assert as_pairs(["a", "wing"]) == as_pairs([("a", "wing")]) == expected[:1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (lambda index: index.search(like=("r1", "spot"), k="3"), "k is '3'; give a whole number"),
        (lambda index: index.search(like=("r1", "spot"), k=2.5), "k is 2.5; give a whole number"),
        (lambda index: index.search(like=("r1", "spot"), expand=None), "expand is None; give a whole number"),
        (lambda index: index.search(like=[]), "give `like`"),
        (lambda index: index.search(like=("r1", "spot"), where={"sex": "male"}), "is no text; write one such as"),
        (
            lambda index: index.trait_table("spot", scale=0.05),
            "the scale is 0.05; give millimetres a pixel of each group",
        ),
        (lambda index: index.trait_table("spot", scale={"red": "0.05"}), "the scale of 'red' is '0.05'"),
        (lambda index: index.morphospace("spot", components=0), "0 components are none"),
        (lambda index: index.outlines("spot").fourier(0), "0 harmonics describe no outline"),
    ],
)
def test_misuse_is_explained(index: Index, ask: Callable[[Index], object], why: str) -> None:
    with pytest.raises(sst.QueryError) as caught:
        ask(index)
    assert why in str(caught.value)


def test_whole_numbers_of_numpy_are_whole_numbers(index: Index) -> None:
    assert len(index.search(like=("r1", "spot"), k=np.int64(3))) == 3
