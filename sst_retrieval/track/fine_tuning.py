"""The loop of a fine-tuning on a group: some photographs are held out, the best epoch is saved, it can be resumed."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from sst_retrieval.files import atomic_write
from sst_retrieval.track.adapter_files import load_state, save_adapter
from sst_retrieval.track.epochs import Epoch, find_best, has_stalled

Target = TypeVar("Target")


class LoopSettings(Protocol):
    """Settings of the loop; see the `CycleSettings` of what learns."""

    @property
    def epochs(self) -> int:
        """Most passes over the targets."""

    @property
    def patience(self) -> int:
        """Epochs without a better validation after which the training stops."""

    @property
    def held_out(self) -> float:
        """Share of the targets that are held out for validation."""

    @property
    def seed(self) -> int:
        """Seed of the split."""


class FineTuning(ABC, Generic[Target]):
    """A fine-tuning in progress.

    Attributes:
        validation: targets that are held out.
        training: the others.
        epochs: those that were done.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        settings: LoopSettings,
        output: Path,
        about: Mapping[str, Any],
        kind: str,
        device: torch.device | str = "cpu",
    ) -> None:
        """Split the targets.

        Args:
            targets: two or more.
            settings: of the loop.
            output: folder of the adapter.
            about: provenance, JSON-ready, with the "settings".
            kind: format of the adapter.
            device: of what learns.
        """
        self._loop, self._output, self._about, self._kind, self._device = settings, output, about, kind, device
        order = list(targets)
        random.Random(settings.seed).shuffle(order)
        held_out = max(1, round(settings.held_out * len(order)))
        self.validation, self.training = order[:held_out], order[held_out:]
        self.epochs: list[Epoch] = []

    @abstractmethod
    def train_epoch(self, number: int) -> float:
        """Train on every target of `training` once; return the mean loss."""

    @abstractmethod
    def validate(self) -> float:
        """Compute the mean IoU of returned and drawn masks over `validation`."""

    @abstractmethod
    def copy_tensors(self) -> dict[str, torch.Tensor]:
        """Copy the tensors that an adapter holds."""

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Return what the training goes on from: tensors and plain values."""

    @abstractmethod
    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned."""

    def run(self, progress: Callable[[Epoch], None]) -> list[Epoch]:
        """Train until validation stops improving; return the epochs.

        Raises:
            ModelError: the folder holds an adapter, or a training of something else.
        """
        self._output.mkdir(parents=True, exist_ok=True)
        self._resume()
        if not self.epochs:
            self.epochs.append(Epoch(0, float("nan"), self.validate()))
            progress(self.epochs[-1])
        while len(self.epochs) <= self._loop.epochs and not has_stalled(self.epochs, self._loop.patience):
            number = len(self.epochs)
            loss = self.train_epoch(number)
            self.epochs.append(Epoch(number, loss, self.validate()))
            if find_best(self.epochs) is self.epochs[-1]:
                # At once, so that an interrupted training leaves a usable adapter.
                listed = [asdict(epoch) | {"loss": str(epoch.loss)} for epoch in self.epochs]
                save_adapter(self._output, self._kind, self.copy_tensors(), {**self._about, "epochs": listed})
            self._save_state()
            progress(self.epochs[-1])
        return self.epochs

    def _save_state(self) -> None:
        """Write `training.pt`, from which the training can be resumed."""
        listed = [asdict(epoch) for epoch in self.epochs]
        with atomic_write(self._output / "training.pt") as path:
            torch.save({"about": dict(self._about), "epochs": listed, **self.get_state()}, path)

    def _resume(self) -> None:
        """Load the state of an interrupted training in the output folder, if there is one."""
        state = load_state(self._output, self._about, self._device)
        if state is not None:
            self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
            self.set_state(state)
