"""Is a trait present at all? Twelve features of its mask and matches, and a small network that classifies them.

Every cell of a target has a best match on the support, so a mask can be predicted where the trait is torn off, too.
What distinguishes an absent trait: its mask is small, what lies under the mask (and where the trait should lie) matches
worse than the specimen's other traits do, and its votes are few. These features are relative to the specimen itself and
mean the same for every trait and animal; the network has a hundred-odd weights (`scripts/train_presence.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from sst_retrieval.track.dense.keys import downsample

PRESENCE_FEATURES = 12
LIMIT = 4.0  # Standard deviations to which a feature is clipped.


@dataclass(frozen=True, slots=True)
class PresenceInputs:
    """What the presence features of one target are computed from.

    Attributes:
        masks: float32 (T, 2 G, 2 G), 0..1, the predicted masks.
        warped_masks: float32 (T, G, G), 0..1, the supports' masks warped to the target: where the traits should lie.
        votes: float32 (T, G, G), shares of the matching's votes.
        distance: float32 (G, G), squared descriptor distance to the best match.
        key_shares: float32 (T, G / 2, G / 2), shares of the votes by keys.
        key_distance: float32 (G / 2, G / 2), squared distance to the best key, clipped and scaled to 0..1.
    """

    masks: torch.Tensor
    warped_masks: torch.Tensor
    votes: torch.Tensor
    distance: torch.Tensor
    key_shares: torch.Tensor
    key_distance: torch.Tensor


def compute_presence_features(inputs: PresenceInputs) -> torch.Tensor:
    """Compute the features of each trait: float32 (T, PRESENCE_FEATURES)."""
    fine = downsample(inputs.masks)
    coarse, warped = downsample(fine), downsample(inputs.warped_masks)
    key_shares = functional.interpolate(inputs.key_shares[None], size=fine.shape[1:], mode="bilinear")[0]
    features = [
        ((_sum(fine) + 4) / (_sum(inputs.warped_masks) + 4)).log(),
        _mean_under(inputs.distance, fine),
        _mean_under(inputs.distance, _join_others(fine)),
        _mean_under(inputs.key_distance, coarse),
        _mean_under(inputs.key_distance, _join_others(coarse)),
        _mean_under(inputs.distance, inputs.warped_masks),
        _mean_under(inputs.key_distance, warped),
        _mean_under((inputs.votes + key_shares) / 2, inputs.warped_masks),
        _mean_under(fine, inputs.warped_masks),
        (_sum(inputs.warped_masks) + 1).log(),
        _mean_under(inputs.votes, fine),
        _mean_under(inputs.key_shares, coarse),
    ]
    return torch.stack(features, dim=1)


class PresenceNetwork(nn.Module):
    """Classifies presence features: a multilayer perceptron with one hidden layer. Untrained: all are present."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self) -> None:
        """Build the network."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(PRESENCE_FEATURES))
        self.register_buffer("spread", torch.ones(PRESENCE_FEATURES))
        self.hidden, self.answer = nn.Linear(PRESENCE_FEATURES, 8), nn.Linear(8, 1)
        nn.init.zeros_(self.answer.weight)
        nn.init.constant_(self.answer.bias, 4.0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Classify features, float32 (T, PRESENCE_FEATURES): logits of the traits' presence, float32 (T,)."""
        standard = ((features - self.mean) / self.spread).clamp(-LIMIT, LIMIT)
        logits: torch.Tensor = self.answer(torch.tanh(self.hidden(standard)))
        return logits[:, 0]


def _join_others(masks: torch.Tensor) -> torch.Tensor:
    """Return the union of all other traits' masks, trait by trait; of a single trait its own: as `masks`."""
    if len(masks) == 1:
        return masks
    first, second = torch.maximum(masks[0], masks[1]), torch.minimum(masks[0], masks[1])
    for mask in masks[2:]:
        second = torch.maximum(second, torch.minimum(first, mask))
        first = torch.maximum(first, mask)
    return torch.where(masks == first, second, first)


def _mean_under(grid: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the mean of a grid under each mask: float32 (T,); near 0 where there is hardly a mask."""
    return _sum(grid * masks) / (_sum(masks) + 0.5)


def _sum(masks: torch.Tensor) -> torch.Tensor:
    return masks.sum((1, 2))
