"""What the dense propagator may be told: how it looks, and how far."""

from __future__ import annotations

from dataclasses import dataclass, field

from sst_retrieval.track.dense.matching import Look, Reach
from sst_retrieval.track.dense.refine import Evidence


@dataclass(frozen=True, slots=True)
class DenseSettings:
    """How the dense propagator looks; every number was tuned on whole collections, never on one photograph.

    Attributes:
        coarse_side: edge, in pixels, of the view in which the pose is found.
        coarse: what is compared to find the pose.
        turns: poses tried all the way round (and as many in the mirror).
        coarse_position: cost of a squared distance between matched cells while the pose is looked for.
        finalists: the best poses that are looked at more closely.
        adjustments: times a finalist's frame is matched and moved again.
        side: edge, in pixels, of the view in which the traits are found.
        middle, far: what is compared, and how, to find how the target's proportions differ from the support's.
        trust, stiffness: of the displacement, see `track.dense.matching.smooth_flow`.
        fine, near: what is compared, and how, to find the traits.
        dimensions: of the compressed features.
        absent: a trait whose cells' matches are typically farther than this is lost. Drawn traits of the
            beetles and butterflies lie below 0.8; most that were painted over for a trial, above 0.9.
        evidence: of the pixels' colours, see `track.dense.refine.Evidence`.
    """

    coarse_side: int = 192
    coarse: Look = field(default_factory=lambda: Look(cells=24, levels=(0, 0.5, 1, 1, 0.5)))
    turns: int = 16
    coarse_position: float = 0.5
    finalists: int = 2
    adjustments: int = 1
    side: int = 448
    middle: Look = field(default_factory=lambda: Look(cells=56, levels=(0, 1, 1, 1, 0), colour=0.3))
    far: Reach = field(default_factory=lambda: Reach(window=0.15, position=3.0, sharpness=0.05))
    trust: float = 0.2
    stiffness: float = 0.06
    fine: Look = field(default_factory=lambda: Look(cells=224, levels=(0.5, 1, 1, 1, 0), colour=0.5))
    near: Reach = field(default_factory=lambda: Reach(window=0.04, position=20.0, sharpness=0.05))
    dimensions: int = 64
    absent: float = 0.9
    evidence: Evidence = field(default_factory=Evidence)
