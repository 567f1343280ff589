"""Load a CLIP network from the names of its architecture and weights; no code in a file is ever run.

1. The architecture: a name of open_clip ("ViT-B-32"), a folder with an `open_clip_config.json`, or a model of the
   Hugging Face hub ("hf-hub:imageomics/bioclip", which needs the internet).
2. The weights: a file, a name of `weights` ("bioclip", fetched before), or a tag of open_clip ("laion2b_s34b_b79k",
   which needs the internet unless it was downloaded before).
3. Tensors are read with `weights_only` or as safetensors, so that a pickle among them cannot run code. (open_clip's own
   reader falls back to a plain `torch.load`.)
4. Every parameter must get its tensor, and every tensor must have its parameter.

Ilharco et al. (2021), OpenCLIP, doi 10.5281/zenodo.5143773; Stevens et al. (2024), BioCLIP, arXiv 2311.18803.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sst_retrieval.errors import ModelError
from sst_retrieval.files import hash_file
from sst_retrieval.nets import weights
from sst_retrieval.nets.install_commands import OPEN_CLIP_COMMAND
from sst_retrieval.nets.torchvision_shim import ensure_torchvision

ARCHITECTURES: Mapping[str, str] = {
    "clip_vit_b_32_laion2b": "ViT-B-32",
    "bioclip": "ViT-B-16",
    "bioclip-2": "ViT-L-14",
}
"""Name of `weights` -> the architecture that it is for."""

_HUB, _FOLDER, _CONFIG = "hf-hub:", "local-dir:", "open_clip_config.json"
_WEIGHT_FILES = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin",
    "model.safetensors", "pytorch_model.bin",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClipModel:
    """A CLIP network with its weights, and the origin of these.

    Attributes:
        network: an open_clip model in evaluation mode, float32, on the CPU.
        tokenizer: texts -> int64 (n, length).
        mean, std: of the images it was trained on, red, green, blue, in units of 0..1; for normalising.
        name: of the architecture.
        weights: name, file and sha256, for the provenance.
    """

    network: Any
    tokenizer: Any
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    name: str
    weights: Mapping[str, str]


def load_clip(model: str | None, pretrained: str | None) -> ClipModel:
    """Load a CLIP network.

    Args:
        model: the architecture (step 1 of the module's description); None takes the one that `pretrained`, a name of
            `weights`, is for.
        pretrained: the weights (step 2 there); None for a folder or a model of the hub, which have their own.

    Raises:
        ModelError: open_clip is not installed; the architecture or the weights are unknown or not available; the
            file is broken, of another kind, or does not fit the architecture.
    """
    open_clip = _import_open_clip()
    if model is None:
        model = ARCHITECTURES.get(pretrained or "")
        if model is None:
            raise ModelError(
                f"say which architecture the weights {pretrained or '(none given)'} are for, such as --clip-model "
                f"ViT-B-32; --clip-pretrained takes a file, a tag of open_clip, or one of {', '.join(ARCHITECTURES)}"
            )
    name = _FOLDER + str(Path(model).expanduser()) if Path(model).expanduser().is_dir() else model
    _require_architecture(open_clip, name)
    path = _find_weights(open_clip, name, pretrained)
    tensors = _read_tensors(path)
    # open_clip warns of random weights; all of them are replaced.
    network = _load_or_explain(name, lambda: open_clip.create_model(name, load_weights=False, pretrained_text=False))
    _load_state(network, tensors, path, model)
    settings = network.visual.preprocess_cfg
    # Not the path: the same model on another computer is the same model.
    short = Path(model).name if name.startswith(_FOLDER) else model
    about = {"name": f"open_clip {short}", "file": path.name, "sha256": hash_file(path)}
    tokenizer = _load_or_explain(name, lambda: open_clip.get_tokenizer(name))
    return ClipModel(network.eval(), tokenizer, tuple(settings["mean"]), tuple(settings["std"]), short, about)


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the state dict of a checkpoint without running code in it.

    Raises:
        ModelError: the file is missing, truncated, no checkpoint, or holds something else than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # Here: it comes with open_clip, which may not be installed.

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is not a plain file of weights: it is something else, or holds objects that would run code when "
            "loaded; take the model's official checkpoint"
        ) from error
    except Exception as error:  # Whatever a broken file makes of its reader: safetensors has an error of its own.
        if isinstance(error, RuntimeError) and "TorchScript" in str(error):
            raise ModelError(
                f"{path} is a TorchScript program, as OpenAI published CLIP, and would run code; take the same weights "
                "as a file of tensors (.safetensors)"
            ) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{path} is damaged or no checkpoint ({reason}); perhaps its download was cut short: get it again"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    tensors = isinstance(content, dict) and all(isinstance(each, torch.Tensor) for each in content.values())
    if not tensors or not content:
        raise ModelError(f"{path} holds no tensors of a model; take a checkpoint of open_clip")
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in content.items()}


def _import_open_clip() -> Any:
    try:
        ensure_torchvision()  # Before open_clip, which imports torchvision.
        import open_clip
    except ImportError as error:
        raise ModelError(f"open_clip cannot be imported ({error}); run: {OPEN_CLIP_COMMAND}") from error
    return open_clip


def _require_architecture(open_clip: Any, name: str) -> None:
    if not name.startswith((_HUB, _FOLDER)) and open_clip.get_model_config(name.replace("/", "-")) is None:
        some = ", ".join(each for each in open_clip.list_models() if each.startswith("ViT-")) or "none"
        raise ModelError(f"open_clip has no architecture {name!r}; it has, among others, {some}")


def _find_weights(open_clip: Any, name: str, pretrained: str | None) -> Path:
    if pretrained is not None and (pretrained in weights.WEIGHTS or Path(pretrained).expanduser().is_file()):
        return weights.find(pretrained, "openclip")
    if name.startswith(_FOLDER):
        folder = Path(name.removeprefix(_FOLDER))
        file = next((folder / each for each in _WEIGHT_FILES if (folder / each).is_file()), None)
        if pretrained is None and file is not None:
            return file
        raise ModelError(
            f"{folder} has no weights under one of the names {', '.join(_WEIGHT_FILES)}; "
            "name them: --clip-pretrained FILE"
        )
    if name.startswith(_HUB):
        from open_clip.pretrained import download_pretrained_from_hf

        return Path(_load_or_explain(name, lambda: download_pretrained_from_hf(name.removeprefix(_HUB))))
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in tags:
        raise ModelError(
            f"{pretrained or 'nothing'} is given as weights of {name} (--clip-pretrained): it is no file, no name of "
            f"`sst-retrieval weights list`, and no tag of open_clip, which are: {', '.join(tags) or 'none for it'}"
        )
    settings = open_clip.get_pretrained_cfg(name, pretrained)
    if settings.get("quick_gelu", False) != bool(open_clip.get_model_config(name).get("quick_gelu", False)):
        raise ModelError(f"{pretrained} was trained with another activation; say --clip-model {name}-quickgelu")
    return Path(_load_or_explain(name, lambda: open_clip.download_pretrained(settings)))


def _load_or_explain(name: str, step: Any) -> Any:
    """Run a step that may need the internet or a missing package; if it fails, raise a ModelError that says so."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return step()
    except Exception as error:  # open_clip and the hub's client raise many kinds; the cause is kept.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{name} cannot be loaded ({type(error).__name__}: {reason}); without the internet, get its weights on "
            "another computer and name the file: --clip-model ARCHITECTURE --clip-pretrained FILE"
        ) from error
    finally:
        logging.disable(disabled)


def _load_state(network: Any, tensors: dict[str, torch.Tensor], path: Path, model: str) -> None:
    """Set all parameters of a network; open_clip's own functions convert the layouts of other programs."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    try:
        state = convert_state_dict(network, tensors)
        if "positional_embedding" in state and not hasattr(network, "positional_embedding"):
            state = convert_to_custom_text_state_dict(state)
        for scalar in ("logit_scale", "logit_bias"):
            own = getattr(network, scalar, None)
            if scalar in state and own is not None:
                state[scalar] = state[scalar].reshape(own.shape)
        state.pop("text.transformer.embeddings.position_ids", None)
        network.load_state_dict(state, strict=True)
    except (RuntimeError, KeyError) as error:
        reasons = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"{path} does not fit the architecture {model}: {'; '.join(reasons[1:3]) or reasons[0]}; name the right "
            "one with --clip-model"
        ) from error
