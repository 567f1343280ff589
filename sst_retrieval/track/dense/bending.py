"""Bend a rigid template to a target's proportions, where no match of single cells can be relied on.

A rigid template (`track.dense.template`) has four degrees of freedom; genera differ in more. After it is laid, a smooth
displacement with few degrees of freedom moves its cells to where the descriptors of support and target, place by place,
differ less: free-form deformation by cubic B-splines (Rueckert et al. 1999), fitted by Gauss-Newton steps with damping
(Lucas and Kanade 1981; Marquardt 1963), first on blurred descriptors. Its slope costs something, and where the support
is its own mirror image the displacement is, too.

Textures of genera differ more than their parts do, so that support and target are each standardised by their own mean
and standard deviation over the cells that the template covers (instance normalisation, Ulyanov et al. 2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from sst_retrieval.track.dense.matching import (
    PCAProjection,
    compute_cell_centres,
    compute_descriptors,
    compute_normalisation_over,
)
from sst_retrieval.track.dense.symmetry import Axis
from sst_retrieval.track.dense.template import CELLS, DIMENSIONS, REACH, REACHING_DESCRIPTOR
from sst_retrieval.types import RGBImage

REACHING = REACHING_DESCRIPTOR.cells
"""Cells along an edge of the widened views of support and target."""

KNOTS = 5
"""Control points along an edge of the support's frame; one more lies beyond each end."""

SLOPE_COST = 0.1
"""Cost of the mean squared slope of the displacement, in half squared descriptor distances whose mean between any two
cells of the support is 1."""

MOVE_COST = 1.0
"""Cost of the mean square of the displacement, in edges of the frame. Costs and knots were set on every second head of
trilobites; half or twice the cost of the slope changes the IoU there by 0.004 at most."""

BLURS = (2.0, 0.7)
"""Standard deviations of the Gaussians that blur the descriptors, in cells, one after the other."""

ROUNDS = 12
DAMPING = 1e-3
"""Least damping, as a share of the normal matrix's mean diagonal; with an axis, half the coefficients move nothing."""

MIN_WEIGHT = 0.01  # Share of a cell that traits must cover for it to count.


@dataclass(frozen=True, slots=True)
class BendingTemplate:
    """The annotated cells of one support and what surrounds them.

    Attributes:
        projection: of the descriptors, from the support.
        descriptors: float32 (DIMENSIONS, REACHING, REACHING), of the support's widened frame.
        covered: float32 (REACHING, REACHING), 0..1, how much of each cell traits cover.
        axis: about which the displacement is its own mirror image; None for a free one.
    """

    projection: PCAProjection
    descriptors: torch.Tensor
    covered: torch.Tensor
    axis: Axis | None


def encode_bending_template(
    levels: Sequence[torch.Tensor], view: RGBImage, labels: torch.Tensor, axis: Axis | None
) -> BendingTemplate:
    """Encode a support.

    Args:
        levels: the trunk's levels of the view, float32 (1, C, h, w) each.
        view: uint8 (REACH * SIDE, REACH * SIDE, 3), the support in its widened frame.
        labels: float32 (1 + T, G, G), share of each cell without any trait, then with each, in its own frame.
        axis: of its symmetry, see `track.dense.symmetry.find_axis`.
    """
    margin = (REACHING - CELLS) // 2
    within = functional.adaptive_avg_pool2d(1 - labels[:1], CELLS)[0].clamp(0, 1)
    covered = functional.pad(within, (margin,) * 4)
    grid = _describe(levels, view, covered)
    inner = (slice(None), slice(margin, margin + CELLS), slice(margin, margin + CELLS))
    projection = PCAProjection(grid[inner], DIMENSIONS)
    return BendingTemplate(projection, projection(grid), covered, axis)


