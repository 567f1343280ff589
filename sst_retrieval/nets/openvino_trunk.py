"""EfficientNet-lite0 run by OpenVINO instead of PyTorch: somewhat faster, other last bits.

1. The network of `nets.efficientnet`, its normalisation folded, is converted when images of a new size come: OpenVINO
   traces it as PyTorch would run it. That takes one or two seconds a size, of which a build has five.
2. It is compiled for float32. On processors with bfloat16 units OpenVINO would choose those by itself, and masks would
   be broken (mean IoU with those of float32 0.92, worst 0).
3. Each call computes on one thread, and several threads may call at the same time; so a result depends neither on the
   number of threads nor on other calls.

The features differ from PyTorch's by rounding, a millionth of their largest value; `docs/scaling.md` says what that
does to masks and vectors.
"""

from __future__ import annotations

import importlib
import os
import threading
import warnings
from typing import Any

import torch
from torch import nn

from sst_retrieval.errors import ModelError
from sst_retrieval.nets.efficientnet import EfficientNetTrunk, build_imagenet_network, find_weights_file
from sst_retrieval.nets.lite0 import LAST_OF_LEVEL, EfficientNetLite0

MAX_STREAMS = 16
"""Threads that compute at the same time; more wait for one another."""


class OpenVinoTrunk(EfficientNetTrunk):
    """EfficientNet-lite0 up to its last feature map, on the processor, by OpenVINO. Several threads may call it."""

    most_together = 1

    def __init__(self, device: str = "auto") -> None:
        """Load the weights.

        Args:
            device: "auto" or "cpu"; with "auto", a graphics card is left alone.

        Raises:
            ModelError: as `EfficientNetTrunk`; OpenVINO is not installed, or another device is asked for.
        """
        if device not in ("auto", "cpu"):
            raise ModelError(
                f"--runtime openvino computes on the processor; with --device {device}, leave out --runtime"
            )
        self._openvino = _import_openvino()
        super().__init__("cpu")
        self._network = build_imagenet_network(find_weights_file())
        self._core = self._openvino.Core()
        self._compiled: dict[tuple[int, int, int], Any] = {}
        self._compiling = threading.Lock()
        self._own = threading.local()

    def _levels(self, pixels: torch.Tensor, deepest: int) -> list[torch.Tensor]:
        key = (*pixels.shape[-2:], deepest)
        request = self._get_request(key)
        request.infer([pixels.contiguous().numpy()])
        # Copies, for the next call writes into the same memory; channels last, as the other trunk gives them, for what
        # comes after it takes longer otherwise.
        levels = (torch.from_numpy(request.get_output_tensor(level).data) for level in range(deepest))
        return [torch.empty_like(level, memory_format=torch.channels_last).copy_(level) for level in levels]

    def count_together(self, count: int, size: tuple[int, ...]) -> int:
        """Return 1: every size is compiled for one image."""
        return 1

    def _get_request(self, key: tuple[int, int, int]) -> Any:
        """Return this thread's own request for images of a size: (height, width, deepest level)."""
        requests = vars(self._own).setdefault("requests", {})
        if key not in requests:
            with self._compiling:
                if key not in self._compiled:
                    self._compiled[key] = self._compile(*key)
            requests[key] = self._compiled[key].create_infer_request()
        return requests[key]

    def _compile(self, height: int, width: int, deepest: int) -> Any:
        example = torch.zeros(1, 3, height, width)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of PyTorch, that the sizes become constants: they are meant to.
            model = self._openvino.convert_model(
                _Levels(self._network, deepest), example_input=example, input=list(example.shape)
            )
        streams = min(os.cpu_count() or 1, MAX_STREAMS)
        return self._core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": streams,  # One a stream.
                "ENABLE_CPU_PINNING": False,  # Several processes of one computer would be tied to the same cores.
            },
        )


class _Levels(nn.Module):
    """The network up to a level, which returns all levels on the way."""

    def __init__(self, network: EfficientNetLite0, deepest: int) -> None:
        super().__init__()
        self.network, self.deepest = network, deepest

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        grid = self.network.bn1(self.network.conv_stem(pixels))
        levels: list[torch.Tensor] = []
        for number, stage in enumerate(self.network.blocks):
            grid = stage(grid)
            if number in LAST_OF_LEVEL:
                levels.append(grid)
            if len(levels) == self.deepest:
                break
        return tuple(levels)


def _import_openvino() -> Any:
    try:
        return importlib.import_module("openvino")
    except ModuleNotFoundError as error:
        raise ModelError(
            "OpenVINO is not installed, which --runtime openvino needs; run: pip install 'sst-retrieval[openvino]'"
        ) from error
