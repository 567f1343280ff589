"""The small SAM 2 that comes with the program, as a propagator that corrects uncertain masks of the dense propagator.

1. The dense propagator finds the pose and the masks. A photograph whose masks all have an expected IoU of `MIN_IOU` or
   more is done.
2. Otherwise the network predicts all masks again, with those of the dense propagator as mask prompts, and the masks
   below `MIN_IOU` are replaced (`merge_corrections`): mostly legs, antennae and heads.
3. On specimens out of distribution of the training data the network is not used.

On beetle species that neither was trained on this is better than either alone (benchmarks/README.md).
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

MIN_IOU = 0.8
"""A mask of the dense propagator with this expected IoU or more is kept."""

MIN_IN_DISTRIBUTION = 0.5
"""A specimen with a lower in-distribution score (`track.dense.view.compute_in_distribution_score`, 0..1) is not
corrected: on moths, corrections make masks worse."""


class TrackerPropagator(Sam2Propagator):
    """Propagates masks with the dense propagator and corrects the uncertain ones with SAM 2 (a `Propagator`)."""

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
            checkpoint: weights trained by `scripts/train_tracker.py`; None for those of the program.
            config: see `Sam2Propagator`.
            device: "auto", "cpu" or "cuda".
            settings: see `Sam2Settings`.
            dense: finds the pose and the initial masks.
            adapters: see `Sam2Propagator`.
            batch: number of photographs that are encoded at once; None for 1 on the CPU and 4 on CUDA.

        Raises:
            ModelError: the checkpoint is missing or broken, sam2 is not installed, or the device is not available.
        """
        file = str(WEIGHTS) if checkpoint is None else checkpoint
        super().__init__(
            file, config=config, device=device, settings=settings, dense=dense, adapters=adapters, batch=batch
        )
        # A checkpoint of the user's own was trained on other animals than the decoder's keys.
        self._min_in_distribution = MIN_IN_DISTRIBUTION if checkpoint is None else 0.0
        self.name = f"small {self.name}, where that one promises an IoU below {MIN_IOU:g}"  # "small": not Meta's.
        self.concurrent = not adapters  # With adapters, the network changes from group to group.

    def _propagate(self, memory: Sam2Memory, images: Sequence[RGBImage]) -> list[Propagated]:
        if self._dense is None or memory.dense is None:
            return super()._propagate(memory, images)
        found = self._dense.propagate_with_in_distribution_score(memory.dense, images)
        results = [initial for initial, _ in found]
        uncertain = [
            i
            for i, (initial, in_distribution) in enumerate(found)
            if in_distribution >= self._min_in_distribution and (initial.confidence < MIN_IOU).any()
        ]
        if uncertain:
            chosen = [images[i] for i in uncertain]
            predictions = self.predict_from(memory, chosen, [results[i] for i in uncertain])
            for i, image, predicted in zip(uncertain, chosen, predictions, strict=True):
                refined = self._to_propagated(memory, image, predicted)
                results[i] = merge_corrections(results[i], refined, memory.rivals)
        return results


def merge_corrections(initial: Propagated, refined: Propagated, rivals: npt.NDArray[np.bool_]) -> Propagated:
    """Keep the initial masks with an expected IoU of `MIN_IOU` or more, and replace the others.

    Args:
        initial: T masks of one photograph; confidence is their expected IoU.
        refined: masks of the same traits on the same photograph.
        rivals: bool (T, T), traits that never share a pixel: a replaced mask removes its pixels from the kept masks of
            its rivals.

    Returns:
        The merged masks. The confidence of a replaced mask is the mean of both confidences; where only one of the two
        found the trait, one minus the initial confidence enters the mean. The cycle IoU, if there is one, is given for
        the replaced masks only, NaN for the others.
    """
    replaced = initial.confidence < MIN_IOU
    agree = initial.masks.any(axis=(1, 2)) == refined.masks.any(axis=(1, 2))
    support = np.where(agree, initial.confidence, 1 - initial.confidence)
    masks = np.where(replaced[:, None, None], refined.masks, initial.masks)
    for trait in np.flatnonzero(~replaced):
        masks[trait] &= ~refined.masks[rivals[trait] & replaced].any(axis=0)
    confidence = np.where(replaced, (support + refined.confidence) / 2, initial.confidence).astype(np.float32)
    cycle = None if refined.cycle is None else np.where(replaced, refined.cycle, np.nan).astype(np.float32)
    return Propagated(masks, confidence, initial.frame, cycle)
