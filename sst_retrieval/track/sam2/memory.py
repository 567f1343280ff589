"""What SAM 2 remembers of a group's supports and predicts on a target, and the conversions between them and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from sst_retrieval.imaging import frames
from sst_retrieval.track.dense.memory import DenseMemory
from sst_retrieval.track.sam2.attention import ProjectedMemory
from sst_retrieval.track.sam2.network import FrameMemory, ImageFeatures, MaskPredictions
from sst_retrieval.types import Floats, Frame, Propagated, Support


@dataclass(frozen=True, slots=True)
class MemoryBank:
    """Memories of the T traits that were drawn on the same supports, the conditioning frames.

    Attributes:
        traits: indices of the T traits among all traits of the group.
        conditioning: one memory per support.
        projected: their keys and values, for a target that directly follows the supports.
        support: features of the first of the supports.
        support_masks: bool (T, S, S), the masks drawn on it.
    """

    traits: tuple[int, ...]
    conditioning: tuple[FrameMemory, ...]
    projected: ProjectedMemory
    support: ImageFeatures
    support_masks: torch.Tensor


@dataclass(slots=True)
class VideoState:
    """The state of a long video, which changes with every target.

    Attributes:
        recent: memories of the preceding targets, the newest last; per target one memory a memory bank.
        targets: number of the preceding targets.
    """

    recent: list[list[FrameMemory]] = field(default_factory=list)
    targets: int = 0


@dataclass(frozen=True, slots=True)
class Sam2Memory:
    """The supports of one group, encoded.

    Attributes:
        traits: names of the T traits.
        group: the group.
        rivals: bool (T, T): traits that never share a pixel on a support.
        banks: memory banks; every trait is in exactly one of them.
        dense: the dense propagator's memory of the same supports, if it is used.
        video: state of a long video; unused otherwise.
    """

    traits: tuple[str, ...]
    group: str
    rivals: npt.NDArray[np.bool_]
    banks: tuple[MemoryBank, ...]
    dense: DenseMemory | None
    video: VideoState = field(default_factory=VideoState)


@dataclass(frozen=True, slots=True)
class PosedPredictions:
    """SAM 2's predictions on one target, seen through one frame.

    Attributes:
        frame: the frame.
        features: features of the target, warped to the frame.
        predictions: one per memory bank, N = 1.
        initial: the masks that were given as mask prompts, if any.
    """

    frame: Frame
    features: ImageFeatures
    predictions: tuple[MaskPredictions, ...]
    initial: Propagated | None = None

    @property
    def pose_score(self) -> float:
        """Object score times expected IoU, mean over all traits, 0..1."""
        scores = [(each.object_logits.sigmoid() * each.expected_iou.clamp(0, 1))[0] for each in self.predictions]
        return float(torch.cat(scores).mean())


def resolve_overlaps(logits: torch.Tensor, rivals: npt.NDArray[np.bool_]) -> Floats:
    """Give every pixel that rival traits claim to the one with the highest logit; convert logits to probabilities.

    Args:
        logits: float32 (T, S, S).
        rivals: bool (T, T), traits that never share a pixel.

    Returns:
        float32 (T, S, S), 0..1, above 0.5 inside a mask.
    """
    resolved = logits.clone()
    for trait, others in enumerate(rivals):
        if others.any():
            strongest = logits[torch.from_numpy(others).to(logits.device)].amax(dim=0)
            suppressed = torch.minimum(logits[trait], -strongest)
            resolved[trait] = torch.where(logits[trait] < strongest, suppressed, resolved[trait])
    probabilities: Floats = resolved.sigmoid().cpu().numpy()
    return probabilities


def warp_support_masks(support: Support, frame: Frame, side: int) -> torch.Tensor:
    """Warp a support's masks to its frame: bool (T, S, S), S = `side`.

    The threshold is lowered for a mask that is too thin to fill half of any pixel, so that none becomes empty.
    """
    soft = [frames.warp_mask(mask, frame, side) for mask in support.masks]
    return torch.from_numpy(np.stack([each >= min(0.5, max(float(each.max()) / 2, 1e-6)) for each in soft]))


def merge_banks(
    memory: Sam2Memory, predictions: Sequence[MaskPredictions]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Merge the predictions of all memory banks on one image, in the order of the memory's traits.

    Args:
        memory: the memory.
        predictions: one per memory bank, N = 1.

    Returns:
        Mask logits, float32 (T, s, s); object logits, float32 (T,); expected IoU, float32 (T,).
    """
    traits = torch.tensor([trait for bank in memory.banks for trait in bank.traits])
    order = traits.argsort().to(predictions[0].object_logits.device)
    logits, object_logits, expected_iou = (
        torch.cat([getattr(each, name)[0] for each in predictions])[order]
        for name in ("logits", "object_logits", "expected_iou")
    )
    return logits, object_logits, expected_iou
