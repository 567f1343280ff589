"""SAM 2's image encoder, with constant and redundant work removed.

1. The trunk (Hiera) adds a positional table to the patches; it is the same for every image and is computed once.
2. The two finest levels pass two consecutive 1 x 1 convolutions, one in the neck and one that belongs to the mask
   decoder. They are fused into one with the product of their weights, with 32 or 64 output channels instead of 256
   intermediate ones.
3. Positional encodings of the two finest levels are never used and are not computed.

The values equal those of `SAM2Base.forward_image` up to floating-point rounding. Ravi et al. (2024), arXiv 2408.00714;
Hiera: Ryali et al. (2023), arXiv 2306.00989.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class FusedEncoder:
    """The image encoder of a SAM 2 network, fused where its architecture is Meta's.

    Attributes:
        model: the `SAM2Base`.
    """

    def __init__(self, model: Any) -> None:
        """Compute the positional table and the fused convolutions.

        Args:
            model: a `SAM2Base` whose image encoder, and the decoder's two convolutions, are frozen.
        """
        self.model = model
        self._fused: tuple[nn.Conv2d, ...] = ()
        self._position_table: torch.Tensor | None = None
        if _has_meta_architecture(model):
            trunk, neck, decoder = model.image_encoder.trunk, model.image_encoder.neck, model.sam_mask_decoder
            with torch.no_grad():
                side = model.image_size // trunk.patch_embed.proj.stride[0]
                self._position_table = trunk._get_pos_embed((side, side))
                pairs = ((neck.convs[-1].conv, decoder.conv_s0), (neck.convs[-2].conv, decoder.conv_s1))
                self._fused = tuple(_fuse_convolutions(*pair) for pair in pairs)

    def __call__(self, batch: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Encode images.

        Args:
            batch: float32 (N, 3, S, S), normalised.

        Returns:
            Features, float (N, C, h, w) a level, finest first, and the positional encodings of the coarsest, float
            (N, C, h, w).
        """
        if self._position_table is None:
            out = self.model.forward_image(batch)
            levels = self.model.num_feature_levels
            return tuple(out["backbone_fpn"][-levels:]), out["vision_pos_enc"][-1]
        finest, fine, coarse, coarsest = self._stages(batch)
        neck = self.model.image_encoder.neck
        above = functional.interpolate(neck.convs[0](coarsest).float(), scale_factor=2.0, mode=neck.fpn_interp_model)
        top = neck.convs[1](coarse) + above
        return (self._fused[0](finest), self._fused[1](fine), top), neck.position_encoding(top).to(top.dtype)

    def _stages(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """Run the trunk (`Hiera.forward`): float (N, C, h, w) a stage, finest first."""
        trunk = self.model.image_encoder.trunk
        state = trunk.patch_embed(batch) + self._position_table
        stages = []
        for number, block in enumerate(trunk.blocks):
            state = block(state)
            if number in trunk.stage_ends:
                stages.append(state.permute(0, 3, 1, 2))
        return stages


def _has_meta_architecture(model: Any) -> bool:
    """Return whether the encoder has the architecture that is fused; any other is run by the sam2 package itself."""
    encoder = model.image_encoder
    neck = encoder.neck
    return (
        type(encoder.trunk).__name__ == "Hiera"
        and len(neck.convs) == 4
        and all(len(each) == 1 and each.conv.kernel_size == (1, 1) for each in neck.convs)
        and sorted(neck.fpn_top_down_levels) == [2, 3]
        and (neck.fuse_type, neck.fpn_interp_model) == ("sum", "nearest")
        and (encoder.scalp, model.num_feature_levels) == (1, 3)
        and bool(model.use_high_res_features_in_sam)
        and bool(encoder.trunk.return_interm_layers)
    )


def _fuse_convolutions(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Fuse two consecutive 1 x 1 convolutions into one."""
    outer = second.weight[:, :, 0, 0]
    fused = nn.Conv2d(first.in_channels, second.out_channels, 1, device=outer.device, dtype=outer.dtype)
    fused.weight.copy_((outer @ first.weight[:, :, 0, 0])[:, :, None, None])
    assert first.bias is not None, "Meta's convolutions have biases"
    assert second.bias is not None, "Meta's convolutions have biases"
    assert fused.bias is not None
    fused.bias.copy_(outer @ first.bias + second.bias)
    return fused.requires_grad_(False)
