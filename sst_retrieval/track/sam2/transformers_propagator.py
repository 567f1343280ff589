"""SAM 2 through the `transformers` package, as a propagator; else as `track.sam2.propagator`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sst_retrieval.errors import ModelError
from sst_retrieval.nets.device import resolve_device
from sst_retrieval.track.sam2.adapter import Adapters
from sst_retrieval.track.sam2.propagator import Sam2Propagator, Sam2Settings
from sst_retrieval.track.sam2.transformers_network import TransformersNetwork, load_transformers_model

VERSION = 1
"""Raised whenever the same settings would give other masks."""


class TransformersPropagator(Sam2Propagator):
    """Propagates masks with a SAM 2 of `transformers` (a `Propagator`); needs no sam2 package.

    It finds the pose and converts masks as `Sam2Propagator`, and its masks are the same with the same weights. Mask
    prompts, adapters and cycle consistency are not supported.
    """

    def __init__(self, folder: str, *, device: str = "auto", settings: Sam2Settings | None = None) -> None:
        """Load SAM 2.

        Args:
            folder: with `config.json` and `model.safetensors`, such as a copy of facebook/sam2.1-hiera-tiny.
            device: "auto", "cpu" or "cuda".
            settings: poses; see `Sam2Settings`.

        Raises:
            ModelError: transformers or the folder is missing, the folder holds something else, the device is not
                available, or cycle consistency is asked for.
        """
        self.settings = settings if settings is not None else Sam2Settings()
        if self.settings.cycle:
            raise ModelError("--cycle-consistency is for --propagator sam2 and dense+sam2, not for sam2-transformers")
        chosen = resolve_device(device)
        loaded = load_transformers_model(Path(folder).expanduser())
        network: Any = TransformersNetwork(loaded.model, chosen)
        self.network = network
        self.weights = loaded.weights
        self.batch = 1
        self._dense = None
        self._adapters = Adapters(loaded.model, [], loaded.weights["sha256"])
        settings_hash = hashlib.sha256(repr(self.settings).encode()).hexdigest()[:8]
        self.name = (
            f"SAM 2 {loaded.name} at {network.side} px by transformers, version {VERSION}, two-frame film, "
            f"{chosen.type}, settings {settings_hash}"
        )
