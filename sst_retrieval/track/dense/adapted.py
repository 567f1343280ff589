"""The dense propagator with keys and decoders that were fine-tuned on single groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sst_retrieval.errors import ModelError
from sst_retrieval.track.adapter_files import load_adapter
from sst_retrieval.track.dense.cycle_training import FORMAT
from sst_retrieval.track.dense.memory import DenseMemory
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.trained_decoder import TrainedDecoder
from sst_retrieval.types import Propagated, RGBImage, Support


@dataclass(frozen=True, slots=True)
class AdaptedMemory:
    """The supports of one group, encoded by the group's own keys.

    Attributes:
        group: whose.
        memory: of the group's propagator.
    """

    group: str
    memory: DenseMemory

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the T traits."""
        return self.memory.traits


class AdaptedPropagator:
    """Propagates a group with its adapter, and every other group as without adapters (a `Propagator`).

    Attributes:
        name: that of the propagator without adapters, and groups and checksums of the adapters.
        trunk, weights: of the propagator without adapters.
    """

    concurrent = True

    def __init__(self, dense: DensePropagator, folders: Sequence[Path]) -> None:
        """Read adapters.

        Args:
            dense: the propagator without adapters.
            folders: of adapters, each of another group.

        Raises:
            ModelError: an adapter is broken, or made for other weights, or two are for one group.
        """
        assert dense.decoder is not None
        self._dense, self.trunk, self.weights = dense, dense.trunk, dense.weights
        self._own: dict[str, DensePropagator] = {}
        names = []
        for folder in folders:
            tensors, about = load_adapter(folder, FORMAT)
            group = str(about["group"])
            if about["checkpoint"]["sha256"] != dense.decoder.sha256:
                raise ModelError(
                    f"{folder} was made with the {about['checkpoint']['name']}, not with this program's "
                    f"({dense.decoder.name}); make it again with: sst-retrieval finetune"
                )
            if group in self._own:
                raise ModelError(f"two adapters are for the group {group!r}; give one")
            self._own[group] = DensePropagator(
                trunk=dense.trunk,
                matching_trunk=dense.matching_trunk,
                settings=dense.settings,
                decoder=TrainedDecoder(device=dense.trunk.device, adapter=tensors),
            )
            names.append(f"{group} {about['sha256'][:8]}")
        self.name = f"{dense.name}, adapters: {', '.join(sorted(names))}"

    def remember(self, supports: Sequence[Support]) -> AdaptedMemory:
        """Encode the supports of a group; those after the first are aligned to the first."""
        group = supports[0].group
        return AdaptedMemory(group, self._choose(group).remember(supports))

    def propagate(self, memory: AdaptedMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find the traits on every image, each by itself."""
        return self._choose(memory.group).propagate(memory.memory, images)

    def _choose(self, group: str) -> DensePropagator:
        return self._own.get(group, self._dense)
