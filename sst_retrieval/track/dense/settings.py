"""Settings of the dense propagator: descriptors, search windows and thresholds of each stage, with their defaults."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields

from sst_retrieval.track.dense.matching import DescriptorSettings, MatchSettings
from sst_retrieval.track.dense.refine import ColourSettings


@dataclass(frozen=True, slots=True)
class DenseSettings:
    """Settings of the dense propagator; every number was tuned on whole collections, never on one photograph.

    Attributes:
        pose_side: edge, in pixels, of the view in which the pose is estimated.
        pose_descriptor: what is compared to estimate the pose.
        pose_rotations: rotations of the support that are tried, evenly spaced over 360 degrees (and as many mirrored).
        pose_position_cost: cost of a squared distance between matched cells (in units of the view's edge) while the
            pose is estimated.
        pose_candidates: number of best poses that are refined.
        pose_refinements: times a candidate's frame is matched and fitted again.
        side: edge S, in pixels, of the view in which the traits are found.
        displacement_descriptor, displacement_match: what is compared, and how, to estimate the displacement field
            between target and support (their proportions differ).
        displacement_distance: scale of the confidence exp(-distance / scale) of a cell's displacement, in squared
            descriptor distance.
        displacement_sigma: standard deviation of the Gaussian that smooths the field, as a share of the view's edge;
            see `track.dense.matching.smooth_displacement`.
        transfer_descriptor, transfer_match: what is compared, and how, to transfer labels.
        pca_dimensions: dimensions of the descriptors after projection.
        absence_distance: a trait whose cells' matches have a larger median squared distance is absent. Annotated
            traits of the beetles and butterflies lie below 0.8; most that were painted over for a trial, above 0.9.
        colour: how colours correct the votes, see `track.dense.refine.ColourSettings`.
    """

    pose_side: int = 192
    pose_descriptor: DescriptorSettings = field(
        default_factory=lambda: DescriptorSettings(cells=24, level_weights=(0, 0.5, 1, 1, 0.5))
    )
    pose_rotations: int = 16
    pose_position_cost: float = 0.5
    pose_candidates: int = 2
    pose_refinements: int = 1
    side: int = 448
    displacement_descriptor: DescriptorSettings = field(
        default_factory=lambda: DescriptorSettings(cells=56, level_weights=(0, 1, 1, 1, 0), colour_weight=0.3)
    )
    displacement_match: MatchSettings = field(
        default_factory=lambda: MatchSettings(window=0.15, position_cost=3.0, temperature=0.05)
    )
    displacement_distance: float = 0.2
    displacement_sigma: float = 0.06
    transfer_descriptor: DescriptorSettings = field(
        default_factory=lambda: DescriptorSettings(cells=224, level_weights=(0.5, 1, 1, 1, 0), colour_weight=0.5)
    )
    transfer_match: MatchSettings = field(
        default_factory=lambda: MatchSettings(window=0.04, position_cost=20.0, temperature=0.05)
    )
    pca_dimensions: int = 64
    absence_distance: float = 0.9
    colour: ColourSettings = field(default_factory=ColourSettings)


# Indexes name the propagator that made them, and the name holds a hash of the settings as they were once printed: by
# these class and field names, in the order of today's fields. Changing one would make every existing index look as if
# another model had made it. A new field needs a name here and changes the hash, as it should.
_SERIALISED: dict[type, tuple[str, tuple[str, ...]]] = {
    DenseSettings: (
        "DenseSettings",
        (
            *("coarse_side", "coarse", "turns", "coarse_position", "finalists", "adjustments", "side", "middle", "far"),
            *("trust", "stiffness", "fine", "near", "dimensions", "absent", "evidence"),
        ),
    ),
    DescriptorSettings: ("Look", ("cells", "levels", "colour")),
    MatchSettings: ("Reach", ("window", "position", "sharpness")),
    ColourSettings: ("Evidence", ("specimen", "trait", "vote", "spread")),
}


def serialise_settings(value: object) -> str:
    """Write settings, or a value of theirs, as the text that is hashed.

    Returns:
        `Class(name=value, ...)` with the names of `_SERIALISED`; `repr` of anything that is no class of settings.
    """
    if type(value) not in _SERIALISED:
        return repr(value)
    name, names = _SERIALISED[type(value)]
    values = (getattr(value, each.name) for each in fields(value))  # type: ignore[arg-type]
    return f"{name}({', '.join(f'{key}={serialise_settings(each)}' for key, each in zip(names, values, strict=True))})"


def compute_settings_hash(settings: DenseSettings) -> str:
    """Return the first 8 hexadecimal digits of the SHA-256 of the serialised settings.

    >>> compute_settings_hash(DenseSettings())
    '5e702637'
    """
    return hashlib.sha256(serialise_settings(settings).encode()).hexdigest()[:8]
