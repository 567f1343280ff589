"""An epoch of a fine-tuning on a group, and when a fine-tuning has stalled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Epoch:
    """Result of one epoch; number 0 is the network before training. Stored with the training: keep the field names.

    Attributes:
        number: from 0.
        loss: mean over the training targets; NaN for number 0.
        agreement: validation: mean IoU of returned and drawn masks over the held-out targets.
    """

    number: int
    loss: float
    agreement: float


def find_best(epochs: Sequence[Epoch]) -> Epoch:
    """Find the epoch with the highest agreement; the first of several."""
    return max(epochs, key=lambda epoch: epoch.agreement)


def has_stalled(epochs: Sequence[Epoch], patience: int) -> bool:
    """Return whether the agreement has not risen for `patience` epochs."""
    return len(epochs) - 1 - find_best(epochs).number >= patience
