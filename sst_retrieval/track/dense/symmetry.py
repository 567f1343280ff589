"""Bilateral symmetry: votes of a target are averaged with their mirror image where the support is symmetric.

Heads, shells, leaves and flowers are often photographed so that left and right are mirror images. Where the cells of a
target match badly (another genus), what is wrong on one side is seldom wrong in the same way on the other: the
geometric mean of both keeps what both say.

1. `find_axis`: the mirror axis of the support's labels; none unless each trait is its own mirror image.
2. `adjust_axis`: the axis of a target lies near the support's, for both lie alike in their frames; it is moved to where
   the target's votes agree best with their mirror image.
3. `symmetrise_votes`: the votes and their mirror image about that axis, together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from sst_retrieval.types import Floats

SYMMETRIC = 0.85
"""Soft IoU of every trait with its mirror image from which a support is symmetric. Heads of trilobites that face the
camera have 0.95 to 0.99; of 18 beetles one reaches it with all its traits, of 14 butterflies and cut wings none."""

CELLS = 56
"""Cells along an edge of the grid on which an axis is sought."""

DIRECTIONS = 18
"""Directions of an axis that are tried on a support, evenly spaced over half a turn."""

STEPS = (0.06, 0.02)
"""First steps by which an axis is moved: radians, and edges of the view."""

ROUNDS = 6
FLOOR = 1e-3  # Least vote that counts, so that a cell in which nothing agrees still has a sum.


@dataclass(frozen=True, slots=True)
class Axis:
    """A mirror axis in a view.

    Attributes:
        angle: of its normal, in radians.
        offset: of its nearest point from the view's centre along the normal, in edges of the view.
    """

    angle: float
    offset: float


def find_axis(labels: torch.Tensor) -> Axis | None:
    """Find the mirror axis of a support.

    Args:
        labels: float32 (T, G, G), share of each cell with each trait, in the support's frame.

    Returns:
        None if no trait is annotated or any is less symmetric than `SYMMETRIC`.
    """
    annotated = labels[labels.flatten(1).amax(1) > 0]
    if not len(annotated):
        return None
    small = _shrink(annotated)
    centre = _compute_centroid(small)
    angles = [math.pi * number / DIRECTIONS for number in range(DIRECTIONS)]
    through = [Axis(angle, centre[0] * math.cos(angle) + centre[1] * math.sin(angle)) for angle in angles]
    start = through[int(_compute_agreements(small, through).mean(1).argmax())]
    axis = _climb(small, start, (math.pi / DIRECTIONS, STEPS[1]))
    return axis if float(_compute_agreements(small, [axis]).min()) >= SYMMETRIC else None


def adjust_axis(axis: Axis, votes: torch.Tensor) -> Axis:
    """Move a support's axis to where a target's votes agree best with their mirror image.

    Args:
        axis: of the support.
        votes: float32 (T, G, G), of the target in a frame in which it lies like the support.
    """
    return _climb(_shrink(votes), axis, STEPS)


def symmetrise_votes(shares: Floats, axis: Axis, weight: float = 1.0) -> Floats:
    """Combine votes with their mirror image: float32 (1 + T, G, G), the geometric mean of both; sums to 1.

    Args:
        shares: float32 (1 + T, G, G), the first of "no trait"; sum to 1. What lies beyond the view has no trait.
        axis: of the target.
        weight: 0..1, 0 for the votes as they are, 1 for both alike.
    """
    own = torch.from_numpy(shares)
    mirrored = mirror(own, [axis])[0]
    mirrored[0] += 1 - mirrored.sum(0)
    both = own.clamp(min=FLOOR) ** (1 - weight / 2) * mirrored.clamp(min=FLOOR) ** (weight / 2)
    combined: Floats = (both / both.sum(0)).numpy()
    return combined


def mirror(stack: torch.Tensor, axes: list[Axis]) -> torch.Tensor:
    """Mirror grids about axes.

    Args:
        stack: float32 (K, G, G).
        axes: A of them.

    Returns:
        float32 (A, K, G, G), 0 where the mirror image lies beyond the grid.
    """
    maps = []
    for axis in axes:
        # x - 2 (x . n - d) n, in coordinates from -1 to 1.
        right, down = math.cos(axis.angle), math.sin(axis.angle)
        shift = 4 * axis.offset
        maps.append(
            [
                [1 - 2 * right * right, -2 * right * down, shift * right],
                [-2 * right * down, 1 - 2 * down * down, shift * down],
            ]
        )
    many = stack.expand(len(axes), *stack.shape)
    places = functional.affine_grid(stack.new_tensor(maps), list(many.shape), align_corners=False)
    return functional.grid_sample(many, places, align_corners=False)


def _shrink(stack: torch.Tensor) -> torch.Tensor:
    return functional.adaptive_avg_pool2d(stack, CELLS)


def _compute_centroid(stack: torch.Tensor) -> tuple[float, float]:
    """Compute the centre of all grids together, from the view's centre, in edges: right and down."""
    weight = stack.sum(0)
    places = (torch.arange(weight.shape[-1], device=stack.device) + 0.5) / weight.shape[-1] - 0.5
    total = weight.sum()
    return float((weight.sum(0) * places).sum() / total), float((weight.sum(1) * places).sum() / total)


def _compute_agreements(stack: torch.Tensor, axes: list[Axis]) -> torch.Tensor:
    """Compute the soft IoU of every grid with its mirror images: float32 (A, K)."""
    mirrored = mirror(stack, axes)
    both, either = torch.minimum(mirrored, stack), torch.maximum(mirrored, stack)
    return both.sum((2, 3)) / either.sum((2, 3)).clamp(min=1e-6)


def _climb(stack: torch.Tensor, start: Axis, steps: tuple[float, float]) -> Axis:
    """Move an axis to where the grids agree best with their mirror images, by ever smaller steps."""
    best = start
    for _ in range(ROUNDS):
        moves = [(turn, shift) for turn in (0, -1, 1) for shift in (0, -1, 1)]
        tried = [Axis(best.angle + turn * steps[0], best.offset + shift * steps[1]) for turn, shift in moves]
        top = int(_compute_agreements(stack, tried).mean(1).argmax())
        best = tried[top]
        if top == 0:  # Nothing around it is better.
            steps = (steps[0] / 2, steps[1] / 2)
    return best
