"""The decoder with its trained weights, as the dense propagator uses it."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sst_retrieval.errors import ModelError
from sst_retrieval.track.dense.decoder import Decoder, DecoderInputs, compute_strongest_rival
from sst_retrieval.track.dense.keys import ChannelStatistics, KeyVotes, vote_by_keys
from sst_retrieval.track.dense.matching import compute_cell_colours
from sst_retrieval.types import Floats, RGBImage

SHARE = 0.8
"""Weight of the decoder in masks where the two kinds of votes disagree; the rest is the rules'."""

PRESENCE_SHARE = 0.75
"""Weight of the decoder in a trait's presence on an animal that is out of distribution; the rest is the matching's."""

RELIABLE_IOU = 0.8
"""Expected IoU from which a mask is kept, even if its trait is more likely absent."""

DECODER_WEIGHTS = Path(__file__).with_name("decoder.pt")
"""The trained weights that come with the program; decoder.json beside them says how they were made."""


@dataclass(frozen=True, slots=True)
class SoftMasks:
    """The masks of one view.

    Attributes:
        soft: float32 (T, S, S), above 0.5 where a trait wins.
        confidence: float32 (T,), 0..1: the expected IoU; of a trait without a mask, the probability of its absence.
        in_distribution: 0..1, see `track.dense.view.compute_in_distribution_score`; 0 where no learnt part was used.
    """

    soft: Floats
    confidence: Floats
    in_distribution: float = 0.0


