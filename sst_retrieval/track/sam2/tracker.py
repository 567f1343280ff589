"""A small SAM 2 of our own as a propagator: it corrects the masks of which the dense propagator is not sure.

The dense propagator lays the photograph and draws the masks. Those that promise an IoU of `KEPT` or more stay as they
are; the others are what the network (`tracker`) is asked about, with them as its first guess: legs, antennae, heads. On
beetle species that neither has learnt from this is better than either alone (benchmarks/README.md), and it costs
nothing where all is well. On animals strange to what was learnt the network is not asked.

Ravi et al. (2024), arXiv 2408.00714.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.sam2.lite_trunk import WEIGHTS
from sst_retrieval.track.sam2.memory import Sam2Memory
from sst_retrieval.track.sam2.propagator import Sam2Propagator, Sam2Settings
from sst_retrieval.types import Propagated, RGBImage

KEPT = 0.8
"""IoU that the dense propagator promises of a mask, from which on the mask stays as it is."""


FAMILIAR = 0.5
"""In-distribution score (`track.dense.view.compute_in_distribution_score`) from which the network corrects masks; on
moths it does harm."""


class TrackerPropagator(Sam2Propagator):
    """Carries masks from annotated specimens to others, and corrects the doubtful ones (a `Propagator`)."""

    def __init__(
        self,
        checkpoint: str | None = None,
        *,
        config: Path | None = None,
        device: str = "auto",
        settings: Sam2Settings | None = None,
        dense: DensePropagator,
        adapters: Sequence[Path] = (),
        batch: int | None = None,
    ) -> None:
        """Load the network.

        Args:
            checkpoint: its weights, as `scripts/train_tracker.py` makes them; None for those of the program.
            config: see `Sam2Propagator`.
            device: "auto", "cpu" or "cuda".
            settings: how to look.
            dense: finds the pose and the first masks.
            adapters: see `Sam2Propagator`.
            batch: how many photographs are encoded at once; None for 1 on the CPU and 4 on a card.

        Raises:
            ModelError: the checkpoint is missing or broken, sam2 is not installed, or the device is not there.
        """
        file = str(WEIGHTS) if checkpoint is None else checkpoint
        super().__init__(
            file, config=config, device=device, settings=settings, dense=dense, adapters=adapters, batch=batch
        )
        self._familiar = FAMILIAR if checkpoint is None else 0.0  # One of somebody's own knows other animals.
        self.name = f"small {self.name}, where that one promises an IoU below {KEPT:g}"  # Not Meta's.
        self.concurrent = not adapters  # With adapters, the network changes from group to group.

    def _propagate(self, memory: Sam2Memory, images: Sequence[RGBImage]) -> list[Propagated]:
        if self._dense is None or memory.dense is None:
            return super()._propagate(memory, images)
        known = self._dense.propagate_with_in_distribution_score(memory.dense, images)
        answers = [guess for guess, _ in known]
        doubtful = [
            place
            for place, (guess, familiar) in enumerate(known)
            if familiar >= self._familiar and (guess.confidence < KEPT).any()
        ]
        if doubtful:
            some = [images[place] for place in doubtful]
            looks = self.led(memory, some, [answers[place] for place in doubtful])
            for place, image, look in zip(doubtful, some, looks, strict=True):
                answers[place] = corrected(answers[place], self._answer(memory, image, look), memory.rivals)
        return answers


def corrected(guess: Propagated, told: Propagated, rivals: npt.NDArray[np.bool_]) -> Propagated:
    """Take the masks that were promised to be good from a guess, and the others from the network that corrects it.

    Args:
        guess: masks and the IoU to expect of each.
        told: masks of the same traits of the same photograph.
        rivals: bool (T, T), traits that never share a pixel: one that was corrected takes its pixels from one that
            was kept, as legs do that were taken for elytra.

    Returns:
        The masks; of those that were corrected, the confidence is the mean of both (where only one of them found the
        trait, the guess counts as the likelihood of the other's answer). The cycle IoU, where it was asked for, is of
        the corrected masks only.
    """
    again = guess.confidence < KEPT
    agreed = guess.masks.any(axis=(1, 2)) == told.masks.any(axis=(1, 2))
    seconded = np.where(agreed, guess.confidence, 1 - guess.confidence)
    masks = np.where(again[:, None, None], told.masks, guess.masks)
    for place in np.flatnonzero(~again):
        masks[place] &= ~told.masks[rivals[place] & again].any(axis=0)
    confidence = np.where(again, (seconded + told.confidence) / 2, guess.confidence).astype(np.float32)
    cycle = None if told.cycle is None else np.where(again, told.cycle, np.nan).astype(np.float32)
    return Propagated(masks, confidence, guess.frame, cycle)
