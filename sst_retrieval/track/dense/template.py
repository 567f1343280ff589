"""Lay a support on a target as a rigid template, where no match of single cells can be relied on.

Between genera hardly a cell finds its counterpart by its features, but all cells of the annotated traits together tell
where they lie: the placement is the similarity transform at which the descriptors of support and target, place by
place, differ least. No cell looks for a nearest neighbour, so that a placement has four degrees of freedom and
thousands of features that vote for it.

1. `encode_template`: descriptors of the support's annotated cells, on a grid of `CELLS` x `CELLS`.
2. `place_template`: coarse-to-fine search over scale, rotation and translation (template matching, Brunelli 2009).
   Large changes cost something, so that a flat score changes nothing.

When a template is used, and how its labels are mixed with the votes of the cells, is in `view.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch.nn import functional

from sst_retrieval.imaging import frames
from sst_retrieval.track.dense.matching import (
    DescriptorSettings,
    Normalisation,
    PCAProjection,
    compute_cell_centres,
    compute_descriptors,
)
from sst_retrieval.track.dense.symmetry import Axis, find_axis
from sst_retrieval.types import Frame, RGBImage

CELLS = 28
"""Cells of a template along an edge of the support's frame, of 8 pixels each."""

SIDE = 8 * CELLS
"""Edge, in pixels, of a support's view."""

REACH = 1.5
"""Edge of the target's view, in edges of the frame from which a search starts: the template may move beyond it."""

DESCRIPTOR = DescriptorSettings(cells=CELLS, level_weights=(0, 0.5, 1, 1, 0.5))
REACHING_DESCRIPTOR = replace(DESCRIPTOR, cells=int(REACH * CELLS))
DIMENSIONS = 32

MIN_COVERED_CELLS = 40
"""Cells that all traits of a support together have to cover: fewer, such as a pupil's, could be laid anywhere."""

STEPS = (0.15, 0.12, 0.08, 0.08)
"""First steps of the search: logarithm of the scale, rotation in radians, translation in edges of the frame."""

COSTS = (0.15, 0.1, 0.2, 0.2)
"""Costs of the squares of these four, in half squared descriptor distances."""

ROUNDS = 7
GUARANTEED_ROUNDS = 3  # Rounds at full step that may follow a better placement; later ones halve the steps anyway.


@dataclass(frozen=True, slots=True)
class Template:
    """The annotated cells of one support.

    Attributes:
        normalisation, projection: of the first support of the group, so that its templates can be compared.
        descriptors: float32 (DIMENSIONS, N), of the N cells that a trait covers in part.
        places: float32 (N, 2), their centres, (u, v) in the support's frame, less its centre.
        weights: float32 (N,), how much of each cell traits cover, as a share of all.
        axis: about which every trait is its own mirror image, in the support's frame; None if one is not.
    """

    normalisation: Normalisation
    projection: PCAProjection
    descriptors: torch.Tensor
    places: torch.Tensor
    weights: torch.Tensor
    axis: Axis | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """A template as it was laid on a target.

    Attributes:
        frame: of the target, in which its traits lie like the support's in its own.
        score: 0 at most; minus half the mean squared descriptor distance, less the costs of the changes.
    """

    frame: Frame
    score: float


def encode_template(
    levels: Sequence[torch.Tensor], view: RGBImage, labels: torch.Tensor, first: Template | None = None
) -> Template | None:
    """Encode the annotated cells of a support.

    Args:
        levels: the trunk's levels of the view, float32 (1, C, h, w) each.
        view: uint8 (SIDE, SIDE, 3), the support in its frame.
        labels: float32 (1 + T, G, G): share of each cell without any trait, then with each.
        first: of the group's first support, if this is another.

    Returns:
        None if the traits cover too few cells.
    """
    grid, normalisation = compute_descriptors(levels, [view], DESCRIPTOR, first.normalisation if first else None)
    projection = first.projection if first else PCAProjection(grid[0], DIMENSIONS)
    covered = (1 - functional.adaptive_avg_pool2d(labels[:1], CELLS)).clamp(0, 1).flatten()
    if float(covered.sum()) < MIN_COVERED_CELLS:
        return None
    chosen = covered > 0
    places = (compute_cell_centres(CELLS) - 0.5).to(covered.device)
    return Template(
        normalisation,
        projection,
        projection(grid[0]).flatten(1)[:, chosen],
        places[chosen],
        covered[chosen] / covered.sum(),
        find_axis(labels[1:]),
    )


def widen_frame(frame: Frame) -> Frame:
    """Widen a frame to what a search that starts from it looks at."""
    return frames.compose(frames.square_frame((0.5, 0.5), REACH, 0.0), frame)


def place_template(template: Template, start: Frame, levels: Sequence[torch.Tensor], view: RGBImage) -> Placement:
    """Search for the placement of a template on a target, near a start.

    Args:
        template: of a support.
        start: frame of the target.
        levels: the trunk's levels of the view, float32 (1, C, h, w) each.
        view: uint8 (REACH * SIDE, REACH * SIDE, 3), the target in the widened start, see `widen_frame`.
    """
    described, _ = compute_descriptors(levels, [view], REACHING_DESCRIPTOR, template.normalisation)
    grid = template.projection(described[0])
    best, steps, score = (0.0, 0.0, 0.0, 0.0), STEPS, -math.inf
    for number in range(ROUNDS):
        around = (2, 1, 2, 2) if number == 0 else (1, 1, 1, 1)
        offsets = product(*(range(-count, count + 1) for count in around))
        tried = [tuple(b + o * s for b, o, s in zip(best, offset, steps, strict=True)) for offset in offsets]
        scores = _score_placements(template, grid, torch.tensor(tried, device=grid.device))
        top = int(scores.argmax())
        if tried[top] == best or number >= GUARANTEED_ROUNDS:
            steps = tuple(step / 2 for step in steps)  # type: ignore[assignment]
        best, score = tried[top], float(scores[top])  # type: ignore[assignment]
    return Placement(frames.compose(_invert_placement(*best), start), score)


def _score_placements(template: Template, grid: torch.Tensor, placements: torch.Tensor) -> torch.Tensor:
    """Score placements: float32 (P,).

    Args:
        template: with N cells.
        grid: float32 (DIMENSIONS, g, g), descriptors of the target in the widened start.
        placements: float32 (P, 4), see `STEPS`.
    """
    scale, (cos, sin) = placements[:, 0].exp()[:, None], (f(placements[:, 1])[:, None] for f in (torch.cos, torch.sin))
    u, v = template.places.T
    across = scale * (cos * u - sin * v) + placements[:, 2:3]
    down = scale * (sin * u + cos * v) + placements[:, 3:4]
    places = torch.stack([across, down], dim=-1) * 2 / REACH
    sampled = functional.grid_sample(grid[None], places[None], padding_mode="border", align_corners=False)[0]
    distance = ((sampled - template.descriptors[:, None]) ** 2).sum(0) @ template.weights
    return -distance / 2 - placements**2 @ placements.new_tensor(COSTS)


def _invert_placement(log_scale: float, angle: float, right: float, down: float) -> Frame:
    """Return the map from the start's frame to the support's: the inverse of a placement."""
    cos, sin, scale = math.cos(angle), math.sin(angle), math.exp(log_scale)
    placed = Frame(
        (
            scale * cos,
            -scale * sin,
            0.5 + right - 0.5 * scale * (cos - sin),
            scale * sin,
            scale * cos,
            0.5 + down - 0.5 * scale * (sin + cos),
        )
    )
    return frames.invert(placed)
