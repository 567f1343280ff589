"""A convolutional network as a plain list of its steps: the numbers of timm's modules, sooner.

A photograph is seen through the network eight times, mostly in small views. There the modules' bookkeeping and the
copies that TensorFlow's padding asks for cost as much as some of the convolutions.

1. `block_of` reads the convolutions of a timm block (MobileNetV2's, Sandler et al. 2018) and what follows each.
2. `through` runs them. A convolution of single cells is a matrix product, whose weights are laid out for it once. What
   is rectified is written straight into the padded grid that the next convolution wants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from torch import nn
from torch.nn import functional

HIGHEST = 6.0  # ReLU6's.


@dataclass(frozen=True, slots=True)
class Step:
    """A convolution.

    Attributes:
        weight: float32 (out, in / groups, k, k); (in, out) if it looks at single cells.
        bias: float32 (out,).
        stride, groups: as PyTorch's.
        padding: cells on every side; None for TensorFlow's "same", which depends on the grid (see `room`).
        rectified: ReLU6 follows.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    stride: int
    groups: int
    padding: int | None
    rectified: bool

    def __call__(self, grid: torch.Tensor) -> torch.Tensor:
        """Convolve: float32 (N, in, h, w), with the cells around that it wants."""
        if self.weight.dim() > 2:
            return torch.conv2d(grid, self.weight, self.bias, self.stride, self.padding or 0, 1, self.groups)
        count, depth, height, width = grid.shape
        cells = grid.permute(0, 2, 3, 1).reshape(-1, depth)
        return torch.addmm(self.bias, cells, self.weight).reshape(count, height, width, -1).permute(0, 3, 1, 2)

    def room(self, length: int) -> tuple[int, int]:
        """Say how many cells a grid of this length needs before and behind, if padding is TensorFlow's "same"."""
        if self.padding is not None:
            return 0, 0
        covered = (-(-length // self.stride) - 1) * self.stride + self.weight.shape[-1]
        missing = max(covered - length, 0)
        return missing // 2, missing - missing // 2


@dataclass(frozen=True, slots=True)
class Block:
    """Convolutions one after the other; with `skip`, what went in is added to what comes out."""

    steps: tuple[Step, ...]
    skip: bool = False


def block_of(*parts: nn.Module, skip: bool = False) -> Block:
    """Read the convolutions among some modules, in order, with the activation that follows each.

    Raises:
        ValueError: a module is neither a convolution with a bias, nor ReLU6, nor does it nothing.
    """
    steps: list[Step] = []
    for part in parts:
        if isinstance(part, nn.Conv2d) and part.bias is not None and part.dilation == (1, 1):
            same = type(part).__name__ == "Conv2dSame"
            padding = None if same else int(part.padding[0])
            weight, bias = part.weight.detach(), part.bias.detach()
            if part.kernel_size == part.stride == (1, 1) and part.groups == 1:
                weight = weight.flatten(1).T.contiguous()
            steps.append(Step(weight, bias, part.stride[0], part.groups, padding, rectified=False))
        elif isinstance(part, nn.ReLU6):
            steps.append(replace(steps.pop(), rectified=True))
        elif not isinstance(part, nn.Identity):
            raise ValueError(f"a step of this kind is not known: {part}")
    return Block(tuple(steps), skip)


def through(block: Block, grid: torch.Tensor) -> torch.Tensor:
    """Send a grid through a block: float32 (N, in, h, w) to (N, out, h / stride, w / stride)."""
    first, *others = block.steps
    found = functional.pad(grid, (*first.room(grid.shape[-1]), *first.room(grid.shape[-2])))
    for step, following in zip_longest(block.steps, others):
        found = step(found)
        if step.rectified:
            found = _rectified(found, following)
    return found.add_(grid) if block.skip else found


def _rectified(grid: torch.Tensor, following: Step | None) -> torch.Tensor:
    """Apply ReLU6, with the cells around that the next convolution wants."""
    if following is None or following.padding is not None:
        return grid.clamp_(0, HIGHEST)
    count, depth, height, width = grid.shape
    (above, below), (before, behind) = following.room(height), following.room(width)
    size = (count, depth, above + height + below, before + width + behind)
    wider = torch.empty(size, dtype=grid.dtype, device=grid.device, memory_format=torch.channels_last)
    for edge in (wider[:, :, :above], wider[:, :, above + height :]):
        edge.zero_()
    for edge in (wider[..., :before], wider[..., before + width :]):
        edge.zero_()
    torch.clamp(grid, 0, HIGHEST, out=wider[:, :, above : above + height, before : before + width])
    return wider
