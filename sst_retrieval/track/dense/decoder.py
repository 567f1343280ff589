"""The decoder: a small network that turns label votes into masks.

The votes say which trait a cell of a target resembles on the support. They are good inside a trait and poor at its rim,
and they fragment legs and antennae. The decoder sees the votes of one trait, those of its rivals, the support's mask
warped to the target, and the target's pixels and features. It predicts the trait's mask at the full size of the view,
the IoU to expect of that mask (as SAM's mask decoder does, Kirillov et al. 2023, arXiv 2304.02643) and the probability
that the trait is present (`presence.py`). It is agnostic of classes: every trait of every animal goes through the same
weights.

A U-Net (Ronneberger et al. 2015) of four scales, and cells of 32 pixels that see most of the specimen
(`SurroundingsBlock`). What depends on the target alone is computed once for all traits.
`scripts/train_decoder.py` and `train_presence.py` trained it; decoder.json beside the weights says on what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from sst_retrieval.track.dense.keys import (
    LEVEL_CHANNELS,
    KeyNetwork,
    KeyVotes,
    apply_to_parts,
    build_block,
    downsample,
    upsample,
)
from sst_retrieval.track.dense.presence import PresenceInputs, PresenceNetwork, compute_presence_features
from sst_retrieval.types import Floats, RGBImage

TRAIT_CHANNELS = (8, 30, 72, 128)
"""Channels of a trait at each scale; the first has cells of 2 pixels, each next one half the resolution."""

TARGET_CHANNELS = (16, 36, 64, 96)
"""Channels of the target's own features at each scale, computed once for all traits."""

TRAIT_GROUPS = (1, 5, 6, 8)
"""Groups of channels that are normalised together, at each scale of a trait; the first scale is not normalised."""

TARGET_GROUPS = (1, 6, 8, 8)
"""The same of the target's features."""

TARGET_INPUTS = 14  # Channels of the target: four pixels' colours, distance of its best match, share of "no trait".
TRAIT_INPUTS = 5  # Channels of a trait: its votes, warped mask and initial mask; its rivals' votes and warped masks.
KEY_INPUTS = 3  # Channels of a trait at the second scale: votes by keys, its rivals', distance of the best key.
RIVAL_SCALES = (2, 3)  # Scales at which a trait's features get the maximum of its rivals' added.
FEW_TRAITS = 8  # Up to so many, all pairs of rivals are compared, which takes less time than what saves pairs.


@dataclass(frozen=True, slots=True)
class DecoderInputs:
    """What the decoder sees of one target.

    Attributes:
        target: float32 (TARGET_INPUTS, G, G).
        traits: float32 (T, TRAIT_INPUTS, G, G).
        keys: float32 (T, KEY_INPUTS, G / 2, G / 2).
        levels: float32 (LEVEL_CHANNELS[l], G / 2, G / 2) and so on, the trunk's levels of the view.
        rivals: bool (T, T), which traits never share a pixel.
    """

    target: torch.Tensor
    traits: torch.Tensor
    keys: torch.Tensor
    levels: tuple[torch.Tensor, ...]
    rivals: torch.Tensor


def build_decoder_inputs(
    view: RGBImage,
    shares: Floats,
    distance: Floats,
    warped_masks: Floats,
    initial_masks: Floats,
    rivals: npt.NDArray[np.bool_],
    levels: Sequence[torch.Tensor],
    key_votes: KeyVotes,
) -> DecoderInputs:
    """Build the decoder's inputs of one target.

    Args:
        view: uint8 (2 G, 2 G, 3).
        shares: float32 (1 + T, G, G), votes for "no trait" and for each trait.
        distance: float32 (G, G), squared descriptor distance to the best match.
        warped_masks: float32 (T, G, G), the supports' masks warped to the target, 0..1.
        initial_masks: float32 (T, G, G), masks by votes and colours, above 0.5 where a trait wins; see
            `track.dense.refine.compute_initial_masks`.
        rivals: bool (T, T), which traits never share a pixel.
        levels: the trunk's levels of the view, of strides 4, 8 and 16, float32 (C, h, w).
        key_votes: from `track.dense.keys.vote_by_keys`.
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
    rival_votes, rival_masks = (
        compute_strongest_rival(torch.from_numpy(each), competing) for each in (own, warped_masks)
    )
    alone = (torch.from_numpy(each) for each in (own, warped_masks, np.clip(initial_masks, 0, 1)))
    traits = torch.stack([*alone, rival_votes, rival_masks], dim=1) - 0.5
    return DecoderInputs(target, traits, build_key_inputs(key_votes, competing), tuple(levels), competing)


def build_key_inputs(key_votes: KeyVotes, rivals: torch.Tensor) -> torch.Tensor:
    """Build the decoder's input of the votes by keys: float32 (T, KEY_INPUTS, G / 2, G / 2)."""
    own = key_votes.shares[1:]
    distance = (key_votes.distance.clamp(max=20) / 20).expand_as(own)
    return torch.stack([own, compute_strongest_rival(own, rivals), distance], dim=1) - 0.5


