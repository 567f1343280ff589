"""A CLIP model of open_clip's own architecture with random weights, small enough for a test, saved as a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

SIDE, PATCH, DIM = 32, 8, 12


def configuration(layers: int = 2) -> dict[str, Any]:
    return {
        "embed_dim": DIM,
        "vision_cfg": {"image_size": SIDE, "layers": layers, "width": 32, "head_width": 16, "patch_size": PATCH},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }


def save(folder: Path, *, layers: int = 2, file: str = "open_clip_model.safetensors", seed: int = 0) -> Path:
    """Make a folder as models of the hub have: configuration and weights."""
    from sst_retrieval.nets.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import open_clip

    torch.manual_seed(seed)
    network = open_clip.CLIP(**configuration(layers))
    # open_clip starts them so small that all pictures and texts would look alike.
    for name, tensor in network.named_parameters():
        if tensor.ndim > 1 and "embedding" not in name:
            torch.nn.init.normal_(tensor, std=2 * tensor.shape[-1] ** -0.5)
    folder.mkdir(parents=True, exist_ok=True)
    normalisation = {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.25, 0.2]}
    settings = {"model_cfg": configuration(layers), "preprocess_cfg": normalisation}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    if file.endswith(".safetensors"):
        save_file(state, folder / file)
    else:
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, folder / file)
    return folder
