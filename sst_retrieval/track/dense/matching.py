"""Dense matching: descriptors of grid cells, label transfer by local attention, and displacement fields.

Every function takes and gives tensors and knows nothing of specimens. Images are divided into G x G cells.

1. `compute_descriptors`: feature levels of a network, standardised and normalised to unit length, and mean colours.
2. `Votes`: each cell of a target attends to the cells of the supports near it (a softmax over negative squared
   descriptor distances) and takes the weighted mean of their labels, as in label propagation through video (Jabri,
   Owens and Efros 2020, arXiv 2006.14613).
3. `smooth_displacement`, `sample_displaced`: a dense displacement field is made smooth, and grids are warped by it.
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

LAB_RANGE = np.array([100, 60, 60], dtype=np.float32)  # Scales L, a and b to similar ranges.
CHUNK = 4  # Blocks that are matched at a time: what they need stays in a core's own cache.
TRAINING_CHUNK = 64
FAR = 1e4  # Squared distance of what lies beyond the image.
MIN_EXPONENT = -80.0  # exp(-80) vanishes in any sum; so do smaller values, but denormals take ten times as long.
BLOCK = 8  # Edge in cells. Cells of a block share their candidates, so that matching is a few large products.


@dataclass(frozen=True, slots=True)
class DescriptorSettings:
    """What a cell's descriptor consists of.

    Attributes:
        cells: G, cells along an edge.
        level_weights: weight of each feature level of the network, finest first.
        colour_weight: weight of the cell's mean colour (CIE Lab).
    """

    cells: int
    level_weights: tuple[float, ...]
    colour_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """Where a cell's candidates lie, and how the softmax over them is scaled.

    Attributes:
        window: candidates lie within this distance, as a share of the image's edge.
        position_cost: cost of a squared distance of 1 (the image's edge), in squared descriptor distance.
        temperature: of the softmax, in squared descriptor distance; small for "only the most similar".
    """

    window: float
    position_cost: float
    temperature: float


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Mean and standard deviation of every feature on a support; they standardise both images of a comparison.

    Attributes:
        statistics: a pair of float32 (1, C, 1, 1) for each feature level with a weight above 0.
    """

    statistics: tuple[tuple[torch.Tensor, torch.Tensor], ...]


def compute_descriptors(
    levels: Sequence[torch.Tensor],
    images: Sequence[RGBImage],
    settings: DescriptorSettings,
    normalisation: Normalisation | None = None,
    *,
    size: tuple[int, int] | None = None,
) -> tuple[torch.Tensor, Normalisation]:
    """Compute the descriptor of every cell of some images.

    Args:
        levels: the network's feature levels of the images, finest first, float32 (N, C, h, w) each; those without
            channels count for nothing.
        images: N images, uint8 (side, side, 3) each.
        settings: what descriptors consist of.
        normalisation: from the support; None to compute it from the first image.
        size: rows and columns of cells, where levels and images are windows of larger ones; None for G x G.

    Returns:
        float32 (N, D, G, G), channels last, and the normalisation that was used. The network's part of a descriptor has
        about unit length.
    """
    size = (settings.cells, settings.cells) if size is None else size
    pairs = _weigh_levels(levels, settings)
    if normalisation is None:
        normalisation = Normalisation(tuple(_compute_statistics(_resample(level[:1], size)) for level, _ in pairs))
    total = sum(weight for _, weight in pairs)
    depth = sum(level.shape[1] for level, _ in pairs) + (3 if settings.colour_weight > 0 else 0)
    # Channels last: what follows takes the descriptors cell by cell.
    descriptors = pairs[0][0].new_empty(len(pairs[0][0]), *size, depth).permute(0, 3, 1, 2)
    start = 0
    for (level, weight), (mean, deviation) in zip(pairs, normalisation.statistics, strict=True):
        # Before resampling: the same as after it, and less work where cells are finer than the network's.
        grid = _resample((level - mean) / deviation, size)
        length = torch.linalg.vector_norm(grid, dim=1, keepdim=True).clamp_min(1e-12)
        torch.mul(grid, math.sqrt(weight / total) / length, out=descriptors[:, start : start + level.shape[1]])
        start += level.shape[1]
    if settings.colour_weight > 0:
        colours = torch.from_numpy(np.stack([compute_cell_colours(image, *size) for image in images]))
        descriptors[:, start:] = colours.to(descriptors.device) * math.sqrt(settings.colour_weight)
    return descriptors, normalisation


def compute_normalisation_over(
    levels: Sequence[torch.Tensor], settings: DescriptorSettings, covered: torch.Tensor
) -> Normalisation:
    """Compute the normalisation of an image's descriptors from some of its cells only.

    Args:
        levels: as for `compute_descriptors`, of one image.
        settings: what descriptors consist of.
        covered: float32 (G, G), how much each cell counts; not all 0.
    """
    weights, statistics = covered / covered.sum(), []
    for level, _ in _weigh_levels(levels, settings):
        grid = _resample(level, (settings.cells, settings.cells))
        mean = (grid * weights).sum((2, 3), keepdim=True)
        deviation = ((grid - mean).square() * weights).sum((2, 3), keepdim=True).sqrt() + 1e-4
        statistics.append((mean, deviation))
    return Normalisation(tuple(statistics))


def factor_coarsest(
    grid: torch.Tensor, levels: Sequence[torch.Tensor], settings: DescriptorSettings, normalisation: Normalisation
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Write the coarsest level of descriptors as a product, for inner products with many others.

    A level of 320 features in 6 x 6 cells, resampled to 24 x 24, has 36 independent directions. Inner products with all
    576 cells are those with the 36, mixed: a sixth of the work, and the same up to rounding.

    Args:
        grid: float32 (D, g * g), from `compute_descriptors` for one image.
        levels, settings, normalisation: it was computed from.

    Returns:
        float32 (D - C + n, g * g), in which the C features of the coarsest level are replaced by the shares of its n
        cells; and those cells, float32 (C, n), for `project_coarsest`. The grid and None where that saves nothing.
    """
    coarsest, _ = _weigh_levels(levels, settings)[-1]
    _, depth, rows, columns = coarsest.shape
    if settings.colour_weight > 0 or 2 * rows * columns > depth or columns > settings.cells:
        return grid, None
    mean, deviation = normalisation.statistics[-1]
    cells = ((coarsest - mean) / deviation)[0].flatten(1)
    shares = _resample(
        torch.eye(rows * columns, device=grid.device).reshape(1, -1, rows, columns), (settings.cells,) * 2
    )
    mixed = shares[0].flatten(1)
    resampled, wanted = cells @ mixed, grid[-depth:]
    scale = torch.linalg.vector_norm(wanted, dim=0) / torch.linalg.vector_norm(resampled, dim=0).clamp_min(1e-12)
    return torch.cat([grid[:-depth], mixed * scale]), cells


def project_coarsest(descriptors: torch.Tensor, coarsest: torch.Tensor | None) -> torch.Tensor:
    """Bring descriptors into the form in which a grid of `factor_coarsest` is: float32 (F, D) to (F, D - C + n)."""
    if coarsest is None:
        return descriptors
    depth = len(coarsest)
    return torch.cat([descriptors[:, :-depth], descriptors[:, -depth:] @ coarsest], dim=1)


def compute_cell_centres(cells: int) -> torch.Tensor:
    """Compute the centres of the cells: float32 (G * G, 2), (u, v) in the unit square, row by row."""
    along = (torch.arange(cells) + 0.5) / cells
    return torch.stack(torch.meshgrid(along, along, indexing="xy"), dim=-1).reshape(-1, 2)


def average_over_cells(coverage: Floats, cells: int) -> Floats:
    """Average a coverage over cells: float32 (side, side) to (G, G)."""
    return np.asarray(Image.fromarray(coverage).resize((cells, cells), Image.Resampling.BOX))


def compute_cell_colours(image: RGBImage, rows: int, columns: int | None = None) -> Floats:
    """Compute the mean colour of every cell, CIE Lab in units of `LAB_RANGE`: float32 (3, rows, columns).

    Args:
        image: uint8 (H, W, 3).
        rows, columns: of cells; as many columns as rows if None.
    """
    small = np.asarray(Image.fromarray(image).resize((columns or rows, rows), Image.Resampling.BOX))
    colours: Floats = (rgb2lab(small).astype(np.float32) / LAB_RANGE).transpose(2, 0, 1)
    return colours


class Votes:
    """Transfers labels to every cell of a target from its most similar candidates: a softmax over a local window.

    Candidates may come from several supports, one `add` each: the softmax runs over all of them.
    """

    def __init__(
        self, target: torch.Tensor, labelled: torch.Tensor, settings: MatchSettings, *, cells: int | None = None
    ) -> None:
        """Prepare a target.

        Args:
            target: float32 (D, G, G), descriptors; G a multiple of `BLOCK`.
            labelled: bool (G, G), cells that bear some label on a support: a block without any of them in its window
                can only get "no label" and is not computed.
            settings: window, cost of distance, temperature.
            cells: G, where all grids are a window (D, rows, columns) of it, see `find_voting_window`; None for all.
        """
        self._cells = target.shape[-1] if cells is None else cells
        self._size = (target.shape[-2], target.shape[-1])
        self._radius = max(1, round(settings.window * self._cells))
        near = self._windows(labelled[None].float()).amax((2, 3, 4)) > 0
        self._active = near.nonzero(as_tuple=True)
        self._places = near.nonzero().tolist()
        self._target = _split_into_blocks(target, self._active)
        self._temperature = settings.temperature
        self._costs = self._position_costs(settings.position_cost).to(target.device)
        self._best: torch.Tensor | None = None
        self._sum = torch.zeros(0)
        self._votes = torch.zeros(0)

    def add(self, support: torch.Tensor, labels: torch.Tensor) -> None:
        """Add the votes of a support.

        Args:
            support: float32 (D, G, G), descriptors with the same normalisation.
            labels: float32 (L, G, G), 0..1: how much of each cell each label covers; the first is "no label".
        """
        # |t - s|^2 without |t|^2, as one product: (2t, -1, -1) . (s, |s|^2, far). Beyond the image is far from all.
        windows = self._windows(support, (support**2).sum(0, keepdim=True), beyond=FAR)
        label_windows = self._windows(labels)
        ones = torch.ones_like(self._target[..., :1])
        target = torch.cat([2 * self._target, -ones, -ones], dim=-1)
        # In training each chunk has a gradient as large as all windows: few chunks are faster.
        chunk = TRAINING_CHUNK if windows.requires_grad else CHUNK
        counts = [
            self._count(target[start : start + chunk], windows, label_windows, start)
            for start in range(0, len(target), chunk)
        ]
        none = (ones, ones.expand(-1, -1, len(labels)), ones)  # No block of the target is near a label.
        top, votes, total = (torch.cat(parts) for parts in zip(*counts, strict=True)) if counts else none
        if self._best is not None:
            best = torch.maximum(self._best, top)
            old_scale = torch.exp((self._best - best) / self._temperature)
            new_scale = torch.exp((top - best) / self._temperature)
            votes, total = votes * new_scale + self._votes * old_scale, total * new_scale + self._sum * old_scale
            top = best
        self._best, self._votes, self._sum = top, votes, total

    def _count(
        self, target: torch.Tensor, windows: torch.Tensor, labels: torch.Tensor, start: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Count the votes for some blocks; few at a time, so that they stay in the processor's cache."""
        places = self._places[start : start + len(target)]
        similarity = torch.bmm(target, _gather_windows(windows, places))
        similarity -= self._costs
        top = similarity.detach().amax(-1, keepdim=True)  # Shifts a softmax: no gradient is lost.
        weights = similarity.sub_(top).div_(self._temperature).clamp_(min=MIN_EXPONENT).exp_()
        return top, torch.bmm(weights, _gather_windows(labels, places).mT), weights.sum(-1, keepdim=True)

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the shares of the labels and the distance of the best match.

        Returns:
            float32 (L, G, G), the share of each label in the vote; float32 (G, G), the squared descriptor distance
            (with the position's cost) to the best candidate, 0 in blocks that were not computed.
        """
        assert self._best is not None
        shares = self._votes / self._sum
        no_label = torch.zeros(shares.shape[-1], device=shares.device)
        no_label[0] = 1
        distance = (self._target**2).sum(-1, keepdim=True) - self._best
        return self._join_blocks(shares, no_label), self._join_blocks(distance, distance.new_zeros(1))[0]

    def active_cells(self) -> torch.Tensor:
        """Return which cells were computed: float32 (G, G), 1 or 0."""
        ones = torch.ones_like(self._target[..., :1])
        return self._join_blocks(ones, ones.new_zeros(1))[0]

    def _windows(self, *grids: torch.Tensor, beyond: float = 0.0) -> torch.Tensor:
        """View the candidates of each block, C channels in all: (C, G, G) to (down, across, C, K, K).

        With `beyond`, there is one channel more: 0 in the image and `beyond` outside, where all others are 0.
        """
        radius, (rows, columns) = self._radius, self._size
        depth, inside = sum(map(len, grids)), (slice(radius, radius + rows), slice(radius, radius + columns))
        edge, height, width = BLOCK + 2 * radius, rows + 2 * radius, columns + 2 * radius
        padded = grids[0].new_zeros(depth + (beyond > 0), height, width)
        start = 0
        for grid in grids:
            padded[(slice(start, start + len(grid)), *inside)] = grid
            start += len(grid)
        if beyond:
            padded[-1] = beyond
            padded[(-1, *inside)] = 0
        strides = (BLOCK * width, BLOCK, height * width, width, 1)
        return padded.as_strided((rows // BLOCK, columns // BLOCK, len(padded), edge, edge), strides)

    def _position_costs(self, cost: float) -> torch.Tensor:
        """Return the cost of each candidate's distance from each cell of a block: (BLOCK * BLOCK, K * K)."""
        own = torch.arange(BLOCK)
        theirs = torch.arange(BLOCK + 2 * self._radius) - self._radius
        apart = ((own[:, None] - theirs) / self._cells) ** 2
        squared = apart[:, None, :, None] + apart[None, :, None, :]
        return cost * squared.reshape(BLOCK * BLOCK, -1)

    def _join_blocks(self, blocks: torch.Tensor, elsewhere: torch.Tensor) -> torch.Tensor:
        """Put the active blocks back in their places: (C, G, G); the other cells are `elsewhere` (C,)."""
        rows, columns = self._size
        every = elsewhere.repeat(rows // BLOCK, columns // BLOCK, BLOCK * BLOCK, 1)
        every[self._active] = blocks
        grid = every.reshape(rows // BLOCK, columns // BLOCK, BLOCK, BLOCK, -1).permute(4, 0, 2, 1, 3)
        return grid.reshape(-1, rows, columns)


def find_voting_window(labelled: torch.Tensor, settings: MatchSettings) -> tuple[slice, slice]:
    """Find the part of a grid that decides all votes: blocks that are near a label, and all their candidates.

    Args:
        labelled: bool (G, G), see `Votes`.
        settings: of the votes.

    Returns:
        Rows and columns, from and to multiples of `BLOCK`, with at least as many cells around the blocks that are
        computed as bilinear resampling from the coarsest level may look at; all of the grid if nothing is labelled.
    """
    cells = labelled.shape[-1]
    radius = max(1, round(settings.window * cells))
    margin = -(-radius // BLOCK) * BLOCK + BLOCK
    ends = []
    for axis in (1, 0):
        places = labelled.any(axis).nonzero()[:, 0].tolist()
        if not places:
            return slice(0, cells), slice(0, cells)
        first, last = (places[0] - radius) // BLOCK * BLOCK, -(-(places[-1] + 1 + radius) // BLOCK) * BLOCK
        ends.append(slice(max(0, first - margin), min(cells, last + margin)))
    return ends[0], ends[1]


class PCAProjection:
    """Projects descriptors on the principal components of a support: a third the work for almost the same distances."""

    def __init__(self, grid: torch.Tensor, dimensions: int) -> None:
        """Compute the components of a support, float32 (D, G, G); keep those of the largest variance."""
        cells = grid.permute(1, 2, 0).flatten(0, 1)
        self._mean = cells.mean(0)
        centred = cells - self._mean
        scatter = centred.T @ centred
        _, components = torch.linalg.eigh(scatter)
        self._components = components[:, -dimensions:]

    def __call__(self, grid: torch.Tensor) -> torch.Tensor:
        """Project: float32 (D, G, G) to (dimensions, G, G), channels last."""
        cells = grid.permute(1, 2, 0).flatten(0, 1)
        projected = torch.addmm(-(self._mean @ self._components), cells, self._components)
        return projected.reshape(*grid.shape[1:], -1).permute(2, 0, 1)


def smooth_displacement(displacement: torch.Tensor, confidence: torch.Tensor, sigma: float) -> torch.Tensor:
    """Smooth a displacement field by a Gaussian, weighted by confidence (normalised convolution).

    The field fades to 0 far from every confident cell. Knutsson and Westin (1993), normalised convolution.

    Args:
        displacement: float32 (2, G, G), as a share of the image's edge.
        confidence: float32 (G, G), >= 0.
        sigma: standard deviation of the Gaussian, as a share of the image's edge.

    Returns:
        float32 (2, G, G).
    """
    cells = sigma * displacement.shape[-1]
    radius = math.ceil(3 * cells)
    along = torch.exp(-((torch.arange(-radius, radius + 1, device=displacement.device) / cells) ** 2) / 2)
    along = along / along.sum()
    stack = torch.cat([displacement * confidence, confidence[None]])[:, None]
    stack = functional.conv2d(stack, along.reshape(1, 1, 1, -1), padding=(0, radius))
    stack = functional.conv2d(stack, along.reshape(1, 1, -1, 1), padding=(radius, 0))[:, 0]
    return stack[:2] / (stack[2] + 1e-3)


def sample_displaced(
    grid: torch.Tensor, displacement: torch.Tensor, window: tuple[slice, slice] = (slice(None), slice(None))
) -> torch.Tensor:
    """Sample a grid bilinearly at displaced positions (backward warping).

    Args:
        grid: float32 (C, G, G).
        displacement: float32 (2, G, G), (u, v) as a share of the image's edge.
        window: rows and columns of the result that are wanted.

    Returns:
        float32 (C, G, G), or its window; beyond the edge, the edge's values.
    """
    cells = grid.shape[-1]
    places = compute_cell_centres(cells).to(grid.device).reshape(cells, cells, 2) + displacement.permute(1, 2, 0)
    places = places[window]
    sampled = functional.grid_sample(
        grid[None], places[None] * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0]


def _split_into_blocks(grid: torch.Tensor, active: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Split a grid into blocks of cells, and take the active ones: (D, G, G) to (blocks, BLOCK * BLOCK, D)."""
    depth, rows, columns = grid.shape
    blocks = grid.reshape(depth, rows // BLOCK, BLOCK, columns // BLOCK, BLOCK).permute(1, 3, 2, 4, 0)
    return blocks[active].flatten(1, 2).contiguous()


def _gather_windows(windows: torch.Tensor, places: Sequence[Sequence[int]]) -> torch.Tensor:
    """Copy the windows of some blocks: (down, across, C, K, K) to (blocks, C, K * K)."""
    if windows.requires_grad:  # As in `Votes.add`.
        rows, columns = zip(*places, strict=True)
        return windows[list(rows), list(columns)].flatten(2)
    # One after the other: whole rows are copied, which indexing with all places at once would do number by number.
    return torch.stack([windows[row, column] for row, column in places]).flatten(2)


def _weigh_levels(levels: Sequence[torch.Tensor], settings: DescriptorSettings) -> list[tuple[torch.Tensor, float]]:
    """List the levels that descriptors consist of, with their weights; a level that a network lacks has no channels."""
    weighted = zip(levels, settings.level_weights, strict=False)
    return [(level, weight) for level, weight in weighted if weight > 0 and level.shape[1] > 0]


def _resample(level: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if level.shape[-1] > size[1]:
        return functional.adaptive_avg_pool2d(level, size)
    return functional.interpolate(level, size=size, mode="bilinear", align_corners=False)


def _compute_statistics(grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute mean and standard deviation of every channel of a grid: float32 (1, C, h, w) to (1, C, 1, 1) each."""
    cells = grid[0].permute(1, 2, 0).flatten(0, 1)
    mean = cells.mean(0)
    deviation = ((cells - mean).square_().sum(0) / (len(cells) - 1)).sqrt_() + 1e-3
    return mean[None, :, None, None], deviation[None, :, None, None]
