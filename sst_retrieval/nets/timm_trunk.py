"""Any backbone of timm with dense features as the trunk of the dense matching: ConvNeXt, DINOv2, a larger EfficientNet.

1. `timm:NAME` names the model and takes its weights from timm's hub; `timm:NAME@FILE` takes them from a file
   (.safetensors, .pth, .pt), with the names of timm's tensors or, all shapes agreeing, in their order.
2. Feature maps come from `forward_intermediates`, and their strides from the model. A stride of 2, 4, 8, 16 or 32
   pixels is a level, as of `nets.efficientnet`; a level that the model lacks has no channel, and no part in any
   descriptor. Where all maps have one stride (vision transformers), those at a third, two thirds and the end of the
   depth are taken for the levels of strides 8, 16 and 32.
3. Positional bias is removed where the model knows absolute positions: what the features of a plain grey picture vary
   in, they vary in by position alone; these directions are projected out (as INSID3 does, arXiv 2603.28480), so that a
   part is compared with parts elsewhere on the other photograph.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from sst_retrieval.errors import ModelError
from sst_retrieval.files import hash_file
from sst_retrieval.nets.device import resolve_device
from sst_retrieval.nets.efficientnet import STRIDES, match_by_position

PREFIX = "timm:"
INSTALL = "python -m pip install 'sst-retrieval[timm]'"

POSITION_VARIANCE = 0.9
"""Share of the variance of a grey picture's features whose directions are projected out."""

POSITION_DIRECTIONS = 32
"""Most directions that are projected out."""

GREY = 127

PROBED_SIDES = (96, 160)
"""Edges of the pictures, in pixels, on which a model is tried."""


