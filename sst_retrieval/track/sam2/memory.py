"""What SAM 2 keeps of a group's supports, and what it saw on a target: the nouns of `sam2`, and how they are sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from sst_retrieval.imaging import frames
from sst_retrieval.track.dense.memory import DenseMemory
from sst_retrieval.track.sam2.attention import Prepared
from sst_retrieval.track.sam2.network import Encoded, Memory, Tracked
from sst_retrieval.types import Floats, Frame, Propagated, Support


@dataclass(frozen=True, slots=True)
class Known:
    """Traits that were drawn on the same supports.

    Attributes:
        traits: their places among all traits.
        memories: one of each of those supports.
        prepared: the same, ready for a target that is the next frame after them.
        support: the first of those supports, encoded.
        drawn: bool (T, S, S), their masks on it.
    """

    traits: tuple[int, ...]
    memories: tuple[Memory, ...]
    prepared: Prepared
    support: Encoded
    drawn: torch.Tensor


@dataclass(slots=True)
class Film:
    """How far a long film has come.

    Attributes:
        before: what was found on the targets so far, newest last: per target, one memory per entry of `known`.
        place: how many targets there were.
    """

    before: list[list[Memory]] = field(default_factory=list)
    place: int = 0


@dataclass(frozen=True, slots=True)
class Sam2Memory:
    """The supports of one group, encoded.

    Attributes:
        traits: names of the T traits.
        group: whose they are.
        rivals: bool (T, T): traits that never share a pixel on a support.
        known: what is remembered; every trait is in one of them.
        dense: the same supports as the dense propagator remembers them, if it helps.
        film: how far a long film has come; not used otherwise.
    """

    traits: tuple[str, ...]
    group: str
    rivals: npt.NDArray[np.bool_]
    known: tuple[Known, ...]
    dense: DenseMemory | None
    film: Film = field(default_factory=Film)


@dataclass(frozen=True, slots=True)
class Look:
    """What SAM 2 saw through one frame.

    Attributes:
        frame: the frame.
        encoded: the picture.
        found: per entry of `Sam2Memory.known`, its traits, N = 1.
        guess: the masks that led it.
    """

    frame: Frame
    encoded: Encoded
    found: tuple[Tracked, ...]
    guess: Propagated | None = None

    @property
    def sureness(self) -> float:
        """Object score times expected IoU, mean of all traits, 0..1."""
        return float(torch.cat([(each.score.sigmoid() * each.iou.clamp(0, 1))[0] for each in self.found]).mean())


def settled(logits: torch.Tensor, competing: npt.NDArray[np.bool_]) -> Floats:
    """Turn logits into shares, and give every pixel that competing traits claim to the one with the highest logit.

    Args:
        logits: float32 (T, S, S).
        competing: bool (T, T).

    Returns:
        float32 (T, S, S), 0..1, above 0.5 inside a mask.
    """
    kept = logits.clone()
    for trait, others in enumerate(competing):
        if others.any():
            strongest = logits[torch.from_numpy(others).to(logits.device)].amax(dim=0)
            kept[trait] = torch.where(logits[trait] < strongest, torch.minimum(logits[trait], -strongest), kept[trait])
    shares: Floats = kept.sigmoid().cpu().numpy()
    return shares


def drawn_through(support: Support, frame: Frame, side: int) -> torch.Tensor:
    """See a support's masks through its frame: bool (T, S, S); a mask too thin to fill half a pixel is kept too."""
    soft = [frames.warp_mask(mask, frame, side) for mask in support.masks]
    return torch.from_numpy(np.stack([each >= min(0.5, max(float(each.max()) / 2, 1e-6)) for each in soft]))


def of_picture(found: Tracked, picture: int) -> Tracked:
    """Return what was found on one picture, N = 1."""
    keep = slice(picture, picture + 1)
    return Tracked(found.logits[keep], found.score[keep], found.iou[keep], found.pointers[keep])


def in_order(memory: Sam2Memory, found: Sequence[Tracked]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bring the parts of one picture's answer into the order of the memory's traits: logits, scores, IoUs."""
    places = torch.tensor([trait for known in memory.known for trait in known.traits])
    order = places.argsort().to(found[0].score.device)
    logits, score, iou = (
        torch.cat([getattr(each, name)[0] for each in found])[order] for name in ("logits", "score", "iou")
    )
    return logits, score, iou