def compute_strongest_rival(stack: torch.Tensor, rivals: torch.Tensor) -> torch.Tensor:
    """Compute the maximum over a trait's rivals, trait by trait, 0 without rivals.

    Args:
        stack: float32 (T, ...).
        rivals: bool (T, T).

    Returns:
        float32 (T, ...).
    """
    all_compete = bool((rivals ^ torch.eye(len(rivals), dtype=torch.bool, device=rivals.device)).all())
    if all_compete and len(rivals) > FEW_TRAITS:
        # Of those before and of those behind, each computed once for all traits.
        before = list(accumulate(stack[:-1], torch.maximum))
        behind = list(accumulate(stack[1:].flip(0), torch.maximum))[::-1]
        between = [torch.maximum(*each) for each in zip(before[:-1], behind[1:], strict=True)]
        return torch.stack([behind[0], *between, before[-1]])
    # One after the other: gathering them first, for one maximum, takes three times as long.
    competing = [[stack[other] for other in others.nonzero()[:, 0].tolist()] for others in rivals]
    nothing = torch.zeros_like(stack[0])
    return torch.stack([reduce(torch.maximum, others) if others else nothing for others in competing])


class SurroundingsBlock(nn.Module):
    """What a trait's coarsest cells learn from half the resolution: where they lie on the animal, and among its parts.

    Two convolutions over cells of 32 pixels reach over most of a view. Untrained, it adds nothing.
    """

    def __init__(self, width: int, groups: int) -> None:
        """Build the block.

        Args:
            width: channels of a trait at the coarsest scale.
            groups: of the normalisation.
        """
        super().__init__()
        self.first = build_block(width, width, groups=groups)
        self.against = nn.Conv2d(width, width, 1, bias=False)
        self.second = build_block(width, width, groups=groups)
        self.back = nn.Conv2d(width, width, 1)
        for tensor in [*self.back.parameters(), *self.against.parameters()]:
            nn.init.zeros_(tensor)

    def forward(self, traits: torch.Tensor, rivals: torch.Tensor) -> torch.Tensor:
        """Compute what is added to the traits' features.

        Args:
            traits: float32 (T, C, h, w).
            rivals: bool (T, T), which traits never share a pixel.

        Returns:
            float32 (T, C, h, w).
        """
        height, width = traits.shape[-2:]
        even = functional.pad(traits, (0, width % 2, 0, height % 2), mode="replicate")
        coarse = self.first(downsample(even))
        coarse = self.second(coarse + self.against(compute_strongest_rival(coarse, rivals)))
        return upsample(self.back(coarse))[..., :height, :width]


