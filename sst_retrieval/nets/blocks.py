"""Convolution blocks of EfficientNet-lite, run as a plain list of convolutions: the same numbers, faster.

A build runs a photograph through the network eight times, mostly in small views. There the bookkeeping of PyTorch's
modules and the copies for TensorFlow's "same" padding cost as much as some of the convolutions.

1. `read_block` reads the convolutions of a block (MobileNetV2's, Sandler et al. 2018) and what follows each.
2. `run_block` runs them. A 1 x 1 convolution is a matrix product, whose weights are transposed once. The output of
   ReLU6 is written straight into the padded grid that the next convolution needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from torch import nn
from torch.nn import functional

from sst_retrieval.nets.lite0 import Conv2dSame

RELU6_MAX = 6.0


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution with a bias, and whether ReLU6 follows.

    Attributes:
        weight: float32 (out, in / groups, k, k); (in, out) for a 1 x 1 convolution.
        bias: float32 (out,).
        stride, groups: as PyTorch's.
        padding: cells on every side; None for TensorFlow's "same", which depends on the grid (see `same_padding`).
        relu6: whether ReLU6 follows.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    stride: int
    groups: int
    padding: int | None
    relu6: bool

    def __call__(self, grid: torch.Tensor) -> torch.Tensor:
        """Convolve a grid, float32 (N, in, h, w), to which "same" padding has been added already."""
        if self.weight.dim() > 2:
            return torch.conv2d(grid, self.weight, self.bias, self.stride, self.padding or 0, 1, self.groups)
        count, depth, height, width = grid.shape
        cells = grid.permute(0, 2, 3, 1).reshape(-1, depth)
        return torch.addmm(self.bias, cells, self.weight).reshape(count, height, width, -1).permute(0, 3, 1, 2)

    def same_padding(self, length: int) -> tuple[int, int]:
        """Return how many cells TensorFlow's "same" padding adds before and after this many; 0 if padding is fixed."""
        if self.padding is not None:
            return 0, 0
        covered = (-(-length // self.stride) - 1) * self.stride + self.weight.shape[-1]
        missing = max(covered - length, 0)
        return missing // 2, missing - missing // 2


@dataclass(frozen=True, slots=True)
class Block:
    """Convolutions one after the other; with `skip`, the input is added to the output (a residual block)."""

    convolutions: tuple[Convolution, ...]
    skip: bool = False


def read_block(*modules: nn.Module, skip: bool = False) -> Block:
    """Read the convolutions among some modules, in order, with the activation that follows each.

    Raises:
        ValueError: a module is neither a convolution with a bias, nor ReLU6, nor the identity.
    """
    convolutions: list[Convolution] = []
    for module in modules:
        if isinstance(module, nn.Conv2d) and module.bias is not None and module.dilation == (1, 1):
            padding = None if isinstance(module, Conv2dSame) else int(module.padding[0])
            weight, bias = module.weight.detach(), module.bias.detach()
            if module.kernel_size == module.stride == (1, 1) and module.groups == 1:
                weight = weight.flatten(1).T.contiguous()
            convolutions.append(Convolution(weight, bias, module.stride[0], module.groups, padding, relu6=False))
        elif isinstance(module, nn.ReLU6):
            convolutions.append(replace(convolutions.pop(), relu6=True))
        elif not isinstance(module, nn.Identity):
            raise ValueError(f"a module of this kind is not known: {module}")
    return Block(tuple(convolutions), skip)


def run_block(block: Block, grid: torch.Tensor) -> torch.Tensor:
    """Run a block on a grid: float32 (N, in, h, w) to (N, out, h / stride, w / stride)."""
    first, *others = block.convolutions
    output = functional.pad(grid, (*first.same_padding(grid.shape[-1]), *first.same_padding(grid.shape[-2])))
    for convolution, following in zip_longest(block.convolutions, others):
        output = convolution(output)
        if convolution.relu6:
            output = _apply_relu6(output, following)
    return output.add_(grid) if block.skip else output


def _apply_relu6(grid: torch.Tensor, following: Convolution | None) -> torch.Tensor:
    """Apply ReLU6, and add the padding that the next convolution needs."""
    if following is None or following.padding is not None:
        return grid.clamp_(0, RELU6_MAX)
    count, depth, height, width = grid.shape
    (above, below), (before, behind) = following.same_padding(height), following.same_padding(width)
    size = (count, depth, above + height + below, before + width + behind)
    padded = torch.empty(size, dtype=grid.dtype, device=grid.device, memory_format=torch.channels_last)
    for edge in (padded[:, :, :above], padded[:, :, above + height :]):
        edge.zero_()
    for edge in (padded[..., :before], padded[..., before + width :]):
        edge.zero_()
    torch.clamp(grid, 0, RELU6_MAX, out=padded[:, :, above : above + height, before : before + width])
    return padded
