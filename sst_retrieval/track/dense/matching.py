"""Cells of one picture find their like in another: the arithmetic of the dense propagator.

Every function takes and gives tensors and knows nothing of specimens. Pictures are cut into G x G cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from skimage.color import rgb2lab
from torch.nn import functional

from sst_retrieval.types import Floats, RGBImage

LAB_RANGE = np.array([100, 60, 60], dtype=np.float32)  # Brings L, a and b to about the same size.
CHUNK = 16  # Blocks that are matched at a time.
LOWEST = -80.0  # A vote of exp(-80) is lost in any sum; smaller ones are lost as well, but take ten times as long.
BLOCK = 8  # Cells of a block share their candidates, so that matching is a few large products.


@dataclass(frozen=True, slots=True)
class Look:
    """What is compared when two cells are compared.

    Attributes:
        cells: G.
        levels: weight of each level of the network, finest first.
        colour: weight of the cell's mean colour (CIE Lab).
    """

    cells: int
    levels: tuple[float, ...]
    colour: float = 0.0


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a cell looks, and how choosy it is.

    Attributes:
        window: candidates lie within this distance, as a share of the picture's edge.
        position: what a squared distance of 1 (the picture's edge) costs, in squared feature distance.
        sharpness: scale of the softmax, in squared feature distance; small for "only the most similar".
    """

    window: float
    position: float
    sharpness: float


@dataclass(frozen=True, slots=True)
class Norm:
    """Mean and spread of every feature on a support; both pictures of a comparison are seen relative to it.

    Attributes:
        parts: a pair of float32 (1, C, 1, 1) for each level that is looked at.
    """

    parts: tuple[tuple[torch.Tensor, torch.Tensor], ...]


def describe(
    levels: Sequence[torch.Tensor], pictures: Sequence[RGBImage], look: Look, norm: Norm | None = None
) -> tuple[torch.Tensor, Norm]:
    """Describe every cell of some pictures.

    Args:
        levels: the network's levels of the pictures, finest first.
        pictures: uint8 (side, side, 3) each.
        look: what to look at.
        norm: from the support; None to take it from the first picture.

    Returns:
        float32 (N, D, G, G), and the norm that was used. The network's part of a cell's features has about unit length.
    """
    pairs = [(level, weight) for level, weight in zip(levels, look.levels, strict=False) if weight > 0]
    if norm is None:
        grids = [_resampled(level[:1], look.cells) for level, _ in pairs]
        norm = Norm(tuple((_mean(grid), _spread(grid)) for grid in grids))
    total = sum(weight for _, weight in pairs)
    parts = []
    for (level, weight), (mean, spread) in zip(pairs, norm.parts, strict=True):
        # Before resampling: the same as after it, and less work where cells are finer than the network's.
        grid = _resampled((level - mean) / spread, look.cells)
        length = torch.linalg.vector_norm(grid, dim=1, keepdim=True).clamp_min(1e-12)
        parts.append(grid.mul_(math.sqrt(weight / total) / length))
    if look.colour > 0:
        colours = np.stack([cell_colours(picture, look.cells) for picture in pictures])
        parts.append(torch.from_numpy(colours).to(parts[0].device) * math.sqrt(look.colour))
    return torch.cat(parts, dim=1), norm


def cell_centres(cells: int) -> torch.Tensor:
    """Say where the cells lie: float32 (G * G, 2), (u, v) in the unit square, row by row."""
    along = (torch.arange(cells) + 0.5) / cells
    return torch.stack(torch.meshgrid(along, along, indexing="xy"), dim=-1).reshape(-1, 2)


def cell_shares(coverage: Floats, cells: int) -> Floats:
    """Average a coverage over cells: float32 (side, side) to (G, G)."""
    return np.asarray(Image.fromarray(coverage).resize((cells, cells), Image.Resampling.BOX))


def cell_colours(picture: RGBImage, cells: int) -> Floats:
    """Mean colour of every cell, CIE Lab in parts of `LAB_RANGE`: float32 (3, G, G)."""
    small = np.asarray(Image.fromarray(picture).resize((cells, cells), Image.Resampling.BOX))
    colours: Floats = (rgb2lab(small).astype(np.float32) / LAB_RANGE).transpose(2, 0, 1)
    return colours


