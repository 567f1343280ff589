"""Convolution blocks of EfficientNet-lite run by oneDNN, with what follows a convolution done in the same pass.

`nets.blocks` runs a block on any device. On a processor of the x86 family oneDNN, which comes inside PyTorch, is faster
still: features differ by rounding only, a millionth of their largest value.

1. ReLU6 and the sum of a residual block are applied to an output while it is in the processor's registers.
2. Weights are brought into the order that oneDNN wants for a size of images, once for that size.
3. TensorFlow's "same" padding adds more cells after a grid than before it; oneDNN adds as many. A kernel with a first
   row and column of zeros makes up for it, so that nothing is copied.

These are the operators to which `torch.compile` reduces such a network; called by name, no compiler is needed.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from sst_retrieval.nets.blocks import RELU6_MAX, Block, Convolution

X86 = ("x86_64", "AMD64")
"""Names of processors on which this was measured and found faster."""

KEPT_SIZES = 8
"""Sizes of images whose ordered weights are kept, 14 MB each; a build has seven."""

TOGETHER = 4
"""Images that go through the network at once, where the result has the same bits: small ones take up to two fifths
less time, because the weights are read once for all."""

SMALL = 256
"""Longest edge, in pixels, of images that are faster together; of larger ones the features leave the cache."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A convolution whose weights are ordered for a size of its input.

    Attributes:
        weight: in oneDNN's own order.
        bias: float32 (out,).
        padding: rows and columns of zeros on every side.
        stride, groups: as PyTorch's.
        relu6: whether ReLU6 follows.
        sums: whether the block's input is added to the output.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    padding: tuple[int, int]
    stride: int
    groups: int
    relu6: bool
    sums: bool

    def __call__(self, grid: torch.Tensor, block_input: torch.Tensor) -> torch.Tensor:
        """Convolve a grid, float32 (N, in, h, w)."""
        where = (self.padding, (self.stride, self.stride), (1, 1), self.groups)
        if self.sums:
            summed: torch.Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
                *(grid, block_input, self.weight, self.bias, *where), "add", 1.0, None, [], None
            )
            return summed
        name, limits = ("hardtanh", [0.0, RELU6_MAX]) if self.relu6 else ("none", [])
        output: torch.Tensor = torch.ops.mkldnn._convolution_pointwise.default(
            *(grid, self.weight, self.bias, *where), name, limits, ""
        )
        return output


class FusedBlocks:
    """Blocks of a network, level by level. Several threads may run it."""

    def __init__(self, levels: Sequence[Sequence[Block]]) -> None:
        """Take the blocks that lead to each level, on the processor."""
        self._levels = levels
        self._plan = functools.lru_cache(maxsize=KEPT_SIZES)(self._make_plan)
        self._has_same_bits = functools.lru_cache(maxsize=KEPT_SIZES * TOGETHER)(self._compare_bits)

    def count_together(self, count: int, size: tuple[int, int]) -> int:
        """Count how many of some images may go through the network at once, with the bits that each has alone.

        Args:
            count: of the images.
            size: their height and width.

        Returns:
            1 to `TOGETHER`. oneDNN computes the images of a batch one by one on the processors that were tried; on one
            on which it did not, this would be 1.
        """
        if max(size) > SMALL:
            return 1
        threads = torch.get_num_threads()  # oneDNN divides its work by it.
        return next(
            (most for most in range(min(count, TOGETHER), 1, -1) if self._has_same_bits(most, size, threads)), 1
        )

    @torch.inference_mode()
    def run(self, grid: torch.Tensor, deepest: int) -> list[torch.Tensor]:
        """Run the network up to a level: float32 (N, in, h, w), channels last, to the output of each level."""
        found: list[torch.Tensor] = []
        # The order of weights for one image is that for several.
        for level in self._plan((grid.shape[2], grid.shape[3]), deepest):
            for steps in level:
                block_input = grid
                for step in steps:
                    grid = step(grid, block_input)
            found.append(grid)
        return found

    def _compare_bits(self, count: int, size: tuple[int, int], threads: int) -> bool:
        """Say whether so many images of noise have the same features together and one by one, to the bit.

        `threads` says for which of this thread's settings the answer is kept.
        """
        depth = self._levels[0][0].convolutions[0].weight.shape[1]
        noise = torch.randn((count, depth, *size), generator=torch.Generator().manual_seed(0))
        noise = noise.contiguous(memory_format=torch.channels_last)
        together = self.run(noise, len(self._levels))
        alone = [self.run(one, len(self._levels)) for one in noise.split(1)]
        return all(torch.equal(level, torch.cat(each)) for level, *each in zip(together, *alone, strict=True))

    def _make_plan(self, size: tuple[int, int], deepest: int) -> list[list[list[_Step]]]:
        """Order the weights for images of a size: (height, width)."""
        height, width = size
        plan: list[list[list[_Step]]] = []
        for level in self._levels[:deepest]:
            plan.append([])
            for block in level:
                steps: list[_Step] = []
                for convolution in block.convolutions:
                    last = len(steps) == len(block.convolutions) - 1
                    steps.append(_order_weights(convolution, (height, width), sums=block.skip and last))
                    height, width = (-(-length // convolution.stride) for length in (height, width))
                plan[-1].append(steps)
        return plan


def can_fuse(device: torch.device) -> bool:
    """Say whether networks on a device can be run by `FusedBlocks`."""
    return device.type == "cpu" and platform.machine() in X86 and torch.backends.mkldnn.is_available()


@torch.inference_mode()
def _order_weights(convolution: Convolution, size: tuple[int, int], *, sums: bool) -> _Step:
    """Order the weights of a convolution for inputs of a size: (height, width)."""
    weight = convolution.weight if convolution.weight.dim() > 2 else convolution.weight.T[..., None, None]
    (above, below), (before, behind) = (convolution.same_padding(length) for length in size)
    if convolution.padding is None:
        assert 0 <= below - above <= 1
        assert 0 <= behind - before <= 1
        weight = functional.pad(weight, (behind - before, 0, below - above, 0))
    padding = (below, behind) if convolution.padding is None else (convolution.padding, convolution.padding)
    stride = (convolution.stride, convolution.stride)
    depth = weight.shape[1] * convolution.groups
    ordered = torch.ops.mkldnn._reorder_convolution_weight(
        *(weight.contiguous(memory_format=torch.channels_last), padding, stride, (1, 1), convolution.groups),
        (1, depth, *size),
    )
    return _Step(ordered, convolution.bias, padding, stride[0], convolution.groups, convolution.relu6, sums)
