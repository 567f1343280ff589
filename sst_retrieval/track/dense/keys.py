"""Keys: learnt descriptors of grid cells by which labels are transferred a second time.

The trunk's features were learnt on everyday photographs. A small network, trained on labelled specimens, maps them to
short keys, so that a trait has similar keys on two specimens and a leg's key differs from an antenna's. Cells then vote
as in `track.dense.matching`, with a window almost four times as wide, since an antenna may lie anywhere near a head. As
the keys of a space-time memory network (Oh et al. 2019, arXiv 1904.00607); trained together with the decoder, whose
weights file holds the keys' weights too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from sst_retrieval.track.dense.matching import MatchSettings, Votes, compute_cell_centres

TARGET_CHANNELS = (16, 24, 32, 48)
"""Channels of the feature maps at each scale, finest first."""

LEVEL_CHANNELS = (24, 40, 112)
"""Channels of the trunk's levels (strides 4, 8, 16), which join at the second to fourth scale."""

COLOUR_CHANNELS = 3
KEY_CHANNELS = 32
ChannelStatistics: TypeAlias = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Mean and standard deviation of every channel, level by level: float32 (C, 1, 1)."""

KEY_MATCH = MatchSettings(window=0.15, position_cost=0.0, temperature=1.0)
"""How keys are compared. They contain their position, and their length sets the temperature. A window of 0.1 finds 0.02
less of legs and antennae, one of 0.2 hardly more than this, for twice the work."""


class KeyVotes(NamedTuple):
    """The result of a vote by keys.

    Attributes:
        shares: float32 (1 + T, G / 2, G / 2), shares of the votes for "no trait" and each trait.
        distance: float32 (G / 2, G / 2), squared distance to the best key.
    """

    shares: torch.Tensor
    distance: torch.Tensor


def build_block(inputs: int, outputs: int, *, normalised: bool = True, groups: int = 4) -> nn.Sequential:
    """Build a 3 x 3 convolution, perhaps group normalisation, and ReLU.

    Args:
        inputs, outputs: channels.
        normalised: whether group normalisation replaces the convolution's bias.
        groups: of the normalisation.
    """
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not normalised)
    middle = [nn.GroupNorm(groups, outputs)] if normalised else []
    return nn.Sequential(convolution, *middle, nn.ReLU(inplace=True))


def apply_to_parts(block: nn.Module, *parts: torch.Tensor) -> torch.Tensor:
    """Apply a block of `build_block` to the concatenation of some parts without concatenating them.

    A convolution of concatenated parts is the sum of the parts' convolutions; so what all traits share is computed
    once, and nothing is copied.

    Args:
        block: from `build_block`.
        parts: float32 (T, C, h, w) each, or (1, C, h, w) where all traits share it.

    Returns:
        float32 (T, outputs, h, w).
    """
    convolution, *rest = block.children()
    assert isinstance(convolution, nn.Conv2d)
    weights = convolution.weight.split([part.shape[1] for part in parts], dim=1)
    total = functional.conv2d(parts[0], weights[0], convolution.bias, padding=1)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total += functional.conv2d(part, weight, padding=1)
    for layer in rest:
        total = layer(total)
    return total


class KeyNetwork(nn.Module):
    """Computes a key for every cell of stride 4: a linear projection of the features plus a small U-Net's correction.

    The modules keep the names under which the trained weights are stored: `straight` is the linear projection,
    `entries`, `around` and `finer` are the U-Net's lateral connections, deepest blocks and upward path, `key` its
    output, `place` the weight of the position.
    """

    def __init__(self) -> None:
        """Build the network, untrained."""
        super().__init__()
        counts = (*LEVEL_CHANNELS, COLOUR_CHANNELS)
        self.straight = nn.ModuleList(nn.Conv2d(count, KEY_CHANNELS, 1, bias=False) for count in counts)
        lateral = zip(counts, (*TARGET_CHANNELS[1:], TARGET_CHANNELS[0]), strict=True)
        self.entries = nn.ModuleList(nn.Conv2d(count, width, 1) for count, width in lateral)
        self.around = nn.Sequential(
            build_block(TARGET_CHANNELS[3], TARGET_CHANNELS[3], normalised=False),
            build_block(TARGET_CHANNELS[3], TARGET_CHANNELS[3], normalised=False),
        )
        widths = (TARGET_CHANNELS[1] + TARGET_CHANNELS[2] + TARGET_CHANNELS[0], TARGET_CHANNELS[2] + TARGET_CHANNELS[3])
        self.finer = nn.ModuleList(
            build_block(width, outputs, normalised=False)
            for width, outputs in zip(widths, TARGET_CHANNELS[1:3], strict=True)
        )
        self.key = nn.Conv2d(TARGET_CHANNELS[1], KEY_CHANNELS, 1)
        self.place = nn.Parameter(torch.tensor(8.0))

    def forward(
        self,
        levels: Sequence[torch.Tensor],
        colours: torch.Tensor,
        statistics: ChannelStatistics,
    ) -> torch.Tensor:
        """Compute the keys of a view.

        Args:
            levels: the trunk's levels of strides 4, 8 and 16, float32 (C, h, w).
            colours: float32 (COLOUR_CHANNELS, G / 2, G / 2), see `track.dense.matching.compute_cell_colours`.
            statistics: mean and standard deviation of each level on the group's first support, see
                `compute_channel_statistics`.

        Returns:
            float32 (KEY_CHANNELS, G / 2, G / 2).
        """
        standard = [((level - mean) / spread)[None] for level, (mean, spread) in zip(levels, statistics, strict=True)]
        inputs = [*standard, colours[None]]
        lateral = [torch.relu(entry(each)) for entry, each in zip(self.entries, inputs, strict=True)]
        up = upsample(self.around(lateral[2]))
        up = upsample(self.finer[1](torch.cat([lateral[1], up], dim=1)))
        correction = self.key(self.finer[0](torch.cat([lateral[0], lateral[3], up], dim=1)))
        unit = [*(functional.normalize(level, dim=1) for level in standard), colours[None]]
        flat = [project(each) for project, each in zip(self.straight, unit, strict=True)]
        linear = flat[0] + flat[3] + upsample(flat[1] + upsample(flat[2]))
        keys: torch.Tensor = (4 * linear + correction)[0]
        return keys

    def append_positions(self, keys: torch.Tensor) -> torch.Tensor:
        """Append the position of each cell, so that near cells are more similar: (KEY_CHANNELS + 2, G / 2, G / 2)."""
        places = compute_cell_centres(keys.shape[-1]).to(keys.device).T.reshape(2, *keys.shape[1:])
        return torch.cat([keys, self.place * places])


def compute_channel_statistics(levels: Sequence[torch.Tensor]) -> ChannelStatistics:
    """Compute mean and standard deviation of every channel of every level: pairs of float32 (C, 1, 1)."""
    return [(level.mean((1, 2), keepdim=True), level.std((1, 2), keepdim=True) + 1e-3) for level in levels]


def vote_by_keys(
    network: KeyNetwork,
    target: torch.Tensor,
    supports: Sequence[tuple[torch.Tensor, torch.Tensor]],
    region: torch.Tensor | None = None,
) -> KeyVotes:
    """Transfer the labels of supports to every cell of a target by the similarity of keys.

    Args:
        network: the one that computed the keys.
        target: float32 (KEY_CHANNELS, G / 2, G / 2).
        supports: keys and labels, float32 (KEY_CHANNELS, G / 2, G / 2) and (1 + T, G / 2, G / 2), warped to the target.
        region: bool (G / 2, G / 2), cells near which votes are wanted; None for all cells with a label.
    """
    labelled = torch.stack([labels[1:].amax(0) > 0 for _, labels in supports]).any(0)
    votes = Votes(network.append_positions(target), labelled if region is None else labelled & region, KEY_MATCH)
    for keys, labels in supports:
        votes.add(network.append_positions(keys), labels)
    return KeyVotes(*votes.result())


def upsample(grid: torch.Tensor) -> torch.Tensor:
    """Double the resolution bilinearly: float32 (N, C, h, w) to (N, C, 2 h, 2 w)."""
    return functional.interpolate(grid, scale_factor=2, mode="bilinear", align_corners=False)


def downsample(grid: torch.Tensor) -> torch.Tensor:
    """Halve the resolution, by the mean of two by two cells: float32 (..., 2 h, 2 w) to (..., h, w).

    As `avg_pool2d`, which takes four times as long.
    """
    pairs = grid[..., ::2, :] + grid[..., 1::2, :]
    return (pairs[..., ::2] + pairs[..., 1::2]) * 0.25
