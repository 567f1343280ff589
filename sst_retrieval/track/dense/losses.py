"""Losses of keys and decoder on a training example.

Of the keys: cross-entropy of their votes. Of the decoder: binary cross-entropy and Dice (Milletari et al. 2016) of the
masks, squared error of the expected IoU.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from sst_retrieval.track.dense.decoder import Decoder, DecoderInputs, build_key_inputs
from sst_retrieval.track.dense.examples import CROP_SIDE, TrainingExample, add_key_votes, augment, choose_crop
from sst_retrieval.track.dense.keys import KeyVotes

NO_KEYS_SHARE = 0.3
"""Share of examples in which the votes by keys are replaced by those of the matching."""


def _compute_losses(
    logits: torch.Tensor, predicted_iou: torch.Tensor, truth: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the loss of the masks and the loss of the expected IoU, each a scalar."""
    crossed = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2))
    chances = torch.sigmoid(logits)
    there = (truth.sum((1, 2)) > 8).float()
    dice = 1 - (2 * (chances * truth).sum((1, 2)) + 8) / (chances.sum((1, 2)) + truth.sum((1, 2)) + 8)
    masks = 4 * crossed + dice * (0.3 + 0.7 * there)
    made, drawn = logits.detach() > 0, truth > 0.5
    iou = (made & drawn).sum((1, 2)) / (made | drawn).sum((1, 2)).clamp(min=1)
    return masks.mean(), (2 * (torch.sigmoid(predicted_iou[:, 0]) - iou) ** 2).mean()


def _compute_vote_loss(shares: torch.Tensor, example: TrainingExample, wanted: torch.Tensor) -> torch.Tensor:
    """Compute the cross-entropy of the votes by keys in the cells `wanted`, each trait with the same weight."""
    drawn = functional.adaptive_avg_pool2d(example.truth, shares.shape[-1]) * wanted
    surprise = -(drawn * (shares[1:] + 1e-3).log()).sum((1, 2)) / drawn.sum((1, 2)).clamp(min=4)
    elsewhere = (1 - drawn.amax(0)).clamp(min=0) * (shares[0].detach() < 1) * wanted
    invented = -(elsewhere * (shares[0] + 1e-3).log()).sum() / elsewhere.sum().clamp(min=4)
    return surprise.mean() + invented


def compute_key_losses(network: Decoder, example: TrainingExample, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Compute the loss of the key network on a random crop of an example: name -> scalar."""
    scale = example.truth.shape[-1] // example.labels.shape[-1]
    rows, columns = (place // scale for place in choose_crop(example.truth, CROP_SIDE, rng))
    wanted = torch.zeros(example.labels.shape[-2:], dtype=torch.bool)
    wanted[rows : rows + CROP_SIDE // scale, columns : columns + CROP_SIDE // scale] = True
    _, shares = add_key_votes(network, example, wanted)
    loss = _compute_vote_loss(shares, example, wanted)
    # Where no label of a support comes near the crop, no keys were compared, and the loss alone would have no gradient.
    return {"votes": loss + 0 * network.keys.place}


def _replace_key_votes(inputs: DecoderInputs) -> DecoderInputs:
    """Replace the votes by keys by those of the matching, so that the decoder does not rely on keys alone."""
    shares = functional.avg_pool2d(inputs.traits[:, 0] + 0.5, 2)
    nothing = functional.avg_pool2d(inputs.target[-1:] + 0.5, 2)
    distance = functional.avg_pool2d(inputs.target[-2:-1] + 0.5, 2)[0] * 20  # About the scale of the keys' distances.
    return replace(inputs, keys=build_key_inputs(KeyVotes(torch.cat([nothing, shares]), distance), inputs.rivals))


def compute_mask_losses(
    network: Decoder, example: TrainingExample, rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Compute the losses of the decoder, without the keys, on an augmented example: name -> scalar."""
    with torch.no_grad():
        if rng.random() < NO_KEYS_SHARE:
            inputs = _replace_key_votes(example.inputs)
        else:
            inputs = add_key_votes(network, example)[0] if example.levels else example.inputs
    inputs, truth = augment(inputs, example.truth, rng)
    logits, predicted_iou = network(inputs)
    masks, expected = _compute_losses(logits, predicted_iou, truth)
    return {"masks": masks, "judgement": expected}
