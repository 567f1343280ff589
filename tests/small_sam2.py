"""A SAM 2 of Meta's own architecture, small enough for a test, saved as a real checkpoint with its configuration.

Its weights are random, with what random weights would switch off switched on: the object score, so that masks are not
the constant "not there", and the memory's own layers, which start near zero.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

SIDE = 128
HIDDEN = 64
MEMORY = 32


def _attention(hidden: int, **more: Any) -> dict[str, Any]:
    return {
        "_target_": "sam2.modeling.sam.transformer.RoPEAttention",
        "rope_theta": 10000.0,
        "feat_sizes": [SIDE // 16, SIDE // 16],
        "embedding_dim": hidden,
        "num_heads": 1,
        "downsample_rate": 1,
        "dropout": 0.1,
        **more,
    }


def _sine(features: int) -> dict[str, Any]:
    return {
        "_target_": "sam2.modeling.position_encoding.PositionEmbeddingSine",
        "num_pos_feats": features,
        "normalize": True,
        "scale": None,
        "temperature": 10000,
    }


def configuration(hidden: int = HIDDEN, memory: int = MEMORY) -> dict[str, Any]:
    """The configuration of SAM 2.1 tiny with fewer and smaller layers; every other switch as Meta has it."""
    import sam2

    official = Path(sam2.__path__[0]) / "configs/sam2.1/sam2.1_hiera_t.yaml"
    whole: Any = OmegaConf.to_container(OmegaConf.load(official))
    model: dict[str, Any] = whole["model"]
    width = 24
    model["image_encoder"]["trunk"] |= {
        "embed_dim": width,
        "stages": [1, 1, 2, 1],
        "global_att_blocks": [3],
        "window_spec": [8, 4, 8, 4],
    }
    model["image_encoder"]["neck"] |= {
        "position_encoding": _sine(hidden),
        "d_model": hidden,
        "backbone_channel_list": [8 * width, 4 * width, 2 * width, width],
    }
    layer = model["memory_attention"]["layer"]
    layer |= {"dim_feedforward": 128, "d_model": hidden, "self_attention": _attention(hidden)}
    layer["cross_attention"] = _attention(hidden, rope_k_repeat=True, kv_in_dim=memory)
    model["memory_attention"] |= {"d_model": hidden, "num_layers": 2}
    model["memory_encoder"] |= {"in_dim": hidden, "out_dim": memory, "position_encoding": _sine(memory)}
    model["memory_encoder"]["mask_downsampler"]["embed_dim"] = hidden
    model["memory_encoder"]["fuser"]["layer"]["dim"] = hidden
    model["image_size"] = SIDE
    return {"model": model}


@cache
def make_tensors(hidden: int = HIDDEN, memory: int = MEMORY) -> dict[str, torch.Tensor]:
    """Make the tensors of a checkpoint; not to be changed by the caller."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = instantiate(OmegaConf.create(configuration(hidden, memory)["model"]), _recursive_=True)
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += 2
        for block in model.memory_encoder.fuser.layers:
            block.gamma.fill_(1.0)
    return dict(model.state_dict())


def write_small_sam2(folder: Path, hidden: int = HIDDEN, memory: int = MEMORY) -> tuple[Path, Path]:
    """Write the checkpoint and its configuration, as Meta's are."""
    checkpoint, config = folder / "small.pt", folder / "small.yaml"
    torch.save({"model": make_tensors(hidden, memory)}, checkpoint)
    config.write_text(OmegaConf.to_yaml(OmegaConf.create(configuration(hidden, memory))))
    return checkpoint, config
