"""A small network that turns votes into masks: it has learnt what the matching cannot know.

The dense propagator's votes say which trait a place of a target resembles on the support. They are good inside a trait
and poor at its rim, and they break legs and antennae into pieces. The decoder sees the votes of one trait, those of its
rivals, the support's own mask bent to the target's proportions, and the target's pixels and features. It answers with
the trait's mask at the full size of the view, with the IoU that it expects of that mask (as SAM's mask decoder does,
Kirillov et al. 2023, arXiv 2304.02643) and with how likely the trait is there at all (`presence.py`). It knows no trait
by name: every trait of every animal goes through the same weights.

A U-Net (Ronneberger et al. 2015) of four scales. What depends on the target alone is computed once for all traits.
`scripts/train_decoder.py` and `train_presence.py` trained it; decoder.json beside the weights says on what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from sst_retrieval.track.dense.keys import FEATURES, SEEN, Keys, at_once, block, doubled
from sst_retrieval.track.dense.presence import Evidence, Presence, signs
from sst_retrieval.types import Floats, RGBImage

WIDTHS = (8, 24, 48, 64)
"""Channels of a trait at each scale; each is half as fine as the one before, the first has cells of two pixels."""

TARGET = 14  # Channels of the target: four pixels' colours, how far its matches are, the share of "no trait".
TRAIT = 5  # Channels of a trait: its votes, its bent mask, a first mask by colour; its rivals' votes and bent masks.
RECALLED = 3  # Channels of a trait at the second scale: votes by keys, its rivals', how far the best key is.
COMPETING = (2, 3)  # Scales at which a trait hears of its rivals.


@dataclass(frozen=True, slots=True)
class Clues:
    """What the decoder is told about one target.

    Attributes:
        target: float32 (TARGET, G, G).
        traits: float32 (T, TRAIT, G, G).
        recalled: float32 (T, RECALLED, G / 2, G / 2).
        levels: float32 (FEATURES[l], G / 2, G / 2) and so on, the trunk's levels of the view.
        rivals: bool (T, T), which traits never share a pixel.
    """

    target: torch.Tensor
    traits: torch.Tensor
    recalled: torch.Tensor
    levels: tuple[torch.Tensor, ...]
    rivals: torch.Tensor


def clues(
    view: RGBImage,
    shares: Floats,
    distance: Floats,
    bent: Floats,
    first: Floats,
    rivals: npt.NDArray[np.bool_],
    levels: Sequence[torch.Tensor],
    votes: tuple[torch.Tensor, torch.Tensor],
) -> Clues:
    """Put together what the decoder is told.

    Args:
        view: uint8 (2 G, 2 G, 3).
        shares: float32 (1 + T, G, G), votes for "no trait" and for each trait.
        distance: float32 (G, G), squared feature distance to the best match.
        bent: float32 (T, G, G), the supports' masks in the target's proportions, 0..1.
        first: float32 (T, G, G), masks by votes and colours, above 0.5 where a trait wins.
        rivals: bool (T, T), which traits never share a pixel.
        levels: the trunk's levels of the view, of strides 4, 8 and 16, float32 (C, ., .).
        votes: from `recall`.
    """
    pixels = torch.from_numpy(view.copy()).permute(2, 0, 1).float() / 127.5 - 1
    target = torch.cat(
        [
            functional.pixel_unshuffle(pixels, 2),
            torch.from_numpy(np.minimum(distance, 2)[None] - 0.5),
            torch.from_numpy(shares[:1] - 0.5),
        ]
    )
    own = shares[1:]
    competing = torch.from_numpy(rivals)
    votes_of_rivals, bent_of_rivals = (strongest_rival(torch.from_numpy(each), competing) for each in (own, bent))
    alone = (torch.from_numpy(each) for each in (own, bent, np.clip(first, 0, 1)))
    traits = torch.stack([*alone, votes_of_rivals, bent_of_rivals], dim=1) - 0.5
    return Clues(target, traits, recalled(*votes, competing), tuple(levels), competing)


def recalled(shares: torch.Tensor, distance: torch.Tensor, rivals: torch.Tensor) -> torch.Tensor:
    """Arrange the votes by keys, float32 (1 + T, ., .) and (., .), as the decoder reads them: (T, RECALLED, ., .)."""
    own = shares[1:]
    far = (distance.clamp(max=20) / 20).expand_as(own)
    return torch.stack([own, strongest_rival(own, rivals), far], dim=1) - 0.5


def strongest_rival(stack: torch.Tensor, rivals: torch.Tensor) -> torch.Tensor:
    """The greatest value of any rival, trait by trait, 0 without rivals: as `stack`, float32 (T, ...)."""
    # One after the other: to gather them first, for one maximum, takes three times as long.
    competing = [[stack[other] for other in others.nonzero()[:, 0].tolist()] for others in rivals]
    nothing = torch.zeros_like(stack[0])
    return torch.stack([reduce(torch.maximum, others) if others else nothing for others in competing])


class Decoder(nn.Module):
    """See the top of this module."""

    def __init__(self) -> None:
        """Build the network; untrained, it answers with the first mask as it is."""
        super().__init__()
        scales = range(1, len(WIDTHS))
        self.keys = Keys()
        self.seen = nn.ModuleList([block(TARGET, SEEN[0], normalised=False)])
        self.joined = nn.ModuleList([block(TRAIT + SEEN[0], WIDTHS[0], normalised=False)])
        joining = zip(FEATURES, SEEN[1:], strict=True)
        self.features = nn.ModuleList(nn.Conv2d(count, width, 1) for count, width in joining)
        self.seen.extend(block(SEEN[scale - 1] + SEEN[scale], SEEN[scale]) for scale in scales)
        self.joined.extend(
            nn.Sequential(
                block(WIDTHS[scale - 1] + SEEN[scale] + (RECALLED if scale == 1 else 0), WIDTHS[scale]),
                block(WIDTHS[scale], WIDTHS[scale]),
            )
            for scale in scales
        )
        self.against = nn.ModuleList(nn.Conv2d(WIDTHS[scale], WIDTHS[scale], 1, bias=False) for scale in COMPETING)
        self.deep = nn.Sequential(block(WIDTHS[-1], WIDTHS[-1]), block(WIDTHS[-1], WIDTHS[-1]))
        self.narrowed = nn.ModuleList(nn.Conv2d(WIDTHS[scale], WIDTHS[scale - 1], 1) for scale in scales)
        self.raised = nn.ModuleList(
            [block(2 * WIDTHS[0] + SEEN[0], WIDTHS[0], normalised=False)]
            + [block(2 * WIDTHS[scale], WIDTHS[scale]) for scale in range(1, len(WIDTHS) - 1)]
        )
        self.pixels = nn.Conv2d(WIDTHS[0], 4, 3, padding=1)
        for tensor in [*self.pixels.parameters(), *self.against.parameters()]:
            nn.init.zeros_(tensor)
        self.quality = nn.Sequential(nn.Linear(2 * WIDTHS[-1] + WIDTHS[1] + 4, 64), nn.ReLU(), nn.Linear(64, 1))
        self.presence = Presence()

    def forward(self, clue: Clues) -> tuple[torch.Tensor, torch.Tensor]:
        """Make the masks of one target.

        Returns:
            float32 (T, 2 G, 2 G), logits of the masks; float32 (T, 2), logits of the expected IoU and of the trait's
            being there at all.
        """
        seen = self._see(clue)
        kept = [at_once(self.joined[0], clue.traits, seen[0])]
        for scale in range(1, len(WIDTHS)):
            recalled = [clue.recalled] if scale == 1 else []
            first, second = self.joined[scale].children()
            joined = second(at_once(first, functional.avg_pool2d(kept[-1], 2), seen[scale], *recalled))
            if scale in COMPETING:
                joined = joined + self.against[COMPETING.index(scale)](strongest_rival(joined, clue.rivals))
            kept.append(joined)
        deep = self.deep(kept[-1])
        up, middle = deep, deep
        for scale in reversed(range(len(WIDTHS) - 1)):
            finest = [seen[0]] if scale == 0 else []
            up = at_once(self.raised[scale], doubled(self.narrowed[scale](up)), kept[scale], *finest)
            middle = up if scale == 1 else middle
        logits = (functional.pixel_shuffle(self.pixels(up), 2) + doubled(4 * clue.traits[:, 2:3]))[:, 0]
        expected, there = self._expected(logits, deep, middle, clue), self.presence(signs(evidence(clue, logits)))
        return logits, torch.stack([expected, there], dim=1)

    def _see(self, clue: Clues) -> list[torch.Tensor]:
        """What depends on the target alone, scale by scale: float32 (1, SEEN[s], ., .)."""
        seen = [self.seen[0](clue.target[None])]
        for scale, level in enumerate(clue.levels):
            both = [functional.avg_pool2d(seen[-1], 2), self.features[scale](level[None])]
            seen.append(self.seen[scale + 1](torch.cat(both, dim=1)))
        return seen

    def _expected(self, logits: torch.Tensor, deep: torch.Tensor, middle: torch.Tensor, clue: Clues) -> torch.Tensor:
        """Judge the masks by what lies under them: float32 (T,), logits of the IoU.

        Gradients stop here: judging must not change what is judged.
        """
        soft = torch.sigmoid(logits.detach())[:, None]
        fine = functional.avg_pool2d(soft, 4)
        coarse = functional.avg_pool2d(soft, 16)
        under = (middle.detach() * fine).sum((2, 3)) / (fine.sum((2, 3)) + 1)
        inside = (deep.detach() * coarse).sum((2, 3)) / (coarse.sum((2, 3)) + 0.1)
        sure = (2 * soft - 1).abs()
        cells = functional.avg_pool2d(soft, 2)
        votes, bent = clue.traits[:, :1] + 0.5, clue.traits[:, 1:2] + 0.5
        numbers = torch.cat(
            [
                (soft * sure).sum((2, 3)) / (soft.sum((2, 3)) + 1),
                (cells * votes).sum((2, 3)) / (cells.sum((2, 3)) + 1),
                torch.minimum(cells, bent).sum((2, 3)) / (torch.maximum(cells, bent).sum((2, 3)) + 1),
                (cells.sum((2, 3)) + 1).log() / 10,
            ],
            dim=1,
        )
        answer: torch.Tensor = self.quality(torch.cat([under, inside, deep.detach().mean((2, 3)), numbers], dim=1))
        return answer[:, 0]


def evidence(clue: Clues, logits: torch.Tensor) -> Evidence:
    """Arrange what speaks for or against the traits' being there, for masks of the given logits, (T, 2 G, 2 G)."""
    votes, bent = clue.traits[:, 0] + 0.5, clue.traits[:, 1] + 0.5
    masks, distance = torch.sigmoid(logits.detach()), clue.target[-2] + 0.5
    return Evidence(masks, bent, votes, distance, clue.recalled[:, 0] + 0.5, clue.recalled[0, 2] + 0.5)