class Votes:
    """Softly counts the labels of the most similar candidates of every cell of a target.

    Candidates may come from several supports, one `add` each: the softmax runs over all of them.
    """

    def __init__(self, target: torch.Tensor, wanted: torch.Tensor, reach: Reach) -> None:
        """Prepare a target.

        Args:
            target: float32 (D, G, G); G a multiple of `BLOCK`.
            wanted: bool (G, G), cells that bear some label on a support: a block that has none of them in its window
                can only be told "no label" and is left out of the work.
            reach: how far to look, and how choosy to be.
        """
        self._cells = target.shape[-1]
        self._reach = max(1, round(reach.window * self._cells))
        near = self._windows(wanted[None].float()).amax((2, 3, 4)) > 0
        self._active = near.nonzero(as_tuple=True)
        self._target = _blocks(target)[near.flatten()]
        self._scale = reach.sharpness
        self._handicap = self._position_costs(reach.position).to(target.device)
        self._best: torch.Tensor | None = None
        self._sum = torch.zeros(0)
        self._votes = torch.zeros(0)

    def add(self, support: torch.Tensor, labels: torch.Tensor) -> None:
        """Let a support vote.

        Args:
            support: float32 (D, G, G), described with the same norm.
            labels: float32 (L, G, G), 0..1: how much of each cell each label covers; the first is "no label".
        """
        # |t - s|^2 without |t|^2, as one product: (2t, -1, -1) . (s, |s|^2, far). Beyond the picture is far from all.
        lengths = (support**2).sum(0, keepdim=True)
        windows = self._windows(torch.cat([support, lengths, torch.zeros_like(lengths)]), beyond=1e4)
        label_windows = self._windows(labels)
        ones = torch.ones_like(self._target[..., :1])
        target = torch.cat([2 * self._target, -ones, -ones], dim=-1)
        found = [
            self._counted(target[start : start + CHUNK], windows, label_windows, start)
            for start in range(0, len(target), CHUNK)
        ]
        none = (ones, ones.expand(-1, -1, len(labels)), ones)  # No block of the target is near a label.
        top, votes, total = (torch.cat(parts) for parts in zip(*found, strict=True)) if found else none
        if self._best is not None:
            best = torch.maximum(self._best, top)
            fading, rising = torch.exp((self._best - best) / self._scale), torch.exp((top - best) / self._scale)
            votes, total = votes * rising + self._votes * fading, total * rising + self._sum * fading
            top = best
        self._best, self._votes, self._sum = top, votes, total

    def _counted(
        self, target: torch.Tensor, windows: torch.Tensor, labels: torch.Tensor, start: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Count the votes for some blocks; few at a time, so that they stay in the processor's cache."""
        rows, columns = (places[start : start + len(target)] for places in self._active)
        closeness = torch.bmm(target, windows[rows, columns].flatten(2))
        closeness -= self._handicap
        top = closeness.detach().amax(-1, keepdim=True)  # Shifts a softmax: no gradient is lost.
        weights = closeness.sub_(top).div_(self._scale).clamp_(min=LOWEST).exp_()
        return top, torch.bmm(weights, labels[rows, columns].flatten(2).mT), weights.sum(-1, keepdim=True)

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Count.

        Returns:
            float32 (L, G, G), the share of each label in the vote; float32 (G, G), the squared feature distance (with
            the position's) to the best candidate, 0 in blocks that were left out.
        """
        assert self._best is not None
        shares = self._votes / self._sum
        nothing = torch.zeros(shares.shape[-1], device=shares.device)
        nothing[0] = 1
        distance = (self._target**2).sum(-1, keepdim=True) - self._best
        return self._unblocked(shares, nothing), self._unblocked(distance, distance.new_zeros(1))[0]

    def worked(self) -> torch.Tensor:
        """Say which cells were worked on: float32 (G, G), 1 or 0."""
        ones = torch.ones_like(self._target[..., :1])
        return self._unblocked(ones, ones.new_zeros(1))[0]

    def _windows(self, grid: torch.Tensor, *, beyond: float = 0.0) -> torch.Tensor:
        """View what each block may look at: (C, G, G) to (down, across, C, K, K); outside, the last C is `beyond`."""
        reach, across = self._reach, self._cells // BLOCK
        padded = functional.pad(grid, (reach,) * 4)
        if beyond:
            padded[-1] = beyond
            padded[-1, reach:-reach, reach:-reach] = 0
        edge, width = BLOCK + 2 * reach, padded.shape[-1]
        strides = (BLOCK * width, BLOCK, width * width, width, 1)
        return padded.as_strided((across, across, len(grid), edge, edge), strides)

    def _position_costs(self, position: float) -> torch.Tensor:
        own = torch.arange(BLOCK)
        theirs = torch.arange(BLOCK + 2 * self._reach) - self._reach
        apart = ((own[:, None] - theirs) / self._cells) ** 2
        squared = apart[:, None, :, None] + apart[None, :, None, :]
        return position * squared.reshape(BLOCK * BLOCK, -1)

    def _unblocked(self, blocks: torch.Tensor, elsewhere: torch.Tensor) -> torch.Tensor:
        """Put the worked blocks back in their places: (C, G, G); the other cells are `elsewhere` (C,)."""
        across = self._cells // BLOCK
        every = elsewhere.repeat(across, across, BLOCK * BLOCK, 1)
        every[self._active] = blocks
        grid = every.reshape(across, across, BLOCK, BLOCK, -1).permute(4, 0, 2, 1, 3)
        return grid.reshape(-1, self._cells, self._cells)


class Compressed:
    """Keeps the directions in which support cells differ most (PCA): a third the work for almost the same distances."""

    def __init__(self, grid: torch.Tensor, dimensions: int) -> None:
        """Learn the directions from a support, float32 (D, G, G)."""
        cells = grid.flatten(1).T
        self._mean = cells.mean(0)
        spread = (cells - self._mean).T @ (cells - self._mean)
        _, directions = torch.linalg.eigh(spread)
        self._directions = directions[:, -dimensions:]

    def __call__(self, grid: torch.Tensor) -> torch.Tensor:
        """Project: float32 (D, G, G) to (dimensions, G, G)."""
        projected: torch.Tensor = self._directions.T @ grid.flatten(1) - (self._directions.T @ self._mean)[:, None]
        return projected.reshape(-1, *grid.shape[1:])


def smooth_flow(flow: torch.Tensor, weight: torch.Tensor, stiffness: float) -> torch.Tensor:
    """Average a displacement over its neighbourhood, trusted cells counting more; no displacement far from any.

    Args:
        flow: float32 (2, G, G), as a share of the picture's edge.
        weight: float32 (G, G), >= 0.
        stiffness: standard deviation of the Gaussian neighbourhood, as a share of the picture's edge.
    """
    spread = stiffness * flow.shape[-1]
    reach = math.ceil(3 * spread)
    along = torch.exp(-((torch.arange(-reach, reach + 1, device=flow.device) / spread) ** 2) / 2)
    along = along / along.sum()
    stack = torch.cat([flow * weight, weight[None]])[:, None]
    stack = functional.conv2d(stack, along.reshape(1, 1, 1, -1), padding=(0, reach))
    stack = functional.conv2d(stack, along.reshape(1, 1, -1, 1), padding=(reach, 0))[:, 0]
    return stack[:2] / (stack[2] + 1e-3)


def carried(grid: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Look up a grid where a displacement points to: float32 (C, G, G) both before and after."""
    cells = grid.shape[-1]
    places = cell_centres(cells).to(grid.device).reshape(cells, cells, 2) + flow.permute(1, 2, 0)
    looked_up = functional.grid_sample(
        grid[None], places[None] * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False
    )
    return looked_up[0]


def _blocks(grid: torch.Tensor) -> torch.Tensor:
    """Cut a grid into blocks of cells: (D, G, G) to (blocks, BLOCK * BLOCK, D)."""
    depth, cells, _ = grid.shape
    across = cells // BLOCK
    cut = grid.reshape(depth, across, BLOCK, across, BLOCK).permute(1, 3, 2, 4, 0)
    return cut.reshape(across * across, BLOCK * BLOCK, depth)


def _resampled(level: torch.Tensor, cells: int) -> torch.Tensor:
    if level.shape[-1] > cells:
        return functional.adaptive_avg_pool2d(level, cells)
    return functional.interpolate(level, size=(cells, cells), mode="bilinear", align_corners=False)


def _mean(grid: torch.Tensor) -> torch.Tensor:
    return grid.mean((0, 2, 3), keepdim=True)


def _spread(grid: torch.Tensor) -> torch.Tensor:
    return grid.std((0, 2, 3), keepdim=True) + 1e-3
