"""The organisms that the dense propagator's networks can learn on: exact masks, one plan a kind, no two alike."""

from __future__ import annotations

from itertools import combinations
from types import ModuleType

import numpy as np
import pytest
from project_scripts import import_script

from sst_retrieval.types import Support


@pytest.fixture(name="script", scope="module")
def fixture_script() -> ModuleType:
    return import_script("painted_organisms")


@pytest.fixture(name="kinds", scope="module")
def fixture_kinds(script: ModuleType) -> list[list[Support]]:
    return list(script.paint_organisms(4, 3, seed=7))


def test_individuals_of_a_kind_share_parts_and_no_two_are_alike(kinds: list[list[Support]]) -> None:
    assert len(kinds) == 4
    for members in kinds:
        for one, other in combinations(members, 2):
            assert set(one.traits) & set(other.traits)
            assert not np.array_equal(one.image, other.image)


def test_parts_are_seen_and_never_overlap(kinds: list[list[Support]]) -> None:
    for members in kinds:
        for each in members:
            assert each.masks.any(axis=(1, 2)).all()
            assert each.masks.sum(axis=0).max() == 1


def test_the_same_seed_paints_the_same(script: ModuleType, kinds: list[list[Support]]) -> None:
    for one, other in zip(kinds[0], next(script.paint_organisms(1, 3, seed=7)), strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.masks, other.masks)
