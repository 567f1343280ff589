"""The decoder with its weights: what the dense propagator asks."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sst_retrieval.errors import ModelError
from sst_retrieval.track.dense.decoder import Clues, Decoder, strongest_rival
from sst_retrieval.track.dense.keys import Spreads, recall
from sst_retrieval.track.dense.matching import compute_cell_colours
from sst_retrieval.types import Floats, RGBImage

SHARE = 0.8  # Of the decoder in the masks where the votes leave doubt; the rest is the rules'.

LOST = 0.75  # Of the decoder in what is lost on an animal that is strange to it; the rest is the matching's.
GOOD = 0.8  # Expected IoU from which a mask is kept, whatever speaks against its trait's being there.

WEIGHTS = Path(__file__).with_name("decoder.pt")
"""The trained weights that come with the program; decoder.json beside them says how they were made."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The masks of one view.

    Attributes:
        soft: float32 (T, S, S), above 0.5 where a trait wins.
        confidence: float32 (T,), 0..1: the IoU to expect; of a trait without a mask, how sure its absence is.
        familiar: 0..1, how well what was learnt fits this specimen; 0 where nothing learnt was asked.
    """

    soft: Floats
    confidence: Floats
    familiar: float = 0.0


class TrainedDecoder:
    """A decoder with weights, ready for use.

    Attributes:
        name: says which weights; goes into the provenance.
    """

    def __init__(self, weights: Path = WEIGHTS, device: torch.device | str = "cpu", *, share: float = SHARE) -> None:
        """Load weights.

        Args:
            weights: a state dictionary of `Decoder`, as `scripts/train_decoder.py` writes it.
            device: where it runs.
            share: of the decoder in doubtful masks and their confidences, 0..1; the rest is the rules'.

        Raises:
            ModelError: the file is missing, broken, or of another network.
        """
        if not weights.is_file():
            raise ModelError(f"the decoder's weights are not at {weights}; install sst-retrieval again")
        try:
            tensors = torch.load(weights, map_location="cpu", weights_only=True)
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
        self.name = f"decoder {hashlib.sha256(weights.read_bytes()).hexdigest()[:8]}{mixed}"

    @torch.inference_mode()
    def keys(self, view: RGBImage, levels: Sequence[torch.Tensor], like: Spreads) -> torch.Tensor:
        """Describe a view.

        Args:
            view: uint8 (S, S, 3).
            levels: the trunk's levels of the view, of strides 4, 8 and 16, float32 (C, ., .).
            like: of the group's first support, to which keys are relative, see `spreads`.

        Returns:
            float32 (KEY, S / 4, S / 4).
        """
        moved = [level.to(self._device) for level in levels]
        colours = torch.from_numpy(compute_cell_colours(view, levels[0].shape[-1])).to(self._device)
        relative = [(mean.to(self._device), spread.to(self._device)) for mean, spread in like]
        keys: torch.Tensor = self._network.keys(moved, colours, relative)
        return keys

    @torch.inference_mode()
    def recall(
        self, keys: torch.Tensor, supports: Sequence[tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Let supports vote on a view by its keys and theirs, see `recall`."""
        moved = [(theirs.to(self._device), labels.to(self._device)) for theirs, labels in supports]
        shares, distance = recall(self._network.keys, keys, moved)
        return shares.cpu(), distance.cpu()

    @torch.inference_mode()
    def decode(
        self, told: Clues, ruled: Drawn, presence: Floats, *, familiar: float = 1.0, doubt: Floats | float = 1.0
    ) -> Drawn:
        """Make the masks of one target.

        The rules follow a colour's edge to the pixel, the decoder knows which pieces belong together. It is heard
        where the votes leave doubt, on animals like those that it has learnt from. What it holds for lost or for badly
        drawn is heard on every animal: on strange ones the rules are too sure of themselves. A good mask is not lost.

        Args:
            told: what is known of it.
            ruled: what the rules make of the same votes.
            presence: float32 (T,), 0..1, how likely each trait is there by the matching alone.
            familiar: 0..1, how well what was learnt fits this specimen.
            doubt: float32 (T,), 0..1, how little the votes agree on a trait.
        """
        moved = Clues(
            told.target.to(self._device),
            told.traits.to(self._device, memory_format=torch.channels_last),
            told.recalled.to(self._device, memory_format=torch.channels_last),
            tuple(level.to(self._device) for level in told.levels),
            told.rivals.to(self._device),
        )
        logits, judgement = self._network(moved)
        likely = torch.sigmoid(logits).cpu()
        expected, there = torch.sigmoid(judgement).cpu().numpy().T
        margin = (likely - strongest_rival(likely, told.rivals.cpu()).clamp(min=0.5)).numpy()
        known = familiar + (1 - familiar) * LOST
        there = known * there + (1 - known) * presence
        share = np.broadcast_to(np.float32(self._share) * doubt, there.shape)
        heard = np.float32(familiar) * share[:, None, None]
        soft: Floats = ((1 - heard) * ruled.soft + heard * np.clip(0.5 + margin, 0, 1)).astype(np.float32)
        sure = (1 - share) * ruled.confidence + share * expected
        soft[(there < 0.5) & (sure < GOOD)] = 0
        empty = ~(soft > 0.5).any(axis=(1, 2))
        drawn = np.where(there < 0.5, (sure + there) / 2, sure)
        confidence: Floats = np.where(empty, 1 - there, drawn).astype(np.float32)
        return Drawn(soft, confidence, familiar)