def bend_template(
    template: BendingTemplate, levels: Sequence[torch.Tensor], view: RGBImage, cells: int
) -> torch.Tensor:
    """Bend a template that was laid on a target.

    Args:
        template: of the support.
        levels: the trunk's levels of the view, float32 (1, C, h, w) each.
        view: uint8 (REACH * SIDE, REACH * SIDE, 3), the target in the widened frame of the rigid placement.
        cells: G, along an edge of the result.

    Returns:
        float32 (2, G, G): the displacement from every cell of the target to its place on the support, (u, v) in edges
        of the frame, as `track.dense.view.warp_to_target` takes it.
    """
    target = template.projection(_describe(levels, view, template.covered))
    margin = (REACHING - CELLS) // 2
    inner = template.descriptors[:, margin : margin + CELLS, margin : margin + CELLS].flatten(1)
    scale = 1 / math.sqrt(2 * float(inner.var(1, correction=0).sum()) + 1e-12)
    weights = template.covered.flatten()
    chosen = weights > MIN_WEIGHT
    places = ((compute_cell_centres(REACHING) - 0.5) * REACH).to(weights.device)[chosen]
    weights = weights[chosen] / weights[chosen].sum()
    basis, costs = _compute_basis(places, template.axis), _compute_costs(template.axis).to(places.device)
    coefficients = places.new_zeros(basis.shape[-1])
    for sigma in BLURS:
        source = _blur(template.descriptors * scale, sigma).flatten(1)[:, chosen]
        coefficients = _fit(_blur(target * scale, sigma), source, places, weights, basis, costs, coefficients)
    return _invert(coefficients, template.axis, cells)


def _describe(levels: Sequence[torch.Tensor], view: RGBImage, covered: torch.Tensor) -> torch.Tensor:
    """Compute descriptors, standardised by the view's own statistics over some cells: float32 (D, g, g)."""
    normalisation = compute_normalisation_over(levels, REACHING_DESCRIPTOR, covered)
    return compute_descriptors(levels, [view], REACHING_DESCRIPTOR, normalisation)[0][0]


def _fit(
    target: torch.Tensor,
    source: torch.Tensor,
    places: torch.Tensor,
    weights: torch.Tensor,
    basis: torch.Tensor,
    costs: torch.Tensor,
    coefficients: torch.Tensor,
) -> torch.Tensor:
    """Fit the coefficients of a displacement: damped Gauss-Newton steps from a start; none that makes it worse.

    Args:
        target: float32 (D, REACHING, REACHING).
        source: float32 (D, N), of the support's cells.
        places: float32 (N, 2), theirs, less the frame's centre.
        weights: float32 (N,), theirs; sum to 1.
        basis: float32 (N, 2, K), displacement of every place by every coefficient.
        costs: float32 (K, K), of the coefficients.
        coefficients: float32 (K,), the start.
    """
    depth, step = len(target), REACH / REACHING
    padded = functional.pad(target[None], (1, 1, 1, 1), mode="replicate")[0]
    across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / (2 * step)
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / (2 * step)
    stacked = torch.cat([target, across, down])[None]

    def measure(tried: torch.Tensor) -> tuple[float, torch.Tensor, torch.Tensor]:
        moved = (places + basis @ tried) * 2 / REACH
        sampled = functional.grid_sample(stacked, moved[None, None], padding_mode="border", align_corners=False)[
            0, :, 0
        ]
        rest, slope = sampled[:depth] - source, torch.stack([sampled[depth : 2 * depth], sampled[2 * depth :]])
        cost = (rest.square().sum(0) @ weights + tried @ costs @ tried) / 2
        return float(cost), rest, slope

    damping = DAMPING
    loss, rest, slope = measure(coefficients)
    for _ in range(ROUNDS):
        products = torch.einsum("adn,bdn->nab", slope, slope) * weights[:, None, None]
        normal = torch.einsum("nak,nab,nbl->kl", basis, products, basis) + costs
        gradient = torch.einsum("nak,adn,dn,n->k", basis, slope, rest, weights) + costs @ coefficients
        eye = torch.eye(len(normal), device=normal.device) * normal.diagonal().mean()
        tried = coefficients - torch.linalg.solve(normal + damping * eye, gradient)
        better, new_rest, new_slope = measure(tried)
        if better < loss:
            coefficients, loss, rest, slope, damping = tried, better, new_rest, new_slope, max(DAMPING, damping / 3)
        else:
            damping *= 10
    return coefficients