class TimmTrunk:
    """A backbone of timm, with the interface of `nets.efficientnet.EfficientNetTrunk`.

    Attributes:
        name: the model and the first digits of its weights' checksum; goes into the provenance.
        device: where it runs.
        weights: name, file, sha256 of the weights, for the provenance.
        strides: of the levels that have channels, in pixels of the picture.
    """

    def __init__(self, spec: str, device: str = "auto") -> None:
        """Build the network and load its weights.

        Args:
            spec: `timm:NAME` or `timm:NAME@FILE`.
            device: "auto", "cpu" or "cuda".

        Raises:
            ModelError: timm is not installed, it has no such model, the model gives no feature maps, or the weights are
                missing or do not fit.
        """
        model, _, file = spec.removeprefix(PREFIX).partition("@")
        if not spec.startswith(PREFIX) or not model:
            raise ModelError(f"there is no trunk {spec!r}; name one as timm:NAME or timm:NAME@weights.safetensors")
        self.device = resolve_device(device)
        timm = _import_timm()
        network, self.weights = _load_network(timm, model, Path(file) if file else None)
        self.name = f"{PREFIX}{model} {self.weights['sha256'][:8]}"
        self._network = network.eval().to(self.device)
        self._indices, self._levels, strides = _choose_levels(network, model)
        self.strides: Mapping[int, int] = dict(zip(self._levels, strides, strict=True))
        self._patch = max(strides) if len(set(strides)) == 1 else 1
        config = timm.data.resolve_model_data_config(network)
        self._mean, self._spread = (
            torch.tensor(config[key], device=self.device).reshape(1, 3, 1, 1) * 255 for key in ("mean", "std")
        )
        knows_positions = any("pos_embed" in name or "rope" in name for name, _ in network.named_parameters())
        knows_positions |= any("pos_embed" in name or "rope" in name for name, _ in network.named_modules())
        self._positions: dict[tuple[int, ...], list[torch.Tensor]] | None = {} if knows_positions else None
        self._probe(model)

    @torch.inference_mode()
    def levels(
        self, images: npt.NDArray[np.uint8], *, deepest: int = len(STRIDES), together: int = 1
    ) -> list[torch.Tensor]:
        """Compute the feature maps of images of one size, each image by itself, so that none depends on the others.

        Args:
            images: uint8 (N, H, W, 3), RGB.
            deepest: how many levels are computed, finest first, 1..5.
            together: how many images may go through the network at once; here each goes alone.

        Returns:
            One float32 tensor (N, C, h, w) a level, on `device`; C is 0 for a level that the model lacks.

        Raises:
            ValueError: the images have another type or shape, or there are none.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or images.size == 0:
            raise ValueError(f"images are {images.dtype} {images.shape}; pass uint8 (N, H, W, 3)")
        pixels = torch.from_numpy(images.copy()).to(self.device).permute(0, 3, 1, 2).float()
        size = tuple(-(-length // self._patch) * self._patch for length in pixels.shape[2:])
        if size != pixels.shape[2:]:  # A transformer's patches have to cover the picture.
            pixels = functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        each = [self._remove_positions(self._compute_maps(one), size) for one in pixels.split(1)]
        maps = dict(zip(self._levels, (torch.cat(grids) for grids in zip(*each, strict=True)), strict=True))
        nothing = pixels.new_zeros(len(pixels), 0, 1, 1)
        return [maps.get(level, nothing) for level in range(deepest)]

    def _probe(self, model: str) -> None:
        """Make sure that the network takes pictures of other sizes than the one it was trained on."""
        for side in PROBED_SIDES:
            try:
                self.levels(np.full((1, side, side, 3), GREY, dtype=np.uint8))
            except Exception as error:  # Whatever the model raises.
                raise ModelError(
                    f"{model} takes no picture of {side} x {side} pixels ({error}); choose another"
                ) from error

    def _compute_maps(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Compute the chosen feature maps of one image, float32 (1, 3, H, W), 0..255: float32 (1, C, h, w) each."""
        standard = (pixels - self._mean) / self._spread
        maps: list[torch.Tensor] = self._network.forward_intermediates(
            standard, indices=self._indices, intermediates_only=True, output_fmt="NCHW"
        )
        return [grid.float() for grid in maps]

    def _remove_positions(self, maps: list[torch.Tensor], size: tuple[int, ...]) -> list[torch.Tensor]:
        """Project the directions of position out of the feature maps of an image of a size, (height, width)."""
        if self._positions is None:
            return maps
        if size not in self._positions:
            grey = torch.full((1, 3, *size), float(GREY), device=self.device)
            self._positions[size] = [_find_directions(grid) for grid in self._compute_maps(grey)]
        return [
            grid - torch.einsum("cd,ed,nehw->nchw", directions, directions, grid)
            for grid, directions in zip(maps, self._positions[size], strict=True)
        ]


def _find_directions(grid: torch.Tensor) -> torch.Tensor:
    """Find the directions in which the cells of a plain picture vary: float32 (C, D), orthonormal columns."""
    cells = grid[0].flatten(1)
    vectors, values, _ = torch.linalg.svd(cells - cells.mean(dim=1, keepdim=True), full_matrices=False)
    shares = (values**2).cumsum(0) / (values**2).sum().clamp(min=1e-12)
    count = int((shares < POSITION_VARIANCE).sum()) + 1
    directions: torch.Tensor = vectors[:, : min(count, POSITION_DIRECTIONS)]
    return directions


def _import_timm() -> Any:
    from sst_retrieval.nets.torchvision_shim import ensure_torchvision

    try:
        ensure_torchvision()  # Before timm, which imports torchvision.
        return importlib.import_module("timm")
    except ImportError as error:
        raise ModelError(f"--trunk needs timm, which cannot be imported ({error}); run: {INSTALL}") from error


