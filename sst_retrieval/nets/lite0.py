"""EfficientNet-lite0 (Tan and Le 2019, arXiv 1905.11946) as a PyTorch module with the names and order of timm's.

Names matter: checkpoints of the small SAM 2 hold them, and the ImageNet weights are matched by the order of the
tensors. The lite variant has no squeeze-and-excitation and uses ReLU6. Convolutions of stride 2 pad as TensorFlow does.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-3
"""Of batch normalisation, as TensorFlow has it."""

STEM = 32
HEAD = 1280
CLASSES = 1000

_STAGES = (
    # channels, blocks, kernel, stride, expansion
    (16, 1, 3, 1, 1),
    (24, 2, 3, 2, 6),
    (40, 2, 5, 2, 6),
    (80, 3, 3, 2, 6),
    (112, 3, 5, 1, 6),
    (192, 4, 5, 2, 6),
    (320, 1, 3, 1, 6),
)

LAST_OF_LEVEL = (0, 1, 2, 4, 6)
"""The stages that end a feature level: those before the grid gets coarser, and the last."""


class Conv2dSame(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: as many cells as the grid needs, the odd one after it."""

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """Pad and convolve a grid, float32 (N, in, h, w), to (N, out, ceil(h / stride), ceil(w / stride))."""
        padding: list[int] = []
        for length, kernel, stride in zip(
            grid.shape[:-3:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):  # Width first, as `pad` wants it.
            missing = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            padding += [missing // 2, missing - missing // 2]
        return torch.conv2d(functional.pad(grid, padding), self.weight, self.bias, self.stride, 0, 1, self.groups)


class NormAct(nn.BatchNorm2d):
    """Batch normalisation, and what follows it: ReLU6 or nothing."""

    def __init__(self, channels: int, act: nn.Module) -> None:
        """Take the number of channels and the activation."""
        super().__init__(channels, eps=EPSILON)
        self.act = act

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """Normalise and activate a grid, float32 (N, channels, h, w)."""
        activated: torch.Tensor = self.act(super().forward(grid))
        return activated


class DepthwiseBlock(nn.Module):
    """The block of the first stage: a depthwise convolution, then a pointwise one."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        """Take the number of channels before and after, and size and stride of the depthwise kernel."""
        super().__init__()
        self.has_skip = stride == 1 and channels == out
        self.conv_dw = _convolution(channels, channels, kernel, stride, channels)
        self.bn1 = NormAct(channels, nn.ReLU6())
        self.conv_pw = _convolution(channels, out, 1)
        self.bn2 = NormAct(out, nn.Identity())

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """Compute float32 (N, out, ceil(h / stride), ceil(w / stride)) from (N, channels, h, w)."""
        out: torch.Tensor = self.bn2(self.conv_pw(self.bn1(self.conv_dw(grid))))
        return out + grid if self.has_skip else out


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018): expand, convolve depthwise, project."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        """Take the number of channels before and after, the depthwise kernel, and how much wider it is in between."""
        super().__init__()
        wide = channels * expansion
        self.has_skip = stride == 1 and channels == out
        self.conv_pw = _convolution(channels, wide, 1)
        self.bn1 = NormAct(wide, nn.ReLU6())
        self.conv_dw = _convolution(wide, wide, kernel, stride, wide)
        self.bn2 = NormAct(wide, nn.ReLU6())
        self.conv_pwl = _convolution(wide, out, 1)
        self.bn3 = NormAct(out, nn.Identity())

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """Compute float32 (N, out, ceil(h / stride), ceil(w / stride)) from (N, channels, h, w)."""
        inner = self.bn2(self.conv_dw(self.bn1(self.conv_pw(grid))))
        out: torch.Tensor = self.bn3(self.conv_pwl(inner))
        return out + grid if self.has_skip else out


class EfficientNetLite0(nn.Module):
    """The whole network, so that a file of its weights fits tensor by tensor. Weights are random at first."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.conv_stem = _convolution(3, STEM, 3, 2)
        self.bn1 = NormAct(STEM, nn.ReLU6())
        stages, channels = [], STEM
        for out, count, kernel, first_stride, expansion in _STAGES:
            blocks: list[nn.Module] = []
            for number in range(count):
                stride = first_stride if number == 0 else 1
                if expansion == 1:
                    blocks.append(DepthwiseBlock(channels, out, kernel, stride))
                else:
                    blocks.append(InvertedResidual(channels, out, kernel, stride, expansion))
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _convolution(channels, HEAD, 1)
        self.bn2 = NormAct(HEAD, nn.ReLU6())
        self.classifier = nn.Linear(HEAD, CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Classify images: float32 (N, 3, h, w), (value - 127) / 128, to (N, 1000) scores of ImageNet's classes."""
        grid = self.bn2(self.conv_head(self.blocks(self.bn1(self.conv_stem(pixels)))))
        scores: torch.Tensor = self.classifier(grid.mean((2, 3)))
        return scores


def _convolution(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Make a convolution without a bias; what stride 1 has to be padded by is the same for every grid."""
    if stride == 1:
        return nn.Conv2d(channels, out, kernel, 1, kernel // 2, groups=groups, bias=False)
    return Conv2dSame(channels, out, kernel, stride, 0, groups=groups, bias=False)
