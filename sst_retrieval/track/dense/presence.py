"""Is a trait there at all? What tells a lost trait from one that is hard to see, and a small network that weighs it.

Every place of a target has a best match on the support, so a mask can be drawn where the trait is torn off, too. What
gives it away: the mask is small for the trait, what lies under it (and where the trait should lie) matches worse than
the specimen's other traits do, and its votes are thin. These signs are relative to the specimen itself and mean the
same for every trait and animal; the network that weighs them has a hundred-odd weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

SIGNS = 12
LIMIT = 4.0  # Standard deviations beyond which a sign says no more.


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of the traits of one target.

    Attributes:
        masks: float32 (T, 2 G, 2 G), 0..1, the masks that were drawn.
        bent: float32 (T, G, G), 0..1, the supports' masks in the target's proportions: where the traits should lie.
        votes: float32 (T, G, G), shares of the matching's votes.
        distance: float32 (G, G), squared feature distance to the best match.
        recalled: float32 (T, G / 2, G / 2), shares of the votes by keys.
        far: float32 (G / 2, G / 2), distance to the best key.
    """

    masks: torch.Tensor
    bent: torch.Tensor
    votes: torch.Tensor
    distance: torch.Tensor
    recalled: torch.Tensor
    far: torch.Tensor


def signs(seen: Evidence) -> torch.Tensor:
    """Sum up what speaks for and against each trait's being there: float32 (T, SIGNS)."""
    fine, coarse = functional.avg_pool2d(seen.masks, 2), functional.avg_pool2d(seen.masks, 4)
    bent = functional.avg_pool2d(seen.bent, 2)
    keyed = functional.interpolate(seen.recalled[None], size=fine.shape[1:], mode="bilinear")[0]
    numbers = [
        ((_sum(fine) + 4) / (_sum(seen.bent) + 4)).log(),
        _under(seen.distance, fine),
        _under(seen.distance, _of_others(fine)),
        _under(seen.far, coarse),
        _under(seen.far, _of_others(coarse)),
        _under(seen.distance, seen.bent),
        _under(seen.far, bent),
        _under((seen.votes + keyed) / 2, seen.bent),
        _under(fine, seen.bent),
        (_sum(seen.bent) + 1).log(),
        _under(seen.votes, fine),
        _under(seen.recalled, coarse),
    ]
    return torch.stack(numbers, dim=1)


class Presence(nn.Module):
    """Weighs the signs. Untrained, it holds every trait for present."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self) -> None:
        """Build the network."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(SIGNS))
        self.register_buffer("spread", torch.ones(SIGNS))
        self.hidden, self.answer = nn.Linear(SIGNS, 8), nn.Linear(8, 1)
        nn.init.zeros_(self.answer.weight)
        nn.init.constant_(self.answer.bias, 4.0)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Weigh signs, float32 (T, SIGNS): logits of the traits' being there, float32 (T,)."""
        standard = ((numbers - self.mean) / self.spread).clamp(-LIMIT, LIMIT)
        weighed: torch.Tensor = self.answer(torch.tanh(self.hidden(standard)))
        return weighed[:, 0]


def _of_others(masks: torch.Tensor) -> torch.Tensor:
    """The union of all other traits' masks, trait by trait; of a single trait its own: as `masks`."""
    if len(masks) == 1:
        return masks
    first, second = masks.topk(2, dim=0).values
    return torch.where(masks == first, second, first)


def _under(grid: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Mean of a grid under each mask: float32 (T,); near 0 where there is hardly a mask."""
    return _sum(grid * masks) / (_sum(masks) + 0.5)


def _sum(masks: torch.Tensor) -> torch.Tensor:
    return masks.sum((1, 2))