def _load_network(timm: Any, model: str, file: Path | None) -> tuple[Any, dict[str, str]]:
    """Build a network of timm with weights: the network, and what the provenance says of the weights."""
    if not timm.is_model(model):
        alike = ", ".join(timm.list_models(f"*{model.split('.')[0].split('_')[0]}*")[:5]) or "see timm.list_models()"
        raise ModelError(f"timm {timm.__version__} has no model {model!r}; it has, for example: {alike}")
    dynamic = {"dynamic_img_size": True} if _takes_any_size(timm, model) else {}
    if file is None:
        try:
            network = timm.create_model(model, pretrained=True, **dynamic)
        except Exception as error:  # Of the hub, the network, or a disk: whatever the libraries below raise.
            raise ModelError(
                f"the weights of {model} cannot be had from timm's hub: {error}; download them elsewhere, and name the "
                f"file: --trunk timm:{model}@weights.safetensors"
            ) from error
        return network, {"name": f"timm {model}", "file": "timm's hub", "sha256": _hash_tensors(network)}
    network = timm.create_model(model, pretrained=False, **dynamic)
    network.load_state_dict(_fit_tensors(network, _read_tensors(file), file.name))
    return network, {"name": f"timm {model}", "file": file.name, "sha256": hash_file(file)}


def _takes_any_size(timm: Any, model: str) -> bool:
    """Whether a model has patches and takes pictures of other sizes on request."""
    module = timm.models.model_entrypoint(model.split(".")[0]).__module__
    return module.rpartition(".")[2] in ("vision_transformer", "eva", "deit", "beit")


def _read_tensors(file: Path) -> Mapping[str, torch.Tensor]:
    """Read a file of weights, without running any code in it."""
    if not file.is_file():
        raise ModelError(f"the trunk's weights are not at {file}; name a .safetensors, .pth or .pt file that exists")
    try:
        if file.suffix == ".safetensors":
            tensors = importlib.import_module("safetensors.torch").load_file(str(file))
        else:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # Whatever a damaged file makes the two libraries raise.
        raise ModelError(f"{file} holds no readable weights: {error}") from error
    for key in ("state_dict", "model"):
        tensors = tensors.get(key, tensors) if isinstance(tensors.get(key), Mapping) else tensors
    if not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise ModelError(f"{file} holds more than named tensors; save a state dictionary alone")
    found: Mapping[str, torch.Tensor] = tensors
    return found


def _fit_tensors(network: Any, given: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Fit the tensors of a file to a network: by name, else by order; a classifier may be missing or left over."""
    wanted = network.state_dict()
    head = network.pretrained_cfg.get("classifier") or "head"
    heads = tuple(f"{name}." for name in ([head] if isinstance(head, str) else head))
    if all(name in given or name.startswith(heads) for name in wanted):
        fitted = {name: given.get(name, tensor) for name, tensor in wanted.items()}
        unfit = [name for name, tensor in fitted.items() if tensor.shape != wanted[name].shape]
        fitted |= {name: wanted[name] for name in unfit if name.startswith(heads)}
        wrong = [name for name in unfit if not name.startswith(heads)]
        if wrong:
            raise ModelError(
                f"{source}: {wrong[0]} is {tuple(given[wrong[0]].shape)}, but the model's is "
                f"{tuple(wanted[wrong[0]].shape)}; name the model that the weights are of"
            )
        return fitted
    return match_by_position(wanted, given, source)


def _hash_tensors(network: Any) -> str:
    """Hash the weights of a network that came from a hub: SHA-256 over names and values, hexadecimal."""
    import hashlib

    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _choose_levels(network: Any, model: str) -> tuple[list[int], list[int], list[int]]:
    """Choose the feature maps of a network: their indices, the levels they become, and their strides in pixels."""
    info = getattr(network, "feature_info", None)
    if info is None or not hasattr(network, "forward_intermediates"):
        raise ModelError(
            f"{model} gives no feature maps; choose a model with forward_intermediates, such as a ConvNeXt"
        )
    strides = [int(each["reduction"]) for each in info]
    if len(set(strides)) == 1 and len(strides) >= 3:
        last = len(strides) - 1
        chosen = [round(last / 3), round(2 * last / 3), last]
        return chosen, [2, 3, 4], [strides[0]] * 3
    found = {STRIDES.index(stride): number for number, stride in enumerate(strides) if stride in STRIDES}
    if not found:
        raise ModelError(f"{model} has feature maps of strides {strides}, none of which is one of {STRIDES}")
    return list(found.values()), list(found), [strides[number] for number in found.values()]