def _compute_basis(places: torch.Tensor, axis: Axis | None) -> torch.Tensor:
    """Compute the displacement of places by every coefficient: float32 (N, 2, 2 * (KNOTS + 2) ** 2).

    With an axis, the mean of the displacement and its mirror image.
    """
    free = _spread(_compute_splines(places), torch.eye(2, device=places.device))
    if axis is None:
        return free
    normal = places.new_tensor([math.cos(axis.angle), math.sin(axis.angle)])
    mirrored = places - 2 * (places @ normal - axis.offset)[:, None] * normal
    reflection = torch.eye(2, device=places.device) - 2 * normal[:, None] * normal
    return (free + _spread(_compute_splines(mirrored), reflection)) / 2


def _spread(splines: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Let splines, float32 (N, K), move both coordinates, and turn the movement: float32 (N, 2, 2 * K)."""
    return (splines[:, None, None, :] * turn[None, :, :, None]).flatten(2)


def _compute_splines(places: torch.Tensor) -> torch.Tensor:
    """Compute the products of cubic B-splines at places, float32 (N, 2): float32 (N, (KNOTS + 2) ** 2).

    Beyond the outermost knots, places count as lying there.
    """
    spacing = 1 / (KNOTS - 1)
    knots = torch.arange(-1, KNOTS + 1, device=places.device) * spacing - 0.5
    limit = 0.5 + 0.99 * spacing
    apart = ((places.clamp(-limit, limit)[..., None] - knots) / spacing).abs()
    near, far = 2 / 3 - apart**2 + apart**3 / 2, (2 - apart).clamp(min=0) ** 3 / 6
    splines = torch.where(apart < 1, near, far)
    return (splines[:, 1, :, None] * splines[:, 0, None, :]).flatten(1)


def _compute_costs(axis: Axis | None) -> torch.Tensor:
    """Compute the matrix of the cost of the displacement and its slope over the frame: float32 (K, K)."""
    side = CELLS // 2
    moved: torch.Tensor = _compute_basis(compute_cell_centres(side) - 0.5, axis).unflatten(0, (side, side))
    across, down = (moved[:, 1:] - moved[:, :-1]) * side, (moved[1:] - moved[:-1]) * side
    total: torch.Tensor = moved.new_zeros(moved.shape[-1], moved.shape[-1])
    for cost, grid in ((MOVE_COST, moved), (SLOPE_COST, across), (SLOPE_COST, down)):
        rows = grid.flatten(0, 2)
        total += 2 * cost * rows.T @ rows / (len(rows) / 2)  # Twice: the fit takes half of it.
    return total


def _invert(coefficients: torch.Tensor, axis: Axis | None, cells: int) -> torch.Tensor:
    """Compute the displacement from the target to the support by fixed-point iteration: float32 (2, G, G)."""
    here = (compute_cell_centres(cells) - 0.5).to(coefficients.device)
    there = here
    for _ in range(ROUNDS):
        there = here - _compute_basis(there, axis) @ coefficients
    return (there - here).t().reshape(2, cells, cells)


def _blur(grid: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur a grid by a Gaussian, the edge repeated: float32 (D, g, g)."""
    radius = math.ceil(3 * sigma)
    places = torch.arange(-radius, radius + 1, device=grid.device)
    kernel = torch.exp(-(places**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(grid[:, None], (radius,) * 4, mode="replicate")
    blurred: torch.Tensor = functional.conv2d(padded, kernel[None, None, None])
    blurred = functional.conv2d(blurred, kernel[None, None, :, None])
    return blurred[:, 0]
