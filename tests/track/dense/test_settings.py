"""The hash of the settings is part of a propagator's name, which old indexes keep: it must not change."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from sst_retrieval.track.dense.matching import DescriptorSettings, MatchSettings
from sst_retrieval.track.dense.refine import ColourSettings
from sst_retrieval.track.dense.settings import DenseSettings, compute_settings_hash, serialise_settings

DEFAULT = DenseSettings()
WITHOUT_CORRECTIONS = replace(
    DEFAULT,
    pose_rotations=1,
    pose_refinements=0,
    displacement_distance=1e-6,
    absence_distance=9.0,
    colour=ColourSettings(foreground_weight=0, trait_weight=0, own_share=1, sigma=0.2),
)
SMALLER = replace(
    DEFAULT,
    side=224,
    pose_descriptor=DescriptorSettings(cells=16, level_weights=(0, 1.0)),
    transfer_match=MatchSettings(window=0.1, position_cost=5, temperature=0.5),
)


@pytest.mark.parametrize(
    ("settings", "expected"), [(DEFAULT, "5e702637"), (WITHOUT_CORRECTIONS, "9c2d82bf"), (SMALLER, "e4194aa6")]
)
def test_the_hash_is_the_one_of_version_0_1(settings: DenseSettings, expected: str) -> None:
    assert compute_settings_hash(settings) == expected


def test_settings_are_serialised_as_version_0_1_printed_them() -> None:
    text = serialise_settings(DEFAULT)
    assert text.startswith(
        "DenseSettings(coarse_side=192, coarse=Look(cells=24, levels=(0, 0.5, 1, 1, 0.5), colour=0.0)"
    )
    assert text.endswith("absent=0.9, evidence=Evidence(specimen=0.3, trait=0.2, vote=0.7, spread=4.5))")


@pytest.mark.parametrize("name", [each.name for each in fields(DenseSettings)])
def test_every_setting_changes_the_hash(name: str) -> None:
    changed = replace(DEFAULT, **{name: "another"})
    assert compute_settings_hash(changed) != compute_settings_hash(DEFAULT)
