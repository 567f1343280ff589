"""Adapters of SAM 2: low-rank or full updates of mask decoder and memory encoder, one per group.

1. `make_trainable`: every weight matrix W of the two modules becomes W + B A with A and B of low rank (LoRA: Hu et al.
   2021, arXiv 2106.09685), B starting at zero; or the weights themselves are trained.
2. `track.adapter_files` saves the trained tensors.
3. `Adapters`: merges the update of a group into the weights while that group is processed, and restores the
   checkpoint's weights for all others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from sst_retrieval.errors import ModelError
from sst_retrieval.track.adapter_files import load_adapter

FORMAT = "sst-retrieval SAM 2 adapter 1"
PARTS = ("sam_mask_decoder", "memory_encoder")
"""Modules that are trained."""

FROZEN = ("sam_mask_decoder.conv_s0", "sam_mask_decoder.conv_s1", "sam_mask_decoder.iou_prediction_head")
"""Their modules that belong to the image encoder's pass, or that the cycle loss does not supervise."""

FROZEN_SCORE_HEAD = "sam_mask_decoder.pred_obj_score_head"


class LowRankUpdate(nn.Module):
    """Adds B A to a weight of any shape, reshaped to a matrix with one row per index of its first axis."""

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        """Initialise the update to zero.

        Args:
            weight: any shape with two or more dimensions.
            rank: of the update.
        """
        super().__init__()
        rows, columns = len(weight), weight[0].numel()
        rank = min(rank, rows, columns)
        self.a = nn.Parameter(torch.randn(rank, columns, device=weight.device) / math.sqrt(columns))
        self.b = nn.Parameter(torch.zeros(rows, rank, device=weight.device))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight plus the update, in the shape of the weight."""
        return weight + (self.b @ self.a).reshape(weight.shape)


def make_trainable(model: Any, rank: int | None) -> dict[str, nn.Parameter]:
    """Freeze a network except for the parameters to train.

    Args:
        model: a `SAM2Base`; changed in place.
        rank: of the low-rank updates; None to train the weights themselves.

    Returns:
        Name -> trainable parameter.
    """
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if not name.startswith(PARTS) or name.startswith((*FROZEN, FROZEN_SCORE_HEAD)):
            continue
        if rank is None:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(True)
        elif isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            parametrize.register_parametrization(module, "weight", LowRankUpdate(module.weight, rank))
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


def copy_trained_tensors(model: Any) -> dict[str, torch.Tensor]:
    """Copy the trained tensors to the CPU: name of a weight, or of its low-rank factor (`.a`, `.b`), -> tensor."""
    return {
        name.replace(".parametrizations.weight.0.", ".weight."): each.detach().cpu().clone()
        for name, each in model.named_parameters()
        if each.requires_grad
    }


def merge_weights(model: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Merge an adapter's tensors into a network's weights: name -> merged weight. The network is not changed.

    Raises:
        ModelError: the adapter does not fit the network.
    """
    own = model.state_dict()
    names = sorted({name.removesuffix(".a").removesuffix(".b") for name in tensors})
    result = {}
    for name in names:
        a, b = tensors.get(f"{name}.a"), tensors.get(f"{name}.b")
        full = tensors.get(name)
        weight = own.get(name)
        if weight is not None and full is not None and full.shape == weight.shape:
            result[name] = full.to(weight)
        elif weight is not None and a is not None and b is not None and _fits(weight, a, b):
            result[name] = weight + (b @ a).reshape(weight.shape).to(weight)
        else:
            raise ModelError(f"the adapter's {name} does not fit the network; it was made with another architecture")
    return result


class Adapters:
    """The adapters of a build, one a group, swapped in and out of a network.

    Attributes:
        name: groups and checksums, for the provenance; empty if there are none.
    """

    def __init__(self, model: Any, folders: Sequence[Path], checkpoint: str) -> None:
        """Read adapters and compute their merged weights.

        Args:
            model: the network, with the checkpoint's own weights.
            folders: folders of adapters.
            checkpoint: the checkpoint's SHA-256.

        Raises:
            ModelError: an adapter is broken, or made for another checkpoint, or two are for one group.
        """
        self._model, self._active = model, ""
        self._weights: dict[str, dict[str, torch.Tensor]] = {}
        names = []
        for folder in folders:
            tensors, about = load_adapter(folder, FORMAT)
            group = str(about["group"])
            if about["checkpoint"]["sha256"] != checkpoint:
                raise ModelError(
                    f"{folder} was made with the checkpoint {about['checkpoint']['name']}, not with this one; "
                    "an adapter fits no other"
                )
            if group in self._weights:
                raise ModelError(f"two adapters are for the group {group!r}; give one")
            self._weights[group] = merge_weights(model, tensors)
            names.append(f"{group} {about['sha256'][:8]}")
        self.name = f", adapters: {', '.join(sorted(names))}" if names else ""
        state = model.state_dict()
        self._own = {name: state[name].clone() for each in self._weights.values() for name in each}

    def activate(self, group: str) -> None:
        """Load the weights of a group into the network: of its adapter, or the checkpoint's own."""
        if not self._own or group == self._active:
            return
        state, wanted = self._model.state_dict(), self._weights.get(group, {})
        for name, own in self._own.items():
            state[name].copy_(wanted.get(name, own))
        self._active = group


def _fits(weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.ndim == b.ndim == 2 and len(a) == b.shape[1] and len(b) * a.shape[1] == weight.numel()
