"""From a SAM 2 checkpoint, by name or by path, to a network, without running any code in the file.

1. The file: a name of `nets.weights` (fetched before), or a path.
2. Its tensors are read with `weights_only`, so that a pickle in it cannot run code.
3. The architecture is recognised by the shapes of the tensors, or described by a YAML configuration in Meta's format,
   which may name only the classes of an allow-list.
4. Every tensor must match a parameter or buffer of the network, and every one of these a tensor.

Ravi et al. (2024), arXiv 2408.00714.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sst_retrieval.errors import ModelError
from sst_retrieval.files import hash_file
from sst_retrieval.nets import weights
from sst_retrieval.nets.install_commands import SAM2_COMMAND
from sst_retrieval.track.sam2 import lite_trunk

SIZES: Mapping[tuple[int, int], str] = {(96, 12): "t", (96, 16): "s", (112, 24): "b+", (144, 48): "l"}
"""(features of the first layer, blocks of the trunk) -> the letter in the name of Meta's configuration."""

_CLASSES = {
    f"sam2.modeling.{name}"
    for name in (
        "sam2_base.SAM2Base",
        "backbones.image_encoder.ImageEncoder",
        "backbones.image_encoder.FpnNeck",
        "backbones.hieradet.Hiera",
        "position_encoding.PositionEmbeddingSine",
        "memory_attention.MemoryAttention",
        "memory_attention.MemoryAttentionLayer",
        "sam.transformer.RoPEAttention",
        "memory_encoder.MemoryEncoder",
        "memory_encoder.MaskDownSampler",
        "memory_encoder.Fuser",
        "memory_encoder.CXBlock",
    )
} | {"sst_retrieval.track.sam2.lite_trunk.LiteTrunk"}
"""Every class that a configuration may name: it is untrusted text, and its `_target_` could otherwise call anything."""

_MOVED = {"sst_retrieval.models.tracker.LiteTrunk": "sst_retrieval.track.sam2.lite_trunk.LiteTrunk"}
"""Class path of an earlier version -> its path now; configurations written with the old path must still open."""

# Overrides of the official predictors for inference (`build_sam2_video_predictor`, `build_sam2`).
INFERENCE_OVERRIDES = {"binarize_mask_from_pts_for_mem_enc": True, "compile_image_encoder": False}
_STABLE_MASKS = {
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    }
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network with its weights and their provenance.

    Attributes:
        model: a `sam2.modeling.sam2_base.SAM2Base` in evaluation mode, float32, on the CPU.
        name: of the file, without its suffix.
        weights: name, file, sha256 and licence, for the provenance; config, the sha256 of the configuration file, if
            one was given: the same weights in another architecture make other masks.
    """

    model: Any
    name: str
    weights: Mapping[str, str]


def load_checkpoint(checkpoint: str, config: Path | None = None) -> Checkpoint:
    """Load a SAM 2 network.

    Args:
        checkpoint: a name of `nets.weights.WEIGHTS`, or the path of a .pt file.
        config: a YAML file in the sam2 package's format; needed only for an architecture that is not recognised.

    Raises:
        ModelError: the sam2 package or the file is missing, the file is broken, of another kind, or does not fit.
    """
    _require_package()
    path = weights.find(checkpoint, "sam2")
    tensors = read_tensors(path)
    model = build_network(config if config is not None else _official_config(tensors, path))
    _load_tensors(model, tensors, path)
    return Checkpoint(model.eval(), path.stem, _provenance(checkpoint, path, config))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint, without running any code in it: name -> tensor, on the CPU.

    Raises:
        ModelError: the file is missing, truncated, no checkpoint, or holds something else than tensors.
    """
    try:
        # mmap would leave a truncated file unnoticed until a tensor is used.
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist; name a checkpoint by its path") from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is not a plain file of weights (it is something else, or holds objects that would run code when "
            "loaded); take the official checkpoint: sst-retrieval weights list"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        what = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise ModelError(
            f"{path} is damaged or no checkpoint ({what}); perhaps its download was cut short: "
            f"it has {path.stat().st_size:,} bytes; fetch it again"
        ) from error
    tensors = found.get("model", found) if isinstance(found, Mapping) else None
    if not isinstance(tensors, Mapping) or not tensors or not all(map(torch.is_tensor, tensors.values())):
        raise ModelError(f"{path} holds no tensors of a network; a SAM 2 checkpoint has them under the key 'model'")
    return dict(tensors)


def _require_package() -> None:
    """Raise a helpful ModelError if the sam2 package is not installed."""
    try:
        import sam2.modeling.sam2_base  # noqa: F401  Here, so that everything else works without it.
    except ImportError as error:
        raise ModelError(f"SAM 2 is not installed ({error}); run: {SAM2_COMMAND}") from error