class Decoder(nn.Module):
    """The U-Net described at the top of this module.

    The modules keep the names under which the trained weights are stored: `seen` and `features` encode the target,
    `joined` encodes a trait together with the target, `against` adds the rivals, `deep` is the bottleneck, `narrowed`
    and `raised` lead back up, `pixels` makes the mask; `quality` estimates the IoU, `presence` the presence.
    """

    def __init__(self) -> None:
        """Build the network; untrained, it answers with the initial mask as it is."""
        super().__init__()
        widths, groups = TRAIT_CHANNELS, TRAIT_GROUPS
        scales = range(1, len(widths))
        self.keys = KeyNetwork()
        self.seen = nn.ModuleList([build_block(TARGET_INPUTS, TARGET_CHANNELS[0], normalised=False)])
        self.joined = nn.ModuleList([build_block(TRAIT_INPUTS + TARGET_CHANNELS[0], widths[0], normalised=False)])
        joining = zip(LEVEL_CHANNELS, TARGET_CHANNELS[1:], strict=True)
        self.features = nn.ModuleList(nn.Conv2d(count, width, 1) for count, width in joining)
        self.seen.extend(
            build_block(
                TARGET_CHANNELS[scale - 1] + TARGET_CHANNELS[scale], TARGET_CHANNELS[scale], groups=TARGET_GROUPS[scale]
            )
            for scale in scales
        )
        self.joined.extend(
            nn.Sequential(
                build_block(
                    widths[scale - 1] + TARGET_CHANNELS[scale] + (KEY_INPUTS if scale == 1 else 0),
                    widths[scale],
                    groups=groups[scale],
                ),
                build_block(widths[scale], widths[scale], groups=groups[scale]),
            )
            for scale in scales
        )
        self.against = nn.ModuleList(nn.Conv2d(widths[scale], widths[scale], 1, bias=False) for scale in RIVAL_SCALES)
        self.deep = nn.Sequential(
            *(build_block(widths[-1], widths[-1], groups=groups[-1]) for _ in range(2)),
        )
        self.surroundings = SurroundingsBlock(widths[-1], groups[-1])
        self.narrowed = nn.ModuleList(nn.Conv2d(widths[scale], widths[scale - 1], 1) for scale in scales)
        self.raised = nn.ModuleList(
            [build_block(2 * widths[0] + TARGET_CHANNELS[0], widths[0], normalised=False)]
            + [
                build_block(2 * widths[scale], widths[scale], groups=groups[scale])
                for scale in range(1, len(widths) - 1)
            ]
        )
        self.pixels = nn.Conv2d(widths[0], 4, 3, padding=1)
        for tensor in [*self.pixels.parameters(), *self.against.parameters()]:
            nn.init.zeros_(tensor)
        self.quality = nn.Sequential(nn.Linear(2 * widths[-1] + widths[1] + 4, 64), nn.ReLU(), nn.Linear(64, 1))
        self.presence = PresenceNetwork()

    def forward(self, inputs: DecoderInputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict the masks of one target.

        Returns:
            float32 (T, 2 G, 2 G), logits of the masks; float32 (T, 2), logits of the expected IoU and of the trait's
            presence.
        """
        logits, expected = self.predict_masks(inputs)
        present = self.classify_presence(inputs, torch.sigmoid(logits.detach()))
        return logits, torch.stack([expected, present], dim=1)

    def predict_masks(self, inputs: DecoderInputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict the masks of one target, and how good they are.

        Returns:
            float32 (T, 2 G, 2 G), logits of the masks; float32 (T,), logits of the expected IoU.
        """
        target = self._encode_target(inputs)
        kept = [apply_to_parts(self.joined[0], inputs.traits, target[0])]
        for scale in range(1, len(TRAIT_CHANNELS)):
            keys = [inputs.keys] if scale == 1 else []
            first, second = self.joined[scale].children()
            joined = second(apply_to_parts(first, downsample(kept[-1]), target[scale], *keys))
            if scale in RIVAL_SCALES:
                rival = compute_strongest_rival(joined, inputs.rivals)
                joined = joined + self.against[RIVAL_SCALES.index(scale)](rival)
            kept.append(joined)
        deep = self.deep(kept[-1] + self.surroundings(kept[-1], inputs.rivals))
        up, middle = deep, deep
        for scale in reversed(range(len(TRAIT_CHANNELS) - 1)):
            finest = [target[0]] if scale == 0 else []
            up = apply_to_parts(self.raised[scale], upsample(self.narrowed[scale](up)), kept[scale], *finest)
            middle = up if scale == 1 else middle
        logits = (functional.pixel_shuffle(self.pixels(up).contiguous(), 2) + upsample(4 * inputs.traits[:, 2:3]))[:, 0]
        return logits, self._estimate_iou(logits, deep, middle, inputs)

    def classify_presence(self, inputs: DecoderInputs, masks: torch.Tensor) -> torch.Tensor:
        """Classify whether traits are present, given their masks: float32 (T,), logits.

        Args:
            inputs: of the network.
            masks: float32 (T, 2 G, 2 G), 0..1.
        """
        logits: torch.Tensor = self.presence(compute_presence_features(build_presence_inputs(inputs, masks)))
        return logits

    def _encode_target(self, inputs: DecoderInputs) -> list[torch.Tensor]:
        """Encode what depends on the target alone, scale by scale: float32 (1, TARGET_CHANNELS[s], h, w)."""
        maps = [self.seen[0](inputs.target[None])]
        for scale, level in enumerate(inputs.levels):
            both = [downsample(maps[-1]), self.features[scale](level[None])]
            maps.append(self.seen[scale + 1](torch.cat(both, dim=1)))
        return maps

    def _estimate_iou(
        self, logits: torch.Tensor, deep: torch.Tensor, middle: torch.Tensor, inputs: DecoderInputs
    ) -> torch.Tensor:
        """Estimate the IoU of the masks from the features under them: float32 (T,), logits.

        Gradients stop here: the estimate must not change the masks.
        """
        soft = torch.sigmoid(logits.detach())[:, None]
        cells = downsample(soft)
        fine = downsample(cells)
        coarse = functional.avg_pool2d(fine, 4)
        under = (middle.detach() * fine).sum((2, 3)) / (fine.sum((2, 3)) + 1)
        inside = (deep.detach() * coarse).sum((2, 3)) / (coarse.sum((2, 3)) + 0.1)
        certainty = (2 * soft - 1).abs()
        votes, warped = inputs.traits[:, :1] + 0.5, inputs.traits[:, 1:2] + 0.5
        numbers = torch.cat(
            [
                (soft * certainty).sum((2, 3)) / (soft.sum((2, 3)) + 1),
                (cells * votes).sum((2, 3)) / (cells.sum((2, 3)) + 1),
                torch.minimum(cells, warped).sum((2, 3)) / (torch.maximum(cells, warped).sum((2, 3)) + 1),
                (cells.sum((2, 3)) + 1).log() / 10,
            ],
            dim=1,
        )
        answer: torch.Tensor = self.quality(torch.cat([under, inside, deep.detach().mean((2, 3)), numbers], dim=1))
        return answer[:, 0]


def build_presence_inputs(inputs: DecoderInputs, masks: torch.Tensor) -> PresenceInputs:
    """Build the inputs of the presence features from masks, float32 (T, 2 G, 2 G), 0..1."""
    return PresenceInputs(
        masks=masks,
        warped_masks=inputs.traits[:, 1] + 0.5,
        votes=inputs.traits[:, 0] + 0.5,
        distance=inputs.target[-2] + 0.5,
        key_shares=inputs.keys[:, 0] + 0.5,
        key_distance=inputs.keys[0, 2] + 0.5,
    )
