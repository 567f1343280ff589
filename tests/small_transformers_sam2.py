"""A network of `small_sam2` with the same weights, as a folder that `transformers` wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from small_sam2 import SIDE, make_tensors

WIDTH, HIDDEN, MEMORY = 24, 128, 64  # `transformers` has no other memory than of 64 channels.

RENAMED = (
    # In order: a name takes part in every rule that it matches.
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (
        r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
        "prompt_encoder.shared_embedding.positional_embedding",
    ),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"(hypernetworks_mlps\.\d|prediction_head|score_head|pointer_proj)\.layers\.0\.", r"\1.proj_in."),
    (r"(hypernetworks_mlps\.\d|prediction_head|score_head|pointer_proj)\.layers\.1\.", r"\1.layers.0."),
    (r"(hypernetworks_mlps\.\d|prediction_head|score_head|pointer_proj)\.layers\.2\.", r"\1.proj_out."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"\.fuser\.", ".memory_fuser."),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv", ".pointwise_conv"),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm", ".layer_norm"),
    (r"downsampler\.encoder\.12\.", "downsampler.final_conv."),
)


def rename(name: str) -> str:
    """Return the name that `transformers` has for a tensor of the sam2 package."""
    layer = re.match(r"(memory_encoder\.mask_downsampler)\.encoder\.(\d+)\.(.*)", name)
    if layer is not None and int(layer[2]) < 12:
        number, part = divmod(int(layer[2]), 3)
        return f"{layer[1]}.layers.{number}.{('conv', 'layer_norm')[part]}.{layer[3]}"
    for pattern, new in RENAMED:
        name = re.sub(pattern, new, name)
    return name


def configuration() -> Any:
    """Return the configuration of `small_sam2` in the words of `transformers`."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VisionConfig

    backbone = Sam2HieraDetConfig(
        hidden_size=WIDTH,
        image_size=[SIDE, SIDE],
        embed_dim_per_stage=[WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        blocks_per_stage=[1, 1, 2, 1],
        global_attention_blocks=[3],
        window_size_per_stage=[8, 4, 8, 4],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[8 * WIDTH, 4 * WIDTH, 2 * WIDTH, WIDTH],
        backbone_feature_sizes=[[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
        fpn_hidden_size=HIDDEN,
    )
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": HIDDEN, "image_size": SIDE},
        mask_decoder_config={"hidden_size": HIDDEN},
        image_size=SIDE,
        memory_attention_hidden_size=HIDDEN,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=128,
        memory_attention_rope_feat_sizes=[SIDE // 16, SIDE // 16],
        memory_encoder_hidden_size=HIDDEN,
        memory_encoder_output_channels=MEMORY,
        mask_downsampler_embed_dim=HIDDEN,
        memory_fuser_embed_dim=HIDDEN,
        memory_fuser_intermediate_dim=4 * HIDDEN,
    )


def write_small_transformers_sam2(folder: Path) -> Path:
    """Write the network; returns its folder."""
    from transformers import Sam2VideoModel

    model = Sam2VideoModel(configuration())
    tensors = {rename(name): value for name, value in make_tensors(HIDDEN, MEMORY).items()}
    points = [tensors.pop(f"prompt_encoder.point_embeddings.{number}.weight") for number in range(4)]
    tensors["prompt_encoder.point_embed.weight"] = torch.cat(points)
    shared = tensors["prompt_encoder.shared_embedding.positional_embedding"]
    tensors["shared_image_embedding.positional_embedding"] = shared
    model.load_state_dict(tensors)
    model.save_pretrained(folder)
    return folder