def _official_config(tensors: Mapping[str, torch.Tensor], path: Path) -> Path:
    """Recognise the architecture by the shapes of the tensors, not by the file's name, and return its configuration."""
    import sam2

    if lite_trunk.SIGNATURE_TENSOR in tensors:
        return lite_trunk.CONFIG
    first = tensors.get("image_encoder.trunk.patch_embed.proj.weight")
    blocks = {name.split(".")[3] for name in tensors if name.startswith("image_encoder.trunk.blocks.")}
    letter = None if first is None else SIZES.get((len(first), len(blocks)))
    if letter is None:
        raise ModelError(
            f"{path} is not one of Meta's SAM 2 or 2.1 checkpoints; if it has an architecture of its own, give its "
            "configuration with --sam2-config"
        )
    version = "sam2.1" if "no_obj_embed_spatial" in tensors else "sam2"
    return Path(sam2.__path__[0]) / "configs" / version / f"{version}_hiera_{letter}.yaml"


def build_network(config: Path) -> Any:
    """Build the network that a configuration describes, with random weights.

    Args:
        config: a YAML file in the sam2 package's format.

    Returns:
        A `sam2.modeling.sam2_base.SAM2Base`.

    Raises:
        ModelError: it is no such file, or names a class that is not in the allow-list.
    """
    from hydra.utils import instantiate
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        # Not yaml.safe_load, which reads the 1e-6 in Meta's files as text; this one is as safe.
        plain: Any = OmegaConf.to_container(OmegaConf.load(config), resolve=False)
        described: Any = _with_current_targets(dict(plain["model"]))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{config} is not a configuration of SAM 2, a YAML file with a part 'model' ({error})"
        ) from error
    foreign = sorted({str(name) for name in _targets(described)} - _CLASSES)
    if foreign:
        raise ModelError(
            f"{config} names {', '.join(foreign)}; only the classes of the sam2 package are taken, for your safety"
        )
    try:
        model = instantiate(OmegaConf.create({**_STABLE_MASKS, **described, **INFERENCE_OVERRIDES}), _recursive_=True)
    except (OmegaConfBaseException, RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ModelError(f"{config} does not describe a SAM 2 network: {error}") from error
    except Exception as error:  # hydra's own, which wraps whatever a class raises.
        if type(error).__module__.partition(".")[0] != "hydra":
            raise
        raise ModelError(f"{config} does not describe a SAM 2 network: {error}") from error
    if not hasattr(model, "no_obj_ptr"):
        # The sam2 package reads it even if a configuration has no object pointers.
        model.register_buffer("no_obj_ptr", torch.zeros(1, model.hidden_dim), persistent=False)
    return model


def _with_current_targets(described: object) -> object:
    """Copy a configuration, with every class path of an earlier version replaced by its path now (`_MOVED`)."""
    if isinstance(described, Mapping):
        return {
            key: _MOVED.get(value, value)
            if key == "_target_" and isinstance(value, str)
            else _with_current_targets(value)
            for key, value in described.items()
        }
    if isinstance(described, list):
        return [_with_current_targets(value) for value in described]
    return described


def _targets(described: object) -> Iterator[object]:
    """Yield every class path of a configuration, and hydra's other keys and ${...}, which could run code too."""
    if isinstance(described, Mapping):
        for key, value in described.items():
            if key == "_target_":
                yield value
            elif isinstance(key, str) and key.startswith("_"):
                yield key
            else:
                yield from _targets(value)
    elif isinstance(described, list):
        for value in described:
            yield from _targets(value)
    elif isinstance(described, str) and "${" in described:
        yield described


def _load_tensors(model: Any, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load tensors into a network; refuse any that is missing, left over or of another shape."""
    own = model.state_dict()
    wrong = [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    faults = [f"{len(missing)} tensors are missing, the first {missing[0]}"] if missing else []
    faults += [f"{len(extra)} have no place in it, the first {extra[0]}"] if extra else []
    faults += [f"{len(wrong)} have another shape: {min(wrong)}"] if wrong else []
    if faults:
        raise ModelError(
            f"{path} does not fit the network: {'; '.join(faults)}. Give the configuration it was made with "
            "(--sam2-config)"
        )
    model.load_state_dict(tensors)


def _provenance(checkpoint: str, path: Path, config: Path | None) -> dict[str, str]:
    """Describe the checkpoint for the provenance (see `Checkpoint.weights`)."""
    known = weights.WEIGHTS.get(checkpoint)
    return {
        "name": checkpoint if known else path.stem,
        "file": path.name,
        "sha256": hash_file(path),
        **({} if config is None else {"config": hash_file(config)}),
        "licence": known.licence if known else lite_trunk.LICENCE if path == lite_trunk.WEIGHTS else "not known",
    }