class TrainedDecoder:
    """A decoder with weights, ready for use.

    Attributes:
        name: says which weights; goes into the provenance.
        sha256: of the file of weights, hexadecimal.
    """

    def __init__(
        self,
        weights: Path = DECODER_WEIGHTS,
        device: torch.device | str = "cpu",
        *,
        share: float = SHARE,
        adapter: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Load weights.

        Args:
            weights: a state dictionary of `Decoder`, as `scripts/train_decoder.py` writes it.
            device: where it runs.
            share: weight of the decoder where votes disagree, in masks and confidences, 0..1; the rest is the rules'.
            adapter: tensors to take instead, of a fine-tuning (`track.dense.cycle_training`).

        Raises:
            ModelError: the file is missing, broken, or of another network.
        """
        if not weights.is_file():
            raise ModelError(f"the decoder's weights are not at {weights}; install sst-retrieval again")
        try:
            tensors = torch.load(weights, map_location="cpu", weights_only=True) if adapter is None else adapter
            network = Decoder()
            network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except (OSError, RuntimeError, pickle.UnpicklingError, AttributeError, EOFError) as error:
            raise ModelError(
                f"{weights} holds no weights of this decoder: {error}; install sst-retrieval again"
            ) from error
        self._device, self._share = torch.device(device), share
        # Channels last: on a CPU the fine scales take half the time.
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        mixed = "" if share == SHARE else f" with a share of {share:g}"
        self.sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        self.name = f"decoder {self.sha256[:8]}{mixed}"

    def copy_network(self) -> Decoder:
        """Copy the network with its weights, so that they can be trained."""
        network: Decoder = copy.deepcopy(self._network)
        return network

    @torch.inference_mode()
    def compute_keys(
        self, view: RGBImage, levels: Sequence[torch.Tensor], statistics: ChannelStatistics
    ) -> torch.Tensor:
        """Compute the keys of a view.

        Args:
            view: uint8 (S, S, 3).
            levels: the trunk's levels of the view, of strides 4, 8 and 16, float32 (C, h, w).
            statistics: of the group's first support, see `track.dense.keys.compute_channel_statistics`.

        Returns:
            float32 (KEY_CHANNELS, S / 4, S / 4).
        """
        moved = [level.to(self._device) for level in levels]
        colours = torch.from_numpy(compute_cell_colours(view, levels[0].shape[-1])).to(self._device)
        standard = [(mean.to(self._device), deviation.to(self._device)) for mean, deviation in statistics]
        keys: torch.Tensor = self._network.keys(moved, colours, standard)
        return keys

    @torch.inference_mode()
    def vote_by_keys(self, keys: torch.Tensor, supports: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> KeyVotes:
        """Transfer labels to a view by its keys, see `track.dense.keys.vote_by_keys`; the result is on the CPU."""
        moved = [(theirs.to(self._device), labels.to(self._device)) for theirs, labels in supports]
        shares, distance = vote_by_keys(self._network.keys, keys, moved)
        return KeyVotes(shares.cpu(), distance.cpu())

    @torch.inference_mode()
    def decode(
        self,
        inputs: DecoderInputs,
        by_rules: SoftMasks,
        presence: Floats,
        *,
        in_distribution: float = 1.0,
        disagreement: Floats | float = 1.0,
        reliability: float = 1.0,
    ) -> SoftMasks:
        """Predict the masks of one target, and combine them with those of the rules.

        The rules align edges to the pixel, the decoder knows which fragments belong together. In the masks, it is
        weighted by the disagreement of the two kinds of votes and by how well the animal is in distribution. Its
        presence and expected IoU count on every animal: out of distribution the rules are overconfident. A mask with
        a high expected IoU is never removed. Presence is classified by the decoder's mask where the animal is in
        distribution, and by the rules' mask where it is not.

        Args:
            inputs: of the network.
            by_rules: the masks that `track.dense.refine.refine` makes of the same votes.
            presence: float32 (T,), 0..1, probability of each trait's presence by the matching alone.
            in_distribution: 0..1, see `track.dense.view.compute_in_distribution_score`.
            disagreement: float32 (T,), 0..1, of the two kinds of votes on a trait.
            reliability: 0..1, of what was learnt on this group; 0 leaves presence and confidence to the matching.

        Returns:
            The masks at the size of the view, with calibrated confidences.
        """
        moved = DecoderInputs(
            inputs.target.to(self._device),
            inputs.traits.to(self._device, memory_format=torch.channels_last),
            inputs.keys.to(self._device, memory_format=torch.channels_last),
            tuple(level.to(self._device) for level in inputs.levels),
            inputs.rivals.to(self._device),
        )
        logits, quality = self._network.predict_masks(moved)
        probability = torch.sigmoid(logits).cpu()
        expected = torch.sigmoid(quality).cpu().numpy()
        margin = (probability - compute_strongest_rival(probability, inputs.rivals.cpu()).clamp(min=0.5)).numpy()
        # In distribution the decoder's own mask, as in training; out of it that of the rules, if they find any: a poor
        # mask of the decoder must not make a trait absent of which the rules find a good one.
        ruled = torch.from_numpy((by_rules.soft > 0.5).any(axis=(1, 2)))[:, None, None]
        own_share = torch.where(ruled, in_distribution, 1.0)
        blended = own_share * probability + (1 - own_share) * torch.from_numpy(by_rules.soft)
        present = torch.sigmoid(self._network.classify_presence(moved, blended.to(self._device))).cpu().numpy()
        presence_weight = in_distribution + (reliability - in_distribution) * PRESENCE_SHARE
        present = presence_weight * present + (1 - presence_weight) * presence
        share = np.broadcast_to(np.float32(self._share) * disagreement, present.shape)
        weight = np.float32(in_distribution) * share[:, None, None]
        soft: Floats = ((1 - weight) * by_rules.soft + weight * np.clip(0.5 + margin, 0, 1)).astype(np.float32)
        expected_share = np.float32(reliability) * share
        iou = (1 - expected_share) * by_rules.confidence + expected_share * expected
        soft[(present < 0.5) & (iou < RELIABLE_IOU)] = 0
        empty = ~(soft > 0.5).any(axis=(1, 2))
        confident = np.where(present < 0.5, (iou + present) / 2, iou)
        confidence: Floats = np.where(empty, 1 - present, confident).astype(np.float32)
        return SoftMasks(soft, confidence, in_distribution)
