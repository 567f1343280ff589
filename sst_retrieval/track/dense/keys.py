"""Keys: what of a network's features tells one trait from another, learnt on labelled specimens.

The trunk's features come from everyday photographs. A small network turns them into short keys, so that the same trait
of two specimens has like keys and a leg's key is unlike an antenna's. Cells then vote as in the matching, but may look
much farther. Like the keys of a space-time memory network (Oh et al. 2019, arXiv 1904.00607); trained with the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import nn
from torch.nn import functional

from sst_retrieval.track.dense.matching import MatchSettings, Votes, compute_cell_centres

SEEN = (16, 24, 32, 48)
"""Channels of the target at each scale, computed once for all traits."""

FEATURES = (24, 40, 112)
"""Channels of the trunk's levels that join at the second to fourth scale."""

COLOURS = 3
KEY = 32  # Numbers of a key.
Spreads: TypeAlias = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Mean and spread of every channel, level by level: float32 (C, 1, 1)."""

REACH = MatchSettings(window=0.1, position_cost=0.0, temperature=1.0)
"""How far keys are compared. Keys hold their place themselves and are as long as they are choosy."""


def block(inside: int, outside: int, *, normalised: bool = True) -> nn.Sequential:
    """Convolve, perhaps normalise, rectify."""
    convolution = nn.Conv2d(inside, outside, 3, padding=1, bias=not normalised)
    middle = [nn.GroupNorm(4, outside)] if normalised else []
    return nn.Sequential(convolution, *middle, nn.ReLU(inplace=True))


def at_once(step: nn.Module, *parts: torch.Tensor) -> torch.Tensor:
    """Send parts through a `block` as if they were joined along the channels.

    Each is float32 (T, C, ., .), or (1, C, ., .) where all traits share it. A convolution of joined parts is the sum of
    the parts' convolutions; so what all traits share is worked out once, and nothing is copied to join it.
    """
    convolution, *rest = step.children()
    assert isinstance(convolution, nn.Conv2d)
    weights = convolution.weight.split([part.shape[1] for part in parts], dim=1)
    total = functional.conv2d(parts[0], weights[0], convolution.bias, padding=1)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total = total + functional.conv2d(part, weight, padding=1)
    for each in rest:
        total = each(total)
    return total


class Keys(nn.Module):
    """Describes every cell of stride 4 so that the same trait of two specimens is described alike.

    Like the keys of a space-time memory network (Oh et al. 2019, arXiv 1904.00607). The features were learnt on
    everyday photographs; what of them tells an antenna from a leg is learnt here.
    """

    def __init__(self) -> None:
        """Build the network, untrained."""
        super().__init__()
        self.straight = nn.ModuleList(nn.Conv2d(count, KEY, 1, bias=False) for count in (*FEATURES, COLOURS))
        entering = zip((*FEATURES, COLOURS), (*SEEN[1:], SEEN[0]), strict=True)
        self.entries = nn.ModuleList(nn.Conv2d(count, width, 1) for count, width in entering)
        self.around = nn.Sequential(
            block(SEEN[3], SEEN[3], normalised=False), block(SEEN[3], SEEN[3], normalised=False)
        )
        widths = (SEEN[1] + SEEN[2] + SEEN[0], SEEN[2] + SEEN[3])
        self.finer = nn.ModuleList(
            block(width, wanted, normalised=False) for width, wanted in zip(widths, SEEN[1:3], strict=True)
        )
        self.key = nn.Conv2d(SEEN[1], KEY, 1)
        self.place = nn.Parameter(torch.tensor(8.0))

    def forward(
        self,
        levels: Sequence[torch.Tensor],
        colours: torch.Tensor,
        like: Spreads,
    ) -> torch.Tensor:
        """Describe a view.

        Args:
            levels: the trunk's levels of strides 4, 8 and 16, float32 (C, ., .).
            colours: float32 (COLOURS, G / 2, G / 2), see `track.dense.matching.compute_cell_colours`.
            like: mean and spread of each level on the support, see `spreads`.

        Returns:
            float32 (KEY, G / 2, G / 2).
        """
        evened = [((level - mean) / spread)[None] for level, (mean, spread) in zip(levels, like, strict=True)]
        seen = [*evened, colours[None]]
        entered = [torch.relu(entry(each)) for entry, each in zip(self.entries, seen, strict=True)]
        up = doubled(self.around(entered[2]))
        up = doubled(self.finer[1](torch.cat([entered[1], up], dim=1)))
        around = self.key(self.finer[0](torch.cat([entered[0], entered[3], up], dim=1)))
        plain = [*(functional.normalize(level, dim=1) for level in evened), colours[None]]
        flat = [turn(each) for turn, each in zip(self.straight, plain, strict=True)]
        straight = flat[0] + flat[3] + doubled(flat[1] + doubled(flat[2]))
        answer: torch.Tensor = (4 * straight + around)[0]
        return answer

    def placed(self, keys: torch.Tensor) -> torch.Tensor:
        """Append where each cell lies, so that near cells are more alike than far ones: (KEY + 2, G / 2, G / 2)."""
        places = compute_cell_centres(keys.shape[-1]).to(keys.device).T.reshape(2, *keys.shape[1:])
        return torch.cat([keys, self.place * places])


def spreads(levels: Sequence[torch.Tensor]) -> Spreads:
    """Mean and spread of every channel of every level: pairs of float32 (C, 1, 1)."""
    return [(level.mean((1, 2), keepdim=True), level.std((1, 2), keepdim=True) + 1e-3) for level in levels]


def recall(
    keys: Keys,
    target: torch.Tensor,
    supports: Sequence[tuple[torch.Tensor, torch.Tensor]],
    wanted: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Let supports vote on every cell of a target by their keys.

    Args:
        keys: the network that made the keys.
        target: float32 (KEY, G / 2, G / 2).
        supports: keys and labels, float32 (KEY, G / 2, G / 2) and (1 + T, G / 2, G / 2), in the target's proportions.
        wanted: bool (G / 2, G / 2), places near which votes are wanted; None for all places with a label.

    Returns:
        float32 (1 + T, G / 2, G / 2), shares of the votes for "no trait" and each trait; float32 (G / 2, G / 2), the
        squared distance to the best key.
    """
    labelled = torch.stack([labels[1:].amax(0) > 0 for _, labels in supports]).any(0)
    votes = Votes(keys.placed(target), labelled if wanted is None else labelled & wanted, REACH)
    for one, labels in supports:
        votes.add(keys.placed(one), labels)
    return votes.result()


def doubled(grid: torch.Tensor) -> torch.Tensor:
    """Twice as fine: float32 (N, C, h, w) to (N, C, 2 h, 2 w)."""
    return functional.interpolate(grid, scale_factor=2, mode="bilinear", align_corners=False)
